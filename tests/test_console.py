"""What the command line shows."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tfgmm.cli import console
from tfgmm.data.tally import Tally


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (89, "89 s"),
        (90, "2 min"),
        (400, "7 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (3 * 3600 - 10, "3 h 0 min"),
        (40_000, "11 h 7 min"),
    ],
)
def test_duration(seconds, text):
    assert console.duration(seconds) == text


def test_table_shows_every_value_with_its_format(capsys):
    table = pd.DataFrame({"cell": ["known", "unknown"], "rmse": [0.5, 0.66666], "records": [10, 2000]})
    console.show_table("Scores", table, {"rmse": ".3f", "records": ","})
    shown = capsys.readouterr().out
    for text in ("Scores", "cell", "rmse", "known", "unknown", "0.500", "0.667", "2,000"):
        assert text in shown


def test_numbers_are_right_aligned(capsys):
    console.show_table("", pd.DataFrame({"number": [7], "text": ["x"]}))
    line = next(line for line in capsys.readouterr().out.splitlines() if "7" in line)
    assert "     7 " in line and " x    " in line


def test_brackets_are_text_and_missing_is_blank(capsys):
    years = pd.array([2000, pd.NA], dtype="Int64")
    console.show_table("", pd.DataFrame({"file": ["a[old].zip", "[bold]"], "year": years}))
    shown = capsys.readouterr().out
    assert "a[old].zip" in shown and "[bold]" in shown
    assert "NA" not in shown


def test_empty_table(capsys):
    console.show_table("Nothing", pd.DataFrame({"a": np.array([])}))
    assert "Nothing" in capsys.readouterr().out


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_records_are_announced(capsys, simulated):
    console.say_simulated(simulated)
    assert ("Simulated records" in capsys.readouterr().out) == simulated


def test_progress_adds_the_members_shares(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(console, "bars", terminal)
    with console.training_progress(total=4, done=1) as report:
        report("PGA chunk 0 init 0", 0.5)
        report("PGA chunk 0 init 0", 1.0)
        report("PGA chunk 1 init 0", 0.4)
    shown = terminal.file.getvalue()
    assert "60%" in shown  # (1 + 1 + 0.4) / 4
    assert "PGA chunk 1 init 0" in shown


def test_what_is_left_out_is_counted_and_named(capsys):
    tally = Tally()
    tally.count("event", 1200)
    tally.drop("event", "quarry blast, no earthquake", [f"row {i}" for i in range(1000)])
    tally.drop("event", "no depth_km", ["a[/b]"])
    console.say_dropped(tally)
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "1,000 of 1,200 events left out: quarry blast, no earthquake (row 0, row 1, row 2 and 997 more)"
        in shown
    )
    assert "1 of 1,200 events left out: no depth_km (a[/b])" in shown
