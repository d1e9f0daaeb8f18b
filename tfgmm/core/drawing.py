"""Draw maps, stations and epicentres, and save figures."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.ticker import LogLocator, MultipleLocator, StrMethodFormatter

from tfgmm.core import coast, files

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
SIMULATED = "simulated records"


def coastline(ax: plt.Axes, **style: Any) -> LineCollection:
    """Draw the coast within the limits of a longitude-latitude map; `style` is that of its lines."""
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    outlines = coast.land(west, south, east, north)
    look: dict[str, Any] = {"colors": "black", "linewidths": 0.6}
    lines = LineCollection(outlines, **look | style)
    ax.add_collection(lines, autolim=False)
    return lines


def ln_im_map(ax: plt.Axes, longitude, latitude, values, label: str, **style: Any) -> QuadMesh:
    """Draw a map of values at pixel centres, with coastline and colour bar.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    longitude, latitude : ndarray, [row, col]
        Pixel centres, degrees.
    values : ndarray, [row, col]
    label : str
        Label of the colour bar, with unit.
    **style
        Options of `matplotlib.axes.Axes.pcolormesh`.
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


def stations(ax: plt.Axes, table: pd.DataFrame, **style: Any) -> PathCollection:
    """Draw the stations of a table as triangles."""
    look: dict[str, Any] = {
        "marker": "^",
        "s": 8,
        "facecolor": "none",
        "edgecolor": "black",
        "linewidth": 0.4,
    }
    return ax.scatter(table["longitude"], table["latitude"], **look | style)


def epicentre(ax: plt.Axes, event, **style: Any) -> PathCollection:
    """Draw the epicentre of an event, a row of an events table, as a star."""
    look: dict[str, Any] = {"marker": "*", "s": 110, "facecolor": "white", "edgecolor": "black"}
    look |= {"linewidth": 0.7, "zorder": 3, "clip_on": True}
    return ax.scatter(event["longitude"], event["latitude"], **look | style)


def plain_ticks(bar: Colorbar) -> None:
    """Label 1, 2 and 5 of every decade of a colour bar as plain numbers."""
    bar.locator, bar.formatter = LogLocator(subs=(1, 2, 5)), StrMethodFormatter("{x:g}")
    bar.minorticks_off()


def crop(ax: plt.Axes, longitude: np.ndarray, latitude: np.ndarray) -> None:
    """Crop a map to where all of its grid, turned against the meridians, has values: no white corners.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    longitude, latitude : ndarray, [row, col]
        Pixel centres, degrees.
    """
    ax.set(
        xlim=(longitude[:, 0].max(), longitude[:, -1].min()),
        ylim=(latitude[-1].max(), latitude[0].min()),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(0.5))


def save(
    figure: plt.Figure, path: Path, endings: tuple[str, ...] = (".png", ".pdf"), **options: Any
) -> None:
    """Save a figure as `path` with each of the endings, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : Path
        Name without ending.
    endings : tuple of str
        Formats, by default PNG and PDF.
    **options
        Options of `matplotlib.figure.Figure.savefig`.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    with mpl.rc_context(STYLE):
        for ending in endings:
            # A name such as SA(1.0) has no suffix of its own to replace.
            named, image = path.with_name(path.name + ending), io.BytesIO()
            # In memory: on a full disk the writer of PDF cannot let go of its file without a warning.
            kind = named.suffix.lower().removeprefix(".")
            figure.savefig(image, format=kind, bbox_inches="tight", **options)
            with files.whole_file(named) as temporary:
                temporary.write_bytes(image.getbuffer())
    plt.close(figure)
