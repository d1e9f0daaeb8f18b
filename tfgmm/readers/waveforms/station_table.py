"""The station table of waveform files (a small table) -> places, and what a unit of the samples is."""

from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.core.sphere import wrapped
from tfgmm.readers.common import column_names, sheet
from tfgmm.readers.waveforms import instruments

#: Names of the columns, plain; all but the first three may be left out.
NAMES = {
    "station": column_names.STATION,
    "longitude": column_names.LONGITUDE,
    "latitude": column_names.LATITUDE,
    "elevation_m": ("elevationm", "elevation"),
    "sensor_depth_m": ("sensordepthm", "sensordepth"),
    "unit": ("unit",),
    "gain": ("gain",),
    "velocity_unit": ("velocityunit",),
    "velocity_gain": ("velocitygain",),
}
REQUIRED = ("station", "longitude", "latitude")
TEXTS = ("station", "unit", "velocity_unit")
#: Columns of unit and gain, and an example of the unit, by what they are the scale of.
SCALES = {
    instruments.ACCELERATION: ("unit", "gain", "m/s^2"),
    instruments.VELOCITY: ("velocity_unit", "velocity_gain", "m/s"),
}


def read(path: Path) -> pd.DataFrame:
    """Read the station table.

    Parameters
    ----------
    path : Path
        A table that `sheet.read` takes, with ``station`` (``STA`` or ``NET.STA``), ``longitude``,
        ``latitude``, and ``unit`` (as m/s^2, gal, nm/s^2) or ``gain`` (counts per m/s^2); for velocities
        ``velocity_unit`` (as m/s) or ``velocity_gain`` (counts per m/s); optionally ``elevation_m``,
        ``sensor_depth_m``.

    Returns
    -------
    pandas.DataFrame
        ``station``, ``longitude`` and ``latitude`` (degrees), ``elevation_m``, ``sensor_depth_m``, and
        ``acceleration`` and ``velocity``: m/s^2 and m/s in one unit of the samples, NaN where not told.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        It is no table, lacks a column, or a cell is not what it should be.
    """
    table = sheet.read(path)
    column_names.refuse_contradictions(table)
    columns = {name: column_names.find(table.columns, plain) for name, plain in NAMES.items()}
    missing = [name for name in REQUIRED if columns[name] is None]
    if not (columns["unit"] or columns["gain"] or columns["velocity_unit"] or columns["velocity_gain"]):
        missing.append("unit or gain")
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}: see the docs on the station table of waveforms"
        )
    blank = pd.Series(None, range(table.table.num_rows), dtype=object)
    cells = {name: blank if column is None else table.text(column) for name, column in columns.items()}
    rows = {name: cells[name] if name in TEXTS else table.to_number(cells[name]) for name in NAMES}
    _refuse_wrong_cells(table, cells, rows)
    for quantity in SCALES:
        rows[quantity] = _scale(table, cells, rows, quantity)
    told = rows[instruments.ACCELERATION].notna() | rows[instruments.VELOCITY].notna()
    table.refuse(cells["station"], ~told, "a unit or a gain in its row, which has none")
    rows["longitude"] = wrapped(rows["longitude"])
    return pd.DataFrame(rows).drop(columns=["unit", "gain", "velocity_unit", "velocity_gain"])


def _refuse_wrong_cells(table: sheet.Sheet, cells: dict, rows: dict) -> None:
    station = cells["station"]
    table.refuse(station, station.isna(), "the code of a station")
    table.refuse(station, station.duplicated(), "each station once")
    ranges = {"longitude": (-180, 360), "latitude": (-90, 90), "sensor_depth_m": (0, 1e4)}
    for name, (lowest, highest) in ranges.items():
        outside = rows[name].notna() & ~rows[name].between(lowest, highest)
        table.refuse(cells[name], outside, f"a number from {lowest:g} to {highest:g}")


def _scale(table: sheet.Sheet, cells: dict, rows: dict, quantity: str) -> pd.Series:
    """SI units in one unit of the samples, by row: of its unit, or 1 / gain; NaN where neither is told."""
    unit_name, gain_name, example = SCALES[quantity]
    unit, gain = cells[unit_name], rows[gain_name]
    scale = unit.map(lambda text: _size(text, quantity), na_action="ignore").astype(float)
    table.refuse(unit, unit.notna() & scale.isna(), f"a unit of {quantity}, as {example}")
    table.refuse(cells[gain_name], gain.notna() & unit.notna(), f"a blank, as {unit_name} is told")
    good = gain.isna() | ((gain > 0) & np.isfinite(gain))
    table.refuse(cells[gain_name], ~good, f"a gain in counts per {example}, above 0")
    return scale.fillna(1 / gain)


def _size(text: str, quantity: str) -> float:
    unit = instruments.unit(text)
    return unit.si if unit and unit.quantity == quantity else np.nan
