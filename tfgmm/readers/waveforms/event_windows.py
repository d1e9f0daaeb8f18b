"""Cut pieces of continuous waveforms into one record without a gap per event and instrument.

A window is the stretch of time that becomes the record of an event at a station. An instrument is a pair
of horizontals of a station. A piece is a stretch of samples of one channel without a gap.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm.core.errors import UsageError
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.readers.waveforms.instruments import Instrument, Piece, seconds

MIXED_RATES = "sampling rate changes in its window"
DISAGREES = "two files disagree on its samples"
ONE_HORIZONTAL = "only one horizontal"
GAP = "a gap, or no data, in the part of its window that is needed"
#: Number of sampling intervals by which the start of a part may differ from the end of the part before it.
SAME_SAMPLE = 0.75
CROWDED = "another event, as large or larger, in its window"


@dataclasses.dataclass(frozen=True)
class Cut:
    """Lengths of the window that becomes the record of an event at a station.

    At hypocentral distance r the window lasts from ``origin + r / vp_km_s - before_s`` to
    ``origin + r / vs_km_s + after_s``. `vp_km_s` is chosen so high, and `vs_km_s` so low, that the P wave
    does not arrive before ``origin + r / vp_km_s`` and the S wave not after ``origin + r / vs_km_s``.

    Attributes
    ----------
    vp_km_s, vs_km_s : float
        Velocities of the earliest P wave and of the latest S wave, km/s.
    before_s, after_s : float
        Lengths of the window before the P wave and after the S wave, s.
    needed_before_s, needed_after_s : float
        Lengths of the part before the P wave and after the S wave in which a record must not have a gap, s.
        Outside this part, the record extends to the first gap, at most to the ends of the window.
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
    """Windows of events at stations, and the parts of the windows in which records must not have a gap.

    All arrays are [n_events, n_stations]; times are s since 1970 (UTC). `start` and `end` are NaN for a
    pair of event and station that has no window, because the distance is too large or the magnitude too
    small.

    Attributes
    ----------
    start, end : ndarray
        Start and end of the windows.
    needed_start, needed_end : ndarray
        Start and end of the part of the window in which a record must not have a gap.
    crowded : ndarray of bool
        True where the window of another event of the same or a larger magnitude overlaps.
    """

    start: np.ndarray
    end: np.ndarray
    needed_start: np.ndarray
    needed_end: np.ndarray
    crowded: np.ndarray


def windows(
    events: pd.DataFrame, stations: pd.DataFrame, max_distance_km: float, min_magnitude: float, cut: Cut
) -> Windows:
    """Compute the windows of events at stations.

    Parameters
    ----------
    events : pandas.DataFrame
        ``origin_time`` (UTC), ``longitude``, ``latitude`` (degrees), ``depth_km`` and ``magnitude``.
        Events below `min_magnitude` get no window, but their windows count as overlapping ones
        (`Windows.crowded`).
    stations : pandas.DataFrame
        ``longitude`` and ``latitude`` (degrees).
    max_distance_km : float
        Largest hypocentral distance, km.
    min_magnitude : float
        Smallest magnitude of an event with windows.
    cut : Cut
        Lengths of the windows.

    Returns
    -------
    Windows
        Windows, [n_events, n_stations].
    """
    ends = (unit_vectors(table["longitude"], table["latitude"]) for table in (events, stations))
    distance = np.hypot(EARTH_RADIUS_KM * cdist(*ends), events[["depth_km"]].to_numpy(float))
    distance[distance > max_distance_km] = np.nan
    origin = seconds(events["origin_time"]).to_numpy(float)[:, None]
    first, last = origin + distance / cut.vp_km_s, origin + distance / cut.vs_km_s
    start, end = first - cut.before_s, last + cut.after_s
    magnitude = events["magnitude"].to_numpy(float)
    crowded = _find_crowded(start, end, magnitude)
    start[magnitude < min_magnitude] = np.nan
    return Windows(start, end, first - cut.needed_before_s, last + cut.needed_after_s, crowded)


