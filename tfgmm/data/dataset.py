"""Datasets: tables of events, stations and records, site layers, and the folder of a dataset on disk."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from tfgmm import __version__
from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.shown import Shown
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data import schemas

#: Names of the tables of a dataset, and of the other files in its folder.
TABLES = ("events", "stations", "records")
_SCHEMAS = dict(zip(TABLES, (schemas.EVENTS, schemas.STATIONS, schemas.RECORDS), strict=True))
LAYERS, DESCRIPTION = "layers.nc", "dataset.json"
_ADVICE = "make the dataset again"


@dataclasses.dataclass(frozen=True)
class Dataset(Shown):
    """Events, stations and records of a region, with site layers and provenance.

    The required columns of the tables and the ranges of their values are in `schemas` and ``docs/data.md``.

    Attributes
    ----------
    events : pandas.DataFrame
        One row per event: ``event_id``, ``origin_time`` (UTC), ``longitude``, ``latitude`` (degrees),
        ``depth_km``, ``magnitude`` (Mw), ``magnitude_source``.
    stations : pandas.DataFrame
        One row per station: ``station_id``, ``site_id``, ``network``, ``longitude``, ``latitude``
        (degrees), ``elevation_m``, ``sensor_depth_m``, ``vs30_m_s``.
    records : pandas.DataFrame
        One row per record: ``event_id``, ``station_id``, a column per intensity measure (g, PGV in cm/s),
        ``component``;
        where the source has them, the rupture distance ``r_rup_km`` and its variance ``r_rup_var_km2``.
    provenance : dict
        Content of ``dataset.json``: source files, choices, counts of rows read and dropped, hashes.
    layers : xarray.Dataset or None
        Site layers on ascending ``latitude`` and ``longitude`` (degrees). A layer NAME whose raster differs
        has the dimensions ``latitude_NAME`` and ``longitude_NAME``.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict[str, Any]
    layers: xr.Dataset | None = None

    def __repr__(self) -> str:
        """Return one line with name, size, intensity measures, networks, years and site layers."""
        facts = dict(self._facts())
        name = f" {facts.pop('name')!r}" if "name" in facts else ""
        bare = ("years", "simulated", *TABLES)
        parts = [
            (value if key in bare else f"{key} {value}") + f" {key}" * (key in TABLES)
            for key, value in facts.items()
            if key != "measures"
        ]
        parts[len(TABLES) - 1] += f" of {facts['measures']}" if self.ims else ""
        return f"<Dataset{name}: {'; '.join(parts)}>"

    def _facts(self) -> dict[str, str]:
        """Return name, size, intensity measures, networks, years and site layers, as far as they are."""
        facts = {"name": str(self.provenance["name"])} if self.provenance.get("name") else {}
        facts |= {table: f"{len(getattr(self, table)):,}" for table in TABLES}
        if self.ims:
            facts["measures"] = listed(self.ims)
        if "network" in self.stations:
            facts["networks"] = listed(self.networks)
        if "origin_time" in self.events and len(self.events):
            years = pd.to_datetime(self.events["origin_time"], utc=True).dt.year
            facts["years"] = f"{years.min():.0f} to {years.max():.0f}"
        if self.layers is not None:
            facts["site layers"] = listed([str(name) for name in self.layers])
        return facts | ({"simulated": "simulated"} if self.simulated else {})

    @property
    def simulated(self) -> bool:
        """Return True if the records are simulated, not measured."""
        return bool(self.provenance.get("simulated", False))

    @property
    def ims(self) -> list[str]:
        """Return the names of the intensity measures in the records table, by period; PGA is first."""
        return sorted(filter(imt.is_imt, self.records.columns), key=imt.order)

    @property
    def networks(self) -> list[str]:
        """Return the names of the seismic networks in the stations table, sorted."""
        return sorted(self.stations["network"].unique())

    def digest(self) -> str:
        """Return the data hash: the SHA-256 of the values in the tables and site layers, hexadecimal.

        Results name the data hash, so that a reader can tell from which data the results were computed. The
        hash does not depend on the bytes of the files.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        digest = hashlib.sha256()
        for table in (self.events, self.stations, self.records):
            digest.update("|".join(table.columns).encode())
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        for name, layer in sorted((self.layers or {}).items()):
            digest.update(str(name).encode())
            for values in (*(layer[dim] for dim in sorted(layer.dims, key=str)), layer):
                digest.update(np.ascontiguousarray(values.to_numpy(), dtype="float64").data)
        return digest.hexdigest()

    def checked(self) -> Self:
        """Check all tables; return the dataset with a new index from 0 in each table and times in UTC.

        Returns
        -------
        Dataset
            A copy with the same provenance and site layers.

        Raises
        ------
        DataError
            A column is missing or a value is not allowed (`schemas`), no record is left, a record has no
            event or station, or there is no intensity measure. The message names the first bad value.
        """
        tables = {
            name: schemas.validate(schema, getattr(self, name), name) for name, schema in _SCHEMAS.items()
        }
        if tables["records"].empty:
            raise DataError(f"no record is left: {_why_empty(self.provenance)}")
        for key, table in (("event_id", "events"), ("station_id", "stations")):
            orphans = ~tables["records"][key].isin(tables[table][key])
            if orphans.any():
                name = tables["records"].loc[orphans, key].iloc[0]
                raise DataError(f"records name {key} {name!r}, which is not in the {table} table")
        checked = self._with_tables(tables)
        if not checked.ims:
            raise DataError("records table has no intensity measure column such as PGA or SA(1.0)")
        return checked

    def _with_tables(self, tables: Mapping[str, pd.DataFrame]) -> Self:
        """Return a copy of the dataset in which the tables are replaced by the given ones, by name."""
        events, stations, records = (tables[name] for name in TABLES)
        return dataclasses.replace(self, events=events, stations=stations, records=records)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a dataset from its folder, and check the hashes of its files and the values in its tables.

        Parameters
        ----------
        folder : Path
            The dataset folder.

        Returns
        -------
        Dataset
            The checked dataset.

        Raises
        ------
        UsageError
            The folder is no dataset folder.
        DataError
            A file is missing, damaged or changed since it was written (its hash is not the one in
            ``dataset.json``), or a table has a wrong column or value (`schemas`).
        """
        provenance = _read_provenance(folder)
        stated = provenance.get("files")  # a dataset of version 0.1.0 has the hash of its content alone
        if stated is not None:
            needed = {f"{name}.parquet" for name in TABLES} | {LAYERS}
            files.refuse_changed(folder, {name: stated[name] for name in needed & stated.keys()}, _ADVICE)
        has_layers = (folder / LAYERS).is_file() if stated is None else LAYERS in stated
        tables = {name: _load(folder / f"{name}.parquet", files.read_parquet) for name in TABLES}
        layers = _load(folder / LAYERS, files.read_netcdf) if has_layers else None
        dataset = cls(**tables, provenance=provenance, layers=layers).checked()
        if dataset.digest() != provenance.get("digest"):
            raise DataError(
                f"the content of {folder} is not what its {DESCRIPTION} says (data hash): a file was "
                f"changed or damaged after it was written; {_ADVICE}"
            )
        return dataset

    def write(
        self, folder: Path, overwrite: bool = False, extra: Callable[[Path], None] | None = None
    ) -> Self:
        """Check the dataset, write all its files into a folder or none, and return the dataset as written.

        Other files in the folder stay as they are.

        Parameters
        ----------
        folder : Path
            The dataset folder; a symbolic link is followed.
        overwrite : bool
            Whether a dataset that is already in the folder is replaced.
        extra : callable, optional
            Function that is called with the path of a temporary folder and writes more files there; these
            files are moved into `folder` as well.

        Returns
        -------
        Dataset
            The checked dataset, with the hashes of its files in the provenance.

        Raises
        ------
        UsageError
            The folder is not empty, and `overwrite` is false or the folder is no dataset folder.
        DataError
            A table has a wrong column or value (`schemas`), or the file system refuses to write.
        """
        dataset = self.checked()
        files.refuse_existing(folder, overwrite)
        if not files.is_vacant(folder) and not _is_dataset(folder):
            raise UsageError(f"{folder} is no dataset folder and is not replaced: choose another name")
        before = _own_files(folder)
        with files.whole_files(folder) as temporary:
            for name in TABLES:
                files.write_parquet(getattr(dataset, name), temporary / f"{name}.parquet")
            # The hash is of what will be read: a column of an odd type comes back as another one.
            tables = {name: files.read_parquet(temporary / f"{name}.parquet") for name in TABLES}
            dataset = dataset._with_tables(tables).checked()
            if dataset.layers is not None:
                files.write_netcdf(dataset.layers, temporary / LAYERS)
            if extra is not None:
                extra(temporary)
            hashes = {path.name: files.sha256(path) for path in sorted(temporary.iterdir())}
            provenance = _write_provenance(dataset, hashes, temporary)
        for name in before - hashes.keys():
            (folder / name).unlink(missing_ok=True)
        return dataclasses.replace(dataset, provenance=provenance)

    def write_layers(self, folder: Path) -> Self:
        """Write the site layers and the provenance into a folder that already holds the tables.

        Parameters
        ----------
        folder : Path
            The dataset folder.

        Returns
        -------
        Dataset
            The dataset with the hashes of its files in the provenance.

        Raises
        ------
        UsageError
            The dataset has no site layer.
        DataError
            The file system refuses to write.
        """
        if self.layers is None:
            raise UsageError(f"{folder}: the dataset has no site layer to write")
        with files.whole_files(folder) as temporary:
            files.write_netcdf(self.layers, temporary / LAYERS)
            hashes = {f"{name}.parquet": files.sha256(folder / f"{name}.parquet") for name in TABLES}
            hashes = self.provenance.get("files", {}) | hashes | {LAYERS: files.sha256(temporary / LAYERS)}
            provenance = _write_provenance(self, hashes, temporary)
        return dataclasses.replace(self, provenance=provenance)


