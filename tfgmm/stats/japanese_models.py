"""Published ground-motion models of Japan, written from their equations: Zhao et al., Morikawa & Fujiwara.

Both predict crustal, interface and intraslab earthquakes. The entries of `MODELS` can be used like those of
`tfgmm.stats.published`, which are computed by pygmm, but take arrays.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.data.schemas import TECTONIC_CLASSES
from tfgmm.stats import conditional_pgv

#: Tectonic classes of both models.
CLASSES = TECTONIC_CLASSES

# Standard gravity, cm/s^2: the models predict accelerations in cm/s^2.
_GRAVITY_CM_S2 = 100 * imt.STANDARD_GRAVITY

# Coefficients by name, at one period.
_Coefficients = dict[str, float]
# Coefficients by period, s; 0 is PGA and -1 is PGV.
_Table = dict[float, _Coefficients]


class Prediction(NamedTuple):
    """Prediction of a ground-motion model: arrays of the common shape of the arguments.

    Attributes
    ----------
    median : ndarray
        Median of ln IM; IM in g, PGV in cm/s.
    stddev : ndarray
        Total standard deviation of ln IM.
    tau : ndarray
        Between-event standard deviation, ln units; NaN if the authors give the total only.
    phi : ndarray
        Within-event standard deviation, ln units; NaN if the authors give the total only.
    """

    median: np.ndarray
    stddev: np.ndarray
    tau: np.ndarray
    phi: np.ndarray


def zhao_2006(
    im: str,
    magnitude: ArrayLike,
    r_rup_km: ArrayLike,
    depth_km: ArrayLike,
    vs30_m_s: ArrayLike,
    *,
    tectonic_class: str,
) -> Prediction:
    r"""Predict ln IM by the model of Zhao et al. (2006).

    .. math::

        \ln y = a M + b x - \ln(x + c e^{d M}) + e (\min(h, 125) - 15)_+ + S + S_{SL} \ln x + C_k
                + P (M - M_c) + Q (M - M_c)^2 + W

    y is in cm/s^2, x the rupture distance and h the hypocentral depth in km, :math:`C_k` the term of the
    site class; :math:`M_c` is 6.5 for intraslab events, else 6.3. S is 0 for crustal events,
    :math:`S_{SL}` and P are 0 except for intraslab events. The term of reverse crustal faults is left out:
    the mechanism is strike-slip, normal or unknown. The component is the geometric mean of the two
    horizontal ones.

    Parameters
    ----------
    im : str
        PGA, a spectral acceleration such as ``SA(1.0)``, 0.05 s to 5 s, or PGV, which the authors do not
        have: it follows from SA by Abrahamson & Bhasin (2020) (`tfgmm.stats.conditional_pgv`).
    magnitude : array_like
        Moment magnitude.
    r_rup_km : array_like
        Closest distance to the rupture, km; greater than 0 for intraslab events.
    depth_km : array_like
        Hypocentral depth, km.
    vs30_m_s : array_like
        Vs30, m/s. The site classes are hard rock above 1100, SC I above 600, SC II above 300, SC III above
        200, and SC IV.
    tectonic_class : str
        One of `CLASSES`.

    Returns
    -------
    Prediction
        Median and standard deviations, interpolated in ln T between the periods of the tables; NaN outside
        of them.

    Raises
    ------
    UsageError
        `tectonic_class` is not one of `CLASSES`, or `im` is neither PGA, PGV nor SA(T).

    References
    ----------
    Zhao et al. (2006), Bull. Seismol. Soc. Am. 96(3), 898-913: equations 1 to 3 and 5, Tables 2 and 4 to 6.
    """
    table = _ZHAO_TABLES[_check_class(tectonic_class)]
    m, x, h, vs30 = np.broadcast_arrays(magnitude, r_rup_km, depth_km, vs30_m_s)
    if im == "PGV":
        return _zhao_pgv(m, x, h, vs30, tectonic_class)
    deep_km = np.maximum(np.minimum(h, _ZHAO_DEPTHS_KM[1]) - _ZHAO_DEPTHS_KM[0], 0)
    site = np.digitize(vs30, _ZHAO_VS30, right=True)
    # An unknown Vs30 would be hard rock.
    unknown = np.where(np.isnan(vs30), np.nan, 0.0)
    is_intraslab = tectonic_class == "intraslab"
    above = m - (6.5 if is_intraslab else 6.3)

    def median(c: _Coefficients) -> np.ndarray:
        """Return the median of ln IM, IM in g, at a period of the tables."""
        site_term = np.array([c["C4"], c["C3"], c["C2"], c["C1"], c["CH"]])[site] + unknown
        source = c["a"] * m + c["e"] * deep_km + c["S"] + c["P"] * above + c["Q"] * above**2 + c["W"]
        path = c["b"] * x - np.log(x + c["c"] * np.exp(c["d"] * m))
        if is_intraslab:
            path = path + c["SSL"] * np.log(x)
        return source + path + site_term - math.log(_GRAVITY_CM_S2)

    tau = _interpolate(table, im, lambda c: c["tau"])
    phi = _interpolate(table, im, lambda c: c["sigma"])
    parts = _interpolate(table, im, median), np.hypot(tau, phi), tau, phi
    return Prediction(*(np.full(m.shape, part) for part in parts))


def _zhao_pgv(m, x, h, vs30, tectonic_class: str) -> Prediction:
    """Return PGV (cm/s) from the spectral acceleration of `zhao_2006` at the period of each magnitude."""
    parts = np.full((4, *m.shape), np.nan)
    for magnitude in np.unique(m[np.isfinite(m)]):
        here = m == magnitude
        sa = zhao_2006(
            conditional_pgv.spectral_measure(magnitude),
            *(values[here] for values in (m, x, h, vs30)),
            tectonic_class=tectonic_class,
        )
        pgv = conditional_pgv.conditional_pgv(
            sa.median, magnitude, x[here], vs30[here], tau=sa.tau, phi=sa.phi
        )
        parts[:, here] = pgv.median, np.hypot(pgv.tau, pgv.phi), pgv.tau, pgv.phi
    return Prediction(*parts)


def morikawa_fujiwara_2013(
    im: str,
    magnitude: ArrayLike,
    r_rup_km: ArrayLike,
    depth_km: ArrayLike,
    vs30_m_s: ArrayLike,
    *,
    tectonic_class: str,
    d1400_m: ArrayLike = 300.0,
) -> Prediction:
    r"""Predict ln IM by the model of Morikawa & Fujiwara (2013), quadratic in magnitude (Model 1).

    .. math::

        \log_{10} A = a (M' - 16)^2 + b_k X + c_k - \log_{10}(X + d\, 10^{0.5 M'}) + G_d + G_s

        G_d = p_d \log_{10}(\max(D_{1400}, D_{min}) / 300), \quad
        G_s = p_s \log_{10}(\min(V_{S30}, V_{max}) / 350), \quad M' = \min(M, 8.2)

    A is in cm/s^2, PGV in cm/s; X is the rupture distance in km, and k the tectonic class. The site terms
    :math:`G_d` (deep sediments) and :math:`G_s` (shallow soils) are the revised ones of 2014, which the
    authors apply since. :math:`G_d` is 0 by default. The terms of anomalous attenuation (back-arc sites)
    and of intraslab events in the Philippine Sea plate are left out.

    Parameters
    ----------
    im : str
        PGA, PGV or a spectral acceleration such as ``SA(1.0)``, 0.05 s to 10 s.
    magnitude : array_like
        Moment magnitude.
    r_rup_km : array_like
        Closest distance to the rupture, km.
    depth_km : array_like
        Hypocentral depth, km; without effect, because it is needed for the terms left out only.
    vs30_m_s : array_like
        Vs30, m/s.
    tectonic_class : str
        One of `CLASSES`.
    d1400_m : array_like
        Depth of the top of the layer with a shear-wave velocity of 1400 m/s, m.

    Returns
    -------
    Prediction
        Median and total standard deviation, interpolated in ln T between the periods of the tables; NaN
        outside of them. The authors give the total standard deviation only.

    Raises
    ------
    UsageError
        `tectonic_class` is not one of `CLASSES`, or `im` is neither PGA, PGV nor SA(T).

    References
    ----------
    Morikawa & Fujiwara (2013), J. Disaster Res. 8(5), 878-888. Morikawa & Fujiwara (2023), Ground Motion
    Prediction Equation based on Morikawa and Fujiwara (2013), J-SHIS Labs: equation 1, with the site terms
    of Morikawa & Fujiwara (2014).
    """
    number = CLASSES.index(_check_class(tectonic_class)) + 1
    m, x, _, vs30, d1400 = np.broadcast_arrays(magnitude, r_rup_km, depth_km, vs30_m_s, d1400_m)
    m = np.minimum(m, _MF_LARGEST_MAGNITUDE)
    # Velocities are not divided by the acceleration of gravity.
    unit = 1.0 if im == "PGV" else _GRAVITY_CM_S2

    def median(c: _Coefficients) -> np.ndarray:
        """Return the median of ln IM, IM in g (PGV in cm/s), at a period of the tables."""
        source = c["a"] * (m - 16) ** 2 + c[f"c{number}"]
        path = c[f"b{number}"] * x - np.log10(x + c["d"] * 10 ** (0.5 * m))
        deep = c["pd"] * np.log10(np.maximum(d1400, c["Dmin"]) / 300)
        shallow = c["ps"] * np.log10(np.minimum(vs30, c["Vmax"]) / 350)
        return math.log(10) * (source + path + deep + shallow) - math.log(unit)

    stddev = math.log(10) * _interpolate(_MF_TABLE, im, lambda c: c["sigma"])
    parts = _interpolate(_MF_TABLE, im, median), stddev, np.nan, np.nan
    return Prediction(*(np.full(m.shape, part) for part in parts))


def _check_class(tectonic_class: str) -> str:
    """Return the tectonic class; raise UsageError if it is not one of `CLASSES`."""
    if tectonic_class not in CLASSES:
        raise UsageError(f"unknown tectonic class {tectonic_class!r}: write {', '.join(CLASSES)}")
    return tectonic_class


def _interpolate(table: _Table, im: str, value: Callable[[_Coefficients], ArrayLike]) -> np.ndarray:
    """Return a value of the coefficients at the period of an IM, linear in ln T between the two nearest.

    The result is NaN outside the periods of the table. The values are interpolated, not the coefficients,
    as the values of pygmm are.
    """
    period = -1.0 if im == "PGV" else imt.period(im)
    if period in table:
        return np.asarray(value(table[period]))
    spectral = [node for node in table if node > 0]
    if not spectral[0] < period < spectral[-1]:
        return np.asarray(np.nan)
    upper = int(np.searchsorted(spectral, period))
    low, high = spectral[upper - 1], spectral[upper]
    weight = math.log(period / low) / math.log(high / low)
    return (1 - weight) * np.asarray(value(table[low])) + weight * np.asarray(value(table[high]))


def _table(text: str) -> _Table:
    """Return the coefficients written as a header and a line per period, ascending."""
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {float(row[0]): dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}


# Zhao et al. (2006), Table 4 (a to e) and Table 5 (hard rock CH, SC I to IV, within-event sigma).
_ZHAO_BASE = _table("""
period     a        b      c     d       e     CH     C1     C2     C3     C4 sigma
0      1.101 -0.00564 0.0055 1.080 0.01412  0.293  1.111  1.344  1.355  1.420 0.604
0.05   1.076 -0.00671 0.0075 1.060 0.01463  0.939  1.684  1.793  1.747  1.814 0.640
0.1    1.118 -0.00787 0.0090 1.083 0.01423  1.499  2.061  2.135  2.031  2.082 0.694
0.15   1.134 -0.00722 0.0100 1.053 0.01509  1.462  1.916  2.168  2.052  2.113 0.702
0.2    1.147 -0.00659 0.0120 1.014 0.01462  1.280  1.669  2.085  2.001  2.030 0.692
0.25   1.149 -0.00590 0.0140 0.966 0.01459  1.121  1.468  1.942  1.941  1.937 0.682
0.3    1.163 -0.00520 0.0150 0.934 0.01458  0.852  1.172  1.683  1.808  1.770 0.670
0.4    1.200 -0.00422 0.0100 0.959 0.01257  0.365  0.655  1.127  1.482  1.397 0.659
0.5    1.250 -0.00338 0.0060 1.008 0.01114 -0.207  0.071  0.515  0.934  0.955 0.653
0.6    1.293 -0.00282 0.0030 1.088 0.01019 -0.705 -0.429 -0.003  0.394  0.559 0.653
0.7    1.336 -0.00258 0.0025 1.084 0.00979 -1.144 -0.866 -0.449 -0.111  0.188 0.652
0.8    1.386 -0.00242 0.0022 1.088 0.00944 -1.609 -1.325 -0.928 -0.620 -0.246 0.647
0.9    1.433 -0.00232 0.0020 1.109 0.00972 -2.023 -1.732 -1.349 -1.066 -0.643 0.653
1      1.479 -0.00220 0.0020 1.115 0.01005 -2.451 -2.152 -1.776 -1.523 -1.084 0.657
1.25   1.551 -0.00207 0.0020 1.083 0.01003 -3.243 -2.923 -2.542 -2.327 -1.936 0.660
1.5    1.621 -0.00224 0.0020 1.091 0.00928 -3.888 -3.548 -3.169 -2.979 -2.661 0.664
2      1.694 -0.00201 0.0025 1.055 0.00833 -4.783 -4.410 -4.039 -3.871 -3.640 0.669
2.5    1.748 -0.00187 0.0028 1.052 0.00776 -5.444 -5.049 -4.698 -4.496 -4.341 0.671
3      1.759 -0.00147 0.0032 1.025 0.00644 -5.839 -5.431 -5.089 -4.893 -4.758 0.667
4      1.826 -0.00195 0.0040 1.044 0.00590 -6.598 -6.181 -5.882 -5.698 -5.588 0.647
5      1.825 -0.00237 0.0050 1.065 0.00510 -6.752 -6.347 -6.051 -5.873 -5.798 0.643
""")

# Zhao et al. (2006), Table 4 (S, SSL) and Table 6 (P, Q, W, and tau with the magnitude-squared term).
_ZHAO_CRUSTAL = _table("""
period       Q      W   tau
0       0.0000 0.0000 0.303
0.05    0.0000 0.0000 0.326
0.1     0.0000 0.0000 0.342
0.15    0.0000 0.0000 0.331
0.2     0.0000 0.0000 0.312
0.25    0.0000 0.0000 0.298
0.3     0.0000 0.0000 0.300
0.4     0.0000 0.0000 0.346
0.5    -0.0126 0.0116 0.338
0.6    -0.0329 0.0202 0.349
0.7    -0.0501 0.0274 0.351
0.8    -0.0650 0.0336 0.356
0.9    -0.0781 0.0391 0.348
1      -0.0899 0.0440 0.338
1.25   -0.1148 0.0545 0.313
1.5    -0.1351 0.0630 0.306
2      -0.1672 0.0764 0.283
2.5    -0.1921 0.0869 0.287
3      -0.2124 0.0954 0.278
4      -0.2445 0.1088 0.273
5      -0.2694 0.1193 0.275
""")
_ZHAO_INTERFACE = _table("""
period      S       Q      W   tau
0       0.000  0.0000 0.0000 0.308
0.05    0.000  0.0000 0.0000 0.343
0.1     0.000  0.0000 0.0000 0.403
0.15    0.000 -0.0138 0.0286 0.367
0.2     0.000 -0.0256 0.0352 0.328
0.25    0.000 -0.0348 0.0403 0.289
0.3     0.000 -0.0423 0.0445 0.280
0.4    -0.041 -0.0541 0.0511 0.271
0.5    -0.053 -0.0632 0.0562 0.277
0.6    -0.103 -0.0707 0.0604 0.296
0.7    -0.146 -0.0771 0.0639 0.313
0.8    -0.164 -0.0825 0.0670 0.329
0.9    -0.206 -0.0874 0.0697 0.324
1      -0.239 -0.0917 0.0721 0.328
1.25   -0.256 -0.1009 0.0772 0.339
1.5    -0.306 -0.1083 0.0814 0.352
2      -0.321 -0.1202 0.0880 0.360
2.5    -0.337 -0.1293 0.0931 0.356
3      -0.331 -0.1368 0.0972 0.338
4      -0.390 -0.1486 0.1038 0.307
5      -0.498 -0.1578 0.1090 0.272
""")
_ZHAO_INTRASLAB = _table("""
period     S    SSL       P       Q       W   tau
0      2.607 -0.528  0.1392  0.1584 -0.0529 0.321
0.05   2.764 -0.551  0.1636  0.1932 -0.0841 0.378
0.1    2.156 -0.420  0.1690  0.2057 -0.0877 0.420
0.15   2.161 -0.431  0.1669  0.1984 -0.0773 0.372
0.2    1.901 -0.372  0.1631  0.1856 -0.0644 0.324
0.25   1.814 -0.360  0.1588  0.1714 -0.0515 0.294
0.3    2.181 -0.450  0.1544  0.1573 -0.0395 0.284
0.4    2.432 -0.506  0.1460  0.1309 -0.0183 0.278
0.5    2.629 -0.554  0.1381  0.1078 -0.0008 0.272
0.6    2.702 -0.575  0.1307  0.0878  0.0136 0.285
0.7    2.654 -0.572  0.1239  0.0705  0.0254 0.290
0.8    2.480 -0.540  0.1176  0.0556  0.0352 0.299
0.9    2.332 -0.522  0.1116  0.0426  0.0432 0.289
1      2.233 -0.509  0.1060  0.0314  0.0498 0.286
1.25   2.029 -0.469  0.0933  0.0093  0.0612 0.277
1.5    1.589 -0.379  0.0821 -0.0062  0.0674 0.282
2      0.966 -0.248  0.0628 -0.0235  0.0692 0.300
2.5    0.789 -0.221  0.0465 -0.0287  0.0622 0.292
3      1.037 -0.263  0.0322 -0.0261  0.0496 0.274
4      0.561 -0.169  0.0083 -0.0065  0.0150 0.281
5      0.225 -0.120 -0.0117  0.0246 -0.0268 0.296
""")

_NO_TERM = {"S": 0.0, "SSL": 0.0, "P": 0.0}
_ZHAO_TABLES = {
    name: {period: _NO_TERM | _ZHAO_BASE[period] | of_class[period] for period in _ZHAO_BASE}
    for name, of_class in zip(CLASSES, (_ZHAO_CRUSTAL, _ZHAO_INTERFACE, _ZHAO_INTRASLAB), strict=True)
}
# Depths at which the depth term begins and ends, km (pages 901 and 902).
_ZHAO_DEPTHS_KM = 15.0, 125.0
# Upper bounds of the site classes SC IV, III, II and I, m/s (Table 2).
_ZHAO_VS30 = 200.0, 300.0, 600.0, 1100.0

# Morikawa & Fujiwara (2013), Model 1: b and c of crustal (1), interface (2) and intraslab events (3), and
# the total standard deviation in log10 units. Period -1 is PGV, 0 is PGA. These coefficients and those of
# the site terms are as in OpenQuake's hazardlib 3.25.1; its equation is that of the authors' page of 2023.
_MF_BASE = _table("""
period       a        b1        b2        b3     c1     c2     c3        d  sigma
-1     -0.0325 -0.002654 -0.002408 -0.003451 5.6952 5.6026 6.0030 0.002266 0.3399
0      -0.0321 -0.005315 -0.005042 -0.005605 7.0830 7.1181 7.5035 0.011641 0.3761
0.05   -0.0321 -0.005912 -0.005674 -0.006231 7.2151 7.2759 7.6801 0.012812 0.3938
0.06   -0.0321 -0.006097 -0.005864 -0.006405 7.2852 7.3523 7.7504 0.014508 0.4039
0.07   -0.0321 -0.006142 -0.005967 -0.006507 7.3397 7.4152 7.8127 0.015574 0.4149
0.08   -0.0323 -0.006104 -0.006033 -0.006594 7.4122 7.4929 7.8938 0.016465 0.4219
0.09   -0.0325 -0.006112 -0.006079 -0.006689 7.4817 7.5649 7.9649 0.017390 0.4259
0.1    -0.0327 -0.006116 -0.006061 -0.006686 7.5396 7.6214 8.0219 0.018438 0.4266
0.11   -0.0324 -0.005998 -0.005971 -0.006576 7.5072 7.5947 7.9960 0.017396 0.4256
0.12   -0.0322 -0.005896 -0.005878 -0.006448 7.4920 7.5837 7.9782 0.016457 0.4243
0.13   -0.0321 -0.005786 -0.005757 -0.006331 7.4788 7.5645 7.9644 0.015607 0.4229
0.15   -0.0321 -0.005564 -0.005579 -0.006078 7.4630 7.5471 7.9360 0.014118 0.4193
0.17   -0.0321 -0.005398 -0.005382 -0.005813 7.4557 7.5245 7.9097 0.012855 0.4162
0.2    -0.0321 -0.005151 -0.005027 -0.005476 7.4307 7.4788 7.8719 0.011273 0.4152
0.22   -0.0322 -0.005000 -0.004827 -0.005204 7.4139 7.4461 7.8311 0.010380 0.4130
0.25   -0.0321 -0.004836 -0.004519 -0.004907 7.3736 7.3728 7.7521 0.009225 0.4089
0.3    -0.0321 -0.004543 -0.004095 -0.004621 7.2924 7.2797 7.6656 0.007670 0.4063
0.35   -0.0321 -0.004379 -0.003717 -0.004305 7.2417 7.1832 7.5796 0.006448 0.4043
0.4    -0.0321 -0.004135 -0.003342 -0.003989 7.1785 7.0883 7.4889 0.005464 0.4029
0.45   -0.0321 -0.003973 -0.003063 -0.003934 7.1202 7.0100 7.4287 0.004657 0.4033
0.5    -0.0321 -0.003767 -0.002832 -0.003783 7.0604 6.9439 7.3615 0.003986 0.4019
0.6    -0.0321 -0.003389 -0.002450 -0.003351 6.9357 6.8166 7.2161 0.002946 0.4032
0.7    -0.0321 -0.002981 -0.002059 -0.002988 6.8272 6.6957 7.0854 0.002193 0.4038
0.8    -0.0321 -0.002640 -0.001692 -0.002587 6.7325 6.5864 6.9659 0.001641 0.4053
0.9    -0.0325 -0.002341 -0.001445 -0.002421 6.6845 6.5349 6.9211 0.001234 0.4085
1      -0.0327 -0.002138 -0.001322 -0.002331 6.6284 6.4748 6.8605 0.000936 0.4091
1.1    -0.0331 -0.001912 -0.001140 -0.002194 6.5971 6.4383 6.8304 0.000723 0.4074
1.2    -0.0337 -0.001790 -0.001053 -0.002213 6.5912 6.4200 6.8224 0.000576 0.4061
1.3    -0.0339 -0.001671 -0.000979 -0.002159 6.5588 6.3848 6.7827 0.000482 0.4046
1.5    -0.0347 -0.001516 -0.000811 -0.002020 6.5419 6.3510 6.7540 0.000417 0.4035
1.7    -0.0352 -0.001526 -0.000714 -0.001909 6.5209 6.3011 6.7004 0.000471 0.4007
2      -0.0359 -0.001604 -0.000673 -0.001576 6.4982 6.2617 6.6087 0.000703 0.3927
2.2    -0.0365 -0.001516 -0.000610 -0.001349 6.4920 6.2463 6.5766 0.000702 0.3883
2.5    -0.0375 -0.001457 -0.000586 -0.001266 6.4964 6.2485 6.5667 0.000826 0.3831
3      -0.0382 -0.001345 -0.000505 -0.001105 6.4414 6.1858 6.4858 0.001202 0.3775
3.5    -0.0384 -0.001270 -0.000512 -0.001000 6.3464 6.0849 6.3681 0.001647 0.3713
4      -0.0385 -0.001075 -0.000610 -0.001005 6.2459 6.0035 6.2727 0.002087 0.3646
4.5    -0.0389 -0.000904 -0.000605 -0.001061 6.1868 5.9423 6.2145 0.002489 0.3603
5      -0.0393 -0.000739 -0.000564 -0.001155 6.1466 5.8960 6.1817 0.002841 0.3552
5.5    -0.0398 -0.000570 -0.000626 -0.001254 6.1084 5.8725 6.1566 0.003139 0.3494
6      -0.0402 -0.000456 -0.000702 -0.001317 6.0920 5.8536 6.1257 0.003384 0.3428
6.5    -0.0405 -0.000308 -0.000785 -0.001361 6.0636 5.8218 6.0778 0.003580 0.3366
7      -0.0410 -0.000195 -0.000856 -0.001392 6.0586 5.8197 6.0652 0.003728 0.3300
7.5    -0.0412 -0.000109 -0.000880 -0.001413 6.0367 5.7971 6.0388 0.003833 0.3242
8      -0.0417 -0.000100 -0.000908 -0.001466 6.0378 5.7885 6.0381 0.003898 0.3185
8.5    -0.0419 -0.000100 -0.000940 -0.001496 6.0238 5.7674 6.0180 0.003927 0.3130
9      -0.0420 -0.000100 -0.001012 -0.001488 5.9972 5.7463 5.9881 0.003924 0.3090
9.5    -0.0423 -0.000100 -0.001098 -0.001485 5.9880 5.7507 5.9807 0.003890 0.3047
10     -0.0427 -0.000100 -0.001179 -0.001498 5.9820 5.7595 5.9869 0.003828 0.3007
""")

# Morikawa & Fujiwara (2014), site terms; Dmin in m, Vmax in m/s.
_MF_SITE = _table("""
period        pd  Dmin        ps   Vmax
-1      0.129142 105.0 -0.693402  850.0
0      -0.055358  15.0 -0.523212 1950.0
0.05   -0.071415  15.0 -0.368827 2000.0
0.06   -0.081796  15.0 -0.309232 2000.0
0.07   -0.089891  15.0 -0.247786 2000.0
0.08   -0.093581  15.0 -0.234067 2000.0
0.09   -0.089604  15.0 -0.252853 2000.0
0.1    -0.084855  15.0 -0.284416 2000.0
0.11   -0.076412  15.0 -0.305700 2000.0
0.12   -0.076948  15.0 -0.351975 2000.0
0.13   -0.072886  15.0 -0.395130 2000.0
0.15   -0.061401  15.0 -0.461774 2000.0
0.17   -0.051288  15.0 -0.536789 2000.0
0.2    -0.043392  15.0 -0.633661 2000.0
0.22   -0.035431  15.0 -0.665914 2000.0
0.25   -0.032667  15.0 -0.719524 2000.0
0.3    -0.019984  15.0 -0.793002 2000.0
0.35   -0.010959  15.0 -0.845946 2000.0
0.4     0.003891  15.0 -0.875246 2000.0
0.45    0.017120  15.0 -0.892051 1973.0
0.5     0.030246  15.0 -0.891130 1900.0
0.6     0.057955  15.0 -0.869468 1779.9
0.7     0.071145  15.0 -0.873924 1684.3
0.8     0.089675  15.0 -0.846494 1605.7
0.9     0.109109  15.0 -0.814706 1539.4
1       0.128832  15.0 -0.778652 1482.4
1.1     0.146198  15.3 -0.732989 1432.7
1.2     0.161540  17.1 -0.703167 1388.7
1.3     0.171349  19.0 -0.686586 1349.5
1.5     0.195287  23.0 -0.650103 1282.1
1.7     0.220718  27.2 -0.602410 1225.9
2       0.253945  33.7 -0.543585 1156.6
2.2     0.270206  38.3 -0.505691 1117.8
2.5     0.291435  45.4 -0.458523 1067.8
3       0.323118  57.8 -0.413921 1000.3
3.5     0.355950  70.9 -0.375806  946.6
4       0.380773  84.7 -0.348309  902.4
4.5     0.405714  99.0 -0.309662  865.1
5       0.419676 113.8 -0.294664  833.1
5.5     0.434776 129.2 -0.289487  805.2
6       0.453344 145.0 -0.290399  780.5
6.5     0.455404 155.0 -0.281808  758.4
7       0.440951 155.0 -0.283250  738.5
7.5     0.427237 155.0 -0.275643  720.5
8       0.410255 155.0 -0.277723  704.1
8.5     0.393707 155.0 -0.278975  688.9
9       0.378643 155.0 -0.284384  675.0
9.5     0.363717 155.0 -0.290498  662.0
10      0.348396 155.0 -0.298398  650.0
""")
_MF_TABLE = {period: _MF_BASE[period] | _MF_SITE[period] for period in _MF_BASE}
# Magnitude from which the motion does not grow.
_MF_LARGEST_MAGNITUDE = 8.2


@dataclasses.dataclass(frozen=True)
class JapaneseModel:
    """A published ground-motion model of Japan for one tectonic class, with its range of application.

    Attributes
    ----------
    name : str
        Name in tables and figures.
    tectonic_class : str
        One of `CLASSES`.
    predict : callable
        `zhao_2006` or `morikawa_fujiwara_2013`.
    ranges : dict of str to (float, float)
        Range of application, by column of the records (magnitude, km).
    distance : str
        Column of the distance: ``r_hyp_km`` (hypocentral), the rupture distance of a point.
    depths_km : tuple of float
        Hypocentral depths at which the scaling with depth begins, bends and ends; 0 alone if there is none.
    vs30 : tuple of float
        Vs30 at which the scaling with Vs30 bends, and on either side of which it jumps, m/s.
    bends : tuple of float
        Magnitudes at which the scaling with magnitude bends.
    jumps : tuple of float
        Magnitudes at which the model is discontinuous.
    """

    name: str
    tectonic_class: str
    predict: Callable[..., Prediction]
    ranges: dict[str, tuple[float, float]]
    distance: str = "r_hyp_km"
    depths_km: tuple[float, ...] = (0.0,)
    vs30: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()

    def ln_im(
        self,
        im: str,
        magnitude: ArrayLike,
        distance_km: ArrayLike,
        depth_km: ArrayLike,
        vs30: ArrayLike,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the median and the total standard deviation of ln IM (IM in g, PGV in cm/s).

        Parameters
        ----------
        im : str
            Intensity measure: PGA, PGV or a spectral acceleration such as ``SA(1.0)``.
        magnitude : array_like
            Moment magnitude.
        distance_km : array_like
            Distance of the column `distance`, km.
        depth_km : array_like
            Hypocentral depth, km.
        vs30 : array_like
            Vs30, m/s.

        Returns
        -------
        median, stddev : ndarray
            Arrays of the common shape of the arguments; NaN for a period that the model does not have.

        Raises
        ------
        UsageError
            The model does not predict an intensity measure of this name.
        """
        predicted = self.predict(
            im, magnitude, distance_km, depth_km, vs30, tectonic_class=self.tectonic_class
        )
        return predicted.median, predicted.stddev


