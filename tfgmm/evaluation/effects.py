"""Source, site and path effects that the networks of a run have learned: estimates, tables and maps.

A source cell is a square of the map of epicentres, `CELL_DEG` degrees wide by default. An effect is a mean
deviation of ln IM from the ergodic median, once of the prediction and once of the observation. A fold is a
station chunk, whose sites are held out from training.
"""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from scipy.spatial import ConvexHull

from tfgmm.core import drawing, files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import figures, scores
from tfgmm.runs.run import RunFolder
from tfgmm.stats import ergodic

#: Side of a source cell, degrees.
CELL_DEG = 0.25
#: Fewest records of a source cell, and fewest records of a source cell at the station of a path effect.
MIN_RECORDS, MIN_PATH_RECORDS = 20, 3

#: Averaged columns: prediction and observation of ln IM, each minus the ergodic median.
_VALUES = ["predicted", "observed"]
_RECORD = ["event_id", "station_id"]
_NO_RECORDS = "#dddddd"


@dataclasses.dataclass(frozen=True)
class Effects:
    """Source, site and path effects of one intensity measure, ln units.

    Attributes
    ----------
    sources : pandas.DataFrame
        One row per source cell: ``longitude, latitude`` of the centre, degrees; ``predicted`` and
        ``observed``, the source effect in the predictions and in the observations, with mean zero over the
        source cells; ``records, events``, their numbers.
    sites : pandas.DataFrame
        Site effects ``predicted`` and ``observed``, indexed by ``site_id``.
    paths : pandas.DataFrame
        One row per source cell with enough records at the station, in the columns of `sources`:
        ``predicted`` and ``observed`` are the mean, over these records, of the deviation from the median
        minus source effect and site effect.
    station : pandas.Series
        ``station_id, longitude, latitude`` of the station of `paths`.
    """

    sources: pd.DataFrame
    sites: pd.DataFrame
    paths: pd.DataFrame
    station: pd.Series


def subtract_median(partial: pd.DataFrame) -> pd.DataFrame:
    """Return prediction and observation of each record minus the ergodic median, averaged over the folds.

    The median is fitted in each fold (station chunk) to the training records of the fold
    (`tfgmm.stats.ergodic.fit`). All folds count equally, whether they trained on a record or held the
    record out, because the effects describe what the networks learned, not how well they generalise.

    Parameters
    ----------
    partial : pandas.DataFrame
        Partial ensembles (`tfgmm.evaluation.scores.partial_ensembles`) of one intensity measure, one row
        per record and chunk, with the columns of `tfgmm.runs.run.RunFolder.with_places`.

    Returns
    -------
    pandas.DataFrame
        One row per record: ``event_id, station_id, site_id``; ``event_longitude, event_latitude,
        longitude, latitude``, degrees; ``predicted`` and ``observed``, ln units.
    """
    names = ["site_id", "event_longitude", "event_latitude", "longitude", "latitude"]
    parts = []
    for _, fold in partial.groupby("chunk"):
        trained = fold["event_role"].eq("training") & fold["site_role"].eq("training")
        median = ergodic.fit(fold[trained]).median_of(fold)
        values = {"predicted": fold["mean"] - median, "observed": fold["ln_im"] - median}
        parts.append(fold[[*_RECORD, *names]].assign(**values))
    records = pd.concat(parts).groupby(_RECORD, sort=False, observed=True)
    return records[names].first().join(records[_VALUES].mean()).reset_index()


