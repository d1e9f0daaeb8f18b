"""GeoTIFF or NetCDF of any region and map projection -> site layer."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from tfgmm.core import files
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import geotiff, netcdf, values
from tfgmm.readers.layers.extent import PADDING
from tfgmm.readers.layers.geotiff import DEGREES, Source

#: The same from 0 to 360, for what crosses the date line.
DEGREES_EAST = rasterio.CRS.from_string("+proj=longlat +datum=WGS84 +lon_wrap=180 +no_defs")
#: First bytes of NetCDF 3 and 4.
NETCDF = (b"CDF", netcdf.HDF5)
#: How much the steps of a regular raster may differ, as a share of the step.
TOLERANCE = 0.05


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
    """A site layer from a GeoTIFF, or a NetCDF file with regular axes.

    Parameters
    ----------
    path : Path
        A GeoTIFF in any map projection, or NetCDF on longitude and latitude.
    name : str
        Which layer it is, one of ``tfgmm.data.layers.LAYERS``.
    value : str, optional
        Band number of a GeoTIFF or variable of a NetCDF file; needed where there are several.
    region : (west, south, east, north), optional
        Only this part, degrees.
    scale : float
        Factor from the file's unit to the layer's, 1000 for km.
    step : float, optional
        Step of the layer in degrees (default: that of the file).
    missing : sequence of float
        Values, as in the file, that stand for a missing one and that the file does not declare.

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
    bounded.refuse_irregular(path)
    try:
        part = _open(path, value, region)
        values.refuse_unit(str(path), part.attrs["units"], scale, name)
        if value is None:
            values.refuse_other_layer(str(path), part.attrs["title"], name)
        known, noted = values.in_unit(name, np.asarray(part.values), _namer(path, part), scale, missing)
        method, lat, lon, known = _on_degrees(part, known, path, region, step)
        del part  # both at once may be too large
        known = known.astype(float, copy=False)
    except TfgmmError:
        raise
    except Exception as error:  # the libraries meet a damaged file with errors of any kind
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is no readable raster ({reason}): bring a GeoTIFF or NetCDF file"
        ) from error
    attrs = {"column": value or "1", "scale": scale, "method": method, **noted}
    attrs |= {"source": path.name, "sha256": files.sha256(path)}
    return layers.crop(layers.make(name, lat, lon, known, **attrs), region)


def _open(path: Path, value: str | None, region: layers.Region | None) -> xr.DataArray | Source:
    """The region of a map on parallels and meridians, or of one in a map projection."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(NETCDF):
        return netcdf.read(path, value, region)
    return geotiff.read(path, value, region)


def _namer(path: Path, part: xr.DataArray | Source):
    """How to name file and place of a value by its row and column."""

    def name(index: tuple[int, ...]) -> str:
        row, col = map(int, index)
        if isinstance(part, Source):
            latitude, longitude = part.place(row, col)
        else:
            latitude, longitude = float(part.latitude[row]), float(part.longitude[col])
        return f"{path}, {latitude:g} N {longitude:g} E"

    return name


def _on_degrees(part: xr.DataArray | Source, known: np.ndarray, path: Path, region, step) -> tuple:
    """What was done, ascending latitudes and longitudes, and values [latitude, longitude]."""
    if isinstance(part, Source):
        return _reprojected(dataclasses.replace(part, values=known), path, region, step)
    field = part.copy(data=known)
    if step is not None:
        return _reprojected(_regular(path, field), path, region, step)
    return "as stored", *(field[axis].to_numpy().round(9) for axis in field.dims), known


def _regular(path: Path, field: xr.DataArray) -> Source:
    """A field on regular axes; north is first."""
    lat, lon = (field[axis].to_numpy() for axis in ("latitude", "longitude"))
    step_y, step_x = np.diff(lat).mean(), np.diff(lon).mean()
    off = max(np.abs(np.diff(axis) / step - 1).max() for axis, step in ((lat, step_y), (lon, step_x)))
    if not off < TOLERANCE:
        raise UsageError(f"{path} is on no regular raster: leave out --step")
    north, west = lat[-1] + step_y / 2, lon[0] - step_x / 2
    return Source(field.to_numpy()[::-1], from_origin(west, north, step_x, step_y), DEGREES)


def _reprojected(
    source: Source, path: Path, region, step
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """What was done, ascending latitudes and longitudes, and values [latitude, longitude]."""
    degrees, (west, south, east, north), own = _extent(source, path, region)
    step_y, step_x = (step, step) if step else own
    resampling = Resampling.average if step and step > own[1] else Resampling.bilinear
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
    own_values, known = source.values.astype(np.float32, copy=False), np.full(shape, np.nan, np.float32)
    reproject(
        own_values, known, src_transform=source.transform, src_crs=source.crs, src_nodata=np.nan,
        dst_transform=target, dst_crs=degrees, dst_nodata=np.nan, resampling=resampling,
    )  # fmt: skip
    method = f"{resampling.name}, from {source.crs.to_string()} to a step of {step_y:.6g} degrees"
    rows, cols = (np.arange(points) + 0.5 for points in shape)
    return (
        method,
        (north - rows * step_y)[::-1].round(9),
        (west + cols * step_x).round(9),
        known[::-1],
    )


def _extent(
    source: Source, path: Path, region
) -> tuple[rasterio.CRS, tuple[float, ...], tuple[float, float]]:
    """Convention of longitudes that does not break the map, its extent, and its steps north and east."""
    bounds = dict.fromkeys((DEGREES, DEGREES_EAST), source.bounds)
    if source.crs != DEGREES:
        bounds = {crs: transform_bounds(source.crs, crs, *source.bounds) for crs in bounds}
    west, south, east, north = bounds[DEGREES]
    degrees = DEGREES_EAST if west > east else DEGREES
    shape = source.values.shape[::-1]
    own, _, _ = calculate_default_transform(source.crs, degrees, *shape, *source.bounds)
    crosses = region is not None and region[2] > 180
    wanted = DEGREES_EAST if crosses else DEGREES
    if region is None or source.crs == DEGREES or wanted == degrees:
        return degrees, bounds[degrees], (-own.e, own.a)
    if crosses and west < region[2] - 360 and east > region[0]:
        raise UsageError(
            f"{path} breaks at the date line, which the region crosses: bring it in degrees, or in a map "
            "projection with its centre there"
        )
    return wanted, (-np.inf, south, np.inf, north), (-own.e, own.a)
