"""PGV given a spectral acceleration: Abrahamson & Bhasin (2020), for published models that have no PGV."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pygmm

from tfgmm.core import imt

#: Coefficients of the model that takes SA at the period of the magnitude (their table 3.2).
_C = SimpleNamespace(
    **{
        name: getattr(pygmm.AbrahamsonBhasin2020.COEFFS["psa(T=Tpgv)"], name)
        for name in ("a_1", "a_2", "a_3", "a_4", "a_5", "a_6", "a_7", "a_8", "tau", "phi")
    }
)
_V_REF_M_S = pygmm.AbrahamsonBhasin2020.V_REF


class ConditionalPgv(NamedTuple):
    r"""Median and standard deviations of ln PGV (cm/s), given those of a spectral acceleration (g).

    .. math:: \ln PGV = a_1 + f_1(M) \ln SA(T_{PGV}) + a_4 (M - 6) + a_5 (8.5 - M)^2
        + a_6 \ln(R + 5 e^{0.4 (M - 6)}) + (a_7 + a_8 (M - 5)) \ln(V_{S30} / 425)

    :math:`f_1` falls from :math:`a_2` at M 5 to :math:`a_3` at M 7.5. The coefficients are those in pygmm.

    Attributes
    ----------
    median : ndarray
        Median of ln PGV, PGV in cm/s.
    tau, phi : ndarray
        Between-event and within-event standard deviation, ln units.

    References
    ----------
    Abrahamson & Bhasin (2020), Conditional ground-motion model for peak ground velocity for active crustal
    regions, PEER Report 2020/05. Used for subduction earthquakes as well, for lack of another.
    """

    median: np.ndarray
    tau: np.ndarray
    phi: np.ndarray


def spectral_measure(magnitude: float) -> str:
    r"""Return the spectral acceleration on which the PGV of a magnitude depends.

    Its period is :math:`T_{PGV} = e^{-4.09 + 0.66 M}` s, 0.45 s at M 5 and 1.7 s at M 7.

    Parameters
    ----------
    magnitude : float
        Moment magnitude M.

    Returns
    -------
    str
        Name of the measure.
    """
    return imt.canonical(f"SA({np.exp(pygmm.AbrahamsonBhasin2020.ln_period_pgv(magnitude)):.9f})")


def conditional_pgv(ln_sa, magnitude, r_rup_km, vs30_m_s, *, tau=0.0, phi=0.0) -> ConditionalPgv:
    """Return ln PGV, given ln SA at the period of the magnitude (`spectral_measure`).

    Parameters
    ----------
    ln_sa : array_like
        Median of ln SA, SA in g.
    magnitude : array_like
        Moment magnitude.
    r_rup_km : array_like
        Closest distance to the rupture, km.
    vs30_m_s : array_like
        Vs30, m/s.
    tau, phi : array_like
        Between-event and within-event standard deviation of ln SA.

    Returns
    -------
    ConditionalPgv
        Median and standard deviations.
    """
    m = np.asarray(magnitude, float)
    slope = np.interp(m, [5.0, 7.5], [_C.a_2, _C.a_3])
    median = (
        _C.a_1
        + slope * ln_sa
        + _C.a_4 * (m - 6)
        + _C.a_5 * (8.5 - m) ** 2
        + _C.a_6 * np.log(r_rup_km + 5 * np.exp(0.4 * (m - 6)))
        + (_C.a_7 + _C.a_8 * (m - 5)) * np.log(np.asarray(vs30_m_s, float) / _V_REF_M_S)
    )
    return ConditionalPgv(median, np.hypot(slope * tau, _C.tau), np.hypot(slope * phi, _C.phi))
