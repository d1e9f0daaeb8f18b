"""Small tables of places, sites, stations and events -> checked columns, whatever these are called."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import sheet

#: Plain names of columns (`plain`), best first.
LONGITUDE = ("longitude", "lon", "long", "lng")
LATITUDE = ("latitude", "lat")
SITE = (
    *("siteid", "customsiteid", "stationid", "site", "station", "id"),
    *("stationcode", "sitecode", "code", "stationname", "sitename", "name"),
)
STATION = ("stationid", "station", "stationcode", "code", "sta")

#: Kinds of columns: how their cells are read.
TEXT, NUMBER, NUMERAL = "text", "number", "numeral"
#: Degrees by which two columns of one coordinate may differ, by rounding.
SAME_DEGREES = 0.001

_UNITS = re.compile(r"\(.*?\)|\[.*?\]|/[a-z]+$|_(?:deg|degrees?|dd|wgs84)$")


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a small table: how it may be called and what its cells may hold.

    Attributes
    ----------
    names : tuple of str
        Plain names that the column may have in the file, best first, as `LONGITUDE`.
    kind : str
        `TEXT`; `NUMBER`; or `NUMERAL`, the text of numbers, with decimal points and not checked.
    required : bool
        The table must have the column.
    filled : bool
        Where the table has the column, each row must have a value.
    lowest, highest : float
        Range of numbers, its ends included.
    expected : str
        Expected value of a cell, for messages; default: a number in the range.
    unique : str
        Expected value, for messages, where a value is repeated; empty: values may be repeated.
    sentinels : bool
        Take -999, -9999, 1e36 and their like for blanks, as `Sheet.text` does.
    """

    names: tuple[str, ...]
    kind: str = TEXT
    required: bool = False
    filled: bool = False
    lowest: float = -np.inf
    highest: float = np.inf
    expected: str = ""
    unique: str = ""
    sentinels: bool = True


def locate(table: sheet.Sheet, columns: Mapping[str, Column]) -> dict[str, str]:
    """Return key -> name of its column in the file, for the columns that a table has.

    Parameters
    ----------
    table : Sheet
    columns : mapping of Column
        Key -> how its column may be called.

    Raises
    ------
    DataError
        Two columns are a longitude, or a latitude, and differ.
    """
    _refuse_contradictions(table)
    located = {key: find(table.columns, column.names) for key, column in columns.items()}
    return {key: name for key, name in located.items() if name is not None}


def read(
    table: sheet.Sheet,
    columns: Mapping[str, Column],
    located: Mapping[str, str] | None = None,
    *,
    drop_blank_rows: bool = False,
) -> pd.DataFrame:
    """Read the columns of a small table and check their cells.

    Parameters
    ----------
    table : Sheet
    columns : mapping of Column
        Key -> how its column may be called and what its cells may hold.
    located : mapping of str, optional
        Key -> name of its column in the file; default: as `locate` returns it.
    drop_blank_rows : bool
        Leave out rows in which all these columns are blank.

    Returns
    -------
    pandas.DataFrame
        A column for each key of `columns`, in their order: text, or float for a `NUMBER`; NaN where
        blank, and in all rows where the table lacks the column. The index, ``row``, numbers the rows as
        in the file.

    Raises
    ------
    UsageError
        A required column is not there.
    DataError
        A cell is wrong; the message names file, row, column, value and the value expected.
    """
    located = locate(table, columns) if located is None else located
    for key, column in columns.items():
        if column.required and key not in located:
            raise lacking(table, column.names)
    values = {key: _read_cells(table, column, located.get(key)) for key, column in columns.items()}
    rows = pd.DataFrame(values)
    blank = rows.isna().all(axis=1) & drop_blank_rows
    for key, name in located.items():
        _refuse_cells(table, name, rows[key], columns[key], blank)
    return rows.set_axis(pd.Index(table.rows, name="row"))[~blank.to_numpy()]


def lacking(table: sheet.Sheet, names: Sequence[str]) -> UsageError:
    """Return the error to raise for a table without a column of any of some plain names."""
    return UsageError(
        f"{table.path} has no column {names[0]}: name one of its columns ({listed(table.columns)}) "
        f"{' or '.join(names[:4])}"
    )


def plain(name: str) -> str:
    """Return a name in lower case without unit, blanks and punctuation.

    >>> [plain(name) for name in ("Longitude [deg]", "LAT_deg", "#EventID", "Depth/km", "site_id ")]
    ['longitude', 'lat', 'eventid', 'depth', 'siteid']
    """
    return re.sub(r"[\W_]", "", _UNITS.sub("", name.strip().lower()))


def find(names: Sequence[str], candidates: Iterable[str]) -> str | None:
    """Return the column that has the best of some plain names, None where no column has any.

    Parameters
    ----------
    names : sequence of str
        Names of columns as they stand in the file.
    candidates : iterable of str
        Plain names that the column may have, best first, as `LONGITUDE`; see `plain`.

    >>> find(["Site_ID", "Lng", "Lat"], LONGITUDE)
    'Lng'
    """
    present = {plain(name): name for name in reversed(names)}
    return next((present[candidate] for candidate in candidates if candidate in present), None)


def _read_cells(table: sheet.Sheet, column: Column, name: str | None) -> pd.Series:
    """Return the cells of a column as its kind has them; all blank where the table lacks the column."""
    if name is None:
        kind = float if column.kind == NUMBER else "str"
        return pd.Series(None, range(table.table.num_rows), dtype=kind)
    if column.kind == NUMBER:
        return table.number(name, column.sentinels)
    text = table.text(name, column.sentinels)
    return table.with_points(text) if column.kind == NUMERAL else text


def _refuse_cells(
    table: sheet.Sheet, name: str, values: pd.Series, column: Column, ignored: pd.Series
) -> None:
    """Raise `DataError` for the first cell that is blank, out of range or repeated and must not be."""
    wrong = values.isna() & column.filled & ~ignored
    if column.kind == NUMBER:
        wrong |= values.notna() & ~values.between(column.lowest, column.highest)
    expected = column.expected or f"a number from {column.lowest:g} to {column.highest:g}"
    twice = values.duplicated() & values.notna() & bool(column.unique)
    for bad, message in ((wrong, expected), (twice, column.unique)):
        if bad.any():  # the text is not kept: a table of points may have millions
            table.refuse(table.text(name, column.sentinels), bad, message)


def _refuse_contradictions(table: sheet.Sheet) -> None:
    """Raise `DataError` if two columns are a longitude, or a latitude, and differ in a row."""
    for names in (LONGITUDE, LATITUDE):
        same = [name for name in dict.fromkeys(table.columns) if plain(name) in names]
        for second_name in same[1:]:
            first, second = (
                pd.to_numeric(table.with_points(table.text(name)), errors="coerce").to_numpy(float)
                for name in (same[0], second_name)
            )
            rows = np.flatnonzero(np.abs(first - second) > SAME_DEGREES)
            if len(rows):
                raise DataError(
                    f"{table.path}, row {table.rows[rows[0]]}: columns {same[0]!r} and {second_name!r} are "
                    f"both a {names[0]} and differ ({first[rows[0]]:g}, {second[rows[0]]:g}): "
                    "rename one of them"
                )
