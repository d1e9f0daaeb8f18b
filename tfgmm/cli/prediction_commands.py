"""The commands that use a finished run: predict, export, serve and query."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import tfgmm
from tfgmm.cli import options
from tfgmm.cli.console import console, import_tensorflow, progress, say_dropped, say_simulated, show_table
from tfgmm.core import outputs
from tfgmm.core.errors import UsageError, counted

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()

#: Columns of the predictions that only repeat the request, and are not printed.
_NOT_SHOWN = ["event_longitude", "event_latitude", "depth_km", "magnitude", "longitude", "latitude"]


# ---- earthquakes and places --------------------------------------------------------------------------

Magnitude = Annotated[float | None, typer.Option(help="Magnitude Mw of one scenario.")]
Longitude = Annotated[float | None, typer.Option(help="Longitude of the epicentre, degrees.")]
Latitude = Annotated[float | None, typer.Option(help="Latitude of the epicentre, degrees.")]
Depth = Annotated[float | None, typer.Option(help="Depth of the hypocentre, km.")]
Catalogue = Annotated[
    Path | None,
    typer.Option(help="Many earthquakes: a table of any agency, or QuakeML; times are not needed."),
]
AnyType = Annotated[
    bool,
    typer.Option("--any-type", help="Also keep quarry blasts, explosions and the like of the catalogue."),
]


def _events(catalogue: Path | None, any_type: bool, comma: bool, *scenario: float | None) -> "pd.DataFrame":
    """Return the table of events to predict, from a catalogue or from one scenario.

    Print how many events were dropped, and which magnitude types are taken as Mw.
    """
    from tfgmm.prediction import scenarios

    if catalogue is None:
        names = ("magnitude", "longitude", "latitude", "depth")
        missing = [f"--{name}" for name, value in zip(names, scenario, strict=True) if value is None]
        if missing:
            raise UsageError(f"a scenario needs {' and '.join(missing)} too (or give a --catalogue)")
        return tfgmm.scenario(*scenario)
    if any(value is not None for value in scenario):
        raise UsageError("give either --catalogue or one scenario, not both")
    events, left_out = tfgmm.read_events(catalogue, any_type=any_type, decimal_comma=comma)
    say_dropped(left_out)
    console.print(scenarios.taken_as_mw(events, catalogue.name))
    return events


def _places(at: list[str] | None, sites: Path | None, stations: str | None) -> "pd.DataFrame | None":
    """Return the table of the sites of --at, None without them; refuse other sites beside them."""
    if not at:
        return None
    if sites is not None or stations is not None:
        raise UsageError("give --at, --sites or --stations, not two of them")
    import pandas as pd

    table = pd.DataFrame([options.place(text) for text in at])
    return table.rename(columns={"name": "site_id"})


def _sites(path: Path | None, comma: bool) -> "pd.DataFrame | None":
    """Return the table of sites to predict at, or None if no file is given; print the dropped rows."""
    if path is None:
        return None
    sites, left_out = tfgmm.read_sites(path, decimal_comma=comma)
    say_dropped(left_out)
    return sites


# ---- commands ----------------------------------------------------------------------------------------

SitesOrMaps = Annotated[
    Path | None, typer.Option(help="Table of sites: longitude, latitude, optionally an id (default: maps).")
]
StationsOfRun = Annotated[
    str | None,
    typer.Option(help="Stations of the run instead of sites, as K01,K02 or all; with what records tell."),
]
PredictionOut = Annotated[
    Path | None,
    typer.Option(
        help="Maps: .nc, .tif, .png or .pdf; sites: .csv or .parquet, with several measures also .png or "
        ".pdf, their spectra (default: prediction.nc or prediction.csv; with --spectrum spectrum.png)."
    ),
]
At = Annotated[
    list[str] | None,
    typer.Option(help="Site LON,LAT[,NAME] to predict at; repeatable; instead of --sites."),
]
Spectrum = Annotated[
    bool, typer.Option("--spectrum", help="All measures of the run, as --im spectrum, drawn at the sites.")
]
Exceed = Annotated[
    list[float] | None, typer.Option(help="Level, g (PGV: cm/s), whose exceedance probability to predict.")
]
Percentile = Annotated[list[float] | None, typer.Option(help="Percentile to predict, as 84; repeatable.")]
Interpolation = Annotated[
    str, typer.Option(help="Values at sites: nearest pixel, as in training, or bilinear.")
]
Raw = Annotated[
    bool, typer.Option("--raw", help="Do not calibrate sigma, even if the run has a calibration.")
]


Ims = Annotated[
    list[str] | None,
    typer.Option(
        help="Intensity measure, repeatable, all, or spectrum; SA(T) between two periods of the run is "
        "interpolated (default: the first one of the run)."
    ),
]
RuptureFile = Annotated[
    Path | None,
    typer.Option("--rupture", help="Surface of the scenario's rupture: rupture.json of a ShakeMap."),
]
Vs30 = Annotated[
    float | None, typer.Option("--vs30", help="Vs30 of all places, m/s (default: site layer).")
]
ReferenceRock = Annotated[
    bool, typer.Option("--reference-rock", help="Leave site terms out, with Vs30 760 m/s if not given.")
]
Condition = Annotated[
    str,
    typer.Option(
        help="Records that backbone and field rest on: all of the run, or training, each chunk's own."
    ),
]


@app.command(rich_help_panel=options.USE)
def predict(
    run: options.Run,
    magnitude: Magnitude = None,
    longitude: Longitude = None,
    latitude: Latitude = None,
    depth: Depth = None,
    catalogue: Catalogue = None,
    any_type: AnyType = False,
    decimal_comma: options.DecimalComma = False,
    sites: SitesOrMaps = None,
    stations: StationsOfRun = None,
    at: At = None,
    spectrum: Spectrum = False,
    out: PredictionOut = None,
    im: Ims = None,
    exceed: Exceed = None,
    percentile: Percentile = None,
    interpolation: Interpolation = "nearest",
    raw: Raw = False,
    rupture: RuptureFile = None,
    vs30: Vs30 = None,
    reference_rock: ReferenceRock = False,
    condition: Condition = "all",
    overwrite: options.Overwrite = False,
) -> None:
    """Predict earthquakes: median, sigma and its parts, probabilities, as maps or at sites."""
    from tfgmm.api.asking import refuse_both

    places = _places(at, sites, stations)
    at_sites = places is not None or refuse_both(sites, stations)
    if spectrum and not at_sites:
        raise UsageError("--spectrum draws spectra at sites: give --at LON,LAT, --sites or --stations")
    if spectrum and im:
        raise UsageError("--spectrum predicts all measures of the run: leave --im out")
    default = "spectrum.png" if spectrum else "prediction.csv" if at_sites else "prediction.nc"
    out, im = out or Path(default), ["spectrum"] if spectrum else im
    outputs.prediction_ending(out, at_sites)  # before files are read
    opened = tfgmm.open_run(run)
    if spectrum and sum(name.startswith("SA") for name in opened.ims) < 2:
        raise UsageError(
            f"--spectrum needs a run of two periods or more, and {opened.path} has "
            f"{', '.join(opened.ims)}: train one with --im spectrum"
        )
    events = _events(catalogue, any_type, decimal_comma, magnitude, longitude, latitude, depth)
    choices = {"interpolation": interpolation, "calibrated": False if raw else None, "overwrite": overwrite}
    choices |= {
        "sites": _sites(sites, decimal_comma) if places is None else places,
        "exceed": exceed or (),
        "percentiles": percentile or (),
    }
    choices["stations"] = stations if stations in (None, "all") else options.names(stations)
    choices |= {"rupture": rupture, "vs30": vs30, "reference_rock": reference_rock}
    choices["condition"] = condition
    im = im[0] if im and len(im) == 1 else im
    import_tensorflow()
    with progress("predicting", len(events)) as advance:
        written = opened.predict(events, out, im=im, progress=advance, **choices)
    say_simulated(opened.simulated)
    ensemble = opened.ensemble(im, condition=condition)
    given = [f"rupture {rupture}"] if rupture else []
    given += ["reference rock"] if reference_rock else []
    given += [f"Vs30 {vs30:g} m/s"] if vs30 is not None else []
    counts = [counted(len(events), "event"), counted(len(ensemble.members), "member")]
    console.print(f"{', '.join([*counts, *ensemble.ims, *given])}: {written}")


@app.command(rich_help_panel=options.USE)
def export(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the model (default: saved_models/RUN); a new version is added. "
            "File of a GMPE table (default: RUN.hdf5)."
        ),
    ] = None,
    im: Ims = None,
    members: Annotated[
        int | None,
        typer.Option(help="Number of members to export, from all chunks in turn (default: all)."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Type of the stored weights: float32 or float16.")
    ] = "float32",
    format: Annotated[
        str,
        typer.Option(help="saved-model, or gmpe-table: the backbone for OpenQuake, without networks."),
    ] = "saved-model",
    depth: Annotated[
        float | None,
        typer.Option(help="Depth of a GMPE table, km (default: median of the class)."),
    ] = None,
    tectonic_class: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class of a GMPE table: crustal, interface or intraslab "
            "(default: most records; with --depth alone the depth decides).",
        ),
    ] = None,
    condition: Condition = "all",
    overwrite: options.OverwriteOthers = False,
) -> None:
    """Write the ensemble as a SavedModel for a model server, or its backbone as a table for OpenQuake."""
    is_model = format == "saved-model"
    if out and is_model:
        outputs.refuse_file_name(out, "an exported model")
    if is_model:
        import_tensorflow()
    opened = tfgmm.open_run(run)
    prepared = opened.prepare_export(
        out,
        im=im[0] if im and len(im) == 1 else im,
        members=members,
        precision=precision,
        format=format,
        depth_km=depth,
        tectonic_class=tectonic_class,
        condition=condition,
        overwrite=overwrite,
    )
    say_simulated(opened.simulated)
    console.print(prepared.summary)
    with progress("export", prepared.steps) as advance:
        written = prepared.write(advance)
    advice = f"   How to serve it: {written.parent / 'README.md'}" if is_model else ""
    console.print(f"Written: {written}{advice}")


@app.command(rich_help_panel=options.USE)
def serve(
    models: Annotated[list[Path], typer.Argument(help="Folders of exported models, as saved_models/NAME.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 admits other machines, without passwords.")
    ] = "127.0.0.1",
    rest_port: Annotated[int, typer.Option(help="Port of REST; 0 takes any free port.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0 takes any free port.")] = 8500,
    docker: Annotated[
        bool, typer.Option("--docker", help="Only print the command that runs TensorFlow Serving itself.")
    ] = False,
) -> None:
    """Run a small model server with the interface of TensorFlow Serving, for machines without docker."""
    import_tensorflow()
    places = {"host": host, "rest_port": rest_port, "grpc_port": grpc_port}
    if docker:
        for model in models:
            print(tfgmm.docker_command(model, **places))
    else:
        tfgmm.serve(models, **places, say=lambda text: console.print(text, soft_wrap=True))


SitesOrFile = Annotated[
    Path | None, typer.Option(help="Table of sites: longitude, latitude (default: maps, which need --out).")
]
StationsOfModel = Annotated[
    str | None, typer.Option(help="Stations that the model knows instead of sites, as K01,K02.")
]
AnswerOut = Annotated[
    Path | None, typer.Option(help="Sites: .csv or .parquet (default: print the values); maps: .nc.")
]


@app.command(rich_help_panel=options.USE)
def query(
    url: Annotated[
        str, typer.Argument(help="http://HOST:PORT/v1/models/NAME, or grpc://HOST:PORT/v1/models/NAME.")
    ],
    magnitude: Magnitude = None,
    longitude: Longitude = None,
    latitude: Latitude = None,
    depth: Depth = None,
    catalogue: Catalogue = None,
    any_type: AnyType = False,
    decimal_comma: options.DecimalComma = False,
    sites: SitesOrFile = None,
    stations: StationsOfModel = None,
    out: AnswerOut = None,
    timeout: Annotated[float, typer.Option(help="Longest time to wait for one response, s.")] = 60.0,
    overwrite: options.Overwrite = False,
) -> None:
    """Request predictions from a model server: maps, or values at sites or stations."""
    from tfgmm.api.asking import refuse_answer, refuse_both

    at_sites = refuse_both(sites, stations)
    if out:
        refuse_answer(out, at_sites, overwrite)
    elif not at_sites:
        raise UsageError("maps need a file to be written to: give --out FILE.nc, or --sites or --stations")
    events = _events(catalogue, any_type, decimal_comma, magnitude, longitude, latitude, depth)
    places = {"sites": _sites(sites, decimal_comma), "stations": options.names(stations)}
    answer = tfgmm.query(url, events, out, **places, timeout_s=timeout, overwrite=overwrite)
    if out:
        console.print(f"Written: {out}")
        return
    shown = tfgmm.table(answer).drop(columns=_NOT_SHOWN, errors="ignore")
    show_table(url, shown, dict.fromkeys(shown.select_dtypes("float32"), ".3g"))
