"""A finished run -> tables and maps of what its networks have learned about sources and paths."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from scipy.spatial import ConvexHull

from tfgmm.core import drawing, files
from tfgmm.evaluation import effects, residual_figures, scores
from tfgmm.runs.run import RunFolder

_NO_RECORDS = "#dddddd"


def write(
    path: Path, station: str | None = None, cell_deg: float = effects.CELL_DEG
) -> dict[str, effects.Effects]:
    """Effects of each intensity measure; write ``tables/effects_*.csv`` and ``figures/effects_*``.

    Parameters
    ----------
    path : Path
        Run folder.
    station : str, optional
        Of the paths; by default the one with most records.
    cell_deg : float
        Side of a source cell, degrees.

    Returns
    -------
    dict
        By intensity measure.

    Raises
    ------
    UsageError
        There is no run, it is not finished, or station or cells do not fit its records.
    DataError
        The predictions or places are damaged, or the file system refuses to write.
    """
    mpl.use("Agg")
    run = RunFolder.open(path)
    partial = run.with_places(scores.partial_ensembles(run.read_predictions()))
    note = ", ".join(run.experiment.networks) + " (simulated records)" * run.simulated
    found = {}
    for im, of_im in partial.groupby("im", sort=False, observed=True):
        one = found[im] = effects.of(effects.learned(of_im), station, cell_deg)
        paths = one.paths.assign(station_id=one.station["station_id"])
        for name, table in (("sources", one.sources), ("paths", paths)):
            with files.whole_file(run.path / "tables" / f"effects_{name}_{im}.csv") as temporary:
                table.assign(simulated=run.simulated).to_csv(temporary, index=False)
        figure = draw(one, of_im.drop_duplicates("station_id"), im, cell_deg, f"{im}, {note}")
        drawing.save(figure, run.path / "figures" / f"effects_{im}")
    return found


def cells_map(ax: plt.Axes, table: pd.DataFrame, name: str, cell_deg: float, label: str):
    """Source cells coloured by one of their effects, with coastline and colour bar; grey without records.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        ``longitude, latitude`` of the centres, and the column `name`.
    name : str
        ``predicted`` or ``observed``.
    cell_deg : float
        Side of a cell, degrees.
    label : str
        Of the colour bar, with unit.
    """
    corners = table[["longitude", "latitude"]].to_numpy() - cell_deg / 2
    squares = [Rectangle(tuple(corner), cell_deg, cell_deg) for corner in corners]
    far = float(np.quantile(table[name].abs(), 0.98))
    artist = ax.add_collection(PatchCollection(squares, cmap=residual_figures.DIVERGING, linewidths=0))
    artist.set_array(table[name].to_numpy())
    artist.set_clim(-far, far)
    ax.set_facecolor(_NO_RECORDS)
    residual_figures.map_frame(ax, table["longitude"], table["latitude"], margin=cell_deg)
    ax.figure.colorbar(artist, ax=ax, label=label, shrink=0.8, extend="both")
    return artist


def draw(
    one: effects.Effects, stations: pd.DataFrame, im: str, cell_deg: float, note: str = ""
) -> plt.Figure:
    """Learned effects of sources, and of paths to one station, beside those of the observations.

    Each map has colours of its own: observed effects hold the scatter of the records too, and are larger.

    Parameters
    ----------
    one : Effects
    stations : pandas.DataFrame
        ``longitude, latitude``; their convex hull is dashed.
    im : str
    cell_deg : float
        Side of a source cell, degrees.
    note : str
        Title.
    """
    station = one.station["station_id"]
    hull = stations.iloc[ConvexHull(stations[["longitude", "latitude"]]).vertices]
    panels = {
        "(a) Sources, learned": (one.sources, "predicted"),
        "(b) Sources, observed": (one.sources, "observed"),
        f"(c) Paths to {station}, learned": (one.paths, "predicted"),
        f"(d) Paths to {station}, observed": (one.paths, "observed"),
    }
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.6), layout="compressed")
        for ax, (title, (table, name)) in zip(axes.flat, panels.items(), strict=True):
            cells_map(ax, table, name, cell_deg, f"Effect on ln {im}")
            ax.set_title(title, loc="left")
        for ax in axes[0]:
            ax.fill(hull["longitude"], hull["latitude"], fill=False, linestyle="--", linewidth=0.8)
        for ax in axes[1]:
            drawing.epicentre(ax, one.station, marker="^", s=60, facecolor="#f0e442")
        figure.suptitle(note, fontsize=10)
    return figure
