"""Source and path terms: their covariance, and kriging to new earthquakes and places.

The two distances of a pair of records are those between the hypocentres and between the stations.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize, nnls
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial.distance import cdist

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import SITE_XY, SOURCE_XY
from tfgmm.stats.field_covariance import correlation
from tfgmm.stats.mixture import rows_of_members

#: Borders of the classes of distance between hypocentres and between stations, km.
SOURCE_CLASSES_KM = np.array([0, 1, 3, 6, 10, 15, 25, 40, 70, 100])
SITE_CLASSES_KM = np.array([0, 0.5, 2, 4, 7, 10, 15, 25, 40, 60])
#: Smallest number of pairs of a class that is used, and number of pairs from which a larger number gives
#: no more weight: the pairs are not independent.
PAIRS = 1_000, 30_000
#: Lower and upper bound of the ranges of source and path terms, km.
RANGE_BOUNDS_KM = 2.0, 150.0
#: Smallest share of the noise (variance of a single record) in the total variance: with a smaller share the
#: equations of kriging cannot be solved.
_LEAST_NOISE = 0.05
#: Ranges of sources and stations, km, from which the search starts: the misfit may have several minima.
_STARTS_KM = ((8.0, 12.0), (30.0, 12.0), (20.0, 40.0))


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Residuals of the training records of all members, observed ln IM minus predicted mean and site term.

    A member is one trained network, identified by the chunk of held-out sites and the initialisation of
    the weights. The event terms are still in the residuals.

    Attributes
    ----------
    source_km : ndarray, [events, 3]
        Hypocentres: km east and north of the centre of the map, and depth in km.
    site_km : ndarray, [stations, 2]
        Stations: km east and north of the centre of the map.
    stations : ndarray of str, [stations]
        Station ids.
    members : ndarray of int, [members, 2]
        Chunk and initialisation of each member.
    event : list of ndarray of int, [records]
        For each member, the row in `source_km` of each of its records.
    station : list of ndarray of int, [records]
        For each member, the row in `site_km` of each of its records.
    residual : list of ndarray of float32, [records]
        For each member, the residuals of its records, ln units.
    """

    source_km: np.ndarray
    site_km: np.ndarray
    stations: np.ndarray
    members: np.ndarray
    event: list[np.ndarray]
    station: list[np.ndarray]
    residual: list[np.ndarray]

    @classmethod
    def of(cls, rows: pd.DataFrame, residual) -> Self:
        """Return the residuals of a table of records, arranged by member.

        Parameters
        ----------
        rows : pandas.DataFrame, [n, ...]
            A row per record and member: ``chunk, init, event_id, station_id``; hypocentres as ``event_x_km,
            event_y_km, depth_km`` and stations as ``x_km, y_km`` (km).
        residual : array_like, [n]
            Residuals, ln units.

        Returns
        -------
        Residuals
            Residuals with the hypocentres and stations of the table.
        """
        (event, source_km), (station, site_km) = unique_events(rows), unique_stations(rows)
        members = rows_of_members(rows)
        values = event, station, np.asarray(residual, "float32")
        return cls(
            source_km,
            site_km,
            rows["station_id"].drop_duplicates().to_numpy(str),
            np.array([*members], int),
            *([column[chosen] for chosen in members.values()] for column in values),
        )

    def matrix(self, member: int, values) -> np.ndarray:
        """Return values of a member's records as a matrix, zero where a station has no record of an event.

        Parameters
        ----------
        member : int
            Index of the member in `members`.
        values : float or array_like, [records]
            Values of the records of the member.

        Returns
        -------
        ndarray of float32, [events, stations]
            Values by event and station.
        """
        whole = np.zeros((len(self.source_km), len(self.site_km)), "float32")
        whole[self.event[member], self.station[member]] = values
        return whole


