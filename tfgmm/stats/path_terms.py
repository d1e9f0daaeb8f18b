"""Source and path terms of events that did not train, kriged from the training records of near sources."""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from scipy.sparse.linalg import LinearOperator, cg

from tfgmm.core.errors import DataError
from tfgmm.stats.mixture import rows_of_members
from tfgmm.stats.path_covariance import (
    Covariance,
    Residuals,
    covariance_by_distance,
    unique_events,
    unique_stations,
)

#: Relative error at which the conjugate gradients end, and largest number of their steps.
_TOLERANCE = 1e-3
_MAX_STEPS = 5000
#: Number of places whose covariances with all stations are held in memory at once.
_PLACES_AT_ONCE = 10_000


@dataclasses.dataclass(frozen=True)
class PathTerms:
    r"""Source and path terms as a Gaussian process of zero mean, given the training records.

    .. math:: E[\delta L2L_{e} + \delta P2P_{es}] = \sum_{e's'} a_{e's'} h_{ee'}
        (v_L + v_P g_{ss'} + v_O \delta_{ss'}), \quad a = C^{-1} r

    for an event e and a place s, summed over the training records, of events e' at stations s'. r are the
    residuals of the training records (observed ln IM minus predicted mean and site term), and C is the
    covariance matrix of r. `Covariance` defines the variances v, the correlation h of two hypocentres and
    the correlation g of two stations. The terms with :math:`v_L + v_P g` are the shared part: near stations
    have it in common. The term with :math:`v_O` is the own part, which belongs to one station alone.

    A member is one trained network, for a chunk of held-out sites and an initialisation. Each member has
    weights a of its own.

    Attributes
    ----------
    covariance : Covariance
        Covariance function of C, the same for all members.
    classes : pandas.DataFrame
        Covariances in classes of distance, to which `covariance` was fitted; result of
        `covariance_by_distance`.
    source_km : ndarray, [events, 3]
        Hypocentres of the training events: km east and north of the centre of the map, and depth in km.
    site_km : ndarray, [stations, 2]
        Stations of the training records: km east and north of the centre of the map.
    stations : ndarray of str, [stations]
        Station ids.
    members : ndarray of int, [members, 2]
        Chunk and initialisation of each member.
    weights : ndarray, [members, events, stations]
        Weights a, 1 / ln units; 0 where a member has no training record.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equation 2.25.
    """

    covariance: Covariance
    classes: pd.DataFrame
    source_km: np.ndarray
    site_km: np.ndarray
    stations: np.ndarray
    members: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, rows: pd.DataFrame, residual) -> Self:
        """Fit the covariance to the residuals of all members together, then the weights of each member.

        Parameters
        ----------
        rows : pandas.DataFrame, [n, ...]
            Training records, a row per record and member: ``chunk, init, event_id, station_id``,
            hypocentres as ``event_x_km, event_y_km, depth_km`` and stations as ``x_km, y_km`` (km).
        residual : array_like, [n]
            Observed ln IM minus predicted mean and site term, ln units; the event terms are still included.

        Returns
        -------
        PathTerms
            Covariance and weights.

        Raises
        ------
        DataError
            The equations of the weights cannot be solved.
        """
        residuals = Residuals.of(rows, residual)
        classes = covariance_by_distance(residuals)
        covariance = Covariance.fit(classes)
        return cls(
            covariance,
            classes,
            residuals.source_km,
            residuals.site_km,
            residuals.stations,
            residuals.members,
            _weights(covariance, residuals),
        )

    def shared(self, source_km, xy_km) -> np.ndarray:
        """Return the source terms plus the path terms that neighbouring stations share, in ln units.

        Parameters
        ----------
        source_km : array_like, [n, 3]
            Hypocentres: km east, north and down.
        xy_km : array_like, [..., 2]
            Places: km east and north of the centre of the map.

        Returns
        -------
        ndarray, [members, n, ...]
            Terms of every member, source and place, ln units.
        """
        xy_km = np.asarray(xy_km, float)
        near, flat = self._near(source_km), xy_km.reshape(-1, 2)
        blocks = np.array_split(flat, max(1, -(-len(flat) // _PLACES_AT_ONCE)))
        terms = [
            self.covariance.shared_term(near, self.covariance.site_correlation(self.site_km, block))
            for block in blocks
        ]
        term = np.concatenate(terms, axis=-1)
        return term.reshape(*term.shape[:2], *xy_km.shape[:-1])

    def own(self, source_km, stations) -> np.ndarray:
        """Return the part of the path terms that belongs to one station alone, ln units.

        Parameters
        ----------
        source_km : array_like, [n, 3]
            Hypocentres: km east, north and down.
        stations : array_like of str, [m]
            Station ids.

        Returns
        -------
        ndarray, [members, n, m]
            Terms of every member, source and station, ln units; 0 at a station without a training record of
            the member.
        """
        column = self.columns(stations)
        return self.covariance.own_term(np.where(column < 0, 0, self._near(source_km)[..., column]))

    def columns(self, stations) -> np.ndarray:
        """Return the index of each station id in the attribute `stations`.

        Parameters
        ----------
        stations : array_like of str, [m]
            Station ids.

        Returns
        -------
        ndarray of int, [m]
            Indices; -1 for a station without a training record.
        """
        return pd.Index(self.stations).get_indexer(pd.Index(np.asarray(stations, str)))

    def _near(self, source_km) -> np.ndarray:
        """Return the weights of the stations, summed over near events, [members, n, stations].

        An event counts by its correlation h with the source. `source_km`, [n, 3], are hypocentres in km.
        """
        near = self.covariance.source_correlation(np.asarray(source_km, float), self.source_km)
        return near @ self.weights

    def of_records(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the shared and the own part of the source and path terms of records.

        Parameters
        ----------
        rows : pandas.DataFrame, [n, ...]
            A row per record and member, with the columns for `fit`; the events have no training records.

        Returns
        -------
        shared : ndarray of float32, [n]
            Source terms plus the part of the path terms that neighbouring stations share, ln units.
        own : ndarray of float32, [n]
            The part of the path terms that belongs to one station alone, ln units.
        """
        shared, own = np.zeros((2, len(rows)), "float32")
        for member, chosen in rows_of_members(rows).items():
            records, terms = rows.iloc[chosen], self.of_members([member])
            (event, source_km), (station, site_km) = unique_events(records), unique_stations(records)
            ids = records["station_id"].drop_duplicates().to_numpy(str)
            shared[chosen] = terms.shared(source_km, site_km)[0, event, station]
            own[chosen] = terms.own(source_km, ids)[0, event, station]
        return shared, own

    def of_members(self, members: Iterable) -> Self:
        """Return the terms of some members alone, in the given order.

        Parameters
        ----------
        members : iterable of (int, int)
            Chunk and initialisation of each member.

        Returns
        -------
        PathTerms
            The same covariance, and the weights of these members.
        """
        chosen = [int(np.flatnonzero((self.members == member).all(axis=1))[0]) for member in members]
        return dataclasses.replace(self, members=self.members[chosen], weights=self.weights[chosen])


def _weights(covariance: Covariance, residuals: Residuals) -> np.ndarray:
    """Return the weights a = C^-1 r of every member, [members, events, stations], in 1 / ln units."""
    between_sources = covariance.source_correlation(residuals.source_km, residuals.source_km)
    between_sites = covariance.site_correlation(residuals.site_km, residuals.site_km)
    return np.stack(
        [
            _member_weights(covariance, residuals, member, between_sources, between_sites)
            for member in range(len(residuals.members))
        ]
    )


def _member_weights(
    covariance: Covariance,
    residuals: Residuals,
    member: int,
    between_sources: np.ndarray,
    between_sites: np.ndarray,
) -> np.ndarray:
    """Return the weights a = C^-1 r of one member, [events, stations], solved by conjugate gradients.

    C is never formed: with the records as a matrix of events and stations, C r is a few products of
    matrices.

    Parameters
    ----------
    covariance : Covariance
        Variances and ranges of C.
    residuals : Residuals
        Residuals of all members.
    member : int
        Index of the member.
    between_sources : ndarray, [events, events]
        Correlations h.
    between_sites : ndarray, [stations, stations]
        Correlations g.

    Raises
    ------
    DataError
        The conjugate gradients do not converge in `_MAX_STEPS` steps.
    """
    event, station = residuals.event[member], residuals.station[member]
    residual = residuals.residual[member]
    common = covariance.event + covariance.source
    single = covariance.own + covariance.path + covariance.within + covariance.noise
    event_share = common / (single + common * np.bincount(event))

    def times_covariance(values: np.ndarray) -> np.ndarray:
        """Return C times a vector: `values` has one value per record, and so has the product, [records]."""
        matrix = residuals.matrix(member, values)
        near = between_sources @ matrix
        near_sites = (covariance.path * near + covariance.within * matrix) @ between_sites
        everywhere = (covariance.source * near + covariance.event * matrix).sum(axis=1, keepdims=True)
        total = covariance.own * near + near_sites + everywhere
        return total[event, station] + covariance.noise * values

    def precondition(values: np.ndarray) -> np.ndarray:
        """Return an approximate inverse of C times values of the records, [records], as the preconditioner.

        In the approximation records of one event have a common part, and all else is independent
        (Sherman-Morrison).
        """
        event_sums = np.bincount(event, values, len(event_share))
        return (values - (event_share * event_sums)[event]) / single

    shape, kind = (len(residual), len(residual)), np.float32
    weight, unfinished = cg(
        LinearOperator(shape, times_covariance, dtype=kind),
        residual,
        rtol=_TOLERANCE,
        maxiter=_MAX_STEPS,
        M=LinearOperator(shape, precondition, dtype=kind),
    )
    if unfinished:
        raise DataError(
            f"source and path terms of {len(residual)} records: conjugate gradients do not converge in "
            f"{_MAX_STEPS} steps; look for wild values among the records (tfgmm describe)"
        )
    return residuals.matrix(member, weight)
