"""Train the missing members of a run, estimate the cost, and write the predictions table.

A member is one trained network of a station chunk, whose sites are held out, and an initialisation. An arm
is a set of input channels, with or without turned maps, on which the members are trained; a run has its own
arm, and may hold further arms for comparison.
"""

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.lease import DURATION_S, Lease, held
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import (
    MEMBER,
    RECORD,
    SITE_XY,
    SOURCE_XY,
    UNSEEN,
    training_records,
)
from tfgmm.network import backbones, batches, combination, fields, preparation, refit
from tfgmm.network.batches import Material
from tfgmm.network.channels import select
from tfgmm.network.member import compiled, remove_work, restore_predictions, work_folder
from tfgmm.network.member import train as train_member
from tfgmm.network.preparation import Preparation
from tfgmm.runs import beginning, predictions
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold, make_folds
from tfgmm.runs.member_folder import MemberFolder
from tfgmm.runs.predictions import PREDICTIONS
from tfgmm.runs.run import DATA, DESCRIPTION, SHRINKAGE, RunFolder, conditioned_file
from tfgmm.simulation import simulated
from tfgmm.stats.backbone import Backbone
from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import Covariance

_log = logging.getLogger(__name__)

#: Time, in s, within which a process on this machine ends after the process that started it was killed.
_HANDOVER_S = 10.0
#: Function that receives the name of a member and the share of the training that is done, 0 to 1.
Report = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of a run, named by station chunk and initialisation.

    Attributes
    ----------
    chunk, init : int
        Numbers of the station chunk and of the initialisation, from 0.
    """

    chunk: int
    init: int

    @property
    def name(self) -> str:
        """Return the name of the member for messages, ``chunk C init I``."""
        return f"chunk {self.chunk} init {self.init}"


class Training:
    """The training of the members of a run in one arm.

    A member is one trained network of a station chunk, whose sites are held out, and an initialisation. An
    arm is a set of input channels.

    Parameters
    ----------
    run : RunFolder
        The run, into which the members are written.
    dataset : Dataset
        Records and site layers of the run.
    folds : list of Fold
        Roles of events and stations, one fold per chunk.
    chunks : tuple of int, optional
        Chunks to train; all by default.
    experiment : Experiment, optional
        Description of another arm, for example from `Experiment.without_site`; the run's own arm by
        default.
    """

    def __init__(
        self,
        run: RunFolder,
        dataset: Dataset,
        folds: list[Fold],
        chunks: tuple[int, ...] | None = None,
        *,
        experiment: Experiment | None = None,
    ) -> None:
        self.run, self.dataset, self.folds = run, dataset, folds
        self.chunks = tuple(range(run.experiment.chunks)) if chunks is None else chunks
        self.experiment = experiment or run.experiment
        self._preparations: dict[int, Preparation] = {}

    def arm(self, experiment: Experiment) -> "Training":
        """Return the training of another arm, in the same run and folds.

        Parameters
        ----------
        experiment : Experiment
            Description of the arm.

        Returns
        -------
        Training
        """
        return Training(self.run, self.dataset, self.folds, self.chunks, experiment=experiment)

    @property
    def members(self) -> list[Member]:
        """Return the members, (chunk, init), of the chunks to train, in the order of training."""
        return list(itertools.starmap(Member, itertools.product(self.chunks, range(self.experiment.inits))))

    def folder(self, member: Member) -> MemberFolder:
        """Return the folder of a member's results in the run.

        Parameters
        ----------
        member : Member
            Station chunk and initialisation.

        Returns
        -------
        MemberFolder
        """
        return self.run.member(member.chunk, member.init, self.experiment.arm)

    def log(self, member: Member) -> Path:
        """Return the path of the file of messages of a member's training, beside its folder.

        Parameters
        ----------
        member : Member
            Station chunk and initialisation.

        Returns
        -------
        Path
        """
        folder = self.folder(member).path
        return folder.with_name(f"{folder.name}.log")

    @property
    def missing(self) -> list[Member]:
        """Return the members that are not trained for all intensity measures or have damaged files."""
        return [m for m in self.members if m in self.damaged or not self._has_all_measures(m)]

    @property
    def is_finished(self) -> bool:
        """Return True if the run has all its members and undamaged tables; False for all other arms."""
        if self.missing or self.experiment.arm != self.run.experiment.arm:
            return False
        wanted, manifest = {(one.chunk, one.init) for one in self.members}, self.run.manifest
        try:
            files.refuse_changed(self.run.path, manifest.hashes(), "")
            return PREDICTIONS in manifest.hashes() and all(
                wanted <= {*manifest.members(im)} for im in self.experiment.ims
            )
        except DataError:
            return False

    def _has_all_measures(self, member: Member) -> bool:
        """Return True if a member is trained for all intensity measures."""
        return set(self.experiment.ims) <= set(self.folder(member).ims())

    @functools.cached_property
    def damaged(self) -> dict[Member, list[str]]:
        """Return the names of the damaged files of each trained member that has any; log each member once.

        Work folders and leases that a killed process left for an undamaged member are removed.
        """
        damaged = {}
        for member in self.members:
            folder = self.folder(member)
            files.finish_moves(folder.path)
            if not folder.is_trained:
                continue
            names = folder.damaged_files(self.run.fingerprint)
            if names:
                damaged[member] = names
                _log.warning("%s: %s damaged, it is made anew", member.name, ", ".join(names))
            elif work_folder(folder.path).exists() or Lease(folder.path).path.exists():
                self._remove_leftovers(folder)
        return damaged

    def _remove_leftovers(self, folder: MemberFolder) -> None:
        """Remove what a process that was killed just before its end left of trained networks."""
        lease = Lease(folder.path)
        if lease.take():
            try:
                remove_work(folder.path)
            finally:
                lease.release()

    def material(self, member: Member) -> Material:
        """Return the records and makers of input maps of a member's chunk.

        Parameters
        ----------
        member : Member
            The member.

        Returns
        -------
        Material

        Raises
        ------
        UsageError, DataError
            As for `prepare` and `Material.of`.
        """
        shared, fold = self.prepare(member.chunk), self.folds[member.chunk]
        return Material.of(self.dataset, self.experiment, fold, shared.backbones, unseen=shared.unseen)

    def _restore_predictions(self, member: Member) -> None:
        """Predict all records again with the networks of a member and the backbones they were trained on.

        A network of version 0.1 has no file of a backbone: it holds its regression itself.
        """
        folder = self.folder(member)
        paths = {im: folder.backbone(im) for im in folder.ims()}
        backbones = {im: Backbone.load(path) for im, path in paths.items() if path is not None}
        predicted = self.experiment.model_copy(update={"ims": tuple(paths)})
        material = Material.of(self.dataset, predicted, self.folds[member.chunk], backbones)
        restore_predictions(material, folder, member.chunk, member.init)

    def prepare(self, chunk: int) -> Preparation:
        """Return what the members of a chunk share; fit it and write it into the run if it is not there.

        Parameters
        ----------
        chunk : int
            Number of the station chunk, from 0.

        Returns
        -------
        Preparation

        Raises
        ------
        UsageError, DataError
            As for `tfgmm.network.preparation.prepare`.
        """
        if chunk not in self._preparations:
            fold = self.folds[chunk]
            folder = preparation.prepare(self.run, self.dataset, self.experiment, fold, chunk)
            self._preparations[chunk] = Preparation.read(folder, self.experiment)
        return self._preparations[chunk]

    def seconds_per_member(self, trials: int = 3) -> float:
        """Measure a few training steps, and return the time that the training of one member takes, s.

        Parameters
        ----------
        trials : int
            Number of steps that are measured.

        Returns
        -------
        float
            Time of training, without an early stop, and prediction, s.
        """
        first = self.missing[0]
        self.prepare(first.chunk)  # once for all members of the chunk
        return seconds_of_training(lambda: self.material(first), trials)

    def train(self, report: Report = lambda name, share: None) -> list[str]:
        """Train the missing members and write the predictions; return members left to other processes.

        Members that other processes are training are left to these processes. In this case the process that
        ends last writes the predictions table.

        Parameters
        ----------
        report : callable
            Called with a member's name and the share of its training that is done, 0 to 1.

        Returns
        -------
        list of str
            One text ``member: process`` per member that was left to another process.

        Raises
        ------
        UsageError, DataError
            As for `materials` and `tfgmm.network.member.train`; or the run was replaced meanwhile.
        """
        leases = {member: Lease(self.folder(member).path) for member in self.missing}
        for patience_s in (0.0, 0.0, DURATION_S):
            for member in list(leases):
                # A process on another machine counts as dead only after a while.
                if leases[member].take(patience_s if leases[member].is_remote else 0.0):
                    self._train_leased(member, leases.pop(member), report)
        if leases:
            return [f"{member.name}: {lease.owner}" for member, lease in leases.items()]
        with held(self.run.path / "run"):
            self.write_predictions()
        return []

    def train_member(self, member: Member, report: Report = lambda name, share: None) -> str | None:
        """Train one member, if it is missing, without writing the predictions of the run.

        Parameters
        ----------
        member : Member
            Station chunk and initialisation.
        report : callable
            Called with the member's name and the share of its training that is done, 0 to 1.

        Returns
        -------
        str or None
            The process that is training the member at present, to which the member is left.

        Raises
        ------
        UsageError, DataError
            As for `material` and `tfgmm.network.member.train`; or the run was replaced meanwhile.
        """
        if member not in self.missing:
            return None
        lease = Lease(self.folder(member).path)
        if not lease.take(DURATION_S if lease.is_remote else _HANDOVER_S):
            return lease.owner
        self._train_leased(member, lease, report)
        return None

    def is_prepared(self, chunk: int) -> bool:
        """Return True if what the members of a chunk share is in the run.

        Parameters
        ----------
        chunk : int
            Number of the station chunk, from 0.

        Returns
        -------
        bool
        """
        return preparation.is_prepared(self.run.chunk(chunk, self.experiment.arm), self.run.fingerprint)

    def _train_leased(self, member: Member, lease: Lease, report: Report) -> None:
        """Train a member, or restore its damaged predictions table, and release the lease of the member.

        A lease is a lock file by which one process at a time trains a member.
        """
        folder, place = self.folder(member), (member.chunk, member.init)
        fingerprint = self.run.fingerprint

        def watched(share: float) -> None:
            lease.refuse_lost()
            report(member.name, share)

        try:
            self.run.refuse_replaced()
            damaged = self.damaged.pop(member, None)
            if damaged == [PREDICTIONS]:
                self._restore_predictions(member)
            # Another process may have trained the member meanwhile.
            if folder.damaged_files(fingerprint) or not self._has_all_measures(member):
                train_member(self.material(member), folder, *place, watched, fingerprint=fingerprint)
            else:
                report(member.name, 1.0)
        finally:
            lease.release()

    def write_predictions(self) -> None:
        """Write the predictions table of the trained members of all arms, and backbones and fields.

        Raises
        ------
        DataError
            A member of the run's own arm is damaged, the field cannot be fitted, or the file
            system refuses to write.
        """
        self.run.refuse_replaced()
        self.gather_predictions()

    def gather_predictions(self) -> None:
        """Write the predictions table as `write_predictions` does, without a look at the description."""
        run, arm_of_run = self.run, self.run.experiment.arm
        predictions_of_members = self._members_predictions()
        tables, names, shrinkages = {}, [PREDICTIONS], {}
        located = self._with_positions(predictions_of_members)
        for arm, of_arm in located.groupby("arm", observed=True, sort=False):
            try:
                parts, of_fields = self._with_parts(of_arm, str(arm))
            except (DataError, UsageError) as error:
                if arm == arm_of_run:
                    raise
                _log.warning("%s: arm %s is left out", error, arm)
                continue
            of_measures, combined = combination.combine(parts)
            tables |= {(im, arm): table for im, table in combined.items()}
            if arm == arm_of_run:
                names += of_fields
                shrinkages = {im: dataclasses.asdict(one) for im, one in of_measures.items()}
        # By intensity measure first: sums over rows depend on their order.
        in_order = [tables[key] for im in run.experiment.ims for key in tables if key[0] == im]
        table = pd.concat(in_order, ignore_index=True)
        unused = [*SOURCE_XY, *SITE_XY, *UNSEEN]
        with files.whole_file(run.predictions) as temporary:
            predictions.write(table.drop(columns=unused, errors="ignore"), temporary)
        if shrinkages:
            with files.whole_file(run.path / SHRINKAGE) as temporary:
                files.write_json(temporary, shrinkages)
            names.append(SHRINKAGE)
        of_run = predictions_of_members[predictions_of_members["arm"] == arm_of_run]
        by_im = of_run[["im", *MEMBER]].drop_duplicates().groupby("im")
        run.manifest.note(*names, members={im: rows[MEMBER].to_numpy().tolist() for im, rows in by_im})
        refit.restore(run, self.dataset)

    def _with_parts(self, of_arm: pd.DataFrame, arm: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
        """Return the predictions of an arm with support and terms by measure, and names of written fields.

        The fields of the run's own arm are written; none is kept, for all of them would fill the memory.
        """
        parts, names = {}, []
        covariances = self._covariances(of_arm["chunk"].unique(), arm) if self.run.experiment.field else {}
        for im, rows in of_arm.groupby("im", observed=True, sort=False):
            by_chunk = {
                int(chunk): fields.condition(_training_records(of_chunk), covariances[chunk][str(im)])
                for chunk, of_chunk in rows.groupby("chunk", observed=True)
                if covariances
            }
            of_members = self._with_unseen(rows, str(im), arm) if by_chunk else rows
            parts[str(im)] = combination.with_parts(of_members.reset_index(drop=True), by_chunk)
            if arm == self.run.experiment.arm:
                names += [self._write_field(field, str(im), chunk) for chunk, field in by_chunk.items()]
        return parts, names

    def _covariances(self, chunks: Iterable[int], arm: str) -> dict[int, dict[str, Covariance]]:
        """Return the covariances of the field by chunk of an arm, and by measure.

        Chunks whose preparation is lost, or was made before it kept them, are prepared anew.
        """
        of_arm = self if arm == self.experiment.arm else self.arm(self.run.experiment.of_arm(arm))
        for chunk in chunks:
            of_arm.prepare(int(chunk))
        return {chunk: preparation.read_covariances(self.run.chunk(int(chunk), arm)) for chunk in chunks}

    def _members_predictions(self) -> pd.DataFrame:
        """Return the predictions tables of the trained members of all arms in one table."""
        run, experiment = self.run, self.run.experiment
        places = list(itertools.product(range(experiment.chunks), range(experiment.inits)))
        tables = [
            self._read_predictions(run.member(*place, arm), arm) for arm in run.arms() for place in places
        ]
        # By intensity measure first: sums over rows depend on their order.
        return pd.concat(
            [table[table["im"] == im] for im in experiment.ims for table in tables if len(table)],
            ignore_index=True,
        )

    def _with_unseen(self, rows: pd.DataFrame, im: str, arm: str) -> pd.DataFrame:
        """Return predictions with what the field tells of stopping records without those of their time."""
        records = batches.flat_table(self.dataset, self.run.experiment, im)[RECORD].astype(str)
        parts = []
        for chunk in rows["chunk"].unique():
            unseen = preparation.read_unseen(self.run.chunk(int(chunk), arm), im)
            parts.append(records.join(unseen, how="inner").assign(chunk=chunk))
        return rows.merge(pd.concat(parts), on=["chunk", *RECORD], how="left")

    def _with_positions(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return predictions with the positions of their events and stations, km."""
        events, stations = batches.places(self.dataset, self.experiment)
        located = table.merge(events[["event_id", *SOURCE_XY]], on="event_id", how="left")
        return located.merge(stations[["station_id", *SITE_XY]], on="station_id", how="left")

    def _write_field(self, field: Field, im: str, chunk: int) -> str:
        """Write the field of a chunk into the run folder, and return the name of the file in it."""
        name = conditioned_file("field", im, chunk)
        (self.run.path / name).parent.mkdir(exist_ok=True)
        field.save(self.run.path / name)
        return name

    def _read_predictions(self, folder: MemberFolder, arm: str) -> pd.DataFrame:
        """Read the predictions table of a member, empty if the member is not trained.

        A damaged member of the training's arm raises `DataError`; of another arm it is logged and left out.
        """
        if not folder.is_trained:
            return pd.DataFrame()
        try:
            folder.refuse_damaged()
        except DataError as error:
            if arm == self.experiment.arm:
                raise
            _log.warning("%s", error)
            return pd.DataFrame()
        return predictions.read(folder.predictions)


