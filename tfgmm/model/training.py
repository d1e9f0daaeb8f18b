"""Train all members of a run: what is missing, what it will cost, the predictions table."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from tfgmm import files, random_effects, records, within_event
from tfgmm.errors import DataError, UsageError
from tfgmm.experiment import Experiment
from tfgmm.model import member
from tfgmm.pipeline import dataset as data_pipeline
from tfgmm.pipeline import splits
from tfgmm.random_effects import RandomEffects
from tfgmm.run_folder import RunFolder
from tfgmm.simulation import simulated

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


def open_dataset(data: str | None) -> records.Dataset:
    """The dataset folder `data`, or the embedded simulated records for None."""
    return simulated.embedded() if data is None else records.read(Path(data))


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
        dataset: records.Dataset,
        folds: list[splits.Fold],
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
        """Members that are not trained yet."""
        return [one for one in self.members if not (self.folder(one) / "done.json").is_file()]

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

    def train(self, report: Report = lambda name, share: None) -> None:
        """Train what is missing, then write the predictions table.

        Parameters
        ----------
        report : callable
            Called with a member's name and the share of its training that is done.
        """
        for one in self.missing:
            member.train(
                self.material(one),
                self.folder(one),
                one.chunk,
                one.init,
                lambda share, n=one.name: report(n, share),
            )
        self.write_predictions()

    def write_predictions(self) -> None:
        """Gather the predictions of the trained members of all arms, estimate random effects."""
        run, experiment = self.run, self.run.experiment
        folders = {
            run.member(im, chunk, init, arm): im
            for im in experiment.ims
            for arm in run.arms(im)
            for chunk, init in itertools.product(range(experiment.chunks), range(experiment.inits))
        }
        tables = [
            pd.read_parquet(folder / "predictions.parquet").assign(im=im)
            for folder, im in folders.items()
            if (folder / "done.json").is_file()
        ]
        together = pd.concat(tables, ignore_index=True)
        if experiment.random_effects != "none":
            together = self._with_random_effects(together)
        with files.whole_file(self.run.predictions) as temporary:
            together.to_parquet(temporary, index=False)

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
    """The training of an existing run, on the data that it was begun with.

    Raises
    ------
    DataError
        The data cannot be read, or have changed.
    """
    dataset = open_dataset(run.experiment.data)
    if dataset.digest() != run.data["digest"]:
        raise DataError(
            f"the data of run {run.path} have changed since it was trained: bring back what it was trained "
            "on, or train it again with --overwrite"
        )
    return Training(run, dataset, splits.folds(dataset, run.experiment))


def begin(
    experiment: Experiment, folder: Path, overwrite: bool = False, chunks: tuple[int, ...] | None = None
) -> Training:
    """Begin a run, or go on with it; `chunks` chooses which are trained now.

    Raises
    ------
    UsageError
        The folder holds another run, or the experiment does not fit the data.
    DataError
        The data cannot be read or split.
    """
    dataset = open_dataset(experiment.data)
    folds = splits.folds(dataset, experiment)
    for im in experiment.ims:  # whatever does not fit shows before a folder is made
        member.Material.of(dataset, experiment, im, folds[0])
    unknown = set(chunks or ()) - set(range(experiment.chunks))
    if unknown:
        raise UsageError(f"no chunk {min(unknown)}: the run has chunks 0 to {experiment.chunks - 1}")
    run = RunFolder.begin(folder, experiment, dataset, overwrite)
    run.write_places(*data_pipeline.places(dataset, experiment))
    return Training(run, dataset, folds, chunks)
