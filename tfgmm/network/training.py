"""Train all members of a run: what is missing, what it will cost, the predictions table."""

import dataclasses
import functools
import itertools
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.lease import DURATION_S, Lease, held
from tfgmm.data.dataset import Dataset
from tfgmm.network import batches as data_pipeline
from tfgmm.network import device, member
from tfgmm.network.channels import select
from tfgmm.runs import run_folder
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold, make_folds
from tfgmm.runs.run_folder import RunFolder
from tfgmm.simulation import simulated
from tfgmm.stats import random_effects, within_event
from tfgmm.stats.random_effects import RandomEffects

_log = logging.getLogger(__name__)

#: Receives the name of a member and the share of its training that is done.
Report = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True)
class Member:
    """One member to train."""

    im: str
    chunk: int
    init: int

    @property
    def name(self) -> str:
        """As in its folder's name."""
        return f"{self.im} chunk {self.chunk} init {self.init}"


class Training:
    """The members of a run.

    Parameters
    ----------
    run : RunFolder
    dataset : Dataset
    folds : list of Fold
    chunks : tuple of int, optional
        Train only these chunks; all by default.
    experiment : Experiment, optional
        Another arm than the run's own, as of `Experiment.without_site`.
    """

    def __init__(
        self,
        run: RunFolder,
        dataset: Dataset,
        folds: list[Fold],
        chunks: tuple[int, ...] | None = None,
        experiment: Experiment | None = None,
    ) -> None:
        self.run, self.dataset, self.folds = run, dataset, folds
        self.chunks = tuple(range(run.experiment.chunks)) if chunks is None else chunks
        self.experiment = experiment or run.experiment

    def arm(self, experiment: Experiment) -> "Training":
        """The training of another arm into the same run, on the same folds."""
        return Training(self.run, self.dataset, self.folds, self.chunks, experiment)

    @property
    def members(self) -> list[Member]:
        """The members of the chosen chunks, in the order of training."""
        return self._members(self.chunks)

    def _members(self, chunks: Iterable[int]) -> list[Member]:
        indices = itertools.product(self.experiment.ims, chunks, range(self.experiment.inits))
        return list(itertools.starmap(Member, indices))

    def folder(self, one: Member) -> Path:
        """Where a member's results stand."""
        return self.run.member(one.im, one.chunk, one.init, self.experiment.arm)

    @property
    def missing(self) -> list[Member]:
        """Members that are not trained yet, or whose files are damaged."""
        return [
            one
            for one in self.members
            if one in self.damaged or not (self.folder(one) / run_folder.DONE).is_file()
        ]

    @functools.cached_property
    def damaged(self) -> dict[Member, list[str]]:
        """Trained members of which files are damaged, with the names of these; each is logged once."""
        damaged = {}
        for one in self.members:
            folder = self.folder(one)
            files.finish_moves(folder)
            if not (folder / run_folder.DONE).is_file():
                continue
            names = run_folder.damaged_files(folder, self.run.fingerprint)
            if names:
                damaged[one] = names
                _log.warning("%s: %s damaged, it is made anew", one.name, ", ".join(names))
            else:  # what was left by a kill just before its end
                shutil.rmtree(member.work_folder(folder), ignore_errors=True)
                lease = Lease(folder)
                if lease.path.exists() and lease.take():
                    lease.release()
        return damaged

    def material(self, one: Member) -> member.Material:
        """Records and maps of a member."""
        return member.Material.of(self.dataset, self.experiment, one.im, self.folds[one.chunk])

    def seconds_per_member(self, trials: int = 3) -> float:
        """Time that a member takes if it uses all its epochs, from a few measured steps."""
        begun = time.monotonic()
        material = self.material(self.missing[0])
        settings = self.experiment.training
        model = member.compiled(material, seed=0)
        batches = data_pipeline.training_batches(
            material.training, material.moving, settings.batch_size, range(1), 0, turns=settings.turns
        )
        batch = next(iter(batches))
        model.train_on_batch(*batch)
        started = time.monotonic()
        for _ in range(trials):
            model.train_on_batch(*batch)
        step = (time.monotonic() - started) / trials
        # A forward pass is a third of a training step; stopping and predicting are built as well.
        epoch = material.steps + len(material.stopping) / settings.batch_size / 3
        final = len(material.scored) / settings.batch_size / 3
        return 2 * (started - begun) + step * (material.epochs * epoch + final)

    def train(self, report: Report = lambda name, share: None) -> list[str]:
        """Train what is missing, then write the predictions table.

        Members that other processes are training are left to them, and so is the table then: the
        process that ends last writes it.

        Parameters
        ----------
        report : callable
            Called with a member's name and the share of its training that is done.

        Returns
        -------
        list of str
            Members that were left to other processes, and to which.
        """
        leases = {one: Lease(self.folder(one)) for one in self.missing}
        for patience_s in (0.0, 0.0, DURATION_S):
            for one in list(leases):
                # Of a process on another machine it takes a while to see that it is dead.
                if leases[one].take(patience_s if leases[one].is_remote else 0.0):
                    self._train_leased(one, leases.pop(one), report)
        if leases:
            return [f"{one.name}: {lease.owner}" for one, lease in leases.items()]
        with held(self.run.path / "run"):
            self.write_predictions()
        return []

    def _train_leased(self, one: Member, lease: Lease, report: Report) -> None:
        folder = self.folder(one)

        def watched(share: float) -> None:
            lease.refuse_lost()
            report(one.name, share)

        try:
            self.run.refuse_replaced()
            damaged = self.damaged.pop(one, None)
            if damaged is None and not run_folder.damaged_files(folder, self.run.fingerprint):
                report(one.name, 1.0)  # another process has trained it meanwhile, of this very run
            elif damaged == [run_folder.PREDICTIONS]:
                member.restore_predictions(self.material(one), folder, one.chunk, one.init)
                report(one.name, 1.0)
            else:
                place = one.chunk, one.init
                member.train(self.material(one), folder, *place, watched, fingerprint=self.run.fingerprint)
        finally:
            lease.release()

    def write_predictions(self) -> None:
        """Gather the predictions of the trained members of all arms, estimate random effects."""
        run, experiment = self.run, self.run.experiment
        run.refuse_replaced()
        tables = [
            self._read_predictions(run.member(im, chunk, init, arm), arm).assign(im=im)
            for im in experiment.ims
            for arm in run.arms(im)
            for chunk, init in itertools.product(range(experiment.chunks), range(experiment.inits))
            if (run.member(im, chunk, init, arm) / run_folder.DONE).is_file()
        ]
        together = pd.concat(tables, ignore_index=True)
        if experiment.random_effects != "none":
            together = self._with_random_effects(together)
        with files.whole_file(self.run.predictions) as temporary:
            files.write_parquet(together, temporary)
        names = [run_folder.PREDICTIONS]
        names += random_effects.FILES if experiment.random_effects != "none" else []
        own = together.loc[together["arm"] == experiment.arm, ["im", "chunk", "init"]].drop_duplicates()
        members = {im: rows[["chunk", "init"]].to_numpy().tolist() for im, rows in own.groupby("im")}
        run.note(*names, members=members)

    def _read_predictions(self, folder: Path, arm: str) -> pd.DataFrame:
        """Read a member's table; one of another arm that is damaged is left out, and logged."""
        try:
            run_folder.refuse_damaged(folder)
        except DataError as error:
            if arm == self.experiment.arm:
                raise
            _log.warning("%s", error)
            return pd.DataFrame()
        return files.read_parquet(folder / run_folder.PREDICTIONS)

    def _with_random_effects(self, table: pd.DataFrame) -> pd.DataFrame:
        """Those of every arm; the run's own ones are kept for predicting."""
        own, parts = {}, []
        events, stations = data_pipeline.places(self.dataset, self.experiment)
        sources, sites = ["event_x_km", "event_y_km"], ["x_km", "y_km"]
        for (im, arm), rows in table.groupby(["im", "arm"], observed=True):
            located = rows.merge(stations[["station_id", *sites]], on="station_id", how="left")
            located = located.merge(events[["event_id", *sources]], on="event_id", how="left")
            effects = RandomEffects.fit(located, self.run.experiment.reference)
            mixed = within_event.conditioned(effects.apply(located))
            parts.append(mixed.drop(columns=[*sources, *sites]))
            if arm == self.run.experiment.arm:
                own[str(im)] = effects
        random_effects.write(own, self.run.path)
        return pd.concat(parts)


