"""Earthquakes and sites to predict: read, checked, refused."""

import pandas as pd
import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.prediction import scenarios

GOOD = {"magnitude": 7.0, "longitude": 139.8, "latitude": 35.5, "depth_km": 30.0}
CATALOGUE = "time,latitude,longitude,depth,mag\n"


def test_single():
    events = scenarios.single(**GOOD)
    assert events.loc[0].to_dict() == GOOD | {"event_id": "scenario"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth_km": None}, "the scenario has no depth_km: give"),
        ({"depth_km": None, "magnitude": None}, "has no depth_km, magnitude: give"),
        ({"magnitude": 99.0}, "the scenario's magnitude is 99.0, expected a number from -1 to 10"),
        ({"longitude": 400.0}, "longitude is 400.0, expected a number from -180 to 360"),
        ({"latitude": float("nan")}, "latitude is nan, expected"),
    ],
)
def test_single_that_cannot_be(changes, message):
    with pytest.raises(UsageError, match=message):
        scenarios.single(**GOOD | changes)


def test_catalogue_counts_what_is_not_complete(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        CATALOGUE
        + "2020-01-01T00:00:00,35.5,139.8,30,6.1\n"
        + "2020-01-02T00:00:00,35.5,139.8,,6.2\n"
        + "2020-01-03T00:00:00,35.5,139.8,10,\n"
        + "2020-01-04T00:00:00,35.6,139.9,40,6.4\n"
    )
    events, tally = scenarios.from_catalogue(path)
    assert events["magnitude"].tolist() == [6.1, 6.4]
    assert events.index.tolist() == [0, 1]
    assert tally.read == {"event": 4}
    assert [(row["reason"], row["examples"]) for row in tally.dropped()] == [
        ("no depth_km", ["20200102000000.00"]),
        ("no magnitude", ["20200103000000.00"]),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "no rows"),
        ("2020-01-02T00:00:00,35.5,139.8,,6.2\n", "no event has all of longitude, latitude, depth_km"),
        ("2020-01-02T00:00:00,35.5,139.8,10,99\n", "row 2, column magnitude: .*99"),
    ],
)
def test_catalogue_that_cannot_be(tmp_path, rows, message):
    path = tmp_path / "events.csv"
    path.write_text(CATALOGUE + rows)
    with pytest.raises(DataError, match=message):
        scenarios.from_catalogue(path)


@pytest.mark.parametrize(
    ("columns", "ids"),
    [
        ({"site_id": ["a", "b"], "station_id": ["c", "d"]}, ["a", "b"]),
        ({"station_id": [301, 302]}, ["301", "302"]),
        ({}, ["1", "2"]),
    ],
)
def test_sites_have_names(tmp_path, columns, ids):
    sites = pd.DataFrame({"longitude": [139.5, 140.0], "latitude": [35.5, 36.0]} | columns)
    sites.to_csv(tmp_path / "sites.csv", index=False)
    for found in (
        scenarios.read_sites(tmp_path / "sites.csv")[0],
        scenarios.check_sites(sites[::-1][::-1]),
    ):
        assert found["site_id"].tolist() == ids
        assert found["latitude"].tolist() == [35.5, 36.0]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            "x,y\n1,2\n",
            UsageError,
            r"sites.csv has no column longitude: .*\(x, y\) longitude or lon or long",
        ),
        ("139.7,35.7\n139.6,35.4\n", DataError, "sites.csv, row 1: 139.7, 35.7 are no names of columns"),
        (
            "# sites\nsite_id,lon,lat\nA,139,35\n\nB,139.5,35\nA,139.1,35\n",
            DataError,
            r"sites.csv, rows 3 and 6: site 'A' has two places \(139, 35 and 139.1, 35\)",
        ),
        ("longitude,latitude\n", DataError, "no rows"),
        (
            "longitude,latitude\n139,35\n400,35\n",
            DataError,
            "row 3, column longitude: '400', expected .*360",
        ),
        ("longitude,latitude\n139,\n", DataError, "row 2, column latitude: nan, expected .* -90 to 90"),
        (
            "longitude,latitude\n139,north\n",
            DataError,
            "row 2, column latitude: 'north', expected a number",
        ),
        ("longitude,latitude,site_id\n139,35,\n", DataError, "row 2, column site_id: nan, expected an id"),
    ],
)
def test_sites_that_cannot_be(tmp_path, content, error, message):
    (tmp_path / "sites.csv").write_text(content)
    with pytest.raises(error, match=message):
        scenarios.read_sites(tmp_path / "sites.csv")


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        ("site_id,lon,lat,name", ["NA", "007"]),
        ("custom_site_id,LON,LAT,vs30", ["NA", "007"]),
        ("STATION_ID,LONGITUDE,LATITUDE,PGA", ["NA", "007"]),
        ("Site_ID,lng,Lat,x", ["NA", "007"]),
        ("x,long,lat,vs30", ["1", "2"]),
    ],
)
def test_sites_as_neighbouring_tools_write_them(tmp_path, header, ids):
    (tmp_path / "sites.csv").write_text(f"{header}\nNA,139.7,35.7,310\n007,139.5,35.4,760\n")
    sites, tally = scenarios.read_sites(tmp_path / "sites.csv")
    assert sites["site_id"].tolist() == ids
    assert sites["longitude"].tolist() == [139.7, 139.5] and sites["latitude"].tolist() == [35.7, 35.4]
    assert tally.read == {"site": 2} and not tally.dropped()


