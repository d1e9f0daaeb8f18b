"""The ergodic regression on the folds of a run."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import PHI_S2S, PHI_SS, TAU, predictions

from tfgmm.analysis.baselines import ERGODIC, ERGODIC_SITES, ergodic_predictions

RECORD = ["im", "chunk", "event_id", "station_id"]


def of(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[table["model"] == model].sort_values(RECORD, ignore_index=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return predictions()


@pytest.fixture(scope="module")
def fitted(table) -> pd.DataFrame:
    return ergodic_predictions(table)


def known_sites(fitted: pd.DataFrame) -> np.ndarray:
    return (of(fitted, ERGODIC)["site_role"] == "training").to_numpy()


def test_two_rows_a_record_and_chunk(table, fitted):
    assert len(fitted) == 2 * len(table[RECORD].drop_duplicates())
    assert not fitted.duplicated([*RECORD, "model"]).any()
    assert not {"arm", "init"} & set(fitted)
    one = table[table["init"] == 0].sort_values(RECORD, ignore_index=True)
    for model in (ERGODIC, ERGODIC_SITES):
        for name in ("ln_im", "site_role", "event_role", "network", "nearest_added_km"):
            pd.testing.assert_series_equal(of(fitted, model)[name], one[name])


def test_the_fit_sees_training_events_at_training_sites_only(table, fitted):
    """Everything else may be as wrong as it likes: the predictions do not move."""
    seen = (table["event_role"] == "training") & (table["site_role"] == "training")
    poisoned = table.assign(ln_im=table["ln_im"].where(seen, 1e6))
    again = ergodic_predictions(poisoned)
    for name in ("mean", "stddev"):
        np.testing.assert_array_equal(again[name], fitted[name])
    shifted = ergodic_predictions(table.assign(ln_im=table["ln_im"] + seen))
    assert (shifted["mean"] > fitted["mean"] + 0.5).all()


def test_every_chunk_has_its_own_fit(table, fitted):
    first = ergodic_predictions(table[table["chunk"] == 0])
    pd.testing.assert_frame_equal(first, fitted[fitted["chunk"] == 0].reset_index(drop=True))
    medians = of(fitted, ERGODIC).pivot(index=["event_id", "station_id"], columns="chunk", values="mean")
    assert (medians[0] != medians[1]).all()


def test_site_terms_are_used_where_the_site_trained_and_nowhere_else(fitted):
    plain, with_sites, known = of(fitted, ERGODIC), of(fitted, ERGODIC_SITES), known_sites(fitted)
    term = with_sites["mean"] - plain["mean"]
    assert known.any() and not known.all()
    assert (term[known] != 0).all()
    assert (term[~known] == 0).all()
    assert (with_sites["stddev"][~known] == plain["stddev"][~known]).all()
    assert (with_sites["stddev"][known] < plain["stddev"][known]).all()
    by_site = term[known].groupby([plain["chunk"][known], plain["site_id"][known]])
    assert by_site.max().sub(by_site.min()).max() < 1e-9  # one term a site


def test_the_predicted_standard_deviations_are_those_planted(fitted):
    plain, with_sites, known = of(fitted, ERGODIC), of(fitted, ERGODIC_SITES), known_sites(fitted)
    total = np.sqrt(TAU**2 + PHI_S2S**2 + PHI_SS**2)
    assert plain["stddev"].mean() == pytest.approx(total, rel=0.2)
    assert with_sites["stddev"][known].mean() == pytest.approx(np.hypot(TAU, PHI_SS), rel=0.2)
    rms = {name: (model["ln_im"] - model["mean"])[known].std() for name, model in
           (("plain", plain), ("sites", with_sites))}  # fmt: skip
    assert rms["sites"] == pytest.approx(np.hypot(TAU, PHI_SS), rel=0.2)
    assert rms["plain"] > rms["sites"] + 0.05


def test_measures_are_fitted_apart():
    both = predictions(ims=("PGA", "SA(1.0)"))
    alone = ergodic_predictions(both[both["im"] == "SA(1.0)"])
    fitted = ergodic_predictions(both)
    pd.testing.assert_frame_equal(alone, fitted[fitted["im"] == "SA(1.0)"].reset_index(drop=True))
