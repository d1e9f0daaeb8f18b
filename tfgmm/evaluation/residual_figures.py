"""Figures of residuals, their parts and calibration."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import norm

from tfgmm.core import drawing
from tfgmm.evaluation import figures, residuals, scores, variability
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
#: Curves of `path_covariance`: first and last class of the distance of the stations.
PATH_CURVES = (("same station", 0, 0), ("stations 0.5-7 km apart", 2, 4), ("stations 10-25 km apart", 6, 7))
#: Blue below, red above: told apart by all readers.
DIVERGING = "RdBu_r"

_POINT, _BIAS, _SCATTER = "#bbbbbb", "#d55e00", "#0072b2"
_BAR_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
_MANY = 3000  # points; more are drawn as hexagons


def against(ax: plt.Axes, rows: pd.DataFrame, binned: pd.DataFrame, variable: str):
    """Residuals against a variable: all of them faint, bias and scatter of the bins with intervals.

    A bin with too few events or sites for an interval is hollow.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows : pandas.DataFrame
        Scored records with ``ln_im``, ``mean`` and the variable.
    binned : pandas.DataFrame
        Of `tfgmm.evaluation.residuals.trends`, for these rows and this variable.
    variable : str
        One of `tfgmm.evaluation.residuals.VARIABLES`.
    """
    log = residuals.VARIABLES[variable]
    residual = (rows["ln_im"] - rows["mean"]).to_numpy()
    if log:
        ax.set_xscale("log")
    _cloud(ax, rows[variable].to_numpy(float), residual, log)
    middle = binned[["low", "high"]].to_numpy(float)
    middle = np.sqrt(middle.prod(axis=1)) if log else middle.mean(axis=1)
    ax.axhline(0, color="black", linewidth=0.6)
    bias, scatter = (_of(binned, name) for name in ("bias", "scatter"))
    artist = _with_intervals(ax, middle, bias, label="mean", color=_BIAS, marker="o")
    _with_intervals(ax, middle, scatter, label="standard deviation", color=_SCATTER, marker="s")
    far = max(1.5, float(np.quantile(np.abs(residual), 0.995)))
    ax.set(xlabel=LABELS[variable], ylim=(-far, far))
    if log:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    return artist


def _cloud(ax: plt.Axes, x: np.ndarray, residual: np.ndarray, log: bool) -> None:
    known = np.isfinite(x)
    x, residual = x[known], residual[known]
    if len(x) > _MANY:
        options = {"xscale": "log"} if log else {}
        ax.hexbin(
            x, residual, gridsize=(40, 30), cmap="Greys", bins="log", alpha=0.5, linewidths=0, **options
        )
    else:
        ax.scatter(x, residual, s=2, color=_POINT, linewidths=0, rasterized=True)


def _of(binned: pd.DataFrame, name: str) -> np.ndarray:
    """Value, low and high end of its interval, [3, bin]."""
    return binned[[name, f"{name}_low", f"{name}_high"]].to_numpy(float).T


def _with_intervals(ax: plt.Axes, x: np.ndarray, bins: np.ndarray, label: str, **style):
    known = np.isfinite(bins).all(axis=0)
    style |= {"markersize": 3}
    ax.plot(x[~known], bins[0, ~known], linestyle="none", markerfacecolor="white", **style)
    value, low, high = bins[:, known]
    style |= {"linewidth": 0.8, "elinewidth": 1, "capsize": 2}
    return ax.errorbar(x[known], value, yerr=[value - low, high - value], label=label, **style)


def trends(table: pd.DataFrame, found: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Residuals of one model in one cell against all variables.

    Parameters
    ----------
    table : pandas.DataFrame
        Its scored records, of `tfgmm.evaluation.residuals.with_variables`.
    found : pandas.DataFrame
        Its rows of `tfgmm.evaluation.residuals.trends`.
    im : str
    note : str
        Title.
    """
    names = [name for name in residuals.VARIABLES if (found["variable"] == name).any()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.5 * columns, 2.2 * rows + 0.3), squeeze=False, sharey=True
        )
        for ax, name in zip(axes.flat, names, strict=False):
            against(ax, table, found[found["variable"] == name], name)
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        axes[0, 0].legend(loc="upper left", frameon=False, fontsize=6.5, ncols=2)
        figure.supylabel(RESIDUAL.format(im), fontsize=9)
        figure.suptitle(note, fontsize=10)
    return figure


def terms_map(ax: plt.Axes, placed: pd.DataFrame, label: str, **style):
    """Site or event terms at their places, with coastline and colour bar.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    placed : pandas.DataFrame
        Of `tfgmm.evaluation.variability.placed`.
    label : str
        Of the colour bar, with unit.
    """
    far = float(np.quantile(placed["term"].abs(), 0.98))
    look = {"s": 14, "edgecolor": "black", "linewidth": 0.25, "zorder": 2}
    colours = {"cmap": DIVERGING, "vmin": -far, "vmax": far}
    artist = ax.scatter(placed["longitude"], placed["latitude"], c=placed["term"], **look | colours | style)
    map_frame(ax, placed["longitude"], placed["latitude"])
    ax.figure.colorbar(artist, ax=ax, label=label, shrink=0.8, extend="both")
    return artist


def map_frame(ax: plt.Axes, longitude, latitude, margin: float = 0.1) -> None:
    """Limits `margin` degrees around the points, labels, coastline."""
    ax.set(
        xlim=(longitude.min() - margin, longitude.max() + margin),
        ylim=(latitude.min() - margin, latitude.max() + margin),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
        aspect=1 / np.cos(np.radians(latitude.mean())),
    )
    ax.locator_params(nbins=5)
    drawing.coastline(ax)


