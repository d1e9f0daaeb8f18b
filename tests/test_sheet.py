"""The one reader of tables: what a file is, where its rows stand, and how much memory it takes."""

import bz2
import io
import json
import subprocess
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import scipy.io

from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.common import sheet, table_files

TEXT = "id,time,PGA\na,2016-01-05,0.1\nb,2016-01-06,0.2\n"


@pytest.fixture
def read(tmp_path):
    def _read(content: str | bytes, name="table.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return sheet.read(tmp_path / name)

    return _read


def assert_is_the_table(table: sheet.Sheet, rows: list[int]) -> None:
    assert table.columns == ["id", "time", "PGA"]
    assert table.text("id").tolist() == ["a", "b"]
    assert table.number("PGA").tolist() == [0.1, 0.2]
    assert table.rows.tolist() == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (TEXT, [2, 3]),
        (TEXT.replace("\n", "\r\n"), [2, 3]),
        (TEXT.replace("\n", "\r"), [2, 3]),
        ("sep=;\r\n" + TEXT.replace(",", ";"), [3, 4]),
        ('"sep=,"\n' + TEXT, [3, 4]),
        ("\ufeff" + "SEP=\t\n" + TEXT.replace(",", "\t"), [3, 4]),
        (TEXT.replace(",", "\t"), [2, 3]),
        (TEXT.replace(",", " | "), [2, 3]),
        (TEXT.replace(",", "  "), [2, 3]),
        ("   " + TEXT.replace(",", " \t ").replace("\n", " \n  "), [2, 3]),
        ("# version 2, in g\n#\n\n" + TEXT, [5, 6]),
        (TEXT.replace("\nb", "\n# second, third\n\n , \nb").replace(" , ", "   "), [2, 6]),
        ("#" + TEXT, [2, 3]),
        ("# a note\n# " + TEXT.replace(",", "|"), [3, 4]),
        ('"id","time",PGA\n"a","2016\n-01",0.1\n\n"b","#\n",0.2\n', [2, 5]),
        ('id;time;"PGA"\na;"x,y,z";0.1\nb;;0.2', [2, 3]),
        ("id,time,PGA\na,1\u00b05'30,0.1\nb,\u00f1,0.2\n", [2, 3]),
    ],
)
def test_text_as_people_write_it(read, text, rows):
    assert_is_the_table(read(text), rows)


@pytest.mark.parametrize(
    ("encoding", "place", "name"),
    [
        ("latin-1", "Málaga", "cp1252"),
        ("cp1252", "Málaga – Peñón", "cp1252"),
        ("latin-1", "Peñón \x81", "latin_1"),
        ("cp932", "水戸市千波町の観測点", "cp932"),
        ("utf-16", "水戸市", "utf_16"),
        ("utf-8", "水戸市", "utf-8"),
    ],
)
def test_encodings(read, encoding, place, name):
    table = read(f"id,place\na,{place}\n", encoding=encoding)
    assert table.text("place").tolist() == [place] and table.encoding == name


