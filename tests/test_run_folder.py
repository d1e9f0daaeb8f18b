"""What a run is, on disk."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from conftest import CHANNELS, TINY, small_dataset
from helpers.prediction_tables import predictions
from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.runs.beginning import begin
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.predictions import FIELD
from tfgmm.runs.run import RunFolder


@pytest.fixture
def run(tmp_path, tiny, small) -> RunFolder:
    return begin(tmp_path / "runs" / "tiny", tiny, small, channels=CHANNELS)


def test_what_is_begun_can_be_opened(run, small, tiny):
    opened = RunFolder.open(run.path)
    assert opened == run
    assert opened.experiment == tiny
    assert opened.simulated is True
    assert opened.data["digest"] == small.digest()


def test_description_holds_versions_and_nothing_of_this_machine(run):
    content = json.loads((run.path / "experiment.json").read_text())
    assert set(content) == {"format", "experiment", "data", "channels", "versions", "checksum"}
    assert {"tfgmm", "tensorflow", "keras", "numpy"} <= set(content["versions"])
    assert str(run.path.parent) not in json.dumps(content)


def test_measured_records_are_not_simulated(tmp_path, tiny, small):
    small.provenance["simulated"] = False
    begin(tmp_path / "run", tiny, small, channels=CHANNELS)
    assert RunFolder.open(tmp_path / "run").simulated is False


def test_the_same_experiment_goes_on(run, small, tiny):
    (run.path / "members").mkdir()
    before = (run.path / "experiment.json").read_bytes()
    assert begin(run.path, tiny, small, channels=CHANNELS) == run
    assert (run.path / "experiment.json").read_bytes() == before
    assert (run.path / "members").is_dir()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 2}, "seed 1, now 2"),
        ({"networks": ("kik",)}, "networks kik,meso, now kik"),
        ({"training": TINY["training"] | {"epochs": 3}}, "epochs 2, now 3"),
        ({"seed": 2, "drop": ("site",)}, "drop none, now site; seed 1, now 2"),
    ],
)
def test_another_experiment_is_refused_and_replaced_on_demand(run, small, changes, named):
    other = Experiment(**TINY | changes)
    (run.path / "members").mkdir()
    with pytest.raises(UsageError, match=rf"holds another run \(different: {named}\): .*--overwrite"):
        begin(run.path, other, small, channels=CHANNELS)
    assert RunFolder.open(run.path) == run
    begin(run.path, other, small, overwrite=True, channels=CHANNELS)
    assert RunFolder.open(run.path).experiment == other
    assert not (run.path / "members").exists()


def test_other_data_are_refused(run, tiny):
    with pytest.raises(UsageError, match="different: content of the data"):
        begin(run.path, tiny, small_dataset(seed=5), channels=CHANNELS)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(tmp_path, tiny, small, overwrite):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="exists and is no run folder: choose another --out"):
        begin(tmp_path, tiny, small, overwrite, channels=CHANNELS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="is no run folder: make one with tfgmm train"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "\xff",
        '{}', '{"experiment": {}, "data": []}', '{"format": 2, "experiment": {}, "data": {}}',
        '{"format": 2, "experiment": {"networks": 3, "reference": "kik", "chunks": 0}, "data": {}}',
    ],
)  # fmt: skip
def test_damaged_description_is_one_line(run, content):
    (run.path / "experiment.json").write_text(content, encoding="latin1")
    with pytest.raises(DataError, match=r"experiment\.json is damaged") as error:
        RunFolder.open(run.path)
    assert "\n" not in str(error.value)


def test_members_have_a_folder_each(run, tmp_path, small):
    folders = {run.member(chunk, init).path for chunk in range(2) for init in range(2)}
    assert len(folders) == 4
    dropped = Experiment(**TINY, drop=("site",))
    arm = begin(tmp_path / "arm", dropped, small, channels=CHANNELS)
    assert run.member(1, 0).path == run.path / "members" / "all" / "chunk-1_init-0"
    assert arm.member(1, 0).path.parent.name == "drop-site"


@pytest.mark.parametrize(
    ("version", "message"),
    [(1, "is of version 0.1: bring it up to this version with tfgmm upgrade .*tiny"), (3, "later version")],
)
def test_runs_of_other_versions_are_refused(run, version, message):
    path = run.path / "experiment.json"
    content = files.read_json(path) | {"format": version}
    files.write_json(path, content)
    with pytest.raises(UsageError, match=message):
        RunFolder.open(run.path)


def test_unfinished_run(run):
    with pytest.raises(UsageError, match="has no predictions yet: finish it with the tfgmm train command"):
        run.read_predictions()


def test_predictions_are_read(run):
    table = predictions(n_events=4, n_sites=4)
    table.to_parquet(run.predictions)
    pd.testing.assert_frame_equal(run.read_predictions(), table)
    pd.concat([table, table.assign(arm="drop-site")]).to_parquet(run.predictions)
    assert set(run.read_predictions()["arm"]) == {"all"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="ln_im"), "ln_im"),
        (lambda table: table.assign(mean=np.nan), "mean"),
        (lambda table: table.assign(mean=np.inf), "mean"),
        (lambda table: table.assign(stddev=0.0), "stddev"),
        (lambda table: table.assign(site_role="known"), "site_role"),
        (lambda table: table.assign(stddev="wide"), "stddev"),
        (lambda table: table.assign(chunk=-1), "chunk"),
    ],
)
def test_a_table_that_breaks_the_schema_is_named(run, change, message):
    change(predictions(n_events=4, n_sites=4)).to_parquet(run.predictions)
    with pytest.raises(
        DataError, match=rf"predictions\.parquet is no predictions table: .*{message}"
    ) as error:
        run.read_predictions()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_own_arm_comes_first(run):
    assert run.arms() == ["all"]
    for arm in ("aardvark", "all", "drop-site"):
        run.member(0, 0, arm).path.mkdir(parents=True)
    assert run.arms() == ["all", "aardvark", "drop-site"]
    assert run.member(0, 0, "drop-site").path.parent.name == "drop-site"


def test_latest_run_is_the_finished_one_that_was_begun_last(run, tiny, small):
    folder = run.path.parent
    with pytest.raises(UsageError, match="no run in .* has predictions: name a run, or make one"):
        RunFolder.latest(folder)
    for age, name in enumerate(("newest", "older", "unfinished")):
        other = begin(folder / name, tiny, small, channels=CHANNELS)
        os.utime(other.path / "experiment.json", times=(2e9 - age, 2e9 - age if age < 2 else 3e9))
    for name in ("older", "newest", "tiny"):
        (folder / name / "predictions.parquet").touch()
    assert RunFolder.latest(folder).path == folder / "newest"


def test_damaged_predictions_are_one_line(run):
    run.predictions.write_bytes(b"PAR1")
    with pytest.raises(
        DataError, match=r"predictions\.parquet is missing or damaged .*give the tfgmm train command"
    ) as error:
        run.read_predictions()
    assert "\n" not in str(error.value)


def test_predictions_without_all_parts_are_to_be_made_again(tmp_path, tiny, small):
    with_field = tiny.model_copy(update={"backbone": "auto", "field": True, "stopping": "blocks"})
    run = begin(tmp_path / "field", with_field, small, channels=CHANNELS)
    table = predictions(n_events=4, n_sites=4)
    table.to_parquet(run.predictions)
    with pytest.raises(DataError, match=r"has no column event_term: give the tfgmm train command"):
        run.read_predictions()
    table.assign(**dict.fromkeys(FIELD, 0.0)).to_parquet(run.predictions)
    assert len(run.read_predictions()) == len(table)
