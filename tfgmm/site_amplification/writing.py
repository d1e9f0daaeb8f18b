"""Map the site amplification of a run in one call: train missing members, estimate, write the results.

An arm is a set of input channels, with or without turned maps; a member is one trained network of a station
chunk, whose sites are held out, and an initialisation. Taught pixels have enough training records near
them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import drawing, files, outputs
from tfgmm.core.errors import UsageError
from tfgmm.data import layers
from tfgmm.evaluation.scored_run import Report, count_steps
from tfgmm.network.training import Training
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import estimators, figures, site_maps
from tfgmm.site_amplification.estimators import Measure
from tfgmm.site_amplification.site_study import TITLE, Options, Study, refuse_unpaired

_BANDS = ("amplification", "standard_error", "half_difference")
_BANDS_OF_DIFFERENCE = ("difference", "standard_error", "significant")


@dataclasses.dataclass(frozen=True, eq=False)
class SiteAmplification:
    """Site amplification of a run, as returned and written by `map_site_amplification`.

    Attributes
    ----------
    folder : Path
        Folder of the maps, figures and tables.
    summary : pandas.DataFrame
        Result of `tfgmm.site_amplification.site_maps.summary`.
    measures : dict of str to Measure
        Estimates, maps and stations by intensity measure.
    events : str
        Number and selection of the events over which maps were averaged.
    """

    folder: Path
    summary: pd.DataFrame
    measures: dict[str, Measure]
    events: str


def map_site_amplification(
    run: RunFolder,
    ims: Sequence[str] | None = None,
    *,
    options: Options | None = None,
    places: pd.DataFrame | None = None,
    against: RunFolder | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda what, share: None,
    train: Callable[[Training, str], bool] | None = None,
) -> SiteAmplification:
    """Map the site amplification that a run has learned, with errors; write and return the results.

    Networks without site channels, with which the run is compared, are trained first where missing, and
    stored in the run.

    Parameters
    ----------
    run : RunFolder
        A finished run.
    ims : sequence of str, optional
        Intensity measures of the run; by default all.
    options : Options, optional
        Arms to compare with, events to average over, and how many training records within which
        distance the estimate at a pixel needs.
    places : pandas.DataFrame, optional
        ``name``; ``longitude, latitude``, degrees: places inside the map for which amplification is drawn
        against period.
    against : RunFolder, optional
        Another run on the same data; the differences of the runs are mapped as well.
    out : Path, optional
        Folder of the results, by default ``site_amplification`` in the run. Earlier results are replaced.
    overwrite : bool
        Whether files that `write` did not write are replaced too.
    report : callable
        Called with the name of the current stage and the share of the stage that is done, 0 to 1.
    train : callable, optional
        Called in place of `Training.train` with the training of each arm and a text that names the arm;
        returns whether all members are trained.

    Returns
    -------
    SiteAmplification

    Raises
    ------
    UsageError
        The run is not finished or lacks an intensity measure, too few events are selected, a place is
        outside the map, the runs cannot be compared, another process is training missing members, or
        a file that `write` did not write would be replaced.
    DataError
        The data have changed, no pixel has enough training records near it, or the file system refuses to
        write.
    """
    options = options or Options()
    runs = [run] + ([against] if against else [])
    ims = tuple(ims or run.experiment.ims)
    folder = out or run.path / "site_amplification"
    refuse_strangers(folder, ims, [second.path.name for second in runs[1:]], overwrite)
    if places is None:
        places = pd.DataFrame({"name": [], "longitude": [], "latitude": []})
    _refuse_outside(run, places)
    studies = [Study(opened, options) for opened in runs]
    if against:
        refuse_unpaired(*studies)
    for study in studies:
        study.refuse_unfinished(ims)
    for study in studies:
        _train_arms(study, ims, train or (lambda training, _: not training.train(report)))
    measured = _measure(studies, ims, report)
    summary = write(studies, measured, folder, places)
    return SiteAmplification(folder, summary, measured[0], studies[0].about()["events"])


def _refuse_outside(run: RunFolder, places: pd.DataFrame) -> None:
    """Raise `UsageError` if a place lies outside the map of the run."""
    if len(places):
        _, _, inside = run.experiment.grid.locate(places["longitude"], places["latitude"])
        outside = places["name"][~np.asarray(inside, bool)]
        if len(outside):
            raise UsageError(f"place {outside.iloc[0]} lies outside the map of the run")


def _train_arms(study: Study, ims: tuple[str, ...], train: Callable[[Training, str], bool]) -> None:
    """Train the missing members of all arms; raise `UsageError` if other processes train some."""
    for name in study.options.arms:
        arm = f"Without site channels, {name}, into {study.run.path}"
        if not train(study.arm(name, ims), arm):
            raise UsageError(f"other processes train members of {study.run.path}: try again then")


def _measure(studies: Sequence[Study], ims: tuple[str, ...], report: Report) -> list[dict[str, Measure]]:
    """Return the site amplification of each study, by intensity measure."""
    steps = sum(study.steps(ims) for study in studies)
    progress = count_steps(report, "averaging over events", steps)
    return [{im: estimators.measure(study, im, progress) for im in ims} for study in studies]


def refuse_strangers(folder: Path, ims: Sequence[str], others: Sequence[str], overwrite: bool) -> None:
    """Raise an error if `write` would replace a file that it did not write.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    ims : sequence of str
        Intensity measures.
    others : sequence of str
        Names of the runs to compare with.
    overwrite : bool
        Whether any file may be replaced; no error is raised then.

    Raises
    ------
    UsageError
        Such a file exists, and `overwrite` is false.
    """
    stems = [*ims, "periods", *(f"minus_{name}_{im}" for name in others for im in ims)]
    names = ["site_amplification.nc", "stations.csv", "summary.csv", "places.csv"]
    names += [f"minus_{name}.nc" for name in others]
    names += [stem + ending for stem in stems for ending in (".tif", ".png", ".pdf")]
    has_ours = outputs.holds(folder / "site_amplification.nc", TITLE)
    outputs.refuse_strangers([folder / name for name in names], lambda path: has_ours, overwrite)


def write(
    studies: Sequence[Study],
    measured: Sequence[Mapping[str, Measure]],
    folder: Path,
    places: pd.DataFrame,
) -> pd.DataFrame:
    """Write the site amplification of the first study and the difference to a second; return a summary.

    The files are ``site_amplification.nc``; ``IM.tif``, ``IM.png`` and ``IM.pdf`` for each intensity
    measure; ``stations.csv``, ``summary.csv``; with places ``places.csv`` and a figure ``periods``; with a
    second study ``minus_RUN.nc`` and GeoTIFF and figures ``minus_RUN_IM``.

    Parameters
    ----------
    studies : sequence of Study
        One or two studies.
    measured : sequence of dict of str to Measure
        For each study, the site amplification by intensity measure.
    folder : Path
        Folder of the results; files of the same names are replaced.
    places : pandas.DataFrame
        ``name``; ``longitude, latitude``, degrees; may be empty.

    Returns
    -------
    pandas.DataFrame
        Result of `tfgmm.site_amplification.site_maps.summary`.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    mpl.use("Agg")
    study, measures = studies[0], measured[0]
    maps = _add_bedrock(study, xr.concat([measure.maps for measure in measures.values()], "im"))
    stations = pd.concat([measure.stations for measure in measures.values()], ignore_index=True)
    summary = site_maps.summary(maps, stations)
    with files.whole_files(folder) as temporary:
        _write_maps(study, maps, temporary)
        for name, table in (("stations", stations), ("summary", summary)):
            _write_csv(table, temporary / f"{name}.csv", study)
        if len(places):
            _write_places(study, maps, places, temporary)
        for second, second_measures in zip(studies[1:], measured[1:], strict=True):
            _write_difference(study, second, measures, second_measures, temporary)
    return summary


