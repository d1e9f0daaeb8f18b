"""JMA annual intensity and acceleration files -> records: what is kept, and why."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm import files, imt, records
from tfgmm.errors import UsageError
from tfgmm.sources import jma_format

#: Moment magnitude from a JMA magnitude: slope and intercept of a fit on the 742 events in these
#: files that have both.
MW_FROM_MJ = (0.917, 0.337)
#: Magnitudes on the JMA displacement scale (J, D; d from few stations) or consistent with it (V, v).
JMA_TYPES = ["J", "D", "V", "d", "v"]
GAL_M_S2 = 0.01
#: Source flags: not determined, or known only to the hour, day or month.
UNDETERMINED = ["N", "H", "D", "M"]


def read(
    archives: Sequence[Path],
    stations: Path,
    *,
    region: tuple[float, float, float, float] | None,
    min_magnitude: float,
    max_distance_km: float,
    min_records: int,
    progress: Callable[[Path], None] | None = None,
) -> records.Dataset:
    """Records of the intensity meters that the Japan Meteorological Agency collects.

    PGA is the geometric mean of the peaks of the two horizontals, ``sqrt(NS EW)``, in g. Magnitudes
    are Mw: type W as listed, else ``0.917 Mj + 0.337`` of the first of the types J, D, V. Distance
    is hypocentral, ``sqrt(epicentral^2 + depth^2)``.

    Parameters
    ----------
    archives : sequence of Path
        ``iYYYY.zip``, each with one ``.dat``, or the ``.dat`` itself.
    stations : Path
        ``code_p.dat``. Names that end in a full-width asterisk are the network ``local``
        (municipalities and NIED), the others ``jma``.
    region : (west, south, east, north) or None
        Degrees, edges included; stations outside are left out, events are not.
    min_magnitude : float
        Smallest Mw.
    max_distance_km : float
        Largest hypocentral distance.
    min_records : int
        Fewest records an event must have after all other limits.
    progress : callable, optional
        Called with each archive once it has been read.

    Returns
    -------
    Dataset
        ``event_id`` is ``jma`` and the origin time as listed (JST); a second event of the same
        hundredth of a second gets ``-2``. ``station_id`` is the agency's code. Records also have
        ``intensity`` (instrumental, JMA scale), stations ``name``, ``locality`` (municipality) and
        ``operating_from``, ``operating_to``.

    Raises
    ------
    UsageError
        A file does not exist, or no station lies in the region.
    DataError
        A file is damaged or is not what the agency specifies, or no record is left.
    """
    tally = records.Tally()
    table = _network(jma_format.read_stations(stations))
    events, rows = _read_all(archives, progress)
    for what, found in (("event", events), ("station", table), ("record", rows)):
        tally.count(what, len(found))
    events = _usable_events(_moment_magnitude(events), min_magnitude, tally)
    located, within = _usable_stations(table, region, tally)
    rows = _drop(rows, ~rows["event_id"].isin(events["event_id"]), "record", "its event was dropped", tally)
    rows = _drop_by_station(rows, table, located, within, tally)
    rows = _usable_records(rows, events, within, max_distance_km, tally)
    events, rows = _enough_records(events, rows, min_records, tally)
    silent = ~within["station_id"].isin(rows["station_id"])
    kept = _drop(within, silent, "station", "no record is kept", tally)
    choices = {
        "region": list(region) if region else None,
        "min_magnitude": min_magnitude,
        "max_distance_km": max_distance_km,
        "min_records": min_records,
    }
    provenance = _provenance([*archives, stations], choices, tally)
    kept = kept.assign(site_id=records.site_ids(kept) if len(kept) else "")
    return records.check(records.Dataset(events, kept, rows, provenance))


def _read_all(archives: Sequence[Path], progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events and records of all files, joined by ``event_id``."""
    events, rows, groups = [], [], 0
    for path in archives:
        event_table, record_table = jma_format.read_events(path)
        events.append(event_table)
        rows.append(record_table.assign(group=record_table["group"] + groups))
        groups += len(event_table)
        if progress:
            progress(path)
    all_events = pd.concat(events, ignore_index=True)
    twin = all_events.groupby("event_id").cumcount()
    all_events["event_id"] += ("-" + (twin + 1).astype(str)).where(twin > 0, "")
    all_rows = pd.concat(rows, ignore_index=True)
    return all_events, all_rows.assign(event_id=all_events["event_id"].to_numpy()[all_rows["group"]])


def _drop(
    table: pd.DataFrame, bad: pd.Series, what: str, reason: str, tally: records.Tally
) -> pd.DataFrame:
    """The table without its `bad` rows, which are tallied by name."""
    gone = table[bad]
    names = gone["event_id"] + " " + gone["station_id"] if what == "record" else gone[f"{what}_id"]
    tally.drop(what, reason, names)
    return table[~bad]


