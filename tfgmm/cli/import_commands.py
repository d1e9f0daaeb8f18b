"""The commands ``tfgmm import ...``: one a kind of file."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tfgmm.cli import options
from tfgmm.cli.console import progress, show_dataset
from tfgmm.core import files, lease, outputs
from tfgmm.core.errors import UsageError
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common import bounded, matching, selection, sheet

app = typer.Typer(help="Read records or site layers into a dataset folder.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Dataset folder to make, or with --append to add to.")]
Append = Annotated[
    bool,
    typer.Option(
        "--append", help="Add to the dataset at --out; one earthquake in two catalogues becomes one event."
    ),
]
Component = Annotated[str, typer.Option(help="geometric_mean or rotd50.")]
Im = Annotated[list[str] | None, typer.Option(help="Intensity measure, PGA or SA(T); repeatable.")]
Sensor = Annotated[str, typer.Option(help="surface or borehole.")]
Unit = Annotated[
    str | None, typer.Option(help="g, %g, m/s^2, cm/s^2 or gal (default: told from the values).")
]
UnitAsStated = Annotated[
    bool, typer.Option("--unit-as-stated", help="Take the unit even where the amplitudes contradict it.")
]
Region = Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH of the stations, degrees.")]
MinMagnitude = Annotated[float, typer.Option(help="Least moment magnitude.")]
MaxDistance = Annotated[float, typer.Option(help="Largest hypocentral distance, km.")]
MinRecords = Annotated[int, typer.Option(help="Least records an event.")]
Large = Annotated[
    bool,
    typer.Option("--large", help="Read files of more than 2 GB, or 200 times their packed size, unpacked."),
]
Same = Annotated[
    str | None,
    typer.Option(help="With --append: SECONDS,KM,MAGNITUDE within which two events are one."),
]


def _common(
    out: Out,
    region: Region = None,
    min_magnitude: MinMagnitude = 4.0,
    max_distance: MaxDistance = 300.0,
    min_records: MinRecords = 1,
    append: Append = False,
    same: Same = None,
    large: Large = False,
    decimal_comma: options.DecimalComma = False,
    overwrite: options.Overwrite = False,
) -> None:
    """The options of all commands that read records."""


def records_command(read: Callable[..., Dataset]) -> None:
    """Make a command of a function that reads records within limits.

    The command has the function's parameters but the first, ``limits``, and the common options; what
    the function returns is written, or added to what stands there, and described.
    """
    own = list(inspect.signature(read).parameters.values())[1:]
    shared = list(inspect.signature(_common).parameters.values())

    def command(*, out, region, min_magnitude, max_distance, min_records, append, same, overwrite, **rest):
        _refuse(out, append, overwrite)
        box = options.numbers(region, 4, "--region")
        tolerance = matching.Tolerance(*(options.numbers(same, 3, "--same") or ()))
        with bounded.large(rest.pop("large")), sheet.decimal_comma(rest.pop("decimal_comma")):
            dataset = read(selection.Limits(box, min_magnitude, max_distance, min_records), **rest)
        if not (append or overwrite) or files.is_vacant(out):
            written = dataset.write(out)
        else:  # another import into the same dataset waits
            with lease.held(out / "dataset"):
                whole = matching.combine(Dataset.read(out), dataset, tolerance) if append else dataset
                written = whole.write(out, overwrite=True)
        show_dataset(written)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(read.__name__.replace("_", "-"), help=read.__doc__)(command)


def _refuse(out: Path, append: bool, overwrite: bool) -> None:
    """Before minutes of reading: whether what will be written may be written."""
    if append and overwrite:
        raise UsageError("--append and --overwrite exclude each other")
    if append:
        Dataset.read(out)
    else:
        outputs.refuse_file_name(out, "a dataset")
        files.refuse_existing(out, overwrite)


@records_command
def jma(
    limits: selection.Limits,
    archives: Annotated[list[Path], typer.Argument(help="Annual files iYYYY.zip or iYYYY.dat.")],
    stations: Annotated[Path, typer.Option(help="Station table code_p.dat.")],
    coordinates: Annotated[
        Path | None, typer.Option(help="CSV with finer coordinates: code, y, x (degrees).")
    ] = None,
) -> Dataset:
    """Intensity and acceleration files of the Japan Meteorological Agency."""
    from tfgmm.readers.flatfiles import jma as source

    with progress("reading", len(archives)) as advance:
        return source.read(archives, stations, limits, progress=advance, coordinates=coordinates)


@records_command
def nied_ascii(
    limits: selection.Limits,
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, .tar, .tar.gz or .zip from NIED.")],
    im: Im = None,
    component: Component = "geometric_mean",
    sensor: Sensor = "surface",
    baseline: Annotated[str, typer.Option(help="pre_event or linear.")] = "pre_event",
    highpass: Annotated[float, typer.Option(help="Corner in Hz; 0 for none.")] = 0.1,
    lowpass: Annotated[float, typer.Option(help="Corner in Hz; 0 for none.")] = 0.0,
    catalogue: Annotated[Path | None, typer.Option(help="CSV or QuakeML with better magnitudes.")] = None,
) -> Dataset:
    """K-NET and KiK-net records, ASCII or CSV, as downloaded from NIED."""
    from tfgmm.readers.waveforms import archive, intensity_measures
    from tfgmm.readers.waveforms import nied as source

    processing = intensity_measures.Processing(
        baseline=baseline, highpass_hz=highpass or None, lowpass_hz=lowpass or None
    )
    with progress("reading", sum(len(archive.files_in(path)) for path in paths)) as advance:
        return source.read(
            paths,
            limits,
            ims=im or ("PGA",),
            component=component,
            sensor=sensor,
            processing=processing,
            catalogue=catalogue,
            progress=advance,
        )


@records_command
def kiknet_flatfile(
    limits: selection.Limits,
    attributes: Annotated[Path, typer.Argument(help="attributes.csv of Bahrampouri et al. (2021).")],
    spectra: Annotated[Path | None, typer.Option(help="HDF5 file of spectra, for SA(T).")] = None,
    im: Im = None,
    sensor: Sensor = "surface",
    unit: Unit = None,
    spectra_unit: Annotated[str | None, typer.Option(help="Unit of the spectra (default: told).")] = None,
    unit_as_stated: UnitAsStated = False,
    time_zone: Annotated[str, typer.Option(help="Of the origin times.")] = "Asia/Tokyo",
) -> Dataset:
    """The KiK-net flatfile of Bahrampouri et al. (2021), DesignSafe PRJ-2547."""
    from tfgmm.readers.flatfiles import kiknet_flatfile as source

    with progress("reading", 1) as advance:
        return source.read(
            attributes,
            limits,
            spectra=spectra,
            ims=im or ("PGA",),
            sensor=sensor,
            unit=unit,
            spectra_unit=spectra_unit,
            unit_as_stated=unit_as_stated,
            time_zone=time_zone,
            progress=advance,
        )


@records_command
def mesonet(
    limits: selection.Limits,
    waveforms: Annotated[list[Path], typer.Argument(help="WIN32 files, or MiniSEED, SAC, GSE files.")],
    catalogue: Annotated[Path, typer.Option(help="Event catalogue, CSV or QuakeML.")],
    channels: Annotated[Path | None, typer.Option(help="Channel table of WIN32 files.")] = None,
    stations: Annotated[Path | None, typer.Option(help="Station table (CSV) of other files.")] = None,
    network: Annotated[str, typer.Option(help="Name of the network.")] = "meso",
    im: Im = None,
    component: Component = "geometric_mean",
    correction: Annotated[
        str, typer.Option(help="Borehole to surface: ln (x 1.65), intensity (1.78), log10 (3.16), none.")
    ] = "ln",
    velocity: Annotated[
        str, typer.Option(help="Channels that measure velocity: leave-out, or differentiate.")
    ] = "leave-out",
) -> Dataset:
    """Continuous waveforms, cut into the events of a catalogue: MeSO-net and others."""
    from tfgmm.readers.waveforms import mesonet as source

    settings = source.Settings(
        network=network,
        ims=tuple(im or ("PGA", "SA(1.0)")),
        component=component,
        correction=correction,
        velocity=velocity,
    )
    with progress("reading", len(waveforms)) as advance:
        return source.read(
            waveforms,
            catalogue,
            limits,
            channels=channels,
            stations=stations,
            settings=settings,
            progress=advance,
        )


@records_command
def gmprocess(
    limits: selection.Limits,
    tables: Annotated[list[Path], typer.Argument(help="Flatfiles, as SA_rotd50.0.csv.")],
    component: Annotated[
        str | None, typer.Option(help="geometric_mean or rotd50 (default: as the file's name says).")
    ] = None,
    unit: Annotated[str, typer.Option(help="g, %g, m/s^2, cm/s^2 or gal; gmprocess writes %g.")] = "%g",
    unit_as_stated: UnitAsStated = False,
) -> Dataset:
    """Flatfiles of USGS gmprocess, with all spectral accelerations in them."""
    from tfgmm.readers.flatfiles import gmprocess as source

    with progress("reading", len(tables)) as advance:
        return source.read(
            tables, limits, component, progress=advance, unit=unit, unit_as_stated=unit_as_stated
        )


@records_command
def table(
    limits: selection.Limits,
    tables: Annotated[list[Path], typer.Argument(help="CSV, TSV, Excel or Parquet, one row a record.")],
    layout: Annotated[str | None, typer.Option(help="esm, nga-west2, nz, or a TOML file.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="WHAT=COLUMN; repeatable.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="WHAT=VALUE in all rows; repeatable.")
    ] = None,
    unit: Unit = None,
    unit_as_stated: UnitAsStated = False,
    time_zone: Annotated[str | None, typer.Option(help="Of times that name none, as Asia/Tokyo.")] = None,
) -> Dataset:
    """Any flatfile with a row a record: ESM, NGA-West2, NZ, or your own columns."""
    from tfgmm.readers.flatfiles import layout as layouts
    from tfgmm.readers.flatfiles import table as source

    form = layouts.choose(layout, map_ or (), set_ or (), unit, time_zone, unit_as_stated=unit_as_stated)
    with progress("reading", len(tables)) as advance:
        return source.read(tables, limits, form, progress=advance)


LayerFile = Annotated[
    Path, typer.Argument(help="GeoTIFF, NetCDF, J-SHIS file (.csv or its .zip) or CSV of points.")
]
LayerData = Annotated[Path, typer.Option("--data", help="Dataset folder that gets the layer.")]
Value = Annotated[
    str | None, typer.Option(help="Column of a CSV, variable of a NetCDF, band of a GeoTIFF.")
]
LayerRegion = Annotated[
    str | None,
    typer.Option("--region", help="WEST,SOUTH,EAST,NORTH, degrees; WEST > EAST crosses the date line."),
]
Missing = Annotated[
    list[float] | None,
    typer.Option(help="A value of the file that stands for a missing one, as -9999 or 0; repeatable."),
]
Scale = Annotated[float, typer.Option(help="Factor from the file's unit to m or m/s: 1000 for km.")]
Step = Annotated[
    float | None, typer.Option(help="Step of the raster, degrees; needed for scattered points.")
]
Latitude = Annotated[
    str | None, typer.Option(help="Column of a CSV with the latitude (default: lat, latitude).")
]
Longitude = Annotated[
    str | None,
    typer.Option(help="Column of a CSV with the longitude (default: lon, lng, long, longitude)."),
]


def layer_command(command: str, name: str, what: str) -> None:
    """Make the command that adds one site layer to a dataset."""

    @app.command(command, help=f"Add {what} as a site layer to a dataset.")
    def add(
        path: LayerFile,
        data: LayerData,
        value: Value = None,
        region: LayerRegion = None,
        scale: Scale = 1.0,
        step: Step = None,
        missing: Missing = None,
        latitude: Latitude = None,
        longitude: Longitude = None,
        large: Large = False,
        decimal_comma: options.DecimalComma = False,
    ) -> None:
        from tfgmm.readers.layers import recognise

        Dataset.read(data)  # what is wrong with it shows before the layer is read
        with bounded.large(large), sheet.decimal_comma(decimal_comma):
            layer = recognise.read_layer(
                path,
                name,
                value=value,
                region=options.numbers(region, 4, "--region"),
                scale=scale,
                step=step,
                missing=missing or (),
                latitude=latitude,
                longitude=longitude,
            )
        with lease.held(data / "dataset"):  # another import into the same dataset waits
            written = layers.attach(Dataset.read(data), layer).write_layers(data)
        show_dataset(written)


layer_command("bedrock", "z_bedrock", "the depth to seismic bedrock (m)")
layer_command("vs30", "vs30", "Vs30 (m/s)")
