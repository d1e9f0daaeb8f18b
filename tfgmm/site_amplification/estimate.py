"""Estimates of ln site amplification with their errors, averaged over events and members.

A member is one trained network of a station chunk, whose sites are held out, and an initialisation. The
footprint is the land inside the hull of the stations.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.stats import false_discovery_control, t

from tfgmm.core.errors import DataError
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction.ensemble import Ensemble, Outputs
from tfgmm.runs.run import RunFolder

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
            `tfgmm.site_amplification.estimate.SETS`.
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


#: Sets of events over which maps are averaged: all events, and two halves.
SETS = ("all", "first half", "second half")

_NO_CUTS: tuple[float, ...] = ()


class Weighting:
    r"""Weights of events at each pixel, for averages of maps over events.

    The events around a pixel x are binned by azimuth and epicentral distance. Every bin with events has the
    same total weight, and so has every event within a bin:

    .. math:: w_e(x) = \frac{1}{B(x) \, n_{b(e, x)}(x)}, \quad \sum_e w_e(x) = 1

    with the number :math:`B(x)` of bins that hold an event, and the number :math:`n_b(x)` of events in bin
    b. With one sector and no distance bounds the average is the plain mean.

    Parameters
    ----------
    events_km : ndarray, [event, 2]
        Epicentres, km east and north of the map's centre.
    pixels_km : ndarray, [row, col, 2]
        Pixel centres, km east and north of the map's centre.
    half : ndarray of int, [event]
        0 or 1: the half of the events to which an event belongs.
    sectors : int
        Number of sectors of equal angle around the pixel.
    cuts_km : sequence of float
        Bounds between the distance bins, ascending, km.

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
        # Number of events in each bin per half; the numbers for all events are the sums.
        self._counts = np.zeros((2, bins, *self._pixels.shape[:2]), "int32")
        row, col = np.indices(self._pixels.shape[:2])
        for event, side in enumerate(self._half):
            np.add.at(self._counts[side], (self._find_bins(slice(event, event + 1))[0], row, col), 1)

    def _find_bins(self, events: slice) -> np.ndarray:
        """Return the number of the bin of every event at every pixel, [event, row, col]."""
        offset = self._events[events][:, np.newaxis, np.newaxis] - self._pixels
        turn = np.arctan2(offset[..., 0], offset[..., 1]) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * self._sectors).astype(int), self._sectors - 1)
        distance_km = np.hypot(*np.moveaxis(offset, -1, 0))
        return np.searchsorted(self._cuts, distance_km) * self._sectors + sector

    def weights(self, events: slice) -> np.ndarray:
        """Return the weights of some of the events, in averages over all events and over each half.

        Parameters
        ----------
        events : slice
            Positions of the events.

        Returns
        -------
        ndarray, [set, event, row, col]
            Without unit; 0 for an event that is not in the set.
        """
        bins, row_col = self._find_bins(events), np.indices(self._pixels.shape[:2])
        weights = []
        for in_set, counts in (
            (np.ones_like(self._half), self._counts.sum(axis=0)),
            (self._half == 0, self._counts[0]),
            (self._half == 1, self._counts[1]),
        ):
            used = (counts > 0).sum(axis=0)
            within = np.maximum(counts[bins, *row_col], 1)
            weights.append(in_set[events][:, np.newaxis, np.newaxis] / (used * within))
        return np.array(weights)


def average_maps(maps: Iterable[np.ndarray], weightings: Iterable[Weighting]) -> np.ndarray:
    """Average maps over events, with a few events in memory at a time.

    Parameters
    ----------
    maps : iterable of ndarray, [event, ..., row, col]
        Maps of all events in blocks of a few events, in the order of the events of the weightings.
    weightings : iterable of Weighting
        Weights of the events.

    Returns
    -------
    ndarray, [weighting, set, ..., row, col]
        Weighted means over all events, the first half and the second half (`SETS`), in the unit of the
        maps.
    """
    weightings, done, total = list(weightings), 0, 0.0
    for block in maps:
        events = slice(done, done + len(block))
        total = total + np.array(
            [np.einsum("serc,e...rc->s...rc", w.weights(events), block, optimize=True) for w in weightings]
        )
        done = events.stop
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class Average:
    """An average over events of the maps that a member predicts.

    Attributes
    ----------
    rasteriser : Rasteriser
        Maker of the input maps of the members.
    events : pandas.DataFrame
        Events to average over: ``longitude, latitude`` (degrees), ``depth_km``, ``magnitude``.
    weightings : sequence of Weighting
        Weights of these events; each weighting gives one mean.
    """

    rasteriser: Rasteriser
    events: pd.DataFrame
    weightings: Sequence[Weighting]


def average_members(
    run: RunFolder,
    ims: Sequence[str],
    averages: Sequence[Average],
    progress: Callable[[], None] = lambda: None,
) -> dict[str, list[np.ndarray]]:
    """Return averages over events of what the network of each member adds to the median of ln IM.

    That is the whole mean of ln IM for networks without backbone; with one, the networks have the share of
    the run's own arm at full support, whatever the support of the events. One member is in memory at a
    time, and predicts all measures at once.

    Parameters
    ----------
    run : RunFolder
        The run; its experiment is that of the arm (set of input channels) whose members predict.
    ims : sequence of str
        Intensity measures.
    averages : sequence of Average
        Averages to compute.
    progress : callable
        Called after each event of each average and member, without arguments.

    Returns
    -------
    dict of str to list of ndarray, [chunk, init, weighting, set, row, col]
        By intensity measure, one array of means per average, ln units; the sets are all events, the first
        half and the second half (`SETS`).

    Raises
    ------
    DataError
        A member is not trained or damaged.
    """
    experiment, by_member = run.experiment, []
    for chunk, init in itertools.product(range(experiment.chunks), range(experiment.inits)):
        place = chunk, init
        outputs = Outputs({place: member.load_networks(run.member(*place), ims)}, averages[0].rasteriser)
        means = (
            average_maps(_predict_maps(run, ims, outputs, average, progress), average.weightings)
            for average in averages
        )
        by_member.append([np.moveaxis(of_average, 2, 0) for of_average in means])
    shape = experiment.chunks, experiment.inits
    return {
        im: [
            np.reshape([means[number] for means in of_average], (*shape, *of_average[0].shape[1:]))
            for of_average in zip(*by_member, strict=True)
        ]
        for number, im in enumerate(ims)
    }


def _predict_maps(
    run: RunFolder,
    ims: Sequence[str],
    outputs: Outputs,
    average: Average,
    progress: Callable[[], None],
) -> Iterator[np.ndarray]:
    """Yield maps of the predicted mean of ln IM, [event, measure, row, col], a few events at a time."""
    outputs = outputs.with_rasteriser(average.rasteriser)
    each = [
        Ensemble(run, im, outputs, number).batches(average.events, calibrated=False)
        for number, im in enumerate(ims)
    ]
    shrinkages = [run.shrinkage(im) for im in ims]
    shares = [1.0 if shrinkage is None else shrinkage.full_share for shrinkage in shrinkages]
    for batches in zip(*each, strict=True):
        maps = [share * batch["mean"].to_numpy() for share, batch in zip(shares, batches, strict=True)]
        yield np.stack(maps, axis=1)
        for _ in range(batches[0].sizes["event"]):
            progress()
