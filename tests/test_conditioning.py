"""One distribution from members and what is known: the same by NumPy, by a graph and by hand."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from helpers import untrained_run
from tfgmm.core.grid import Grid
from tfgmm.prediction import conditioning
from tfgmm.serving.graph import PathGraph
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.mixture import moments
from tfgmm.stats.path_terms import Covariance, PathTerms
from tfgmm.stats.random_effects import RandomEffects

CALIBRATION = Calibration(a=1.2, b=0.4, length_km=5.0, c=3.0)
MEMBERS, PLACES = 3, 7


@pytest.fixture(scope="module")
def paths():
    """Source and path terms of two members, of events and stations anywhere."""
    rng = np.random.default_rng(1)
    return PathTerms(
        Covariance(source=0.05, own=0.2, path=0.1, source_km=30.0, site_km=20.0),
        pd.DataFrame({"pairs": [1]}),
        rng.uniform(-100, 100, (20, 3)),
        rng.uniform(-100, 100, (6, 2)),
        np.array([*"ABCDEF"]),
        np.array([(0, 0), (1, 0)]),
        rng.normal(size=(2, 20, 6)).astype("float32"),
    )


@pytest.fixture(scope="module")
def effects(paths):
    variances = {"tau": 0.35, "phi_s2s": 0.4, "phi_field": 0.2, "phi_p2p": 0.3, "phi_place": 0.3}
    return RandomEffects(**variances, error=0.2, terms=pd.DataFrame(), paths=paths)


@pytest.fixture(scope="module")
def numbers():
    """Output and terms of every member at some places, and distances of the places."""
    rng = np.random.default_rng(0)
    shape = MEMBERS, PLACES
    return {
        "mean": rng.normal(-3, 1, shape),
        "stddev": rng.uniform(0.3, 0.8, shape),
        "site_term": rng.normal(size=shape),
        "site_stddev": rng.uniform(0.1, 0.5, shape),
        "path_term": rng.normal(size=shape),
        "nearest_km": rng.uniform(0, 30, PLACES),
    }


def predicted(numbers, effects, calibration, xp) -> dict:
    """As the ensemble and the graph call the functions."""
    terms = [()] * MEMBERS
    if effects is not None:
        terms = zip(*(numbers[name] for name in ("site_term", "site_stddev", "path_term")), strict=True)
    members = [
        conditioning.member_moments(mean, stddev, effects, of_member)
        for mean, stddev, of_member in zip(numbers["mean"], numbers["stddev"], terms, strict=True)
    ]
    distance = None if calibration is None else numbers["nearest_km"]
    return conditioning.distribution(
        moments(*zip(*members, strict=True)),
        effects=effects,
        calibration=calibration,
        nearest_km=distance,
        xp=xp,
    )


@pytest.mark.parametrize("with_effects", [False, True])
@pytest.mark.parametrize("calibration", [None, CALIBRATION])
def test_graph_computes_what_numpy_computes(numbers, effects, with_effects, calibration):
    known = effects if with_effects else None
    expected = predicted(numbers, known, calibration, np)

    @tf.function(autograph=False)
    def graph(**tensors):
        members = {name: tf.unstack(values) for name, values in tensors.items() if name != "nearest_km"}
        return predicted(members | {"nearest_km": tensors["nearest_km"]}, known, calibration, tf.math)

    found = graph(**{name: tf.constant(values, tf.float32) for name, values in numbers.items()})
    assert set(found) == set(expected)
    assert ("within_event" in found) == with_effects
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_terms_and_variances_by_hand(numbers, effects):
    found = predicted(numbers, effects, None, np)
    means = numbers["mean"] + numbers["site_term"] + numbers["path_term"]
    variances = numbers["stddev"] ** 2 + 0.2**2 + 0.35**2 + numbers["site_stddev"] ** 2
    np.testing.assert_allclose(found["mean"], means.mean(axis=0))
    np.testing.assert_allclose(found["aleatory"] ** 2, variances.mean(axis=0))
    np.testing.assert_allclose(found["epistemic"], means.std(axis=0))
    np.testing.assert_allclose(found["stddev"], np.hypot(found["aleatory"], found["epistemic"]))
    np.testing.assert_allclose(found["between_event"], 0.35)
    np.testing.assert_allclose(np.hypot(found["between_event"], found["within_event"]), found["stddev"])
    assert conditioning.unknown_place_stddev(effects) == pytest.approx(0.5)


def test_calibration_by_hand(numbers):
    raw, found = (predicted(numbers, None, chosen, np) for chosen in (None, CALIBRATION))
    unknown_site = 0.4 * (1 - np.exp(-numbers["nearest_km"] / 5))
    np.testing.assert_allclose(found["mean"], raw["mean"])
    np.testing.assert_allclose(found["aleatory"], 1.2 * raw["aleatory"])
    np.testing.assert_allclose(found["epistemic"] ** 2, unknown_site**2 + 3 * raw["epistemic"] ** 2)


def test_path_terms_of_the_graph_are_those_of_numpy(paths):
    rng = np.random.default_rng(2)
    source_km, xy_km = rng.uniform(-100, 100, (4, 3)), rng.uniform(-100, 100, (3, 2))
    centres_km = rng.uniform(-100, 100, (5, 6, 2))
    stations = ["B", "unknown", "F"]
    graph = PathGraph(paths, stations, xy_km)
    on_map, at_stations = paths.shared(source_km, centres_km), paths.shared(source_km, xy_km)
    own = paths.own(source_km, stations)
    assert np.abs(on_map).max() > 0.01 and own[..., [0, 2]].any() and not own[..., 1].any()
    of_sources = tf.constant(source_km, tf.float32)
    np.testing.assert_allclose(np.stack(graph.on_map(of_sources, centres_km)), on_map, atol=1e-5)
    np.testing.assert_allclose(np.stack(graph.at_stations(of_sources)), at_stations + own, atol=1e-5)


def test_stations_have_terms_that_places_lack(tmp_path):
    """Of an opened run: at a station what its records say, at a place what neighbours say."""
    run = untrained_run.make(tmp_path, random_effects="site,event")
    effects, members = run.random_effects("PGA"), [(0, 0), (1, 0)]
    stations = run.stations(["K03", "M01"])
    xy_km = np.stack(run.experiment.grid.project(stations["longitude"], stations["latitude"]), axis=-1)
    term, stddev = conditioning.terms_at_stations(effects, members, stations["terms_of"], xy_km)
    for row, member in enumerate(members):
        expected = effects.terms_at(*member, stations["terms_of"], xy_km)
        np.testing.assert_array_equal(term[row], expected[0])
        np.testing.assert_array_equal(stddev[row], expected[1])
    on_map = conditioning.terms_on_map(effects, members, run.experiment.grid)
    assert on_map.shape == (2, 28, 28)
    assert np.abs(on_map[0] - on_map[1]).max() > 0.01


def test_pixels_of_tensors_are_those_of_arrays():
    grid = Grid(
        longitude=139.7, latitude=35.7, crs="EPSG:32654", input_size=68, output_size=28, pixel_km=2.0
    )
    x_km, y_km = np.random.default_rng(3).uniform(-35, 35, (2, 200))
    expected = grid.pixel_at(x_km, y_km)
    found = grid.pixel_at(tf.constant(x_km), tf.constant(y_km), tf.math)
    for values, tensor in zip(expected, found, strict=True):
        np.testing.assert_array_equal(tensor, values)
    assert 0 < expected[2].sum() < 200
