"""Fit of the covariance of the field to the residuals of records."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize, nnls
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from tfgmm.core import imt
from tfgmm.core.errors import DataError, counted
from tfgmm.stats.field_covariance import RANGES, STDDEVS, VARIANCES, Covariance, factors
from tfgmm.stats.field_records import Records

#: Borders of the classes of distance between hypocentres and between stations, km; the last class of each
#: has no upper border.
SOURCE_CLASSES_KM = np.array([0, 1, 3, 6, 10, 15, 25, 40, 70, 100])
SITE_CLASSES_KM = np.array([0, 0.5, 2, 4, 7, 10, 15, 25, 40, 60, 100])
#: Smallest numbers of events, of sites and of pairs of records with which a covariance is fitted.
LEAST_EVENTS, LEAST_SITES, LEAST_PAIRS = 5, 5, 20
#: Lower and upper bounds of the ranges of sources, site terms, path terms and within-event terms, km. What
#: stations far apart share of an event or a path would pass for a part of these, and leave no event and
#: source terms: the fit of the covariances is as good with both.
RANGE_BOUNDS_KM = ((2.0, 200.0), (2.0, 200.0), (2.0, 60.0), (2.0, 60.0))
#: Number of regions of events and of stations for standard errors.
REGIONS = 5
#: Smallest share of the noise in the total variance: with less the equations are hard to solve.
LEAST_NOISE = 0.05
#: Period at which PGV stands among spectral accelerations, s: Bommer & Alarcon (2006) scale it by SA(0.5).
PERIOD_OF_PGV = 0.5
#: Largest rise of the misfit of an intensity measure by ranges that it shares with others: the 95 %
#: quantile of chi-squared for four ranges.
LARGEST_RISE = 9.49
#: Ranges of sources, site terms, path terms and within-event terms, km, from which the search starts.
_STARTS_KM = ((30.0, 12.0, 20.0, 15.0), (10.0, 30.0, 10.0, 8.0), (60.0, 8.0, 60.0, 30.0))
#: Shares of the variances (`VARIANCES`) in the total variance that few records are drawn towards; for
#: Japan and California (Landwehr et al., 2016; Sahakian et al., 2018) most published ones are near these.
_EXPECTED_SHARES = (0.22, 0.15, 0.08, 0.08, 0.05, 0.07, 0.12, 0.23)
#: Standard deviations by which shares and ln of ranges are believed to differ from these shares and from
#: the first of `_STARTS_KM`, and of the misfit of a class, as a share of the total variance.
_ERROR_OF_SHARES, _ERROR_OF_LN_RANGES, _FLOOR = 0.10, 0.8, 0.005


def fit(records: Records) -> Covariance:
    r"""Fit variances and ranges to the mean products of pairs of residuals.

    The variances are those of generalised least squares, none negative, over the classes of
    `mean_products`; the ranges are searched by the method of Nelder and Mead from three starts. The
    errors of the classes follow from the numbers of pairs of records, of events and of sites, which
    classes have in common. The variance of the mean residual, which the median has taken up, is fitted
    beside them. Usual shares of the total variance and usual ranges count as a weak prior,
    which matters where there are few events or sites.

    Parameters
    ----------
    records : Records
        Residuals that the median has not been fitted to, of mean zero. Where the records have a noise
        variance each, their mean is taken as the noise.

    Returns
    -------
    Covariance
        The fitted covariance.

    Raises
    ------
    DataError
        There are too few events, sites or pairs of records, or all residuals are zero.
    """
    fitting = _Fit.to(records)
    return fitting.covariance(_best_ranges([fitting]))


def fit_measures(records: Mapping[str, Records]) -> dict[str, Covariance]:
    r"""Fit the covariance of each intensity measure; measures of near periods share their ranges.

    Measures are taken in order of period (PGA as 0 s, PGV as `PERIOD_OF_PGV`). Each joins the group of the
    one before unless the data say otherwise: the ranges that are best for the whole group, by the sum of
    the misfits, may raise the misfit of none of them by more than `LARGEST_RISE`. The variances are those
    of each measure by itself, given these ranges.

    Parameters
    ----------
    records : mapping of str to Records
        Residuals by intensity measure, as for `fit`.

    Returns
    -------
    dict of str to Covariance
        Fitted covariances, in the order of `records`. One measure alone has that of `fit`.

    Raises
    ------
    DataError
        As for `fit`.
    """
    in_order = sorted(records, key=lambda im: PERIOD_OF_PGV if im == "PGV" else imt.period(im))
    fits = {im: _Fit.to(records[im]) for im in in_order}
    own = {im: _best_ranges([fit_of_one]) for im, fit_of_one in fits.items()}
    least = {im: fit_of_one.misfit(own[im]) for im, fit_of_one in fits.items()}
    ranges, group = dict(own), in_order[:1]
    for before, im in itertools.pairwise(in_order):
        joined = [*group, im]
        shared = _best_ranges([fits[one] for one in joined], ranges[before], own[im])
        rises = [fits[one].misfit(shared) - least[one] for one in joined]
        if max(rises) <= LARGEST_RISE:
            ranges |= dict.fromkeys(joined, shared)
            group = joined
        else:
            group = [im]
    return {im: fits[im].covariance(ranges[im]) for im in records}


def standard_errors(covariance: Covariance, records: Records) -> dict[str, float]:
    r"""Estimate the standard errors of standard deviations and ranges of a covariance, by a jackknife.

    The products of `mean_products` are formed again without each of `REGIONS` groups of neighbouring
    events, and without each of as many groups of neighbouring stations. With the fit made linear at
    its result, their covariance becomes that of the variances v and ln ranges :math:`\lambda`:

    .. math:: H \, Cov[\hat C] H^T, \quad H = \partial (v, \lambda) / \partial \hat C

    That no variance is negative is left aside, so that a variance of 0 has an error too. The standard
    error of a standard deviation is half the distance between the roots of the variance plus and minus
    its standard error, none negative.

    Parameters
    ----------
    covariance : Covariance
        The fitted covariance.
    records : Records
        The residuals to which the covariance has been fitted.

    Returns
    -------
    dict of str to float
        Standard errors by the names of `Covariance.stddevs`, ln units, and of `RANGES`, km; NaN for the
        range of terms whose variance is 0. Noise variances that come with the records are taken as known.

    Raises
    ------
    DataError
        All residuals are zero.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11, for the jackknife.
    """
    classes = _used(mean_products(records))
    variances = np.array([getattr(covariance, name) for name in VARIANCES])
    ranges_km = np.array([getattr(covariance, name) for name in RANGES])
    fitted = _Fit(classes, None if records.noise is None else 0.0)
    response = fitted.response(variances, np.log(ranges_km))
    key = pd.MultiIndex.from_frame(classes[["source_class", "site_class"]])
    errors = np.zeros((len(response), len(response)))
    for places_km, of_record in (
        (records.source_km, records.event),
        (records.station_km, records.station),
    ):
        region = _regions(places_km)[of_record]
        without = [
            mean_products(records.chosen(region != number))
            .set_index(["source_class", "site_class"])["product"]
            .reindex(key)
            for number in np.unique(region)
        ]
        products = pd.DataFrame(without).fillna(dict(zip(key, classes["product"], strict=True)))
        parameters = products.to_numpy() @ response.T
        errors += (len(parameters) - 1) * np.cov(parameters.T, bias=True)
    stddev_errors = {}
    for name, parts in STDDEVS.items():
        chosen = [VARIANCES.index(part) for part in parts]
        variance, error = variances[chosen].sum(), np.sqrt(errors[np.ix_(chosen, chosen)].sum())
        width = np.sqrt(variance + error) - np.sqrt(max(variance - error, 0.0))
        stddev_errors[name] = float(width) / 2
    of_ranges = ranges_km * np.sqrt(np.diag(errors)[len(VARIANCES) :])
    used = [
        covariance.source + covariance.path_own + covariance.path_shared,
        covariance.site_shared,
        covariance.path_shared,
        covariance.within,
    ]
    of_ranges[np.array(used) == 0] = np.nan
    return stddev_errors | dict(zip(RANGES, of_ranges.tolist(), strict=True))


def mean_products(records: Records) -> pd.DataFrame:
    r"""Return the mean product of the residuals of two records, in classes of both their distances.

    .. math:: \hat C_{kl} = \overline{r_{es} r_{e's'}}

    over all pairs of records whose hypocentral distance is in class k and whose station distance is in
    class l. The same event and the same site are classes of their own, and the last classes have no upper
    border.

    Parameters
    ----------
    records : Records
        Residuals of mean zero.

    Returns
    -------
    pandas.DataFrame
        A row per class that has a pair: ``source_class`` and ``site_class`` (0: the same event or site; k:
        ``borders[k - 1] <= distance < borders[k]`` of `SOURCE_CLASSES_KM` or `SITE_CLASSES_KM`),
        ``source_km`` and ``site_km`` (mean distances of the pairs), ``pairs, source_pairs, site_pairs``
        (of records, events and stations, both orders counted), ``product`` (squared ln units) and
        ``is_record`` (the class of a record with itself).
    """
    apart = cdist(records.source_km, records.source_km).astype("float32")
    source_class = np.where(np.eye(len(apart), dtype=bool), 0, np.digitize(apart, SOURCE_CLASSES_KM))
    site_distance = cdist(records.station_km, records.station_km)
    site_class = np.where(records.same_site > 0, 0, np.digitize(site_distance, SITE_CLASSES_KM))
    known, residual = records.matrix(1.0), records.matrix(records.residual)
    together = np.outer(known.sum(axis=1), known.sum(axis=1))
    count, tables = len(SITE_CLASSES_KM) + 1, []
    used = known.any(axis=0)
    site_pairs = np.bincount(site_class[np.ix_(used, used)].ravel(), minlength=count)
    for number in range(len(SOURCE_CLASSES_KM) + 1):
        alike = (source_class == number).astype("float32")
        pairs, products = ((matrix.T @ (alike @ matrix)).astype(float) for matrix in (known, residual))
        if number == 0:  # stations of one site in one event are no record with itself
            other = (site_class == 0) & ~np.eye(len(site_class), dtype=bool)
            pairs[other] = products[other] = 0.0
        sums = [
            np.bincount(site_class.ravel(), values.ravel(), count)
            for values in (pairs, products, pairs * site_distance)
        ]
        weight = float((together * alike).sum())
        with np.errstate(invalid="ignore"):
            table = {
                "source_class": number,
                "site_class": np.arange(count),
                "source_km": float((together * alike * apart).sum()) / max(weight, 1.0),
                "site_km": sums[2] / sums[0],
                "pairs": sums[0],
                "source_pairs": np.count_nonzero(alike * (together > 0)),
                "site_pairs": site_pairs,
                "product": sums[1] / sums[0],
            }
        tables.append(pd.DataFrame(table))
    classes = pd.concat(tables, ignore_index=True)
    classes["is_record"] = classes["source_class"].eq(0) & classes["site_class"].eq(0)
    return classes[classes["pairs"] > 0].reset_index(drop=True)


def _regions(places_km: np.ndarray) -> np.ndarray:
    """Return the region of each place, [n]: strips of equal numbers of places across the longest axis."""
    order = np.argsort(places_km[:, np.ptp(places_km, axis=0).argmax()], kind="stable")
    region = np.empty(len(order), int)
    region[order] = np.arange(len(order)) * min(REGIONS, len(order)) // len(order)
    return region


def _used(classes: pd.DataFrame) -> pd.DataFrame:
    """Return the classes of enough pairs of records, and that of the records with themselves."""
    return classes[(classes["pairs"] >= LEAST_PAIRS) | classes["is_record"]]


class _Fit:
    """Generalised least squares of the variances for given ranges, over classes of mean products."""

    def __init__(self, classes: pd.DataFrame, noise: float | None):
        """Store the classes, whitened by the covariance of their errors, and the noise if it is known."""
        self._classes, self._noise = classes, noise
        self._total = float(classes["product"].to_numpy()[classes["is_record"].to_numpy()][0])
        if self._total <= 0:
            raise DataError("field: all residuals are zero: bring observed minus predicted ln IM")
        self._factor = cholesky(_error_covariance(classes), lower=True)

    @classmethod
    def to(cls, records: Records) -> Self:
        """Return the fit to residuals; raise `DataError` if there are too few events or sites."""
        _refuse_few(records)
        noise = None if records.noise is None else float(records.noise.mean())
        return cls(_used(mean_products(records)), noise)

    def covariance(self, ln_ranges: np.ndarray) -> Covariance:
        """Return the covariance with the best variances for given ln ranges, [4]."""
        variances = self.variances(ln_ranges)[0]
        variances[-1] = max(variances[-1], LEAST_NOISE * variances.sum())
        return Covariance(*variances.tolist(), *np.exp(ln_ranges).tolist())

    def variances(self, ln_ranges: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the best eight variances for given ranges, squared ln units, and the misfit.

        `ln_ranges`, [4], are ln of the ranges in km.
        """
        of_variances = factors(self._classes, *np.exp(ln_ranges))
        target = self._classes["product"].to_numpy() / self._total
        if self._noise is not None:
            target = target - self._noise / self._total * of_variances[:, -1]
            of_variances = of_variances[:, :-1]
        size = of_variances.shape[1]
        design = np.c_[of_variances, _of_mean(of_variances)]
        white = solve_triangular(self._factor, np.c_[design, target], lower=True)
        design = np.vstack([white[:, :-1], np.eye(size + 1) / _ERROR_OF_SHARES])
        expected = np.append(_EXPECTED_SHARES[:size], 0.0) / _ERROR_OF_SHARES
        best, misfit = nnls(design, np.append(white[:, -1], expected))
        best = best[:size] * self._total
        return (best if self._noise is None else np.append(best, self._noise)), misfit

    def response(self, variances: np.ndarray, ln_ranges: np.ndarray) -> np.ndarray:
        """Return the change of fitted variances and ln ranges with each mean product, [12, classes].

        `variances`, [8], in squared ln units, and `ln_ranges`, [4], are the fitted ones. A known noise
        does not change.
        """
        of_variances, step = factors(self._classes, *np.exp(ln_ranges)), 1e-4
        slopes = [
            (factors(self._classes, *np.exp(ln_ranges + step * one)) - of_variances) @ variances / step
            for one in np.eye(len(ln_ranges))
        ]
        design = np.c_[of_variances, np.transpose(slopes), _of_mean(of_variances)] / self._total
        white = solve_triangular(self._factor, design, lower=True)
        of_share = _ERROR_OF_SHARES * self._total
        prior = [of_share] * len(variances) + [_ERROR_OF_LN_RANGES] * len(slopes) + [of_share]
        free = np.ones(len(prior), bool)
        free[len(variances) - 1] = self._noise is None
        curvature = white.T @ white + np.diag(1 / np.square(prior))
        whitened = solve_triangular(self._factor, np.eye(len(design)) / self._total, lower=True)
        change = np.zeros((len(prior), len(design)))
        change[free] = np.linalg.solve(curvature[np.ix_(free, free)], white[:, free].T @ whitened)
        return change[:-1]

    def misfit(self, ln_ranges: np.ndarray) -> float:
        """Return the squared misfit of the best variances for given ln ranges, [4]."""
        return self.variances(ln_ranges)[1] ** 2


