"""Match the events of two catalogues, and combine two imports of records into one dataset."""

import collections
import dataclasses
import itertools

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import distance_km
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.tally import Tally

#: Largest distance between two entries of one station, km: coordinates are rounded differently.
SAME_STATION_KM = 0.5
PAIR = ["event_id", "station_id"]


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Largest differences between two catalogue entries of one earthquake, limits included.

    Attributes
    ----------
    seconds : float
        Difference of the origin times, s.
    km : float
        Distance of the epicentres, km.
    magnitude : float
        Difference of the magnitudes.

    Raises
    ------
    UsageError
        A limit is not positive.
    """

    seconds: float = 10.0
    km: float = 50.0
    magnitude: float = 1.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UsageError(f"tolerance {name} is {value:g}: it must be above zero")


def distance(first: pd.DataFrame, second: pd.DataFrame, tolerance: Tolerance) -> np.ndarray:
    r"""Return the normalised distance in time, place and magnitude between two events, row by row.

    .. math:: d = \sqrt{(\Delta t / t_0)^2 + (\Delta r / r_0)^2 + (\Delta M / M_0)^2}

    with the differences of the origin times :math:`\Delta t` (s), of the epicentres :math:`\Delta r` (km)
    and of the magnitudes :math:`\Delta M`, and with the tolerances :math:`t_0, r_0, M_0`.

    Parameters
    ----------
    first, second : pandas.DataFrame, [n_rows, ...]
        Columns ``origin_time`` (UTC), ``longitude``, ``latitude`` (degrees) and ``magnitude``. An unknown
        magnitude (NaN) counts as equal to any; an unknown time or place gives an infinite distance.
    tolerance : Tolerance
        Largest differences :math:`t_0, r_0, M_0`.

    Returns
    -------
    ndarray, [n_rows]
        Distances without unit; infinite where one of the three differences is above its tolerance.
    """
    places = (table[name] for table in (first, second) for name in ("longitude", "latitude"))
    magnitude = first["magnitude"].to_numpy(float) - second["magnitude"].to_numpy(float)
    parts = (
        (_seconds(first) - _seconds(second)) / tolerance.seconds,
        distance_km(*places) / tolerance.km,
        np.nan_to_num(magnitude / tolerance.magnitude),
    )
    within = np.all([abs(part) <= 1 + 1e-6 for part in parts], axis=0)  # rounding decides no edge
    return np.where(within, np.linalg.norm(parts, axis=0), np.inf)


def match(first: pd.DataFrame, second: pd.DataFrame, tolerance: Tolerance) -> np.ndarray:
    """Match events of two catalogues one to one; return for each event its match in the second catalogue.

    Of all pairs within the tolerance, the nearest pair (`distance`) is matched first, then the nearest pair
    among the remaining events, and so on; equally near pairs are taken in the order of the rows.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Events with ``origin_time`` (UTC), ``longitude``, ``latitude`` (degrees) and ``magnitude``.
    tolerance : Tolerance
        Largest differences in time, place and magnitude between two entries of one earthquake.

    Returns
    -------
    ndarray of int, [n_first]
        Position (row number from 0, not index label) of the matching event in `second`, or -1.
    """
    rows, cols = _near_in_time(_seconds(first), _seconds(second), tolerance.seconds)
    far = distance(first.iloc[rows], second.iloc[cols], tolerance)
    partner, taken = np.full(len(first), -1), np.zeros(len(second), bool)
    for pair in np.lexsort((cols, rows, far))[: np.isfinite(far).sum()]:
        row, col = rows[pair], cols[pair]
        if partner[row] < 0 and not taken[col]:
            partner[row], taken[col] = col, True
    return partner


def _seconds(events: pd.DataFrame) -> np.ndarray:
    """Return the origin times of events in s since 1970-01-01 UTC, [n_events]; NaN where unknown."""
    return ((events["origin_time"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(float)


def _near_in_time(first: np.ndarray, second: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of events whose origin times differ by at most `seconds`.

    The limit is widened slightly, so that rounding excludes no pair at the limit itself.

    Parameters
    ----------
    first, second : ndarray, [n_first], [n_second]
        Origin times, s since 1970; NaN, an unknown time, pairs with NaN only.
    seconds : float
        Largest difference, s.

    Returns
    -------
    rows, cols : ndarray of int, [n_pairs]
        Positions of the events of each pair in `first` and in `second`.
    """
    order = np.argsort(second)
    reach = seconds * (1 + 1e-6) + 1e-6
    start = np.searchsorted(second[order], first - reach)
    count = np.searchsorted(second[order], first + reach, side="right") - start
    rows = np.repeat(np.arange(len(first)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return rows, order[start[rows] + within]


# ---- two imports -> one dataset ----------------------------------------------------------------


def combine(first: Dataset, second: Dataset, tolerance: Tolerance) -> Dataset:
    """Combine the records of two imports into one dataset, with shared events and stations only once.

    An earthquake, station or record that is in both imports appears once: values of `first` are kept (id
    and hypocentre of an event), values that `first` lacks (NaN, or a missing column) are taken from
    `second`. Two events are the same if they have the same id, or else if `match` pairs them. Site ids are
    assigned anew. Limits of region, magnitude and distance are not applied again, because each import has
    applied its own limits. Site layers are taken from the import that has any.

    Parameters
    ----------
    first, second : Dataset
        Datasets of the two imports.
    tolerance : Tolerance
        Largest differences in time, place and magnitude between two entries of one earthquake.

    Returns
    -------
    Dataset
        The provenance has the counts of the rows that all imports have read and dropped, and one entry per
        import in ``imports``. The dictionary ``merged_events`` of an import maps an event id to the id of
        the event of an earlier import with which the event was merged.

    Raises
    ------
    UsageError
        One import is simulated and the other is not, the components differ, or both imports have site
        layers and the layers differ.
    DataError
        One id names two earthquakes or two stations.
    """
    _refuse_mixture(first, second)
    same = _pair_events(first.events, second.events, tolerance)
    events = _join_tables(first.events, _rename_events(second.events, same), ["event_id"])
    _refuse_moved_stations(first.stations, second.stations)
    stations = _join_tables(first.stations, second.stations, ["station_id"])
    stations["site_id"] = site_ids(stations)
    second_records = _rename_events(second.records, same)
    records = _join_tables(first.records, second_records, PAIR)
    pairs = [pd.MultiIndex.from_frame(table[PAIR]) for table in (first.records, second_records)]
    tally = Tally()
    tally.drop("event", "merged with an event of an earlier import", same)
    both = second.stations["station_id"].isin(first.stations["station_id"])
    tally.drop("station", "merged with a station of an earlier import", second.stations["station_id"][both])
    names = second_records["event_id"] + " " + second_records["station_id"]
    tally.drop("record", "merged with a record of an earlier import", names[pairs[1].isin(pairs[0])])
    provenance = _join_provenance(first.provenance, second.provenance, same, tolerance, tally)
    return Dataset(events, stations, records, provenance, _choose_layers(first, second)).checked()


def _refuse_mixture(first: Dataset, second: Dataset) -> None:
    """Raise `UsageError` if one import is simulated and the other is not, or the components differ."""
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


def _pair_events(first: pd.DataFrame, second: pd.DataFrame, tolerance: Tolerance) -> dict[str, str]:
    """Return the events that are in both tables: the id in `first` by the id in `second`."""
    index = pd.Index(first["event_id"]).get_indexer(second["event_id"])
    listed = second[index >= 0]
    far = np.isinf(distance(first.iloc[index[index >= 0]], listed, tolerance))
    if far.any():
        name = listed["event_id"].to_numpy()[far][0]
        entries = [_describe_event(table.set_index("event_id").loc[name]) for table in (first, second)]
        raise DataError(
            f"event {name} is {entries[0]} in the first import and {entries[1]} in the second: rename one, "
            "or widen the tolerance"
        )
    unpaired_first, unpaired_second = first.drop(index=first.index[index[index >= 0]]), second[index < 0]
    partner = match(unpaired_second, unpaired_first, tolerance)
    second_ids = unpaired_second["event_id"][partner >= 0]
    first_ids = unpaired_first["event_id"].iloc[partner[partner >= 0]]
    return {name: name for name in listed["event_id"]} | dict(zip(second_ids, first_ids, strict=True))


def _describe_event(event: pd.Series) -> str:
    """Return magnitude, place and origin time of an event, for a message."""
    return (
        f"M {event['magnitude']:.1f} at {event['longitude']:.2f},{event['latitude']:.2f} "
        f"on {event['origin_time']:%Y-%m-%dT%H:%M:%S}"
    )


def _rename_events(table: pd.DataFrame, same: dict[str, str]) -> pd.DataFrame:
    """Return the table with event ids that are keys of `same` replaced by the values of `same`."""
    return table.assign(event_id=table["event_id"].replace(same))


def _refuse_moved_stations(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Raise `DataError` if a station code has different coordinates or networks in the two imports."""
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


def _join_tables(first: pd.DataFrame, second: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return the rows of both tables once per key; NaN in `first` is filled from `second`."""
    names = list(pd.concat([first[:0], second[:0]]))
    first, second = first.set_index(key), second.set_index(key)
    both = pd.concat([first, second[~second.index.isin(first.index)]])
    return both.fillna(second.reindex(both.index)).reset_index()[names]


def _choose_layers(first: Dataset, second: Dataset):
    """Return the site layers of two datasets, or None if neither has layers.

    If both have layers and these differ, raise `UsageError`.
    """
    if first.layers is None or second.layers is None:
        return first.layers if second.layers is None else second.layers
    if not first.layers.equals(second.layers):
        raise UsageError(
            "both imports have site layers, and these differ: import the second without layers"
        )
    return first.layers


def _join_provenance(first: dict, second: dict, same: dict, tolerance: Tolerance, tally: Tally) -> dict:
    """Return the provenance of the combined dataset, from the provenances of both imports.

    `same` maps event ids of the second import to ids of the first; `tally` holds the rows that were merged.
    """
    both = first, second
    imports = [*_imports(first), *_imports(second)]
    renamed = {second_id: first_id for second_id, first_id in same.items() if second_id != first_id}
    imports[-1] = imports[-1] | {"merged_events": imports[-1].get("merged_events", {}) | renamed}
    return {
        "name": _join_texts(both, "name", " + "),
        "simulated": bool(first.get("simulated", False)),
        "component": first.get("component", ""),
        "unit": second.get("unit", {}) | first.get("unit", {}),
        "sources": _drop_repeats(itertools.chain(*(p.get("sources", []) for p in both))),
        "choices": {
            "same event within": dataclasses.asdict(tolerance),
            "same station within km": SAME_STATION_KM,
        },
        "read": _add_counts(p.get("read", {}) for p in both),
        "dropped": _merge_reasons(
            [*first.get("dropped", []), *second.get("dropped", []), *tally.dropped()]
        ),
        "noted": _merge_reasons([*first.get("noted", []), *second.get("noted", [])]),
        "truncation": _join_texts(both, "truncation", " "),
        "attribution": _join_texts(both, "attribution", " "),
        "imports": imports,
        **({"listing": first["listing"]} if first.get("listing", {}) == second.get("listing") else {}),
    }


def _imports(provenance: dict) -> list[dict]:
    """Return the provenance of each import that a dataset consists of, as a list."""
    return list(provenance.get("imports", [provenance]))


def _drop_repeats(items) -> list:
    """Return the items, which need not be hashable, in their order and without repeats."""
    kept: list = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept


def _join_texts(provenances, key: str, separator: str) -> str:
    """Return the different texts under a key of several provenances, joined by the separator."""
    return separator.join(_drop_repeats(p[key] for p in provenances if p.get(key)))


def _add_counts(counts) -> dict[str, int]:
    """Return the sum of several dictionaries of counts, by kind."""
    total: collections.Counter = collections.Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _merge_reasons(rows: list[dict]) -> list[dict]:
    """Return one row per kind and reason, with the sum of the counts and the first three examples."""
    merged: dict[tuple, dict] = {}
    for row in rows:
        key = row["what"], row["reason"]
        previous = merged.get(key, {"count": 0, "examples": []})
        examples = [*previous["examples"], *row["examples"]][:3]
        merged[key] = row | {"count": previous["count"] + row["count"], "examples": examples}
    return list(merged.values())
