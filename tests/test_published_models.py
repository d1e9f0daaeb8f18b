"""Published models against pygmm called directly."""

import logging
import warnings

import numpy as np
import pandas as pd
import pygmm
import pytest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError
from tfgmm.evaluation import published_models
from tfgmm.evaluation.published_models import MODELS, published_predictions

BY_NAME = {model.name: model for model in MODELS}
RECORD = ["event_id", "station_id"]

#: Hypocentre 12 km deep, 5 km from the epicentre.
ONE = pd.DataFrame({"magnitude": [6.5], "r_hyp_km": [13.0], "depth_km": [12.0], "vs30_m_s": [300.0]})


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


@pytest.mark.parametrize("im", ["PGA", "SA(1.0)"])
@pytest.mark.parametrize(
    "name, gmm, distances",
    [
        ("ASK14", pygmm.AbrahamsonSilvaKamai2014, {"dist_rup": 13, "dist_jb": 5, "mechanism": "SS"}),
        ("BSSA14", pygmm.BooreStewartSeyhanAtkinson2014, {"dist_jb": 5}),
        ("CB14", pygmm.CampbellBozorgnia2014, {"dist_rup": 13, "dist_jb": 5, "mechanism": "SS"}),
        ("CY14", pygmm.ChiouYoungs2014, {"dist_rup": 13, "dist_jb": 5}),
        ("AGA16 interface", pygmm.AbrahamsonGregorAddo2016, {"dist_rup": 13, "event_type": "interface"}),
        ("AGA16 intraslab", pygmm.AbrahamsonGregorAddo2016, {"dist_hyp": 13, "event_type": "intraslab"}),
    ],
)
def test_pygmm_called_directly(name, gmm, distances, im):
    scenario = pygmm.Scenario(
        **{"mag": 6.5, "v_s30": 300, "depth_tor": 12, "depth_hyp": 12, "dip": 90, "dist_x": -5},
        **{"region": "japan", "tectonic_region": "forearc"} | distances,
    )
    with warnings.catch_warnings(action="ignore"):
        model = gmm(scenario)
    expected = np.log(model.pga), model.ln_std_pga
    if im != "PGA":
        expected = np.log(model.interp_spec_accels([1.0])[0]), model.interp_ln_stds([1.0])[0]
    one = published_models.with_assumptions(ONE)
    np.testing.assert_allclose(published_models.evaluate(BY_NAME[name], im, one)[0], expected)
    np.testing.assert_allclose(published_models.interpolate(BY_NAME[name], im, one)[0], expected, atol=0.03)


def test_assumptions():
    records = pd.concat([ONE] * 3, ignore_index=True).assign(
        vs30=[500.0, np.nan, np.nan], vs30_m_s=[300.0, 300.0, np.nan]
    )
    known = published_models.with_assumptions(records)
    assert known["vs30"].to_list() == [500, 300, 400]
    np.testing.assert_allclose(known["r_epi_km"], 5)
    assert published_models.with_assumptions(ONE.drop(columns="vs30_m_s"))["vs30"].item() == 400
    # A distance rounded to less than the depth is right above the hypocentre.
    assert published_models.with_assumptions(ONE.assign(r_hyp_km=11.99))["r_epi_km"].item() == 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_interpolation_is_close_everywhere(model):
    rng = np.random.default_rng(0)
    records = pd.DataFrame(
        {
            "magnitude": rng.uniform(5.9, 6.1, 60),  # CY14 jumps at 6
            "depth_km": rng.uniform(1, 150, 60),
            "vs30": rng.uniform(500, 900, 60),
            "r_epi_km": rng.uniform(0, 150, 60),
        }
    )
    records["r_hyp_km"] = np.hypot(records["r_epi_km"], records["depth_km"])
    exact = published_models.evaluate(model, "PGA", records)
    np.testing.assert_allclose(published_models.interpolate(model, "PGA", records), exact, atol=0.03)


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


def test_a_model_without_the_period_is_left_out(table):
    scored, ranges = published_predictions(table[table["event_id"] == "E4"].assign(im="SA(0.015)"))
    assert not scored["model"].str.startswith("AGA16").any()
    assert set(ranges["model"]) == {"ASK14", "BSSA14", "CB14", "CY14"}


def test_only_pygmm_s_own_warnings_are_quiet(caplog):
    beyond = published_models.with_assumptions(ONE.assign(magnitude=3.2, depth_km=90, r_hyp_km=400))
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="mine"):
        published_models.evaluate(BY_NAME["CY14"], "PGA", beyond)  # beyond in all respects
        with published_models._without_warnings():
            warnings.warn("mine", UserWarning, stacklevel=1)
            logging.getLogger().warning("mine as well")
    assert caplog.messages == ["mine as well"]
    assert not logging.getLogger().filters