def test_a_site_that_is_listed_again_is_counted(tmp_path):
    (tmp_path / "sites.csv").write_text("id,lon,lat\na,139,35\nb,140,35\na,139,35\n")
    sites, tally = scenarios.read_sites(tmp_path / "sites.csv")
    assert sites["site_id"].tolist() == ["a", "b"] and tally.read == {"site": 3}
    assert tally.dropped()[0] | {"count": 1} == {
        "what": "site",
        "reason": "listed again",
        "count": 1,
        "examples": ["a"],
    }
    (tmp_path / "sites.csv").write_text("lon,lat\n139,35\n139,35\n")
    assert len(scenarios.read_sites(tmp_path / "sites.csv")[0]) == 2, (
        "sites without a name are only numbered"
    )


def test_longitudes_from_0_to_360(tmp_path):
    assert scenarios.single(**GOOD | {"longitude": 190.0})["longitude"].tolist() == [-170]
    assert scenarios.check_events(pd.DataFrame([GOOD | {"longitude": 190.0}]))["longitude"].tolist() == [
        -170
    ]
    (tmp_path / "sites.csv").write_text("lon,lat\n190,35\n-170,35\n")
    assert scenarios.read_sites(tmp_path / "sites.csv")[0]["longitude"].tolist() == [-170, -170]
    sites = pd.DataFrame({"longitude": [190.0], "latitude": [35.0]})
    assert scenarios.check_sites(sites)["longitude"].tolist() == [-170]


def test_two_places_of_one_id_in_python():
    sites = pd.DataFrame({"site_id": ["a", "a"], "longitude": [139.0, 139.0], "latitude": [35.0, 36.0]})
    with pytest.raises(DataError, match="sites, rows 1 and 2: site 'a' has two places"):
        scenarios.check_sites(sites)
    assert len(scenarios.check_sites(sites.assign(latitude=35.0))) == 2


@pytest.mark.parametrize("mark", ["-999", "-9999.0", "NaN", "n/a"])
def test_a_vs30_that_marks_nothing_is_refused_and_a_blank_is_the_site_layer(tmp_path, mark):
    path = tmp_path / "sites.csv"
    path.write_text(f"lon,lat,vs30\n139,35,\n139,36,{mark}\n")
    with pytest.raises(
        DataError, match=rf"row 3, column vs30: '{mark}', expected 30 to 5000 m/s, or a blank"
    ):
        scenarios.read_sites(path)
    path.write_text("lon,lat,vs30\n139,35,\n139,36,300\n")
    sites, _ = scenarios.read_sites(path)
    assert sites["vs30_m_s"].isna().tolist() == [True, False]


