"""Figures of predicted distributions, calibration, residuals, terms and simulated earthquakes."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.spatial import ConvexHull
from scipy.stats import norm

from tfgmm.core import drawing, imt
from tfgmm.core.errors import counted
from tfgmm.evaluation import residuals, scores, variability

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


def legend_beside(ax: plt.Axes, **style) -> None:
    """Draw the legend to the right of a panel, where it hides nothing; `style` is for `Axes.legend`."""
    look = {"frameon": False, "fontsize": 7, "loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    ax.legend(**look | style)


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
        again = number >= len(COLOURS)  # a colour that is taken
        style = {"color": COLOURS[number % len(COLOURS)], "marker": "os^vDPX"[number % 7]}
        style |= {"markersize": 4, "linewidth": 0.9, "capsize": 2, "linestyle": "-:"[again]}
        style |= {"markerfacecolor": "white"} if again else {}
        sides = np.nan_to_num([value - low, high - value])
        artists.append(ax.errorbar(rows["nominal"], value, yerr=sides, label=name, **style))
    ax.set(xlim=(40, 100), ylim=(25, 100), xlabel="Nominal coverage (%)", ylabel="Records inside (%)")
    legend_beside(ax)
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
        "planted": ("Planted median", medians[0], f"{im} ({imt.unit(im)})", median_style),
        "predicted": ("Predicted median", medians[1], f"{im} ({imt.unit(im)})", median_style),
        "difference": ("Predicted minus planted", difference, f"Difference in ln {im}", difference_style),
        "stddev": ("Predicted total sigma", maps["stddev"], sigma_label, {"cmap": "YlGnBu"}),
    }


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
#: Curves of `covariance_between_events`: label, first and last class of the distance between stations.
CURVES = (("same site", 0, 0), ("stations 0.5-7 km apart", 2, 4), ("stations 10-25 km apart", 6, 7))
#: Colour map of signed values, blue below and red above 0; suitable for the colour-blind.
DIVERGING = "RdBu_r"

_POINT_COLOUR, _BIAS_COLOUR, _SCATTER_COLOUR = "#bbbbbb", "#d55e00", "#0072b2"
#: Largest number of residuals that are drawn as points; more residuals are drawn as hexagons.
_MANY = 3000


def against(ax: plt.Axes, rows: pd.DataFrame, binned: pd.DataFrame, variable: str):
    """Draw residuals against a variable, with bias, scatter and intervals in bins of the variable.

    A bin with too few events or sites for an interval is drawn hollow.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the figure.
    rows : pandas.DataFrame
        Records with ``ln_im`` (observed), ``mean`` (predicted) and the column `variable`.
    binned : pandas.DataFrame
        Result of `tfgmm.evaluation.residuals.trends` for the same records and variable.
    variable : str
        Name of the variable, one of `tfgmm.evaluation.residuals.VARIABLES`.

    Returns
    -------
    matplotlib.container.ErrorbarContainer
        The bias of the bins.
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
    if variable == "year":
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    if log:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    return artist


def _draw_residuals(ax: plt.Axes, x: np.ndarray, residual: np.ndarray, log: bool) -> None:
    """Draw residuals [n] against values x [n] as points, or as hexagons if more than `_MANY`."""
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
    """Draw bins with their intervals, and return the error bars.

    The array `bins` has shape [3, n_bins]: value, and lower and upper end of the interval. A bin without
    finite interval is drawn hollow.
    """
    known = np.isfinite(bins).all(axis=0)
    style |= {"markersize": 3}
    ax.plot(x[~known], bins[0, ~known], linestyle="none", markerfacecolor="white", **style)
    value, low, high = bins[:, known]
    style |= {"linewidth": 0.8, "elinewidth": 1, "capsize": 2}
    return ax.errorbar(x[known], value, yerr=[value - low, high - value], label=label, **style)


