"""Predictions of published models for the folds of a run."""

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError
from tfgmm.evaluation.baselines import published_predictions
from tfgmm.stats.published import MODELS

BY_NAME = {model.name: model for model in MODELS}
RECORD = ["event_id", "station_id"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Magnitudes 5.85 to 6.15, which takes few scenarios."""
    made = predictions(n_events=16, n_sites=9, inits=2)
    number = made["event_id"].str[1:].astype(int)
    return made.assign(
        magnitude=5.85 + 0.02 * number, r_hyp_km=np.maximum(made["r_hyp_km"], made["depth_km"] + 1)
    )


@pytest.fixture(scope="module")
def found(table) -> tuple[pd.DataFrame, pd.DataFrame]:
    return published_predictions(table)


def test_two_rows_a_record_chunk_and_model(table, found):
    scored, _ = found
    names = [name for model in BY_NAME for name in (model, f"{model} (re-centred)")]
    assert list(scored["model"].unique()) == names
    assert (scored.groupby("model").size() == len(table[["chunk", *RECORD]].drop_duplicates())).all()
    assert np.isfinite(scored[["mean", "stddev"]]).all(axis=None)


def test_constant_is_that_of_the_fold_s_training_records(found):
    scored, _ = found
    trained = (scored["event_role"] == "training") & (scored["site_role"] == "training")
    residual = (scored["ln_im"] - scored["mean"])[trained]
    mean = residual.groupby([scored["model"], scored["chunk"]]).mean().unstack()
    recentred = mean.index.str.endswith("(re-centred)")
    assert recentred.sum() == len(MODELS)
    np.testing.assert_allclose(mean[recentred], 0, atol=1e-9)
    assert (mean[~recentred].abs() > 0.01).all(axis=None)
    wide = scored.pivot(index=["chunk", *RECORD], columns="model", values="mean")
    shift = (wide["CB14 (re-centred)"] - wide["CB14"]).groupby("chunk")
    assert (shift.max() - shift.min() < 1e-9).all()
    assert shift.max().nunique() == 2


def test_no_prediction_leaks(table, found):
    trained = (table["event_role"] == "training") & (table["site_role"] == "training")
    again, _ = published_predictions(table.assign(ln_im=table["ln_im"].where(trained, 1e6)))
    for column in ("mean", "stddev"):
        np.testing.assert_array_equal(again[column], found[0][column])


def test_share_outside_the_range_and_error_of_the_interpolation(table, found):
    ranges = found[1].set_index("model")
    records = table.drop_duplicates(RECORD)
    assert (ranges["records"] == len(records)).all()
    outside = ~records["magnitude"].between(6, 8.4) | (records["r_hyp_km"] > 300)
    assert 0 < outside.mean() < 1
    assert ranges.loc["AGA16 interface", "outside_range"] == pytest.approx(outside.mean())
    deep = records["depth_km"] > 20
    assert ranges.loc["CY14", "outside_range"] == pytest.approx(deep.mean())
    assert ranges["interpolation_error"].between(1e-6, 0.03).all()


def test_tectonic_class_chooses_the_model(table, found):
    kind = np.array(["crustal", "interface", "intraslab"])[table["event_id"].str[1:].astype(int) % 3]
    scored, ranges = published_predictions(table.assign(tectonic_class=kind))
    assert set(scored["model"]) == {
        f"{name} + AGA16{end}"
        for name in ("ASK14", "BSSA14", "CB14", "CY14")
        for end in ("", " (re-centred)")
    }
    assert ranges.groupby("model")["records"].sum()["CB14"] < len(table.drop_duplicates(RECORD))
    alone = found[0].set_index(["model", "chunk", *RECORD])["mean"]
    composed = scored.set_index(["model", "chunk", *RECORD])["mean"]
    for event, model in (("E3", "CB14"), ("E4", "AGA16 interface"), ("E5", "AGA16 intraslab")):
        key = ("CB14 + AGA16", 0, event, "S4")
        assert composed[key] == pytest.approx(alone[(model, *key[1:])], abs=0.03)
    # A constant for each class.
    scored["kind"] = scored["event_id"].map(dict(zip(table["event_id"], kind, strict=True)))
    trained = (scored["event_role"] == "training") & (scored["site_role"] == "training")
    residual = (scored["ln_im"] - scored["mean"])[trained & scored["model"].str.endswith("(re-centred)")]
    np.testing.assert_allclose(residual.groupby([scored["model"], scored["kind"]]).mean(), 0, atol=1e-9)


def test_unknown_class_is_refused(table):
    kind = table["event_id"].map({"E2": "volcanic"}).fillna("crustal")
    with pytest.raises(DataError, match="event E2, column tectonic_class holds 'volcanic'"):
        published_predictions(table.assign(tectonic_class=kind))


def test_the_depth_decides_where_the_class_is_unknown(table):
    kind = table["event_id"].map({"E2": "interface"})
    by_depth = np.where(table["depth_km"] < 25, "crustal", "intraslab")
    known = published_predictions(
        table.assign(tectonic_class=kind.fillna(pd.Series(by_depth, table.index)))
    )
    pd.testing.assert_frame_equal(published_predictions(table.assign(tectonic_class=kind))[0], known[0])
    alone = published_predictions(table.assign(tectonic_class=None))[0]
    assert set(alone["model"]) == set(published_predictions(table)[0]["model"])


def test_a_model_without_the_period_is_left_out(table):
    scored, ranges = published_predictions(table[table["event_id"] == "E4"].assign(im="SA(0.015)"))
    assert not scored["model"].str.startswith("AGA16").any()
    assert set(ranges["model"]) == {"ASK14", "BSSA14", "CB14", "CY14"}
