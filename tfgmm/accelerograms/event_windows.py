"""Pieces of continuous acceleration -> one gapless record an event and station."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm import records
from tfgmm.accelerograms.continuous import Piece, seconds
from tfgmm.errors import UsageError

MIXED_RATES = "sampling rate changes in its window"
DISAGREES = "two files disagree on its samples"
ONE_HORIZONTAL = "only one horizontal"
GAP = "a gap, or no data, in the part of its window that is needed"
CROWDED = "another event, as large or larger, in its window"


@dataclasses.dataclass(frozen=True)
class Cut:
    """Which part of continuous data is the record of an event at a station.

    At hypocentral distance r the window goes from ``origin + r / vp_km_s - before_s`` to
    ``origin + r / vs_km_s + after_s``. The velocities err on the safe side: P comes no earlier, S no
    later.

    Attributes
    ----------
    vp_km_s, vs_km_s : float
        Velocities of the earliest P and the latest S.
    before_s, after_s : float
        Seconds before P and after S.
    needed_before_s, needed_after_s : float
        The part of them without which there is no record; of the rest a record has what there is.
    """

    vp_km_s: float = 8.0
    vs_km_s: float = 3.0
    before_s: float = 15.0
    after_s: float = 90.0
    needed_before_s: float = 10.0
    needed_after_s: float = 20.0

    def __post_init__(self) -> None:
        if not self.vp_km_s > self.vs_km_s > 0:
            raise UsageError(f"velocities must be vp {self.vp_km_s:g} > vs {self.vs_km_s:g} > 0 km/s")
        for side in ("before", "after"):
            whole, needed = getattr(self, f"{side}_s"), getattr(self, f"needed_{side}_s")
            if not whole >= needed >= 0:
                raise UsageError(f"needed_{side}_s is {needed:g}: it must be from 0 to {side}_s, {whole:g}")


@dataclasses.dataclass(frozen=True)
class Windows:
    """Times in s since 1970, [n_events, n_stations]; NaN where no record is wanted.

    Attributes
    ----------
    start, end : ndarray
        The windows.
    needed_start, needed_end : ndarray
        The part of them without which there is no record.
    crowded : ndarray of bool
        Whether the window of another event, as large or larger, overlaps this one.
    """

    start: np.ndarray
    end: np.ndarray
    needed_start: np.ndarray
    needed_end: np.ndarray
    crowded: np.ndarray


def windows(
    events: pd.DataFrame, stations: pd.DataFrame, max_distance_km: float, min_magnitude: float, cut: Cut
) -> Windows:
    """Where in time the records of events are.

    Parameters
    ----------
    events : pandas.DataFrame
        Known origin times, hypocentres and magnitudes. Those below `min_magnitude` get no window, but
        may crowd another.
    stations : pandas.DataFrame
        ``longitude``, ``latitude``.
    max_distance_km : float
        Largest hypocentral distance.
    min_magnitude : float
    cut : Cut
    """
    ends = (records.unit_vectors(table["longitude"], table["latitude"]) for table in (events, stations))
    distance = np.hypot(records.EARTH_RADIUS_KM * cdist(*ends), events[["depth_km"]].to_numpy(float))
    distance[distance > max_distance_km] = np.nan
    origin = seconds(events["origin_time"]).to_numpy(float)[:, None]
    first, last = origin + distance / cut.vp_km_s, origin + distance / cut.vs_km_s
    start, end = first - cut.before_s, last + cut.after_s
    magnitude = events["magnitude"].to_numpy(float)
    crowded = _crowded(start, end, magnitude)
    start[magnitude < min_magnitude] = np.nan
    return Windows(start, end, first - cut.needed_before_s, last + cut.needed_after_s, crowded)


def _crowded(start: np.ndarray, end: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    crowded = np.zeros(start.shape, bool)
    begins, finishes = _extent(start, end)
    for i in np.flatnonzero(np.isfinite(begins)):
        near = (begins < finishes[i]) & (finishes > begins[i]) & (magnitude >= magnitude[i])
        near[i] = False
        crowded[i] = ((start[near] < end[i]) & (end[near] > start[i])).any(axis=0)
    return crowded


def _extent(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First start and last end of each event; infinite, the wrong way round, where it has no window."""
    none = np.isnan(start)
    first = np.where(none, np.inf, start).min(axis=1, initial=np.inf)
    return first, np.where(none, -np.inf, end).max(axis=1, initial=-np.inf)


