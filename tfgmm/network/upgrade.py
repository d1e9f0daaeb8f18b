"""Convert a run of version 0.1 to the format of this version."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.lease import held, refuse_held
from tfgmm.data.dataset import Dataset
from tfgmm.network import batches
from tfgmm.network.channels import select
from tfgmm.network.training import Training
from tfgmm.runs import beginning, predictions
from tfgmm.runs.experiment import Experiment, reason
from tfgmm.runs.folds import make_folds
from tfgmm.runs.member_folder import DONE, HISTORY, MemberFolder, network_name
from tfgmm.runs.run import DATA, DESCRIPTION, FORMAT, MEMBERS, RunFolder
from tfgmm.simulation import simulated
from tfgmm.stats import calibration

#: File name of the network of a member in version 0.1.
_NETWORK = "model.keras"
#: Facts of a training, which version 0.1 stored at the top level of ``done.json``.
_TRAINING = ("epochs", "best_epoch", "stopping_loss", "filled")


def upgrade(
    path: Path, data: str | None = None, report: Callable[[str, float], None] = lambda what, share: None
) -> RunFolder:
    """Convert a run of version 0.1 to the format of this version, and return the run.

    An interrupted upgrade goes on where it stopped.

    The networks stay unchanged. The run gets a copy of its dataset, one folder per member for all
    intensity measures, hashes of all files, and random effects fitted to the stored predictions.

    Parameters
    ----------
    path : Path
        Run folder.
    data : str, optional
        Dataset folder; by default the folder of the dataset on which the run was trained.
    report : callable
        Called with the name of the stage and the share of the stage that is done, 0 to 1.

    Returns
    -------
    RunFolder
        The run in the format of this version.

    Raises
    ------
    UsageError
        The folder is no run folder, the run is of this version already, or the dataset is not the one on
        which the run was trained.
    DataError
        A file of the run is damaged, or the file system refuses to write.
    """
    experiment, described = _read_description(path)
    dataset = _dataset(path, experiment, described, data)
    channels = select(dataset.layers or (), experiment.drop)
    # What is described is what the run was trained on; only the format is new.
    run = RunFolder(path, experiment, described["data"], channels)
    with held(path / "run"):
        refuse_held(path / MEMBERS)
        if not (path / DATA).is_dir():
            dataset.write(run.data_folder)
        folders = {
            folder.relative_to(path / MEMBERS).parts[1:] for folder in _old_folders(path, experiment)
        }
        for number, (arm, name) in enumerate(sorted(folders)):
            report("members", number / len(folders))
            _write_member(run, arm, name)
        beginning.describe(run)
        run.write_places(*batches.places(dataset, experiment))
        if (path / calibration.FILE).is_file():
            run.manifest.note(calibration.FILE)
        for im in experiment.ims:
            shutil.rmtree(path / MEMBERS / im, ignore_errors=True)
    report("members", 1.0)
    training = Training(run, dataset, make_folds(dataset, experiment))
    if any(training.folder(member).is_trained for member in training.members):
        report("terms of sites, events and paths", 0.0)
        with held(path / "run"):
            training.write_predictions()
    return run


def _read_description(path: Path) -> tuple[Experiment, dict]:
    """Read the description of a run of version 0.1; return experiment and content of the file."""
    if not (path / DESCRIPTION).is_file():
        raise UsageError(f"{path} is no run folder: name a run that version 0.1 made")
    try:
        content = files.read_json(path / DESCRIPTION)
        if content.get("format", 1) >= FORMAT:
            raise UsageError(f"run {path} is of this version already: nothing is to be done")
        return Experiment(**content["experiment"]), content
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / DESCRIPTION} is damaged ({reason(error)})") from error


def _dataset(path: Path, experiment: Experiment, described: dict, data: str | None) -> Dataset:
    """Read the dataset on which a run was trained; raise `UsageError` if the hash differs."""
    if data is None and (path / DATA).is_dir():
        data = str(path / DATA)
    try:
        dataset = simulated.open_dataset(data or experiment.data)
    except UsageError as error:
        raise UsageError(f"{error}; name the dataset of the run with --data FOLDER") from error
    if dataset.digest() != described["data"]["digest"]:
        raise UsageError(
            f"{data or experiment.data or 'the embedded simulated records'} is not what run {path} was "
            "trained on (data hash): name its dataset with --data FOLDER"
        )
    return dataset


def _old_folders(path: Path, experiment: Experiment) -> list[Path]:
    """Return the folders of trained members of version 0.1: one per intensity measure, arm and member.

    An arm is a set of input channels; a member is a network of one station chunk and initialisation.
    """
    folders = itertools.chain.from_iterable(
        (path / MEMBERS / im).glob("*/chunk-*_init-*") for im in experiment.ims
    )
    return [folder for folder in folders if (folder / DONE).is_file()]


def _write_member(run: RunFolder, arm: str, name: str) -> None:
    """Write the folder of one member from the folders of version 0.1, one per intensity measure."""
    target = MemberFolder(run.path / MEMBERS / arm / name)
    if target.is_trained and not target.damaged_files(run.fingerprint):
        return  # of an upgrade that was interrupted
    networks, trainings, tables, histories, done = {}, {}, [], [], {}
    with files.whole_folder(target.path, overwrite=True) as temporary:
        for im in run.experiment.ims:
            old = MemberFolder(run.path / MEMBERS / im / arm / name)
            if not old.is_trained:
                continue
            old.refuse_damaged()
            done = old.done()
            network = network_name(im, run.experiment.ims)
            shutil.copy2(old.path / _NETWORK, temporary / network)
            networks[network] = [im]
            trainings[im] = {key: done[key] for key in _TRAINING if key in done}
            tables.append(_read_predictions(old).assign(im=im))
            histories.append(pd.read_csv(old.path / HISTORY).assign(im=im))
        predictions.write(pd.concat(tables, ignore_index=True), temporary / target.predictions.name)
        pd.concat(histories).to_csv(temporary / HISTORY, index=False)
        files.write_json(
            temporary / DONE,
            {
                "seed": done["seed"],
                "seconds": done.get("seconds"),
                "networks": networks,
                "trainings": trainings,
                "run": run.fingerprint,
                "files": {path.name: files.sha256(path) for path in temporary.iterdir()},
            },
        )


def _read_predictions(folder: MemberFolder) -> pd.DataFrame:
    """Read the predictions table of a member of version 0.1; raise `DataError` if that fails."""
    try:
        return files.read_parquet(folder.predictions)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder.predictions} is missing or damaged: remove {folder.path}, upgrade, and give the "
            "tfgmm train command of the run again"
        ) from error
