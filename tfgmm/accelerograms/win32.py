"""NIED WIN32 files: bytes -> samples, nothing chosen.

A file is four zero bytes and then blocks of one second: time (8 bytes BCD, ``YYYYMMDDhhmmsscc`` in
Japan Standard Time), duration in 0.1 s and length in bytes (4 each), then for each channel its
organisation, network (1 byte each), number (2), sample size (4 bits) and sample count (12 bits),
its first sample (4 bytes) and ``count - 1`` differences. All numbers are big-endian, signed ones in
two's complement. Differences of size 0 are half a byte, the high one first, padded to whole bytes.
"""

import datetime
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfgmm.errors import DataError
from tfgmm.sources import bounded

JST = datetime.timedelta(hours=9)
_FILE_HEADER = bytes(4)
_SECOND = struct.Struct(">8sII")
_CHANNEL = struct.Struct(">HHH")
_FIRST_SAMPLE_BYTES = 4
_MAX_SIZE = 4
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


class _Block(NamedTuple):
    time: datetime.datetime
    size: int
    count: int
    start: int


def span(path: Path) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Times (UTC) at which a file begins and ends; channels are not looked into.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        As `read`, but for the content of channel blocks.
    """
    times = [second.time for second in _seconds(bounded.content(path), path)]
    return pd.Timestamp(min(times)), pd.Timestamp(max(times)) + pd.Timedelta(seconds=1)


def read(
    path: Path,
    keeps: Callable[[int], bool] = lambda channel: True,
    wanted: Callable[[pd.Timestamp], bool] = lambda second: True,
) -> dict[int, list[Segment]]:
    """Samples of a WIN32 file, by channel number.

    Parameters
    ----------
    path : Path
    keeps : callable
        Given a channel, whether it is decoded; the headers of the others are checked nevertheless.
    wanted : callable
        Given the time (UTC) of a second, whether it is read; the others are skipped as a whole.

    Returns
    -------
    dict of list of Segment
        By channel, in the order of time. A missing second, or a change of sampling rate, ends a
        segment and begins another: no sample is made up.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is truncated, or a time, length, sample size or count is impossible, or a channel
        has a second twice; the message names the byte.
    """
    data = bounded.content(path)
    blocks: dict[int, list[_Block]] = {}
    for second in _seconds(data, path):
        if wanted(pd.Timestamp(second.time)):
            for channel, block in _channel_blocks(data, second, path):
                if keeps(channel):
                    blocks.setdefault(channel, []).append(block)
    array = np.frombuffer(data, np.uint8)
    return {channel: _segments(array, found, path) for channel, found in blocks.items()}


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


def _channel_blocks(data: bytes, second: _Second, path: Path) -> Iterator[tuple[int, _Block]]:
    position = second.start
    while position < second.end:
        start = position + _CHANNEL.size
        if start > second.end:
            raise _damaged(path, position, "end of the second", f"a header of {_CHANNEL.size} bytes")
        _, channel, packed = _CHANNEL.unpack_from(data, position)
        size, count = packed >> 12, packed & 0xFFF
        if size > _MAX_SIZE:
            raise _damaged(path, position + 4, f"sample size {size}", f"0 to {_MAX_SIZE}")
        if count == 0:
            raise _damaged(path, position + 4, "sample count 0", "1 to 4095")
        end = start + _FIRST_SAMPLE_BYTES + _difference_bytes(size, count)
        if end > second.end:
            found, left = f"channel {channel:04x} of {end - position} bytes", second.end - position
            raise _damaged(path, position, found, f"at most {left}")
        yield channel, _Block(second.time, size, count, start)
        position = end


def _difference_bytes(size: int, count: int) -> int:
    return size * (count - 1) if size else count // 2  # ceil((count - 1) / 2)


def _segments(data: np.ndarray, blocks: list[_Block], path: Path) -> list[Segment]:
    """Blocks of one channel, decoded all of one form at a time, joined where they follow each other."""
    blocks = sorted(blocks, key=lambda block: block.time)
    rows: dict[int, np.ndarray] = {}
    for form in {(block.size, block.count) for block in blocks}:
        members = [i for i, block in enumerate(blocks) if (block.size, block.count) == form]
        samples = _decode(data, np.array([blocks[i].start for i in members]), *form, path)
        rows.update(zip(members, samples, strict=True))
    first = 0
    segments = []
    for i in range(1, len(blocks) + 1):
        if i == len(blocks) or not _follows(blocks[i - 1], blocks[i], path):
            samples = np.concatenate([rows[k] for k in range(first, i)])
            segments.append(Segment(pd.Timestamp(blocks[first].time), blocks[first].count, samples))
            first = i
    return segments


def _follows(block: _Block, after: _Block, path: Path) -> bool:
    step = after.time - block.time
    if step < datetime.timedelta(seconds=1):
        raise _damaged(path, after.start, "a channel's second that is in the file already", "it once")
    return step == datetime.timedelta(seconds=1) and block.count == after.count


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
