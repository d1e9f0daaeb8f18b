"""Small tables: what columns may be called, and what their cells may hold."""

import numpy as np
import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common import sheet
from tfgmm.readers.common.sheet import NUMBER, NUMERAL, Column

STATIONS = {
    "code": Column(sheet.STATION, filled=True, expected="a code", unique="each code once"),
    "longitude": Column(sheet.LONGITUDE, NUMBER, required=True, filled=True, lowest=-180, highest=360),
    "elevation_m": Column(("elevation",), NUMBER),
    "vs30": Column(("vs30",), NUMERAL),
}


@pytest.mark.parametrize(
    "name",
    ["longitude", "LON", "Long", "lng", " Lon. ", "Longitude (deg)", "lon[deg]", "lon_deg", "LONGITUDE_DD"],
)
def test_longitude_by_any_name(name):
    assert sheet.find_column(["lat", name], sheet.LONGITUDE) == name


@pytest.mark.parametrize("name", ["longitude_error", "station_longitude", "along", "x", ""])
def test_what_is_no_longitude(name):
    assert sheet.find_column([name], sheet.LONGITUDE) is None


def test_the_best_name_wins_and_then_the_first_column():
    assert sheet.find_column(["lon", "Longitude", "LON"], sheet.LONGITUDE) == "Longitude"
    assert sheet.find_column(["lat", "LON", "lon"], sheet.LONGITUDE) == "LON"


@pytest.fixture
def read(tmp_path):
    def read(text: str, **options):
        (tmp_path / "table.csv").write_text(text)
        return sheet.read_columns(sheet.read(tmp_path / "table.csv"), STATIONS, **options)

    return read


def test_columns_are_read_as_text_numbers_and_numerals(read):
    rows = read("# stations\nLNG,Vs30,Sta\n139.5,400.,A\n\n140,-,B\n")
    assert list(rows) == list(STATIONS) and rows.index.tolist() == [3, 5]
    assert rows["code"].tolist() == ["A", "B"] and rows["longitude"].tolist() == [139.5, 140]
    assert rows["vs30"].tolist() == ["400.", "-"], "numerals are not checked"
    assert rows["elevation_m"].dtype == float and rows["elevation_m"].isna().all(), "no such column"


def test_decimal_commas(read):
    with sheet.decimal_comma():
        rows = read("lon;vs30;elevation\n139,5;400,5;\n")
    assert rows.loc[2, ["longitude", "vs30"]].tolist() == [139.5, "400.5"]
    assert np.isnan(rows.loc[2, "elevation_m"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code,lon\nA,139\nB,\n", "row 3, column lon: nan, expected a number from -180 to 360"),
        ("code,lon\nA,139\nB,361\n", "row 3, column lon: '361', expected a number from -180 to 360"),
        ("code,lon\nA,139\nB,east\n", "row 3, column lon: 'east', expected a number, a blank or"),
        ("code,lon\nA,139\n,139\n", "row 3, column code: nan, expected a code"),
        ("code,lon\nA,139\nA,138\n", "row 3, column code: 'A', expected each code once"),
        ("code,lon,long\nA,139,138\n", "row 2: columns 'lon' and 'long' are both a longitude"),
        ("code,lon,elevation\nA,139,high\n", "row 2, column elevation: 'high', expected a number"),
    ],
)
def test_a_wrong_cell_is_named(read, text, message):
    with pytest.raises(DataError, match=rf"table\.csv, {message}"):
        read(text)


def test_a_column_that_must_be_there(read):
    message = r"table\.csv has no column longitude: name one of its columns \(code, x\) longitude or lon"
    with pytest.raises(UsageError, match=message):
        read("code,x\nA,139\n")
    assert read("code,x\nA,139\n", located={"longitude": "x"})["longitude"].tolist() == [139]


def test_blank_rows_are_left_out_where_asked(read):
    text = "code,lon,z\nA,139,1\n,,2\n"
    assert read(text, drop_blank_rows=True).index.tolist() == [2]
    with pytest.raises(DataError, match=r"row 3, column code: nan, expected a code"):
        read(text)
