"""A study of several runs in one file: the same runs as one by one, nothing twice, nothing lost."""

import os
import shutil
from pathlib import Path

import pytest

import tfgmm
from conftest import small_dataset
from tfgmm.cli import study_commands, study_file
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, TfgmmError
from tfgmm.core.lease import Lease
from tfgmm.network import training
from tfgmm.simulation import simulated

RECIPES = Path(__file__).parents[1] / "docs" / "recipes"

#: Two runs of two members of seconds each.
COMMON = """
networks = "kik"
preset = "quick"
backbone = "none"
field = false
chunks = 2
inits = 1
epochs = 1
depth = 2
base = 2
input-size = 68
pixel_km = 4.0
precision = "float32"
"""
RUNS = '[runs.sparse]\n[runs.dense]\nnetworks = ["kik", "meso"]\nreference = "kik"\n'
WORKERS = "workers = 2\nthreads = 1\n"


def read(tmp_path, text: str) -> study_file.Study:
    (tmp_path / "s.toml").write_text(text)
    return study_file.read(tmp_path / "s.toml")


def test_the_options_of_a_run_win_over_those_of_all(tmp_path):
    study = read(tmp_path, COMMON + WORKERS + RUNS + "epochs = 3\nchunk = 1\n")
    (sparse, all_chunks), (dense, chunks) = study.runs.values()
    assert [*study.runs] == ["sparse", "dense"] and study.folder == Path("runs/s")
    assert (sparse.networks, sparse.training.epochs, all_chunks) == (("kik",), 1, None)
    assert (dense.networks, dense.training.epochs, chunks) == (("kik", "meso"), 3, (1,))
    assert sparse.grid.pixel_km == dense.grid.pixel_km == 4.0 and not sparse.field
    assert (study.launch.workers, study.launch.threads) == (2, 1)


def test_each_combination_is_a_run(tmp_path):
    each = 'each.networks = ["kik", ["kik", "meso"]]\neach.drop = [[], "site"]\n'
    study = read(tmp_path, f"{COMMON}{each}[runs.a]\n[runs.b]\neach.seed = [1, 2]\n")
    named = {name: (one.networks, one.drop, one.seed) for name, (one, _) in study.runs.items()}
    assert named == {
        "a-kik-drop-none": (("kik",), (), 1),
        "a-kik-drop-site": (("kik",), ("site",), 1),
        "a-kik-meso-drop-none": (("kik", "meso"), (), 1),
        "a-kik-meso-drop-site": (("kik", "meso"), ("site",), 1),
        "b-seed-1": (("kik",), (), 1),
        "b-seed-2": (("kik",), (), 2),
    }


def test_the_recipe_of_the_documentation():
    study = study_file.read(RECIPES / "study.toml")
    assert len(study.runs) == 8 and "arms-kik-meso-drop-site-PGV" in study.runs


def test_the_recipe_of_the_published_study_has_200_networks():
    study = study_file.read(RECIPES / "published-study.toml")
    assert sum(one.chunks * one.inits for one, _ in study.runs.values()) == 200
    assert {one.network.base for one, _ in study.runs.values()} == {64}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (COMMON, "names no run"),
        ("runs = 3", "runs is no table of runs"),
        ("[[runs]]", "runs is no table of runs"),
        ("preset = 'quick'\n[runs.a]", "run a: .*networks"),
        (COMMON + "[runs.a]\nepoch = 3", "run a: train has no option epoch: did you mean epochs"),
        (COMMON + "[runs.a]\nepochs = 'many'", "run a: .*'--epochs'.*integer"),
        (COMMON + "[runs.a]\nreference = 'jma'", "run a: the reference network jma is not among"),
        (COMMON + "[runs.a]\nworkers = 3", "run a: workers: give it once"),
        (COMMON + "[runs.a]\nout = 'x'", "run a: out: give it once"),
        (COMMON + "overwrite = true\n[runs.a]", "overwrite: it is not for studies"),
        (COMMON + "workers = 0\n[runs.a]", "--workers 0"),
        (COMMON + "each.seed = 3", "each has lists of values"),
        (COMMON + "each.seed = [1, 1]", "two runs are called seed-1"),
        (COMMON + "[runs.'../a']", "name it by letters"),
    ],
)
def test_other_files_are_refused(tmp_path, text, says):
    with pytest.raises(TfgmmError, match=says):
        read(tmp_path, text)


