"""Train, save, load ONE member."""

import dataclasses
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.data.dataset import Dataset
from tfgmm.data.roles import training_records
from tfgmm.network import batches as data_pipeline
from tfgmm.network import device
from tfgmm.network.channels import Rasteriser, select
from tfgmm.network.checkpoint import Checkpoint
from tfgmm.network.normal import ErgodicMedian, GroundMotionModel, NormalLayer, at_stations
from tfgmm.network.random_terms import RandomTerms, RandomTermsUpdate
from tfgmm.network.unet import parameter_map
from tfgmm.runs import run_folder
from tfgmm.runs.experiment import Experiment, Training
from tfgmm.runs.folds import Fold, stopping_records
from tfgmm.stats import ergodic

#: The network of a trained member.
MODEL = "model.keras"

#: Channels from which the ergodic median is computed, in the order of `ErgodicMedian`.
_OF_MEDIAN = ("magnitude", "r_hyp", "event_depth")

#: Share of the work done, between 0 and 1.
Report = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Material:
    """What the members of one chunk share: records with their roles, and the maps.

    Attributes
    ----------
    records : pandas.DataFrame
        `tfgmm.network.batches.flat_table` with ``event_role`` and ``site_role``.
    training : EventRecords
        What ``fit`` sees.
    stopping : EventRecords
        What decides when to stop.
    scored : EventRecords
        All records, for the predictions table.
    """

    experiment: Experiment
    records: pd.DataFrame
    training: data_pipeline.EventRecords
    stopping: data_pipeline.EventRecords
    scored: data_pipeline.EventRecords
    moving: Rasteriser
    fixed: Rasteriser

    @classmethod
    def of(cls, dataset: Dataset, experiment: Experiment, im: str, fold: Fold) -> "Material":
        """Gather the records of one fold.

        Raises
        ------
        UsageError
            A channel is unknown, or the residual target needs one that is dropped.
        DataError
            A site layer covers too little, or a set of records is empty.
        """
        experiment = device.resolved(experiment)
        records = fold.roles(data_pipeline.flat_table(dataset, experiment, im))
        training = training_records(records)
        stopping = stopping_records(records, experiment)
        names = select(dataset.layers or (), experiment.drop)
        if experiment.training.target == "residual":
            _refuse_dropped(names)

        def group(table, weight):
            return data_pipeline.EventRecords.group(table, dataset.events, experiment.grid, weight)

        return cls(
            experiment=experiment,
            records=records,
            training=group(
                training, data_pipeline.training_weight(training, experiment.training.weighting)
            ),
            stopping=group(stopping, data_pipeline.stopping_weight(stopping)),
            scored=group(records, np.ones(len(records))),
            moving=Rasteriser(experiment.grid, names, dataset.layers, experiment.training.shift_pixels),
            fixed=Rasteriser(experiment.grid, names, dataset.layers),
        )

    @property
    def steps(self) -> int:
        """Optimiser steps an epoch."""
        return data_pipeline.steps_per_epoch(len(self.training), self.experiment.training.batch_size)

    @property
    def epochs(self) -> int:
        """Epochs of a training that is not stopped early."""
        return self.experiment.training.epochs_of(self.steps)


def build(material: Material) -> GroundMotionModel:
    """The untrained network of one member: maps -> Normal distribution of ln IM at every pixel.

    Standardisation and, with ``target`` residual, the ergodic median of the training records are part
    of the graph; its input are maps in their own units.
    """
    experiment, grid = material.experiment, material.experiment.grid
    names = material.fixed.names
    maps = keras.Input((grid.input_size, grid.input_size, len(names)), name="maps")
    mean, variance = data_pipeline.channel_statistics(material.training, material.fixed)
    standardised = keras.layers.Normalization(mean=mean.tolist(), variance=variance.tolist())(maps)
    parameters = parameter_map(standardised, experiment.network)
    training = training_records(material.records)
    target, median = training["ln_im"], None
    if experiment.training.target == "residual":
        fitted = ergodic.fit(training)
        median = _median_layer(fitted, names, grid)(maps)
        target = target - fitted.median_of(training)
    normal = NormalLayer(
        float(target.mean()), float(target.std()), experiment.network.min_stddev, name="normal"
    )
    return GroundMotionModel(maps, normal(parameters, median))


