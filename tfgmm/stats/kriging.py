"""Kriging of site terms between the sites."""

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from tfgmm.data.schemas import SITE_XY

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
