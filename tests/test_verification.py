"""Which files of a run or a dataset are what was written."""

import shutil

import numpy as np
import pandas as pd
import pytest
import untrained_run
from conftest import TINY, small_dataset

from tfgmm import records
from tfgmm.cli import main
from tfgmm.errors import TfgmmError, UsageError
from tfgmm.experiment import Experiment
from tfgmm.model import ensemble, training
from tfgmm.verification import UNTRAINED, WHOLE, verify

QUICK = TINY | {"training": {"epochs": 1, "shift_pixels": 0}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trained run with random effects, and its dataset."""
    root = tmp_path_factory.mktemp("finished")
    records.write(small_dataset(), root / "data")
    changes = {"data": str(root / "data"), "random_effects": "site,event", "stopping": "blocks"}
    training.begin(Experiment(**QUICK | changes), root / "run").train()
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(finished, tmp_path / "root")


def states(folder) -> pd.Series:
    return verify(folder).set_index("file")["state"]


def test_what_was_written_is_whole(root):
    assert states(root / "data").tolist() == [WHOLE]
    of_run = states(root / "run")
    assert (of_run == WHOLE).all()
    assert {"data", "predictions.parquet", "path_terms.npz", "members/PGA/all/chunk-1_init-0"} <= {
        *of_run.index
    }


def test_members_that_are_missing_are_no_damage(root):
    shutil.rmtree(root / "run" / "members" / "PGA" / "all" / "chunk-1_init-0")
    of_run = states(root / "run")
    assert of_run["members/PGA/all/chunk-1_init-0"] == UNTRAINED
    main_ends(["check", str(root / "run")], 0)


def main_ends(command: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == code


def test_neither_run_nor_dataset(tmp_path):
    with pytest.raises(UsageError, match="is neither a run nor a dataset folder"):
        verify(tmp_path)


def test_any_flipped_bit_of_a_run_is_found_or_changes_nothing(root, capsys):
    """In files of every kind; predicting refuses the run as well, or predicts the same."""
    events = untrained_run.events(1)
    before = ensemble.load(root / "run").at_stations(events)
    rng, found = np.random.default_rng(0), 0
    paths = sorted(path for path in (root / "run").rglob("*") if path.is_file())
    for path in paths:
        whole = path.read_bytes()
        for number in rng.integers(0, 8 * len(whole), 4):
            content = bytearray(whole)
            content[number // 8] ^= 1 << number % 8
            path.write_bytes(content)
            damaged = (states(root / "run") != WHOLE).any()
            found += damaged
            try:
                after = ensemble.load(root / "run").at_stations(events)
            except TfgmmError as error:
                assert damaged and "\n" not in str(error)
            else:
                assert damaged or after.equals(before)
            path.write_bytes(whole)
    assert found > 0.8 * 4 * len(paths)
    paths[0].write_bytes(b"")
    main_ends(["check", str(root / "run")], 1)
    assert "damaged, the first" in capsys.readouterr().err


def test_a_run_predicts_without_its_dataset(root, tmp_path):
    """Moved, and without the folder that it was trained on; a changed dataset changes nothing."""
    events = untrained_run.events(1)
    before = ensemble.load(root / "run").predict(events)
    shutil.rmtree(root / "data")
    (root / "run").rename(tmp_path / "elsewhere")
    assert ensemble.load(tmp_path / "elsewhere").predict(events).equals(before)