def estimate(
    records: pd.DataFrame,
    station: str | None = None,
    cell_deg: float = CELL_DEG,
    min_records: int = MIN_RECORDS,
) -> Effects:
    r"""Return effects of source cells and of sites, and path effects from source cells to one station.

    .. math:: d_{es} = u_{c(e)} + v_s + p_{c(e), s} + \epsilon_{es}

    where d is the prediction or observation of ln IM for event e at site s minus the ergodic median, and c
    the source cell of the event. The effects of source cells (u) and sites (v) are fitted together by least
    squares. A source cell whose earthquakes are mostly recorded at amplifying sites therefore does not seem
    to be a strong source. The path effect p is the mean of d - u - v over the records of one source cell at
    the chosen station. Source cells with too few records are left out before the fit.

    Parameters
    ----------
    records : pandas.DataFrame
        Result of `subtract_median`, one row per record.
    station : str, optional
        Id of the station of the path effects; by default the station with most records.
    cell_deg : float
        Side of a source cell, degrees.
    min_records : int
        Least number of records of a source cell. Path effects need `MIN_PATH_RECORDS` records at the
        station.

    Returns
    -------
    Effects
        Source, site and path effects, ln units.

    Raises
    ------
    UsageError
        `cell_deg` is not above 0, or the station has too few records in every source cell.
    DataError
        Fewer than two source cells have enough records.
    """
    if not cell_deg > 0:
        raise UsageError(f"source cells of {cell_deg:g} degrees: choose a size above 0")
    records = _add_cells(records, cell_deg)
    records = records[records.groupby("cell")["event_id"].transform("size") >= min_records]
    if records["cell"].nunique() < 2:
        raise DataError(
            f"fewer than 2 source cells of {cell_deg:g} degrees have {min_records} records: choose another "
            "size of the cells"
        )
    u, v = _fit_cells_and_sites(records)
    remainder = records[_VALUES] - u.loc[records["cell"]].to_numpy() - v.loc[records["site_id"]].to_numpy()
    station = records["station_id"].mode()[0] if station is None else station
    at_station = records["station_id"] == station
    paths = _average_cells(records[at_station].assign(**remainder[at_station]))
    paths = paths[paths["records"] >= MIN_PATH_RECORDS]
    if paths.empty:
        raise UsageError(
            f"station {station} has no {MIN_PATH_RECORDS} records in any of the source cells of "
            f"{cell_deg:g} degrees: choose another station or larger cells"
        )
    return Effects(
        _average_cells(records).assign(**u).reset_index(drop=True),
        v,
        paths.reset_index(drop=True),
        records.loc[at_station, ["station_id", "longitude", "latitude"]].iloc[0],
    )


def _add_cells(records: pd.DataFrame, cell_deg: float) -> pd.DataFrame:
    """Return the records with the number ``cell`` of the source cell and the position of the cell's centre.

    The columns ``cell_longitude`` and ``cell_latitude`` are in degrees.
    """
    centres = {
        f"cell_{name}": (np.floor(records[f"event_{name}"] / cell_deg) + 0.5) * cell_deg
        for name in ("longitude", "latitude")
    }
    records = records.assign(**centres)
    return records.assign(cell=records.groupby(list(centres)).ngroup())


