"""Maps and distributions. A drawing function takes an Axes and a table or map and returns the artist."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from scipy.stats import norm

from tfgmm import coast, files
from tfgmm.analysis import scores

STYLE = {"font.size": 9, "axes.titlesize": 9, "savefig.dpi": 200, "figure.constrained_layout.use": True}
SIMULATED = "simulated records"


def coastline(ax: plt.Axes, **style):
    """The coast within the limits of a longitude-latitude map."""
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    outlines = coast.land(west, south, east, north)
    lines = LineCollection(outlines, **{"colors": "black", "linewidths": 0.6} | style)
    return ax.add_collection(lines, autolim=False)


def ln_im_map(ax: plt.Axes, longitude, latitude, values, label: str, **style):
    """A map on pixel centres with coastline and colour bar.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    longitude, latitude, values : ndarray, [row, col]
    label : str
        Of the colour bar, with unit.
    """
    image = ax.pcolormesh(longitude, latitude, values, shading="nearest", rasterized=True, **style)
    ax.set(
        xlim=(longitude.min(), longitude.max()),
        ylim=(latitude.min(), latitude.max()),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
        aspect=1 / np.cos(np.radians(latitude.mean())),
    )
    coastline(ax)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    return image


def stations(ax: plt.Axes, table: pd.DataFrame, **style):
    """Stations as triangles."""
    look = {"marker": "^", "s": 8, "facecolor": "none", "edgecolor": "black", "linewidth": 0.4}
    return ax.scatter(table["longitude"], table["latitude"], **look | style)


def residual_distribution(ax: plt.Axes, z: pd.Series):
    """Histogram of standardised residuals against the standard normal density.

    Solid lines mark the empirical mean, dashed ones the mean plus and minus the standard deviation, as
    in Figures 5 to 7 of Sunny, Cotton & Lilienkamp (2022).
    """
    bins = np.linspace(-5, 5, 61)
    artist = ax.hist(z.clip(-5, 5), bins=bins, density=True, color="#56b4e9", label="records")
    ax.plot(bins, norm.pdf(bins), color="black", linewidth=1, label="standard normal")
    ax.axvline(z.mean(), color="#d55e00", linewidth=1)
    for side in (-1, 1):
        ax.axvline(z.mean() + side * z.std(), color="#d55e00", linewidth=1, linestyle="--")
    ax.text(
        0.97,
        0.95,
        f"mean {z.mean():.2f}\nstd {z.std():.2f}\nn {len(z):,}",
        transform=ax.transAxes,
        ha="right",
        va="top",
    )
    ax.set(xlim=(-5, 5), xlabel="Standardised residual", ylabel="Density")
    return artist


def four_cells(partial: pd.DataFrame, reference: str, note: str = "") -> plt.Figure:
    """Standardised residuals of the partial ensembles in the four cells."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(7, 5), sharex=True, sharey=True)
        chosen = scores.cells(partial, reference)
        for ax, cell in zip(axes.flat, list(chosen)[:4], strict=True):
            records = chosen[cell]
            residual_distribution(ax, (records["ln_im"] - records["mean"]) / records["stddev"])
            ax.set_title("{} sites, {} events".format(*cell.split(" / ")))
            ax.label_outer()
        axes[0, 0].legend(loc="upper left", frameon=False, fontsize=7)
        if note:
            figure.suptitle(note)
    return figure


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as PNG and PDF, `path` with these endings, and close it.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    with mpl.rc_context(STYLE):
        for suffix in (".png", ".pdf"):
            # A name such as SA(1.0) has no suffix of its own to replace.
            with files.whole_file(path.with_name(path.name + suffix)) as temporary:
                figure.savefig(temporary)
    plt.close(figure)
