"""GeoTIFF or NetCDF of any region and map projection -> site layer."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from tfgmm import files, layers
from tfgmm.errors import DataError, TfgmmError, UsageError
from tfgmm.site_layers import netcdf

DEGREES = rasterio.CRS.from_epsg(4326)
#: Rows and columns kept around the region: interpolation needs a neighbour.
PADDING = 2
#: First bytes of NetCDF 3 and 4.
NETCDF = (b"CDF", netcdf.HDF5)
#: How much the steps of a regular raster may differ, as a share of the step.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of a raster file: values [row, col], NaN where unknown, and where they are."""

    values: np.ndarray
    transform: rasterio.Affine
    crs: rasterio.CRS

    @property
    def as_stored(self) -> bool:
        """Whether rows and columns are already parallels and meridians."""
        return self.crs == DEGREES and self.transform.is_rectilinear and not self.transform.is_degenerate

    @property
    def bounds(self) -> tuple[float, ...]:
        """West, south, east, north in the file's own map projection."""
        return rasterio.transform.array_bounds(*self.values.shape, self.transform)


def read(
    path: Path,
    name: str,
    *,
    value: str | None = None,
    region: layers.Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
) -> xr.DataArray:
    """A site layer from a GeoTIFF, or a NetCDF file with regular axes.

    Parameters
    ----------
    path : Path
        A GeoTIFF in any map projection, or NetCDF on longitude and latitude.
    name : str
        Which layer it is, one of ``tfgmm.layers.LAYERS``.
    value : str, optional
        Band number of a GeoTIFF or variable of a NetCDF file; needed where there are several.
    region : (west, south, east, north), optional
        Only this part, degrees.
    scale : float
        Factor from the file's unit to the layer's, 1000 for km.
    step : float, optional
        Step of the layer in degrees (default: that of the file).

    Returns
    -------
    DataArray, [latitude, longitude]
        As stored where the file is in longitude and latitude and no other step is asked for, else
        reprojected: the average of all cells where the step is coarser than the file's, else
        bilinear. Attribute ``method`` says which.

    Raises
    ------
    UsageError
        The file does not exist, has no such band or variable, or does not reach into the region.
    DataError
        The file is damaged, has no position on the Earth, or holds values that cannot be.
    """
    layers.known(name)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give the path of a GeoTIFF or NetCDF file")
    try:
        method, lat, lon, values = _read(path, value, region, step)
    except TfgmmError:
        raise
    except Exception as error:  # the libraries meet a damaged file with errors of any kind
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is no readable raster ({reason}): bring a GeoTIFF or NetCDF file"
        ) from error
    attrs = {"column": value or "1", "scale": scale, "method": method}
    attrs |= {"source": path.name, "sha256": files.sha256(path)}
    return layers.crop(layers.make(name, lat, lon, values * scale, **attrs), region)


def _read(path: Path, value: str | None, region, step: float | None) -> tuple:
    """What was done, ascending latitudes and longitudes, and values [latitude, longitude]."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(NETCDF):
        field = netcdf.read(path, value, region)
        if step is None:
            return "as stored", *(field[axis].to_numpy().round(9) for axis in field.dims), field.to_numpy()
        return _on_degrees(_regular(path, field), path, region, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        source = _geotiff(path, value, region)
    return _on_degrees(source, path, region, step)


def _regular(path: Path, field: xr.DataArray) -> Source:
    """A field on regular axes; north is first."""
    lat, lon = (field[axis].to_numpy() for axis in ("latitude", "longitude"))
    step_y, step_x = np.diff(lat).mean(), np.diff(lon).mean()
    off = max(np.abs(np.diff(axis) / step - 1).max() for axis, step in ((lat, step_y), (lon, step_x)))
    if not off < TOLERANCE:
        raise UsageError(f"{path} is on no regular raster: leave out --step")
    north, west = lat[-1] + step_y / 2, lon[0] - step_x / 2
    return Source(field.to_numpy()[::-1], from_origin(west, north, step_x, step_y), DEGREES)


def _geotiff(path: Path, value: str | None, region: layers.Region | None) -> Source:
    """The region of a band as numbers, with missing values as NaN."""
    with rasterio.open(path, driver="GTiff") as file:
        band = 1 + _choice(path, [str(index) for index in file.indexes], value)
        if file.crs is None or file.transform.is_identity:
            raise DataError(
                f"{path} does not say where on the Earth it lies: save it with a map projection"
            )
        window = _window(path, file, region)
        layers.refuse_large(path.name, (window.height, window.width))
        values = file.read(band, window=window, masked=True).astype(float).filled(np.nan)
        values = values * file.scales[band - 1] + file.offsets[band - 1]
        return Source(values, file.window_transform(window), file.crs)


def _choice(path: Path, names: list[str], value: str | None) -> int:
    """Index of the band that is asked for, or of the only one."""
    if value is None and len(names) == 1:
        return 0
    if value not in names:
        raise UsageError(f"{path}: --value {value or ''} names no band; there are {', '.join(names)}")
    return names.index(value)


def _window(path: Path, file, region: layers.Region | None) -> Window:
    """Rows and columns that hold the region and `PADDING` around it."""
    whole = Window(0, 0, file.width, file.height)
    if region is None:
        return whole
    wanted = from_bounds(*transform_bounds(DEGREES, file.crs, *region), file.transform)
    first_row, first_col = int(wanted.row_off) - PADDING, int(wanted.col_off) - PADDING
    height, width = (int(np.ceil(size)) + 2 * PADDING + 1 for size in (wanted.height, wanted.width))
    try:
        return whole.intersection(Window(first_col, first_row, width, height))
    except RasterioError as error:
        raise UsageError(f"{path} does not reach into the region {region}") from error


def _on_degrees(source: Source, path: Path, region, step) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """What was done, ascending latitudes and longitudes, and values [latitude, longitude]."""
    if source.as_stored and step is None:
        return "as stored", *_ascending(source)
    own, _, _ = calculate_default_transform(source.crs, DEGREES, *source.values.shape[::-1], *source.bounds)
    step_y, step_x = (step, step) if step else (-own.e, own.a)
    resampling = Resampling.average if step and step > own.a else Resampling.bilinear
    west, south, east, north = transform_bounds(source.crs, DEGREES, *source.bounds)
    if region is not None:
        pad = PADDING * max(step_x, step_y)
        west, south = max(west, region[0] - pad), max(south, region[1] - pad)
        east, north = min(east, region[2] + pad), min(north, region[3] + pad)
    shape = int(np.ceil((north - south) / step_y)), int(np.ceil((east - west) / step_x))
    layers.refuse_large(path.name, shape)
    target = from_origin(west, north, step_x, step_y)
    values = np.full(shape, np.nan)
    reproject(
        source.values, values, src_transform=source.transform, src_crs=source.crs, src_nodata=np.nan,
        dst_transform=target, dst_crs=DEGREES, dst_nodata=np.nan, resampling=resampling,
    )  # fmt: skip
    method = f"{resampling.name}, from {source.crs.to_string()} to a step of {step_y:.6g} degrees"
    return method, *_ascending(Source(values, target, DEGREES))


def _ascending(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latitudes and longitudes of cell centres, and the values in their order."""
    rows, cols = source.values.shape
    lat = source.transform.f + (np.arange(rows) + 0.5) * source.transform.e
    lon = source.transform.c + (np.arange(cols) + 0.5) * source.transform.a
    order = np.argsort(lat)
    return lat[order].round(9), lon.round(9), source.values[order]
