"""The Normal layer and its likelihood."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from tensorflow_probability import distributions as tfd

from tfgmm.network.normal import (
    ErgodicMedian,
    GroundMotionModel,
    NormalLayer,
    at_stations,
    gain_of_correlation,
)
from tfgmm.stats import ergodic

SIZE = 6
LOCATION, SCALE = np.array([0.3, -1.0, 2.0]), np.array([1.5, 0.7, 1.0])
MEASURES = len(LOCATION)


@pytest.fixture(scope="module")
def model():
    x = keras.Input((SIZE, SIZE, 2 * MEASURES))
    return GroundMotionModel(x, NormalLayer(LOCATION, SCALE, 0.05, name="normal")(x))


def batch(rng, stations):
    maps = rng.normal(size=(3, SIZE, SIZE, 2 * MEASURES)).astype("float32")
    y = {
        "pixels": rng.integers(0, SIZE, (3, stations, 2)).astype("int32"),
        "ln_im": rng.normal(size=(3, stations, MEASURES)).astype("float32"),
        "variance": np.zeros((3, stations, MEASURES), "float32"),
        "weight": rng.uniform(0.1, 1, (3, stations, MEASURES)).astype("float32"),
    }
    return maps, y


def loss(model, maps, y, training=False):
    tensors = {k: tf.constant(v) for k, v in y.items()}
    return float(model.compute_loss(maps, tensors, model(maps), training=training))


def test_model_ends_in_a_normal_distribution(model):
    maps, _ = batch(np.random.default_rng(0), 1)
    normal = model(maps)
    assert isinstance(normal, tfd.Normal)
    np.testing.assert_allclose(normal.loc, LOCATION + SCALE * maps[..., :MEASURES], rtol=1e-5, atol=1e-6)
    expected = SCALE * np.log1p(np.exp(maps[..., MEASURES:])) + 0.05
    np.testing.assert_allclose(normal.scale, expected, rtol=1e-5)


def test_one_measure_is_the_layer_of_two_parameters(model):
    maps, _ = batch(np.random.default_rng(7), 1)
    one = NormalLayer(0.3, 1.5, 0.05)(tf.constant(maps[..., [0, MEASURES]]))
    assert one.loc.shape == (3, SIZE, SIZE, 1)
    np.testing.assert_allclose(one.loc[..., 0], model(maps).loc[..., 0], rtol=1e-6)
    np.testing.assert_allclose(one.scale[..., 0], model(maps).scale[..., 0], rtol=1e-6)


def test_a_measure_that_a_record_lacks_changes_nothing(model):
    maps, y = batch(np.random.default_rng(8), 4)
    y["weight"][:, 1, 2] = 0.0
    without = loss(model, maps, y)
    y["ln_im"][:, 1, 2] = 99.0
    assert loss(model, maps, y) == without
    y["ln_im"][:, 1, 1] = 99.0
    assert loss(model, maps, y) > without + 1


def test_loss_is_the_likelihood_that_scipy_computes(model):
    maps, y = batch(np.random.default_rng(1), 9)
    normal = model(maps)
    total = 0.0
    for b in range(3):
        for s in range(9):
            row, col = y["pixels"][b, s]
            log_density = norm.logpdf(y["ln_im"][b, s], normal.loc[b, row, col], normal.scale[b, row, col])
            total -= (y["weight"][b, s] * log_density).sum()
    assert loss(model, maps, y) == pytest.approx(total / 3, rel=1e-5)


def test_what_the_field_leaves_open_adds_to_the_variance(model):
    maps, y = batch(np.random.default_rng(5), 9)
    plain = loss(model, maps, y)
    y["variance"] = np.random.default_rng(6).uniform(0.1, 1, (3, 9, MEASURES)).astype("float32")
    normal = at_stations(model(maps), tf.constant(y["pixels"]))
    log_density = norm.logpdf(y["ln_im"], normal.loc, np.sqrt(normal.scale**2 + y["variance"]))
    expected = -(y["weight"] * log_density).sum() / 3
    assert loss(model, maps, y) == pytest.approx(expected, rel=1e-5)
    assert loss(model, maps, y, training=True) == pytest.approx(expected, rel=1e-5)
    assert abs(expected - plain) > 0.01


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_correlated_records_have_the_likelihood_that_scipy_computes(model, rho):
    maps, y = batch(np.random.default_rng(9), 9)
    y["weight"] = np.ones_like(y["weight"])
    y["weight"][0, 6:, 1] = 0.0  # an event with six records of a measure
    normal = at_stations(model(maps), tf.constant(y["pixels"]))
    expected = 0.0
    for b, k in itertools.product(range(3), range(MEASURES)):
        there = y["weight"][b, :, k] > 0
        loc, scale = (values[b, :, k].numpy()[there] for values in (normal.loc, normal.scale))
        one = np.where(np.eye(there.sum()) > 0, 1.0, rho)
        _, constant = np.linalg.slogdet(one)
        expected -= multivariate_normal.logpdf(y["ln_im"][b, there, k], loc, one * np.outer(scale, scale))
        expected -= constant / 2
    model.correlation = rho
    try:
        assert loss(model, maps, y) == pytest.approx(expected / 3, rel=1e-5)
    finally:
        model.correlation = 0.0


def test_correlation_leaves_an_event_of_one_record_as_it_is():
    z, weight = tf.constant([[[1.7], [0.0]]]), tf.constant([[[0.4], [0.0]]])
    np.testing.assert_allclose(gain_of_correlation(z, weight, 0.3), 0.0, atol=1e-7)


def test_correlation_gains_nothing_on_average_whatever_the_weights():
    rho, weight = 0.3, np.r_[np.ones(9), 9.0]
    # The gain is quadratic in z: its mean is the sum of those of the columns of the Cholesky factor.
    columns = np.linalg.cholesky(np.where(np.eye(10) > 0, 1.0, rho)).T
    z, weights = (tf.constant(values[..., np.newaxis]) for values in (columns, np.tile(weight, (10, 1))))
    assert tf.reduce_sum(gain_of_correlation(z, weights, rho)).numpy() == pytest.approx(0.0, abs=1e-9)


def test_two_stations_in_one_pixel_are_two_terms(model):
    maps, y = batch(np.random.default_rng(2), 2)
    y["pixels"][:, 1] = y["pixels"][:, 0]
    apart = [loss(model, maps, {k: v[:, i : i + 1] for k, v in y.items()}) for i in (0, 1)]
    assert loss(model, maps, y) == pytest.approx(sum(apart), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 8))
def test_padded_stations_change_nothing(model, seed, stations, padding):
    maps, y = batch(np.random.default_rng(seed), stations)
    pad = {k: np.pad(v, [(0, 0), (0, padding)] + [(0, 0)] * (v.ndim - 2)) for k, v in y.items()}
    assert loss(model, maps, pad) == pytest.approx(loss(model, maps, y), rel=1e-5, abs=1e-6)


def test_gradient_reaches_station_pixels_only(model):
    maps, y = batch(np.random.default_rng(3), 2)
    x = tf.constant(maps)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = model.compute_loss(x, {k: tf.constant(v) for k, v in y.items()}, model(x))
    touched = np.abs(tape.gradient(value, x).numpy()).sum(-1) > 0
    expected = np.zeros((3, SIZE, SIZE), bool)
    for b in range(3):
        expected[b, y["pixels"][b, :, 0], y["pixels"][b, :, 1]] = True
    assert (touched == expected).all()


def test_at_stations_gathers_pixels():
    values = tf.reshape(tf.range(8.0), (2, 2, 2, 1))
    normal = tfd.Normal(values, 1.0 + values)
    found = at_stations(normal, tf.constant([[[0, 1]], [[1, 0]]]))
    assert found.loc.numpy().ravel().tolist() == [1, 6]
    assert found.scale.numpy().ravel().tolist() == [2, 7]


def test_ergodic_median_is_that_of_the_regression():
    coefficients = (1.0, 0.5, -0.1, -1.2, 0.05, -0.003, 0.01)
    rng = np.random.default_rng(0)
    maps = np.stack(
        [
            rng.uniform(0.2, 200, (1, SIZE, SIZE)),
            rng.uniform(4, 7, (1, SIZE, SIZE)),
            rng.uniform(5, 90, (1, SIZE, SIZE)),
        ],
        axis=-1,
    ).astype("float32")
    found = ErgodicMedian(coefficients, channels=(1, 0, 2), margin=1)(maps)
    inner = maps[:, 1:-1, 1:-1].astype(float)
    columns = ergodic.design(inner[..., 1], inner[..., 0], inner[..., 2])
    np.testing.assert_allclose(found, columns @ np.array(coefficients), rtol=1e-4, atol=1e-4)


def test_save_and_load(model, tmp_path):
    maps, _ = batch(np.random.default_rng(4), 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, GroundMotionModel)
    np.testing.assert_array_equal(again(maps).scale, model(maps).scale)


def test_predict_returns_mean_and_stddev(model):
    maps, _ = batch(np.random.default_rng(5), 1)
    found = model.predict(maps, verbose=0)
    np.testing.assert_allclose(found["mean"], model(maps).loc, rtol=1e-6)
    np.testing.assert_allclose(found["stddev"], model(maps).scale, rtol=1e-6)
