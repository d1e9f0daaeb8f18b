"""Figures of predicted distributions, of calibration, and of simulated earthquakes.

A drawing function with a parameter `ax` draws into these Axes and returns an artist; a drawing function
without `ax` returns a new figure. Residuals are observed minus predicted ln IM; standardised residuals z
are residuals divided by the predicted standard deviation.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import LogNorm
from scipy.spatial import ConvexHull
from scipy.stats import norm

from tfgmm.core import drawing
from tfgmm.evaluation import scores

#: Colours of lines and bars.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")


def residual_distribution(ax: plt.Axes, z: pd.Series):
    """Draw a histogram of standardised residuals and the standard normal density.

    A solid line marks the mean of the residuals; dashed lines mark the mean plus and minus the standard
    deviation, as in Figures 5 to 7 of Sunny, Cotton & Lilienkamp (2022).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the histogram.
    z : pandas.Series
        Standardised residuals, [n]; values beyond 5 are drawn at 5.

    Returns
    -------
    tuple
        Densities, edges of the bins and bars, as `matplotlib.axes.Axes.hist` returns them.
    """
    bins = np.linspace(-5, 5, 61)
    artist = ax.hist(z.clip(-5, 5), bins=bins, density=True, color="#56b4e9", label="records")
    ax.plot(bins, norm.pdf(bins), color="black", linewidth=1, label="standard normal")
    ax.axvline(z.mean(), color="#d55e00", linewidth=1, label="mean")
    for side, label in ((-1, None), (1, "mean ± std")):
        ax.axvline(z.mean() + side * z.std(), color="#d55e00", linewidth=1, linestyle="--", label=label)
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
    """Draw histograms of standardised residuals of the partial ensembles, one for each of the four cells.

    A cell is a combination of site role and event role, see `tfgmm.evaluation.scores.CELLS`.

    Parameters
    ----------
    partial : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.partial_ensembles`, one row per record and chunk.
    reference : str
        Name of the reference network, whose records are drawn.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Four histograms.
    """
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(7, 5), sharex=True, sharey=True)
        cells = scores.cells(partial, reference)
        for ax, cell in zip(axes.flat, list(cells)[:4], strict=True):
            records = cells[cell]
            residual_distribution(ax, (records["ln_im"] - records["mean"]) / records["stddev"])
            ax.set_title("{} sites, {} events".format(*cell.split(" / ")))
            ax.label_outer()
        axes[0, 0].legend(loc="upper left", frameon=False, fontsize=7)
        if note:
            figure.suptitle(note)
    return figure


def pit_histogram(ax: plt.Axes, table: pd.DataFrame):
    """Draw a histogram of the probability integral transform with its simultaneous band.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the histogram.
    table : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.pit_histogram`: one row per bin, with ``left, right,
        density, low, high``.

    Returns
    -------
    matplotlib.collections.PolyCollection
        The band.
    """
    bounds = np.append(table["left"], table["right"].iloc[-1])
    band = ax.fill_between(
        bounds,
        *(np.append(table[side], table[side].iloc[-1]) for side in ("low", "high")),
        step="post",
        color="#cccccc",
        linewidth=0,
        label="band of the estimate",
    )
    ax.stairs(table["density"], bounds, baseline=None, color=COLOURS[0], linewidth=1.2, label="records")
    ax.axhline(1, color="black", linewidth=1, linestyle="--", label="calibrated")
    ax.set(xlim=(0, 1), ylim=(0, None), xlabel="Probability integral transform", ylabel="Density")
    return band


def coverage(ax: plt.Axes, table: pd.DataFrame, by: str = "model"):
    """Draw the share of records inside central prediction intervals against the nominal probability.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the figure.
    table : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.score` for one cell: ``statistic`` (rows named like
        ``coverage 90%``), ``value, low, high`` (shares, 0 to 1), and the column `by`.
    by : str
        Column for whose values separate lines are drawn.

    Returns
    -------
    list of matplotlib.container.ErrorbarContainer
        One line for each value of `by`.
    """
    table = table[table["statistic"].str.startswith("coverage ")]
    nominal = table["statistic"].str.extract(r"(\d+)%")[0].astype(float)
    ax.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle="--")
    artists = []
    for number, (name, rows) in enumerate(table.assign(nominal=nominal).groupby(by, sort=False)):
        value, low, high = (100 * rows[column].to_numpy() for column in ("value", "low", "high"))
        style = {"color": COLOURS[number % len(COLOURS)], "marker": "os^vDPX"[number % 7]}
        style |= {"markersize": 4, "linewidth": 0.9, "capsize": 2}
        sides = np.nan_to_num([value - low, high - value])
        artists.append(ax.errorbar(rows["nominal"], value, yerr=sides, label=name, **style))
    ax.set(xlim=(40, 100), ylim=(25, 100), xlabel="Nominal coverage (%)", ylabel="Records inside (%)")
    ax.legend(frameon=False, fontsize=7)
    return artists


def standardised(full: pd.DataFrame, partial: pd.DataFrame, reference: str, note: str = "") -> plt.Figure:
    """Draw standardised residuals of the full ensemble beside the residuals at held-out sites.

    The full ensemble combines all networks. The residuals at held-out sites are residuals of the partial
    ensembles for validation events: of networks that trained on neither the site nor the event.

    Parameters
    ----------
    full : pandas.DataFrame
        Result of `tfgmm.evaluation.residuals.full_ensemble`, one row per record.
    partial : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.partial_ensembles`, one row per record and chunk.
    reference : str
        Name of the reference network; held-out records of this network are drawn.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Two histograms.

    References
    ----------
    Sunny, Cotton & Lilienkamp (2022), Figure 5.
    """
    held_out = scores.cells(partial, reference)["validation / validation"]
    titles = (
        "(a) Full ensemble, all records: mixes networks\nthat trained on a record with those that did not",
        "(b) Out of fold: held-out sites, validation events,\nnetworks that saw neither",
    )
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.1), sharey=True)
        for ax, rows, title in zip(axes, (full, held_out), titles, strict=True):
            residual_distribution(ax, (rows["ln_im"] - rows["mean"]) / rows["stddev"])
            ax.set_title(title, loc="left", fontsize=8)
            ax.label_outer()
        axes[0].legend(loc="upper left", frameon=False, fontsize=7)
        figure.suptitle(note, fontsize=10)
    return figure


# ---- simulated earthquakes -----------------------------------------------------------------------

#: Panels of `simulated_event`.
PANELS = ("planted", "predicted", "difference", "stddev")


def simulated_event(
    maps: xr.Dataset, event: pd.Series, table: pd.DataFrame, im: str, panels: tuple[str, ...] = PANELS
) -> plt.Figure:
    """Draw maps of the planted and the predicted median of a simulated earthquake, and of predicted sigma.

    The planted median is the true one, from which the records were simulated.

    Parameters
    ----------
    maps : xarray.Dataset
        Maps [row, col] of one event: ``planted`` and ``mean``, medians of ln IM (IM in g), and ``stddev``,
        predicted total standard deviation in ln units; coordinates ``longitude`` and ``latitude``.
    event : pandas.Series
        Row of the earthquake in the events table.
    table : pandas.DataFrame
        Stations; the convex hull of the stations is dashed.
    im : str
        Intensity measure.
    panels : tuple of str
        Names of panels, a selection of `PANELS`; four are drawn two by two, fewer side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One map per panel.
    """
    rows = 2 if len(panels) == 4 else 1
    cols = len(panels) // rows
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(rows, cols, figsize=(3.5 * cols, 2.7 * rows + 0.3), squeeze=False)
        styles = _describe_panels(maps, im)
        lonlat = [maps[axis].to_numpy() for axis in ("longitude", "latitude")]
        hull = table.iloc[ConvexHull(table[["longitude", "latitude"]]).vertices]
        for ax, name, letter in zip(axes.flat, panels, "abcd", strict=False):
            title, values, label, style = styles[name]
            image = drawing.ln_im_map(ax, *lonlat, values, label, **style)
            if isinstance(image.norm, LogNorm):
                drawing.plain_ticks(image.colorbar)
            drawing.stations(ax, table, s=4, linewidth=0.25)
            ax.fill(hull["longitude"], hull["latitude"], fill=False, linestyle="--", linewidth=0.6)
            drawing.epicentre(ax, event)
            drawing.crop(ax, *lonlat)
            ax.set_title(f"({letter}) {title}", loc="left")
            ax.label_outer()
        figure.suptitle(
            f"M {event['magnitude']:.1f}, depth {event['depth_km']:.0f} km, "
            f"{event['origin_time']:%Y-%m-%d} ({drawing.SIMULATED})",
            fontsize=10,
        )
    return figure


def _describe_panels(maps: xr.Dataset, im: str) -> dict[str, tuple]:
    """Return title, map [row, col], label of the colour bar and style of each of `PANELS`, by name."""
    medians = np.exp(maps[["planted", "mean"]].to_array())
    difference = maps["mean"] - maps["planted"]
    median_style = {"norm": LogNorm(float(medians.min()), float(medians.max())), "cmap": "magma_r"}
    limit = float(abs(difference).max())
    difference_style = {"vmin": -limit, "vmax": limit, "cmap": "RdBu_r"}
    sigma_label = f"Standard deviation of ln {im}"
    return {
        "planted": ("Planted median", medians[0], f"{im} (g)", median_style),
        "predicted": ("Predicted median", medians[1], f"{im} (g)", median_style),
        "difference": ("Predicted minus planted", difference, f"Difference in ln {im}", difference_style),
        "stddev": ("Predicted total sigma", maps["stddev"], sigma_label, {"cmap": "YlGnBu"}),
    }
