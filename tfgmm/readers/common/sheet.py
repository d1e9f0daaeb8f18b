"""Read a table file (text, Excel, Parquet) into named columns; identify other files."""

import contextlib
import dataclasses
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import bounded, table_files

#: Pattern of a text that marks a missing value: -999, -9999, -999.0, -999.99, ..., #N/A.
SENTINEL = r"-9{3,}(?:\.0*|\.9+)?|#N/A"
#: Numbers of at least this size mark missing values: the largest 32-bit number, NetCDF's 9.97e36.
FILL = 1e36
#: Words that mark a missing number. In columns of text they are ordinary text: NA is a network.
NO_NUMBER = ["nan", "na", "n/a", "null", "none", "-", "--", "."]
DECIMAL_COMMA = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?"
PARQUET = b"PAR1"
AS_CSV = "write the table as CSV"
UNPACK = "unpack it and give the table in it"
#: Kind of a file that is no readable table, and advice to the user, by the first bytes of the file.
MAGIC = {
    b"\xd0\xcf\x11\xe0": (
        "an Excel workbook of before 2007 (.xls), or one with a password",
        "save it as .xlsx without password, or as CSV",
    ),
    b"MATLAB ": ("a MATLAB file (.mat)", f"{AS_CSV} (writetable)"),
    b"\x89HDF": ("an HDF5 file (also .h5, NetCDF-4)", AS_CSV),
    b"CDF": ("a NetCDF file", AS_CSV),
    b"ARROW1": ("an Arrow or Feather file", "write the table as Parquet"),
    b"SQLite format 3": ("an SQLite database", AS_CSV),
    b"\x93NUMPY": ("a NumPy array (.npy)", AS_CSV),
    b"\x80\x03": ("a Python pickle", AS_CSV),
    b"\x80\x04": ("a Python pickle", AS_CSV),
    b"\x80\x05": ("a Python pickle", AS_CSV),
    b"RDX": ("an R data file", f"{AS_CSV} (write.csv)"),
    b"<stata_dta>": ("a Stata file", AS_CSV),
    b"$FL2": ("an SPSS file", AS_CSV),
    b"II*\0": ("a TIFF image", "give a table"),
    b"MM\0*": ("a TIFF image", "give a table"),
    b"\x89PNG": ("an image", "give a table"),
    b"\xff\xd8\xff": ("an image", "give a table"),
    b"%PDF": ("a PDF document", "ask for the table as CSV"),
    b"{\\rtf": ("a text document (RTF)", "save it as plain text"),
    b"Rar!": ("a RAR archive", UNPACK),
    b"7z\xbc\xaf": ("a 7-Zip archive", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a file compressed with Zstandard", "unpack it, or compress it with gzip"),
}
#: Kind of a ZIP archive that is no readable table, and advice, by the name of a file in the archive.
ZIPPED = {
    "xl/workbook.bin": ("a binary Excel workbook (.xlsb)", "save it as .xlsx or CSV"),
    "word/document.xml": ("a Word document", "save the table as CSV"),
    "content.xml": ("an OpenDocument file (.ods)", "save it as .xlsx or CSV"),
}
ZIP = b"PK\x03\x04"
ODS = b"application/vnd.oasis.opendocument"

_comma = False


@contextlib.contextmanager
def decimal_comma(used: bool = True) -> Iterator[None]:
    """Read numbers in text with a decimal comma while the block runs, as ``--decimal-comma`` asks.

    Parameters
    ----------
    used : bool
        Whether the comma is the decimal sign; if false, the point is.
    """
    global _comma  # noqa: PLW0603 - an option for all tables that a command reads
    before, _comma = _comma, used
    try:
        yield
    finally:
        _comma = before


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Table as it stands in a file, before cells are converted and checked.

    Attributes
    ----------
    path : Path
        File of the table, for messages.
    table : pyarrow.Table, [n_rows, n_columns]
        Cells, most of them text.
    rows : ndarray of int, [n_rows]
        Number of each row in the file, as an editor or a spreadsheet counts lines; in Parquet from 1.
    encoding : str or None
        Encoding of a text file; None for other files.
    decimal : str
        Decimal sign of numbers in text, point or comma.
    """

    path: Path
    table: pa.Table
    rows: np.ndarray
    encoding: str | None = None
    decimal: str = "."

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns, in the order of the file."""
        return self.table.column_names

    def text(self, name: str, sentinels: bool = True) -> pd.Series:
        """Return a column as text without surrounding blanks; missing where the cell is blank.

        Parameters
        ----------
        name : str
            Name of the column in the file.
        sentinels : bool
            Whether cells such as -999 and -9999 (`SENTINEL`) also count as missing.

        Returns
        -------
        pandas.Series of str, [n_rows]
            Text of the cells, with an index from 0.

        Raises
        ------
        UsageError
            The table has no such column.
        DataError
            The table has several columns of this name.
        """
        count = self.columns.count(name)
        if count == 0:
            raise UsageError(
                f"{self.path} has no column {name!r}: its columns are {listed(self.columns, 100)}"
            )
        if count > 1:
            raise DataError(f"{self.path}: column {name!r} is there {count} times, expected once")
        values = self.table.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            values = pa.array(map(table_files.as_text, values.to_pandas()), pa.string())
        column = values.to_pandas().astype("str").str.strip()
        missing = column.isna() | (column == "") | (sentinels & column.str.fullmatch(SENTINEL))
        return column.mask(missing).rename(name)

    def number(self, name: str, sentinels: bool = True) -> pd.Series:
        """Return a column as numbers; NaN where the cell is blank or marks a missing value.

        Parameters
        ----------
        name : str
            Name of the column in the file.
        sentinels : bool
            Whether cells such as -999 (`SENTINEL`), and numbers of 1e36 or more, also count as missing.

        Returns
        -------
        pandas.Series of float, [n_rows]
            Numbers, with an index from 0.

        Raises
        ------
        UsageError
            The table has no such column.
        DataError
            The table has several columns of this name, or a cell is neither a number nor a mark of a
            missing number.
        """
        return self.to_number(self.text(name, sentinels), sentinels)

    def to_number(self, text: pd.Series, sentinels: bool = True) -> pd.Series:
        """Return a column of text, as `text` returns it, as numbers; NaN where missing.

        Parameters
        ----------
        text : pandas.Series of str, [n_rows]
            Column of this table.
        sentinels : bool
            Whether numbers of 1e36 or more in absolute value count as missing.

        Returns
        -------
        pandas.Series of float, [n_rows]
            Numbers.

        Raises
        ------
        DataError
            A cell is neither a number nor a mark of a missing number; the message names the first one.
        """
        values = pd.to_numeric(self.with_points(text), errors="coerce").astype(float)
        absent = text.isna() | text.str.lower().isin(NO_NUMBER)
        bad = values.isna() & ~absent
        expected = "a number, a blank or a sentinel such as -999"
        if self.decimal == "." and bad.any() and text[bad].str.fullmatch(DECIMAL_COMMA).all():
            expected += "; decimal commas are read with --decimal-comma"
        self.refuse(text, bad, expected)
        fill = (values.abs() >= FILL) & np.isfinite(values)
        return values.mask(fill) if sentinels else values

    def with_points(self, text: pd.Series) -> pd.Series:
        """Return numbers, given as text, with decimal points in place of the decimal sign of the table.

        Parameters
        ----------
        text : pandas.Series of str, [n_rows]
            Column of this table.

        Returns
        -------
        pandas.Series of str, [n_rows]
            Text with decimal points; a point in a table with decimal commas becomes ``?``, which is no
            number.
        """
        if self.decimal == ".":
            return text
        # Where the comma is the decimal sign, a point can only stand between thousands.
        return text.str.replace(".", "?", regex=False).str.replace(",", ".", regex=False)

    def refuse(self, column: pd.Series, bad, expected: str) -> None:
        """Raise an error that names the first bad cell of a column; do nothing if no cell is bad.

        Parameters
        ----------
        column : pandas.Series of str, [n_rows]
            Column of this table.
        bad : array_like of bool, [n_rows]
            True for bad cells.
        expected : str
            Description of a correct cell, for the message.

        Raises
        ------
        DataError
            A cell is bad.
        """
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(np.argmax(bad))
            message = f"{self.path}, row {self.rows[row]}, column {column.name}: {column.iloc[row]!r}"
            if row == 0 and bad.sum() == 1 and column.iloc[1:].notna().any():
                expected += "; if the row is a second line of the header, as of units, delete it"
            raise DataError(f"{message}, expected {expected}")


def read(path: Path, unnamed: Sequence[str] = ()) -> Sheet:
    """Read the table in a file: Excel (first sheet), Parquet, else text with a header.

    Text is read by `table_files.read_delimited`.

    The first bytes of the file decide its kind. The file may be compressed with gzip, bzip2 or xz.

    Parameters
    ----------
    path : Path
        File to read.
    unnamed : sequence of str
        Names of the columns for text without a header: used if the first line has as many cells and all of
        them are numbers.

    Returns
    -------
    Sheet
        The table, with at least one row.

    Raises
    ------
    UsageError
        The file does not exist, or is no regular file.
    DataError
        The file is damaged, no table, has no rows, or would take too much memory (`bounded.refuse`).
    """
    content, encoding = bounded.content(path), None
    try:
        if _is_workbook(content):
            table, rows = table_files.read_workbook(path, content)
        elif content.startswith(PARQUET):
            table = _read_parquet(path, content)
            rows = np.arange(1, table.num_rows + 1)
        else:
            _refuse_other_files(path, content)
            table, rows, encoding = table_files.read_delimited(path, content, unnamed)
    except MemoryError as error:
        raise DataError(f"{path} does not fit into the memory there is") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows below its header")
    names = [str(name).strip() for name in table.column_names]
    decimal = "," if encoding and _comma else "."
    return Sheet(path, table.rename_columns(names), rows, encoding, decimal)


def _read_parquet(path: Path, content: bytes) -> pa.Table:
    """Return the table of a Parquet file; text columns are dictionaries that hold a repeated text once."""
    try:
        with pa.BufferReader(content) as source:
            file = pa.parquet.ParquetFile(source)
            layout = file.metadata
            unpacked = sum(layout.row_group(i).total_byte_size for i in range(layout.num_row_groups))
            bounded.refuse(max(unpacked, 8 * layout.num_rows * layout.num_columns), len(content), path)
            texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
            file = pa.parquet.ParquetFile(source, read_dictionary=texts)
            batches, size = [], 0
            for batch in file.iter_batches():
                size += sum(map(_decoded_bytes, batch.columns))
                bounded.refuse(size, len(content), path)
                batches.append(batch)
            return pa.Table.from_batches(batches, file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path} is no whole Parquet file ({reason})") from error


def _is_text(kind: pa.DataType) -> bool:
    """Return True if an Arrow data type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _decoded_bytes(column: pa.Array) -> int:
    """Return the number of bytes of a column if each row holds its own copy of the text."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary)
    return 8 * len(column) + (pc.sum(lengths.take(column.indices)).as_py() or 0)


# ---- files that are no tables ------------------------------------------------------------------


def _refuse_other_files(path: Path, content: bytes) -> None:
    """Raise `DataError` with the kind of a file and advice, if the kind is known and is no table."""
    kind = _zip_kind(path, content) if content.startswith(ZIP) else _kind(content)
    if kind:
        raise DataError(f"{path} is {kind[0]}, which is not read as a table: {kind[1]}")


def _is_workbook(content: bytes) -> bool:
    """Return True if bytes are those of an Excel workbook of 2007 or later, which is a ZIP archive."""
    return content.startswith(ZIP) and "xl/workbook.xml" in _zip_names(content)


def _kind(content: bytes) -> tuple[str, str] | None:
    """Return the kind of a file that is no table, from its first bytes, and advice; None for other text."""
    if not content.strip():
        return "empty", "fetch or write it again"
    if content[257:262] == b"ustar":
        return "a tar archive", UNPACK
    known = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
    return known or _markup_kind(content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower())


def _zip_kind(path: Path, content: bytes) -> tuple[str, str]:
    """Return the kind of a ZIP archive that is no workbook, and advice to the user."""
    names = _zip_names(content)
    if ODS in content[:200] or path.suffix.lower() == ".ods":
        return ZIPPED["content.xml"]
    if not names:
        kind = "workbook (.xlsx)" if path.suffix.lower() in (".xlsx", ".xlsm") else "ZIP archive"
        return f"a damaged or cut {kind}", "save or fetch it again"
    return next((kind for name, kind in ZIPPED.items() if name in names), ("a ZIP archive", UNPACK))


def _markup_kind(start: bytes) -> tuple[str, str] | None:
    """Return the kind of markup (JSON, HTML, XML) in the text `start`, and advice; None for other text."""
    if re.match(rb'\{\s*["}]|\[\s*[\[{"\d\]-]', start):
        return "JSON", AS_CSV
    if re.match(rb"<(!doctype html|html|head|body|table)\b", start):
        return "a web page (HTML)", "fetch the file itself, or save the table as CSV"
    return ("XML", AS_CSV) if re.match(rb"<[?!a-z]", start) else None


def _zip_names(content: bytes) -> list[str]:
    """Return the names of the files in a ZIP archive; empty if the archive is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError):
        return []


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


def locate_columns(table: Sheet, columns: Mapping[str, Column]) -> dict[str, str]:
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
    located = {key: find_column(table.columns, column.names) for key, column in columns.items()}
    return {key: name for key, name in located.items() if name is not None}


def read_columns(
    table: Sheet,
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
    located = locate_columns(table, columns) if located is None else located
    for key, column in columns.items():
        if column.required and key not in located:
            raise lacking_columns(table, column.names)
    values = {key: _read_cells(table, column, located.get(key)) for key, column in columns.items()}
    rows = pd.DataFrame(values)
    blank = rows.isna().all(axis=1) & drop_blank_rows
    for key, name in located.items():
        _refuse_cells(table, name, rows[key], columns[key], blank)
    return rows.set_axis(pd.Index(table.rows, name="row"))[~blank.to_numpy()]


def lacking_columns(table: Sheet, names: Sequence[str]) -> UsageError:
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


def plain_name(name: str) -> str:
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
    >>> [plain_name(name) for name in ("Longitude [deg]", "LAT_deg", "#EventID", "Depth/km", "site_id ")]
    ['longitude', 'lat', 'eventid', 'depth', 'siteid']
    """
    return re.sub(r"[\W_]", "", _UNITS.sub("", name.strip().lower()))


def find_column(names: Sequence[str], candidates: Iterable[str]) -> str | None:
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
    >>> find_column(["Site_ID", "Lng", "Lat"], LONGITUDE)
    'Lng'
    """
    present = {plain_name(name): name for name in reversed(names)}
    return next((present[candidate] for candidate in candidates if candidate in present), None)


def _read_cells(table: Sheet, column: Column, name: str | None) -> pd.Series:
    """Return the cells of a column as numbers or text, by its kind; all blank if there is no column."""
    if name is None:
        kind = float if column.kind == NUMBER else "str"
        return pd.Series(None, range(table.table.num_rows), dtype=kind)
    if column.kind == NUMBER:
        return table.number(name, column.sentinels)
    text = table.text(name, column.sentinels)
    return table.with_points(text) if column.kind == NUMERAL else text


def _refuse_cells(table: Sheet, name: str, values: pd.Series, column: Column, ignored: pd.Series) -> None:
    """Raise `DataError` for the first cell of a column that is wrongly blank, out of range or repeated."""
    wrong = values.isna() & column.filled & ~ignored
    if column.kind == NUMBER:
        wrong |= values.notna() & ~values.between(column.lowest, column.highest)
    expected = column.expected or f"a number from {column.lowest:g} to {column.highest:g}"
    twice = values.duplicated() & values.notna() & bool(column.unique)
    for bad, message in ((wrong, expected), (twice, column.unique)):
        if bad.any():  # the text is not kept: a table of points may have millions
            table.refuse(table.text(name, column.sentinels), bad, message)


def _refuse_contradictions(table: Sheet) -> None:
    """Raise `DataError` if two columns are both a longitude, or both a latitude, and differ in a row."""
    for names in (LONGITUDE, LATITUDE):
        same = [name for name in dict.fromkeys(table.columns) if plain_name(name) in names]
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
