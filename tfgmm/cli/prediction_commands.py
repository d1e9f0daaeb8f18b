"""The commands that use a finished run: predict, export, serve and query."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from tfgmm.cli import options
from tfgmm.cli.console import console, import_tensorflow, progress, say_dropped, say_simulated, show_table
from tfgmm.core import files, outputs
from tfgmm.core.errors import UsageError
from tfgmm.prediction import scenarios
from tfgmm.readers.common import sheet
from tfgmm.runs.run import RunFolder

app = typer.Typer()

#: What the one who asks knows already.
_NOT_SHOWN = ["event_longitude", "event_latitude", "depth_km", "magnitude", "longitude", "latitude"]


Catalogue = Annotated[
    Path | None,
    typer.Option(help="Many earthquakes: a table of any agency, or QuakeML; times are not needed."),
]
AnyType = Annotated[
    bool,
    typer.Option("--any-type", help="Keep quarry blasts, explosions and what else is no earthquake in it."),
]


def _events(catalogue: Path | None, any_type: bool, *scenario: float | None) -> pd.DataFrame:
    """Return what is to be predicted, and say what was left out and what magnitudes are taken as Mw."""
    if catalogue is None:
        return scenarios.single(*scenario)
    if any(value is not None for value in scenario):
        raise UsageError("give either --catalogue or one scenario, not both")
    events, tally = scenarios.from_catalogue(catalogue, any_type)
    say_dropped(tally)
    console.print(scenarios.taken_as_mw(events, catalogue.name))
    return events


def _sites(path: Path) -> pd.DataFrame:
    sites, tally = scenarios.read_sites(path)
    say_dropped(tally)
    return sites


@app.command()
def predict(
    run: options.Run,
    magnitude: Annotated[float | None, typer.Option(help="Of one scenario.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Of its epicentre, degrees.")] = None,
    latitude: Annotated[float | None, typer.Option(help="Of its epicentre, degrees.")] = None,
    depth: Annotated[float | None, typer.Option(help="Of its hypocentre, km.")] = None,
    catalogue: Catalogue = None,
    any_type: AnyType = False,
    decimal_comma: options.DecimalComma = False,
    sites: Annotated[
        Path | None, typer.Option(help="Table with longitude, latitude, perhaps an id (default: maps).")
    ] = None,
    stations: Annotated[
        str | None,
        typer.Option(
            help="Instead of sites, stations of the run, as K01,K02 or all; with their site terms."
        ),
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
    if sites and stations:
        raise UsageError("give either --sites or --stations, not both")
    at_sites = sites is not None or stations is not None
    out = out or Path("prediction.csv" if at_sites else "prediction.nc")
    outputs.prediction_ending(out, at_sites)
    files.refuse_existing(out, overwrite)
    with sheet.decimal_comma(decimal_comma):
        events = _events(catalogue, any_type, magnitude, longitude, latitude, depth)
        places = _sites(sites) if sites else None
    if stations:
        places = RunFolder.open(run).stations(None if stations == "all" else options.names(stations))
    import_tensorflow()
    from tfgmm.prediction import ensemble, quantities, writing

    wanted = quantities.Quantities(tuple(exceed or ()), tuple(percentile or ()))
    loaded = ensemble.load(run, im)
    say_simulated(loaded.run.simulated)
    with progress("predicting", len(events)) as done:
        written = writing.write(
            loaded,
            events,
            out,
            places,
            at_stations=bool(stations),
            quantities=wanted,
            interpolation=interpolation,
            calibrated=False if raw else None,
            overwrite=overwrite,
            progress=done,
        )
    console.print(f"{len(events)} events, {len(loaded.members)} members, {loaded.im}: {written}")


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
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Write the whole ensemble as one TensorFlow SavedModel, ready for a model server."""
    if out:
        outputs.refuse_file_name(out, "an exported model")
    import_tensorflow()
    from tfgmm.serving import export as exports

    found = exports.prepare(run, out, im, members, precision, overwrite=overwrite)
    say_simulated(found.run.simulated)
    console.print(found.summary)
    with progress("export", len(found.members)) as step:
        version = found.write(step)
    console.print(f"Written: {version}   How to serve it: {version.parent / 'README.md'}")


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
    catalogue: Catalogue = None,
    any_type: AnyType = False,
    decimal_comma: options.DecimalComma = False,
    sites: Annotated[
        Path | None, typer.Option(help="Table with longitude, latitude (default: maps, which need --out).")
    ] = None,
    stations: Annotated[
        str | None, typer.Option(help="Instead of sites, stations that the model knows, as K01,K02.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Sites: .csv or .parquet (default: print them); maps: .nc.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="For one answer, s.")] = 60.0,
    overwrite: options.Overwrite = False,
) -> None:
    """Ask a model server for maps or values at sites."""
    from tfgmm.serving import client
    from tfgmm.serving.transport import Patience

    maps = sites is None and stations is None
    if sites and stations:
        raise UsageError("give either --sites or --stations, not both")
    if maps and out is None:
        raise UsageError("maps need a file to be written to: give --out FILE.nc, or --sites or --stations")
    if out:
        ending = outputs.ending_of(out, (".nc",), "maps") if maps else outputs.prediction_ending(out, True)
        files.refuse_existing(out, overwrite)
    with sheet.decimal_comma(decimal_comma):
        events = _events(catalogue, any_type, magnitude, longitude, latitude, depth)
        places = _sites(sites) if sites else None
    asked = client.Client(url, Patience(timeout_s=timeout))
    if maps:
        found = asked.maps(events)
        with files.whole_file(out) as temporary:
            found.to_netcdf(temporary)
    else:
        if stations:
            found = asked.at_stations(events, options.names(stations))
        else:
            found = asked.at_sites(events, places)
        rows = client.table(found)
        if out is None:
            shown = rows.drop(columns=_NOT_SHOWN, errors="ignore")
            show_table(url, shown, dict.fromkeys(shown.select_dtypes("float32"), ".3g"))
            return
        with files.whole_file(out) as temporary:
            rows.to_csv(temporary, index=False) if ending == ".csv" else rows.to_parquet(
                temporary, index=False
            )
    console.print(f"Written: {out}")
