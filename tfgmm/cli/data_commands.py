"""The commands that make and describe datasets: import, fetch, simulate, describe and export-table."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import tfgmm
from tfgmm.cli import options
from tfgmm.cli.console import console, progress, say_dropped, show_dataset, stage_progress
from tfgmm.core import outputs
from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common.sources import ACCOUNTS, JMA

app = typer.Typer()
imports = typer.Typer(help="Read records or site layers into a dataset folder.", no_args_is_help=True)
fetches = typer.Typer(
    help="Download records that are free to download.", epilog=ACCOUNTS, no_args_is_help=True
)

# ---- records into a dataset --------------------------------------------------------------------------

Out = Annotated[Path, typer.Option(help="Dataset folder to make, or, with --append, to extend.")]
Append = Annotated[
    bool,
    typer.Option(
        "--append", help="Add to the dataset at --out; an earthquake that both contain becomes one event."
    ),
]
Component = Annotated[str, typer.Option(help="geometric_mean or rotd50.")]
Sensor = Annotated[str, typer.Option(help="surface or borehole.")]
Unit = Annotated[
    str | None,
    typer.Option(
        help="Unit of the amplitudes: g, %g, m/s^2, cm/s^2 or gal (default: as the values suggest)."
    ),
]
UnitAsStated = Annotated[
    bool, typer.Option("--unit-as-stated", help="Use the stated unit even if the amplitudes contradict it.")
]
Region = Annotated[
    str | None, typer.Option(help="Box of the stations to keep: WEST,SOUTH,EAST,NORTH, degrees.")
]
MinMagnitude = Annotated[float, typer.Option(help="Smallest moment magnitude of an event.")]
MaxDistance = Annotated[float, typer.Option(help="Largest hypocentral distance of a record, km.")]
MinRecords = Annotated[int, typer.Option(help="Smallest number of records of an event.")]
Large = Annotated[
    bool,
    typer.Option(
        "--large", help="Read files that unpack to more than 2 GB, or to 200 times their packed size."
    ),
]
Same = Annotated[
    str | None,
    typer.Option(
        help="With --append: largest differences SECONDS,KM,MAGNITUDE between entries of one event."
    ),
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
    """Declare the options of all commands that read records, as parameters for `options.taking`."""


def records_command(read: "Callable[..., tfgmm.Dataset]") -> None:
    """Make a command from a function that reads records; the command writes or extends a dataset.

    Parameters
    ----------
    read : callable
        Function that returns a dataset; its parameters become options, its docstring becomes the help.
    """

    @imports.command(read.__name__.replace("_", "-"), help=read.__doc__)
    @options.taking(read, _common)
    def command(*, out, region, max_distance, append, same, overwrite, **choices):
        box, tolerance = options.numbers(region, 4, "--region"), options.numbers(same, 3, "--same") or ()
        _refuse(out, append, overwrite, tolerance)
        dataset = read(region=box, max_distance_km=max_distance, **choices)
        if append:
            show_dataset(dataset.append_to(out, same=tolerance))
        else:
            show_dataset(dataset.save(out, overwrite=overwrite))


def _refuse(out: Path, append: bool, overwrite: bool, tolerance: tuple[float, ...]) -> None:
    """Raise an error, before the records are read, if the dataset could not be written afterwards."""
    from tfgmm.api.dataset import refuse_folder
    from tfgmm.readers.common import matching

    if append and overwrite:
        raise UsageError("--append and --overwrite exclude each other")
    matching.Tolerance(*tolerance)
    if append:
        tfgmm.open_dataset(out)
    else:
        refuse_folder(out, overwrite)


@records_command
def jma(
    archives: Annotated[list[Path], typer.Argument(help="Annual files iYYYY.zip or iYYYY.dat.")],
    stations: Annotated[Path, typer.Option(help="Station table code_p.dat.")],
    coordinates: Annotated[
        Path | None,
        typer.Option(help="CSV file with more precise station coordinates: code, y, x (degrees)."),
    ] = None,
    magnitude: Annotated[
        str,
        typer.Option(
            help="Magnitude of an event that has both: moment, as listed, or jma: converted from the JMA "
            "magnitude, one scale for all years."
        ),
    ] = "moment",
    **choices,
) -> "tfgmm.Dataset":
    """Read intensity and acceleration files of the Japan Meteorological Agency."""
    with progress("reading", len(archives)) as advance:
        return tfgmm.read_jma(
            archives, stations, coordinates=coordinates, magnitude=magnitude, progress=advance, **choices
        )


@records_command
def nied_ascii(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, .tar, .tar.gz or .zip from NIED.")],
    im: options.Im = None,
    component: Component = "geometric_mean",
    sensor: Sensor = "surface",
    baseline: Annotated[str, typer.Option(help="pre_event or linear.")] = "pre_event",
    highpass: Annotated[float, typer.Option(help="Corner frequency, Hz; 0 for no filter.")] = 0.1,
    lowpass: Annotated[float, typer.Option(help="Corner frequency, Hz; 0 for no filter.")] = 0.0,
    catalogue: Annotated[
        Path | None, typer.Option(help="CSV or QuakeML catalogue with more reliable magnitudes.")
    ] = None,
    **choices,
) -> "tfgmm.Dataset":
    """Read K-NET and KiK-net records, ASCII or CSV, as downloaded from NIED."""
    from tfgmm.readers.waveforms import archive

    choices |= {"component": component, "sensor": sensor, "baseline": baseline, "catalogue": catalogue}
    choices |= {"ims": im or ("PGA",), "highpass_hz": highpass or None, "lowpass_hz": lowpass or None}
    with progress("reading", sum(len(archive.files_in(path)) for path in paths)) as advance:
        return tfgmm.read_nied(paths, progress=advance, **choices)


@records_command
def kiknet_flatfile(
    attributes: Annotated[Path, typer.Argument(help="attributes.csv of Bahrampouri et al. (2021).")],
    spectra: Annotated[
        Path | None, typer.Option(help="HDF5 file of response spectra, needed for SA(T).")
    ] = None,
    im: options.Im = None,
    sensor: Sensor = "surface",
    unit: Unit = None,
    spectra_unit: Annotated[
        str | None, typer.Option(help="Unit of the spectra (default: as the values suggest).")
    ] = None,
    unit_as_stated: UnitAsStated = False,
    time_zone: Annotated[str, typer.Option(help="Time zone of the origin times.")] = "Asia/Tokyo",
    **choices,
) -> "tfgmm.Dataset":
    """Read the KiK-net flatfile of Bahrampouri et al. (2021), DesignSafe PRJ-2547."""
    choices |= {"spectra": spectra, "ims": im or ("PGA",), "sensor": sensor, "time_zone": time_zone}
    choices |= {"unit": unit, "spectra_unit": spectra_unit, "unit_as_stated": unit_as_stated}
    with progress("reading", 1) as advance:
        return tfgmm.read_kiknet_flatfile(attributes, progress=advance, **choices)


@records_command
def mesonet(
    waveforms: Annotated[list[Path], typer.Argument(help="WIN32 files, or MiniSEED, SAC, GSE files.")],
    catalogue: Annotated[Path, typer.Option(help="Event catalogue, CSV or QuakeML.")],
    channels: Annotated[Path | None, typer.Option(help="Channel table of WIN32 files.")] = None,
    stations: Annotated[
        Path | None, typer.Option(help="Station table (CSV) of MiniSEED, SAC or GSE files.")
    ] = None,
    network: Annotated[str, typer.Option(help="Name of the network in the dataset.")] = "meso",
    im: options.Im = None,
    component: Component = "geometric_mean",
    correction: Annotated[
        str,
        typer.Option(
            help="Factor from borehole to surface: ln (1.65), intensity (1.78), log10 (3.16), none."
        ),
    ] = "ln",
    velocity: Annotated[
        str, typer.Option(help="Treatment of channels that measure velocity: leave-out or differentiate.")
    ] = "leave-out",
    **choices,
) -> "tfgmm.Dataset":
    """Read continuous waveforms and cut out the events of a catalogue: MeSO-net and others."""
    choices |= {"channels": channels, "stations": stations, "network": network, "component": component}
    choices |= {"ims": im or ("PGA", "SA(1.0)"), "correction": correction, "velocity": velocity}
    with progress("reading", len(waveforms)) as advance:
        return tfgmm.read_waveforms(waveforms, catalogue, progress=advance, **choices)


@records_command
def gmprocess(
    tables: Annotated[list[Path], typer.Argument(help="Flatfiles, as SA_rotd50.0.csv.")],
    component: Annotated[
        str | None, typer.Option(help="geometric_mean or rotd50 (default: as the file name states).")
    ] = None,
    unit: Annotated[
        str, typer.Option(help="Unit: g, %g, m/s^2, cm/s^2 or gal; gmprocess writes %g.")
    ] = "%g",
    unit_as_stated: UnitAsStated = False,
    **choices,
) -> "tfgmm.Dataset":
    """Read flatfiles of USGS gmprocess, with all spectral accelerations in them."""
    choices |= {"component": component, "unit": unit, "unit_as_stated": unit_as_stated}
    with progress("reading", len(tables)) as advance:
        return tfgmm.read_gmprocess(tables, progress=advance, **choices)


@records_command
def table(
    tables: Annotated[
        list[Path], typer.Argument(help="CSV, TSV, Excel or Parquet files, one row per record.")
    ],
    layout: Annotated[
        str | None, typer.Option(help="Known layout esm, nga-west2 or nz, or a TOML file.")
    ] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="QUANTITY=COLUMN; repeatable.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="QUANTITY=VALUE, the same in all rows; repeatable.")
    ] = None,
    unit: Unit = None,
    velocity_unit: Annotated[
        str | None, typer.Option(help="Unit of PGV: cm/s or m/s (default: that of the layout, else cm/s).")
    ] = None,
    unit_as_stated: UnitAsStated = False,
    time_zone: Annotated[
        str | None, typer.Option(help="Time zone of times that state none, as Asia/Tokyo.")
    ] = None,
    **choices,
) -> "tfgmm.Dataset":
    """Read any flatfile with one row per record: ESM, NGA-West2, NZ, or your own columns."""
    choices |= {"layout": layout, "columns": map_ or (), "constants": set_ or (), "time_zone": time_zone}
    choices |= {"unit": unit, "velocity_unit": velocity_unit, "unit_as_stated": unit_as_stated}
    with progress("reading", len(tables)) as advance:
        return tfgmm.read_table(tables, progress=advance, **choices)


# ---- site layers -------------------------------------------------------------------------------------

LayerFile = Annotated[
    Path, typer.Argument(help="GeoTIFF, NetCDF, J-SHIS file (.csv or .zip) or CSV file of points.")
]
LayerData = Annotated[Path, typer.Option("--data", help="Dataset folder that gets the layer.")]
Value = Annotated[
    str | None, typer.Option(help="CSV column, NetCDF variable or GeoTIFF band that holds the values.")
]
LayerRegion = Annotated[
    str | None,
    typer.Option(
        "--region", help="Box to read: WEST,SOUTH,EAST,NORTH, degrees; WEST > EAST crosses the date line."
    ),
]
Missing = Annotated[
    list[float] | None,
    typer.Option(help="A value in the file that means a missing value, as -9999 or 0; repeatable."),
]
Scale = Annotated[float, typer.Option(help="Factor from the unit of the file to m or m/s; 1000 for km.")]
Step = Annotated[
    float | None, typer.Option(help="Spacing of the raster, degrees; needed for scattered points.")
]
Latitude = Annotated[
    str | None, typer.Option(help="CSV column with the latitude (default: lat, latitude).")
]
Longitude = Annotated[
    str | None,
    typer.Option(help="CSV column with the longitude (default: lon, lng, long, longitude)."),
]


def _layer_options(
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
    """Declare the options of all commands that read a site layer, as parameters for `options.taking`."""


def layer_command(command: str, name: str, what: str) -> None:
    """Make the command that reads a site layer and adds it to a dataset.

    Parameters
    ----------
    command : str
        Name of the command.
    name : str
        Name of the layer in the dataset.
    what : str
        Quantity and unit of the layer, for the help.
    """

    @imports.command(command, help=f"Add {what} as a site layer to a dataset.")
    @options.taking(_layer_options)
    def add(*, path, data, region, missing, **choices) -> None:
        box = options.numbers(region, 4, "--region")
        show_dataset(tfgmm.add_layer(data, path, name, region=box, missing=missing or (), **choices))


layer_command("bedrock", "z_bedrock", "the depth to seismic bedrock (m)")
layer_command("vs30", "vs30", "Vs30 (m/s)")


# ---- other commands ----------------------------------------------------------------------------------


@fetches.callback()
def _fetch() -> None:
    """Make ``fetch`` a group of commands, although ``jma`` is the only command in the group."""


@fetches.command("jma")
def fetch_jma(
    years: Annotated[str, typer.Option(help="Years and ranges, as 2010,2012-2018.")],
    out: Annotated[Path, typer.Option(help="Folder of the downloaded files.")],
    base: Annotated[str, typer.Option(help="Address of the folder on the server.")] = JMA,
) -> None:
    """Download annual files and the station table of the JMA; the same command continues after a break."""
    with stage_progress() as report:
        paths = tfgmm.fetch_jma(years, out, base=base, report=report)
    console.print(
        f"{len(paths)} files in {out}. Next: tfgmm import jma {out}/i*.zip --stations {paths[-1]}"
    )


@app.command(rich_help_panel=options.GET_DATA)
def simulate(
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    events: Annotated[
        int | None,
        typer.Option(
            help="Number of events of the sparse network kik; its number of records is in proportion."
        ),
    ] = None,
    kik_stations: Annotated[
        int | None, typer.Option(help="Number of stations of the sparse network kik.")
    ] = None,
    meso_stations: Annotated[
        int | None, typer.Option(help="Number of stations of the dense network meso.")
    ] = None,
    meso_events: Annotated[
        int | None, typer.Option(help="Number of events of the dense network meso.")
    ] = None,
    trigger: Annotated[
        float | None, typer.Option(help="Trigger threshold, g; records with a smaller PGA are dropped.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a dataset of simulated records with known true terms, with the sizes of the published study."""
    from tfgmm.api.dataset import refuse_folder

    refuse_folder(out, overwrite)
    sizes = {"events": events, "meso_events": meso_events, "trigger": trigger, "seed": seed}
    dataset = tfgmm.simulate(kik_stations=kik_stations, meso_stations=meso_stations, **sizes)
    show_dataset(dataset.save(out, overwrite=overwrite))


@app.command(rich_help_panel=options.GET_DATA)
def describe(
    data: options.DataFolder,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the figures (default: figures in the dataset folder).")
    ] = None,
) -> None:
    """Print the content, sources and dropped records of a dataset; draw its station map and hit counts."""
    if figures:
        outputs.refuse_file_name(figures, "--figures")
    dataset = tfgmm.open_dataset(data)
    show_dataset(dataset)
    try:
        drawn = dataset.draw(figures or data / "figures")
    except DataError as error:
        if figures:
            raise
        console.print(f"No figures: {error}. Name a folder for them with --figures FOLDER", soft_wrap=True)
    else:
        console.print("Figures: " + ", ".join(map(str, drawn)))


@app.command(rich_help_panel=options.GET_DATA)
def export_table(
    data: options.DataFolder,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    overwrite: options.Overwrite = False,
) -> None:
    """Write a dataset as one CSV file, one row per record, that tfgmm import table reads back."""
    from tfgmm.api.dataset import refuse_table

    refuse_table(out, overwrite)
    say_dropped(tfgmm.open_dataset(data).to_table(out, overwrite=overwrite))
    console.print(f"Written: {out}")
