"""Regions and longitudes in any convention -> one unbroken part of a map, also across the date line."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from tfgmm.core.errors import DataError, UsageError
from tfgmm.data import layers
from tfgmm.data.layers import Region, beside

#: Points along an axis; a circle of the Earth in steps of 20 m.
LONGEST_AXIS = 2_000_000
#: Steps of a map that are kept around the region: interpolation needs a neighbour.
PADDING = 2


def box(region: Sequence[float]) -> Region:
    """Check a region, and write one across the date line with its east beyond 180.

    >>> box((178, -20, -178, -16))
    (178, -20, 182, -16)

    Raises
    ------
    UsageError
        It is none.
    """
    west, south, east, north = region
    if not (-180 <= west <= 360 and -180 <= east <= 360 and west != east and -90 <= south < north <= 90):
        raise UsageError(
            f"--region {','.join(f'{bound:g}' for bound in region)}: write WEST,SOUTH,EAST,NORTH in "
            "degrees; with WEST > EAST it crosses the date line"
        )
    west, east = (bound - 360 if bound > 180 else bound for bound in (west, east))
    return west, south, east if east > west else east + 360, north


def unbroken(longitude: np.ndarray, region: Region | None = None) -> np.ndarray:
    """Turn longitudes so that a layer across the date line is one piece.

    Parameters
    ----------
    longitude : ndarray, [n]
        Degrees, of whatever convention.
    region : (west, south, east, north), optional
        Where the layer is wanted.

    Returns
    -------
    ndarray, [n]
        Within 180 degrees of the middle of the region. Without one from -180 to 180; or beyond, east of
        the widest gap, where that is not at the date line.
    """
    if region is not None:
        return beside(longitude, (region[0] + region[2]) / 2)
    longitude = beside(longitude, 0)
    distinct = np.unique(longitude)
    gaps = np.diff(distinct)
    if gaps.max(initial=0) < 2 * (360 - np.ptp(distinct)):
        return longitude
    return np.where(longitude <= distinct[np.argmax(gaps)], longitude + 360, longitude)


def refuse_long(source: str, points: int) -> None:
    """Raise `DataError` for an axis that no map of the Earth needs, before it is in memory."""
    if points > LONGEST_AXIS:
        raise DataError(f"{source} has an axis of {points} points, expected at most {LONGEST_AXIS}")


def cut(
    source: str,
    latitude: np.ndarray,
    longitude: np.ndarray,
    region: Region | None,
    block: Callable[[slice, slice], np.ndarray],
) -> xr.DataArray:
    """Read the region of a map whose rows are parallels and whose columns are meridians.

    Parameters
    ----------
    source : str
        The file, for messages.
    latitude, longitude : ndarray, [rows], [columns]
        Degrees; they may fall, and longitude may be of any convention.
    region : (west, south, east, north) or None
        Only this part, and the points next to it.
    block : callable
        Slices of rows and columns -> values [rows, columns].

    Returns
    -------
    DataArray, [latitude, longitude]
        Both ascend.

    Raises
    ------
    UsageError
        The map does not reach into the region, or the part is larger than any map needs.
    """
    longitude = unbroken(longitude, region)
    rows, columns = np.arange(len(latitude)), np.arange(len(longitude))
    if region is not None:
        rows = np.flatnonzero(_near(latitude, region[1], region[3]))
        rows = np.arange(rows.min(initial=len(latitude)), rows.max(initial=-1) + 1)
        columns = np.flatnonzero(_near(longitude, region[0], region[2]))
    if not len(rows) or not len(columns):
        raise UsageError(f"{source} does not reach into the region {region}")
    layers.refuse_large(source, (len(rows), len(columns)))
    pieces = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    parts = (block(slice(rows[0], rows[-1] + 1), slice(piece[0], piece[-1] + 1)) for piece in pieces)
    values = next(parts) if len(pieces) == 1 else np.concatenate([*parts], axis=1)
    axes = {"latitude": latitude[rows], "longitude": longitude[columns]}
    return _ascending(xr.DataArray(values, axes, list(axes)))


def _ascending(field: xr.DataArray) -> xr.DataArray:
    """Sort both axes, without a copy of the values where they only fall, and keep each place once."""
    for axis in field.dims:
        if np.all(np.diff(field[axis]) < 0):
            field = field.isel({axis: slice(None, None, -1)})
        if not np.all(np.diff(field[axis]) > 0):
            field = field.sortby(axis).drop_duplicates(axis)
    return field


def _near(degrees: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which points of an axis lie between two bounds, or up to `PADDING` steps outside."""
    steps = np.abs(np.diff(degrees))
    margin = PADDING * steps.max(initial=0, where=steps < 180)
    return (degrees >= low - margin) & (degrees <= high + margin)
