"""A run with its verbs: what it has learned, what it predicts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tfgmm.api.asking import refuse_both, refuse_prediction
from tfgmm.api.dataset import PathLike
from tfgmm.api.opened_run import OpenedRun, Report
from tfgmm.core import imt, outputs
from tfgmm.runs.run import RunFolder

if TYPE_CHECKING:
    from tfgmm.network.training import Training
    from tfgmm.prediction.ensemble import Ensemble
    from tfgmm.serving.export import Export
    from tfgmm.site_amplification.writing import SiteAmplification

# Rooms that load TensorFlow are imported where they are called.


class Run(OpenedRun):
    """A run on disk: what was trained, how good it is, what it predicts.

    A run can be given wherever a path can.

    Parameters
    ----------
    folder : RunFolder
        The opened files; `Run.open` takes a path.

    Examples
    --------
    >>> run = tfgmm.Run.open("runs/kik-meso-quick")  # doctest: +SKIP
    >>> run.evaluate(); run.report()  # doctest: +SKIP
    >>> maps = run.ensemble("PGA").maps(tfgmm.scenario(7.0, 139.8, 35.5, 30.0))  # doctest: +SKIP
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self._ensembles: dict[str, Ensemble] = {}

    def site_amplification(
        self,
        *,
        ims: Sequence[str] | None = None,
        arms: Sequence[str] = ("published", "isotropic"),
        events: Sequence[str] = (),
        places: pd.DataFrame | None = None,
        against: PathLike | None = None,
        within_km: float = 15.0,
        min_records: int = 10,
        out: PathLike | None = None,
        overwrite: bool = False,
        train: "Callable[[Training, str], bool] | None" = None,
        report: Report = lambda what, share: None,
    ) -> "SiteAmplification":
        """Map the site amplification that the run has learned, with its uncertainty.

        Parameters
        ----------
        ims : sequence of str, optional
            Intensity measures; all of the run by default.
        arms : sequence of {"published", "isotropic"}
            Networks without site channels to train and compare with: as published, or with turned maps
            that hide direction. With none, estimates are from the run's own networks only.
        events : sequence of str
            Events to average over: ``role:all``, ``magnitude:5,7``, ``distance:0,100`` (km from the centre
            of the map), ``region:W,S,E,N``; all validation events by default.
        places : pandas.DataFrame, optional
            ``name, longitude, latitude`` of places for amplification against period.
        against : path or Run, optional
            Another run on the same data: also map the difference to it.
        within_km, min_records
            A pixel is believed that has so many training records at stations within so many km.
        out : path, optional
            Folder of the results; ``site_amplification`` in the run by default.
        overwrite : bool
            Replace also files of these names that this call did not make.
        train : callable, optional
            Trains the members that an arm lacks, given a `Training` and words for it; returns False if
            other processes are at work on some.
        report : callable
            Receives what is being done and the share of it that is done.

        Returns
        -------
        SiteAmplification

        Raises
        ------
        UsageError
            The run is not finished, has no such measure, or does not fit `against`; or too few events.
        DataError
            The data have changed, or the file system refuses to write.

        Examples
        --------
        >>> run.site_amplification(arms=["published"]).summary  # doctest: +SKIP
        """
        from tfgmm.site_amplification.site_study import Options, Selection
        from tfgmm.site_amplification.writing import map_site_amplification

        if out is not None:
            outputs.refuse_file_name(Path(out), "site amplification")
        options = Options(
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

    def ensemble(self, im: str | None = None) -> "Ensemble":
        """Load the trained members of one intensity measure, which takes seconds the first time.

        Parameters
        ----------
        im : str, optional
            Intensity measure; the run's first one by default.

        Returns
        -------
        Ensemble
            With ``maps(events)``, ``at_sites(events, sites)`` and ``at_stations(events, stations)``, as
            `tfgmm.Client` has them.

        Raises
        ------
        UsageError
            The run has no such intensity measure, or no trained member of it.
        DataError
            A member is damaged.

        Examples
        --------
        >>> maps = run.ensemble("PGA").maps(events)  # doctest: +SKIP
        """
        from tfgmm.prediction import ensemble

        name = imt.canonical(im) if im else self.ims[0]
        if name not in self._ensembles:
            self._ensembles[name] = ensemble.load(self.folder, name)
        return self._ensembles[name]

    def predict(
        self,
        events: pd.DataFrame,
        out: PathLike,
        *,
        im: str | None = None,
        sites: pd.DataFrame | None = None,
        stations: Sequence[str] | str | None = None,
        exceed: Sequence[float] = (),
        percentiles: Sequence[float] = (),
        interpolation: str = "nearest",
        calibrated: bool | None = None,
        overwrite: bool = False,
        progress: Callable[[], None] = lambda: None,
    ) -> Path:
        """Predict earthquakes and write maps or a table of sites; memory does not depend on their number.

        Parameters
        ----------
        events : pandas.DataFrame
            With ``longitude, latitude, depth_km, magnitude``; of `tfgmm.scenario`, `tfgmm.read_events`.
        out : path
            Maps: ``.nc`` (all events in one file), ``.tif``, ``.png`` or ``.pdf`` (one file per event: of
            several, a folder). Table of sites: ``.csv`` or ``.parquet``.
        im : str, optional
            Intensity measure; the run's first one by default.
        sites : pandas.DataFrame, optional
            With ``longitude`` and ``latitude``; maps by default.
        stations : sequence of str, or "all"
            Instead of sites, stations of the run, with their site terms.
        exceed : sequence of float
            Levels, g, whose probability of exceedance is wanted.
        percentiles : sequence of float
            Percentiles, between 0 and 100.
        interpolation : {"nearest", "bilinear"}
            At sites: the pixel, as in training, or between four pixels.
        calibrated : bool, optional
            Calibrate sigma; by default if the run has a calibration.
        overwrite : bool
            Replace what `out` was.
        progress : callable
            Called after each event.

        Returns
        -------
        Path
            The file or folder that was written, whole or not at all.

        Raises
        ------
        UsageError
            The ending does not fit, `out` exists, there is no calibration, measure or station.
        DataError
            An event or a site cannot be, or the file system refuses to write.

        Examples
        --------
        >>> run.predict(tfgmm.scenario(7.0, 139.8, 35.5, 30.0), "maps.nc")  # doctest: +SKIP
        """
        out = refuse_prediction(Path(out), refuse_both(sites, stations), overwrite)
        if stations is not None:
            sites = self.stations(None if stations == "all" else list(stations))
        from tfgmm.prediction import writing
        from tfgmm.prediction.quantities import Quantities

        return writing.write(
            self.ensemble(im),
            events,
            out,
            sites,
            at_stations=stations is not None,
            quantities=Quantities(tuple(exceed), tuple(percentiles)),
            interpolation=interpolation,
            calibrated=calibrated,
            overwrite=overwrite,
            progress=progress,
        )

    def prepare_export(
        self,
        out: PathLike | None = None,
        *,
        im: str | None = None,
        members: int | None = None,
        precision: str = "float32",
        overwrite: bool = False,
    ) -> "Export":
        """Return what an export would write where, before hours or gigabytes are spent.

        Parameters, errors: as for `export`.

        Returns
        -------
        Export
            With ``summary``, ``members`` and ``write(report)``.
        """
        from tfgmm.serving import export

        if out is not None:
            outputs.refuse_file_name(Path(out), "an exported model")
        return export.prepare(self.folder, out, im, members, precision, overwrite=overwrite)

    def export(
        self,
        out: PathLike | None = None,
        *,
        im: str | None = None,
        members: int | None = None,
        precision: str = "float32",
        overwrite: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Path:
        """Write the whole ensemble as one TensorFlow SavedModel, ready for a model server.

        Parameters
        ----------
        out : path, optional
            Folder of the model, ``saved_models/RUN`` by default; a new version goes in.
        im : str, optional
            Intensity measure; the run's first one by default.
        members : int, optional
            Keep so many members, spread over chunks first; all by default.
        precision : {"float32", "float16"}
            How weights are stored.
        overwrite : bool
            Replace also a README and settings in the folder that are not of an export.
        progress : callable
            Called with the number of members that are done.

        Returns
        -------
        Path
            The version folder.

        Raises
        ------
        UsageError
            Something does not fit the run, or the folder holds another model or files of others.
        DataError
            The run is damaged, the disk is too small, or the file system refuses to write.

        Examples
        --------
        >>> run.export("saved_models/kanto")  # doctest: +SKIP
        """
        prepared = self.prepare_export(
            out, im=im, members=members, precision=precision, overwrite=overwrite
        )
        return prepared.write(progress)


def open_run(path: PathLike | None = None) -> Run:
    """Open a run folder; without a path the run in ``runs`` that was begun last.

    Raises
    ------
    UsageError
        There is no run.
    DataError
        Its description is damaged.

    Examples
    --------
    >>> run = tfgmm.open_run("runs/kik-meso-quick")  # doctest: +SKIP
    """
    return Run.latest() if path is None else Run.open(path)
