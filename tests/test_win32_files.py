import math

import pytest

from helpers.win32_writer import channel_row, channel_table
from tfgmm.core.errors import DataError
from tfgmm.readers.waveforms import win32_files


def test_channel_table(tmp_path):
    table = channel_table(
        tmp_path / "0301.sjis.ch",
        channel_row(),
        "# " + channel_row("8a05"),
        channel_row("8a02", component="U", sensitivity="*", gain_db="0").replace("somewhere", "東京"),
        channel_row("8A03", unit="m/s", sensitivity="0"),
    )
    rows, faults, repaired = win32_files.read_channel_table(table)
    assert rows["channel"].tolist() == [0x8A01, 0x8A02, 0x8A03]
    first = rows.iloc[0]
    assert (first.station, first.component, first.unit) == ("E.AC3M", "N", "m/s/s")
    assert (first.latitude, first.longitude) == (35.6, 139.7)
    assert first.per_count == pytest.approx(2e-7, rel=1e-12), "1e-6 V / (0.5 V s2/m x 10)"
    assert math.isnan(rows.per_count[1]) and math.isnan(rows.per_count[2])
    assert faults == [] and repaired == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([channel_row("8A0G")], r"line 3, column 1: channel 8A0G, expected 0000 to ffff in hexadecimal"),
        ([channel_row("18A01")], r"line 3, column 1: channel 18A01, expected 0000 to ffff"),
        ([channel_row(gain_db="high")], r"line 3, column 12: 'high', expected a number .*\(gain_db\)"),
        ([channel_row(longitude="nan")], r"line 3, column 15: 'nan', expected a number .*\(longitude\)"),
        ([channel_row(latitude="inf")], r"line 3, column 14: 'inf', expected a number from -90 to 90"),
        ([channel_row(), channel_row("8a01")], r"line 4: channel 8a01 is listed twice"),
        (["8A01 1 0 E.AC3M N"], r"line 3, 5 columns, expected 15 or more"),
        ([], r"lists no channel \(it has no lines\)"),
    ],
)
def test_channel_tables_that_are_wrong(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        win32_files.read_channel_table(channel_table(tmp_path / "table.ch", *rows))


WHOLE = "8A02 1 0 E.AC3M E 5 24 0.5 m/s/s 120.05 0.7 -10 7.63e-06 -35.6 -139.7 -20 0 0 name"


def glued(*columns: int) -> str:
    """Return a line in which these columns (from 1) have grown together with the next ones."""
    fields = WHOLE.split()
    return "".join(field + ("" if i in columns else " ") for i, field in enumerate(fields, 1))


@pytest.mark.parametrize("columns", [(), (11,), (13,), (14,), (15,), (11, 13), (14, 15), (13, 14, 15)])
def test_numbers_that_a_sign_parts_are_taken_apart(tmp_path, columns):
    rows, faults, repaired = win32_files.read_channel_table(
        channel_table(tmp_path / "table.ch", glued(*columns))
    )
    whole = win32_files.read_channel_table(channel_table(tmp_path / "whole.ch", WHOLE)).rows
    assert faults == [] and rows.equals(whole)
    assert bool(repaired) == bool(columns) and all("line 3: " in text for text in repaired)
    if columns == (11,):
        assert repaired == ["table.ch, line 3: 0.7-10 read as 0.7 and -10"]


@pytest.mark.parametrize("column", [*range(1, 11), 12])
def test_lines_whose_columns_cannot_be_told_apart_are_left_out_by_name(tmp_path, column):
    table = channel_table(tmp_path / "table.ch", channel_row(), glued(column))
    rows, [fault], repaired = win32_files.read_channel_table(table)
    assert rows["channel"].tolist() == [0x8A01] and repaired == []
    assert fault.message.startswith("table.ch, line 4, column ")
    assert fault.channel == (0x8A02 if column > 1 else None)
