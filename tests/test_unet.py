"""The network between channels and parameters."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgmm.core.grid import output_size
from tfgmm.network.unet import parameter_map
from tfgmm.runs.experiment import Network


def unet(size, channels=3, **network):
    x = keras.Input((size, size, channels))
    return keras.Model(x, parameter_map(x, Network(**network)))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.integers(40, 130), st.integers(1, 9))
def test_any_size_that_the_arithmetic_allows(depth, size, channels):
    size = next(n for n in range(size, size + 200) if output_size(n, depth))
    model = unet(size, channels, depth=depth, base=1)
    assert model.output_shape == (None, output_size(size, depth), output_size(size, depth), 2)


@pytest.mark.slow
def test_published_architecture():
    """Ronneberger et al. (2015): 31 million weights at base 64, 572 -> 388; 9 channels in, 2 out."""
    model = unet(572, 9, depth=4, base=64)
    assert model.output_shape == (None, 388, 388, 2)
    filters = [layer.filters for layer in model.layers if layer.name.endswith("conv2")]
    assert filters == [64, 128, 256, 512, 1024, 512, 256, 128, 64]
    assert model.count_params() == 31_030_658 + 8 * 9 * 64  # one channel in the original, nine here


def test_receptive_field_is_local():
    """A pixel of the output does not see what lies farther than the receptive field."""
    model = unet(68, 1, depth=2, base=8)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 68, 68, 1)).astype("float32")
    far = x.copy()
    far[:, -1, -1] += 100
    assert np.abs(model(x)[0, 0, 0] - model(far)[0, 0, 0]).max() == 0
    assert np.abs(model(x)[0, -1, -1] - model(far)[0, -1, -1]).max() > 0


@pytest.mark.parametrize("measures", [1, 8])
def test_parameters_of_many_measures_begin_smaller(measures):
    """He et al. (2015) for one measure; that of K measures over K."""
    keras.utils.set_random_seed(0)
    x = keras.Input((68, 68, 3))
    model = keras.Model(x, parameter_map(x, Network(depth=2, base=64), measures))
    kernel = model.get_layer("parameters").kernel.numpy()
    assert np.isclose(kernel.std(), np.sqrt(2 / 64) / measures, rtol=0.2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_of_inner_layers(precision):
    model = unet(68, depth=2, base=2, precision=precision)
    compute = {layer.name: layer.compute_dtype for layer in model.layers}
    assert compute["parameters"] == "float32"
    assert compute["down0_conv1"] == compute["down1_conv1"] == compute["up0_conv2"] == precision
    assert {w.dtype for w in model.weights} == {"float32"}
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("size", [68, 92])
def test_bfloat16_agrees_with_float32(size):
    keras.utils.set_random_seed(0)
    single = unet(size, depth=2, base=4)
    half = unet(size, depth=2, base=4, precision="bfloat16")
    half.set_weights(single.get_weights())
    x = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype("float32")
    difference = np.abs(half(x) - single(x)).max() / np.abs(single(x)).max()
    assert 0 < difference < 0.05
