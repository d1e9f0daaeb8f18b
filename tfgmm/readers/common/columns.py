"""Read and check columns of small tables of places, sites, stations and events, under various names."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import sheet

#: Plain names (`plain`) that a column of this content may have, the preferred name first.
LONGITUDE = ("longitude", "lon", "long", "lng")
LATITUDE = ("latitude", "lat")
SITE = (
    *("siteid", "customsiteid", "stationid", "site", "station", "id"),
    *("stationcode", "sitecode", "code", "stationname", "sitename", "name"),
)
STATION = ("stationid", "station", "stationcode", "code", "sta")

#: Kinds of columns, which say how the cells are read; see `Column`.
TEXT, NUMBER, NUMERAL = "text", "number", "numeral"
#: Largest difference by rounding between two columns of the same coordinate, degrees.
SAME_DEGREES = 0.001

_UNITS = re.compile(r"\(.*?\)|\[.*?\]|/[a-z]+$|_(?:deg|degrees?|dd|wgs84)$")


@dataclasses.dataclass(frozen=True)
class Column:
    """Description of a column of a small table: its possible names, and the values of its cells.

    Attributes
    ----------
    names : tuple of str
        Plain names (`plain`) that the column may have in the file, the preferred name first.
    kind : str
        `TEXT`, `NUMBER` (checked numbers) or `NUMERAL` (numbers as unchecked text, with decimal points).
    required : bool
        Whether the table must have the column.
    filled : bool
        Whether each row must have a value, if the table has the column.
    lowest, highest : float
        Smallest and largest allowed number.
    expected : str
        Description of a correct cell, for messages; by default "a number from lowest to highest".
    unique : str
        Description of a correct cell, for the message about a repeated value; empty if values may repeat.
    sentinels : bool
        Whether -999, -9999, 1e36 and similar numbers count as blank cells, as in `Sheet.text`.
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
    """Find the columns of a table by their possible names, and return the names in the file by key.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    columns : mapping of str to Column
        Description of each wanted column, by key.

    Returns
    -------
    dict of str to str
        Name of the column in the file, by key; a key whose column the table lacks is left out.

    Raises
    ------
    DataError
        Two columns are both a longitude, or both a latitude, and their values differ.
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
    """Read columns of a small table, check their cells, and return them under the given keys.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    columns : mapping of str to Column
        Description of each wanted column, by key.
    located : mapping of str to str, optional
        Name of the column in the file, by key; by default the result of `locate`.
    drop_blank_rows : bool
        Whether rows are left out in which all these columns are blank.

    Returns
    -------
    pandas.DataFrame
        One column per key of `columns`, in the same order: float for a `NUMBER`, else text. NaN where
        blank, and in all rows if the table lacks the column. The index, named ``row``, is the number of the
        row in the file.

    Raises
    ------
    UsageError
        The table lacks a required column.
    DataError
        A cell is wrong; the message names file, row, column, value and expected value.
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
    """Return (not raise) the error for a table that lacks a column.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    names : sequence of str
        Plain names that the column may have, the preferred name first.

    Returns
    -------
    UsageError
        The error; its message lists the columns of the table.
    """
    return UsageError(
        f"{table.path} has no column {names[0]}: name one of its columns ({listed(table.columns)}) "
        f"{' or '.join(names[:4])}"
    )


def plain(name: str) -> str:
    """Return the name of a column in lower case, without unit, blanks and punctuation.

    Parameters
    ----------
    name : str
        Name of a column in a file.

    Returns
    -------
    str
        Plain name, for comparison with names such as `LONGITUDE`.

    Examples
    --------
    >>> [plain(name) for name in ("Longitude [deg]", "LAT_deg", "#EventID", "Depth/km", "site_id ")]
    ['longitude', 'lat', 'eventid', 'depth', 'siteid']
    """
    return re.sub(r"[\W_]", "", _UNITS.sub("", name.strip().lower()))


def find(names: Sequence[str], candidates: Iterable[str]) -> str | None:
    """Return the column of a file whose plain name comes first in a list of candidates.

    Parameters
    ----------
    names : sequence of str
        Names of the columns in the file.
    candidates : iterable of str
        Plain names (`plain`) that the column may have, the preferred name first, such as `LONGITUDE`.

    Returns
    -------
    str or None
        Name of the column in the file; None if no column has one of the plain names.

    Examples
    --------
    >>> find(["Site_ID", "Lng", "Lat"], LONGITUDE)
    'Lng'
    """
    present = {plain(name): name for name in reversed(names)}
    return next((present[candidate] for candidate in candidates if candidate in present), None)


def _read_cells(table: sheet.Sheet, column: Column, name: str | None) -> pd.Series:
    """Return the cells of a column as numbers or text, by its kind; all blank if there is no column."""
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
    """Raise `DataError` for the first cell of a column that is wrongly blank, out of range or repeated."""
    wrong = values.isna() & column.filled & ~ignored
    if column.kind == NUMBER:
        wrong |= values.notna() & ~values.between(column.lowest, column.highest)
    expected = column.expected or f"a number from {column.lowest:g} to {column.highest:g}"
    twice = values.duplicated() & values.notna() & bool(column.unique)
    for bad, message in ((wrong, expected), (twice, column.unique)):
        if bad.any():  # the text is not kept: a table of points may have millions
            table.refuse(table.text(name, column.sentinels), bad, message)


def _refuse_contradictions(table: sheet.Sheet) -> None:
    """Raise `DataError` if two columns are both a longitude, or both a latitude, and differ in a row."""
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
