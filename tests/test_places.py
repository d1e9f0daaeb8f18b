"""Points on and off the map, and the pixels that speak for them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid, output_size
from tfgmm.prediction.places import Places, Window

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)
HALF = 56.0
WHOLE = Window(0, 0, 68)


def at(x_km, y_km) -> pd.DataFrame:
    longitude, latitude = GRID.unproject(np.atleast_1d(x_km), np.atleast_1d(y_km))
    return pd.DataFrame({"longitude": longitude, "latitude": latitude})


def linear(x, y):
    return 3 + 0.5 * x - 0.2 * y


def maps(function) -> np.ndarray:
    """Of one event: a function of km east and north of the centre."""
    return function(*np.meshgrid(*GRID.axes_km(28)))[None]


inside = st.floats(-HALF + 0.01, HALF - 0.01)
between_centres = st.floats(-HALF + 2, HALF - 2)


@given(x=inside, y=inside)
def test_nearest_is_the_pixel_of_training(x, y):
    sites, values = at(x, y), np.arange(28.0 * 28).reshape(1, 28, 28)
    row, col, _ = GRID.locate(sites["longitude"], sites["latitude"])
    places = Places.sites(GRID, sites, "nearest")
    assert places.sample(values, WHOLE)[0] == values[0, row, col]
    assert not places.outside


@given(x=between_centres, y=between_centres)
def test_bilinear_is_exact_for_a_linear_map(x, y):
    places = Places.sites(GRID, at(x, y), "bilinear")
    np.testing.assert_allclose(places.sample(maps(linear), WHOLE), [[linear(x, y)]], atol=1e-5)
    assert places.weight.min() >= 0
    np.testing.assert_allclose(places.weight.sum(0), 1)


def test_bilinear_is_the_mean_of_four_pixels_where_they_meet():
    values = np.random.default_rng(0).normal(size=(1, 28, 28))
    x, y = GRID.axes_km(28)
    corner = at((x[4] + x[5]) / 2, (y[7] + y[8]) / 2)
    found = Places.sites(GRID, corner, "bilinear").sample(values, WHOLE)
    np.testing.assert_allclose(found, [[values[0, 7:9, 4:6].mean()]], atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("x", "y", "row", "col"), [(-900, 900, 0, 0), (900, -900, 27, 27), (HALF + 1, HALF - 2, 0, 27)]
)
def test_outside_the_map_the_nearest_pixel_speaks_and_says_so(interpolation, x, y, row, col):
    values = np.random.default_rng(0).normal(size=(1, 28, 28))
    places = Places.sites(GRID, at(x, y), interpolation)
    np.testing.assert_allclose(places.sample(values, WHOLE), values[:, row, [col]], rtol=1e-6)
    assert places.outside


@given(points=st.lists(st.tuples(inside, inside), min_size=1, max_size=3))
def test_a_window_is_the_smallest_that_keeps_places_and_the_pairs_of_pooling(points):
    places = Places.sites(GRID, at(*np.transpose(points)), "bilinear")
    window = places.window(GRID, 2)
    output = output_size(window.size, 2)
    assert output == window.size - 2 * GRID.margin
    assert window.row % 4 == 0
    assert window.col % 4 == 0
    assert max(window.row, window.col) + window.size <= GRID.input_size
    for first, pixels in ((window.row, places.row), (window.col, places.col)):
        assert first <= pixels.min()
        assert pixels.max() < first + output
    across = max(np.ptp(pixels // 4) for pixels in (places.row, places.col))
    assert output <= 4 * (across + 1)
    values = np.random.default_rng(0).normal(size=(1, 28, 28))
    part = values[:, window.row : window.row + output, window.col : window.col + output]
    np.testing.assert_array_equal(places.sample(part, window), places.sample(values, WHOLE))


def test_the_window_of_all_pixels_is_the_whole_map():
    assert Places.pixels(GRID).window(GRID, 2) == WHOLE


def test_pixels_are_the_map():
    places, values = Places.pixels(GRID), np.random.default_rng(0).normal(size=(2, 28, 28))
    np.testing.assert_array_equal(places.sample(values, WHOLE), values)
    row, col, _ = GRID.locate(places.longitude, places.latitude)
    np.testing.assert_array_equal([row, col], np.indices((28, 28)))
    assert not places.outside.any()


def test_distances():
    places = Places.sites(GRID, at([0, 30], [0, -40]), "nearest")
    expected = [[12, np.hypot(50, 12)], [np.hypot(50, 5), 5]]
    np.testing.assert_allclose(places.r_hyp_km([0, 30], [0, -40], [12, 5]), expected, atol=1e-4)
    stations = pd.DataFrame({"x_km": [0, 33], "y_km": [3, -44]})
    np.testing.assert_allclose(places.nearest_km(stations), [3, 5], atol=1e-4)
    assert Places.pixels(GRID).nearest_km(stations).shape == (28, 28)


def test_no_such_interpolation():
    with pytest.raises(UsageError, match="unknown interpolation 'cubic': choose nearest or bilinear"):
        Places.sites(GRID, at(0, 0), "cubic")


def test_the_other_side_of_the_earth():
    sites = pd.DataFrame({"longitude": [139.9, 49.8], "latitude": [35.7, 0.0]})
    with pytest.raises(DataError, match=r"sites, row 2: 49.8 E 0.0 N is too far from the map .*EPSG:6677"):
        Places.sites(GRID, sites, "nearest")
