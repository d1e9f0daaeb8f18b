"""Map the site amplification of a run in one call: train missing members, estimate, write, draw.

An arm is a set of input channels, with or without turned maps; a member is one trained network of a station
chunk, whose sites are held out, and an initialisation. Taught pixels have enough training records near
them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter

from tfgmm.core import drawing, files, imt, outputs
from tfgmm.core.errors import UsageError, listed
from tfgmm.core.shown import Shown
from tfgmm.data import layers
from tfgmm.evaluation.figures import DIVERGING
from tfgmm.evaluation.scored_run import Report, count_steps
from tfgmm.network.training import Training
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import estimators, site_maps
from tfgmm.site_amplification.estimators import Measure
from tfgmm.site_amplification.site_maps import TITLES
from tfgmm.site_amplification.site_study import TITLE, Options, Study, refuse_unpaired

#: Depths to bedrock that are drawn, m.
CONTOURS_M = (500, 1000, 2000, 3000, 4000)
#: Largest period at which PGA is drawn on a logarithmic axis of periods, s.
PGA_PERIOD_S = 0.03
#: Largest number of panels in a row; of measures that all have a label; and, of more measures, the
#: smallest ratio of two periods that both have one.
PANELS_IN_A_ROW, MOST_LABELS, LEAST_STEP = 3, 8, 1.9

_UNKNOWN = "#d9d9d9"
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_FACTORS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.0, 4.0)


def draw_amplification(maps: xr.Dataset, stations: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of amplification and standard error by every estimator, and return the figure.

    Pixels are grey where too few training records are nearby (not taught), in the sea and outside the hull
    of the stations. All estimators share one colour scale.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `tfgmm.site_amplification.site_maps.measure` for one intensity measure, with
        ``longitude`` and ``latitude`` [row, col], degrees, and optionally ``z_bedrock`` [row, col], m.
    stations : pandas.DataFrame
        ``longitude, latitude``, degrees.
    im : str
        Intensity measure.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    where = maps["taught"].to_numpy().astype(bool) & maps["footprint"].to_numpy().astype(bool)
    shown = {name: maps[name].where(where) for name in ("amplification", "standard_error")}
    limit = _round_up(float(np.nanquantile(np.abs(shown["amplification"]), 0.99)))
    largest = _round_up(float(np.nanquantile(shown["standard_error"], 0.99)))
    styles = {
        "amplification": ({"cmap": DIVERGING, "vmin": -limit, "vmax": limit}, f"ln amplification of {im}"),
        "standard_error": ({"cmap": "YlGnBu", "vmin": 0, "vmax": largest}, "Standard error (ln units)"),
    }
    names = list(maps["estimator"].to_numpy())
    with mpl.rc_context(drawing.STYLE):
        figure, axes = _make_axes(2, len(names))
        for row, (variable, (style, label)) in zip(axes, styles.items(), strict=True):
            for ax, name in zip(row, names, strict=True):
                image = _draw_map(ax, maps, shown[variable].sel(estimator=name), stations, **style)
                ax.set_title(TITLES.get(name, name), fontsize=8)
            extend = "both" if variable == "amplification" else "max"
            figure.colorbar(image, ax=list(row), label=label, shrink=0.8, extend=extend)
        figure.suptitle(note, fontsize=10)
    return figure


def draw_difference(maps: xr.Dataset, stations: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of the differences of two runs by every estimator, and return the figure.

    Pixels are hatched where the difference is not larger than training makes by chance.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `tfgmm.site_amplification.site_maps.subtract` for one intensity measure, with
        ``longitude`` and ``latitude`` [row, col], degrees, and optionally ``z_bedrock`` [row, col], m.
    stations, im, note
        As for `draw_amplification`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    compared = maps["compared"].to_numpy().astype(bool)
    shown = maps["difference"].where(maps["compared"].astype(bool))
    limit = _round_up(float(np.nanquantile(np.abs(shown), 0.99)))
    style = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    names = list(maps["estimator"].to_numpy())
    with mpl.rc_context(drawing.STYLE):
        figure, axes = _make_axes(1, len(names))
        for ax, name, tested in zip(axes[0], names, compared, strict=True):
            values = shown.sel(estimator=name)
            image = _draw_map(ax, maps.assign(footprint=(values.dims, tested)), values, stations, **style)
            chance = tested & ~maps["significant"].sel(estimator=name).to_numpy().astype(bool)
            if chance.any() and min(chance.shape) > 1:
                lonlat = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
                with mpl.rc_context({"hatch.linewidth": 0.4, "hatch.color": "#666666"}):
                    ax.contourf(*lonlat, chance, levels=(0.5, 1), colors="none", hatches=["////"])
            share = 1 - chance.sum() / max(tested.sum(), 1)
            ax.set_title(f"{TITLES.get(name, name)}\nsignificant: {share:.0%}", fontsize=8)
        label = f"Difference in ln amplification of {im}"
        figure.colorbar(image, ax=list(axes[0]), label=label, shrink=0.8, extend="both")
        figure.suptitle(note, fontsize=10)
    return figure


def draw_against_period(table: pd.DataFrame, note: str = "") -> plt.Figure:
    """Draw amplification against period with 90 % intervals, a panel per place and a line per estimator.

    Symbols are hollow where too few training records are near the place (not taught). PGA is drawn left of
    the shortest period, and PGV, which is no part of the spectrum, left of PGA.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `tfgmm.site_amplification.site_maps.at_places`.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = table.assign(period=table["im"].map(_positions(table["im"].unique())))
    places = list(table.groupby("place", sort=False))
    columns = min(len(places), PANELS_IN_A_ROW)
    rows = -(-len(places) // columns)
    with mpl.rc_context(drawing.STYLE):
        size = 1.2 + 2.9 * columns, 1.0 + 2.4 * rows
        figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
        for ax, (place, of_place) in zip(axes.flat, places, strict=False):
            for number, (name, spectrum) in enumerate(of_place.groupby("estimator", sort=False)):
                in_order = spectrum.sort_values("period")
                _draw_spectrum(ax, in_order, number, TITLES.get(str(name), str(name)))
            _label_periods(ax, table)
            ax.set_title(place, fontsize=8)
        for ax in axes.flat[len(places) :]:
            ax.remove()
        for ax in axes[:, 0]:
            ax.set_ylabel("ln amplification\n(footprint mean is 0)")
        for ax in axes[: len(places) // columns, -1]:  # of full rows
            _add_factor_axis(ax)
        keys = axes[0, 0].get_legend_handles_labels()
        figure.legend(*keys, loc="outside lower center", ncols=4, frameon=False, fontsize=7)
        figure.suptitle(note, fontsize=10)
    return figure


def _positions(ims: Sequence[str]) -> dict[str, float]:
    """Return the place of each intensity measure on the axis of periods, s."""
    periods = {im: imt.period(im) for im in ims if im.startswith("SA")}
    pga = min(PGA_PERIOD_S, min(periods.values(), default=PGA_PERIOD_S) / 2)
    return periods | {"PGA": pga, "PGV": pga / 2}


def _draw_spectrum(ax: plt.Axes, rows: pd.DataFrame, number: int, label: str) -> None:
    """Draw amplification and intervals by one estimator; `number` sets the colour and the symbol."""
    # Shifted a little per estimator: intervals at one period would cover each other.
    period = rows["period"].to_numpy() * 1.06**number
    value = rows["amplification"].to_numpy()
    sides = np.array([value - rows["low"], rows["high"] - value])
    colour, marker = _LINES[number % len(_LINES)], "os^vDPX"[number % 7]
    is_pgv = rows["im"].eq("PGV").to_numpy()
    style = {"color": colour, "linewidth": 0.9}
    for part in (~is_pgv, is_pgv):
        if part.any():
            ax.errorbar(period[part], value[part], yerr=sides[:, part], label=label, **style)
            label = ""  # in the legend once
    known = rows["taught"].to_numpy().astype(bool)
    for chosen, face in ((known, colour), (~known, "white")):
        style = {"marker": marker, "s": 12, "facecolor": face, "edgecolor": colour, "zorder": 3}
        ax.scatter(period[chosen], value[chosen], **style)


def _label_periods(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Make the horizontal axis logarithmic in period, s, with a tick at each intensity measure.

    Of more than `MOST_LABELS` measures, those nearer to the last label than by `LEAST_STEP` times have
    a tick without a label.
    """
    measures = table.drop_duplicates("im").sort_values("period")
    least_step = LEAST_STEP if len(measures) > MOST_LABELS else 1.0
    ticks, labels = [], []
    for im, period in zip(measures["im"], measures["period"], strict=True):
        if not ticks or period >= least_step * ticks[-1]:
            ticks.append(period)
            labels.append(f"{imt.period(im):g}" if im.startswith("SA") else im)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter(labels))
    ax.xaxis.set_minor_locator(FixedLocator(list(measures["period"])))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", labelrotation=90 if len(ticks) > MOST_LABELS else 0, labelsize=7)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlabel("Period (s)")


def _add_factor_axis(ax: plt.Axes) -> None:
    """Add an axis on the right that shows ln amplification as a factor."""
    right = ax.secondary_yaxis("right")
    low, high = np.exp(ax.get_ylim())
    ticks = [factor for factor in _FACTORS if low <= factor <= high]
    right.set_yticks(np.log(ticks), [f"{factor:g}" for factor in ticks])
    right.set_ylabel("Factor")


def _make_axes(rows: int, columns: int) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure and its axes for maps, [rows, columns]."""
    size = (1.3 + 2.6 * columns, 0.6 + 2.5 * rows)
    return plt.subplots(
        rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True, layout="compressed"
    )


def _draw_map(ax: plt.Axes, maps: xr.Dataset, values: xr.DataArray, stations: pd.DataFrame, **style):
    """Draw one map with coast, bedrock contours and stations, and return the image."""
    longitude, latitude = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
    ax.set_facecolor(_UNKNOWN)
    image = ax.pcolormesh(
        longitude, latitude, values.to_numpy(), shading="nearest", rasterized=True, **style
    )
    if "z_bedrock" in maps:
        _draw_bedrock(ax, longitude, latitude, maps["z_bedrock"].to_numpy())
    inside = maps["footprint"].to_numpy().astype(bool)
    ax.set(
        xlim=(longitude[inside].min() - 0.1, longitude[inside].max() + 0.1),
        ylim=(latitude[inside].min() - 0.1, latitude[inside].max() + 0.1),
        aspect=1 / np.cos(np.radians(latitude.mean())),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
    )
    drawing.coastline(ax)
    drawing.stations(ax, stations, s=4, linewidth=0.25)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5]))
    ax.label_outer()
    return image


