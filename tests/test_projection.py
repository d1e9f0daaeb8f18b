"""Longitude and latitude -> pixel by TensorFlow operations."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.serving.graph import REACH_KM, Projection

GRIDS = {
    "Kanto": Grid(),
    "UTM": Grid(crs="EPSG:32654"),
    "UTM, far from its meridian": Grid(crs="EPSG:32653"),
    "UTM south": Grid(crs="EPSG:32719", longitude=-70.6, latitude=-33.4),
    "false origin": Grid(crs="EPSG:2193", longitude=174.8, latitude=-41.3),
    "other datum, same place": Grid(crs="EPSG:2451"),
    "text": Grid(crs="+proj=tmerc +lat_0=64 +lon_0=-20 +k=0.9999 +datum=WGS84", longitude=-20, latitude=64),
    "date line": Grid(crs="EPSG:32701", longitude=-179.5, latitude=-17.0),
}
PROJECTIONS = {name: Projection(grid) for name, grid in GRIDS.items()}
WITHIN_REACH = st.floats(-REACH_KM, REACH_KM)


def tensors(*values):
    return [tf.constant(np.atleast_1d(value), tf.float64) for value in values]


@pytest.mark.parametrize("name", GRIDS)
@given(x=WITHIN_REACH, y=WITHIN_REACH)
def test_a_millimetre_from_proj(name, x, y):
    longitude, latitude = GRIDS[name].unproject(x, y)
    found = PROJECTIONS[name].project(*tensors(longitude, latitude))
    np.testing.assert_allclose(np.ravel(found), (x, y), atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_pixels_are_those_of_the_grid(name):
    grid = GRIDS[name]
    x, y = np.random.default_rng(0).uniform(-150, 150, (2, 500))
    longitude, latitude = grid.unproject(x, y)
    row, col, inside = grid.locate(longitude, latitude)
    pixel, found_inside = PROJECTIONS[name].locate(*tensors(longitude, latitude))
    np.testing.assert_array_equal(found_inside, inside)
    assert 0 < inside.sum() < 500
    np.testing.assert_array_equal(pixel, np.clip(np.stack([row, col], 1), 0, grid.output_size - 1))


def assert_bounded(projection, longitude, latitude):
    assert np.abs(projection.project(*tensors(longitude, latitude))).max() < 40_000
    pixel, _ = projection.locate(*tensors(longitude, latitude))
    assert 0 <= np.min(pixel) <= np.max(pixel) < 100


@given(longitude=st.floats(-180, 360), latitude=st.floats(-90, 90))
def test_bounded_anywhere(longitude, latitude):
    assert_bounded(PROJECTIONS["Kanto"], longitude, latitude)


@pytest.mark.parametrize("turn", [-90, 0, 90, 180])
@pytest.mark.parametrize("latitude", [-90, 0, 1e-12, 90])
def test_bounded_where_the_projection_is_not(turn, latitude):
    assert_bounded(PROJECTIONS["UTM"], 141 + turn, latitude)


def test_a_full_turn_changes_nothing():
    here = PROJECTIONS["Kanto"].project(*tensors(-179.0, 36.0))
    there = PROJECTIONS["Kanto"].project(*tensors(181.0, 36.0))
    np.testing.assert_allclose(here, there, atol=1e-6)


@pytest.mark.parametrize(
    ("crs", "message"),
    [
        ("EPSG:3857", r"WGS 84 / Pseudo-Mercator \(Popular Visualisation.* UTM \(EPSG:32654\) or Japan"),
        ("EPSG:3034", "Lambert Conic Conformal"),
        ("EPSG:30169", r"EPSG:30169 is up to .* m away .*500 km .*UTM"),
        ("EPSG:4978", "no map projection"),
    ],
    ids=["pseudo", "conic", "Tokyo datum", "geocentric"],
)
def test_other_projections_are_refused(crs, message):
    with pytest.raises(UsageError, match=message):
        Projection(
            Grid.model_construct(crs=crs, longitude=139.95, latitude=35.75, pixel_km=2, output_size=8)
        )
