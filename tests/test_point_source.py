"""Rupture distance of a point source: against a plain simulation, laws, and the ruptures of Ridgecrest."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from tfgmm.core.errors import UsageError
from tfgmm.core.rupture import distance_to_quadrilaterals
from tfgmm.stats import point_source
from tfgmm.stats.point_source import CLASSES, ln_rupture_distance

CLASS = st.sampled_from(sorted(CLASSES))
MAGNITUDE, DEPTH = st.floats(-1, 10), st.floats(-5, 800)


def plain_simulation(magnitude, r_epi, depth, sizes, number=3000) -> np.ndarray:
    """ln of the distance to random rectangles in space, between the ground and the largest depth."""
    rng = np.random.default_rng(1)
    distances = []
    while len(distances) < number:
        dip = np.radians(rng.uniform(*sizes.dip))
        area, width = (
            10 ** (a + b * magnitude + sd * rng.standard_normal()) for a, b, sd in (sizes.area, sizes.width)
        )
        bottom = max(sizes.bottom_km, depth + point_source.BELOW_HYPOCENTRE_KM)
        width = min(width, np.sqrt(area), bottom / np.sin(dip))
        least, most = max(0, width - (bottom - depth) / np.sin(dip)), min(width, depth / np.sin(dip))
        above = least + rng.random() * (most - least)
        length = min(area / width, sizes.longest_km)
        strike, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, length)
        along = np.array([np.sin(strike), np.cos(strike), 0])
        down = np.array([np.cos(strike) * np.cos(dip), -np.sin(strike) * np.cos(dip), np.sin(dip)])
        corner = np.array([0, 0, depth]) - start * along - above * down
        corners = corner + np.array(
            [0 * along, length * along, length * along + width * down, width * down]
        )
        distances.append(float(distance_to_quadrilaterals(r_epi, 0.0, corners[np.newaxis])))
    return np.log(np.maximum(distances, point_source.MIN_R_RUP_KM))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tectonic_class", "magnitude", "r_epi", "depth"),
    [
        ("crustal", 5.6, 12.0, 7.0),
        ("crustal", 7.1, 35.0, 8.0),
        ("crustal", 7.1, 5.0, 24.0),
        ("interface", 8.2, 120.0, 30.0),
        ("intraslab", 7.3, 40.0, 60.0),
    ],
)
def test_mean_and_variance_are_those_of_a_plain_simulation(tectonic_class, magnitude, r_epi, depth):
    simulated = plain_simulation(magnitude, r_epi, depth, CLASSES[tectonic_class])
    mean, variance = ln_rupture_distance(magnitude, np.hypot(r_epi, depth), depth, tectonic_class)
    error = simulated.std() / np.sqrt(len(simulated))
    assert mean == pytest.approx(simulated.mean(), abs=4 * error + 0.02)
    assert variance == pytest.approx(simulated.var(), rel=0.12)


@given(CLASS, MAGNITUDE, st.floats(0.1, 5000), DEPTH)
def test_a_rupture_is_not_farther_than_its_hypocentre(tectonic_class, magnitude, r_hyp, depth):
    mean, variance = ln_rupture_distance(magnitude, r_hyp, depth, tectonic_class)
    assert mean <= np.log(r_hyp) and variance >= 0 and np.isfinite([mean, variance]).all()


@given(CLASS, MAGNITUDE, DEPTH)
def test_the_mean_rises_with_distance_without_a_jump(tectonic_class, magnitude, depth):
    r_hyp = np.geomspace(0.3, 4000, 4000)
    mean, variance = ln_rupture_distance(magnitude, r_hyp, depth, tectonic_class)
    steps = np.diff(mean)
    assert steps.min() >= -1e-12 and steps.max() < 0.02
    assert np.abs(np.diff(variance)).max() < 0.02


@given(CLASS, st.floats(1, 1000), DEPTH)
def test_a_larger_earthquake_is_not_farther(tectonic_class, r_hyp, depth):
    mean, _ = ln_rupture_distance(np.linspace(2, 9.5, 200), r_hyp, depth, tectonic_class)
    assert np.diff(mean).max() <= 0.005  # interface ruptures of M 8 and more, see `table`


@pytest.mark.parametrize("tectonic_class", CLASSES)
def test_the_rupture_of_a_small_or_far_earthquake_is_its_hypocentre(tectonic_class):
    for magnitude, r_hyp in ((3.0, 50.0), (5.0, 300.0), (6.5, 1500.0)):
        mean, variance = ln_rupture_distance(magnitude, r_hyp, 20.0, tectonic_class)
        assert mean == pytest.approx(np.log(r_hyp), abs=0.02)
        assert variance < 3e-4


def test_the_shape_is_that_of_the_parameters_and_unknown_stays_unknown():
    mean, variance = ln_rupture_distance(np.array([[5.0], [7.0]]), np.array([20.0, np.nan, 50.0]), 10.0)
    assert mean.shape == variance.shape == (2, 3)
    assert np.isnan(mean).tolist() == np.isnan(variance).tolist() == [[False, True, False]] * 2


def test_the_table_is_interpolated_as_scipy_does():
    table = point_source.table()
    rng = np.random.default_rng(0)
    places = rng.uniform((2, 0, 0), (9.5, 7.6, 800), (500, 3))
    mean, variance = table.at(places[:, 0], np.exp(places[:, 1]), places[:, 2])
    nodes = table.magnitude, table.ln_r_hyp, table.depth_km
    for values, expected in ((mean - places[:, 1], table.ln_ratio), (variance, table.variance)):
        assert values == pytest.approx(RegularGridInterpolator(nodes, expected)(places), abs=1e-12)


def test_between_its_nodes_the_table_is_near_the_simulation():
    drawn = point_source.draws(point_source.RUPTURES)
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        magnitude, depth, r_epi = rng.uniform(4, 8.5), np.exp(rng.uniform(0, 4)), np.exp(rng.uniform(0, 6))
        simulated = point_source.simulate(magnitude, np.array([r_epi]), depth, CLASSES["crustal"], drawn)
        mean, variance = ln_rupture_distance(magnitude, np.hypot(r_epi, depth), depth)
        errors.append([mean - simulated.mean(), variance - simulated.var()])
    assert (np.sqrt(np.mean(np.square(errors), axis=0)) < [0.01, 0.02]).all()
    assert (np.abs(errors).max(axis=0) < [0.06, 0.1]).all()


def test_the_table_is_made_fast_once_and_always_the_same():
    start = time.process_time()
    first = point_source.table.__wrapped__("intraslab")
    assert time.process_time() - start < 2  # 0.5 s on an idle core
    second = point_source.table("intraslab")
    assert point_source.table("intraslab") is second
    assert np.array_equal(first.ln_ratio, second.ln_ratio)
    with pytest.raises(ValueError, match="read-only"):
        second.variance[0, 0, 0] = 1


def test_an_unknown_tectonic_class():
    with pytest.raises(
        UsageError, match="unknown tectonic class 'volcanic': expected crustal, interface, intraslab"
    ):
        ln_rupture_distance(6, 30, 10, "volcanic")


def test_points_fill_the_cube_evenly():
    points = point_source.evenly_filled(4096)
    assert points.mean(axis=0) == pytest.approx([0.5] * 6, abs=2e-3)
    assert np.cov(points.T) == pytest.approx(np.eye(6) / 12, abs=4e-3)


@pytest.mark.parametrize(("event", "magnitude"), [("ci38443183", 6.4), ("ci38457511", 7.1)])
def test_ruptures_of_ridgecrest_lie_where_they_are_expected(shared_data, event, magnitude):
    flatfile = pd.read_csv(shared_data / "ridgecrest" / "SA_rotd50.0_2020.03.31.csv.gz", low_memory=False)
    rows = flatfile[flatfile["EarthquakeId"] == event]
    depth = rows["EarthquakeDepth"].iloc[0]
    r_hyp = np.hypot(rows["EpicentralDistance"], depth)
    mean, variance = ln_rupture_distance(magnitude, r_hyp, depth)
    error, of_point = np.log(rows["RuptureDistance"]) - mean, np.log(rows["RuptureDistance"] / r_hyp)
    for within in (r_hyp < 50, (r_hyp >= 50) & (r_hyp < 120), r_hyp >= 120):
        assert within.sum() > 10
        assert np.abs(error[within].mean()) < 0.3 * np.abs(of_point[within].mean()) + 0.03
        assert (error[within] ** 2).mean() < (of_point[within] ** 2).mean()
        assert (np.abs(error) < 2 * np.sqrt(variance))[within].mean() > 0.9


@pytest.mark.parametrize("tectonic_class", CLASSES)
def test_the_variance_is_not_more_than_the_longest_rupture_allows(tectonic_class):
    """All of ln R_rup lies between the hypocentre and the nearest that a rupture reaches (Popoviciu)."""
    sizes, r_hyp, depth = CLASSES[tectonic_class], np.array([1700.0, 2000.0]), 20.0
    reach = np.hypot(sizes.longest_km, 200.0)
    _, variance = ln_rupture_distance(9.5, r_hyp, depth, tectonic_class)
    assert (variance <= np.log(r_hyp / (r_hyp - reach)) ** 2 / 4).all()
