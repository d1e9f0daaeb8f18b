import hashlib
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.jma_files import dat, row, source, station_table
from helpers.tallies import assert_nothing_lost, dropped
from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.flatfiles import jma

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "jma"
GAL_G = 0.01 / 9.80665
KANTO = (138.9, 34.9, 141.0, 36.6)


@pytest.fixture
def table(tmp_path) -> Path:
    return station_table(tmp_path / "code_p.dat")


@pytest.fixture
def read(tmp_path, table):
    def _read(*lines: bytes, **limits):
        path = dat(tmp_path / "i2016.dat", *lines)
        return jma.read([path], table, Limits(**limits))

    return _read


def test_an_event_and_its_record(read):
    dataset = read(source("2016122821384904", " 364321", " 1403445", " 1084", "63D59W"), row())
    event, record = dataset.events.iloc[0], dataset.records.iloc[0]
    assert event.event_id == record.event_id == "jma20161228213849.04"
    assert event.origin_time == pd.Timestamp("2016-12-28T12:38:49.04Z")
    assert (event.latitude, event.longitude) == (36 + 43.21 / 60, 140 + 34.45 / 60)
    assert (event.depth_km, event.magnitude, event.magnitude_source) == (10.84, 5.9, "W")
    assert record["PGA"] == pytest.approx(np.sqrt(23.1 * 20.5) * GAL_G, rel=1e-12)
    assert (record.station_id, record.intensity, record.component) == ("3500000", 2.9, "geometric_mean")


def test_stations(read):
    stations = read(
        source(), row(), row("3500034"), row("3000000"), row("3000001"), row("3000020")
    ).stations
    stations = stations.set_index("station_id")
    assert list(stations.network) == ["jma", "local", "jma", "jma", "local"]
    assert stations.name["3000020"] == "水戸市千波町（旧）＊"
    assert stations.locality["3000020"] == "30000"
    assert stations.latitude["3500000"] == 35 + 41 / 60 and stations.longitude["3500000"] == 139.75
    assert stations.operating_from["3500000"] == pd.Timestamp("1897-12-31T15:00Z"), (
        "unknown day: the earliest"
    )
    assert stations.operating_to["3000000"] == pd.Timestamp("2010-03-31T04:00Z")
    assert stations.operating_to[["3500000", "3000020"]].isna().all(), "open, and unknown"
    assert stations.site_id["3000001"] == "3000000" != stations.site_id["3000020"]
    assert (stations.sensor_depth_m == 0).all() and stations[["elevation_m", "vs30_m_s"]].isna().all(
        axis=None
    )


@pytest.mark.parametrize(
    ("field", "magnitude", "kind"),
    [
        ("50W   ", 5.0, "W"),
        ("60D51W", 5.1, "W"),
        ("50D45V", 0.917 * 5.0 + 0.337, "D converted"),
        ("50B45v", 0.917 * 4.5 + 0.337, "v converted"),
        ("  W50J", 0.917 * 5.0 + 0.337, "J converted"),
    ],
)
def test_moment_magnitude(read, field, magnitude, kind):
    event = read(source(mag=field), row()).events.iloc[0]
    assert (event.magnitude, event.magnitude_source) == (pytest.approx(magnitude), kind)


@pytest.mark.parametrize(
    ("field", "magnitude", "kind"),
    [
        ("50W   ", 5.0, "W"),
        ("51W60D", 0.917 * 6.0 + 0.337, "D converted"),
        ("50D45V", 0.917 * 5.0 + 0.337, "D converted"),
    ],
)
def test_one_magnitude_scale_for_all_years(tmp_path, table, field, magnitude, kind):
    archive = dat(tmp_path / "i2016.dat", source(mag=field), row())
    dataset = jma.read([archive], table, Limits(), magnitude="jma")
    event = dataset.events.iloc[0]
    assert (event.magnitude, event.magnitude_source) == (pytest.approx(magnitude), kind)
    assert dataset.provenance["choices"]["magnitude"].startswith("0.917 Mj + 0.337")


def test_an_unknown_magnitude_is_refused(table):
    with pytest.raises(UsageError, match="'mw': choose moment or jma"):
        jma.read([], table, Limits(), magnitude="mw")


def test_events_that_cannot_be_used_are_counted(read):
    dataset = read(
        source(),
        source("2016010112000100", mag="90W   "),  # a second opinion on the same group
        row(),
        source("2016010212000000", kind="B"),
        source("2016010212000200", kind="B"),
        row(),
        source("2016010312000000", kind="D"),
        row(),
        source("201601041200    ", " 35 30 ".ljust(7), mag="      ", flag="N"),
        row(),
        source("2016010512000000", depth="     "),
        row(),
        source("2016010612000000", mag="      "),
        row(),
        source("2016010712000000", mag="52B   "),
        row(),
        source("2016010812000000", mag="39W   "),
        row(),
        row("3000001"),
    )
    assert list(dataset.events.magnitude) == [5.0]
    assert dropped(dataset) == {
        ("event", "swarm that cannot be separated (B)"): 1,
        ("event", "pair of separate earthquakes (D)"): 1,
        ("event", "origin time or hypocentre undetermined"): 2,
        ("event", "no magnitude"): 1,
        ("event", "magnitude of another agency only (B, S)"): 1,
        ("event", "magnitude below 4"): 1,
        ("station", "no coordinates"): 1,
        ("record", "its event was dropped"): 8,
        ("station", "no record is kept"): 5,
    }
    assert_nothing_lost(dataset)


