"""Two imports add up to one dataset."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import small_dataset
from helpers.tallies import dropped
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common import matching
from tfgmm.readers.common.matching import Tolerance

KINDS = ("event", "station", "record")


def imported(dataset: Dataset, rows: pd.DataFrame, name: str = "a") -> Dataset:
    """An import of these records, their events and their stations, with exact counts."""
    events = dataset.events[dataset.events["event_id"].isin(rows["event_id"])]
    stations = dataset.stations[dataset.stations["station_id"].isin(rows["station_id"])]
    read = {"event": len(events), "station": len(stations), "record": len(rows) + 2}
    lost = [
        {"what": "record", "reason": "amplitude is zero", "count": 2, "examples": [f"{name}1", f"{name}2"]}
    ]
    sources = [{"file": f"{name}.csv", "sha256": name}]
    about = {"name": name, "component": "geometric_mean", "sources": sources, "read": read, "dropped": lost}
    return Dataset(events, stations, rows, about).checked()


def other_catalogue(dataset: Dataset) -> Dataset:
    """The same earthquakes as another agency lists them."""
    events = dataset.events.assign(
        event_id="X" + dataset.events["event_id"],
        origin_time=dataset.events["origin_time"] + pd.Timedelta(seconds=3),
        latitude=dataset.events["latitude"] + 0.1,
        magnitude=dataset.events["magnitude"] - 0.4,
    )
    rows = dataset.records.assign(event_id="X" + dataset.records["event_id"])
    return dataclasses.replace(dataset, events=events, records=rows)


def pairs(dataset: Dataset) -> set:
    return set(zip(dataset.records["event_id"], dataset.records["station_id"], strict=True))


def assert_nothing_lost(dataset: Dataset) -> None:
    for what in KINDS:
        lost = sum(entry["count"] for entry in dataset.provenance["dropped"] if entry["what"] == what)
        assert dataset.provenance["read"][what] == len(getattr(dataset, f"{what}s")) + lost


@pytest.fixture
def first(small) -> Dataset:
    return imported(small, small.records[small.records["station_id"].str.startswith("K")])


@pytest.fixture
def second(small) -> Dataset:
    return imported(small, small.records[small.records["station_id"].str.startswith("M")], "b")


def test_two_networks_add_up(first, second, small):
    both = matching.combine(first, second, Tolerance())
    assert both.networks == ["kik", "meso"]
    assert pairs(both) == pairs(small)
    assert len(both.events) == len(small.events) and len(both.stations) == len(small.stations)
    assert [entry["what"] for entry in both.provenance["dropped"]] == ["record"]
    assert_nothing_lost(both)


def test_an_event_of_two_catalogues_becomes_one(first):
    second = other_catalogue(first)
    second.records["PGA"] *= 2
    both = matching.combine(first, second, Tolerance())
    for table in ("events", "stations", "records"):
        pd.testing.assert_frame_equal(getattr(both, table), getattr(first, table))
    assert dropped(both) == {
        ("record", "amplitude is zero"): 4,
        ("event", "merged with an event of an earlier import"): len(first.events),
        ("station", "merged with a station of an earlier import"): len(first.stations),
        ("record", "merged with a record of an earlier import"): len(first.records),
    }
    assert both.provenance["imports"][1]["merged_events"]["XE003"] == "E003"
    assert_nothing_lost(both)


def test_an_event_beyond_the_tolerance_stays_two(first):
    second = other_catalogue(first)
    both = matching.combine(first, second, Tolerance(seconds=2))
    assert len(both.events) == 2 * len(first.events)
    assert len(both.records) == 2 * len(first.records)


def test_the_same_import_twice_changes_no_table(small):
    times = pd.to_datetime(["1996-04-01", None] * 16, utc=True)
    stations = small.stations.assign(operating_from=times[0], operating_to=times, locality="13")
    dataset = dataclasses.replace(small, stations=stations, records=small.records.assign(snr=3.0))
    twice = matching.combine(dataset, dataset, Tolerance())
    assert twice.digest() == dataset.digest()
    for table in ("events", "stations", "records"):
        pd.testing.assert_frame_equal(getattr(twice, table), getattr(dataset, table))
    thrice = matching.combine(twice, dataset, Tolerance())
    assert thrice.digest() == dataset.digest()
    assert len(thrice.provenance["imports"]) == 3


def test_what_one_lacks_is_filled_from_the_other(first):
    rows = first.records.assign(intensity=1.0)
    rows.loc[0, "PGA"] = np.nan
    one = dataclasses.replace(first, records=rows.assign(**{"SA(1.0)": 0.1}))
    more = first.records.assign(PGA=0.5, **{"SA(2.0)": 0.2, "snr": 9.0})
    stations = first.stations.assign(vs30_m_s=np.nan)
    one = dataclasses.replace(one, stations=stations)
    both = matching.combine(one, dataclasses.replace(first, records=more), Tolerance())
    expected = ["event_id", "station_id", "PGA", "component", "intensity", "SA(1.0)", "SA(2.0)", "snr"]
    assert list(both.records) == expected
    assert both.records["PGA"][0] == 0.5, "filled"
    assert (both.records["PGA"][1:] == first.records["PGA"][1:]).all(), "the first stays"
    assert both.ims == ["PGA", "SA(1.0)", "SA(2.0)"]
    assert (both.stations["vs30_m_s"] == 300).all()


def test_columns_of_one_import_are_missing_in_the_other(first, second):
    begun = pd.Timestamp("1996-04-01", tz="UTC")
    second = dataclasses.replace(
        second,
        records=second.records.rename(columns={"PGA": "SA(1.0)"}),
        stations=second.stations.assign(operating_from=begun, operating_to=begun, locality="13"),
    )
    both = matching.combine(first, second, Tolerance())
    kik = both.records["station_id"].str.startswith("K")
    assert (both.records["PGA"].notna() == kik).all() and (both.records["SA(1.0)"].isna() == kik).all()
    assert (both.stations["operating_from"].dropna() == begun).sum() == len(second.stations)


def test_sites_are_formed_over_the_union(first, second):
    place = first.stations.loc[0, ["longitude", "latitude"]]
    second.stations.loc[0, ["longitude", "latitude", "network"]] = [*place, "kik"]
    both = matching.combine(first, second, Tolerance()).stations.set_index("station_id")
    assert both.loc["M00", "site_id"] == both.loc["K00", "site_id"] == "K00"


def test_layers_of_either_import_are_kept(first, second):
    def layers(value: float) -> xr.Dataset:
        where = {"latitude": [35.0, 36.0], "longitude": [139.0, 140.0]}
        return xr.Dataset({"vs30": xr.DataArray(np.full((2, 2), value), where)})

    with_layers = dataclasses.replace(second, layers=layers(300))
    for pair in ((first, with_layers), (with_layers, first), (with_layers, with_layers)):
        assert matching.combine(*pair, Tolerance()).layers.equals(layers(300))
    assert matching.combine(first, second, Tolerance()).layers is None
    with pytest.raises(UsageError, match="both imports have site layers, and these differ"):
        matching.combine(dataclasses.replace(first, layers=layers(400)), with_layers, Tolerance())


def test_provenance(first, second):
    one = {"attribution": "NIED", "truncation": "none", "unit": {"PGA": "g"}, "digest": "12"}
    first.provenance.update(one)
    two = {"attribution": "JMA", "unit": {"SA(1.0)": "g"}, "sources": first.provenance["sources"]}
    second.provenance.update(two)
    provenance = matching.combine(first, second, Tolerance(seconds=7)).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert [entry["name"] for entry in provenance["imports"]] == ["a", "b"]
    assert provenance["imports"][0] == first.provenance
    assert provenance["name"] == "a + b"
    assert provenance["attribution"] == "NIED JMA" and provenance["truncation"] == "none"
    assert provenance["unit"] == {"PGA": "g", "SA(1.0)": "g"}
    assert provenance["sources"] == [{"file": "a.csv", "sha256": "a"}], "one file, listed once"
    assert provenance["choices"]["same event within"]["seconds"] == 7
    assert provenance["read"]["station"] == 32
    zero = next(entry for entry in provenance["dropped"] if entry["reason"] == "amplitude is zero")
    assert (zero["count"], zero["examples"]) == (4, ["a1", "a2", "b1"])
    assert "digest" not in provenance


def test_simulated_and_measured_do_not_mix(first, second):
    second.provenance["simulated"] = True
    with pytest.raises(UsageError, match="the first records are measured and the second simulated"):
        matching.combine(first, second, Tolerance())


def test_components_must_agree(first, second):
    second.records["component"] = "rotd50"
    with pytest.raises(UsageError, match="the first records are geometric_mean and the second rotd50"):
        matching.combine(first, second, Tolerance())


def test_one_id_cannot_name_two_earthquakes(first):
    second = imported(first, first.records, "b")
    second.events.loc[3, "magnitude"] += 1.5
    with pytest.raises(DataError, match=r"event E003 is M .* in the first import and M .* in the second"):
        matching.combine(first, second, Tolerance())


@pytest.mark.parametrize("change", [{"latitude": 0.005}, {"network": "knet"}])
def test_one_code_cannot_name_two_stations(first, change):
    second = imported(first, first.records, "b")
    for column, value in change.items():
        old = second.stations.loc[3, column]
        second.stations.loc[3, column] = old + value if column == "latitude" else value
    with pytest.raises(
        DataError, match=r"station K03 is kik 1.* in the first import and k.* in the second"
    ):
        matching.combine(first, second, Tolerance())


def test_a_code_may_be_rounded_differently(first):
    second = imported(first, first.records, "b")
    second.stations["latitude"] += 0.004
    both = matching.combine(first, second, Tolerance())
    pd.testing.assert_frame_equal(both.stations, first.stations)


SMALL = small_dataset(n_events=8, n_kik=5, n_meso=3)
SMALL.events["origin_time"] += pd.to_timedelta(np.arange(8), unit="D")  # no two within the tolerance
_part = st.lists(st.booleans(), min_size=len(SMALL.records), max_size=len(SMALL.records)).filter(any)


@pytest.mark.slow
@settings(max_examples=10)
@given(_part, _part, st.booleans())
def test_counts_add_up_in_either_order(one, two, renamed):
    first, second = imported(SMALL, SMALL.records[one]), imported(SMALL, SMALL.records[two], "b")
    second = other_catalogue(second) if renamed else second
    both, reverse = (
        matching.combine(first, second, Tolerance()),
        matching.combine(second, first, Tolerance()),
    )
    shared = int((np.array(one) & np.array(two)).sum())
    assert len(both.records) == len(first.records) + len(second.records) - shared
    for dataset in (both, reverse):
        assert_nothing_lost(dataset)
    plain = dataclasses.replace(
        reverse, records=reverse.records.assign(event_id=reverse.records["event_id"].str.lstrip("X"))
    )
    merged = {(event.lstrip("X"), station) for event, station in pairs(both)}
    assert merged == pairs(plain)
    assert set(both.stations["station_id"]) == set(reverse.stations["station_id"])
    assert dropped(both) == dropped(reverse)
    kept_first = both.events[both.events["event_id"].isin(first.events["event_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept_first, first.events)
