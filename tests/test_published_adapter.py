"""Published models against pygmm called directly."""

import logging
import warnings

import numpy as np
import pandas as pd
import pygmm
import pytest

from tfgmm.stats import conditional_pgv, published
from tfgmm.stats.published import MODELS

BY_NAME = {model.name: model for model in MODELS}

#: Hypocentre 12 km deep, 5 km from the epicentre.
ONE = pd.DataFrame({"magnitude": [6.5], "r_hyp_km": [13.0], "depth_km": [12.0], "vs30_m_s": [300.0]})


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
    one = published.with_assumptions(ONE)
    np.testing.assert_allclose(published.evaluate(BY_NAME[name], im, one)[0], expected)
    np.testing.assert_allclose(published.interpolate(BY_NAME[name], im, one)[0], expected, atol=0.03)


CRUSTAL = [model for model in MODELS if model.tectonic_class == "crustal"]


@pytest.mark.parametrize("model", CRUSTAL, ids=lambda model: model.name)
def test_pgv_is_that_of_the_model_in_cm_s(model):
    median, stddev = model.ln_im("PGV", 6.0, 60.0, 10.0, 400.0)
    assert 1.0 < np.exp(median) < 6.0 and 0.5 < stddev < 0.8
    several = model.medians(["SA(1.0)", "PGV", "PGA"], 6.0, 60.0, depth_km=10.0, top_km=10.0, vs30=400.0)
    assert several[1] == pytest.approx(median)
    assert several[2] == pytest.approx(model.ln_im("PGA", 6.0, 60.0, 10.0, 400.0)[0])
    assert several[0] == pytest.approx(model.ln_im("SA(1.0)", 6.0, 60.0, 10.0, 400.0)[0])


@pytest.mark.parametrize("model", CRUSTAL, ids=lambda model: model.name)
@pytest.mark.parametrize("magnitude", [4.5, 5.5, 6.5, 7.5])
def test_conditional_pgv_is_near_the_own_pgv_of_crustal_models(model, magnitude):
    """Abrahamson & Bhasin (2020) from the SA of a model, beside the PGV that the model has of its own."""
    arguments = magnitude, 50.0, 10.0, 400.0
    ln_sa = model.ln_im(conditional_pgv.spectral_measure(magnitude), *arguments)[0]
    given = conditional_pgv.conditional_pgv(ln_sa, magnitude, 50.0, 400.0)
    assert given.median == pytest.approx(model.ln_im("PGV", *arguments)[0], abs=0.45)


def test_models_without_pgv_take_it_from_their_sa():
    (model,) = (model for model in MODELS if model.name == "AGA16 intraslab")
    median, stddev = model.ln_im("PGV", 7.0, 90.0, 60.0, 400.0)
    name = conditional_pgv.spectral_measure(7.0)
    assert name == f"SA({np.exp(-4.09 + 0.66 * 7):.9f})"
    ln_sa, sa_stddev = model.ln_im(name, 7.0, 90.0, 60.0, 400.0)
    # Table 3.2 of the report; f1 at M 7 is 0.799 - 0.145 * 2 / 2.5.
    f1 = 0.799 - 0.145 * 0.8
    by_hand = 5.39 + f1 * ln_sa + 0.479 - 0.062 * 1.5**2 - 0.359 * np.log(90 + 5 * np.exp(0.4))
    by_hand += (-0.134 + 0.023 * 2) * np.log(400 / 425)
    assert median == pytest.approx(by_hand, abs=1e-9)
    assert stddev == pytest.approx(np.sqrt((f1 * sa_stddev) ** 2 + 0.29**2 + 0.16**2))


def test_assumptions():
    records = pd.concat([ONE] * 3, ignore_index=True).assign(
        vs30=[500.0, np.nan, np.nan], vs30_m_s=[300.0, 300.0, np.nan]
    )
    known = published.with_assumptions(records)
    assert known["vs30"].to_list() == [500, 300, 400]
    np.testing.assert_allclose(known["r_epi_km"], 5)
    assert published.with_assumptions(ONE.drop(columns="vs30_m_s"))["vs30"].item() == 400
    # A distance rounded to less than the depth is right above the hypocentre.
    assert published.with_assumptions(ONE.assign(r_hyp_km=11.99))["r_epi_km"].item() == 0


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
    exact = published.evaluate(model, "PGA", records)
    np.testing.assert_allclose(published.interpolate(model, "PGA", records), exact, atol=0.03)


def test_only_pygmm_s_own_warnings_are_quiet(caplog):
    beyond = published.with_assumptions(ONE.assign(magnitude=3.2, depth_km=90, r_hyp_km=400))
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="mine"):
        published.evaluate(BY_NAME["CY14"], "PGA", beyond)  # beyond in all respects
        with published._without_warnings():
            warnings.warn("mine", UserWarning, stacklevel=1)
            logging.getLogger().warning("mine as well")
    assert caplog.messages == ["mine as well"]
    assert not logging.getLogger().filters