def test_records_that_cannot_be_used_are_counted(read):
    dataset = read(
        source(),
        row(),
        row(ns="00999"),
        row("3500034", intensity="//"),
        row("3000000", ns="/////"),
        row("3000001", ew="00000"),
        row("9999999"),
        row("3599999"),
        row("1000000"),
        source("2016010212000000", " 400000"),
        row(),
        source("2016010312000000"),
        row(),
        region=KANTO,
        min_records=2,
    )
    assert dropped(dataset) == {
        ("station", "no coordinates"): 1,
        ("station", "outside the region"): 1,
        ("record", "its station is not in the table"): 1,
        ("record", "its station has no coordinates"): 1,
        ("record", "its station is outside the region"): 1,
        ("record", "amplitude is missing"): 1,
        ("record", "amplitude is zero"): 1,
        ("record", "farther than 300 km"): 1,
        ("record", "second record of a station in an event"): 1,
        ("event", "fewer than 2 records"): 2,
        ("record", "its event has fewer than 2 records"): 1,
        ("station", "no record is kept"): 3,
    }
    assert dataset.records.PGA[0] == pytest.approx(np.sqrt(23.1 * 20.5) * GAL_G), "the first is kept"
    assert dataset.records.intensity.isna().tolist() == [False, True]
    assert_nothing_lost(dataset)


def test_distance_is_hypocentral(read):
    above_the_source = source(lat=" 354100", lon=" 1394500", depth="10000"), row()
    assert len(read(*above_the_source, max_distance_km=100.01).records) == 1
    with pytest.raises(DataError, match="no record is left"):
        read(*above_the_source, max_distance_km=99.99)


def test_events_of_one_instant_stay_two_but_a_file_given_twice_counts_once(read, tmp_path, table):
    lines = source(), row(), source(depth=" 20  "), row()
    dataset = read(*lines)
    assert list(dataset.events.event_id) == ["jma20160101120000.00", "jma20160101120000.00-2"]
    assert list(dataset.records.event_id) == list(dataset.events.event_id)
    with zipfile.ZipFile(tmp_path / "i2016.zip", "w") as archive:
        archive.write(tmp_path / "i2016.dat", "i2016.dat")
    seen = []
    again = jma.read(
        [tmp_path / "i2016.dat", tmp_path / "i2016.zip"],
        table,
        Limits(),
        progress=seen.append,
    )
    assert [path.name for path in seen] == ["i2016.dat", "i2016.zip"]
    assert again.digest() == dataset.digest()
    assert dropped(again)["event", "listed twice"] == 2


