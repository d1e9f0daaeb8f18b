"""Regions, longitudes, units and missing values of site layers, for readers of all formats.

A site layer is a map of one site property, ``z_bedrock`` (depth to seismic bedrock, m) or ``vs30`` (m/s).
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.errors import DataError, UsageError
from tfgmm.data import layers
from tfgmm.data.layers import LAYERS, RANGE, Region, beside

#: Largest number of points along an axis, enough for the equator in steps of 20 m.
LONGEST_AXIS = 2_000_000
#: Width, in steps of a map, of the margin around the region that is read too, for interpolation.
PADDING = 2
#: Numbers that mark a missing value in many files although they are within `RANGE`.
MARKS = (999.0, 9999.0)
#: Factors to m or m/s by the beginning of the unit's name.
OTHER_UNITS = {"km": 1000.0, "kilomet": 1000.0, "cm": 0.01, "ft": 0.3048, "feet": 0.3048, "foot": 0.3048}
#: Patterns of the names of columns, variables and bands, by layer.
NAMES = {
    "z_bedrock": re.compile(r"bedrock|depth|(?:^|_)z(?:1|2)[._]?[05]", re.IGNORECASE),
    "vs30": re.compile(r"vs_?30|v_?s30|(?:^|[^a-z])(?:a?vs|v)_?30", re.IGNORECASE),
}
#: Pattern of a unit of length or of velocity.
UNIT = re.compile(
    r"(?:[kc]?m|(?:kilo|centi)?met(?:er|re)s?|ft|feet|foot)"
    r"(?P<speed>\s*(?:/|per)\s*s(?:ec(?:onds?)?)?|[ .*]*s(?:ec)?(?:\^|\*\*)?-1)?$",
    re.IGNORECASE,
)


def box(region: Sequence[float]) -> Region:
    """Return a checked region; its east is above 180 degrees where the region crosses the date line.

    >>> box((178, -20, -178, -16))
    (178.0, -20.0, 182.0, -16.0)

    Parameters
    ----------
    region : (west, south, east, north)
        Bounds, degrees; west larger than east means a region that crosses the date line.

    Raises
    ------
    UsageError
        The bounds are out of range or in the wrong order.
    """
    west, south, east, north = map(float, region)
    if not (-180 <= west <= 360 and -180 <= east <= 360 and west != east and -90 <= south < north <= 90):
        raise UsageError(
            f"--region {','.join(f'{bound:g}' for bound in region)}: write WEST,SOUTH,EAST,NORTH in "
            "degrees; with WEST > EAST it crosses the date line"
        )
    west, east = beside(np.array([west, east]), 0).tolist()
    return west, south, east if east > west else east + 360, north


def unbroken(longitude: np.ndarray, region: Region | None = None) -> np.ndarray:
    """Return longitudes shifted by multiples of 360 degrees so that a map is in one piece.

    Parameters
    ----------
    longitude : ndarray, [n]
        Degrees, in any convention.
    region : (west, south, east, north), optional
        The region for which the layer is read, degrees.

    Returns
    -------
    ndarray, [n]
        With a region: longitudes within 180 degrees of the middle of the region. Without a region:
        longitudes from -180 to 180. But where a gap between neighbouring longitudes is at least twice as
        wide as the gap across the date line, longitudes west of the widest gap are increased by 360.
    """
    if region is not None:
        return beside(longitude, (region[0] + region[2]) / 2)
    longitude = beside(longitude, 0)
    distinct = np.unique(longitude)
    gaps = np.diff(distinct)
    if gaps.max(initial=0) < 2 * (360 - np.ptp(distinct)):
        return longitude
    return np.where(longitude <= distinct[np.argmax(gaps)], longitude + 360, longitude)


def refuse_long(file: str, points: int) -> None:
    """Raise `DataError` if an axis has more points than any map needs; called before the axis is read.

    Parameters
    ----------
    file : str
        Name of the file, for the message.
    points : int
        Number of points of the axis; at most `LONGEST_AXIS` are accepted.
    """
    if points > LONGEST_AXIS:
        raise DataError(f"{file} has an axis of {points} points, expected at most {LONGEST_AXIS}")


def cut(
    file: str,
    latitude: np.ndarray,
    longitude: np.ndarray,
    region: Region | None,
    block: Callable[[slice, slice], np.ndarray],
) -> xr.DataArray:
    """Read the region of a map whose rows are parallels and whose columns are meridians.

    Parameters
    ----------
    file : str
        Name of the file, for messages.
    latitude, longitude : ndarray, [rows], [columns]
        Coordinates of rows and columns, degrees; they may descend, and longitude may be in any convention.
    region : (west, south, east, north) or None
        Part of the map that is read, with the points next to it, degrees; None for the whole map.
    block : callable
        Function of a slice of rows and a slice of columns that returns the values [rows, columns].

    Returns
    -------
    DataArray, [latitude, longitude]
        The values on ascending axes.

    Raises
    ------
    UsageError
        The map does not reach into the region, or the part is too large.
    """
    longitude = unbroken(longitude, region)
    rows, columns = np.arange(len(latitude)), np.arange(len(longitude))
    if region is not None:
        rows = np.flatnonzero(_find_near(latitude, region[1], region[3]))
        rows = np.arange(rows.min(initial=len(latitude)), rows.max(initial=-1) + 1)
        columns = np.flatnonzero(_find_near(longitude, region[0], region[2]))
    if not len(rows) or not len(columns):
        raise UsageError(f"{file} does not reach into the region {region}")
    layers.refuse_large(file, (len(rows), len(columns)))
    pieces = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    parts = (block(slice(rows[0], rows[-1] + 1), slice(piece[0], piece[-1] + 1)) for piece in pieces)
    values = next(parts) if len(pieces) == 1 else np.concatenate([*parts], axis=1)
    axes = {"latitude": latitude[rows], "longitude": longitude[columns]}
    return _sort_axes(xr.DataArray(values, axes, list(axes)))


def _sort_axes(field: xr.DataArray) -> xr.DataArray:
    """Return a map on ascending axes with each coordinate once.

    An axis that descends throughout is reversed without a copy.
    """
    for axis in field.dims:
        if np.all(np.diff(field[axis]) < 0):
            field = field.isel({axis: slice(None, None, -1)})
        if not np.all(np.diff(field[axis]) > 0):
            field = field.sortby(axis).drop_duplicates(axis)
    return field


def _find_near(degrees: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return True for the points of an axis between `low` and `high`, or up to `PADDING` steps outside."""
    steps = np.abs(np.diff(degrees))
    margin = PADDING * steps.max(initial=0, where=steps < 180)
    return (degrees >= low - margin) & (degrees <= high + margin)


