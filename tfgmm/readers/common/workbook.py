"""Read the first sheet of an Excel workbook into columns of text, row by row, with a limit on memory."""

import io
import itertools
import warnings
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
from openpyxl.utils import get_column_letter

from tfgmm.core.errors import DataError, TfgmmError
from tfgmm.readers.common import bounded

#: Beginnings of the names of the parts of a workbook that hold cells. One byte of another part, such as
#: the styles, takes 100 bytes of memory in openpyxl, so other parts must be smaller than the limit below.
CELLS = ("xl/worksheets/", "xl/sharedStrings.xml")
MOST_OTHER_BYTES = 4 * 10**6
#: Largest number of cells of a sheet, to which the unpacked size of the file in bytes is added.
BLANK_CELLS = 10**7
CHUNK_ROWS = 2000


def read(path: Path, content: bytes) -> tuple[pa.Table, np.ndarray]:
    """Read the first sheet of a workbook as text; skip blank rows and comment rows.

    A comment row has a single cell, which begins with ``#``. The first other row is the header.

    Parameters
    ----------
    path : Path
        File of the workbook, for messages.
    content : bytes
        Content of the file.

    Returns
    -------
    pyarrow.Table, [n_rows, n_columns]
        Columns of text.
    ndarray of int, [n_rows]
        Number of each row in the sheet, from 1.

    Raises
    ------
    DataError
        The content is no complete workbook, no table, or would take too much memory.
    """
    size = _unpacked_size(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validation rules that are left out
            # A file could state dimensions that make each row as wide as the widest sheet there can be.
            book = openpyxl.load_workbook(
                io.BytesIO(content), read_only=True, data_only=True, keep_links=False
            )
            sheet = book.worksheets[0]
            sheet.reset_dimensions()
            return _make_table(path, _read_rows(sheet), size)
    except (TfgmmError, MemoryError):
        raise
    except Exception as error:  # openpyxl meets a damaged file with errors of any kind
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path} is no whole Excel workbook ({reason})") from error


def _unpacked_size(path: Path, content: bytes) -> int:
    """Return the unpacked size of a workbook in bytes, as stated in the directory of the zip file.

    Nothing is unpacked. `zipfile` later unpacks no more bytes than stated.

    Parameters
    ----------
    path : Path
        File of the workbook, for messages.
    content : bytes
        The workbook, a zip file.

    Returns
    -------
    int
        Size of all parts, bytes.

    Raises
    ------
    DataError
        The content is no zip file, or the stated size is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is no whole Excel workbook ({error}): save or fetch it again") from error
    size = sum(part.file_size for part in parts)
    bounded.refuse(size, len(content), path)
    for part in parts:
        if not part.filename.startswith(CELLS) and part.file_size > MOST_OTHER_BYTES:
            raise DataError(
                f"{path}: its part {part.filename} has {part.file_size} bytes, expected at most "
                f"{MOST_OTHER_BYTES}: save the first sheet as CSV"
            )
    return size


def _read_rows(sheet) -> Iterator[tuple[int, list[str | None]]]:
    """Yield the number and the cells, as text, of each row except blank rows and comment rows.

    Blank cells at the end of a row are cut off.
    """
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        texts = list(map(as_text, cells))
        while texts and not (texts[-1] and texts[-1].strip()):
            texts.pop()
        if texts and not (texts[0] and texts[0].lstrip().startswith("#") and not any(texts[1:])):
            yield number, texts


def _make_table(
    path: Path, rows: Iterator[tuple[int, list[str | None]]], size: int
) -> tuple[pa.Table, np.ndarray]:
    """Return a table of text, with the first row as column names, and the sheet's number of each row."""
    header_row, header = next(rows, (0, []))
    width, numbers, chunks = len(header), [], []
    names = [(name or "").strip() for name in header]
    rows = _refuse_wide_rows(path, rows, header_row, width, BLANK_CELLS + size)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        numbers += [number for number, _ in chunk]
        columns = zip(*(cells + [None] * (width - len(cells)) for _, cells in chunk), strict=True)
        chunks.append(pa.table([pa.array(column, pa.string()) for column in columns], names))
    empty = pa.table([pa.array([], pa.string())] * width, names)
    return pa.concat_tables([empty, *chunks]), np.array(numbers, int)


def _refuse_wide_rows(
    path: Path, rows: Iterator, header_row: int, width: int, most_cells: int
) -> Iterator[tuple[int, list[str | None]]]:
    """Yield the rows; raise `DataError` for a row wider than the header, or over `most_cells` cells."""
    for count, (number, cells) in enumerate(rows, 1):
        if len(cells) > width:
            raise DataError(
                f"{path}, row {number}, column {get_column_letter(len(cells))}: {cells[-1]!r} stands "
                f"beyond the header, which is row {header_row} and ends in column "
                f"{get_column_letter(max(width, 1))}; remove it, or what stands above the header"
            )
        if count * width > most_cells:
            raise DataError(
                f"{path}: {count} rows and more span {width} columns, and most of these cells are blank: "
                "delete them, or save the table as CSV"
            )
        yield number, cells


def as_text(value) -> str | None:
    """Return the value of a cell as a person would type it, or None for a blank cell.

    Parameters
    ----------
    value : object
        Value of the cell.

    Returns
    -------
    str or None
        Text of the value: ``4`` for 4.0, ISO 8601 for a time.
    """
    if value is None or value is pd.NaT or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(float(value)) if isinstance(value, np.floating | float) else str(value)