def terms(one: variability.Decomposition, table: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Maps of the site terms and the event terms of a decomposition.

    Parameters
    ----------
    one : Decomposition
    table : pandas.DataFrame
        Of `tfgmm.runs.run.RunFolder.with_places`.
    im : str
    note : str
        Title.
    """
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
        for ax, values, name, marker in zip(
            axes, (one.site_terms, one.event_terms), ("site", "event"), "^o", strict=True
        ):
            terms_map(ax, variability.placed(values, table), f"Term in ln {im}", marker=marker)
            ax.set_title(f"{len(values):,} {name} terms")
        figure.suptitle(note, fontsize=10)
    return figure


def decomposition(ax: plt.Axes, table: pd.DataFrame, by: str = "model"):
    """Bars of tau, phi_S2S, phi_SS and sigma with their intervals.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Of `tfgmm.evaluation.variability.tidy`, of one intensity measure and one cell or model.
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
                color=_BAR_COLOURS[number % len(_BAR_COLOURS)],
                error_kw={"elinewidth": 0.8, "capsize": 2},
                label=name,
            )
        )
    ax.set_xticks(place, list(PART_LABELS.values()))
    ax.set_ylabel("Standard deviation (ln units)")
    ax.legend(frameon=False, fontsize=7)
    return artists


def within_event_correlation(ax: plt.Axes, table: pd.DataFrame):
    """Correlation of within-event residuals against distance, with 90 % intervals and the fitted curve.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Of `tfgmm.evaluation.parts.within_event_correlation`.
    """
    distance = np.linspace(0, table["distance_km"].max(), 200)
    curves = []
    for colour, (im, rows) in zip(
        itertools.cycle(_BAR_COLOURS), table.groupby("im", sort=False), strict=False
    ):
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
    """Covariance of the residuals of two events against the distance of their sources, and the fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        Of `tfgmm.evaluation.parts.path_covariance`, of one intensity measure.
    """
    other = table[table["source_class"] > 0]
    curves = []
    for colour, (label, first, last) in zip(_BAR_COLOURS, PATH_CURVES, strict=False):
        rows = other[other["site_class"].between(first, last)]
        if rows.empty:
            continue
        weighted = rows[["source_km", "covariance", "fitted"]].mul(rows["pairs"], axis=0)
        of_class = rows["source_class"]
        mean = weighted.groupby(of_class).sum().div(rows["pairs"].groupby(of_class).sum(), axis=0)
        ax.plot(mean["source_km"], mean["covariance"], "o", markersize=3.5, color=colour)
        curves += ax.plot(mean["source_km"], mean["fitted"], color=colour, lw=1, label=label)
    ax.axhline(0, color="0.6", lw=0.6)
    ax.set_xlabel("Distance of the sources (km)")
    ax.set_ylabel("Covariance of residuals (ln units²)")
    ax.legend(frameon=False, fontsize=7)
    return curves


def pit_histogram(ax: plt.Axes, table: pd.DataFrame):
    """Histogram of the probability integral transform with its band.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        ``left, right, density, low, high``, a row a bin.
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
    ax.stairs(table["density"], bounds, baseline=None, color=_SCATTER, linewidth=1.2, label="records")
    ax.axhline(1, color="black", linewidth=1, linestyle="--", label="calibrated")
    ax.set(xlim=(0, 1), ylim=(0, None), xlabel="Probability integral transform", ylabel="Density")
    return band


def coverage(ax: plt.Axes, table: pd.DataFrame, by: str = "model"):
    """Share of the records inside central intervals against their nominal probability.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    table : pandas.DataFrame
        ``statistic`` ("coverage 90%"), ``value, low, high``, and the column `by`; one cell.
    by : str
        Column that tells the lines apart.
    """
    table = table[table["statistic"].str.startswith("coverage ")]
    nominal = table["statistic"].str.extract(r"(\d+)%")[0].astype(float)
    ax.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle="--")
    artists = []
    for number, (name, rows) in enumerate(table.assign(nominal=nominal).groupby(by, sort=False)):
        value, low, high = (100 * rows[column].to_numpy() for column in ("value", "low", "high"))
        style = {"color": _BAR_COLOURS[number % len(_BAR_COLOURS)], "marker": "os^vDPX"[number % 7]}
        sides = np.nan_to_num([value - low, high - value])
        artists.append(
            ax.errorbar(
                rows["nominal"],
                value,
                yerr=sides,
                markersize=4,
                linewidth=0.9,
                capsize=2,
                label=name,
                **style,
            )
        )
    ax.set(xlim=(40, 100), ylim=(25, 100), xlabel="Nominal coverage (%)", ylabel="Records inside (%)")
    ax.legend(frameon=False, fontsize=7)
    return artists


def standardised(full: pd.DataFrame, partial: pd.DataFrame, reference: str, note: str = "") -> plt.Figure:
    """Figure 5 of the publication, and the same out of fold.

    Parameters
    ----------
    full : pandas.DataFrame
        Of `tfgmm.evaluation.residuals.full_ensemble`.
    partial : pandas.DataFrame
        Of `tfgmm.evaluation.scores.partial_ensembles`.
    reference : str
        The reference network.
    note : str
        Title.

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
            figures.residual_distribution(ax, (rows["ln_im"] - rows["mean"]) / rows["stddev"])
            ax.set_title(title, loc="left", fontsize=8)
            ax.label_outer()
        axes[0].legend(loc="upper left", frameon=False, fontsize=7)
        figure.suptitle(note, fontsize=10)
    return figure