# The records of Zhao et al. (2006) by tectonic class: hypocentral depths, km.
_ZHAO_RECORDS_KM = {"crustal": (0, 25), "interface": (10, 50), "intraslab": (15, 162)}
# A Vs30 of exactly the border belongs to the class below it, so that node lies closer to the border.
_ZHAO_VS30_NODES = tuple(border * (1 + side) for border in _ZHAO_VS30 for side in (-1e-12, 1e-9))

#: Zhao et al. (2006) and Morikawa & Fujiwara (2013), in the tectonic classes; the ranges are those of the
#: authors' records.
MODELS = (
    *(
        JapaneseModel(
            *(f"Zhao06 {name}", name, zhao_2006),
            {"magnitude": (5, 8.3), "r_hyp_km": (0, 300), "depth_km": _ZHAO_RECORDS_KM[name]},
            depths_km=(0.0, *_ZHAO_DEPTHS_KM),
            vs30=_ZHAO_VS30_NODES,
        )
        for name in CLASSES
    ),
    *(
        JapaneseModel(
            *(f"MF13 {name}", name, morikawa_fujiwara_2013),
            {"magnitude": (5.5, 9), "r_hyp_km": (0, 200)},
            vs30=tuple(sorted({row["Vmax"] for row in _MF_TABLE.values()})),
            bends=(_MF_LARGEST_MAGNITUDE,),
        )
        for name in CLASSES
    ),
)
