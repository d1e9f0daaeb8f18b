"""Empirical site terms, estimated without any network, and the errors of maps between stations."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.spatial import KDTree
from threadpoolctl import threadpool_limits

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import TRAINING, VALIDATION, training_records
from tfgmm.runs.folds import Fold
from tfgmm.site_amplification.estimate import Estimate
from tfgmm.stats import ergodic, kriging

#: Bounds of the fitted parameters of an interpolation variance: length, km; variances, squared ln units.
LENGTH_BOUNDS_KM = 1.0, 100.0
VARIANCE_BOUNDS = 1e-6, 10.0
#: Smallest number of sites to which an interpolation variance can be fitted.
MIN_SITES = 5


@dataclasses.dataclass(frozen=True, eq=False)
class SiteTerms:
    r"""Empirical site terms from the ergodic mixed-effects fit to all records.

    Attributes
    ----------
    model : ErgodicModel
        The fitted model.
    records : pandas.DataFrame
        The records with ``residual``: ln IM minus the ergodic median and the event term, ln units.
    table : pandas.DataFrame
        By ``site_id``: ``site_term``, the best linear unbiased prediction (shrunken towards zero), ln
        units; ``site_mean``, the mean residual (not shrunken), ln units; ``site_mean_variance``,
        :math:`\phi_{SS}^2 / n`, squared ln units; ``site_records``, the number n of records.
    """

    model: ergodic.ErgodicModel
    records: pd.DataFrame
    table: pd.DataFrame

    @classmethod
    def fit(cls, records: pd.DataFrame) -> Self:
        """Fit the ergodic model to records, and return the site terms.

        Parameters
        ----------
        records : pandas.DataFrame
            ``event_id, site_id``; ``magnitude`` (Mw); ``depth_km``; ``r_hyp_km``, the hypocentral distance;
            ``ln_im``, ln of IM in g; ``x_km, y_km``, the position of the station, km east and north of the
            map's centre.

        Returns
        -------
        SiteTerms

        Raises
        ------
        DataError
            The records do not suffice for `tfgmm.stats.ergodic.fit`.

        References
        ----------
        Al Atik et al. (2010), Seismol. Res. Lett. 81(5), 794-801.
        """
        model = ergodic.fit(records)
        event_term = model.event_terms.reindex(records["event_id"]).to_numpy()
        residual = records["ln_im"] - model.median_of(records) - event_term
        by_site = residual.groupby(records["site_id"])
        count = by_site.size()
        table = pd.DataFrame(
            {
                "site_term": model.site_terms.reindex(count.index),
                "site_mean": by_site.mean(),
                "site_mean_variance": model.phi_ss**2 / count,
                "site_records": count,
            }
        )
        return cls(model, records.assign(residual=residual), table)

    def kriged(self) -> kriging.KrigedSites:
        """Krige the site terms, and return the kriging model, which uses records and distances alone.

        Returns
        -------
        KrigedSites
            Model of the site terms, ln units, at any place.
        """
        return kriging.fit(self.records, self.records["residual"], self.model.phi_ss)


def correlation(first, second) -> float:
    """Return Pearson's r of the pairs in which both values are known; NaN for fewer than three pairs.

    Parameters
    ----------
    first, second : array_like, [n]
        The values; NaN where unknown.

    Returns
    -------
    float

    >>> round(correlation([1, 2, 3, np.nan], [2, 4, 7, 1]), 3)
    0.993
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    known = np.isfinite(first + second)
    return float(np.corrcoef(first[known], second[known])[0, 1]) if known.sum() > 2 else float("nan")


# ---- stations beside the maps --------------------------------------------------------------------


