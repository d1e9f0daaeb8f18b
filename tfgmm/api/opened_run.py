"""What a run is, what it was trained on, and how good it is."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd

from tfgmm.api import reports
from tfgmm.api.dataset import Dataset, PathLike
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder

if TYPE_CHECKING:
    from tfgmm.evaluation.effects import Effects
    from tfgmm.evaluation.evaluation import Evaluation

#: Receives what is being done and the share of it that is done.
Report = Callable[[str, float], None]


class OpenedRun(os.PathLike):
    """A run on disk, opened and scored; it can be given wherever a path can.

    Parameters
    ----------
    folder : RunFolder
        The opened files.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @classmethod
    def open(cls, path: PathLike) -> Self:
        """Open an existing run.

        Raises
        ------
        UsageError
            There is no run.
        DataError
            Its description is damaged.
        """
        return cls(RunFolder.open(Path(path)))

    @classmethod
    def latest(cls, folder: PathLike = "runs") -> Self:
        """Open the run in a folder that was begun last, among those that have predictions.

        Raises
        ------
        UsageError
            There is none.
        """
        return cls(RunFolder.latest(Path(folder)))

    def __fspath__(self) -> str:
        """Return the path of the run folder."""
        return str(self.folder.path)

    def __repr__(self) -> str:
        """Return one line: path, networks, intensity measures and preset."""
        networks = ", ".join(self.experiment.networks)
        return f"<tfgmm.Run {self.path}: {', '.join(self.ims)} from {networks}, {self.experiment.preset}>"

    @property
    def path(self) -> Path:
        """Return the run folder."""
        return self.folder.path

    @property
    def experiment(self) -> Experiment:
        """Return the settings of the run."""
        return self.folder.experiment

    @property
    def ims(self) -> tuple[str, ...]:
        """Return the intensity measures, each of which has an ensemble."""
        return self.experiment.ims

    @property
    def simulated(self) -> bool:
        """Return True if the records are made, not measured."""
        return self.folder.simulated

    def dataset(self) -> Dataset:
        """Read the records and site layers that the run was trained on, from its own copy.

        Raises
        ------
        DataError
            The copy is damaged.
        """
        return Dataset.of(self.folder.dataset())

    def stations(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the stations in use, or those with the given ids: ``station_id, longitude, latitude``, ...

        Raises
        ------
        UsageError
            There is no such station.
        DataError
            The table is missing or damaged.
        """
        return self.folder.stations(ids)

    def check(self) -> pd.DataFrame:
        """Verify the files of the run, as `tfgmm.check` does.

        Examples
        --------
        >>> run.check()["state"].unique()  # doctest: +SKIP
        """
        return reports.check(self)

    def evaluate(
        self, *, baselines: bool = True, report: Report = lambda what, share: None
    ) -> "Evaluation":
        """Score the run: known and held-out sites and events, beside simpler models, with intervals.

        Tables and figures are written into ``tables/`` and ``figures/`` of the run.

        Parameters
        ----------
        baselines : bool
            Fit all baselines on the same folds (minutes, once a run).
        report : callable
            Receives what is being done and the share of it that is done.

        Returns
        -------
        Evaluation
            With ``sections`` of tables and figures, and ``section(name)``.

        Raises
        ------
        UsageError
            The run is not finished.
        DataError
            The predictions are damaged, or the file system refuses to write.

        Examples
        --------
        >>> run.evaluate().section("four_way").shown  # doctest: +SKIP
        """
        from tfgmm.evaluation import evaluation

        return evaluation.evaluate(self.folder, baselines, report)

    def report(
        self,
        page: PathLike | None = None,
        *,
        markdown: PathLike | None = None,
        baselines: bool = True,
        overwrite: bool = False,
        report: Report = lambda what, share: None,
    ) -> reports.Report:
        """Evaluate the run and write one page with everything that is found, as `tfgmm.report` does.

        Examples
        --------
        >>> run.report().page  # doctest: +SKIP
        PosixPath('runs/kik-meso-quick/report.html')
        """
        return reports.report(
            [self], page, markdown=markdown, baselines=baselines, overwrite=overwrite, report=report
        )

    def effects(self, station: str | None = None, *, cell_deg: float = 0.25) -> "dict[str, Effects]":
        """Map what the networks have learned about sources and about the paths to one station.

        Tables and figures are written into ``tables/`` and ``figures/`` of the run.

        Parameters
        ----------
        station : str, optional
            Station of the paths; by default the one with most records.
        cell_deg : float
            Side of a source cell, degrees.

        Returns
        -------
        dict of Effects
            By intensity measure, with ``sources``, ``paths`` and ``station``.

        Raises
        ------
        UsageError
            The run is not finished, or station or cells do not fit its records.
        DataError
            The predictions or places are damaged, or the file system refuses to write.

        Examples
        --------
        >>> run.effects("CHB003")["PGA"].sources  # doctest: +SKIP
        """
        from tfgmm.evaluation import effects

        return effects.write(self.folder, station, cell_deg)
