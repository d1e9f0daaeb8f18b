"""Site response by Vs30: the published linear term re-fitted, the published non-linear term kept."""

import dataclasses
from typing import Self

import numpy as np
import pygmm

from tfgmm.core import imt
from tfgmm.stats.scaling_tables import NUMPY, ArrayFunctions

#: Slowest Vs30, m/s, of the published model; slower ground counts as this.
MIN_VS30_M_S = 150.0
#: Vs30, m/s, where the sites of all records are unknown.
UNKNOWN_VS30_M_S = 400.0

_COLUMNS = ("c", "V_c", "V_ref", "f_1", "f_3", "f_4", "f_5")


@dataclasses.dataclass(frozen=True)
class SiteResponse:
    r"""Site response of Seyhan & Stewart (2014), as in BSSA14, with a factor on its linear term.

    .. math:: F = a \, c \ln \frac{\min(V_{S30}, V_c)}{V_{ref}} + f_1 + f_2 \ln \frac{PGA_{760} + f_3}{f_3},
        \quad f_2 = f_4 [e^{f_5 (\min(V_{S30}, 760) - 360)} - e^{f_5 (760 - 360)}]

    with Vs30 in m/s and the median PGA at 760 m/s in g. At 760 m/s F is 0.

    Attributes
    ----------
    c, v_c, v_ref, f_1, f_3, f_4, f_5 : float
        Published coefficients of the intensity measure.
    factor : float
        Factor a of the linear term; 1 as published.

    References
    ----------
    Seyhan & Stewart (2014), Semi-empirical nonlinear site amplification from NGA-West2 data and
    simulations, Earthquake Spectra 30(3), 1241-1256. Boore, Stewart, Seyhan & Atkinson (2014), 1057-1085.
    """

    c: float
    v_c: float
    v_ref: float
    f_1: float
    f_3: float
    f_4: float
    f_5: float
    factor: float = 1.0

    @classmethod
    def published(cls, im: str) -> Self:
        """Return the published site response of an intensity measure, with the coefficients in pygmm.

        Parameters
        ----------
        im : str
            Intensity measure; between the periods of the table coefficients are linear in ln T, and
            outside they are those of the nearest period.

        Returns
        -------
        SiteResponse
            With the factor 1.
        """
        model = pygmm.BooreStewartSeyhanAtkinson2014
        rows = {name: np.asarray(model.COEFF[name], float) for name in _COLUMNS}
        peaks = {"PGA": model.INDEX_PGA, "PGV": model.INDEX_PGV}
        if im in peaks:
            return cls(*(float(rows[name][peaks[im]]) for name in _COLUMNS))
        period = imt.period(im)
        periods = np.log(np.asarray(model.COEFF["period"], float)[model.INDICES_PSA])
        return cls(
            *(float(np.interp(np.log(period), periods, rows[name][model.INDICES_PSA])) for name in _COLUMNS)
        )

    def linear(self, vs30, xp: ArrayFunctions = NUMPY):
        """Return the linear term as published (factor 1), ln units.

        Parameters
        ----------
        vs30 : array or tensor, [...]
            Vs30, m/s.
        xp : ArrayFunctions
            Functions of the library of `vs30`.

        Returns
        -------
        array or tensor, [...]
            Linear term.
        """
        return self.c * xp.log(xp.minimum(xp.maximum(vs30, MIN_VS30_M_S), self.v_c) / self.v_ref)

    def nonlinear(self, vs30, ln_pga_760, xp: ArrayFunctions = NUMPY):
        """Return the non-linear term, ln units: on soft ground, the lower the stronger the motion.

        Parameters
        ----------
        vs30 : array or tensor, [...]
            Vs30, m/s.
        ln_pga_760 : array or tensor, [...]
            Median of ln PGA (PGA in g) at Vs30 760 m/s.
        xp : ArrayFunctions
            Functions of the library of the arguments.

        Returns
        -------
        array or tensor, [...]
            Non-linear term.
        """
        soft = xp.minimum(xp.maximum(vs30, MIN_VS30_M_S), 760.0)
        f_2 = self.f_4 * (xp.exp(self.f_5 * (soft - 360.0)) - float(np.exp(self.f_5 * (760.0 - 360.0))))
        return self.f_1 + f_2 * xp.log(xp.exp(ln_pga_760) / self.f_3 + 1.0)

    def amplification(self, vs30, ln_pga_760, xp: ArrayFunctions = NUMPY):
        """Return the site response, ln units: the factor times the linear term, and the non-linear term.

        Parameters
        ----------
        vs30 : array or tensor, [...]
            Vs30, m/s.
        ln_pga_760 : array or tensor, [...]
            Median of ln PGA (PGA in g) at Vs30 760 m/s.
        xp : ArrayFunctions
            Functions of the library of the arguments.

        Returns
        -------
        array or tensor, [...]
            Difference of ln IM from that at Vs30 760 m/s.
        """
        return self.factor * self.linear(vs30, xp) + self.nonlinear(vs30, ln_pga_760, xp)