def site_ids(stations: pd.DataFrame, same_place_km: float = 0.5, moved_km: float = 2.0) -> np.ndarray:
    """Return a site id for each station; stations at one place share the id of the first of them.

    Two stations of one network share a site if they are closer than `same_place_km`. They also share a site
    if they are successive codes of one moved or renamed station: closer than `moved_km`, operating periods
    that do not overlap, and the same ``locality`` where the table has that column.

    Parameters
    ----------
    stations : pandas.DataFrame
        Columns ``station_id``, ``network``, ``longitude`` and ``latitude`` (degrees), and optionally
        ``operating_from``, ``operating_to`` (timestamps, NaT where open or unknown) and ``locality``.
    same_place_km : float
        Distance below which two stations are at one place, km.
    moved_km : float
        Distance below which successive codes belong to one station, km.

    Returns
    -------
    ndarray of str, [n_stations]
        Site ids in the order of `stations`; each is the ``station_id`` of the first station of the site.
    """
    tree = KDTree(unit_vectors(stations["longitude"], stations["latitude"]) * EARTH_RADIUS_KM)
    first, second = tree.query_pairs(moved_km, output_type="ndarray").T
    distance = np.linalg.norm(tree.data[first] - tree.data[second], axis=1)

    def is_equal(column: str) -> np.ndarray:
        """Return, for each pair of near stations, whether both have one value in a column, [n_pairs]."""
        values = stations[column].to_numpy()
        return values[first] == values[second]

    successive = np.zeros(len(first), bool)
    if "operating_from" in stations:
        start, end = (_utc(stations[c]) for c in ("operating_from", "operating_to"))
        # NaT compares false: a station that still operates is nobody's predecessor.
        successive = (end[first] <= start[second]) | (end[second] <= start[first])
    if "locality" in stations:
        successive &= is_equal("locality")
    joined = is_equal("network") & ((distance < same_place_km) | successive)
    edges = coo_array((np.ones(joined.sum()), (first[joined], second[joined])), (len(stations),) * 2)
    _, label = connected_components(edges, directed=False)
    _, representative = np.unique(label, return_index=True)
    return stations["station_id"].to_numpy(dtype=object)[representative[label]]


