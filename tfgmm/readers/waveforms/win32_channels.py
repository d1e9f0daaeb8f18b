"""The channel table of NIED WIN32 files: lines -> stations, units and sensitivities, nothing chosen."""

import math
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.readers.common import bounded

_STATION, _COMPONENT, _UNIT = 4, 5, 9
#: Columns of the channel table with numbers, from 1: name and range. Shifted columns fall out of them.
_NUMBERS = {
    2: ("recording flag", 0, 1e6),
    3: ("delay", -1e6, 1e6),
    6: ("monitor size", 0, 100),
    7: ("bits", 1, 64),
    8: ("sensitivity", -1e12, 1e12),
    10: ("natural period", 0, 1e4),
    11: ("damping", 0, 100),
    12: ("gain_db", -200, 200),
    13: ("lsb_v", -1, 1),
    14: ("latitude", -90, 90),
    15: ("longitude", -180, 360),
}
_FIRST_NUMBER, _LAST_NUMBER = 5, 18
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
#: Numbers without a blank between them, all but the first with a sign.
_GLUED = re.compile(rf"{_NUMBER.pattern}(?:(?=[-+]){_NUMBER.pattern})+")


class Fault(NamedTuple):
    """A line of a channel table that cannot be used: its channel, where it is told, and what is wrong."""

    channel: int | None
    message: str


class ChannelTable(NamedTuple):
    """What a channel table says.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row a channel: ``channel`` (int), ``station``, ``component``, ``unit``, ``bits`` of a sample,
        ``sensitivity`` (V per unit), ``gain_db``, ``lsb_v``, ``latitude``, ``longitude`` (degrees) and
        ``per_count``, the units of one count. NaN where the table has ``*``; ``per_count`` also where it
        would be no number.
    faults : list of Fault
        Lines that are left out.
    repaired : list of str
        Lines in which numbers were glued together, and how they are read.
    """

    rows: pd.DataFrame
    faults: list[Fault]
    repaired: list[str]


def read(path: Path) -> ChannelTable:
    """Read a channel table: one line a channel; lines that begin with ``#`` are comments.

    One count is ``lsb_v / (sensitivity * 10^(gain_db / 20))`` of the unit. Columns of fixed width may
    have grown together. Where a sign in the midst of a number shows it (``0.70-10``) they are taken
    apart; any other line in which a column is not what it must be is left out.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        No line can be read, or a channel is listed twice.
    """
    rows, faults, repaired = {}, [], []
    # Bytes: names in the last columns come in several encodings.
    for number, line in enumerate(bounded.content(path).split(b"\n"), 1):
        fields = [field.decode("ascii", "replace") for field in line.split()]
        if not fields or fields[0].startswith("#"):
            continue
        fields, apart = _taken_apart(fields)
        where = f"{path.name}, line {number}"
        try:
            row = _channel(fields)
        except ValueError as error:
            faults.append(Fault(_channel_number(fields[0]), f"{where}, {error}"))
            continue
        if row["channel"] in rows:
            raise DataError(f"{path}, line {number}: channel {fields[0]} is listed twice: keep one")
        rows[row["channel"]] = row
        repaired += [f"{where}: {text}" for text in apart]
    if not rows:
        reason = faults[0].message if faults else "it has no lines"
        raise DataError(f"{path} lists no channel ({reason}): is it the channel table of the WIN32 files?")
    return ChannelTable(pd.DataFrame(list(rows.values())), faults, repaired)


def _taken_apart(fields: list[str]) -> tuple[list[str], list[str]]:
    """Fields of a line, numbers that were glued together apart, and what was glued."""
    apart, glued = [], []
    for field in fields:
        numeric = _FIRST_NUMBER <= len(apart) < _LAST_NUMBER
        parts = _NUMBER.findall(field) if numeric and _GLUED.fullmatch(field) else [field]
        apart += parts
        if len(parts) > 1:
            glued.append(f"{field} read as {' and '.join(parts)}")
    return apart, glued


def _channel(fields: list[str]) -> dict:
    """The row of a line; `ValueError` names the column that is not what it must be."""
    if len(fields) < max(_NUMBERS):
        raise ValueError(f"{len(fields)} columns, expected {max(_NUMBERS)} or more")
    row = {"channel": _channel_number(fields[0])}
    if row["channel"] is None:
        raise ValueError(f"column 1: channel {fields[0]}, expected 0000 to ffff in hexadecimal")
    for name, column in (("station", _STATION), ("component", _COMPONENT), ("unit", _UNIT)):
        row[name] = fields[column - 1]
    for column, (name, lowest, highest) in _NUMBERS.items():
        row[name] = _number(fields[column - 1], column, name, lowest, highest)
    return row | {"per_count": _per_count(row)}


def _channel_number(text: str) -> int | None:
    return int(text, 16) if re.fullmatch("[0-9a-fA-F]{1,4}", text) else None


def _number(text: str, column: int, name: str, lowest: float, highest: float) -> float:
    if text == "*":
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise ValueError(
            f"column {column}: {text!r}, expected a number from {lowest:g} to {highest:g} ({name}); "
            "are columns glued together?"
        )
    return value


def _per_count(row: dict) -> float:
    try:
        value = row["lsb_v"] / (row["sensitivity"] * 10 ** (row["gain_db"] / 20))
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return value if math.isfinite(value) and value != 0 else math.nan
