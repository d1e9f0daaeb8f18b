"""The full ensemble, and bins with honest intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError
from tfgmm.evaluation import residuals, scores
from tfgmm.stats import bootstrap
from tfgmm.stats.mixture import combine

HELD_OUT = "validation / validation"

# --- full ensemble -----------------------------------------------------------------------------------


def test_full_ensemble_combines_all_members_of_all_chunks():
    table = predictions(n_events=5, n_sites=6, chunks=3, inits=2, ims=("PGA", "SA(1.0)"))
    found = residuals.full_ensemble(table.sample(frac=1, random_state=0))
    assert len(found) == 2 * 5 * 6
    assert set(found["model"]) == {residuals.FULL_ENSEMBLE}
    assert not {"chunk", "init", "event_role", "site_role"} & set(found)
    one = found.query("im == 'SA(1.0)' and event_id == 'E3' and station_id == 'S4'").iloc[0]
    members = table.query("im == 'SA(1.0)' and event_id == 'E3' and station_id == 'S4'")
    assert len(members) == 6
    expected = combine(members["mean"].to_numpy(), members["stddev"].to_numpy())
    assert one["ln_im"] == members["ln_im"].iloc[0]
    np.testing.assert_allclose(
        one[["mean", "stddev", "epistemic"]].astype(float),
        [expected.mean, expected.stddev, expected.epistemic],
        rtol=1e-6,
    )


def test_a_record_that_a_member_lacks_is_refused():
    table = predictions(n_events=5, n_sites=6)
    with pytest.raises(DataError, match="records have 3 to 4 members"):
        residuals.full_ensemble(table.drop(index=7))


# --- bins --------------------------------------------------------------------------------------------


def scored(**options) -> pd.DataFrame:
    """Partial ensembles with made-up places."""
    table = scores.partial_ensembles(predictions(**options))
    site = table["site_id"].str[1:].astype(int)
    return table.assign(
        origin_time=pd.Timestamp("2015-07-01", tz="UTC")
        + pd.to_timedelta(365 * (table["event_id"].str[1:].astype(int) % 3), "D"),
        vs30_m_s=np.nan,
        vs30=150.0 + 20 * site,
        z_bedrock=100.0 * site,
        longitude=139 + site / 20,
        latitude=35.0,
        event_longitude=140.0,
        event_latitude=36.0,
    )


def test_year_and_vs30_of_the_layer_where_no_station_has_one():
    table = residuals.with_variables(scored(n_events=6, n_sites=6))
    assert set(table["year"]) == {2015, 2016, 2017}
    pd.testing.assert_series_equal(table["vs30_m_s"], table["vs30"], check_names=False)
    measured = table.assign(vs30_m_s=500.0)
    assert (residuals.with_variables(measured)["vs30_m_s"] == 500).all()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("magnitude", [4.0, 7.0], np.linspace(4, 7, 11)),
        ("r_hyp_km", [10.0, 1000.0], 10 ** np.linspace(1, 3, 11)),
        ("year", [2015, 2017], [2014.5, 2015.5, 2016.5, 2017.5]),
    ],
)
def test_edges(name, values, expected):
    np.testing.assert_allclose(residuals.edges(name, pd.Series(values)), expected)


def test_every_record_is_in_one_bin_of_every_variable():
    table = residuals.with_variables(scored(n_events=16, n_sites=12))
    found = residuals.trends(table, "kik")
    assert set(found["variable"]) == set(residuals.VARIABLES)
    cells = scores.cells(table, "kik")
    for (cell, _), rows in found.groupby(["cell", "variable"]):
        assert rows["records"].sum() == len(cells[cell])
        residual = (cells[cell]["ln_im"] - cells[cell]["mean"]).mean()
        assert np.average(rows["bias"], weights=rows["records"]) == pytest.approx(residual)
    years = found[(found["variable"] == "year") & (found["cell"] == HELD_OUT)]
    by_hand = cells[HELD_OUT].groupby("year").apply(lambda r: (r["ln_im"] - r["mean"]).std(ddof=0))
    np.testing.assert_allclose(years["scatter"], by_hand)


def test_interval_of_a_bin_by_hand(monkeypatch):
    """Four events at three sites, both with terms: the formula, term by term."""
    monkeypatch.setattr(bootstrap, "MIN_CLUSTERS", 3)
    rows = pd.DataFrame(
        {
            "event_id": list("AAABBBCCDDD"),
            "site_id": list("12312312233"),
            "ln_im": [2.0, 0.5, 3.5, -1.0, -2.0, 0.0, 1.0, -1.5, -2.0, 2.0, 3.0],
            "mean": 0.0,
            "magnitude": 5.0,
        }
    )
    found = residuals._bin_residuals(rows, "magnitude", np.array([4.0, 6.0])).iloc[0]
    mean = rows["ln_im"].mean()
    dev = rows["ln_im"] - mean
    event, site, pair = [
        (dev.groupby([rows[k] for k in keys]).sum() ** 2).sum() * g / (g - 1)
        for keys, g in ((["event_id"], 4), (["site_id"], 3), (["event_id", "site_id"], 10))
    ]
    assert event + site - pair > max(event, site)
    half = t.ppf(0.95, 2) * np.sqrt(event + site - pair) / 11
    assert (found["events"], found["sites"], found["records"]) == (4, 3, 11)
    assert found["bias"] == pytest.approx(mean)
    assert (found["bias_high"] - mean, mean - found["bias_low"]) == pytest.approx((half, half))
    assert found["scatter"] == pytest.approx(rows["ln_im"].std(ddof=0))


def test_interval_is_never_narrower_than_that_of_events_or_of_sites_alone(monkeypatch):
    """Terms that are against each other: the sum would be less than the larger part."""
    monkeypatch.setattr(bootstrap, "MIN_CLUSTERS", 3)
    event, site = (index.ravel() for index in np.indices((3, 3)))
    y = np.array([-1.0, 0, 1])[event] + np.array([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2]]).ravel()
    rows = pd.DataFrame({"event_id": event, "site_id": site, "ln_im": y, "mean": 0.0, "magnitude": 5.0})
    found = residuals._bin_residuals(rows, "magnitude", np.array([4.0, 6.0])).iloc[0]
    of_events = 3 / 2 * (9.0 + 0 + 9.0) / 9**2  # sums of an event: -3, 0, 3
    assert found["bias_high"] == pytest.approx(t.ppf(0.95, 2) * np.sqrt(of_events))


def test_a_value_on_an_edge_is_in_the_bin_above_and_the_largest_in_the_last():
    rows = pd.DataFrame({"event_id": list("ABCD"), "site_id": "1", "ln_im": 0.0, "mean": 0.0})
    rows["magnitude"] = [4.0, 5.0, 5.5, 6.0]
    found = residuals._bin_residuals(rows, "magnitude", np.array([4.0, 5.0, 6.0]))
    assert found[["low", "high", "records"]].to_numpy().tolist() == [[4, 5, 1], [5, 6, 3]]


def test_intervals_cover_the_truth_where_those_of_independent_records_do_not():
    """Event and site terms dominate: 90 % intervals of the mean hold zero in about that share."""
    rng = np.random.default_rng(1)
    event, site = (index.ravel() for index in np.indices((25, 20)))
    covered = naive = 0
    for _ in range(200):
        y = 0.4 * rng.normal(size=25)[event] + 0.4 * rng.normal(size=20)[site] + 0.4 * rng.normal(size=500)
        rows = pd.DataFrame({"event_id": event, "site_id": site, "ln_im": y, "mean": 0.0, "magnitude": 5.0})
        found = residuals._bin_residuals(rows, "magnitude", np.array([4.0, 6.0])).iloc[0]
        covered += found["bias_low"] < 0 < found["bias_high"]
        naive += abs(y.mean()) < 1.96 * y.std() / np.sqrt(500)
    assert 0.84 <= covered / 200 <= 0.96
    assert naive / 200 < 0.6


def test_the_same_record_from_many_folds_narrows_no_interval():
    rows = residuals.with_variables(scored(n_events=16, n_sites=12))
    rows = scores.cells(rows, "kik")[HELD_OUT]
    bounds = residuals.edges("magnitude", rows["magnitude"])
    once = residuals._bin_residuals(rows, "magnitude", bounds)
    thrice = residuals._bin_residuals(pd.concat([rows] * 3), "magnitude", bounds)
    pd.testing.assert_frame_equal(thrice.drop(columns="records"), once.drop(columns="records"))
    assert (thrice["records"] == 3 * once["records"]).all()


def test_few_events_have_no_interval():
    rows = pd.DataFrame({"event_id": list("AAB"), "site_id": list("123"), "magnitude": 5.0, "mean": 0.0})
    found = residuals._bin_residuals(
        rows.assign(ln_im=[1.0, 2, 3]), "magnitude", np.array([4.0, 6.0])
    ).iloc[0]
    assert found["bias"] == 2
    assert found[["bias_low", "bias_high", "scatter_low", "scatter_high"]].isna().all()
