"""Better coordinates of JMA stations."""

import pandas as pd
import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.flatfiles import jma

STATIONS = pd.DataFrame(
    {
        "station_id": ["near", "far", "moved", "after", "blank", "absent", "nowhere"],
        "latitude": [35.0, 35.0, 36.0, 36.0167, 35.0, 35.5, float("nan")],
        "longitude": [140.0, 140.0, 140.0, 140.0, 140.0, 140.0, float("nan")],
    }
)
TABLE = """code,n,y,x
near,a,35.01,140.01
far,b,35.03,140.0
moved,c,36.01,140.0
after,c,36.01,140.0
blank,d,,
nowhere,e,35.0,140.0
foreign,f,1,2
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "better.csv"
    path.write_text(TABLE)
    return path


def test_a_position_is_taken_where_rounding_explains_the_difference(table):
    stations, noted = jma.improve_coordinates(STATIONS, table)
    expected = STATIONS.assign(latitude=[35.01, *STATIONS["latitude"][1:]])
    pd.testing.assert_frame_equal(stations, expected.assign(longitude=[140.01, *STATIONS["longitude"][1:]]))
    assert [(row["what"], row["count"], row["examples"]) for row in noted] == [
        ("station", 1, ["near"]),
        ("station", 1, ["far"]),
        ("station", 2, ["moved", "after"]),
        ("station", 3, ["blank", "absent", "nowhere"]),
    ]
    assert [row["reason"].partition(":")[0] for row in noted] == [
        "coordinates improved by the second table",
        "second coordinates refused",
        "second coordinates refused",
        "second coordinates unknown",
    ]


@pytest.mark.parametrize(("north", "taken"), [(35.0179, True), (35.0181, False)])
def test_the_limit_is_two_km(tmp_path, north, taken):
    path = tmp_path / "better.csv"
    path.write_text(f"code,y,x\nnear,{north},140\n")
    stations, _ = jma.improve_coordinates(STATIONS, path)
    assert stations["latitude"][0] == (north if taken else 35)


@pytest.mark.parametrize(
    "content",
    [
        b"code;y;x\nnear;35.01;140.01\n",
        b"\xef\xbb\xbfcode\ty\tx\nnear\t35.01\t140.01\n",
        b"Station_Code,Lat,Lon\nnear,35.01,140.01\n",
    ],
)
def test_tables_are_read_as_all_others_are(tmp_path, content):
    path = tmp_path / "better.csv"
    path.write_bytes(content)
    stations, _ = jma.improve_coordinates(STATIONS, path)
    assert stations.loc[0, ["latitude", "longitude"]].tolist() == [35.01, 140.01]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"code,y\na,1\n", UsageError, "has no column 'x': its columns are code, y"),
        (b"", DataError, ".*"),
        (b'code,y,x\n"a,1,2\n', DataError, ".*quotation mark"),
        (b"code,y,x\na,1,2\nb,1,2,3\n", DataError, ".*"),
        (b"code,y,x\na,1,2\na,1,2\n", DataError, "row 3, column code: 'a', expected each code once"),
        (b"code,y,x\n,1,2\n", DataError, "row 2, column code: .*, expected each code once"),
        (
            b"code,y,x\na,91,2\n",
            DataError,
            "row 2, column y: '91', expected degrees from -90 to 90, or blank",
        ),
        (b"code,y,x\na,1,east\n", DataError, "row 2, column x: 'east', expected a number"),
        (b"code,y,x\na,1,361\n", DataError, "row 2, column x: '361', expected degrees"),
    ],
)
def test_another_table_is_refused(tmp_path, content, error, message):
    path = tmp_path / "better.csv"
    path.write_bytes(content)
    with pytest.raises(error, match=rf"better\.csv[:,]? {message}"):
        jma.improve_coordinates(STATIONS, path)


def test_a_table_that_does_not_exist(tmp_path):
    with pytest.raises(UsageError, match=r"better\.csv does not exist"):
        jma.improve_coordinates(STATIONS, tmp_path / "better.csv")


def test_the_real_table(shared_data):
    table = pd.read_csv(shared_data / "stations" / "jma_stations_merged.csv", dtype={"code": str})
    stations = table.rename(columns={"code": "station_id", "lat": "latitude", "lon": "longitude"})
    improved, noted = jma.improve_coordinates(
        stations, shared_data / "stations" / "jma_stations_merged.csv"
    )
    assert sum(row["count"] for row in noted) == len(stations)
    counts = {row["reason"].partition(":")[2].strip(): row["count"] for row in noted}
    assert counts["farther than 2 km from the first"] == 85
    old_and_new = improved.set_index("station_id").loc[["1100000", "1100001"], "longitude"]
    assert old_and_new.tolist() == [140.1333, 140.1167], "a move of 0.02 degrees is not undone"
