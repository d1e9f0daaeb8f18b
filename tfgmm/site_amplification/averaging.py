"""Average maps over events: the weights of events, and the averages of single members of a run."""

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

#: Sets of events over which maps are averaged: all of them, and two halves.
SETS = ("all", "first half", "second half")

_NO_CUTS: tuple[float, ...] = ()


class Weighting:
    r"""Weights of events at each pixel, by which maps are averaged over events.

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
        Number of sectors of equal angle around the pixel.
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
        # Events in each bin per half; those of all events are the sum.
        self._counts = np.zeros((2, bins, *self._pixels.shape[:2]), "int32")
        row, col = np.indices(self._pixels.shape[:2])
        for event, side in enumerate(self._half):
            np.add.at(self._counts[side], (self._find_bins(slice(event, event + 1))[0], row, col), 1)

    def _find_bins(self, events: slice) -> np.ndarray:
        """Return the bin of every event and pixel, [event, row, col]."""
        offset = self._events[events][:, np.newaxis, np.newaxis] - self._pixels
        turn = np.arctan2(offset[..., 0], offset[..., 1]) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * self._sectors).astype(int), self._sectors - 1)
        distance_km = np.hypot(*np.moveaxis(offset, -1, 0))
        return np.searchsorted(self._cuts, distance_km) * self._sectors + sector

    def weights(self, events: slice) -> np.ndarray:
        """Return the weights of some of the events in each of `SETS`, [set, event, row, col]."""
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
    """Average maps over events, a few events in memory at a time.

    Parameters
    ----------
    maps : iterable of ndarray, [event, row, col]
        All events in the order of the weightings, some at a time.
    weightings : iterable of Weighting

    Returns
    -------
    ndarray, [weighting, set, row, col]
        Weighted means for each of `SETS`.
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
    """An average that members are asked for.

    Attributes
    ----------
    rasteriser : Rasteriser
        Makes the maps that the members see.
    events : pandas.DataFrame
        Events to average over.
    weightings : sequence of Weighting
        Weights of these events; each gives a mean of its own.
    """

    rasteriser: Rasteriser
    events: pd.DataFrame
    weightings: Sequence[Weighting]


def average_members(
    run: RunFolder, im: str, averages: Sequence[Average], progress: Callable[[], None] = lambda: None
) -> list[np.ndarray]:
    """Average the mean of ln IM over events, member by member; one member is in memory at a time.

    Parameters
    ----------
    run : RunFolder
        With the experiment of the arm whose members are asked, all of them trained.
    im : str
    averages : sequence of Average
    progress : callable
        Called after each event of each average and member.

    Returns
    -------
    list of ndarray, [chunk, init, weighting, set, row, col]
        An array per average, ln units.
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
    """Yield maps of the mean of ln IM, [event, row, col], some events at a time."""
    for batch in ensemble.with_rasteriser(average.rasteriser).batches(average.events, calibrated=False):
        yield batch["mean"].to_numpy()
        for _ in range(batch.sizes["event"]):
            progress()
