"""Begin a run in a folder, continue the run in the folder, or replace it."""

import importlib.metadata
import shutil
from pathlib import Path

from tfgmm import __version__
from tfgmm.core import files, lease
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.runs.configuration import options
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.member_folder import MANIFEST
from tfgmm.runs.predictions import PREDICTIONS
from tfgmm.runs.run import (
    CONDITIONED,
    DATA,
    DESCRIPTION,
    EVENTS,
    FORMAT,
    MEMBERS,
    SHRINKAGE,
    STATIONS,
    RunFolder,
)
from tfgmm.stats import calibration

#: Files and folders, besides the description, that commands put into a run folder; replacing a run removes
#: them.
_OWN = (
    *(MEMBERS, DATA, CONDITIONED, "tables", "figures", "baselines", "site_amplification"),
    *(EVENTS, STATIONS, PREDICTIONS, SHRINKAGE, "report.html", MANIFEST, calibration.FILE),
)
#: Packages whose versions are written into the description of a run.
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "pandas", "pyproj")
#: Entries of the provenance of the dataset that are written into the description of a run.
_PROVENANCE = ("digest", "simulated", "component", "name", "truncation", "attribution")


def begin(
    path: Path,
    experiment: Experiment,
    dataset: Dataset,
    overwrite: bool = False,
    *,
    channels: tuple[str, ...],
) -> RunFolder:
    """Begin a new run in a folder, or continue the run there if it has the same settings and data.

    The run folder gets a copy of the dataset.

    Parameters
    ----------
    path : Path
        Run folder.
    experiment : Experiment
        Settings of the run.
    dataset : Dataset
        Events, stations, records and site layers to train on.
    overwrite : bool
        Whether a run already in the folder is replaced.
    channels : tuple of str
        Names of the input maps of the networks, in order.

    Returns
    -------
    RunFolder
        The run in the folder.

    Raises
    ------
    UsageError
        The folder holds other files than a run, or another run and `overwrite` is false, or another process
        works in it.
    DataError
        The description of the run in the folder is damaged, or the file system refuses to write.
    """
    data = {name: dataset.provenance.get(name, "") for name in _PROVENANCE}
    data |= {"digest": dataset.digest(), "simulated": dataset.simulated}
    run = RunFolder(path, experiment, data, tuple(channels))
    is_run = (path / DESCRIPTION).is_file()
    if not is_run and not files.is_vacant(path):
        raise UsageError(f"{path} exists and is no run folder: choose another --out")
    with lease.held(path / "run"):
        if is_run and not overwrite:
            refuse_other(run, RunFolder.open(path))
        else:
            if is_run:
                _clear(path)
            describe(run)
        copy_dataset(run, dataset)
        if not (path / MANIFEST).is_file():
            run.manifest.note()
    return run


def describe(run: RunFolder) -> None:
    """Write the description of a run, `DESCRIPTION`: settings, data, channels and versions of the packages.

    Parameters
    ----------
    run : RunFolder
        The run; its folder gets the file.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    content = {
        "format": FORMAT,
        "experiment": run.experiment.model_dump(mode="json"),
        "data": run.data,
        "channels": run.channels,
        "versions": {"tfgmm": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    with files.whole_file(run.path / DESCRIPTION) as temporary:
        files.write_json(temporary, content)


def copy_dataset(run: RunFolder, dataset: Dataset) -> None:
    """Write a copy of `dataset` into the run folder, unless the folder has an undamaged copy."""
    try:
        run.dataset()
    except (UsageError, DataError):
        shutil.rmtree(run.data_folder, ignore_errors=True)
        dataset.write(run.data_folder)


def _clear(path: Path) -> None:
    """Remove everything but the description that commands have put into the run folder `path`.

    The description is replaced by the next one.
    """
    lease.refuse_held(path / MEMBERS)
    for name in _OWN:
        target = path / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def refuse_other(run: RunFolder, existing: RunFolder) -> None:
    """Raise an error if a run has other settings or data than the existing run in its folder.

    Parameters
    ----------
    run : RunFolder
        The run that is wanted.
    existing : RunFolder
        The run that is there.

    Raises
    ------
    UsageError
        They differ; the message has each setting with both values.
    """
    wanted, present = (options(each.experiment) for each in (run, existing))
    for values, one in ((wanted, run), (present, existing)):
        values.pop("data", None)  # the dataset may have moved: its content counts, not its path
        values["content of the data"] = one.data["digest"][:12]
    different = [
        f"{name} {_shown(present.get(name))}, now {_shown(wanted.get(name))}"
        for name in wanted | present
        if wanted.get(name) != present.get(name)
    ]
    if different:
        raise UsageError(
            f"{run.path} holds another run (different: {'; '.join(different)}): "
            "choose another --out, or replace it with --overwrite"
        )


def _shown(value: object) -> str:
    """Return a value of an option as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
