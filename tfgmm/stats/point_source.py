"""Mean and variance of ln of the rupture distance where only magnitude and hypocentre are known.

The rupture is unknown, so many are simulated: of all sizes that earthquakes of this magnitude have, through
the hypocentre in all directions. The nearest point of a rupture is never farther than the hypocentre.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from scipy import special

from tfgmm.core.errors import UsageError

#: Smallest rupture distance, km; smaller simulated distances are set to this value.
MIN_R_RUP_KM = 0.1
#: Number of simulated ruptures for each magnitude and depth.
RUPTURES = 2048
#: Nodes of the table: moment magnitudes, hypocentral distances (km) and depths (km).
MAGNITUDES = np.arange(2.0, 9.51, 0.25)
DISTANCES_KM = np.geomspace(1.0, 2000.0, 32)
DEPTHS_KM = np.array(
    [*range(7), 8, 10, 12, 14, 16, 18, 20, 22.5, 25, 30, 35, 40, 50, 60, 80, 100, 150, 200, 400, 800], float
)
#: Depth below a hypocentre to which a rupture may reach where the class ends at a shallower depth, km.
BELOW_HYPOCENTRE_KM = 5.0


@dataclasses.dataclass(frozen=True)
class RuptureSizes:
    """Sizes and dips of ruptures of one tectonic class, by moment magnitude M.

    Attributes
    ----------
    area, width : tuple of float, [3]
        a, b and standard deviation of log10 of the area (km^2) and of the width down dip (km), a + b M.
    dip : tuple of float, [2]
        Smallest and largest dip, degrees; all dips between are equally likely.
    bottom_km : float
        Largest depth of a rupture, km.
    longest_km : float
        Largest length along strike, km. A longer rupture has less area, not more width.
    """

    area: tuple[float, float, float]
    width: tuple[float, float, float]
    dip: tuple[float, float]
    bottom_km: float
    longest_km: float


#: Sizes by tectonic class. Crustal: Wells & Coppersmith (1994), Table 2A, all slip types. Interface and
#: intraslab: Strasser et al. (2010). Dips and largest depths are round numbers of usual practice. The
#: largest lengths are those of the longest ruptures known, rounded up: San Francisco 1906 (480 km), Sumatra
#: 2004 (1,300 km), and about 200 km of intraslab earthquakes. Without them M 9 in the crust has 2,000 km.
CLASSES: Mapping[str, RuptureSizes] = {
    "crustal": RuptureSizes((-3.49, 0.91, 0.24), (-1.01, 0.32, 0.15), (30.0, 90.0), 20.0, 500.0),
    "interface": RuptureSizes((-3.476, 0.952, 0.304), (-0.882, 0.351, 0.173), (10.0, 30.0), 60.0, 1300.0),
    "intraslab": RuptureSizes((-3.225, 0.890, 0.184), (-1.058, 0.356, 0.067), (30.0, 90.0), np.inf, 300.0),
}


@dataclasses.dataclass(frozen=True, eq=False)
class DistanceTable:
    r"""Mean and variance of ln R_rup at nodes over magnitude, ln R_hyp and depth, and between them.

    .. math:: E[\ln R_{rup}] = \ln R_{hyp} + r(M, \ln R_{hyp}, Z), \quad r \le 0

    r and the variance are interpolated linearly in each of M, ln R_hyp and Z, and constant beyond the first
    and the last node, so plain arithmetic gives the same numbers everywhere. Nodes with
    :math:`R_{hyp} < Z`, which is no place at the ground, have the values of :math:`R_{hyp} = Z`.

    Attributes
    ----------
    magnitude : ndarray, [n_magnitudes]
        Nodes of the moment magnitude M, ascending.
    ln_r_hyp : ndarray, [n_distances]
        Nodes of ln R_hyp (R_hyp in km), ascending.
    depth_km : ndarray, [n_depths]
        Nodes of the depth of the hypocentre Z, km, ascending.
    ln_ratio : ndarray, [n_magnitudes, n_distances, n_depths]
        r, the mean of ln (R_rup / R_hyp).
    variance : ndarray, [n_magnitudes, n_distances, n_depths]
        Variance of ln R_rup.
    """

    magnitude: np.ndarray
    ln_r_hyp: np.ndarray
    depth_km: np.ndarray
    ln_ratio: np.ndarray
    variance: np.ndarray

    def at(self, magnitude, r_hyp_km, depth_km) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of ln R_rup (R_rup in km) for any magnitudes, distances and depths.

        Parameters
        ----------
        magnitude : array_like
            Moment magnitude.
        r_hyp_km : array_like
            Hypocentral distance, km, above 0.
        depth_km : array_like
            Depth of the hypocentre, km. The shapes of the three parameters broadcast.

        Returns
        -------
        mean, variance : ndarray
            Mean and variance of ln R_rup, in the common shape; NaN where a parameter is NaN.
        """
        ln_r_hyp = np.log(np.asarray(r_hyp_km, float))
        parameters = np.broadcast_arrays(
            np.asarray(magnitude, float), ln_r_hyp, np.asarray(depth_km, float)
        )
        nodes = self.magnitude, self.ln_r_hyp, self.depth_km
        places = [_locate(x, values) for x, values in zip(nodes, parameters, strict=True)]
        ratio = variance = np.zeros(parameters[0].shape)
        for corner in np.ndindex(2, 2, 2):
            index = tuple(low + upper for (low, _), upper in zip(places, corner, strict=True))
            shares = [
                share if upper else 1 - share for (_, share), upper in zip(places, corner, strict=True)
            ]
            weight = np.prod(shares, axis=0)
            ratio = ratio + weight * self.ln_ratio[index]
            variance = variance + weight * self.variance[index]
        return parameters[1] + ratio, variance


