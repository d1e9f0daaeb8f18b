"""The score of a field against what is planted."""

import types

import numpy as np
import pandas as pd
import pytest

from helpers.field_records import PLANTED, planted_records
from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core.errors import UsageError
from tfgmm.simulation import truth
from tfgmm.stats import field
from tfgmm.stats.field_records import Records


@pytest.fixture(scope="module")
def script(import_script):
    return import_script("field_accuracy")


def test_standard_deviations_are_beside_the_planted_ones(script):
    """The planted covariance of the helper has the standard deviations of the simulated records."""
    result = script.sigma(PLANTED, [PLANTED, PLANTED]).set_index("part")
    for name in ("tau", "phi_S2S", "source", "path", "phi_P2P", "phi_SS", "range of sites [km]"):
        assert result.loc[name, "all records"] == pytest.approx(result.loc[name, "planted"], abs=1e-9), name
    assert result.loc["tau", ["mean", "lowest", "highest"]].tolist() == pytest.approx([truth.TAU] * 3)
    assert result.loc["its own part", "all records"] == pytest.approx(np.sqrt(0.75) * truth.PHI_S2S)


@pytest.mark.slow
def test_site_terms_agree_with_what_made_them(script):
    rows = planted_records(150, 60, 0.5)
    term = dict(zip(sorted(rows["station_id"].unique()), np.linspace(-1, 1, 60), strict=True))
    records = Records.of(rows, rows["residual"] + rows["station_id"].map(term))
    fitted = field.condition(PLANTED, records)
    site = types.SimpleNamespace(amplification=lambda vs30, ln_pga_760: 0.0 * vs30)
    backbone = types.SimpleNamespace(vs30_m_s=760.0, site=site)
    at_stations = Records.of(rows, rows["residual"]).station_ids
    planted = pd.Series(term)
    result = script.site_terms(fitted, backbone, np.full(len(at_stations), np.nan), planted)
    whole = result.set_index("records").loc["all"]
    assert whole["sites"] == 60
    assert whole["correlation"] > 0.75  # the records have site terms of 0.42 besides
    assert whole["slope"] == pytest.approx(1, abs=0.15)
    opposite = script.site_terms(fitted, backbone, np.full(len(at_stations), np.nan), -planted)
    assert opposite.set_index("records").loc["all", "correlation"] == pytest.approx(-whole["correlation"])
    soft = types.SimpleNamespace(amplification=lambda vs30, ln_pga_760: np.linspace(1, -1, 60))
    flat = script.site_terms(
        fitted, types.SimpleNamespace(vs30_m_s=760.0, site=soft), np.full(60, np.nan), planted
    )
    assert abs(flat.set_index("records").loc["all", "slope"]) < 0.15, "the response of the backbone counts"


def test_other_runs_are_refused(script, tmp_path, tiny, small):
    path = make_run(tmp_path / "run", tiny, small, predictions(), simulated=False)
    with pytest.raises(UsageError, match="is on real records"):
        script.main(path)