def seconds_of_training(make_material: Callable[[], Material], trials: int = 3) -> float:
    """Measure a few training steps, and return the time that the training of one member takes, s.

    Parameters
    ----------
    make_material : callable
        Function that returns the records and the makers of input maps of the member.
    trials : int
        Number of steps that are measured.

    Returns
    -------
    float
        Time of training, without an early stop, and prediction, s.
    """
    begun = time.monotonic()
    material = make_material()
    settings = material.experiment.training
    model = compiled(material, seed=0)
    examples = batches.training_batches(
        material.training, material.moving, settings.batch_size, range(1), 0, turns=settings.turns
    )
    batch = next(iter(examples))
    model.train_on_batch(*batch)
    started = time.monotonic()
    for _ in range(trials):
        model.train_on_batch(*batch)
    step = (time.monotonic() - started) / trials
    # A forward pass is a third of a training step; stopping and predicting are built as well.
    epoch = material.steps + len(material.stopping) / settings.batch_size / 3
    final = len(material.scored) / settings.batch_size / 3
    return 2 * (started - begun) + step * (material.epochs * epoch + final)


def _training_records(predictions_of_chunk: pd.DataFrame) -> pd.DataFrame:
    """Return the training records of a chunk, each once, from the predictions of all its members."""
    first = predictions_of_chunk["init"].iloc[0]
    return training_records(predictions_of_chunk[predictions_of_chunk["init"] == first])


