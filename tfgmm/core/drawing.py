"""Functions that draw coastlines, maps, stations and epicentres with Matplotlib, and save figures."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

from tfgmm.core import coast, files

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
SIMULATED = "simulated records"


def coastline(ax: plt.Axes, **style: Any) -> LineCollection:
    """Draw the coastline within the limits of a longitude-latitude map, and return the lines.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with longitude and latitude in degrees; the limits are already set.
    **style
        Options of `matplotlib.collections.LineCollection`, instead of thin black lines.

    Returns
    -------
    matplotlib.collections.LineCollection
        The lines that have been added to the axes.
    """
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    outlines = coast.land(west, south, east, north)
    look: dict[str, Any] = {"colors": "black", "linewidths": 0.6}
    lines = LineCollection(outlines, **look | style)
    ax.add_collection(lines, autolim=False)
    return lines


def ln_im_map(ax: plt.Axes, longitude, latitude, values, label: str, **style: Any) -> QuadMesh:
    """Draw an image of pixel values on a longitude-latitude map, with coastline and colour bar.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes on which the map is drawn.
    longitude, latitude : ndarray, [n_rows, n_cols]
        Coordinates of the pixel centres, degrees.
    values : ndarray, [n_rows, n_cols]
        Values of the pixels, for example ln IM with the intensity measure IM in g.
    label : str
        Label of the colour bar, with unit.
    **style
        Options of `matplotlib.axes.Axes.pcolormesh`.

    Returns
    -------
    matplotlib.collections.QuadMesh
        The image.
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
    """Draw stations as triangles on a longitude-latitude map, and return the markers.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with longitude and latitude in degrees.
    table : pandas.DataFrame
        Columns ``longitude`` and ``latitude``, degrees; one row per station.
    **style
        Options of `matplotlib.axes.Axes.scatter`, instead of small open triangles.

    Returns
    -------
    matplotlib.collections.PathCollection
        The markers.
    """
    look: dict[str, Any] = {
        "marker": "^",
        "s": 8,
        "facecolor": "none",
        "edgecolor": "black",
        "linewidth": 0.4,
    }
    return ax.scatter(table["longitude"], table["latitude"], **look | style)


def epicentre(ax: plt.Axes, event, **style: Any) -> PathCollection:
    """Draw the epicentre of one event as a star on a longitude-latitude map, and return the marker.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with longitude and latitude in degrees.
    event : pandas.Series or mapping
        Row of an events table, with ``longitude`` and ``latitude`` in degrees.
    **style
        Options of `matplotlib.axes.Axes.scatter`, instead of a white star.

    Returns
    -------
    matplotlib.collections.PathCollection
        The marker.
    """
    look: dict[str, Any] = {"marker": "*", "s": 110, "facecolor": "white", "edgecolor": "black"}
    look |= {"linewidth": 0.7, "zorder": 3, "clip_on": True}
    return ax.scatter(event["longitude"], event["latitude"], **look | style)


def degrees(longitude: float, latitude: float) -> str:
    """Return a position as text.

    >>> degrees(-117.5, 35.7)
    '117.50°W 35.70°N'

    Parameters
    ----------
    longitude, latitude : float
        Degrees; west and south are negative.

    Returns
    -------
    str
    """
    east, north = "EW"[int(longitude < 0)], "NS"[int(latitude < 0)]
    return f"{abs(longitude):.2f}°{east} {abs(latitude):.2f}°{north}"


def plain_ticks(bar: Colorbar) -> None:
    """Label the values 1, 2 and 5 of each decade of a logarithmic colour bar as plain numbers.

    Parameters
    ----------
    bar : matplotlib.colorbar.Colorbar
        Colour bar; its tick locator and formatter are replaced, and its minor ticks are removed.
    """
    bar.locator, bar.formatter = LogLocator(subs=(1, 2, 5)), StrMethodFormatter("{x:g}")
    bar.minorticks_off()


def crop(ax: plt.Axes, longitude: np.ndarray, latitude: np.ndarray) -> None:
    """Set the limits of a map to the largest box without white corners, with ticks that do not touch.

    The grid of a metric projection is rotated against the meridians; outside the box, at the corners of the
    map, it has no values.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with longitude and latitude in degrees.
    longitude, latitude : ndarray, [n_rows, n_cols]
        Coordinates of the pixel centres, degrees; the first row is north, the first column is west.
    """
    ax.set(
        xlim=(longitude[:, 0].max(), longitude[:, -1].min()),
        ylim=(latitude[-1].max(), latitude[0].min()),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def save(
    figure: plt.Figure, path: Path, endings: tuple[str, ...] = (".png", ".pdf"), **options: Any
) -> None:
    """Save a figure in one file per format, and close the figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to save.
    path : Path
        Path of the files without ending.
    endings : tuple of str
        Endings that select the formats, by default PNG and PDF; each ending is appended to `path`.
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
