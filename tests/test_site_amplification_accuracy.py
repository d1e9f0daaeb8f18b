"""The score of site amplification against the planted truth."""

import types

import numpy as np
import pandas as pd
import pytest

from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core.coast import footprint
from tfgmm.core.errors import UsageError
from tfgmm.simulation import simulated, truth
from tfgmm.simulation.simulated import SimulationSettings
from tfgmm.site_amplification.site_terms import SiteTerms


@pytest.fixture(scope="module")
def script(import_script):
    return import_script("site_amplification_accuracy")


def test_score_of_the_truth_and_of_its_opposite(script):
    planted = np.random.default_rng(0).normal(size=500)
    deep = planted > 1
    exact = script.score(planted + 7, np.full(500, 0.1), planted, deep)
    assert exact["r"] == pytest.approx(1) and exact["RMSE"] == pytest.approx(0, abs=1e-12)
    assert exact["coverage of 90 %"] == 1 and exact["deep basin"] == pytest.approx(exact["planted there"])
    opposite = script.score(-planted, np.full(500, np.nan), planted, deep)
    assert opposite["r"] == pytest.approx(-1) and opposite["RMSE"] == pytest.approx(
        2 * planted.std(), rel=1e-6
    )
    assert np.isnan(opposite["coverage of 90 %"]) and opposite["deep basin"] < 0


def test_coverage_of_right_errors_is_nine_in_ten(script):
    rng = np.random.default_rng(1)
    error = rng.uniform(0.05, 0.5, 40_000)
    planted = rng.normal(size=40_000)
    found = script.score(planted + error * rng.normal(size=40_000), error, planted, planted > 0)
    assert found["coverage of 90 %"] == pytest.approx(0.9, abs=0.01)


def test_interval_of_the_basin_holds_its_mean(script):
    """Each of five estimates lacks a fifth of the stations: see the jackknife of a mean."""
    rng, inside = np.random.default_rng(2), []
    deep = np.array([True, False])
    for _ in range(400):
        stations = rng.normal(0.3, 1, (5, 12))
        left = np.array([np.delete(stations, chunk, axis=0).mean() for chunk in range(5)])
        found = script.regional_interval(np.stack([left, -left], axis=1), deep)
        inside.append(found["low"] <= 0.3 <= found["high"])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
def test_oracle_is_nearer_to_the_planted_map_than_kriging(script, monkeypatch):
    monkeypatch.setattr(truth, "WAVES", 60)
    dataset, planted = simulated.simulate(
        SimulationSettings(events=150, kik_stations=40, meso_events=10, meso_stations=80)
    )
    records = dataset.records.merge(dataset.stations, on="station_id").merge(
        dataset.events, on="event_id", suffixes=("", "_e")
    )
    x, y = truth.project(records["longitude"], records["latitude"]).T
    ex, ey = truth.project(records["longitude_e"], records["latitude_e"]).T
    r_hyp = np.hypot(np.hypot(x - ex, y - ey), records["depth_km"])
    records = records.assign(ln_im=np.log(records["PGA"]), x_km=x, y_km=y, r_hyp_km=r_hyp)
    lon, lat = (
        degrees[footprint(dataset.stations, truth.GRID)][::40] for degrees in truth.GRID.lonlat(100)
    )
    study = types.SimpleNamespace(dataset=dataset, stations=dataset.stations)
    goal = planted.site_map("PGA", lon, lat)
    oracle = script.oracle_map(study, planted, "PGA", records, (lon, lat))
    kriged, _ = SiteTerms.fit(records).kriged().at(truth.project(lon, lat))
    nothing, deep = np.full(len(goal), np.nan), goal > 0
    best, plain = (script.score(one, nothing, goal, deep) for one in (oracle, kriged))
    assert best["r"] > 0.8 and best["RMSE"] < 0.8 * plain["RMSE"]
    assert plain["r"] > 0.2


def test_what_cannot_be_scored_is_refused(script, tmp_path, tiny, small):
    run = make_run(tmp_path / "run", tiny, small, predictions(), simulated=False)
    with pytest.raises(
        UsageError, match=r"site_amplification.nc does not exist: give tfgmm site-amp .* first"
    ):
        script.main(run, out=tmp_path)
    (run / "site_amplification").mkdir()
    (run / "site_amplification" / "site_amplification.nc").touch()
    with pytest.raises(UsageError, match="is on real records, in which nothing is planted"):
        script.main(run, out=tmp_path)


def test_records_that_validate_are_not_kriged(script):
    role = pd.Series({"A": "training", "B": "validation", "C": "stopping"})
    records = pd.DataFrame({"event_id": list("ABCA")})
    study = types.SimpleNamespace(
        records=lambda im: records, folds=[types.SimpleNamespace(event_role=role)]
    )
    assert script.seen_records(study, "PGA")["event_id"].tolist() == ["A", "C", "A"]
