"""Source, site and path effects in the records of a run: terms and observations, as tables and maps.

A source cell is a square of the map of epicentres, `CELL_DEG` degrees wide by default. The field
(`tfgmm.prediction.field_terms`) gives a term with its standard deviation; the observed effect beside it is
a plain mean of the residuals from the backbone, with all their scatter.
"""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from scipy.spatial import ConvexHull

from tfgmm.core import drawing, files
from tfgmm.core.errors import DataError, counted
from tfgmm.core.shown import Shown
from tfgmm.evaluation import figures
from tfgmm.prediction.conditioning import CONDITIONS
from tfgmm.prediction.field_terms import CELL_DEG, FieldTerms, with_cells
from tfgmm.runs.run import RunFolder

#: Fewest records of a source cell, and fewest records of a source cell at the station of a path effect.
MIN_RECORDS, MIN_PATH_RECORDS = 20, 3
#: Share of the prior variance: where records have removed less, maps are hatched.
LITTLE_EXPLAINED = 0.2
_LITTLE = f"under {100 * LITTLE_EXPLAINED:.0f} % of the variance explained"
#: Columns of the terms in tables: the source term with the mean of the shared path terms to the stations,
#: and the sum of source and path term to one station.
SOURCE, PATH = "source_and_mean_path_term", "source_and_path_term"

_CELL = ["longitude", "latitude"]
_NO_RECORDS, _HATCH = "#dddddd", "/////"
_STYLE = drawing.STYLE | {"hatch.linewidth": 0.4}


@dataclasses.dataclass(frozen=True, repr=False)
class Effects(Shown):
    """Source, site and path effects of one intensity measure, ln units.

    Attributes
    ----------
    sources : pandas.DataFrame
        Source terms with the mean of the shared path terms (`FieldTerms.sources`), and ``observed``, the
        observed effect; NaN with few records.
    sites : pandas.DataFrame
        Result of `FieldTerms.sites`, and ``observed``; NaN without records in the cells observed.
    paths : pandas.DataFrame
        Sums of source term and path term to the station (`FieldTerms.paths`), and ``observed``; NaN with
        few records at the station.
    station : pandas.Series
        ``station_id, longitude, latitude`` of the station of `paths`.
    summary : pandas.DataFrame
        Standard deviations and ranges of the terms with standard errors (`FieldTerms.summary`).
    """

    sources: pd.DataFrame
    sites: pd.DataFrame
    paths: pd.DataFrame
    station: pd.Series
    summary: pd.DataFrame

    def _facts(self) -> dict[str, str]:
        """Return the numbers of source cells, sites and paths."""
        return {
            "source cells": f"{len(self.sources):,}",
            "sites": f"{len(self.sites):,}",
            "paths": f"{len(self.paths):,} to station {self.station['station_id']}",
        }


def estimate(
    terms: FieldTerms,
    station: str | None = None,
    cell_deg: float = CELL_DEG,
    min_records: int = MIN_RECORDS,
) -> Effects:
    r"""Return the effects of source cells, of sites and of the paths to one station: terms and observed.

    .. math:: r_{es} = u_{c(e)} + v_s + \epsilon_{es}

    where r is the observed ln IM minus the backbone for event e at site s, and c the source cell of the
    event. The observed effects of source cells (u) and sites (v) are fitted together by least squares. A
    source cell whose earthquakes are mostly recorded at amplifying sites therefore does not seem to be a
    strong source. A constant that could be in either is chosen so that v has the mean of the site terms.
    The observed effect of source and path is the mean of r - v over the records of one source cell at the
    chosen station. Event terms are in it and in u: a cell of few events scatters.

    Parameters
    ----------
    terms : FieldTerms
        Field of the run.
    station : str, optional
        Id of the station of the path effects; by default the station with most records.
    cell_deg : float
        Side of a source cell, degrees.
    min_records : int
        Least number of records of a source cell whose effect is observed. Observed path effects need
        `MIN_PATH_RECORDS` records at the station.

    Returns
    -------
    Effects
        Source, site and path effects, ln units.

    Raises
    ------
    UsageError
        `cell_deg` is not above 0, or the run has no such station.
    DataError
        Fewer than two source cells have enough records.
    """
    records = with_cells(terms.records(), cell_deg)
    station = records["station_id"].mode()[0] if station is None else station
    sources = terms.sources(cell_deg=cell_deg, with_paths=True).rename(columns={"source_term": SOURCE})
    paths = terms.paths(station, cell_deg=cell_deg, with_source=True).rename(columns={"path_term": PATH})
    sites = terms.sites()
    records = records[records.groupby(_CELL)["event_id"].transform("size") >= min_records]
    if len(records.drop_duplicates(_CELL)) < 2:
        raise DataError(
            f"fewer than 2 source cells of {cell_deg:g} degrees have {min_records} records: choose another "
            "size of the cells"
        )
    u, v = _fit_cells_and_sites(records)
    term = sites.drop_duplicates("site_id").set_index("site_id")["site_term"]
    open_constant = v.mean() - term.reindex(v.index).mean()
    u, v = u + open_constant, v - open_constant
    here = records[records["station_id"] == station]
    at_station = here["residual"] - here["site_id"].map(v)
    at_station = at_station.groupby([here[name] for name in _CELL]).agg(["mean", "size"])
    observed_paths = at_station["mean"].where(at_station["size"] >= MIN_PATH_RECORDS)
    stations = terms.stations.set_index("station_id", drop=False)
    return Effects(
        sources.join(u.rename("observed"), on=_CELL),
        sites.join(v.rename("observed"), on="site_id"),
        paths.join(observed_paths.rename("observed"), on=_CELL),
        stations.loc[station, ["station_id", *_CELL]],
        terms.summary(),
    )


