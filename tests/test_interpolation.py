"""The interpolation variance is found again where it was planted."""

import numpy as np
import pytest

from tfgmm.core.errors import DataError
from tfgmm.site_amplification.site_terms import InterpolationVariance

PLANTED = InterpolationVariance(far=0.4, length_km=8.0, alone=0.3)


def sites(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, error and known variance of sites; all errors share a shift."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0.3, 40, count)
    known = rng.uniform(0.001, 0.1, count)
    variance = PLANTED.variance(distance) + PLANTED.alone**2 + known
    return distance, 0.7 + np.sqrt(variance) * rng.normal(size=count), known


@pytest.mark.parametrize("alone", [None, 0.3])
def test_planted_variance_is_recovered(alone):
    found = InterpolationVariance.fit(*sites(10_000), alone)
    assert found.far == pytest.approx(0.4, rel=0.07)
    assert found.length_km == pytest.approx(8.0, rel=0.25)
    assert found.alone == pytest.approx(0.3, rel=0.1)


def test_few_sites_still_give_the_size():
    found = [InterpolationVariance.fit(*sites(60, seed), 0.3).variance(20.0) for seed in range(20)]
    assert np.mean(found) == pytest.approx(PLANTED.variance(20.0), rel=0.25)


def test_sampling_variance_is_taken_off():
    """Errors that are all sampling leave nothing for interpolation."""
    rng, distance, known = np.random.default_rng(0), np.linspace(1, 40, 5000), np.full(5000, 0.25)
    found = InterpolationVariance.fit(distance, rng.normal(0, 0.5, 5000), known, alone=0.0)
    assert found.variance(100.0) < 0.02
    kept = InterpolationVariance.fit(distance, rng.normal(0, 0.5, 5000), np.zeros(5000), alone=0.0)
    assert kept.variance(100.0) > 0.2


def test_variance_grows_from_nothing_to_its_full_size():
    distance = np.array([0.0, 2.0, 8.0, 1000.0])
    found = PLANTED.variance(distance)
    assert found[0] == 0 and (np.diff(found) > 0).all()
    assert found[2] == pytest.approx(0.16 * (1 - np.exp(-1)))
    assert found[3] == pytest.approx(0.16)


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_sites(count):
    with pytest.raises(DataError, match=f"at least 5 held-out sites .* there are {count}: bring more stat"):
        InterpolationVariance.fit(*sites(count), 0.3)


def test_unknown_values():
    distance, error, known = sites(9)
    error[4] = np.nan
    with pytest.raises(DataError, match="there are 8: bring more stations"):
        InterpolationVariance.fit(distance, error, known)
