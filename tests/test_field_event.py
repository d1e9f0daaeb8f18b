"""Formulas of the field for one event: places once for many events, new sites, number types."""

import numpy as np
import pytest

from helpers.field_records import PLANTED, planted_records
from tfgmm.stats.field import condition
from tfgmm.stats.field_event import at_places, new_event, of_event
from tfgmm.stats.field_records import Records


@pytest.fixture(scope="module")
def fitted():
    rows = planted_records(60, 40, 0.7)
    return condition(PLANTED, Records.of(rows, rows["residual"]))


@pytest.fixture(scope="module")
def places(fitted):
    """Stations, and places between them; a site of each, or a new one."""
    rng = np.random.default_rng(0)
    place_km = np.r_[fitted.records.station_km, rng.uniform(0, 150, (25, 2))].astype("float32")
    return place_km, np.r_[np.arange(40), np.full(25, -1)]


def sources(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.c_[rng.uniform(0, 150, (count, 2)), rng.uniform(5, 80, count)].astype("float32")


def test_places_serve_many_events(fitted, places):
    functions = at_places(fitted.constants, *places)
    for source_km in sources(3):
        expected = new_event(fitted.constants, source_km, *places)
        for values, known in zip(of_event(fitted.constants, functions, source_km), expected, strict=True):
            np.testing.assert_array_equal(values, known)
            assert values.dtype == np.float32


def test_without_sites_all_places_are_new(fitted, places):
    place_km, site = places
    for source_km in sources(3):
        found = new_event(fitted.constants, source_km, place_km)
        expected = new_event(fitted.constants, source_km, place_km, np.full_like(site, -1))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
        with_sites = new_event(fitted.constants, source_km, place_km, site)
        np.testing.assert_allclose(found[1][40:], with_sites[1][40:], rtol=1e-5)
        assert (found[1][:40] > 1.05 * with_sites[1][:40]).all()
