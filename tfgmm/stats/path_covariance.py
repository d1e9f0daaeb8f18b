"""Covariance of residuals of different events and stations: by distance, and the fitted function."""

import dataclasses
import functools
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize, nnls
from scipy.spatial.distance import cdist

from tfgmm.data.columns import SITE_XY, SOURCE_XY
from tfgmm.stats.mixture import rows_of_members

#: Borders in km of the classes of distance between sources and between stations.
SOURCE_CLASSES_KM = np.array([0, 1, 3, 6, 10, 15, 25, 40, 70, 100])
SITE_CLASSES_KM = np.array([0, 0.5, 2, 4, 7, 10, 15, 25, 40, 60])
#: Pairs that a class needs; more than the second number weigh no more: they are not independent.
PAIRS = 1_000, 30_000
#: Least and largest ranges of source and path terms, km.
RANGE_BOUNDS_KM = 2.0, 150.0
#: Least share of a single record's own variance: with less the equations of kriging cannot be solved.
_LEAST_NOISE = 0.05
#: Ranges of sources and sites, km, from which the search starts: the misfit may have more than one dip.
_STARTS_KM = ((8.0, 12.0), (30.0, 12.0), (20.0, 40.0))


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Residuals of the training records of all members from median and site term.

    Attributes
    ----------
    source_km : ndarray, [events, 3]
        Hypocentres: km east, north, down.
    site_km : ndarray, [stations, 2]
        Stations: km east, north.
    stations : ndarray of str, [stations]
        Station ids.
    members : ndarray of int, [members, 2]
        Chunk and init.
    event, station, residual : list of ndarray, [records]
        For each member: indices of its records in `source_km` and `site_km`, and residuals in ln units.
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
        """Arrange the residuals of a table of records by member.

        Parameters
        ----------
        rows : pandas.DataFrame
            ``chunk, init, event_id, station_id``, hypocentres as ``event_x_km, event_y_km, depth_km`` and
            stations as ``x_km, y_km``, a row per record and member.
        residual : array_like, [n]
            Residuals, ln units.
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
        """Return values of a member's records as a matrix, [events, stations], 0 where there is none."""
        whole = np.zeros((len(self.source_km), len(self.site_km)), "float32")
        whole[self.event[member], self.station[member]] = values
        return whole


