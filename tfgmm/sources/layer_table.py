"""Table of points on a regular raster -> site layer."""

import dataclasses
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm import files
from tfgmm.errors import DataError, UsageError
from tfgmm.layers import LAYERS
from tfgmm.records import Dataset

#: How far a point may lie off the raster, in steps: coordinates are often rounded.
TOLERANCE = 0.05


def read(
    path: Path, value: str, *, name: str = "z_bedrock", latitude: str = "lat", longitude: str = "lon"
) -> xr.DataArray:
    """A site layer from a CSV file of points on a regular raster of longitude and latitude.

    Parameters
    ----------
    path : Path
        CSV with a header; points may be missing anywhere.
    value : str
        Column with the layer's values in the layer's unit; a blank is a missing value.
    name : str
        Which layer it is, one of ``tfgmm.layers.LAYERS``.
    latitude, longitude : str
        Columns with degrees.

    Returns
    -------
    DataArray, [latitude, longitude]
        Both coordinates ascend; NaN where the table has no point. Attributes ``units``,
        ``long_name``, ``source``, ``sha256`` and ``column``.

    Raises
    ------
    UsageError
        The layer is not known, or the file or a column does not exist.
    DataError
        A cell is not a number or is negative, a point is there twice, or the points are on no
        regular raster.
    """
    if name not in LAYERS:
        raise UsageError(f"unknown site layer {name!r}: choose one of {', '.join(LAYERS)}")
    points = _points(path, [latitude, longitude, value])
    units, long_name = LAYERS[name]
    _refuse(
        path,
        points[value].astype(str),
        points[value] < 0,
        f"a {long_name} of 0 {units} or more, or a blank",
    )
    row, lat = _axis(path, points[latitude])
    col, lon = _axis(path, points[longitude])
    _refuse_repeats(path, pd.Series(row * len(lon) + col, points.index))
    raster = np.full((len(lat), len(lon)), np.nan)
    raster[row, col] = points[value]
    return xr.DataArray(
        raster,
        {
            "latitude": ("latitude", lat, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", lon, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        name=name,
        attrs={
            "units": units,
            "long_name": long_name,
            "source": path.name,
            "sha256": files.sha256(path),
            "column": value,
        },
    )


def attach(dataset: Dataset, layer: xr.DataArray) -> Dataset:
    """The dataset with a layer added, or put in place of the one of the same name.

    Its attributes become an entry of ``layers`` in the provenance. All layers of a dataset share
    one raster.

    Raises
    ------
    UsageError
        The dataset has another layer on another raster.
    """
    others = {name: other for name, other in (dataset.layers or {}).items() if name != layer.name}
    for name, other in others.items():
        if not (
            layer["latitude"].equals(other["latitude"]) and layer["longitude"].equals(other["longitude"])
        ):
            raise UsageError(
                f"layer {layer.name} ({_raster(layer)}) does not share the raster of {name} "
                f"({_raster(other)}): resample one to the other first"
            )
    layers = xr.Dataset({**others, layer.name: layer})
    entries = [entry for entry in dataset.provenance.get("layers", []) if entry["name"] != layer.name]
    entry = {"name": layer.name, **layer.attrs}
    return dataclasses.replace(
        dataset, layers=layers, provenance=dataset.provenance | {"layers": [*entries, entry]}
    )


def _points(path: Path, columns: list[str]) -> pd.DataFrame:
    """The columns as numbers, without blank lines; the index holds line numbers."""
    try:
        table = pd.read_csv(path, dtype=str, skip_blank_lines=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a CSV file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable CSV table: {error}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}: its columns are {', '.join(table.columns)}")
    table.index += 2
    table = table.dropna(how="all")[columns]
    points = table.apply(pd.to_numeric, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    for column in columns:
        required = column != columns[-1]
        bad = points[column].isna() & (required | table[column].notna())
        _refuse(path, table[column], bad, "a number")
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
    axis = np.linspace(distinct[0], distinct[-1], index[-1] + 1)
    step = axis[1] - axis[0]
    off = np.abs(distinct - axis[index]) / step
    if off.max() > TOLERANCE:
        worst = distinct[np.argmax(off)]
        raise DataError(
            f"{path}, column {degrees.name}: {worst:g} lies {off.max():.0%} of a step ({step:g}) off "
            f"a regular raster, at most {TOLERANCE:.0%} are allowed: interpolate the points onto a raster"
        )
    return index[where], axis.round(9)


def _refuse(path: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    if bad.any():
        line = bad.idxmax()
        raise DataError(f"{path}, line {line}, column {column.name}: {column[line]!r}, expected {expected}")


def _refuse_repeats(path: Path, cell: pd.Series) -> None:
    twice = cell.duplicated()
    if twice.any():
        line = twice.idxmax()
        first = (cell == cell[line]).idxmax()
        raise DataError(f"{path}, line {line}: the same point as line {first}: keep one of them")


def _raster(layer: xr.DataArray) -> str:
    lat, lon = layer["latitude"].to_numpy(), layer["longitude"].to_numpy()
    return f"{len(lat)} x {len(lon)} points, {lat[0]:g} to {lat[-1]:g} N, {lon[0]:g} to {lon[-1]:g} E"
