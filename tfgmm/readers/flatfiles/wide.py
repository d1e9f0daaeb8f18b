"""Split rows of a flatfile, each a record with its event and station, into events, stations and records."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data.schemas import COMPONENTS, TECTONIC_CLASSES
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection, units

#: Column of the events table, by canonical name of a column of the flatfile.
EVENT = {
    "origin_time": "origin_time",
    "event_longitude": "longitude",
    "event_latitude": "latitude",
    "depth_km": "depth_km",
    "magnitude": "magnitude",
    "magnitude_source": "magnitude_source",
    "tectonic_class": "tectonic_class",
}
#: Column of the stations table, by canonical name of a column of the flatfile.
STATION = {
    "network": "network",
    "station_longitude": "longitude",
    "station_latitude": "latitude",
    "elevation_m": "elevation_m",
    "sensor_depth_m": "sensor_depth_m",
    "vs30_m_s": "vs30_m_s",
}
#: Optional columns of the records table, and the plain names (`sheet.plain_name`) that their columns have
#: in flatfiles: gmprocess, Engineering Strong-Motion flatfile, NGA-West2 and others.
RECORD = {
    "r_rup_km": (
        *("rrupkm", "rrup", "rupturedistance", "rupturedistancekm", "rupdist", "rupdistkm"),
        *("clstd", "closestd", "closestdist", "closestdistance", "recordrrupkm"),
    ),
    "r_rup_var_km2": ("rrupvarkm2", "rrupvar", "rupturedistancevar", "recordrrupvarkm2"),
}
#: Range of numbers that an event or station needs: a number outside the range is an error.
NEEDED = {
    "event_longitude": (-180, 360),
    "event_latitude": (-90, 90),
    "depth_km": (-5, 800),
    "magnitude": (-1, 10),
    "station_longitude": (-180, 360),
    "station_latitude": (-90, 90),
}
#: Range of numbers that may be missing: a number outside the range is made missing, and counted.
OPTIONAL = {"elevation_m": (-12000, 9000), "sensor_depth_m": (0, 12000), "vs30_m_s": (30, 5000)}
#: Numbers that mark a missing value; not used for elevations, where 999 m is possible.
MARKS = [10**digits - 1 + part for digits in (3, 4, 5, 6) for part in (0, 0.9, 0.99, 0.999)]
#: Prefixes of further columns, which are kept in the table that the prefix names.
PREFIXES = ("event_", "station_", "record_")
IDS = ("event_id", "station_id", "network")
#: Column of the corner frequency of the high-pass filter of a record, Hz.
HIGHPASS = "record_highpass_hz"
#: Longest usable period, as a share of the period of the corner.
USABLE_SHARE = 0.8
#: Distance up to which two positions of a station are one place, km.
SAME_PLACE_KM = 0.5
CANONICAL = {*IDS, *EVENT, *STATION, *RECORD, "component"}


def split(rows: pd.DataFrame, provenance: dict, tally: Tally) -> selection.RawDataset:
    """Split the rows of a flatfile, one per record, into tables of events, stations and records.

    Hypocentre and magnitude of an event must be the same in all its rows. The positions of a station may
    differ by half a kilometre and its other values by any amount: the first known value is taken and the
    difference is noted. A station id at places farther apart, or in two networks, becomes two stations; the
    second gets ``@2`` behind its id.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``file`` and ``row`` for messages, those in `CANONICAL` (those in `OPTIONAL` and `RECORD`
        may be absent), intensity measures in g (PGV in cm/s), and any columns that begin with one of
        `PREFIXES`.
    provenance : dict
        Provenance as in `selection.RawDataset`.
    tally : Tally
        Counts to which the rows read, and the rows that cannot be used, are added.

    Returns
    -------
    RawDataset
        The tables, before limits and checks are applied.

    Raises
    ------
    DataError
        A number is out of range, or the rows of an event contradict each other.
    """
    tally.count("record", len(rows))
    rows = _drop_unidentified(_check_ranges(rows, tally), tally)
    rows = rows.assign(network=rows["network"].str.lower().str.replace("[^a-z0-9_]", "_", regex=True))
    rows, moved = _separate_places(rows)
    events, (stations, noted) = _read_events(rows), _read_stations(rows)
    tally.count("event", len(events))
    tally.count("station", len(stations))
    noted += selection.note(
        "station", "its id stands at another place or network too: made a station", moved
    )
    provenance = provenance | {"noted": [*provenance.get("noted", []), *noted]}
    measures = [name for name in rows if imt.is_imt(name)]
    distances = [name for name in RECORD if name in rows]
    extras = _extras(rows, "record_")
    records = rows[["event_id", "station_id", *measures, "component", *distances, *extras]]
    records = records.rename(columns=extras).reset_index(drop=True)
    return selection.RawDataset(events, stations, records, provenance, tally)


def expected_ln_pga(rows: pd.DataFrame) -> np.ndarray:
    """Return the expected ln PGA of each row, by which `units.detect` detects a unit.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows with magnitude, hypocentre (degrees, km) and station (degrees), under canonical names.

    Returns
    -------
    ndarray, [n_rows]
        ln PGA, PGA in g, see `units.expected_ln_pga`.
    """
    return units.expected_ln_pga(
        rows["magnitude"].to_numpy(), rows["depth_km"].to_numpy(), _distance_km(rows)
    )


def expected_ln(im: str, rows: pd.DataFrame) -> np.ndarray:
    """Return the expected ln IM of each row, by which `units.check` checks a stated unit.

    Parameters
    ----------
    im : str
        Intensity measure IM: ``PGA``, ``PGV`` or ``SA(T)``.
    rows : pandas.DataFrame
        Rows with magnitude, hypocentre (degrees, km) and station (degrees), under canonical names.

    Returns
    -------
    ndarray, [n_rows]
        ln IM, IM in g (PGV in cm/s), see `units.bssa14_ln`.
    """
    return units.bssa14_ln(im, rows["magnitude"].to_numpy(), _distance_km(rows))


def _distance_km(rows: pd.DataFrame) -> np.ndarray:
    """Return the hypocentral distance of each row, km, [n_rows]."""
    places = ("event_longitude", "event_latitude", "depth_km", "station_longitude", "station_latitude")
    return units.hypocentral_km(*(rows[name].to_numpy() for name in places))


def without_marks(rows: pd.DataFrame, names, tally: Tally) -> pd.DataFrame:
    """Return the rows with marks of missing values (999, 9999, ...) replaced by NaN, and count the marks.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows with ``file`` and ``row``.
    names : iterable of str
        Columns of numbers in which `MARKS` are replaced.
    tally : Tally
        Counts to which the replaced values are added.

    Returns
    -------
    pandas.DataFrame
        The rows, in the same order.
    """
    checked = {}
    for name in names:
        marked = rows[name].isin(MARKS)
        tally.drop("value", f"{name}: 999, 9999 ... marks a missing value", _labels(rows[marked]))
        checked[name] = rows[name].mask(marked)
    return rows.assign(**checked)


def within_passband(rows: pd.DataFrame, names, tally: Tally) -> pd.DataFrame:
    """Return the rows with SA(T) beyond the high-pass corner of their records as NaN, and count these.

    The longest usable period is 0.8 divided by the corner frequency: beyond it SA is what the filter left.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows with ``file`` and ``row``, and perhaps `HIGHPASS`, the corner frequency, Hz.
    names : iterable of str
        Intensity measures among the columns.
    tally : Tally
        Counts to which these values are added.

    Returns
    -------
    pandas.DataFrame
        The rows, in the same order.

    References
    ----------
    Ancheta et al. (2014), NGA-West2 Database, Earthquake Spectra 30(3), 989-1005: the lowest usable
    frequency is 1.25 times the corner.
    """
    if HIGHPASS not in rows:
        return rows
    longest_s = USABLE_SHARE / rows[HIGHPASS].where(rows[HIGHPASS] > 0)
    kept = {}
    for name in names:
        beyond = (longest_s < (imt.period(name) if name.startswith("SA") else 0.0)) & rows[name].notna()
        tally.drop("value", "SA(T) beyond the high-pass corner, T > 0.8 / corner", _labels(rows[beyond]))
        kept[name] = rows[name].mask(beyond)
    return rows.assign(**kept)


def _extras(rows: pd.DataFrame, prefix: str) -> dict[str, str]:
    """Return the names without prefix of the columns that begin with the prefix and are not canonical."""
    names = (name for name in rows if name.startswith(prefix) and name not in CANONICAL)
    # A distance to the rupture is read as such, with or without prefix.
    return {name: name.removeprefix(prefix) for name in names if name.removeprefix(prefix) not in RECORD}


def _label(row: pd.Series) -> str:
    """Return file and row number of a row as text, for messages."""
    return f"{row['file']}, row {row['row']}"


def _labels(rows: pd.DataFrame) -> Iterator[str]:
    """Yield file and row number of each row as text, for messages."""
    return (f"{file}, row {row}" for file, row in zip(rows["file"], rows["row"], strict=True))


def _check_ranges(rows: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the rows with optional numbers out of range made NaN; raise `DataError` for other numbers."""
    rows = without_marks(
        rows, [name for name in (*NEEDED, "sensor_depth_m", "vs30_m_s") if name in rows], tally
    )
    for name, (low, high) in NEEDED.items():
        bad = rows[name].notna() & ~rows[name].between(low, high)
        if bad.any():
            row = rows.loc[bad.idxmax()]
            raise DataError(
                f"{_label(row)}, column {name}: {row[name]:g}, expected {low} to {high}, or a blank"
            )
    checked = {}
    for name, (low, high) in OPTIONAL.items():
        values = rows[name] if name in rows else pd.Series(np.nan, rows.index)
        bad = values.notna() & ~values.between(low, high)
        tally.drop("value", f"{name} outside {low} to {high}", _labels(rows[bad]))
        checked[name] = values.mask(bad)
    if "tectonic_class" in rows:
        classes, strange = selection.tectonic_classes(rows["tectonic_class"])
        reason = f"tectonic_class is none of {', '.join(TECTONIC_CLASSES)}"
        tally.drop("value", reason, _labels(rows[strange]))
        checked["tectonic_class"] = classes
    bad = ~rows["component"].isin(COMPONENTS)
    if bad.any():
        row, expected = rows.loc[bad.idxmax()], " or ".join(COMPONENTS)
        raise DataError(f"{_label(row)}, column component: {row['component']!r}, expected {expected}")
    return rows.assign(**checked)


