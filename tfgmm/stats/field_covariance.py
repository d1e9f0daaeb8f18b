"""Covariance of the residuals of two records by event, site and distance, and its fit to residuals."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize, nnls
from scipy.spatial.distance import cdist

from tfgmm.core.errors import DataError, counted
from tfgmm.stats.field_records import Cells, Records

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
#: Ranges of sources, site terms, path terms and within-event terms, km, from which the search starts.
_STARTS_KM = ((30.0, 12.0, 20.0, 15.0), (10.0, 30.0, 10.0, 8.0), (60.0, 8.0, 60.0, 30.0))
#: Shares of the variances (`VARIANCES`) in the total variance that few records are drawn towards; for
#: Japan and California (Landwehr et al., 2016; Sahakian et al., 2018) most published ones are near these.
_EXPECTED_SHARES = (0.22, 0.15, 0.08, 0.08, 0.05, 0.07, 0.12, 0.23)
#: Standard deviations by which shares and ln of ranges are believed to differ from these shares and from
#: the first of `_STARTS_KM`, and of the misfit of a class, as a share of the total variance.
_ERROR_OF_SHARES, _ERROR_OF_LN_RANGES, _FLOOR = 0.10, 0.8, 0.005
#: Names of the variances in the order of the columns of `_correlations`.
VARIANCES = ("event", "site_own", "site_shared", "source", "path_own", "path_shared", "within", "noise")
#: Standard deviations as users know them, and the variances that are summed in each.
STDDEVS = {
    "tau": ("event",),
    "phi_s2s": ("site_own", "site_shared"),
    "source": ("source",),
    "path": ("path_own", "path_shared"),
    "phi_ss": ("within", "noise"),
}
#: Names of the ranges, in the order of `_STARTS_KM`.
RANGES = ("source_km", "site_km", "path_km", "within_km")


@dataclasses.dataclass(frozen=True)
class Covariance:
    r"""Covariance of the residuals of two records, of events e, e' at stations s, s'.

    .. math:: \tau^2 \delta_{ee'} + S_0^2 \delta_{ss'} + S_1^2 g_S + L^2 h + O^2 h \delta_{ss'}
        + P^2 h g_P + W^2 \delta_{ee'} g_W + \sigma^2 \delta_{ee'} \delta_{ss'}

    with the correlation of hypocentres :math:`h = \exp(-|x_e - x_{e'}| / l_h)` and those of places
    :math:`g_i = \exp(-|x_s - x_{s'}| / l_i)`. :math:`\delta_{ss'}` is 1 for stations of one site. In the
    notation of Al Atik et al. (2010), :math:`\tau` belongs to the event term, :math:`S_0^2 + S_1^2 =
    \phi_{S2S}^2` to the site term (own, and shared with neighbours), :math:`L` to the source term
    :math:`\delta L2L`, and :math:`O^2 + P^2 = \phi_{P2P}^2` to the path term (own and shared);
    :math:`W^2` and the noise :math:`\sigma^2` of a single record make :math:`\phi_{SS}^2` without paths.

    Attributes
    ----------
    event, site_own, site_shared, source, path_own, path_shared, within, noise : float
        Variances :math:`\tau^2, S_0^2, S_1^2, L^2, O^2, P^2, W^2, \sigma^2`, squared ln units.
    source_km, site_km, path_km, within_km : float
        Ranges :math:`l_h, l_S, l_P, l_W`, km.

    References
    ----------
    Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
    Landwehr, Kuehn, Scheffer & Abrahamson (2016), Bull. Seismol. Soc. Am. 106(6), 2574-2583, for spatial
    correlation of such terms.
    """

    event: float
    site_own: float
    site_shared: float
    source: float
    path_own: float
    path_shared: float
    within: float
    noise: float
    source_km: float
    site_km: float
    path_km: float
    within_km: float

    @property
    def process(self) -> float:
        """Return the variance of the process without the noise, squared ln units."""
        return float(sum(getattr(self, name) for name in VARIANCES[:-1]))

    @property
    def stddevs(self) -> dict[str, float]:
        """Return tau, phi_S2S, source and path term and phi_SS (within and noise), ln units, by name."""
        variances = {name: sum(getattr(self, part) for part in parts) for name, parts in STDDEVS.items()}
        return {name: float(np.sqrt(variance)) for name, variance in variances.items()}

    def standard_errors(self, records: Records) -> dict[str, float]:
        r"""Return standard errors of `stddevs` and of the ranges, by a jackknife over regions.

        The products of `mean_products` are formed again without each of `REGIONS` groups of neighbouring
        events, and without each of as many groups of neighbouring stations. With the fit made linear at
        its result, their covariance becomes that of the variances v and ln ranges :math:`\lambda`:

        .. math:: H \, Cov[\hat C] H^T, \quad H = \partial (v, \lambda) / \partial \hat C

        That no variance is negative is left aside, so that a variance of 0 has an error too. The standard
        error of a standard deviation is half the distance between the roots of the variance plus and minus
        its standard error, none negative.

        Parameters
        ----------
        records : Records
            The residuals to which the covariance has been fitted.

        Returns
        -------
        dict of str to float
            Standard errors by the names of `stddevs`, ln units, and of `RANGES`, km; NaN for the range of
            terms whose variance is 0. Noise variances that come with the records are taken as known.

        Raises
        ------
        DataError
            All residuals are zero.

        References
        ----------
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11, for the jackknife.
        """
        classes = _used(mean_products(records))
        variances = np.array([getattr(self, name) for name in VARIANCES])
        ranges_km = np.array([getattr(self, name) for name in RANGES])
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
            self.source + self.path_own + self.path_shared,
            self.site_shared,
            self.path_shared,
            self.within,
        ]
        of_ranges[np.array(used) == 0] = np.nan
        return stddev_errors | dict(zip(RANGES, of_ranges.tolist(), strict=True))

    @classmethod
    def fit(cls, records: Records, classes: pd.DataFrame | None = None) -> Self:
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
        classes : pandas.DataFrame, optional
            Result of `mean_products` for these records, which is computed by default.

        Returns
        -------
        Covariance
            The fitted covariance.

        Raises
        ------
        DataError
            There are too few events, sites or pairs of records, or all residuals are zero.
        """
        _refuse_few(records)
        classes = mean_products(records) if classes is None else classes
        classes = _used(classes)
        noise = None if records.noise is None else float(records.noise.mean())
        fitted = _Fit(classes, noise)
        bounds = np.log(RANGE_BOUNDS_KM).tolist()
        searches = [
            minimize(
                fitted.misfit, np.log(start), method="Nelder-Mead", bounds=bounds, options={"maxfev": 600}
            )
            for start in _STARTS_KM
        ]
        best = min(searches, key=lambda search: search.fun).x
        variances = fitted.variances(best)[0]
        variances[-1] = max(variances[-1], LEAST_NOISE * variances.sum())
        return cls(*variances.tolist(), *np.exp(best).tolist())

    def at(self, classes: pd.DataFrame) -> np.ndarray:
        """Return the covariance of two residuals in classes of their distances, the noise included.

        Parameters
        ----------
        classes : pandas.DataFrame, [n, ...]
            Result of `mean_products`.

        Returns
        -------
        ndarray, [n]
            Covariances, squared ln units.
        """
        ranges_km = (getattr(self, name) for name in RANGES)
        return _correlations(classes, *ranges_km) @ [getattr(self, name) for name in VARIANCES]

    def between(self, cells: Cells, others: Cells) -> np.ndarray:
        """Return the covariance of the process, without noise, of some pairs with others.

        Parameters
        ----------
        cells, others : Cells
            Pairs of an event and a place, n and m of them.

        Returns
        -------
        ndarray of float64, [n, m]
            Covariances, squared ln units.
        """
        return sum(self.parts_between(cells, others).values(), np.zeros((len(cells), len(others))))

    def parts_between(self, cells: Cells, others: Cells) -> dict[str, np.ndarray]:
        """Return the covariance of every part of the process of some pairs with others.

        Parameters
        ----------
        cells, others : Cells
            Pairs of an event and a place, n and m of them.

        Returns
        -------
        dict of str to ndarray of float64, [n, m]
            Covariances by part (`VARIANCES` without the noise), squared ln units.
        """
        h = correlation(cdist(cells.source_km, others.source_km), self.source_km)
        apart = cdist(cells.place_km, others.place_km)
        same_event = np.equal.outer(cells.event, others.event)
        same_site = np.equal.outer(cells.site, others.site)
        return {
            "event": self.event * same_event,
            "site_own": self.site_own * same_site,
            "site_shared": self.site_shared * correlation(apart, self.site_km),
            "source": self.source * h,
            "path_own": self.path_own * h * same_site,
            "path_shared": self.path_shared * h * correlation(apart, self.path_km),
            "within": self.within * same_event * correlation(apart, self.within_km),
        }


def correlation(distance_km, range_km, xp=np):
    """Return the correlation exp(-d / l) of distances d with range l, for NumPy arrays and tensors alike.

    Parameters
    ----------
    distance_km : array or tensor, [...]
        Distances d, km.
    range_km : float
        Range l, km.
    xp : module
        Module with the function ``exp`` for these distances: `numpy`, ``tf.math``, ``keras.ops``.

    Returns
    -------
    array or tensor, [...]
        Correlations between 0 and 1.
    """
    return xp.exp(-distance_km / range_km)


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

    def variances(self, ln_ranges: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the best eight variances for given ranges, squared ln units, and the misfit.

        `ln_ranges`, [4], are ln of the ranges in km.
        """
        factors = _correlations(self._classes, *np.exp(ln_ranges))
        target = self._classes["product"].to_numpy() / self._total
        if self._noise is not None:
            target = target - self._noise / self._total * factors[:, -1]
            factors = factors[:, :-1]
        size = factors.shape[1]
        design = np.c_[factors, _of_mean(factors)]
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
        factors, step = _correlations(self._classes, *np.exp(ln_ranges)), 1e-4
        slopes = [
            (_correlations(self._classes, *np.exp(ln_ranges + step * one)) - factors) @ variances / step
            for one in np.eye(len(ln_ranges))
        ]
        design = np.c_[factors, np.transpose(slopes), _of_mean(factors)] / self._total
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
        """Return the squared misfit of the best variances, with the draw of the ranges."""
        draw = (ln_ranges - np.log(_STARTS_KM[0])) / _ERROR_OF_LN_RANGES
        return self.variances(ln_ranges)[1] ** 2 + (draw**2).sum()


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


def _correlations(classes: pd.DataFrame, *ranges_km: float) -> np.ndarray:
    """Return the factors of the eight `VARIANCES` in each class, [n, 8]; the ranges in km, [4]."""
    source_km, site_km, path_km, within_km = ranges_km
    apart = classes["site_km"].to_numpy()
    same_event, same_site = (classes[name].eq(0).to_numpy(float) for name in ("source_class", "site_class"))
    h = correlation(classes["source_km"].to_numpy(), source_km)
    parts = (
        same_event,
        same_site,
        correlation(apart, site_km),
        h,
        h * same_site,
        h * correlation(apart, path_km),
        same_event * correlation(apart, within_km),
        classes["is_record"].to_numpy(float),
    )
    return np.stack(parts, axis=-1)


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