def in_unit(
    name: str,
    values: np.ndarray,
    place: Callable[[tuple[int, ...]], str],
    scale: float = 1.0,
    missing: Sequence[float] = (),
) -> tuple[np.ndarray, dict]:
    """Return the values of a file in the layer's unit, and a note on values declared as missing.

    Parameters
    ----------
    name : str
        Name of the layer, one of `LAYERS`.
    values : ndarray of float, [...]
        Values as in the file, NaN where the file marks them as missing; changed in place to save memory.
    place : callable
        Function that turns the index of a value into a text with file and position, for messages.
    scale : float
        Factor from the file's unit to the layer's unit (m or m/s).
    missing : sequence of float
        Numbers, as in the file, that mark a missing value.

    Returns
    -------
    values : ndarray, [...]
        The same array in the layer's unit, NaN where missing.
    attrs : dict
        ``missing``: a text with the numbers in `missing` and how many values equal one of them. Empty if
        `missing` is empty.

    Raises
    ------
    DataError
        A value is out of range and is not declared as missing. The numbers 999 and 9999 are refused too
        where they occur more than once and all other values are smaller by more than a tenth.
    """
    declared = is_declared(values, missing)
    values[declared] = np.nan
    low, high = (limit / scale for limit in RANGE[name])
    bad = (values < low) | (values > high)
    for mark in MARKS:
        others = np.max(values, where=values < mark, initial=0)
        if others < 0.9 * mark and np.nanmax(values, initial=0) == mark and (values == mark).sum() > 1:
            bad |= values == mark
    if bad.any():
        index = np.unravel_index(np.argmax(bad), bad.shape)
        (units, long_name), mark = LAYERS[name], f"{values[index]:.7g}"
        raise DataError(
            f"{place(index)}: {mark}, expected a {long_name} of {RANGE[name][0]:g} to {RANGE[name][1]:g} "
            f"{units}: give --missing={mark} if it stands for a missing value, --scale for another unit"
        )
    values *= scale
    counted = f"{', '.join(f'{mark:.9g}' for mark in missing)}: {declared.sum()} values"
    return values, {"missing": counted} if len(missing) else {}


