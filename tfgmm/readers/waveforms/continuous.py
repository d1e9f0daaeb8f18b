"""Continuous waveforms, as pieces without a gap; WIN32 files and their channel table -> pieces."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.waveforms import instruments, win32, win32_channels
from tfgmm.readers.waveforms.instruments import ACCELERATION, VELOCITY, Instrument

#: Channels of one station may not be farther apart than this (about 100 m).
SAME_PLACE_DEG = 0.001
EPOCH = pd.Timestamp(0, tz="UTC")
#: Why channels are left out.
MEASURES_VELOCITY = "measures velocity, no acceleration"
NOT_HORIZONTAL = "not horizontal"
AMBIGUOUS = "which of 1, 2, 3 is the vertical cannot be told"


class Channel(NamedTuple):
    """A horizontal channel that is used: its station, instrument, place in the pair (0, 1), and scale.

    `scale` is m/s^2, or m/s of a velocity, in one unit of the samples.
    """

    station: str
    instrument: Instrument
    component: int
    scale: float


class Piece(NamedTuple):
    """Samples of one channel, without a gap.

    Attributes
    ----------
    channel : Channel
    start : float
        Time of the first sample, in s since 1970 (UTC).
    rate : float
        Hz.
    samples : ndarray, [n]
        As they stand in the file.
    """

    channel: Channel
    start: float
    rate: float
    samples: np.ndarray


def seconds(time):
    """Return a time or times (UTC) in s since 1970."""
    return (time - EPOCH) / pd.Timedelta(seconds=1)


def one_row_a_station(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Return one row a station, or raise `DataError` if its channels stand at two places."""
    places = rows.groupby("station", sort=False)[["longitude", "latitude"]]
    apart = (places.max() - places.min() > SAME_PLACE_DEG).any(axis=1)
    if apart.any():
        raise DataError(
            f"{table}: channels of station {apart.idxmax()} stand at two places: correct the table"
        )
    columns = ["station", "longitude", "latitude", "elevation_m", "sensor_depth_m"]
    first = rows.drop_duplicates("station").reindex(columns=columns).reset_index(drop=True)
    return first.rename(columns={"station": "station_id"})


class Win32Files:
    """Reads NIED WIN32 files with their channel table.

    The unit column of the table says what a channel measures, and its sensitivity how much. Several
    instruments of a station are told apart by their channel numbers: the lowest ones of both
    horizontals are one, the next ones another.

    Parameters
    ----------
    table : Path
        Channel table.
    tally : Tally
        Told of channels that are not used.
    differentiate : bool
        Whether channels that measure velocity are used.

    Attributes
    ----------
    stations : pandas.DataFrame
        ``station_id``, ``longitude``, ``latitude``.
    noted : Tally
        Lines of the table whose columns were glued together and could be told apart, and channels with
        samples that their digitiser cannot give.
    """

    def __init__(self, table: Path, tally: Tally, differentiate: bool = False):
        listed = win32_channels.read(table)
        messages = [fault.message for fault in listed.faults]
        tally.drop("channel", "its line of the channel table cannot be read", messages)
        rows = listed.rows.assign(component=listed.rows["component"].str.upper())
        units = rows["unit"].map(instruments.unit)
        rows["quantity"] = [unit.quantity if unit else "" for unit in units]
        rows["scale"] = rows["per_count"] * [unit.si if unit else np.nan for unit in units]
        self._used = _used_channels(rows, differentiate, tally)
        if not self._used:
            units = ", ".join(sorted(set(rows["unit"])))
            raise DataError(
                f"{table} lists no horizontal channel in m/s/s (its units are {units}): nothing to read"
            )
        self.stations = one_row_a_station(rows[rows["channel"].isin(list(self._used))], table)
        self.noted = Tally()
        self.noted.drop(
            "channel", "numbers of its line of the channel table are glued together", listed.repaired
        )
        self._known = {*rows["channel"], *(fault.channel for fault in listed.faults)}
        self._bits = dict(zip(rows["channel"], rows["bits"], strict=True))
        self._foreign, self._tally = set(), tally

    def span(self, path: Path) -> tuple[float, float]:
        """Return the times at which a file begins and ends, in s since 1970."""
        return tuple(map(seconds, win32.span(path)))

    def expect(self, paths: Sequence[Path]) -> None:
        """Take notice of the files that will be read; nothing depends on them here."""

    def awaited(self, station: str, instrument: Instrument, begin: float, end: float) -> bool:
        """Whether pieces of an instrument may still come: which channels a file has, its span hides."""
        return True

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Read the pieces of a file; seconds for which ``wanted(begin, end)`` is false are skipped."""
        segments = win32.segments(path, self._keeps, lambda time: wanted(seconds(time), seconds(time) + 1))
        for number, (start, rate, counts) in segments:
            self._note_overflow(number, counts)
            yield Piece(self._used[number], seconds(start), rate, counts)

    def _note_overflow(self, channel: int, counts: np.ndarray) -> None:
        """Note, once, a channel with samples that its digitiser cannot give: table or file are wrong."""
        bits = self._bits.get(channel, np.nan)
        if max(-int(counts.min()), int(counts.max()) + 1) > 2 ** (bits - 1):
            self.noted.drop("channel", "samples beyond the bits of the channel table", [f"{channel:04x}"])
            del self._bits[channel]

    def _keeps(self, channel: int) -> bool:
        if channel not in self._known | self._foreign:
            self._foreign.add(channel)
            self._tally.drop("channel", "not in the channel table", [f"{channel:04x}"])
        return channel in self._used


def _used_channels(rows: pd.DataFrame, differentiate: bool, tally: Tally) -> dict[int, Channel]:
    """Channels of a WIN32 table that are used, by number; the others are tallied."""
    used: dict[int, Channel] = {}
    for (station, quantity), group in rows.groupby(["station", "quantity"], sort=False):
        pairs, ambiguous = instruments.horizontals(set(group["component"]))
        component = group["component"]
        horizontal = component.isin(list(pairs))
        reasons = {
            "unit is no acceleration": quantity not in (ACCELERATION, VELOCITY),
            MEASURES_VELOCITY: quantity == VELOCITY and not differentiate,
            AMBIGUOUS: component.isin(ambiguous),
            NOT_HORIZONTAL: ~horizontal,
            "sensitivity, gain or LSB unknown": group["scale"].isna(),
        }
        left = group
        for reason, applies in reasons.items():
            bad = pd.Series(applies, group.index).loc[left.index]
            tally.drop("channel", reason, left["station"][bad] + " " + left["component"][bad])
            left = left[~bad]
        used |= _instruments(station, quantity, left.sort_values("channel"), pairs)
    return used


def _instruments(station: str, quantity: str, rows: pd.DataFrame, pairs: dict) -> dict[int, Channel]:
    """The channels of one station and quantity, in pairs by their numbers."""
    scales = dict(zip(rows["channel"], rows["scale"], strict=True))
    numbers: dict[str, tuple[list[int], list[int]]] = {}
    for channel, component in zip(rows["channel"], rows["component"], strict=True):
        axes, place = pairs[component]
        numbers.setdefault(axes, ([], []))[place].append(channel)
    used = {}
    for axes, both in numbers.items():
        for pair in zip_longest(*both):
            lowest = min(channel for channel in pair if channel is not None)
            instrument = Instrument(quantity, f"{lowest:04x}", axes=axes)
            for place, channel in enumerate(pair):
                if channel is not None:
                    used[channel] = Channel(station, instrument, place, scales[channel])
    return used
