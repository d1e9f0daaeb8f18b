"""All members of a run: what is missing, what it costs, the predictions table."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, small_dataset

from tfgmm import records
from tfgmm.errors import DataError, UsageError
from tfgmm.experiment import Experiment
from tfgmm.model import member, training

QUICK = TINY | {"training": {"epochs": 1, "shift_pixels": 0}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    records.write(small_dataset(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of two members, interrupted after the first."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    begun = training.begin(Experiment(**QUICK | {"data": data}), folder)
    seen = []

    def interrupt(name, share):
        seen.append(name)
        if "chunk 1" in name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun.train(interrupt)
    assert set(seen) == {"PGA chunk 0 init 0", "PGA chunk 1 init 0"}
    return begun


def test_only_what_is_missing_is_trained(run, data):
    assert [one.chunk for one in run.missing] == [1]
    first = run.folder(run.members[0]) / "model.keras"
    untouched = first.stat().st_mtime_ns
    again = training.begin(Experiment(**QUICK | {"data": data}), run.run.path)
    reported = {}
    again.train(lambda name, share: reported.update({name: share}))
    assert reported == {"PGA chunk 1 init 0": 1.0}
    assert first.stat().st_mtime_ns == untouched
    assert not again.missing
    table = again.run.read_predictions()
    assert set(table["chunk"]) == {0, 1}
    assert {"im", "event_id", "station_id", "arm", "chunk", "init", "mean", "stddev", "ln_im"} <= set(table)
    assert not table.duplicated(["event_id", "station_id", "chunk", "init"]).any()
    held_out = table[(table["site_role"] == "validation") & (table["network"] == "kik")]
    assert held_out["station_id"].nunique() == 20


def test_other_experiment_in_the_same_folder(run, data):
    with pytest.raises(UsageError, match="holds another run .different: seed"):
        training.begin(Experiment(**QUICK | {"data": data, "seed": 5}), run.run.path)


def test_estimate_is_a_time(run, data, tmp_path):
    begun = training.begin(Experiment(**QUICK | {"data": data}), tmp_path / "run")
    assert 0.001 < begun.seconds_per_member(trials=2) < 60


def test_only_chosen_chunks(data, tmp_path):
    begun = training.begin(Experiment(**QUICK | {"data": data}), tmp_path / "run", chunks=(1,))
    assert [one.chunk for one in begun.members] == [1]


@pytest.mark.parametrize(
    ("changes", "chunks", "message"),
    [
        ({"ims": ("SA(1.0)",)}, None, "no SA"),
        ({"drop": ("bedrock",)}, None, "cannot drop 'bedrock'"),
        ({"drop": ("source",), "training": {"target": "residual"}}, None, "needs the channels"),
        ({}, (2,), "no chunk 2: the run has chunks 0 to 1"),
    ],
)
def test_nothing_is_made_where_something_does_not_fit(data, tmp_path, changes, chunks, message):
    with pytest.raises((DataError, UsageError), match=message):
        training.begin(Experiment(**QUICK | {"data": data} | changes), tmp_path / "run", chunks=chunks)
    assert not (tmp_path / "run").exists()


def test_arms_share_seeds_and_differ_in_name(data):
    full, dropped = (Experiment(**QUICK | {"data": data, "drop": drop}) for drop in ((), ("site",)))
    assert full.member_seed(1, 2) == dropped.member_seed(1, 2)
    assert (full.arm, dropped.arm) == ("all", "drop-site")
    assert len({full.member_seed(c, i) for c in range(5) for i in range(10)}) == 50


def test_several_intensity_measures(tmp_path):
    dataset = small_dataset()
    dataset.records["SA(1.0)"] = dataset.records["PGA"] * 0.5
    records.write(dataset, tmp_path / "data")
    chosen = Experiment(**QUICK | {"data": str(tmp_path / "data"), "ims": ("PGA", "sa(1)")})
    begun = training.begin(chosen, tmp_path / "run")
    assert [(one.im, one.chunk) for one in begun.members] == [
        ("PGA", 0),
        ("PGA", 1),
        ("SA(1.0)", 0),
        ("SA(1.0)", 1),
    ]
    both = [member.Material.of(dataset, chosen, im, begun.folds[0]).training.ln_im for im in chosen.ims]
    assert both[1] - both[0] == pytest.approx(-0.693147, abs=1e-5)


def test_records_know_their_places(run):
    records = run.run.with_places(run.material(run.members[0]).records)
    station = run.dataset.stations.set_index("station_id").loc[records["station_id"]]
    event = run.dataset.events.set_index("event_id").loc[records["event_id"]]
    np.testing.assert_array_equal(records["longitude"], station["longitude"])
    np.testing.assert_array_equal(records["event_latitude"], event["latitude"])
    np.testing.assert_array_equal(records["origin_time"], event["origin_time"])
    epicentral = np.hypot(records["x_km"] - records["event_x_km"], records["y_km"] - records["event_y_km"])
    np.testing.assert_allclose(np.hypot(epicentral, records["depth_km"]), records["r_hyp_km"])


def test_places_that_are_gone(run, tmp_path):
    moved = dataclasses.replace(run.run, path=tmp_path)
    with pytest.raises(DataError, match=r"events\.parquet is missing .*tfgmm train command"):
        moved.with_places(run.material(run.members[0]).records)


def test_a_further_arm_goes_into_the_same_run(run, data):
    """Its members see turned maps; everything else about the run stays as it is."""
    begun = training.begin(Experiment(**QUICK | {"data": data}), run.run.path)
    begun.train()
    before = begun.run.read_predictions()
    arm = begun.arm(begun.experiment.without_site(isotropic=True))
    assert [one.name for one in arm.missing] == ["PGA chunk 0 init 0", "PGA chunk 1 init 0"]
    reported = set()
    arm.train(lambda name, share: reported.add(name))
    assert len(reported) == 2 and not arm.missing
    folder = begun.run.path / "members" / "PGA" / "drop-site-isotropic" / "chunk-1_init-0"
    assert json.loads((folder / "done.json").read_text())["seed"] == begun.experiment.member_seed(1, 0)
    whole = pd.read_parquet(begun.run.predictions)
    assert whole["arm"].value_counts().to_dict() == dict.fromkeys(
        ["all", "drop-site-isotropic"], len(before)
    )
    pd.testing.assert_frame_equal(begun.run.read_predictions(), before)
    other = whole[whole["arm"] != "all"].reset_index(drop=True)
    assert (other["mean"] - before["mean"]).abs().max() > 1e-3
    begun.write_predictions()  # as the train command does when it is given again
    assert set(pd.read_parquet(begun.run.predictions)["arm"]) == {"all", "drop-site-isotropic"}


def test_reopened_run_has_its_data_and_folds(run, data):
    again = training.reopen(run.run)
    for one, other in zip(again.folds, run.folds, strict=True):
        pd.testing.assert_series_equal(one.station_role, other.station_role)
    changed = dataclasses.replace(run.run, data=run.run.data | {"digest": "other"})
    with pytest.raises(DataError, match="have changed since it was trained: bring back"):
        training.reopen(changed)
