import datetime
import random
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.win32_writer import SIZES, channel_block, second_block, win32_file
from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.waveforms import win32_files

NOON = datetime.datetime(2018, 1, 5, 2, 2, 30, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
DATA = [5, -3, 4, 4, -4]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0301_201801051102.cnt"


def read(path, **choices) -> dict[int, list[win32_files.Segment]]:
    """Return the segments by channel."""
    segments = {}
    for channel, segment in win32_files.segments(path, **choices):
        segments.setdefault(channel, []).append(segment)
    return segments


def every_second(blocks) -> list[bytes]:
    return [second_block(NOON + i * SECOND, block) for i, block in enumerate(blocks)]


def samples(size: int) -> st.SearchStrategy:
    """Draw whole seconds whose steps need no more than `size`; the steps' ends are drawn often."""
    half = 2 ** round(8 * SIZES[size] - 1)
    steps = st.lists(
        st.sampled_from([-half, half - 1, -1, 0, 1]) | st.integers(-half, half - 1), max_size=41
    )
    return st.tuples(st.integers(-(2**31), 2**31 - 1), steps).map(_bounded)


def _bounded(first_and_steps) -> list[int]:
    values = [first_and_steps[0]]
    for step in first_and_steps[1]:
        if -(2**31) <= values[-1] + step < 2**31:
            values.append(values[-1] + step)
    return values


@pytest.mark.parametrize("size", SIZES)
@settings(max_examples=50)
@given(data=st.data())
def test_what_is_written_is_read(tmp_path_factory, size, data):
    seconds = data.draw(st.lists(samples(size), min_size=1, max_size=3))
    path = tmp_path_factory.getbasetemp() / f"size{size}.cnt"
    win32_file(path, *every_second(channel_block(7, values, size) for values in seconds))
    segments = read(path)[7]
    assert np.concatenate([segment.samples for segment in segments]).tolist() == [*chain(*seconds)]
    assert all(segment.samples.dtype == np.int32 for segment in segments)


@pytest.mark.parametrize(
    ("body", "expected"),
    [  # bytes by hand: 100 Hz would be the same with more of them
        ("0005 00000064 7f81", [100, 107, 106, 98, 99]),
        ("0004 00000064 8f70", [100, 92, 91, 98]),  # odd count: the last half byte is no sample
        ("0002 ffffffff 10", [-1, 0]),
        ("0001 80000000", [-(2**31)]),
        ("1003 00000000 80ff", [0, -128, -129]),
        ("2003 00000000 7fff8000", [0, 32767, -1]),
        ("3003 00000000 800000ffffff", [0, -(2**23), -(2**23) - 1]),
        ("4002 7fffffff 80000001", [2**31 - 1, 0]),
    ],
)
def test_golden_bytes(path, body, expected):
    block = bytes.fromhex("0207 8a01" + body)
    header = bytes.fromhex("2018010511023000 0000000a") + len(block).to_bytes(4, "big")
    path.write_bytes(bytes(4) + header + block)
    [segment] = read(path)[0x8A01]
    assert segment.samples.tolist() == expected
    assert segment.sampling_rate == len(expected)
    assert segment.start == pd.Timestamp("2018-01-05T02:02:30Z"), "nine hours before Japan's time, once"


def test_gaps_and_changes_of_rate_end_a_segment(path):
    times = [NOON + i * SECOND for i in (0, 1, 3, 4)]  # second 2 is missing
    rates = [3, 3, 3, 4]
    blocks = [second_block(t, channel_block(1, [i] * n), channel_block(2, [9])) for i, (t, n) in
              enumerate(zip(times, rates, strict=True))]  # fmt: skip
    segments = read(win32_file(path, *(blocks[i] for i in (3, 1, 0, 2))))  # the order does not matter
    assert [(s.start - pd.Timestamp(NOON), s.samples.tolist()) for s in segments[1]] == [
        (pd.Timedelta(0), [0, 0, 0, 1, 1, 1]),
        (pd.Timedelta(seconds=3), [2, 2, 2]),
        (pd.Timedelta(seconds=4), [3, 3, 3, 3]),
    ]
    assert [len(segment.samples) for segment in segments[2]] == [2, 2]
    assert win32_files.span(path) == (pd.Timestamp(NOON), pd.Timestamp(NOON + 5 * SECOND))


def test_channels_and_seconds_that_nobody_wants(path):
    blocks = [
        second_block(NOON + i * SECOND, channel_block(1, [i]), channel_block(2, [-i])) for i in range(3)
    ]
    win32_file(path, *blocks)
    segments = read(
        path,
        channel_wanted=lambda channel: channel == 2,
        second_wanted=lambda time: time > pd.Timestamp(NOON),
    )
    assert list(segments) == [2]
    [segment] = segments[2]
    assert segment.samples.tolist() == [-1, -2] and segment.start == pd.Timestamp(NOON + SECOND)


def test_sizes_may_change_from_second_to_second(path):
    rng = np.random.default_rng(0)
    expected = [np.cumsum(rng.integers(-(10**k), 10**k, 100)) for k in (0, 1, 4, 6, 8)]
    win32_file(path, *every_second(channel_block(5, values) for values in expected))
    [segment] = read(path)[5]
    np.testing.assert_array_equal(segment.samples, np.concatenate(expected))


def second(**changes) -> bytes:
    """Write a file of one second with one channel, some of its fields changed."""
    field = {"file": "00000000", "time": "2018010511023000", "duration": "0000000a", "length": "0000000b",
             "head": "02078a01", "form": "1002", "data": "0000000001"} | changes  # fmt: skip
    return bytes.fromhex("".join(field.values()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "byte 0: file begins with nothing"),
        (second(file="00000001"), "byte 0: file begins with 00000001"),
        (bytes(4), "byte 4: end of file"),
        (second()[:19], "byte 4: end of file, expected a header of 16 bytes"),
        (second(time="2018130511023000"), "byte 4: time 2018130511023000"),
        (second(time="201801051102300a"), "byte 4: time 201801051102300a"),
        (second(time="20180105110230a0"), "byte 4: time 20180105110230a0"),
        (second(time="0018010511023000"), "byte 4: time 0018010511023000"),
        (second(time="7818010511023000"), "byte 4: time 7818010511023000"),  # pandas would overflow
        (second(duration="00000064"), "byte 12: duration 10 s, expected 1 s"),
        (second(length="0000000c"), "byte 16: length 12, expected at most 11"),
        (second(length="ffffffff"), "byte 16: length 4294967295"),
        (second(length="00000004", form="", data=""), "byte 20: end of the second, expected a header of 6"),
        (second(form="5002"), "byte 24: sample size 5, expected 0 to 4"),
        (second(form="1000"), "byte 24: sample count 0"),
        (second(form="1003"), "byte 20: channel 8a01 of 12 bytes, expected at most 11"),
        (second(data="7fffffff01"), "byte 26: samples beyond 32 bits"),
        (second() + second()[4:], "byte 53: a channel's second that is in the file already"),
    ],
)
def test_damage_is_named_with_its_byte(path, content, message):
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}, {message}" in str(caught.value) and "\n" not in str(caught.value)