def _moment_magnitude(events: pd.DataFrame) -> pd.DataFrame:
    """Mw and its source; without one NaN, and ``none`` or ``other`` for what is listed instead."""
    values = [events[f"magnitude_{i}"].to_numpy() for i in (1, 2)]
    types = [
        np.where(np.isnan(value), "", events[f"type_{i}"].to_numpy(dtype=str))
        for i, value in enumerate(values, 1)
    ]
    slope, intercept = MW_FROM_MJ
    converted = [slope * value + intercept for value in values]
    choices = [t == "W" for t in types] + [np.isin(t, JMA_TYPES) for t in types]
    names = types + [np.char.add(t, " converted") for t in types]
    absent = np.where(np.isnan(values).all(axis=0), "none", "other")
    return events.assign(
        magnitude=np.select(choices, values + converted, np.nan),
        magnitude_source=np.select(choices, names, absent),
    )


def _usable_events(events: pd.DataFrame, min_magnitude: float, tally: records.Tally) -> pd.DataFrame:
    hypocentre = ["origin_time", "longitude", "latitude", "depth_km"]
    unknown = events["flag"].isin(UNDETERMINED) | events[hypocentre].isna().any(axis=1)
    reasons = {
        "swarm that cannot be separated (B)": events["kind"] == "B",
        "pair of separate earthquakes (D)": events["kind"] == "D",
        "origin time or hypocentre undetermined": unknown,
        "listed twice": events.duplicated([*hypocentre, "magnitude"]),
        "no magnitude": events["magnitude_source"] == "none",
        "magnitude of another agency only (B, S)": events["magnitude_source"] == "other",
        f"magnitude below {min_magnitude:g}": events["magnitude"] < min_magnitude,
    }
    for reason, bad in reasons.items():
        events = _drop(events, bad.loc[events.index], "event", reason, tally)
    return events[["event_id", *hypocentre, "magnitude", "magnitude_source"]]


def _network(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        network=np.where(table["name"].str.endswith("＊"), "local", "jma"),
        locality=table["station_id"].str[:5],
        elevation_m=np.nan,
        sensor_depth_m=0.0,
        vs30_m_s=np.nan,
    )


def _usable_stations(
    table: pd.DataFrame, region, tally: records.Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stations that have coordinates, and those of them that lie in the region."""
    blank = table[["longitude", "latitude"]].isna().any(axis=1)
    located = _drop(table, blank, "station", "no coordinates", tally)
    west, south, east, north = region or (-180, -90, 180, 90)
    inside = located["longitude"].between(west, east) & located["latitude"].between(south, north)
    if not inside.any():
        raise UsageError(
            f"no station lies in the region {west:g},{south:g},{east:g},{north:g} (west,south,east,north): "
            f"the table spans {located['longitude'].min():.2f},{located['latitude'].min():.2f},"
            f"{located['longitude'].max():.2f},{located['latitude'].max():.2f}"
        )
    return located, _drop(located, ~inside, "station", "outside the region", tally)


def _drop_by_station(rows: pd.DataFrame, table, located, within, tally: records.Tally) -> pd.DataFrame:
    for known, reason in (
        (table, "its station is not in the table"),
        (located, "its station has no coordinates"),
        (within, "its station is outside the region"),
    ):
        rows = _drop(rows, ~rows["station_id"].isin(known["station_id"]), "record", reason, tally)
    return rows


def _usable_records(
    rows: pd.DataFrame,
    events: pd.DataFrame,
    stations: pd.DataFrame,
    max_distance_km: float,
    tally: records.Tally,
) -> pd.DataFrame:
    product = rows["ns_gal"] * rows["ew_gal"]
    rows = rows.assign(PGA=np.sqrt(product) * GAL_M_S2 / imt.STANDARD_GRAVITY, component="geometric_mean")
    rows = _drop(rows, product.isna(), "record", "a horizontal amplitude is missing", tally)
    rows = _drop(rows, rows["PGA"] == 0, "record", "a horizontal amplitude is zero", tally)
    far = _hypocentral_km(rows, events, stations) > max_distance_km
    rows = _drop(rows, far, "record", f"farther than {max_distance_km:g} km", tally)
    again = rows.duplicated(["event_id", "station_id"])
    rows = _drop(rows, again, "record", "second record of a station in an event", tally)
    return rows[["event_id", "station_id", "PGA", "component", "intensity"]]


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
        _drop(events, ~events["event_id"].isin(enough), "event", reason, tally),
        _drop(rows, few, "record", f"its event has {reason}", tally),
    )


def _provenance(paths: Sequence[Path], choices: dict, tally: records.Tally) -> dict:
    slope, intercept = MW_FROM_MJ
    return {
        "name": "JMA seismic intensity and acceleration files",
        "simulated": False,
        "component": "geometric_mean",
        "unit": {"PGA": "g"},
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": choices
        | {
            "distance": "hypocentral",
            "magnitude": f"Mw as listed (W), else {slope} Mj + {intercept} of the first of J, D, d, V, v",
            "PGA": "square root of the product of the NS and EW peaks",
            "network": "local where the station name ends in a full-width asterisk, else jma",
        },
        "read": tally.read,
        "dropped": tally.dropped(),
        "truncation": "An event lists only stations with intensity 0.5 or more: the records are truncated "
        "from below, and a scaling fitted without regard to it is biased at large distance.",
        "attribution": "Made from the annual seismic intensity and acceleration files of the Japan "
        "Meteorological Agency (JMA).",
    }
