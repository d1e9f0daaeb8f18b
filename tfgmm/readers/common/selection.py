"""What every reader of records keeps and drops, and why."""

import dataclasses

import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import hypocentral_km, wrapped
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.tally import Tally

#: Larger amplitudes (in g) are a wrong unit or a broken instrument, smaller ones the noise of numbers.
MIN_AMPLITUDE_G, MAX_AMPLITUDE_G = 1e-7, 20.0
WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What of the records a user wants.

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
        The region is none.
    """

    region: tuple[float, float, float, float] | None = None
    min_magnitude: float = 4.0
    max_distance_km: float = 300.0
    min_records: int = 1

    def __post_init__(self) -> None:
        west, south, east, north = self.region or WHOLE_EARTH
        if not (-90 <= south <= north <= 90 and all(-180 <= edge <= 360 for edge in (west, east))):
            raise UsageError(
                f"the region {_box(self.region)} is none: write WEST,SOUTH,EAST,NORTH in degrees, south "
                "below north; west beyond east means across the date line"
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
class Found:
    """What a reader found, before limits and checks.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        Columns of the data contract and those of the source. NaN where unknown: an event's
        magnitude or hypocentre, a station's coordinates, an intensity measure. Longitudes may count
        from 0 to 360. Stations have no ``site_id`` yet. Of rows with one ``event_id`` (``station_id``; or
        both, in `records`) the first that can be used is kept.
    provenance : dict
        ``name``, ``sources``, ``choices`` and what else belongs into ``dataset.json``, such as ``noted``
        (see `note`).
    tally : Tally
        What was read, and what the reader itself has dropped.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict
    tally: Tally


def select(found: Found, limits: Limits) -> Dataset:
    """The dataset of what a reader found: all that cannot be used is dropped and counted.

    Raises
    ------
    UsageError
        No station lies in the region.
    DataError
        No record is left, or a table breaks the data contract.
    """
    tally = found.tally
    events = _usable_events(_wrapped(found.events), limits.min_magnitude, tally)
    table = _wrapped(found.stations)
    table = drop(table, table.duplicated("station_id"), "station", "second entry of its code", tally)
    located, within = _usable_stations(table, limits, tally)
    rows = found.records.reset_index(drop=True)
    for key, known, reason in (
        ("event_id", events, "its event was dropped"),
        ("station_id", table, "its station is not in the table"),
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
    provenance = _provenance(found, limits, _out_of_service(rows, events, kept))
    return Dataset(events, kept, rows, provenance).checked()


def drop(table: pd.DataFrame, bad, what: str, reason: str, tally: Tally) -> pd.DataFrame:
    """The table without its `bad` rows, which are tallied by name."""
    tally.drop(what, reason, _names(table[bad], what))
    return table[~bad]


def note(what: str, reason: str, names) -> list[dict]:
    """Row of ``noted`` in the provenance, for what is kept and a user should know; none without names."""
    tally = Tally()
    tally.drop(what, reason, names)
    return tally.dropped()


def _wrapped(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(longitude=wrapped(table["longitude"]))


def _box(region) -> str:
    return ",".join(f"{value:.7g}" for value in region or WHOLE_EARTH)


def _names(table: pd.DataFrame, what: str) -> pd.Series:
    return table["event_id"] + " " + table["station_id"] if what == "record" else table[f"{what}_id"]


def _usable_events(events: pd.DataFrame, min_magnitude: float, tally: Tally) -> pd.DataFrame:
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
    """Stations that have coordinates, and those of them that lie in the region."""
    blank = table[["longitude", "latitude"]].isna().any(axis=1)
    located = drop(table, blank, "station", "no coordinates", tally)
    if located.empty:
        raise DataError("no station has coordinates: check the station table")
    inside = limits.inside(located)
    if not inside.any():
        spans = *located[["longitude", "latitude"]].min(), *located[["longitude", "latitude"]].max()
        raise UsageError(
            f"no station lies in the region {_box(limits.region)} (west,south,east,north): "
            f"the table spans {_box([round(float(degrees), 2) for degrees in spans])}"
        )
    return located, drop(located, ~inside, "station", "outside the region", tally)


def _usable_amplitudes(rows: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Records with at least one intensity measure.

    A single value that is out of range becomes missing, and is counted as a ``value``. A value that the
    source does not give is no loss.
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
            tally.drop("value", f"{name}: {reason}", _names(rows[bad[name] & left], "record"))
    rows = rows.assign(**good)
    for reason, bad in {**reasons, "amplitude is missing": values.isna()}.items():
        unusable = (bad.any(axis=1) & ~left).loc[rows.index]
        rows = drop(rows, unusable, "record", reason, tally)
    return rows


def _out_of_service(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> list[dict]:
    """Notes of the records outside the operating period that the station table gives.

    They are kept: such dates are those of an announcement, and records go on for days after.
    """
    if "operating_from" not in stations or rows.empty:
        return []
    station = stations.set_index("station_id").loc[rows["station_id"]]
    time = events.set_index("event_id")["origin_time"].loc[rows["event_id"]].set_axis(station.index)
    early, late = time < station["operating_from"], time > station["operating_to"]
    return [
        *note("record", "before its station's operating period", _names(rows[early.array], "record")),
        *note("record", "after its station's operating period", _names(rows[late.array], "record")),
    ]


def _enough_records(
    events: pd.DataFrame, rows: pd.DataFrame, min_records: int, tally: Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    counts = rows["event_id"].value_counts()
    enough = counts.index[counts >= min_records]
    reason = f"fewer than {min_records} records"
    few = ~rows["event_id"].isin(enough)
    return (
        drop(events, ~events["event_id"].isin(enough), "event", reason, tally),
        drop(rows, few, "record", f"its event has {reason}", tally),
    )


def _provenance(found: Found, limits: Limits, noted: list[dict]) -> dict:
    chosen = dataclasses.asdict(limits) | {"region": list(limits.region) if limits.region else None}
    east = {what: int((getattr(found, what)["longitude"] > 180).sum()) for what in ("events", "stations")}
    if any(east.values()):
        counts = " and ".join(f"{count} {what}" for what, count in east.items())
        chosen["longitude"] = f"{counts} above 180 degrees, wrapped to -180 to 180"
    return found.provenance | {
        "simulated": False,
        "choices": chosen | {"distance": "hypocentral"} | found.provenance.get("choices", {}),
        "read": found.tally.read,
        "dropped": found.tally.dropped(),
        "noted": found.provenance.get("noted", []) + noted,
    }