def trends(table: pd.DataFrame, binned: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw residuals of one model in one cell (site role / event role) against explanatory variables.

    Parameters
    ----------
    table : pandas.DataFrame
        Records of the model in the cell, with the columns of
        `tfgmm.evaluation.residuals.with_variables`.
    binned : pandas.DataFrame
        Rows of the model and cell in the result of `tfgmm.evaluation.residuals.trends`.
    im : str
        Intensity measure, for the label.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per variable.
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


def scale(*maps) -> tuple[float, str]:
    """Return one symmetric scale of colours for maps that are to be compared.

    Parameters
    ----------
    *maps : array_like
        Values of each map; NaN is left out.

    Returns
    -------
    limit : float
        Largest value of the colours, which all but 2 % of the values of each map keep: a multiple of 0.05.
    extend : {"neither", "min", "max", "both"}
        Ends at which values exceed it, for arrows at the colour bar.
    """
    finite = [values[np.isfinite(values)] for values in (np.ravel(np.asarray(one, float)) for one in maps)]
    largest = max((np.quantile(np.abs(values), 0.98) for values in finite if len(values)), default=0.0)
    limit = float(max(np.ceil(largest / 0.05 - 1e-9), 1) * 0.05)
    below, above = (any((side * values > limit).any() for values in finite) for side in (-1, 1))
    return limit, ["neither", "max", "min", "both"][2 * below + above]


def terms_map(ax: plt.Axes, terms: pd.DataFrame, limit: float, **style):
    """Draw site or event terms as coloured points on a map with coastline.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the map.
    terms : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.place_terms`: ``longitude, latitude`` (degrees) and ``term``
        (ln units).
    limit : float
        Largest value of the colours, ln units.
    **style
        Further arguments for `matplotlib.axes.Axes.scatter`.

    Returns
    -------
    matplotlib.collections.PathCollection
        The points.
    """
    look = {"s": 14, "edgecolor": "black", "linewidth": 0.25, "zorder": 2}
    colours = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    artist = ax.scatter(terms["longitude"], terms["latitude"], c=terms["term"], **look | colours | style)
    map_frame(ax, terms["longitude"], terms["latitude"])
    return artist


def map_frame(ax: plt.Axes, longitude, latitude, margin: float = 0.1) -> None:
    """Set the limits of a map to a margin around points, and draw labels and coastline.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the map.
    longitude, latitude : pandas.Series
        Coordinates of the points, degrees.
    margin : float
        Distance from the outermost points to the edge of the map, degrees.
    """
    ax.set(
        xlim=(longitude.min() - margin, longitude.max() + margin),
        ylim=(latitude.min() - margin, latitude.max() + margin),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
        aspect=1 / np.cos(np.radians(latitude.mean())),
    )
    # Labels of longitudes touch each other on narrower maps.
    wide = 0.8 * np.ptp(ax.get_ylim()) / np.cos(np.radians(latitude.mean()))
    middle, half = np.mean(ax.get_xlim()), max(np.ptp(ax.get_xlim()), wide) / 2
    ax.set_xlim(middle - half, middle + half)
    ax.locator_params(nbins=4)
    if half == wide / 2:
        ax.locator_params(axis="x", nbins=3)
    drawing.coastline(ax)


def terms(fit: variability.Decomposition, table: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of the site terms and the event terms of a decomposition of residuals.

    Parameters
    ----------
    fit : Decomposition
        The decomposition.
    table : pandas.DataFrame
        Result of `tfgmm.runs.run.RunFolder.with_places`, for the coordinates of sites and events.
    im : str
        Intensity measure.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Two maps with one scale of colours.
    """
    limit, extend = scale(fit.site_terms, fit.event_terms)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
        for ax, values, name, marker in zip(
            axes, (fit.site_terms, fit.event_terms), ("site", "event"), "^o", strict=True
        ):
            points = terms_map(ax, variability.place_terms(values, table), limit, marker=marker)
            ax.set_title(counted(len(values), f"{name} term"))
        figure.colorbar(points, ax=axes, label=f"Term in ln {im}", shrink=0.8, extend=extend)
        figure.suptitle(note, fontsize=10)
    return figure


def decomposition(ax: plt.Axes, table: pd.DataFrame, by: str = "model"):
    """Draw bars of tau, phi_S2S, phi_SS and sigma with their intervals, ln units.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the figure.
    table : pandas.DataFrame
        Rows of `tfgmm.evaluation.variability.tidy` of one intensity measure, and of one cell or one model.
    by : str
        Column for whose values separate bars are drawn: ``model`` or ``cell``.

    Returns
    -------
    list of matplotlib.container.BarContainer
        The bars for each value of `by`.
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
                hatch="/////" if number >= len(COLOURS) else None,  # a colour that is taken
                edgecolor="white",
                linewidth=0,
                error_kw={"elinewidth": 0.8, "capsize": 1.5},
                label=name,
            )
        )
    ax.set_xticks(place, list(PART_LABELS.values()))
    ax.set_ylabel("Standard deviation (ln units)")
    legend_beside(ax)
    return artists


def covariance_within_events(ax: plt.Axes, classes: pd.DataFrame):
    """Draw the covariance of two residuals of one event against the distance of the stations, with the fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the figure.
    classes : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.field_classes`: distances in km, covariances in squared ln
        units.

    Returns
    -------
    list of matplotlib.lines.Line2D
        The fitted curve.
    """
    rows = classes[classes["source_class"] == 0]
    ax.plot(rows["site_km"], rows["product"], "o", markersize=3.5, color=COLOURS[0], label="found")
    curve = ax.plot(rows["site_km"], rows["fitted"], color=COLOURS[0], lw=1, label="fitted")
    _finish_covariance(ax, "Distance of the stations (km)")
    return curve


def covariance_between_events(ax: plt.Axes, classes: pd.DataFrame):
    """Draw the covariance of residuals of two events against the distance of the hypocentres, with the fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the figure.
    classes : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.field_classes`: distances in km, covariances in squared ln
        units.

    Returns
    -------
    list of matplotlib.lines.Line2D
        The fitted curve of each of `CURVES` that has data.
    """
    curves = []
    for colour, (label, first, last) in zip(COLOURS, CURVES, strict=False):
        rows = classes[(classes["source_class"] > 0) & classes["site_class"].between(first, last)]
        if rows.empty:
            continue
        weighted = rows[["source_km", "product", "fitted"]].mul(rows["pairs"], axis=0)
        number = rows["source_class"]
        mean = weighted.groupby(number).sum().div(rows["pairs"].groupby(number).sum(), axis=0)
        ax.plot(mean["source_km"], mean["product"], "o", markersize=3.5, color=colour)
        curves += ax.plot(mean["source_km"], mean["fitted"], color=colour, lw=1, label=label)
    _finish_covariance(ax, "Distance of the hypocentres (km)")
    return curves


def _finish_covariance(ax: plt.Axes, label: str) -> None:
    """Draw the line of no covariance, the legend and the labels of a figure of covariance by distance."""
    ax.axhline(0, color="0.6", lw=0.6)
    ax.set_xlabel(label)
    ax.set_ylabel("Covariance of residuals (ln units²)")
    ax.legend(frameon=False, fontsize=7)
