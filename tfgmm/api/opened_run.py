"""A run on disk: its settings, the data it was trained on, and its evaluation."""

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

#: Function that is called with the name of the current step and the share of the step done, 0 to 1.
ReportStage = Callable[[str, float], None]


class OpenedRun(os.PathLike):
    """A run on disk: settings, training data and scores; usable as the path of its folder.

    A run is an ensemble of trained networks per intensity measure, in one folder.

    Parameters
    ----------
    folder : RunFolder
        The files of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @classmethod
    def open(cls, path: PathLike) -> Self:
        """Return the run in an existing run folder.

        Parameters
        ----------
        path : path
            Run folder.

        Raises
        ------
        UsageError
            The path is no run folder, or another version of tfgmm made the run.
        DataError
            The file ``experiment.json`` of the run is damaged.
        """
        return cls(RunFolder.open(Path(path)))

    @classmethod
    def latest(cls, folder: PathLike = "runs") -> Self:
        """Return the run whose training began last, among the runs in a folder that have predictions.

        Parameters
        ----------
        folder : path
            Folder that contains run folders.

        Raises
        ------
        UsageError
            No run in the folder has predictions.
        """
        return cls(RunFolder.latest(Path(folder)))

    def __fspath__(self) -> str:
        """Return the path of the run folder."""
        return str(self.folder.path)

    def __repr__(self) -> str:
        """Return one line that states path, intensity measures, networks and preset of the run."""
        networks = ", ".join(self.experiment.networks)
        return f"<tfgmm.Run {self.path}: {', '.join(self.ims)} from {networks}, {self.experiment.preset}>"

    @property
    def path(self) -> Path:
        """Return the path of the run folder."""
        return self.folder.path

    @property
    def experiment(self) -> Experiment:
        """Return the settings of the run."""
        return self.folder.experiment

    @property
    def ims(self) -> tuple[str, ...]:
        """Return the names of the intensity measures of the run; each has an ensemble of networks."""
        return self.experiment.ims

    @property
    def simulated(self) -> bool:
        """Return True if the records are simulated, not measured."""
        return self.folder.simulated

    def dataset(self) -> Dataset:
        """Return the dataset that the run was trained on, read from the copy in the run folder.

        Raises
        ------
        DataError
            The copy is damaged.
        """
        return Dataset.of(self.folder.dataset())

    def stations(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the coordinates of the stations of the run, or of the stations with the given ids.

        The stations of the run are those of its networks inside the map.

        Parameters
        ----------
        ids : sequence of str, optional
            Station ids; all stations by default.

        Returns
        -------
        pandas.DataFrame
            One row per station, in the order of `ids`: ``station_id``; ``longitude, latitude``, degrees;
            ``terms_of``, the id of the site whose site term applies to the station.

        Raises
        ------
        UsageError
            The run has no station with one of the ids.
        DataError
            The file ``stations.parquet`` of the run is missing or damaged.
        """
        return self.folder.stations(ids)

    def check(self) -> pd.DataFrame:
        """Verify the files of the run, and return the state of each file.

        Returns
        -------
        pandas.DataFrame
            Columns ``file`` and ``state``, as returned by `tfgmm.check`.

        Examples
        --------
        >>> run.check()["state"].unique()  # doctest: +SKIP
        """
        return reports.check(self)

    def evaluate(
        self, *, baselines: bool = True, report: ReportStage = lambda what, share: None
    ) -> "Evaluation":
        """Score the predictions at known and held-out sites and events, and return tables and figures.

        The predictions of simpler models are scored on the same records. Scores are given with 90 %
        bootstrap intervals. Tables and figures are written into the folders ``tables/`` and ``figures/`` of
        the run.

        Parameters
        ----------
        baselines : bool
            If True, fit all simpler models on the same folds; this takes minutes, once per run. If False,
            only the ergodic regression is fitted.
        report : callable
            Called with the name of the current step and the share of the step that is done, 0 to 1.

        Returns
        -------
        Evaluation
            ``sections``, each with a table and a figure; ``section(name)`` returns one of them.

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
        report: ReportStage = lambda what, share: None,
    ) -> reports.Report:
        """Evaluate the run, and write one HTML page with all results, as `tfgmm.report` does.

        Parameters
        ----------
        page : path, optional
            HTML page; ``report.html`` in the run folder by default.
        markdown : path, optional
            Folder for the same report as Markdown and figures.
        baselines : bool
            If True, fit all simpler models on the same folds; this takes minutes, once per run.
        overwrite : bool
            If True, also replace files of the same names that are no report.
        report : callable
            Called with the name of the current step and the share of the step that is done, 0 to 1.

        Returns
        -------
        Report
            Paths of the written files, and the evaluation.

        Examples
        --------
        >>> run.report().page  # doctest: +SKIP
        PosixPath('runs/kik-meso-quick/report.html')
        """
        return reports.report(
            [self], page, markdown=markdown, baselines=baselines, overwrite=overwrite, report=report
        )

    def effects(self, station: str | None = None, *, cell_deg: float = 0.25) -> "dict[str, Effects]":
        """Map the source and path effects that the networks predict, and return them as tables.

        Tables and figures are written into the folders ``tables/`` and ``figures/`` of the run.

        Parameters
        ----------
        station : str, optional
            Id of the station at which the paths end; by default the station with most records.
        cell_deg : float
            Side of a source cell, degrees.

        Returns
        -------
        dict of str to Effects
            Effects (ln units) by intensity measure, with the tables ``sources`` and ``paths``, and
            ``station``.

        Raises
        ------
        UsageError
            The run is not finished, or the station or the cell size does not fit the records of the run.
        DataError
            The tables of predictions, events or stations are damaged, or the file system refuses to write.

        Examples
        --------
        >>> run.effects("CHB003")["PGA"].sources  # doctest: +SKIP
        """
        from tfgmm.evaluation import effects

        return effects.write(self.folder, station, cell_deg)