def reopen(run: RunFolder) -> Training:
    """Return the training of an existing run, on the run's own copy of the data.

    Parameters
    ----------
    run : RunFolder
        An existing run.

    Returns
    -------
    Training
        All chunks and intensity measures of the run's own arm.

    Raises
    ------
    DataError
        The copy of the data is missing or damaged.
    """
    dataset = run.dataset()
    return Training(run, dataset, make_folds(dataset, run.experiment))


def in_precision_of_run(experiment: Experiment, folder: Path) -> Experiment:
    """Return the experiment with ``auto`` replaced by the number format of the run or this machine.

    The format of an existing run has precedence.

    Parameters
    ----------
    experiment : Experiment
        Description of a run.
    folder : Path
        Folder of the run, which may not exist yet.

    Returns
    -------
    Experiment
    """
    if experiment.network.precision == "auto" and (folder / DESCRIPTION).is_file():
        return experiment.computed_in(RunFolder.open(folder).experiment.network.precision)
    return batches.resolved(experiment)


def _dataset(experiment: Experiment, folder: Path, overwrite: bool) -> Dataset:
    """Read the dataset, or the run's copy if an existing run goes on and the dataset is gone."""
    try:
        return simulated.open_dataset(experiment.data)
    except UsageError:
        if overwrite or not (folder / DATA).is_dir():
            raise
    _log.warning("%s is gone: the run goes on with its own copy of the data", experiment.data)
    return RunFolder.open(folder).dataset()


