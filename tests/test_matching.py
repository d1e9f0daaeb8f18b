"""Which events of two catalogues are the same earthquake."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core.errors import UsageError
from tfgmm.readers.common.matching import Tolerance, distance, match

KM = 1 / 111.195  # degrees of latitude


def catalogue(*rows) -> pd.DataFrame:
    """Events at (seconds, km north of 35 N, magnitude)."""
    seconds, north, magnitude = np.array(rows, float).reshape(-1, 3).T
    start = pd.Timestamp("2016-01-01", tz="UTC")
    return pd.DataFrame(
        {
            "origin_time": start + pd.to_timedelta(seconds, unit="s"),
            "longitude": 140.0,
            "latitude": 35 + north * KM,
            "magnitude": magnitude,
        }
    )


@pytest.mark.parametrize(
    ("row", "same"),
    [
        ((10, 0, 5), True),
        ((10.1, 0, 5), False),
        ((-10, 0, 5), True),
        ((-10.1, 0, 5), False),
        ((0, 49.9, 5), True),
        ((0, 50.1, 5), False),
        ((0, 0, 6), True),
        ((0, 0, 6.1), False),
        ((0, 0, 3.9), False),
        ((9.9, 49, 5.9), True),
        ((0, 0, np.nan), True),
        ((np.nan, 0, 5), False),
        ((0, np.nan, 5), False),
    ],
)
def test_edges_of_the_tolerance(row, same):
    assert match(catalogue((0, 0, 5)), catalogue(row), Tolerance()) == [0 if same else -1]


def test_distance_is_in_tolerances():
    near = distance(
        catalogue((0, 0, 5)), catalogue((6, 25, 5.3)), Tolerance(seconds=12, km=50, magnitude=1)
    )
    assert near[0] == pytest.approx(np.sqrt(0.25 + 0.25 + 0.09), rel=1e-4)
    assert np.isinf(distance(catalogue((0, 0, 5)), catalogue((0, 51, 5)), Tolerance()))


def test_the_nearest_pair_is_taken_first_and_nobody_twice():
    first = catalogue((0, 0, 5), (4, 0, 5), (500, 0, 5))
    second = catalogue((900, 0, 5), (5, 0, 5), (-3, 0, 5), (7, 0, 5))
    assert match(first, second, Tolerance()).tolist() == [2, 1, -1]
    assert match(first.iloc[::-1], second, Tolerance()).tolist() == [-1, 1, 2]
    assert match(second, first, Tolerance()).tolist() == [-1, 1, 0, -1]


def test_twins_are_matched_in_order():
    twins = catalogue((0, 0, 5), (0, 0, 5), (0, 0, 5))
    assert match(twins, twins, Tolerance()).tolist() == [0, 1, 2]


_events = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 90), st.sampled_from([4.0, 5.0, 5.5, np.nan])), max_size=8
)


@given(_events, _events)
def test_partners_are_one_to_one_within_the_tolerance_and_stable(first, second):
    one, two, tolerance = catalogue(*first), catalogue(*second), Tolerance()
    partner = match(one, two, tolerance)
    paired = np.flatnonzero(partner >= 0)
    assert len(set(partner[paired])) == len(paired)
    far = np.array([distance(one.iloc[[i] * len(two)], two, tolerance) for i in range(len(one))])
    far = far.reshape(len(one), len(two))
    own, other = np.full(len(one), np.inf), np.full(len(two), np.inf)
    own[paired] = other[partner[paired]] = far[paired, partner[paired]]
    assert np.isfinite(own[paired]).all()
    both_would_rather = far < np.minimum(own[:, None], other[None, :])
    assert not both_would_rather.any()


def test_large_catalogues_are_matched_at_once():
    rng = np.random.default_rng(0)
    first = catalogue(*np.stack([rng.uniform(0, 3e8, 3000), *rng.uniform(4, 6, (2, 3000))], axis=1))
    order = rng.permutation(3000)
    begin = time.perf_counter()
    partner = match(first, first.iloc[order], Tolerance())
    assert time.perf_counter() - begin < 1
    assert (order[partner] == np.arange(3000)).all()


@pytest.mark.parametrize("name", ["seconds", "km", "magnitude"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_tolerance_is_above_zero(name, value):
    with pytest.raises(UsageError, match=f"tolerance {name} is {value:g}: it must be above zero"):
        Tolerance(**{name: value})