def unique_events(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each row's event, [n], and the hypocentres of the events, [events, 3], km."""
    event, _ = pd.factorize(rows["event_id"].astype(str))
    return event, rows[[*SOURCE_XY, "depth_km"]].to_numpy(float)[~pd.Series(event).duplicated()]


def unique_stations(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each row's station, [n], and the places of the stations, [stations, 2], km."""
    station, _ = pd.factorize(rows["station_id"].astype(str))
    return station, rows[SITE_XY].to_numpy(float)[~pd.Series(station).duplicated()]


def covariance_by_distance(residuals: Residuals) -> pd.DataFrame:
    """Estimate the covariance of residuals of two records, in classes of source and station distance.

    Returns
    -------
    pandas.DataFrame
        A row per class: ``source_class`` and ``site_class`` (0: the same event or station, k: up to the
        k-th border after 0 of `SOURCE_CLASSES_KM` or `SITE_CLASSES_KM`), ``source_km`` and ``site_km``
        (mean distances of the pairs), ``pairs`` (each counted from both sides) and ``covariance``, the
        mean product. Classes without a pair are left out.
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
    """Return the sum of products of values of pairs of events in a class, for each pair of stations.

    Parameters
    ----------
    matrices : list of ndarray, [events, stations]
        Values of each member.
    alike : ndarray of bool, [events, events]
        True for the pairs in the class.
    """
    kind = alike.astype("float32")
    return functools.reduce(np.add, (matrix.T @ (kind @ matrix) for matrix in matrices))


def _classes(distance: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Return the class of each distance of a square matrix: 0 on its diagonal, else that of the borders."""
    return np.where(np.eye(len(distance), dtype=bool), 0, np.digitize(distance, borders))


@dataclasses.dataclass(frozen=True)
class Covariance:
    r"""Covariance of residuals from median and site term, of events e, e' at stations s, s'.

    .. math:: v_E \delta_{ee'} + v_L h + v_O h \delta_{ss'} + v_P h g + v_W \delta_{ee'} g
        + v_0 \delta_{ee'} \delta_{ss'}, \quad
        h = \exp(-|x_e - x_{e'}| / l_e), \; g = \exp(-|x_s - x_{s'}| / l_s)

    with hypocentres :math:`x_e` and stations :math:`x_s`. In the notation of Al Atik et al. (2010)
    :math:`v_L` is the variance of :math:`\delta L2L`, and :math:`v_O + v_P` that of :math:`\delta P2P`;
    neighbouring stations have the part with :math:`v_P` in common.

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
    def fit(cls, classes: pd.DataFrame) -> Self:
        """Fit variances and ranges to covariances in classes of distance, by weighted least squares.

        No variance is negative.

        Parameters
        ----------
        classes : pandas.DataFrame
            Result of `covariance_by_distance`. With fewer classes than variances and ranges, or
            without a covariance above 0, all is noise.
        """
        classes = classes[classes["pairs"] >= PAIRS[0]]
        if len(classes) < len(dataclasses.fields(cls)):
            return cls()
        weight = np.sqrt(np.minimum(classes["pairs"].to_numpy(), PAIRS[1]) / PAIRS[1])
        target = weight * classes["covariance"].to_numpy()

        def fitted(ln_ranges: np.ndarray) -> tuple[np.ndarray, float]:
            """Return the best variances for given ranges, and their misfit."""
            return nnls(_correlations(classes, *np.exp(ln_ranges)) * weight[:, np.newaxis], target)

        def misfit(ln_ranges: np.ndarray) -> float:
            """Return the misfit of the best variances for given ranges."""
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
        """Return the covariance in each class of distance, [n], of a table of `covariance_by_distance`."""
        variances = self.event, self.source, self.own, self.path, self.within, self.noise
        return _correlations(classes, self.source_km, self.site_km) @ np.array(variances)

    def source_correlation(self, source_km, other_source_km) -> np.ndarray:
        """Return the correlation h of hypocentres [n, 3] with hypocentres [m, 3], km, [n, m]."""
        distance = cdist(source_km, other_source_km).astype("float32")
        return correlation(distance, np.float32(self.source_km))

    def site_correlation(self, xy_km, other_xy_km) -> np.ndarray:
        """Return the correlation g of places [n, 2] with places [m, 2], km, [n, m]."""
        return correlation(cdist(xy_km, other_xy_km).astype("float32"), np.float32(self.site_km))

    def shared_term(self, near, site_correlation):
        """Return source terms plus the part of path terms that near stations share.

        Plain arithmetic, for NumPy arrays and tensors alike.

        Parameters
        ----------
        near : array or tensor, [..., stations]
            Weights of the stations, summed over the events near the sources.
        site_correlation : array or tensor, [stations, places]
            Correlation of the stations with the places.
        """
        return near @ (self.path * site_correlation + self.source)

    def own_term(self, near):
        """Return the part of path terms that a station shares with no other; for arrays and tensors."""
        return self.own * near


def correlation(distance_km, range_km, xp=np):
    """Return the correlation exp(-d / l) over distances d, for NumPy arrays and tensors alike.

    Parameters
    ----------
    distance_km : array or tensor
        d.
    range_km : float
        l.
    xp : module
        Where ``exp`` of these distances is: `numpy`, or ``tf.math`` for tensors.
    """
    return xp.exp(-distance_km / range_km)


def _correlations(classes: pd.DataFrame, source_km: float, site_km: float) -> np.ndarray:
    """Return the factors of the six variances of `Covariance` in each class of distance, [n, 6]."""
    same_event, same_station = (
        classes[name].eq(0).to_numpy(float) for name in ("source_class", "site_class")
    )
    h, g = np.exp(-classes["source_km"] / source_km), np.exp(-classes["site_km"] / site_km)
    parts = same_event, h, h * same_station, h * g, same_event * g, same_event * same_station
    return np.stack(parts, axis=-1)
