"""Site amplification: weights, paired differences, errors of maps, where they are believed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tfgmm.core.errors import DataError
from tfgmm.site_amplification import estimate
from tfgmm.site_amplification.estimate import Estimate, Weighting

RNG = np.random.default_rng(3)
PIXELS = np.stack(np.meshgrid([-10.0, 0.0, 10.0, 20.0], [15.0, 5.0, -5.0]), axis=-1)
EVENTS = RNG.uniform(-150, 150, (24, 2))
HALF = np.arange(24) % 2
EVERYWHERE = np.ones((3, 4), bool)


def members(chunks=4, inits=3, seed=0) -> np.ndarray:
    """Maps [chunk, init, set, row, col]."""
    return np.random.default_rng(seed).normal(size=(chunks, inits, 3, 3, 4))


# ---- averages over events ------------------------------------------------------------------------


def bin_of(event, pixel, sectors, cuts) -> tuple[int, int]:
    """Direction and distance in which a pixel sees an event, in plain words."""
    east, north = event - pixel
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    return int(azimuth // (360 / sectors)), sum(np.hypot(east, north) > cut for cut in cuts)


@pytest.mark.parametrize("chosen", [[0, 1], [0], [1]])
def test_balanced_means_are_means_of_the_means_of_bins(chosen):
    maps = RNG.normal(size=(24, 3, 4))
    weighting = Weighting(EVENTS, PIXELS, HALF, sectors=4, cuts_km=(60.0, 110.0))
    found = estimate.average_maps([maps[:10], maps[10:]], [weighting])[0]
    for row, col in np.ndindex(3, 4):
        table = pd.DataFrame(
            {
                "value": maps[:, row, col],
                "bin": [bin_of(event, PIXELS[row, col], 4, (60, 110)) for event in EVENTS],
            }
        )[np.isin(HALF, chosen)]
        expected = table.groupby("bin")["value"].mean().mean()
        number = 0 if len(chosen) == 2 else 1 + chosen[0]
        assert found[number, row, col] == pytest.approx(expected)


def test_one_bin_is_the_plain_mean():
    maps = RNG.normal(size=(24, 3, 4))
    plain = Weighting(EVENTS, PIXELS, HALF)
    found = estimate.average_maps(np.array_split(maps, 5), [plain])[0]
    for number, chosen in enumerate((HALF >= 0, HALF == 0, HALF == 1)):
        np.testing.assert_allclose(found[number], maps[chosen].mean(axis=0))


def test_many_events_from_one_side_weigh_as_one():
    """Nine earthquakes in the north say 1, one in the south says 0: half each."""
    events = np.array([[0.0, 100.0]] * 9 + [[0.0, -100.0]] + [[0.0, 100.0], [0.0, -100.0]])
    maps = np.where(events[:, 1] > 0, 1.0, 0.0)[:, None, None] * np.ones((12, 3, 4))
    half = np.array([0] * 10 + [1, 1])
    weighting = Weighting(events, PIXELS, half, sectors=2)
    # Sectors of 180 degrees from north: pixels east of the events see both in one, others as well.
    assert estimate.average_maps([maps], [weighting])[0, 0].max() > 0.8
    quarter = Weighting(events, PIXELS, half, sectors=4)
    np.testing.assert_allclose(estimate.average_maps([maps], [quarter])[0, 0], 0.5)


def test_a_half_without_events_is_refused():
    with pytest.raises(DataError, match="at least two events: choose more with --events"):
        Weighting(EVENTS[:3], PIXELS, np.zeros(3, int))


# ---- estimates and their errors ------------------------------------------------------------------


def test_difference_of_identical_arms_is_zero():
    same = Estimate.from_maps(estimate.paired_difference(members(), members()), EVERYWHERE)
    assert not same.amplification.any() and not same.training_variance().any() and same.level == 0


def test_differences_are_of_pairs():
    """Noise that both arms share by chunk and seed leaves no trace."""
    noise, site = members(seed=1), RNG.normal(size=(3, 4))
    found = Estimate.from_maps(estimate.paired_difference(noise + site, noise), EVERYWHERE)
    np.testing.assert_allclose(found.amplification, site - site.mean())
    np.testing.assert_allclose(found.training_variance(), 0, atol=1e-20)


def test_members_that_are_no_pairs_are_refused():
    with pytest.raises(DataError, match=r"cannot be paired: \(4, 3\) .* against \(4, 2\): train"):
        estimate.paired_difference(members(), members(inits=2))


def test_maps_are_centred_on_the_footprint():
    footprint = np.zeros((3, 4), bool)
    footprint[1, :3] = True
    maps = members() + 7.0
    found = Estimate.from_maps(maps, footprint)
    assert found.amplification[footprint].mean() == pytest.approx(0, abs=1e-12)
    assert found.level == pytest.approx(maps[:, :, 0, footprint].mean())
    np.testing.assert_allclose(found.members[..., footprint].mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(found.halves[:, footprint].mean(axis=-1), 0, atol=1e-12)


@pytest.mark.parametrize(("chunks", "inits"), [(5, 2), (4, 3), (5, 1)])
def test_jackknife_against_a_plain_loop(chunks, inits):
    maps = members(chunks, inits, seed=5)
    found = Estimate.from_maps(maps, EVERYWHERE)
    for row, col in np.ndindex(3, 4):
        values = found.members[:, :, row, col]
        started = np.mean([np.var(chunk, ddof=1) for chunk in values]) if inits > 1 else 0.0
        deleted = [np.mean(chunk) for chunk in values]
        spread = sum((one - np.mean(values)) ** 2 for one in deleted) - (chunks - 1) * started / inits
        expected = (chunks - 1) / chunks * max(spread, 0)
        assert found.jackknife_variance()[row, col] == pytest.approx(expected, abs=1e-12)
        total = expected + started / (chunks * inits)
        assert found.training_variance()[row, col] == pytest.approx(total, abs=1e-12)


def test_jackknife_is_the_variance_of_a_mean_over_stations():
    """Of a 'map' that is the mean of its training stations: sigma squared over their number."""
    rng, variances, means = np.random.default_rng(0), [], []
    for _ in range(400):
        stations = rng.normal(size=(5, 12))  # five chunks of twelve
        left = [np.delete(stations, chunk, axis=0).mean() for chunk in range(5)]
        maps = np.zeros((5, 1, 3, 1, 2))
        maps[..., 0] = np.reshape(left, (5, 1, 1, 1))
        footprint = np.array([[False, True]])  # the other pixel is zero: nothing is taken off
        variances.append(Estimate.from_maps(maps, footprint).jackknife_variance()[0, 0])
        means.append(stations.mean())
    assert np.mean(variances) == pytest.approx(1 / 60, rel=0.1)
    assert np.var(means) == pytest.approx(1 / 60, rel=0.2)


def test_random_starts_are_not_taken_for_stations():
    """Members that differ by their start alone: hardly any jackknife variance, s squared / n remains."""
    maps = np.random.default_rng(1).normal(size=(5, 40, 3, 20, 20))
    found = Estimate.from_maps(maps, np.ones((20, 20), bool), smooth_px=6.0)
    assert 1 / 200 <= found.training_variance().mean() < 3 / 200
    alone = Estimate(found.members[:, :1], found.halves, 0.0, smooth_px=6.0)
    assert alone.jackknife_variance().mean() == pytest.approx(16 / 5, rel=0.15)  # cannot tell: stays large


def test_variances_are_smoothed_and_maps_are_not():
    maps = members()
    rough, smooth = (Estimate.from_maps(maps, EVERYWHERE, smooth_px=px) for px in (0.0, 1.5))
    np.testing.assert_array_equal(rough.amplification, smooth.amplification)
    one, other = rough.initialisation_variance(), smooth.initialisation_variance()
    assert other.std() < 0.6 * one.std()
    assert other.mean() == pytest.approx(one.mean(), rel=0.1)
    assert smooth.training_variance().std() < 0.6 * rough.training_variance().std()
    maps[..., 3] *= 1e6  # in the sea
    land = EVERYWHERE.copy()
    land[:, 3] = False
    apart = Estimate.from_maps(maps, land, smooth_px=1.5)
    assert apart.training_variance()[land].max() < 10


def test_smoothing_leaves_what_is_constant():
    maps = np.array([1.0, -1.0, 2.0, -2.0])[:, None, None, None, None] * np.ones((4, 2, 3, 3, 4))
    members_ = maps[:, :, 0]
    for px in (0.0, 1.0, 4.0):
        found = Estimate(members_, np.zeros((2, 3, 4)), 0.0, px, np.eye(3, 4, dtype=bool))
        np.testing.assert_allclose(found.jackknife_variance(), 0.75 * 10)


# ---- where -----------------------------------------------------------------------------------------


def test_significance_finds_what_is_there_and_little_else():
    rng = np.random.default_rng(2)
    shift = np.zeros((30, 30))
    shift[:10] = 3.0
    maps = rng.normal(0, 0.05, (5, 2, 3, 30, 30)) + shift
    where = np.ones((30, 30), bool)
    where[:, -1] = False
    difference = Estimate.from_maps(maps, where)
    found = estimate.significant(difference, where)
    assert found[:10, :-1].all() and not found[:, -1].any()
    nothing = Estimate.from_maps(rng.normal(0, 0.05, (5, 2, 3, 30, 30)), where)
    assert estimate.significant(nothing, where).mean() < 0.02
    assert not estimate.significant(difference, np.zeros_like(where)).any()


def test_significance_of_one_pixel_is_students_t():
    members_ = np.array([0.9, 1.1, 1.3, 0.7])[:, None, None, None]
    difference = Estimate(members_, np.zeros((2, 1, 1)), 0.0)
    error = np.sqrt(difference.training_variance()[0, 0])
    p = 2 * t.sf(1.0 / error, df=3)
    assert estimate.significant(difference, np.ones((1, 1), bool))[0, 0] == (p <= 0.1)
    smaller = Estimate(members_ - 0.6, np.zeros((2, 1, 1)), 0.0)
    assert not estimate.significant(smaller, np.ones((1, 1), bool))[0, 0]


def test_a_pixel_is_taught_by_records_near_it():
    stations = pd.DataFrame(
        {"x_km": [-10.0, 20.0, 500.0], "y_km": [15.0, -5.0, 0.0], "records": [4, 6, 99]}
    )
    found = estimate.taught(PIXELS, stations, within_km=10.0, min_records=4)
    distance = np.hypot(*np.moveaxis(PIXELS[:, :, None] - stations[["x_km", "y_km"]].to_numpy(), -1, 0))
    np.testing.assert_array_equal(found, (distance <= 10).any(axis=-1))
    strict = estimate.taught(PIXELS, stations, within_km=10.0, min_records=5)
    np.testing.assert_array_equal(strict, distance[..., 1] <= 10)
    both = estimate.taught(PIXELS, stations, within_km=40.0, min_records=10)
    assert both.any() and both.sum() > strict.sum()
