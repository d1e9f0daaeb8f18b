"""The commands ``tfgmm import ...``: one a kind of file."""

from pathlib import Path
from typing import Annotated

import typer

from tfgmm import files, layers, options, records
from tfgmm.console import progress, show_dataset
from tfgmm.errors import UsageError
from tfgmm.sources import combine, matching, selection

app = typer.Typer(help="Read records or site layers into a dataset folder.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Dataset folder to make, or with --append to add to.")]
Append = Annotated[
    bool,
    typer.Option(
        "--append", help="Add to the dataset at --out; one earthquake in two catalogues becomes one event."
    ),
]
Component = Annotated[
    str | None, typer.Option(help="geometric_mean or rotd50 (default: as the file has it).")
]
Im = Annotated[list[str] | None, typer.Option(help="Intensity measure, PGA or SA(T); repeatable.")]
Sensor = Annotated[str, typer.Option(help="surface or borehole.")]
Unit = Annotated[
    str | None, typer.Option(help="g, %g, m/s^2, cm/s^2 or gal (default: told from the values).")
]
Region = Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH of the stations, degrees.")]
MinMagnitude = Annotated[float, typer.Option(help="Least moment magnitude.")]
MaxDistance = Annotated[float, typer.Option(help="Largest hypocentral distance, km.")]
MinRecords = Annotated[int, typer.Option(help="Least records an event.")]
Same = Annotated[
    str | None,
    typer.Option(help="With --append: SECONDS,KM,MAGNITUDE within which two events are one."),
]


def _limits(region: str | None, *others: float) -> selection.Limits:
    return selection.Limits(options.numbers(region, 4, "--region"), *others)


def _tolerance(text: str | None) -> matching.Tolerance:
    return matching.Tolerance(*(options.numbers(text, 3, "--same") or ()))


def _refuse(out: Path, append: bool, overwrite: bool) -> None:
    """Before hours of reading: whether what will be written may be written."""
    if append and overwrite:
        raise UsageError("--append and --overwrite exclude each other")
    if append:
        records.read(out)
    else:
        files.refuse_existing(out, overwrite)


def _keep(dataset: records.Dataset, out: Path, append: bool, overwrite: bool, same: str | None) -> None:
    if append:
        dataset = combine.combine(records.read(out), dataset, _tolerance(same))
    show_dataset(records.write(dataset, out, overwrite or append))


