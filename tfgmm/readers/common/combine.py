"""Two imports add up to one dataset: shared events and stations become one, nothing is lost silently."""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import distance_km
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.tally import Tally
from tfgmm.readers.common import matching

#: Entries of one station code may differ by this much: coordinates are rounded differently.
SAME_STATION_KM = 0.5
PAIR = ["event_id", "station_id"]


def combine(first: Dataset, second: Dataset, tolerance: matching.Tolerance) -> Dataset:
    """The records of both imports.

    An earthquake, station or record of both imports becomes one: what `first` knows of it stays (id and
    hypocentre of an event), what it lacks (NaN, or a column that it does not have) is taken from
    `second`. Events are the same if they have the same id, else if `matching.match` pairs them. Sites are
    formed anew. Limits are not applied again: each import had its own. Site layers are those of the
    import that has any.

    Parameters
    ----------
    first, second : Dataset
    tolerance : Tolerance
        How far apart two entries of one earthquake may be.

    Returns
    -------
    Dataset
        Its provenance has one entry an import in ``imports``, the counts read and dropped of all, and
        in ``merged_events`` of an import which event of its own became which of an earlier one.

    Raises
    ------
    UsageError
        One is simulated and the other is not, the components differ, or both have site layers and these
        differ.
    DataError
        One id names two earthquakes or two stations.
    """
    _refuse_mixture(first, second)
    same = _same_events(first.events, second.events, tolerance)
    events = _added(first.events, _renamed(second.events, same), ["event_id"])
    _refuse_moved(first.stations, second.stations)
    stations = _added(first.stations, second.stations, ["station_id"])
    stations["site_id"] = site_ids(stations)
    theirs = _renamed(second.records, same)
    rows = _added(first.records, theirs, PAIR)
    again = pd.MultiIndex.from_frame(theirs[PAIR]).isin(pd.MultiIndex.from_frame(first.records[PAIR]))
    tally = Tally()
    tally.drop("event", "merged with an event of an earlier import", same)
    both = second.stations["station_id"].isin(first.stations["station_id"])
    tally.drop("station", "merged with a station of an earlier import", second.stations["station_id"][both])
    names = theirs["event_id"] + " " + theirs["station_id"]
    tally.drop("record", "merged with a record of an earlier import", names[again])
    provenance = _provenance(first.provenance, second.provenance, same, tolerance, tally)
    return Dataset(events, stations, rows, provenance, _layers(first, second)).checked()


def _refuse_mixture(first: Dataset, second: Dataset) -> None:
    if first.simulated != second.simulated:
        kinds = ["simulated" if dataset.simulated else "measured" for dataset in (first, second)]
        raise UsageError(
            f"the first records are {kinds[0]} and the second {kinds[1]}: keep them in two datasets"
        )
    components = [", ".join(sorted(dataset.records["component"].unique())) for dataset in (first, second)]
    if components[0] != components[1]:
        raise UsageError(
            f"the first records are {components[0]} and the second {components[1]}: import both with one "
            "component"
        )


def _same_events(
    first: pd.DataFrame, second: pd.DataFrame, tolerance: matching.Tolerance
) -> dict[str, str]:
    """Ids of the second's events that are in the first, and their ids there."""
    index = pd.Index(first["event_id"]).get_indexer(second["event_id"])
    listed = second[index >= 0]
    far = np.isinf(matching.distance(first.iloc[index[index >= 0]], listed, tolerance))
    if far.any():
        name = listed["event_id"].to_numpy()[far][0]
        entries = [_event(table.set_index("event_id").loc[name]) for table in (first, second)]
        raise DataError(
            f"event {name} is {entries[0]} in the first import and {entries[1]} in the second: rename one, "
            "or widen the tolerance"
        )
    others = first.drop(index=first.index[index[index >= 0]]), second[index < 0]
    partner = matching.match(others[1], others[0], tolerance)
    found = others[1]["event_id"][partner >= 0]
    matched = zip(found, others[0]["event_id"].iloc[partner[partner >= 0]], strict=True)
    return dict(zip(listed["event_id"], listed["event_id"], strict=True)) | dict(matched)