def _add_bedrock(study: Study, maps: xr.Dataset) -> xr.Dataset:
    """Return the maps with the depth to bedrock, ``z_bedrock`` [row, col], m, if the data have it."""
    if study.dataset.layers is None or "z_bedrock" not in study.dataset.layers:
        return maps
    depth, _ = layers.on_grid(study.dataset.layers["z_bedrock"], study.grid, study.grid.output_size)
    return maps.assign(z_bedrock=(("row", "col"), depth))


def _format_note(study: Study, subject: str) -> str:
    """Return the title of a figure: the subject, the networks and the events."""
    networks = ", ".join(study.experiment.networks)
    simulated = f", {drawing.SIMULATED}" * study.run.simulated
    return f"{subject}, {networks}; {len(study.events)} {study.options.events}{simulated}"


def _write_maps(study: Study, maps: xr.Dataset, folder: Path) -> None:
    """Write the NetCDF file, and a GeoTIFF and a figure for each intensity measure."""
    conforming = site_maps.conform(maps, study.grid, study.about())
    site_maps.write_netcdf(conforming, folder / "site_amplification.nc")
    for im in maps["im"].to_numpy():
        of_im = conforming.sel(im=im)
        site_maps.write_geotiff(of_im, folder / f"{im}.tif", study.grid, _BANDS)
        figure = figures.amplification(of_im, study.stations, im, _format_note(study, im))
        drawing.save(figure, folder / im)


def _write_csv(table: pd.DataFrame, path: Path, study: Study) -> None:
    """Write a table as CSV, with a column that says whether the records are simulated."""
    table.assign(simulated=study.run.simulated).to_csv(path, index=False, float_format="%.6g")


def _write_places(study: Study, maps: xr.Dataset, places: pd.DataFrame, folder: Path) -> None:
    """Write a table and a figure of the amplification against period at places."""
    table = site_maps.at_places(maps, places, study.grid)
    _write_csv(table, folder / "places.csv", study)
    note = _format_note(study, "Site amplification")
    drawing.save(figures.against_period(table, note), folder / "periods")


def _write_difference(
    study: Study,
    second: Study,
    measures: Mapping[str, Measure],
    second_measures: Mapping[str, Measure],
    folder: Path,
) -> None:
    """Write maps and figures of the difference between two studies."""
    stem = f"minus_{second.run.path.name}"
    parts = []
    for im, measure in measures.items():
        masks = [
            of_study.maps[mask].to_numpy().reshape(study.footprint.shape)
            for of_study in (measure, second_measures[im])
            for mask in ("taught", "footprint")
        ]
        difference = site_maps.subtract(
            measure.estimates, second_measures[im].estimates, np.logical_and.reduce(masks)
        )
        parts.append(difference.expand_dims(im=[im]))
    maps = _add_bedrock(study, xr.concat(parts, "im"))
    about = study.about() | {"title": f"difference of ln site amplification to run {second.run.path.name}"}
    conforming = site_maps.conform(maps, study.grid, about)
    site_maps.write_netcdf(conforming, folder / f"{stem}.nc")
    for im in measures:
        of_im = conforming.sel(im=im)
        site_maps.write_geotiff(of_im, folder / f"{stem}_{im}.tif", study.grid, _BANDS_OF_DIFFERENCE)
        note = f"{study.run.path.name} minus {second.run.path.name}\n{_format_note(study, im)}"
        drawing.save(figures.difference(of_im, study.stations, im, note), folder / f"{stem}_{im}")
