"""Kriging of site terms between the sites, and of within-event residuals within an event."""

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import curve_fit
from scipy.spatial.distance import cdist, pdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from tfgmm.data.schemas import SITE_XY, is_training
from tfgmm.stats.mixture import rows_of_members

#: Bounds of the range of the spatially correlated site terms, km, and of the variances of the correlated
#: part and of the nugget, squared ln units.
RANGE_BOUNDS_KM = 0.5, 500.0
VARIANCE_BOUNDS = 1e-5, 10.0

#: Number of places whose covariances with all sites are held in memory at once.
_PLACES_AT_ONCE = 10_000


@dataclasses.dataclass(frozen=True)
class KrigedSites:
    r"""Site terms as a Gaussian process of zero mean, given the mean residuals of the training sites.

    .. math:: \bar r_s = f(x_s) + u_s + \bar\epsilon_s, \quad
        cov(f(x), f(x')) = \sigma_f^2 \exp(-|x - x'| / l), \;
        u_s \sim N(0, \sigma_u^2), \; \bar\epsilon_s \sim N(0, \phi_{SS}^2 / n_s)

    with the mean event-corrected residual :math:`\bar r_s` of site s; the spatially correlated part f of
    the site terms; the nugget u, the part that a site shares with no other site; and the noise of
    a mean of :math:`n_s` records.

    Attributes
    ----------
    process : sklearn.gaussian_process.GaussianProcessRegressor
        The Gaussian process, fitted to the means.
    means : pandas.Series
        :math:`\bar r_s` by site id, ln units.
    noise : ndarray, [sites]
        :math:`\phi_{SS}^2 / n_s`, squared ln units.
    """

    process: GaussianProcessRegressor
    means: pd.Series
    noise: np.ndarray

    @property
    def range_km(self) -> float:
        """Return the range l at which the correlation of f falls to 1/e, km."""
        return float(self.process.kernel_.k1.k2.length_scale)

    @property
    def field_variance(self) -> float:
        r"""Return the variance :math:`\sigma_f^2` of the spatially correlated part f, squared ln units."""
        return float(self.process.kernel_.k1.k1.constant_value)

    @property
    def nugget_variance(self) -> float:
        r"""Return the variance :math:`\sigma_u^2` of the nugget of a single site, squared ln units."""
        return float(self.process.kernel_.k2.noise_level)

    def field(self) -> dict[str, pd.Series | float]:
        """Return positions and kriging weights of the training sites, from which `field_at` computes f.

        Returns
        -------
        dict of str to (pandas.Series or float)
            Series ``x_km, y_km`` (km) and ``weight`` (ln units) by site id, and the float ``range_km``
            (l, km).
        """
        x, y = self.process.X_train_.T
        columns = {"x_km": x, "y_km": y, "weight": self.field_variance * self.process.alpha_}
        series = {name: pd.Series(values, self.means.index) for name, values in columns.items()}
        return series | {"range_km": self.range_km}

    def trained(self) -> pd.DataFrame:
        r"""Return the posterior mean and variance of the site terms f + u of the training sites.

        With the covariance C of the means :math:`\bar r`, and the diagonal noise D, the mean is
        :math:`\bar r - D C^{-1} \bar r` and the covariance :math:`D - D C^{-1} D` (Rasmussen & Williams,
        2006, equations 2.25 and 2.26, rearranged).

        Returns
        -------
        pandas.DataFrame, [sites, 2]
            ``mean`` (ln units) and ``variance`` (squared ln units) by site id.
        """
        inverse = solve_triangular(self.process.L_, np.eye(len(self.means)), lower=True)
        precision = (inverse**2).sum(axis=0)
        mean = self.means - self.noise * self.process.alpha_
        variance = self.noise - self.noise**2 * precision
        return pd.DataFrame({"mean": mean, "variance": variance}, self.means.index)

    def at(self, xy_km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Krige the site terms at places without a training site; return mean and variance.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Places: km east and north of the centre of the map.

        Returns
        -------
        mean : ndarray, [n]
            Mean of f, ln units.
        variance : ndarray, [n]
            Variance of f plus that of the nugget, squared ln units.
        """
        blocks = [self.process.predict(block, return_std=True) for block in _blocks(xy_km)]
        mean, stddev = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return mean, stddev**2

    def terms(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return posterior mean and variance of the site terms of records.

        All stations of a training site get the posterior of f + u of the site (`trained`). A station of any
        other site gets the kriged values at its position (`at`).

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            ``site_id`` and the position ``x_km, y_km`` (km) of each record's station.

        Returns
        -------
        mean : ndarray, [n]
            Means, ln units.
        variance : ndarray, [n]
            Variances, squared ln units.
        """
        trained = self.trained().reindex(records["site_id"])
        mean, variance = trained["mean"].to_numpy(copy=True), trained["variance"].to_numpy(copy=True)
        new = np.isnan(mean)
        if new.any():
            places, place = np.unique(records.loc[new, SITE_XY], axis=0, return_inverse=True)
            mean[new], variance[new] = (values[place] for values in self.at(places))
        return mean, variance


def field_at(sites: pd.DataFrame, xy_km) -> np.ndarray:
    r"""Krige the spatially correlated part f of the site terms at places.

    .. math:: f(x) = \sum_s w_s \exp(-|x - x_s| / l)

    with the weight :math:`w_s` and the position :math:`x_s` of training site s.

    Parameters
    ----------
    sites : pandas.DataFrame
        ``x_km, y_km`` (km), ``weight`` (ln units) and ``range_km`` of the training sites, see
        `KrigedSites.field`.
    xy_km : array_like, [..., 2]
        Places: km east and north of the centre of the map.

    Returns
    -------
    ndarray, [...]
        Kriged f, ln units.
    """
    known, weight, range_km = (sites[name].to_numpy(float) for name in (SITE_XY, "weight", "range_km"))
    blocks = _blocks(np.reshape(xy_km, (-1, 2)))
    values = [np.exp(-cdist(block, known) / range_km) @ weight for block in blocks]
    return np.concatenate(values).reshape(np.shape(xy_km)[:-1])


def _blocks(xy_km) -> Iterator[np.ndarray]:
    """Yield places in blocks of at most `_PLACES_AT_ONCE`, [m, 2], km east and north."""
    places = np.asarray(xy_km, float)
    yield from np.array_split(places, max(1, -(-len(places) // _PLACES_AT_ONCE)))


def fit(records: pd.DataFrame, residual, phi_ss: float) -> KrigedSites:
    """Fit a Gaussian process to the mean residuals of the training sites, by marginal likelihood.

    The range l and the variance of f, and the variance of the nugget are estimated. If a variance is best
    estimated as zero, the result lies near the lower bound of the search, `VARIANCE_BOUNDS`.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        ``site_id`` and the position ``x_km, y_km`` (km) of the station of each training record. The
        position of a site is the mean of the stations' positions over its records.
    residual : array_like, [n]
        Observed ln IM minus the median and the event term, ln units, not shrunk towards zero.
    phi_ss : float
        Standard deviation of a record about the mean of its site, ln units.

    Returns
    -------
    KrigedSites
        The fitted process.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25-2.30.
    """
    by_site = records[SITE_XY].assign(residual=residual).groupby(records["site_id"].astype(str))
    sites, counts = by_site.mean(), by_site.size()
    half = sites["residual"].var() / 2
    noise = (phi_ss**2 / counts).to_numpy()
    process = GaussianProcessRegressor(
        kernel=ConstantKernel(half, VARIANCE_BOUNDS) * Matern(10.0, RANGE_BOUNDS_KM, nu=0.5)
        + WhiteKernel(half, VARIANCE_BOUNDS),
        alpha=noise,
        n_restarts_optimizer=2,  # the likelihood may have a second top: all nugget, or no nugget
        random_state=0,
    )
    # Some hundred sites: threads gain nothing, and lose much while other work holds the processor.
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an estimate on a bound is an answer
        process.fit(sites[SITE_XY].to_numpy(), sites["residual"].to_numpy())
    return KrigedSites(process, sites["residual"], noise)


#: Borders of the classes of distance between two sites in which the correlation is estimated, km.
CLASSES_KM = np.array([0, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150])
#: Smallest number of events in a class; the scatter of the events gives the standard error of the
#: correlation in the class.
MIN_EVENTS = 10
#: Lower and upper bound of the range of the correlation, km.
EVENT_RANGE_BOUNDS_KM = 1.0, 100.0


def standardised_residuals(predictions: pd.DataFrame) -> pd.Series:
    r"""Return the standardised within-event residuals, :math:`z = (\ln IM - \mu) / \phi_{SS}`.

    Parameters
    ----------
    predictions : pandas.DataFrame, [n, ...]
        Result of `RandomEffects.apply`: ``ln_im``, ``mean`` (with the event, site and path terms) and
        ``phi_ss``, in ln units.

    Returns
    -------
    pandas.Series, [n]
        z, of zero mean and unit variance if the model fits.
    """
    return (predictions["ln_im"] - predictions["mean"]) / predictions["phi_ss"]


def correlation_by_distance(residuals: pd.DataFrame) -> pd.DataFrame:
    r"""Estimate the correlation of the residuals of one event at two sites, in classes of their distance.

    .. math:: \rho = \overline{z_i z_j} / \overline{z^2}

    The mean of the products is over all pairs of sites of one event whose distance is in the class.

    Parameters
    ----------
    residuals : pandas.DataFrame, [n, ...]
        A row per record: ``event_id``, ``x_km, y_km`` (km) and ``z``, standardised residuals of zero mean.

    Returns
    -------
    pandas.DataFrame
        A row per class: ``distance_km`` (mean of the pairs), ``correlation`` and its ``standard_error``,
        from the scatter of the events. Classes with pairs of fewer than `MIN_EVENTS` events are left out.
    """
    sums = np.array([_sums_of_pairs(rows) for _, rows in residuals.groupby("event_id", observed=True)])
    pairs, distances, products = np.moveaxis(sums, 1, 0)
    enough = (pairs > 0).sum(axis=0) >= MIN_EVENTS
    pairs, distances, products = pairs[:, enough], distances[:, enough], products[:, enough]
    count = pairs.sum(axis=0)
    square = (residuals["z"] ** 2).mean()
    mean = products.sum(axis=0) / count
    deviations = ((products - mean * pairs) ** 2).sum(axis=0)
    return pd.DataFrame(
        {
            "distance_km": distances.sum(axis=0) / count,
            "correlation": mean / square,
            "standard_error": np.sqrt(deviations) / count / square,
        }
    )


def _sums_of_pairs(rows: pd.DataFrame) -> list[np.ndarray]:
    """Return count, summed distance (km) and summed product of the record pairs of one event, by class.

    `rows` has ``x_km, y_km`` and ``z``; each of the three arrays is [classes] of `CLASSES_KM`.
    """
    z, distance = rows["z"].to_numpy(), pdist(rows[SITE_XY].to_numpy())
    product = np.outer(z, z)[np.triu_indices(len(z), 1)]
    classes, inside = len(CLASSES_KM) - 1, distance < CLASSES_KM[-1]
    class_of_pair = np.digitize(distance[inside], CLASSES_KM) - 1
    return [
        np.bincount(class_of_pair, weights, classes)
        for weights in (None, distance[inside], product[inside])
    ]


@dataclasses.dataclass(frozen=True)
class Correlation:
    r"""Correlation of the within-event residuals of one event at two sites at the distance d.

    .. math:: \rho(d) = a \exp(-d / l)

    Attributes
    ----------
    share : float
        a, the share of the variance that two very close sites have in common, 0 to 1.
    range_km : float
        Range l, km.

    References
    ----------
    Jayaram & Baker (2009), Earthq. Eng. Struct. Dyn. 38(15), 1687-1708, equation 20: there without a
    nugget (a = 1), and with b = 3 l.
    """

    share: float
    range_km: float

    @classmethod
    def fit(cls, classes: pd.DataFrame) -> Self:
        """Fit a and l to the correlations in classes of distance, by weighted least squares.

        Parameters
        ----------
        classes : pandas.DataFrame
            Result of `correlation_by_distance`.

        Returns
        -------
        Correlation
            The fitted a and l. With fewer than three classes, a is 0.
        """
        if len(classes) < 3:
            return cls(0.0, EVENT_RANGE_BOUNDS_KM[0])
        (share, range_km), _ = curve_fit(
            lambda distance, share, range_km: share * np.exp(-distance / range_km),
            classes["distance_km"],
            classes["correlation"],
            p0=(0.5, 15.0),
            sigma=classes["standard_error"],
            bounds=((0.0, EVENT_RANGE_BOUNDS_KM[0]), (1.0, EVENT_RANGE_BOUNDS_KM[1])),
        )
        return cls(float(share), float(range_km))

    def between(self, xy_km, other_xy_km) -> np.ndarray:
        """Return the correlation of the residuals at the sites of one set with those of another set.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Sites: km east and north.
        other_xy_km : array_like, [m, 2]
            Other sites, which are different sites even where they lie at the same place.

        Returns
        -------
        ndarray, [n, m]
            Correlations.
        """
        return self.share * np.exp(-cdist(xy_km, other_xy_km) / self.range_km)

    def kriged(self, xy_km, z, wanted_km) -> tuple[np.ndarray, np.ndarray]:
        r"""Krige the standardised residuals of one event from the sites of its records to other sites.

        .. math:: E[z_0 | z] = k^T C^{-1} z, \quad 1 - Var[z_0 | z] = k^T C^{-1} k

        with the correlations C between the sites of the records and k with the wanted site.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Sites of the records: km east and north.
        z : array_like, [n]
            Standardised residuals of the records.
        wanted_km : array_like, [m, 2]
            Other sites, to which the residuals are kriged: km east and north.

        Returns
        -------
        mean : ndarray, [m]
            Expected standardised residual at each wanted site.
        explained : ndarray, [m]
            Share of the variance of the residual that the records explain, 0 to 1.

        References
        ----------
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
        """
        matrix = self.between(xy_km, xy_km)
        np.fill_diagonal(matrix, 1 + 1e-6)  # has an inverse also with stations in one place
        cross = self.between(wanted_km, xy_km)
        weights = cho_solve(cho_factor(matrix, overwrite_a=True), cross.T).T
        return weights @ np.asarray(z, float), (weights * cross).sum(axis=1)


def krige_residuals(predictions: pd.DataFrame) -> pd.DataFrame:
    r"""Add the kriged within-event residuals of each event's training records to its other predictions.

    For each member (one trained network) and event, the standardised residuals of the training records
    are kriged, with the correlation of the member, to the event's records at sites that did not train.
    Predictions of training records stay unchanged. Residuals at training sites are smaller than phi_SS
    indicates: where their mean square v is below 1, the explained share of the variance is multiplied by v.

    Parameters
    ----------
    predictions : pandas.DataFrame, [n, ...]
        Result of `RandomEffects.apply`, a row per record and member, with ``x_km`` and ``y_km`` (km) of the
        stations.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The same rows, in ln units: ``within_term``, the expected :math:`\delta WS`, which is added to
        ``mean``; and ``within_stddev``, the standard deviation of :math:`\delta WS` given the training
        records, which replaces phi_SS in ``stddev``.
    """
    z = standardised_residuals(predictions).to_numpy(float)
    trained = is_training(predictions).to_numpy()
    term, explained = np.zeros((2, len(predictions)))
    places, event = predictions[SITE_XY].to_numpy(), predictions["event_id"].to_numpy()
    # Some hundred sites an event: threads gain nothing, and lose much while other work runs.
    with threadpool_limits(1, "blas"):
        for rows in rows_of_members(predictions).values():
            known, unknown = rows[trained[rows]], rows[~trained[rows]]
            residuals = pd.DataFrame(places[known], columns=SITE_XY).assign(
                event_id=event[known], z=z[known]
            )
            correlation = Correlation.fit(correlation_by_distance(residuals))
            scale = min((z[known] ** 2).mean(), 1.0)
            known_of_event = pd.Series(known).groupby(event[known]).indices
            for name, chosen in pd.Series(unknown).groupby(event[unknown]).indices.items():
                if name in known_of_event:
                    here, there = known[known_of_event[name]], unknown[chosen]
                    mean, share = correlation.kriged(places[here], z[here], places[there])
                    term[there], explained[there] = mean, scale * share
    phi_ss, stddev = (predictions[name].to_numpy(float) for name in ("phi_ss", "stddev"))
    within = phi_ss * np.sqrt(1 - explained)
    changed = {
        "mean": predictions["mean"] + term * phi_ss,
        "stddev": np.sqrt(stddev**2 - phi_ss**2 + within**2),
        "within_term": term * phi_ss,
        "within_stddev": within,
    }
    return predictions.assign(**changed).astype(dict.fromkeys(changed, "float32"))
