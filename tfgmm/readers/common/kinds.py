"""What a file is that is no table which can be read, from its first bytes, and what to do about it."""

import io
import re
import zipfile
from pathlib import Path

from tfgmm.core.errors import DataError

AS_CSV = "write the table as CSV"
UNPACK = "unpack it and give the table in it"
#: First bytes -> what the file is, and what to do.
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
#: A part of a ZIP archive -> what the archive is, and what to do.
ZIPPED = {
    "xl/workbook.bin": ("a binary Excel workbook (.xlsb)", "save it as .xlsx or CSV"),
    "word/document.xml": ("a Word document", "save the table as CSV"),
    "content.xml": ("an OpenDocument file (.ods)", "save it as .xlsx or CSV"),
}
ZIP = b"PK\x03\x04"
ODS = b"application/vnd.oasis.opendocument"


def refuse(path: Path, content: bytes) -> None:
    """Raise `DataError` that says what a file is, if it is known and no text, Excel or Parquet table."""
    kind = _zip(path, content) if content.startswith(ZIP) else _kind(content)
    if kind:
        raise DataError(f"{path} is {kind[0]}, which is not read as a table: {kind[1]}")


def is_workbook(content: bytes) -> bool:
    """Return whether the bytes are those of an Excel workbook of 2007 or later (a ZIP archive)."""
    return content.startswith(ZIP) and "xl/workbook.xml" in _names(content)


def _kind(content: bytes) -> tuple[str, str] | None:
    if not content.strip():
        return "empty", "fetch or write it again"
    if content[257:262] == b"ustar":
        return "a tar archive", UNPACK
    known = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
    return known or _markup(content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower())


def _zip(path: Path, content: bytes) -> tuple[str, str]:
    names = _names(content)
    if ODS in content[:200] or path.suffix.lower() == ".ods":
        return ZIPPED["content.xml"]
    if not names:
        kind = "workbook (.xlsx)" if path.suffix.lower() in (".xlsx", ".xlsm") else "ZIP archive"
        return f"a damaged or cut {kind}", "save or fetch it again"
    return next((kind for name, kind in ZIPPED.items() if name in names), ("a ZIP archive", UNPACK))


def _markup(start: bytes) -> tuple[str, str] | None:
    if re.match(rb'\{\s*["}]|\[\s*[\[{"\d\]-]', start):
        return "JSON", AS_CSV
    if re.match(rb"<(!doctype html|html|head|body|table)\b", start):
        return "a web page (HTML)", "fetch the file itself, or save the table as CSV"
    return ("XML", AS_CSV) if re.match(rb"<[?!a-z]", start) else None


def _names(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError):
        return []