def _fit_cells_and_sites(records: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return least-squares effects (ln units) of source cells and of sites.

    Where source cells and sites fall into groups without common
    records, the solution of minimum norm is taken.
    """
    keys = pd.MultiIndex.from_frame(records[_CELL]), pd.Index(records["site_id"])
    (cell, cells), (site, sites) = (pd.factorize(key, sort=True) for key in keys)
    counts = np.zeros((len(cells), len(sites)))
    np.add.at(counts, (cell, site), 1)
    gram = np.block([[np.diag(counts.sum(axis=1)), counts], [counts.T, np.diag(counts.sum(axis=0))]])
    residual = records["residual"].to_numpy()
    right = np.concatenate([np.bincount(cell, residual), np.bincount(site, residual)])
    u, v = np.split(np.linalg.lstsq(gram, right)[0], [len(cells)])
    return pd.Series(u, cells), pd.Series(v, sites)


# ---- tables and maps -----------------------------------------------------------------------------


def write(path: Path, station: str | None = None, cell_deg: float = CELL_DEG) -> dict[str, Effects]:
    """Estimate, write (tables and maps) and return the effects of each intensity measure of a run.

    The files are ``tables/effects_*.csv`` and ``figures/effects_*`` in the run folder. Tables have the
    columns ``conditioned_on``, the records that the field is conditioned on, ``data_hash``, the hash of
    their dataset, and ``simulated``; figures say so below the maps.

    Parameters
    ----------
    path : Path
        Run folder.
    station : str, optional
        Id of the station of the path effects; by default the station with most records.
    cell_deg : float
        Side of a source cell, degrees.

    Returns
    -------
    dict of str to Effects
        Source, site and path effects (ln units) by intensity measure.

    Raises
    ------
    UsageError
        The folder holds no run, the run has no field or is not finished, or `station` or `cell_deg` do not
        fit the records.
    DataError
        A file of the run is damaged, or the file system refuses to write.
    """
    run = RunFolder.open(path)
    note = ", ".join(run.experiment.networks) + " (simulated records)" * run.simulated
    effects_by_im = {}
    source = {"conditioned_on": CONDITIONS["all"], "data_hash": run.conditioned_on.get("data", "")}
    source["simulated"] = run.simulated
    for im in run.experiment.ims:
        terms = FieldTerms.of(run, im)
        effects = effects_by_im[im] = estimate(terms, station, cell_deg)
        tables = {
            "sources": effects.sources,
            "sites": effects.sites,
            "paths": effects.paths.assign(station_id=effects.station["station_id"]),
            "summary": effects.summary,
        }
        for name, table in tables.items():
            with files.whole_file(run.path / "tables" / f"effects_{name}_{im}.csv") as temporary:
                table.assign(**source).to_csv(temporary, index=False)
        title, footnote = f"{im}, {note}", _footnote(terms, source)
        maps = draw(effects, im, cell_deg, title, footnote)
        drawing.save(maps, run.path / "figures" / f"effects_{im}")
        sites = draw_sites(effects, terms.site_map(), im, title, footnote)
        drawing.save(sites, run.path / "figures" / f"effects_sites_{im}")
    return effects_by_im


def _footnote(terms: FieldTerms, source: dict) -> str:
    """Return a sentence on the records that the field of a figure is conditioned on."""
    events, stations = terms.field.records.shape
    counts = f"{counted(len(terms.field.records), 'record')} of {counted(events, 'event')}"
    return (
        f"Field conditioned on {source['conditioned_on']}: {counts} at {counted(stations, 'station')}, "
        f"data hash {source['data_hash'][:12]}"
    )


def cells_map(
    ax: plt.Axes, table: pd.DataFrame, name: str, cell_deg: float, limit: float
) -> PatchCollection:
    """Draw source cells coloured by effect, with coastline; grey areas have no effect.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the map.
    table : pandas.DataFrame
        One row per source cell: ``longitude, latitude`` of the centre, degrees, and the column `name`.
    name : str
        Column of the effects, ln units; cells with NaN are left out.
    cell_deg : float
        Side of a source cell, degrees.
    limit : float
        Largest value of the colours, ln units.

    Returns
    -------
    matplotlib.collections.PatchCollection
        The coloured cells.
    """
    shown = table.dropna(subset=name)
    artist = _squares(ax, shown, cell_deg, cmap=figures.DIVERGING, linewidths=0)
    artist.set_array(shown[name].to_numpy())
    artist.set_clim(-limit, limit)
    ax.set_facecolor(_NO_RECORDS)
    figures.map_frame(ax, table["longitude"], table["latitude"], margin=cell_deg)
    return artist


def _squares(ax: plt.Axes, cells: pd.DataFrame, cell_deg: float, **style) -> PatchCollection:
    """Draw a square at each source cell."""
    corners = cells[_CELL].to_numpy() - cell_deg / 2
    squares = [Rectangle(tuple(corner), cell_deg, cell_deg) for corner in corners]
    return ax.add_collection(PatchCollection(squares, **style))


def _say(ax: plt.Axes, text: str) -> None:
    """Write a text in the middle of a map without values."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 3}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=8, bbox=box)


def _explain(figure: plt.Figure, keys: list, footnote: str) -> None:
    """Add a footnote and a legend of hatching, lines and marks below the maps of a figure."""
    figure.legend(
        handles=keys, title=footnote or None, loc="outside lower center", ncols=len(keys), frameon=False,
        fontsize=7.5, title_fontsize=7, handlelength=1.6, columnspacing=1.4,
    )  # fmt: skip


def _height(cells: pd.DataFrame, rows: int, cell_deg: float) -> float:
    """Return the height of a figure with rows of two maps of source cells each, inches."""
    wide, high = (np.ptp(cells[name]) + 2 * cell_deg for name in _CELL)
    ratio = high / (wide * np.cos(np.radians(cells["latitude"].mean())))
    return float(np.clip(1.2 + rows * (0.25 + 2.7 * ratio), 2.5, 12.0))


def draw(effects: Effects, im: str, cell_deg: float, note: str = "", footnote: str = "") -> plt.Figure:
    """Draw maps of the effects of sources, and of source and path at one station, beside observed effects.

    All maps have one scale of colours. Cells of whose terms records explain little are hatched. Observed
    effects include the scatter of the records.

    Parameters
    ----------
    effects : Effects
        Effects of one intensity measure, ln units.
    im : str
        Intensity measure.
    cell_deg : float
        Side of a source cell, degrees.
    note : str
        Title of the figure.
    footnote : str
        Text below the maps: on which records they rest.

    Returns
    -------
    matplotlib.figure.Figure
        Four maps: terms of the field and observed effects, of sources above and of paths below.
    """
    station = effects.station["station_id"]
    rows = {
        SOURCE: (effects.sources, ("(a) Sources", "(b) Sources, observed")),
        PATH: (
            effects.paths,
            (f"(c) Sources and paths to {station}", f"(d) To {station}, observed"),
        ),
    }
    few = f"no source cell has {MIN_PATH_RECORDS} records\nat station {station}"
    limit, extend = figures.scale(
        *(table[name] for term, (table, _) in rows.items() for name in (term, "observed"))
    )
    hull = effects.sites.iloc[ConvexHull(effects.sites[_CELL]).vertices]
    network = {"linestyle": "--", "linewidth": 0.8, "color": "black"}
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(
            2,
            2,
            figsize=(7.2, _height(effects.sources, 2, cell_deg)),
            layout="constrained",
            sharex=True,
            sharey=True,
        )
        for row, (term, (table, titles)) in zip(axes, rows.items(), strict=True):
            for ax, name, title in zip(row, (term, "observed"), titles, strict=True):
                artist = cells_map(ax, table, name, cell_deg, limit)
                ax.set_title(title, loc="left")
                ax.label_outer()
            little = table[table["explained"] < LITTLE_EXPLAINED]
            _squares(row[0], little, cell_deg, facecolor="none", hatch=_HATCH, linewidths=0)
        for ax in axes[0]:
            ax.fill(hull["longitude"], hull["latitude"], fill=False, **network)
        for ax in axes[1]:
            mark = drawing.epicentre(ax, effects.station, marker="^", s=60, facecolor="#f0e442")
        if effects.paths["observed"].isna().all():
            _say(axes[1, 1], few)
        (west, east), (south, north) = axes[0, 0].get_xlim(), axes[0, 0].get_ylim()
        view = shapely.box(west, south, east, north)
        is_inside = view.contains(shapely.Point(*effects.station[_CELL]))
        mark.set_label(f"station {station}" + " (outside the map)" * (not is_inside))
        outline = view.intersects(shapely.LinearRing(hull[_CELL]))
        little = any((table["explained"] < LITTLE_EXPLAINED).any() for table, _ in rows.values())
        keys = [
            Patch(facecolor=_NO_RECORDS, label="land and sea without a value"),
            *[Patch(facecolor="white", hatch=_HATCH, label=_LITTLE)] * little,
            *[Line2D([], [], label="outline of the stations", **network)] * outline,
            mark,
        ]
        figure.colorbar(artist, ax=axes, label=f"Effect on ln {im}", shrink=0.6, extend=extend)
        _explain(figure, keys, footnote)
        figure.suptitle(note, fontsize=10)
    return figure


def draw_sites(
    effects: Effects, site_map: xr.Dataset, im: str, note: str = "", footnote: str = ""
) -> plt.Figure:
    """Draw the site term of new places and of the stations, beside the observed effects of the sites.

    Both maps have one scale of colours. Where records explain little of new places the map is hatched.

    Parameters
    ----------
    effects : Effects
        Effects of one intensity measure, ln units.
    site_map : xarray.Dataset, [row, col]
        Result of `FieldTerms.site_map`.
    im : str
        Intensity measure.
    note : str
        Title of the figure.
    footnote : str
        Text below the maps: on which records they rest.

    Returns
    -------
    matplotlib.figure.Figure
        Two maps.
    """
    longitude, latitude = (site_map[name].to_numpy() for name in _CELL)
    sites, shown = effects.sites, effects.sites.dropna(subset="observed")
    limit, extend = figures.scale(sites["site_term"], sites["observed"], site_map["site_term"])
    colours = {"cmap": figures.DIVERGING, "vmin": -limit, "vmax": limit}
    panels = {"site_term": ("(a) Site term", sites), "observed": ("(b) Sites, observed", shown)}
    look = {"s": 11, "edgecolor": "black", "linewidth": 0.25, "zorder": 2}
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, 2, figsize=(7.2, 3.9), layout="constrained", sharex=True, sharey=True
        )
        axes[0].pcolormesh(longitude, latitude, site_map["site_term"], rasterized=True, **colours)
        little = (site_map["explained_shared"] < LITTLE_EXPLAINED).to_numpy()
        if little.any():
            axes[0].contourf(longitude, latitude, little, levels=(0.5, 1), colors="none", hatches=[_HATCH])
        for ax, (name, (title, table)) in zip(axes, panels.items(), strict=True):
            points = ax.scatter(table["longitude"], table["latitude"], c=table[name], **look, **colours)
            figures.map_frame(ax, site_map["longitude"], site_map["latitude"])
            ax.set_title(title, loc="left")
            ax.label_outer()
        if shown.empty:
            _say(axes[1], "no site has records\nof an observed source cell")
        drawing.crop(axes[0], longitude, latitude)
        figure.get_layout_engine().set(wspace=0.04, h_pad=0.08)
        figure.colorbar(points, ax=axes, label=f"Effect on ln {im}", shrink=0.8, extend=extend)
        keys = [
            Patch(facecolor="white", hatch=_HATCH, label=_LITTLE.replace("the", "the shared")),
            Line2D([], [], marker="o", markersize=3.5, markerfacecolor="white", markeredgecolor="black",
                   linestyle="none", label="sites, on colours of new places"),
        ]  # fmt: skip
        _explain(figure, keys, footnote)
        figure.suptitle(note, fontsize=10)
    return figure
