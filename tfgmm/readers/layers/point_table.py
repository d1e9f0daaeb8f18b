"""Reader of a table of points -> site layer, on the raster of the points or interpolated onto a raster."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import sheet
from tfgmm.readers.layers import shared

#: Largest distance of a point from a raster point, in steps of the raster: coordinates are often rounded.
TOLERANCE = 0.05
#: Columns of a table of points.
PLACE = {
    "latitude": sheet.Column(
        sheet.LATITUDE,
        sheet.NUMBER,
        filled=True,
        lowest=-90,
        highest=90,
        expected="a latitude, at most 90 degrees",
    ),
    "longitude": sheet.Column(
        sheet.LONGITUDE,
        sheet.NUMBER,
        filled=True,
        lowest=-360,
        highest=360,
        expected="a longitude, at most 360 degrees",
    ),
}
#: Column of the values; a number such as -999 marks a missing value only if the user says so.
VALUE = sheet.Column((), sheet.NUMBER, sentinels=False)
#: Names of the column of the values, in small letters and digits, by layer.
VALUES = {"z_bedrock": ("zbedrock", "zbedrockm"), "vs30": ("vs30", "vs30ms")}
#: A unit in brackets at the end of a column's name.
UNIT = re.compile(r"[(\[]([^()\[\]]+)[)\]]\s*$")
#: Number of points that can be triangulated within 500 MB.
MOST_SCATTERED = 500_000
#: Columns of a table without header, as GMT writes it.
XYZ = ("longitude", "latitude", "value")


def read(
    path: Path,
    value: str | None = None,
    *,
    name: str = "z_bedrock",
    latitude: str | None = None,
    longitude: str | None = None,
    region: layers.Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
    missing: Sequence[float] = (),
) -> xr.DataArray:
    """Read a site layer from a table of points; return a map in the layer's unit.

    Parameters
    ----------
    path : Path
        A table with a header (see `sheet.read`), or a table as GMT writes it: longitude, latitude and value
        without a header. Any points may be missing.
    value : str, optional
        Name of the column with the values; a blank is a missing value. Needed if no column has a name of
        the layer and the table has more than one other column besides the coordinates.
    name : str
        Name of the layer, one of ``tfgmm.data.layers.LAYERS``.
    latitude, longitude : str, optional
        Names of the columns with coordinates in degrees (default: ``lat``, ``latitude``; ``lon``, ``lng``,
        ``long``, ``longitude``, in upper or lower case). Longitudes may count from 0 to 360.
    region : (west, south, east, north), optional
        Part of the map that is read, degrees.
    scale : float
        Factor from the column's unit to the layer's unit, for example 1000 from km to m.
    step : float, optional
        Step, degrees, of the raster onto which the points are interpolated linearly on their Delaunay
        triangles. Without `step` the points must be on a regular raster.
    missing : sequence of float
        Numbers, as in the file, that mark a missing value.

    Returns
    -------
    DataArray, [latitude, longitude]
        Depth (m) or Vs30 (m/s) on ascending axes; NaN where the table has no point, or, if interpolated,
        outside the convex hull of the points. Attributes ``units``, ``long_name``, ``source``, ``sha256``,
        ``column``, ``scale``, ``method``.

    Raises
    ------
    UsageError
        The layer is not known, the file or a column does not exist, or no point lies in the region.
    DataError
        A cell is not a number or out of range, two rows have the same point, or without `step` the points
        are not on a regular raster.
    """
    layers.known(name)
    points, column = _read_points(path, name, latitude, longitude, value)
    if unit := UNIT.search(column):
        shared.refuse_unit(f"{path}, column {column}", unit[1], scale, name)
    if value is None:
        shared.refuse_other_layer(str(path), column, name)

    def place(index: tuple[int, ...]) -> str:
        return f"{path}, {points.index.name} {points.index[index[0]]}, column {column}"

    points["value"], missing_attrs = shared.in_unit(
        name, points["value"].to_numpy(copy=True), place, scale, missing
    )
    points["longitude"] = shared.unbroken(points["longitude"], region)
    if step is None:
        raster, method = _make_raster(path, points), "as listed"
    else:
        raster, method = _interpolate(path, points, region, step), f"linear, step {step:g} degrees"
    attrs = {"source": path.name, "sha256": files.sha256(path)}
    attrs |= {"column": column, "scale": scale, "method": method, **missing_attrs}
    return layers.crop(layers.make(name, *raster, **attrs), region)


def _make_raster(path: Path, points: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Return latitudes, longitudes (degrees) and values [latitude, longitude] of regular points."""
    row, rows = _find_axis(path, points["latitude"])
    col, cols = _find_axis(path, points["longitude"])
    layers.refuse_large(path.name, (len(rows), len(cols)))
    shared.refuse_repeats(path, pd.Series(row * len(cols) + col, points.index))
    raster = np.full((len(rows), len(cols)), np.nan)
    raster[row, col] = points["value"]
    return rows, cols, raster


