"""Within-event residuals of neighbouring sites."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from helpers.prediction_places import with_places, within_event_field
from helpers.prediction_tables import PHI_SS, predictions
from tfgmm.data.schemas import is_training
from tfgmm.stats import kriging
from tfgmm.stats.kriging import Correlation
from tfgmm.stats.random_effects import RandomEffects

PLANTED = Correlation(0.7, 20.0)


@pytest.fixture(scope="module")
def residuals():
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"event_id": np.repeat(np.arange(300).astype(str), 60)})
    table[["x_km", "y_km"]] = rng.uniform(0, 100, (len(table), 2))
    return table.assign(z=within_event_field(table, PLANTED))


def test_planted_correlation_is_found(residuals):
    classes = Correlation.fit(kriging.correlation_by_distance(residuals))
    assert classes.share == pytest.approx(PLANTED.share, abs=0.07)
    assert classes.range_km == pytest.approx(PLANTED.range_km, abs=4)


def test_scale_of_the_residuals_does_not_matter(residuals):
    large, small = (
        kriging.correlation_by_distance(residuals.assign(z=k * residuals["z"])) for k in (1, 0.3)
    )
    pd.testing.assert_frame_equal(large, small)


def test_pairs_are_those_of_one_event(residuals):
    """Every class is the mean over its pairs, taken one by one, if ten events have such pairs."""
    few = residuals[residuals["event_id"].astype(int) < 12].groupby("event_id").head(20)
    pairs = few.merge(few, on="event_id", suffixes=("", "_other"))
    distance = np.hypot(pairs["x_km"] - pairs["x_km_other"], pairs["y_km"] - pairs["y_km_other"])
    pairs = pairs.assign(distance=distance, product=pairs["z"] * pairs["z_other"])[distance > 0]
    of_class = pairs.groupby(pd.cut(pairs["distance"], kriging.CLASSES_KM, right=False), observed=True)
    expected = of_class.mean(numeric_only=True)[of_class["event_id"].nunique() >= 10]
    assert 5 < len(expected) < of_class.ngroups
    classes = kriging.correlation_by_distance(few)
    np.testing.assert_allclose(classes["distance_km"], expected["distance"])
    np.testing.assert_allclose(classes["correlation"], expected["product"] / (few["z"] ** 2).mean())


def test_uncorrelated_residuals_tell_nothing(residuals):
    noise = residuals.assign(z=np.random.default_rng(3).normal(size=len(residuals)))
    assert abs(kriging.correlation_by_distance(noise)["correlation"]).max() < 0.1
    classes = Correlation.fit(kriging.correlation_by_distance(noise))
    at_neighbour, _ = classes.kriged([[0, 0], [5, 0]], [1.0, 1.0], [[2, 0]])
    assert abs(at_neighbour[0]) < 0.1


@pytest.mark.parametrize("events", [1, 9])
def test_from_few_events_the_share_is_zero(residuals, events):
    few = residuals[residuals["event_id"].astype(int) < events]
    assert Correlation.fit(kriging.correlation_by_distance(few)).share == 0


def test_without_pairs_the_share_is_zero(residuals):
    alone = residuals.drop_duplicates("event_id")
    assert Correlation.fit(kriging.correlation_by_distance(alone)).share == 0


def test_kriging_is_the_conditional_normal_distribution():
    rng = np.random.default_rng(5)
    known, wanted, z = rng.uniform(0, 50, (6, 2)), rng.uniform(0, 50, (4, 2)), rng.normal(size=6)
    places = np.concatenate([known, wanted])
    full = PLANTED.share * np.exp(-cdist(places, places) / PLANTED.range_km)
    np.fill_diagonal(full, 1.0)
    precision = np.linalg.inv(full)[6:, 6:]  # of the wanted given the known, by block inversion
    mean, explained = PLANTED.kriged(known, z, wanted)
    np.testing.assert_allclose(1 - explained, np.diag(np.linalg.inv(precision)), rtol=1e-5)
    np.testing.assert_allclose(
        mean, -np.linalg.solve(precision, np.linalg.inv(full)[6:, :6] @ z), rtol=1e-4
    )


def test_two_stations_in_one_place_are_one_more_record():
    mean, explained = PLANTED.kriged([[0, 0], [0, 0]], [1.0, 1.0], [[0, 0]])
    a = PLANTED.share
    assert mean[0] == pytest.approx(2 * a / (1 + a), abs=1e-5)
    assert explained[0] == pytest.approx(2 * a**2 / (1 + a), abs=1e-5)


# ---- predictions ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """Mixed-effects predictions of records whose within-event residuals are correlated."""
    raw = with_places(predictions(n_events=80, n_sites=90, chunks=2, seed=6))
    added = 2 * PHI_SS * within_event_field(raw, PLANTED)
    raw = raw.assign(ln_im=raw["ln_im"] + added, stddev=np.float32(PHI_SS * np.sqrt(5)))
    return RandomEffects.fit(raw, "kik").apply(raw)


@pytest.fixture(scope="module")
def conditioned(mixed):
    return kriging.krige_residuals(mixed)


@pytest.mark.slow
def test_other_records_of_an_event_make_it_sharper_and_no_surer_than_right(mixed, conditioned):
    held = mixed["event_role"].eq("training") & mixed["site_role"].eq("validation")
    before, after = ((one["ln_im"] - one["mean"])[held] for one in (mixed, conditioned))
    claimed = (mixed["within_stddev"] ** 2 - conditioned["within_stddev"] ** 2)[held]
    assert claimed.mean() > 0.04
    assert (before**2).mean() - (after**2).mean() == pytest.approx(claimed.mean(), rel=0.35)


def test_records_that_trained_and_other_events_stay(mixed, conditioned):
    others = is_training(mixed) | mixed["event_role"].ne("training")
    assert (conditioned["within_term"][others] == 0).all()
    for name in ("mean", "stddev", "within_stddev"):
        np.testing.assert_allclose(conditioned[name][others], mixed[name][others], rtol=1e-6)


def test_a_record_is_not_predicted_from_itself_or_from_other_held_out_ones(mixed, conditioned):
    changed = mixed.astype({"ln_im": float})
    changed.loc[~is_training(mixed), "ln_im"] += 3.0
    pd.testing.assert_frame_equal(
        kriging.krige_residuals(changed).drop(columns="ln_im"), conditioned.drop(columns="ln_im")
    )


def test_parts_add_up(mixed, conditioned):
    variance = sum(conditioned[f"{part}_stddev"] ** 2 for part in ("event", "site", "path", "within"))
    np.testing.assert_allclose(conditioned["stddev"] ** 2, variance, rtol=1e-5)
    terms = conditioned["mean"] - mixed["mean"]
    np.testing.assert_allclose(terms, conditioned["within_term"], atol=1e-5)


def test_a_member_is_given_its_own_residuals_only(mixed, conditioned):
    of_one = mixed["chunk"].eq(0) & mixed["init"].eq(1)
    alone = kriging.krige_residuals(mixed[of_one])
    pd.testing.assert_frame_equal(alone, conditioned[of_one])
