"""Figures of a predicted earthquake: median and total standard deviation, side by side."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, MultipleLocator

from tfgmm.core import drawing

_OUTSIDE = {"outside_magnitude": "magnitude", "outside_depth": "depth"}


def scenario(maps: xr.Dataset, stations: pd.DataFrame) -> plt.Figure:
    """Draw maps of the median of IM and of the total standard deviation of ln IM, and return the figure.

    Pixels outside the training range of distances are hatched. The title says whether magnitude or depth
    lies outside the training range.

    Parameters
    ----------
    maps : xarray.Dataset, [row, col]
        One event of the dataset that `tfgmm.prediction.quantities.Quantities.of` returns.
    stations : pandas.DataFrame
        ``longitude`` and ``latitude`` (degrees) of the stations, which are drawn as triangles.

    Returns
    -------
    matplotlib.figure.Figure
    """
    im = maps.attrs["intensity_measure"]
    panels = {
        "(a) Median": ("median_g", f"{im} (g)", {"norm": LogNorm(), "cmap": "magma_r"}),
        "(b) Total sigma": ("stddev", f"Standard deviation of ln {im}", {"cmap": "YlGnBu"}),
    }
    event = {"longitude": maps["event_longitude"], "latitude": maps["event_latitude"]}
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2))
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            _map(ax, maps, *panel)
            drawing.stations(ax, stations, s=4, linewidth=0.25)
            drawing.epicentre(ax, event)
            ax.set_title(title, loc="left")
            ax.label_outer()
        figure.suptitle(_title(maps), fontsize=10)
    return figure


def _map(ax: plt.Axes, maps: xr.Dataset, name: str, label: str, style: dict) -> None:
    """Draw one variable as a map with a colour bar."""
    longitude, latitude = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
    image = drawing.ln_im_map(ax, longitude, latitude, maps[name].to_numpy(), label, **style)
    if isinstance(image.norm, LogNorm):
        image.colorbar.locator, image.colorbar.formatter = LogLocator(subs=(1, 2, 5)), "{x:g}"
        image.colorbar.minorticks_off()
    far = maps["outside_distance"].to_numpy()
    if far.any():
        ax.contourf(longitude, latitude, far, levels=(0.5, 1), colors="none", hatches=["//"])
    # Without the corners that a grid, turned against the meridians, leaves white.
    ax.set(
        xlim=(longitude[:, 0].max(), longitude[:, -1].min()),
        ylim=(latitude[-1].max(), latitude[0].min()),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(0.5))


def _title(maps: xr.Dataset) -> str:
    """Return the title of a figure: the earthquake, and a line with notes on the prediction."""
    notes = [drawing.SIMULATED] if maps.attrs["simulated"] else []
    notes += ["calibrated sigma"] if maps.attrs["calibrated"] else []
    outside = [what for name, what in _OUTSIDE.items() if maps[name]]
    notes += [f"outside the training range: {', '.join(outside)}"] if outside else []
    notes += ["hatched: outside the training range of distance"] if maps["outside_distance"].any() else []
    event = (
        f"M {maps['magnitude'].item():.1f}, depth {maps['depth_km'].item():.0f} km, "
        f"{maps['event_longitude'].item():.2f}°E {maps['event_latitude'].item():.2f}°N"
    )
    return "\n".join([event, "; ".join(notes)]).strip()