def refuse_unknown_chunks(experiment: Experiment, chunks: tuple[int, ...] | None) -> None:
    """Raise `UsageError` if a run has no such chunk; None are all chunks."""
    unknown = set(chunks or ()) - set(range(experiment.chunks))
    if unknown:
        raise UsageError(f"no chunk {min(unknown)}: the run has chunks 0 to {experiment.chunks - 1}")


def begin(
    experiment: Experiment,
    folder: Path,
    overwrite: bool = False,
    chunks: tuple[int, ...] | None = None,
    dataset: Dataset | None = None,
) -> Training:
    """Begin a run, or open an existing run of the same settings to go on; return its training.

    Parameters
    ----------
    experiment : Experiment
        Description of the run.
    folder : Path
        Folder of the run.
    overwrite : bool
        Replace an existing run instead of going on with it.
    chunks : tuple of int, optional
        Chunks to train now; all by default.
    dataset : Dataset, optional
        Records and site layers; by default the dataset in the folder that the experiment names.

    Returns
    -------
    Training

    Raises
    ------
    UsageError
        The folder holds another run, the experiment does not fit the data, or there is no such chunk.
    DataError
        The data cannot be read or split into roles.
    """
    experiment = batches.resolved(experiment) if overwrite else in_precision_of_run(experiment, folder)
    if dataset is None:
        dataset = _dataset(experiment, folder, overwrite)
    folds = make_folds(dataset, experiment)
    Material.of(dataset, experiment, folds[0])  # raises an error before a folder is made
    backbones.check(experiment)
    refuse_unknown_chunks(experiment, chunks)
    channels = select(dataset.layers or (), experiment.drop)
    run = beginning.begin(folder, experiment, dataset, overwrite, channels=channels)
    with held(run.path / "run"):
        run.write_places(*batches.places(dataset, experiment))
    return Training(run, dataset, folds, chunks)
