"""Bytes of delimited text -> columns of text: encoding, delimiter, comments, header, rows."""

import array
import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import charset_normalizer
import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfgmm.core.errors import DataError

DELIMITERS = ",;\t|"
#: Stands for runs of blanks.
BLANKS = " "
#: Encodings of text that is not UTF-8: Western European, Japanese.
ENCODINGS = ["cp1252", "cp932"]
#: First line in which Excel names the delimiter.
SEP_LINE = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)
#: A line of comment, but not one that begins with an error of Excel.
COMMENT = re.compile(rb"\s*#(?!N/A|VALUE!|REF!|NAME\?|DIV/0!|NUM!|NULL!)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: As many as a spreadsheet can have: even an empty column takes memory.
MOST_COLUMNS = 2**14


def read(path: Path, content: bytes, unnamed: Sequence[str] = ()) -> tuple[pa.Table, np.ndarray, str]:
    """Read text with a header; blank lines and lines that begin with ``#`` are passed over.

    The text is in UTF-8, UTF-16, cp932 or Western European. The delimiter is the comma, semicolon, tab
    or bar, or runs of blanks where the header has none of these; a first line ``sep=;`` names it. The
    header may be the last line of comment, as in ``#EventID|Time|Latitude``. Where the first line is of
    numbers alone, as many as there are names in `unnamed`, these names are the header.

    Returns
    -------
    pyarrow.Table, ndarray of int, str
        Columns of text, the lines at which the rows begin, from 1, and the encoding.

    Raises
    ------
    DataError
        The content is no text or no table.
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
    """Return the bytes in UTF-8 without byte-order mark, and the encoding they were in."""
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
    """Return text of an encoding in UTF-8."""
    try:
        return content.decode(encoding).encode()
    except UnicodeError as error:
        raise DataError(
            f"{path} is no text in {encoding}, as it seemed ({error}): save it as UTF-8"
        ) from error


def _guess_encoding(path: Path, content: bytes) -> str:
    """Return the encoding of text that is not UTF-8.

    This is Western European if most bytes beyond ASCII are its letters, else the guess of
    charset-normalizer.
    In cp932 most bytes beyond ASCII begin a character, and bytes from 0xA0 do so rarely.
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
    """Return the header, the delimiter, the line at which rows begin, and if the header is a comment."""
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
    """Return the next line that is not blank and no comment, and stay in front of it."""
    start = stream.tell()
    line = next((line for line in stream if line.strip() and not COMMENT.match(line)), b"")
    stream.seek(start)
    return line.decode().strip("\r\n")


def _names_columns(comment: str, line: str, delimiter: str) -> bool:
    """Return true for a comment that is the header of the line below: as many cells, numbers only below.

    FDSN text may lack the last cell of its rows, the type of the event.
    """
    delimiter = delimiter or _guess_delimiter(comment, line)
    names, cells = _split_cells(comment, delimiter), _split_cells(line, delimiter)
    numbers = [sum(bool(NUMBER.fullmatch(cell)) for cell in row) for row in (names, cells)]
    lacking = len(names) - len(cells)
    fits = len(cells) > 1 and (not lacking or (lacking == 1 and delimiter == "|"))
    return fits and numbers[0] == 0 < numbers[1]


def _guess_delimiter(header: str, following: str) -> str:
    """Return the delimiter that splits header and first row alike, else the header's most frequent one."""
    counts = {mark: len(_split_cells(header, mark)) for mark in DELIMITERS}
    agreeing = {m: n for m, n in counts.items() if n > 1 and len(_split_cells(following, m)) == n}
    if max(counts.values()) == 1 and '"' not in header + following:
        words = len(header.split())
        return BLANKS if words > 1 and len(following.split()) == words else DELIMITERS[0]
    return max(agreeing or counts, key=counts.__getitem__)


def _split_cells(line: str, delimiter: str) -> list[str]:
    """Return the stripped cells of a line."""
    if delimiter == BLANKS:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a cell of more than 128 KiB
        return [line]


def _refuse_names(path: Path, names: list[str], first_line: int) -> None:
    """Raise `DataError` if a header has too many names, or numbers for names."""
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
    """Return the rows without blank lines and comments, tabs for runs of `blanks`, and their lines.

    In FDSN text, which has so many `bars` in a row, quotation marks are text and the last cell may be
    absent.
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
    """Return the rows as columns of text, named by numbers."""
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