def _best_ranges(fits: Sequence[_Fit], *starts: np.ndarray) -> np.ndarray:
    """Return ln of the ranges, [4], that are best for the sum of the misfits of fits, drawn to usual ones.

    `starts` are ln ranges from which the search starts, by default those of `_STARTS_KM`.
    """
    usual = np.log(_STARTS_KM[0])

    def misfit(ln_ranges: np.ndarray) -> float:
        draw = (ln_ranges - usual) / _ERROR_OF_LN_RANGES
        return sum(one.misfit(ln_ranges) for one in fits) + (draw**2).sum()

    bounds = np.log(RANGE_BOUNDS_KM).tolist()
    # Systems of a hundred rows, solved thousands of times: threads would mostly wait for each other.
    with threadpool_limits(1, "blas"):
        searches = [
            minimize(misfit, start, method="Nelder-Mead", bounds=bounds, options={"maxfev": 600})
            for start in starts or np.log(_STARTS_KM)
        ]
    return min(searches, key=lambda search: search.fun).x


def _error_covariance(classes: pd.DataFrame) -> np.ndarray:
    r"""Return the covariance of the errors of the mean products, relative to the squared variance, [n, n].

    .. math:: v_s^2 \delta_{ll'} / n_l + v_e^2 \delta_{kk'} / n_k + \delta_{kk'} \delta_{ll'} / n_{kl} + f^2

    for :math:`n_{kl}` pairs of records of :math:`n_k` pairs of events and :math:`n_l` pairs of sites, and
    shares :math:`v_e, v_s` of event and site terms. All classes of the same pairs of sites have the error
    of these site terms in common, however many records there are. f is a floor, for a covariance that is no
    exponential.
    """
    site_share = sum(_EXPECTED_SHARES[1:3])
    event_share = _EXPECTED_SHARES[0] + _EXPECTED_SHARES[3]
    of_sites = 2 * site_share**2 / classes["site_pairs"].to_numpy()
    of_events = 2 * event_share**2 / classes["source_pairs"].to_numpy()
    alike_site, alike_source = (
        np.equal.outer(classes[name].to_numpy(), classes[name].to_numpy())
        for name in ("site_class", "source_class")
    )
    own = 2 / classes["pairs"].to_numpy() + _FLOOR**2
    return alike_site * of_sites + alike_source * of_events + np.diag(own)


def _of_mean(factors: np.ndarray) -> np.ndarray:
    """Return the factor in each class of the variance of the mean residual, which the median has taken up.

    Residuals of mean zero have products that are short by it, in all classes alike. Without this term what
    earthquakes or stations far apart share would be missed, and source and site terms with it.
    """
    return -np.ones((len(factors), 1))


def _refuse_few(records: Records) -> None:
    """Raise `DataError` if there are too few events or sites for a covariance."""
    counts = len(np.unique(records.event)), len(np.unique(records.site[records.station]))
    for number, least, what in zip(counts, (LEAST_EVENTS, LEAST_SITES), ("event", "site"), strict=True):
        if number < least:
            raise DataError(
                f"field: the records have {counted(number, what)}, at least {least} are needed to fit a "
                "covariance: bring more records, or train without a field"
            )
