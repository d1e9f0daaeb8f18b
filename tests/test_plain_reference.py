"""The network and its loss beside the plain reference of the benchmark: likelihood and every gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgmm.network.normal import GroundMotionModel, NormalLayer
from tfgmm.network.unet import parameter_map
from tfgmm.runs.experiment import Network

SIZE, OUT, CHANNELS, DEPTH, BASE = 68, 28, 5, 2, 4


@pytest.fixture(scope="module")
def plain_keras(import_script):
    return import_script("plain_keras")


@pytest.fixture(scope="module")
def batch():
    """Three events with padded station lists, two stations in one pixel."""
    rng = np.random.default_rng(0)
    maps = tf.constant(rng.normal(size=(3, SIZE, SIZE, CHANNELS)), tf.float32)
    pixels = rng.integers(0, OUT, (3, 9, 2))
    pixels[0, 1] = pixels[0, 0]
    weight = rng.uniform(0.05, 0.2, (3, 9, 1))
    weight[1:, 6:] = 0
    stations = {"ln_im": rng.normal(-3, 1, (3, 9, 1)), "variance": np.zeros((3, 9, 1)), "weight": weight}
    stations = {name: tf.constant(values, tf.float32) for name, values in stations.items()}
    return maps, stations | {"pixels": tf.constant(pixels, tf.int32)}


def ours(precision: str) -> GroundMotionModel:
    keras.utils.set_random_seed(1)
    maps = keras.Input((SIZE, SIZE, CHANNELS))
    parameters = parameter_map(maps, Network(depth=DEPTH, base=BASE, precision=precision))
    return GroundMotionModel(maps, NormalLayer(min_stddev=0.05)(parameters))


def loss_and_gradients(model, maps, stations):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(maps, stations, model(maps, training=True))
    return loss, tape.gradient(loss, model.trainable_weights)


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_likelihood_and_gradients_are_those_of_the_plain_reference(plain_keras, batch, precision, within):
    model = ours(precision)
    plain = plain_keras.network(SIZE, CHANNELS, DEPTH, BASE, precision)
    plain.set_weights(model.get_weights())
    loss, gradients = loss_and_gradients(model, *batch)
    expected, theirs = loss_and_gradients(plain, *batch)
    assert float(loss) == pytest.approx(float(expected), rel=within)
    assert len(gradients) == len(theirs) == len(model.trainable_weights)
    for weight, found, right in zip(model.trainable_weights, gradients, theirs, strict=True):
        error = np.linalg.norm(found - right) / np.linalg.norm(right)
        assert error < within, weight.path
