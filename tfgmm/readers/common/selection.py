"""Tables as read -> a dataset of the events, stations and records that can be used; the rest is counted."""

import dataclasses

import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import hypocentral_km, wrapped
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.tally import Tally

#: Larger amplitudes (in g) are a wrong unit or a broken instrument, smaller ones are rounding noise.
MIN_AMPLITUDE_G, MAX_AMPLITUDE_G = 1e-7, 20.0
WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on the records that a user wants.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Degrees, edges included; a west beyond the east means across the date line, and longitudes may
        count from 0 to 360. Stations outside are left out, events are not.
    min_magnitude : float
        Smallest Mw.
    max_distance_km : float
        Largest hypocentral distance, ``sqrt(epicentral^2 + depth^2)``.
    min_records : int
        Fewest records an event must have after all other limits.

    Raises
    ------
    UsageError
        The region is no box on the Earth.
    """

    region: tuple[float, float, float, float] | None = None
    min_magnitude: float = 4.0
    max_distance_km: float = 300.0
    min_records: int = 1

    def __post_init__(self) -> None:
        west, south, east, north = self.region or WHOLE_EARTH
        if not (-90 <= south <= north <= 90 and all(-180 <= edge <= 360 for edge in (west, east))):
            raise UsageError(
                f"the region {_write_box(self.region)} is none: write WEST,SOUTH,EAST,NORTH in degrees, "
                "south below north; west beyond east means across the date line"
            )

    def inside(self, places: pd.DataFrame) -> pd.Series:
        """Return whether each place lies in the region, from its ``longitude`` and ``latitude``."""
        west, south, east, north = self.region or WHOLE_EARTH
        longitude = pd.Series(wrapped(places["longitude"]), places.index)
        west, east = wrapped([west, east]) if east - west < 360 else (-180, 180)
        if west <= east:
            within = longitude.between(west, east)
        else:  # across the date line
            within = (longitude >= west) | (longitude <= east)
        return within & places["latitude"].between(south, north)


@dataclasses.dataclass
class RawDataset:
    """Events, stations and records as a reader has read them, before limits and checks.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        Columns of the data contract and further ones of the file. NaN where unknown: an event's
        magnitude or hypocentre, a station's coordinates, an intensity measure. Longitudes may count
        from 0 to 360. Stations have no ``site_id`` yet. Of rows with one ``event_id`` (``station_id``; or
        both, in `records`) the first that can be used is kept.
    provenance : dict
        ``name``, ``sources``, ``choices`` and whatever else belongs into ``dataset.json``, such as
        ``noted`` (see `note`).
    tally : Tally
        Counts of rows read, and of those that the reader itself has dropped.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict
    tally: Tally


def select(raw: RawDataset, limits: Limits) -> Dataset:
    """Make a dataset of the rows that can be used and lie within limits; dropped rows are counted.

    Parameters
    ----------
    raw : RawDataset
        Its tally gets the dropped rows, with reasons.
    limits : Limits

    Raises
    ------
    UsageError
        No station lies in the region.
    DataError
        No record is left, or a table breaks the data contract.
    """
    tally = raw.tally
    events = _usable_events(_wrap_longitudes(raw.events), limits.min_magnitude, tally)
    listed = _wrap_longitudes(raw.stations)
    listed = drop(listed, listed.duplicated("station_id"), "station", "second entry of its code", tally)
    located, within = _usable_stations(listed, limits, tally)
    rows = raw.records.reset_index(drop=True)
    for key, known, reason in (
        ("event_id", events, "its event was dropped"),
        ("station_id", listed, "its station is not in the table"),
        ("station_id", located, "its station has no coordinates"),
        ("station_id", within, "its station is outside the region"),
    ):
        rows = drop(rows, ~rows[key].isin(known[key]), "record", reason, tally)
    rows = _usable_amplitudes(rows, tally)
    far = hypocentral_km(rows, events, within) > limits.max_distance_km
    rows = drop(rows, far, "record", f"farther than {limits.max_distance_km:g} km", tally)
    again = rows.duplicated(["event_id", "station_id"])
    rows = drop(rows, again, "record", "second record of a station in an event", tally)
    events, rows = _enough_records(events, rows, limits.min_records, tally)
    silent = ~within["station_id"].isin(rows["station_id"].unique())
    kept = drop(within, silent, "station", "no record is kept", tally)
    kept = kept.assign(site_id=site_ids(kept) if len(kept) else "")
    provenance = _complete_provenance(raw, limits, _note_out_of_service(rows, events, kept))
    return Dataset(events, kept, rows, provenance).checked()


def drop(table: pd.DataFrame, bad, what: str, reason: str, tally: Tally) -> pd.DataFrame:
    """Return a table without its bad rows, which are tallied.

    Parameters
    ----------
    table : pandas.DataFrame
        With the ids of its rows.
    bad : array_like of bool, [n_rows]
    what : str
        ``event``, ``station`` or ``record``.
    reason : str
        Why the rows are dropped.
    tally : Tally
        Gets the number of bad rows and the ids of some.
    """
    tally.drop(what, reason, _name_rows(table[bad], what))
    return table[~bad]


def note(what: str, reason: str, names) -> list[dict]:
    """Return a row of ``noted`` in the provenance, for rows that are kept with a doubt.

    Parameters
    ----------
    what : str
        ``event``, ``station``, ``record``, ...
    reason : str
        What a user should know of the rows.
    names : iterable of str
        Ids of the rows; without any there is no note.

    Returns
    -------
    list of dict
        One note or none.
    """
    tally = Tally()
    tally.drop(what, reason, names)
    return tally.dropped()