def ln_rupture_distance(
    magnitude, r_hyp_km, depth_km, tectonic_class: str = "crustal"
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of ln R_rup (R_rup in km) of an earthquake whose rupture is unknown.

    The mean is continuous, rises with distance and is at most ln R_hyp. The variance goes to zero for small
    magnitudes and for large distances.

    Parameters
    ----------
    magnitude : array_like
        Moment magnitude.
    r_hyp_km : array_like
        Hypocentral distance, km, above 0.
    depth_km : array_like
        Depth of the hypocentre, km. The shapes of the three parameters broadcast.
    tectonic_class : {"crustal", "interface", "intraslab"}
        Class of the earthquake, a key of `CLASSES`.

    Returns
    -------
    mean, variance : ndarray
        Mean and variance of ln R_rup, in the common shape.

    Raises
    ------
    UsageError
        The tectonic class is unknown.

    References
    ----------
    Thompson & Worden (2018), Estimating rupture distances without a rupture, BSSA 108(1), 371-379.
    Wells & Coppersmith (1994), BSSA 84(4), 974-1002.
    Strasser, Arango & Bommer (2010), Seismol. Res. Lett. 81(6), 941-950.

    Examples
    --------
    >>> mean, variance = ln_rupture_distance([5.0, 7.0], 30.0, 10.0)
    >>> np.exp(mean).round(1), variance.round(2)
    (array([28.2, 18.3]), array([0.  , 0.26]))
    """
    return table(tectonic_class).at(magnitude, r_hyp_km, depth_km)


@functools.cache
def table(tectonic_class: str = "crustal") -> DistanceTable:
    """Return the table of mean and variance of ln R_rup of a tectonic class, made once in a process.

    The simulated ruptures fill their space evenly and are the same in each call, so the table is too. Above
    interface ruptures of M 8 and more the simulated mean falls by up to 0.1 with distance; the mean of the
    nearer node is kept there, so that the mean never falls.

    Parameters
    ----------
    tectonic_class : {"crustal", "interface", "intraslab"}
        A key of `CLASSES`.

    Returns
    -------
    DistanceTable
        Table over `MAGNITUDES`, `DISTANCES_KM` and `DEPTHS_KM`; its arrays are read-only.

    Raises
    ------
    UsageError
        The tectonic class is unknown.
    """
    sizes = CLASSES.get(tectonic_class)
    if sizes is None:
        raise UsageError(f"unknown tectonic class {tectonic_class!r}: expected {', '.join(CLASSES)}")
    drawn = draws(RUPTURES)
    shape = len(MAGNITUDES), len(DISTANCES_KM), len(DEPTHS_KM)
    ratio, variance = np.empty(shape), np.empty(shape)
    for k, depth_km in enumerate(DEPTHS_KM):
        r_hyp_km = np.maximum(DISTANCES_KM, depth_km)
        # Of the nodes nearer than the hypocentre is deep, one stands for all.
        distinct, which = np.unique(r_hyp_km, return_inverse=True)
        epicentral = np.sqrt(np.maximum(distinct**2 - depth_km**2, 0.0))
        for i, magnitude in enumerate(MAGNITUDES):
            ln_r_rup = simulate(magnitude, epicentral, depth_km, sizes, drawn)
            mean = np.maximum.accumulate(ln_r_rup.mean(axis=1))
            ratio[i, :, k] = (mean - np.log(distinct))[which]
            variance[i, :, k] = ln_r_rup.var(axis=1)[which]
    made = DistanceTable(MAGNITUDES, np.log(DISTANCES_KM), DEPTHS_KM, ratio, variance)
    for array in (made.magnitude, made.ln_r_hyp, made.depth_km, ratio, variance):
        array.flags.writeable = False
    return made


def simulate(
    magnitude: float, r_epi_km: np.ndarray, depth_km: float, sizes: RuptureSizes, drawn: np.ndarray
) -> np.ndarray:
    r"""Return ln of the distance (km) to simulated rectangular ruptures of one magnitude and hypocentre.

    Area and width are lognormal; the width is at most the root of the area, and what fits between the
    ground and the largest depth. All azimuths, dips between the limits, and places of the hypocentre on the
    rectangle that keep it between the ground and the largest depth are equally likely.

    Parameters
    ----------
    magnitude : float
        Moment magnitude.
    r_epi_km : ndarray, [n_distances]
        Epicentral distances, km.
    depth_km : float
        Depth of the hypocentre, km, 0 or more.
    sizes : RuptureSizes
        Sizes and dips.
    drawn : ndarray, [n_ruptures, 6]
        Result of `draws`.

    Returns
    -------
    ndarray of float32, [n_distances, n_ruptures]
        ln of the rupture distance, at least ln `MIN_R_RUP_KM`.
    """
    azimuth, dip_share, along, down, of_area, of_width = drawn.T
    azimuth = 2 * np.pi * azimuth
    dip = np.radians(sizes.dip[0] + (sizes.dip[1] - sizes.dip[0]) * dip_share)
    area = _lognormal(magnitude, sizes.area, of_area)
    bottom_km = max(sizes.bottom_km, depth_km + BELOW_HYPOCENTRE_KM)
    width = _lognormal(magnitude, sizes.width, of_width)
    width = np.minimum.reduce([width, np.sqrt(area), bottom_km / np.sin(dip)])
    length, height = np.minimum(area / width, sizes.longest_km), width * np.sin(dip)
    highest, lowest = (
        np.minimum(1.0, depth_km / height),
        np.maximum(0.0, 1 - (bottom_km - depth_km) / height),
    )
    down = lowest + (highest - lowest) * down
    # The place in coordinates along strike, down dip and across the plane, from the hypocentre, km. Single
    # precision is good to a part in a million here, and twice as fast.
    single, r_epi_km = np.float32, r_epi_km.astype("float32")[:, np.newaxis]
    strike = r_epi_km * single(np.cos(azimuth))
    slope = r_epi_km * single(np.sin(azimuth) * np.cos(dip)) - single(depth_km * np.sin(dip))
    normal = r_epi_km * single(np.sin(azimuth) * np.sin(dip)) + single(depth_km * np.cos(dip))
    beside = strike - np.clip(strike, single(-along * length), single((1 - along) * length))
    beyond = slope - np.clip(slope, single(-down * width), single((1 - down) * width))
    square = np.maximum(beside**2 + beyond**2 + normal**2, single(MIN_R_RUP_KM**2))
    return 0.5 * np.log(square)


def draws(number: int) -> np.ndarray:
    """Return what gives simulated ruptures their azimuth, dip, place and size, whatever the magnitude.

    Parameters
    ----------
    number : int
        Number of ruptures.

    Returns
    -------
    ndarray, [number, 6]
        Numbers from 0 to 1 for azimuth, dip, place along strike and place down dip; standard Normal
        deviates, cut off at 3, for the logarithms of area and width.
    """
    drawn = evenly_filled(number)
    drawn[:, 4:] = np.clip(special.ndtri(drawn[:, 4:]), -3, 3)
    return drawn


def evenly_filled(number: int, dimensions: int = 6) -> np.ndarray:
    """Return points that fill a cube of several dimensions evenly, each coordinate between 0 and 1.

    The points are multiples of one vector, modulo 1, whose components are powers of the root above 1 of
    x^(d+1) = x + 1 in d dimensions.

    Parameters
    ----------
    number : int
        Number of points.
    dimensions : int
        Number d of dimensions.

    Returns
    -------
    ndarray, [number, dimensions]

    References
    ----------
    Roberts (2018), The unreasonable effectiveness of quasirandom sequences.
    """
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    return (0.5 + np.arange(1, number + 1)[:, np.newaxis] * steps) % 1


def _lognormal(magnitude: float, scaling: tuple[float, float, float], deviate: np.ndarray) -> np.ndarray:
    """Return sizes whose log10 is Normal, by standard Normal deviates."""
    intercept, slope, stddev = scaling
    return 10 ** (intercept + slope * magnitude + stddev * deviate)


def _locate(nodes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the node below each value, and the share of the next node, from 0 to 1."""
    inside = np.clip(values, nodes[0], nodes[-1])
    low = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, len(nodes) - 2)
    return low, (inside - nodes[low]) / (nodes[low + 1] - nodes[low])
