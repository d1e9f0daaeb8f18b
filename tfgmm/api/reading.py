"""Flatfiles and waveforms -> a dataset; site layers; download of the flatfiles of the JMA."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

import xarray as xr

from tfgmm.api.dataset import (
    Choices,
    Dataset,
    Files,
    PathLike,
    Progress,
    Region,
    limits_of,
    path_of,
    paths_of,
)
from tfgmm.core import extras, lease, outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import bounded, sheet


@checked
def fetch_jma(
    years: str | Sequence[int],
    folder: PathLike,
    *,
    base: str | None = None,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> list[Path]:
    """Download annual files and the station table of the Japan Meteorological Agency; return their paths.

    Complete files in the folder are not downloaded again; an interrupted download is continued.

    Parameters
    ----------
    years : str or sequence of int
        Years: a text of years and ranges, as ``"2010,2012-2018"``, or a sequence of numbers.
    folder : path
        Folder of the downloaded files, made if it does not exist.
    base : str, optional
        Address (URL) of the folder on the server; that of the agency by default.
    report : callable
        Called with the name of a file and the downloaded share of the file, 0 to 1.

    Returns
    -------
    list of Path
        The annual files and, last, the station table ``code_p.dat``.

    Raises
    ------
    UsageError
        The agency has no file of one of the years; the files of all other years have been downloaded.
    DataError
        A file cannot be downloaded or written.

    Examples
    --------
    >>> *files, stations = tfgmm.fetch_jma("2010,2012-2014", "jma")  # doctest: +SKIP
    >>> data = tfgmm.read_jma(files, stations)  # doctest: +SKIP
    """
    from tfgmm.readers.common import fetch, sources

    outputs.refuse_file_name(Path(folder), "what is downloaded")
    return fetch.fetch_jma(
        fetch.parse_years(years) if isinstance(years, str) else years,
        Path(folder),
        base=base or sources.JMA,
        progress=lambda name, done, total: report(name, done / total if total else 0.0),
    )


@checked
def read_jma(
    files: Files,
    stations: PathLike,
    *,
    coordinates: PathLike | None = None,
    magnitude: str = "moment",
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read intensity and acceleration files of the Japan Meteorological Agency, and return a dataset.

    Parameters
    ----------
    files : path or paths
        Annual files ``iYYYY.zip`` or ``iYYYY.dat``.
    stations : path
        Station table ``code_p.dat``.
    coordinates : path, optional
        CSV file with more precise station coordinates: ``code``; ``y`` (latitude), ``x`` (longitude),
        degrees.
    magnitude : {"moment", "jma"}
        Magnitude of an event that has both: the moment magnitude as listed, or one converted from the JMA
        magnitude, which files of all years list.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file does not exist, no station lies in the region, or there is no such choice of magnitude.
    DataError
        A file is damaged or violates the format of the agency, or no record fits the options.

    Examples
    --------
    >>> data = tfgmm.read_jma(["i2010.zip", "i2012.zip"], "code_p.dat")  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import jma

    with limits_of(choices) as limits:
        return Dataset.of(
            jma.read(
                paths_of(files),
                Path(stations),
                limits,
                progress=progress,
                coordinates=path_of(coordinates),
                magnitude=magnitude,
            )
        )


@checked
def read_kiknet_flatfile(
    attributes: PathLike,
    *,
    spectra: PathLike | None = None,
    ims: Sequence[str] = ("PGA",),
    sensor: str = "surface",
    unit: str | None = None,
    spectra_unit: str | None = None,
    unit_as_stated: bool = False,
    time_zone: str = "Asia/Tokyo",
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read the KiK-net flatfile of Bahrampouri et al. (2021), and return a dataset.

    Intensity measures are the geometric mean of the two horizontal components.

    Parameters
    ----------
    attributes : path
        File ``attributes.csv`` of DesignSafe PRJ-2547.
    spectra : path, optional
        HDF5 file of response spectra, needed for SA(T).
    ims : sequence of str
        Intensity measures, ``PGA`` or ``SA(T)`` with the period T in s.
    sensor : {"surface", "borehole"}
        Sensor of the KiK-net station whose records are read.
    unit, spectra_unit : str, optional
        Units of PGA and of the spectra: g, %g, m/s^2, cm/s^2 or gal. By default they are recognised from
        the values.
    unit_as_stated : bool
        If True, the stated unit is used even if the amplitudes contradict it.
    time_zone : str
        Time zone of the origin times.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file, column, sensor, unit or intensity measure does not exist.
    DataError
        A file is damaged, or no record fits the options.

    References
    ----------
    Bahrampouri et al. (2021), KiK-net flatfile, DesignSafe PRJ-2547.

    Examples
    --------
    >>> data = tfgmm.read_kiknet_flatfile("attributes.csv")  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import kiknet_flatfile

    with limits_of(choices) as limits:
        return Dataset.of(
            kiknet_flatfile.read(
                Path(attributes),
                limits,
                spectra=path_of(spectra),
                ims=ims,
                sensor=sensor,
                unit=unit,
                spectra_unit=spectra_unit,
                unit_as_stated=unit_as_stated,
                time_zone=time_zone,
                progress=progress,
            )
        )


@checked
def read_gmprocess(
    files: Files,
    *,
    component: str | None = None,
    unit: str = "%g",
    unit_as_stated: bool = False,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read flatfiles of USGS gmprocess with all spectral accelerations in them, and return a dataset.

    Parameters
    ----------
    files : path or paths
        CSV files, as ``SA_rotd50.0.csv``.
    component : {"geometric_mean", "rotd50"}, optional
        Horizontal component of the intensity measures; recognised from the names of the files by default.
    unit : str
        Unit of the amplitudes: g, %g, m/s^2, cm/s^2 or gal; gmprocess writes %g.
    unit_as_stated : bool
        If True, the stated unit is used even if the amplitudes contradict it.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file or a column does not exist, or the component is unknown or differs between the files.
    DataError
        A file is damaged, a value cannot be trusted, or no record fits the options.

    Examples
    --------
    >>> data = tfgmm.read_gmprocess("SA_rotd50.0.csv", min_magnitude=3.5)  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import gmprocess

    with limits_of(choices) as limits:
        return Dataset.of(
            gmprocess.read(
                paths_of(files),
                limits,
                component,
                progress=progress,
                unit=unit,
                unit_as_stated=unit_as_stated,
            )
        )


@checked
def read_table(
    files: Files,
    *,
    layout: str | None = None,
    columns: Mapping[str, str] | Sequence[str] = (),
    constants: Mapping[str, object] | Sequence[str] = (),
    unit: str | None = None,
    velocity_unit: str | None = None,
    unit_as_stated: bool = False,
    time_zone: str | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read a flatfile with one row per record (ESM, NGA-West2, NZ, or own columns), and return a dataset.

    Parameters
    ----------
    files : path or paths
        CSV, TSV, Excel or Parquet files, all of one layout.
    layout : str, optional
        Known layout ``esm``, ``nga-west2`` or ``nz``, or path of a TOML file that describes a layout.
    columns : mapping or sequence of str
        Column of the file for each quantity, as ``{"magnitude": "Mw"}`` or ``["magnitude=Mw"]``.
    constants : mapping or sequence of str
        Value of each quantity that is the same in all rows, as ``{"network": "it"}``.
    unit : str, optional
        Unit of PGA and SA: g, %g, m/s^2, cm/s^2 or gal; that of the layout, or else g, by default.
    velocity_unit : str, optional
        Unit of PGV: cm/s or m/s; that of the layout, or else cm/s, by default.
    unit_as_stated : bool
        If True, the stated units are used even if the amplitudes contradict them.
    time_zone : str, optional
        Time zone of origin times that state none, as ``Asia/Tokyo``.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file or a column does not exist, or no station lies in the region.
    DataError
        A file is damaged, a value cannot be trusted, or no record fits the options.

    Examples
    --------
    >>> data = tfgmm.read_table("flatfile.csv", columns={"PGA": "pga"}, unit="gal")  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import layout as layouts
    from tfgmm.readers.flatfiles import table

    form = layouts.choose(
        layout,
        _texts(columns),
        _texts(constants),
        unit,
        time_zone,
        velocity_unit=velocity_unit,
        unit_as_stated=unit_as_stated,
    )
    with limits_of(choices) as limits:
        return Dataset.of(table.read(paths_of(files), limits, form, progress=progress))


def _texts(pairs: Mapping[str, object] | Sequence[str]) -> list[str]:
    """Return pairs of name and value as a list of texts ``NAME=VALUE``; texts are returned unchanged."""
    return [f"{name}={value}" for name, value in pairs.items()] if isinstance(pairs, Mapping) else [*pairs]


@checked
def read_nied(
    files: Files,
    *,
    ims: Sequence[str] = ("PGA",),
    component: str = "geometric_mean",
    sensor: str = "surface",
    baseline: str = "pre_event",
    highpass_hz: float | None = 0.1,
    lowpass_hz: float | None = None,
    catalogue: PathLike | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read K-NET and KiK-net records (ASCII or CSV) as downloaded from NIED, and return a dataset.

    Parameters
    ----------
    files : path or paths
        Files, folders of files, and archives ``.tar``, ``.tar.gz``, ``.zip``.
    ims : sequence of str
        Intensity measures to compute, ``PGA``, ``PGV`` or ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Horizontal component of the intensity measures.
    sensor : {"surface", "borehole"}
        Sensor of KiK-net stations whose records are read.
    baseline : {"pre_event", "linear"}
        Baseline to subtract: mean before the first arrival, or straight line.
    highpass_hz, lowpass_hz : float or None
        Corner frequencies of the filters, Hz; None for no filter.
    catalogue : path, optional
        CSV or QuakeML catalogue with more reliable magnitudes than the records state.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file does not exist, an option is unknown, no station lies in the region, or ObsPy is not
        installed (extra ``[waveforms]``).
    DataError
        No pair of horizontal components can be read, or no record fits the options.

    Examples
    --------
    >>> data = tfgmm.read_nied("2011.tar", ims=["PGA", "SA(1.0)"])  # doctest: +SKIP
    """
    with extras.needed("waveforms", "tfgmm import nied-ascii"):
        from tfgmm.readers.waveforms import intensity_measures, nied

    processing = intensity_measures.Processing(
        baseline=baseline, highpass_hz=highpass_hz, lowpass_hz=lowpass_hz
    )
    with limits_of(choices) as limits:
        return Dataset.of(
            nied.read(
                paths_of(files),
                limits,
                ims=ims,
                component=component,
                sensor=sensor,
                processing=processing,
                catalogue=path_of(catalogue),
                progress=progress,
            )
        )


