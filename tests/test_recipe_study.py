"""The plain recipe and the preset's schedule, on a tiny network."""

import keras
import pytest

from conftest import TINY, small_dataset
from tfgmm.network import member, training
from tfgmm.runs.experiment import Experiment


@pytest.fixture(scope="module")
def script(import_script):
    return import_script("recipe_study")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes") / "data"
    small_dataset(n_events=30, n_kik=40).write(folder)
    chosen = {"data": str(folder), "backbone": "auto", "field": True, "stopping": "blocks"}
    return Experiment(**TINY | chosen)


@pytest.mark.slow
def test_recipes_differ_in_their_training_alone(script, base):
    found = script.recipes(base, [8, 16])
    assert [one.training.max_steps for one in found.values()] == [None, 8, 16]
    assert [one.training.patience for one in found.values()] == [10, None, None]
    assert {one.model_copy(update={"training": base.training}) for one in found.values()} == {base}


@pytest.mark.slow
def test_scores_of_trained_recipes(script, base, tmp_path, monkeypatch):
    rates = []
    whole = member.compiled

    def noted(*args, **kwargs):
        model = whole(*args, **kwargs)
        rates.append(model.optimizer._learning_rate)
        return model

    monkeypatch.setattr(member, "compiled", noted)
    monkeypatch.setattr(script, "EPOCHS", 3)
    monkeypatch.setattr(training.Training, "seconds_per_member", lambda self: 7.0)  # see test_training.py
    for name, one in script.recipes(base, [8]).items():
        rates.clear()
        table = script.trained(name, one, tmp_path / name, [1])
        assert table["chunk"].tolist() == [1]
        assert table["steps"].item() > 0
        scored = table.filter(regex="RMSE|CRPS")
        assert scored.shape == (1, 4)
        assert ((scored > 0.1) & (scored < 5)).all(axis=None)
        constant = {isinstance(rate, keras.Variable) for rate in rates}
        assert constant == {name == script.PLAIN}
