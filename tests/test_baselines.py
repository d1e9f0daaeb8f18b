"""Baselines on the folds of a run."""

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_places import with_places
from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.data.schemas import is_training
from tfgmm.evaluation import boosting
from tfgmm.evaluation.baselines import (
    BOOSTED,
    ERGODIC,
    ERGODIC_SITES,
    KRIGED,
    KRIGED_BOOSTED,
    ergodic_predictions,
    fitted_predictions,
)
from tfgmm.evaluation.rivals import MEAN, REGRESSION, WITH_FIELD
from tfgmm.stats import ergodic, kriging

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


@pytest.fixture(scope="module")
def placed() -> pd.DataFrame:
    """A table with places, gaps, and a smooth site term besides the planted ones."""
    table = with_places(predictions(n_events=40, n_sites=60))
    recorded = dict(
        zip(table["event_id"].unique(), np.random.default_rng(1).uniform(0, 60, 40), strict=True)
    )
    table = table[table["x_km"] > table["event_id"].map(recorded)]  # each event reached some sites only
    field = 1.6 * np.sin(table["x_km"] / 15) * np.cos(table["y_km"] / 15)
    return table.assign(ln_im=table["ln_im"] + field)


@pytest.fixture(scope="module")
def all_models(placed) -> pd.DataFrame:
    return fitted_predictions(placed)


@pytest.mark.slow
def test_nine_rows_a_record_and_chunk(placed, all_models):
    plain = [ERGODIC, ERGODIC_SITES, KRIGED, BOOSTED, KRIGED_BOOSTED]
    medians = (REGRESSION, BOOSTED, KRIGED_BOOSTED, MEAN)
    assert list(all_models["model"].unique()) == [*(name + WITH_FIELD for name in medians), *plain]
    records = placed[RECORD].drop_duplicates()
    unseen = placed[~is_training(placed)][
        RECORD
    ].drop_duplicates()  # a field tells training records themselves
    assert len(all_models) == 5 * len(records) + 4 * len(unseen)
    assert np.isfinite(all_models[["mean", "stddev"]]).all(axis=None)
    assert (all_models["stddev"] > 0).all()
    assert (all_models["epistemic"] == 0).all()
    assert not {"arm", "init", "x_km"} & set(all_models)


def test_the_ergodic_models_are_the_same_with_and_without_the_others(placed, all_models):
    alone = ergodic_predictions(placed)
    for model in (ERGODIC, ERGODIC_SITES):
        pd.testing.assert_frame_equal(of(all_models, model), of(alone, model))


@pytest.mark.slow
def test_no_prediction_leaks(placed, all_models):
    """Whatever validation and stopping records hold, no mean moves by a bit; nor, where the stopping
    events are left alone, a standard deviation."""
    fold = placed[placed["chunk"] == 0]
    expected = all_models[all_models["chunk"] == 0].reset_index(drop=True)
    trained = (fold["event_role"] == "training") & (fold["site_role"] == "training")
    stopping = fold["event_role"] == "stopping"
    for kept, columns in ((trained, ["mean"]), (trained | stopping, ["mean", "stddev"])):
        again = fitted_predictions(fold.assign(ln_im=fold["ln_im"].where(kept, -50.0)))
        pd.testing.assert_frame_equal(again[columns], expected[columns], check_exact=True)
    moved = fitted_predictions(fold.assign(ln_im=fold["ln_im"] + trained))
    assert (moved["mean"] != expected["mean"]).groupby(expected["model"]).all().all()


def test_kriged_model_is_median_plus_term_of_event_corrected_residuals(placed, all_models):
    fold = placed[(placed["chunk"] == 1) & (placed["init"] == 0)]
    trained = fold[(fold["event_role"] == "training") & (fold["site_role"] == "training")]
    model = ergodic.fit(trained)
    residual = trained["ln_im"] - model.median_of(trained) - trained["event_id"].map(model.event_terms)
    term, variance = kriging.fit(trained, residual, model.phi_ss).terms(fold)
    expected = fold.assign(mean=model.median_of(fold) + term)
    expected["stddev"] = np.sqrt(model.tau**2 + model.phi_ss**2 + variance)
    found = of(all_models[all_models["chunk"] == 1], KRIGED)
    expected = expected.sort_values(RECORD, ignore_index=True)
    np.testing.assert_allclose(found[["mean", "stddev"]], expected[["mean", "stddev"]], rtol=1e-9)


def test_the_two_together_are_the_kriged_model_and_boosting_of_its_residuals(placed, all_models):
    fold = placed[(placed["chunk"] == 0) & (placed["init"] == 0)].reset_index(drop=True)
    kriged, both = (all_models[(all_models["model"] == m) & (all_models["chunk"] == 0)]
                    .reset_index(drop=True) for m in (KRIGED, KRIGED_BOOSTED))  # fmt: skip
    correction, spread, _ = boosting.boost(fold, fold["ln_im"] - kriged["mean"])
    np.testing.assert_array_equal(both["mean"], kriged["mean"] + correction)
    np.testing.assert_array_equal(both["stddev"], spread)


def test_kriging_explains_the_field_at_held_out_sites(all_models):
    held = all_models[all_models["site_role"] == "validation"]
    residual = held["ln_im"] - held["mean"]
    rmse = np.sqrt((residual**2).groupby(held["model"]).mean())
    assert rmse[KRIGED] < rmse[ERGODIC] - 0.15


@pytest.mark.slow
def test_progress_is_told_of_every_fold(placed):
    folds = []
    fitted_predictions(placed[placed["event_role"] != "validation"], lambda: folds.append(1))
    assert len(folds) == 2


@pytest.mark.slow
def test_categories_stay_categories(placed, all_models):
    """They keep the tables of a large run small."""
    names = ["im", "event_id", "station_id", "site_id", "network", "event_role", "site_role"]
    lean = fitted_predictions(placed.astype(dict.fromkeys(names, "category")))
    assert (lean.dtypes[names] == "category").all()
    np.testing.assert_array_equal(lean[["mean", "stddev"]], all_models[["mean", "stddev"]])
