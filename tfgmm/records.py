"""The flatfile: events, stations and records, their checks, and their folder on disk."""

import dataclasses
import hashlib
import importlib.metadata
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from tfgmm import files, imt
from tfgmm.errors import DataError, UsageError

EARTH_RADIUS_KM = 6371.0
#: Of origin times; what lies outside is a damaged number, and overflows in nanoseconds.
YEARS = range(1700, 2200)
COMPONENTS = ("geometric_mean", "rotd50")

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


@dataclasses.dataclass
class Tally:
    """What a reader read, and what it dropped and why; nothing is lost silently."""

    read: dict[str, int] = dataclasses.field(default_factory=dict)
    _dropped: dict[tuple[str, str], tuple[int, list[str]]] = dataclasses.field(default_factory=dict)

    def count(self, what: str, number: int) -> None:
        """Add `number` to what has been read of `what` (``event``, ``station``, ``record``)."""
        self.read[what] = self.read.get(what, 0) + int(number)

    def drop(self, what: str, reason: str, names) -> None:
        """Note that `names` (any iterable) of kind `what` were dropped for `reason`."""
        count, examples = self._dropped.get((what, reason), (0, []))
        for name in names:  # one at a time: of millions three are kept
            count += 1
            if len(examples) < 3:
                examples.append(str(name))
        self._dropped[what, reason] = count, examples

    def dropped(self) -> list[dict]:
        """One row a reason, with the number dropped and up to three examples."""
        return [
            {"what": what, "reason": reason, "count": count, "examples": list(examples)}
            for (what, reason), (count, examples) in self._dropped.items()
            if count
        ]


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
                digest.update(np.ascontiguousarray(values.to_numpy(), dtype="float64").tobytes())
        return digest.hexdigest()


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


def wrapped(longitude) -> np.ndarray:
    """Return longitudes with those of 180 to 360 degrees turned into -180 to 0, and all others as they are.

    >>> wrapped([140.0, 190.0, -170.0]).tolist()
    [140.0, -170.0, -170.0]
    """
    longitude = np.asarray(longitude, float)
    return np.where((longitude > 180) & (longitude <= 360), longitude - 360, longitude)


def unit_vectors(longitude, latitude) -> np.ndarray:
    """Points on the unit sphere, [n, 3]; chords of near points are their great-circle distances."""
    lon, lat = np.radians(np.asarray(longitude, float)), np.radians(np.asarray(latitude, float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def distance_km(longitude, latitude, other_longitude, other_latitude) -> np.ndarray:
    """Distance between points along the chord, row by row, km, [n]."""
    ends = unit_vectors(longitude, latitude), unit_vectors(other_longitude, other_latitude)
    return EARTH_RADIUS_KM * np.linalg.norm(np.subtract(*ends), axis=1)


def check(dataset: Dataset) -> Dataset:
    """The dataset with rows numbered and times in UTC, or an error that names the offending value.

    Raises
    ------
    DataError
        A table breaks the contract, or a record has no event or station.
    """
    tables = {
        name: _validate(schema, getattr(dataset, name), name)
        for name, schema in (("events", EVENTS), ("stations", STATIONS), ("records", RECORDS))
    }
    if tables["records"].empty:
        raise DataError("no record is left: widen the region or relax the limits of the import")
    for key, table in (("event_id", "events"), ("station_id", "stations")):
        orphans = ~tables["records"][key].isin(tables[table][key])
        if orphans.any():
            name = tables["records"].loc[orphans, key].iloc[0]
            raise DataError(f"records name {key} {name!r}, which is not in the {table} table")
    checked = dataclasses.replace(dataset, **tables)
    if not checked.ims:
        raise DataError("records table has no intensity measure column such as PGA or SA(1.0)")
    return checked


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


def write(
    dataset: Dataset, folder: Path, overwrite: bool = False, extra: Callable[[Path], None] | None = None
) -> Dataset:
    """Check a dataset and write its folder, whole or not at all.

    Parameters
    ----------
    dataset : Dataset
        What is written.
    folder : Path
        Where it shall stand.
    overwrite : bool
        Replace what stands there.
    extra : callable, optional
        Writes more files into the folder it is given, before that becomes `folder`.

    Raises
    ------
    UsageError
        The folder exists, and `overwrite` is false or it is no dataset.
    DataError
        The dataset breaks the contract, or the file system refuses to write.
    """
    dataset = check(dataset)
    if overwrite and folder.exists() and not (folder / "dataset.json").is_file():
        raise UsageError(f"{folder} is no dataset folder and is not replaced: choose another name")
    provenance = dataset.provenance | {
        "digest": dataset.digest(),
        "kept": {name: len(getattr(dataset, name)) for name in ("events", "stations", "records")},
        "tfgmm": importlib.metadata.version("tfgmm"),
    }
    with files.whole_folder(folder, overwrite) as temporary:
        for name in ("events", "stations", "records"):
            getattr(dataset, name).to_parquet(temporary / f"{name}.parquet", index=False)
        if dataset.layers is not None:
            # NetCDF-3: an HDF5 file would hold the time of writing, and the same data other bytes.
            dataset.layers.to_netcdf(temporary / "layers.nc", engine="scipy")
        (temporary / "dataset.json").write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")
        if extra is not None:
            extra(temporary)
    return dataclasses.replace(dataset, provenance=provenance)


def read(folder: Path) -> Dataset:
    """Read a dataset folder and check it.

    Raises
    ------
    UsageError
        There is no dataset.
    DataError
        A file is missing, damaged or breaks the contract.
    """
    if not (folder / "dataset.json").is_file():
        raise UsageError(f"{folder} is no dataset folder: make one with tfgmm import or tfgmm simulate")
    tables = {
        name: _load(folder / f"{name}.parquet", pd.read_parquet)
        for name in ("events", "stations", "records")
    }
    provenance = _load(folder / "dataset.json", lambda path: {**json.loads(path.read_text())})
    layers = None
    if (folder / "layers.nc").is_file():
        layers = _load(folder / "layers.nc", _netcdf)
    return check(Dataset(**tables, provenance=provenance, layers=layers))


def _netcdf(path: Path) -> xr.Dataset:
    # From memory: scipy maps a file by its name and cannot let go of a damaged one without a warning.
    return xr.load_dataset(io.BytesIO(path.read_bytes()), engine="scipy")


def _load(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (OSError, ValueError, TypeError, IndexError) as error:  # scipy raises the last two
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is missing or damaged ({reason}): make the dataset again") from error
