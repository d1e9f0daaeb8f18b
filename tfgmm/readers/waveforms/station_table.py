"""The station table of waveform files (a small table) -> places, and what a unit of the samples is."""

from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.core.sphere import wrapped
from tfgmm.readers.common import columns, sheet
from tfgmm.readers.common.columns import NUMBER, Column
from tfgmm.readers.waveforms import instruments

COLUMNS = {
    "station": Column(
        columns.STATION, filled=True, expected="the code of a station", unique="each station once"
    ),
    "longitude": Column(columns.LONGITUDE, NUMBER, lowest=-180, highest=360),
    "latitude": Column(columns.LATITUDE, NUMBER, lowest=-90, highest=90),
    "elevation_m": Column(("elevationm", "elevation"), NUMBER),
    "sensor_depth_m": Column(("sensordepthm", "sensordepth"), NUMBER, lowest=0, highest=1e4),
    "unit": Column(("unit",)),
    "gain": Column(("gain",), NUMBER),
    "velocity_unit": Column(("velocityunit",)),
    "velocity_gain": Column(("velocitygain",), NUMBER),
}
PLACE = ("station", "longitude", "latitude")
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
    located = columns.locate(table, COLUMNS)
    missing = [name for name in PLACE if name not in located]
    if located.keys().isdisjoint(name for names in SCALES.values() for name in names):
        missing.append("unit or gain")
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}: see the docs on the station table of waveforms"
        )
    rows = columns.read(table, COLUMNS, located).reset_index(drop=True)
    scales = {quantity: _scale(table, located, rows, quantity) for quantity in SCALES}
    scaled = pd.DataFrame(scales).notna().any(axis=1)
    table.refuse(table.text(located["station"]), ~scaled, "a unit or a gain in its row, which has none")
    rows = rows.assign(**scales, longitude=wrapped(rows["longitude"]))
    return rows.drop(columns=["unit", "gain", "velocity_unit", "velocity_gain"])


def _scale(table: sheet.Sheet, located: dict, rows: pd.DataFrame, quantity: str) -> pd.Series:
    """Return SI units in one unit of the samples, by row: of its unit, or 1 / gain; NaN without either."""
    unit_name, gain_name, example = SCALES[quantity]
    unit, gain = rows[unit_name], rows[gain_name]
    scale = unit.map(lambda text: _size(text, quantity), na_action="ignore").astype(float)

    def refuse(name: str, bad: pd.Series, expected: str) -> None:
        if bad.any():
            table.refuse(table.text(located[name]), bad, expected)

    refuse(unit_name, unit.notna() & scale.isna(), f"a unit of {quantity}, as {example}")
    refuse(gain_name, gain.notna() & unit.notna(), f"a blank, as {unit_name} is told")
    good = gain.isna() | ((gain > 0) & np.isfinite(gain))
    refuse(gain_name, ~good, f"a gain in counts per {example}, above 0")
    return scale.fillna(1 / gain)


def _size(text: str, quantity: str) -> float:
    """Return one of a unit in SI units, NaN where it is no unit of the quantity."""
    unit = instruments.unit(text)
    return unit.si if unit and unit.quantity == quantity else np.nan