def _wrap_longitudes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with longitudes from -180 to 180 degrees."""
    return table.assign(longitude=wrapped(table["longitude"]))


def _write_box(region) -> str:
    """Return a region as the command line has it."""
    return ",".join(f"{value:.7g}" for value in region or WHOLE_EARTH)


def _name_rows(table: pd.DataFrame, what: str) -> pd.Series:
    """Return the id of each event or station, or the ids of event and station of each record."""
    return table["event_id"] + " " + table["station_id"] if what == "record" else table[f"{what}_id"]


def _usable_events(events: pd.DataFrame, min_magnitude: float, tally: Tally) -> pd.DataFrame:
    """Return the events with hypocentre and a magnitude that is large enough, each once."""
    hypocentre = ["origin_time", "longitude", "latitude", "depth_km"]
    reasons = {
        "origin time or hypocentre undetermined": lambda table: table[hypocentre].isna().any(axis=1),
        "listed twice": lambda table: table.duplicated([*hypocentre, "magnitude"]),
        "no magnitude": lambda table: table["magnitude"].isna(),
        f"magnitude below {min_magnitude:g}": lambda table: table["magnitude"] < min_magnitude,
        "second entry of its id": lambda table: table.duplicated("event_id"),
    }
    for reason, bad in reasons.items():
        events = drop(events, bad(events), "event", reason, tally)
    return events


def _usable_stations(
    table: pd.DataFrame, limits: Limits, tally: Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the stations that have coordinates, and those of them that lie in the region."""
    blank = table[["longitude", "latitude"]].isna().any(axis=1)
    located = drop(table, blank, "station", "no coordinates", tally)
    if located.empty:
        raise DataError("no station has coordinates: check the station table")
    inside = limits.inside(located)
    if not inside.any():
        spans = *located[["longitude", "latitude"]].min(), *located[["longitude", "latitude"]].max()
        raise UsageError(
            f"no station lies in the region {_write_box(limits.region)} (west,south,east,north): "
            f"the table spans {_write_box([round(float(degrees), 2) for degrees in spans])}"
        )
    return located, drop(located, ~inside, "station", "outside the region", tally)


def _usable_amplitudes(rows: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the records with at least one intensity measure.

    A single value that is out of range becomes missing, and is counted as a ``value``. A value that the
    file does not give is no loss.
    """
    ims = [name for name in rows.columns if imt.is_imt(name)]
    values = rows[ims]
    reasons = {
        "amplitude is zero": values == 0,
        "amplitude is negative": values < 0,
        f"amplitude below {MIN_AMPLITUDE_G:g} g": (values > 0) & (values < MIN_AMPLITUDE_G),
        f"amplitude above {MAX_AMPLITUDE_G:g} g": values > MAX_AMPLITUDE_G,
    }
    good = values.mask(sum(reasons.values(), start=values.isna()))
    left = good.notna().any(axis=1)
    for reason, bad in reasons.items():
        for name in ims:
            tally.drop("value", f"{name}: {reason}", _name_rows(rows[bad[name] & left], "record"))
    rows = rows.assign(**good)
    for reason, bad in {**reasons, "amplitude is missing": values.isna()}.items():
        unusable = (bad.any(axis=1) & ~left).loc[rows.index]
        rows = drop(rows, unusable, "record", reason, tally)
    return rows


def _note_out_of_service(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> list[dict]:
    """Return notes of the records outside the operating period that the station table gives.

    These records are kept: the date is that of an announcement, and records go on for days after.
    """
    if "operating_from" not in stations or rows.empty:
        return []
    station = stations.set_index("station_id").loc[rows["station_id"]]
    time = events.set_index("event_id")["origin_time"].loc[rows["event_id"]].set_axis(station.index)
    early, late = time < station["operating_from"], time > station["operating_to"]
    return [
        *note("record", "before its station's operating period", _name_rows(rows[early.array], "record")),
        *note("record", "after its station's operating period", _name_rows(rows[late.array], "record")),
    ]


def _enough_records(
    events: pd.DataFrame, rows: pd.DataFrame, min_records: int, tally: Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events that have enough records, and the records of these events."""
    counts = rows["event_id"].value_counts()
    enough = counts.index[counts >= min_records]
    reason = f"fewer than {min_records} records"
    few = ~rows["event_id"].isin(enough)
    return (
        drop(events, ~events["event_id"].isin(enough), "event", reason, tally),
        drop(rows, few, "record", f"its event has {reason}", tally),
    )


def _complete_provenance(raw: RawDataset, limits: Limits, noted: list[dict]) -> dict:
    """Return the provenance with limits, counts and notes."""
    chosen = dataclasses.asdict(limits) | {"region": list(limits.region) if limits.region else None}
    east = {what: int((getattr(raw, what)["longitude"] > 180).sum()) for what in ("events", "stations")}
    if any(east.values()):
        counts = " and ".join(f"{count} {what}" for what, count in east.items())
        chosen["longitude"] = f"{counts} above 180 degrees, wrapped to -180 to 180"
    return raw.provenance | {
        "simulated": False,
        "choices": chosen | {"distance": "hypocentral"} | raw.provenance.get("choices", {}),
        "read": raw.tally.read,
        "dropped": raw.tally.dropped(),
        "noted": raw.provenance.get("noted", []) + noted,
    }
