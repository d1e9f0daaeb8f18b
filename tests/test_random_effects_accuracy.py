"""The score of random effects against what is planted."""

import numpy as np
import pytest

from helpers.finished_run import make_run
from helpers.prediction_places import with_places
from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.core.errors import UsageError
from tfgmm.evaluation import scores
from tfgmm.stats.random_effects import RandomEffects


@pytest.fixture(scope="module")
def script(import_script):
    return import_script("random_effects_accuracy")


@pytest.fixture(scope="module")
def scored():
    """Fitted effects, the partial ensembles, and the site terms behind the records."""
    raw = with_places(predictions(n_events=120, n_sites=120, chunks=4, inits=1))
    raw = raw.assign(stddev=np.float32(PHI_SS))
    effects = RandomEffects.fit(raw, "kik")
    one = raw[raw["chunk"] == 0]
    event_mean = (one["ln_im"] - one["mean"]).groupby(one["event_id"]).transform("mean")
    nuggets = (one["ln_im"] - one["mean"] - event_mean).groupby(one["site_id"]).mean()
    return effects, scores.partial_ensembles(effects.apply(raw)), nuggets


@pytest.mark.slow
def test_standard_deviations_are_beside_the_planted_ones(script, scored):
    effects, table, _ = scored
    result = script.sigma(effects, table, "kik").set_index("part")["found"]
    assert result["tau"] == pytest.approx(TAU, abs=0.1)
    assert result["phi_S2S of an unknown place"] == effects.phi_s2s
    assert 0 < result["its nugget"] < PHI_S2S + 0.1
    assert result["phi_SS"] == pytest.approx(PHI_SS, abs=0.05)


@pytest.mark.slow
def test_site_terms_agree_with_what_made_them(script, scored):
    effects, table, nuggets = scored
    result = script.site_terms(effects, table, nuggets).set_index("records")
    whole = result.loc["all"]
    assert whole["correlation"] > 0.95
    assert whole["slope"] == pytest.approx(1, abs=0.1)
    assert result.drop(index="all")["sites"].sum() == whole["sites"]
    opposite = script.site_terms(effects, table, -nuggets).set_index("records")
    assert opposite.loc["all", "correlation"] == pytest.approx(-whole["correlation"])
    assert opposite.loc["all", "RMSE"] > 4 * whole["RMSE"]


def test_other_runs_are_refused(script, tmp_path, tiny, small):
    path = make_run(tmp_path / "run", tiny, small, predictions(), simulated=False)
    with pytest.raises(UsageError, match="is on real records"):
        script.main(path)
