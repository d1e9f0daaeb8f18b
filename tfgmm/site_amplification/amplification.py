"""Site amplification: what remains of ln IM at a place when source and path are averaged away."""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.stats import false_discovery_control, t

from tfgmm.core.errors import DataError

#: Sets of events over which is averaged: all of them, and two halves.
SETS = ("all", "first half", "second half")
#: Half width of the central 90 % interval, in standard errors.
Z90 = 1.6449
#: Share of false among the pixels that are called significant.
FALSE_DISCOVERIES = 0.1

_NO_CUTS: tuple[float, ...] = ()


class Weighting:
    r"""How much each event counts at each pixel when maps are averaged over events.

    The directions and epicentral distances in which events are seen from a pixel are binned. Every bin
    that holds an event counts the same, and so does every event within it:

    .. math:: w_e(x) = \frac{1}{B(x) \, n_{b(e, x)}(x)}, \quad \sum_e w_e(x) = 1

    with :math:`B` bins in use at the pixel x, and :math:`n_b` events in bin b. With one sector and no
    cut this is the plain mean.

    Parameters
    ----------
    events_km : ndarray, [event, 2]
        Epicentres, km east and north.
    pixels_km : ndarray, [row, col, 2]
        Pixel centres in the same system.
    half : ndarray of int, [event]
        0 or 1: the half to which an event belongs.
    sectors : int
        Of equal angle, around the pixel.
    cuts_km : sequence of float
        Bounds between distance bins, rising.

    Raises
    ------
    DataError
        A half holds no event.
    """

    def __init__(self, events_km, pixels_km, half, sectors: int = 1, cuts_km=_NO_CUTS) -> None:
        self._events, self._pixels, self._half = (np.asarray(a) for a in (events_km, pixels_km, half))
        self._sectors, self._cuts = sectors, np.asarray(cuts_km, float)
        if len(np.unique(self._half)) < 2:
            raise DataError("site amplification needs at least two events: choose more with --events")
        bins = sectors * (len(self._cuts) + 1)
        # Per half; of all events they are the sum.
        self._counts = np.zeros((2, bins, *self._pixels.shape[:2]), "int32")
        row, col = np.indices(self._pixels.shape[:2])
        for event, side in enumerate(self._half):
            np.add.at(self._counts[side], (self._bins(slice(event, event + 1))[0], row, col), 1)

    def _bins(self, events: slice) -> np.ndarray:
        """Bin of every event and pixel, [event, row, col]."""
        away = self._events[events][:, np.newaxis, np.newaxis] - self._pixels
        turn = np.arctan2(away[..., 0], away[..., 1]) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * self._sectors).astype(int), self._sectors - 1)
        return np.searchsorted(self._cuts, np.hypot(*np.moveaxis(away, -1, 0))) * self._sectors + sector

    def of(self, events: slice) -> np.ndarray:
        """Weights of some of the events in each of `SETS`, [set, event, row, col]."""
        bins, row_col = self._bins(events), np.indices(self._pixels.shape[:2])
        weights = []
        for members, counts in (
            (np.ones_like(self._half), self._counts.sum(axis=0)),
            (self._half == 0, self._counts[0]),
            (self._half == 1, self._counts[1]),
        ):
            used = (counts > 0).sum(axis=0)
            within = np.maximum(counts[bins, *row_col], 1)
            weights.append(members[events][:, np.newaxis, np.newaxis] / (used * within))
        return np.array(weights)