def _utc(times: pd.Series) -> np.ndarray:
    """Return times in UTC as an array of ``datetime64[us]``; a column of NaT alone may have any type."""
    return pd.to_datetime(times, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")


def _why_empty(provenance: dict) -> str:
    """Return a sentence with the three most frequent reasons why rows were dropped, and their counts."""
    dropped = sorted(provenance.get("dropped", []), key=lambda row: -row["count"])[:3]
    reasons = "; ".join(f"{row['reason']} ({row['count']} {row['what']}s)" for row in dropped)
    return f"dropped are {reasons}" if reasons else "the source holds none that can be used"


def _write_provenance(dataset: Dataset, hashes: dict[str, str], folder: Path) -> dict:
    """Write ``dataset.json``, with the hashes of the other files, into `folder` and return its content."""
    provenance = dataset.provenance | {
        "digest": dataset.digest(),
        "kept": {name: len(getattr(dataset, name)) for name in TABLES},
        "files": hashes,
        "tfgmm": __version__,
    }
    files.write_json(folder / DESCRIPTION, provenance)
    return provenance


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files of the dataset in a folder; none if its ``dataset.json`` is damaged."""
    try:
        return {*_read_provenance(folder).get("files", {LAYERS: ""})}
    except (UsageError, DataError):
        return set()


def changed_files(folder: Path) -> dict[str, str]:
    """Return which files of a dataset folder are good, and which are missing or damaged.

    Parameters
    ----------
    folder : Path
        The dataset folder.

    Returns
    -------
    dict of str to str
        By file name: an empty text for a good file, else ``missing or damaged``.

    Raises
    ------
    UsageError
        The folder is no dataset folder.
    DataError
        The file ``dataset.json`` is damaged.
    """
    stated = _read_provenance(folder).get("files", {})
    return {
        name: "" if files.is_unchanged(folder / name, hexadecimal) else "missing or damaged"
        for name, hexadecimal in stated.items()
    }


def _is_dataset(folder: Path) -> bool:
    """Return True if a folder has a ``dataset.json``, after files of an interrupted write were moved."""
    files.finish_moves(folder)
    return (folder / DESCRIPTION).is_file()


def read_digest(folder: Path) -> str:
    """Read the data hash of a dataset folder from its ``dataset.json``, without reading the tables.

    Parameters
    ----------
    folder : Path
        The dataset folder.

    Returns
    -------
    str
        Data hash, 64 hexadecimal digits (`Dataset.digest`).

    Raises
    ------
    UsageError
        The folder is no dataset folder.
    DataError
        The file ``dataset.json`` is damaged.
    """
    return str(_read_provenance(folder).get("digest"))


def read_layers(folder: Path) -> xr.Dataset | None:
    """Read only the site layers of a dataset folder, and verify the hash of their file.

    Parameters
    ----------
    folder : Path
        The dataset folder.

    Returns
    -------
    xarray.Dataset or None
        Site layers; None if the dataset has none, or if it is of version 0.1.0, without hashes of files.

    Raises
    ------
    UsageError
        The folder is no dataset folder.
    DataError
        The file of the layers, or ``dataset.json``, is missing, damaged or changed.
    """
    stated = _read_provenance(folder).get("files", {})
    if LAYERS not in stated:
        return None
    files.refuse_changed(folder, {LAYERS: stated[LAYERS]}, _ADVICE)
    return _load(folder / LAYERS, files.read_netcdf)


def _read_provenance(folder: Path) -> dict[str, Any]:
    """Read the content of ``dataset.json``; raise an error if the folder is no dataset folder."""
    if not _is_dataset(folder):
        raise UsageError(f"{folder} is no dataset folder: make one with tfgmm import or tfgmm simulate")
    return _load(folder / DESCRIPTION, files.read_json)


def _load(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Read a file of a dataset with `reader`, and raise `DataError` if the file is missing or damaged."""
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is missing or damaged ({reason}): {_ADVICE}") from error
