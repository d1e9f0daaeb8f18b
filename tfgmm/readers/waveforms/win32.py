"""NIED WIN32 files: bytes -> samples, nothing chosen.

A file is four zero bytes and then blocks of one second: time (8 bytes BCD, ``YYYYMMDDhhmmsscc`` in
Japan Standard Time), duration in 0.1 s and length in bytes (4 each), then for each channel its
organisation, network (1 byte each), number (2), sample size (4 bits) and sample count (12 bits),
its first sample (4 bytes) and ``count - 1`` differences. All numbers are big-endian, signed ones in
two's complement. Differences of size 0 are half a byte, the high one first, padded to whole bytes.
"""

import array
import datetime
import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.readers.common import bounded

JST = datetime.timedelta(hours=9)
_FILE_HEADER = bytes(4)
_SECOND = struct.Struct(">8sII")
_CHANNEL = struct.Struct(">HHH")
_FIRST_SAMPLE_BYTES = 4
_MAX_SIZE = 4
_COUNT = 0xFFF
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
#: Samples that are decoded at a time.
MOST_SAMPLES = 2**21
_YEARS = range(1970, 2200)


class Segment(NamedTuple):
    """Samples of one channel without a gap: first sample's time (UTC), Hz, counts (int32, [n])."""

    start: pd.Timestamp
    sampling_rate: int
    samples: np.ndarray


class _Second(NamedTuple):
    time: datetime.datetime
    start: int
    end: int


class _Blocks(NamedTuple):
    """Blocks of one channel: times in microseconds since 1970 (UTC), packed size and count, first bytes.

    Arrays and no objects, or a file of the shortest blocks would take twenty times its size.
    """

    times: array.array
    forms: array.array
    starts: array.array

    @classmethod
    def empty(cls) -> "_Blocks":
        return cls(array.array("q"), array.array("H"), array.array("Q"))