def unique_events(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the event index of each row of a table, and the hypocentres of its events.

    Parameters
    ----------
    rows : pandas.DataFrame, [n, ...]
        A row per record: ``event_id, event_x_km, event_y_km, depth_km`` (km).

    Returns
    -------
    event : ndarray of int, [n]
        Index of the event of each row.
    source_km : ndarray, [events, 3]
        Hypocentres: km east and north of the centre of the map, and depth in km.
    """
    event, _ = pd.factorize(rows["event_id"].astype(str))
    return event, rows[[*SOURCE_XY, "depth_km"]].to_numpy(float)[~pd.Series(event).duplicated()]


def unique_stations(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the station index of each row of a table, and the places of its stations.

    Parameters
    ----------
    rows : pandas.DataFrame, [n, ...]
        A row per record: ``station_id, x_km, y_km`` (km).

    Returns
    -------
    station : ndarray of int, [n]
        Index of the station of each row.
    site_km : ndarray, [stations, 2]
        Stations: km east and north of the centre of the map.
    """
    station, _ = pd.factorize(rows["station_id"].astype(str))
    return station, rows[SITE_XY].to_numpy(float)[~pd.Series(station).duplicated()]


def covariance_by_distance(residuals: Residuals) -> pd.DataFrame:
    r"""Estimate the covariance of the residuals of two records, in classes of source and station distance.

    .. math:: \hat C_{kl} = \overline{r_{es} r_{e's'}}

    over all pairs of records of the same member whose source distance is in class k and whose station
    distance is in class l.

    Parameters
    ----------
    residuals : Residuals
        Residuals of all members, of zero mean.

    Returns
    -------
    pandas.DataFrame
        A row per class: ``source_class`` and ``site_class`` (0: the same event or station; k:
        ``borders[k - 1] <= distance < borders[k]`` of `SOURCE_CLASSES_KM` or `SITE_CLASSES_KM`),
        ``source_km`` and ``site_km`` (mean distances of the pairs), ``pairs`` (both orders counted) and
        ``covariance``, squared ln units. The class 0, 0 is a record with itself: the variance. Classes
        without a pair are left out.
    """
    source_distance, site_distance = (cdist(km, km) for km in (residuals.source_km, residuals.site_km))
    source_class = _classes(source_distance, SOURCE_CLASSES_KM)
    site_class = _classes(site_distance, SITE_CLASSES_KM)
    # Beyond the last border there is no class.
    count = len(SITE_CLASSES_KM)
    inside = site_class < count
    site_class_of_pair = site_class[inside]
    known = [residuals.matrix(member, 1) for member in range(len(residuals.members))]
    values = [residuals.matrix(member, residual) for member, residual in enumerate(residuals.residual)]
    records = [mask.sum(axis=1) for mask in known]
    together = functools.reduce(np.add, (np.outer(number, number) for number in records))
    tables = []
    for number in range(len(SOURCE_CLASSES_KM)):
        alike = source_class == number
        pairs, products = (
            _sum_over_pairs(matrices, alike)[inside].astype(float) for matrices in (known, values)
        )
        pairs_of_class = np.bincount(site_class_of_pair, pairs, count)
        weight = together[alike].sum()
        with np.errstate(invalid="ignore"):
            table = {
                "source_class": number,
                "site_class": np.arange(count),
                "source_km": (together * source_distance)[alike].sum() / weight if weight else np.nan,
                "site_km": np.bincount(site_class_of_pair, pairs * site_distance[inside], count)
                / pairs_of_class,
                "pairs": pairs_of_class,
                "covariance": np.bincount(site_class_of_pair, products, count) / pairs_of_class,
            }
        tables.append(pd.DataFrame(table))
    classes = pd.concat(tables, ignore_index=True)
    return classes[classes["pairs"] > 0].reset_index(drop=True)


def _sum_over_pairs(matrices: list[np.ndarray], alike: np.ndarray) -> np.ndarray:
    """Return sums of products over the event pairs of a class, for each station pair, [stations, stations].

    Parameters
    ----------
    matrices : list of ndarray, [events, stations]
        Values of each member.
    alike : ndarray of bool, [events, events]
        True for the pairs of events in the class.
    """
    kind = alike.astype("float32")
    return functools.reduce(np.add, (matrix.T @ (kind @ matrix) for matrix in matrices))


def _classes(distance: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Return the class of each distance in a square matrix: 0 on the diagonal, 1 and more elsewhere.

    Class k holds ``borders[k - 1] <= distance < borders[k]`` (km). From the last border on, the class is
    the number of borders.
    """
    return np.where(np.eye(len(distance), dtype=bool), 0, np.digitize(distance, borders))


@dataclasses.dataclass(frozen=True)
class Covariance:
    r"""Covariance of the residuals of two records, of events e, e' at stations s, s'.

    .. math:: v_E \delta_{ee'} + v_L h + v_O h \delta_{ss'} + v_P h g + v_W \delta_{ee'} g
        + v_0 \delta_{ee'} \delta_{ss'}, \quad
        h = \exp(-|x_e - x_{e'}| / l_e), \; g = \exp(-|x_s - x_{s'}| / l_s)

    The residuals are observed ln IM minus the predicted mean and site term. :math:`x_e` are hypocentres
    and :math:`x_s` stations. In the notation of Al Atik et al. (2010), :math:`v_E` belongs to the event
    term, :math:`v_L` is the variance of the source term :math:`\delta L2L`, and :math:`v_O + v_P` that of
    the path term :math:`\delta P2P`. Neighbouring stations share the part with :math:`v_P`; the part with
    :math:`v_O` belongs to one station alone. :math:`v_W` is the variance that stations near each other
    share within one event, and :math:`v_0` that of a single record.

    Attributes
    ----------
    event, source, own, path, within, noise : float
        Variances :math:`v_E, v_L, v_O, v_P, v_W, v_0`, squared ln units.
    source_km, site_km : float
        Ranges :math:`l_e, l_s`, km.

    References
    ----------
    Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
    Landwehr, Kuehn, Scheffer & Abrahamson (2016), Bull. Seismol. Soc. Am. 106(6), 2574-2583, for spatial
    correlation of such terms.
    """

    event: float = 0.0
    source: float = 0.0
    own: float = 0.0
    path: float = 0.0
    within: float = 0.0
    noise: float = 1.0
    source_km: float = RANGE_BOUNDS_KM[0]
    site_km: float = RANGE_BOUNDS_KM[0]

    @classmethod
    def fit(cls, classes: pd.DataFrame) -> Self:
        """Fit the variances and ranges of a covariance function, none negative, by weighted least squares.

        A class weighs by its number of pairs, up to `PAIRS`.

        Parameters
        ----------
        classes : pandas.DataFrame
            Result of `covariance_by_distance`. Classes with fewer pairs than the first number of `PAIRS`
            are not used.

        Returns
        -------
        Covariance
            The fitted function. With fewer usable classes than variances and ranges (8), or without a
            positive covariance, the noise :math:`v_0` is 1 and all other variances are 0.
        """
        classes = classes[classes["pairs"] >= PAIRS[0]]
        if len(classes) < len(dataclasses.fields(cls)):
            return cls()
        weight = np.sqrt(np.minimum(classes["pairs"].to_numpy(), PAIRS[1]) / PAIRS[1])
        target = weight * classes["covariance"].to_numpy()

        def fitted(ln_ranges: np.ndarray) -> tuple[np.ndarray, float]:
            """Return the best six variances (squared ln units) for given ranges, [6], and the misfit.

            `ln_ranges`, [2], are ln of the ranges of sources and of stations in km.
            """
            return nnls(_correlations(classes, *np.exp(ln_ranges)) * weight[:, np.newaxis], target)

        def misfit(ln_ranges: np.ndarray) -> float:
            """Return the misfit of the best variances for given ranges, `ln_ranges` as for `fitted`."""
            return fitted(ln_ranges)[1]

        bounds = [(float(np.log(RANGE_BOUNDS_KM[0])), float(np.log(RANGE_BOUNDS_KM[1])))] * 2
        searches = [
            minimize(misfit, np.log(start), method="Nelder-Mead", bounds=bounds) for start in _STARTS_KM
        ]
        best = min(searches, key=lambda search: search.fun).x
        variances, _ = fitted(best)
        if not variances.any():  # the covariances are all negative
            return cls()
        variances[-1] = max(variances[-1], _LEAST_NOISE * variances.sum())
        return cls(*variances.tolist(), *np.exp(best).tolist())

    def at(self, classes: pd.DataFrame) -> np.ndarray:
        """Return the covariance of two records in each class of distance.

        Parameters
        ----------
        classes : pandas.DataFrame, [n, ...]
            Result of `covariance_by_distance`.

        Returns
        -------
        ndarray, [n]
            Covariances, squared ln units.
        """
        variances = self.event, self.source, self.own, self.path, self.within, self.noise
        return _correlations(classes, self.source_km, self.site_km) @ np.array(variances)

    def source_correlation(self, source_km, other_source_km) -> np.ndarray:
        r"""Return the correlation h of one set of hypocentres with another set.

        Parameters
        ----------
        source_km : array_like, [n, 3]
            Hypocentres: km east, north and down.
        other_source_km : array_like, [m, 3]
            Other hypocentres.

        Returns
        -------
        ndarray of float32, [n, m]
            Correlations :math:`\exp(-d / l_e)`.
        """
        distance = cdist(source_km, other_source_km).astype("float32")
        return correlation(distance, np.float32(self.source_km))

    def site_correlation(self, xy_km, other_xy_km) -> np.ndarray:
        r"""Return the correlation g of one set of places with another set.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Places: km east and north.
        other_xy_km : array_like, [m, 2]
            Other places.

        Returns
        -------
        ndarray of float32, [n, m]
            Correlations :math:`\exp(-d / l_s)`.
        """
        return correlation(cdist(xy_km, other_xy_km).astype("float32"), np.float32(self.site_km))

    def shared_term(self, near, site_correlation):
        r"""Return the source terms plus the part of the path terms that neighbouring stations share.

        .. math:: \sum_s w_s (v_L + v_P g_{s p})

        for the weights w of the stations s and the place p. The computation is plain arithmetic, for NumPy
        arrays and tensors alike.

        Parameters
        ----------
        near : array or tensor, [..., stations]
            Weights w of the stations, summed over the events near the sources.
        site_correlation : array or tensor, [stations, places]
            Correlation g of the stations with the places.

        Returns
        -------
        array or tensor, [..., places]
            Source terms plus shared path terms, ln units.
        """
        return near @ (self.path * site_correlation + self.source)

    def own_term(self, near):
        """Return the part of the path terms that belongs to one station alone, v_O w, ln units.

        Parameters
        ----------
        near : array or tensor, [..., stations]
            Weights w of the stations, summed over the events near the sources.

        Returns
        -------
        array or tensor, [..., stations]
            Path terms of the single stations, ln units.
        """
        return self.own * near


def _correlations(classes: pd.DataFrame, source_km: float, site_km: float) -> np.ndarray:
    """Return the factors of the six variances of `Covariance` in each class of distance, [n, 6].

    `classes` is a result of `covariance_by_distance`; `source_km` and `site_km` are the ranges in km.
    """
    same_event, same_station = (
        classes[name].eq(0).to_numpy(float) for name in ("source_class", "site_class")
    )
    h, g = np.exp(-classes["source_km"] / source_km), np.exp(-classes["site_km"] / site_km)
    parts = same_event, h, h * same_station, h * g, same_event * g, same_event * same_station
    return np.stack(parts, axis=-1)


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
