"""Pieces of continuous acceleration -> one gapless record an event and station."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm.core.errors import UsageError
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.readers.waveforms.continuous import Piece, seconds
from tfgmm.readers.waveforms.instruments import Instrument

MIXED_RATES = "sampling rate changes in its window"
DISAGREES = "two files disagree on its samples"
ONE_HORIZONTAL = "only one horizontal"
GAP = "a gap, or no data, in the part of its window that is needed"
#: Sampling intervals by which the start of a part may differ from the end of the one before it.
SAME_SAMPLE = 0.75
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
    ends = (unit_vectors(table["longitude"], table["latitude"]) for table in (events, stations))
    distance = np.hypot(EARTH_RADIUS_KM * cdist(*ends), events[["depth_km"]].to_numpy(float))
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
    """What was cut out for an event and an instrument: a record, or the reason why there is none.

    `event` and `station` are rows of the tables, `motion` is [2, n] in m/s^2, or m/s where the instrument
    measures velocity, `rate` in Hz.
    """

    event: int
    station: int
    instrument: Instrument
    rate: float
    motion: np.ndarray | None = None
    reason: str = ""


class Cutter:
    """Puts pieces into the windows they belong to; holds only windows that more may come to.

    Parameters
    ----------
    windows : Windows
    stations : sequence of str
        Their order in `windows`.
    """

    def __init__(self, windows: Windows, stations: Iterable[str]):
        self._windows, self._stations = windows, list(stations)
        self._column = {station: i for i, station in enumerate(self._stations)}
        self._first, self._last = _extent(windows.start, windows.end)
        self._open: dict[tuple[int, int, Instrument], _Window] = {}

    def wanted(self, begin: float, end: float) -> bool:
        """Return whether an event has a window that overlaps a stretch of time."""
        return bool(((self._first < end) & (self._last > begin)).any())

    def add(self, piece: Piece) -> None:
        """Copy a piece to all windows it overlaps."""
        station = self._column[piece.channel.station]
        start, end = self._windows.start[:, station], self._windows.end[:, station]
        stop = piece.start + len(piece.samples) / piece.rate
        for event in np.flatnonzero((start < stop) & (end > piece.start)):
            part = _part(piece, start[event], end[event])
            if len(part.values):
                key = (int(event), station, piece.channel.instrument)
                window = self._open.setdefault(key, _Window(start[event], end[event]))
                window.parts[piece.channel.component].append(part)

    def finished(
        self,
        until: float = np.inf,
        awaited: Callable[[str, Instrument, float, float], bool] = lambda *_: True,
    ) -> Iterator[Cutting]:
        """Cut out what no piece can come to any more.

        Parameters
        ----------
        until : float
            The beginning of all pieces to come.
        awaited : callable
            Given a station, an instrument, and the ends of a window, whether a piece of it may come.
        """
        done = [
            (event, station, instrument)
            for (event, station, instrument), window in self._open.items()
            if window.end <= until
            or not awaited(self._stations[station], instrument, window.start, window.end)
        ]
        for key in done:
            yield self._cut(*key, self._open.pop(key))

    def _cut(self, event: int, station: int, instrument: Instrument, window: "_Window") -> Cutting:
        needed = self._windows.needed_start[event, station], self._windows.needed_end[event, station]
        joined = window.joined()
        reason = CROWDED if self._windows.crowded[event, station] else joined.fault_in(*needed)
        motion = None if reason else joined.around(*needed)
        return Cutting(event, station, instrument, joined.rate, motion, reason)


class _Part(NamedTuple):
    """What a window has of a piece: its first sample's time, rate, and values in SI units."""

    start: float
    rate: float
    values: np.ndarray

    @property
    def end(self) -> float:
        """Time at which the next sample would come."""
        return self.start + len(self.values) / self.rate


def _part(piece: Piece, start: float, end: float) -> _Part:
    """A copy of what of a piece lies in a window."""
    first = max(math.ceil((start - piece.start) * piece.rate), 0)
    stop = max(math.floor((end - piece.start) * piece.rate) + 1, 0)
    with np.errstate(invalid="ignore"):  # a NaN of a damaged file; its record is refused
        values = piece.samples[first:stop].astype(float) * piece.channel.scale
    return _Part(piece.start + first / piece.rate, piece.rate, values)


@dataclasses.dataclass
class _Window:
    """The parts of both horizontals that lie in a window."""

    start: float
    end: float
    parts: tuple[list[_Part], list[_Part]] = dataclasses.field(default_factory=lambda: ([], []))

    def joined(self) -> "_Joined":
        """Both horizontals on common sampling times, whatever the order in which the parts came.

        Parts follow each other where the next sample of the one comes within three quarters of a sampling
        interval of the first of the other, each by its own clock.
        """
        parts = [sorted(row, key=lambda part: (part.start, part.end)) for row in self.parts]
        rates = [part.rate for part in parts[0] + parts[1]]
        begin, rate = min(part.start for part in parts[0] + parts[1]), float(np.median(rates))
        n = int((self.end - begin) * rate) + 1
        if (max(rates) - min(rates)) * (self.end - self.start) >= 1:
            return _Joined(begin, rate, np.full((2, n), np.nan), MIXED_RATES)
        rows, agree = zip(*(_on_samples(row, begin, rate, n) for row in parts), strict=True)
        return _Joined(begin, rate, np.stack(rows), "" if all(agree) else DISAGREES)


def _on_samples(parts: list[_Part], begin: float, rate: float, n: int) -> tuple[np.ndarray, bool]:
    """Values [n] of one horizontal, NaN where there are none, and whether overlapping parts agree."""
    values, agree = np.full(n, np.nan), True
    stop, clock = 0, begin  # index and time at which the part that reaches farthest ends
    for part in parts:
        late = (part.start - clock) * rate
        first = stop + (0 if abs(late) < SAME_SAMPLE and stop else round(late))
        place = values[max(first, 0) : first + len(part.values)]
        new = part.values[max(-first, 0) :][: len(place)]
        both = ~np.isnan(place) & ~np.isnan(new)
        agree &= bool((place[both] == new[both]).all())
        place[:] = np.where(np.isnan(new), place, new)
        if first + len(part.values) > stop:
            stop, clock = first + len(part.values), part.end
    return values, agree


@dataclasses.dataclass
class _Joined:
    """Both horizontals of a window [2, n], NaN where there is no sample, and what is wrong with them."""

    start: float
    rate: float
    values: np.ndarray
    fault: str

    def fault_in(self, start: float, end: float) -> str:
        """Why the part from `start` to `end` is no record; nothing if it is one."""
        if self.fault:
            return self.fault
        if np.isnan(self.values).all(axis=1).any():
            return ONE_HORIZONTAL
        first, stop = self._ends(start, end)
        if first < 0 or stop > self.values.shape[1]:
            return GAP
        return GAP if np.isnan(self.values[:, first:stop]).any() else ""

    def around(self, start: float, end: float) -> np.ndarray:
        """The part from `start` to `end` and what is joined to it without a gap, [2, n]."""
        first, stop = self._ends(start, end)
        missing = np.flatnonzero(np.isnan(self.values).any(axis=0))
        before, after = missing[missing < first], missing[missing >= stop]
        return self.values[:, before.max(initial=-1) + 1 : after.min(initial=self.values.shape[1])]

    def _ends(self, start: float, end: float) -> tuple[int, int]:
        return math.ceil((start - self.start) * self.rate), int((end - self.start) * self.rate) + 1
