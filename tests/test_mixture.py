"""The laws of total expectation and total variance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfgmm.stats.mixture import combine

SHAPES = arrays.array_shapes(min_dims=2, max_dims=3, max_side=6)
MEANS = arrays.arrays(float, st.shared(SHAPES, key="shape"), elements=st.floats(-20, 20))
STDDEVS = arrays.arrays(float, st.shared(SHAPES, key="shape"), elements=st.floats(0.05, 5))


@given(MEANS, STDDEVS)
def test_total_variance(mean, stddev):
    moments = combine(mean, stddev)
    total = (stddev**2 + mean**2).mean(0) - mean.mean(0) ** 2
    np.testing.assert_allclose(moments.mean, mean.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.aleatory, (stddev**2).mean(0))
    np.testing.assert_allclose(moments.aleatory + moments.epistemic, total, atol=1e-10)
    np.testing.assert_allclose(moments.stddev**2, total, atol=1e-10)


@given(MEANS, STDDEVS)
def test_epistemic_part_is_never_negative(mean, stddev):
    assert (combine(mean * 1e6, stddev).epistemic >= 0).all()


def test_epistemic_part_is_exact_for_large_means():
    """As a difference of squares it would be lost: doubles near 1e18 are 128 apart."""
    moments = combine(1e9 + np.array([0.0, 1.0, 2.0, 3.0]), np.full(4, 0.5))
    assert moments.epistemic == 1.25
    assert moments.aleatory == 0.25


@given(MEANS, STDDEVS)
def test_order_and_copies_of_members_do_not_matter(mean, stddev):
    moments = combine(mean, stddev)
    again = combine(np.concatenate([mean[::-1], mean]), np.concatenate([stddev[::-1], stddev]))
    for part in ("mean", "aleatory", "epistemic"):
        np.testing.assert_allclose(getattr(moments, part), getattr(again, part), atol=1e-10)


def test_by_hand_along_another_axis():
    """Two members, N(0, 1) and N(2, 3^2): mean 1, E[s^2] = 5, Var[m] = 1."""
    moments = combine([[0, 2], [10, 12]], [[1, 3], [1, 3]], axis=1)
    np.testing.assert_array_equal(moments.mean, [1, 11])
    np.testing.assert_array_equal(moments.aleatory, [5, 5])
    np.testing.assert_array_equal(moments.epistemic, [1, 1])
    np.testing.assert_allclose(moments.stddev, np.sqrt(6))
