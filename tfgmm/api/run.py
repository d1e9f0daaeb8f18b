"""A run on disk: settings, evaluation, site amplification, predictions, export."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import pandas as pd

from tfgmm.api import reports
from tfgmm.api.asking import refuse_both
from tfgmm.api.dataset import Dataset, PathLike
from tfgmm.core import files, imt, outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, listed
from tfgmm.core.shown import Shown
from tfgmm.data import dataset as stored
from tfgmm.runs import configuration, summary
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder

if TYPE_CHECKING:
    from tfgmm.evaluation.effects import Effects
    from tfgmm.evaluation.evaluation import Evaluation
    from tfgmm.network.training import Training
    from tfgmm.prediction.ensemble import Ensemble
    from tfgmm.prediction.field_terms import FieldTerms
    from tfgmm.prediction.spectra import Spectra
    from tfgmm.serving.export import Export
    from tfgmm.serving.gmpe_table import GmpeTable
    from tfgmm.site_amplification.writing import SiteAmplification
    from tfgmm.stats.im_correlation import ImCorrelation


#: Function that is called with the name of the current step and the share of the step done, 0 to 1.
ReportStage = Callable[[str, float], None]
#: Formats in which a run can be exported.
SAVED_MODEL, GMPE_TABLE = "saved-model", "gmpe-table"


# Packages that load TensorFlow are imported where they are called.


@checked
class Run(Shown, os.PathLike):
    """A run on disk: settings, scores, predictions and export; usable as the path of its folder.

    A run is an ensemble of trained networks per intensity measure, in one folder.

    Parameters
    ----------
    folder : RunFolder
        The files of the run; `Run.open` takes a path.

    Examples
    --------
    >>> run = tfgmm.Run.open("runs/kik-meso-quick")  # doctest: +SKIP
    >>> run.evaluate(); run.report()  # doctest: +SKIP
    >>> maps = run.ensemble("PGA").maps(tfgmm.scenario(7.0, 139.8, 35.5, 30.0))  # doctest: +SKIP
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._ensembles: dict[tuple[str | tuple[str, ...], str], Ensemble | Spectra] = {}

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

    def _facts(self) -> dict[str, object]:
        """Return path, intensity measures, networks, members and kind of the records."""
        experiment = self.experiment
        members = [*itertools.product(range(experiment.chunks), range(experiment.inits))]
        trained = sum(self.folder.member(*place).is_trained for place in members)
        return {
            "path": self.path,
            "measures": listed(self.ims),
            "networks": listed(experiment.networks),
            "preset": experiment.preset,
            "members": f"{trained} of {len(members)} trained",
            "backbone": experiment.backbone,
            "field": "yes" if experiment.field else "no",
            "records": self.folder.data["name"] + ", simulated" * self.simulated,
        }

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

        The stations of the run are those of its networks inside the map, also those that `refit` has added.

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

    def summary(self) -> pd.DataFrame:
        """Return what the run is and what it can do: measures, members, field, ranges, next commands.

        Returns
        -------
        pandas.DataFrame
            Columns ``what`` and ``value``, texts.

        Raises
        ------
        DataError
            A file of the run is damaged.

        Examples
        --------
        >>> run.summary()  # doctest: +SKIP
        """
        return summary.table(self.folder)

    def write_config(self, out: PathLike, *, overwrite: bool = False) -> Path:
        """Write the settings of the run as a TOML file for ``tfgmm train --config``, and return its path.

        Parameters
        ----------
        out : path
            File ``.toml``.
        overwrite : bool
            If True, replace the file if it exists.

        Raises
        ------
        UsageError
            The ending is another one, or the file exists.
        DataError
            The file system refuses to write.

        Examples
        --------
        >>> run.write_config("experiment.toml")  # doctest: +SKIP
        """
        path = Path(out)
        outputs.ending_of(path, (".toml",), "settings of a run")
        files.refuse_existing(path, overwrite)
        with files.whole_file(path) as temporary:
            temporary.write_text(configuration.text(self.folder), "utf-8")
        return path

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

    def refit(
        self, data: Dataset | stored.Dataset | PathLike, *, report: ReportStage = lambda what, share: None
    ) -> pd.DataFrame:
        """Fit the backbone, and condition the field, on newer records in minutes; networks are not trained.

        Predictions rest on the new records from then on, also at stations that are new. Networks, site
        layers and support stay those of the training, and so do the scores of `evaluate`: no new record is
        held out. Exported models are made anew with `export`. The data in the run bring it back:
        ``run.refit(run.path / "data")``.

        Parameters
        ----------
        data : Dataset or path
            Dataset or dataset folder with all records to rest on, old and new ones.
        report : callable
            Called with the name of the current step and the share of the step that is done, 0 to 1.

        Returns
        -------
        pandas.DataFrame
            Rows ``before`` and ``after``: ``records, events, stations`` on the map of the run, and
            ``data``, the hash of the dataset.

        Raises
        ------
        UsageError
            The run has no backbone or is not finished, or the dataset lacks intensity measures or networks
            of the run, has another component, or mixes simulated and measured records.
        DataError
            The data or the run are damaged, the records are too few, or the file system refuses to write.

        Examples
        --------
        >>> run.refit("data/kanto-2026")  # doctest: +SKIP
        """
        from tfgmm.network import refit

        dataset = data if isinstance(data, stored.Dataset) else Dataset.open(data)
        counts = refit.refit(self.folder, dataset, report)
        self._ensembles.clear()
        return counts

    def im_correlation(self) -> "ImCorrelation":
        """Return the correlation between the intensity measures of the run, which `evaluate` estimates.

        Returns
        -------
        ImCorrelation
            ``ims``; ``correlation`` and ``stddev`` (ln units) of the total, between-event, within-event,
            site-to-site and single-station residuals of records at held-out sites and of validation events;
            ``table()``, beside Baker & Jayaram (2008).

        Raises
        ------
        UsageError
            The run is not evaluated, or has no two measures with enough records.
        DataError
            The table is damaged, or of other data.

        Examples
        --------
        >>> run.im_correlation().table()  # doctest: +SKIP
        """
        return self.folder.im_correlation()

    def effects(self, station: str | None = None, *, cell_deg: float = 0.25) -> "dict[str, Effects]":
        """Map the effects of sources, sites and paths that the records tell, and return them as tables.

        Effects of the field stand beside the plain means of the residuals. Tables and figures are written
        into the folders ``tables/`` and ``figures/`` of the run.

        Parameters
        ----------
        station : str, optional
            Id of the station at which the paths end; by default the station with most records.
        cell_deg : float
            Side of a source cell, degrees.

        Returns
        -------
        dict of str to Effects
            Effects (ln units) by intensity measure, with the tables ``sources, sites, paths``, and
            ``station``.

        Raises
        ------
        UsageError
            The run has no field or is not finished, or the station or the cell size does not fit its
            records.
        DataError
            A file of the run is damaged, or the file system refuses to write.

        Examples
        --------
        >>> run.effects("CHB003")["PGA"].sources  # doctest: +SKIP
        """
        from tfgmm.evaluation import effects

        return effects.write(self.folder, station, cell_deg)

    def site_amplification(
        self,
        *,
        ims: Sequence[str] | None = None,
        arms: Sequence[Literal["published", "isotropic"]] = ("published", "isotropic"),
        events: Sequence[str] = (),
        places: pd.DataFrame | None = None,
        against: PathLike | None = None,
        within_km: float = 15.0,
        min_records: int = 10,
        out: PathLike | None = None,
        overwrite: bool = False,
        train: "Callable[[Training, str], bool] | None" = None,
        report: ReportStage = lambda what, share: None,
    ) -> "SiteAmplification":
        """Map the site amplification (ln units) that the networks predict, with its uncertainty.

        The maps, figures and tables are written into a folder. Networks without site channels are trained
        if they do not exist yet: their predictions serve as a reference for the run's own networks.

        Parameters
        ----------
        ims : sequence of str, optional
            Intensity measures; all of the run by default.
        arms : sequence of {"published", "isotropic"}
            Kinds of networks without site channels to train and compare with (an arm is a set of input
            channels and the way of training). ``published``: as in the published study. ``isotropic``:
            trained on maps that are turned and mirrored at random, which hides the direction to the source.
            If empty, the estimates come from the run's own networks only.
        events : sequence of str
            Selection of the events to average over: ``role:all``, ``magnitude:5,7``, ``distance:0,100`` (km
            from the centre of the map), ``region:W,S,E,N`` (degrees); all validation events by default.
        places : pandas.DataFrame, optional
            Places for which amplification is drawn against period: ``name``; ``longitude, latitude``,
            degrees.
        against : path or Run, optional
            Another run on the same data; the difference to its site amplification is mapped too.
        within_km : float
            Distance from a pixel, km, within which stations count for `min_records`.
        min_records : int
            Number of training records within `within_km` of a pixel that the estimate at the pixel needs.
        out : path, optional
            Folder of the results; ``site_amplification`` in the run folder by default.
        overwrite : bool
            If True, also replace files of the same names that an earlier call did not make.
        train : callable, optional
            Function that trains missing networks. It is called with a `Training` and a name for messages,
            and returns False if other processes are training some of the networks.
        report : callable
            Called with the name of the current step and the share of the step that is done, 0 to 1.

        Returns
        -------
        SiteAmplification
            Folder of the results, ``summary`` table, and estimates, maps and stations by intensity measure.

        Raises
        ------
        UsageError
            The run is not finished, lacks an intensity measure, or does not fit `against`; or too few
            events are selected.
        DataError
            The data have changed since the training, or the file system refuses to write.

        Examples
        --------
        >>> run.site_amplification(arms=["published"]).summary  # doctest: +SKIP
        """
        from tfgmm.site_amplification.site_study import Options, Selection
        from tfgmm.site_amplification.writing import map_site_amplification

        if out is not None:
            outputs.refuse_file_name(Path(out), "site amplification")
        options = Options.of(
            arms=tuple(arms), events=Selection.parse(events), within_km=within_km, min_records=min_records
        )
        return map_site_amplification(
            self.folder,
            tuple(dict.fromkeys(map(imt.canonical, ims))) if ims else None,
            options=options,
            places=places,
            against=None if against is None else RunFolder.open(Path(against)),
            out=None if out is None else Path(out),
            overwrite=overwrite,
            report=report,
            train=train,
        )

    def ensemble(
        self, im: str | Sequence[str] | None = None, *, condition: str = "all"
    ) -> "Ensemble | Spectra":
        """Return the trained networks, to predict one intensity measure or several; takes seconds at first.

        Parameters
        ----------
        im : str or sequence of str, optional
            Intensity measure, by default the first one of the run; several; or ``all``. SA(T) between two
            periods of the run is interpolated.
        condition : {"all", "training"}
            Records on which backbone and field are conditioned: all of the run, or for each station chunk
            its training records, as for the scores.

        Returns
        -------
        Ensemble or Spectra
            Methods ``maps(events)``, ``at_sites(events, sites)`` and ``at_stations(events, stations)``
            predict ground motion, as those of `tfgmm.Client` do; several or interpolated measures along the
            dimension ``im``.

        Raises
        ------
        UsageError
            The run has no such intensity measure, no trained network for it, or is not finished.
        DataError
            The files of a network are damaged.

        Examples
        --------
        >>> maps = run.ensemble("PGA").maps(events)  # doctest: +SKIP
        >>> spectra = run.ensemble("all").at_sites(events, sites)  # doctest: +SKIP
        """
        from tfgmm.prediction import spectra

        chosen = (im or self.ims[0]) if im is None or isinstance(im, str) else tuple(im)
        if (chosen, condition) not in self._ensembles:
            self._ensembles[chosen, condition] = spectra.load(self.folder, chosen, condition)
        return self._ensembles[chosen, condition]

    def field(self, im: str | None = None) -> "FieldTerms":
        """Return what the records tell of sources, sites and paths beyond the backbone, as tables and maps.

        Parameters
        ----------
        im : str, optional
            Intensity measure; the first one of the run by default.

        Returns
        -------
        FieldTerms
            ``stddevs`` and ``ranges_km`` of the terms, and with standard errors ``summary()``; the terms
            with standard deviations from ``sites()``, ``site_map()``, ``sources()`` and
            ``paths(station)``; ``records()``, the residuals.

        Raises
        ------
        UsageError
            The run has no such intensity measure, no field, or is not finished.
        DataError
            A file of the run is damaged.

        Examples
        --------
        >>> run.field("PGA").sites().nlargest(5, "site_term")  # doctest: +SKIP
        """
        from tfgmm.prediction.field_terms import FieldTerms

        return FieldTerms.of(self.folder, self.ims[0] if im is None else imt.canonical(im))

    def predict(
        self,
        events: pd.DataFrame,
        out: PathLike,
        *,
        im: str | Sequence[str] | None = None,
        sites: pd.DataFrame | None = None,
        stations: Sequence[str] | Literal["all"] | None = None,
        exceed: Sequence[float] = (),
        percentiles: Sequence[float] = (),
        interpolation: str = "nearest",
        calibrated: bool | None = None,
        rupture: PathLike | None = None,
        vs30: float | None = None,
        reference_rock: bool = False,
        condition: str = "all",
        overwrite: bool = False,
        progress: Callable[[], None] = lambda: None,
    ) -> Path:
        """Predict the ground motion of earthquakes; write maps or a table of sites, and return its path.

        The memory needed does not depend on the number of earthquakes.

        Parameters
        ----------
        events : pandas.DataFrame
            Earthquakes: ``longitude, latitude`` (degrees), ``depth_km`` (km), ``magnitude`` (Mw), as
            returned by `tfgmm.scenario` or `tfgmm.read_events`.
        out : path
            Output file. Maps: ``.nc`` (all in one file), or ``.tif``, ``.png`` or ``.pdf`` (one file per
            event and measure; several files in a folder). Table of sites: ``.csv`` or ``.parquet``; figure
            of their spectra, for several measures: ``.png`` or ``.pdf``.
        im : str or sequence of str, optional
            Intensity measures, as for `ensemble`.
        sites : pandas.DataFrame, optional
            Sites to predict at: ``longitude, latitude``, degrees. Maps are predicted if neither sites nor
            stations are given.
        stations : sequence of str, or "all"
            Ids of stations of the run to predict at, with what their records tell, instead of sites.
        exceed : sequence of float
            Levels of the intensity measure, g (PGV: cm/s), whose probability of exceedance is predicted.
        percentiles : sequence of float
            Percentiles of the intensity measure to predict, between 0 and 100.
        interpolation : {"nearest", "bilinear"}
            Values at sites: value of the pixel that contains the site, as in training, or interpolation
            between four pixels.
        calibrated : bool, optional
            If True, calibrate the standard deviation; by default it is calibrated if the run has a
            calibration.
        rupture : path, optional
            Surface of the rupture of the one earthquake, a GeoJSON file as ShakeMap writes it
            (``rupture.json``). Columns ``strike, dip`` (degrees), ``length_km, width_km`` of `events`
            describe planar ruptures through the middle of which the hypocentres lie.
        vs30 : float, optional
            Vs30 of all places, m/s, in place of the site layer. A column ``vs30_m_s`` of `sites` does the
            same for each site. Only the backbone uses it.
        reference_rock : bool
            If True, leave site terms out and take a Vs30 of 760 m/s, unless `vs30` is given.
        condition : {"all", "training"}
            As for `ensemble`.
        overwrite : bool
            If True, replace `out` if it exists.
        progress : callable
            Called without arguments after each event.

        Returns
        -------
        Path
            The file or folder. It is written completely or not at all.

        Raises
        ------
        UsageError
            The ending does not fit, `out` exists, or the run has no such calibration, intensity measure or
            station.
        DataError
            A value of an event or a site is missing or out of range, or the file system refuses to write.

        Examples
        --------
        >>> run.predict(tfgmm.scenario(7.0, 139.8, 35.5, 30.0), "maps.nc")  # doctest: +SKIP
        """
        at_sites = refuse_both(sites, stations)
        from tfgmm.prediction import scenarios, spectra, writing
        from tfgmm.prediction.conditioning import Known
        from tfgmm.prediction.quantities import Quantities

        events, name = scenarios.check_events(events), None if rupture is None else Path(rupture).name
        ims = spectra.measures(self.ims, [im] if isinstance(im, str) else im or self.ims[:1])
        draws_spectra = at_sites and Path(out).suffix.lower() in outputs.FIGURES
        count = len(events) * (1 if draws_spectra else len(ims))
        target = writing.Target.choose(Path(out), at_sites, count, overwrite)
        if stations is not None:
            sites = self.stations(None if stations == "all" else list(stations))
        return writing.write(
            self.ensemble(im, condition=condition),
            events,
            target,
            sites,
            at_stations=stations is not None,
            quantities=Quantities(tuple(exceed), tuple(percentiles)),
            interpolation=interpolation,
            calibrated=calibrated,
            known=Known(scenarios.ruptures(events, rupture), vs30, reference_rock, name),
            progress=progress,
        )

    def prepare_export(
        self,
        out: PathLike | None = None,
        *,
        im: str | Sequence[str] | None = None,
        members: int | None = None,
        precision: str = "float32",
        format: str = SAVED_MODEL,
        depth_km: float | None = None,
        tectonic_class: str | None = None,
        condition: str = "all",
        overwrite: bool = False,
    ) -> "Export | GmpeTable":
        """Return a planned export, which states in a sentence what it holds, without writing anything.

        Parameters
        ----------
        out, im, members, precision, format, depth_km, tectonic_class, condition, overwrite
            As for `export`.

        Returns
        -------
        Export or GmpeTable
            ``summary``, a sentence on what will be written; ``steps``, the number of steps of the writing;
            and ``write(progress)``, which writes the export.

        Raises
        ------
        UsageError, DataError
            As for `export`.
        """
        if format == GMPE_TABLE:
            from tfgmm.serving import gmpe_table

            if (members, precision, condition) != (None, "float32", "all"):
                raise UsageError(
                    f"members, precision and condition are of a SavedModel, not of a {GMPE_TABLE}"
                )
            place = {"depth_km": depth_km, "tectonic_class": tectonic_class}
            return gmpe_table.prepare(self.folder, out, im, **place, overwrite=overwrite)
        if format != SAVED_MODEL:
            raise UsageError(f"unknown format {format!r}: choose {SAVED_MODEL} or {GMPE_TABLE}")
        if depth_km is not None or tectonic_class is not None:
            raise UsageError(f"depth and class are of a {GMPE_TABLE}: give --format {GMPE_TABLE}")
        from tfgmm.serving import export

        if out is not None:
            outputs.refuse_file_name(Path(out), "an exported model")
        return export.prepare(
            self.folder, out, im, members, precision, condition=condition, overwrite=overwrite
        )

    def export(
        self,
        out: PathLike | None = None,
        *,
        im: str | Sequence[str] | None = None,
        members: int | None = None,
        precision: str = "float32",
        format: str = SAVED_MODEL,
        depth_km: float | None = None,
        tectonic_class: str | None = None,
        condition: str = "all",
        overwrite: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Path:
        """Write the ensemble as a SavedModel for a model server, or its backbone as a table for OpenQuake.

        Parameters
        ----------
        out : path, optional
            Folder of the model, ``saved_models/RUN`` by default. A new version folder is made in it. A GMPE
            table is a file, ``RUN.hdf5`` by default.
        im : str or sequence of str, optional
            Intensity measures of the run, or ``all``; by default the first one, and all of them in a GMPE
            table. Outputs of a model of several are named by measure, as ``mean_SA(1.0)``.
        members : int, optional
            Number of members to export (a member is one trained network: a station chunk times an
            initialisation). The first initialisation of every chunk comes first. All members by default.
        precision : {"float32", "float16"}
            Type of the stored weights.
        format : {"saved-model", "gmpe-table"}
            TensorFlow SavedModel of the ensemble; or GMPE table of OpenQuake (HDF5), which holds only the
            backbone with tau and phi, for Vs30 760 m/s.
        depth_km : float, optional
            Depth of the hypocentre for a GMPE table, km; by default the median depth of the training
            records of the class.
        tectonic_class : {"crustal", "interface", "intraslab"}, optional
            Tectonic class for a GMPE table. By default that with most training records; if only `depth_km`
            is given, the classes that the depth decides.
        condition : {"all", "training"}
            As for `ensemble`; of a SavedModel.
        overwrite : bool
            If True, replace a ``README.md`` and a ``models.config`` in the folder that no export has
            written, or an existing GMPE table.
        progress : callable
            Called with the number of members, or of intensity measures of a table, that are done.

        Returns
        -------
        Path
            The new version folder, or the file of the table.

        Raises
        ------
        UsageError
            An argument does not fit the run or the format, the folder holds another model or files that no
            export has written, the file exists, or the run has no backbone for a table.
        DataError
            The run is damaged, the disk has too little space, or the file system refuses to write.

        Examples
        --------
        >>> run.export("saved_models/kanto")  # doctest: +SKIP
        >>> run.export("kanto.hdf5", format="gmpe-table", depth_km=40.0)  # doctest: +SKIP
        """
        prepared = self.prepare_export(
            out,
            im=im,
            members=members,
            precision=precision,
            format=format,
            depth_km=depth_km,
            tectonic_class=tectonic_class,
            condition=condition,
            overwrite=overwrite,
        )
        return prepared.write(progress)


@checked
def open_run(path: PathLike | None = None) -> Run:
    """Return the run in a run folder; without a path, the run in ``runs`` whose training began last.

    Parameters
    ----------
    path : path, optional
        Run folder. By default the run is chosen among the runs in ``runs`` that have predictions.

    Returns
    -------
    Run
        The opened run.

    Raises
    ------
    UsageError
        The path is no run folder, another version of tfgmm made the run, or no run in ``runs`` has
        predictions.
    DataError
        The file ``experiment.json`` of the run is damaged.

    Examples
    --------
    >>> run = tfgmm.open_run("runs/kik-meso-quick")  # doctest: +SKIP
    """
    return Run.latest() if path is None else Run.open(path)
