"""The flatfile: events, stations and records, their checks, and their folder on disk."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pandera.pandas as pa
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from tfgmm import __version__
from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import EARTH_RADIUS_KM, distance_km, unit_vectors

#: Of origin times; what lies outside is a damaged number, and overflows in nanoseconds.
YEARS = range(1700, 2200)
#: Lowest and highest value of what describes an earthquake in files; `sphere.wrapped` turns longitudes.
EVENT_RANGES = {
    "longitude": (-180, 360),
    "latitude": (-90, 90),
    "depth_km": (-5, 800),
    "magnitude": (-1, 10),
}
COMPONENTS = ("geometric_mean", "rotd50")
#: Names of the tables of a dataset, and of the other files in its folder.
TABLES = ("events", "stations", "records")
LAYERS, DESCRIPTION = "layers.nc", "dataset.json"
_ADVICE = "make the dataset again"

_LONGITUDE = pa.Column(float, pa.Check.in_range(-180, 180))
_LATITUDE = pa.Column(float, pa.Check.in_range(-90, 90))

EVENTS = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str, unique=True),
        "origin_time": pa.Column(
            pd.DatetimeTZDtype("us", "UTC"),
            pa.Check(lambda time: time.dt.year.isin(YEARS), name="year 1700 to 2199"),
            coerce=True,
        ),
        "longitude": _LONGITUDE,
        "latitude": _LATITUDE,
        "depth_km": pa.Column(float, pa.Check.in_range(-5, 800)),
        "magnitude": pa.Column(float, pa.Check.in_range(-1, 10)),
        "magnitude_source": pa.Column(str),
    }
)
STATIONS = pa.DataFrameSchema(
    {
        "station_id": pa.Column(str, unique=True),
        "site_id": pa.Column(str),
        "network": pa.Column(str, pa.Check.str_matches(r"^[a-z0-9_]+$")),
        "longitude": _LONGITUDE,
        "latitude": _LATITUDE,
        "elevation_m": pa.Column(float, nullable=True),
        "sensor_depth_m": pa.Column(float, pa.Check.ge(0), nullable=True),
        "vs30_m_s": pa.Column(float, pa.Check.in_range(30, 5000), nullable=True),
    }
)
RECORDS = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str),
        "station_id": pa.Column(str),
        r"^(PGA|SA\(.*\))$": pa.Column(
            float, pa.Check.in_range(0, 20, include_min=False), regex=True, nullable=True
        ),
        "component": pa.Column(str, pa.Check.isin(COMPONENTS)),
    },
    unique=["event_id", "station_id"],
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Events, stations and records of a region, its site layers, and where they come from.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        The tables of the data contract (see ``docs/data.md``).
    provenance : dict
        Content of ``dataset.json``.
    layers : xarray.Dataset or None
        Site layers on ascending ``latitude`` and ``longitude``, or ``latitude_NAME`` and
        ``longitude_NAME`` where a layer has a raster of its own.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict
    layers: xr.Dataset | None = None

    @property
    def simulated(self) -> bool:
        """Whether the records are made, not measured."""
        return bool(self.provenance.get("simulated", False))

    @property
    def ims(self) -> list[str]:
        """Intensity measures in the records table, by period."""
        return sorted(filter(imt.is_imt, self.records.columns), key=imt.period)

    @property
    def networks(self) -> list[str]:
        """Networks in the stations table."""
        return sorted(self.stations["network"].unique())

    def digest(self) -> str:
        """SHA-256 of the content of tables and layers: the data hash that results name."""
        digest = hashlib.sha256()
        for table in (self.events, self.stations, self.records):
            digest.update("|".join(table.columns).encode())
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        for name, layer in sorted((self.layers or {}).items()):
            digest.update(str(name).encode())
            for values in (*(layer[dim] for dim in sorted(layer.dims)), layer):
                digest.update(np.ascontiguousarray(values.to_numpy(), dtype="float64"))
        return digest.hexdigest()

    def checked(self) -> Self:
        """Return the dataset with rows numbered and times in UTC, or name the first bad value.

        Raises
        ------
        DataError
            A table breaks the contract, or a record has no event or station.
        """
        tables = {
            name: _validate(schema, getattr(self, name), name)
            for name, schema in (("events", EVENTS), ("stations", STATIONS), ("records", RECORDS))
        }
        if tables["records"].empty:
            raise DataError(f"no record is left: {_why_empty(self.provenance)}")
        for key, table in (("event_id", "events"), ("station_id", "stations")):
            orphans = ~tables["records"][key].isin(tables[table][key])
            if orphans.any():
                name = tables["records"].loc[orphans, key].iloc[0]
                raise DataError(f"records name {key} {name!r}, which is not in the {table} table")
        checked = dataclasses.replace(self, **tables)
        if not checked.ims:
            raise DataError("records table has no intensity measure column such as PGA or SA(1.0)")
        return checked

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a dataset folder, compare its content with the hash in ``dataset.json``, and check it.

        Raises
        ------
        UsageError
            There is no dataset.
        DataError
            A file is missing, damaged, not what was written, or breaks the contract.
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
        """Check the dataset and write its files into a folder, all or none.

        Files of others in the folder stay as they are.

        Parameters
        ----------
        folder : Path
            Where it shall stand; a symbolic link is followed.
        overwrite : bool
            Replace the dataset that stands there.
        extra : callable, optional
            Writes more files into the folder it is given, which move into `folder` with the others.

        Raises
        ------
        UsageError
            The folder holds something, and `overwrite` is false or it is no dataset.
        DataError
            The dataset breaks the contract, or the file system refuses to write.
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
            dataset = dataclasses.replace(dataset, **tables).checked()
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
        """Write the site layers and the provenance of the dataset, whose tables stand in `folder` already.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        with files.whole_files(folder) as temporary:
            files.write_netcdf(self.layers, temporary / LAYERS)
            hashes = {f"{name}.parquet": files.sha256(folder / f"{name}.parquet") for name in TABLES}
            hashes = self.provenance.get("files", {}) | hashes | {LAYERS: files.sha256(temporary / LAYERS)}
            provenance = _write_provenance(self, hashes, temporary)
        return dataclasses.replace(self, provenance=provenance)


def site_ids(stations: pd.DataFrame, same_place_km: float = 0.5, moved_km: float = 2.0) -> np.ndarray:
    """Which stations are one place: the first station's id names the site.

    Stations of one network that are closer than `same_place_km` share a site, and so do successive
    codes of a moved or renamed station: closer than `moved_km`, operating periods that do not
    overlap, and the same ``locality`` where the table has that column.

    Parameters
    ----------
    stations : pandas.DataFrame
        With ``station_id, network, longitude, latitude`` and optionally ``operating_from``,
        ``operating_to`` (timestamps, NaT where open or unknown) and ``locality``.

    Returns
    -------
    ndarray of str, [n_stations]
    """
    tree = KDTree(unit_vectors(stations["longitude"], stations["latitude"]) * EARTH_RADIUS_KM)
    first, second = tree.query_pairs(moved_km, output_type="ndarray").T
    distance = np.linalg.norm(tree.data[first] - tree.data[second], axis=1)

    def same(column: str) -> np.ndarray:
        values = stations[column].to_numpy()
        return values[first] == values[second]

    successive = np.zeros(len(first), bool)
    if "operating_from" in stations:
        start, end = (_utc(stations[c]) for c in ("operating_from", "operating_to"))
        # NaT compares false: a station that still operates is nobody's predecessor.
        successive = (end[first] <= start[second]) | (end[second] <= start[first])
    if "locality" in stations:
        successive &= same("locality")
    joined = same("network") & ((distance < same_place_km) | successive)
    edges = coo_array((np.ones(joined.sum()), (first[joined], second[joined])), (len(stations),) * 2)
    _, label = connected_components(edges, directed=False)
    _, representative = np.unique(label, return_index=True)
    return stations["station_id"].to_numpy(dtype=object)[representative[label]]


def _utc(times: pd.Series) -> np.ndarray:
    """Times of any resolution, also where all are unknown and the column forgot its kind."""
    return pd.to_datetime(times, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")


def hypocentral_km(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> np.ndarray:
    """Hypocentral distance of each record, ``sqrt(epicentral^2 + depth^2)``, [n_rows]."""
    source, site = (
        table[names].iloc[pd.Index(table[key]).get_indexer(rows[key])]
        for key, table, names in (
            ("event_id", events, ["longitude", "latitude", "depth_km"]),
            ("station_id", stations, ["longitude", "latitude"]),
        )
    )
    places = (point[name].to_numpy() for point in (source, site) for name in ("longitude", "latitude"))
    return np.hypot(distance_km(*places), source["depth_km"].to_numpy())


def _why_empty(provenance: dict) -> str:
    """Name the three reasons for which most was dropped, with their counts."""
    dropped = sorted(provenance.get("dropped", []), key=lambda row: -row["count"])[:3]
    reasons = "; ".join(f"{row['reason']} ({row['count']} {row['what']}s)" for row in dropped)
    return f"dropped are {reasons}" if reasons else "the source holds none that can be used"


def _validate(schema: pa.DataFrameSchema, table: pd.DataFrame, name: str) -> pd.DataFrame:
    try:
        return schema.validate(table.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        case = error.failure_cases.iloc[0]
        if "column" in str(case["check"]):  # column_in_dataframe, no_regex_column_match(...)
            column = case["failure_case"] if case["column"] is None else "such as PGA or SA(1.0)"
            raise DataError(f"{name} table has no column {column}") from error
        row = "" if pd.isna(case["index"]) else f", row {case['index']}"
        raise DataError(
            f"{name} table{row}, column {case['column']}: {case['failure_case']} "
            f"fails the check {case['check']}"
        ) from error


def _write_provenance(dataset: Dataset, hashes: dict[str, str], folder: Path) -> dict:
    """Write ``dataset.json`` into `folder`, with the hashes of the other files."""
    provenance = dataset.provenance | {
        "digest": dataset.digest(),
        "kept": {name: len(getattr(dataset, name)) for name in TABLES},
        "files": hashes,
        "tfgmm": __version__,
    }
    files.write_json(folder / DESCRIPTION, provenance)
    return provenance


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files that the dataset in a folder consists of, none if it is damaged."""
    try:
        return {*_read_provenance(folder).get("files", {LAYERS: ""})}
    except (UsageError, DataError):
        return set()