def _draw_bedrock(ax: plt.Axes, longitude: np.ndarray, latitude: np.ndarray, depth_m: np.ndarray) -> None:
    """Draw contours of the depth to bedrock, m, at the `CONTOURS_M` within the range of `depth_m`."""
    levels = [level for level in CONTOURS_M if depth_m.min() < level < depth_m.max()]
    if levels:
        lines = ax.contour(
            longitude, latitude, depth_m, levels, colors="#444444", linewidths=0.5, linestyles="--"
        )
        ax.clabel(lines, fontsize=5, fmt=lambda depth: f"{depth / 1000:g} km")


def _round_up(value: float) -> float:
    """Return the limit of a colour scale rounded up to a multiple of 0.05, at least 0.05."""
    return max(0.05, float(np.ceil(value * 20) / 20))


_BANDS = ("amplification", "standard_error", "half_difference")
_BANDS_OF_DIFFERENCE = ("difference", "standard_error", "significant")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SiteAmplification(Shown):
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

    def _facts(self) -> dict[str, object]:
        """Return the intensity measures, the events and the folder of the results."""
        return {"measures": listed(self.measures), "averaged over": self.events, "folder": self.folder}


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
    if places is None or places.empty:
        places = pd.DataFrame({"name": [], "longitude": [], "latitude": []})
    _refuse_places(run, places)
    studies = [Study(opened, options) for opened in runs]
    if against:
        refuse_unpaired(*studies)
    for study in studies:
        study.refuse_unfinished(ims)
    for study in studies:
        _train_arms(study, train or (lambda training, _: not training.train(report)))
    measured = _measure(studies, ims, report)
    summary = write(studies, measured, folder, places)
    return SiteAmplification(folder, summary, measured[0], studies[0].about()["events"])