# ---- trainings ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    small_dataset().write(root / "data")
    return root


@pytest.fixture
def study(root, capfd):
    """A function that gives a study, and returns its exit code and all that it printed."""

    def run(name: str, text: str, *options: str) -> tuple[int, str]:
        head = f"data = '{root / 'data'}'\nout = '{root / name}'\n"
        (root / f"{name}.toml").write_text(head + text)
        with pytest.raises(SystemExit) as end:
            main(["study", str(root / f"{name}.toml"), *options])
        return end.value.code or 0, " ".join("".join(capfd.readouterr()).split())

    return run


def test_a_study_without_data_is_of_simulated_records(monkeypatch):
    dataset = small_dataset()
    monkeypatch.setattr(simulated, "embedded", lambda: dataset)
    open_dataset = study_commands._opening()
    assert open_dataset(None) is dataset and open_dataset("nowhere") is None


def predictions(root: Path, name: str) -> list:
    return [tfgmm.open_run(root / name / run).folder.read_predictions() for run in ("sparse", "dense")]


def written(folder: Path) -> dict[Path, int]:
    """When each table of predictions was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("predictions.parquet")}


@pytest.mark.slow
def test_a_study_from_its_failure_to_its_repair(study, root, monkeypatch):
    """In this process with a failure, then with two workers; a rerun trains only what was lost."""
    if os.environ.get("TF_NUM_INTRAOP_THREADS") != "1":
        pytest.skip("weights are the same with the same number of threads: set TF_NUM_INTRAOP_THREADS=1")
    text = COMMON + "workers = 1\n" + RUNS
    train_member = training.Training.train_member

    def failing(self, member, report):
        if "dense" in str(self.run.path) and member.chunk == 0:
            raise DataError("made to fail")
        return train_member(self, member, report)

    monkeypatch.setattr(training.Training, "train_member", failing)
    code, said = study("here", text)
    log = root / "here" / "dense" / "members" / "all" / "chunk-0_init-0.log"
    assert code == 1 and f"Failed: dense: chunk 0 init 0: made to fail (log: {log})" in said
    assert "1 failed" in said and "Traceback" in log.read_text()
    assert "4 members to train" in said and (root / "here" / "sparse" / "predictions.parquet").exists()
    monkeypatch.undo()
    code, said = study("here", text)
    assert code == 0 and "1 to do, 1 member to train" in said and not log.exists()

    code, said = study("workers", COMMON + WORKERS + RUNS)
    assert code == 0 and "4 members to train, 2 at a time" in said
    for one, other in zip(predictions(root, "here"), predictions(root, "workers"), strict=True):
        assert one.equals(other)

    before = written(root / "workers")
    code, said = study("workers", COMMON + WORKERS + RUNS)
    assert code == 0 and "0 to do, 0 members to train" in said
    assert before == written(root / "workers") and len(before) == 6

    shutil.rmtree(root / "workers" / "dense" / "members" / "all" / "chunk-1_init-0")
    code, said = study("workers", COMMON + WORKERS + RUNS, "--dry-run")
    assert code == 0 and said.count("measured") >= 2 and "Nothing was trained" in said
    code, said = study("workers", COMMON + WORKERS + RUNS)
    assert code == 0 and "1 to do, 1 member to train" in said
    for one, other in zip(predictions(root, "here"), predictions(root, "workers"), strict=True):
        assert one.equals(other)

    changed = (COMMON + WORKERS + RUNS).replace("epochs = 1", "epochs = 2") + "[runs.new]\n"
    for options in ((), ("--dry-run",)):
        code, said = study("workers", changed, *options)
        assert code == 2 and said.count("(different: epochs 1, now 2)") == 2
        assert "in a study, give a changed run another name" in said
        assert not (root / "workers" / "new").exists()


@pytest.mark.slow
def test_one_process_at_a_time(study, root):
    lease = Lease(root / "taken" / "study")
    assert lease.take()
    try:
        code, said = study("taken", COMMON + RUNS)
    finally:
        lease.release()
    assert code == 2 and f"process {os.getpid()}" in said and "is at work on this study" in said
    assert not (root / "taken" / "sparse").exists()
