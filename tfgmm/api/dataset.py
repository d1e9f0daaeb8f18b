"""A dataset with its verbs, and simulated records."""

import dataclasses
import os
from pathlib import Path
from typing import Self

import pandas as pd
import xarray as xr

from tfgmm.core import files, lease, outputs
from tfgmm.data import dataset as stored
from tfgmm.data.tally import Tally
from tfgmm.simulation.truth import Truth

#: A path, or an object that stands for one, as `tfgmm.Run` does.
PathLike = str | os.PathLike


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset(stored.Dataset):
    """Events, stations and records of a region, its site layers, and where they come from.

    A dataset is not changed: what adds to it returns another one.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        The tables of the data contract (see ``docs/data.md``).
    provenance : dict
        Sources, choices, counts kept and dropped: the content of ``dataset.json``.
    layers : xarray.Dataset or None
        Site layers on latitude and longitude.
    truth : Truth or None
        What was planted in simulated records that this process has made.

    Examples
    --------
    >>> tfgmm.open_dataset("data/kanto")  # doctest: +SKIP
    <Dataset 'kanto': 2,883 events; 365 stations; 48,112 records of PGA; networks kik, meso; 1996 to 2022>
    """

    truth: Truth | None = None

    @classmethod
    def of(cls, dataset: stored.Dataset, truth: Truth | None = None) -> Self:
        """Return the same dataset with the verbs of this class."""
        names = [field.name for field in dataclasses.fields(stored.Dataset)]
        return cls(**{name: getattr(dataset, name) for name in names}, truth=truth)

    @classmethod
    def open(cls, folder: PathLike) -> Self:
        """Read a dataset folder, compare its content with the hash in ``dataset.json``, and check it.

        Raises
        ------
        UsageError
            There is no dataset.
        DataError
            A file is missing, damaged, not what was written, or breaks the contract.

        Examples
        --------
        >>> data = tfgmm.Dataset.open("data/kanto")  # doctest: +SKIP
        """
        return cls.read(Path(folder))

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Self:
        """Check the dataset and write it into a folder, all files or none.

        Simulated records are accompanied by ``truth.nc`` and ``truth.json``. Files of others in the folder
        stay as they are.

        Parameters
        ----------
        folder : path
        overwrite : bool
            Replace the dataset that stands there.

        Returns
        -------
        Dataset
            The dataset as it stands in the folder.

        Raises
        ------
        UsageError
            The folder holds something, and `overwrite` is false or it is no dataset.
        DataError
            The dataset breaks the contract, or the file system refuses to write.

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
        """Write the files of the dataset, and the truth where it is known."""
        from tfgmm.simulation import simulated

        if self.truth is None:
            return self.write(folder, overwrite)
        return simulated.write(self, self.truth, folder, overwrite)

    def append_to(self, folder: PathLike, *, same: tuple[float, float, float] | tuple[()] = ()) -> Self:
        """Add the records to a dataset folder; one earthquake in two catalogues becomes one event.

        Parameters
        ----------
        folder : path
            Of a dataset, whose ids and hypocentres stay.
        same : (seconds, km, magnitude), optional
            Differences within which two events are one; 10 s, 50 km and 1 by default.

        Returns
        -------
        Dataset
            The sum, as it stands in the folder.

        Raises
        ------
        UsageError
            There is no dataset, or the two do not fit together.
        DataError
            A file is damaged, or the file system refuses to write.

        Examples
        --------
        >>> tfgmm.read_nied("2011.tar").append_to("data/kanto")  # doctest: +SKIP
        """
        from tfgmm.readers.common import matching

        tolerance = matching.Tolerance(*same)
        with lease.held(Path(folder) / "dataset"):  # another import into the same dataset waits
            whole = matching.combine(type(self).open(folder), self, tolerance)
            return type(self).of(whole.write(Path(folder), overwrite=True))

    def describe(self) -> dict[str, pd.DataFrame]:
        """Return tables of what the dataset holds, where it comes from and what was dropped, by title.

        Examples
        --------
        >>> data.describe()["Networks"]  # doctest: +SKIP
        """
        from tfgmm.data import description

        return dict(description.tables(self))

    def draw(self, folder: PathLike) -> list[Path]:
        """Draw the stations on a map and the hit counts, as PNG and PDF in a folder.

        Returns
        -------
        list of Path

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
        """Write the dataset as one CSV file, a row per record, that `tfgmm.read_table` reads back.

        Returns
        -------
        Tally
            What such a table cannot hold and was left out, and why.

        Raises
        ------
        UsageError
            The name does not end in ``.csv``, or the file exists and `overwrite` is false.
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
        """Return the dataset with a site layer added, or put in place of the one of the same name.

        Parameters
        ----------
        layer : xarray.DataArray
            Of `tfgmm.read_layer`. `tfgmm.add_layer` adds a layer to a dataset on disk.

        Examples
        --------
        >>> data = data.add_layer(tfgmm.read_layer("vs30.tif", "vs30"))  # doctest: +SKIP
        """
        from tfgmm.data import layers

        return layers.attach(self, layer)


def refuse_folder(folder: Path, overwrite: bool) -> None:
    """Raise `UsageError` if a dataset folder cannot have this name, or exists and may not be replaced."""
    outputs.refuse_file_name(folder, "a dataset")
    files.refuse_existing(folder, overwrite)


def refuse_table(path: Path, overwrite: bool) -> None:
    """Raise `UsageError` if a dataset cannot be written as such a file, or it exists."""
    outputs.ending_of(path, (".csv",), "datasets in one table")
    files.refuse_existing(path, overwrite)


def open_dataset(folder: PathLike) -> Dataset:
    """Read a dataset folder, as `Dataset.open` does.

    Examples
    --------
    >>> data = tfgmm.open_dataset("data/kanto")  # doctest: +SKIP
    """
    return Dataset.open(folder)


def simulate(
    *,
    events: int | None = None,
    kik_stations: int | None = None,
    meso_stations: int | None = None,
    meso_events: int | None = None,
    trigger: float | None = None,
    seed: int | None = None,
) -> Dataset:
    """Make records with a planted truth in the shape of the published study.

    The same settings give the same records. What is not given has the size of the published study.

    Parameters
    ----------
    events : int, optional
        Events of the network ``kik``; the number of its records is in proportion.
    kik_stations, meso_stations : int, optional
        Stations of the sparse and of the dense network.
    meso_events : int, optional
        Events of the dense network.
    trigger : float, optional
        Drop records with a PGA below this, g.
    seed : int, optional
        Root of all random numbers.

    Raises
    ------
    UsageError
        A value is out of range, or more records are asked for than there can be.

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
