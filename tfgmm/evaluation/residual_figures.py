"""Figures of residuals: trends, site and event terms, parts of sigma, correlations."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import norm

from tfgmm.core import drawing
from tfgmm.evaluation import residuals, variability
from tfgmm.evaluation.figures import COLOURS
from tfgmm.stats import bootstrap

#: Axis labels of `tfgmm.evaluation.residuals.VARIABLES`.
LABELS = {
    "magnitude": "Moment magnitude",
    "r_hyp_km": "Hypocentral distance (km)",
    "depth_km": "Depth (km)",
    "vs30_m_s": "Vs30 (m/s)",
    "z_bedrock": "Depth to bedrock (m)",
    "year": "Year",
}
PART_LABELS = {
    "tau": r"$\tau$ (events)",
    "phi_s2s": r"$\phi_{S2S}$ (sites)",
    "phi_ss": r"$\phi_{SS}$ (rest)",
    "sigma": r"$\sigma$ (total)",
}
RESIDUAL = "Residual of ln {} (observed − predicted)"
#: Curves of `path_covariance`: label, first and last class of the distance of the stations.
PATH_CURVES = (("same station", 0, 0), ("stations 0.5-7 km apart", 2, 4), ("stations 10-25 km apart", 6, 7))
#: Colour map of signed values, blue below and red above: also the colour-blind tell these apart.
DIVERGING = "RdBu_r"

_POINT_COLOUR, _BIAS_COLOUR, _SCATTER_COLOUR = "#bbbbbb", "#d55e00", "#0072b2"
#: Largest number of points that are drawn as such; more are drawn as hexagons.
_MANY = 3000


def against(ax: plt.Axes, rows: pd.DataFrame, binned: pd.DataFrame, variable: str):
    """Draw residuals against a variable, with bias and scatter of bins and their intervals.

    A bin with too few events or sites for an interval is hollow.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        Scored records with ``ln_im``, ``mean`` and the variable.
    binned : pandas.DataFrame
        Result of `tfgmm.evaluation.residuals.trends` for these rows and this variable.
    variable : str
        One of `tfgmm.evaluation.residuals.VARIABLES`.
    """
    log = residuals.VARIABLES[variable]
    residual = (rows["ln_im"] - rows["mean"]).to_numpy()
    if log:
        ax.set_xscale("log")
    _draw_residuals(ax, rows[variable].to_numpy(float), residual, log)
    middle = binned[["low", "high"]].to_numpy(float)
    middle = np.sqrt(middle.prod(axis=1)) if log else middle.mean(axis=1)
    ax.axhline(0, color="black", linewidth=0.6)
    bias, scatter = (
        binned[[name, f"{name}_low", f"{name}_high"]].to_numpy(float).T for name in ("bias", "scatter")
    )
    artist = _draw_bins(ax, middle, bias, label="mean", color=_BIAS_COLOUR, marker="o")
    _draw_bins(ax, middle, scatter, label="standard deviation", color=_SCATTER_COLOUR, marker="s")
    limit = max(1.5, float(np.quantile(np.abs(residual), 0.995)))
    ax.set(xlabel=LABELS[variable], ylim=(-limit, limit))
    if log:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    return artist


def _draw_residuals(ax: plt.Axes, x: np.ndarray, residual: np.ndarray, log: bool) -> None:
    """Draw all residuals as points, or as hexagons where they are many."""
    known = np.isfinite(x)
    x, residual = x[known], residual[known]
    if len(x) > _MANY:
        options = {"xscale": "log"} if log else {}
        ax.hexbin(
            x, residual, gridsize=(40, 30), cmap="Greys", bins="log", alpha=0.5, linewidths=0, **options
        )
    else:
        ax.scatter(x, residual, s=2, color=_POINT_COLOUR, linewidths=0, rasterized=True)


def _draw_bins(ax: plt.Axes, x: np.ndarray, bins: np.ndarray, label: str, **style):
    """Draw value, low and high end of the interval of each bin, [3, bin]."""
    known = np.isfinite(bins).all(axis=0)
    style |= {"markersize": 3}
    ax.plot(x[~known], bins[0, ~known], linestyle="none", markerfacecolor="white", **style)
    value, low, high = bins[:, known]
    style |= {"linewidth": 0.8, "elinewidth": 1, "capsize": 2}
    return ax.errorbar(x[known], value, yerr=[value - low, high - value], label=label, **style)


def trends(table: pd.DataFrame, binned: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw residuals of one model in one cell against all variables.

    Parameters
    ----------
    table : pandas.DataFrame
        Scored records of the model in the cell, with the columns of
        `tfgmm.evaluation.residuals.with_variables`.
    binned : pandas.DataFrame
        Rows of the model and cell in `tfgmm.evaluation.residuals.trends`.
    im : str
    note : str
        Title.
    """
    names = [name for name in residuals.VARIABLES if (binned["variable"] == name).any()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.5 * columns, 2.2 * rows + 0.3), squeeze=False, sharey=True
        )
        for ax, name in zip(axes.flat, names, strict=False):
            against(ax, table, binned[binned["variable"] == name], name)
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        axes[0, 0].legend(loc="upper left", frameon=False, fontsize=6.5, ncols=2)
        figure.supylabel(RESIDUAL.format(im), fontsize=9)
        figure.suptitle(note, fontsize=10)
    return figure