def test_the_undamaged_second_is_read(path):
    path.write_bytes(second())
    assert read(path)[0x8A01][0].samples.tolist() == [0, 1]


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_mutated_files_are_read_or_refused(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "mutated.cnt"
    rng = random.Random(seed)
    blocks = (channel_block(c, [rng.randrange(-300, 300) for _ in range(20)]) for c in range(3))
    content = bytearray(
        bytes(4) + second_block(NOON, *blocks) + second_block(NOON + SECOND, channel_block(0, DATA))
    )
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content))
        match rng.randrange(3):
            case 0:
                content[place] = rng.randrange(256)
            case 1:
                del content[place : place + rng.randint(1, 20)]
            case 2:
                content[place:place] = rng.randbytes(rng.randint(1, 20))
    path.write_bytes(content)
    try:
        by_channel = read(path)
    except DataError:
        return
    assert all(segment.sampling_rate > 0 for segments in by_channel.values() for segment in segments)


def test_long_segments_come_in_parts(path, monkeypatch):
    monkeypatch.setattr(win32_files, "MOST_SAMPLES", 25)
    values = [[10 * second + i for i in range(10)] for second in range(7)]
    parts = read(win32_file(path, *every_second(channel_block(1, row) for row in values)))[1]
    assert [len(part.samples) for part in parts] == [20, 20, 20, 10]
    assert np.concatenate([part.samples for part in parts]).tolist() == [*chain(*values)]
    assert [part.start for part in parts] == [pd.Timestamp(NOON + 2 * i * SECOND) for i in range(4)]


def test_a_file_that_does_not_exist(path):
    with pytest.raises(UsageError, match="does not exist"):
        read(path)
