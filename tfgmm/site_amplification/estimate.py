"""An estimate of site amplification with its errors, from the maps of all members."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.stats import false_discovery_control, t

from tfgmm.core.errors import DataError

#: Half width of the central 90 % interval, in standard errors.
Z90 = 1.6449
#: Share of false ones among the pixels that are called significant.
FALSE_DISCOVERIES = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    r"""An estimate of ln site amplification, with a map of each member.

    Attributes
    ----------
    members : ndarray, [chunk, init, row, col]
        A map of each member, ln units, each less its mean over the footprint.
    halves : ndarray, [2, row, col]
        Maps of all members from half of the events each.
    level : float
        The mean over the footprint that was taken off, ln units.
    smooth_px : float
        Standard deviation of the Gaussian by which variances are averaged over neighbouring pixels: a few
        chunks determine the variance of one pixel badly.
    footprint : ndarray of bool, [row, col], optional
        Only pixels in it are averaged over: networks differ wildly where there is no station.
    """

    members: np.ndarray
    halves: np.ndarray
    level: float
    smooth_px: float = 0.0
    footprint: np.ndarray | None = None

    @classmethod
    def from_maps(cls, maps: np.ndarray, footprint: np.ndarray, smooth_px: float = 0.0) -> Self:
        """Make an estimate from the maps of all members and sets of events.

        Parameters
        ----------
        maps : ndarray, [chunk, init, set, row, col]
            Sets as in `tfgmm.site_amplification.averaging.SETS`; ln units.
        footprint : ndarray of bool, [row, col]
        smooth_px : float
        """
        maps = np.asarray(maps, float)
        level = maps[..., footprint].mean(axis=-1)[..., np.newaxis, np.newaxis]
        centred = maps - level
        halves = centred[:, :, 1:].mean(axis=(0, 1))
        return cls(centred[:, :, 0], halves, float(level[:, :, 0].mean()), smooth_px, footprint)

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """Return values averaged over neighbours in the footprint; unchanged where the footprint is far."""
        inside = np.ones(values.shape, bool) if self.footprint is None else self.footprint
        weight = gaussian_filter(inside.astype(float), self.smooth_px, mode="constant")
        total = gaussian_filter(np.where(inside, values, 0.0), self.smooth_px, mode="constant")
        return np.where(weight > 0.01, total / np.maximum(weight, 0.01), values)

    @property
    def amplification(self) -> np.ndarray:
        """Return the mean of the members, [row, col], ln units."""
        return self.members.mean(axis=(0, 1))

    @property
    def without_chunk(self) -> np.ndarray:
        """Return the estimates by members that never saw the stations of one chunk, [chunk, row, col]."""
        return self.members.mean(axis=1)

    def initialisation_variance(self) -> np.ndarray:
        """Return the variance of one member due to its random start, [row, col].

        It is 0 if there is one member per chunk only.
        """
        if self.members.shape[1] == 1:
            return np.zeros(self.members.shape[2:])
        return self._smooth(self.members.var(axis=1, ddof=1).mean(axis=0))

    def jackknife_variance(self) -> np.ndarray:
        r"""Return the variance of the mean due to the choice of stations, [row, col].

        The members of a chunk have never seen its stations: their mean :math:`\theta_c` is the estimate
        with one of C groups of stations deleted.

        .. math:: \frac{C-1}{C} \max\left( 0, \sum_c (\theta_c - \bar\theta)^2 - (C-1) \frac{s^2}{I} \right)

        The second part is what the random start of I members per chunk adds, :math:`s^2` being
        `initialisation_variance`. The scatter of :math:`\theta_c` alone would be :math:`(C-1)^2` times
        too small, because any two of them share most of their stations. With one member per chunk the
        random start cannot be told apart; it is then part of this variance.

        References
        ----------
        Kott (2001), The delete-a-group jackknife, J. Official Statistics 17(4), 521-526.
        """
        chunks, inits = self.members.shape[:2]
        squares = ((self.without_chunk - self.amplification) ** 2).sum(axis=0)
        from_start = (chunks - 1) * self.initialisation_variance() / inits
        smoothed = self._smooth(squares)  # before what is negative is cut off
        return (chunks - 1) / chunks * np.maximum(smoothed - from_start, 0.0)

    def training_variance(self) -> np.ndarray:
        """Return the variance of the mean due to stations and random starts together, [row, col].

        It is `jackknife_variance` plus `initialisation_variance` over the number of members.
        """
        chunks, inits = self.members.shape[:2]
        return self.jackknife_variance() + self.initialisation_variance() / (chunks * inits)


def paired_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""Subtract the maps of two trainings, member by member of equal chunk and seed.

    .. math:: A(x) = E_e[\mu_1(e, x)] - E_e[\mu_2(e, x)]

    Parameters
    ----------
    first, second : ndarray, [chunk, init, set, row, col]
        Mean over events of the members' mean ln IM.

    Raises
    ------
    DataError
        There are not the same members on both sides.

    References
    ----------
    Sunny, Cotton & Lilienkamp (2022), section on site amplification, Figures 8 and 9.
    """
    if np.shape(first) != np.shape(second):
        raise DataError(
            f"members cannot be paired: {np.shape(first)[:2]} chunks and initialisations stand against "
            f"{np.shape(second)[:2]}: train what is missing"
        )
    return np.asarray(first) - np.asarray(second)


def significant(difference: Estimate, where: np.ndarray) -> np.ndarray:
    """Find pixels at which two estimates differ by more than training would by chance, [row, col].

    The ratio of the paired difference to its training error is compared with Student's t with chunks - 1
    degrees of freedom; about a tenth (`FALSE_DISCOVERIES`) of the pixels that are called different are
    not.

    Parameters
    ----------
    difference : Estimate
        Made of a `paired_difference`.
    where : ndarray of bool, [row, col]
        Pixels that are tested; no other is significant.

    References
    ----------
    Benjamini & Hochberg (1995), Controlling the false discovery rate, J. R. Stat. Soc. B 57(1), 289-300.
    """
    is_significant = np.zeros(where.shape, bool)
    value, error = difference.amplification[where], np.sqrt(difference.training_variance()[where])
    if not value.size:
        return is_significant
    ratio = np.divide(np.abs(value), error, out=np.zeros_like(value), where=error > 0)
    p = 2 * t.sf(ratio, df=len(difference.members) - 1)
    is_significant[where] = false_discovery_control(p) <= FALSE_DISCOVERIES
    return is_significant


def taught(pixels_km: np.ndarray, stations: pd.DataFrame, within_km: float, min_records: int) -> np.ndarray:
    """Find pixels with enough training records at stations within a distance, [row, col].

    Parameters
    ----------
    pixels_km : ndarray, [row, col, 2]
        Pixel centres, km east and north.
    stations : pandas.DataFrame
        ``x_km, y_km, records``: stations that trained, and their training records.
    within_km : float
    min_records : int
    """
    tree, places = KDTree(stations[["x_km", "y_km"]].to_numpy()), pixels_km.reshape(-1, 2)
    counts = stations["records"].to_numpy()
    near = [counts[neighbours].sum() for neighbours in tree.query_ball_point(places, within_km)]
    return (np.array(near) >= min_records).reshape(pixels_km.shape[:2])
