"""Ergodic ground-motion model: a regression on magnitude, distance and depth, fitted to the records."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.stats import mixed_effects

#: Regressors of the median of ln IM, in the order of the coefficients c0 ... c6 (R in km, Z in km).
TERMS = ("1", "M-6", "(M-6)^2", "ln R", "(M-6) ln R", "R", "Z")
#: Smallest hypocentral distance, km; a shorter distance is set to this value.
MIN_R_HYP_KM = 1.0


def terms(magnitude, r_hyp_km, ln_r_hyp, depth_km) -> list:
    r"""Return the seven `TERMS` of the median, by plain arithmetic that works for arrays and tensors alike.

    .. math:: 1, \; M - 6, \; (M - 6)^2, \; \ln R, \; (M - 6) \ln R, \; R, \; Z

    Parameters
    ----------
    magnitude : array or tensor, [...]
        Moment magnitude M.
    r_hyp_km : array or tensor, [...]
        Hypocentral distance R, km.
    ln_r_hyp : array or tensor, [...]
        Natural logarithm of R in km.
    depth_km : array or tensor, [...]
        Event depth Z, km.

    Returns
    -------
    list of array or tensor
        Seven arrays, each of the shape [...] of the parameters.
    """
    m = magnitude - 6.0
    return [m * 0.0 + 1.0, m, m * m, ln_r_hyp, m * ln_r_hyp, r_hyp_km, depth_km]


def design(magnitude, r_hyp_km, depth_km) -> np.ndarray:
    """Return the `TERMS` of the median as columns, [..., 7]; distances below 1 km count as 1 km.

    >>> design(7.0, 100.0, 10.0).round(3)
    array([  1.   ,   1.   ,   1.   ,   4.605,   4.605, 100.   ,  10.   ])

    Parameters
    ----------
    magnitude : array_like
        Moment magnitude.
    r_hyp_km : array_like
        Hypocentral distance, km.
    depth_km : array_like
        Event depth, km. The shapes of the three parameters broadcast.

    Returns
    -------
    ndarray, [..., 7]
        Design matrix: the regressors of the coefficients c0 ... c6.
    """
    m, r, z = np.broadcast_arrays(*(np.asarray(a, float) for a in (magnitude, r_hyp_km, depth_km)))
    r = np.maximum(r, MIN_R_HYP_KM)
    return np.stack(terms(m, r, np.log(r), z), axis=-1)


@dataclasses.dataclass(frozen=True)
class ErgodicModel:
    r"""Ergodic model of ln IM (IM in g): the median by magnitude, distance and depth, and the variability.

    .. math:: \ln IM = c_0 + c_1 (M-6) + c_2 (M-6)^2 + (c_3 + c_4 (M-6)) \ln R + c_5 R + c_6 Z
        + \delta B_e + \delta S2S_s + \delta WS_{es}

    with the moment magnitude M, the hypocentral distance R and the event depth Z in km. The event term
    :math:`\delta B_e`, the site term :math:`\delta S2S_s` and the remaining term :math:`\delta WS_{es}`
    are those of Al Atik et al. (2010).

    Attributes
    ----------
    coefficients : tuple of float, [7]
        :math:`c_0 ... c_6`.
    tau, phi_s2s, phi_ss : float
        Standard deviations of the event, site and remaining terms, ln units.
    site_terms : pandas.Series
        :math:`\delta S2S_s`, ln units, indexed by site id.
    event_terms : pandas.Series
        :math:`\delta B_e`, ln units, indexed by event id.

    References
    ----------
    Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
    """

    coefficients: tuple[float, ...]
    tau: float
    phi_s2s: float
    phi_ss: float
    site_terms: pd.Series
    event_terms: pd.Series

    def median(self, magnitude, r_hyp_km, depth_km) -> np.ndarray:
        """Return the median of ln IM (IM in g) without event and site terms: the fixed effects.

        Parameters
        ----------
        magnitude : array_like
            Moment magnitude.
        r_hyp_km : array_like
            Hypocentral distance, km; below 1 km it counts as 1 km.
        depth_km : array_like
            Event depth, km. The shapes of the three parameters broadcast.

        Returns
        -------
        ndarray, [...]
            Median of ln IM, of the broadcast shape.
        """
        return design(magnitude, r_hyp_km, depth_km) @ np.array(self.coefficients)

    def median_of(self, records: pd.DataFrame) -> np.ndarray:
        """Return the median of ln IM (IM in g) of each record of a table, without event and site terms.

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            ``magnitude``, ``r_hyp_km`` (hypocentral distance, km) and ``depth_km``.

        Returns
        -------
        ndarray, [n]
            Median of ln IM.
        """
        return self.median(records["magnitude"], records["r_hyp_km"], records["depth_km"])

    @property
    def sigma(self) -> float:
        """Return the total ergodic standard deviation, sqrt(tau^2 + phi_S2S^2 + phi_SS^2), ln units."""
        return float(np.sqrt(self.tau**2 + self.phi_s2s**2 + self.phi_ss**2))

    @property
    def sigma_known_site(self) -> float:
        """Return the single-station standard deviation, sqrt(tau^2 + phi_SS^2), ln units.

        It is the standard deviation of a record about the median plus the site term. The site term counts
        as exact: the posterior variance of the estimated site term, small for a site with many records,
        is left out.
        """
        return float(np.hypot(self.tau, self.phi_ss))


def fit(records: pd.DataFrame) -> ErgodicModel:
    """Fit the ergodic model to records by restricted maximum likelihood, with crossed event and site terms.

    A regressor that is a linear combination of the regressors before it in these records (the depth, if all
    events have the same depth) gets the coefficient 0. Truncation is not corrected for: where a recording
    network lists only records above a trigger level, the fitted decay with distance is biased.

    Parameters
    ----------
    records : pandas.DataFrame
        A row per record: ``event_id``, ``site_id``, ``magnitude`` (moment magnitude), ``depth_km``,
        ``r_hyp_km`` (hypocentral distance) and ``ln_im`` (natural logarithm of IM in g).

    Returns
    -------
    ErgodicModel
        The fitted coefficients, standard deviations and terms.

    Raises
    ------
    DataError
        A value is missing or infinite, or there are fewer than two events or sites.
    """
    columns = design(*(records[name] for name in ("magnitude", "r_hyp_km", "depth_km")))
    known = np.isfinite(columns).all(axis=1)
    independent = mixed_effects.independent_columns(columns[known])
    table = pd.DataFrame(columns, columns=TERMS).loc[:, independent]
    effects = mixed_effects.fit(table, records["ln_im"], records["event_id"], records["site_id"])
    coefficients = np.zeros(len(TERMS))
    coefficients[independent] = effects.coefficients
    return ErgodicModel(
        coefficients=tuple(coefficients.tolist()),
        tau=effects.tau,
        phi_s2s=effects.phi_s2s,
        phi_ss=effects.phi_ss,
        site_terms=effects.site_terms,
        event_terms=effects.event_terms,
    )
