"""The command line: parses and prints, the work is done elsewhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfgmm.cli import fetch_commands, import_commands, options, prediction_commands, site_amp_commands
from tfgmm.cli.console import (
    console,
    import_tensorflow,
    say_dropped,
    say_simulated,
    show_dataset,
    show_log,
    show_table,
    show_version,
    stage_progress,
    train_missing,
)
from tfgmm.core import outputs
from tfgmm.core.errors import DataError, TfgmmError, UsageError, one_line
from tfgmm.core.sphere import wrapped
from tfgmm.data.dataset import Dataset
from tfgmm.runs import experiment as experiments

app = typer.Typer(
    help="Learn ground-motion models from strong-motion records as an image-processing task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=options.HELP,
)
app.add_typer(import_commands.app, name="import")
app.add_typer(fetch_commands.app, name="fetch")
app.add_typer(prediction_commands.app)
app.command("site-amp")(site_amp_commands.site_amp)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one readable line and an exit code (2 usage, 1 data)."""
    arguments = options.expanded(sys.argv[1:] if arguments is None else arguments)
    show_log()
    try:
        app(arguments)
    except TfgmmError as error:
        if "--debug" in arguments:
            raise
        print(f"tfgmm: {one_line(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


@app.command()
def train(
    networks: Annotated[str, typer.Option(help="Networks whose records train, as kik,meso.")],
    data: Annotated[
        str | None, typer.Option(help="Dataset folder (default: embedded simulated records).")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Network that is held out in chunks and scored (default: the first).")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="quick (minutes), standard, or paper (for GPUs).")
    ] = "standard",
    im: Annotated[
        list[str] | None, typer.Option(help="Intensity measure, PGA or SA(T); repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/NETWORKS-PRESET).")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Validation events: time:FROM,TO (TO excluded) or random-events:SHARE "
            "(default: time:2015-01-01,2018-01-01)."
        ),
    ] = None,
    chunks: Annotated[
        int | None, typer.Option(help="Chunks of reference sites, each held out once.")
    ] = None,
    inits: Annotated[int | None, typer.Option(help="Initialisations a chunk.")] = None,
    chunk: Annotated[
        list[int] | None, typer.Option(help="Train only this chunk now (from 0); repeatable.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="Channels or groups (source, path, site) to leave out.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="im: learn ln IM; residual: ln IM minus the fitted ergodic median.")
    ] = None,
    weighting: Annotated[
        str | None, typer.Option(help="record: every record weighs the same; event: every event.")
    ] = None,
    shift_pixels: Annotated[
        int | None, typer.Option(help="Shift the grid in training at random by up to so many pixels.")
    ] = None,
    stopping: Annotated[
        str | None,
        typer.Option(
            help="sites, or blocks (of consecutive events; default of standard): a stopping set of its "
            "own; paper: the validation events."
        ),
    ] = None,
    random_effects: Annotated[
        str | None, typer.Option(help="site,event: a mixed-effects model (default of standard), or none.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="At most so many passes over the training events.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Events a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a better stopping loss before training ends; the best weights are kept "
            "(default of standard: all epochs, the last one's weights)."
        ),
    ] = None,
    base: Annotated[int | None, typer.Option(help="Filters of the first level of the U-Net.")] = None,
    depth: Annotated[int | None, typer.Option(help="Levels of the U-Net.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16 (default: the fastest that processor or GPU has)."),
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="Metric map projection (default: EPSG:6677, Kanto).")
    ] = None,
    center: Annotated[
        str | None, typer.Option(help="Centre of the map, LON,LAT (default: 139.95,35.75).")
    ] = None,
    pixel_km: Annotated[float | None, typer.Option(help="Side of a pixel.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Pixels along a side of the input maps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all random numbers.")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Train an ensemble: station chunks x initialisations, resumable with the same command."""
    chosen = options.names(networks)
    if not chosen:
        raise UsageError("--networks names no network: write them with commas between, as kik,meso")
    lon, lat = options.numbers(center, 2, "--center") or (None, None)
    lon = None if lon is None else float(wrapped(lon))
    experiment = experiments.preset(
        preset,
        data=data,
        networks=chosen,
        reference=reference or chosen[0],
        ims=tuple(im) if im else None,
        drop=options.names(drop),
        split=experiments.Split.parse(split) if split else None,
        chunks=chunks,
        inits=inits,
        stopping=stopping,
        random_effects=random_effects,
        seed=seed,
        grid={
            "crs": crs,
            "longitude": lon,
            "latitude": lat,
            "pixel_km": pixel_km,
            "input_size": input_size,
        },
        network={"base": base, "depth": depth, "precision": precision},
        training={
            "target": target,
            "weighting": weighting,
            "shift_pixels": shift_pixels,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "patience": patience,
        },
    )
    folder = out or Path("runs") / f"{'-'.join(chosen)}-{preset}"
    outputs.refuse_file_name(folder, "a run")
    import_tensorflow()  # not before the options are known to be right: it takes seconds
    from tfgmm.network import training

    run = training.begin(experiment, folder, overwrite, tuple(chunk) if chunk else None)
    say_simulated(run.dataset.simulated)
    if train_missing(run, f"Run {folder}"):
        console.print(f"Trained. Next: tfgmm evaluate {folder}")
    else:
        console.print("The process that ends last writes the table of predictions.")


Runs = Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")]
Baselines = Annotated[bool, typer.Option(help="Fit all baselines on the same folds (minutes, once a run).")]


@app.command()
def evaluate(runs: Runs, baselines: Baselines = True) -> None:
    """Score runs: known and held-out sites and events, beside simpler models, with intervals."""
    _evaluated(runs, baselines)


def _evaluated(paths: list[Path], baselines: bool) -> list:
    from tfgmm.evaluation import evaluation, report
    from tfgmm.evaluation.sections import NARROW_NOTE, has_narrow

    with stage_progress() as told:
        found = [evaluation.evaluate(path, baselines, told) for path in paths]
    for one in found:
        say_simulated(one.run.simulated)
        show_table(
            f"{one.run.path}: residuals of ln IM, observed minus predicted", one.section("four_way").shown
        )
        if one.run.data["truncation"]:
            console.print(f"Note: {one.run.data['truncation']}")
        console.print(f"Tables: {one.run.path / 'tables'}   Figures: {one.run.path / 'figures'}")
    for section in report.compare(found) if len(found) > 1 else []:
        show_table(section.title, section.shown)
        if has_narrow(section.shown):
            console.print(NARROW_NOTE)
    return found


@app.command("report")
def write_report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="HTML page (default: report.html in the first run).")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write a folder of Markdown and figures.")
    ] = None,
    baselines: Baselines = True,
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Write one self-contained page with everything that evaluate finds."""
    from tfgmm.evaluation import report

    page = out or runs[0] / "report.html"
    outputs.ending_of(page, (".html", ".htm"), "reports")
    report.refuse_page(page, overwrite)
    if markdown:
        outputs.refuse_file_name(markdown, "a report in Markdown")
        report.refuse_folder(markdown, overwrite)
    found = _evaluated(runs, baselines)
    report.html(found, page, overwrite)
    console.print(f"Report: {page}")
    if markdown:
        names = " ".join(map(str, runs))
        report.markdown(found, markdown, f"tfgmm report {names} --markdown {markdown}", overwrite)
        console.print(f"Markdown: {markdown}")


@app.command()
def effects(
    run: options.Run,
    station: Annotated[
        str | None, typer.Option(help="Station of the paths (default: the one with most records).")
    ] = None,
    cell: Annotated[float, typer.Option(help="Side of a source cell, degrees.")] = 0.25,
) -> None:
    """Map what the networks have learned about sources and about the paths to one station."""
    from tfgmm.evaluation.effects import write as write_effects

    for im, one in write_effects(run, station, cell).items():
        console.print(
            f"{im}: {len(one.sources)} source cells, {len(one.paths)} of them with paths to station "
            f"{one.station['station_id']}"
        )
    console.print(f"Tables: {run / 'tables'}   Figures: {run / 'figures'}")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    events: Annotated[
        int | None, typer.Option(help="Events of the kik network; records scale with them.")
    ] = None,
    kik_stations: Annotated[int | None, typer.Option(help="Stations of the sparse network.")] = None,
    meso_stations: Annotated[int | None, typer.Option(help="Stations of the dense network.")] = None,
    meso_events: Annotated[int | None, typer.Option(help="Events of the dense network.")] = None,
    trigger: Annotated[float | None, typer.Option(help="Drop records with a PGA below this, in g.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all random numbers.")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make records with a planted truth in the shape of the published study."""
    from tfgmm.core import files
    from tfgmm.simulation import simulated

    outputs.refuse_file_name(out, "a dataset")
    files.refuse_existing(out, overwrite)
    settings = simulated.Settings.of(
        events=events,
        kik_stations=kik_stations,
        meso_stations=meso_stations,
        meso_events=meso_events,
        trigger=trigger,
        seed=seed,
    )
    simulated.write(*simulated.simulate(settings), out, overwrite)
    show_dataset(Dataset.read(out))


@app.command()
def describe(
    data: options.DataFolder,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the figures (default: figures in the dataset folder).")
    ] = None,
) -> None:
    """Print what a dataset holds, its origin and what was dropped; draw its map and hit counts."""
    from tfgmm.data import figures as dataset_figures

    if figures:
        outputs.refuse_file_name(figures, "--figures")
    dataset = Dataset.read(data)
    show_dataset(dataset)
    try:
        drawn = dataset_figures.draw(dataset, figures or data / "figures")
    except DataError as error:
        if figures:
            raise
        console.print(f"No figures: {error}. Name a folder for them with --figures FOLDER", soft_wrap=True)
    else:
        console.print("Figures: " + ", ".join(map(str, drawn)))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Run folder or dataset folder.")],
) -> None:
    """Verify the files of a run or a dataset: whether they are what was written."""
    from tfgmm.runs import verification

    states = verification.verify(folder)
    show_table(str(folder), states)
    damaged = states[~states["state"].isin([verification.WHOLE, verification.UNTRAINED])]
    if len(damaged):
        raise DataError(
            f"{folder}: {len(damaged)} of {len(states)} damaged, the first {damaged['file'].iloc[0]}"
        )


@app.command()
def export_table(
    data: options.DataFolder,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    overwrite: options.Overwrite = False,
) -> None:
    """Write a dataset as one CSV, a row a record, that tfgmm import table reads back."""
    from tfgmm.core import files
    from tfgmm.readers.flatfiles import table

    outputs.ending_of(out, (".csv",), "datasets in one table")
    files.refuse_existing(out, overwrite)
    say_dropped(table.write(Dataset.read(data), out))
    console.print(f"Written: {out}")