class Cutting(NamedTuple):
    """What was cut out for an event and a station: a record, or the reason why there is none.

    `event` and `station` are rows of the tables, `acceleration` is [2, n] in m/s^2, `rate` in Hz.
    """

    event: int
    station: int
    rate: float
    acceleration: np.ndarray | None = None
    reason: str = ""


class Cutter:
    """Puts pieces into the windows they belong to; holds only windows that are not complete yet.

    Parameters
    ----------
    windows : Windows
    stations : sequence of str
        Their order in `windows`.
    tally : Tally
        Told of pieces that come too late.
    """

    def __init__(self, windows: Windows, stations: Iterable[str], tally: records.Tally):
        self._windows, self._tally = windows, tally
        self._column = {station: i for i, station in enumerate(stations)}
        self._first, self._last = _extent(windows.start, windows.end)
        self._open: dict[tuple[int, int], _Buffer] = {}
        self._finished: set[tuple[int, int]] = set()

    def wanted(self, begin: float, end: float) -> bool:
        """Whether an event has a window that overlaps a stretch of time."""
        return bool(((self._first < end) & (self._last > begin)).any())

    def add(self, piece: Piece) -> None:
        """Copy a piece to all windows it overlaps, but for those that were complete without it."""
        station = self._column[piece.station]
        start, end = self._windows.start[:, station], self._windows.end[:, station]
        stop = piece.start + len(piece.acceleration) / piece.rate
        for event in np.flatnonzero((start < stop) & (end > piece.start)):
            key = (int(event), station)
            if key in self._finished:
                self._tally.drop("piece", "its window was complete without it", [piece.station])
            else:
                buffer = self._open.setdefault(key, _Buffer.of(piece, start[event], end[event]))
                buffer.put(piece)

    def finished(self, until: float = np.inf) -> Iterator[Cutting]:
        """What is complete, or ends before `until`, the beginning of all pieces to come."""
        done = [key for key, b in self._open.items() if b.complete or self._windows.end[key] <= until]
        self._finished.update(done)
        for event, station in done:
            yield self._cut(event, station, self._open.pop((event, station)))

    def _cut(self, event: int, station: int, buffer: "_Buffer") -> Cutting:
        needed = self._windows.needed_start[event, station], self._windows.needed_end[event, station]
        reason = CROWDED if self._windows.crowded[event, station] else buffer.fault_in(*needed)
        if reason:
            return Cutting(event, station, buffer.rate, reason=reason)
        return Cutting(event, station, buffer.rate, buffer.around(*needed))


@dataclasses.dataclass
class _Buffer:
    """Both horizontals of a window, NaN where there is no sample yet."""

    start: float
    rate: float
    values: np.ndarray
    fault: str = ""

    @classmethod
    def of(cls, piece: Piece, start: float, end: float) -> "_Buffer":
        """An empty window on the sampling times of its first piece."""
        first = piece.start + np.ceil((start - piece.start) * piece.rate) / piece.rate
        return cls(first, piece.rate, np.full((2, int((end - first) * piece.rate) + 1), np.nan))

    @property
    def complete(self) -> bool:
        return not np.isnan(self.values).any()

    def put(self, piece: Piece) -> None:
        if not np.isclose(piece.rate, self.rate, rtol=1e-6):
            self.fault = MIXED_RATES
            return
        offset = round((piece.start - self.start) * self.rate)  # to the nearest sample
        first, last = max(offset, 0), min(offset + len(piece.acceleration), self.values.shape[1])
        if first < last:
            place = self.values[piece.component, first:last]
            new = piece.acceleration[first - offset : last - offset]
            if (~np.isnan(place) & (place != new)).any():
                self.fault = DISAGREES
            place[:] = new

    def fault_in(self, start: float, end: float) -> str:
        """Why the part from `start` to `end` is no record; nothing if it is one."""
        if self.fault:
            return self.fault
        if np.isnan(self.values).all(axis=1).any():
            return ONE_HORIZONTAL
        return GAP if np.isnan(self.values[:, self._part(start, end)]).any() else ""

    def around(self, start: float, end: float) -> np.ndarray:
        """The part from `start` to `end` and what is joined to it without a gap, [2, n]."""
        part = self._part(start, end)
        missing = np.flatnonzero(np.isnan(self.values).any(axis=0))
        before, after = missing[missing < part.start], missing[missing >= part.stop]
        return self.values[:, before.max(initial=-1) + 1 : after.min(initial=self.values.shape[1])]

    def _part(self, start: float, end: float) -> slice:
        first = int(np.ceil((start - self.start) * self.rate))
        return slice(max(first, 0), int((end - self.start) * self.rate) + 1)
