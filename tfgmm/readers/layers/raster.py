"""Reader of GeoTIFF of any region and map projection, and of NetCDF -> site layer."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Interleaving, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject, transform, transform_bounds
from rasterio.windows import Window

from tfgmm.core import files
from tfgmm.core.errors import DataError, TfgmmError, UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import netcdf, shared
from tfgmm.readers.layers.shared import PADDING

#: WGS 84 with longitudes from -180 to 180.
DEGREES = rasterio.CRS.from_epsg(4326)
#: Two datums count as the same if they differ by less than this share of a step of the raster.
SAME_PLACE = 0.01
#: WGS 84 with longitudes from 0 to 360, for maps across the date line.
DEGREES_EAST = rasterio.CRS.from_string("+proj=longlat +datum=WGS84 +lon_wrap=180 +no_defs")
#: First bytes of NetCDF 3 and 4.
NETCDF = (b"CDF", netcdf.HDF5)
#: Largest difference between the steps of a regular raster, as a share of the step.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class ProjectedPart:
    """A part of a raster in a map projection.

    Attributes
    ----------
    values : ndarray, [row, col]
        Values in the unit of the file; NaN where missing.
    transform : rasterio.Affine
        Transformation from column and row to coordinates in the map projection.
    crs : rasterio.CRS
        The map projection.
    attrs : dict
        ``units`` and ``title`` of the band.
    """

    values: np.ndarray
    transform: rasterio.Affine
    crs: rasterio.CRS
    attrs: dict = dataclasses.field(default_factory=dict)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Return west, south, east and north of the part, in coordinates of the map projection."""
        height, width = self.values.shape
        corners = [self.transform * corner for corner in _list_corners(0, 0, width, height)]
        return *np.min(corners, axis=0).tolist(), *np.max(corners, axis=0).tolist()

    def place(self, row: int, col: int) -> tuple[float, float]:
        """Return latitude and longitude of the centre of a cell, degrees.

        Parameters
        ----------
        row, col : int
            Row and column of the cell in `values`.
        """
        x, y = self.transform * (col + 0.5, row + 0.5)
        (longitude,), (latitude,) = transform(self.crs, DEGREES, [x], [y])
        return latitude, longitude


def read(
    path: Path,
    name: str,
    *,
    value: str | None = None,
    region: layers.Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
    missing: Sequence[float] = (),
) -> xr.DataArray:
    """Read a site layer from a GeoTIFF or NetCDF file; return a map in degrees, in the layer's unit.

    Parameters
    ----------
    path : Path
        A GeoTIFF in any map projection, or a NetCDF file on longitude and latitude.
    name : str
        Name of the layer, one of ``tfgmm.data.layers.LAYERS``.
    value : str, optional
        Band number of a GeoTIFF or variable of a NetCDF file; needed where the file has several.
    region : (west, south, east, north), optional
        Part of the map that is read, degrees.
    scale : float
        Factor from the file's unit to the layer's unit, for example 1000 from km to m.
    step : float, optional
        Step of the layer in degrees (default: step of the file).
    missing : sequence of float
        Numbers, as in the file, that mark a missing value and are not declared in the file.

    Returns
    -------
    DataArray, [latitude, longitude]
        Depth (m) or Vs30 (m/s) on ascending axes. The values are as stored if the file is on longitude
        and latitude and `step` is not given. Otherwise they are reprojected: averaged over the cells of
        the file if `step` is larger than the step of the file, else interpolated bilinearly. The
        attribute ``method`` names the method.

    Raises
    ------
    UsageError
        The file does not exist, has no such band or variable, or does not reach into the region.
    DataError
        The file is damaged, has no position on the Earth, or holds impossible values.
    """
    layers.known(name)
    bounded.refuse_irregular(path)
    try:
        part = _read_part(path, value, region)
        shared.refuse_unit(str(path), part.attrs["units"], scale, name)
        if value is None:
            shared.refuse_other_layer(str(path), part.attrs["title"], name)
        field, missing_attrs = shared.in_unit(
            name, np.asarray(part.values), _make_place(path, part), scale, missing
        )
        method, lat, lon, field = _place_on_degrees(part, field, path, region, step)
        del part  # the memory may not hold part and layer
        field = field.astype(float, copy=False)
    except TfgmmError:
        raise
    except Exception as error:  # the libraries raise errors of any kind on a damaged file
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is no readable raster ({reason}): bring a GeoTIFF or NetCDF file"
        ) from error
    attrs = {"column": value or "1", "scale": scale, "method": method, **missing_attrs}
    attrs |= {"source": path.name, "sha256": files.sha256(path)}
    return layers.crop(layers.make(name, lat, lon, field, **attrs), region)