def changed_files(folder: Path) -> dict[str, str]:
    """Return what is wrong with each file of a dataset, nothing for a whole one.

    Raises
    ------
    UsageError, DataError
        As `Dataset.read`.
    """
    stated = _read_provenance(folder).get("files", {})
    return {
        name: "" if files.is_unchanged(folder / name, hexadecimal) else "missing or damaged"
        for name, hexadecimal in stated.items()
    }


def _is_dataset(folder: Path) -> bool:
    files.finish_moves(folder)
    return (folder / DESCRIPTION).is_file()


def read_digest(folder: Path) -> str:
    """Read the data hash that a dataset folder states; errors as for `Dataset.read`."""
    return str(_read_provenance(folder).get("digest"))


def read_layers(folder: Path) -> xr.Dataset | None:
    """Read the site layers of a dataset folder alone, and compare them with their hash.

    Raises
    ------
    UsageError, DataError
        As `Dataset.read`.
    """
    stated = _read_provenance(folder).get("files", {})
    if LAYERS not in stated:
        return None
    files.refuse_changed(folder, {LAYERS: stated[LAYERS]}, _ADVICE)
    return _load(folder / LAYERS, files.read_netcdf)


def _read_provenance(folder: Path) -> dict:
    if not _is_dataset(folder):
        raise UsageError(f"{folder} is no dataset folder: make one with tfgmm import or tfgmm simulate")
    return _load(folder / DESCRIPTION, files.read_json)


def _load(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is missing or damaged ({reason}): {_ADVICE}") from error