@app.command()
def jma(
    archives: Annotated[list[Path], typer.Argument(help="Annual files iYYYY.zip or iYYYY.dat.")],
    stations: Annotated[Path, typer.Option(help="Station table code_p.dat.")],
    out: Out,
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Intensity and acceleration files of the Japan Meteorological Agency."""
    from tfgmm.sources import jma as source

    _refuse(out, append, overwrite)
    limits = _limits(region, min_magnitude, max_distance, min_records)
    with progress("reading", len(archives)) as advance:
        dataset = source.read(archives, stations, limits, progress=advance)
    _keep(dataset, out, append, overwrite, same)


@app.command("table")
def import_table(
    tables: Annotated[list[Path], typer.Argument(help="CSV, TSV, Excel or Parquet, one row a record.")],
    out: Out,
    layout: Annotated[str | None, typer.Option(help="esm, nga-west2, nz, or a TOML file.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="WHAT=COLUMN; repeatable.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="WHAT=VALUE in all rows; repeatable.")
    ] = None,
    unit: Unit = None,
    time_zone: Annotated[str | None, typer.Option(help="Of times that name none, as Asia/Tokyo.")] = None,
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Any flatfile with a row a record: ESM, NGA-West2, NZ, or your own columns."""
    from tfgmm.sources import layout as layouts
    from tfgmm.sources import table as source

    _refuse(out, append, overwrite)
    form = layouts.choose(layout, map_ or (), set_ or (), unit, time_zone)
    limits = _limits(region, min_magnitude, max_distance, min_records)
    with progress("reading", len(tables)) as advance:
        dataset = source.read(tables, limits, form, progress=advance)
    _keep(dataset, out, append, overwrite, same)


@app.command()
def gmprocess(
    tables: Annotated[list[Path], typer.Argument(help="Flatfiles, as SA_rotd50.0.csv.")],
    out: Out,
    component: Component = None,
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Flatfiles of USGS gmprocess, with all spectral accelerations in them."""
    from tfgmm.sources import gmprocess as source

    _refuse(out, append, overwrite)
    limits = _limits(region, min_magnitude, max_distance, min_records)
    with progress("reading", len(tables)) as advance:
        dataset = source.read(tables, limits, component, progress=advance)
    _keep(dataset, out, append, overwrite, same)


@app.command("kiknet-flatfile")
def kiknet_flatfile(
    attributes: Annotated[Path, typer.Argument(help="attributes.csv of Bahrampouri et al. (2021).")],
    out: Out,
    spectra: Annotated[Path | None, typer.Option(help="HDF5 file of spectra, for SA(T).")] = None,
    im: Im = None,
    sensor: Sensor = "surface",
    unit: Unit = None,
    spectra_unit: Annotated[str | None, typer.Option(help="Unit of the spectra (default: told).")] = None,
    time_zone: Annotated[str, typer.Option(help="Of the origin times.")] = "Asia/Tokyo",
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """The KiK-net flatfile of Bahrampouri et al. (2021), DesignSafe PRJ-2547."""
    from tfgmm.sources import kiknet_flatfile as source

    _refuse(out, append, overwrite)
    with progress("reading", 1) as advance:
        dataset = source.read(
            attributes,
            _limits(region, min_magnitude, max_distance, min_records),
            spectra=spectra,
            ims=tuple(im or ("PGA",)),
            sensor=sensor,
            unit=unit,
            spectra_unit=spectra_unit,
            time_zone=time_zone,
            progress=advance,
        )
    _keep(dataset, out, append, overwrite, same)


@app.command()
def mesonet(
    waveforms: Annotated[list[Path], typer.Argument(help="WIN32 files, or MiniSEED, SAC, GSE files.")],
    catalogue: Annotated[Path, typer.Option(help="Event catalogue, CSV or QuakeML.")],
    out: Out,
    channels: Annotated[Path | None, typer.Option(help="Channel table of WIN32 files.")] = None,
    stations: Annotated[Path | None, typer.Option(help="Station table (CSV) of other files.")] = None,
    network: Annotated[str, typer.Option(help="Name of the network.")] = "meso",
    im: Im = None,
    component: Annotated[str, typer.Option(help="geometric_mean or rotd50.")] = "geometric_mean",
    correction: Annotated[
        str, typer.Option(help="Borehole to surface: ln (x 1.65), intensity (1.78), log10 (3.16), none.")
    ] = "ln",
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Continuous waveforms, cut into the events of a catalogue: MeSO-net and others."""
    from tfgmm.sources import mesonet as source

    _refuse(out, append, overwrite)
    settings = source.Settings(
        network=network, ims=tuple(im or ("PGA", "SA(1.0)")), component=component, correction=correction
    )
    limits = _limits(region, min_magnitude, max_distance, min_records)
    with progress("reading", len(waveforms)) as advance:
        dataset = source.read(
            waveforms,
            catalogue,
            limits,
            channels=channels,
            stations=stations,
            settings=settings,
            progress=advance,
        )
    _keep(dataset, out, append, overwrite, same)


@app.command("nied-ascii")
def nied_ascii(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, .tar, .tar.gz or .zip from NIED.")],
    out: Out,
    im: Im = None,
    component: Annotated[str, typer.Option(help="geometric_mean or rotd50.")] = "geometric_mean",
    sensor: Sensor = "surface",
    baseline: Annotated[str, typer.Option(help="pre_event or linear.")] = "pre_event",
    highpass: Annotated[float, typer.Option(help="Corner in Hz; 0 for none.")] = 0.1,
    lowpass: Annotated[float, typer.Option(help="Corner in Hz; 0 for none.")] = 0.0,
    catalogue: Annotated[
        Path | None, typer.Option(help="CSV or QuakeML with better magnitudes, joined within --same.")
    ] = None,
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    overwrite: options.Overwrite = False,
) -> None:
    """K-NET and KiK-net ASCII records as downloaded from NIED."""
    from tfgmm.sources import archive, waveforms
    from tfgmm.sources import nied_ascii as source

    _refuse(out, append, overwrite)
    processing = waveforms.Processing(
        baseline=baseline, highpass_hz=highpass or None, lowpass_hz=lowpass or None
    )
    with progress("reading", sum(len(archive.files_in(path)) for path in paths)) as advance:
        dataset = source.read(
            paths,
            _limits(region, min_magnitude, max_distance, min_records),
            ims=im or ("PGA",),
            component=component,
            sensor=sensor,
            processing=processing,
            catalogue=catalogue,
            tolerance=_tolerance(same),
            progress=advance,
        )
    _keep(dataset, out, append, overwrite, same)


LayerFile = Annotated[
    Path, typer.Argument(help="GeoTIFF, NetCDF, J-SHIS file (.csv or its .zip) or CSV of points.")
]
LayerData = Annotated[Path, typer.Option("--data", help="Dataset folder that gets the layer.")]
Value = Annotated[
    str | None, typer.Option(help="Column of a CSV, variable of a NetCDF, band of a GeoTIFF.")
]
LayerRegion = Annotated[str | None, typer.Option("--region", help="WEST,SOUTH,EAST,NORTH, degrees.")]
Scale = Annotated[float, typer.Option(help="Factor from the file's unit to m or m/s: 1000 for km.")]
Step = Annotated[
    float | None, typer.Option(help="Step of the raster, degrees; needed for scattered points.")
]
Latitude = Annotated[str, typer.Option(help="Column of a CSV with the latitude.")]
Longitude = Annotated[str, typer.Option(help="Column of a CSV with the longitude.")]


def _layer(name: str, path: Path, data: Path, region: str | None, **choices) -> None:
    from tfgmm.sources import site_layer

    dataset = records.read(data)
    box = options.numbers(region, 4, "--region")
    layer = site_layer.read_layer(path, name, region=box, **choices)
    show_dataset(records.write(layers.attach(dataset, layer), data, overwrite=True))


@app.command()
def bedrock(
    path: LayerFile,
    data: LayerData,
    value: Value = None,
    region: LayerRegion = None,
    scale: Scale = 1.0,
    step: Step = None,
    latitude: Latitude = "lat",
    longitude: Longitude = "lon",
) -> None:
    """Add the depth to seismic bedrock (m) as a site layer to a dataset."""
    columns = {"value": value, "latitude": latitude, "longitude": longitude}
    _layer("z_bedrock", path, data, region, scale=scale, step=step, **columns)


@app.command()
def vs30(
    path: LayerFile,
    data: LayerData,
    value: Value = None,
    region: LayerRegion = None,
    scale: Scale = 1.0,
    step: Step = None,
    latitude: Latitude = "lat",
    longitude: Longitude = "lon",
) -> None:
    """Add Vs30 (m/s) as a site layer to a dataset."""
    columns = {"value": value, "latitude": latitude, "longitude": longitude}
    _layer("vs30", path, data, region, scale=scale, step=step, **columns)