def terms_map(ax: plt.Axes, terms: pd.DataFrame, label: str, **style):
    """Draw site or event terms at their places, with coastline and colour bar.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    terms : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.place_terms`.
    label : str
        Label of the colour bar, with unit.
    """
    limit = float(np.quantile(terms["term"].abs(), 0.98))
    look = {"s": 14, "edgecolor": "black", "linewidth": 0.25, "zorder": 2}
    colours = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    artist = ax.scatter(terms["longitude"], terms["latitude"], c=terms["term"], **look | colours | style)
    map_frame(ax, terms["longitude"], terms["latitude"])
    ax.figure.colorbar(artist, ax=ax, label=label, shrink=0.8, extend="both")
    return artist


def map_frame(ax: plt.Axes, longitude, latitude, margin: float = 0.1) -> None:
    """Set the limits of a map to `margin` degrees around points; draw labels and coastline."""
    ax.set(
        xlim=(longitude.min() - margin, longitude.max() + margin),
        ylim=(latitude.min() - margin, latitude.max() + margin),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
        aspect=1 / np.cos(np.radians(latitude.mean())),
    )
    ax.locator_params(nbins=5)
    drawing.coastline(ax)


def terms(fit: variability.Decomposition, table: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of the site terms and the event terms of a decomposition.

    Parameters
    ----------
    fit : Decomposition
    table : pandas.DataFrame
        Result of `tfgmm.runs.run.RunFolder.with_places`.
    im : str
    note : str
        Title.
    """
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
        for ax, values, name, marker in zip(
            axes, (fit.site_terms, fit.event_terms), ("site", "event"), "^o", strict=True
        ):
            terms_map(ax, variability.place_terms(values, table), f"Term in ln {im}", marker=marker)
            ax.set_title(f"{len(values):,} {name} terms")
        figure.suptitle(note, fontsize=10)
    return figure


def decomposition(ax: plt.Axes, table: pd.DataFrame, by: str = "model"):
    """Draw bars of tau, phi_S2S, phi_SS and sigma with their intervals.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Rows of `tfgmm.evaluation.variability.tidy` of one intensity measure and one cell or model.
    by : str
        Column that tells the bars of a group apart: ``model`` or ``cell``.
    """
    names = list(dict.fromkeys(table[by]))
    width = 0.8 / len(names)
    place = np.arange(len(PART_LABELS))
    artists = []
    for number, name in enumerate(names):
        rows = table[table[by] == name].set_index("part").loc[list(PART_LABELS)]
        sides = np.nan_to_num([rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]])
        artists.append(
            ax.bar(
                place + (number - (len(names) - 1) / 2) * width,
                rows["estimate"],
                width,
                yerr=sides,
                color=COLOURS[number % len(COLOURS)],
                error_kw={"elinewidth": 0.8, "capsize": 2},
                label=name,
            )
        )
    ax.set_xticks(place, list(PART_LABELS.values()))
    ax.set_ylabel("Standard deviation (ln units)")
    ax.legend(frameon=False, fontsize=7)
    return artists


def within_event_correlation(ax: plt.Axes, table: pd.DataFrame):
    """Draw the correlation of within-event residuals against distance, with intervals and fitted curve.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Result of `tfgmm.evaluation.sigma_parts.within_event_correlation`.
    """
    distance = np.linspace(0, table["distance_km"].max(), 200)
    curves = []
    for colour, (im, rows) in zip(itertools.cycle(COLOURS), table.groupby("im", sort=False), strict=False):
        ax.errorbar(
            rows["distance_km"],
            rows["correlation"],
            norm.ppf((1 + bootstrap.LEVEL) / 2) * rows["standard_error"],
            fmt="o",
            markersize=3.5,
            color=colour,
            elinewidth=0.8,
            capsize=2,
        )
        share, range_km = rows[["share", "range_km"]].iloc[0]
        label = f"{im}: {share:.2f} exp(−d / {range_km:.0f} km)"
        curves += ax.plot(distance, share * np.exp(-distance / range_km), color=colour, lw=1, label=label)
    ax.axhline(0, color="0.6", lw=0.6)
    ax.set_xlabel("Distance of the sites d (km)")
    ax.set_ylabel("Correlation of within-event residuals")
    ax.legend(frameon=False, fontsize=7)
    return curves


def path_covariance(ax: plt.Axes, table: pd.DataFrame):
    """Draw the covariance of residuals of two events against the distance of their sources, and the fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Rows of `tfgmm.evaluation.sigma_parts.path_covariance` of one intensity measure.
    """
    different_sources = table[table["source_class"] > 0]
    curves = []
    for colour, (label, first, last) in zip(COLOURS, PATH_CURVES, strict=False):
        rows = different_sources[different_sources["site_class"].between(first, last)]
        if rows.empty:
            continue
        weighted = rows[["source_km", "covariance", "fitted"]].mul(rows["pairs"], axis=0)
        classes = rows["source_class"]
        mean = weighted.groupby(classes).sum().div(rows["pairs"].groupby(classes).sum(), axis=0)
        ax.plot(mean["source_km"], mean["covariance"], "o", markersize=3.5, color=colour)
        curves += ax.plot(mean["source_km"], mean["fitted"], color=colour, lw=1, label=label)
    ax.axhline(0, color="0.6", lw=0.6)
    ax.set_xlabel("Distance of the sources (km)")
    ax.set_ylabel("Covariance of residuals (ln units²)")
    ax.legend(frameon=False, fontsize=7)
    return curves
