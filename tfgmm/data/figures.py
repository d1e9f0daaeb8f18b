"""Draw the stations of a dataset, and the magnitudes and distances of its records."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import LogNorm

from tfgmm.core import drawing
from tfgmm.core.sphere import hypocentral_km
from tfgmm.data.dataset import Dataset

#: Markers and colours (Okabe & Ito, 2008) of the networks in turn; the first two look as published.
MARKERS = ["o", "^", "s", "D", "v", "P"]
COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
DISTANCE_BINS = 20
MAGNITUDE_BIN = 0.1


def draw(dataset: Dataset, folder: Path) -> list[Path]:
    """Draw ``stations`` and ``hit-counts`` as PNG and PDF into a folder, and return their paths.

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
    """Draw stations on a map with coastline, in a marker and colour per network.

    The map looks as Figure 1 of Sunny, Cotton & Lilienkamp (2022).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    stations : pandas.DataFrame
        ``network, longitude, latitude``.

    Returns
    -------
    list of PathCollection
        One for each network.
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
    """Draw the number of records by hypocentral distance and magnitude; cells without records stay white.

    The figure looks as Figure 2 of Sunny, Cotton & Lilienkamp (2022).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    hits : pandas.DataFrame
        ``r_hyp_km, magnitude``, a row per record.
    bins : tuple of ndarray
        Edges of the bins of distance, km, and of magnitude, see `bin_edges`.
    norm : LogNorm
        Scale of the colours.
    """
    count, *_ = np.histogram2d(hits["r_hyp_km"], hits["magnitude"], bins)
    filled = np.ma.masked_equal(count.T, 0)
    return ax.pcolormesh(*bins, filled, norm=norm, cmap="viridis_r", linewidth=0, rasterized=True)


def bin_edges(hits: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return edges of 20 equal bins of distance, and of bins of 0.1 in magnitude, that hold all records.

    Parameters
    ----------
    hits : pandas.DataFrame
        ``r_hyp_km, magnitude``, a row per record.
    """
    farthest = max(np.ceil(hits["r_hyp_km"].max() / 10) * 10, 10)
    tenths = (hits["magnitude"] / MAGNITUDE_BIN).round(6)
    centres = np.arange(np.floor(tenths.min()), np.ceil(tenths.max()) + 2)
    return np.linspace(0, farthest, DISTANCE_BINS + 1), (centres - 0.5) * MAGNITUDE_BIN


def magnitudes_and_distances(dataset: Dataset) -> pd.DataFrame:
    """Return ``network``, ``magnitude`` and ``r_hyp_km`` of each record of a dataset."""
    rows = dataset.records[["event_id", "station_id"]]
    joined = rows.merge(dataset.events[["event_id", "magnitude"]], on="event_id", how="left").merge(
        dataset.stations[["station_id", "network"]], on="station_id", how="left"
    )
    return joined.assign(r_hyp_km=hypocentral_km(rows, dataset.events, dataset.stations))


def _stations_figure(dataset: Dataset, note: str) -> plt.Figure:
    """Return a figure with the `station_map` of a dataset and a note as title."""
    with mpl.rc_context(drawing.STYLE):
        figure, ax = plt.subplots(figsize=(6, 4.5))
        station_map(ax, dataset.stations)
        ax.set_title(note)
    return figure


def _hits_figure(dataset: Dataset, note: str) -> plt.Figure:
    """Return a figure with `hit_counts` of each network, three in a row, with one colour scale."""
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
            ax.set_title(f"{network}, {len(rows):,} records", loc="left")
            ax.set(xlabel="Hypocentral distance (km)")
        for ax in axes[:, 0]:
            ax.set(ylabel="Moment magnitude")
        for ax in axes.flat[len(networks) :]:
            ax.remove()
        figure.colorbar(mesh, ax=list(panels), pad=0.01, label="Number of records")
        figure.suptitle(note, fontsize=9)
    return figure


def _frame(ax: plt.Axes, stations: pd.DataFrame) -> None:
    """Set the limits of a map to the stations and a margin of 4 %, at the scale of their latitude."""
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
