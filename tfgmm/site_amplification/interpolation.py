"""How wrong a map of site terms is between the stations: a variance that grows with distance."""

import dataclasses
from typing import Self

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from tfgmm.core.errors import DataError

#: Within which the length in km and the variances are sought.
LENGTH_BOUNDS_KM = 1.0, 100.0
VARIANCE_BOUNDS = 1e-6, 10.0
#: With fewer sites nothing can be fitted.
MIN_SITES = 5


@dataclasses.dataclass(frozen=True)
class InterpolationVariance:
    r"""Errors of a map at sites that it has not seen.

    .. math:: \bar r_s - A(x_s) \sim N(m, \; \kappa_s^2 + n^2 + v(d_s)), \quad v(d) = b^2 (1 - e^{-d / L})

    with the site's event-corrected mean residual :math:`\bar r_s`, the map A of networks that never saw
    the site, its distance d to the nearest trained station, the variance :math:`\kappa_s^2` that is
    known (sampling of :math:`\bar r_s`, random start of the networks), the part n of the site alone, which
    no map shows, and a shift m.

    Attributes
    ----------
    far : float
        b, ln units.
    length_km : float
        L.
    alone : float
        n, ln units.
    """

    far: float
    length_km: float
    alone: float

    def variance(self, distance_km) -> np.ndarray:
        """Variance v of the map at so many km from the nearest trained station, without n."""
        return self.far**2 * -np.expm1(-np.asarray(distance_km, float) / self.length_km)

    @classmethod
    def fit(cls, distance_km, error, known_variance, alone: float | None = None) -> Self:
        """Maximum likelihood; the shift m is profiled out.

        Parameters
        ----------
        distance_km, error, known_variance : array_like, [site]
            d, the error, and kappa squared.
        alone : float, optional
            n, if it is known, as from kriging; else it is fitted too, which needs sites at distances well
            below L.

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

        def made(logs: np.ndarray) -> InterpolationVariance:
            far, length, *own = np.exp(logs)
            return cls(float(np.sqrt(far)), float(length), float(np.sqrt(own[0])) if own else alone)

        def minus_likelihood(logs: np.ndarray) -> float:
            one = made(logs)
            variance = known + one.alone**2 + one.variance(d)
            shift = np.average(e, weights=1 / variance)
            return np.sum(np.log(variance) + (e - shift) ** 2 / variance)

        bounds = np.log([VARIANCE_BOUNDS, LENGTH_BOUNDS_KM, *([VARIANCE_BOUNDS] if alone is None else [])])
        half = max(e.var() / 2, 2 * VARIANCE_BOUNDS[0])
        starts = (np.log([half, length, half][: len(bounds)]) for length in (3.0, 10.0, 30.0))
        # Threads gain nothing here, and lose much while other work holds the processor.
        with threadpool_limits(1, "blas"):
            found = [
                minimize(minus_likelihood, start, method="L-BFGS-B", bounds=bounds) for start in starts
            ]
        return made(min(found, key=lambda one: one.fun).x)
