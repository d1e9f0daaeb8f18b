"""Published values against the tables of the publication."""

import re

import numpy as np
import pytest

from tfgmm.evaluation import comparison, scores

KIK = [(0.432, 0.007), (0.496, 0.005), (0.871, 0.104), (0.854, 0.090)]
BOTH = [(0.429, 0.007), (0.494, 0.005), (0.865, 0.086), (0.841, 0.080)]


@pytest.mark.parametrize(
    ("networks", "rmse", "z_std"),
    [(("kik",), KIK, 1.39), (("kik", "meso"), BOTH, 1.35), (["meso", "kik"], BOTH, 1.35)],
)
def test_tables_of_the_publication(networks, rmse, z_std):
    table = comparison.kanto_four_way(networks)
    assert table["cell"].tolist() == [f"{site} / {event}" for site, event in scores.CELLS]
    assert list(zip(table["rmse"], table["rmse_std"], strict=True)) == rmse
    np.testing.assert_array_equal(table["z_std"], [np.nan, np.nan, np.nan, z_std])


@pytest.mark.parametrize(
    ("networks", "im"), [(("kik", "knet"), "PGA"), ((), "PGA"), (("jma",), "PGA"), (("kik",), "SA(1.0)")]
)
def test_nothing_for_what_was_not_published(networks, im):
    table = comparison.kanto_four_way(networks, im)
    assert table.empty
    assert list(table) == ["cell", "rmse", "rmse_std", "z_std"]


def test_values_are_those_of_the_text(shared_data):
    path = shared_data.parent / "reference" / "urbasis-d1.4.txt"
    if not path.is_file():
        pytest.skip("the publication's text is not here")
    rows = re.findall(r"^(?:Training|Validation) stations/.*?\t(\S+) ± (\S+)$", path.read_text(), re.M)
    found = [comparison.kanto_four_way(networks) for networks in (("kik",), ("kik", "meso"))]
    expected = [(float(rmse), float(spread)) for rmse, spread in rows]
    assert [
        pair for table in found for pair in zip(table["rmse"], table["rmse_std"], strict=True)
    ] == expected
