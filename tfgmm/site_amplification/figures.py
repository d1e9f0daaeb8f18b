"""Figures of site amplification: maps, differences of two runs, amplification against period."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from tfgmm.core import drawing, imt
from tfgmm.evaluation.residual_figures import DIVERGING
from tfgmm.site_amplification.site_maps import TITLES

#: Depths to bedrock that are drawn, m.
CONTOURS_M = (500, 1000, 2000, 3000, 4000)
#: Period at which PGA is drawn on a logarithmic axis of periods, s.
PGA_PERIOD_S = 0.03

_UNKNOWN = "#d9d9d9"
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_FACTORS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.0, 4.0)


def amplification(maps: xr.Dataset, stations: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of amplification and standard error by every estimator, and return the figure.

    Pixels are grey where too few training records are nearby (not taught), in the sea and outside the hull
    of the stations. All estimators share one colour scale.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `tfgmm.site_amplification.site_maps.measure` for one intensity measure, with
        ``longitude`` and ``latitude`` [row, col], degrees, and optionally ``z_bedrock`` [row, col], m.
    stations : pandas.DataFrame
        ``longitude, latitude``, degrees.
    im : str
        Intensity measure.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    where = maps["taught"].to_numpy().astype(bool) & maps["footprint"].to_numpy().astype(bool)
    shown = {name: maps[name].where(where) for name in ("amplification", "standard_error")}
    limit = _round_up(float(np.nanquantile(np.abs(shown["amplification"]), 0.99)))
    largest = _round_up(float(np.nanquantile(shown["standard_error"], 0.99)))
    styles = {
        "amplification": ({"cmap": DIVERGING, "vmin": -limit, "vmax": limit}, f"ln amplification of {im}"),
        "standard_error": ({"cmap": "YlGnBu", "vmin": 0, "vmax": largest}, "Standard error (ln units)"),
    }
    names = list(maps["estimator"].to_numpy())
    with mpl.rc_context(drawing.STYLE):
        figure, axes = _make_axes(2, len(names))
        for row, (variable, (style, label)) in zip(axes, styles.items(), strict=True):
            for ax, name in zip(row, names, strict=True):
                image = _draw_map(ax, maps, shown[variable].sel(estimator=name), stations, **style)
                ax.set_title(TITLES.get(name, name), fontsize=8)
            extend = "both" if variable == "amplification" else "max"
            figure.colorbar(image, ax=list(row), label=label, shrink=0.8, extend=extend)
        figure.suptitle(note, fontsize=10)
    return figure


def difference(maps: xr.Dataset, stations: pd.DataFrame, im: str, note: str = "") -> plt.Figure:
    """Draw maps of the differences of two runs by every estimator, and return the figure.

    Pixels are hatched where the difference is not larger than training makes by chance.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `tfgmm.site_amplification.site_maps.subtract` for one intensity measure, with
        ``longitude`` and ``latitude`` [row, col], degrees, and optionally ``z_bedrock`` [row, col], m.
    stations, im, note
        As for `amplification`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    compared = maps["compared"].to_numpy().astype(bool)
    shown = maps["difference"].where(maps["compared"].astype(bool))
    limit = _round_up(float(np.nanquantile(np.abs(shown), 0.99)))
    style = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    names = list(maps["estimator"].to_numpy())
    with mpl.rc_context(drawing.STYLE):
        figure, axes = _make_axes(1, len(names))
        for ax, name, tested in zip(axes[0], names, compared, strict=True):
            values = shown.sel(estimator=name)
            image = _draw_map(ax, maps.assign(footprint=(values.dims, tested)), values, stations, **style)
            chance = tested & ~maps["significant"].sel(estimator=name).to_numpy().astype(bool)
            if chance.any() and min(chance.shape) > 1:
                lonlat = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
                with mpl.rc_context({"hatch.linewidth": 0.4, "hatch.color": "#666666"}):
                    ax.contourf(*lonlat, chance, levels=(0.5, 1), colors="none", hatches=["////"])
            share = 1 - chance.sum() / max(tested.sum(), 1)
            ax.set_title(f"{TITLES.get(name, name)}\nsignificant: {share:.0%}", fontsize=8)
        label = f"Difference in ln amplification of {im}"
        figure.colorbar(image, ax=list(axes[0]), label=label, shrink=0.8, extend="both")
        figure.suptitle(note, fontsize=10)
    return figure


