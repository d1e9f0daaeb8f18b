"""Predicted parts of sigma beside those of the residuals."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from helpers.prediction_places import with_places, within_event_field
from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.evaluation import scores, variability
from tfgmm.stats.kriging import Correlation
from tfgmm.stats.random_effects import RandomEffects


@pytest.fixture(scope="module")
def table():
    raw = predictions(n_events=120, n_sites=120, chunks=4).assign(stddev=np.float32(PHI_SS))
    return scores.partial_ensembles(RandomEffects.fit(raw, "kik").apply(raw)).assign(
        longitude=0.0, latitude=0.0
    )


@pytest.mark.slow
def test_parts_add_up_to_sigma(table):
    found = variability.predicted_parts(table, "kik").pivot(
        index="cell", columns="part", values="predicted"
    )
    squares = (found[["tau", "phi_s2s", "phi_ss", "epistemic"]] ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, found["sigma"] ** 2, rtol=1e-5)
    assert (
        found.loc["training / validation", "phi_s2s"]
        < 0.3 * found.loc["validation / validation", "phi_s2s"]
    )


@pytest.mark.slow
def test_predicted_parts_are_near_those_of_the_residuals(table):
    tidy = variability.tidy(variability.decompositions(table, "kik"))
    both = variability.compare_parts(table, tidy, "kik")
    assert set(both["cell"]) == {"training / validation", "validation / validation", "added / validation"}
    held = both[both["cell"] == "validation / validation"].set_index("part")
    for part, planted in (("tau", TAU), ("phi_s2s", PHI_S2S), ("phi_ss", PHI_SS)):
        assert held.loc[part, "predicted"] == pytest.approx(planted, abs=0.1)
        assert held.loc[part, "estimate"] == pytest.approx(planted, abs=0.1)
    assert np.isnan(held.loc["epistemic", "estimate"])


def test_correlation_of_the_residuals_left_at_trained_sites_is_shown():
    raw = with_places(predictions(n_events=160, n_sites=60, chunks=2, inits=1, seed=3))
    planted = Correlation(0.8, 25.0)
    added = 3 * PHI_SS * within_event_field(raw, planted)
    raw = raw.assign(ln_im=raw["ln_im"] + added, stddev=np.float32(PHI_SS * np.sqrt(10)))
    table = scores.partial_ensembles(RandomEffects.fit(raw, "kik").apply(raw))
    found = variability.within_event_correlation(table)
    assert (found["im"] == "PGA").all() and len(found) > 8
    # Event terms take the mean of the field, and what is far apart is then a little unlike.
    first = found.iloc[(found["distance_km"] - 5).abs().argmin()]
    expected = 0.9 * planted.share * np.exp(-first["distance_km"] / planted.range_km)
    assert first["correlation"] == pytest.approx(expected, abs=0.12)
    assert found.iloc[-1]["correlation"] == pytest.approx(0, abs=0.15)
    fitted = found["share"] * np.exp(-found["distance_km"] / found["range_km"])
    assert abs(fitted - found["correlation"])[1:].max() < 0.15  # few pairs are as near as the first


@pytest.mark.slow
def test_floor_is_what_perfect_interpolation_would_reach():
    """Site terms that neighbours tell of are above the floor, those of a site alone are not."""
    raw = predictions(n_events=120, n_sites=240, chunks=4, inits=1).assign(stddev=np.float32(PHI_SS))
    raw = with_places(raw)
    site = raw.drop_duplicates("site_id").set_index("site_id")
    xy = site[["x_km", "y_km"]].to_numpy()
    correlation = np.exp(-cdist(xy, xy) / 40)
    field = np.linalg.cholesky(correlation) @ np.random.default_rng(0).normal(size=len(xy))
    smooth = dict(zip(site.index, 0.6 * (field - field.mean()) / field.std(), strict=True))
    found = {}
    for name, added in {"alone": 0.0, "with a field": raw["site_id"].map(smooth)}.items():
        terms = RandomEffects.fit(raw.assign(ln_im=raw["ln_im"] + added), "kik")
        table = scores.partial_ensembles(terms.apply(raw.assign(ln_im=raw["ln_im"] + added)))
        found[name] = variability.floor(table, "kik").iloc[0]
    alone, field = found["alone"], found["with a field"]
    # In one chunk of the first a field is found whose range is shorter than between stations.
    assert np.hypot(alone["nugget"], alone["field"]) == pytest.approx(PHI_S2S, abs=0.1)
    assert alone["interpolated"] == pytest.approx(alone["unknown_site"], abs=0.06)
    assert field["field"] == pytest.approx(0.6, abs=0.2)
    assert field["range_km"] > 5
    assert field["floor"] == pytest.approx(alone["unknown_site"], abs=0.06)
    assert field["floor"] < field["interpolated"] - 0.05
    assert field["unknown_site"] == pytest.approx(field["interpolated"], abs=0.06), "kriged to it already"
