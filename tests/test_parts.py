"""Predicted parts of sigma beside those of the residuals."""

import numpy as np
import pytest
from prediction_tables import PHI_S2S, PHI_SS, TAU, predictions

from tfgmm.analysis import parts, scores, variability
from tfgmm.random_effects import RandomEffects


@pytest.fixture(scope="module")
def table():
    raw = predictions(n_events=120, n_sites=120, chunks=4).assign(stddev=np.float32(PHI_SS))
    return scores.partial_ensembles(RandomEffects.fit(raw, "kik").apply(raw)).assign(
        longitude=0.0, latitude=0.0
    )


def test_parts_add_up_to_sigma(table):
    found = parts.predicted(table, "kik").pivot(index="cell", columns="part", values="predicted")
    squares = (found[["tau", "phi_s2s", "phi_ss", "epistemic"]] ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, found["sigma"] ** 2, rtol=1e-5)
    assert (
        found.loc["training / validation", "phi_s2s"]
        < 0.3 * found.loc["validation / validation", "phi_s2s"]
    )


def test_predicted_parts_are_near_those_of_the_residuals(table):
    tidy = variability.tidy(variability.decompositions(table, "kik"))
    both = parts.beside_found(table, tidy, "kik")
    assert set(both["cell"]) == {"training / validation", "validation / validation", "added / validation"}
    held = both[both["cell"] == "validation / validation"].set_index("part")
    for part, planted in (("tau", TAU), ("phi_s2s", PHI_S2S), ("phi_ss", PHI_SS)):
        assert held.loc[part, "predicted"] == pytest.approx(planted, abs=0.1)
        assert held.loc[part, "estimate"] == pytest.approx(planted, abs=0.1)
    assert np.isnan(held.loc["epistemic", "estimate"])
