"""Training of one member: reproducible, resumable, atomic, and it learns."""

import dataclasses
import json

import keras
import numpy as np
import pandas as pd
import pytest

from conftest import TINY, small_dataset
from tfgmm.core.errors import DataError
from tfgmm.core.grid import Grid
from tfgmm.data.schemas import training_records
from tfgmm.network import backbones, member
from tfgmm.network import batches as data_pipeline
from tfgmm.network.batches import Material
from tfgmm.network.input_channels import StandardisedChannels
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import make_folds
from tfgmm.runs.member_folder import MemberFolder
from tfgmm.stats import ergodic


def material(dataset=None, chunk=0, **changes):
    dataset = small_dataset() if dataset is None else dataset
    chosen = Experiment(**TINY | changes)
    fold = make_folds(dataset, chosen)[chunk]
    fitted = {im: backbones.fit(dataset, chosen, im, fold) for im in chosen.ims}
    return Material.of(dataset, chosen, fold, fitted)


def weights(folder):
    return [w.numpy() for w in member.load(MemberFolder(folder).network("PGA")).weights]


class Killed(Exception):
    """Stands for SIGKILL: nothing of ours catches it."""


def kill_at(limit):
    def report(share):
        if share > limit:
            raise Killed

    return report


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "member"
    chosen = material(training=TINY["training"] | {"epochs": 3, "patience": 5})
    member.train(chosen, MemberFolder(folder), 0, 0)
    return chosen, folder


@pytest.mark.slow
def test_folder_holds_all_that_is_promised(trained):
    chosen, folder = trained
    assert {p.name for p in folder.iterdir()} == {
        "model.keras",
        "history.csv",
        "predictions.parquet",
        "done.json",
    }
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    done = json.loads((folder / "done.json").read_text())
    history = pd.read_csv(folder / "history.csv")
    assert done["seed"] == chosen.experiment.member_seed(0, 0)
    assert done["networks"] == {"model.keras": ["PGA"]}
    assert done["trainings"]["model.keras"]["epochs"] == len(history) == 3
    assert done["trainings"]["model.keras"]["stopping_loss"] == history["stopping_loss"].min()


@pytest.mark.slow
def test_fit_sees_training_records_only(trained):
    chosen, _ = trained
    seen = training_records(chosen.records["PGA"])
    np.testing.assert_allclose(chosen.training.ln_im[:, 0], seen["ln_im"], rtol=1e-6)
    assert len(chosen.training) == seen["event_id"].nunique()
    assert not {*chosen.training.ln_im.ravel()} & {*chosen.stopping.ln_im.ravel()}


