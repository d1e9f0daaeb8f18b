"""Reader of WIN32 files and their channel table -> stations, and pieces of acceleration or velocity.

A piece is a stretch of samples of one channel without a gap.
"""

import array
import datetime
import itertools
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.common import bounded
from tfgmm.readers.waveforms import instruments
from tfgmm.readers.waveforms.instruments import ACCELERATION, VELOCITY, Channel, Instrument, Piece

JST = datetime.timedelta(hours=9)
_FILE_HEADER = bytes(4)
_SECOND = struct.Struct(">8sII")
_CHANNEL = struct.Struct(">HHH")
_FIRST_SAMPLE_BYTES = 4
_MAX_SIZE = 4
_COUNT = 0xFFF
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
#: Largest number of samples that are decoded at a time.
MOST_SAMPLES = 2**21
_YEARS = range(1970, 2200)


class Segment(NamedTuple):
    """A stretch of samples of one channel without a gap.

    Attributes
    ----------
    start : pandas.Timestamp
        Time of the first sample, UTC.
    sampling_rate : int
        Sampling rate, Hz.
    samples : ndarray of int32, [n]
        Samples, counts of the digitiser.
    """

    start: pd.Timestamp
    sampling_rate: int
    samples: np.ndarray


class _Second(NamedTuple):
    """A block of one second in a file.

    Attributes
    ----------
    time : datetime.datetime
        Beginning of the second, UTC.
    start, end : int
        Index of the first byte after the header of the block, and index after the last byte.
    """

    time: datetime.datetime
    start: int
    end: int


class _Blocks(NamedTuple):
    """Blocks of one channel: time, packed sample size and count, and index of the first byte of each block.

    Times are in microseconds since 1970 (UTC). The blocks are stored in arrays: as objects, the shortest
    blocks would take twenty times the size of the file.
    """

    times: array.array
    forms: array.array
    starts: array.array

    @classmethod
    def empty(cls) -> "_Blocks":
        """Return an instance without blocks."""
        return cls(array.array("q"), array.array("H"), array.array("Q"))


