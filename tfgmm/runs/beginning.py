"""Begin a run folder, go on in it, or replace it."""

import importlib.metadata
import shutil
from pathlib import Path

from tfgmm import __version__
from tfgmm.core import files, lease
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.manifest import MANIFEST
from tfgmm.runs.predictions import PREDICTIONS
from tfgmm.runs.run import DATA, DESCRIPTION, EVENTS, FORMAT, MEMBERS, STATIONS, RunFolder
from tfgmm.stats import calibration, random_effects

#: All that commands put into a run folder besides its description, and what replacing a run removes.
_OWN = (
    *(MEMBERS, DATA, "tables", "figures", "baselines", "site_amplification"),
    *(EVENTS, STATIONS, PREDICTIONS, "report.html", MANIFEST, calibration.FILE, *random_effects.FILES),
)
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "pandas", "pyproj")
#: What a run keeps of the provenance of its dataset.
_PROVENANCE = ("digest", "simulated", "component", "name", "truncation", "attribution")


def begin(
    path: Path,
    experiment: Experiment,
    dataset: Dataset,
    overwrite: bool = False,
    *,
    channels: tuple[str, ...],
) -> RunFolder:
    """Begin a new run, or go on with the same experiment on the same data.

    The run gets a copy of the dataset.

    Raises
    ------
    UsageError
        The folder is no run, or it holds another run and `overwrite` is false, or another process is
        at work in it.
    DataError
        The file system refuses to write.
    """
    data = {name: dataset.provenance.get(name, "") for name in _PROVENANCE}
    data |= {"digest": dataset.digest(), "simulated": dataset.simulated}
    run = RunFolder(path, experiment, data, tuple(channels))
    is_run = (path / DESCRIPTION).is_file()
    if not is_run and not files.is_vacant(path):
        raise UsageError(f"{path} exists and is no run folder: choose another --out")
    with lease.held(path / "run"):
        if is_run and not overwrite:
            _refuse_other(run, RunFolder.open(path))
        else:
            if is_run:
                _clear(path)
            describe(run)
        _copy_dataset(run, dataset)
        if not (path / MANIFEST).is_file():
            run.manifest.note()
    return run


def describe(run: RunFolder) -> None:
    """Write the description of a run, and which versions of packages made it."""
    content = {
        "format": FORMAT,
        "experiment": run.experiment.model_dump(mode="json"),
        "data": run.data,
        "channels": run.channels,
        "versions": {"tfgmm": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    with files.whole_file(run.path / DESCRIPTION) as temporary:
        files.write_json(temporary, content)


def _copy_dataset(run: RunFolder, dataset: Dataset) -> None:
    """Keep a copy of the dataset, unless there is a whole one."""
    try:
        run.dataset()
    except (UsageError, DataError):
        shutil.rmtree(run.data_folder, ignore_errors=True)
        dataset.write(run.data_folder)


def _clear(path: Path) -> None:
    """Remove what commands have put into the folder; the description last, by being replaced."""
    lease.refuse_held(path / MEMBERS)
    for name in _OWN:
        target = path / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _refuse_other(run: RunFolder, existing: RunFolder) -> None:
    """Raise `UsageError` if the folder of a run holds another one."""
    wanted, present = (each.experiment.model_dump() for each in (run, existing))
    # The dataset may have moved: its content counts, not its path.
    different = [name for name in wanted if wanted[name] != present[name] and name != "data"]
    if run.data["digest"] != existing.data["digest"]:
        different.append("content of the data")
    if different:
        raise UsageError(
            f"{run.path} holds another run (different: {', '.join(different)}): "
            "choose another --out, or replace it with --overwrite"
        )
