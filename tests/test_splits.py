"""Roles of events and sites; what `fit` must never see."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import TINY, small_dataset
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import training_records
from tfgmm.network import batches as data_pipeline
from tfgmm.runs.experiment import Experiment, Split
from tfgmm.runs.folds import make_folds, nearest_km, stopping_records


def experiment(**changes) -> Experiment:
    return Experiment(**TINY | changes)


def roles_of(dataset, chosen):
    table = data_pipeline.flat_table(dataset, chosen, "PGA")
    return [(fold, fold.roles(table)) for fold in make_folds(dataset, chosen)]


def with_station(dataset, like: str, **changes):
    """The dataset with one more station, and a record of it in every event of the station `like`."""
    row = dataset.stations[dataset.stations["station_id"] == like].assign(**changes)
    name = row["station_id"].iloc[0]
    records = dataset.records[dataset.records["station_id"] == like].assign(station_id=name)
    return dataclasses.replace(
        dataset,
        stations=pd.concat([dataset.stations, row], ignore_index=True),
        records=pd.concat([dataset.records, records], ignore_index=True),
    )


def test_validation_window_is_half_open(small, tiny):
    for _, roles in roles_of(small, tiny):
        year = roles["event_id"].map(small.events.set_index("event_id")["origin_time"]).dt.year
        assert set(year[roles["event_role"] == "validation"]) <= {2015, 2016, 2017}
        assert (roles["event_role"][year.isin([2015, 2016, 2017])] == "validation").all()
        assert {2021} <= set(year[roles["event_role"] == "training"])


def test_boundary_events():
    dataset = small_dataset()
    dataset.events["origin_time"] = pd.Timestamp("2010-01-01", tz="UTC")
    for i, time in enumerate(["2014-12-31T23:59:59.9", "2015-01-01", "2017-12-31T23:59:59", "2018-01-01"]):
        dataset.events.loc[i, "origin_time"] = pd.Timestamp(time, tz="UTC")
    role = make_folds(dataset, experiment())[0].event_role
    assert [role[f"E00{i}"] == "validation" for i in range(4)] == [False, True, True, False]


def test_every_reference_site_is_held_out_once(small, tiny):
    held = [f.station_role.index[f.station_role == "validation"] for f in make_folds(small, tiny)]
    reference = [name for names in held for name in names if name.startswith("K")]
    assert sorted(reference) == sorted(small.stations.loc[small.stations.network == "kik", "station_id"])


def test_fit_sees_no_validation_event_held_out_site_or_stopping_set(small, tiny):
    for fold, roles in roles_of(small, tiny):
        seen = training_records(roles)
        hidden_events = fold.event_role.index[fold.event_role != "training"]
        hidden_stations = fold.station_role.index[fold.station_role != "training"]
        assert len(hidden_events) and len(hidden_stations) and len(seen)
        assert not seen["event_id"].isin(hidden_events).any()
        assert not seen["station_id"].isin(hidden_stations).any()
        stopping = stopping_records(roles, tiny)
        assert not stopping.index.intersection(seen.index).size
        assert not stopping["site_id"].isin(roles.loc[roles.site_role == "validation", "site_id"]).any()
        assert not stopping["event_id"].isin(roles.loc[roles.event_role == "validation", "event_id"]).any()


def test_one_site_one_role(small, tiny):
    """An old and a new code, or a borehole and its surface twin, share the chunk."""
    twin = with_station(small, "K03", station_id="K03B")
    for fold, _ in roles_of(twin, tiny):
        assert fold.station_role["K03B"] == fold.station_role["K03"]


@pytest.mark.parametrize("role", ["validation", "stopping"])
def test_added_station_at_a_hidden_site_is_hidden_too(small, tiny, role):
    near = with_station(small, "M00", station_id="M90", site_id="M90")
    for code in ("M91", "M92"):  # another code of the same added site, a kilometre away
        near = with_station(near, "M90", station_id=code, site_id="M90")
    fold = make_folds(small, tiny)[0]
    target = fold.station_role.index[fold.station_role == role][0]
    place = small.stations.set_index("station_id").loc[target]
    at = near.stations["station_id"] == "M90"
    near.stations.loc[at, ["longitude", "latitude"]] = place["longitude"], place["latitude"] + 0.003
    after = make_folds(near, tiny)[0]
    assert after.station_role[target] == role
    assert [after.station_role[name] for name in ("M90", "M91", "M92")] == [role] * 3
    near.stations.loc[at, "latitude"] += 0.01
    assert make_folds(near, tiny)[0].station_role["M90"] == "training"


@pytest.mark.parametrize("stopping", ["sites", "blocks", "paper"])
@pytest.mark.parametrize(
    "split", [Split(), Split(kind="random-events"), Split(kind="magnitude", min_magnitude=5.8)]
)
def test_arms_share_chunks_stopping_sets_and_scored_pairs(small, split, stopping):
    sparse = experiment(networks=("kik",), split=split, stopping=stopping)
    dense = experiment(split=split, stopping=stopping)
    for (_, one), (_, two) in zip(roles_of(small, sparse), roles_of(small, dense), strict=True):
        two = two[two["network"] == "kik"]
        keys = ["event_id", "station_id", "event_role", "site_role"]
        pd.testing.assert_frame_equal(one[keys].reset_index(drop=True), two[keys].reset_index(drop=True))
        pd.testing.assert_frame_equal(
            stopping_records(one, sparse)[keys].reset_index(drop=True),
            stopping_records(two, dense)[keys].reset_index(drop=True),
        )


def test_blocks_of_stopping_events_follow_each_other():
    """By time, which is not the order of their ids here; chunks have blocks of their own."""
    dataset = small_dataset(n_events=80)
    first, day = pd.Timestamp("2001-01-01", tz="UTC"), np.random.default_rng(0).permutation(70)
    dataset.events.loc[:69, "origin_time"] = first + pd.to_timedelta(day, "D")
    dataset.events.loc[70:77, "origin_time"] = pd.Timestamp("2016-01-01", tz="UTC")
    when = dataset.events.set_index("event_id")["origin_time"]
    begins = set()
    for fold in make_folds(dataset, experiment(stopping="blocks", chunks=4)):
        stopping = when[fold.event_role.index[fold.event_role == "stopping"]]
        days = np.sort((stopping - first).dt.days.to_numpy())
        assert days.tolist() == list(range(days[0], days[0] + 7))
        begins.add(days[0])
    assert len(begins) > 1


def test_stopping_events_precede_the_window_and_have_reference_records(small, tiny):
    for fold in make_folds(small, tiny):
        names = fold.event_role.index[fold.event_role == "stopping"]
        events = small.events.set_index("event_id").loc[names]
        assert len(names) and (events["origin_time"] < pd.Timestamp("2015-01-01", tz="UTC")).all()


def test_seed_draws_the_chunks(small):
    roles = [make_folds(small, experiment(seed=seed))[0].station_role for seed in (1, 1, 2)]
    pd.testing.assert_series_equal(roles[0], roles[1])
    assert not roles[0].equals(roles[2])


def test_random_events(small):
    fold = make_folds(small, experiment(split=Split(kind="random-events", fraction=0.25)))[0]
    assert (fold.event_role == "validation").sum() == round(0.25 * 28)


def test_max_events_limits_reference_events_and_keeps_added_ones(small):
    limited = experiment(training=TINY["training"] | {"max_events": 12})
    role = make_folds(small, limited)[0].event_role
    assert len(role) == 12 + 2
    assert {"E028", "E029"} <= set(role.index)


MAGNITUDES = st.lists(st.sampled_from([4.5, 5.9, 5.99, 6.0, 6.01, 6.8]), min_size=30, max_size=30)


@given(MAGNITUDES, st.sampled_from(["sites", "blocks"]), st.sampled_from([None, 10]))
def test_no_event_at_or_above_the_magnitude_trains_or_stops(magnitudes, stopping, max_events):
    """All of them validate, of whatever year, with records of whatever network."""
    dataset = small_dataset()
    dataset.events["magnitude"] = magnitudes
    large = set(dataset.events.loc[dataset.events["magnitude"] >= 6.0, "event_id"])
    chosen = experiment(
        split=Split(kind="magnitude", min_magnitude=6.0),
        stopping=stopping,
        training=TINY["training"] | {"max_events": max_events},
    )
    try:
        folds = make_folds(dataset, chosen)
    except DataError as error:  # one of the 28 events of the reference network, or none, is left on a side
        assert "change --split" in str(error)
        assert min(sum(m >= 6 for m in magnitudes[:28]) + 1, sum(m < 6 for m in magnitudes[:28])) < 2
        return
    for fold in folds:
        assert set(fold.event_role.index[fold.event_role == "validation"]) == large
        assert {"training", "stopping"} <= set(fold.event_role)
        assert (fold.event_role == "training").sum() <= (max_events or 28) + 2


@pytest.mark.parametrize(("min_magnitude", "side"), [(0.0, "training"), (9.0, "validation")])
def test_magnitude_that_leaves_no_event_on_a_side(small, min_magnitude, side):
    with pytest.raises(DataError, match=f"no {side} event .*change --split"):
        make_folds(small, experiment(split=Split(kind="magnitude", min_magnitude=min_magnitude)))


def test_a_single_training_event_cannot_train_and_stop(small):
    small.events["magnitude"] = 6.5
    small.events.loc[3, "magnitude"] = 5.0
    with pytest.raises(DataError, match="a single training event .*cannot both train and stop: change"):
        make_folds(small, experiment(split=Split(kind="magnitude")))


@pytest.mark.parametrize(
    ("start", "end", "side"),
    [("1990-01-01", "2018-01-01", "training"), ("1990-01-01", "1991-01-01", "validation")],
)
def test_empty_side(small, start, end, side):
    with pytest.raises(DataError, match=f"no {side} event"):
        make_folds(small, experiment(split=Split(start=start, end=end)))


@pytest.mark.parametrize("stopping", ["sites", "blocks"])
def test_where_no_event_precedes_the_window_stopping_events_follow_it(small, caplog, stopping):
    chosen = experiment(split=Split(start="1990-01-01", end="2008-01-01"), stopping=stopping)
    when = small.events.set_index("event_id")["origin_time"].dt.year
    for fold in make_folds(small, chosen):
        years = when[fold.event_role.index[fold.event_role == "stopping"]]
        assert len(years) and years.between(2008, 2017).all()
        assert (fold.event_role == "training").any()
    (said,) = caplog.messages
    assert "no training event precedes the validation window: stopping events are drawn from all" in said


def test_where_events_precede_the_window_nothing_is_said(small, tiny, caplog):
    make_folds(small, tiny)
    assert not caplog.messages


def test_unknown_network(small):
    with pytest.raises(UsageError, match="unknown network xyz: the dataset has kik, meso"):
        make_folds(small, experiment(networks=("kik", "xyz")))


def test_network_outside_the_window(small):
    small.stations.loc[small.stations["network"] == "meso", "latitude"] += 5
    with pytest.raises(DataError, match="no station of network meso"):
        make_folds(small, experiment())


def test_too_few_sites(small):
    with pytest.raises(DataError, match="too few for 15 chunks"):
        make_folds(small, experiment(chunks=15))


def test_nearest_km(small):
    stations = small.stations.iloc[:3]
    others = stations.assign(latitude=stations["latitude"] + 0.01)
    assert nearest_km(stations, others) == pytest.approx([1.112] * 3, abs=2e-3)
    assert np.isnan(nearest_km(stations, others.iloc[:0])).all()
