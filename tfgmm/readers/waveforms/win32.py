"""Reader of NIED WIN32 files -> samples of all their channels.

A file consists of four zero bytes and then blocks of one second. A block has a header: time (8 bytes BCD,
``YYYYMMDDhhmmsscc`` in Japan Standard Time), duration in 0.1 s and length in bytes (4 bytes each). Then
follow for each channel its organisation and network (1 byte each), number (2 bytes), sample size (4 bits)
and sample count (12 bits), its first sample (4 bytes) and ``count - 1`` differences. All numbers are
big-endian; signed numbers are in two's complement. Differences of sample size 0 take half a byte, the
high half first, padded to whole bytes.
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