def span(path: Path) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the times (UTC) at which a file begins and ends; channels are not looked into.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        As `segments`, but for the content of channel blocks.
    """
    begin, end = None, None
    for second in _seconds(bounded.content(path), path):
        begin = second.time if begin is None else min(begin, second.time)
        end = second.time if end is None else max(end, second.time)
    return pd.Timestamp(begin), pd.Timestamp(end) + pd.Timedelta(seconds=1)


def segments(
    path: Path,
    keeps: Callable[[int], bool] = lambda channel: True,
    wanted: Callable[[pd.Timestamp], bool] = lambda second: True,
) -> Iterator[tuple[int, Segment]]:
    """Read the samples of a WIN32 file.

    Parameters
    ----------
    path : Path
    keeps : callable
        Given a channel, whether it is decoded; the headers of the others are checked nevertheless.
    wanted : callable
        Given the time (UTC) of a second, whether it is read; the others are skipped as a whole.

    Yields
    ------
    channel : int
    segment : Segment
        One channel after the other, each in the order of time. A missing second, or a change of sampling
        rate, ends a segment and begins another: no sample is made up. Long ones come in parts.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is truncated, or a time, length, sample size or count is impossible, or a channel
        has a second twice; the message names the byte.
    """
    data = bounded.content(path)
    blocks: dict[int, _Blocks] = {}
    for second in _seconds(data, path):
        if wanted(pd.Timestamp(second.time)):
            time = (second.time - EPOCH) // datetime.timedelta(microseconds=1)
            for channel, form, start in _channel_blocks(data, second, path):
                if keeps(channel):
                    columns = blocks.setdefault(channel, _Blocks.empty())
                    for column, value in zip(columns, (time, form, start), strict=True):
                        column.append(value)
    content = np.frombuffer(data, np.uint8)
    for channel, columns in blocks.items():
        for segment in _segments(content, columns, path):
            yield channel, segment


def _damaged(path: Path, byte: int, found: str, expected: str) -> DataError:
    return DataError(f"{path}, byte {byte}: {found}, expected {expected}: download the file again")


def _seconds(data: bytes, path: Path) -> Iterator[_Second]:
    if data[:4] != _FILE_HEADER:
        raise _damaged(path, 0, f"file begins with {data[:4].hex() or 'nothing'}", "the 00000000 of WIN32")
    if len(data) == len(_FILE_HEADER):
        raise _damaged(path, 4, "end of file", "at least one second of data")
    position = len(_FILE_HEADER)
    while position < len(data):
        start = position + _SECOND.size
        if start > len(data):
            raise _damaged(path, position, "end of file", f"a header of {_SECOND.size} bytes")
        digits, duration, length = _SECOND.unpack_from(data, position)
        if duration != 10:
            raise _damaged(path, position + 8, f"duration {duration / 10:g} s", "1 s")
        if length > len(data) - start:
            raise _damaged(path, position + 12, f"length {length}", f"at most {len(data) - start}")
        yield _Second(_time(digits, path, position), start, start + length)
        position = start + length


def _time(digits: bytes, path: Path, byte: int) -> datetime.datetime:
    """UTC of a time in binary-coded decimals."""
    text = digits.hex()
    try:
        local = datetime.datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
        if local.year not in _YEARS:
            raise ValueError(text)
        return local + datetime.timedelta(milliseconds=10 * int(text[14:])) - JST
    except (ValueError, OverflowError) as error:
        raise _damaged(path, byte, f"time {text}", "YYYYMMDDhhmmsscc in decimal digits") from error


def _channel_blocks(data: bytes, second: _Second, path: Path) -> Iterator[tuple[int, int, int]]:
    """Channel, packed size and count, and first byte of the samples, of the blocks of a second."""
    position = second.start
    while position < second.end:
        start = position + _CHANNEL.size
        if start > second.end:
            raise _damaged(path, position, "end of the second", f"a header of {_CHANNEL.size} bytes")
        _, channel, packed = _CHANNEL.unpack_from(data, position)
        size, count = packed >> 12, packed & _COUNT
        if size > _MAX_SIZE:
            raise _damaged(path, position + 4, f"sample size {size}", f"0 to {_MAX_SIZE}")
        if count == 0:
            raise _damaged(path, position + 4, "sample count 0", "1 to 4095")
        end = start + _FIRST_SAMPLE_BYTES + _difference_bytes(size, count)
        if end > second.end:
            found, left = f"channel {channel:04x} of {end - position} bytes", second.end - position
            raise _damaged(path, position, found, f"at most {left}")
        yield channel, packed, start
        position = end


def _difference_bytes(size: int, count: int) -> int:
    return size * (count - 1) if size else count // 2  # ceil((count - 1) / 2)


def _segments(data: np.ndarray, blocks: _Blocks, path: Path) -> Iterator[Segment]:
    """Blocks of one channel, joined where they follow each other."""
    times, forms, starts = (np.array(column) for column in blocks)
    order = np.argsort(times, kind="stable")
    times, forms, starts = times[order], forms[order].astype(int), starts[order].astype(np.int64)
    steps = np.diff(times)
    if (steps < 10**6).any():
        byte = int(starts[1 + np.argmax(steps < 10**6)])
        raise _damaged(path, byte, "a channel's second that is in the file already", "it once")
    counts = forms & _COUNT
    ends = np.flatnonzero((steps > 10**6) | (np.diff(counts) != 0)) + 1
    for first, last in itertools.pairwise([0, *ends, len(times)]):
        count = int(counts[first])
        most = max(1, MOST_SAMPLES // count)
        for begin in range(first, last, most):
            part = slice(begin, min(begin + most, last))
            samples = _rows(data, forms[part] >> 12, starts[part], count, path)
            start = pd.Timestamp(int(times[begin]), unit="us", tz="UTC")
            yield Segment(start, count, samples.ravel())


def _rows(data: np.ndarray, sizes: np.ndarray, starts: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Samples [n_blocks, count] of blocks that have one count; all of one size are decoded at once."""
    rows = np.empty((len(sizes), count), np.int32)
    for size in np.unique(sizes):
        rows[sizes == size] = _decode(data, starts[sizes == size], int(size), count, path)
    return rows


def _decode(data: np.ndarray, starts: np.ndarray, size: int, count: int, path: Path) -> np.ndarray:
    """Samples [n_blocks, count] of blocks that have one form; int32."""
    length = _FIRST_SAMPLE_BYTES + _difference_bytes(size, count)
    raw = np.lib.stride_tricks.sliding_window_view(data, length)[starts]
    first, rest = raw[:, :_FIRST_SAMPLE_BYTES], raw[:, _FIRST_SAMPLE_BYTES:]
    differences = _nibbles(rest)[:, : count - 1] if size == 0 else _integers(rest, size)
    # The sum is taken in 64 bits, so that damage shows instead of wrapping round.
    samples = np.cumsum(
        np.concatenate([_integers(first, _FIRST_SAMPLE_BYTES), differences], axis=1), axis=1
    )
    narrow = samples.astype(np.int32)
    bad = (narrow != samples).any(axis=1)
    if bad.any():
        raise _damaged(path, int(starts[bad][0]), "samples beyond 32 bits", "counts of a digitiser")
    return narrow


def _integers(raw: np.ndarray, size: int) -> np.ndarray:
    """Bytes [n, size m] -> signed big-endian integers of `size` bytes, [n, m]."""
    columns = raw.reshape(len(raw), -1, size)
    values = columns[..., 0].astype(np.int8).astype(np.int64)  # the sign is in the first byte
    for k in range(1, size):
        values = (values << 8) | columns[..., k]
    return values


def _nibbles(raw: np.ndarray) -> np.ndarray:
    """Bytes [n, m] -> signed integers of half a byte, the high ones first, [n, 2 m]."""
    halves = np.stack([raw >> 4, raw & 15], axis=-1).reshape(len(raw), -1).astype(np.int64)
    return (halves ^ 8) - 8