def test_decimal_commas_by_option(read):
    text = "id;PGA;n\na;0,15;1\nb;-0,5e-2;-999\nc;12;\n"
    with pytest.raises(DataError, match="row 2, column PGA: '0,15', .* --decimal-comma"):
        read(text).number("PGA")
    with sheet.decimal_comma():
        assert read(text).number("PGA").tolist() == [0.15, -0.005, 12]
        with pytest.raises(DataError, match="row 2, column PGA: '1.234,5', expected a number"):
            read("id;PGA\na;1.234,5\n").number("PGA")
        frame = io.BytesIO()
        pd.DataFrame({"PGA": [0.5]}).to_excel(frame, index=False)
        assert read(frame.getvalue(), "a.xlsx").number("PGA").tolist() == [0.5]
    with pytest.raises(DataError):
        read(text).number("PGA")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("id,PGA\n,g\na,0.1\n", "PGA", "row 2, column PGA: 'g', .* second line of the header, as of units"),
        ("#x\n\nid,PGA\na,0.1\n\nb,x\n", "PGA", "row 6, column PGA: 'x', expected a number"),
        (
            "id,PGA\na,0.1\nb,1,2\n",
            "PGA",
            "row 3: 3 cells, expected 2 as in the header .delimiter ','.: 'b,1,2'",
        ),
        (
            "a flatfile\nid,PGA\na,0.1\n",
            "PGA",
            "row 2: 2 cells, expected 1 .* remove lines above the header",
        ),
        ("id PGA\na 0.1\nb\n", "PGA", "row 3: 1 cells, expected 2"),
        ('id,PGA\na,"0.1\nb,2\n', "PGA", "row 2: a quotation mark is opened and not closed"),
        ("140.1,36.2\n140.2,36.3\n", "x", "row 1: 140.1, 36.2 are no names of columns"),
        ("A,140.1,36.2\nB,140.2,36.3\n", "x", "row 1: A, 140.1, 36.2 are no names of columns"),
        ("id,PGA\n# none\n", "PGA", "has no rows below its header"),
        (",".join(["a"] * 16385) + "\n1\n", "a", "has 16385 columns, expected at most 16384"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(read, text, column, message):
    with pytest.raises(DataError, match=message) as error:
        read(text).number(column)
    assert "\n" not in str(error.value)


def test_a_row_far_down_is_named(read):
    text = "id,PGA\n" + "# c\na,1\n" * 300_000 + "b\n"
    with pytest.raises(DataError, match="row 600002: 1 cells, expected 2"):
        read(text)


@pytest.mark.parametrize(
    "word", ["#N/A", "-999", "-9999.0", "-999.9", "NaN", "-", "-9.999e3", "-3.4e38", "1e37"]
)
def test_marks_of_missing_numbers(read, word):
    numbers = read(f"id,PGA\na,{word}\n#N/A,1\n").number("PGA")
    assert np.isnan(numbers[0]) == (word != "-9.999e3") and numbers[1] == 1


def _archive(names, pack=zipfile.ZipFile) -> bytes:
    store = io.BytesIO()
    with pack(store, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return store.getvalue()


def _tar() -> bytes:
    store = io.BytesIO()
    with tarfile.open(fileobj=store, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
    return store.getvalue()


def _mat() -> bytes:
    store = io.BytesIO()
    scipy.io.savemat(store, {"PGA": np.ones(3)})
    return store.getvalue()


def _hdf5() -> bytes:
    store = io.BytesIO()
    with h5py.File(store, "w") as file:
        file["PGA"] = np.ones(3)
    return store.getvalue()


def _feather() -> bytes:
    store = io.BytesIO()
    pa.feather.write_feather(pa.table({"a": [1]}), store)
    return store.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            r"Excel workbook of before 2007 \(.xls\), .*save",
        ),
        ("a.xlsx", b"PK\x03\x04 cut", "damaged or cut workbook"),
        ("a.xlsb", _archive(["xl/workbook.bin"]), r"\(.xlsb\), .*: save it as .xlsx"),
        (
            "a.ods",
            _archive(["mimetype", "content.xml"]),
            r"OpenDocument file \(.ods\), .*: save it as .xlsx",
        ),
        ("a.docx", _archive(["word/document.xml"]), "Word document"),
        ("a.zip", _archive(["a.csv"]), "a ZIP archive, .*: unpack it"),
        ("a.csv", _archive(["a.csv"]), "a ZIP archive, .*: unpack it"),
        ("a.tar", _tar(), "a tar archive, .*: unpack it"),
        ("a.json", json.dumps([{"PGA": 1}]).encode(), "is JSON, .*: write the table as CSV"),
        ("a.geojson", b'\xef\xbb\xbf {\n "type": 1}', "is JSON"),
        ("a.mat", _mat(), r"a MATLAB file \(.mat\)"),
        ("a.mat", _hdf5(), "an HDF5 file"),
        ("a.nc", b"CDF\x01" + bytes(100), "a NetCDF file"),
        ("a.feather", _feather(), "an Arrow or Feather file, .*: write the table as Parquet"),
        ("a.html", b"<!DOCTYPE html>\n<html></html>", "a web page"),
        ("a.xls", b"<table border=1>\n<tr></tr></table>", "a web page"),
        ("a.xml", b'<?xml version="1.0"?>\n<q/>', "is XML"),
        ("a.pdf", b"%PDF-1.7\n", "a PDF document"),
        ("a.npy", b"\x93NUMPY\x01\x00", "a NumPy array"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,b\n1,\x00\x01\n", "is no text"),
        ("a.csv.bz2", bz2.compress(b"%PDF-1.7\n"), "a PDF document"),
    ],
)
def test_other_kinds_of_files_are_named(read, name, content, message):
    with pytest.raises(DataError, match=message) as error:
        read(content, name)
    assert "damaged" not in str(error.value) or "xlsx" in str(error.value)


# ---- workbooks ----------------------------------------------------------------------------------


def workbook_of(*rows, cells=()) -> bytes:
    book, store = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    for cell, value in dict(cells).items():
        book.active[cell] = value
    book.save(store)
    return store.getvalue()


def with_part(content: bytes, name: str, change) -> bytes:
    """The workbook with one of its parts changed."""
    store = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            new.writestr(part, change(old.read(part)) if part == name else old.read(part))
    return store.getvalue()


ROWS = [["id", "time", "PGA"], ["a", pd.Timestamp("2016-01-05"), 0.1], ["b", None, 0.2]]


@pytest.mark.parametrize("name", ["a.xlsx", "a.xlsm", "a.csv"])
def test_a_workbook(read, name):
    table = read(workbook_of(*ROWS), name)
    assert_is_the_table(table, [2, 3])
    assert table.text("time").tolist()[0] == "2016-01-05T00:00:00"


def test_a_workbook_with_blank_rows_and_comments(read):
    rows = [["# version 2"], [], ROWS[0], [None, " "], ROWS[1], ["# old"], ROWS[2]]
    assert_is_the_table(read(workbook_of(*rows), "a.xlsx"), [5, 7])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            workbook_of(["A flatfile"], *ROWS),
            "row 2, column C: 'PGA' stands beyond the header, which is row 1",
        ),
        (
            workbook_of(*ROWS, cells={"XFD1048576": "x"}),
            "row 1048576, column XFD: 'x' stands beyond the header",
        ),
        (workbook_of(ROWS[0], ["a", 1, "x"]), "row 2, column PGA: 'x', expected a number"),
        (workbook_of(), "has no rows below its header"),
    ],
)
def test_workbooks_that_do_not_fit(read, content, message):
    with pytest.raises(DataError, match=message):
        read(content, "a.xlsx").number("PGA")