def test_two_vs30_of_one_id(tmp_path):
    (tmp_path / "sites.csv").write_text("id,lon,lat,vs30\na,139,35,300\nb,139,36,300\na,139,35,760\n")
    with pytest.raises(
        DataError, match=r"rows 2 and 4: site 'a' has two values of vs30_m_s \(300 and 760\)"
    ):
        scenarios.read_sites(tmp_path / "sites.csv")
    sites = pd.DataFrame(
        {"site_id": ["a", "a"], "longitude": 139.0, "latitude": 35.0, "vs30_m_s": [300, None]}
    )
    with pytest.raises(DataError, match=r"sites, rows 1 and 2: site 'a' has two values of vs30_m_s"):
        scenarios.check_sites(sites)


def test_a_scenario_list_needs_no_times_and_says_what_its_magnitudes_are(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "lon,lat,depth,mag,magType\n139,35,10,5,Mww\n139,35,10,6,mb\n139,35,10,6.5,\n139,35,10,77,\n"
    )
    events, tally = scenarios.from_catalogue(path)
    assert events["magnitude"].tolist() == [5, 6, 6.5]
    assert scenarios.taken_as_mw(events, "x.csv") == (
        "Magnitudes of x.csv: 1 Mww, 1 mb, 1 not stated; 2 of 3 are taken as Mw, which it does not say."
    )
    assert scenarios.taken_as_mw(events[:1], "x.csv") == "Magnitudes of x.csv: 1 Mww."
    assert [row["examples"] for row in tally.dropped()] == [["row 5: 77"]]


def test_no_file_of_sites(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        scenarios.read_sites(tmp_path / "sites.csv")


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        (pd.DataFrame(GOOD, [0]).drop(columns="depth_km"), UsageError, "events have no column depth_km"),
        (pd.DataFrame(columns=list(GOOD)), DataError, "there are no events"),
        (pd.DataFrame([GOOD, GOOD | {"magnitude": 99}]), DataError, "row 2, column magnitude: 99"),
        (pd.DataFrame([GOOD | {"depth_km": "deep"}]), DataError, "row 1, column depth_km: deep"),
    ],
)
def test_events_that_cannot_be(events, error, message):
    with pytest.raises(error, match=message):
        scenarios.check_events(events)


def test_events_without_names_are_numbered():
    events = pd.DataFrame([GOOD, GOOD], index=[7, 7])
    assert scenarios.check_events(events)["event_id"].to_dict() == {0: "1", 1: "2"}


def test_two_columns_of_one_coordinate(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text("lon,lat,longitude,name\n139.5,35.5,139.5,A\n139.6,35.6,139.6,B\n")
    assert scenarios.read_sites(path)[0]["site_id"].tolist() == ["A", "B"]
    path.write_text("lon,lat,longitude\n139.5,35.5,139.5\n139.6,35.6,140.6\n")
    with pytest.raises(
        DataError, match=r"row 3: columns 'lon' and 'longitude' are both a longitude and differ"
    ):
        scenarios.read_sites(path)


@pytest.mark.parametrize("column", ["code", "Name", "station_code"])
def test_codes_and_names_are_ids_of_sites(tmp_path, column):
    (tmp_path / "sites.csv").write_text(f"lon,lat,{column}\n139.5,35.5,TKY007\n")
    assert scenarios.read_sites(tmp_path / "sites.csv")[0]["site_id"].tolist() == ["TKY007"]


def test_two_events_of_one_id_are_refused():
    event = {"longitude": 139.8, "latitude": 35.5, "depth_km": 30.0, "magnitude": 6.0}
    with pytest.raises(DataError, match="events: two have the id 'a': give each an id of its own"):
        scenarios.check_events(pd.DataFrame([event | {"event_id": "a"}] * 2))
    assert scenarios.check_events(pd.DataFrame([event] * 2))["event_id"].tolist() == ["1", "2"]
