"""Folds of the ensemble: the roles of events and stations (training, validation, stopping).

A fold holds one chunk of sites out. All choices depend only on the records of the reference network, the
split and the seed. So all arms (sets of input channels) share chunks, stopping sets and scored records.
Added stations are those of recording networks other than the reference network.
"""

import dataclasses
import logging

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import STOPPING, TRAINING, VALIDATION
from tfgmm.runs.experiment import Experiment

#: Distance, km, up to which an added station (of another recording network than the reference) belongs to a
#: reference site.
SAME_PLACE_KM = 0.5
#: Share of the sites, and of the events, that are stopping sites and stopping events.
STOPPING_SHARE = 0.1
#: With `max_events`: largest number of events that are kept and have records of added networks only.
MAX_ADDED_EVENTS = 20

_log = logging.getLogger(__name__)
_CHUNKS, _STOPPING, _EVENTS, _SUBSET = range(1, 5)


@dataclasses.dataclass(frozen=True)
class Fold:
    """Roles of events and stations while one chunk of sites is held out.

    A role is ``training``, ``validation`` (held out and scored) or ``stopping`` (decides when the training
    ends).

    Attributes
    ----------
    chunk : int
        Number of the held-out chunk, from 0.
    event_role : pandas.Series
        Role by event id; an event without a role is not used.
    station_role : pandas.Series
        Role by station id; a station without a role is not used.
    """

    chunk: int
    event_role: pd.Series
    station_role: pd.Series

    def roles(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the records whose event and station have a role, with ``event_role`` and ``site_role``.

        Parameters
        ----------
        table : pandas.DataFrame, [n, ...]
            Records with ``event_id`` and ``station_id``.

        Returns
        -------
        pandas.DataFrame
            The used records; `site_role` is the role of the station's site.
        """
        roles = table.assign(
            event_role=table["event_id"].map(self.event_role),
            site_role=table["station_id"].map(self.station_role),
        )
        return roles.dropna(subset=["event_role", "site_role"])


def stations_in_use(dataset: Dataset, experiment: Experiment) -> pd.DataFrame:
    """Return the stations of the experiment's recording networks inside the output window, by station id.

    Parameters
    ----------
    dataset : Dataset
        Events, stations and records.
    experiment : Experiment
        Settings of the run: networks and grid.

    Returns
    -------
    pandas.DataFrame
        Rows of the stations table of `dataset`.

    Raises
    ------
    UsageError
        A recording network is not in the dataset.
    DataError
        A recording network has no station inside the window.
    """
    unknown = set(experiment.networks) - set(dataset.networks)
    if unknown:
        raise UsageError(
            f"unknown network {listed(sorted(unknown))}: the dataset has {listed(dataset.networks)}"
        )
    stations = dataset.stations
    _, _, inside = experiment.grid.locate(stations["longitude"], stations["latitude"])
    stations = stations[inside & stations["network"].isin(experiment.networks)]
    for network in experiment.networks:
        if not (stations["network"] == network).any():
            raise DataError(f"no station of network {network} lies inside the output window of the grid")
    return stations.sort_values("station_id")


def make_folds(dataset: Dataset, experiment: Experiment) -> list[Fold]:
    """Draw the sites of the reference network into chunks, and return a fold for each chunk.

    A warning is logged if stopping events cannot precede the window of a split by time.

    Parameters
    ----------
    dataset : Dataset
        Events, stations and records.
    experiment : Experiment
        Settings of the run.

    Returns
    -------
    list of Fold
        Folds in the order of the chunks.

    Raises
    ------
    UsageError
        A recording network is not in the dataset.
    DataError
        The event split leaves no training or no validation event, or there are fewer sites than the chunks
        need, or there is a single training event, which cannot both train and stop.
    """
    stations = stations_in_use(dataset, experiment)
    reference = stations[stations["network"] == experiment.reference]
    seen = dataset.records["station_id"].isin(reference["station_id"])
    recorded = dataset.records[seen]
    sites = np.unique(
        reference.loc[reference["station_id"].isin(recorded["station_id"]), "site_id"].to_numpy(str)
    )
    if len(sites) < 2 * experiment.chunks:
        raise DataError(
            f"network {experiment.reference} has {len(sites)} sites with records inside the output "
            f"window: too few for {experiment.chunks} chunks"
        )
    event_role = _event_roles(dataset, experiment, np.unique(recorded["event_id"].to_numpy(str)))
    hidden = _stopping_sets(event_role, recorded, dataset.events, experiment)
    order = np.random.default_rng([experiment.seed, _CHUNKS]).permutation(sites)
    all_folds = []
    for chunk, held_out in enumerate(np.array_split(order, experiment.chunks)):
        site_role = pd.Series(TRAINING, index=order)
        site_role[held_out] = VALIDATION
        stopping_sites, stopping_events = hidden(chunk, np.setdiff1d(order, held_out))
        site_role[stopping_sites] = STOPPING
        events = event_role.where(~event_role.index.isin(stopping_events), STOPPING)
        all_folds.append(Fold(chunk, events, _station_roles(stations, site_role, experiment.reference)))
    return all_folds


def stopping_records(roles: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Return the stopping records, which decide when the training ends, of the reference network.

    They are the records of stopping events at training and stopping sites; with ``stopping`` ``paper`` they
    are the records of validation events at training sites. They are the same in every arm.

    Parameters
    ----------
    roles : pandas.DataFrame
        Records with ``event_role, site_role`` and ``network``.
    experiment : Experiment
        Settings of the run.

    Returns
    -------
    pandas.DataFrame
        Rows of `roles`.

    Raises
    ------
    DataError
        There is no stopping record.
    """
    if experiment.stopping == "paper":
        chosen = (roles["event_role"] == VALIDATION) & (roles["site_role"] == TRAINING)
    else:
        chosen = (roles["event_role"] == STOPPING) & roles["site_role"].isin([TRAINING, STOPPING])
    records = roles[chosen & (roles["network"] == experiment.reference)]
    if records.empty:
        raise DataError("the stopping set holds no record: bring more records or another --seed")
    return records


def _event_roles(dataset: Dataset, experiment: Experiment, recorded: np.ndarray) -> pd.Series:
    """Return the role of each event, training or validation, by event id.

    `recorded` are the ids of the events with records of the reference network.
    """
    split = experiment.split
    events = dataset.events.sort_values("event_id")
    if split.kind == "time":
        start, end = split.window()
        validates = events["origin_time"].ge(start) & events["origin_time"].lt(end)
    elif split.kind == "magnitude":
        validates = events["magnitude"].ge(split.min_magnitude)
    else:
        rng = np.random.default_rng([experiment.seed, _EVENTS])
        chosen = rng.choice(recorded, round(split.fraction * len(recorded)), replace=False)
        validates = events["event_id"].isin(chosen)
    role = pd.Series(np.where(validates, VALIDATION, TRAINING), index=events["event_id"])
    _refuse_empty_side(role[role.index.isin(recorded)], experiment)
    limit = experiment.training.max_events
    if limit is None:
        return role
    # Large events are few: a random subset could leave none of them to score.
    drawn = recorded[role[recorded] == TRAINING] if split.kind == "magnitude" else recorded
    return _subset(role, recorded, drawn, limit, experiment.seed)


def _refuse_empty_side(role: pd.Series, experiment: Experiment) -> None:
    """Raise `DataError` if `role` has no training event or no validation event."""
    for side in (TRAINING, VALIDATION):
        if not (role == side).any():
            raise DataError(
                f"the event split leaves no {side} event with records of network "
                f"{experiment.reference}: change --split"
            )


def _subset(role: pd.Series, recorded: np.ndarray, drawn: np.ndarray, limit: int, seed: int) -> pd.Series:
    """Return the roles of at most `limit` random events of `drawn`, and of a few others.

    `drawn` are ids among `recorded`, the ids of all events with reference records; those of `recorded` that
    are not in `drawn` are kept. The others have records of added networks only; `MAX_ADDED_EVENTS` is their
    largest number.
    """
    rng = np.random.default_rng([seed, _SUBSET])
    left_out = rng.permutation(drawn)[limit:]
    added_only = rng.permutation(np.setdiff1d(role.index.to_numpy(str), recorded))[:MAX_ADDED_EVENTS]
    return role[role.index.isin([*np.setdiff1d(recorded, left_out), *added_only])]


def _stopping_sets(event_role, recorded, events, experiment: Experiment):
    """Return a function that draws the ids of the stopping sites and stopping events of a fold.

    `recorded` are the reference records, `events` is the events table. The function takes the number of
    the chunk and the ids of the sites that are not held out.
    """
    if experiment.stopping == "paper":
        return lambda chunk, sites: ([], [])
    candidates = _may_stop(event_role, events, experiment, recorded)

    def draw(chunk: int, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of the stopping sites and of the stopping events of a fold."""
        rng = np.random.default_rng([experiment.seed, _STOPPING, chunk])
        of_events = _tenth_in_a_row if experiment.stopping == "blocks" else _tenth
        return _tenth(sites, rng), of_events(candidates, rng)

    return draw


def _tenth(names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random tenth of the names, at least one."""
    return rng.choice(names, max(1, round(STOPPING_SHARE * len(names))), replace=False)


def _tenth_in_a_row(names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random tenth of the names, at least one, which follow each other in the order of `names`."""
    count = max(1, round(STOPPING_SHARE * len(names)))
    start = rng.integers(0, len(names) - count + 1)
    return names[start : start + count]


def _may_stop(event_role, events, experiment, recorded) -> np.ndarray:
    """Return the ids of the training events from which stopping events are drawn.

    They have records of the reference network (`recorded`). With a split by time, they lie before the
    validation window; if none does, they are all training events, and a warning says so. They are in the
    order of their origin time for ``stopping`` ``blocks``.
    """
    names = event_role.index[event_role == TRAINING].intersection(recorded["event_id"])
    if len(names) < 2:
        raise DataError(
            f"the event split leaves a single training event with records of network "
            f"{experiment.reference}, which cannot both train and stop: change --split"
        )
    if experiment.split.kind == "time":
        early = events.loc[events["origin_time"].lt(experiment.split.window()[0]), "event_id"]
        if names.intersection(early).empty:
            _log.warning(
                "no training event precedes the validation window: stopping events are drawn from all "
                "training events, which follow it"
            )
        else:
            names = names.intersection(early)
    if experiment.stopping == "blocks":
        names = events.set_index("event_id").loc[names].sort_values("origin_time").index
        return names.to_numpy(str)
    return np.sort(names.to_numpy(str))


def _station_roles(stations: pd.DataFrame, site_role: pd.Series, reference: str) -> pd.Series:
    """Return the role of each station by station id: that of its site in the reference network.

    Added stations are training stations, but all stations of a site within `SAME_PLACE_KM` of a stopping
    or validation site have the role of this site.
    """
    is_reference = (stations["network"] == reference).to_numpy()
    known, added = stations[is_reference], stations[~is_reference]
    known_role = known["site_id"].map(site_role)
    added_role = pd.Series(TRAINING, index=added["site_id"])
    near = _tree(added).sparse_distance_matrix(_tree(known), SAME_PLACE_KM, output_type="ndarray")
    for held in (STOPPING, VALIDATION):
        touching = near["i"][(known_role == held).to_numpy()[near["j"]]]
        # All codes of an added site follow the one that stands at the held-out site.
        added_role[added_role.index.isin(added["site_id"].iloc[touching])] = held
    names = [*known["station_id"], *added["station_id"]]
    return pd.Series([*known_role, *added_role], index=names).dropna()


def nearest_km(of: pd.DataFrame, among: pd.DataFrame) -> np.ndarray:
    """Return the distance from each station to the nearest of other stations, km.

    Parameters
    ----------
    of : pandas.DataFrame, [n, ...]
        Stations with ``longitude`` and ``latitude``, degrees.
    among : pandas.DataFrame, [m, ...]
        Other stations, with the same columns.

    Returns
    -------
    ndarray, [n]
        Distances, km; NaN if `among` is empty.
    """
    return np.asarray(_tree(among).query(_tree(of).data)[0]) if len(among) else np.full(len(of), np.nan)


def _tree(stations: pd.DataFrame) -> KDTree:
    """Return a search tree of the stations in three dimensions, km from the centre of the Earth."""
    return KDTree(unit_vectors(stations["longitude"], stations["latitude"]) * EARTH_RADIUS_KM)