def _drop_unidentified(rows: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the rows that name event, station and network; count the other rows in `tally`."""
    for name in IDS:
        blank = rows[name].isna()
        tally.drop("record", f"no {name}", _labels(rows[blank]))
        rows = rows[~blank]
    if rows.empty:
        raise DataError(f"no row names an event, a station and a network ({', '.join(IDS)})")
    return rows


def _read_events(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the events table; raise `DataError` if the rows of an event contradict each other."""
    groups = rows.groupby("event_id", sort=False)
    for name in ("origin_time", "tectonic_class", *NEEDED):
        if name not in EVENT or name not in rows:
            continue
        several = groups[name].nunique() > 1
        if several.any():
            event = several.idxmax()
            of_event = rows[(rows["event_id"] == event) & rows[name].notna()]
            first, second = (of_event.drop_duplicates(name).iloc[i] for i in (0, 1))
            raise DataError(
                f"event {event!r} has two values of {name}: {first[name]} ({_label(first)}) and "
                f"{second[name]} ({_label(second)}); expected one: mend the file, or map event_id to a "
                "column that names one event"
            )
    columns = {name: column for name, column in EVENT.items() if name in rows} | _extras(rows, "event_")
    events = groups[list(columns)].first().rename(columns=columns).reset_index()
    return events.assign(magnitude_source=events["magnitude_source"].astype("str").fillna("not stated"))


def _read_stations(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[dict]]:
    """Return the stations table, and notes of values that differ among the rows of a station."""
    columns, noted = STATION | _extras(rows, "station_"), []
    groups = rows.groupby("station_id", sort=False)
    for name in columns:
        several = groups[name].nunique() > 1
        noted += selection.note("station", f"{name} differs: the first is kept", several.index[several])
    return groups[list(columns)].first().rename(columns=columns).reset_index(), noted


def _separate_places(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return rows in which each station id is one place in one network, and the new station ids."""
    key = ["station_id", "network", "station_longitude", "station_latitude"]
    places = rows[key].drop_duplicates()
    places = places[places["station_id"].duplicated(keep=False)]
    unknown = places[key[2:]].isna().any(axis=1)
    places = pd.concat([places[~unknown], places[unknown]])  # an unknown position makes no place of its own
    numbers = [_number_places(group[key[1:]]) for _, group in places.groupby("station_id", sort=False)]
    places = places.assign(number=pd.concat(numbers) if numbers else 0)
    rows = rows.merge(places[places["number"] > 1], on=key, how="left")
    second = rows["number"].notna()
    names = rows["station_id"] + "@" + rows["number"].astype("Int64").astype("str")
    rows["station_id"] = rows["station_id"].mask(second, names)
    return rows.drop(columns="number"), list(rows.loc[second, "station_id"].unique())


def _number_places(places: pd.DataFrame) -> pd.Series:
    """Return for each position of a station the number, from 1, of its place."""
    anchors, numbers = [], []
    for place in places.itertuples(index=False, name=None):
        number = next(
            (i for i, anchor in enumerate(anchors) if _is_same_place(anchor, place)), len(anchors)
        )
        if number == len(anchors):
            anchors.append(place)
        numbers.append(number + 1)
    return pd.Series(numbers, places.index)


def _is_same_place(anchor: tuple[str, float, float], place: tuple[str, float, float]) -> bool:
    """Return True if two entries (network, longitude, latitude) of a station are near and in one network.

    An unknown coordinate (NaN) counts as near.
    """
    (anchor_network, *first), (network, *second) = anchor, place
    ends = unit_vectors(*np.transpose([first, second]))
    # NaN: a position that is not known is no other place.
    return (
        anchor_network == network
        and not EARTH_RADIUS_KM * np.linalg.norm(ends[0] - ends[1]) > SAME_PLACE_KM
    )
