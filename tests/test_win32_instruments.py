"""The channel table decides which channels of WIN32 files are used."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.tallies import dropped
from helpers.waveform_files import (
    BEFORE,
    DIFFERENTIATE,
    ORIGIN,
    OTHER,
    RATE,
    SETTINGS,
    VELOCITY,
    counts,
    pga,
)
from helpers.win32_writer import channel_block, channel_row, channel_table, second_block, win32_file
from tfgmm.core.errors import DataError
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.waveforms import mesonet


def win32(folder: Path, pairs: dict[int, np.ndarray]) -> Path:
    blocks = []
    for second in range(80):
        part = slice(second * RATE, (second + 1) * RATE)
        data = [channel_block(channel, row[part]) for channel, row in pairs.items()]
        blocks.append(second_block((ORIGIN + pd.Timedelta(seconds=second - BEFORE)).to_pydatetime(), *data))
    return win32_file(folder / "data.cnt", *blocks)


@pytest.mark.slow
def test_win32_tables_say_unit_and_instrument(tmp_path):
    strong, weak, sensor = counts(1e6), counts(5e5), counts(2e6)
    path = win32(tmp_path, dict(enumerate([*strong, *weak, *sensor], 1)))
    rows = [
        channel_row("0001"), channel_row("0002", component="E"),
        channel_row("0003"), channel_row("0004", component="E"),
        channel_row("0005", unit="m/s"), channel_row("0006", unit="m/s", component="E"),
    ]  # fmt: skip
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    limits, per_count = Limits(), 2e-7

    def dataset(lines, settings=SETTINGS):
        table = channel_table(tmp_path / "table.ch", *lines)
        return mesonet.read([path], tmp_path / "cat.csv", limits, channels=table, settings=settings)

    for lines in itertools.islice(itertools.permutations(rows), 0, 720, 119):
        first = dataset(lines)
        assert first.records.PGA[0] == pga(100 * 1e6 * per_count), "the lowest channel numbers"
        assert dropped(first)[VELOCITY] == 2 and dropped(first)[OTHER] == 1
    velocity = dataset([*rows[4:], channel_row("0007", "X", unit="gal")], DIFFERENTIATE)
    assert velocity.records.PGA[0] == pga(100 * 2e6 * per_count * 4 * np.pi)
    assert dataset([row.replace("m/s/s", "gal") for row in rows[:2]]).records.PGA[0] == pga(1e6 * per_count)
    with pytest.raises(DataError, match="no horizontal channel in m/s/s .its units are m/s"):
        dataset(rows[4:])


def test_a_line_of_glued_columns_is_repaired_or_named(tmp_path):
    path = win32(tmp_path, dict(enumerate([*counts(1e6), *counts(5e5)], 1)))
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    rows = [channel_row("0001", "A"), channel_row("0002", "A", "E")]
    others = [channel_row("0003", "B"), channel_row("0004", "B", "E")]

    def read_with(old: str, new: str):
        table = channel_table(tmp_path / "t.ch", *rows, *(line.replace(old, new) for line in others))
        return mesonet.read([path], tmp_path / "cat.csv", Limits(), channels=table, settings=SETTINGS)

    repaired = read_with("0.7 20", "0.7-20")
    assert repaired.records.PGA.tolist() == [pga(100 * 1e6 * 2e-7), pga(100 * 5e5 * 2e-5)], "-20 dB for 20"
    [noted] = repaired.provenance["noted"]
    assert noted["examples"][0] == "t.ch, line 5: 0.7-20 read as 0.7 and -20"
    left_out = read_with("35.6000 139.7000", "35.6000139.7000")
    assert dropped(left_out) == {("channel", "its line of the channel table cannot be read"): 2}
    assert "t.ch, line 5, column 14: '35.6000139.7000'" in left_out.provenance["dropped"][0]["examples"][0]


def test_samples_beyond_the_bits_of_the_table_are_noted(tmp_path):
    path = win32(tmp_path, dict(enumerate(counts(1e6), 1)))
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    rows = [channel_row("0001"), channel_row("0002", component="E").replace("5 24", "5 20")]
    table = channel_table(tmp_path / "t.ch", *rows)
    dataset = mesonet.read([path], tmp_path / "cat.csv", Limits(), channels=table, settings=SETTINGS)
    [noted] = dataset.provenance["noted"]
    assert (noted["reason"], noted["examples"]) == (
        "samples beyond the bits of the channel table",
        ["0002"],
    )
