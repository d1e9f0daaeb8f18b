"""The commands that train, evaluate and inspect runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

import tfgmm
from tfgmm.cli import options
from tfgmm.cli.console import (
    console,
    has_gpu,
    import_tensorflow,
    say_simulated,
    show_table,
    stage_progress,
    train_missing,
)
from tfgmm.cli.train_options import experiment_of, launch_of, launch_options, train_options
from tfgmm.core import outputs
from tfgmm.core.errors import DataError, UsageError, counted, listed

if TYPE_CHECKING:
    from tfgmm.core.grid import Grid
    from tfgmm.evaluation.evaluation import Evaluation
    from tfgmm.runs.run import RunFolder

app = typer.Typer()

# ---- train -------------------------------------------------------------------------------------------


@app.command(rich_help_panel=options.TRAIN)
@options.taking(train_options, launch_options)
def train(*, config, out, chunk, overwrite, begin, **settings) -> None:
    """Train an ensemble: station chunks x initialisations, resumable with the same command."""
    launch, experiment = launch_of(settings), experiment_of(**settings)
    if out:
        outputs.refuse_file_name(out, "a run")
    import_tensorflow()  # takes seconds, so the options are checked before
    training = tfgmm.begin_training(experiment, out, overwrite=overwrite, chunks=chunk)
    say_simulated(training.dataset.simulated)
    if begin:
        console.print(
            f"Begun: {training.run.path}, arm {training.experiment.arm}. Next: tfgmm stage --help"
        )
        return
    in_this_process = launch.in_this_process(has_gpu())
    if train_missing(training, f"Run {training.run.path}", None if in_this_process else launch):
        _say_backbones(training.run)
        console.print(f"Trained. Next: tfgmm evaluate {training.run.path}")
    else:
        console.print("The process that ends last writes the table of predictions.")


def _say_backbones(run: "RunFolder") -> None:
    """Print which published models the backbone of each intensity measure has, if the run has one."""
    from tfgmm.stats.backbone import averaged_report, chosen_models

    for im in run.experiment.ims:
        backbones = list(run.backbones(im).values())
        if backbones and backbones[0].hypocentral:
            console.print(f"Backbone of {im}: an ergodic regression of the training records.")
        elif backbones:
            chosen = chosen_models(averaged_report(backbones))
            console.print(f"Backbone of {im}, region {backbones[0].region}: {chosen}")


stages = typer.Typer(
    help="One stage of a training: for job arrays and clusters that tfgmm train does not start itself.",
    no_args_is_help=True,
)
app.add_typer(stages, name="stage", hidden=True)

ChunkNumber = Annotated[int, typer.Argument(help="Chunk, counted from 0.")]
Arm = Annotated[str, typer.Argument(help="Arm, as tfgmm train --begin prints it: all, drop-site, ...")]
Init = Annotated[int, typer.Argument(help="Initialisation, counted from 0.")]


@stages.command()
def prepare(
    run: options.Run,
    chunk: ChunkNumber,
    arm: Annotated[str | None, typer.Option(help="Arm (default: the run's own).")] = None,
) -> None:
    """Fit what all members of a chunk share: backbone, and what the field tells them."""
    import_tensorflow()
    from tfgmm.network import stages

    stages.prepare(run, chunk, arm)


@stages.command()
def member(run: options.Run, arm: Arm, chunk: ChunkNumber, init: Init) -> None:
    """Train a member, on from its last saved epoch; its chunk is prepared before, if need be."""
    import_tensorflow()
    from tfgmm.network import stages

    owner = stages.member(run, arm, chunk, init)
    if owner:
        console.print(f"Left to {owner}, which is training it.")


@stages.command()
def finish(run: options.Run) -> None:
    """Fit the field and write the predictions of all members that are trained."""
    import_tensorflow()
    from tfgmm.network import stages

    stages.finish(run)
    console.print(f"Trained. Next: tfgmm evaluate {run}")


@app.command(rich_help_panel=options.TRAIN)
def upgrade(
    run: options.Run,
    data: Annotated[
        str | None, typer.Option(help="Dataset folder (default: the one that the run was trained on).")
    ] = None,
) -> None:
    """Convert a run of version 0.1 to the format of this version; its networks stay as they are."""
    import_tensorflow()
    with stage_progress() as report:
        upgraded = tfgmm.upgrade(run, data=data, report=report)
    say_simulated(upgraded.simulated)
    console.print(f"Run {upgraded.path} is of this version now. Next: tfgmm evaluate {upgraded.path}")


@app.command(rich_help_panel=options.TRAIN)
def refit(
    run: options.Run,
    data: Annotated[
        str, typer.Option(help="Dataset folder with all records to rest on, old and new ones.")
    ],
) -> None:
    """Condition backbone and field of a run on newer records; its networks stay as they are."""
    opened = tfgmm.open_run(run)
    dataset = tfgmm.open_dataset(data)
    say_simulated(dataset.simulated)
    import_tensorflow()
    with stage_progress() as report:
        counts = opened.refit(dataset, report=report)
    show_table(f"{run}: what predictions rest on", counts.reset_index(names="").drop(columns="data"))
    console.print(f"Data hash: {counts.loc['after', 'data']}")
    console.print(
        "The networks are as they were. Scores of tfgmm evaluate stay those of the training records; "
        f"exported models are made anew with tfgmm export {run}"
    )


# ---- look --------------------------------------------------------------------------------------------

Runs = Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")]
Baselines = Annotated[
    bool, typer.Option(help="Fit all baselines on the same folds (minutes, once per run).")
]


@app.command(rich_help_panel=options.LOOK)
def evaluate(runs: Runs, baselines: Baselines = True) -> None:
    """Score runs at known and held-out sites and events, beside simpler models, with intervals."""
    opened = [tfgmm.open_run(path) for path in runs]
    with stage_progress() as report:
        evaluations = [run.evaluate(baselines=baselines, report=report) for run in opened]
    _show_evaluations(evaluations)


def _show_evaluations(evaluations: "list[Evaluation]") -> None:
    """Print the four-way table (known and held-out sites and events) of each run; compare runs.

    What was learned is said in words at the end of each run.
    """
    from tfgmm.evaluation.sections import NARROW_NOTE, has_narrow

    for evaluation in evaluations:
        run = evaluation.run
        say_simulated(run.simulated)
        four_way = evaluation.section("four_way").shown
        if run.simulated:  # the published values are of measured records
            four_way = four_way.drop(columns="published", errors="ignore")
        show_table(f"{run.path}: residuals of ln IM, observed minus predicted", four_way)
        console.print(evaluation.section("four_way").text, highlight=False)
        if run.experiment.split.kind == "magnitude":
            beyond = evaluation.section("beyond_data")
            show_table(beyond.title, beyond.shown)
        if run.data["truncation"]:
            console.print(f"Note: {run.data['truncation']}")
        _say_findings(evaluation)
        console.print(f"Tables: {run.path / 'tables'}   Figures: {run.path / 'figures'}")
    for section in tfgmm.compare(evaluations) if len(evaluations) > 1 else []:
        show_table(section.title, section.shown)
        if has_narrow(section.shown):
            console.print(NARROW_NOTE)


def _say_findings(evaluation: "Evaluation") -> None:
    """Print in words what was learned about the first intensity measure of a run."""
    from tfgmm.evaluation.findings import BRACKETS

    im, *others = evaluation.run.experiment.ims
    simulated = ", from simulated records" * evaluation.run.simulated
    console.print(f"What was learned of {im}{simulated}", style="bold")
    for finding in evaluation.findings(im):
        console.print(Text(f"{finding.what}: ", style="bold").append(finding.short, style="not bold"))
        if finding.text:
            console.print(Padding(finding.text, (0, 0, 0, 4)), highlight=False)
    console.print(BRACKETS, highlight=False)
    if others:
        console.print(f"The same of {listed(others, 5)}: tfgmm report {evaluation.run.path}")


@app.command("report", rich_help_panel=options.LOOK)
def write_report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="HTML page (default: report.html in the first run).")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the report as a folder of Markdown and figures.")
    ] = None,
    baselines: Baselines = True,
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Write one self-contained page with all results of evaluate."""
    with stage_progress() as report:
        written = tfgmm.report(
            runs, out, markdown=markdown, baselines=baselines, overwrite=overwrite, report=report
        )
    _show_evaluations(written.evaluations)
    console.print(f"Report: {written.page}")
    if written.markdown:
        console.print(f"Markdown: {written.markdown}")


