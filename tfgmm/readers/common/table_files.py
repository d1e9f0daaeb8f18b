"""Split delimited text (CSV, TSV, ...) and Excel workbooks into columns of text."""

import array
import codecs
import csv
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import charset_normalizer
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from tfgmm.core.errors import DataError, TfgmmError
from tfgmm.readers.common import bounded

DELIMITERS = ",;\t|"
#: Delimiter of tables whose columns are separated by runs of blanks.
BLANKS = " "
#: Encodings tried for text that is not UTF-8: Western European and Japanese.
ENCODINGS = ["cp1252", "cp932"]
#: Pattern of a first line such as ``sep=;``, in which Excel names the delimiter.
SEP_LINE = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)
#: Pattern of a comment line; a line that begins with an error value of Excel (#N/A) is no comment.
COMMENT = re.compile(rb"\s*#(?!N/A|VALUE!|REF!|NAME\?|DIV/0!|NUM!|NULL!)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: Largest number of columns, as in a spreadsheet: even an empty column takes memory.
MOST_COLUMNS = 2**14


def read_delimited(
    path: Path, content: bytes, unnamed: Sequence[str] = ()
) -> tuple[pa.Table, np.ndarray, str]:
    """Split delimited text with a header into columns of text; skip blank lines and comment lines (``#``).

    The encoding is UTF-8, UTF-16, cp932 or Western European. The delimiter is comma, semicolon, tab or bar,
    or runs of blanks if the header has none of these; a first line ``sep=;`` names the delimiter. The
    header may be the last comment line, as in ``#EventID|Time|Latitude``.

    Parameters
    ----------
    path : Path
        File of the text, for messages.
    content : bytes
        Content of the file.
    unnamed : sequence of str
        Names of the columns for text without a header: used if the first line has as many cells and all of
        them are numbers.

    Returns
    -------
    pyarrow.Table, [n_rows, n_columns]
        Columns of text.
    ndarray of int, [n_rows]
        Number of the line, from 1, at which each row begins.
    str
        Encoding of the text.

    Raises
    ------
    DataError
        The content is no text, or no table.
    """
    text, encoding = _to_utf8(path, content)
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    stream = io.BytesIO(text)
    header, delimiter, first_line, commented = _read_header(stream, unnamed)
    names = _split_cells(header, delimiter)
    _refuse_names(path, names, first_line)
    bars = len(names) - 1 if commented and delimiter == "|" else 0
    body, rows = _read_body(path, stream, delimiter == BLANKS, first_line, bars)
    del text, stream
    form = pa.csv.ParseOptions(
        delimiter="\t" if delimiter == BLANKS else delimiter,
        newlines_in_values=not bars,
        quote_char=False if bars else '"',
    )
    table = _parse(path, body, rows, form, len(names))
    lines = np.frombuffer(rows, np.int64) if rows else np.zeros(0, np.int64)
    return table.rename_columns(names), lines, encoding


def _to_utf8(path: Path, content: bytes) -> tuple[bytes, str]:
    """Return the text in UTF-8 without byte-order mark, and the name of its original encoding."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _transcode(path, content, "utf_16"), "utf_16"
    if b"\0" in content:
        raise DataError(f"{path} is no text (it holds zero bytes): give CSV, TSV, Excel or Parquet")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), 2**20):
            decoder.decode(content[start : start + 2**20])
        decoder.decode(b"", final=True)
        return content.removeprefix(codecs.BOM_UTF8), "utf-8"
    except UnicodeDecodeError:
        encoding = _guess_encoding(path, content)
    return _transcode(path, content, encoding), encoding


def _transcode(path: Path, content: bytes, encoding: str) -> bytes:
    """Return text of a given encoding as bytes in UTF-8; raise `DataError` if the encoding does not fit."""
    try:
        return content.decode(encoding).encode()
    except UnicodeError as error:
        raise DataError(
            f"{path} is no text in {encoding}, as it seemed ({error}): save it as UTF-8"
        ) from error


def _guess_encoding(path: Path, content: bytes) -> str:
    """Return the likely encoding of text that is not UTF-8.

    The encoding is Western European if more than 60 % of the bytes beyond ASCII are 0xA0 or higher, the
    accented letters; else charset-normalizer guesses. In cp932 (Japanese) bytes from 0xA0 are rarer.
    """
    sample = b"\n".join(line for line in content[: 2**24].splitlines() if not line.isascii())[: 2**16]
    beyond = [byte for byte in sample if byte > 0x7F]
    if sum(byte >= 0xA0 for byte in beyond) > 0.6 * len(beyond):
        try:
            content.decode("cp1252")
            return "cp1252"
        except UnicodeDecodeError:
            return "latin_1"
    best = charset_normalizer.from_bytes(sample, cp_isolation=ENCODINGS).best()
    if best is None:
        raise DataError(
            f"{path} is text in no known encoding (UTF-8, UTF-16, {', '.join(ENCODINGS)}): save it as UTF-8"
        )
    return best.encoding


# ---- header -------------------------------------------------------------------------------------


def _read_header(stream: io.BytesIO, unnamed: Sequence[str]) -> tuple[str, str, int, bool]:
    """Return the header, the delimiter, the first line of the rows, and whether the header is a comment."""
    number, delimiter, comment, start = 0, "", "", 0
    line = b""
    while line := stream.readline():
        number += 1
        if match := SEP_LINE.fullmatch(line.strip(b"\r\n ")):
            delimiter = match[1].decode()
        elif COMMENT.match(line):
            comment = line.strip().lstrip(b"#").decode()
        elif line.strip():
            break
        start = stream.tell()
    fdsn = b"|" in line and comment.count("|") - line.count(b"|") in (0, 1)
    # A name may have a line break in it.
    while not fdsn and line.count(b'"') % 2 and (continuation := stream.readline()):
        line, number = line + continuation, number + 1
    header, following = line.decode().strip("\r\n"), _peek(stream)
    if comment and _names_columns(comment, header, delimiter):
        stream.seek(start)
        return comment, delimiter or _guess_delimiter(comment, header), number, True
    delimiter = delimiter or _guess_delimiter(header, following or header)
    cells = _split_cells(header, delimiter)
    if len(cells) == len(unnamed) and all(
        NUMBER.fullmatch(cell) or cell.lower() == "nan" for cell in cells
    ):
        stream.seek(start)
        return delimiter.join(unnamed), delimiter, number, False
    return header, delimiter, number + 1, False


def _peek(stream: io.BytesIO) -> str:
    """Return the next line that is neither blank nor a comment, without moving on in the stream."""
    start = stream.tell()
    line = next((line for line in stream if line.strip() and not COMMENT.match(line)), b"")
    stream.seek(start)
    return line.decode().strip("\r\n")


def _names_columns(comment: str, line: str, delimiter: str) -> bool:
    """Return True if a comment line is the header of the line below.

    Both lines must have the same number of cells, with numbers only in the line below. A row of FDSN text
    may lack the last cell, the type of the event.
    """
    delimiter = delimiter or _guess_delimiter(comment, line)
    names, cells = _split_cells(comment, delimiter), _split_cells(line, delimiter)
    numbers = [sum(bool(NUMBER.fullmatch(cell)) for cell in row) for row in (names, cells)]
    lacking = len(names) - len(cells)
    fits = len(cells) > 1 and (not lacking or (lacking == 1 and delimiter == "|"))
    return fits and numbers[0] == 0 < numbers[1]


def _guess_delimiter(header: str, following: str) -> str:
    """Return the delimiter that splits header and first row into equally many cells, else the commonest."""
    counts = {mark: len(_split_cells(header, mark)) for mark in DELIMITERS}
    agreeing = {m: n for m, n in counts.items() if n > 1 and len(_split_cells(following, m)) == n}
    if max(counts.values()) == 1 and '"' not in header + following:
        words = len(header.split())
        return BLANKS if words > 1 and len(following.split()) == words else DELIMITERS[0]
    return max(agreeing or counts, key=counts.__getitem__)


def _split_cells(line: str, delimiter: str) -> list[str]:
    """Split a line at the delimiter, and return its cells without surrounding blanks."""
    if delimiter == BLANKS:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a cell of more than 128 KiB
        return [line]


def _refuse_names(path: Path, names: list[str], first_line: int) -> None:
    """Raise `DataError` if a header has too many names, or numbers in place of names."""
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(names)} columns, expected at most {MOST_COLUMNS}")
    numbers = sum(bool(NUMBER.fullmatch(name)) for name in names)
    if numbers and len(names) - numbers <= 2:
        raise DataError(
            f"{path}, row {first_line - 1}: {', '.join(names[:5])} are no names of columns; "
            "put a line with the names above the first row"
        )


# ---- rows ---------------------------------------------------------------------------------------


def _read_body(
    path: Path, stream: io.BytesIO, blanks: bool, first_line: int, bars: int
) -> tuple[bytes, array.array]:
    """Return the rows without blank lines and comments, and the line number of each row.

    Runs of blanks become tabs if `blanks` is true. In FDSN text, with `bars` > 0 bars per row, quotation
    marks are ordinary text and the last cell may be absent.
    """
    body, rows, opened = io.BytesIO(), array.array("q"), 0
    for number, line in enumerate(stream, first_line):
        if not opened:
            if not line.strip() or COMMENT.match(line):
                continue
            rows.append(number)
        lacking = bars and line.count(b"|") == bars - 1
        row = line.rstrip(b"\r\n") + b"|\n" if lacking else line
        body.write(b"\t".join(row.split()) + b"\n" if blanks else row)
        if not bars and line.count(b'"') % 2:
            opened = 0 if opened else number
    if opened:
        raise DataError(
            f"{path}, row {opened}: a quotation mark is opened and not closed; close it, write it twice "
            "within a cell, or fetch the file again if it is cut"
        )
    return body.getvalue(), rows


def _parse(path: Path, body: bytes, rows: array.array, form: pa.csv.ParseOptions, width: int) -> pa.Table:
    """Return the rows as a table of text columns, which are named by numbers; [n_rows, width]."""
    names, uneven = [str(i) for i in range(width)], []
    if not body:
        return pa.table([pa.array([], pa.string())] * width, names)

    def keep(row: pa.csv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    form.invalid_row_handler = keep
    try:
        return pa.csv.read_csv(
            pa.BufferReader(body),
            # With one thread the row of an error is known.
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=2**22),
            parse_options=form,
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        if uneven and uneven[0].number is not None and uneven[0].number <= len(rows):
            row = uneven[0]
            advice = "; remove lines above the header, or begin them with #" if width == 1 else ""
            raise DataError(
                f"{path}, row {rows[row.number - 1]}: {row.actual_columns} cells, expected {width} as in "
                f"the header (delimiter {form.delimiter!r}): {row.text[:60]!r}{advice}"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no table of text ({reason}): the file is cut or damaged") from error


#: Beginnings of the names of the parts of a workbook that hold cells. One byte of another part, such as
#: the styles, takes 100 bytes of memory in openpyxl, so other parts must be smaller than the limit below.
CELLS = ("xl/worksheets/", "xl/sharedStrings.xml")
MOST_OTHER_BYTES = 4 * 10**6
#: Largest number of cells of a sheet, to which the unpacked size of the file in bytes is added.
BLANK_CELLS = 10**7
CHUNK_ROWS = 2000


def read_workbook(path: Path, content: bytes) -> tuple[pa.Table, np.ndarray]:
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
    import openpyxl  # takes a third of a second, and only Excel workbooks need it

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
            from openpyxl.utils import get_column_letter

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