def _find_crowded(start: np.ndarray, end: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Return True where the window of another event of the same or a larger magnitude overlaps.

    `start` and `end` of the windows, s, and the result are [n_events, n_stations].
    """
    crowded = np.zeros(start.shape, bool)
    begins, finishes = _find_extent(start, end)
    for i in np.flatnonzero(np.isfinite(begins)):
        near = (begins < finishes[i]) & (finishes > begins[i]) & (magnitude >= magnitude[i])
        near[i] = False
        crowded[i] = ((start[near] < end[i]) & (end[near] > start[i])).any(axis=0)
    return crowded


def _find_extent(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return earliest start and latest end of the windows of each event, s since 1970, [n_events] each.

    An event without windows gets inf and -inf.
    """
    no_window = np.isnan(start)
    first = np.where(no_window, np.inf, start).min(axis=1, initial=np.inf)
    return first, np.where(no_window, -np.inf, end).max(axis=1, initial=-np.inf)


class CutRecord(NamedTuple):
    """The record of an event at an instrument, or the reason why there is no record.

    Attributes
    ----------
    event, station : int
        Row of the event table, and row of the station table.
    instrument : Instrument
        The pair of horizontals.
    rate : float
        Sampling rate, Hz.
    motion : ndarray, [2, n], or None
        Acceleration, m/s^2, or velocity, m/s, where the instrument measures velocity; None without a
        record.
    reason : str
        Reason why there is no record; empty where there is a record.
    """

    event: int
    station: int
    instrument: Instrument
    rate: float
    motion: np.ndarray | None = None
    reason: str = ""


class Cutter:
    """Copies pieces of waveforms into windows, and keeps the windows that may still get samples.

    Parameters
    ----------
    windows : Windows
        Windows of the events at the stations, [n_events, n_stations].
    stations : sequence of str
        Station ids in the order of the columns of `windows`.
    """

    def __init__(self, windows: Windows, stations: Iterable[str]):
        self._windows, self._stations = windows, list(stations)
        self._column = {station: i for i, station in enumerate(self._stations)}
        self._first, self._last = _find_extent(windows.start, windows.end)
        self._open: dict[tuple[int, int, Instrument], _Window] = {}

    def wanted(self, begin: float, end: float) -> bool:
        """Return True if the time from `begin` to `end` overlaps the windows of any event.

        The windows of an event count from the earliest start to the latest end at all stations.

        Parameters
        ----------
        begin, end : float
            Start and end of a file or a piece of waveform, s since 1970.
        """
        return bool(((self._first < end) & (self._last > begin)).any())

    def add(self, piece: Piece) -> None:
        """Copy a piece of waveform into all windows that it overlaps.

        Parameters
        ----------
        piece : Piece
            Samples of one channel without a gap.
        """
        station = self._column[piece.channel.station]
        start, end = self._windows.start[:, station], self._windows.end[:, station]
        stop = piece.start + len(piece.samples) / piece.rate
        for event in np.flatnonzero((start < stop) & (end > piece.start)):
            part = _copy_part(piece, start[event], end[event])
            if len(part.values):
                key = (int(event), station, piece.channel.instrument)
                window = self._open.setdefault(key, _Window(start[event], end[event]))
                window.parts[piece.channel.component].append(part)

    def cut_finished(
        self,
        until: float = np.inf,
        has_more: Callable[[str, Instrument, float, float], bool] = lambda *_: True,
    ) -> Iterator[CutRecord]:
        """Yield, for each window that can get no more samples, the record or the reason why there is none.

        Parameters
        ----------
        until : float
            Time, s since 1970, before which no piece that is added later begins.
        has_more : callable
            Function of station, instrument, start and end of a window (s since 1970) that returns True if a
            later piece may overlap the window.

        Yields
        ------
        CutRecord
        """
        done = [
            (event, station, instrument)
            for (event, station, instrument), window in self._open.items()
            if window.end <= until
            or not has_more(self._stations[station], instrument, window.start, window.end)
        ]
        for key in done:
            yield self._cut(*key, self._open.pop(key))

    def _cut(self, event: int, station: int, instrument: Instrument, window: "_Window") -> CutRecord:
        """Return the record in a window, or the reason why there is no record, as a `CutRecord`."""
        needed = self._windows.needed_start[event, station], self._windows.needed_end[event, station]
        joined = window.join()
        reason = CROWDED if self._windows.crowded[event, station] else joined.find_fault(*needed)
        motion = None if reason else joined.without_gaps(*needed)
        return CutRecord(event, station, instrument, joined.rate, motion, reason)


class _Part(NamedTuple):
    """The part of a piece in a window: start, s since 1970; rate, Hz; values [n], m/s^2 or m/s."""

    start: float
    rate: float
    values: np.ndarray

    @property
    def end(self) -> float:
        """Return the time, s since 1970, one sampling interval after the last sample."""
        return self.start + len(self.values) / self.rate


def _copy_part(piece: Piece, start: float, end: float) -> _Part:
    """Return the part of a piece that lies in a window from `start` to `end`, s since 1970."""
    first = max(math.ceil((start - piece.start) * piece.rate), 0)
    stop = max(math.floor((end - piece.start) * piece.rate) + 1, 0)
    with np.errstate(invalid="ignore"):  # a damaged file may hold NaN; its record is refused
        values = piece.samples[first:stop].astype(float) * piece.channel.scale
    return _Part(piece.start + first / piece.rate, piece.rate, values)


@dataclasses.dataclass
class _Window:
    """A window from `start` to `end`, s since 1970, and the parts of both horizontals that lie in it."""

    start: float
    end: float
    parts: tuple[list[_Part], list[_Part]] = dataclasses.field(default_factory=lambda: ([], []))

    def join(self) -> "_Joined":
        """Return both horizontals of the window on common sampling times.

        The order of the parts does not matter. A part continues an earlier part if its first sample is
        within three quarters of a sampling interval of the time at which the next sample of the earlier
        part is due.
        """
        parts = [sorted(row, key=lambda part: (part.start, part.end)) for row in self.parts]
        rates = [part.rate for part in parts[0] + parts[1]]
        begin, rate = min(part.start for part in parts[0] + parts[1]), float(np.median(rates))
        n = int((self.end - begin) * rate) + 1
        if (max(rates) - min(rates)) * (self.end - self.start) >= 1:
            return _Joined(begin, rate, np.full((2, n), np.nan), MIXED_RATES)
        rows, agree = zip(*(_join_parts(row, begin, rate, n) for row in parts), strict=True)
        return _Joined(begin, rate, np.stack(rows), "" if all(agree) else DISAGREES)


def _join_parts(parts: list[_Part], begin: float, rate: float, n: int) -> tuple[np.ndarray, bool]:
    """Join the parts of a horizontal; return the values [n], NaN in gaps, and True if overlaps agree.

    The values begin at `begin`, s since 1970, with sampling rate `rate`, Hz.
    """
    values, agree = np.full(n, np.nan), True
    stop, clock = 0, begin  # index and time at which the part that reaches farthest ends
    for part in parts:
        delay = (part.start - clock) * rate
        first = stop + (0 if abs(delay) < SAME_SAMPLE and stop else round(delay))
        target = values[max(first, 0) : first + len(part.values)]
        samples = part.values[max(-first, 0) :][: len(target)]
        overlap = ~np.isnan(target) & ~np.isnan(samples)
        agree &= bool((target[overlap] == samples[overlap]).all())
        target[:] = np.where(np.isnan(samples), target, samples)
        if first + len(part.values) > stop:
            stop, clock = first + len(part.values), part.end
    return values, agree


@dataclasses.dataclass
class _Joined:
    """Both horizontals of a window, [2, n], NaN where there is no sample, with a fault or an empty text.

    The first sample is at `start`, s since 1970; the sampling rate is `rate`, Hz.
    """

    start: float
    rate: float
    values: np.ndarray
    fault: str

    def find_fault(self, start: float, end: float) -> str:
        """Return the reason why the part from `start` to `end` (s) is no record, or an empty text."""
        if self.fault:
            return self.fault
        if np.isnan(self.values).all(axis=1).any():
            return ONE_HORIZONTAL
        first, stop = self._find_indices(start, end)
        if first < 0 or stop > self.values.shape[1]:
            return GAP
        return GAP if np.isnan(self.values[:, first:stop]).any() else ""

    def without_gaps(self, start: float, end: float) -> np.ndarray:
        """Return the part from `start` to `end`, extended on both sides up to the next gap, [2, n]."""
        first, stop = self._find_indices(start, end)
        missing = np.flatnonzero(np.isnan(self.values).any(axis=0))
        before, after = missing[missing < first], missing[missing >= stop]
        return self.values[:, before.max(initial=-1) + 1 : after.min(initial=self.values.shape[1])]

    def _find_indices(self, start: float, end: float) -> tuple[int, int]:
        """Return first index, and last index plus 1, of the samples from `start` to `end`, s since 1970."""
        return math.ceil((start - self.start) * self.rate), int((end - self.start) * self.rate) + 1
