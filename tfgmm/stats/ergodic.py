"""Ergodic ground-motion model: a regression on magnitude, distance and depth, fitted to the records."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.stats import mixed_effects

#: The terms of the median, in the order of their coefficients c0 ... c6.
TERMS = ("1", "M-6", "(M-6)^2", "ln R", "(M-6) ln R", "R", "Z")
MIN_R_HYP_KM = 1.0


def terms(magnitude, r_hyp_km, ln_r_hyp, depth_km) -> list:
    """Return the seven `TERMS` of the median, by plain arithmetic that works for arrays and tensors alike.

    Parameters
    ----------
    magnitude, r_hyp_km, ln_r_hyp, depth_km : array or tensor
        Mw, hypocentral distance in km and its natural logarithm, event depth in km; of one shape.

    Returns
    -------
    list of array or tensor
        Seven, each of the shape of the parameters.
    """
    m = magnitude - 6.0
    return [m * 0.0 + 1.0, m, m * m, ln_r_hyp, m * ln_r_hyp, r_hyp_km, depth_km]


def design(magnitude, r_hyp_km, depth_km) -> np.ndarray:
    """Return the `TERMS` of the median as columns, [..., 7]; distances below 1 km count as 1 km.

    >>> design(7.0, 100.0, 10.0).round(3)
    array([  1.   ,   1.   ,   1.   ,   4.605,   4.605, 100.   ,  10.   ])

    Parameters
    ----------
    magnitude, r_hyp_km, depth_km : array_like
        Mw, hypocentral distance and event depth in km; of shapes that broadcast.
    """
    m, r, z = np.broadcast_arrays(*(np.asarray(a, float) for a in (magnitude, r_hyp_km, depth_km)))
    r = np.maximum(r, MIN_R_HYP_KM)
    return np.stack(terms(m, r, np.log(r), z), axis=-1)


@dataclasses.dataclass(frozen=True)
class ErgodicModel:
    r"""Median and variability of ln IM (IM in g) by magnitude, distance and depth.

    .. math:: \ln IM = c_0 + c_1 (M-6) + c_2 (M-6)^2 + (c_3 + c_4 (M-6)) \ln R + c_5 R + c_6 Z
        + \delta B_e + \delta S2S_s + \delta WS_{es}

    with the moment magnitude M, the hypocentral distance R and the event depth Z in km, and the event,
    site and remaining terms of Al Atik et al. (2010).

    Attributes
    ----------
    coefficients : tuple of float
        :math:`c_0 ... c_6`.
    tau, phi_s2s, phi_ss : float
        Standard deviations of the three terms, ln units.
    site_terms : pandas.Series
        :math:`\delta S2S_s`, ln units, indexed by site id.
    event_terms : pandas.Series
        :math:`\delta B_e`, ln units, indexed by event id.
    """

    coefficients: tuple[float, ...]
    tau: float
    phi_s2s: float
    phi_ss: float
    site_terms: pd.Series
    event_terms: pd.Series

    def median(self, magnitude, r_hyp_km, depth_km) -> np.ndarray:
        """Return the median of ln IM at an unknown site, the fixed effects; parameters as for `design`."""
        return design(magnitude, r_hyp_km, depth_km) @ np.array(self.coefficients)

    def median_of(self, records: pd.DataFrame) -> np.ndarray:
        """Return the median of ln IM for records with columns ``magnitude, r_hyp_km, depth_km``, [n]."""
        return self.median(records["magnitude"], records["r_hyp_km"], records["depth_km"])

    @property
    def sigma(self) -> float:
        """Return the total standard deviation of a record at a site without known term, ln units."""
        return float(np.sqrt(self.tau**2 + self.phi_s2s**2 + self.phi_ss**2))

    @property
    def sigma_known_site(self) -> float:
        """Return the single-station standard deviation about the median plus a known site term, ln units.

        The site term counts as exact: the posterior variance of its estimate, small for a site with many
        records, is left out (see `mixed_effects.CrossedEffects.site_terms_stddev`).
        """
        return float(np.hypot(self.tau, self.phi_ss))


def fit(records: pd.DataFrame) -> ErgodicModel:
    """Fit the ergodic model to records by restricted maximum likelihood, with crossed event and site terms.

    A term that is a linear combination of the terms before it in these records (depth, if all events have
    the same depth) gets the coefficient 0. Truncation is not corrected for: where a network lists only
    records above a trigger level, the fitted decay with distance is biased.

    Parameters
    ----------
    records : pandas.DataFrame
        ``event_id, site_id``, ``magnitude`` (Mw), ``depth_km``, ``r_hyp_km`` (hypocentral distance) and
        ``ln_im`` (natural logarithm of IM in g), a row per record.

    Returns
    -------
    ErgodicModel

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