def _event(event: pd.Series) -> str:
    return (
        f"M {event['magnitude']:.1f} at {event['longitude']:.2f},{event['latitude']:.2f} "
        f"on {event['origin_time']:%Y-%m-%dT%H:%M:%S}"
    )


def _renamed(table: pd.DataFrame, same: dict[str, str]) -> pd.DataFrame:
    return table.assign(event_id=table["event_id"].replace(same))


def _refuse_moved(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Raise `DataError` where a code of both is not one place in one network."""
    both = first.merge(second, on="station_id", suffixes=("_1", "_2"))
    both["km"] = distance_km(*(both[f"{name}_{i}"] for i in (1, 2) for name in ("longitude", "latitude")))
    wrong = both[(both["km"] > SAME_STATION_KM) | (both["network_1"] != both["network_2"])]
    if len(wrong):
        row = wrong.iloc[0]
        places = [
            f"{row[f'network_{i}']} {row[f'longitude_{i}']:.4f},{row[f'latitude_{i}']:.4f}" for i in (1, 2)
        ]
        raise DataError(
            f"station {row['station_id']} is {places[0]} in the first import and {places[1]} in the "
            f"second, {row['km']:.1f} km apart: expected one network and at most {SAME_STATION_KM} km; "
            "rename one"
        )


def _added(first: pd.DataFrame, second: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Rows and columns of both; a row of both is the first's, and its gaps are filled from the second."""
    ours, theirs = first.set_index(key), second.set_index(key)
    both = pd.concat([ours, theirs[~theirs.index.isin(ours.index)]])
    return both.fillna(theirs.reindex(both.index)).reset_index()[list(pd.concat([first[:0], second[:0]]))]


def _layers(first: Dataset, second: Dataset):
    if first.layers is None or second.layers is None:
        return first.layers if second.layers is None else second.layers
    if not first.layers.equals(second.layers):
        raise UsageError(
            "both imports have site layers, and these differ: import the second without layers"
        )
    return first.layers


def _provenance(first: dict, second: dict, same: dict, tolerance: matching.Tolerance, tally: Tally) -> dict:
    both = first, second
    imports = [*_imports(first), *_imports(second)]
    renamed = {theirs: ours for theirs, ours in same.items() if theirs != ours}
    imports[-1] = imports[-1] | {"merged_events": imports[-1].get("merged_events", {}) | renamed}
    return {
        "name": _joined(both, "name", " + "),
        "simulated": bool(first.get("simulated", False)),
        "component": first.get("component", ""),
        "unit": second.get("unit", {}) | first.get("unit", {}),
        "sources": _unique(itertools.chain(*(p.get("sources", []) for p in both))),
        "choices": {
            "same event within": dataclasses.asdict(tolerance),
            "same station within km": SAME_STATION_KM,
        },
        "read": _sum(p.get("read", {}) for p in both),
        "dropped": _merged([*first.get("dropped", []), *second.get("dropped", []), *tally.dropped()]),
        "noted": _merged([*first.get("noted", []), *second.get("noted", [])]),
        "truncation": _joined(both, "truncation", " "),
        "attribution": _joined(both, "attribution", " "),
        "imports": imports,
    }


def _imports(provenance: dict) -> list[dict]:
    return list(provenance.get("imports", [provenance]))


def _unique(items) -> list:
    found: list = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _joined(provenances, key: str, separator: str) -> str:
    return separator.join(_unique(p[key] for p in provenances if p.get(key)))


def _sum(counts) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        total |= {what: total.get(what, 0) + number for what, number in count.items()}
    return total


def _merged(rows: list[dict]) -> list[dict]:
    """One row a reason: counts add up, three examples stay."""
    merged: dict[tuple, dict] = {}
    for row in rows:
        key = row["what"], row["reason"]
        old = merged.get(key, {"count": 0, "examples": []})
        examples = [*old["examples"], *row["examples"]][:3]
        merged[key] = row | {"count": old["count"] + row["count"], "examples": examples}
    return list(merged.values())
