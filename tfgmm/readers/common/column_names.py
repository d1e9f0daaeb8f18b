"""What columns of tables of places, sites, stations and events are called, in one place."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import sheet

LONGITUDE = ("longitude", "lon", "long", "lng")
LATITUDE = ("latitude", "lat")
SITE = (
    *("siteid", "customsiteid", "stationid", "site", "station", "id"),
    *("stationcode", "sitecode", "code", "stationname", "sitename", "name"),
)
STATION = ("stationid", "station", "stationcode", "code", "sta")

#: Degrees by which two columns of one coordinate may differ, by rounding.
SAME_DEGREES = 0.001

_UNITS = re.compile(r"\(.*?\)|\[.*?\]|/[a-z]+$|_(?:deg|degrees?|dd|wgs84)$")


def plain(name: str) -> str:
    """Return a name in lower case without unit, blanks and punctuation.

    >>> [plain(name) for name in ("Longitude [deg]", "LAT_deg", "#EventID", "Depth/km", "site_id ")]
    ['longitude', 'lat', 'eventid', 'depth', 'siteid']
    """
    return re.sub(r"[\W_]", "", _UNITS.sub("", name.strip().lower()))


def find(columns: Sequence[str], names: Iterable[str]) -> str | None:
    """Return the column that has the first possible of some plain names, or None.

    Parameters
    ----------
    columns : sequence of str
        Names as they stand in the file.
    names : iterable of str
        Names that it may have, best first, as `LONGITUDE`; see `plain`.

    >>> find(["Site_ID", "Lng", "Lat"], LONGITUDE)
    'Lng'
    """
    present = {plain(column): column for column in reversed(columns)}
    return next((present[name] for name in names if name in present), None)


def needed(path: Path, columns: Sequence[str], names: Sequence[str]) -> str:
    """Return the column that has the first possible of some plain names.

    Raises
    ------
    UsageError
        There is none.
    """
    column = find(columns, names)
    if column is None:
        raise UsageError(
            f"{path} has no column {names[0]}: name one of its columns ({listed(columns)}) "
            f"{' or '.join(names[:4])}"
        )
    return column


def refuse_contradictions(table: sheet.Sheet) -> None:
    """Refuse a table with two columns of longitude or of latitude that differ.

    Raises
    ------
    DataError
        The message names both columns and the first row in which they differ.
    """
    for names in (LONGITUDE, LATITUDE):
        columns = [column for column in dict.fromkeys(table.columns) if plain(column) in names]
        for other in columns[1:]:
            first, second = (
                pd.to_numeric(table.with_points(table.text(column)), errors="coerce").to_numpy(float)
                for column in (columns[0], other)
            )
            rows = np.flatnonzero(np.abs(first - second) > SAME_DEGREES)
            if len(rows):
                raise DataError(
                    f"{table.path}, row {table.rows[rows[0]]}: columns {columns[0]!r} and {other!r} are "
                    f"both a {names[0]} and differ ({first[rows[0]]:g}, {second[rows[0]]:g}): "
                    "rename one of them"
                )