def _read_part(path: Path, value: str | None, region: layers.Region | None) -> xr.DataArray | ProjectedPart:
    """Return the part of a file in a region, on latitude and longitude or in a map projection."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(NETCDF):
        return netcdf.read(path, value, region)
    return _read_geotiff(path, value, region)


def _make_place(path: Path, part: xr.DataArray | ProjectedPart) -> Callable[[tuple[int, ...]], str]:
    """Return a function that turns row and column of a value into a text with file and coordinates."""

    def place(index: tuple[int, ...]) -> str:
        row, col = map(int, index)
        if isinstance(part, ProjectedPart):
            latitude, longitude = part.place(row, col)
        else:
            latitude, longitude = float(part.latitude[row]), float(part.longitude[col])
        return f"{path}, {latitude:g} N {longitude:g} E"

    return place


def _place_on_degrees(
    part: xr.DataArray | ProjectedPart, values: np.ndarray, path: Path, region, step
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Return the name of the method, ascending latitudes and longitudes, and values [latitude, longitude].

    `part` gives the coordinates, `values` the values in the layer's unit.
    """
    if isinstance(part, ProjectedPart):
        return _reproject(dataclasses.replace(part, values=values), path, region, step)
    field = part.copy(data=values)
    if step is not None:
        return _reproject(_make_regular(path, field), path, region, step)
    latitude, longitude = (field[axis].to_numpy().round(9) for axis in field.dims)
    return "as stored", latitude, longitude, values


def _make_regular(path: Path, field: xr.DataArray) -> ProjectedPart:
    """Return a map as a regular raster with north first, or raise `UsageError` if its steps are uneven."""
    lat, lon = (field[axis].to_numpy() for axis in ("latitude", "longitude"))
    step_y, step_x = np.diff(lat).mean(), np.diff(lon).mean()
    axes = ((lat, step_y), (lon, step_x))
    if not max(np.abs(np.diff(axis) / step - 1).max() for axis, step in axes) < TOLERANCE:
        raise UsageError(f"{path} is on no regular raster: leave out --step")
    north, west = lat[-1] + step_y / 2, lon[0] - step_x / 2
    return ProjectedPart(field.to_numpy()[::-1], from_origin(west, north, step_x, step_y), DEGREES)


