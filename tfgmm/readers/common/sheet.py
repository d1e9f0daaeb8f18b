"""Files of tables -> named columns of text; nothing is chosen or dropped. The one reader of tables.

What a file is: `kinds`. Text: `delimited`. Excel: `workbook`.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import bounded, delimited, kinds, workbook

#: Text that stands for a missing value: -999, -9999 ..., also with zeros or nines after the point.
SENTINEL = r"-9{3,}(?:\.0*|\.9+)?|#N/A"
#: Numbers this large fill in for missing ones too: the greatest of 32 bits, NetCDF's 9.97e36.
FILL = 1e36
#: Words that stand for a missing number. In columns of text they are text: NA is a network.
NO_NUMBER = ["nan", "na", "n/a", "null", "none", "-", "--", "."]
DECIMAL_COMMA = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?"
PARQUET = b"PAR1"

_comma = False


@contextlib.contextmanager
def decimal_comma(used: bool = True) -> Iterator[None]:
    """Take the comma for the decimal sign of numbers in text while the block runs, if `used`.

    The option ``--decimal-comma`` of the commands.
    """
    global _comma  # noqa: PLW0603 - the user says it once for all tables that a command reads
    before, _comma = _comma, used
    try:
        yield
    finally:
        _comma = before


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table as it stands in a file.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
    rows : ndarray of int, [n_rows]
        Where each row begins, as an editor or a spreadsheet numbers lines; in Parquet from 1.
    encoding : str or None
        Of text.
    decimal : str
        Decimal sign of numbers in text.
    """

    path: Path
    table: pa.Table
    rows: np.ndarray
    encoding: str | None = None
    decimal: str = "."

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
                f"{self.path} has no column {name!r}: its columns are {listed(self.columns, 100)}"
            )
        if count > 1:
            raise DataError(f"{self.path}: column {name!r} is there {count} times, expected once")
        values = self.table.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            values = pa.array(map(workbook.as_text, values.to_pandas()), pa.string())
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
        """Return text of `text` as numbers; with `sentinels` 1e36 and more are missing."""
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
        """Return numbers as text with decimal points, whatever the decimal sign of the table."""
        if self.decimal == ".":
            return text
        # Where it is the comma, a point can only be one between thousands.
        return text.str.replace(".", "?", regex=False).str.replace(",", ".", regex=False)

    def refuse(self, column: pd.Series, bad, expected: str) -> None:
        """Raise `DataError` that names the first `bad` cell of a column."""
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(np.argmax(bad))
            message = f"{self.path}, row {self.rows[row]}, column {column.name}: {column.iloc[row]!r}"
            if row == 0 and bad.sum() == 1 and column.iloc[1:].notna().any():
                expected += "; if the row is a second line of the header, as of units, delete it"
            raise DataError(f"{message}, expected {expected}")


def read(path: Path, unnamed: Sequence[str] = ()) -> Sheet:
    """The table of a file: Excel (first sheet), Parquet, else text with a header (`delimited.read`).

    What the file is, its first bytes tell. It may be compressed (gzip, bzip2, xz).

    Parameters
    ----------
    path : Path
    unnamed : sequence of str
        Names of the columns of text without a header: where its first line is of as many numbers.

    Raises
    ------
    UsageError
        The file does not exist, or is no regular file.
    DataError
        The file is damaged, no table, has no rows, or would take too much memory (`bounded.refuse`).
    """
    content, encoding = bounded.content(path), None
    try:
        if kinds.is_workbook(content):
            table, rows = workbook.read(path, content)
        elif content.startswith(PARQUET):
            table = _parquet(path, content)
            rows = np.arange(1, table.num_rows + 1)
        else:
            kinds.refuse(path, content)
            table, rows, encoding = delimited.read(path, content, unnamed)
    except MemoryError as error:
        raise DataError(f"{path} does not fit into the memory there is") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows below its header")
    names = [str(name).strip() for name in table.column_names]
    decimal = "," if encoding and _comma else "."
    return Sheet(path, table.rename_columns(names), rows, encoding, decimal)


def _parquet(path: Path, content: bytes) -> pa.Table:
    """The table, its columns of text as dictionaries, so that a repeated text is held once."""
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
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _decoded_bytes(column: pa.Array) -> int:
    """Bytes of a column when each row has its own text."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary)
    return 8 * len(column) + (pc.sum(lengths.take(column.indices)).as_py() or 0)