def _fit_cells_and_sites(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return least-squares effects (ln units) of source cells and of sites, one row each.

    The effects of source cells have mean zero. Where source cells and sites fall into groups without common
    records, the solution of minimum norm is taken.
    """
    (cell, cells), (site, sites) = (pd.factorize(records[name], sort=True) for name in ("cell", "site_id"))
    counts = np.zeros((len(cells), len(sites)))
    np.add.at(counts, (cell, site), 1)
    gram = np.block([[np.diag(counts.sum(axis=1)), counts], [counts.T, np.diag(counts.sum(axis=0))]])
    right = [
        np.concatenate([np.bincount(cell, y), np.bincount(site, y)]) for y in records[_VALUES].T.to_numpy()
    ]
    solution = np.linalg.lstsq(gram, np.transpose(right))[0]
    u, v = np.split(solution, [len(cells)])
    return pd.DataFrame(u - u.mean(axis=0), cells, _VALUES), pd.DataFrame(
        v + u.mean(axis=0), pd.Index(sites, name="site_id"), _VALUES
    )


def _average_cells(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per source cell: means (ln units), centre (degrees), counts of records and events."""
    return records.groupby("cell").agg(
        longitude=("cell_longitude", "first"),
        latitude=("cell_latitude", "first"),
        **{name: (name, "mean") for name in _VALUES},
        records=("event_id", "size"),
        events=("event_id", "nunique"),
    )


# ---- tables and maps -----------------------------------------------------------------------------


def write(path: Path, station: str | None = None, cell_deg: float = CELL_DEG) -> dict[str, Effects]:
    """Estimate, write (tables and maps) and return the effects of each intensity measure of a run.

    The files are ``tables/effects_*.csv`` and ``figures/effects_*`` in the run folder.

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
        The folder holds no run, the run is not finished, or `station` or `cell_deg` do not fit the records.
    DataError
        The predictions or the coordinates of events and stations are damaged, or the file system refuses to
        write.
    """
    mpl.use("Agg")
    run = RunFolder.open(path)
    partial = run.with_places(scores.partial_ensembles(run.read_predictions()))
    note = ", ".join(run.experiment.networks) + " (simulated records)" * run.simulated
    effects_by_im = {}
    for im, of_im in partial.groupby("im", sort=False, observed=True):
        effects = effects_by_im[im] = estimate(subtract_median(of_im), station, cell_deg)
        paths = effects.paths.assign(station_id=effects.station["station_id"])
        for name, table in (("sources", effects.sources), ("paths", paths)):
            with files.whole_file(run.path / "tables" / f"effects_{name}_{im}.csv") as temporary:
                table.assign(simulated=run.simulated).to_csv(temporary, index=False)
        figure = draw(effects, of_im.drop_duplicates("station_id"), im, cell_deg, f"{im}, {note}")
        drawing.save(figure, run.path / "figures" / f"effects_{im}")
    return effects_by_im


def cells_map(ax: plt.Axes, table: pd.DataFrame, name: str, cell_deg: float, label: str):
    """Draw source cells coloured by effect, with coastline and colour bar; grey areas have no records.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the map.
    table : pandas.DataFrame
        One row per source cell: ``longitude, latitude`` of the centre, degrees, and the column `name`.
    name : str
        Column of the effects, ``predicted`` or ``observed``, ln units.
    cell_deg : float
        Side of a source cell, degrees.
    label : str
        Label of the colour bar, with unit.

    Returns
    -------
    matplotlib.collections.PatchCollection
        The coloured cells.
    """
    corners = table[["longitude", "latitude"]].to_numpy() - cell_deg / 2
    squares = [Rectangle(tuple(corner), cell_deg, cell_deg) for corner in corners]
    limit = float(np.quantile(table[name].abs(), 0.98))
    artist = ax.add_collection(PatchCollection(squares, cmap=figures.DIVERGING, linewidths=0))
    artist.set_array(table[name].to_numpy())
    artist.set_clim(-limit, limit)
    ax.set_facecolor(_NO_RECORDS)
    figures.map_frame(ax, table["longitude"], table["latitude"], margin=cell_deg)
    ax.figure.colorbar(artist, ax=ax, label=label, shrink=0.8, extend="both")
    return artist


def draw(effects: Effects, stations: pd.DataFrame, im: str, cell_deg: float, note: str = "") -> plt.Figure:
    """Draw maps of learned source effects, and of path effects to one station, beside the observed effects.

    Each map has a colour scale of its own, because observed effects include the scatter of the records and
    are larger than learned effects.

    Parameters
    ----------
    effects : Effects
        Effects of one intensity measure, ln units.
    stations : pandas.DataFrame
        ``longitude, latitude``, degrees, a row per station; the convex hull of the stations is dashed.
    im : str
        Intensity measure.
    cell_deg : float
        Side of a source cell, degrees.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Four maps: learned and observed effects, of sources above and of paths below.
    """
    station = effects.station["station_id"]
    hull = stations.iloc[ConvexHull(stations[["longitude", "latitude"]]).vertices]
    panels = {
        "(a) Sources, learned": (effects.sources, "predicted"),
        "(b) Sources, observed": (effects.sources, "observed"),
        f"(c) Paths to {station}, learned": (effects.paths, "predicted"),
        f"(d) Paths to {station}, observed": (effects.paths, "observed"),
    }
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.6), layout="compressed")
        for ax, (title, (table, name)) in zip(axes.flat, panels.items(), strict=True):
            cells_map(ax, table, name, cell_deg, f"Effect on ln {im}")
            ax.set_title(title, loc="left")
        for ax in axes[0]:
            ax.fill(hull["longitude"], hull["latitude"], fill=False, linestyle="--", linewidth=0.8)
        for ax in axes[1]:
            drawing.epicentre(ax, effects.station, marker="^", s=60, facecolor="#f0e442")
        figure.suptitle(note, fontsize=10)
    return figure
