"""Draw maps, stations and epicentres, and save figures."""

import io
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.ticker import LogLocator, MultipleLocator

from tfgmm.core import coast, files

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


def epicentre(ax: plt.Axes, event, **style):
    """The epicentre of an event as a star."""
    look = {"marker": "*", "s": 110, "facecolor": "white", "edgecolor": "black", "linewidth": 0.7}
    return ax.scatter(
        event["longitude"], event["latitude"], **{"zorder": 3, "clip_on": True} | look | style
    )


def plain_ticks(bar: Colorbar) -> None:
    """1, 2 and 5 of every decade, as plain numbers."""
    bar.locator, bar.formatter = LogLocator(subs=(1, 2, 5)), "{x:g}"
    bar.minorticks_off()


def crop(ax: plt.Axes, longitude: np.ndarray, latitude: np.ndarray) -> None:
    """Leave out the corners that a grid, turned against the meridians, leaves white."""
    ax.set(
        xlim=(longitude[:, 0].max(), longitude[:, -1].min()),
        ylim=(latitude[-1].max(), latitude[0].min()),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(0.5))


def save(figure: plt.Figure, path: Path, endings: tuple[str, ...] = (".png", ".pdf"), **options) -> None:
    """Write a figure, by default as PNG and PDF, as `path` with these endings, and close it.

    `options` are those of `matplotlib.figure.Figure.savefig`.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    with mpl.rc_context(STYLE):
        for ending in endings:
            # A name such as SA(1.0) has no suffix of its own to replace.
            named, drawn = path.with_name(path.name + ending), io.BytesIO()
            # In memory: on a full disk the writer of PDF cannot let go of its file without a warning.
            kind = named.suffix.lower().removeprefix(".")
            figure.savefig(drawn, format=kind, bbox_inches="tight", **options)
            with files.whole_file(named) as temporary:
                temporary.write_bytes(drawn.getbuffer())
    plt.close(figure)
