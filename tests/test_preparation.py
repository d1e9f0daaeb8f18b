"""What the members of a chunk share is fitted once, whole or not at all."""

import shutil

import numpy as np
import pandas as pd
import pytest

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.network import preparation, training
from tfgmm.network.preparation import Preparation
from tfgmm.runs.folds import Fold
from tfgmm.runs.run import RunFolder


@pytest.fixture
def begun(trained_root, tmp_path) -> training.Training:
    """The training of a copy of a run with backbone and field."""
    shutil.copytree(trained_root / "run", tmp_path / "run")
    return training.reopen(RunFolder.open(tmp_path / "run"))


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """The intensity measure of each backbone that is fitted."""
    fitted, original = [], preparation.backbones.fit

    def counted(dataset, experiment, im, fold):
        fitted.append(im)
        return original(dataset, experiment, im, fold)

    monkeypatch.setattr(preparation.backbones, "fit", counted)
    return fitted


@pytest.mark.slow
def test_members_do_not_fit_again(begun, fits):
    for again in (begun, training.reopen(begun.run)):
        material = again.material(again.members[0])
        assert set(material.backbones) == {"PGA"} and material.records["PGA"]["field_variance"].max() > 0
    assert not fits


@pytest.mark.slow
def test_each_record_gets_what_the_field_tells_of_it(begun, monkeypatch):
    """Also where records without a role are left out between others."""
    whole = Fold.roles
    monkeypatch.setattr(Fold, "roles", lambda self, table: whole(self, table).drop(index=[3, 50]))
    shutil.rmtree(begun.run.chunk(0, "all"))
    numbers = lambda records, covariance, times: pd.DataFrame(  # noqa: E731
        {"field_mean": records["ln_im"], "field_variance": 1.0}
    )
    monkeypatch.setattr(preparation.fields, "unseen", numbers)
    records = begun.material(begun.members[0]).records["PGA"]
    assert {3, 50}.isdisjoint(records.index)
    np.testing.assert_array_equal(records["field_mean"], records["ln_im"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["backbone.npz", "unseen_PGA.parquet", "covariances.json", "prepared.json"]
)
def test_what_is_damaged_is_fitted_anew_and_equal(begun, fits, name):
    folder = begun.run.chunk(1, "all")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).write_bytes(before[name][:-9] + b"0" * 9)
    begun.prepare(1)
    assert fits == ["PGA"]
    table = Preparation.read(folder, begun.experiment).unseen["PGA"]
    assert (folder / "unseen_PGA.parquet").read_bytes() == before["unseen_PGA.parquet"]
    assert len(table) == len(begun.material(begun.members[1]).records["PGA"])


@pytest.mark.slow
def test_the_field_that_is_added_has_the_covariance_of_the_field_that_was_taught(begun):
    for chunk in {member.chunk for member in begun.members}:
        taught = preparation.read_covariances(begun.run.chunk(chunk, "all"))
        assert begun.run.field("PGA", chunk).covariance == taught["PGA"]


def remove_covariances(folder) -> None:
    """Leave a prepared chunk as it was before it kept the covariances of the field."""
    stated = files.read_json(folder / "prepared.json")
    del stated["files"]["covariances.json"]
    files.write_json(folder / "prepared.json", stated)
    (folder / "covariances.json").unlink()


@pytest.mark.slow
def test_a_preparation_without_covariances_is_made_anew(begun, fits):
    folder = begun.run.chunk(0, "all")
    remove_covariances(folder)
    with pytest.raises(DataError, match=r"covariances\.json is missing"):
        preparation.read_covariances(folder)
    begun.prepare(0)
    assert fits == ["PGA"] and preparation.read_covariances(folder)


@pytest.mark.slow
def test_another_arm_prepares_what_an_older_preparation_of_the_run_lacks(begun):
    before = begun.run.read_predictions()
    for chunk in {member.chunk for member in begun.members}:
        remove_covariances(begun.run.chunk(chunk, "all"))
    begun.arm(begun.experiment.without_site()).write_predictions()
    pd.testing.assert_frame_equal(begun.run.read_predictions(), before)


@pytest.mark.slow
def test_a_fit_that_ends_in_the_middle_leaves_nothing(begun, monkeypatch):
    folder = begun.run.chunk(0, "all")
    shutil.rmtree(folder)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparation.fields, "unseen", killed)
        begun.prepare(0)
    assert not folder.exists() and not list(folder.parent.glob(".tfgmm-*"))
    begun.prepare(0)
    assert preparation.is_prepared(folder, begun.run.fingerprint)


@pytest.mark.slow
def test_a_chunk_of_another_run_does_not_count(begun):
    assert preparation.is_prepared(begun.run.chunk(0, "all"), begun.run.fingerprint)
    assert not preparation.is_prepared(begun.run.chunk(0, "all"), "other")
