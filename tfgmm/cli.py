"""The command line: parses and prints, the work is done elsewhere."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tfgmm import experiment as experiments
from tfgmm.console import console, duration, progress, say_simulated, show_table, training_progress
from tfgmm.errors import TfgmmError, UsageError

# TensorFlow reports absent GPUs as errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Learn ground-motion models from strong-motion records as an image-processing task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
imports = typer.Typer(help="Read records or site layers into a dataset folder.", no_args_is_help=True)
app.add_typer(imports, name="import")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder if it exists.")]
DataFolder = Annotated[Path, typer.Argument(help="Dataset folder.")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one readable line and an exit code (2 usage, 1 data)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(arguments)
    except TfgmmError as error:
        if "--debug" in arguments:
            raise
        print(f"tfgmm: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _import_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, without what its libraries print while they load."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _numbers(text: str | None, count: int, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UsageError(f"{option} {text}: write {count} numbers with commas between them")
    return numbers


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


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
        str | None, typer.Option(help="sites: a stopping set of its own; paper: the validation events.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="At most so many passes over the training events.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Events a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better stopping loss before training ends.")
    ] = None,
    base: Annotated[int | None, typer.Option(help="Filters of the first level of the U-Net.")] = None,
    depth: Annotated[int | None, typer.Option(help="Levels of the U-Net.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16 (default: bfloat16 where the processor has it).")
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
    overwrite: Overwrite = False,
) -> None:
    """Train an ensemble: station chunks x initialisations, resumable with the same command."""
    chosen = _names(networks)
    if not chosen:
        raise UsageError("--networks names no network: write them with commas between, as kik,meso")
    lon, lat = _numbers(center, 2, "--center") or (None, None)
    experiment = experiments.preset(
        preset,
        data=data,
        networks=chosen,
        reference=reference or chosen[0],
        ims=tuple(im) if im else None,
        drop=_names(drop),
        split=experiments.Split.parse(split) if split else None,
        chunks=chunks,
        inits=inits,
        stopping=stopping,
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
    _train(experiment, out or Path("runs") / f"{'-'.join(chosen)}-{preset}", overwrite, chunk)


def _train(
    experiment: experiments.Experiment, out: Path, overwrite: bool, chunks: list[int] | None
) -> None:
    _import_tensorflow()
    from tfgmm.model import training

    run = training.begin(experiment, out, overwrite, tuple(chunks) if chunks else None)
    say_simulated(run.dataset.simulated)
    missing = run.missing
    console.print(
        f"Run {out}: {len(run.members)} members ({experiment.chunks} chunks x {experiment.inits} "
        f"initialisations, {', '.join(experiment.ims)}), {len(run.members) - len(missing)} trained already."
    )
    if missing:
        seconds = run.seconds_per_member()
        console.print(
            f"To train: {len(missing)}, at most {duration(seconds)} each, "
            f"{duration(seconds * len(missing))} in all on this machine. "
            "Ctrl-C interrupts; the same command goes on."
        )
    try:
        with training_progress(len(run.members), len(run.members) - len(missing)) as report:
            run.train(report)
    except KeyboardInterrupt:
        console.print(f"Interrupted. The same command goes on with {out}.")
        raise SystemExit(130) from None
    console.print(f"Trained. Next: tfgmm evaluate {out}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
) -> None:
    """Score runs: the four-way table of known and held-out sites and events, beside an ergodic model."""
    from tfgmm.analysis import evaluation

    for path in runs:
        result = evaluation.evaluate(path)
        say_simulated(result.run.simulated)
        for im, table in result.printable():
            show_table(f"{im}, {path}: residuals of ln {im}, observed minus predicted", table)
        if result.run.data["truncation"]:
            console.print(f"Note: {result.run.data['truncation']}")
        console.print(f"Tables: {result.run.path / 'tables'}   Figures: {result.run.path / 'figures'}")


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
    overwrite: Overwrite = False,
) -> None:
    """Make records with a planted truth in the shape of the published study."""
    from tfgmm import files
    from tfgmm.sources import simulated

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
    describe(out)


@app.command()
def describe(data: DataFolder) -> None:
    """Print what a dataset holds, where it comes from, and what was dropped and why."""
    from tfgmm import records
    from tfgmm.analysis import description

    dataset = records.read(data)
    say_simulated(dataset.simulated)
    console.print(description.headline(dataset))
    for title, table in description.tables(dataset):
        show_table(title, table)


@imports.command("jma")
def import_jma(
    archives: Annotated[list[Path], typer.Argument(help="Annual files iYYYY.zip or iYYYY.dat.")],
    stations: Annotated[Path, typer.Option(help="Station table code_p.dat.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to make.")],
    region: Annotated[
        str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH of the stations, degrees.")
    ] = None,
    min_magnitude: Annotated[float, typer.Option(help="Least moment magnitude.")] = 4.0,
    max_distance: Annotated[float, typer.Option(help="Largest hypocentral distance, km.")] = 300.0,
    min_records: Annotated[int, typer.Option(help="Least records an event.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Read intensity and acceleration files of the Japan Meteorological Agency."""
    from tfgmm import files, records
    from tfgmm.sources import jma, selection

    files.refuse_existing(out, overwrite)
    box = _numbers(region, 4, "--region")
    with progress("reading", len(archives)) as advance:
        dataset = jma.read(
            archives,
            stations,
            selection.Limits(box, min_magnitude, max_distance, min_records),
            progress=advance,
        )
    records.write(dataset, out, overwrite)
    describe(out)


@imports.command("bedrock")
def import_bedrock(
    table: Annotated[Path, typer.Argument(help="CSV of points on a longitude-latitude raster.")],
    value: Annotated[str, typer.Option(help="Column with the depth to seismic bedrock in m.")],
    data: Annotated[Path, typer.Option(help="Dataset folder that gets the layer.")],
) -> None:
    """Add the depth to seismic bedrock as a site layer to a dataset."""
    from tfgmm import records
    from tfgmm.sources import layer_table

    layer = layer_table.read(table, value, name="z_bedrock")
    records.write(layer_table.attach(records.read(data), layer), data, overwrite=True)
    describe(data)
