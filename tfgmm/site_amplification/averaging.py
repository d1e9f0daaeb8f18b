"""Average maps over events: the weights of events, and the averages of the maps of single members.

A member is one trained network of a station chunk, whose sites are held out, and an initialisation.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction.ensemble import Ensemble
from tfgmm.runs.run import RunFolder

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
    maps : iterable of ndarray, [event, row, col]
        Maps of all events in blocks of a few events, in the order of the events of the weightings.
    weightings : iterable of Weighting
        Weights of the events.

    Returns
    -------
    ndarray, [weighting, set, row, col]
        Weighted means over all events, the first half and the second half (`SETS`), in the unit of the
        maps.
    """
    weightings, done, total = list(weightings), 0, 0.0
    for block in maps:
        events = slice(done, done + len(block))
        total = total + np.array(
            [np.einsum("serc,erc->src", w.weights(events), block, optimize=True) for w in weightings]
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
    run: RunFolder, im: str, averages: Sequence[Average], progress: Callable[[], None] = lambda: None
) -> list[np.ndarray]:
    """Return averages over events of the mean of ln IM that each member predicts.

    One member is in memory at a time.

    Parameters
    ----------
    run : RunFolder
        The run; its experiment is that of the arm (set of input channels) whose members predict.
    im : str
        Intensity measure.
    averages : sequence of Average
        Averages to compute.
    progress : callable
        Called after each event of each average and member, without arguments.

    Returns
    -------
    list of ndarray, [chunk, init, weighting, set, row, col]
        One array of means per average, ln units (IM in g); the sets are all events, the first
        half and the second half (`SETS`).

    Raises
    ------
    DataError
        A member is not trained or damaged.
    """
    experiment, by_member = run.experiment, []
    for chunk, init in itertools.product(range(experiment.chunks), range(experiment.inits)):
        model = member.load(run.network(im, chunk, init))
        ensemble_of_one = Ensemble(run, im, {(chunk, init): model}, averages[0].rasteriser)
        by_member.append(
            [
                average_maps(_predict_maps(ensemble_of_one, average, progress), average.weightings)
                for average in averages
            ]
        )
    shape = experiment.chunks, experiment.inits
    return [np.reshape(means, (*shape, *np.shape(means[0]))) for means in zip(*by_member, strict=True)]


def _predict_maps(
    ensemble: Ensemble, average: Average, progress: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Yield maps of the predicted mean of ln IM, [event, row, col], a few events at a time."""
    for batch in ensemble.with_rasteriser(average.rasteriser).batches(average.events, calibrated=False):
        yield batch["mean"].to_numpy()
        for _ in range(batch.sizes["event"]):
            progress()
