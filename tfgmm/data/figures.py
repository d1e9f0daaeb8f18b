"""Figures of a dataset: a map of its stations, and its records by magnitude and hypocentral distance."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import LogNorm

from tfgmm.core import drawing
from tfgmm.core.errors import counted
from tfgmm.core.sphere import hypocentral_km
from tfgmm.data.dataset import Dataset

#: Markers and colours (Okabe & Ito, 2008) of the networks in turn; the first two are those of Sunny,
#: Cotton & Lilienkamp (2022).
MARKERS = ["o", "^", "s", "D", "v", "P"]
COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
DISTANCE_BINS = 20
MAGNITUDE_BIN = 0.1


def draw(dataset: Dataset, folder: Path) -> list[Path]:
    """Draw the figures ``stations`` and ``hit-counts`` as PNG and PDF into a folder; return their paths.

    Parameters
    ----------
    dataset : Dataset
        Dataset to draw.
    folder : Path
        Folder for the files.

    Returns
    -------
    list of Path
        Paths of the four files.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    note = drawing.SIMULATED if dataset.simulated else ""
    figures = {"stations": _stations_figure(dataset, note), "hit-counts": _hits_figure(dataset, note)}
    for name, figure in figures.items():
        drawing.save(figure, folder / name)
    return [folder / f"{name}{ending}" for name in figures for ending in (".png", ".pdf")]


def station_map(ax: plt.Axes, stations: pd.DataFrame) -> list[PathCollection]:
    """Draw stations on a map with coastline, with one marker and colour per network; return the markers.

    The map resembles Figure 1 of Sunny, Cotton & Lilienkamp (2022).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes on which the map is drawn.
    stations : pandas.DataFrame
        Columns ``network``, and ``longitude`` and ``latitude`` in degrees; one row per station.

    Returns
    -------
    list of matplotlib.collections.PathCollection
        One collection of markers per network.
    """
    artists = []
    for i, (network, table) in enumerate(stations.groupby("network", observed=True)):
        marker, colour = i % len(MARKERS), (i + i // len(MARKERS)) % len(COLOURS)
        look = {"marker": MARKERS[marker], "edgecolor": COLOURS[colour], "s": 14, "linewidth": 0.7}
        artists.append(drawing.stations(ax, table, label=f"{network} ({len(table):,})", **look))
    _frame(ax, stations)
    drawing.coastline(ax, colors="0.45", zorder=0)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        title="Network (stations)",
    )
    return artists


def hit_counts(
    ax: plt.Axes, hits: pd.DataFrame, bins: tuple[np.ndarray, np.ndarray], norm: LogNorm
) -> QuadMesh:
    """Draw the number of records in bins of hypocentral distance and magnitude, and return the image.

    Bins without records stay white. The figure resembles Figure 2 of Sunny, Cotton & Lilienkamp (2022).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of distance (km) and magnitude.
    hits : pandas.DataFrame
        Columns ``r_hyp_km`` (hypocentral distance) and ``magnitude``; one row per record.
    bins : tuple of ndarray
        Edges of the distance bins, km, and edges of the magnitude bins, see `bin_edges`.
    norm : matplotlib.colors.LogNorm
        Colour scale of the numbers.

    Returns
    -------
    matplotlib.collections.QuadMesh
        The image.
    """
    count, *_ = np.histogram2d(hits["r_hyp_km"], hits["magnitude"], bins)
    filled = np.ma.masked_equal(count.T, 0)
    return ax.pcolormesh(*bins, filled, norm=norm, cmap="viridis_r", linewidth=0, rasterized=True)


def bin_edges(hits: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of 20 equal distance bins, and of magnitude bins 0.1 wide, that hold all records.

    Parameters
    ----------
    hits : pandas.DataFrame
        Columns ``r_hyp_km`` (hypocentral distance) and ``magnitude``; one row per record.

    Returns
    -------
    distance : ndarray, [21]
        Edges from 0 to the largest distance rounded up to 10 km, km.
    magnitude : ndarray, [n_bins + 1]
        Edges of bins that are centred on tenths of a magnitude.
    """
    farthest = max(np.ceil(hits["r_hyp_km"].max() / 10) * 10, 10)
    tenths = (hits["magnitude"] / MAGNITUDE_BIN).round(6)
    centres = np.arange(np.floor(tenths.min()), np.ceil(tenths.max()) + 2)
    return np.linspace(0, farthest, DISTANCE_BINS + 1), (centres - 0.5) * MAGNITUDE_BIN


def magnitudes_and_distances(dataset: Dataset) -> pd.DataFrame:
    """Return the network, the magnitude and the hypocentral distance of each record of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Dataset with the records.

    Returns
    -------
    pandas.DataFrame, one row per record
        Columns ``event_id``, ``station_id``, ``magnitude``, ``network`` and ``r_hyp_km``.
    """
    rows = dataset.records[["event_id", "station_id"]]
    joined = rows.merge(dataset.events[["event_id", "magnitude"]], on="event_id", how="left").merge(
        dataset.stations[["station_id", "network"]], on="station_id", how="left"
    )
    return joined.assign(r_hyp_km=hypocentral_km(rows, dataset.events, dataset.stations))


def _stations_figure(dataset: Dataset, note: str) -> plt.Figure:
    """Return a figure with the `station_map` of a dataset and with `note` as title."""
    with mpl.rc_context(drawing.STYLE):
        figure, ax = plt.subplots(figsize=(6, 4.5))
        station_map(ax, dataset.stations)
        ax.set_title(note)
    return figure


def _hits_figure(dataset: Dataset, note: str) -> plt.Figure:
    """Return a figure with one panel of `hit_counts` per network, three per line, with one colour scale."""
    hits = magnitudes_and_distances(dataset)
    bins = bin_edges(hits)
    networks = list(hits.groupby("network", observed=True))
    most = max(np.histogram2d(rows["r_hyp_km"], rows["magnitude"], bins)[0].max() for _, rows in networks)
    cols = min(len(networks), 3)
    lines = -(-len(networks) // cols)
    size = 3.1 * cols + 0.9, 2.7 * lines + 0.2
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(lines, cols, figsize=size, sharey=True, squeeze=False)
        panels = axes.flat[: len(networks)]
        for ax, (network, rows) in zip(panels, networks, strict=True):
            mesh = hit_counts(ax, rows, bins, LogNorm(1, max(most, 2)))
            ax.set_title(f"{network}, {counted(len(rows), 'record')}", loc="left")
            ax.set(xlabel="Hypocentral distance (km)")
        for ax in axes[:, 0]:
            ax.set(ylabel="Moment magnitude")
        for ax in axes.flat[len(networks) :]:
            ax.remove()
        figure.colorbar(mesh, ax=list(panels), pad=0.01, label="Number of records")
        figure.suptitle(note, fontsize=9)
    return figure


def _frame(ax: plt.Axes, stations: pd.DataFrame) -> None:
    """Set the limits of a map to the stations plus 4 % on each side, with equal scales on both axes."""
    low, high = (stations[["longitude", "latitude"]].agg(side).to_numpy() for side in ("min", "max"))
    margin = np.maximum(0.04 * (high - low), 0.05)
    (west, south), (east, north) = low - margin, high + margin
    ax.set(
        xlim=(west, east),
        ylim=(south, north),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
        aspect=1 / np.cos(np.radians((south + north) / 2)),
    )
    ax.locator_params(nbins=6)
