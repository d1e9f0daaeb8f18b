"""The command ``tfgmm site-amp``: what the networks have learned about the ground."""

from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer

from tfgmm.cli import options
from tfgmm.cli.console import console, import_tensorflow, progress, say_simulated, show_table, train_missing
from tfgmm.core import endings, imt
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification.event_selection import Selection

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
        endings.refuse_file(out, "site amplification")
    opened = RunFolder.open(run) if run else RunFolder.latest()
    console.print(f"Run {opened.path}" + ("" if run else ", the latest"))
    ims = tuple(dict.fromkeys(map(imt.canonical, im))) if im else opened.experiment.ims
    places = [place(text, opened.experiment.grid) for text in at or []]
    selection = Selection.parse(events or [])
    import_tensorflow()
    from tfgmm.site_amplification import estimates, site_study, writing

    chosen = site_study.Options(
        arms=_ARMS[no_site], events=selection, within_km=within_km, min_records=min_records
    )
    runs = [opened] + ([RunFolder.open(against)] if against else [])
    folder = out or opened.path / "site_amplification"
    writing.refuse_strangers(folder, ims, [one.path.name for one in runs[1:]], overwrite)
    studies = [site_study.Study(one, chosen) for one in runs]
    say_simulated(opened.simulated)
    if against:
        site_study.refuse_unpaired(*studies)
    for study in studies:
        study.refuse_unfinished(ims)
    for study in studies:
        for name in chosen.arms:
            arm = f"Without site channels, {name}, into {study.run.path}"
            if not train_missing(study.arm(name, ims), arm):
                raise UsageError(f"other processes train members of {study.run.path}: try again then")
    with progress("averaging over events", sum(study.steps(ims) for study in studies)) as step:
        found = [{one: estimates.measure(study, one, step) for one in ims} for study in studies]
    table = writing.write(studies, found, folder, pd.DataFrame(places))
    about = studies[0].about()
    show_table(
        f"{opened.path}: ln site amplification, averaged over {about['events']}",
        table,
        dict.fromkeys(_SHOWN, ".2f"),
    )
    console.print(f"Written: {folder}")


def place(text: str, grid: Grid) -> dict:
    """``name, longitude, latitude`` of LON,LAT[,NAME].

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
