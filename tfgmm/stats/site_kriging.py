"""Site terms between the sites: kriging of event-corrected station means."""

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

#: Within which the range in km and the variances of the field and of the nugget are sought.
RANGE_BOUNDS_KM = 0.5, 500.0
VARIANCE_BOUNDS = 1e-5, 10.0

#: Places whose covariances with all sites are held in memory at once.
_PLACES_AT_ONCE = 10_000
_XY = ["x_km", "y_km"]


@dataclasses.dataclass(frozen=True)
class KrigedSites:
    r"""Site terms as a Gaussian process of zero mean, conditioned on the means of trained sites.

    .. math:: \bar r_s = f(x_s) + u_s + \bar\epsilon_s, \quad
        cov(f(x), f(x')) = \sigma_f^2 \exp(-|x - x'| / l), \;
        u_s \sim N(0, \sigma_u^2), \; \bar\epsilon_s \sim N(0, \phi_{SS}^2 / n_s)

    with the field f, the nugget u of the site alone and the noise of the mean of :math:`n_s` records.

    Attributes
    ----------
    process : sklearn.gaussian_process.GaussianProcessRegressor
        Fitted to the means; its noise `alpha` holds :math:`\phi_{SS}^2 / n_s`.
    means : pandas.Series
        :math:`\bar r_s` by site id, ln units.
    """

    process: GaussianProcessRegressor
    means: pd.Series

    @property
    def range_km(self) -> float:
        """The length l at which the correlation of the field is 1/e."""
        return float(self.process.kernel_.k1.k2.length_scale)

    @property
    def field_variance(self) -> float:
        r"""The variance :math:`\sigma_f^2` of the field."""
        return float(self.process.kernel_.k1.k1.constant_value)

    @property
    def nugget_variance(self) -> float:
        r"""The variance :math:`\sigma_u^2` of the site alone."""
        return float(self.process.kernel_.k2.noise_level)

    def field(self) -> dict[str, pd.Series | float]:
        r"""The field as a sum over the trained sites, for `field_at`.

        Returns
        -------
        dict
            ``x_km, y_km, weight`` by site id, and ``range_km``.
        """
        x, y = self.process.X_train_.T
        columns = {"x_km": x, "y_km": y, "weight": self.field_variance * self.process.alpha_}
        series = {name: pd.Series(values, self.means.index) for name, values in columns.items()}
        return series | {"range_km": self.range_km}

    def trained(self) -> pd.DataFrame:
        """Posterior ``mean`` and ``variance`` of field plus nugget at the trained sites, by site id.

        With the covariance C of the means and their noise D, the mean is r - D C^-1 r and the
        covariance D - D C^-1 D (Rasmussen & Williams, 2006, equations 2.25 and 2.26, rearranged).
        """
        inverse = solve_triangular(self.process.L_, np.eye(len(self.means)), lower=True)
        noise, precision = self.process.alpha, (inverse**2).sum(axis=0)
        mean = self.means - noise * self.process.alpha_
        return pd.DataFrame({"mean": mean, "variance": noise - noise**2 * precision}, self.means.index)

    def at(self, xy_km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean of the field at other places, and its variance with the nugget added.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
        """
        found = [self.process.predict(block, return_std=True) for block in _blocks(xy_km)]
        mean, stddev = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return mean, stddev**2

    def terms(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and variance of the site terms of records.

        A trained site has its own posterior of field plus nugget, whichever of its stations recorded;
        any other the field's at the station, with the nugget in the variance.

        Parameters
        ----------
        records : pandas.DataFrame
            ``site_id, x_km, y_km``.
        """
        trained = self.trained().reindex(records["site_id"])
        mean, variance = trained["mean"].to_numpy(copy=True), trained["variance"].to_numpy(copy=True)
        new = np.isnan(mean)
        if new.any():
            places, place = np.unique(records.loc[new, _XY], axis=0, return_inverse=True)
            mean[new], variance[new] = (values[place] for values in self.at(places))
        return mean, variance


def field_at(sites: pd.DataFrame, xy_km) -> np.ndarray:
    r"""The field at places, [...], as :math:`f(x) = \sum_s w_s \exp(-|x - x_s| / l)`.

    Parameters
    ----------
    sites : pandas.DataFrame
        Of `KrigedSites.field`.
    xy_km : array_like, [..., 2]
    """
    known, weight, range_km = (sites[name].to_numpy(float) for name in (_XY, "weight", "range_km"))
    blocks = _blocks(np.reshape(xy_km, (-1, 2)))
    values = [np.exp(-cdist(block, known) / range_km) @ weight for block in blocks]
    return np.concatenate(values).reshape(np.shape(xy_km)[:-1])


def _blocks(xy_km) -> Iterator[np.ndarray]:
    """At most `_PLACES_AT_ONCE` places at a time."""
    xy_km = np.asarray(xy_km, float)
    yield from np.array_split(xy_km, max(1, -(-len(xy_km) // _PLACES_AT_ONCE)))


def fit(records: pd.DataFrame, residual, phi_ss: float) -> KrigedSites:
    """Krige the sites' mean residuals; range, variance and nugget by marginal likelihood.

    A variance whose estimate is zero comes out near the lower bound of the search, `VARIANCE_BOUNDS`.

    Parameters
    ----------
    records : pandas.DataFrame
        The training records: ``site_id, x_km, y_km``. A site lies at the mean of its records' stations.
    residual : array_like
        Their residuals from the median and the event terms, ln units: not shrunken towards zero.
    phi_ss : float
        Standard deviation of a record about its site's mean, ln units.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25-2.30.
    """
    by_site = records[_XY].assign(residual=residual).groupby(records["site_id"].astype(str))
    sites, counts = by_site.mean(), by_site.size()
    half = sites["residual"].var() / 2
    process = GaussianProcessRegressor(
        kernel=ConstantKernel(half, VARIANCE_BOUNDS) * Matern(10.0, RANGE_BOUNDS_KM, nu=0.5)
        + WhiteKernel(half, VARIANCE_BOUNDS),
        alpha=(phi_ss**2 / counts).to_numpy(),
        n_restarts_optimizer=2,  # the likelihood may have a second top: all nugget, or no nugget
        random_state=0,
    )
    # Some hundred sites: threads gain nothing, and lose much while other work holds the processor.
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an estimate on a bound is an answer
        process.fit(sites[_XY].to_numpy(), sites["residual"].to_numpy())
    return KrigedSites(process, sites["residual"])
