"""Make the settings of a run, and train it."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgmm.api.dataset import PathLike
from tfgmm.api.run import ReportStage, Run
from tfgmm.core import imt, outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, listed
from tfgmm.core.sphere import wrapped
from tfgmm.data.dataset import Dataset
from tfgmm.runs import experiment as experiments
from tfgmm.runs.experiment import Experiment
from tfgmm.simulation import simulated

if TYPE_CHECKING:
    from tfgmm.network.training import Training

# The package tfgmm.network is imported where it is called, because it loads TensorFlow.

#: Parts of an `Experiment` that are groups of settings.
_PARTS = ("grid", "network", "training")


@checked
def experiment(
    networks: str | Iterable[str],
    *,
    preset: str = "standard",
    data: PathLike | None = None,
    reference: str | None = None,
    ims: str | Iterable[str] | None = None,
    drop: str | Iterable[str] | None = None,
    split: str | None = None,
    center: tuple[float, float] | None = None,
    **settings,
) -> Experiment:
    """Return the settings of a run: the settings of a preset, with changes.

    Parameters
    ----------
    networks : str or iterable of str
        Seismic networks whose records form the training set.
    preset : {"quick", "standard", "paper"}
        Preset of all settings: ``quick`` trains in minutes, ``standard`` is the default, ``paper`` needs
        GPUs.
    data : path, optional
        Dataset folder; the embedded simulated records by default.
    reference : str, optional
        Seismic network whose sites are held out in chunks and whose records are scored; the first of
        `networks` by default.
    ims : str or iterable of str, optional
        Intensity measures, ``PGA``, ``PGV`` or ``SA(T)`` with the period T in s, which one network predicts
        together; ``all`` or ``spectrum`` stands for every measure of the dataset.
    drop : str or iterable of str, optional
        Input channels, or groups of input channels (source, path, site), to leave out.
    split : str, optional
        Choice of the validation events: ``time:FROM,TO`` (dates), ``random-events:SHARE``, or
        ``magnitude:M`` (all events of at least this magnitude, of all times).
    center : (longitude, latitude), optional
        Centre of the map, degrees.
    **settings
        Any other setting of `Experiment`, or of its grid, network or training, by name: ``chunks=5``,
        ``pixel_km=1.0``, ``base=16``, ``epochs=20``, ... The value None means the value of the preset.

    Returns
    -------
    Experiment
        The settings of the run.

    Raises
    ------
    UsageError
        No such preset or setting exists, or settings do not fit together.

    Examples
    --------
    >>> import tfgmm
    >>> tfgmm.experiment(["kik", "meso"], preset="quick", epochs=5).training.epochs
    5
    """
    if settings.pop("target", None) is not None:
        raise UsageError(
            "--target is replaced: im by --backbone none, residual by --backbone ergodic or auto"
        )
    if settings.pop("random_effects", None) is not None:
        raise UsageError(
            "--random-effects is replaced: site,event by --field yes (as in quick and standard), none by "
            "--field no"
        )
    names = _names(networks) or ()
    if not names:
        raise UsageError("--networks names no network: write them with commas between, as kik,meso")
    if center is not None:
        settings |= {"longitude": float(wrapped(center[0])), "latitude": center[1]}
    return experiments.preset(
        preset,
        data=None if data is None else os.fspath(data),
        networks=names,
        reference=reference or names[0],
        ims=_measures(ims, data),
        drop=_names(drop),
        split=experiments.Split.parse(split) if split else None,
        **_in_parts(settings),
    )


def _names(names: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return one name or several names as a tuple, and None for None."""
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


def _measures(ims: str | Iterable[str] | None, data: Dataset | PathLike | None) -> tuple[str, ...] | None:
    """Return intensity measures by name, with those of the dataset in place of ``all``; None for none."""
    names = _names(ims)
    if not names or not {*names} & {*imt.WHOLE}:
        return names or None
    dataset = data if isinstance(data, Dataset) else simulated.open_dataset(data)
    return tuple(imt.expanded(names, dataset.ims))


def _in_parts(settings: dict) -> dict:
    """Return settings grouped by part of an experiment: grid, network, training, and ungrouped settings."""
    fields, sorted_settings = Experiment.model_fields, {name: {} for name in _PARTS}
    homes = {name: part for part in _PARTS for name in fields[part].annotation.model_fields}
    for name, value in settings.items():
        if name in homes:
            sorted_settings[homes[name]][name] = value
        elif name in fields and name not in _PARTS:
            sorted_settings[name] = value
        else:
            known = sorted({*homes, *fields} - {*_PARTS})
            raise UsageError(f"unknown setting {name!r}: choose one of {', '.join(known)}")
    return sorted_settings


