"""What every reader of records keeps and drops, and why."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tallies import assert_nothing_lost, dropped
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection
from tfgmm.readers.common.selection import Limits, RawDataset


def events(*ids: str, **columns) -> pd.DataFrame:
    """Earthquakes a day apart, 10 km under 35 N 140 E."""
    table = pd.DataFrame({"event_id": list(ids)})
    table["origin_time"] = pd.Timestamp("2016-01-01", tz="UTC") + pd.to_timedelta(range(len(ids)), unit="D")
    place = {"longitude": 140.0, "latitude": 35.0, "depth_km": 10.0}
    return table.assign(**place, magnitude=5.0, magnitude_source="Mw", **columns)


def stations(*ids: str, **columns) -> pd.DataFrame:
    """Stations 0.1 degree (11 km) apart, north of 35 N 140 E."""
    table = pd.DataFrame({"station_id": list(ids), "latitude": 35 + 0.1 * np.arange(len(ids))})
    unknown = {"elevation_m": np.nan, "sensor_depth_m": 0.0, "vs30_m_s": np.nan}
    return table.assign(network="kik", longitude=140.0, **unknown).assign(**columns)


def rows(pairs: str, **ims) -> pd.DataFrame:
    """Records of the pairs in ``"E1 A, E1 B"``."""
    table = pd.DataFrame([pair.split() for pair in pairs.split(",")], columns=["event_id", "station_id"])
    return table.assign(component="geometric_mean", **(ims or {"PGA": 0.1}))


def select(event_table, station_table, record_table, **limits) -> Dataset:
    tally = Tally()
    for what, table in (("event", event_table), ("station", station_table), ("record", record_table)):
        tally.count(what, len(table))
    raw = RawDataset(event_table, station_table, record_table, {"name": "made"}, tally)
    return selection.select(raw, Limits(**limits))


def test_single_values_become_missing_and_only_wrong_ones_are_counted():
    amplitudes = {
        "PGA": [0.1, np.nan, 0.0, 25.0, np.nan, 0.1],
        "SA(1.0)": [0.2, 0.2, 0.2, 0.2, np.nan, -0.2],
    }
    dataset = select(events("E"), stations(*"ABCDEF"), rows("E A,E B,E C,E D,E E,E F", **amplitudes))
    assert dropped(dataset) == {
        ("value", "PGA: amplitude is zero"): 1,
        ("value", "PGA: amplitude above 20 g"): 1,
        ("value", "SA(1.0): amplitude is negative"): 1,
        ("record", "amplitude is missing"): 1,
        ("station", "no record is kept"): 1,
    }
    kept = dataset.records.set_index("station_id")
    assert kept["PGA"].notna().to_dict() == {"A": True, "B": False, "C": False, "D": False, "F": True}
    assert kept["SA(1.0)"].notna().to_dict() == {"A": True, "B": True, "C": True, "D": True, "F": False}
    assert_nothing_lost(dataset)


@pytest.mark.parametrize(
    ("amplitude", "reason"),
    [
        (0.0, "amplitude is zero"),
        (-0.1, "amplitude is negative"),
        (20.1, "amplitude above 20 g"),
        (np.inf, "amplitude above 20 g"),
        (9.9e-8, "amplitude below 1e-07 g"),
        (np.nan, "amplitude is missing"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"SA(1.0)": [0.1, np.nan]}])
def test_a_record_without_any_usable_value_is_dropped_once(amplitude, reason, more):
    dataset = select(events("E"), stations("A", "B"), rows("E A,E B", PGA=[0.1, amplitude], **more))
    assert dropped(dataset) == {("record", reason): 1, ("station", "no record is kept"): 1}
    assert_nothing_lost(dataset)


def test_duplicates_are_dropped_and_counted():
    event_table = events("E", "E", "F", "G", "G")
    event_table.loc[2, "origin_time"] = event_table.loc[0, "origin_time"]  # one earthquake, two ids
    event_table.loc[3, "magnitude"] = np.nan
    dataset = select(event_table, stations("A", "B", "A"), rows("E A,E B,E A,F B,G A"))
    assert dataset.events["event_id"].tolist() == ["E", "G"], "the first that can be used"
    assert len(dataset.records) == 3
    assert dropped(dataset) == {
        ("event", "listed twice"): 1,
        ("event", "no magnitude"): 1,
        ("event", "second entry of its id"): 1,
        ("station", "second entry of its code"): 1,
        ("record", "its event was dropped"): 1,
        ("record", "second record of a station in an event"): 1,
    }
    assert_nothing_lost(dataset)


def test_rows_with_the_same_label_stay_two():
    parts = rows("E A"), rows("E B", PGA=0.0)
    dataset = select(events("E"), stations("A", "B"), pd.concat(parts))
    assert dataset.records["station_id"].tolist() == ["A"]
    assert_nothing_lost(dataset)


def test_limits():
    event_table = events("E", "F", "G", "H", "I")
    event_table["magnitude"] = [4.0, 3.99, 5.0, 5.0, np.nan]
    event_table.loc[3, "depth_km"] = np.nan
    station_table = stations("A", "B", "C", "D", "X")
    station_table.loc[4, "longitude"] = np.nan
    pairs = "E A,E B,E C,E D,E X,E Z,F A,G A,H A"
    limits = {"region": (139, 35, 141, 35.2), "min_magnitude": 4.0, "max_distance_km": 16, "min_records": 2}
    dataset = select(event_table, station_table, rows(pairs), **limits)
    assert dataset.records["station_id"].tolist() == ["A", "B"]
    assert dropped(dataset) == {
        ("event", "origin time or hypocentre undetermined"): 1,
        ("event", "no magnitude"): 1,
        ("event", "magnitude below 4"): 1,
        ("event", "fewer than 2 records"): 1,
        ("station", "no coordinates"): 1,
        ("station", "outside the region"): 1,
        ("station", "no record is kept"): 1,
        ("record", "its event was dropped"): 2,
        ("record", "its station is not in the table"): 1,
        ("record", "its station has no coordinates"): 1,
        ("record", "its station is outside the region"): 1,
        ("record", "farther than 16 km"): 1,
        ("record", "its event has fewer than 2 records"): 1,
    }
    assert dataset.provenance["choices"]["region"] == [139, 35, 141, 35.2]
    assert not dataset.simulated
    assert_nothing_lost(dataset)


def test_records_out_of_service_are_kept_and_noted():
    times = pd.to_datetime(["2016-01-02", None, "2000-01-01"], utc=True)
    table = stations("A", "B", "C", operating_from=times, operating_to=times[[1, 0, 1]])
    dataset = select(events("E", "F", "G"), table, rows("E A,F A,E B,F B,G B,G C"))
    assert len(dataset.records) == 6
    assert dataset.provenance["noted"] == [
        {
            "what": "record",
            "reason": "before its station's operating period",
            "count": 1,
            "examples": ["E A"],
        },
        {
            "what": "record",
            "reason": "after its station's operating period",
            "count": 1,
            "examples": ["G B"],
        },
    ]


def test_nothing_is_noted_without_reason():
    assert select(events("E"), stations("A"), rows("E A")).provenance["noted"] == []


def test_what_a_reader_notes_stays():
    noted = selection.note("station", "moved", ["A", "B", "C", "D"])
    raw = RawDataset(events("E"), stations("A"), rows("E A"), {"noted": noted}, Tally())
    assert selection.select(raw, Limits()).provenance["noted"] == [
        {"what": "station", "reason": "moved", "count": 4, "examples": ["A", "B", "C"]}
    ]


def test_stations_without_coordinates():
    with pytest.raises(DataError, match="no station has coordinates"):
        select(events("E"), stations("A", latitude=np.nan), rows("E A"))


def test_a_region_without_station():
    with pytest.raises(UsageError, match=r"no station lies in the region 0,50,1,51 .* spans 140,35,140,35"):
        select(events("E"), stations("A"), rows("E A"), region=(0, 50, 1, 51))


def test_longitudes_of_0_to_360_are_wrapped():
    dataset = select(
        events("E").assign(longitude=180.5),
        stations("A", "B", "C", longitude=[179.8, 180.2, 360.0], latitude=[35.0, 35.0, 35.0]),
        rows("E A,E B,E C"),
        max_distance_km=100,
    )
    assert dataset.events["longitude"].tolist() == [-179.5]
    assert dataset.stations["longitude"].round(9).tolist() == [179.8, -179.8]
    assert dropped(dataset)["record", "farther than 100 km"] == 1
    assert dataset.provenance["choices"]["longitude"].startswith("1 events and 2 stations above 180")


@pytest.mark.parametrize(
    ("region", "kept"),
    [
        ((178, 30, -178, 40), ["A", "B", "C", "D"]),
        ((179, 30, 181, 40), ["B", "C"]),
        ((-180, 30, -178, 40), ["C", "D"]),
        ((-10, 30, 185, 40), ["A", "B", "C", "D"]),
        ((0, 30, 360, 40), ["A", "B", "C", "D"]),
        ((-180, 30, 180, 40), ["A", "B", "C", "D"]),
    ],
)
def test_a_region_across_the_date_line(region, kept):
    table = stations(*"ABCD", longitude=[178.5, 179.5, -179.5, -178.5], latitude=[35.0] * 4)
    dataset = select(events("E").assign(longitude=180.0), table, rows("E A,E B,E C,E D"), region=region)
    assert dataset.stations["station_id"].tolist() == kept


@pytest.mark.parametrize(
    "region", [(0, 40, 1, 30), (-190, 0, 0, 1), (0, 0, 361, 1), (0, 0, 1, 91), (0, 0, 1, np.nan)]
)
def test_a_region_that_is_none(region):
    with pytest.raises(UsageError, match="the region .* is none: write WEST,SOUTH,EAST,NORTH"):
        Limits(region=region)


def test_a_table_without_amplitudes():
    with pytest.raises(DataError, match="no intensity measure column such as PGA"):
        select(events("E"), stations("A"), rows("E A").drop(columns="PGA"))


_id = st.sampled_from("ABC")
_value = st.sampled_from([0.1, 0.1, 0.0, -1.0, 99.0, np.nan])


@settings(max_examples=15)
@given(
    event_ids=st.lists(_id, min_size=1, max_size=5),
    magnitudes=st.lists(st.sampled_from([3.0, 5.0, 6.0, np.nan]), min_size=5, max_size=5),
    station_ids=st.lists(_id, min_size=1, max_size=5),
    latitudes=st.lists(st.sampled_from([35.0, 35.5, 60.0, np.nan]), min_size=5, max_size=5),
    pairs=st.lists(st.tuples(st.sampled_from("ABCD"), st.sampled_from("ABCD")), min_size=1, max_size=12),
    amplitudes=st.lists(st.tuples(_value, _value), min_size=12, max_size=12),
    min_records=st.integers(1, 3),
)
def test_all_that_is_read_is_kept_or_counted(
    event_ids, magnitudes, station_ids, latitudes, pairs, amplitudes, min_records
):
    event_table = events(*event_ids).assign(magnitude=magnitudes[: len(event_ids)])
    station_table = stations(*station_ids).assign(latitude=latitudes[: len(station_ids)])
    pga, sa = np.transpose(amplitudes[: len(pairs)])
    record_table = rows(",".join(map(" ".join, pairs)), **{"PGA": pga, "SA(1.0)": sa})
    try:
        dataset = select(event_table, station_table, record_table, min_records=min_records)
    except (DataError, UsageError) as error:
        assert any(text in str(error) for text in ("no record is left", "no station has coordinates"))
    else:
        assert_nothing_lost(dataset)
        assert dataset.records["event_id"].value_counts().min() >= min_records


def test_found_is_not_changed():
    tables = events("E", "F"), stations("A", "B"), rows("E A,F B", PGA=[0.1, 0.0])
    copies = [table.copy() for table in tables]
    select(*tables)
    for table, copy in zip(tables, copies, strict=True):
        pd.testing.assert_frame_equal(table, copy)