def _median_layer(fitted: ergodic.ErgodicModel, names: tuple[str, ...], grid: Grid) -> ErgodicMedian:
    return ErgodicMedian(fitted.coefficients, [names.index(name) for name in _OF_MEDIAN], grid.margin)


def _refuse_dropped(names: tuple[str, ...]) -> None:
    missing = [name for name in _OF_MEDIAN if name not in names]
    if missing:
        raise UsageError(f"--target residual needs the channels that are dropped: {', '.join(missing)}")


def optimizer(settings: Training, steps: int) -> keras.optimizers.Optimizer:
    """Adam with decoupled weight decay, clipped gradients, linear warm-up and cosine decay.

    Parameters
    ----------
    settings : Training
    steps : int
        Of the whole training.
    """
    warmup = max(1, round(settings.warmup * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / warmup,
        decay_steps=max(1, steps - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
    # A decay of zero would still pass over all weights.
    decay = settings.weight_decay or None
    return keras.optimizers.Adam(schedule, weight_decay=decay, global_clipnorm=settings.clipnorm)


def _refuse_divergence(batch: int, logs: dict[str, float]) -> None:
    if not np.isfinite(logs["loss"]):
        raise DataError(
            f"training diverged in step {batch + 1} of an epoch, its loss is {logs['loss']}: look for wild "
            "values among the records (tfgmm describe), or train a new run with a smaller --learning-rate"
        )


def train(
    material: Material,
    folder: Path,
    chunk: int,
    init: int,
    report: Report = lambda share: None,
    *,
    fingerprint: str | None = None,
) -> None:
    """Train one member into its folder, whole or not at all; go on where an earlier attempt stopped.

    The folder then holds ``model.keras``, ``history.csv``, ``predictions.parquet`` and ``done.json``,
    which has the hashes of the others and the fingerprint of the run.

    Raises
    ------
    DataError
        The loss is not finite, or the file system refuses to write.
    """
    experiment = material.experiment
    settings, seed = experiment.training, experiment.member_seed(chunk, init)
    started = time.monotonic()
    checkpoint = Checkpoint(work_folder(folder), settings.patience)
    model = _fitted(material, checkpoint, seed, report)
    with files.whole_folder(folder, overwrite=True) as temporary:
        model.save(temporary / MODEL)
        pd.DataFrame(checkpoint.history).to_csv(temporary / "history.csv", index=False)
        table = predictions(in_float32(model), material, chunk, init)
        files.write_parquet(table, temporary / run_folder.PREDICTIONS)
        done = {
            "seed": seed,
            "epochs": checkpoint.epoch,
            "best_epoch": checkpoint.best_epoch,
            "stopping_loss": checkpoint.history[checkpoint.best_epoch]["stopping_loss"],
            "seconds": round(time.monotonic() - started, 1),
            "filled": material.fixed.filled,
            **({"run": fingerprint} if fingerprint else {}),
            "files": {path.name: files.sha256(path) for path in temporary.iterdir()},
        }
        files.write_json(temporary / run_folder.DONE, done)
    shutil.rmtree(checkpoint.folder)
    report(1.0)


def work_folder(folder: Path) -> Path:
    """Return where the unfinished training of a member is kept."""
    return folder.with_name(f".{folder.name}.work")


def restore_predictions(material: Material, folder: Path, chunk: int, init: int) -> None:
    """Make a trained member's table of predictions anew, from its network.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    table = predictions(_read_model(folder), material, chunk, init)
    done = files.read_json(folder / run_folder.DONE)
    with files.whole_files(folder) as temporary:
        files.write_parquet(table, temporary / run_folder.PREDICTIONS)
        done["files"] |= {run_folder.PREDICTIONS: files.sha256(temporary / run_folder.PREDICTIONS)}
        files.write_json(temporary / run_folder.DONE, done)


def compiled(material: Material, seed: int) -> GroundMotionModel:
    """A new network with its optimiser, reproducible from the seed."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    settings = material.experiment.training
    model = build(material)
    if material.experiment.random_effects != "none":
        fitted = ergodic.fit(training_records(material.records))
        model.random_terms = RandomTerms(
            len(material.training.ln_im), fitted.tau, fitted.phi_s2s, fitted.phi_ss
        )
    adam = optimizer(settings, material.epochs * material.steps)
    if material.experiment.network.precision == "float16":
        # Small gradients would be zero.
        adam = keras.optimizers.LossScaleOptimizer(adam)
    # XLA is slower on processors, and a model server refuses graphs compiled with it.
    model.compile(adam, jit_compile=False)
    return model


def _fitted(material: Material, checkpoint: Checkpoint, seed: int, report: Report) -> GroundMotionModel:
    """The network with the weights of its best epoch."""
    settings, records = material.experiment.training, training_records(material.records)
    keras.backend.clear_session()
    model = compiled(material, seed)
    first = checkpoint.epoch
    if first:
        model.optimizer.build(model.trainable_variables)
        checkpoint.load(model, first - 1)
    if first < material.epochs and not checkpoint.exhausted:
        remaining = range(first, material.epochs)
        total = material.epochs * material.steps
        seen = iter(range(first * material.steps, total))
        model.fit(
            data_pipeline.training_batches(
                material.training,
                material.moving,
                settings.batch_size,
                remaining,
                seed,
                turns=settings.turns,
            ),
            validation_data=data_pipeline.fixed_batches(
                material.stopping, material.fixed, settings.batch_size
            ),
            initial_epoch=first,
            epochs=material.epochs,
            steps_per_epoch=material.steps,
            callbacks=[
                keras.callbacks.LambdaCallback(on_train_batch_end=_refuse_divergence),
                *([RandomTermsUpdate(records)] if model.random_terms else []),
                checkpoint,
                keras.callbacks.LambdaCallback(
                    on_train_batch_end=lambda batch, logs: report((next(seen) + 1) / total)
                ),
            ],
            shuffle=False,
            verbose=0,
        )
    checkpoint.load(model, checkpoint.best_epoch)
    return model


def predictions(model: GroundMotionModel, material: Material, chunk: int, init: int) -> pd.DataFrame:
    """One row a record: the member's mean and standard deviation of ln IM beside the observation."""
    batch_size = material.experiment.training.batch_size
    batches = data_pipeline.fixed_batches(material.scored, material.fixed, batch_size)

    @tf.function(input_signature=batches.element_spec)
    def step(maps, stations):
        normal = at_stations(model(maps, training=False), stations["pixels"])
        real = stations["weight"] > 0
        return tf.boolean_mask(normal.loc, real), tf.boolean_mask(normal.scale, real)

    mean, stddev = (
        np.concatenate(parts) for parts in zip(*(step(*batch) for batch in batches), strict=True)
    )
    table = material.records.drop(columns=["row", "col"])
    return table.assign(arm=material.experiment.arm, chunk=chunk, init=init, mean=mean, stddev=stddev)


def in_float32(model: GroundMotionModel) -> GroundMotionModel:
    """The same network, for predicting: every layer computes in float32, whatever it was trained in."""
    for layer in model.layers:
        layer.dtype_policy = "float32"
    return model


def load(folder: Path) -> GroundMotionModel:
    """Load the trained network of a member folder, which predicts in float32.

    Raises
    ------
    DataError
        A file of the member is damaged.
    """
    run_folder.refuse_damaged(folder)
    return _read_model(folder)


def _read_model(folder: Path) -> GroundMotionModel:
    path = folder / MODEL
    try:
        return in_float32(keras.saving.load_model(path, compile=False))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}): remove {folder} and give tfgmm train again"
        ) from error