def _reproject(
    part: ProjectedPart, path: Path, region, step
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Reproject to degrees; return method, ascending latitudes and longitudes, and values."""
    degrees, (west, south, east, north), file_steps = _find_extent(part, path, region)
    step_y, step_x = (step, step) if step else file_steps
    resampling = Resampling.average if step and step > file_steps[1] else Resampling.bilinear
    if region is not None:
        pad = PADDING * max(step_x, step_y)
        west, south = max(west, region[0] - pad), max(south, region[1] - pad)
        east, north = min(east, region[2] + pad), min(north, region[3] + pad)
    shape = tuple(
        int(np.ceil(width - 1e-6)) for width in ((north - south) / step_y, (east - west) / step_x)
    )
    if min(shape) < 1:
        raise UsageError(f"{path} does not reach into the region {region}")
    layers.refuse_large(path.name, shape)
    target = from_origin(west, north, step_x, step_y)
    values, reprojected = part.values.astype(np.float32, copy=False), np.full(shape, np.nan, np.float32)
    reproject(
        values, reprojected, src_transform=part.transform, src_crs=part.crs, src_nodata=np.nan,
        dst_transform=target, dst_crs=degrees, dst_nodata=np.nan, resampling=resampling,
    )  # fmt: skip
    method = f"{resampling.name}, from {part.crs.to_string()} to a step of {step_y:.6g} degrees"
    rows, cols = (np.arange(points) + 0.5 for points in shape)
    return (
        method,
        (north - rows * step_y)[::-1].round(9),
        (west + cols * step_x).round(9),
        reprojected[::-1],
    )


def _find_extent(
    part: ProjectedPart, path: Path, region
) -> tuple[rasterio.CRS, tuple[float, ...], tuple[float, float]]:
    """Return a projection in degrees that keeps the map in one piece, and bounds and steps of the map.

    The projection counts longitudes from -180 or from 0. The bounds are west, south, east and north, the
    steps are the steps of latitude and longitude, all in degrees.
    """
    bounds = dict.fromkeys((DEGREES, DEGREES_EAST), part.bounds)
    if part.crs != DEGREES:
        bounds = {crs: transform_bounds(part.crs, crs, *part.bounds) for crs in bounds}
    west, south, east, north = bounds[DEGREES]
    degrees = DEGREES_EAST if west > east else DEGREES
    shape = part.values.shape[::-1]
    default, _, _ = calculate_default_transform(part.crs, degrees, *shape, *part.bounds)
    steps = (-default.e, default.a)
    crosses = region is not None and region[2] > 180
    wanted = DEGREES_EAST if crosses else DEGREES
    if region is None or part.crs == DEGREES or wanted == degrees:
        return degrees, bounds[degrees], steps
    if crosses and west < region[2] - 360 and east > region[0]:
        raise UsageError(
            f"{path} breaks at the date line, which the region crosses: bring it in degrees, or in a map "
            "projection with its centre there"
        )
    return wanted, (-np.inf, south, np.inf, north), steps


def _read_geotiff(
    path: Path, value: str | None = None, region: layers.Region | None = None
) -> xr.DataArray | ProjectedPart:
    """Read the part of a band of a GeoTIFF in a region.

    Parameters
    ----------
    path : Path
        A GeoTIFF.
    value : str, optional
        Number of the band; needed where the file has several.
    region : (west, south, east, north), optional
        Part of the map that is read, with the cells next to it, degrees.

    Returns
    -------
    DataArray, [latitude, longitude], or ProjectedPart
        A DataArray if rows and columns are parallels and meridians, else a part in the map projection of
        the file. Scale and offset of the file are applied; values that the file marks as missing are NaN.
        Attributes ``units``, and ``title``, the description of the band.

    Raises
    ------
    UsageError
        The file has no such band, or the band does not reach into the region.
    DataError
        The file has no position on the Earth, or unpacks to too many bytes.
    RasterioError, ...
        The file is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(path, driver="GTiff")
    with file:
        band = 1 + _choose_band(path, [str(index) for index in file.indexes], value)
        if file.crs is None or file.transform.is_identity:
            raise DataError(
                f"{path} does not say where on the Earth it lies: save it with a map projection"
            )
        for points in file.shape:
            shared.refuse_long(str(path), points)
        part = _read_field(path, file, band, region) if _is_on_parallels(file) else None
        if part is None:
            window = _find_window(path, file, region)
            layers.refuse_large(path.name, (window.height, window.width))
            # Reprojection works on 32 bits, which take half the memory.
            values = _read_window(path, file, band, window, np.float32)
            part = ProjectedPart(values, file.window_transform(window), file.crs)
        part.attrs["units"] = file.units[band - 1] or ""
        part.attrs["title"] = file.descriptions[band - 1] or ""
        return part


def _read_field(path: Path, file, band: int, region: layers.Region | None) -> xr.DataArray:
    """Return the part in a region of a band whose rows are parallels and whose columns are meridians."""
    rows, columns = (np.arange(points) + 0.5 for points in file.shape)
    latitude = file.transform.f + rows * file.transform.e
    longitude = file.transform.c + columns * file.transform.a
    if np.abs(latitude).max() > 90:
        raise DataError(f"{path} reaches to a latitude of {latitude[np.abs(latitude).argmax()]:g} degrees")

    def block(rows: slice, columns: slice) -> np.ndarray:
        return _read_window(path, file, band, Window.from_slices(rows, columns), float)

    return shared.cut(path.name, latitude, longitude, region, block)


def _is_on_parallels(file) -> bool:
    """Return True if rows and columns are parallels and meridians of WGS 84 or of a datum close to it."""
    if not file.crs.is_geographic or file.transform.b or file.transform.d:
        return False
    corners = [file.transform * corner for corner in _list_corners(0, 0, file.width, file.height)]
    x, y = np.transpose(corners)
    longitude, latitude = np.array(transform(file.crs, DEGREES, x, y))
    distance = np.abs([layers.beside(longitude - x, 0), latitude - y]).max()
    return distance < SAME_PLACE * min(abs(file.transform.a), abs(file.transform.e))


def _list_corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """Return the four corners (x, y) of a rectangle."""
    return [(left, top), (right, top), (left, bottom), (right, bottom)]


def _read_window(path: Path, file, band: int, window: Window, dtype) -> np.ndarray:
    """Return the values of a window of a band, [row, col], scaled; NaN where missing.

    The needed memory is that of the window and of one packed block of the file.
    """
    packed_together = file.count if file.interleaving == Interleaving.pixel else 1
    size = np.dtype(file.dtypes[band - 1]).itemsize
    if np.dtype(file.dtypes[band - 1]).kind == "c":
        raise DataError(f"{path}: band {band} holds complex numbers, expected values of a layer")
    points = max(
        np.prod(file.block_shapes[band - 1], dtype=float) * packed_together, window.width * window.height
    )
    bounded.refuse(points * size, path.stat().st_size, path)
    numbers = file.read(band, window=window, out_dtype=dtype)
    numbers[file.read_masks(band, window=window) == 0] = np.nan
    numbers *= file.scales[band - 1]
    numbers += file.offsets[band - 1]
    return numbers


def _choose_band(path: Path, names: list[str], value: str | None) -> int:
    """Return the index of the band called `value`, or 0 if `value` is None and there is only one band."""
    if value is None and len(names) == 1:
        return 0
    if value not in names:
        raise UsageError(f"{path}: --value {value or ''} names no band; there are {listed(names)}")
    return names.index(value)


def _find_window(path: Path, file, region: layers.Region | None) -> Window:
    """Return the rows and columns that cover the region and a margin of `PADDING` cells around it."""
    whole = Window(0, 0, file.width, file.height)
    if region is None:
        return whole
    west, south, east, north = region
    east = float(layers.beside(east, 0))
    left, bottom, right, top = transform_bounds(DEGREES, file.crs, west, south, east, north)
    if left > right:  # the date line is the edge of the map
        edges = [(file.transform * corner)[0] for corner in _list_corners(0, 0, file.width, file.height)]
        left, right = min(edges), max(edges)
    cells = np.array([~file.transform * corner for corner in _list_corners(left, top, right, bottom)])
    if not np.isfinite(cells).all():
        raise UsageError(f"{path} does not reach into the region {region}")
    first = np.floor(cells.min(axis=0)).astype(int) - PADDING
    last = np.ceil(cells.max(axis=0)).astype(int) + PADDING + 1
    try:
        columns, rows = zip(first.tolist(), last.tolist(), strict=True)
        return whole.intersection(Window.from_slices(rows, columns, boundless=True))
    except RasterioError as error:
        raise UsageError(f"{path} does not reach into the region {region}") from error
