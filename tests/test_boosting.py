"""Boosted trees on records whose law is known."""

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_places import with_places
from helpers.prediction_tables import predictions
from tfgmm.evaluation import boosting


@pytest.fixture(scope="module")
def fold() -> pd.DataFrame:
    table = with_places(predictions(n_events=80, n_sites=40, inits=1))
    return table[table["chunk"] == 0].reset_index(drop=True)


def test_features_by_hand():
    record = {"magnitude": 6.0, "depth_km": 4.0, "r_hyp_km": 13.0}
    places = {"event_x_km": 10.0, "event_y_km": 20.0, "x_km": 22.0, "y_km": 20.0}
    found = boosting.features(pd.DataFrame([record | places]))
    np.testing.assert_allclose(found, [[6, 10, 20, 4, 22, 20, 13, 1, 0]], atol=1e-12)  # due east


def test_a_law_of_place_and_path_is_learned(fold):
    azimuth = np.arctan2(fold["x_km"] - fold["event_x_km"], fold["y_km"] - fold["event_y_km"])
    law = fold["magnitude"] - np.log(fold["r_hyp_km"]) + 0.5 * np.sin(azimuth)
    mean, *_ = boosting.boost(fold, law + np.random.default_rng(0).normal(0, 0.05, len(fold)))
    new = (fold["event_role"] == "validation") & (fold["site_role"] == "validation")
    assert new.any()
    assert np.std((law - mean)[new]) < 0.35 * np.std(law[new])


def test_only_training_records_move_the_mean(fold):
    """Bitwise, and of the rest only stopping events may move the standard deviation."""
    trained = (fold["event_role"] == "training") & (fold["site_role"] == "training")
    mean, stddev, _ = boosting.boost(fold, fold["ln_im"])
    stopping = fold["event_role"] == "stopping"
    again, spread, _ = boosting.boost(fold, fold["ln_im"].where(trained | stopping, 1e6))
    np.testing.assert_array_equal(again, mean)
    np.testing.assert_array_equal(spread, stddev)
    again, spread, _ = boosting.boost(fold, fold["ln_im"].where(trained, fold["ln_im"] * 2))
    np.testing.assert_array_equal(again, mean)
    assert (spread != stddev).all()
    again, *_ = boosting.boost(fold, fold["ln_im"] * np.where(trained, 2, 1))
    assert (again != mean).any()


def test_standard_deviation_is_that_of_the_stopping_events_at_either_kind_of_site(fold):
    mean, stddev, _ = boosting.boost(fold, fold["ln_im"])
    squared = (fold["ln_im"] - mean) ** 2
    stopping = fold["event_role"] == "stopping"
    for sites in ("training", "stopping"):
        expected = np.sqrt(squared[stopping & (fold["site_role"] == sites)].mean())
        np.testing.assert_allclose(stddev[fold["site_role"] == sites], expected)
    assert (stddev[fold["site_role"] == "validation"] == stddev[fold["site_role"] == "stopping"][0]).all()


def test_without_stopping_records_hidden_training_events_tell_the_standard_deviation(fold):
    roles = fold[["event_role", "site_role"]].replace("stopping", "training")
    _, stddev, _ = boosting.boost(fold.assign(**roles), fold["ln_im"])
    assert np.unique(stddev).size == 1
    # The hidden events' residuals: their event terms are unknown, their sites' terms are learned.
    assert 0.4 < stddev[0] < 1.0


def test_hidden_events_are_not_seen_while_the_number_of_trees_is_sought():
    """Noise of events: with records of one event on both sides, many trees would look good."""
    rng = np.random.default_rng(0)
    event = np.repeat(np.arange(100), 30)
    x = np.column_stack([event, rng.normal(size=len(event))]).astype(float)
    y = rng.normal(size=100)[event] + 0.1 * rng.normal(size=len(event))
    rounds, stddev = boosting._best_rounds(x, y, event.astype(str))
    assert rounds < 30
    assert stddev == pytest.approx(1.0, abs=0.35)