def span(path: Path) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the times (UTC) at which a file begins and ends, without reading its channels.

    Parameters
    ----------
    path : Path
        A WIN32 file.

    Returns
    -------
    begin, end : pandas.Timestamp
        Beginning of the earliest second and end of the latest second of the file, UTC.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is damaged as for `segments`; faults inside the blocks of channels are not found.
    """
    begin, end = None, None
    for second in _read_seconds(bounded.content(path), path):
        begin = second.time if begin is None else min(begin, second.time)
        end = second.time if end is None else max(end, second.time)
    return pd.Timestamp(begin), pd.Timestamp(end) + pd.Timedelta(seconds=1)


def segments(
    path: Path,
    channel_wanted: Callable[[int], bool] = lambda channel: True,
    second_wanted: Callable[[pd.Timestamp], bool] = lambda second: True,
) -> Iterator[tuple[int, Segment]]:
    """Read the samples of a WIN32 file as segments without a gap.

    Parameters
    ----------
    path : Path
        A WIN32 file.
    channel_wanted : callable
        Function of a channel number that returns True if the channel is decoded; the headers of all
        channels are checked.
    second_wanted : callable
        Function of the time (UTC) of a second that returns True if the second is read; other seconds are
        skipped without any check of their channels.

    Yields
    ------
    channel : int
        Number of the channel.
    segment : Segment
        Samples of the channel. Channels come one after the other, each in the order of time. A missing
        second, or a change of the sampling rate, ends a segment; no sample is interpolated. Long segments
        come in parts.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is truncated, or a time, length, sample size or count is impossible, or a channel has a
        second twice; the message names the byte.
    """
    data = bounded.content(path)
    blocks: dict[int, _Blocks] = {}
    for second in _read_seconds(data, path):
        if second_wanted(pd.Timestamp(second.time)):
            time = (second.time - EPOCH) // datetime.timedelta(microseconds=1)
            for channel, form, start in _read_blocks(data, second, path):
                if channel_wanted(channel):
                    columns = blocks.setdefault(channel, _Blocks.empty())
                    for column, value in zip(columns, (time, form, start), strict=True):
                        column.append(value)
    content = np.frombuffer(data, np.uint8)
    for channel, columns in blocks.items():
        for segment in _join_blocks(content, columns, path):
            yield channel, segment


def _make_error(path: Path, byte: int, content: str, expected: str) -> DataError:
    """Return the error for a damaged byte of a file, with the found content and the expected content."""
    return DataError(f"{path}, byte {byte}: {content}, expected {expected}: download the file again")


def _read_seconds(data: bytes, path: Path) -> Iterator[_Second]:
    """Yield the blocks of one second of a file, one after the other, from their headers."""
    if data[:4] != _FILE_HEADER:
        raise _make_error(
            path, 0, f"file begins with {data[:4].hex() or 'nothing'}", "the 00000000 of WIN32"
        )
    if len(data) == len(_FILE_HEADER):
        raise _make_error(path, 4, "end of file", "at least one second of data")
    position = len(_FILE_HEADER)
    while position < len(data):
        start = position + _SECOND.size
        if start > len(data):
            raise _make_error(path, position, "end of file", f"a header of {_SECOND.size} bytes")
        digits, duration, length = _SECOND.unpack_from(data, position)
        if duration != 10:
            raise _make_error(path, position + 8, f"duration {duration / 10:g} s", "1 s")
        if length > len(data) - start:
            raise _make_error(path, position + 12, f"length {length}", f"at most {len(data) - start}")
        yield _Second(_decode_time(digits, path, position), start, start + length)
        position = start + length


def _decode_time(digits: bytes, path: Path, byte: int) -> datetime.datetime:
    """Return the time (UTC) of eight bytes in binary-coded decimals (Japan Standard Time)."""
    text = digits.hex()
    try:
        local = datetime.datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
        if local.year not in _YEARS:
            raise ValueError(text)
        return local + datetime.timedelta(milliseconds=10 * int(text[14:])) - JST
    except (ValueError, OverflowError) as error:
        raise _make_error(path, byte, f"time {text}", "YYYYMMDDhhmmsscc in decimal digits") from error


def _read_blocks(data: bytes, second: _Second, path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield channel, packed sample size and count, and index of the first sample's first byte, by block."""
    position = second.start
    while position < second.end:
        start = position + _CHANNEL.size
        if start > second.end:
            raise _make_error(path, position, "end of the second", f"a header of {_CHANNEL.size} bytes")
        _, channel, packed = _CHANNEL.unpack_from(data, position)
        size, count = packed >> 12, packed & _COUNT
        if size > _MAX_SIZE:
            raise _make_error(path, position + 4, f"sample size {size}", f"0 to {_MAX_SIZE}")
        if count == 0:
            raise _make_error(path, position + 4, "sample count 0", "1 to 4095")
        end = start + _FIRST_SAMPLE_BYTES + _count_bytes(size, count)
        if end > second.end:
            block = f"channel {channel:04x} of {end - position} bytes"
            raise _make_error(path, position, block, f"at most {second.end - position}")
        yield channel, packed, start
        position = end


def _count_bytes(size: int, count: int) -> int:
    """Return the number of bytes of the differences in a block of `count` samples of `size` bytes each."""
    return size * (count - 1) if size else count // 2  # ceil((count - 1) / 2)


