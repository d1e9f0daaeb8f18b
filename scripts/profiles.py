#!/usr/bin/env python
"""Draw the median and sigma of a run against distance from an epicentre, beside published models."""

from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyproj
import typer
import xarray as xr

from tfgmm.cli.console import console, import_tensorflow, run_script
from tfgmm.core import drawing
from tfgmm.prediction.conditioning import Known
from tfgmm.prediction.sanity import FEW_RECORDS
from tfgmm.runs.run import RunFolder
from tfgmm.stats import published_scaling

MAGNITUDES = (5.0, 6.0, 7.0, 7.5)
#: Vs30 of all places, m/s.
VS30_M_S = 300.0


def predict(run: RunFolder, place: tuple[float, float, float], azimuth: float) -> xr.Dataset:
    """Return predictions on a line from a place (longitude, latitude, depth in km), [event, site]."""
    from tfgmm.prediction import ensemble

    grid, (longitude, latitude, depth_km) = run.experiment.grid, place
    away_km = np.linspace(0.5, 200, 120)
    geod, n = pyproj.Geod(ellps="WGS84"), len(away_km)
    lon, lat, _ = geod.fwd(np.full(n, longitude), np.full(n, latitude), np.full(n, azimuth), 1000 * away_km)
    _, _, inside = grid.locate(lon, lat)
    sites = pd.DataFrame({"longitude": lon, "latitude": lat})[inside]
    scenario = {"longitude": longitude, "latitude": latitude, "depth_km": depth_km}
    events = pd.DataFrame([scenario | {"magnitude": magnitude} for magnitude in MAGNITUDES])
    known = Known(vs30_m_s=VS30_M_S) if run.experiment.backbone != "none" else Known()
    return ensemble.load(run).at_sites(events, sites, known=known)


def published(run: RunFolder, magnitude: float, depth_km: float, r_hyp_km) -> dict[str, np.ndarray]:
    """Return the medians of the published models for the depth, g, by name."""
    experiment = run.experiment
    medians = published_scaling.medians_at_places(
        experiment.region, experiment.ims[0], magnitude, depth_km, r_hyp_km=r_hyp_km, vs30=VS30_M_S
    )
    return {name: np.exp(ln_im) for name, ln_im in medians.items()}


def draw(run: RunFolder, predictions: xr.Dataset, depth_km: float) -> plt.Figure:
    """Draw a panel of medians and a panel of sigma per magnitude, and return the figure."""
    im = predictions.attrs["intensity_measure"]
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            2, len(MAGNITUDES), figsize=(9.6, 4.8), sharex=True, sharey="row", height_ratios=(2, 1)
        )
        for column, magnitude in enumerate(MAGNITUDES):
            event = predictions.isel(event=column)
            r_km, mean, sigma = (event[name].to_numpy() for name in ("r_hyp_km", "mean", "stddev"))
            top, bottom = axes[:, column]
            models = published(run, magnitude, depth_km, r_km)
            styles = plt.get_cmap("tab10").colors
            for colour, (name, median_g) in zip(styles, models.items(), strict=False):
                top.plot(r_km, median_g, "--", color=colour, linewidth=0.9, label=name)
            few = event["support"].to_numpy() < FEW_RECORDS
            for ax, values in ((top, np.exp(mean)), (bottom, sigma)):
                ax.plot(r_km, values, "k", linewidth=1.6, label="tfgmm")
                ax.plot(
                    *(r_km[few][::6], values[few][::6], "o"),
                    **{"color": "w", "markeredgecolor": "k", "markersize": 3.5},
                    label=f"tfgmm, support below {FEW_RECORDS}",
                )
            top.set(xscale="log", yscale="log", title=f"M {magnitude:g}")
            bottom.set_xlabel("Hypocentral distance (km)")
            nearest = 0.98 * r_km.min()  # a tick is drawn at the depth, which is hardly nearer
            ticks = [tick for tick in (10, 20, 30, 40, 60, 100, 150, 200) if nearest <= tick <= r_km.max()]
            bottom.set_xlim(nearest, 1.02 * r_km.max())
            bottom.set_xticks(ticks, [str(tick) for tick in ticks])
            bottom.minorticks_off()
        axes[0, 0].set_ylabel(f"Median {im} (g)")
        axes[1, 0].set_ylabel(f"Sigma of ln {im}")
        handles, labels = axes[0, -1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=7)
        note = f"{run.path.name}: depth {depth_km:g} km, Vs30 {VS30_M_S:g} m/s"
        figure.suptitle(note + (f"; {drawing.SIMULATED}" if run.simulated else ""), fontsize=9)
    return figure


def main(  # noqa: PLR0917
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    longitude: Annotated[float, typer.Argument(help="Longitude of the epicentre, degrees.")],
    latitude: Annotated[float, typer.Argument(help="Latitude of the epicentre, degrees.")],
    depth: Annotated[float, typer.Argument(help="Depth of the hypocentre, km.")],
    out: Annotated[Path, typer.Argument(help="Figure without ending.")],
    azimuth: Annotated[float, typer.Option(help="Direction of the line, degrees from north.")] = 315.0,
) -> None:
    """Draw profiles of a run beside the published models."""
    import_tensorflow()
    opened = RunFolder.open(run)
    predictions = predict(opened, (longitude, latitude, depth), azimuth)
    drawing.save(draw(opened, predictions, depth), out)
    nearest = predictions.isel(site=0)
    for number, magnitude in enumerate(MAGNITUDES):
        event = nearest.isel(event=number)
        models = published(opened, magnitude, depth, event["r_hyp_km"].to_numpy()[None])
        low, high = min(models.values())[0], max(models.values())[0]
        console.print(
            f"M {magnitude:g} at the epicentre: {np.exp(event['mean'].item()):.3f} g, sigma "
            f"{event['stddev'].item():.2f}, support {event['support'].item():.1f}; published "
            f"{low:.3f} to {high:.3f} g"
        )


if __name__ == "__main__":
    run_script(main)