def _interpolate(path: Path, points: pd.DataFrame, region, step: float) -> tuple[np.ndarray, ...]:
    """Interpolate points linearly; return latitudes, longitudes (degrees) and values [latitude, longitude].

    The raster consists of the multiples of `step`, degrees, in the region, or around all points.
    """
    if len(points) > MOST_SCATTERED:
        raise UsageError(
            f"{path} holds {len(points)} points, at most {MOST_SCATTERED} are interpolated: thin them out, "
            "or bring a raster"
        )
    lat, lon, values = points["latitude"], points["longitude"], points["value"]
    west, south, east, north = region or (lon.min(), lat.min(), lon.max(), lat.max())
    ends = np.array([[south, north], [west, east]]) / step
    first, last = np.floor(ends[:, 0].round(6)), np.ceil(ends[:, 1].round(6))
    layers.refuse_large(path.name, last - first + 1)
    rows, cols = (np.arange(a, b + 1) * step for a, b in zip(first, last, strict=True))
    known = values.notna()
    shared.refuse_repeats(path, lat.round(6) + 1j * lon.round(6))
    try:
        surface = LinearNDInterpolator(np.stack([lat, lon], 1)[known], values[known])
    except (QhullError, ValueError) as error:
        raise DataError(
            f"{path}: {known.sum()} points with a value span no area: nothing to interpolate"
        ) from error
    return rows.round(9), cols.round(9), surface(*np.meshgrid(rows, cols, indexing="ij"))


def _read_points(
    path: Path, name: str, latitude: str | None, longitude: str | None, value: str | None
) -> tuple[pd.DataFrame, str]:
    """Return a table of latitude, longitude (degrees) and value, and the name of the values' column."""
    table = sheet.read(path, XYZ)
    chosen = {"latitude": latitude, "longitude": longitude}
    chosen = {axis: column for axis, column in chosen.items() if column}
    located = chosen if len(chosen) == 2 else sheet.locate_columns(table, PLACE) | chosen
    for axis in PLACE:
        if axis not in located:
            raise UsageError(
                f"{path} has no column of {axis}: name it, --{axis} COLUMN; its columns are "
                f"{listed(table.columns)}"
            )
    located["value"] = value or _choose_column(table, name, [*located.values()])
    points = sheet.read_columns(table, PLACE | {"value": VALUE}, located, drop_blank_rows=True)
    if points.empty:
        raise DataError(f"{path} holds no point: expected a row for each below the header")
    return points, located["value"]


def _choose_column(table: sheet.Sheet, name: str, coordinates: Sequence[str]) -> str:
    """Return the column that has a name of the layer, or the only column besides the coordinates."""
    others = [column for column in table.columns if column not in coordinates]
    named = sheet.find_column(others, VALUES[name])
    if named is None and len(others) != 1:
        raise UsageError(
            f"{table.path}: name the column with the values, --value COLUMN; its columns are "
            f"{listed(table.columns)}"
        )
    return named or others[0]


def _find_axis(path: Path, degrees: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each point on a regular axis, [n], and the ascending axis in degrees.

    Raises
    ------
    DataError
        The points do not lie on a regular axis.
    """
    distinct, position = np.unique(degrees.round(6), return_inverse=True)
    if len(distinct) < 2:
        raise DataError(
            f"{path}, column {degrees.name}: {len(distinct)} distinct values, a raster needs two"
        )
    gaps = np.diff(distinct)
    index = np.concatenate([[0], np.cumsum(np.round(gaps / statistics.median_low(gaps)))]).astype(int)
    layers.refuse_large(path.name, (index[-1] + 1, 2))
    step = (distinct[-1] - distinct[0]) / index[-1]
    distance = np.abs(distinct - (distinct[0] + step * index)) / step
    if distance.max() > TOLERANCE:
        worst = distinct[np.argmax(distance)]
        raise DataError(
            f"{path}, column {degrees.name}: {worst:g} lies {distance.max():.0%} of a step ({step:g}) off "
            f"a regular raster, at most {TOLERANCE:.0%} are allowed: interpolate the points onto one "
            "(--step, in degrees)"
        )
    return index[position], np.linspace(distinct[0], distinct[-1], index[-1] + 1).round(9)
