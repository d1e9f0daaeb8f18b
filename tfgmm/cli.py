"""The command line: parses and prints, the work is done elsewhere."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tfgmm import experiment as experiments
from tfgmm import fetch_commands, import_commands, options, site_amp_commands
from tfgmm.console import (
    console,
    import_tensorflow,
    progress,
    say_simulated,
    show_dataset,
    show_table,
    stage_progress,
    train_missing,
)
from tfgmm.errors import TfgmmError, UsageError

# TensorFlow reports absent GPUs as errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Learn ground-motion models from strong-motion records as an image-processing task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(import_commands.app, name="import")
app.add_typer(fetch_commands.app, name="fetch")
app.command("site-amp")(site_amp_commands.site_amp)


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
    overwrite: options.Overwrite = False,
) -> None:
    """Train an ensemble: station chunks x initialisations, resumable with the same command."""
    chosen = options.names(networks)
    if not chosen:
        raise UsageError("--networks names no network: write them with commas between, as kik,meso")
    lon, lat = options.numbers(center, 2, "--center") or (None, None)
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
    import_tensorflow()
    from tfgmm.model import training

    run = training.begin(experiment, out, overwrite, tuple(chunks) if chunks else None)
    say_simulated(run.dataset.simulated)
    train_missing(run, f"Run {out}")
    console.print(f"Trained. Next: tfgmm evaluate {out}")


Runs = Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")]
Baselines = Annotated[bool, typer.Option(help="Fit all baselines on the same folds (minutes, once a run).")]


@app.command()
def evaluate(runs: Runs, baselines: Baselines = True) -> None:
    """Score runs: known and held-out sites and events, beside simpler models, with intervals."""
    _evaluated(runs, baselines)


def _evaluated(paths: list[Path], baselines: bool) -> list:
    from tfgmm.analysis import evaluation, report

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
) -> None:
    """Write one self-contained page with everything that evaluate finds."""
    from tfgmm.analysis import report

    found = _evaluated(runs, baselines)
    page = out or runs[0] / "report.html"
    report.html(found, page)
    console.print(f"Report: {page}")
    if markdown:
        names = " ".join(map(str, runs))
        report.markdown(found, markdown, f"tfgmm report {names} --markdown {markdown}")
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
    from tfgmm.analysis import effects_report

    for im, one in effects_report.write(run, station, cell).items():
        console.print(
            f"{im}: {len(one.sources)} source cells, {len(one.paths)} of them with paths to station "
            f"{one.station['station_id']}"
        )
    console.print(f"Tables: {run / 'tables'}   Figures: {run / 'figures'}")


@app.command()
def export(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the model (default: saved_models/RUN); a new version goes in."),
    ] = None,
    im: Annotated[str | None, typer.Option(help="Intensity measure (default: the run's first).")] = None,
    members: Annotated[
        int | None, typer.Option(help="Keep so many members, spread over chunks first (default: all).")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the stored weights: float32 or float16.")] = "float32",
) -> None:
    """Write the whole ensemble as one TensorFlow SavedModel, ready for a model server."""
    import_tensorflow()
    from tfgmm.serving import export as exports

    found = exports.prepare(run, out, im, members, precision)
    say_simulated(found.run.simulated)
    console.print(found.summary)
    with progress("export", len(found.members)) as step:
        found.write(step)
    console.print(f"Written: {found.version}   How to serve it: {found.version.parent / 'README.md'}")


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
    from tfgmm import files, records
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
    show_dataset(records.read(out))


@app.command()
def describe(
    data: options.DataFolder,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the figures (default: figures in the dataset folder).")
    ] = None,
) -> None:
    """Print what a dataset holds, its origin and what was dropped; draw its map and hit counts."""
    from tfgmm import records
    from tfgmm.analysis import dataset_figures

    dataset = records.read(data)
    show_dataset(dataset)
    drawn = dataset_figures.draw(dataset, figures or data / "figures")
    console.print("Figures: " + ", ".join(map(str, drawn)))


@app.command()
def export_table(
    data: options.DataFolder,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    overwrite: options.Overwrite = False,
) -> None:
    """Write a dataset as one CSV, a row a record, that tfgmm import table reads back."""
    from tfgmm import files, records
    from tfgmm.sources import table

    files.refuse_existing(out, overwrite)
    for row in table.write(records.read(data), out).dropped():
        console.print(f"{row['count']} {row['what']}s left out: {row['reason']}")
    console.print(f"Written: {out}")


@app.command()
def serve(
    models: Annotated[list[Path], typer.Argument(help="Folders of exported models, as saved_models/NAME.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines ask, without passwords.")
    ] = "127.0.0.1",
    rest_port: Annotated[int, typer.Option(help="Of REST; 0 takes any free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Of gRPC; 0 takes any free one.")] = 8500,
    docker: Annotated[
        bool, typer.Option("--docker", help="Only print the command that runs TensorFlow Serving itself.")
    ] = False,
) -> None:
    """Answer requests as TensorFlow Serving does: a small server for machines without docker."""
    import_tensorflow()
    from tfgmm.serving.models import Models
    from tfgmm.serving.server import Server, docker_command

    if docker:
        for model in models:
            print(docker_command(model, host, rest_port, grpc_port))
        return
    found = Models(models, report=console.print)
    server = Server(found, host=host, rest_port=rest_port, grpc_port=grpc_port)
    console.print("A small server with the interface of TensorFlow Serving, which it is not.")
    server.serve(lambda: console.print("\n".join([*server.addresses, "Ctrl-C stops it."]), soft_wrap=True))


@app.command()
def query(
    url: Annotated[
        str, typer.Argument(help="http://HOST:PORT/v1/models/NAME, or grpc://HOST:PORT/v1/models/NAME.")
    ],
    magnitude: Annotated[float | None, typer.Option(help="Of one earthquake.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Of its epicentre.")] = None,
    latitude: Annotated[float | None, typer.Option(help="Of its epicentre.")] = None,
    depth: Annotated[float | None, typer.Option(help="Of its hypocentre, km.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="Many earthquakes: CSV or QuakeML.")] = None,
    sites: Annotated[
        Path | None, typer.Option(help="Table with longitude, latitude (default: maps, which need --out).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV of sites or .nc of maps (default: print the table).")
    ] = None,
    timeout: Annotated[float, typer.Option(help="For one answer, s.")] = 60.0,
    overwrite: options.Overwrite = False,
) -> None:
    """Ask a model server for maps or values at sites."""
    from tfgmm import files
    from tfgmm.model import scenarios
    from tfgmm.serving import client
    from tfgmm.serving.transport import Patience

    if sites is None and out is None:
        raise UsageError("maps need a file to be written to: give --out FILE.nc, or --sites")
    if out:
        files.refuse_existing(out, overwrite)
    if catalogue:
        events, tally = scenarios.from_catalogue(catalogue)
        for row in tally.dropped():
            console.print(f"{row['count']} {row['what']}s left out: {row['reason']}")
    else:
        events = scenarios.single(magnitude, longitude, latitude, depth)
    asked = client.Client(url, Patience(timeout_s=timeout))
    if sites is None:
        found = asked.maps(events)
        with files.whole_file(out) as temporary:
            found.to_netcdf(temporary)
    else:
        rows = client.table(asked.at_sites(events, scenarios.read_sites(sites)))
        if out is None:
            show_table(url, rows, dict.fromkeys(rows.select_dtypes("float32"), ".3g"))
            return
        with files.whole_file(out) as temporary:
            rows.to_csv(temporary, index=False)
    console.print(f"Written: {out}")


@app.command()
def predict(
    run: options.Run,
    magnitude: Annotated[float | None, typer.Option(help="Of one scenario.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Of its epicentre, degrees.")] = None,
    latitude: Annotated[float | None, typer.Option(help="Of its epicentre, degrees.")] = None,
    depth: Annotated[float | None, typer.Option(help="Of its hypocentre, km.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="Many events instead, CSV or QuakeML.")] = None,
    sites: Annotated[
        Path | None, typer.Option(help="Table with longitude, latitude, perhaps site_id (default: maps).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Maps: .nc, .tif, .png or .pdf; sites: .csv or .parquet "
            "(default: prediction.nc or prediction.csv)."
        ),
    ] = None,
    im: Annotated[str | None, typer.Option(help="Intensity measure (default: the run's first).")] = None,
    exceed: Annotated[
        list[float] | None, typer.Option(help="Probability of more than so many g; repeatable.")
    ] = None,
    percentile: Annotated[list[float] | None, typer.Option(help="Percentile, as 84; repeatable.")] = None,
    interpolation: Annotated[
        str, typer.Option(help="Sites: nearest pixel, as in training, or bilinear.")
    ] = "nearest",
    raw: Annotated[
        bool, typer.Option("--raw", help="Leave sigma as it is if the run has a calibration.")
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Predict earthquakes: median, sigma and its parts, probabilities, as maps or at sites."""
    from tfgmm import files
    from tfgmm.model import scenarios

    one = (magnitude, longitude, latitude, depth)
    if catalogue and any(value is not None for value in one):
        raise UsageError("give either --catalogue or one scenario, not both")
    events, tally = scenarios.from_catalogue(catalogue) if catalogue else (scenarios.single(*one), None)
    places = scenarios.read_sites(sites) if sites else None
    out = out or Path("prediction.csv" if sites else "prediction.nc")
    files.refuse_existing(out, overwrite)
    import_tensorflow()
    from tfgmm.model import ensemble, prediction

    wanted = prediction.Quantities(tuple(exceed or ()), tuple(percentile or ()))
    loaded = ensemble.load(run, im)
    say_simulated(loaded.run.simulated)
    for row in tally.dropped() if tally else []:
        console.print(f"{row['count']} of {tally.read['event']} events left out: {row['reason']}")
    with progress("predicting", len(events)) as done:
        written = prediction.write(
            loaded,
            events,
            out,
            places,
            quantities=wanted,
            interpolation=interpolation,
            calibrated=False if raw else None,
            overwrite=overwrite,
            progress=done,
        )
    console.print(f"{len(events)} events, {len(loaded.members)} members, {loaded.im}: {written}")