def is_declared(values: np.ndarray, missing: Sequence[float]) -> np.ndarray:
    """Return True for values that equal a number in `missing`, up to rounding; bool, shape of `values`.

    Parameters
    ----------
    values : ndarray, [...]
        Values as in the file.
    missing : sequence of float
        Numbers that mark a missing value.
    """
    declared = np.zeros(np.shape(values), bool)
    for mark in missing:
        # A file holds -3.4028235e38 where people write -3.4e38.
        declared |= np.isclose(values, mark, rtol=1e-2 if abs(mark) > 1e10 else 1e-6, atol=0)
    return declared


def refuse_other_layer(file: str, column: str, name: str) -> None:
    """Raise an error if a column, variable or band has the name of another layer.

    Parameters
    ----------
    file : str
        Name of the file, for the message.
    column : str
        Name of the column, variable or band.
    name : str
        Name of the layer that is read, one of `LAYERS`.

    Raises
    ------
    UsageError
        The name `column` is that of another layer.
    """
    for other, names in NAMES.items():
        if other != name and names.search(column) and not NAMES[name].search(column):
            raise UsageError(
                f"{file}: {column!r} is named as a {LAYERS[other][1]}, expected a {LAYERS[name][1]}: "
                "bring another file, or name the values with --value if they are what the layer needs"
            )


def refuse_unit(file: str, unit: str, scale: float, name: str) -> None:
    """Raise an error if a unit is not one of the layer, or is km, cm or feet and no scale is given.

    Parameters
    ----------
    file : str
        Name of the file, for the message.
    unit : str
        Unit of the values, as in the file.
    scale : float
        Factor from the file's unit to the layer's unit; 1 if not given.
    name : str
        Name of the layer, one of `LAYERS`.

    Raises
    ------
    UsageError
        The unit has another dimension than the layer, or a scale is missing; the message names the scale.
    """
    expected = LAYERS[name][0]
    if match := UNIT.match(unit.strip()):
        metric = "m/s" if match["speed"] else "m"
        if metric != expected:
            raise UsageError(f"{file} holds values in {unit!r}, expected {expected}: they are no {name}")
    for start, factor in OTHER_UNITS.items():
        if unit.strip().lower().startswith(start) and scale == 1:
            raise UsageError(
                f"{file} holds values in {unit!r}: turn them into {expected}, --scale {factor:g}"
            )


def refuse_repeats(path: Path, cell: pd.Series) -> None:
    """Raise `DataError` if two rows of a table lie in the same cell; the message names both rows.

    Parameters
    ----------
    path : Path
        The table, for the message.
    cell : pandas.Series
        Number of the cell of each row, by line or row number.
    """
    repeated = cell.duplicated()
    if repeated.any():
        line = repeated.idxmax()
        first = (cell == cell[line]).idxmax()
        kind = cell.index.name or "line"
        raise DataError(f"{path}, {kind} {line}: the same point as {kind} {first}: keep one of them")