@app.command(rich_help_panel=options.LOOK)
def effects(
    run: options.Run,
    station: Annotated[
        str | None,
        typer.Option(help="Station at which the paths end (default: the station with most records)."),
    ] = None,
    cell: Annotated[float, typer.Option(help="Side of a source cell, degrees.")] = 0.25,
) -> None:
    """Map what the records tell of sources, sites and the paths to one station, beside plain means."""
    for im, mapped in tfgmm.open_run(run).effects(station, cell_deg=cell).items():
        observed, at = mapped.paths["observed"].count(), mapped.station["station_id"]
        cells = (
            f"{counted(len(mapped.sources), 'source cell')}, {observed} of them observed at station {at}"
        )
        formats = {"value": ".3g", "standard_error": ".2g"}
        show_table(f"{im}: {cells}; {counted(len(mapped.sites), 'site')}", mapped.summary, formats)
    console.print(f"Tables: {run / 'tables'}   Figures: {run / 'figures'}")


@app.command(rich_help_panel=options.LOOK)
def show(
    run: options.Run,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file to write with the settings of the run, for tfgmm train --config."),
    ] = None,
    overwrite: options.OverwriteFile = False,
) -> None:
    """Say what a run is and what it can do; write its settings so that they can be given back."""
    opened = tfgmm.open_run(run)
    say_simulated(opened.simulated)
    show_table(f"Run {opened.path}", opened.summary())
    if config:
        opened.write_config(config, overwrite=overwrite)
        console.print(f"Settings: {config}   Again: tfgmm train --config {config} --out NEW")