@checked
def begin_training(
    experiment: Experiment,
    out: PathLike | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
    chunks: Iterable[int] | None = None,
) -> "Training":
    """Begin or continue the training of a run: make its folder, and return what is left to train.

    Nothing is trained before ``train`` of the result is called.

    Parameters
    ----------
    experiment : Experiment
        Settings of the run, as returned by `tfgmm.experiment`.
    out : path, optional
        Run folder; ``runs/NETWORKS-PRESET`` by default.
    dataset : Dataset, optional
        Dataset to train on, if it is not in the dataset folder that the experiment names.
    overwrite : bool
        If True, replace another run in the run folder.
    chunks : iterable of int, optional
        Station chunks to train now, counted from 0; all by default.

    Returns
    -------
    Training
        ``members`` (all networks of the run: a station chunk times an initialisation each), ``missing``
        (members that are not trained yet), ``seconds_per_member()`` and ``train(report)``.

    Raises
    ------
    UsageError
        The folder holds another run, or the experiment does not fit the data.
    DataError
        The data cannot be read or split.

    Examples
    --------
    >>> training = tfgmm.begin_training(tfgmm.experiment("kik"), "runs/kik")  # doctest: +SKIP
    >>> len(training.missing), training.seconds_per_member()  # doctest: +SKIP
    (10, 320.5)
    """
    folder = default_folder(experiment) if out is None else Path(out)
    outputs.refuse_file_name(folder, "a run")
    from tfgmm.network import training

    chosen = tuple(chunks) if chunks else None
    return training.begin(experiment, folder, overwrite, chosen, dataset)


def default_folder(experiment: Experiment) -> Path:
    """Return the default run folder of an experiment, ``runs/NETWORKS-PRESET``.

    >>> str(default_folder(experiment(["kik", "meso"], preset="quick")))
    'runs/kik-meso-quick'

    Parameters
    ----------
    experiment : Experiment
        Settings of the run.
    """
    return Path("runs") / f"{'-'.join(experiment.networks)}-{experiment.preset}"


@checked
def train(
    data: Dataset | PathLike | None,
    networks: str | Iterable[str],
    *,
    preset: str = "standard",
    out: PathLike | None = None,
    overwrite: bool = False,
    only_chunks: Iterable[int] | None = None,
    launch: Mapping[str, Any] | None = None,
    report: ReportStage = lambda what, share: None,
    **settings,
) -> Run:
    """Train an ensemble of networks, and return the run; the same call continues an interrupted training.

    The ensemble has one member per station chunk and initialisation. The call skips members that another
    process is training.

    Parameters
    ----------
    data : Dataset, path or None
        Dataset or dataset folder to train on; None for the embedded simulated records.
    networks : str or iterable of str
        Seismic networks whose records form the training set.
    preset : {"quick", "standard", "paper"}
        Preset of all settings, as for `tfgmm.experiment`.
    out : path, optional
        Run folder; ``runs/NETWORKS-PRESET`` by default.
    overwrite : bool
        If True, replace another run in the run folder.
    only_chunks : iterable of int, optional
        Station chunks to train now, counted from 0; all by default.
    launch : dict, optional
        Where and how to train members in processes of their own: ``executor`` (``local``, ``dask``,
        ``slurm``), ``workers`` and the other attributes of `tfgmm.network.executors.Launch`; by default
        they are trained one after the other in this process.
    report : callable
        Called with the name of a member and the share of its training that is done, 0 to 1.
    **settings
        Further settings, as for `tfgmm.experiment`.

    Returns
    -------
    Run
        The run, trained unless other processes are still training some members.

    Raises
    ------
    UsageError, DataError
        As for `tfgmm.experiment` and `begin_training`.

    Examples
    --------
    >>> data = tfgmm.open_dataset("data/kanto")  # doctest: +SKIP
    >>> run = tfgmm.train(data, ["kik", "meso"], preset="quick", epochs=5)  # doctest: +SKIP
    >>> run.evaluate()  # doctest: +SKIP
    """
    dataset = data if isinstance(data, Dataset) else None
    settings["ims"] = _measures(settings.get("ims"), data)
    described = experiment(networks, preset=preset, data=None if dataset is not None else data, **settings)
    begun = begin_training(described, out, dataset=dataset, overwrite=overwrite, chunks=only_chunks)
    if launch is None:
        begun.train(report)
    else:
        from tfgmm.network import executors

        known = [field.name for field in dataclasses.fields(executors.Launch)]
        if not {*launch} <= {*known}:
            raise UsageError(
                f"train: launch has no {listed({*launch} - {*known})}: choose among {listed(known)}"
            )

        def show(members: "list[executors.Progress]", done: int) -> None:
            for member in members:
                report(member.name, member.share)

        executors.train(begun, executors.Launch(**launch), show)
    return Run(begun.run)


@checked
def upgrade(
    run: PathLike, *, data: PathLike | None = None, report: ReportStage = lambda what, share: None
) -> Run:
    """Convert a run of version 0.1 to the format of this version and return it, its networks unchanged.

    Parameters
    ----------
    run : path
        Run folder.
    data : path, optional
        Dataset folder; by default the dataset folder that the run was trained on.
    report : callable
        Called with the name of the current step and the share of the step that is done, 0 to 1.

    Returns
    -------
    Run
        The upgraded run.

    Raises
    ------
    UsageError
        The path is no run folder, the run is of this version already, or the dataset is not the one that
        the run was trained on.
    DataError
        A file of the run is damaged, or the file system refuses to write.

    Examples
    --------
    >>> run = tfgmm.upgrade("runs/of-2025")  # doctest: +SKIP
    """
    from tfgmm.network import upgrade

    return Run(upgrade.upgrade(Path(run), None if data is None else os.fspath(data), report))
