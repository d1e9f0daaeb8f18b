"""What every reader of records keeps and drops, and why."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm import imt, records
from tfgmm.errors import UsageError

#: Larger amplitudes (in g) are a wrong unit or a broken instrument, not ground motion.
MAX_AMPLITUDE_G = 20.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What of the records a user wants.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Degrees, edges included; stations outside are left out, events are not.
    min_magnitude : float
        Smallest Mw.
    max_distance_km : float
        Largest hypocentral distance, ``sqrt(epicentral^2 + depth^2)``.
    min_records : int
        Fewest records an event must have after all other limits.
    """

    region: tuple[float, float, float, float] | None = None
    min_magnitude: float = 4.0
    max_distance_km: float = 300.0
    min_records: int = 1


@dataclasses.dataclass
class Found:
    """What a reader found, before limits and checks.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        Columns of the data contract and those of the source. NaN where unknown: an event's
        magnitude or hypocentre, a station's coordinates, an intensity measure. Stations have no
        ``site_id`` yet. Every ``event_id`` stands once in `events`.
    provenance : dict
        ``name``, ``sources``, ``choices`` and what else belongs into ``dataset.json``.
    tally : Tally
        What was read, and what the reader itself has dropped.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict
    tally: records.Tally


def select(found: Found, limits: Limits) -> records.Dataset:
    """The dataset of what a reader found: all that cannot be used is dropped and counted.

    Raises
    ------
    UsageError
        No station lies in the region.
    DataError
        No record is left, or a table breaks the data contract.
    """
    tally, table = found.tally, found.stations
    events = _usable_events(found.events, limits.min_magnitude, tally)
    located, within = _usable_stations(table, limits.region, tally)
    rows = found.records
    rows = drop(rows, ~rows["event_id"].isin(events["event_id"]), "record", "its event was dropped", tally)
    for known, reason in (
        (table, "its station is not in the table"),
        (located, "its station has no coordinates"),
        (within, "its station is outside the region"),
    ):
        rows = drop(rows, ~rows["station_id"].isin(known["station_id"]), "record", reason, tally)
    rows = _usable_amplitudes(rows, tally)
    far = _hypocentral_km(rows, events, within) > limits.max_distance_km
    rows = drop(rows, far, "record", f"farther than {limits.max_distance_km:g} km", tally)
    again = rows.duplicated(["event_id", "station_id"])
    rows = drop(rows, again, "record", "second record of a station in an event", tally)
    events, rows = _enough_records(events, rows, limits.min_records, tally)
    silent = ~within["station_id"].isin(rows["station_id"])
    kept = drop(within, silent, "station", "no record is kept", tally)
    kept = kept.assign(site_id=records.site_ids(kept) if len(kept) else "")
    return records.check(records.Dataset(events, kept, rows, _provenance(found, limits)))


def drop(table: pd.DataFrame, bad, what: str, reason: str, tally: records.Tally) -> pd.DataFrame:
    """The table without its `bad` rows, which are tallied by name."""
    gone = table[bad]
    names = gone["event_id"] + " " + gone["station_id"] if what == "record" else gone[f"{what}_id"]
    tally.drop(what, reason, names)
    return table[~bad]


def _usable_events(events: pd.DataFrame, min_magnitude: float, tally: records.Tally) -> pd.DataFrame:
    hypocentre = ["origin_time", "longitude", "latitude", "depth_km"]
    reasons = {
        "origin time or hypocentre undetermined": events[hypocentre].isna().any(axis=1),
        "listed twice": events.duplicated([*hypocentre, "magnitude"]),
        "no magnitude": events["magnitude"].isna(),
        f"magnitude below {min_magnitude:g}": events["magnitude"] < min_magnitude,
    }
    for reason, bad in reasons.items():
        events = drop(events, bad.loc[events.index], "event", reason, tally)
    return events


def _usable_stations(
    table: pd.DataFrame, region, tally: records.Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stations that have coordinates, and those of them that lie in the region."""
    blank = table[["longitude", "latitude"]].isna().any(axis=1)
    located = drop(table, blank, "station", "no coordinates", tally)
    west, south, east, north = region or (-180, -90, 180, 90)
    inside = located["longitude"].between(west, east) & located["latitude"].between(south, north)
    if not inside.any():
        raise UsageError(
            f"no station lies in the region {west:g},{south:g},{east:g},{north:g} (west,south,east,north): "
            f"the table spans {located['longitude'].min():.2f},{located['latitude'].min():.2f},"
            f"{located['longitude'].max():.2f},{located['latitude'].max():.2f}"
        )
    return located, drop(located, ~inside, "station", "outside the region", tally)


def _usable_amplitudes(rows: pd.DataFrame, tally: records.Tally) -> pd.DataFrame:
    """Records with at least one intensity measure; single ones that cannot be used become missing."""
    ims = [name for name in rows.columns if imt.is_imt(name)]
    values = rows[ims]
    zero, huge = values <= 0, values > MAX_AMPLITUDE_G
    good = values.where(~zero & ~huge)
    reasons = {
        "amplitude is zero": zero,
        f"amplitude above {MAX_AMPLITUDE_G:g} g": huge,
        "amplitude is missing": values.isna(),
    }
    left = good.notna().any(axis=1)
    for reason, bad in reasons.items():
        named = rows["event_id"] + " " + rows["station_id"]
        for name in ims:
            tally.drop("value", f"{name}: {reason}", named[bad[name] & left] if len(ims) > 1 else [])
    rows = rows.assign(**{name: good[name] for name in ims})
    for reason, bad in reasons.items():
        rows = drop(rows, bad.any(axis=1).loc[rows.index] & ~left.loc[rows.index], "record", reason, tally)
    return rows


def _hypocentral_km(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> np.ndarray:
    source = events.set_index("event_id").loc[rows["event_id"]]
    site = stations.set_index("station_id").loc[rows["station_id"]]
    ends = (records.unit_vectors(point["longitude"], point["latitude"]) for point in (source, site))
    epicentral = records.EARTH_RADIUS_KM * np.linalg.norm(np.subtract(*ends), axis=1)
    return np.hypot(epicentral, source["depth_km"].to_numpy())


def _enough_records(
    events: pd.DataFrame, rows: pd.DataFrame, min_records: int, tally: records.Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    counts = rows["event_id"].value_counts()
    enough = counts.index[counts >= min_records]
    reason = f"fewer than {min_records} records"
    few = ~rows["event_id"].isin(enough)
    return (
        drop(events, ~events["event_id"].isin(enough), "event", reason, tally),
        drop(rows, few, "record", f"its event has {reason}", tally),
    )


def _provenance(found: Found, limits: Limits) -> dict:
    chosen = dataclasses.asdict(limits) | {"region": list(limits.region) if limits.region else None}
    return found.provenance | {
        "simulated": False,
        "choices": chosen | {"distance": "hypocentral"} | found.provenance.get("choices", {}),
        "read": found.tally.read,
        "dropped": found.tally.dropped(),
    }