def against_period(table: pd.DataFrame, note: str = "") -> plt.Figure:
    """Draw amplification against period at places, with 90 % intervals and a panel per estimator.

    Symbols are hollow where too few training records are near the place (not taught). PGA is drawn at the
    left end of the axis.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `tfgmm.site_amplification.site_maps.at_places`.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = table.assign(period=[imt.period(im) or PGA_PERIOD_S for im in table["im"]])
    table = table.sort_values("period", kind="stable")
    groups = list(table.groupby("estimator", sort=False))
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            1, len(groups), figsize=(1.2 + 2.9 * len(groups), 3.4), sharey=True, squeeze=False
        )
        for ax, (name, of_estimator) in zip(axes[0], groups, strict=True):
            for number, (place, rows) in enumerate(of_estimator.groupby("place", sort=False)):
                _draw_spectrum(ax, rows, number, str(place))
            _label_periods(ax, table)
            ax.set_title(TITLES.get(name, name), fontsize=8)
        axes[0, 0].set_ylabel("ln amplification (footprint mean is 0)")
        _add_factor_axis(axes[0, -1])
        axes[0, 0].legend(frameon=False, fontsize=7)
        figure.suptitle(note, fontsize=10)
    return figure


def _draw_spectrum(ax: plt.Axes, rows: pd.DataFrame, number: int, label: str) -> None:
    """Draw amplification and intervals at one place; `number` sets the colour and the symbol."""
    # Shifted a little per place: intervals at one period would cover each other.
    period = rows["period"].to_numpy() * 1.06**number
    value = rows["amplification"].to_numpy()
    sides = [value - rows["low"], rows["high"] - value]
    colour, marker = _LINES[number % len(_LINES)], "os^vDPX"[number % 7]
    ax.errorbar(period, value, yerr=sides, color=colour, linewidth=0.9, capsize=2, label=label)
    known = rows["taught"].to_numpy().astype(bool)
    for chosen, face in ((known, colour), (~known, "white")):
        style = {"marker": marker, "s": 20, "facecolor": face, "edgecolor": colour, "zorder": 3}
        ax.scatter(period[chosen], value[chosen], **style)


def _label_periods(ax: plt.Axes, table: pd.DataFrame) -> None:
    """Make the horizontal axis logarithmic in period, s, with a tick at each intensity measure."""
    measures = table.drop_duplicates("im")
    crowded = len(measures) > 8
    labels = [im if im == "PGA" else f"{imt.period(im):g}" for im in measures["im"]]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(measures["period"])))
    ax.xaxis.set_major_formatter(FixedFormatter(labels))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelrotation=90 if crowded else 0, labelsize=7)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlabel("Period (s)")


def _add_factor_axis(ax: plt.Axes) -> None:
    """Add an axis on the right that shows ln amplification as a factor."""
    right = ax.secondary_yaxis("right")
    low, high = np.exp(ax.get_ylim())
    ticks = [factor for factor in _FACTORS if low <= factor <= high]
    right.set_yticks(np.log(ticks), [f"{factor:g}" for factor in ticks])
    right.set_ylabel("Factor")


def _make_axes(rows: int, columns: int) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure and its axes for maps, [rows, columns]."""
    size = (1.3 + 2.6 * columns, 0.6 + 2.5 * rows)
    return plt.subplots(
        rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True, layout="compressed"
    )


def _draw_map(ax: plt.Axes, maps: xr.Dataset, values: xr.DataArray, stations: pd.DataFrame, **style):
    """Draw one map with coast, bedrock contours and stations, and return the image."""
    longitude, latitude = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
    ax.set_facecolor(_UNKNOWN)
    image = ax.pcolormesh(
        longitude, latitude, values.to_numpy(), shading="nearest", rasterized=True, **style
    )
    if "z_bedrock" in maps:
        _draw_bedrock(ax, longitude, latitude, maps["z_bedrock"].to_numpy())
    inside = maps["footprint"].to_numpy().astype(bool)
    ax.set(
        xlim=(longitude[inside].min() - 0.1, longitude[inside].max() + 0.1),
        ylim=(latitude[inside].min() - 0.1, latitude[inside].max() + 0.1),
        aspect=1 / np.cos(np.radians(latitude.mean())),
        xlabel="Longitude (°E)",
        ylabel="Latitude (°N)",
    )
    drawing.coastline(ax)
    drawing.stations(ax, stations, s=4, linewidth=0.25)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5]))
    ax.label_outer()
    return image


def _draw_bedrock(ax: plt.Axes, longitude: np.ndarray, latitude: np.ndarray, depth_m: np.ndarray) -> None:
    """Draw contours of the depth to bedrock, m, at the `CONTOURS_M` within the range of `depth_m`."""
    levels = [level for level in CONTOURS_M if depth_m.min() < level < depth_m.max()]
    if levels:
        lines = ax.contour(
            longitude, latitude, depth_m, levels, colors="#444444", linewidths=0.5, linestyles="--"
        )
        ax.clabel(lines, fontsize=5, fmt=lambda depth: f"{depth / 1000:g} km")


def _round_up(value: float) -> float:
    """Return the limit of a colour scale rounded up to a multiple of 0.05, at least 0.05."""
    return max(0.05, float(np.ceil(value * 20) / 20))
