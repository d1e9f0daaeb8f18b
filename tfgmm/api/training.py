"""Settings -> a trained run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tfgmm.api.dataset import PathLike
from tfgmm.api.run import Run
from tfgmm.core import outputs
from tfgmm.core.errors import UsageError
from tfgmm.core.sphere import wrapped
from tfgmm.data.dataset import Dataset
from tfgmm.runs import experiment as experiments
from tfgmm.runs.experiment import Experiment

if TYPE_CHECKING:
    from tfgmm.network.training import Training

# The room of the networks is imported where it is called: it loads TensorFlow.

#: Parts of an experiment whose settings have names of their own.
_PARTS = ("grid", "network", "training")
#: Receives the name of what is being trained and the share of it that is done.
Report = Callable[[str, float], None]


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
    """Return the settings of a run: those of a preset, with changes.

    Parameters
    ----------
    networks : str or iterable of str
        Networks whose records train.
    preset : {"quick", "standard", "paper"}
        Minutes; the default; for GPUs.
    data : path, optional
        Dataset folder; the embedded simulated records by default.
    reference : str, optional
        Network that is held out in chunks and scored; the first by default.
    ims : str or iterable of str, optional
        Intensity measures, PGA or SA(T).
    drop : str or iterable of str, optional
        Channels, or groups of channels (source, path, site), to leave out.
    split : str, optional
        Validation events: ``time:FROM,TO`` or ``random-events:SHARE``.
    center : (longitude, latitude), optional
        Centre of the map, degrees.
    **settings
        Any other setting of `Experiment`, or of its grid, network or training, by its name:
        ``chunks=5``, ``pixel_km=1.0``, ``base=16``, ``epochs=20``, ... None leaves that of the preset.

    Raises
    ------
    UsageError
        There is no such preset or setting, or settings do not fit together.

    Examples
    --------
    >>> import tfgmm
    >>> tfgmm.experiment(["kik", "meso"], preset="quick", epochs=5).training.epochs
    5
    """
    names = _names(networks) or ()
    if not names:
        raise UsageError("--networks names no network: write them with commas between, as kik,meso")
    if center is not None:
        settings |= {"longitude": float(wrapped(center[0])), "latitude": center[1]}
    return experiments.preset(
        preset,
        data=None if data is None else str(data),
        networks=names,
        reference=reference or names[0],
        ims=_names(ims) or None,
        drop=_names(drop),
        split=experiments.Split.parse(split) if split else None,
        **_in_parts(settings),
    )


def _names(names: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return one name or several as a tuple."""
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


def _in_parts(settings: dict) -> dict:
    """Sort settings into the parts of an experiment that they belong to."""
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


def begin_training(
    experiment: Experiment,
    out: PathLike | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
    chunks: Iterable[int] | None = None,
) -> "Training":
    """Begin a run, or go on with it, and return what is left to train before it is trained.

    Parameters
    ----------
    experiment : Experiment
        Of `tfgmm.experiment`.
    out : path, optional
        Run folder; ``runs/NETWORKS-PRESET`` by default.
    dataset : Dataset, optional
        The records, where they do not stand in the folder that the experiment names.
    overwrite : bool
        Replace another run that stands there.
    chunks : iterable of int, optional
        Train only these chunks now, from 0.

    Returns
    -------
    Training
        With ``members``, ``missing``, ``seconds_per_member()`` and ``train(report)``.

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
    """Return the run folder of an experiment that is given none.

    >>> str(default_folder(experiment(["kik", "meso"], preset="quick")))
    'runs/kik-meso-quick'
    """
    return Path("runs") / f"{'-'.join(experiment.networks)}-{experiment.preset}"


def train(
    data: Dataset | PathLike | None,
    networks: str | Iterable[str],
    *,
    preset: str = "standard",
    out: PathLike | None = None,
    overwrite: bool = False,
    only_chunks: Iterable[int] | None = None,
    report: Report = lambda what, share: None,
    **settings,
) -> Run:
    """Train an ensemble: station chunks x initialisations, resumable with the same call.

    Members that another process is training are left to it.

    Parameters
    ----------
    data : Dataset, path or None
        The records, or their folder; None takes the embedded simulated records.
    networks, preset, **settings
        As for `tfgmm.experiment`.
    out, overwrite
        As for `begin_training`.
    only_chunks : iterable of int, optional
        Train only these chunks now, from 0.
    report : callable
        Receives the name of a member and the share of its training that is done.

    Returns
    -------
    Run

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
    described = experiment(networks, preset=preset, data=None if dataset is not None else data, **settings)
    begun = begin_training(described, out, dataset=dataset, overwrite=overwrite, chunks=only_chunks)
    begun.train(report)
    return Run(begun.run)


def upgrade(
    run: PathLike, *, data: PathLike | None = None, report: Report = lambda what, share: None
) -> Run:
    """Bring a run of version 0.1 up to the format of this version; its networks stay as they are.

    Parameters
    ----------
    run : path
        Run folder.
    data : path, optional
        Dataset folder; by default the one that the run was trained on.
    report : callable
        Receives what is being done and the share of it that is done.

    Returns
    -------
    Run

    Raises
    ------
    UsageError
        There is no run, it is of this version already, or the dataset is not the one it was trained on.
    DataError
        A file of the run is damaged, or the file system refuses to write.

    Examples
    --------
    >>> run = tfgmm.upgrade("runs/of-2025")  # doctest: +SKIP
    """
    from tfgmm.network import upgrade

    return Run(upgrade.upgrade(Path(run), None if data is None else str(data), report))
