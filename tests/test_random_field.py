"""Random fields have the correlation that is asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.simulation import truth
from tfgmm.simulation.truth import RandomField


@given(x=st.floats(-200, 200), y=st.floats(-200, 200), length=st.floats(5, 50))
def test_field_correlation_is_exponential(x, y, length):
    field = RandomField.draw(np.random.default_rng(3), (length,))
    waves = field.wavenumbers[0]
    assert np.cos(waves @ [x, y]).mean() == pytest.approx(np.exp(-np.hypot(x, y) / length), abs=0.08)


def test_two_plane_field_is_the_sum_of_its_waves():
    rng = np.random.default_rng(0)
    field = RandomField.draw(
        rng, (40.0, 20.0), np.linalg.cholesky(truth.planted_im_correlation()), waves=50
    )
    source, site = rng.uniform(-100, 100, (4, 2)), rng.uniform(-100, 100, (3, 2))
    phase = (source @ field.wavenumbers[0].T)[:, np.newaxis] + site @ field.wavenumbers[1].T
    waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)
    assert field.between(source, site, [2])[..., 0] == pytest.approx(waves @ field.weights[:, 2], abs=1e-5)


def test_field_is_its_waves_times_their_weights():
    rng = np.random.default_rng(0)
    places, sources = rng.uniform(-100, 100, (2, 7, 2))
    one = RandomField.draw(rng, (12.0,), waves=30)
    assert one.waves(places) @ one.weights == pytest.approx(one.at(places), abs=1e-12)
    two = RandomField.draw(rng, (40.0, 20.0), waves=30)
    values = np.diagonal(two.between(sources, places, [0])[..., 0])
    assert two.waves(sources, places) @ two.weights[:, 0] == pytest.approx(values, abs=1e-5)
