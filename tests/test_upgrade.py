"""A run of version 0.1 becomes one of this version; its networks and predictions stay."""

import shutil

import pandas as pd
import pytest
import xarray as xr

from conftest import TINY, small_dataset
from helpers import untrained_run, version_0_1
from tfgmm.cli.app import main
from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.network import training, upgrade
from tfgmm.prediction import ensemble
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder
from tfgmm.runs.verification import WHOLE, verify

EVENTS = untrained_run.events(2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two measures and two arms, as version 0.1 left them and as they were before."""
    root = tmp_path_factory.mktemp("old")
    described = {
        "data": untrained_run.write_data(root / "data"),
        "ims": untrained_run.IMS,
        "stopping": "blocks",
        "training": {"epochs": 1, "shift_pixels": 0},
    }
    begun = training.begin(Experiment(**TINY | described), root / "run")
    untrained_run.give_random_weights(begun)
    untrained_run.give_random_weights(begun.arm(begun.experiment.without_site()))
    begun.write_predictions()
    shutil.copytree(root / "run", root / "before")
    version_0_1.lay_out(root / "run")
    return root


@pytest.fixture
def root(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "root")


def refuse_difference(path, before):
    """Assert that a run predicts what it predicted before, from the same networks."""
    run, other = RunFolder.open(path), RunFolder.open(before)
    assert (verify(path)["state"] == WHOLE).all()
    assert run.experiment.ims == other.experiment.ims and run.fingerprint == other.fingerprint
    pd.testing.assert_frame_equal(run.read_predictions(), other.read_predictions())
    for im in run.experiment.ims:
        found, expected = (ensemble.load(folder, im).at_stations(EVENTS) for folder in (path, before))
        xr.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_it_predicts_what_it_predicted(root):
    path = root / "run"
    with pytest.raises(UsageError, match=r"is of version 0\.1: bring it up .* with tfgmm upgrade .*run"):
        ensemble.load(path)
    networks = {
        im: (path / "members" / im / "all" / "chunk-1_init-0" / "model.keras").read_bytes()
        for im in untrained_run.IMS
    }
    stages = []
    assert upgrade.upgrade(path, report=lambda what, share: stages.append(what)) == RunFolder.open(path)
    assert set(stages) == {"members", "table of predictions"}
    refuse_difference(path, root / "before")
    member = RunFolder.open(path).member(1, 0)
    assert {im: member.network(im).read_bytes() for im in networks} == networks
    assert sorted(folder.name for folder in (path / "members").iterdir()) == ["all", "drop-site"]
    training.begin(RunFolder.open(path).experiment, path).train()  # which has nothing to do
    refuse_difference(path, root / "before")
    with pytest.raises(UsageError, match="is of this version already"):
        upgrade.upgrade(path)


@pytest.mark.slow
def test_networks_that_hold_their_regression_get_no_backbone_when_a_table_is_restored(root):
    path = root / "run"
    content = files.read_json(path / "experiment.json")
    content["experiment"]["training"]["target"] = "residual"
    del content["experiment"]["backbone"]
    files.write_json(path / "experiment.json", content)
    run = upgrade.upgrade(path)
    assert run.experiment.backbone == "ergodic"
    table = run.member(0, 0).predictions
    table.write_bytes(table.read_bytes()[:100])
    training.reopen(run).train()
    restored = pd.read_parquet(table)
    assert (restored["backbone"] == 0).all() and (restored["stddev"] > 0).all()


@pytest.mark.slow
def test_the_command(root, capfd):
    with pytest.raises(SystemExit) as end:
        main(["upgrade", str(root / "run")])
    assert not end.value.code
    assert "is of this version now. Next: tfgmm evaluate" in " ".join(capfd.readouterr().out.split())
    refuse_difference(root / "run", root / "before")


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        (upgrade.RunFolder, "write_places"),
        (upgrade.Training, "gather_predictions"),
        (upgrade.beginning, "describe"),
        (upgrade, "_remove_old_folders"),
    ],
    ids=lambda step: step[1],
)
def test_an_interrupted_upgrade_goes_on(root, monkeypatch, step):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*step, stop)
        upgrade.upgrade(root / "run")
    written = (root / "run" / "members" / "all" / "chunk-0_init-0" / "done.json").stat().st_mtime_ns
    upgrade.upgrade(root / "run")
    assert (root / "run/members/all/chunk-0_init-0/done.json").stat().st_mtime_ns == written
    refuse_difference(root / "run", root / "before")


@pytest.mark.slow
def test_the_dataset_is_the_one_that_it_was_trained_on(root, tmp_path):
    small_dataset(seed=9).write(tmp_path / "other")
    with pytest.raises(
        UsageError, match=r"other is not what run .* trained on .*: name its dataset with --data"
    ):
        upgrade.upgrade(root / "run", str(tmp_path / "other"))
    description = root / "run" / "experiment.json"
    content = files.read_json(description)
    content["experiment"]["data"] = str(tmp_path / "gone")
    files.write_json(description, content)
    with pytest.raises(
        UsageError, match="is no dataset folder.*name the dataset of the run with --data FOLDER"
    ):
        upgrade.upgrade(root / "run")
    upgrade.upgrade(root / "run", str(root / "data"))
    assert (verify(root / "run")["state"] == WHOLE).all()


@pytest.mark.slow
def test_a_damaged_table_is_named(root):
    path = root / "run" / "members" / "PGA" / "all" / "chunk-0_init-0" / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"chunk-0_init-0 is not whole .*: remove this folder"):
        upgrade.upgrade(root / "run")
    with pytest.raises(UsageError, match="is no run folder"):
        upgrade.upgrade(root)


@pytest.mark.parametrize(
    ("name", "content"),
    [("history.csv", b""), ("done.json", b"{}"), ("model.keras", b"junk"), ("model.keras", None)],
)
def test_damaged_files_are_one_line_that_names_the_folder(root, name, content):
    path = root / "run" / "members" / "SA(1.0)" / "all" / "chunk-1_init-0" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"SA\(1\.0\)/all/chunk-1_init-0 is not whole") as error:
        upgrade.upgrade(root / "run")
    assert "\n" not in str(error.value)
    shutil.rmtree(path.parent)
    upgrade.upgrade(root / "run")
    assert RunFolder.open(root / "run").trained("SA(1.0)") == [(0, 0)]


def test_an_empty_data_folder_is_no_copy(root):
    (root / "run" / "data").mkdir()
    upgrade.upgrade(root / "run")
    assert (verify(root / "run")["state"] == WHOLE).all()