def test_a_workbook_of_blank_cells_is_refused(read, monkeypatch):
    monkeypatch.setattr(table_files, "BLANK_CELLS", 1000)
    content = workbook_of(["id"], *([None] for _ in range(20)), cells={"XFD1": "z"})
    rows = "".join(f'<row r="{i}"><c r="A{i}"><v>1</v></c></row>' for i in range(2, 100))
    content = with_part(
        content,
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b"</sheetData>", rows.encode() + b"</sheetData>"),
    )
    with pytest.raises(
        DataError, match="rows and more span 16384 columns, and most of these cells are blank"
    ):
        read(content, "a.xlsx")


def test_a_workbook_of_many_styles_is_refused(read):
    content = with_part(workbook_of(*ROWS), "xl/styles.xml", lambda xml: xml + b" " * 4_000_000)
    with pytest.raises(DataError, match="its part xl/styles.xml has .* save the first sheet as CSV"):
        read(content, "a.xlsx")


# ---- memory -------------------------------------------------------------------------------------


def _bombs(folder) -> None:
    (folder / "bomb.csv.bz2").write_bytes(bz2.compress(TEXT.encode()) + 50 * bz2.compress(b"0" * 10**7))
    (folder / "bomb.xlsx").write_bytes(workbook_of(*ROWS, cells={"XFD1048576": "x"}))
    ones = pa.table({"PGA": np.ones(10**6), "id": pa.array(["a"] * 10**6).dictionary_encode()})
    with pq.ParquetWriter(folder / "rows.parquet", ones.schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(ones)
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 10**6])
    pq.write_table(pa.table({"id": text}), folder / "text.parquet")
    zeros = bytes(50 * 10**6)
    store = with_part(workbook_of(*ROWS), "xl/worksheets/sheet1.xml", lambda xml: xml + zeros)
    (folder / "zeros.xlsx").write_bytes(store)