@checked
def read_waveforms(
    files: Files,
    catalogue: PathLike,
    *,
    channels: PathLike | None = None,
    stations: PathLike | None = None,
    network: str = "meso",
    ims: Sequence[str] = ("PGA", "SA(1.0)"),
    component: str = "geometric_mean",
    correction: str = "ln",
    velocity: str = "leave-out",
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read continuous waveforms (MeSO-net and others), cut out the events of a catalogue, return a dataset.

    Parameters
    ----------
    files : path or paths
        WIN32 files, or MiniSEED, SAC or GSE files.
    catalogue : path
        Event catalogue, CSV or QuakeML.
    channels : path, optional
        Channel table of the WIN32 files.
    stations : path, optional
        Station table (CSV) of MiniSEED, SAC or GSE files.
    network : str
        Name of the network in the dataset.
    ims : sequence of str
        Intensity measures to compute, ``PGA``, ``PGV`` or ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Horizontal component of the intensity measures.
    correction : {"ln", "intensity", "log10", "none"}
        Amplification from a borehole sensor to the surface: factor 1.65, 1.78, 3.16, or none.
    velocity : {"leave-out", "differentiate"}
        Treatment of channels that measure velocity.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file does not exist, an option does not fit, no station lies in the region, or ObsPy is not
        installed (extra ``[waveforms]``).
    DataError
        A file is damaged, or no record fits the options.

    Examples
    --------
    >>> data = tfgmm.read_waveforms("day.mseed", "events.csv", stations="stations.csv")  # doctest: +SKIP
    """
    with extras.needed("waveforms", "tfgmm import mesonet"):
        from tfgmm.readers.waveforms import mesonet

    settings = mesonet.WaveformSettings(
        network=network, ims=tuple(ims), component=component, correction=correction, velocity=velocity
    )
    with limits_of(choices) as limits:
        return Dataset.of(
            mesonet.read(
                paths_of(files),
                Path(catalogue),
                limits,
                channels=path_of(channels),
                stations=path_of(stations),
                settings=settings,
                progress=progress,
            )
        )


@checked
def read_layer(
    path: PathLike,
    name: str,
    *,
    value: str | None = None,
    latitude: str | None = None,
    longitude: str | None = None,
    region: Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
    missing: Sequence[float] = (),
    large: bool = False,
    decimal_comma: bool = False,
) -> xr.DataArray:
    """Read a site layer, a raster of depth to bedrock or Vs30, from a file.

    Parameters
    ----------
    path : path
        GeoTIFF or NetCDF file, file of J-SHIS, or CSV file of points.
    name : {"z_bedrock", "vs30"}
        Name of the layer: depth to seismic bedrock (m), or Vs30 (m/s).
    value : str, optional
        Column of a CSV file, variable of a NetCDF file or band of a GeoTIFF file that holds the values.
    latitude, longitude : str, optional
        Columns of a CSV file that hold the coordinates.
    region : (west, south, east, north), optional
        Box in degrees; only values inside the box are read. If west is greater than east, the box crosses
        the date line.
    scale : float
        Factor from the unit of the file to m or m/s; 1000 for km.
    step : float, optional
        Spacing of the raster, degrees; needed for scattered points.
    missing : sequence of float
        Values in the file that stand for missing values.
    large : bool
        If True, also unpack files that have more than 2 GB, or 200 times their packed size, when unpacked.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.

    Returns
    -------
    xarray.DataArray, [latitude, longitude]
        The layer, m or m/s, on latitude and longitude in degrees.

    Raises
    ------
    UsageError
        An option does not fit the file.
    DataError
        The file is damaged, or its values cannot be trusted.

    Examples
    --------
    >>> layer = tfgmm.read_layer("Z-V4-JAPAN-AMP-VS400_M250.zip", "vs30")  # doctest: +SKIP
    """
    from tfgmm.readers.layers import recognise

    with bounded.large(large), sheet.decimal_comma(decimal_comma):
        return recognise.read_layer(
            Path(path),
            name,
            value=value,
            latitude=latitude,
            longitude=longitude,
            region=region,
            scale=scale,
            step=step,
            missing=missing,
        )


@checked
def add_layer(folder: PathLike, path: PathLike, name: str, **options) -> Dataset:
    """Read a site layer, add it to a dataset on disk, and return the dataset with the layer.

    The other files of the dataset stay as they are.

    Parameters
    ----------
    folder : path
        Folder of the dataset.
    path : path
        File of the layer, as for `read_layer`.
    name : {"z_bedrock", "vs30"}
        Name of the layer, as for `read_layer`.
    **options
        Further arguments of `read_layer`.

    Returns
    -------
    Dataset
        The dataset with the layer.

    Raises
    ------
    UsageError, DataError
        As for `read_layer` and `tfgmm.open_dataset`.

    Examples
    --------
    >>> tfgmm.add_layer("data/kanto", "vs30.tif", "vs30")  # doctest: +SKIP
    """
    known = [*inspect.signature(read_layer).parameters][2:]
    if not {*options} <= {*known}:
        raise UsageError(f"add_layer: there is no {listed({*options} - {*known})}: choose {listed(known)}")
    folder = Path(folder)
    Dataset.open(folder)  # a damaged dataset is refused before the layer is read
    layer = read_layer(path, name, **options)
    with lease.held(folder / "dataset"):  # another import into the same dataset waits
        return layers.attach(Dataset.open(folder), layer).write_layers(folder)
