"""An estimate of ln site amplification with its errors, from the maps of all members of a run.

A member is one trained network of a station chunk, whose sites are held out, and an initialisation. The
footprint is the land inside the hull of the stations.
"""

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
#: Expected share of false discoveries among the significant pixels.
FALSE_DISCOVERIES = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """An estimate of ln site amplification, with a map of each member.

    Attributes
    ----------
    members : ndarray, [chunk, init, row, col]
        Map of each member (a network of a station chunk and an initialisation), ln units, minus the mean
        over the footprint.
    halves : ndarray, [2, row, col]
        Mean maps over all members, each from one half of the events, ln units.
    level : float
        Mean over the footprint that was subtracted, ln units.
    smooth_px : float
        Standard deviation, pixels, of the Gaussian by which variances are averaged over neighbouring
        pixels. A few chunks do not determine the variance of one pixel well.
    footprint : ndarray of bool, [row, col], optional
        Pixels on land inside the hull of the stations, over which variances are averaged; outside, where
        there is no station, networks differ wildly.
    """

    members: np.ndarray
    halves: np.ndarray
    level: float
    smooth_px: float = 0.0
    footprint: np.ndarray | None = None

    @classmethod
    def from_maps(cls, maps: np.ndarray, footprint: np.ndarray, smooth_px: float = 0.0) -> Self:
        """Return the estimate from the maps of all members and sets of events.

        Parameters
        ----------
        maps : ndarray, [chunk, init, set, row, col]
            Maps of ln amplification up to a constant, ln units; sets as in
            `tfgmm.site_amplification.averaging.SETS`.
        footprint : ndarray of bool, [row, col]
            Pixels on land inside the hull of the stations; their mean is subtracted from every map.
        smooth_px : float
            Standard deviation of the Gaussian that smooths variances, pixels.

        Returns
        -------
        Estimate
        """
        maps = np.asarray(maps, float)
        level = maps[..., footprint].mean(axis=-1)[..., np.newaxis, np.newaxis]
        centred = maps - level
        halves = centred[:, :, 1:].mean(axis=(0, 1))
        return cls(centred[:, :, 0], halves, float(level[:, :, 0].mean()), smooth_px, footprint)

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """Return values averaged over near pixels of the footprint, unchanged far from it, [row, col]."""
        inside = np.ones(values.shape, bool) if self.footprint is None else self.footprint
        weight = gaussian_filter(inside.astype(float), self.smooth_px, mode="constant")
        total = gaussian_filter(np.where(inside, values, 0.0), self.smooth_px, mode="constant")
        return np.where(weight > 0.01, total / np.maximum(weight, 0.01), values)

    @property
    def amplification(self) -> np.ndarray:
        """Return the mean over all members, [row, col], ln units."""
        return self.members.mean(axis=(0, 1))

    @property
    def without_chunk(self) -> np.ndarray:
        """Return the mean over the members of each chunk, [chunk, row, col], ln units.

        The members of a chunk are trained without the sites that the chunk holds out.
        """
        return self.members.mean(axis=1)

    def initialisation_variance(self) -> np.ndarray:
        """Return the variance of one member's map due to initialisation, [row, col], squared ln units.

        The variance is 0 if there is only one member per chunk.
        """
        if self.members.shape[1] == 1:
            return np.zeros(self.members.shape[2:])
        return self._smooth(self.members.var(axis=1, ddof=1).mean(axis=0))

    def jackknife_variance(self) -> np.ndarray:
        r"""Return the variance of the mean due to the choice of stations, [row, col], squared ln units.

        The members of a chunk are trained without the sites of the chunk: their mean :math:`\theta_c` is
        the estimate with one of C groups of sites deleted.

        .. math:: \frac{C-1}{C} \max\left( 0, \sum_c (\theta_c - \bar\theta)^2 - (C-1) \frac{s^2}{I} \right)

        The second part is the contribution of the random initialisation of I members per chunk, with
        :math:`s^2` from `initialisation_variance`. The naive variance of the mean of the :math:`\theta_c`
        would be :math:`(C-1)^2` times too small, because any two :math:`\theta_c` share most training
        sites. With one member per chunk the contribution of the initialisation is unknown and remains in
        this variance.

        References
        ----------
        Kott (2001), The delete-a-group jackknife, J. Official Statistics 17(4), 521-526.
        """
        chunks, inits = self.members.shape[:2]
        squares = ((self.without_chunk - self.amplification) ** 2).sum(axis=0)
        from_start = (chunks - 1) * self.initialisation_variance() / inits
        smoothed = self._smooth(squares)  # before negative values are set to 0
        return (chunks - 1) / chunks * np.maximum(smoothed - from_start, 0.0)

    def training_variance(self) -> np.ndarray:
        """Return the variance of the mean due to stations and initialisation, [row, col], squared ln units.

        The variance is `jackknife_variance` plus `initialisation_variance` divided by the number of
        members.
        """
        chunks, inits = self.members.shape[:2]
        return self.jackknife_variance() + self.initialisation_variance() / (chunks * inits)


def paired_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""Return the differences of the mean maps of two trainings, for members of the same chunk and seed.

    .. math:: A(x) = E_e[\mu_1(e, x)] - E_e[\mu_2(e, x)]

    Parameters
    ----------
    first, second : ndarray, [chunk, init, set, row, col]
        Mean over events of the mean of ln IM that each member predicts, ln units.

    Returns
    -------
    ndarray, [chunk, init, set, row, col]
        Ln units.

    Raises
    ------
    DataError
        The two trainings do not have the same number of chunks and initialisations.

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
    """Return the pixels at which two estimates differ by more than training would by chance.

    The ratio of the paired difference to its standard error from training is compared with Student's t with
    chunks - 1 degrees of freedom. The false discovery rate is controlled: about a tenth
    (`FALSE_DISCOVERIES`) of the significant pixels are expected to be false.

    Parameters
    ----------
    difference : Estimate
        Estimate of the difference, made from the result of a `paired_difference`.
    where : ndarray of bool, [row, col]
        Pixels to test; no other pixel is significant.

    Returns
    -------
    ndarray of bool, [row, col]

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
    """Return the pixels with enough training records at stations within a distance, called taught pixels.

    Parameters
    ----------
    pixels_km : ndarray, [row, col, 2]
        Pixel centres, km east and north of the map's centre.
    stations : pandas.DataFrame
        Stations with training records: ``x_km, y_km``, km east and north of the map's centre; ``records``,
        the number of training records.
    within_km : float
        Largest distance between pixel centre and station, km.
    min_records : int
        Smallest number of training records, summed over these stations.

    Returns
    -------
    ndarray of bool, [row, col]
    """
    tree, places = KDTree(stations[["x_km", "y_km"]].to_numpy()), pixels_km.reshape(-1, 2)
    counts = stations["records"].to_numpy()
    near = [counts[neighbours].sum() for neighbours in tree.query_ball_point(places, within_km)]
    return (np.array(near) >= min_records).reshape(pixels_km.shape[:2])
