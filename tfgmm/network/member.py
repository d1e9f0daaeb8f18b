"""Train, save and load one member, a network of one station chunk and initialisation."""

import dataclasses
import logging
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfgmm.core import files
from tfgmm.core.errors import DataError, listed
from tfgmm.data.schemas import training_records
from tfgmm.network import batches, input_channels
from tfgmm.network.batches import Material
from tfgmm.network.channels import EVENT_VECTOR
from tfgmm.network.input_channels import ClippedChannels, StandardisedChannels
from tfgmm.network.normal import GroundMotionModel, NormalLayer, at_stations
from tfgmm.network.unet import parameter_map
from tfgmm.runs import predictions as predictions_table
from tfgmm.runs.experiment import Training
from tfgmm.runs.member_folder import (
    DONE,
    HISTORY,
    MEMORY_HINT,
    NETWORK,
    STATE,
    MemberFolder,
    backbone_name,
    work_folder,
    write_done,
)
from tfgmm.stats.support import RHO

_log = logging.getLogger(__name__)


class Checkpoint(keras.callbacks.Callback):
    """A Keras callback that saves the training after each epoch, and stops it early.

    The callback saves the weights, the optimiser state and the history of the losses.

    ``state.json`` is written last, with the hashes of the other files: a kill at any moment leaves a state
    from which the training can go on. A damaged state is deleted with a warning, and the training begins
    again.

    Parameters
    ----------
    folder : Path
        Folder of the state, which need not exist yet.
    patience : int or None
        Number of epochs without a lower stopping loss after which the training ends; None trains all
        epochs. The stopping loss is the loss of the stopping records, which decide when a training ends.

    Attributes
    ----------
    history : list of dict
        ``epoch``, ``loss`` and ``stopping_loss`` of each epoch.
    rate : float
        Factor of the learning rate: 1, or 0.5 after a loss that was not finite.
    """

    def __init__(self, folder: Path, patience: int | None) -> None:
        super().__init__()
        self.folder, self.patience = folder, patience
        self.history: list[dict] = []
        self.rate = 1.0
        if (folder / STATE).is_file():
            self._resume()

    def _resume(self) -> None:
        """Read the history of an interrupted training, or delete the folder if the state is damaged."""
        try:
            state = files.read_json(self.folder / STATE)
            files.refuse_changed(self.folder, state["files"], "its training begins again")
            self.history, self.rate = state["history"], state.get("rate", 1.0)
        except (OSError, ValueError, KeyError, DataError) as error:
            _log.warning("%s is damaged (%s): the training of this member begins again", self.folder, error)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def epoch(self) -> int:
        """Return the number of epochs that are done and saved."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Return the epoch, from 0, of the least stopping loss, or without patience the last epoch."""
        if self.patience is None:
            return self.epoch - 1
        return int(np.argmin([row["stopping_loss"] for row in self.history]))

    @property
    def exhausted(self) -> bool:
        """Return True if the stopping loss has not fallen for `patience` epochs; without patience False."""
        if self.patience is None or not self.history:
            return False
        return self.epoch - 1 - self.best_epoch >= self.patience

    def weights(self, epoch: int) -> Path:
        """Return the path of the file with weights and optimiser state after an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.

        Returns
        -------
        Path
        """
        return self.folder / f"epoch-{epoch}.npz"

    def load(self, model: GroundMotionModel, epoch: int) -> None:
        """Assign the saved weights and optimiser state after an epoch to a model.

        Parameters
        ----------
        model : GroundMotionModel
            Compiled model, whose optimiser is built if the saved state includes optimiser variables.
        epoch : int
            Number of the epoch, from 0: the last or the best one, whose files are kept.
        """
        with np.load(self.weights(epoch)) as arrays:
            for number, variable in enumerate(_state(model)):
                variable.assign(arrays[f"v{number}"])

    def on_epoch_end(self, epoch, logs=None):
        """Save the state after an epoch; keep the last and the best epoch only; stop if exhausted.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        logs : dict of str to float
            ``loss`` of the training records, and ``val_loss`` of the stopping records.
        """
        if not np.isfinite(logs["val_loss"]):
            raise DivergenceError(epoch, None)
        self.history.append({"epoch": epoch, "loss": logs["loss"], "stopping_loss": logs["val_loss"]})
        arrays = {f"v{number}": np.asarray(variable) for number, variable in enumerate(_state(self.model))}
        # NumPy's writer ends in an error on a full disk, where HDF5's ends the process.
        with files.whole_file(self.weights(epoch)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        kept = {self.weights(epoch), self.weights(self.best_epoch)}
        self._write_state(kept)
        for path in set(self.folder.glob("epoch-*.npz")) - kept:
            path.unlink()
        self.model.stop_training = self.exhausted

    def halve_rate(self) -> None:
        """Save that the training goes on from its last epoch at half the learning rate."""
        self.rate /= 2
        self._write_state(self.folder.glob("epoch-*.npz"))

    def _write_state(self, kept: Iterable[Path]) -> None:
        """Write ``state.json``, with the hashes of the files of epochs that are kept."""
        hashes = {path.name: files.sha256(path) for path in kept}
        with files.whole_file(self.folder / STATE) as temporary:
            files.write_json(temporary, {"history": self.history, "rate": self.rate, "files": hashes})


class DivergenceError(Exception):
    """Loss that is not finite, of a training step or of the stopping records.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 0.
    step : int or None
        Number of the step in the epoch, from 0; None for the stopping records after the epoch.
    """

    def __init__(self, epoch: int, step: int | None) -> None:
        super().__init__(epoch, step)
        self.epoch, self.step = epoch, step


def _state(model: GroundMotionModel) -> list[keras.Variable]:
    """Return the variables of a model on which the further training depends, in a fixed order."""
    variables = (*model.weights, *model.optimizer.variables)
    return list({id(variable): variable for variable in variables}.values())


#: Function that receives the share of the work that is done, 0 to 1.
ReportShare = Callable[[float], None]


def build(material: Material) -> GroundMotionModel:
    """Return the untrained network of one member, from input maps to distributions of ln IM at pixels.

    The network standardises its channels itself: its input are maps in the units of the channels.

    Parameters
    ----------
    material : Material
        Records and makers of input maps of the member's chunk.

    Returns
    -------
    GroundMotionModel
        Model from maps [batch, input_size, input_size, channels] to Normal distributions of ln IM minus the
        backbone and the mean of the field, [batch, output_size, output_size, K], for the K intensity
        measures of the experiment.
    """
    experiment, grid = material.experiment, material.experiment.grid
    names = material.fixed.names
    maps = keras.Input((grid.input_size, grid.input_size, len(names)), name="maps")
    training = [training_records(table) for table in material.records.values()]
    mean, variance = batches.channel_statistics(material.training, material.fixed)
    channels = maps
    if material.backbones:
        # What lies outside the training records is left to the backbone.
        events = pd.DataFrame(material.training.events, columns=EVENT_VECTOR)
        channels = ClippedChannels(**input_channels.limits(pd.concat(training), events, names))(maps)
    standardised = StandardisedChannels(mean.tolist(), variance.tolist())(channels)
    parameters = parameter_map(standardised, experiment.network, len(training))
    learned = [table["ln_im"] - table["backbone"] - table["field_mean"] for table in training]
    location, scale = [values.mean() for values in learned], [values.std() for values in learned]
    normal = NormalLayer(location, scale, experiment.network.min_stddev, name="normal")
    return GroundMotionModel(maps, normal(parameters))


def optimizer(settings: Training, steps: int, rate: float = 1.0) -> keras.optimizers.Optimizer:
    """Return an Adam optimiser with weight decay, clipped gradients and a learning rate schedule.

    The learning rate rises linearly during the warm-up, then falls to zero as a cosine.

    Parameters
    ----------
    settings : Training
        Learning rate, warm-up, weight decay and largest norm of the gradient.
    steps : int
        Number of optimiser steps of the whole training.
    rate : float
        Factor of the learning rate.

    Returns
    -------
    keras.optimizers.Optimizer
    """
    warmup = max(1, round(settings.warmup * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate * settings.learning_rate / warmup,
        decay_steps=max(1, steps - warmup),
        warmup_target=rate * settings.learning_rate,
        warmup_steps=warmup,
    )
    # A decay of zero would still pass over all weights.
    decay = settings.weight_decay or None
    return keras.optimizers.Adam(schedule, weight_decay=decay, global_clipnorm=settings.clipnorm)


def _diverged(error: DivergenceError, material: Material, seed: int) -> DataError:
    """Return the error of a training that diverged twice, which names the events of the batch."""
    where = f"epoch {error.epoch + 1}, its stopping loss is not finite"
    if error.step is not None:
        names = batches.events_of_batch(
            material.training, material.experiment.training.batch_size, error.epoch, error.step, seed
        )
        where = f"step {error.step + 1} of epoch {error.epoch + 1}, of the events {listed(names)}"
    return DataError(
        f"training diverged in {where}, also at half the learning rate: look for wild values among the "
        "records (tfgmm describe), or train a new run with a smaller --learning-rate"
    )


def train(
    material: Material,
    folder: MemberFolder,
    chunk: int,
    init: int,
    report: ReportShare = lambda share: None,
    *,
    fingerprint: str | None = None,
) -> None:
    """Train one member and write the folder of the member, whole or not at all.

    A member is one network, of a station chunk, whose sites are held out, and an initialisation. It
    predicts all intensity measures of the run. An interrupted training goes on from the last epoch that was
    saved.

    Parameters
    ----------
    material : Material
        Records and makers of input maps of the chunk.
    folder : MemberFolder
        Folder of the member.
    chunk, init : int
        Numbers of the station chunk and of the initialisation, from 0.
    report : callable
        Called with the share of the training that is done, 0 to 1.
    fingerprint : str, optional
        Hash of settings and data of the run (`RunFolder.fingerprint`), stored with the member.

    Raises
    ------
    DataError
        The loss is not finite, twice; memory is short; or the file system refuses to write.
    """
    experiment, started = material.experiment, time.monotonic()
    seed = experiment.member_seed(chunk, init)
    checkpoint = Checkpoint(work_folder(folder.path), experiment.training.patience)
    try:
        model = _fitted(material, checkpoint, seed, report)
        table = predictions(Networks.of_one(in_float32(model)), material, chunk, init)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise DataError(f"out of memory: {MEMORY_HINT}") from error
    with files.whole_folder(folder.path, overwrite=True) as temporary:
        model.save(temporary / NETWORK)
        for im, backbone in material.backbones.items():
            backbone.save(temporary / backbone_name(im, experiment.ims))
        predictions_table.write(table, temporary / folder.predictions.name)
        pd.DataFrame(checkpoint.history).to_csv(temporary / HISTORY, index=False)
        best = checkpoint.best_epoch
        facts = {
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "networks": {NETWORK: [*experiment.ims]},
            "trainings": {
                NETWORK: {
                    "epochs": checkpoint.epoch,
                    "best_epoch": best,
                    "stopping_loss": checkpoint.history[best]["stopping_loss"],
                    "filled": material.fixed.filled,
                }
            },
        }
        write_done(temporary, facts | ({"run": fingerprint} if fingerprint else {}))
    remove_work(folder.path)
    report(1.0)


def remove_work(folder: Path) -> None:
    """Remove the state of the unfinished training of a member.

    Parameters
    ----------
    folder : Path
        Folder of the member.
    """
    shutil.rmtree(work_folder(folder), ignore_errors=True)


def restore_predictions(material: Material, folder: MemberFolder, chunk: int, init: int) -> None:
    """Predict all records again with the network of a trained member, and replace its predictions table.

    Parameters
    ----------
    material : Material
        Records and makers of input maps of the measures that the member predicts, and its own backbones.
    folder : MemberFolder
        Folder of the trained member.
    chunk, init : int
        Numbers of the station chunk and of the initialisation, from 0.

    Raises
    ------
    DataError
        A network is damaged, or the file system refuses to write.
    """
    table = predictions(_networks(folder, material.experiment.ims), material, chunk, init)
    done, name = folder.done(), folder.predictions.name
    with files.whole_files(folder.path) as temporary:
        predictions_table.write(table, temporary / name)
        done["files"] |= {name: files.sha256(temporary / name)}
        files.write_json(temporary / DONE, done)


def compiled(material: Material, seed: int, rate: float = 1.0) -> GroundMotionModel:
    """Return a new untrained network with its optimiser; the same seed gives the same network.

    Parameters
    ----------
    material : Material
        Records and makers of input maps of the member's chunk.
    seed : int
        Seed of the member. All global random generators are seeded with it.
    rate : float
        Factor of the learning rate.

    Returns
    -------
    GroundMotionModel
        Compiled.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    settings = material.experiment.training
    model = build(material)
    adam = optimizer(settings, material.epochs * material.steps, rate)
    if material.experiment.network.precision == "float16":
        # Small gradients would be zero.
        adam = keras.optimizers.LossScaleOptimizer(adam)
    model.correlation = RHO if settings.weighting == "correlated" else 0.0
    # XLA is slower on processors, and a model server refuses graphs compiled with it.
    model.compile(adam, jit_compile=False)
    return model


def _fitted(
    material: Material, checkpoint: Checkpoint, seed: int, report: ReportShare
) -> GroundMotionModel:
    """Train the network of a member; go on once from its last good epoch where the loss is not finite.

    Parameters are as for `_fitted_once`. The learning rate is halved then; a second loss that is not finite
    raises `DataError`.
    """
    try:
        return _fitted_once(material, checkpoint, seed, report)
    except DivergenceError as error:
        if checkpoint.rate < 1:
            raise _diverged(error, material, seed) from error
        _log.warning(
            "the loss was not finite in epoch %d: the training goes on from the epoch before at half the "
            "learning rate",
            error.epoch + 1,
        )
    checkpoint.halve_rate()
    return _fitted(material, checkpoint, seed, report)


def _fitted_once(
    material: Material, checkpoint: Checkpoint, seed: int, report: ReportShare
) -> GroundMotionModel:
    """Train the network of a member, and return it with the weights of the best epoch.

    The best epoch is that of the least stopping loss, or without patience the last, see
    `Checkpoint.best_epoch`. A training that was interrupted goes on after the last epoch that `checkpoint`
    has saved. `seed` determines the initial weights, and the order, shifts and turns of the input maps;
    `report` is called with the share of the steps that are done, 0 to 1.
    """
    settings = material.experiment.training
    keras.backend.clear_session()
    model = compiled(material, seed, checkpoint.rate)
    first = checkpoint.epoch
    if first:
        model.optimizer.build(model.trainable_variables)
        checkpoint.load(model, first - 1)
    if first < material.epochs and not checkpoint.exhausted:
        remaining = range(first, material.epochs)
        total = material.epochs * material.steps
        seen = iter(range(first * material.steps, total))

        def refuse_divergence(batch: int, logs: dict[str, float]) -> None:
            if not np.isfinite(logs["loss"]):
                raise DivergenceError(checkpoint.epoch, batch)

        model.fit(
            batches.training_batches(
                material.training,
                material.moving,
                settings.batch_size,
                remaining,
                seed,
                turns=settings.turns,
            ),
            validation_data=batches.fixed_batches(material.stopping, material.fixed, settings.batch_size),
            initial_epoch=first,
            epochs=material.epochs,
            steps_per_epoch=material.steps,
            callbacks=[
                keras.callbacks.LambdaCallback(on_train_batch_end=refuse_divergence),
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


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """The trained networks of a member, called as one: from input maps to Normal distributions of ln IM.

    A member has one network. One that version 0.1 trained has a network for each intensity measure.

    Attributes
    ----------
    models : tuple of GroundMotionModel
        The networks.
    outputs : tuple of int, [K]
        Place of each wanted intensity measure among the outputs of all networks.
    """

    models: tuple[GroundMotionModel, ...]
    outputs: tuple[int, ...]

    def __call__(self, maps: tf.Tensor) -> tfd.Normal:
        """Return the distributions of ln IM minus the backbone, [batch, row, col, K].

        Parameters
        ----------
        maps : tensor, [batch, row, col, channel]
            Input maps in the units of the channels.

        Returns
        -------
        tfd.Normal, [batch, row, col, K]
        """
        return self.joined([model(maps, training=False) for model in self.models])

    def joined(self, normals: Sequence[tfd.Normal]) -> tfd.Normal:
        """Join what the networks predict, in the order of the wanted intensity measures.

        Parameters
        ----------
        normals : sequence of tfd.Normal, [..., measures of the network]
            Outputs of each network.

        Returns
        -------
        tfd.Normal, [..., K]
        """
        if len(normals) == 1 and self.outputs == tuple(range(normals[0].loc.shape[-1])):
            return normals[0]
        loc, scale = (
            tf.concat([getattr(normal, name) for normal in normals], axis=-1) for name in ("loc", "scale")
        )
        return tfd.Normal(*(tf.gather(values, self.outputs, axis=-1) for values in (loc, scale)))

    @classmethod
    def of_one(cls, model: GroundMotionModel) -> Self:
        """Return one network with all its outputs.

        Parameters
        ----------
        model : GroundMotionModel
            The network.

        Returns
        -------
        Networks
        """
        return cls((model,), tuple(range(model.output_shape[-1])))

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Return the shape of the input maps, (None, rows, cols, channels)."""
        return self.models[0].input_shape

    def for_maps_of(self, size: int) -> "Networks":
        """Return the networks for maps of another size, of the same layers and weights.

        Parameters
        ----------
        size : int
            Number of pixels along a side of the input maps.

        Returns
        -------
        Networks
        """
        if self.input_shape[1] == size:
            return self
        maps = keras.Input((size, size, self.input_shape[-1]))
        resized = (
            keras.models.clone_model(model, input_tensors=maps, clone_function=lambda layer: layer)
            for model in self.models
        )
        return dataclasses.replace(self, models=tuple(resized))


def predictions(networks: Networks, material: Material, chunk: int, init: int) -> pd.DataFrame:
    """Predict mean and standard deviation of ln IM for all records, a row per record and measure.

    Parameters
    ----------
    networks : Networks
        Trained networks of the member, for all measures of the experiment.
    material : Material
        Records and makers of input maps.
    chunk, init : int
        Numbers of the station chunk and of the initialisation, from 0.

    Returns
    -------
    pandas.DataFrame
        The rows of ``material.records`` without `batches.NOT_PREDICTED`, with ``im``, ``arm`` (name of the
        set of input channels), ``chunk``, ``init``, and ``mean`` (of backbone and network together) and
        ``stddev`` (of the network) of ln IM, ln units.
    """
    batch_size = material.experiment.training.batch_size
    examples = batches.fixed_batches(material.scored, material.fixed, batch_size)

    @tf.function(input_signature=examples.element_spec)
    def step(maps, stations):
        normal = at_stations(networks(maps), stations["pixels"])
        real = tf.reduce_any(stations["weight"] > 0, axis=-1)
        return tf.boolean_mask(normal.loc, real), tf.boolean_mask(normal.scale, real)

    mean, stddev = (
        np.concatenate(parts) for parts in zip(*(step(*batch) for batch in examples), strict=True)
    )
    tables = []
    for number, (im, rows) in enumerate(batches.Records.of(material.records).rows.items()):
        table = material.records[im].drop(columns=batches.NOT_PREDICTED)
        which = {"im": im, "arm": material.experiment.arm, "chunk": chunk, "init": init}
        total = table["backbone"].to_numpy() + mean[rows, number]
        tables.append(table.assign(**which, mean=total, stddev=stddev[rows, number]))
    return pd.concat(tables, ignore_index=True)


def in_float32(model: GroundMotionModel) -> GroundMotionModel:
    """Set every layer of a network to compute in float32, and return the same network.

    Parameters
    ----------
    model : GroundMotionModel
        Network trained in any precision; it is changed in place.

    Returns
    -------
    GroundMotionModel
    """
    for layer in model.layers:
        layer.dtype_policy = "float32"
    return model


def load(path: Path) -> GroundMotionModel:
    """Load the network of a trained member, set to predict in float32.

    Parameters
    ----------
    path : Path
        File of the network, from `RunFolder.network`.

    Returns
    -------
    GroundMotionModel
        Not compiled.

    Raises
    ------
    DataError
        The file is damaged.
    """
    try:
        return in_float32(keras.saving.load_model(path, compile=False))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}): remove {path.parent} and give tfgmm train again"
        ) from error


def load_networks(folder: MemberFolder, ims: Sequence[str]) -> Networks:
    """Load the networks of a trained member that predict some intensity measures.

    Parameters
    ----------
    folder : MemberFolder
        Folder of the member.
    ims : sequence of str
        Intensity measures.

    Returns
    -------
    Networks

    Raises
    ------
    DataError
        The member lacks a measure, or a file of it is missing or damaged.
    """
    folder.refuse_damaged()
    return _networks(folder, ims)


def _networks(folder: MemberFolder, ims: Sequence[str]) -> Networks:
    """Load networks as `load_networks` does, also from a member whose predictions table is damaged."""
    paths = list(dict.fromkeys(folder.network(im) for im in ims))
    measures = [im for path in paths for im in folder.networks()[path.name]]
    return Networks(tuple(map(load, paths)), tuple(measures.index(im) for im in ims))
