"""Figure of predicted response spectra at places, one panel a place."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import LogLocator, NullFormatter

from tfgmm.core import drawing, imt
from tfgmm.core.errors import UsageError

#: Largest number of places in one figure.
MOST_PLACES = 12
_BLUE, _COLUMNS = "#1f5a92", 3


def refuse_no_spectrum(ims: tuple[str, ...], places: int) -> None:
    """Raise `UsageError` unless a figure can show the spectra of some measures at some places.

    Parameters
    ----------
    ims : tuple of str
        Intensity measures.
    places : int
        Number of places.
    """
    if sum(im.startswith("SA") for im in ims) < 2:
        raise UsageError(
            "a figure of sites shows spectra, which need two periods: give --im spectrum for a run of "
            "several measures, or write a table (.csv, .parquet)"
        )
    if not 0 < places <= MOST_PLACES:
        raise UsageError(
            f"a figure shows spectra at 1 to {MOST_PLACES} sites, not {places}: write a table (.csv, "
            ".parquet)"
        )


def draw(predictions: xr.Dataset, title: str, observed: xr.DataArray | None = None) -> plt.Figure:
    """Draw the predicted spectra of one earthquake, one panel for each site.

    The line is the median, the dark band the epistemic and the light band the total standard deviation on
    either side. PGA stands at the left edge; PGV is left out. Periods that are interpolated have no symbol.

    Parameters
    ----------
    predictions : xarray.Dataset, [im, site]
        One event of the dataset that `tfgmm.prediction.spectra.Spectra.at_sites` returns.
    title : str
        Title of the figure.
    observed : xarray.DataArray, [im, site], optional
        Observed values, g, drawn as black points; NaN where none is known.

    Returns
    -------
    matplotlib.figure.Figure
    """
    spectral = sorted((im for im in predictions["im"].to_numpy() if im != "PGV"), key=imt.order)
    chosen = predictions.sel(im=spectral)
    periods = np.array([imt.period(im) for im in spectral])
    edge = periods[periods > 0].min() / 2
    periods = np.where(periods > 0, periods, edge)
    count = chosen.sizes["site"]
    columns = 2 if count == 4 else min(count, _COLUMNS)
    rows = -(-count // columns)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(1.0 + 2.5 * columns, 0.9 + 2.3 * rows),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for ax in axes.flat[count:]:
            ax.set_visible(False)
        for number, ax in enumerate(axes.flat[:count]):
            _panel(ax, chosen.isel(site=number), periods)
            if observed is not None:
                ax.plot(
                    periods,
                    observed.sel(im=spectral).isel(site=number),
                    "k.",
                    ms=5,
                    zorder=4,
                    label="record",
                )
            ax.set_title(str(chosen["site_id"].to_numpy()[number]), fontsize=8, loc="left")
        for ax in axes.flat:
            ax.label_outer()
        for ax in axes.flat[max(0, count - columns) : count]:  # nothing is below these
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("Period (s)")
        _periods_axis(axes, "PGA" in spectral, edge)
        for ax in axes[:, 0]:
            ax.set_ylabel("SA (g)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
        figure.suptitle(title, fontsize=9)
    return figure


def _panel(ax: plt.Axes, spectrum: xr.Dataset, periods: np.ndarray) -> None:
    """Draw median and standard deviations at one site."""
    mean = spectrum["mean"].to_numpy()
    for name, alpha, label in (("stddev", 0.18, "total sigma"), ("epistemic", 0.40, "epistemic sigma")):
        sigma = spectrum[name].to_numpy()
        low, high = np.exp(mean - sigma), np.exp(mean + sigma)
        ax.fill_between(periods, low, high, color=_BLUE, alpha=alpha, linewidth=0, label=label)
    ax.plot(periods, np.exp(mean), color=_BLUE, linewidth=1.2, label="median")
    known = spectrum["interpolated"].to_numpy() == ""
    ax.plot(periods[known], np.exp(mean[known]), "o", color=_BLUE, ms=2.5)
    ax.set(xscale="log", yscale="log")
    ax.grid(alpha=0.3, linewidth=0.4)


def _periods_axis(axes: np.ndarray, has_pga: bool, edge: float) -> None:
    """Label the shared axes: periods in s as plain numbers, and PGA at its place."""
    ax = axes[0, 0]
    ax.xaxis.set_major_locator(LogLocator(subs=(1,)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    if has_pga:
        for each in axes.flat:
            each.axvline(edge, color="0.6", linewidth=0.5, linestyle=":")
            each.annotate(
                "PGA",
                (edge, 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=6,
                color="0.4",
                ha="right",
                va="bottom",
            )