PEAK = """
import sys
from pathlib import Path
from tfgmm.core.errors import TfgmmError
from tfgmm.readers.common import sheet
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmHWM"))
before = peak()
for path in map(Path, sys.argv[1:]):
    try:
        print(path.name, len(sheet.read(path).rows))
    except TfgmmError as error:
        print(error)
print(peak() - before)
"""


def _peak_mb(*paths) -> tuple[list[str], float]:
    command = [sys.executable, "-c", PEAK, *map(str, paths)]
    *lines, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return lines, float(peak)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_are_refused_in_little_memory(tmp_path):
    _bombs(tmp_path)
    paths = sorted(tmp_path.iterdir())
    lines, peak = _peak_mb(*paths)
    assert len(lines) == len(paths) and all(
        "bomb.xlsx, row 1048576" in line or "--large" in line for line in lines
    )
    assert peak < 150


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_whole_file(tmp_path):
    text = "id,time,PGA\n" + "a,2016-01-05,0.1\nb,,0.2\n" * 500_000
    (tmp_path / "table.csv").write_text(text)
    lines, peak = _peak_mb(tmp_path / "table.csv")
    assert lines == ["table.csv 1000000"]
    assert peak < 5 * len(text) / 1e6 + 100


def test_columns_of_parquet(tmp_path):
    frame = pd.DataFrame(
        {"id": ["a", "b"], "time": pd.to_datetime(["2016-01-05", None]), "PGA": [0.1, 0.2], "n": [4.0, 1e9]}
    )
    frame.astype({"id": "category"}).to_parquet(tmp_path / "a.parquet")
    table = sheet.read(tmp_path / "a.parquet")
    assert table.text("id").tolist() == ["a", "b"] and table.text("n").tolist() == ["4", "1000000000"]
    assert table.text("time").tolist()[0] == "2016-01-05T00:00:00" and table.rows.tolist() == [1, 2]


def test_long_lists_of_columns_are_cut(read):
    with pytest.raises(UsageError, match=r"has no column 'x': .* and 9,900 more"):
        read(",".join(f"c{i}" for i in range(10_000)) + "\n" + "," * 9_999 + "\n").text("x")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"PAR1", b"PAR1" + bytes(50) + b"PAR1", b"\x1f\x8b", b"#", b"\n\n", b'"', b"sep=;"],
)
def test_scraps_are_refused_in_one_line(read, content):
    with pytest.raises(TfgmmError) as error:
        read(content)
    assert "\n" not in str(error.value)


FDSN = "#EventID|Time|Latitude|Longitude|EventLocationName|EventType\n"


@pytest.mark.parametrize("place", ['5" N of A', '"Old" town', '"A', "A"])
def test_quotation_marks_in_fdsn_text(tmp_path, place):
    path = tmp_path / "events.txt"
    path.write_text(FDSN + f"e1|2020-01-01T00:00:00|35.1|139.2|{place}|earthquake\n" * 2)
    table = sheet.read(path)
    assert table.text("EventLocationName").tolist() == [place] * 2
    assert table.text("EventType").tolist() == ["earthquake"] * 2


def test_fdsn_text_without_the_type_of_the_event(tmp_path):
    path = tmp_path / "events.txt"
    path.write_text(FDSN + "e1|2020|35.1|139.2|A\ne2|2020|35.2|139.3|B|earthquake\n")
    table = sheet.read(path)
    assert table.number("Latitude").tolist() == [35.1, 35.2]
    assert table.text("EventType").isna().tolist() == [True, False]
