"""Reader of site layers that recognises the format of a file by the first bytes of the file."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from tfgmm.core.errors import UsageError
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import jshis, point_table, raster, shared

#: First bytes of TIFF, BigTIFF and NetCDF.
RASTERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", *raster.NETCDF)


def read_layer(
    path: Path,
    name: str,
    *,
    value: str | None = None,
    latitude: str | None = None,
    longitude: str | None = None,
    region: layers.Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
    missing: Sequence[float] = (),
) -> xr.DataArray:
    """Read a site layer from a GeoTIFF or NetCDF file, a J-SHIS file, or a table of points.

    Parameters
    ----------
    path : Path
        A file that `raster.read`, `jshis.read` or `point_table.read` can read.
    name : str
        Name of the layer, one of ``tfgmm.data.layers.LAYERS``.
    value : str, optional
        Column of a table, variable of a NetCDF file, or band number of a GeoTIFF.
    latitude, longitude : str, optional
        Columns of a table with coordinates in degrees.
    region : (west, south, east, north), optional
        Part of the map that is read, degrees; a region with west larger than east crosses the date line.
    scale : float
        Factor from the file's unit to the layer's unit, for example 1000 from km to m.
    step : float, optional
        Step, degrees, of a raster onto which the values are interpolated.
    missing : sequence of float
        Numbers, as in the file, that mark a missing value.

    Returns
    -------
    DataArray, [latitude, longitude]
        Depth to bedrock (m) or Vs30 (m/s) on ascending axes in degrees; NaN where missing.

    Raises
    ------
    UsageError
        A parameter does not fit the file.
    DataError
        The file is damaged, or holds impossible values.
    """
    _refuse_options(path, scale, step)
    region = None if region is None else shared.box(region)
    with path.open("rb") as stream:
        start = stream.read(2**16)
    if start.startswith(RASTERS):
        return raster.read(path, name, value=value, region=region, scale=scale, step=step, missing=missing)
    if jshis.is_one(path, start):
        if value is not None or scale != 1 or step is not None:
            raise UsageError(
                f"{path} is of J-SHIS, in m and m/s on its own raster: leave out --value, --scale, --step"
            )
        return jshis.read(path, name, region=region, missing=missing)
    return point_table.read(
        path,
        value,
        name=name,
        latitude=latitude,
        longitude=longitude,
        region=region,
        scale=scale,
        step=step,
        missing=missing,
    )


def _refuse_options(path: Path, scale: float, step: float | None) -> None:
    """Raise `UsageError` for a path, scale or step that no reader accepts."""
    bounded.refuse_irregular(path)
    if not 0 < scale < float("inf"):
        raise UsageError(f"--scale {scale:g}: write a positive factor, 1000 for km")
    if step is not None and not 1e-4 <= step <= 5:
        raise UsageError(f"--step {step:g}: write degrees, 0.0001 to 5")
