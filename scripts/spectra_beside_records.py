#!/usr/bin/env python
"""Draw the predicted spectra of one earthquake at stations beside those that were recorded."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr

import tfgmm
from tfgmm.cli.console import console, import_tensorflow, run_script
from tfgmm.core import drawing
from tfgmm.core.errors import UsageError
from tfgmm.data.schemas import VALIDATION


def main(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run of several measures.")],
    out: Annotated[Path, typer.Option(help="Figure, .png or .pdf.")],
    event: Annotated[
        str | None, typer.Option(help="Id of the event (default: the largest held out).")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of stations, evenly by distance.")] = 5,
) -> None:
    """Draw the predicted spectra of one earthquake at stations beside those that were recorded.

    The earthquake is a validation event, of which no member and no field has seen a record.
    """
    run = tfgmm.open_run(path)
    import_tensorflow()
    from tfgmm.prediction import spectrum_figure

    table = run.folder.read_predictions()
    held_out = table[(table["event_role"] == VALIDATION) & (table["im"] == run.ims[0])]
    if event is None:
        event = held_out.loc[held_out["magnitude"].idxmax(), "event_id"]
    rows = held_out[held_out["event_id"] == event].drop_duplicates("station_id").sort_values("r_hyp_km")
    if rows.empty:
        raise UsageError(f"{event} is no validation event of {path}")
    chosen = rows.iloc[np.linspace(0, len(rows) - 1, count).round().astype(int)]
    stations = chosen["station_id"].tolist()
    dataset = run.dataset()
    events = dataset.events[dataset.events["event_id"] == event]
    predicted = run.ensemble("spectrum", condition="training").at_stations(events, stations).isel(event=0)
    titles = [f"{name}, {km:.0f} km" for name, km in zip(stations, chosen["r_hyp_km"], strict=True)]
    predicted = predicted.assign_coords(site_id=("site", titles))
    records = dataset.records[dataset.records["event_id"] == event].set_index("station_id").loc[stations]
    ims = predicted["im"].to_numpy().tolist()
    observed = xr.DataArray(records[ims].to_numpy().T, dims=("im", "site"), coords={"im": ims})
    place = drawing.degrees(events["longitude"].item(), events["latitude"].item())
    title = f"M {events['magnitude'].item():.1f}, {place}, held out"
    title += f"; {drawing.SIMULATED}" if run.simulated else ""
    drawing.save(spectrum_figure.draw(predicted, title, observed), out, ("",))
    console.print(f"Written: {out}")


if __name__ == "__main__":
    run_script(main)
