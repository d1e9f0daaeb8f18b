"""All members of a run: what is missing, what it costs, the predictions table."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from conftest import QUICK, small_dataset
from helpers.small_disk import small_disk
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.lease import Lease
from tfgmm.network import member, training
from tfgmm.network.batches import Material
from tfgmm.prediction import ensemble
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    small_dataset().write(folder)
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
    assert set(seen) == {"chunk 0 init 0", "chunk 1 init 0"}
    return begun


@pytest.mark.slow
def test_only_what_is_missing_is_trained(run, data):
    assert [one.chunk for one in run.missing] == [1]
    first = run.folder(run.members[0]).path / "model.keras"
    untouched = first.stat().st_mtime_ns
    again = training.begin(Experiment(**QUICK | {"data": data}), run.run.path)
    reported = {}
    again.train(lambda name, share: reported.update({name: share}))
    assert reported == {"chunk 1 init 0": 1.0}
    assert first.stat().st_mtime_ns == untouched
    assert not again.missing
    table = again.run.read_predictions()
    assert set(table["chunk"]) == {0, 1}
    assert {"im", "event_id", "station_id", "arm", "chunk", "init", "mean", "stddev", "ln_im"} <= set(table)
    assert not table.duplicated(["event_id", "station_id", "chunk", "init"]).any()
    held_out = table[(table["site_role"] == "validation") & (table["network"] == "kik")]
    assert held_out["station_id"].nunique() == 20


@pytest.mark.slow
def test_other_experiment_in_the_same_folder(run, data):
    with pytest.raises(UsageError, match="holds another run .different: seed"):
        training.begin(Experiment(**QUICK | {"data": data, "seed": 5}), run.run.path)


@pytest.mark.slow
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
        ({"backbone": "BSSA"}, None, "--backbone BSSA: there is no such model; choose one of none, auto"),
        ({"backbone": "auto", "backbone_region": "mars"}, None, "--backbone-region mars: choose auto"),
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
    dataset.write(tmp_path / "data")
    chosen = Experiment(**QUICK | {"data": str(tmp_path / "data"), "ims": ("PGA", "sa(1)")})
    begun = training.begin(chosen, tmp_path / "run")
    assert [one.chunk for one in begun.members] == [0, 1]
    both = Material.of(dataset, chosen, begun.folds[0]).training.ln_im
    assert both[:, 1] - both[:, 0] == pytest.approx(-0.693147, abs=1e-5)


@pytest.mark.slow
def test_records_know_their_places(run):
    records = run.run.with_places(run.material(run.members[0]).records["PGA"])
    station = run.dataset.stations.set_index("station_id").loc[records["station_id"]]
    event = run.dataset.events.set_index("event_id").loc[records["event_id"]]
    np.testing.assert_array_equal(records["longitude"], station["longitude"])
    np.testing.assert_array_equal(records["event_latitude"], event["latitude"])
    np.testing.assert_array_equal(records["origin_time"], event["origin_time"])
    epicentral = np.hypot(records["x_km"] - records["event_x_km"], records["y_km"] - records["event_y_km"])
    np.testing.assert_allclose(np.hypot(epicentral, records["depth_km"]), records["r_hyp_km"])


@pytest.mark.slow
def test_places_that_are_gone(run, tmp_path):
    moved = dataclasses.replace(run.run, path=tmp_path)
    with pytest.raises(DataError, match=r"files\.json is missing .*tfgmm train command"):
        moved.with_places(run.material(run.members[0]).records["PGA"])


@pytest.mark.slow
def test_one_network_learns_two_measures(tmp_path):
    """The second measure is half of the first, and the records of some events lack it."""
    dataset = small_dataset()
    whole = dataset.records["event_id"] > dataset.records["event_id"].min()
    dataset.records["SA(1.0)"] = (dataset.records["PGA"] * 0.5).where(whole)
    dataset.write(tmp_path / "data")
    chosen = Experiment(**QUICK | {"data": str(tmp_path / "data"), "ims": ("PGA", "SA(1.0)")})
    begun = training.begin(chosen, tmp_path / "run")
    assert begun.train() == [] and not begun.missing
    folder = begun.folder(begun.members[0])
    assert folder.networks() == {"model.keras": ["PGA", "SA(1.0)"]}
    assert folder.ims() == ["PGA", "SA(1.0)"] and not folder.damaged_files(begun.run.fingerprint)
    table = begun.run.read_predictions()
    counts = table["im"].value_counts()
    assert counts["SA(1.0)"] == 2 * whole.sum() and counts["PGA"] == 2 * len(whole)
    pga, sa = (table[table["im"] == im].set_index(["chunk", "event_id", "station_id"]) for im in chosen.ims)
    both = pga.loc[sa.index]
    np.testing.assert_allclose(both["ln_im"] - sa["ln_im"], np.log(2))
    assert (both["mean"] - sa["mean"]).mean() == pytest.approx(np.log(2), abs=0.2)
    assert (both["mean"] - sa["mean"]).std() > 1e-4  # two outputs, not one


@pytest.mark.slow
def test_a_member_that_lacks_a_measure_is_trained_anew(run, data):
    """As version 0.1 leaves it where one of two measures is not trained."""
    begun = training.begin(Experiment(**QUICK | {"data": data}), run.run.path)
    assert not begun.missing
    more = begun.arm(begun.experiment.model_copy(update={"ims": ("PGA", "SA(1.0)")}))
    assert more.missing == more.members


@pytest.mark.slow
def test_a_further_arm_goes_into_the_same_run(run, data):
    """Its members see turned maps; everything else about the run stays as it is."""
    begun = training.begin(Experiment(**QUICK | {"data": data}), run.run.path)
    begun.train()
    before = begun.run.read_predictions()
    arm = begun.arm(begun.experiment.without_site(isotropic=True))
    assert [one.name for one in arm.missing] == ["chunk 0 init 0", "chunk 1 init 0"]
    reported = set()
    arm.train(lambda name, share: reported.add(name))
    assert len(reported) == 2 and not arm.missing
    folder = begun.run.path / "members" / "drop-site-isotropic" / "chunk-1_init-0"
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


@pytest.mark.slow
def test_reopened_run_has_its_data_and_folds(run, data):
    again = training.reopen(run.run)
    for one, other in zip(again.folds, run.folds, strict=True):
        pd.testing.assert_series_equal(one.station_role, other.station_role)


def test_the_dataset_may_change_or_vanish(data, tmp_path):
    """A run reopens its own copy, wherever the dataset has gone."""
    shutil.copytree(data, tmp_path / "data")
    begun = training.begin(Experiment(**QUICK | {"data": str(tmp_path / "data")}), tmp_path / "run")
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "run").rename(tmp_path / "moved")
    again = training.reopen(RunFolder.open(tmp_path / "moved"))
    assert again.dataset.digest() == begun.dataset.digest()
    assert again.run.channels == begun.run.channels


def test_a_damaged_copy_is_brought_back(data, tmp_path):
    experiment = Experiment(**QUICK | {"data": data})
    begun = training.begin(experiment, tmp_path / "run")
    (tmp_path / "run" / "data" / "records.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"records\.parquet is missing or damaged .* brings the data back"):
        training.reopen(begun.run)
    training.begin(experiment, tmp_path / "run")
    assert training.reopen(begun.run).dataset.digest() == begun.dataset.digest()


# ---- damage and other processes ----------------------------------------------------------------------


@pytest.fixture
def whole(trained_root, tmp_path) -> training.Training:
    """A copy of a finished run, of two members of one epoch, that a test may damage."""
    shutil.copytree(trained_root / "run", tmp_path / "run")
    return training.begin(RunFolder.open(tmp_path / "run").experiment, tmp_path / "run")


def again(run: training.Training) -> training.Training:
    return training.begin(run.experiment, run.run.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trained"),
    [("predictions.parquet", False), ("model.keras", True), ("history.csv", True), ("done.json", True)],
)
def test_damaged_files_of_a_member_are_made_anew(whole, name, trained, caplog, monkeypatch):
    """Predictions from the network, all else by training; what comes is what was there."""
    folder = whole.folder(whole.members[0]).path
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    table = whole.run.read_predictions()
    content = bytearray(before[name])
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="damaged.*: give the tfgmm train command of the run again"):
        ensemble.load(whole.run.path)
    trainings = []
    original = member.train
    monkeypatch.setattr(
        training, "train_member", lambda *args, **more: trainings.append(original(*args, **more))
    )
    repaired = again(whole)
    assert [one.name for one in repaired.missing] == ["chunk 0 init 0"]
    assert f"chunk 0 init 0: {name} damaged, it is made anew" in caplog.text
    assert repaired.train() == []
    assert len(trainings) == trained
    assert not again(whole).missing
    for other in ("predictions.parquet", "history.csv"):
        assert (folder / other).read_bytes() == before[other]
    pd.testing.assert_frame_equal(whole.run.read_predictions(), table)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predictions.parquet", "events.parquet"])
def test_damaged_tables_of_a_run_are_written_anew(whole, name):
    path = whole.run.path / name
    before = path.read_bytes()
    path.write_bytes(before[:100])
    again(whole).train()
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_damaged_checkpoint_begins_again(data, tmp_path, caplog):
    begun = training.begin(
        Experiment(**QUICK | {"data": data, "training": {"epochs": 3, "shift_pixels": 0}}),
        tmp_path / "run",
        chunks=(0,),
    )
    first = begun.members[0]

    def interrupt(name, share):
        if share > 0.7:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            begun.train(interrupt)
        work = member.work_folder(begun.folder(first).path)
        for path in work.rglob("epoch-*"):
            path.write_bytes(path.read_bytes()[:-1])
    begun.train()
    assert "the training of this member begins again" in caplog.text
    assert not begun.missing and not work.exists()


@pytest.mark.slow
def test_members_of_another_process_are_left_to_it(data, tmp_path):
    """Somebody else, alive, holds the first member; then it is dead."""
    begun = training.begin(Experiment(**QUICK | {"data": data}), tmp_path / "run")
    first, _ = begun.members
    code = (
        "import sys, time; from pathlib import Path; from tfgmm.core.lease import Lease; "
        "print(Lease(Path(sys.argv[1])).take(), flush=True); time.sleep(100)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, begun.folder(first).path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"True\n"
        (line,) = begun.train()
        assert line.startswith(f"chunk 0 init 0: process {process.pid} on ")
        assert begun.missing == [first]
        assert not begun.run.predictions.exists()
        with pytest.raises(UsageError, match=f"process {process.pid} on .* is at work in"):
            training.begin(begun.experiment, begun.run.path, overwrite=True)
        process.kill()
    assert begun.train() == []
    assert begun.run.read_predictions()["chunk"].nunique() == 2
    assert not list(begun.run.path.rglob("*.lease"))


@pytest.mark.slow
def test_a_lease_that_outlived_its_member_is_ended(whole):
    """A kill between the end of a member and that of its lease."""
    left = whole.run.member(0, 0).path.with_name(".tfgmm-chunk-0_init-0.lease")
    left.write_text("filelock/2\npid=999999\nhost=another\nmode=lease\ntoken=00\nduration=120.0\n")
    assert not again(whole).missing and left.exists()  # nobody here can see that it is dead
    mine = Lease(whole.run.member(0, 0).path)
    left.write_text(left.read_text().replace("host=another", f"host={socket.gethostname()}"))
    assert not again(whole).missing and not left.exists()
    assert mine.take()
    mine.release()


@pytest.mark.slow
def test_a_lost_lease_ends_the_training(data, tmp_path):
    begun = training.begin(Experiment(**QUICK | {"data": data}), tmp_path / "run")

    def steal(self):
        self.lost = True
        raise DataError("has gone to another")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfgmm.core.lease.Lease.refuse_lost", steal)
        with pytest.raises(DataError, match="has gone to another"):
            begun.train()
    assert not begun.folder(begun.members[0]).is_trained


@pytest.mark.slow
def test_a_run_that_was_replaced_is_left_alone(data, tmp_path):
    """Two processes begin with --overwrite: the first one's member is not taken for the second one's."""
    experiment = Experiment(**QUICK | {"data": data})
    first = training.begin(experiment, tmp_path / "run", overwrite=True, chunks=(0,))
    folder = first.folder(first.members[0])
    place = first.members[0].chunk, first.members[0].init
    member.train(first.material(first.members[0]), folder, *place, fingerprint=first.run.fingerprint)
    other = experiment.model_copy(update={"seed": 7})
    second = training.begin(other, tmp_path / "run", overwrite=True, chunks=(0,))
    member.train(first.material(first.members[0]), folder, *place, fingerprint=first.run.fingerprint)
    with pytest.raises(DataError, match="was replaced by another run: this training ends"):
        first.train()
    assert second.train() == []
    done = folder.done()
    assert done["seed"] == second.experiment.member_seed(*place)


def test_a_run_goes_on_where_its_dataset_has_moved_or_vanished(data, tmp_path, caplog):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(data, tmp_path / "moved")
    experiment = Experiment(**QUICK | {"data": str(tmp_path / "data")})
    begun = training.begin(experiment, tmp_path / "run")
    moved = experiment.model_copy(update={"data": str(tmp_path / "moved")})
    assert training.begin(moved, tmp_path / "run").run.fingerprint == begun.run.fingerprint
    shutil.rmtree(tmp_path / "data")
    again = training.begin(experiment, tmp_path / "run")
    assert "the run goes on with its own copy of the data" in caplog.text
    assert again.dataset.digest() == begun.dataset.digest()
    with pytest.raises(UsageError, match="is no dataset folder"):
        training.begin(experiment, tmp_path / "other")


def test_an_empty_folder_is_begun_in(data, tmp_path):
    """Also one that a kill left before its description was there."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".tfgmm-00000000-1-1-00000000.experiment.json").write_text("{")
    for overwrite in (False, True):
        assert training.begin(Experiment(**QUICK | {"data": data}), tmp_path / "run", overwrite).missing


@pytest.mark.slow
def test_overwrite_leaves_strangers_files(whole):
    (whole.run.path / "notes.txt").write_text("mine")
    training.begin(whole.experiment.model_copy(update={"seed": 7}), whole.run.path, overwrite=True)
    assert (whole.run.path / "notes.txt").read_text() == "mine"
    assert not (whole.run.path / "members").exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_training_goes_on(data, tmp_path, capsys, monkeypatch):
    """No file may grow beyond a limit: nothing fits, then weights do not."""
    monkeypatch.setattr(training.Training, "seconds_per_member", lambda self: 7.0)
    command = "train --networks kik --chunks 2 --inits 1 --depth 2 --base 4 --input-size 68 --pixel-km 4"
    command = [*command.split(), "--epochs", "1", "--preset", "quick"]
    command += ["--data", data, "--out", str(tmp_path / "run")]
    for limit in (300, 20_000):
        with small_disk(limit), pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 1
        complaints = capsys.readouterr().err
        (line,) = [text for text in complaints.splitlines() if text.startswith("tfgmm: ")]
        assert "cannot write" in line and "File too large" in line
        assert "Traceback" not in complaints
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    assert (tmp_path / "run" / "predictions.parquet").is_file()
