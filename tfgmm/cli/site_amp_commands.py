"""The command ``tfgmm site-amp``: what the networks have learned about the ground."""

from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer

from tfgmm.cli import options
from tfgmm.cli.console import (
    console,
    import_tensorflow,
    say_simulated,
    show_table,
    stage_progress,
    train_missing,
)
from tfgmm.core import imt, outputs
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.runs.run import RunFolder

_ARMS = {
    "published": ("published",),
    "isotropic": ("isotropic",),
    "both": ("published", "isotropic"),
    "none": (),
}
_SHOWN = ("spread", "standard_error", "half_difference", "r_stations", "r_held_out", "taught_share")


def site_amp(
    run: Annotated[Path | None, typer.Argument(help="Run folder (default: the latest in runs).")] = None,
    no_site: Annotated[
        Literal["published", "isotropic", "both", "none"],
        typer.Option(
            help="Networks without site channels to train and compare with: as published, with turned "
            "maps that hide direction, both, or none (estimates from the run's own networks only)."
        ),
    ] = "both",
    im: Annotated[
        list[str] | None, typer.Option(help="Intensity measure, repeatable (default: all of the run).")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Events to average over, repeatable: role:all, magnitude:5,7, distance:0,100 (km from the "
            "centre), region:W,S,E,N (default: all validation events)."
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Place LON,LAT[,NAME] for amplification against period; repeatable."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another run on the same data: also map the difference to it.")
    ] = None,
    within_km: Annotated[float, typer.Option(help="Stations as near as this teach a pixel.")] = 15.0,
    min_records: Annotated[int, typer.Option(help="Training records that a pixel needs near it.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results (default: site_amplification in the run).")
    ] = None,
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Map the site amplification that a run has learned, with its uncertainty."""
    if out:
        outputs.refuse_file_name(out, "site amplification")
    opened = RunFolder.open(run) if run else RunFolder.latest()
    console.print(f"Run {opened.path}" + ("" if run else ", the latest"))
    ims = tuple(dict.fromkeys(map(imt.canonical, im))) if im else None
    places = [place(text, opened.experiment.grid) for text in at or []]
    import_tensorflow()
    from tfgmm.site_amplification.site_study import Options, Selection
    from tfgmm.site_amplification.writing import map_site_amplification

    selection = Selection.parse(events or [])
    say_simulated(opened.simulated)
    with stage_progress() as report:
        result = map_site_amplification(
            opened,
            ims,
            options=Options(
                arms=_ARMS[no_site], events=selection, within_km=within_km, min_records=min_records
            ),
            places=pd.DataFrame(places) if places else None,
            against=RunFolder.open(against) if against else None,
            out=out,
            overwrite=overwrite,
            report=report,
            train=train_missing,
        )
    show_table(
        f"{opened.path}: ln site amplification, averaged over {result.events}",
        result.summary,
        dict.fromkeys(_SHOWN, ".2f"),
    )
    console.print(f"Written: {result.folder}")


def place(text: str, grid: Grid) -> dict:
    """Read ``name, longitude, latitude`` from LON,LAT[,NAME].

    Raises
    ------
    UsageError
        It is not written so, or lies outside the map.
    """
    *numbers, name = text.split(",") if text.count(",") > 1 else [*text.split(","), text]
    longitude, latitude = options.numbers(",".join(numbers), 2, "--at")
    _, _, inside = grid.locate(longitude, latitude)
    if not inside:
        raise UsageError(f"--at {text}: this place lies outside the map of the run")
    return {"name": name.strip(), "longitude": longitude, "latitude": latitude}
