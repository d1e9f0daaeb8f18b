"""Convert a run of version 0.1 to the format of this version."""

import dataclasses
import itertools
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, one_line
from tfgmm.core.lease import held, refuse_held
from tfgmm.data.dataset import DESCRIPTION as DATASET_DESCRIPTION
from tfgmm.data.dataset import Dataset
from tfgmm.network import batches
from tfgmm.network.channels import select
from tfgmm.network.training import Training
from tfgmm.runs import beginning, predictions
from tfgmm.runs.experiment import Experiment, reason
from tfgmm.runs.folds import make_folds
from tfgmm.runs.member_folder import DONE, HISTORY, NETWORK, MemberFolder, write_done
from tfgmm.runs.run import DATA, DESCRIPTION, FORMAT, MEMBERS, RunFolder, refuse_format
from tfgmm.simulation import simulated
from tfgmm.stats import calibration

_log = logging.getLogger(__name__)
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
    intensity measures, and hashes of all files.

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
        The folder is no run folder, the run is of this version already, it has random effects, which the
        field has replaced, or the dataset is not the one on which the run was trained.
    DataError
        A file of the run is damaged, or the file system refuses to write.
    """
    experiment, described = _read_description(path)
    if described.get("format") == FORMAT:  # interrupted just before its end
        _remove_old_folders(path, experiment)
        return RunFolder.open(path)
    dataset = _dataset(path, experiment, described, data)
    channels = select(dataset.layers or (), experiment.drop)
    # What is described is what the run was trained on; only the format is new.
    run = RunFolder(path, experiment, described["data"], channels)
    with held(path / "run"):
        refuse_held(path / MEMBERS)
        beginning.copy_dataset(run, dataset)
        folders = {
            folder.relative_to(path / MEMBERS).parts[1:] for folder in _old_folders(path, experiment)
        }
        for number, (arm, name) in enumerate(sorted(folders)):
            report("members", number / len(folders))
            _write_member(run, arm, name)
        report("members", 1.0)
        run.write_places(*batches.places(dataset, experiment))
        if (path / calibration.FILE).is_file():
            run.manifest.note(calibration.FILE)
        training = Training(run, dataset, make_folds(dataset, experiment))
        if any(training.folder(member).is_trained for member in training.members):
            report("table of predictions", 0.0)
            _gather_predictions(training)
        # Until here the run is one of version 0.1, whose upgrade begins again.
        beginning.describe(run)
        _remove_old_folders(path, experiment)
    return run


def _gather_predictions(training: Training) -> None:
    """Write the predictions table; where members lack, leave it to the training that makes them."""
    try:
        training.gather_predictions()
    except DataError as error:
        training.run.predictions.unlink(missing_ok=True)
        _log.warning("%s: give the tfgmm train command of %s again", error, training.run.path)


def _remove_old_folders(path: Path, experiment: Experiment) -> None:
    """Remove the folders of members as version 0.1 laid them out."""
    for im in experiment.ims:
        shutil.rmtree(path / MEMBERS / im, ignore_errors=True)


def _read_description(path: Path) -> tuple[Experiment, dict]:
    """Read the description of a run of version 0.1; return experiment and content of the file."""
    if not (path / DESCRIPTION).is_file():
        raise UsageError(f"{path} is no run folder: name a run that version 0.1 made")
    try:
        content = files.read_json(path / DESCRIPTION)
        experiment, _ = _converted(content["experiment"]), content["data"]["digest"]
        if content.get("format", 1) > FORMAT:
            refuse_format(path, content)
        old_folders = [im for im in experiment.ims if (path / MEMBERS / im).is_dir()]
        if content.get("format") == FORMAT and not old_folders:
            raise UsageError(f"run {path} is of this version already: nothing is to be done")
        return experiment, content
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / DESCRIPTION} is damaged ({reason(error)})") from error


def _converted(settings: dict) -> Experiment:
    """Return the settings of version 0.1 as those of this version.

    The target ``residual``, ln IM minus an ergodic regression, is the backbone ``ergodic`` now. Networks
    trained by version 0.1 hold the regression themselves.
    """
    settings, training = dict(settings), dict(settings["training"])
    if settings.pop("random_effects", "none") != "none":
        raise UsageError(
            "the run has random effects, which the field has replaced: train it again, or keep version 0.1 "
            "for it"
        )
    backbone = "ergodic" if training.pop("target", "im") == "residual" else "none"
    return Experiment(**{"backbone": backbone} | settings | {"training": training})


def _dataset(path: Path, experiment: Experiment, described: dict, data: str | None) -> Dataset:
    """Read the dataset on which a run was trained; raise `UsageError` if the hash differs."""
    if data is None and (path / DATA / DATASET_DESCRIPTION).is_file():
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
    parts = [
        _read_member(run.path / MEMBERS / im / arm / name, im)
        for im in run.experiment.ims
        if (run.path / MEMBERS / im / arm / name / DONE).is_file()
    ]
    is_one = len(run.experiment.ims) == 1
    networks = {NETWORK if is_one else f"model_{part.im}.keras": part for part in parts}
    with files.whole_folder(target.path, overwrite=True) as temporary:
        for network, part in networks.items():
            shutil.copy2(part.network, temporary / network)
        table = pd.concat([part.predictions for part in parts], ignore_index=True)
        predictions.write(table, temporary / target.predictions.name)
        pd.concat([part.history for part in parts]).to_csv(temporary / HISTORY, index=False)
        facts = {
            "seed": parts[0].done["seed"],
            "seconds": sum(part.done.get("seconds", 0.0) for part in parts),
            "networks": {network: [part.im] for network, part in networks.items()},
            "trainings": {
                network: {key: part.done[key] for key in _TRAINING if key in part.done}
                for network, part in networks.items()
            },
            "run": run.fingerprint,
        }
        write_done(temporary, facts)


@dataclasses.dataclass(frozen=True)
class _OldMember:
    """A trained member of version 0.1: one network, of one intensity measure."""

    im: str
    done: dict
    network: Path
    history: pd.DataFrame
    predictions: pd.DataFrame


def _read_member(path: Path, im: str) -> _OldMember:
    """Read the folder of a member of version 0.1; raise `DataError` if a file is missing or damaged."""
    folder = MemberFolder(path)
    try:
        done = files.read_json(path / DONE)
        damaged = [name for name in folder.damaged_files() if name != DONE]
        with zipfile.ZipFile(path / _NETWORK) as network:
            if "seed" not in done or damaged or network.testzip():
                raise ValueError(", ".join(damaged) or f"{_NETWORK} or {DONE}")
        return _OldMember(
            im=im,
            done=done,
            network=path / _NETWORK,
            history=pd.read_csv(path / HISTORY).assign(im=im),
            predictions=files.read_parquet(folder.predictions).assign(im=im, backbone=0.0),
        )
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not whole ({one_line(error)}): remove this folder, upgrade, and give the "
            "tfgmm train command of the run again"
        ) from error
