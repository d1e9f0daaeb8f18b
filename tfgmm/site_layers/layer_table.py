"""Table of points -> site layer: on the points' own raster, or interpolated onto one."""

import statistics
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from tfgmm import files, layers
from tfgmm.errors import DataError, UsageError

#: How far a point may lie off the raster, in steps: coordinates are often rounded.
TOLERANCE = 0.05


def read(
    path: Path,
    value: str,
    *,
    name: str = "z_bedrock",
    latitude: str = "lat",
    longitude: str = "lon",
    region: layers.Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
) -> xr.DataArray:
    """A site layer from a CSV file of points.

    Parameters
    ----------
    path : Path
        CSV with a header; points may be missing anywhere.
    value : str
        Column with the layer's values; a blank is a missing value.
    name : str
        Which layer it is, one of ``tfgmm.layers.LAYERS``.
    latitude, longitude : str
        Columns with degrees.
    region : (west, south, east, north), optional
        Only this part, degrees.
    scale : float
        Factor from the column's unit to the layer's, 1000 for km.
    step : float, optional
        The points are on no raster: interpolate them linearly on their Delaunay triangles onto one
        of this step in degrees. Without it they must be on a regular raster.

    Returns
    -------
    DataArray, [latitude, longitude]
        Both coordinates ascend; NaN where the table has no point, or outside the convex hull.
        Attributes ``units``, ``long_name``, ``source``, ``sha256``, ``column``, ``scale``, ``method``.

    Raises
    ------
    UsageError
        The layer is not known, the file or a column does not exist, or nothing lies in the region.
    DataError
        A cell is not a number or cannot be, a point is there twice, or without `step` the points are
        on no regular raster.
    """
    units, long_name = layers.known(name)
    points = _points(path, [latitude, longitude, value])
    points[value] *= scale
    unlikely = ~points[value].between(0, layers.MAXIMUM[name]) & points[value].notna()
    expected = f"a {long_name} of 0 {units} or more, at most {layers.MAXIMUM[name]:g}, or a blank"
    refuse(path, points[value].astype(str), unlikely, expected)
    lat, lon, values = points[latitude], points[longitude], points[value]
    if step is None:
        raster, method = _on_raster(path, lat, lon, values), "as listed"
    else:
        raster, method = (
            _interpolated(path, lat, lon, values, region=region, step=step),
            f"linear, step {step:g} degrees",
        )
    attrs = {"column": value, "scale": scale, "method": method}
    source = {"source": path.name, "sha256": files.sha256(path)}
    return layers.crop(layers.make(name, *raster, **source, **attrs), region)


def _on_raster(path: Path, lat: pd.Series, lon: pd.Series, values) -> tuple[np.ndarray, ...]:
    """Latitudes, longitudes and values [latitude, longitude] of points on a regular raster."""
    row, rows = _axis(path, lat)
    col, cols = _axis(path, lon)
    layers.refuse_large(path.name, (len(rows), len(cols)))
    refuse_repeats(path, pd.Series(row * len(cols) + col, lat.index))
    raster = np.full((len(rows), len(cols)), np.nan)
    raster[row, col] = values
    return rows, cols, raster


def _interpolated(path, lat, lon, values, *, region, step) -> tuple[np.ndarray, ...]:
    """Linear interpolation at the multiples of `step` in the region, or around all points."""
    west, south, east, north = region or (lon.min(), lat.min(), lon.max(), lat.max())
    ends = np.array([[south, north], [west, east]]) / step
    first, last = np.floor(ends[:, 0].round(6)), np.ceil(ends[:, 1].round(6))
    layers.refuse_large(path.name, last - first + 1)
    rows, cols = (np.arange(a, b + 1) * step for a, b in zip(first, last, strict=True))
    given = values.notna()
    refuse_repeats(path, lat.round(6) + 1j * lon.round(6))
    try:
        surface = LinearNDInterpolator(np.stack([lat, lon], 1)[given], values[given])
    except (QhullError, ValueError) as error:
        raise DataError(
            f"{path}: {given.sum()} points with a value span no area: nothing to interpolate"
        ) from error
    return rows.round(9), cols.round(9), surface(*np.meshgrid(rows, cols, indexing="ij"))


def _points(path: Path, columns: list[str]) -> pd.DataFrame:
    """The columns as numbers, without blank lines; the index holds line numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines that are longer than the header
            table = pd.read_csv(path, dtype=str, skip_blank_lines=False, index_col=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a CSV file") from error
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} is no readable CSV table: {error}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}: its columns are {', '.join(table.columns)}")
    table.index += 2
    table = table.dropna(how="all")[columns]
    if table.empty:
        raise DataError(f"{path} holds no point: expected a line for each below the header")
    points = table.apply(pd.to_numeric, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    for column, limit in zip(columns, (90, 180, np.inf), strict=True):
        required = column != columns[-1]
        bad = points[column].isna() & (required | table[column].notna())
        refuse(path, table[column], bad, "a number")
        refuse(path, table[column], points[column].abs() > limit, f"at most {limit} degrees")
    return points


def _axis(path: Path, degrees: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Index of every point on the regular axis, and the axis, ascending."""
    distinct, where = np.unique(degrees.round(6), return_inverse=True)
    if len(distinct) < 2:
        raise DataError(
            f"{path}, column {degrees.name}: {len(distinct)} distinct values, a raster needs two"
        )
    gaps = np.diff(distinct)
    index = np.concatenate([[0], np.cumsum(np.round(gaps / statistics.median_low(gaps)))]).astype(int)
    layers.refuse_large(path.name, (index[-1] + 1, 2))
    step = (distinct[-1] - distinct[0]) / index[-1]
    off = np.abs(distinct - (distinct[0] + step * index)) / step
    if off.max() > TOLERANCE:
        worst = distinct[np.argmax(off)]
        raise DataError(
            f"{path}, column {degrees.name}: {worst:g} lies {off.max():.0%} of a step ({step:g}) off "
            f"a regular raster, at most {TOLERANCE:.0%} are allowed: interpolate the points onto one "
            "(--step, in degrees)"
        )
    return index[where], np.linspace(distinct[0], distinct[-1], index[-1] + 1).round(9)


def refuse(path: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    """Raise `DataError` that names the first line, the index of `column`, where `bad` is true."""
    if bad.any():
        line = bad.idxmax()
        value = column[line] if isinstance(column[line], str) else float(column[line])
        raise DataError(f"{path}, line {line}, column {column.name}: {value!r}, expected {expected}")


def refuse_repeats(path: Path, cell: pd.Series) -> None:
    """Raise `DataError` that names the first line, the index of `cell`, whose value was there before."""
    twice = cell.duplicated()
    if twice.any():
        line = twice.idxmax()
        first = (cell == cell[line]).idxmax()
        raise DataError(f"{path}, line {line}: the same point as line {first}: keep one of them")
