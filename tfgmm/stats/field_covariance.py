"""Covariance of the residuals of two records by event, site and distance."""

import dataclasses

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm.stats.field_records import Cells

#: Names of the variances in the order of the columns of `factors`.
VARIANCES = ("event", "site_own", "site_shared", "source", "path_own", "path_shared", "within", "noise")
#: Standard deviations as users know them, and the variances that are summed in each.
STDDEVS = {
    "tau": ("event",),
    "phi_s2s": ("site_own", "site_shared"),
    "source": ("source",),
    "path": ("path_own", "path_shared"),
    "phi_ss": ("within", "noise"),
}
#: Names of the ranges, in the order of the attributes of `Covariance`.
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

    def at(self, classes: pd.DataFrame) -> np.ndarray:
        """Return the covariance of two residuals in classes of their distances, the noise included.

        Parameters
        ----------
        classes : pandas.DataFrame, [n, ...]
            Result of `tfgmm.stats.field_fit.mean_products`.

        Returns
        -------
        ndarray, [n]
            Covariances, squared ln units.
        """
        ranges_km = (getattr(self, name) for name in RANGES)
        return factors(classes, *ranges_km) @ [getattr(self, name) for name in VARIANCES]

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


def factors(classes: pd.DataFrame, *ranges_km: float) -> np.ndarray:
    """Return the factors of the variances in classes of distance.

    Parameters
    ----------
    classes : pandas.DataFrame, [n, ...]
        Result of `tfgmm.stats.field_fit.mean_products`.
    *ranges_km : float
        The ranges `RANGES`, km.

    Returns
    -------
    ndarray of float64, [n, 8]
        Factors in the order of `VARIANCES`.
    """
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
