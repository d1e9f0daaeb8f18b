"""The response to a layer is found apart from what else makes places differ."""

import numpy as np
import pytest
import xarray as xr

from tfgmm.site_amplification import estimators, site_study

SHAPE = (20, 30)
WHERE = np.ones(SHAPE, bool)


@pytest.fixture
def layer() -> np.ndarray:
    return np.exp(np.random.default_rng(0).uniform(np.log(100), np.log(4000), SHAPE))


def changes(layer, curve, seen=(100.0, 4000.0)) -> tuple[np.ndarray, np.ndarray]:
    """What a network changes that follows a curve of the layer, and the varied layers."""
    array = xr.DataArray(layer, dims=("y", "x"), name="z_bedrock")
    after = np.array([site_study.vary_layer(array, f, seen) for f in site_study.FACTORS])
    return (curve(after) - curve(layer))[np.newaxis], after


def test_a_planted_curve_is_recovered_up_to_its_constant(layer):
    def curve(z):
        return -0.3 * np.log(z / 700)

    made, after = changes(layer, curve)
    found = estimators.fit_layer_response(made, layer, after, WHERE)[0]
    expected = curve(np.clip(layer, *np.quantile(layer, [0.02, 0.98])))
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=0.02)


def test_maps_are_fitted_each_on_its_own(layer):
    one, after = changes(layer, np.log)
    other, _ = changes(layer, lambda z: 0 * z)
    both = estimators.fit_layer_response(np.concatenate([one, other]), layer, after, WHERE)
    np.testing.assert_allclose(both[1], 0, atol=1e-12)
    np.testing.assert_allclose(both[0], estimators.fit_layer_response(one, layer, after, WHERE)[0])


def test_pixels_elsewhere_do_not_count(layer):
    made, after = changes(layer, np.log)
    where = WHERE.copy()
    where[:, :5] = False
    spoilt = made.copy()
    spoilt[..., :5] = 99.0
    np.testing.assert_array_equal(
        estimators.fit_layer_response(spoilt, layer, after, where),
        estimators.fit_layer_response(made, layer, after, where),
    )


def test_layers_stay_within_what_stations_have_seen(layer):
    seen = (300.0, 2000.0)
    array = xr.DataArray(layer, dims=("y", "x"), name="z_bedrock")
    for factor in site_study.FACTORS:
        varied = site_study.vary_layer(array, factor, seen).to_numpy()
        inside = (layer * factor > seen[0]) & (layer * factor < seen[1])
        np.testing.assert_allclose(varied[inside], layer[inside] * factor)
        assert (varied >= np.minimum(layer, seen[0])).all() and (varied <= np.maximum(layer, seen[1])).all()
    deeper = site_study.vary_layer(array, 1.4, seen).to_numpy()
    np.testing.assert_array_equal(deeper[layer > 2000], layer[layer > 2000])
