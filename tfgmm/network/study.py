"""Plan and train the runs of a study: what is there, what it costs, and all members in one queue."""

import contextlib
import dataclasses
import functools
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tfgmm.core.errors import TfgmmError, UsageError, one_line
from tfgmm.core.lease import Lease
from tfgmm.data.dataset import Dataset
from tfgmm.network import member
from tfgmm.network.batches import Material
from tfgmm.network.training import (
    Report,
    Training,
    in_precision_of_run,
    refuse_unknown_chunks,
    seconds_of_training,
)
from tfgmm.runs import beginning
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import make_folds
from tfgmm.runs.run import DESCRIPTION, RunFolder

#: Bytes of the file of a network per weight: itself and two moments of the optimiser.
_WEIGHT = 12
#: Bytes of a record in the tables of a member and of the run together; bytes of a backbone; bytes of the
#: field of a chunk per record. All per intensity measure.
_RECORD, _BACKBONE, _FIELD = 135, 1_700_000, 1_100


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a study for this process while a block runs.

    Parameters
    ----------
    folder : Path
        Folder of the runs.

    Raises
    ------
    UsageError
        Another process is at work on the study.
    """
    lease = Lease(folder / "study")
    if not lease.take():
        raise UsageError(
            f"{folder}: {lease.owner} is at work on this study: wait until it is done, or end it"
        )
    try:
        yield
    finally:
        lease.release()


@dataclasses.dataclass(frozen=True)
class Plan:
    """State what a run of a study has and costs.

    Attributes
    ----------
    members, trained : int
        Number of members, and of those that are trained.
    seconds : float
        Time of one member, s.
    is_measured : bool
        True if `seconds` is the mean of the trained members; False if it is estimated from a few training
        steps on this machine.
    disk : int
        Estimated size of the finished run, bytes.
    """

    members: int
    trained: int
    seconds: float
    is_measured: bool
    disk: int


def plan(experiment: Experiment, folder: Path, dataset: Dataset, chunks: tuple[int, ...] | None) -> Plan:
    """Return what a run has and costs, without writing anything into its folder.

    Parameters
    ----------
    experiment : Experiment
        Description of the run.
    folder : Path
        Folder of the run, which may not exist yet.
    dataset : Dataset
        Records and site layers.
    chunks : tuple of int or None
        Chunks to train; None for all.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        The folder holds another run, or the experiment does not fit the data.
    DataError
        The data cannot be split into roles.
    """
    experiment, times = in_precision_of_run(experiment, folder), []
    refuse_unknown_chunks(experiment, chunks)
    places = [(c, i) for c in chunks or range(experiment.chunks) for i in range(experiment.inits)]
    if (folder / DESCRIPTION).is_file():
        existing = RunFolder.open(folder)
        beginning.refuse_other(RunFolder(folder, experiment, {"digest": dataset.digest()}, ()), existing)
        trained = [existing.member(*place) for place in places]
        times = [one.done()["seconds"] for one in trained if one.is_trained]
    # The backbone and the field take minutes to fit and change neither a training step nor the network.
    bare = experiment.model_copy(update={"backbone": "none", "field": False})
    fold = make_folds(dataset, experiment)[0]
    make_material = functools.cache(lambda: Material.of(dataset, bare, fold))
    seconds = sum(times) / len(times) if times else seconds_of_training(make_material)
    return Plan(len(places), len(times), seconds, bool(times), _size(experiment, make_material(), dataset))


def _size(experiment: Experiment, material: Material, dataset: Dataset) -> int:
    """Return the estimated size of a finished run, bytes."""
    members, measures = experiment.chunks * experiment.inits, len(experiment.ims)
    records = sum(len(table) for table in material.records.values())
    weights = member.build(material).count_params()
    size = members * (_WEIGHT * weights + _RECORD * records)
    if experiment.backbone != "none":
        size += _BACKBONE * measures * (members + experiment.chunks)
    if experiment.field:
        size += _FIELD * records * (experiment.chunks + 1)
    with tempfile.TemporaryDirectory() as scratch:
        dataset.write(Path(scratch) / "data")
        return size + sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())


def train_here(trainings: Mapping[str, Training], report: Report) -> tuple[list[str], list[str]]:
    """Train the missing members of runs one after the other in this process, and write their predictions.

    Parameters
    ----------
    trainings : dict of str to Training
        Trainings by the name of the run.
    report : callable
        Called with the name of a member and the share of its training that is done, 0 to 1.

    Returns
    -------
    left, failed : list of str
        As of `tfgmm.network.executors.train_all`.
    """
    left: list[str] = []
    failed: list[str] = []

    def tried(name: str, log: Path, call: Callable[[], str | list[str] | None]) -> bool:
        try:
            owner = call()
        except Exception as error:  # whatever it is, the other members are trained
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), "utf-8")
            kind = "" if isinstance(error, TfgmmError) else f"{type(error).__name__}: "
            failed.append(f"{name}: {kind}{one_line(error)} (log: {log})")
            return False
        log.unlink(missing_ok=True)
        if owner:
            left.append(f"{name}: {owner}")
        return not owner

    for run, training in trainings.items():
        try:
            missing = training.missing
        except TfgmmError as error:
            failed.append(f"{run}: {one_line(error)}")
            continue
        done = [
            tried(
                f"{run}: {one.name}",
                training.log(one),
                functools.partial(
                    training.train_member, one, lambda name, share, run=run: report(f"{run}: {name}", share)
                ),
            )
            for one in missing
        ]
        if all(done):
            tried(f"{run}: the end of the run", training.run.path / "finish.log", training.train)
    return left, failed
