"""Source and path terms: what the records of near sources tell of other earthquakes."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize, nnls
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial.distance import cdist

from tfgmm.core.errors import DataError

#: Borders in km of the classes of distance between sources and between stations.
SOURCE_CLASSES_KM = np.array([0, 1, 3, 6, 10, 15, 25, 40, 70, 100])
SITE_CLASSES_KM = np.array([0, 0.5, 2, 4, 7, 10, 15, 25, 40, 60])
#: Pairs that a class needs; more than the second number weigh no more: they are not independent.
PAIRS = 1_000, 30_000
#: Within which the ranges in km are sought.
RANGE_BOUNDS_KM = 2.0, 150.0

#: Least share of a single record's own variance: with less the equations cannot be solved.
_LEAST_NOISE = 0.05
#: Relative error of the weights' equations.
_TOLERANCE = 1e-3
_MAX_STEPS = 5000
#: Places whose covariances with all stations are held in memory at once.
_PLACES_AT_ONCE = 10_000
_MEMBER = ["chunk", "init"]
_SOURCE, _SITE = ["event_x_km", "event_y_km", "depth_km"], ["x_km", "y_km"]


@dataclasses.dataclass(frozen=True)
class Covariance:
    r"""Covariance of what median and site term leave of the records of events e, e' at stations s, s'.

    .. math:: v_E \delta_{ee'} + v_L h + v_O h \delta_{ss'} + v_P h g + v_W \delta_{ee'} g
        + v_0 \delta_{ee'} \delta_{ss'}, \quad
        h = \exp(-|x_e - x_{e'}| / l_e), \; g = \exp(-|x_s - x_{s'}| / l_s)

    with hypocentres :math:`x_e` and stations :math:`x_s`: in the notation of Al Atik et al. (2010)
    :math:`v_L` is the variance of :math:`\delta L2L`, and :math:`v_O + v_P` that of :math:`\delta P2P`, of
    which neighbouring stations share the latter.

    Attributes
    ----------
    event, source, own, path, within, noise : float
        :math:`v_E, v_L, v_O, v_P, v_W, v_0`.
    source_km, site_km : float
        :math:`l_e, l_s`.

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
    def fit(cls, found: pd.DataFrame) -> Self:
        """By weighted least squares, the variances not negative.

        Parameters
        ----------
        found : pandas.DataFrame
            Of `by_distance`. From fewer classes than there are numbers to find, all is noise.
        """
        found = found[found["pairs"] >= PAIRS[0]]
        if len(found) < len(dataclasses.fields(cls)):
            return cls()
        weight = np.sqrt(np.minimum(found["pairs"].to_numpy(), PAIRS[1]) / PAIRS[1])
        target = weight * found["covariance"].to_numpy()

        def least(ln_ranges) -> tuple[np.ndarray, float]:
            return nnls(_shapes(found, *np.exp(ln_ranges)) * weight[:, np.newaxis], target)

        # From several beginnings: with little correlation the misfit has more than one dip.
        tries = [
            minimize(
                lambda ln_ranges: least(ln_ranges)[1],
                np.log(begin),
                method="Nelder-Mead",
                bounds=[np.log(RANGE_BOUNDS_KM)] * 2,
            )
            for begin in ((8.0, 12.0), (30.0, 12.0), (20.0, 40.0))
        ]
        best = min(tries, key=lambda one: one.fun).x
        variances, _ = least(best)
        variances[-1] = max(variances[-1], _LEAST_NOISE * variances.sum())
        return cls(*variances.tolist(), *np.exp(best).tolist())

    def at(self, found: pd.DataFrame) -> np.ndarray:
        """The covariance of pairs with the columns of `by_distance`, [n]."""
        variances = self.event, self.source, self.own, self.path, self.within, self.noise
        return _shapes(found, self.source_km, self.site_km) @ np.array(variances)

    def of_sources(self, one_km, other_km) -> np.ndarray:
        """Correlation h of hypocentres [n, 3] and [m, 3], [n, m]."""
        return correlation(cdist(one_km, other_km).astype("float32"), np.float32(self.source_km))

    def of_sites(self, one_km, other_km) -> np.ndarray:
        """Correlation g of places [n, 2] and [m, 2], [n, m]."""
        return correlation(cdist(one_km, other_km).astype("float32"), np.float32(self.site_km))

    def shared_term(self, near, g):
        """Return the terms of places that do not depend on the station, as `PathTerms` has them.

        Plain arithmetic, for NumPy arrays and tensors alike.

        Parameters
        ----------
        near : array or tensor, [..., stations]
            Weights summed over the events near the sources.
        g : array or tensor, [stations, places]
            Correlation of the stations with the places.
        """
        return near @ (self.path * g + self.source)

    def own_term(self, near):
        """Return the terms of single stations from `near` at them; for arrays and tensors alike."""
        return self.own * near


def correlation(distance_km, range_km: float, xp=np):
    """Return the correlation exp(-d / l) over distances d, for NumPy arrays and tensors alike.

    Parameters
    ----------
    distance_km : array or tensor
    range_km : float
        l.
    xp : module
        Where ``exp`` of these distances is: `numpy`, or ``tf.math`` for tensors.
    """
    return xp.exp(-distance_km / range_km)


def _shapes(pairs: pd.DataFrame, source_km: float, site_km: float) -> np.ndarray:
    """What the variances of `Covariance` are multiplied with, [n, 6]."""
    same_event, same_station = (
        pairs[name].eq(0).to_numpy(float) for name in ("source_class", "site_class")
    )
    h, g = np.exp(-pairs["source_km"] / source_km), np.exp(-pairs["site_km"] / site_km)
    parts = same_event, h, h * same_station, h * g, same_event * g, same_event * same_station
    return np.stack(parts, axis=-1)


@dataclasses.dataclass(frozen=True)
class Residuals:
    """What median and site term leave of the records that trained, of all members.

    Attributes
    ----------
    source_km : ndarray, [events, 3]
        Hypocentres: km east, north, down.
    site_km : ndarray, [stations, 2]
    stations : ndarray of str, [stations]
    members : ndarray of int, [members, 2]
        Chunk and init.
    event, station, residual : list of ndarray
        Of each member: indices of its records, and their residuals in ln units.
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
        """From a table with ``chunk, init, event_id, station_id`` and the places of both."""
        (event, source_km), (station, site_km) = _events(rows), _stations(rows)
        of_member = rows.groupby(_MEMBER, observed=True).indices
        values = event, station, np.asarray(residual, "float32")
        return cls(
            source_km,
            site_km,
            rows["station_id"].drop_duplicates().to_numpy(str),
            np.array([*of_member], int),
            *([one[chosen] for chosen in of_member.values()] for one in values),
        )

    def matrix(self, member: int, values) -> np.ndarray:
        """Values of a member's records, [events, stations]; 0 where it has none."""
        whole = np.zeros((len(self.source_km), len(self.site_km)), "float32")
        whole[self.event[member], self.station[member]] = values
        return whole


def by_distance(residuals: Residuals) -> pd.DataFrame:
    """Empirical covariance of the residuals of two records, in classes of the distances.

    Returns
    -------
    pandas.DataFrame
        A row a class: ``source_class`` and ``site_class`` (0: the same event or station, k: up to the k-th
        of `SOURCE_CLASSES_KM` or `SITE_CLASSES_KM` after 0), ``source_km`` and ``site_km`` (means of the
        pairs), ``pairs`` (each counted from both sides) and ``covariance``, the mean product. Classes
        without a pair are left out.
    """
    between_sources, between_sites = (cdist(km, km) for km in (residuals.source_km, residuals.site_km))
    source_class, site_class = (
        np.where(np.eye(len(distance), dtype=bool), 0, np.digitize(distance, borders))
        for distance, borders in (
            (between_sources, SOURCE_CLASSES_KM),
            (between_sites, SITE_CLASSES_KM),
        )
    )
    # From the last border on, of no class.
    count = len(SITE_CLASSES_KM)
    inside = site_class < count
    of_class = site_class[inside]
    known = [residuals.matrix(member, 1) for member in range(len(residuals.members))]
    values = [residuals.matrix(member, one) for member, one in enumerate(residuals.residual)]
    together = sum(np.outer(one.sum(axis=1), one.sum(axis=1)) for one in known)
    classes = []
    for number in range(len(SOURCE_CLASSES_KM)):
        alike = source_class == number
        pairs, products = (
            sum(one.T @ (alike.astype("float32") @ one) for one in matrices)[inside].astype(float)
            for matrices in (known, values)
        )
        of_sites = np.bincount(of_class, pairs, count)
        weight = together[alike].sum()
        with np.errstate(invalid="ignore"):
            table = {
                "source_class": number,
                "site_class": np.arange(count),
                "source_km": (together * between_sources)[alike].sum() / weight if weight else np.nan,
                "site_km": np.bincount(of_class, pairs * between_sites[inside], count) / of_sites,
                "pairs": of_sites,
                "covariance": np.bincount(of_class, products, count) / of_sites,
            }
        classes.append(pd.DataFrame(table))
    found = pd.concat(classes, ignore_index=True)
    return found[found["pairs"] > 0].reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class PathTerms:
    r"""Source and path terms as a Gaussian process of zero mean, given the records that trained.

    .. math:: E[\delta L2L_{e} + \delta P2P_{es}] = \sum_{e's'} a_{e's'} h_{ee'}
        (v_L + v_P g_{ss'} + v_O \delta_{ss'}), \quad a = C^{-1} r

    Attributes
    ----------
    covariance : Covariance
        C, of all members.
    classes : pandas.DataFrame
        What it was fitted to, of `by_distance`.
    source_km : ndarray, [events, 3]
    site_km : ndarray, [stations, 2]
    stations : ndarray of str, [stations]
    members : ndarray of int, [members, 2]
        Chunk and init.
    weights : ndarray, [members, events, stations]
        a, 0 where there is no record.

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
        """Variances and ranges from all members together, weights for each.

        Parameters
        ----------
        rows : pandas.DataFrame
            Records that trained, of all members: ``chunk, init, event_id, station_id``, hypocentres as
            ``event_x_km, event_y_km, depth_km`` and stations as ``x_km, y_km``.
        residual : array_like, [n]
            What median and site term leave of them, ln units: event terms are in it.
        """
        residuals = Residuals.of(rows, residual)
        classes = by_distance(residuals)
        covariance = Covariance.fit(classes)
        where = residuals.source_km, residuals.site_km, residuals.stations, residuals.members
        return cls(covariance, classes, *where, _weights(covariance, residuals))

    def shared(self, source_km, xy_km) -> np.ndarray:
        """Terms that do not depend on the station, [members, n, ...].

        Parameters
        ----------
        source_km : array_like, [n, 3]
            Hypocentres: km east, north, down.
        xy_km : array_like, [..., 2]
        """
        xy_km = np.asarray(xy_km, float)
        of_source, flat = self._of_sources(source_km), xy_km.reshape(-1, 2)
        blocks = np.array_split(flat, max(1, -(-len(flat) // _PLACES_AT_ONCE)))
        shared, of_sites = self.covariance.shared_term, self.covariance.of_sites
        terms = [shared(of_source, of_sites(self.site_km, block)) for block in blocks]
        term = np.concatenate(terms, axis=-1)
        return term.reshape(*term.shape[:2], *xy_km.shape[:-1])

    def own(self, source_km, stations) -> np.ndarray:
        """Terms of stations alone, [members, n, m]; 0 of those that a member does not know.

        Parameters
        ----------
        source_km : array_like, [n, 3]
        stations : array_like of str, [m]
        """
        column = self.columns(stations)
        return self.covariance.own_term(np.where(column < 0, 0, self._of_sources(source_km)[..., column]))

    def columns(self, stations) -> np.ndarray:
        """Where stations stand in `stations`, [m]; -1 of those that do not."""
        return pd.Index(self.stations).get_indexer(np.asarray(stations, str))

    def _of_sources(self, source_km) -> np.ndarray:
        """Weights summed over the events near sources, [members, n, stations]."""
        return self.covariance.of_sources(np.asarray(source_km, float), self.source_km) @ self.weights

    def of_records(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Shared and own terms of a table's records, of any members, [n] each.

        Parameters
        ----------
        rows : pandas.DataFrame
            As for `fit`, of events whose records the members do not know.
        """
        found = np.zeros((2, len(rows)), "float32")
        for member, of_member in rows.groupby(_MEMBER, observed=True).indices.items():
            chosen, known = rows.iloc[of_member], self.of_members([member])
            (event, source_km), (station, site_km) = _events(chosen), _stations(chosen)
            ids = chosen["station_id"].drop_duplicates().to_numpy(str)
            found[0, of_member] = known.shared(source_km, site_km)[0, event, station]
            found[1, of_member] = known.own(source_km, ids)[0, event, station]
        return found[0], found[1]

    def of_members(self, members) -> Self:
        """The same for some members, in their order.

        Parameters
        ----------
        members : iterable of (chunk, init)
        """
        chosen = [int(np.flatnonzero((self.members == one).all(axis=1))[0]) for one in members]
        return dataclasses.replace(self, members=self.members[chosen], weights=self.weights[chosen])


def _events(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which event every row has, [n], and their hypocentres, [events, 3]."""
    event, _ = pd.factorize(rows["event_id"].astype(str))
    return event, rows[_SOURCE].to_numpy(float)[~pd.Series(event).duplicated()]


def _stations(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which station every row has, [n], and their places, [stations, 2]."""
    station, _ = pd.factorize(rows["station_id"].astype(str))
    return station, rows[_SITE].to_numpy(float)[~pd.Series(station).duplicated()]


def _weights(covariance: Covariance, residuals: Residuals) -> np.ndarray:
    """Weights a = C^-1 r of every member, [members, events, stations], by conjugate gradients.

    C is never formed: with records as a matrix of events and stations, it is a few products of matrices.
    """
    of_sources = covariance.of_sources(residuals.source_km, residuals.source_km)
    of_sites = covariance.of_sites(residuals.site_km, residuals.site_km)
    common = covariance.event + covariance.source
    rest = covariance.own + covariance.path + covariance.within + covariance.noise
    found = []
    for member, residual in enumerate(residuals.residual):
        event, station = residuals.event[member], residuals.station[member]
        of_event = common / (rest + common * np.bincount(event))

        def times(x, member=member, event=event, station=station):
            one = residuals.matrix(member, x)
            near = of_sources @ one
            near_sites = (covariance.path * near + covariance.within * one) @ of_sites
            everywhere = (covariance.source * near + covariance.event * one).sum(axis=1, keepdims=True)
            total = covariance.own * near + near_sites + everywhere
            return total[event, station] + covariance.noise * x

        def nearly_inverse(x, event=event, of_event=of_event):
            """Of the event terms and what is left, without correlation (Sherman-Morrison)."""
            return (x - (of_event * np.bincount(event, x, len(of_event)))[event]) / rest

        shape, kind = (len(residual), len(residual)), np.float32
        weight, steps = cg(
            LinearOperator(shape, times, dtype=kind),
            residual,
            rtol=_TOLERANCE,
            maxiter=_MAX_STEPS,
            M=LinearOperator(shape, nearly_inverse, dtype=kind),
        )
        if steps:
            raise DataError(
                f"source and path terms of {len(residual)} records: conjugate gradients do not converge in "
                f"{_MAX_STEPS} steps; look for wild values among the records (tfgmm describe)"
            )
        found.append(residuals.matrix(member, weight))
    return np.stack(found)