def test_provenance(read, tmp_path):
    provenance = read(source(), row(), region=KANTO).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert [entry["file"] for entry in provenance["sources"]] == ["i2016.dat", "code_p.dat"]
    content = (tmp_path / "i2016.dat").read_bytes()
    assert provenance["sources"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert provenance["choices"]["region"] == [138.9, 34.9, 141.0, 36.6]
    assert provenance["read"] == {"event": 1, "station": 7, "record": 1}
    assert "0.917 Mj + 0.337" in provenance["choices"]["magnitude"]
    assert "0.5" in provenance["truncation"] and "Meteorological Agency" in provenance["attribution"]
    assert str(tmp_path) not in json.dumps(provenance)


def test_a_region_with_no_station(read):
    with pytest.raises(
        UsageError,
        match=r"no station lies in the region 0,50,1,51 .*139\.73\d*,35\.68\d*,141\.3\d*,43\.1\d*",
    ):
        read(source(), row(), region=(0, 50, 1, 51))


def test_nothing_left(read):
    with pytest.raises(DataError, match="no record is left"):
        read(source(), row(), min_magnitude=9)


def test_records_outside_the_operating_period_are_kept_and_noted(read):
    dataset = read(
        source("2010033113000000"),
        row("3000000"),
        row("3000001"),
        source("2010033114000000"),
        row("3000000"),
        row("3000001"),
        row("3000020"),
    )
    assert len(dataset.records) == 5
    assert dataset.provenance["noted"] == [
        {
            "what": "record",
            "reason": "after its station's operating period",
            "count": 1,
            "examples": ["jma20100331140000.00 3000000"],
        }
    ]


BETTER = "code,name,y,x\n3500000,a,35.69,139.76\n3500034,b,35.68,139.73\n1000000,c,,\n"


def test_better_coordinates(read, tmp_path, table):
    archive = dat(tmp_path / "i2016.dat", source(), row(), row("3000001"))
    better = tmp_path / "better.csv"
    better.write_text(BETTER, encoding="utf-8")
    dataset = jma.read([archive], table, Limits(), coordinates=better)
    stations = dataset.stations.set_index("station_id")
    assert (stations.latitude["3500000"], stations.longitude["3500000"]) == (35.69, 139.76)
    assert stations.latitude["3000001"] == 36 + 23 / 60, "not in the table"
    assert [entry["file"] for entry in dataset.provenance["sources"]][1:] == ["code_p.dat", "better.csv"]
    counts = {entry["reason"]: entry["count"] for entry in dataset.provenance["noted"]}
    assert counts == {"coordinates improved by the second table": 2, "second coordinates unknown": 5}
    assert_nothing_lost(dataset)


@pytest.fixture(scope="module")
def year_2016():
    if not REAL.is_dir():
        pytest.skip("the JMA files are not at hand")
    limits = Limits(min_magnitude=4.3, max_distance_km=5000)
    return jma.read([REAL / "i2016.zip"], REAL / "code_p.dat", limits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "time", "lat", "lon", "depth", "magnitude", "kind", "count"),
    [  # read by eye from the bytes: depth in whole km; free depth and W; free depth and D
        ("jma20160105112111.67", "2016-01-05T02:21:11.67Z", (30, 31.62), (132, 53.12), 58, 5.8, "W", 85),
        # lists 1873 stations, two of them without amplitudes
        (
            "jma20161122055946.89",
            "2016-11-21T20:59:46.89Z",
            (37, 21.28),
            (141, 36.25),
            24.5,
            6.9,
            "W",
            1871,
        ),
        (
            "jma20161122032549.30",
            "2016-11-21T18:25:49.30Z",
            (37, 21.41),
            (141, 33.45),
            24.8,
            4.5552,
            "D",
            32,
        ),
    ],
)
def test_golden_events(year_2016, event, time, lat, lon, depth, magnitude, kind, count):
    row = year_2016.events.set_index("event_id").loc[event]
    assert row.origin_time == pd.Timestamp(time)
    place = lat[0] + lat[1] / 60, lon[0] + lon[1] / 60, depth
    assert (row.latitude, row.longitude, row.depth_km) == pytest.approx(place, abs=1e-9)
    assert row.magnitude == pytest.approx(magnitude)
    assert row.magnitude_source == {"W": "W", "D": "D converted"}[kind]
    assert (year_2016.records.event_id == event).sum() == count


@pytest.mark.parametrize(
    ("event", "station", "ns_gal", "ew_gal", "intensity"),
    [
        ("jma20160105112111.67", "7780921", 2.3, 2.1, 1.3),
        ("jma20161122055946.89", "3000001", 50.1, 63.2, 3.8),
        ("jma20161228213849.04", "3000131", 379.7, 456.0, 5.0),
    ],
)
def test_golden_records(year_2016, event, station, ns_gal, ew_gal, intensity):
    record = year_2016.records.set_index(["event_id", "station_id"]).loc[(event, station)]
    assert record["PGA"] == pytest.approx(np.sqrt(ns_gal * ew_gal) * GAL_G, rel=1e-12)
    assert record.intensity == intensity


def test_real_files_lose_nothing_silently(year_2016):
    assert_nothing_lost(year_2016)
    station = year_2016.stations.set_index("station_id").loc["3000131"]
    assert (station.latitude, station.longitude, station.network) == (36 + 41 / 60, 140 + 41 / 60, "local")
    assert set(year_2016.networks) == {"jma", "local"}


# ---- damaged files: a message, or every loss counted ---------------------------------------------

WHOLE = [
    *(source(), row(), row("3500034"), source("2016010212000000", kind="B"), row()),
    *(source("2016010312000000", mag="  W50D"), row("3000001"), row("3000000", ns="/////")),
]
_places = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4)
#: Bytes that stand in such files: more of the damage passes the first checks.
_digits = st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(b" 0159/ABDWn\t\r\n")), max_size=4)


def damaged(path: Path, places, cut: int, extra: bytes) -> None:
    content = bytearray(path.read_bytes())
    for place, byte in places:
        content[place % len(content)] = byte
    path.write_bytes(bytes(content[: len(content) - cut]) + extra)


@settings(max_examples=30)
@given(
    which=st.sampled_from(["i2016.dat", "i2016.zip", "code_p.dat", "better.csv"]),
    places=st.one_of(_places, _digits),
    cut=st.sampled_from([0, 0, 0, 1, 40, 98]),
    extra=st.sampled_from([b"", b"", b"", b"\0", b"\r\n", b"\xff" * 98]),
)
def test_a_damaged_file_is_refused_or_its_loss_is_counted(which, places, cut, extra):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = dat(folder / "i2016.dat", *WHOLE)
        if which == "i2016.zip":
            with zipfile.ZipFile(folder / which, "w", zipfile.ZIP_DEFLATED) as whole:
                whole.write(archive, archive.name)
            archive = folder / which
        table, better = station_table(folder / "code_p.dat"), folder / "better.csv"
        better.write_text(BETTER, encoding="utf-8")
        damaged(folder / which, places, cut, extra)
        try:
            dataset = jma.read([archive], table, Limits(), coordinates=better)
        except (DataError, UsageError) as error:
            assert "\n" not in str(error)
        else:
            assert_nothing_lost(dataset)