def _join_blocks(data: np.ndarray, blocks: _Blocks, path: Path) -> Iterator[Segment]:
    """Yield the segments of one channel, made of blocks that follow each other without a gap."""
    times, forms, starts = (np.array(column) for column in blocks)
    order = np.argsort(times, kind="stable")
    times, forms, starts = times[order], forms[order].astype(int), starts[order].astype(np.int64)
    steps = np.diff(times)
    if (steps < 10**6).any():
        byte = int(starts[1 + np.argmax(steps < 10**6)])
        raise _make_error(path, byte, "a channel's second that is in the file already", "it once")
    counts = forms & _COUNT
    ends = np.flatnonzero((steps > 10**6) | (np.diff(counts) != 0)) + 1
    for first, last in itertools.pairwise([0, *ends, len(times)]):
        count = int(counts[first])
        most = max(1, MOST_SAMPLES // count)
        for begin in range(first, last, most):
            part = slice(begin, min(begin + most, last))
            samples = _decode_all(data, forms[part] >> 12, starts[part], count, path)
            start = pd.Timestamp(int(times[begin]), unit="us", tz="UTC")
            yield Segment(start, count, samples.ravel())


def _decode_all(
    data: np.ndarray, sizes: np.ndarray, starts: np.ndarray, count: int, path: Path
) -> np.ndarray:
    """Decode blocks with a common sample count; return samples, int32, [n_blocks, count]."""
    rows = np.empty((len(sizes), count), np.int32)
    for size in np.unique(sizes):
        rows[sizes == size] = _decode(data, starts[sizes == size], int(size), count, path)
    return rows


def _decode(data: np.ndarray, starts: np.ndarray, size: int, count: int, path: Path) -> np.ndarray:
    """Decode blocks with a common sample size and count; return samples, int32, [n_blocks, count]."""
    length = _FIRST_SAMPLE_BYTES + _count_bytes(size, count)
    raw = np.lib.stride_tricks.sliding_window_view(data, length)[starts]
    first, packed = raw[:, :_FIRST_SAMPLE_BYTES], raw[:, _FIRST_SAMPLE_BYTES:]
    differences = (
        _decode_half_bytes(packed)[:, : count - 1] if size == 0 else _decode_integers(packed, size)
    )
    # The sum is taken in 64 bits, so that damage shows instead of wrapping round.
    samples = np.cumsum(
        np.concatenate([_decode_integers(first, _FIRST_SAMPLE_BYTES), differences], axis=1), axis=1
    )
    narrow = samples.astype(np.int32)
    bad = (narrow != samples).any(axis=1)
    if bad.any():
        raise _make_error(path, int(starts[bad][0]), "samples beyond 32 bits", "counts of a digitiser")
    return narrow


def _decode_integers(raw: np.ndarray, size: int) -> np.ndarray:
    """Return signed big-endian integers of `size` bytes, [n, m], from bytes [n, size m]."""
    columns = raw.reshape(len(raw), -1, size)
    values = columns[..., 0].astype(np.int8).astype(np.int64)  # the sign is in the first byte
    for k in range(1, size):
        values = (values << 8) | columns[..., k]
    return values


def _decode_half_bytes(raw: np.ndarray) -> np.ndarray:
    """Return signed integers of half a byte, the high half first, [n, 2 m], from bytes [n, m]."""
    halves = np.stack([raw >> 4, raw & 15], axis=-1).reshape(len(raw), -1).astype(np.int64)
    return (halves ^ 8) - 8


_STATION, _COMPONENT, _UNIT = 4, 5, 9
#: Name, smallest and largest value of each column of the channel table with numbers, by the number of the
#: column, from 1. Values of shifted columns are out of these ranges.
_NUMBERS = {
    2: ("recording flag", 0, 1e6),
    3: ("delay", -1e6, 1e6),
    6: ("monitor size", 0, 100),
    7: ("bits", 1, 64),
    8: ("sensitivity", -1e12, 1e12),
    10: ("natural period", 0, 1e4),
    11: ("damping", 0, 100),
    12: ("gain_db", -200, 200),
    13: ("lsb_v", -1, 1),
    14: ("latitude", -90, 90),
    15: ("longitude", -180, 360),
}
_FIRST_NUMBER, _LAST_NUMBER = 5, 18
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
#: Pattern of several numbers without a blank between them; all but the first number begin with a sign.
_GLUED = re.compile(rf"{_NUMBER.pattern}(?:(?=[-+]){_NUMBER.pattern})+")


class Fault(NamedTuple):
    """A line of a channel table that cannot be used.

    Attributes
    ----------
    channel : int or None
        Number of the channel, None if the number cannot be read.
    message : str
        File, line and reason.
    """

    channel: int | None
    message: str


class ChannelTable(NamedTuple):
    """The content of a channel table.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per channel: ``channel`` (int), ``station``, ``component``, ``unit``, ``bits`` per sample,
        ``sensitivity`` (V per unit), ``gain_db``, ``lsb_v`` (V per count), ``latitude``, ``longitude``
        (degrees) and ``per_count``, the size of one count in the unit. NaN where the table has ``*``;
        ``per_count`` is also NaN where it would be infinite or 0.
    faults : list of Fault
        Lines that cannot be used.
    repaired : list of str
        Lines in which numbers were glued together, with the numbers read from them.
    """

    rows: pd.DataFrame
    faults: list[Fault]
    repaired: list[str]


class Win32Files:
    """Reads NIED WIN32 files with their channel table.

    The table gives for each channel the measured quantity, in the column of the unit, and the scale, by
    the sensitivity. Several instruments of a station are distinguished by the channel numbers: the lowest
    numbers of both horizontals belong to the first instrument, the next higher numbers to the second
    instrument.

    Parameters
    ----------
    table : Path
        Channel table.
    tally : Tally
        Counts channels that are not used, with reasons.
    differentiate : bool
        Use channels that measure velocity too.

    Attributes
    ----------
    stations : pandas.DataFrame
        One row per station, as `instruments.one_row_per_station` returns it.
    noted : Tally
        Notes on channels that are used: lines of the table whose columns were glued together and could be
        separated, and channels with samples that exceed the range of their digitiser.
    """

    def __init__(self, table: Path, tally: Tally, differentiate: bool = False):
        channel_table = read_channel_table(table)
        messages = [fault.message for fault in channel_table.faults]
        tally.drop("channel", "its line of the channel table cannot be read", messages)
        rows = channel_table.rows
        rows = rows.assign(component=rows["component"].str.upper())
        units = rows["unit"].map(instruments.unit)
        rows["quantity"] = [unit.quantity if unit else "" for unit in units]
        rows["scale"] = rows["per_count"] * [unit.si if unit else np.nan for unit in units]
        self._used = _choose_channels(rows, differentiate, tally)
        if not self._used:
            listed_units = ", ".join(sorted(set(rows["unit"])))
            raise DataError(
                f"{table} lists no horizontal channel in m/s/s (its units are {listed_units}): "
                "nothing to read"
            )
        used_rows = rows[rows["channel"].isin(list(self._used))]
        self.stations = instruments.one_row_per_station(used_rows, table)
        self.noted = Tally()
        self.noted.drop(
            "channel", "numbers of its line of the channel table are glued together", channel_table.repaired
        )
        self._listed = {*rows["channel"], *(fault.channel for fault in channel_table.faults)}
        self._bits = dict(zip(rows["channel"], rows["bits"], strict=True))
        self._unlisted, self._tally = set(), tally

    def span(self, path: Path) -> tuple[float, float]:
        """Return the times at which a file begins and ends, in seconds since 1970 (UTC).

        Parameters
        ----------
        path : Path
            A WIN32 file.

        Returns
        -------
        begin, end : float
            Beginning of the earliest second and end of the latest second of the file.
        """
        begin, end = span(path)
        return instruments.seconds(begin), instruments.seconds(end)

    def choose_channels(self, paths: Sequence[Path]) -> None:
        """Do nothing: the channel table alone determines which channels are used.

        Parameters
        ----------
        paths : sequence of Path
            Files that will be read; ignored.
        """

    def has_more(self, station: str, instrument: Instrument, begin: float, end: float) -> bool:
        """Return True, always: the span of a WIN32 file does not tell which channels are in the file.

        Parameters
        ----------
        station, instrument, begin, end
            As for `ObspyFiles.has_more`; ignored.
        """
        return True

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Read the pieces of a file: samples of one channel without a gap.

        Parameters
        ----------
        path : Path
            A WIN32 file.
        wanted : callable
            Function of begin and end, s since 1970, that returns False for seconds of the file to be
            skipped.

        Yields
        ------
        Piece
        """

        def second_wanted(time: pd.Timestamp) -> bool:
            begin = instruments.seconds(time)
            return wanted(begin, begin + 1)

        for number, (start, rate, counts) in segments(path, self._is_used, second_wanted):
            self._note_overflow(number, counts)
            yield Piece(self._used[number], instruments.seconds(start), rate, counts)

    def _note_overflow(self, channel: int, counts: np.ndarray) -> None:
        """Note, once per channel, samples beyond the digitiser's range: table or file is wrong."""
        bits = self._bits.get(channel, np.nan)
        if max(-int(counts.min()), int(counts.max()) + 1) > 2 ** (bits - 1):
            self.noted.drop("channel", "samples beyond the bits of the channel table", [f"{channel:04x}"])
            del self._bits[channel]

    def _is_used(self, channel: int) -> bool:
        """Return True for a channel that is used; count a channel that is not in the table as dropped."""
        if channel not in self._listed | self._unlisted:
            self._unlisted.add(channel)
            self._tally.drop("channel", "not in the channel table", [f"{channel:04x}"])
        return channel in self._used


def _choose_channels(rows: pd.DataFrame, differentiate: bool, tally: Tally) -> dict[int, Channel]:
    """Return the used channels of a channel table by channel number; count the others as dropped."""
    used: dict[int, Channel] = {}
    for (station, quantity), group in rows.groupby(["station", "quantity"], sort=False):
        pairs, ambiguous = instruments.horizontals(set(group["component"]))
        component = group["component"]
        horizontal = component.isin(list(pairs))
        reasons = {
            "unit is no acceleration": quantity not in (ACCELERATION, VELOCITY),
            instruments.MEASURES_VELOCITY: quantity == VELOCITY and not differentiate,
            instruments.AMBIGUOUS: component.isin(ambiguous),
            instruments.NOT_HORIZONTAL: ~horizontal,
            "sensitivity, gain or LSB unknown": group["scale"].isna(),
        }
        kept = group
        for reason, applies in reasons.items():
            bad = pd.Series(applies, group.index).loc[kept.index]
            tally.drop("channel", reason, kept["station"][bad] + " " + kept["component"][bad])
            kept = kept[~bad]
        used |= _pair_by_number(station, quantity, kept.sort_values("channel"), pairs)
    return used


def _pair_by_number(station: str, quantity: str, rows: pd.DataFrame, pairs: dict) -> dict[int, Channel]:
    """Return the channels of one station and quantity by number, paired in the order of the numbers."""
    scales = dict(zip(rows["channel"], rows["scale"], strict=True))
    numbers: dict[str, tuple[list[int], list[int]]] = {}
    for channel, component in zip(rows["channel"], rows["component"], strict=True):
        axes, place = pairs[component]
        numbers.setdefault(axes, ([], []))[place].append(channel)
    used = {}
    for axes, numbers_of_both in numbers.items():
        for pair in zip_longest(*numbers_of_both):
            lowest = min(channel for channel in pair if channel is not None)
            instrument = Instrument(quantity, f"{lowest:04x}", axes=axes)
            for place, channel in enumerate(pair):
                if channel is not None:
                    used[channel] = Channel(station, instrument, place, scales[channel])
    return used


def read_channel_table(path: Path) -> ChannelTable:
    """Read a channel table with one line per channel; lines that begin with ``#`` are comments.

    The size of one count, in the unit of the channel, is ``lsb_v / (sensitivity * 10^(gain_db / 20))``.
    Columns of fixed width may be glued together. They are separated where a sign within a number shows the
    border (``0.70-10``). Any other line with an invalid column is left out and listed as a fault.

    Parameters
    ----------
    path : Path
        The channel table.

    Returns
    -------
    ChannelTable

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        No line can be read, or a channel is listed twice.
    """
    rows, faults, repaired = {}, [], []
    # The table is read as bytes: the names in the last columns come in several encodings.
    for number, line in enumerate(bounded.content(path).split(b"\n"), 1):
        fields = [field.decode("ascii", "replace") for field in line.split()]
        if not fields or fields[0].startswith("#"):
            continue
        fields, glued = _split_glued(fields)
        where = f"{path.name}, line {number}"
        try:
            row = _parse_row(fields)
        except ValueError as error:
            faults.append(Fault(_parse_channel(fields[0]), f"{where}, {error}"))
            continue
        if row["channel"] in rows:
            raise DataError(f"{path}, line {number}: channel {fields[0]} is listed twice: keep one")
        rows[row["channel"]] = row
        repaired += [f"{where}: {text}" for text in glued]
    if not rows:
        reason = faults[0].message if faults else "it has no lines"
        raise DataError(f"{path} lists no channel ({reason}): is it the channel table of the WIN32 files?")
    return ChannelTable(pd.DataFrame(list(rows.values())), faults, repaired)


def _split_glued(fields: list[str]) -> tuple[list[str], list[str]]:
    """Return the fields of a line after separating glued numbers, and a note on each separation."""
    split_fields, glued = [], []
    for field in fields:
        numeric = _FIRST_NUMBER <= len(split_fields) < _LAST_NUMBER
        parts = _NUMBER.findall(field) if numeric and _GLUED.fullmatch(field) else [field]
        split_fields += parts
        if len(parts) > 1:
            glued.append(f"{field} read as {' and '.join(parts)}")
    return split_fields, glued


def _parse_row(fields: list[str]) -> dict:
    """Return the values of a line by name, or raise `ValueError` that names the invalid column."""
    if len(fields) < max(_NUMBERS):
        raise ValueError(f"{len(fields)} columns, expected {max(_NUMBERS)} or more")
    row = {"channel": _parse_channel(fields[0])}
    if row["channel"] is None:
        raise ValueError(f"column 1: channel {fields[0]}, expected 0000 to ffff in hexadecimal")
    for name, column in (("station", _STATION), ("component", _COMPONENT), ("unit", _UNIT)):
        row[name] = fields[column - 1]
    for column, (name, lowest, highest) in _NUMBERS.items():
        row[name] = _parse_number(fields[column - 1], column, name, lowest, highest)
    return row | {"per_count": _compute_per_count(row)}


def _parse_channel(text: str) -> int | None:
    """Return a channel number written in hexadecimal, or None where the text is no such number."""
    return int(text, 16) if re.fullmatch("[0-9a-fA-F]{1,4}", text) else None


def _parse_number(text: str, column: int, name: str, lowest: float, highest: float) -> float:
    """Return the number in a column, NaN for ``*``, or raise `ValueError` where it is out of range."""
    if text == "*":
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise ValueError(
            f"column {column}: {text!r}, expected a number from {lowest:g} to {highest:g} ({name}); "
            "are columns glued together?"
        )
    return value


def _compute_per_count(row: dict) -> float:
    """Return the size of one count in the channel's unit, NaN where it would be infinite or 0."""
    try:
        value = row["lsb_v"] / (row["sensitivity"] * 10 ** (row["gain_db"] / 20))
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return value if math.isfinite(value) and value != 0 else math.nan