@app.command(rich_help_panel=options.LOOK)
def check(
    folder: Annotated[Path, typer.Argument(help="Run folder or dataset folder.")],
) -> None:
    """Verify that the files of a run or a dataset are unchanged since they were written."""
    from tfgmm.runs import run as runs
    from tfgmm.runs import verification

    states = tfgmm.check(folder)
    show_table(str(folder), states)
    damaged = states[~states["state"].isin([verification.WHOLE, verification.UNTRAINED])]
    if len(damaged):
        raise DataError(
            f"{folder}: {len(damaged)} of {len(states)} damaged, the first {damaged['file'].iloc[0]}"
        )
    if (folder / runs.DESCRIPTION).is_file():
        _say_conditioned(tfgmm.open_run(folder).folder)


def _say_conditioned(run: "RunFolder") -> None:
    """Print on which records the predictions of a run rest."""
    given = run.conditioned_on
    if given:
        newer = " of tfgmm refit" if run.is_refitted else " of the training"
        counts = f"{counted(given['records'], 'record')} of {counted(given['events'], 'event')}"
        console.print(f"Predictions rest on {counts}{newer} (data hash {given['data'][:12]})")


# ---- site amplification ------------------------------------------------------------------------------

_ARMS = {
    "published": ("published",),
    "isotropic": ("isotropic",),
    "both": ("published", "isotropic"),
    "none": (),
}
_SHOWN = ("spread", "standard_error", "half_difference", "r_stations", "r_held_out", "taught_share")

LatestRun = Annotated[Path | None, typer.Argument(help="Run folder (default: the latest in runs).")]
NoSite = Annotated[
    str,
    typer.Option(
        help="Networks without site channels to train and compare with: published; isotropic, with turned "
        "maps that hide direction; both; or none (estimates from the networks of the run only)."
    ),
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        help="Events to average over, repeatable: role:all, magnitude:5,7, distance:0,100 (km from the "
        "centre), region:W,S,E,N (default: all validation events)."
    ),
]
At = Annotated[
    list[str] | None,
    typer.Option(help="Place LON,LAT[,NAME] at which to draw amplification against period; repeatable."),
]


@app.command(rich_help_panel=options.LOOK)
def site_amp(
    run: LatestRun = None,
    no_site: NoSite = "both",
    im: Annotated[
        list[str] | None, typer.Option(help="Intensity measure; repeatable (default: all of the run).")
    ] = None,
    events: Events = None,
    at: At = None,
    against: Annotated[
        Path | None, typer.Option(help="Another run on the same data; the difference to it is mapped too.")
    ] = None,
    within_km: Annotated[float, typer.Option(help="Radius around a pixel for --min-records, km.")] = 15.0,
    min_records: Annotated[
        int, typer.Option(help="Training records within --within-km that a pixel needs.")
    ] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results (default: site_amplification in the run).")
    ] = None,
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Map the site amplification that the networks of a run predict, with its uncertainty."""
    import pandas as pd

    options.one_of(no_site, _ARMS, "--no-site")
    if out:
        outputs.refuse_file_name(out, "site amplification")
    opened = tfgmm.open_run(run)
    console.print(f"Run {opened.path}" + ("" if run else ", the latest"))
    limits = {"events": events or (), "within_km": within_km, "min_records": min_records}
    places = pd.DataFrame([_place(text, opened.experiment.grid) for text in at or []])
    say_simulated(opened.simulated)
    import_tensorflow()
    with stage_progress() as report:
        mapped = opened.site_amplification(
            ims=im, arms=_ARMS[no_site], places=places, against=against, out=out, overwrite=overwrite,
            train=train_missing, report=report, **limits,
        )  # fmt: skip
    title = f"{opened.path}: ln site amplification, averaged over {mapped.events}"
    show_table(title, mapped.summary, dict.fromkeys(_SHOWN, ".2f"))
    console.print(f"Written: {mapped.folder}")


def _place(text: str, grid: "Grid") -> dict:
    """Read a place from a text ``LON,LAT[,NAME]``.

    Parameters
    ----------
    text : str
        Value of the option ``--at``.
    grid : Grid
        Map of the run.

    Returns
    -------
    dict
        ``name`` (without NAME, the whole text); ``longitude`` and ``latitude``, float, degrees.

    Raises
    ------
    UsageError
        The text is not of the form ``LON,LAT[,NAME]``, or the place lies outside the map.
    """
    place = options.place(text)
    _, _, inside = grid.locate(place["longitude"], place["latitude"])
    if not inside:
        raise UsageError(f"--at {text}: this place lies outside the map of the run")
    return place