def _refuse_places(run: RunFolder, places: pd.DataFrame) -> None:
    """Raise `UsageError` if places lack a value, have one name, or lie outside the map of the run."""
    missing = [name for name in ("name", "longitude", "latitude") if name not in places]
    if missing:
        raise UsageError(f"the places have no column {', '.join(missing)}: give name, longitude, latitude")
    twice = places["name"][places["name"].duplicated()]
    if len(twice):
        raise UsageError(f"two places are called {twice.iloc[0]}: give each a name of its own")
    if len(places):
        _, _, inside = run.experiment.grid.locate(places["longitude"], places["latitude"])
        outside = places["name"][~np.asarray(inside, bool)]
        if len(outside):
            raise UsageError(f"place {outside.iloc[0]} lies outside the map of the run")


def _train_arms(study: Study, train: Callable[[Training, str], bool]) -> None:
    """Train the missing members of all arms; raise `UsageError` if other processes train some."""
    for name in study.options.arms:
        arm = f"Without site channels, {name}, into {study.run.path}"
        if not train(study.arm(name), arm):
            raise UsageError(f"other processes train members of {study.run.path}: try again then")


def _measure(studies: Sequence[Study], ims: tuple[str, ...], report: Report) -> list[dict[str, Measure]]:
    """Return the site amplification of each study, by intensity measure."""
    progress = count_steps(report, "averaging over events", sum(study.steps for study in studies))
    measured = []
    for study in studies:
        of_networks = estimators.average_networks(study, ims, progress)
        measured.append({im: estimators.measure(study, im, of_networks[im]) for im in ims})
    return measured


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
        figure = draw_amplification(of_im, study.stations, im, _format_note(study, im))
        drawing.save(figure, folder / im)


def _write_csv(table: pd.DataFrame, path: Path, study: Study) -> None:
    """Write a table as CSV, with a column that says whether the records are simulated."""
    table.assign(simulated=study.run.simulated).to_csv(path, index=False, float_format="%.6g")


def _write_places(study: Study, maps: xr.Dataset, places: pd.DataFrame, folder: Path) -> None:
    """Write a table and a figure of the amplification against period at places."""
    table = site_maps.at_places(maps, places, study.grid)
    _write_csv(table, folder / "places.csv", study)
    note = _format_note(study, "Site amplification")
    drawing.save(draw_against_period(table, note), folder / "periods")


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
        drawing.save(draw_difference(of_im, study.stations, im, note), folder / f"{stem}_{im}")