def trained_stations(records: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    """Return the stations that have training records in at least one fold, and count these records.

    A fold is the assignment of roles to events and stations while one chunk of sites is held out. A record
    is a training record of a fold if both its event and its station have the role training.

    Parameters
    ----------
    records : pandas.DataFrame
        ``event_id, station_id``; ``x_km, y_km``, km east and north of the map's centre; a row per record.
    folds : sequence of Fold
        Folds of the run, one per chunk.

    Returns
    -------
    pandas.DataFrame
        One row per station: ``station_id``; ``x_km, y_km``, km east and north of the map's centre;
        ``records``, the number of records that train in at least one fold.
    """
    columns = ["event_id", "station_id", "x_km", "y_km"]
    rows = [training_records(fold.roles(records))[columns] for fold in folds]
    by_station = pd.concat(rows).drop_duplicates(columns[:2]).groupby("station_id")
    return by_station[["x_km", "y_km"]].first().assign(records=by_station.size()).reset_index()


def held_out(stations: pd.DataFrame, folds: Sequence[Fold], reference: str) -> pd.DataFrame:
    """Return the stations of the reference network, each with the fold in which it is a validation station.

    Parameters
    ----------
    stations : pandas.DataFrame
        ``station_id, network``; ``x_km, y_km``, km east and north of the map's centre; further columns are
        kept.
    folds : sequence of Fold
        Folds of the run, one per chunk.
    reference : str
        Name of the reference network.

    Returns
    -------
    pandas.DataFrame
        Rows of `stations` with ``chunk``, the number of the fold, and ``nearest_km``, the distance to the
        nearest training station of the fold, km.
    """
    parts = []
    for fold in folds:
        role = stations["station_id"].map(fold.station_role)
        held = stations[(role == VALIDATION) & (stations["network"] == reference)]
        trained = KDTree(stations.loc[role == TRAINING, ["x_km", "y_km"]])
        parts.append(held.assign(chunk=fold.chunk, nearest_km=trained.query(held[["x_km", "y_km"]])[0]))
    return pd.concat(parts, ignore_index=True)


# ---- errors of maps between stations --------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class InterpolationVariance:
    r"""Variance of the errors of a map at sites without training records, as a function of distance.

    .. math:: \bar r_s - A(x_s) \sim N(m, \; \kappa_s^2 + n^2 + v(d_s)), \quad v(d) = b^2 (1 - e^{-d / L})

    with the site's event-corrected mean residual :math:`\bar r_s`, the map A of networks that were trained
    without records of the site, the distance d of the site from the nearest training station, the known
    variance :math:`\kappa_s^2` (sampling of :math:`\bar r_s`, random initialisation of the networks,
    jackknife), the standard deviation n of the nugget (the part of a site term that no neighbouring site
    shares, and no map shows), and a shift m.

    Attributes
    ----------
    far : float
        b, standard deviation of the map's error far from all training stations, ln units.
    length_km : float
        L, distance at which :math:`v` has reached 63 % of :math:`b^2`, km.
    alone : float
        n, standard deviation of the nugget, ln units.
    """

    far: float
    length_km: float
    alone: float

    def variance(self, distance_km) -> np.ndarray:
        """Return the variance v of the map's error, without nugget, at distances from training stations.

        Parameters
        ----------
        distance_km : array_like, [...]
            Distance d to the nearest training station, km.

        Returns
        -------
        ndarray, [...]
            Squared ln units.
        """
        return self.far**2 * -np.expm1(-np.asarray(distance_km, float) / self.length_km)

    @classmethod
    def fit(cls, distance_km, error, known_variance, alone: float | None = None) -> Self:
        r"""Fit the variance to errors at sites by maximum likelihood; the shift m is profiled out.

        Parameters
        ----------
        distance_km : array_like, [site]
            Distance d to the nearest training station, km.
        error : array_like, [site]
            Mean residual of the site minus map, ln units.
        known_variance : array_like, [site]
            :math:`\kappa_s^2`, squared ln units.
        alone : float, optional
            n, if known, for example from kriging, ln units. Otherwise n is fitted too, which needs sites at
            distances well below L.

        Returns
        -------
        InterpolationVariance

        Raises
        ------
        DataError
            There are fewer than `MIN_SITES` sites, or a value is missing.
        """
        d, e, known = (np.asarray(a, float) for a in (distance_km, error, known_variance))
        if len(e) < MIN_SITES or not np.isfinite([d, e, known]).all():
            raise DataError(
                f"the interpolation variance needs at least {MIN_SITES} held-out sites with known values, "
                f"there are {int(np.isfinite(d + e + known).sum())}: bring more stations"
            )

        def from_logs(logs: np.ndarray) -> InterpolationVariance:
            far, length, *fitted_alone = np.exp(logs)
            own = float(np.sqrt(fitted_alone[0])) if fitted_alone else alone
            return cls(float(np.sqrt(far)), float(length), own)

        def minus_likelihood(logs: np.ndarray) -> float:
            trial = from_logs(logs)
            variance = known + trial.alone**2 + trial.variance(d)
            shift = np.average(e, weights=1 / variance)
            return np.sum(np.log(variance) + (e - shift) ** 2 / variance)

        bounds = np.log([VARIANCE_BOUNDS, LENGTH_BOUNDS_KM, *([VARIANCE_BOUNDS] if alone is None else [])])
        half = max(e.var() / 2, 2 * VARIANCE_BOUNDS[0])
        starts = (np.log([half, length, half][: len(bounds)]) for length in (3.0, 10.0, 30.0))
        # Threads gain nothing here, and lose much while other work holds the processor.
        with threadpool_limits(1, "blas"):
            optima = [
                minimize(minus_likelihood, start, method="L-BFGS-B", bounds=bounds) for start in starts
            ]
        return from_logs(min(optima, key=lambda optimum: optimum.fun).x)


def interpolation_variance(
    estimate: Estimate, held: pd.DataFrame, terms: pd.DataFrame, alone: float
) -> InterpolationVariance:
    """Fit the interpolation variance of a map to the errors of the map at held-out sites.

    The error at a site is the mean residual of the site minus the map of the networks that were trained
    without records of the site. The known part of the error variance is the sum of the variance of the mean
    residual, the variance due to the random initialisation of these networks, and the jackknife variance.
    The jackknife variance contains only a part of the interpolation error; the missing part is fitted, so
    that the total is the variance of the errors at held-out sites.

    Parameters
    ----------
    estimate : Estimate
        Estimate of ln site amplification.
    held : pandas.DataFrame
        Result of `held_out`, with ``site_id`` and the pixel, ``row, col``.
    terms : pandas.DataFrame
        `SiteTerms.table`.
    alone : float
        Standard deviation of the nugget, the part of a site term that no neighbouring site shares, ln
        units.

    Returns
    -------
    InterpolationVariance

    Raises
    ------
    DataError
        There are too few held-out sites.
    """
    map_value = estimate.without_chunk[held["chunk"], held["row"], held["col"]]
    start_variance = estimate.initialisation_variance() / estimate.members.shape[1]
    known = (start_variance + estimate.jackknife_variance())[held["row"], held["col"]]
    table = held[["site_id", "nearest_km"]].assign(map=map_value, known=known)
    sites = table.groupby("site_id").mean().join(terms, how="inner")
    return InterpolationVariance.fit(
        sites["nearest_km"],
        sites["site_mean"] - sites["map"],
        sites["site_mean_variance"] + sites["known"],
        alone,
    )
