"""Flatfiles -> a dataset, and their download."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from tfgmm.api.choices import Choices, Files, Progress, limits_of, path_of, paths_of
from tfgmm.api.dataset import Dataset, PathLike
from tfgmm.core import outputs


def fetch_jma(
    years: str | Sequence[int],
    folder: PathLike,
    *,
    base: str | None = None,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> list[Path]:
    """Download annual files and the station table of the Japan Meteorological Agency.

    Files that are there and whole are not downloaded again; a partial download goes on.

    Parameters
    ----------
    years : str or sequence of int
        Years and ranges, as ``"2010,2012-2018"``, or the years themselves.
    folder : path
        Made if need be.
    base : str, optional
        Address of the folder on the server.
    report : callable
        Receives a file's name and the share of it that is there.

    Returns
    -------
    list of Path
        The annual files and, last, the station table ``code_p.dat``.

    Raises
    ------
    UsageError
        The agency has no file of one of the years; the others have been downloaded.
    DataError
        A file cannot be downloaded or written.

    Examples
    --------
    >>> *files, stations = tfgmm.fetch_jma("2010,2012-2014", "jma")  # doctest: +SKIP
    >>> data = tfgmm.read_jma(files, stations)  # doctest: +SKIP
    """
    from tfgmm.readers.common import fetch

    outputs.refuse_file_name(Path(folder), "what is downloaded")
    return fetch.fetch_jma(
        fetch.parse_years(years) if isinstance(years, str) else years,
        Path(folder),
        base=base or fetch.JMA,
        progress=lambda name, done, total: report(name, done / total if total else 0.0),
    )


def read_jma(
    files: Files,
    stations: PathLike,
    *,
    coordinates: PathLike | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read intensity and acceleration files of the Japan Meteorological Agency.

    Parameters
    ----------
    files : path or paths
        Annual files ``iYYYY.zip`` or ``iYYYY.dat``.
    stations : path
        Station table ``code_p.dat``.
    coordinates : path, optional
        CSV file with finer coordinates: code, y, x (degrees).
    progress : callable, optional
        Called with each file once it has been read.
    **choices
        As in `Choices`: ``region``, ``min_magnitude``, ...

    Raises
    ------
    UsageError
        A file does not exist, or no station lies in the region.
    DataError
        A file is damaged or is not what the agency specifies, or no record is left.

    Examples
    --------
    >>> data = tfgmm.read_jma(["i2010.zip", "i2012.zip"], "code_p.dat")  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import jma

    with limits_of(choices) as limits:
        return Dataset.of(
            jma.read(
                paths_of(files), Path(stations), limits, progress=progress, coordinates=path_of(coordinates)
            )
        )


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
    """Read the KiK-net flatfile of Bahrampouri et al. (2021), DesignSafe PRJ-2547.

    Parameters
    ----------
    attributes : path
        ``attributes.csv``.
    spectra : path, optional
        HDF5 file of spectra, needed for SA(T).
    ims, sensor
        As for `read_nied`.
    unit, spectra_unit : str, optional
        Of PGA and of the spectra: g, %g, m/s^2, cm/s^2 or gal; by default told from the values.
    unit_as_stated : bool
        Take the units even where the amplitudes contradict them.
    time_zone : str
        Of the origin times.
    progress, **choices
        As for `read_jma`.

    Raises
    ------
    UsageError
        A file, column, sensor, unit or intensity measure does not exist.
    DataError
        A file is damaged, or no record is left.

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


def read_gmprocess(
    files: Files,
    *,
    component: str | None = None,
    unit: str = "%g",
    unit_as_stated: bool = False,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read flatfiles of USGS gmprocess, with all spectral accelerations in them.

    Parameters
    ----------
    files : path or paths
        CSV files, as ``SA_rotd50.0.csv``.
    component : {"geometric_mean", "rotd50"}, optional
        By default as the file's name says.
    unit, unit_as_stated
        As for `read_kiknet_flatfile`; gmprocess writes %g.
    progress, **choices
        As for `read_jma`.

    Raises
    ------
    UsageError
        A file or a column does not exist, or the component is not known or differs among the files.
    DataError
        A file is damaged, a value cannot be trusted, or no record is left.

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


def read_table(
    files: Files,
    *,
    layout: str | None = None,
    columns: Mapping[str, str] | Sequence[str] = (),
    constants: Mapping[str, object] | Sequence[str] = (),
    unit: str | None = None,
    unit_as_stated: bool = False,
    time_zone: str | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read any flatfile with a row per record: ESM, NGA-West2, NZ, or columns of your own.

    Parameters
    ----------
    files : path or paths
        CSV, TSV, Excel or Parquet files of one layout.
    layout : str, optional
        ``esm``, ``nga-west2``, ``nz``, or the path of a TOML file.
    columns : mapping or sequence of str
        Quantity -> column of the file, as ``{"magnitude": "Mw"}`` or ``["magnitude=Mw"]``.
    constants : mapping or sequence of str
        Quantity -> value in all rows, as ``{"network": "it"}``.
    unit, unit_as_stated
        As for `read_kiknet_flatfile`.
    time_zone : str, optional
        Of times that name none, as ``Asia/Tokyo``.
    progress, **choices
        As for `read_jma`.

    Raises
    ------
    UsageError
        A file or a column does not exist, or no station lies in the region.
    DataError
        A file is damaged, a value cannot be trusted, or no record is left.

    Examples
    --------
    >>> data = tfgmm.read_table("flatfile.csv", columns={"PGA": "pga"}, unit="gal")  # doctest: +SKIP
    """
    from tfgmm.readers.flatfiles import layout as layouts
    from tfgmm.readers.flatfiles import table

    form = layouts.choose(
        layout, _texts(columns), _texts(constants), unit, time_zone, unit_as_stated=unit_as_stated
    )
    with limits_of(choices) as limits:
        return Dataset.of(table.read(paths_of(files), limits, form, progress=progress))


def _texts(pairs: Mapping[str, object] | Sequence[str]) -> list[str]:
    """Return pairs as texts ``NAME=VALUE``."""
    return [f"{name}={value}" for name, value in pairs.items()] if isinstance(pairs, Mapping) else [*pairs]