def reopen(run: RunFolder) -> Training:
    """Reopen the training of an existing run, on its own copy of the data.

    Raises
    ------
    UsageError
        The run was made by an earlier version.
    DataError
        The copy is damaged.
    """
    dataset = run.dataset()
    return Training(run, dataset, make_folds(dataset, run.experiment))


def _in_precision_of_run(experiment: Experiment, folder: Path) -> Experiment:
    """Replace a precision of ``auto`` by that of the run to go on with, else of this machine's device."""
    if experiment.network.precision == "auto" and (folder / run_folder.DESCRIPTION).is_file():
        return experiment.computed_in(RunFolder.open(folder).experiment.network.precision)
    return device.resolved(experiment)


def _dataset(experiment: Experiment, folder: Path, overwrite: bool) -> Dataset:
    """Read the dataset, or the run's own copy where a run goes on whose dataset is gone."""
    try:
        return simulated.open_dataset(experiment.data)
    except UsageError:
        if overwrite or not (folder / run_folder.DATA).is_dir():
            raise
    _log.warning("%s is gone: the run goes on with its own copy of the data", experiment.data)
    return RunFolder.open(folder).dataset()


def begin(
    experiment: Experiment,
    folder: Path,
    overwrite: bool = False,
    chunks: tuple[int, ...] | None = None,
    dataset: Dataset | None = None,
) -> Training:
    """Begin a run, or go on with it; `chunks` chooses which are trained now.

    The records are those of `dataset`, else of the folder that the experiment names.

    Raises
    ------
    UsageError
        The folder holds another run, or the experiment does not fit the data.
    DataError
        The data cannot be read or split.
    """
    experiment = device.resolved(experiment) if overwrite else _in_precision_of_run(experiment, folder)
    if dataset is None:
        dataset = _dataset(experiment, folder, overwrite)
    folds = make_folds(dataset, experiment)
    for im in experiment.ims:  # whatever does not fit shows before a folder is made
        member.Material.of(dataset, experiment, im, folds[0])
    unknown = set(chunks or ()) - set(range(experiment.chunks))
    if unknown:
        raise UsageError(f"no chunk {min(unknown)}: the run has chunks 0 to {experiment.chunks - 1}")
    channels = select(dataset.layers or (), experiment.drop)
    run = RunFolder.begin(folder, experiment, dataset, overwrite, channels=channels)
    with held(run.path / "run"):
        run.write_places(*data_pipeline.places(dataset, experiment))
    return Training(run, dataset, folds, chunks)
