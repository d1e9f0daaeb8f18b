"""What the commands that use a run say of the slips that are made most."""

import re

import pytest

from tfgmm.cli import options
from tfgmm.cli.console import stage_progress
from tfgmm.cli.prediction_commands import _events
from tfgmm.core import outputs
from tfgmm.core.errors import UsageError
from tfgmm.prediction import scenarios


def test_a_scenario_without_a_depth_names_the_option():
    with pytest.raises(UsageError, match="a scenario needs --depth too"):
        _events(None, False, False, 6.0, 139.0, 35.0, None)


@pytest.mark.parametrize(
    ("longitude", "latitude", "hint"), [(35.5, 139.8, True), (139.8, 95.0, False), (35.5, -139.8, True)]
)
def test_swapped_coordinates_are_guessed(longitude, latitude, hint):
    with pytest.raises(UsageError, match="from -90 to 90") as told:
        scenarios.single(6.0, longitude, latitude, 10.0)
    assert ("swapped" in str(told.value)) is hint


def test_a_place_with_swapped_coordinates_is_refused_at_once():
    with pytest.raises(
        UsageError, match=re.escape("--at 35.7,139.8,Tokyo: 139.8 is no latitude; write LON,LAT")
    ):
        options.place("35.7,139.8,Tokyo")


def test_a_table_without_sites_says_what_it_needs(tmp_path):
    with pytest.raises(UsageError, match="is a table: say where, with sites or stations; maps are .nc"):
        outputs.prediction_ending(tmp_path / "x.csv", at_sites=False)


def test_steps_are_printed_once_where_no_bar_is_shown(capfd):
    with stage_progress() as report:
        for share in (0.0, 0.5, 1.0):
            report("boosting", share)
        report("kriging", 0.0)
    printed = capfd.readouterr().out
    assert re.fullmatch(r"\d\d:\d\d:\d\d boosting\n\d\d:\d\d:\d\d kriging\n", printed)