def event_means(maps: Iterable[np.ndarray], weightings: Iterable[Weighting]) -> np.ndarray:
    """Weighted means of maps over events, a few events in memory at a time.

    Parameters
    ----------
    maps : iterable of ndarray, [event, row, col]
        All events in the order of the weightings, some at a time.
    weightings : iterable of Weighting

    Returns
    -------
    ndarray, [weighting, set, row, col]
    """
    weightings, done, total = list(weightings), 0, 0.0
    for part in maps:
        events = slice(done, done + len(part))
        total = total + np.array(
            [np.einsum("serc,erc->src", w.of(events), part, optimize=True) for w in weightings]
        )
        done = events.stop
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    r"""One estimate of ln site amplification, its members apart.

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
        chunks tell the variance of one pixel badly.
    footprint : ndarray of bool, [row, col], optional
        Only pixels in it are averaged over: networks differ wildly where there is no station.
    """

    members: np.ndarray
    halves: np.ndarray
    level: float
    smooth_px: float = 0.0
    footprint: np.ndarray | None = None

    @classmethod
    def of(cls, maps: np.ndarray, footprint: np.ndarray, smooth_px: float = 0.0) -> Self:
        """From the maps of all members and `SETS`, [chunk, init, set, row, col]."""
        maps = np.asarray(maps, float)
        level = maps[..., footprint].mean(axis=-1)[..., np.newaxis, np.newaxis]
        centred = maps - level
        halves = centred[:, :, 1:].mean(axis=(0, 1))
        return cls(centred[:, :, 0], halves, float(level[:, :, 0].mean()), smooth_px, footprint)

    def _smoothed(self, values: np.ndarray) -> np.ndarray:
        """Averaged over the neighbours in the footprint; as they are where it is far."""
        inside = np.ones(values.shape, bool) if self.footprint is None else self.footprint
        weight = gaussian_filter(inside.astype(float), self.smooth_px, mode="constant")
        total = gaussian_filter(np.where(inside, values, 0.0), self.smooth_px, mode="constant")
        return np.where(weight > 0.01, total / np.maximum(weight, 0.01), values)

    @property
    def amplification(self) -> np.ndarray:
        """Mean of the members, [row, col]."""
        return self.members.mean(axis=(0, 1))

    @property
    def without_chunk(self) -> np.ndarray:
        """Estimates that know nothing of the stations of one chunk each, [chunk, row, col]."""
        return self.members.mean(axis=1)

    def initialisation_variance(self) -> np.ndarray:
        """Variance of one member due to its random start, [row, col]; 0 if there is one a chunk only."""
        if self.members.shape[1] == 1:
            return np.zeros(self.members.shape[2:])
        return self._smoothed(self.members.var(axis=1, ddof=1).mean(axis=0))

    def jackknife_variance(self) -> np.ndarray:
        r"""Variance of the mean that comes from which stations there are, [row, col].

        The members of a chunk have never seen its stations: their mean :math:`\theta_c` is the estimate
        with one of C groups of stations deleted.

        .. math:: \frac{C-1}{C} \max\left( 0, \sum_c (\theta_c - \bar\theta)^2 - (C-1) \frac{s^2}{I} \right)

        The second part is what the random start of I members a chunk adds, :math:`s^2` being
        `initialisation_variance`. The scatter of :math:`\theta_c` alone would be :math:`(C-1)^2` times
        too small, because any two of them share most of their stations. With one member a chunk the
        random start cannot be told apart; it is then part of this.

        References
        ----------
        Kott (2001), The delete-a-group jackknife, J. Official Statistics 17(4), 521-526.
        """
        chunks, inits = self.members.shape[:2]
        squares = ((self.without_chunk - self.amplification) ** 2).sum(axis=0)
        started = (chunks - 1) * self.initialisation_variance() / inits
        smoothed = self._smoothed(squares)  # before what is negative is cut off
        return (chunks - 1) / chunks * np.maximum(smoothed - started, 0.0)

    def training_variance(self) -> np.ndarray:
        """`jackknife_variance` plus `initialisation_variance` over the number of members, [row, col]."""
        chunks, inits = self.members.shape[:2]
        return self.jackknife_variance() + self.initialisation_variance() / (chunks * inits)


def paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""Difference of two trainings, member by member of equal chunk and seed.

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
    """Pixels at which two estimates differ by more than training would by chance, [row, col].

    The paired difference over its training error is held against Student's t with chunks - 1 degrees of
    freedom; of the pixels that are called different about a tenth (`FALSE_DISCOVERIES`) are not.

    Parameters
    ----------
    difference : Estimate
        Of `paired` differences.
    where : ndarray of bool, [row, col]
        Pixels that are tested; no other is significant.

    References
    ----------
    Benjamini & Hochberg (1995), Controlling the false discovery rate, J. R. Stat. Soc. B 57(1), 289-300.
    """
    found = np.zeros(where.shape, bool)
    value, error = difference.amplification[where], np.sqrt(difference.training_variance()[where])
    if not value.size:
        return found
    ratio = np.divide(np.abs(value), error, out=np.zeros_like(value), where=error > 0)
    p = 2 * t.sf(ratio, df=len(difference.members) - 1)
    found[where] = false_discovery_control(p) <= FALSE_DISCOVERIES
    return found


def taught(pixels_km: np.ndarray, stations: pd.DataFrame, within_km: float, min_records: int) -> np.ndarray:
    """Pixels that have at least so many training records at stations within a distance, [row, col].

    Parameters
    ----------
    pixels_km : ndarray, [row, col, 2]
    stations : pandas.DataFrame
        ``x_km, y_km, records``: stations that trained, and their training records.
    within_km : float
    min_records : int
    """
    tree, places = KDTree(stations[["x_km", "y_km"]].to_numpy()), pixels_km.reshape(-1, 2)
    counts = stations["records"].to_numpy()
    near = [counts[found].sum() for found in tree.query_ball_point(places, within_km)]
    return (np.array(near) >= min_records).reshape(pixels_km.shape[:2])
