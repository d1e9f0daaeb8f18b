"""Maps and distributions. A drawing function takes an Axes and a table or map and returns the artist."""

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


def residual_distribution(ax: plt.Axes, z: pd.Series):
    """Histogram of standardised residuals against the standard normal density.

    Solid lines mark the empirical mean, dashed ones the mean plus and minus the standard deviation, as
    in Figures 5 to 7 of Sunny, Cotton & Lilienkamp (2022).
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
    """Standardised residuals of the partial ensembles in the four cells."""
    with mpl.rc_context(drawing.STYLE):
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


#: Panels of `simulated_event`.
PANELS = ("planted", "predicted", "difference", "stddev")


def simulated_event(
    maps: xr.Dataset, event: pd.Series, table: pd.DataFrame, im: str, panels: tuple[str, ...] = PANELS
) -> plt.Figure:
    """One earthquake: planted median, predicted median, their difference, predicted standard deviation.

    Parameters
    ----------
    maps : xarray.Dataset
        ``planted`` and ``mean`` (ln of g) and ``stddev`` [row, col], on ``longitude`` and ``latitude``.
    event : pandas.Series
        Its row of the events table.
    table : pandas.DataFrame
        Stations; their convex hull is dashed.
    im : str
        Intensity measure.
    panels : tuple of str
        Which of `PANELS`; four are drawn two by two, fewer side by side.
    """
    rows = 2 if len(panels) == 4 else 1
    cols = len(panels) // rows
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(rows, cols, figsize=(3.5 * cols, 2.7 * rows + 0.3), squeeze=False)
        drawn, place = _event_panels(maps, im), [maps[c].to_numpy() for c in ("longitude", "latitude")]
        hull = table.iloc[ConvexHull(table[["longitude", "latitude"]]).vertices]
        for ax, name, letter in zip(axes.flat, panels, "abcd", strict=False):
            title, values, label, style = drawn[name]
            image = drawing.ln_im_map(ax, *place, values, label, **style)
            if isinstance(image.norm, LogNorm):
                drawing.plain_ticks(image.colorbar)
            drawing.stations(ax, table, s=4, linewidth=0.25)
            ax.fill(hull["longitude"], hull["latitude"], fill=False, linestyle="--", linewidth=0.6)
            drawing.epicentre(ax, event)
            drawing.crop(ax, *place)
            ax.set_title(f"({letter}) {title}", loc="left")
            ax.label_outer()
        figure.suptitle(
            f"M {event['magnitude']:.1f}, depth {event['depth_km']:.0f} km, "
            f"{event['origin_time']:%Y-%m-%d} ({drawing.SIMULATED})",
            fontsize=10,
        )
    return figure


def _event_panels(maps: xr.Dataset, im: str) -> dict[str, tuple]:
    """Title, values, label of the colour bar and style of each of `PANELS`."""
    medians = np.exp(maps[["planted", "mean"]].to_array())
    difference = maps["mean"] - maps["planted"]
    of_median = {"norm": LogNorm(float(medians.min()), float(medians.max())), "cmap": "magma_r"}
    far = float(abs(difference).max())
    of_difference = {"vmin": -far, "vmax": far, "cmap": "RdBu_r"}
    spread = f"Standard deviation of ln {im}"
    return {
        "planted": ("Planted median", medians[0], f"{im} (g)", of_median),
        "predicted": ("Predicted median", medians[1], f"{im} (g)", of_median),
        "difference": ("Predicted minus planted", difference, f"Difference in ln {im}", of_difference),
        "stddev": ("Predicted total sigma", maps["stddev"], spread, {"cmap": "YlGnBu"}),
    }
