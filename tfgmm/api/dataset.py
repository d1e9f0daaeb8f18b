"""Datasets of events, stations and records: open, save, extend; options of all readers."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self, TypedDict

import pandas as pd
import xarray as xr

from tfgmm.core import files, lease, outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError
from tfgmm.data import dataset as stored
from tfgmm.data.tally import Tally
from tfgmm.readers.common import bounded, selection, sheet
from tfgmm.simulation.truth import Truth

#: A path, or an object that can be used as a path, such as `tfgmm.Run`.
PathLike = str | os.PathLike


@checked
@dataclasses.dataclass(frozen=True, repr=False)
class Dataset(stored.Dataset):
    """Events, stations, records and site layers of a region, with their provenance.

    A dataset cannot be changed: methods that add something return a new dataset.

    Attributes
    ----------
    events : pandas.DataFrame
        One row per event; ``docs/data.md`` states columns and units.
    stations : pandas.DataFrame
        One row per station.
    records : pandas.DataFrame
        One row per record.
    provenance : dict
        Sources, options of the readers, and numbers of kept and dropped records: the content of
        ``dataset.json``.
    layers : xarray.Dataset or None
        Site layers (depth to bedrock in m, Vs30 in m/s) on latitude and longitude, degrees.
    truth : Truth or None
        For simulated records that were made in this process: the true terms and parameters behind them.

    Examples
    --------
    >>> tfgmm.open_dataset("data/kanto")  # doctest: +SKIP
    <Dataset 'kanto': 2,883 events; 365 stations; 48,112 records of PGA; networks kik, meso; 1996 to 2022>
    """

    truth: Truth | None = None

    @classmethod
    def of(cls, dataset: stored.Dataset, truth: Truth | None = None) -> Self:
        """Return an internal dataset as a public `Dataset`, which has more methods.

        Parameters
        ----------
        dataset : tfgmm.data.dataset.Dataset
            The internal dataset.
        truth : Truth, optional
            The true terms and parameters behind simulated records.
        """
        names = [field.name for field in dataclasses.fields(stored.Dataset)]
        return cls(**{name: getattr(dataset, name) for name in names}, truth=truth)

    @classmethod
    def open(cls, folder: PathLike) -> Self:
        """Read a dataset folder, check the dataset, and return it.

        The content is compared with the hash in ``dataset.json``.

        Parameters
        ----------
        folder : path
            Folder of a dataset.

        Returns
        -------
        Dataset
            The dataset in the folder.

        Raises
        ------
        UsageError
            The folder holds no dataset.
        DataError
            A file is missing or damaged, was changed since it was written, or violates ``docs/data.md``.

        Examples
        --------
        >>> data = tfgmm.Dataset.open("data/kanto")  # doctest: +SKIP
        """
        return cls.read(Path(folder))

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Self:
        """Check the dataset, write it into a folder, and return it as read from there.

        Either all files are written or none. With simulated records, the files ``truth.nc`` and
        ``truth.json`` are written too. Other files in the folder stay as they are.

        Parameters
        ----------
        folder : path
            Folder to write into.
        overwrite : bool
            If True, replace a dataset that the folder holds.

        Returns
        -------
        Dataset
            The dataset in the folder.

        Raises
        ------
        UsageError
            The folder is not empty, and `overwrite` is False or the folder holds no dataset.
        DataError
            The dataset violates ``docs/data.md``, or the file system refuses to write.

        Examples
        --------
        >>> data.save("data/kanto")  # doctest: +SKIP
        """
        folder = Path(folder)
        refuse_folder(folder, overwrite)
        if not (overwrite and (folder / stored.DESCRIPTION).is_file()):
            return self._write(folder, overwrite)
        with lease.held(folder / "dataset"):  # another import into the same dataset waits
            return self._write(folder, overwrite)

    def _write(self, folder: Path, overwrite: bool) -> Self:
        """Write the dataset and, for simulated records, the truth; return the written dataset."""
        from tfgmm.simulation import simulated

        if self.truth is None:
            return self.write(folder, overwrite)
        return simulated.write(self, self.truth, folder, overwrite)

    def append_to(self, folder: PathLike, *, same: tuple[float, float, float] | tuple[()] = ()) -> Self:
        """Add the records to a dataset folder, and return the enlarged dataset.

        An earthquake that both datasets contain becomes one event.

        Parameters
        ----------
        folder : path
            Folder of a dataset, whose event ids and hypocentres are kept for common events.
        same : (seconds, km, magnitude), optional
            Largest differences in origin time (s), distance (km) and magnitude between two entries of the
            same earthquake; 10 s, 50 km and 1 by default.

        Returns
        -------
        Dataset
            The enlarged dataset in the folder.

        Raises
        ------
        UsageError
            The folder holds no dataset, or the two datasets do not fit together.
        DataError
            A file is damaged, or the file system refuses to write.

        Examples
        --------
        >>> tfgmm.read_nied("2011.tar").append_to("data/kanto")  # doctest: +SKIP
        """
        from tfgmm.readers.common import matching

        tolerance = matching.Tolerance(*same)
        if not Path(folder).is_dir():
            type(self).open(folder)  # raises the error that says so, before a lease is taken
        with lease.held(Path(folder) / "dataset"):  # another import into the same dataset waits
            whole = matching.combine(type(self).open(folder), self, tolerance)
            return type(self).of(whole.write(Path(folder), overwrite=True))

    def describe(self) -> dict[str, pd.DataFrame]:
        """Return tables that describe the dataset: its content, its sources, and the dropped records.

        Returns
        -------
        dict of str to pandas.DataFrame
            Tables by title, as ``Networks``.

        Examples
        --------
        >>> data.describe()["Networks"]  # doctest: +SKIP
        """
        from tfgmm.data import description

        return dict(description.tables(self))

    def draw(self, folder: PathLike) -> list[Path]:
        """Draw a station map and the hit counts of the dataset as PNG and PDF files, and return the files.

        Parameters
        ----------
        folder : path
            Folder of the figures, made if it does not exist.

        Returns
        -------
        list of Path
            The files of the figures.

        Raises
        ------
        DataError
            The file system refuses to write.

        Examples
        --------
        >>> data.draw("figures")  # doctest: +SKIP
        """
        from tfgmm.data import figures

        return figures.draw(self, Path(folder))

    def to_table(self, path: PathLike, *, overwrite: bool = False) -> Tally:
        """Write the dataset as one CSV file, one row per record, and return counts of what was left out.

        `tfgmm.read_table` reads the file back.

        Parameters
        ----------
        path : path
            CSV file to write.
        overwrite : bool
            If True, replace the file if it exists.

        Returns
        -------
        Tally
            Rows that such a table cannot hold, by reason.

        Raises
        ------
        UsageError
            The name does not end in ``.csv``, or the file exists and `overwrite` is False.
        DataError
            The file system refuses to write.

        Examples
        --------
        >>> data.to_table("flatfile.csv")  # doctest: +SKIP
        """
        from tfgmm.readers.flatfiles import table

        refuse_table(Path(path), overwrite)
        return table.write(self, Path(path))

    def add_layer(self, layer: xr.DataArray) -> Self:
        """Return the dataset with a site layer added; a layer of the same name is replaced.

        The files of the dataset do not change; `tfgmm.add_layer` adds a layer to a dataset on disk.

        Parameters
        ----------
        layer : xarray.DataArray, [latitude, longitude]
            Site layer as returned by `tfgmm.read_layer`, m or m/s.

        Returns
        -------
        Dataset
            A new dataset with the layer.

        Raises
        ------
        UsageError
            The array has not the name or the dimensions of a site layer.

        Examples
        --------
        >>> data = data.add_layer(tfgmm.read_layer("vs30.tif", "vs30"))  # doctest: +SKIP
        """
        from tfgmm.data import layers

        if layer.name not in layers.LAYERS or {*layer.dims} != {"latitude", "longitude"}:
            raise UsageError(
                f"{layer.name} on {', '.join(map(str, layer.dims))} is no site layer: tfgmm.read_layer "
                f"makes one, {' or '.join(layers.LAYERS)} on latitude and longitude"
            )
        return layers.attach(self, layer)


def refuse_folder(folder: Path, overwrite: bool) -> None:
    """Check that a dataset can be written into a folder; nothing is returned.

    Parameters
    ----------
    folder : Path
        Folder of the dataset to be written.
    overwrite : bool
        If True, the folder may have content.

    Raises
    ------
    UsageError
        The folder is named like a file, or has content and `overwrite` is False.
    """
    outputs.refuse_file_name(folder, "a dataset")
    files.refuse_existing(folder, overwrite)


def refuse_table(path: Path, overwrite: bool) -> None:
    """Check that a dataset can be written as a CSV file; nothing is returned.

    Parameters
    ----------
    path : Path
        File to be written.
    overwrite : bool
        If True, the file may exist.

    Raises
    ------
    UsageError
        The name does not end in ``.csv``, or the file exists and `overwrite` is False.
    """
    outputs.ending_of(path, (".csv",), "datasets in one table")
    files.refuse_existing(path, overwrite)


@checked
def open_dataset(folder: PathLike) -> Dataset:
    """Read a dataset folder, check the dataset, and return it, as `Dataset.open` does.

    Parameters
    ----------
    folder : path
        Folder of a dataset.

    Returns
    -------
    Dataset
        The dataset in the folder.

    Raises
    ------
    UsageError, DataError
        As for `Dataset.open`.

    Examples
    --------
    >>> data = tfgmm.open_dataset("data/kanto")  # doctest: +SKIP
    """
    return Dataset.open(folder)


@checked
def simulate(
    *,
    events: int | None = None,
    kik_stations: int | None = None,
    meso_stations: int | None = None,
    meso_events: int | None = None,
    trigger: float | None = None,
    seed: int | None = None,
) -> Dataset:
    """Return a dataset of simulated records, made from known true terms, with the sizes of the Kanto study.

    The sizes default to those of the published study. The same arguments give the same records.

    Parameters
    ----------
    events : int, optional
        Number of events of the sparse network ``kik``; its number of records is in proportion.
    kik_stations : int, optional
        Number of stations of the sparse network ``kik``.
    meso_stations : int, optional
        Number of stations of the dense network ``meso``.
    meso_events : int, optional
        Number of events of the dense network ``meso``.
    trigger : float, optional
        Trigger threshold, g; records with a smaller PGA are dropped.
    seed : int, optional
        Seed of all random numbers.

    Returns
    -------
    Dataset
        The simulated dataset, with the true terms and parameters in ``truth``.

    Raises
    ------
    UsageError
        A value is out of range, or too few pairs of event and station exist for the number of records.

    Examples
    --------
    >>> data = tfgmm.simulate(events=300)  # doctest: +SKIP
    >>> data.save("data/simulated")  # doctest: +SKIP
    """
    from tfgmm.simulation import simulated

    settings = simulated.SimulationSettings.of(
        events=events,
        kik_stations=kik_stations,
        meso_stations=meso_stations,
        meso_events=meso_events,
        trigger=trigger,
        seed=seed,
    )
    dataset, truth = simulated.simulate(settings)
    return Dataset.of(dataset, truth)


#: Box (west, south, east, north), degrees.
Region = tuple[float, float, float, float]
#: One file or several files.
Files = PathLike | Iterable[PathLike]
#: Called with each file once it has been read.
Progress = Callable[[Path], None]


class Choices(TypedDict, total=False):
    """Options that all readers of records have in common: which records are kept, how files are read.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Box in degrees; only records of stations inside the box are kept. If west is greater than east, the
        box crosses the date line.
    min_magnitude : float
        Smallest moment magnitude of an event that is kept, 4 by default.
    max_distance_km : float
        Largest hypocentral distance of a record that is kept, km, 300 by default.
    min_records : int
        Smallest number of records of an event that is kept, 1 by default.
    large : bool
        If True, also unpack files that have more than 2 GB, or 200 times their packed size, when unpacked.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.

    Examples
    --------
    >>> choices = tfgmm.Choices(min_magnitude=5, region=(139, 35, 141, 37))  # doctest: +SKIP
    >>> data = tfgmm.read_jma("i2010.zip", "code_p.dat", **choices)  # doctest: +SKIP
    """

    region: Region | None
    min_magnitude: float
    max_distance_km: float
    min_records: int
    large: bool
    decimal_comma: bool


@contextlib.contextmanager
def limits_of(choices: Choices) -> Iterator[selection.Limits]:
    """Yield the limits on records; the options on reading files apply while the block runs.

    Parameters
    ----------
    choices : Choices
        Options of a reader.

    Yields
    ------
    tfgmm.readers.common.selection.Limits
        Region (degrees), smallest magnitude, largest distance (km) and smallest number of records.
    """
    numbers = {name: value for name, value in choices.items() if name not in ("large", "decimal_comma")}
    with (
        bounded.large(choices.get("large", False)),
        sheet.decimal_comma(choices.get("decimal_comma", False)),
    ):
        yield selection.Limits(**numbers)


def paths_of(files: Files) -> list[Path]:
    """Return a list of paths, from one path or several.

    Parameters
    ----------
    files : path or iterable of paths
        One file or several files.

    Returns
    -------
    list of Path
        The paths, in the given order.

    Raises
    ------
    UsageError
        There is no file.
    """
    paths = [Path(files)] if isinstance(files, PathLike) else [Path(file) for file in files]
    if not paths:
        raise UsageError("there is no file to read: give at least one")
    return paths


def path_of(file: PathLike | None) -> Path | None:
    """Return an optional path as a `Path`; return None for None.

    Parameters
    ----------
    file : path or None
        A file, or None if there is no file.

    Returns
    -------
    Path or None
        The path of the file.
    """
    return None if file is None else Path(file)
