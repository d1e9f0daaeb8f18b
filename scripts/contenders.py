"""Training steps of tfgmm, of plain Keras and of PyTorch on the same maps, for `scripts/benchmark.py`."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import plain_keras
import tensorflow as tf

from tfgmm.data.dataset import Dataset
from tfgmm.network import backbones, member
from tfgmm.network import batches as data_pipeline
from tfgmm.network.batches import EventRecords
from tfgmm.network.member import Material
from tfgmm.runs import experiment as experiments
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import make_folds

#: Seconds a step, of so many steps.
Steps = Callable[[int], float]

#: Backbone of the networks: one published model, since a step costs the same whichever there are.
BACKBONE = "BSSA14"
RASTERISED, ON_THE_FLY, TORCH, OURS = "Keras, rasterised before", "Keras, on the fly", "PyTorch", "tfgmm"


def described(preset: str, **changes) -> Experiment:
    """A preset, whose backbone, if it has one, is fitted quickly."""
    chosen = experiments.preset(preset, networks=("kik", "meso"), reference="kik", **changes)
    return chosen if chosen.backbone == "none" else chosen.model_copy(update={"backbone": BACKBONE})


def material(dataset: Dataset, preset: str, events: int, **changes) -> Material:
    """Records of some training events and the maps of a preset."""
    chosen = described(preset, **changes)
    fold = make_folds(dataset, chosen)[0]
    whole = Material.of(dataset, chosen, fold, {"PGA": backbones.fit(dataset, chosen, "PGA", fold)})
    return dataclasses.replace(whole, training=first(whole.training, events))


def first(data: EventRecords, count: int) -> EventRecords:
    """The first events."""
    rows = slice(0, data.splits[count])
    return EventRecords(
        data.names[:count],
        data.events[:count],
        data.splits[: count + 1],
        data.pixels[rows],
        data.ln_im[rows],
        data.variance[rows],
        data.weight[rows],
    )


def all_steps(chosen: Material, scratch: Path) -> dict[str, Steps]:
    """Every contender that is installed, compiled and warm."""
    found = {
        RASTERISED: keras_steps(plain(chosen), rasterised(chosen, scratch)),
        ON_THE_FLY: keras_steps(plain(chosen), batches(chosen)),
        OURS: keras_steps(member.compiled(chosen, 0), batches(chosen)),
    }
    with contextlib.suppress(ImportError):
        found[TORCH] = _torch(chosen)
    for step in found.values():
        step(2)
    return found


def plain(chosen: Material) -> keras.Model:
    """Plain Keras with the network of an experiment."""
    network, grid = chosen.experiment.network, chosen.experiment.grid
    return plain_keras.compiled(
        grid.input_size, len(chosen.fixed.names), network.depth, network.base, network.precision
    )


def batches(chosen: Material) -> tf.data.Dataset:
    """Batches of tfgmm's pipeline without end."""
    size = chosen.experiment.training.batch_size
    return data_pipeline.training_batches(chosen.training, chosen.moving, size, range(100_000), 0)


def rasterised(chosen: Material, scratch: Path) -> tf.data.Dataset:
    """Batches without end whose maps are read from a file, which is in the page cache."""
    size, channels = chosen.fixed.grid.input_size, len(chosen.fixed.names)
    batch = chosen.experiment.training.batch_size
    fixed = data_pipeline.fixed_batches(chosen.training, chosen.fixed, batch)
    path = scratch / "maps.float32"
    with path.open("wb") as file:
        for maps, _ in fixed:
            file.write(maps.numpy().tobytes())
    maps = tf.data.FixedLengthRecordDataset(str(path), 4 * size * size * channels).map(
        lambda record: tf.reshape(tf.io.decode_raw(record, tf.float32), (size, size, channels)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    stations = fixed.map(lambda maps, stations: stations).cache()
    return tf.data.Dataset.zip((maps.batch(batch), stations)).repeat().prefetch(2)


class _Clock(keras.callbacks.Callback):
    """When batches end."""

    def on_train_begin(self, logs=None):
        self.ends: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def keras_steps(model: keras.Model, data: tf.data.Dataset) -> Steps:
    """Steps of ``fit``."""
    clock = _Clock()

    def run(steps: int) -> float:
        # The first step also fills the pipeline.
        model.fit(data, steps_per_epoch=steps + 1, callbacks=[clock], verbose=0, shuffle=False)
        return (clock.ends[-1] - clock.ends[0]) / steps

    return run


def one_batch(data: tf.data.Dataset) -> tf.data.Dataset:
    """One and the same batch without end: a pipeline that costs nothing."""
    return tf.data.Dataset.from_tensors(next(iter(data))).cache().repeat()


def _torch(chosen: Material) -> Steps:
    """PyTorch on one and the same batch."""
    import plain_torch
    import torch

    network = chosen.experiment.network
    trainer = plain_torch.Trainer(len(chosen.fixed.names), network.depth, network.base, network.precision)
    maps, stations = next(iter(batches(chosen)))
    maps = torch.from_numpy(np.moveaxis(maps.numpy(), -1, 1))  # channels last in memory, as it is
    stations = {name: torch.from_numpy(values.numpy()).long() for name, values in stations.items()} | {
        name: torch.from_numpy(stations[name].numpy()[..., 0]) for name in ("ln_im", "weight")
    }

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            trainer.step(maps, stations)
        return (time.perf_counter() - started) / steps

    return run


def drained(data: tf.data.Dataset) -> Steps:
    """A pipeline alone, whose batches nobody uses."""

    def run(steps: int) -> float:
        batches = iter(data)
        next(batches)
        started = time.perf_counter()
        for _ in range(steps):
            next(batches)
        return (time.perf_counter() - started) / steps

    return run