@pytest.mark.slow
def test_other_seed_other_weights(trained):
    chosen, _ = trained
    one, same, other = (member.compiled(chosen, seed).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_predictions_are_the_model_at_the_records(trained):
    chosen, folder = trained
    table = pd.read_parquet(folder / "predictions.parquet")
    assert len(table) == len(chosen.records["PGA"])
    pd.testing.assert_series_equal(
        table["ln_im"], chosen.records["PGA"]["ln_im"].reset_index(drop=True), check_names=False
    )
    model = member.load(MemberFolder(folder).network("PGA"))
    event = chosen.scored.events[4]
    import tensorflow as tf

    normal = model(chosen.fixed(tf.constant(event), tf.zeros(2, tf.int32))[None])
    first, last = chosen.scored.splits[4:6]
    rows = chosen.records["PGA"].reset_index(drop=True).iloc[first:last]
    expected = normal.loc.numpy()[0, rows["row"], rows["col"], 0]
    np.testing.assert_allclose(table.loc[rows.index, "mean"], expected, atol=1e-5)


@pytest.mark.slow
def test_float16_scales_its_loss_and_learns():
    chosen = material(network=TINY["network"] | {"precision": "float16"})
    model = member.compiled(chosen, 1)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = model.get_weights()
    batches = data_pipeline.training_batches(chosen.training, chosen.moving, 4, range(3), 0)
    history = model.fit(batches, epochs=3, steps_per_epoch=chosen.steps, shuffle=False, verbose=0).history[
        "loss"
    ]
    assert history[-1] < history[0]
    assert all(np.isfinite(values).all() for values in model.get_weights())
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_divergence_is_an_error_that_names_events_and_leaves_no_member(tmp_path, caplog):
    chosen = material(training=TINY["training"] | {"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(DataError, match="diverged in step .* of the events E.* a smaller --learning-rate"):
        member.train(chosen, MemberFolder(tmp_path / "member"), 0, 0)
    assert caplog.text.count("at half the learning rate") == 1
    assert not (tmp_path / "member").exists()


def test_the_events_of_a_batch_are_those_that_are_trained_on():
    chosen = material()
    batches = data_pipeline.training_batches(chosen.training, chosen.fixed, 4, range(2, 3), seed=11)
    *_, (maps, stations) = batches
    names = data_pipeline.events_of_batch(chosen.training, 4, 2, chosen.steps - 1, seed=11)
    data, rows = chosen.training, stations["ln_im"].numpy()
    assert len(names) == len(maps) == 4
    for name, values in zip(names, rows, strict=True):
        number = data.names.tolist().index(name)
        expected = data.ln_im[data.splits[number] : data.splits[number + 1]]
        np.testing.assert_array_equal(values[: len(expected)], expected)


@pytest.mark.slow
def test_one_loss_that_is_not_finite_costs_an_epoch_and_halves_the_rate(tmp_path, monkeypatch):
    """It goes on from the epoch before, also after a kill, and ends the same."""
    chosen = material(training=TINY["training"] | {"epochs": 3})
    steps, original = chosen.steps, member.GroundMotionModel.fit

    def poisoned(self, batches, *, initial_epoch, **more):
        """Training on batches whose second epoch has a wild value, at the whole rate only."""
        whole_rate = float(np.asarray(self.optimizer._learning_rate.warmup_target)) > 9e-4
        bad = (1 - initial_epoch) * steps + 1 if whole_rate else -1

        def wild(number, batch):
            maps, stations = batch
            factor = tf.where(number == bad, np.nan, 1.0)
            return maps, stations | {"ln_im": stations["ln_im"] * tf.cast(factor, tf.float32)}

        return original(self, batches.enumerate().map(wild), initial_epoch=initial_epoch, **more)

    import tensorflow as tf

    assert chosen.experiment.training.learning_rate > 9e-4
    monkeypatch.setattr(member.GroundMotionModel, "fit", poisoned)
    for name, limit in (("undisturbed", None), ("killed", 0.9)):
        folder = MemberFolder(tmp_path / name)
        if limit:
            with pytest.raises(Killed):
                member.train(chosen, folder, 0, 0, kill_at(limit))
            state = json.loads((tmp_path / f".{name}.work" / "state.json").read_text())
            assert state["rate"] == 0.5 and len(state["history"]) == 2
        member.train(chosen, folder, 0, 0)
        assert len(pd.read_csv(folder.path / "history.csv")) == 3
    for one, two in zip(weights(tmp_path / "undisturbed"), weights(tmp_path / "killed"), strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.isfinite(one).all()


@pytest.mark.slow
def test_short_memory_is_told_as_such(tmp_path, monkeypatch):
    import tensorflow as tf

    def exhausted(self, *args, **more):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(member.GroundMotionModel, "fit", exhausted)
    with pytest.raises(DataError, match="out of memory: give fewer --workers, or .* smaller --batch-size"):
        member.train(material(), MemberFolder(tmp_path / "member"), 0, 0)


@pytest.mark.slow
def test_a_step_is_traced_once_whatever_the_number_of_stations(monkeypatch):
    chosen, traces = material(), []
    batches = data_pipeline.training_batches(chosen.training, chosen.moving, 4, range(2), 0)
    assert len({stations["ln_im"].shape[1] for _, stations in batches}) > 1
    whole = member.GroundMotionModel.compute_loss

    def counted(self, x=None, y=None, *args, **kwargs):
        traces.append(tuple(y["ln_im"].shape))
        return whole(self, x, y, *args, **kwargs)

    monkeypatch.setattr(member.GroundMotionModel, "compute_loss", counted)
    member.compiled(chosen, 1).fit(
        batches, epochs=2, steps_per_epoch=chosen.steps, shuffle=False, verbose=0
    )
    # Once to make the optimiser's variables, once to train.
    assert traces == [(4, None, 1)] * 2


@pytest.mark.slow
def test_predicts_in_float32_whatever_it_was_trained_in(trained, tmp_path):
    chosen, _ = trained
    half = material(network=TINY["network"] | {"precision": "bfloat16"})
    trained_in_half = member.compiled(half, 1)
    assert "bfloat16" in {layer.compute_dtype for layer in trained_in_half.layers}
    trained_in_half.save(tmp_path / "model.keras")
    (tmp_path / "done.json").write_text(json.dumps({"networks": {"model.keras": ["PGA"]}}))
    model = member.load(MemberFolder(tmp_path).network("PGA"))
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    single = member.build(chosen)
    single.set_weights(model.get_weights())
    expected = member.predictions(member.Networks.of_one(single), chosen, 0, 0)
    table = member.predictions(member.Networks.of_one(member.in_float32(trained_in_half)), half, 0, 0)
    for name in ("mean", "stddev"):
        np.testing.assert_allclose(table[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x05\x06" + 18 * b"\0"])
def test_a_damaged_model_is_named(tmp_path, content):
    (tmp_path / "model.keras").write_bytes(content)
    (tmp_path / "done.json").write_text(json.dumps({"networks": {"model.keras": ["PGA"]}}))
    with pytest.raises(DataError, match=r"model.keras is damaged .*: remove .* and give tfgmm train again"):
        member.load(MemberFolder(tmp_path).network("PGA"))


@pytest.mark.slow
def test_network_begins_at_the_training_mean_and_standardises(trained):
    chosen, _ = trained
    model = member.compiled(chosen, 1)
    layer = next(x for x in model.layers if isinstance(x, StandardisedChannels))
    import tensorflow as tf

    maps = tf.stack([chosen.fixed(tf.constant(e), tf.zeros(2, tf.int32)) for e in chosen.training.events])
    values = layer(maps).numpy()
    np.testing.assert_allclose(values.mean((0, 1, 2)), 0, atol=1e-2)
    np.testing.assert_allclose(values.std((0, 1, 2)), 1, rtol=1e-2)


def test_network_learns_what_the_backbone_leaves():
    chosen = material(backbone="ergodic")
    model = member.compiled(chosen, 1)
    for weight in model.get_layer("parameters").weights:
        weight.assign(weight * 0)
    table = member.predictions(member.Networks.of_one(model), chosen, 0, 0)
    seen = training_records(table)
    offset = (seen["ln_im"] - seen["backbone"]).mean()
    np.testing.assert_allclose(table["mean"], table["backbone"] + offset, atol=1e-5)
    fitted = ergodic.fit(training_records(chosen.records["PGA"]))
    # Between the nodes of the tables the regression is interpolated.
    assert np.abs(table["backbone"] - fitted.median_of(table)).max() < 0.02


@pytest.mark.slow
def test_it_learns(tmp_path):
    """A few epochs on records with a plain attenuation law beat the mean by far."""
    chosen = material(
        small_dataset(n_events=60, n_kik=30),
        network={"depth": 2, "base": 4},
        training={"epochs": 25, "patience": 25, "learning_rate": 5e-3, "shift_pixels": 1, "batch_size": 4},
    )
    member.train(chosen, MemberFolder(tmp_path / "member"), 0, 0)
    table = pd.read_parquet(tmp_path / "member" / "predictions.parquet")
    held_out = table[(table["event_role"] == "validation") & (table["network"] == "kik")]
    rmse = np.sqrt(((held_out["ln_im"] - held_out["mean"]) ** 2).mean())
    assert rmse < 0.8 * held_out["ln_im"].std()


@pytest.mark.slow
def test_full_disk_leaves_no_member(trained, tmp_path, monkeypatch):
    chosen, _ = trained

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(member, "_fitted", lambda material, *others: member.compiled(material, 1))
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(DataError, match="No space left on device"):
        member.train(chosen, MemberFolder(tmp_path / "member"), 0, 0)
    assert not (tmp_path / "member").exists()


@pytest.mark.slow
def test_paper_geometry_takes_a_training_step():
    """The published 572 -> 388 at depth 4, with fewer filters than the preset's 64."""
    chosen = material(
        grid=Grid(pixel_km=0.5, input_size=572, output_size=388),
        network={"depth": 4, "base": 2},
        training={"epochs": 1, "batch_size": 1, "shift_pixels": 0},
    )
    model = member.compiled(chosen, 0)
    from tfgmm.network import batches as data_pipeline

    batch = next(iter(data_pipeline.training_batches(chosen.training, chosen.moving, 1, range(1), 0)))
    before = [w.numpy() for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(*batch))
    assert all((a != b.numpy()).any() for a, b in zip(before[:2], model.trainable_weights, strict=False))


def test_patience_ends_training(tmp_path):
    checkpoint = member.Checkpoint(tmp_path / "work", patience=2)
    checkpoint.history = [{"stopping_loss": v} for v in (3.0, 1.0, 2.0)]
    assert not checkpoint.exhausted
    checkpoint.history.append({"stopping_loss": 1.5})
    assert checkpoint.exhausted
    assert checkpoint.best_epoch == 1


def test_without_patience_the_last_epoch_is_kept(tmp_path):
    checkpoint = member.Checkpoint(tmp_path / "work", patience=None)
    assert not checkpoint.exhausted
    checkpoint.history = [{"stopping_loss": v} for v in (3.0, 1.0, 2.0, 4.0)]
    assert not checkpoint.exhausted
    assert checkpoint.best_epoch == 3


def test_schedule_warms_up_and_decays():
    settings = Experiment(**TINY).training
    schedule = member.optimizer(settings, 100)._learning_rate
    rates = [float(schedule(step)) for step in (0, 10, 55, 100)]
    assert rates[1] == pytest.approx(settings.learning_rate, rel=1e-3)
    assert rates[0] < rates[2] < rates[1]
    assert rates[3] == pytest.approx(0, abs=1e-8)


@pytest.fixture(scope="module")
def with_field(tmp_path_factory):
    """A member that learned from records of which the field tells and leaves open something."""
    chosen = material(training={"epochs": 3, "shift_pixels": 1, "learning_rate": 3e-3})
    rng, records = np.random.default_rng(3), chosen.records["PGA"]
    told = {"field_mean": rng.normal(0, 0.5, len(records)), "field_variance": 1.0}
    chosen = dataclasses.replace(chosen, records={"PGA": records.assign(**told)})
    grouped = {
        name: dataclasses.replace(
            getattr(chosen, name), variance=np.full_like(getattr(chosen, name).ln_im, 1.0)
        )
        for name in ("training", "stopping")
    }
    chosen = dataclasses.replace(chosen, **grouped)
    folder = tmp_path_factory.mktemp("field") / "member"
    member.train(chosen, MemberFolder(folder), 0, 0)
    return chosen, folder


@pytest.mark.slow
def test_with_the_field_sigma_is_what_it_leaves(with_field, tmp_path):
    chosen, folder = with_field
    alone = {
        name: dataclasses.replace(
            getattr(chosen, name), variance=np.zeros_like(getattr(chosen, name).ln_im)
        )
        for name in ("training", "stopping")
    }
    member.train(dataclasses.replace(chosen, **alone), MemberFolder(tmp_path / "alone"), 0, 0)
    table, of_alone = (
        pd.read_parquet(path / "predictions.parquet") for path in (folder, tmp_path / "alone")
    )
    assert table["stddev"].mean() < of_alone["stddev"].mean() - 0.01


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_same(with_field, tmp_path):
    chosen, folder = with_field
    other = tmp_path / "member"
    with pytest.raises(Killed):
        member.train(chosen, MemberFolder(other), 0, 0, kill_at(0.5))
    assert not other.exists()
    state = json.loads((tmp_path / ".member.work" / "state.json").read_text())
    assert len(state["history"]) == 1
    member.train(chosen, MemberFolder(other), 0, 0)
    for one, two in zip(weights(folder), weights(other), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (folder / "history.csv").read_text() == (other / "history.csv").read_text()
