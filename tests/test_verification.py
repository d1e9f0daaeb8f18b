"""Which files of a run or a dataset are what was written."""

import shutil

import numpy as np
import pandas as pd
import pytest

from conftest import QUICK, small_dataset
from helpers import untrained_run
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.network import training
from tfgmm.prediction import ensemble
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder
from tfgmm.runs.verification import UNTRAINED, WHOLE, verify
from tfgmm.stats import calibration


@pytest.fixture
def root(trained_root, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(trained_root, tmp_path / "root")


def states(folder) -> pd.Series:
    return verify(folder).set_index("file")["state"]


@pytest.mark.slow
def test_what_was_written_is_whole(root):
    of_data = states(root / "data")
    assert (of_data == WHOLE).all() and "records.parquet" in of_data
    of_run = states(root / "run")
    assert (of_run == WHOLE).all()
    assert {"data", "predictions.parquet", "conditioned/field_PGA.npz", "members/all/chunk-1_init-0"} <= {
        *of_run.index
    }


@pytest.mark.slow
def test_members_that_are_not_trained_are_no_damage(root):
    experiment = Experiment(**QUICK | {"data": str(root / "data")})
    training.begin(experiment, root / "other")
    assert states(root / "other")["members/all/chunk-1_init-0"] == UNTRAINED
    main_ends(["check", str(root / "other")], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["done.json", ""])
def test_a_member_that_is_lost_is_missed(root, name):
    """The table of predictions knows of it; without it the ensemble would be another."""
    folder = root / "run" / "members" / "all" / "chunk-1_init-0"
    shutil.rmtree(folder) if not name else (folder / name).unlink()
    assert states(root / "run")["members/all/chunk-1_init-0"] == "missing"
    with pytest.raises(DataError, match="chunk-1_init-0 is missing or not whole: give the tfgmm"):
        ensemble.load(root / "run")
    main_ends(["check", str(root / "run")], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["stations.parquet", "conditioned/field_PGA.npz", "conditioned/backbone_PGA.npz", "files.json"]
)
def test_tables_that_are_lost_are_missed(root, name):
    (root / "run" / name).unlink()
    assert "is missing or damaged" in states(root / "run")[name]
    advice = "make it again with" if name.startswith("conditioned") else "give the tfgmm train command"
    with pytest.raises(DataError, match=f"{name} is missing or damaged .*: {advice}"):
        ensemble.load(root / "run").at_stations(untrained_run.events(1))


@pytest.mark.slow
def test_a_calibration_that_is_lost_is_missed(root):
    run = RunFolder.open(root / "run")
    assert run.calibration("PGA") is None
    calibration.write({"PGA": calibration.Calibration(1.0, 0.1, 10.0, 1.0)}, run.path)
    run.manifest.note(calibration.FILE)
    assert run.calibration("PGA") == calibration.Calibration(1.0, 0.1, 10.0, 1.0)
    (run.path / calibration.FILE).unlink()
    with pytest.raises(DataError, match=r"calibration\.json is missing or damaged .*: give tfgmm evaluate"):
        run.calibration("PGA")


@pytest.mark.slow
def test_data_of_another_kind_in_a_run_are_refused_and_brought_back(root):
    """A whole dataset, but not the one that the run was trained on."""
    changed = small_dataset(seed=3)
    changed.write(root / "run" / "data", overwrite=True)
    assert "is not the data that the run was trained on" in states(root / "run")["data"]
    with pytest.raises(DataError, match=r"is not the data that the run was .*brings the data back"):
        ensemble.load(root / "run")
    training.begin(RunFolder.open(root / "run").experiment, root / "run")
    assert (states(root / "run") == WHOLE).all()


def main_ends(command: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == code


def test_neither_run_nor_dataset(tmp_path):
    with pytest.raises(UsageError, match="is neither a run nor a dataset folder"):
        verify(tmp_path)


@pytest.mark.slow
def test_any_flipped_bit_of_a_run_is_found_or_changes_nothing(root, capsys):
    """In files of every kind; predicting refuses the run as well, or predicts the same."""
    events = untrained_run.events(1)
    before = ensemble.load(root / "run").at_stations(events)
    rng, found, kept = np.random.default_rng(0), 0, 0
    paths = sorted(path for path in (root / "run").rglob("*") if path.is_file())
    for path in paths:
        whole = path.read_bytes()
        # Preparations of chunks are read again by trainings only, which make anew what is damaged.
        counts = not (path.parent / "prepared.json").exists()
        kept += counts
        for flip, number in enumerate(rng.integers(0, 8 * len(whole), 4)):
            content = bytearray(whole)
            content[number // 8] ^= 1 << number % 8
            path.write_bytes(content)
            damaged = (states(root / "run") != WHOLE).any()
            found += damaged and counts
            if damaged and flip > 1:
                path.write_bytes(whole)
                continue  # loading takes long, and says the same of the other two
            try:
                after = ensemble.load(root / "run").at_stations(events)
            except TfgmmError as error:
                assert damaged and "\n" not in str(error)
            else:
                assert damaged or after.equals(before)
            path.write_bytes(whole)
    assert found > 0.8 * 4 * kept
    paths[0].write_bytes(b"")
    main_ends(["check", str(root / "run")], 1)
    assert "damaged, the first" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_predicts_without_its_dataset(root, tmp_path):
    """Moved, and without the folder that it was trained on; a changed dataset changes nothing."""
    events = untrained_run.events(1)
    before = ensemble.load(root / "run").maps(events)
    shutil.rmtree(root / "data")
    (root / "run").rename(tmp_path / "elsewhere")
    assert ensemble.load(tmp_path / "elsewhere").maps(events).equals(before)
