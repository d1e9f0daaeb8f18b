"""Bytes of CSV, TSV, Excel or Parquet -> named columns of text; nothing is chosen or dropped."""

import dataclasses
import io
import warnings
from datetime import datetime
from pathlib import Path

import charset_normalizer
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tfgmm.errors import DataError, UsageError
from tfgmm.sources import bounded

DELIMITERS = ",;\t|"
#: Encodings of text that is not UTF-8: Western European, Japanese, and Excel's "Unicode text".
ENCODINGS = ["cp1252", "cp932", "utf_16"]
#: Numbers that stand for a missing value: -999, -9999 or -99999, also with zeros or nines after the point.
SENTINEL = r"-(?:999|9999|99999)(?:\.0*|\.9+)?"
#: Numbers this large fill in for missing ones too: the greatest of 32 bits, NetCDF's 9.97e36.
FILL = 1e36
#: Words that stand for a missing number. In columns of text they are text: NA is a network.
NO_NUMBER = ["nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "."]


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table as it stands in a file.

    Rows are named as a spreadsheet numbers them: the header is row 1 (blank lines not counted).
    """

    path: Path
    table: pa.Table
    encoding: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self.table.column_names

    def text(self, name: str, sentinels: bool = True) -> pd.Series:
        """A column as stripped text; None where it is blank or, with `sentinels`, -999, -9999, -99999.

        Raises
        ------
        UsageError
            There is no such column.
        DataError
            There are two.
        """
        count = self.columns.count(name)
        if count == 0:
            raise UsageError(
                f"{self.path} has no column {name!r}: its columns are {', '.join(self.columns)}"
            )
        if count > 1:
            raise DataError(f"{self.path}, row 1: column {name!r} is there {count} times, expected once")
        values = self.table.column(name)
        if not pa.types.is_string(values.type):
            values = pa.array(map(_as_text, values.to_pandas()), pa.string())
        column = values.to_pandas().astype("str").str.strip()
        missing = column.isna() | (column == "") | (sentinels & column.str.fullmatch(SENTINEL))
        return column.mask(missing).rename(name)

    def number(self, name: str, sentinels: bool = True) -> pd.Series:
        """A column as numbers, NaN where missing as in `text`.

        Raises
        ------
        UsageError, DataError
            As `text`; or a cell is neither a number nor a sign of a missing one.
        """
        return self.to_number(self.text(name, sentinels), sentinels)

    def to_number(self, text: pd.Series, sentinels: bool = True) -> pd.Series:
        """Text that `text` returned as numbers; with `sentinels` 1e36 and more are missing."""
        values = pd.to_numeric(text, errors="coerce").astype(float)
        absent = text.isna() | text.str.lower().isin(NO_NUMBER)
        self.refuse(text, values.isna() & ~absent, "a number, a blank or a sentinel such as -999")
        return values.mask(values.abs() >= FILL) if sentinels else values

    def refuse(self, column: pd.Series, bad, expected: str) -> None:
        """Raise `DataError` that names the first `bad` cell of a column."""
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{self.path}, row {row + 2}, column {column.name}: {column.iloc[row]!r}, "
                f"expected {expected}"
            )


def read(path: Path) -> Sheet:
    """The table of a file: ``.xlsx`` (first sheet), ``.parquet``, else text with a header.

    Text may be compressed (gzip, bzip2, xz). Its delimiter is the comma, semicolon, tab or bar that the
    header has most of; its encoding UTF-8, else as charset-normalizer decides between cp1252,
    cp932 and UTF-16.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is damaged, no table, or has no rows.
    """
    content = bounded.content(path)
    suffix = path.suffix.lower()
    encoding = None
    if suffix in (".xlsx", ".xlsm"):
        table = _excel(path, content)
    elif suffix == ".parquet":
        table = _parquet(path, content)
    else:
        text, encoding = _decode(path, content)
        table = _delimited(path, text)
    if not table.num_rows:
        raise DataError(f"{path} has no rows below its header")
    return Sheet(path, table.rename_columns([str(name).strip() for name in table.column_names]), encoding)


def _decode(path: Path, content: bytes) -> tuple[str, str]:
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        best = charset_normalizer.from_bytes(content, cp_isolation=ENCODINGS).best()
    if best is None:
        raise DataError(
            f"{path} is text in no known encoding (UTF-8, {', '.join(ENCODINGS)}): save it as UTF-8"
        )
    return str(best), best.encoding


def _delimited(path: Path, text: str) -> pa.Table:
    header = text.partition("\n")[0]
    if text.count('"') % 2:
        raise DataError(f"{path}: a quotation mark is opened and not closed; the file is cut or damaged")
    delimiter = max(DELIMITERS, key=header.count)
    names = header.rstrip("\r").replace('"', "").split(delimiter)
    try:
        return pa.csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=pa.csv.ReadOptions(use_threads=False),  # one thread can name the row of an error
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise DataError(
            f"{path} is no table of text ({_reason(error)}): the file is cut or damaged"
        ) from error


def _excel(path: Path, content: bytes) -> pa.Table:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validation rules that are left out
            frame = pd.read_excel(io.BytesIO(content), dtype=object, na_filter=False, engine="openpyxl")
        frame = frame.map(_as_text).set_axis(map(str, frame.columns), axis=1)
        return pa.table(
            [pa.array(frame.iloc[:, i], pa.string()) for i in range(frame.shape[1])], list(frame)
        )
    except Exception as error:  # openpyxl meets a damaged file with errors of any kind
        raise DataError(f"{path} is no whole Excel workbook ({_reason(error)})") from error


def _parquet(path: Path, content: bytes) -> pa.Table:
    try:
        return pa.parquet.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is no whole Parquet file ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What a library says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _as_text(value) -> str | None:
    """A cell as a person would type it: 4 for 4.0, ISO 8601 for a time."""
    if value is None or value is pd.NaT or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(float(value)) if isinstance(value, np.floating | float) else str(value)
