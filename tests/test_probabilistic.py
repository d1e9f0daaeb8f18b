"""Probabilistic scores against analytic values of known distributions."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError
from tfgmm.evaluation import scores

SIGMA = 0.7
FEW = {"resamples": 60}


def scored(n_events=100, n_sites=200, spread=1.0, seed=0, **columns) -> pd.DataFrame:
    """Independent records, observed with `spread` times the predicted standard deviation."""
    rng = np.random.default_rng(seed)
    event, site = (index.ravel() for index in np.indices((n_events, n_sites)))
    mean = rng.normal(-3, 1, len(event))
    observed = mean + spread * SIGMA * rng.normal(size=len(event))
    common = {"im": "PGA", "model": "M", "network": "kik", "chunk": 0, "nearest_added_km": np.nan}
    common |= {"site_role": "validation", "event_role": "validation", "stddev": SIGMA}
    table = pd.DataFrame({"event_id": event, "site_id": site, "ln_im": observed, "mean": mean})
    return table.astype({"event_id": str, "site_id": str}).assign(**common | columns)


def values(table: pd.DataFrame, **options) -> pd.Series:
    found = scores.score(table, {}, **FEW | options)
    return found.set_index("statistic")["value"]


def test_a_true_normal_has_the_analytic_scores():
    """20,000 records: tolerances are four standard errors of the mean."""
    found = values(scored())
    expected = {
        "RMSE": SIGMA,
        "bias": 0,
        "z mean": 0,
        "z std": 1,
        "NLL": 0.5 * np.log(2 * np.pi * np.e * SIGMA**2),
        "CRPS": SIGMA / np.sqrt(np.pi),
        "coverage 50%": 0.5,
        "coverage 80%": 0.8,
        "coverage 90%": 0.9,
        "coverage 95%": 0.95,
        "sharpness": SIGMA,
        "LH median": 0.5,
        "LLH": 0.5 * np.log2(2 * np.pi * np.e * SIGMA**2),
    }
    assert list(found.index) == list(expected)
    np.testing.assert_allclose(found, list(expected.values()), atol=0.03)
    assert found["CRPS"] == pytest.approx(expected["CRPS"], abs=0.01)
    for nominal in (50, 80, 90, 95):
        assert found[f"coverage {nominal}%"] == pytest.approx(nominal / 100, abs=0.014)


@pytest.mark.parametrize(
    ("residual", "stddev", "nll", "crps", "likelihood"),
    [
        # Standard normal at its mean: ln sqrt(2 pi); CRPS (sqrt 2 - 1) / sqrt pi; LH 1.
        (0.0, 1.0, 0.918939, 0.233695, 1.0),
        # One standard deviation of 2 off: plus ln 2 and 1/2; 2 (1 (2 Phi(1) - 1) + 2 phi(1) - 1 / sqrt pi).
        (2.0, 2.0, 2.112086, 1.204883, 0.317311),
    ],
)
def test_one_record_by_hand(residual, stddev, nll, crps, likelihood):
    table = scored(1, 1, stddev=stddev)
    row = scores.per_record(table.assign(ln_im=table["mean"] + residual)).iloc[0]
    assert row["residual"] == pytest.approx(residual)
    assert row["z^2"] == pytest.approx((residual / stddev) ** 2)
    assert row["nll"] == pytest.approx(nll, abs=1e-6)
    assert row["crps"] == pytest.approx(crps, abs=1e-6)
    assert row["inside 50%"] == (residual == 0)
    assert row["inside 80%"] == 1
    below = [name for name in row.index if name.startswith("LH <") and row[name]]
    assert [float(name.split()[-1]) > likelihood for name in below] == [True] * len(below)
    assert len(below) == (0 if likelihood == 1 else 13)  # 0.35, 0.40, ..., 0.95


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.6])
def test_median_lh_is_that_of_the_records(spread):
    table = scored(spread=spread)
    u = scores.pit(table)
    assert values(table)["LH median"] == pytest.approx(np.median(1 - np.abs(2 * u - 1)), abs=0.003)


def test_pit_and_lh_of_a_true_normal_are_uniform():
    u = scores.pit(scored())
    assert kstest(u, "uniform").pvalue > 0.01
    assert kstest(1 - np.abs(2 * u - 1), "uniform").pvalue > 0.01
    assert kstest(scores.pit(scored(spread=1.2)), "uniform").pvalue < 1e-9


def test_scores_agree_with_the_four_way_table():
    partial = scores.partial_ensembles(predictions())
    found = scores.score(partial, scores.by_cell("kik"), **FEW)
    wide = found.pivot(index=["cell", "model"], columns="statistic", values="value")
    expected = scores.four_way(partial, "kik").set_index(["cell", "model"]).loc[wide.index]
    for name, column in {"RMSE": "rmse_pooled", "bias": "bias", "z mean": "z_mean"}.items():
        np.testing.assert_allclose(wide[name], expected[column], err_msg=name)
    np.testing.assert_allclose(wide["z std"], expected["z_std"], rtol=0.02)  # divisors n and n - 1
    counts = found.drop_duplicates("cell").set_index("cell")["n"]
    assert counts.to_dict() == expected.droplevel("model")["records"].to_dict()


def test_groupings_compose():
    partial = scores.partial_ensembles(predictions(ims=("PGA", "SA(1.0)")))
    grouping = scores.by_cell(
        "kik", magnitude=scores.by_bin("magnitude", [5.5]), r_hyp_km=scores.by_bin("r_hyp_km", [60])
    )
    found = scores.score(partial, grouping, {"bias": scores.STATISTICS["bias"]}, **FEW)
    assert list(found.columns[:6]) == ["im", "cell", "magnitude", "r_hyp_km", "model", "statistic"]
    cells = found.set_index(["im", "cell", "magnitude", "r_hyp_km"])
    of_one = cells.loc[("PGA", "validation / validation", "below 5.5", "60 and above")]
    rows = scores.cells(partial[partial["im"] == "PGA"], "kik")["validation / validation"]
    rows = rows[(rows["magnitude"] < 5.5) & (rows["r_hyp_km"] >= 60)]
    assert of_one["n"] == len(rows) > 0
    assert of_one["value"] == pytest.approx((rows["ln_im"] - rows["mean"]).mean())
    whole = scores.score(partial, scores.by_cell("kik"), **FEW).drop_duplicates(["im", "cell"])
    assert found["n"].sum() == whole["n"].sum()


def test_models_see_the_same_resamples():
    table = scored(20, 20)
    both = pd.concat([table, table.assign(model="same")])
    found = scores.score(both, {"model": scores.by_value("model")}, **FEW)
    one, same = (rows.drop(columns="model").reset_index(drop=True) for _, rows in found.groupby("model"))
    pd.testing.assert_frame_equal(one, same)


def test_records_far_outside_what_an_untrained_network_predicts():
    """The density of these is 0 in double precision, its logarithm is not infinite."""
    table = scored(3, 3, ln_im=0.0, mean=1.0, stddev=0.01)
    expected = 100**2 / 2 + np.log(0.01 * np.sqrt(2 * np.pi))
    assert scores.per_record(table)["nll"].to_numpy() == pytest.approx(expected)


def test_a_missing_prediction_is_an_error():
    table = scored(5, 5)
    table.loc[7, "mean"] = np.nan
    with pytest.raises(DataError, match="residual of the record of event 1 at site 2 is nan"):
        scores.score(table, {}, **FEW)


def test_no_group_gives_an_empty_table():
    nothing = scores.score(scored(5, 5, network="meso"), scores.by_cell("kik"), **FEW)
    assert nothing.empty
    assert "value" in nothing


@pytest.mark.parametrize("stddev", [0.0, -1.0, np.nan])
def test_a_standard_deviation_not_above_zero_is_an_error(stddev):
    table = scored(5, 5)
    table.loc[3, "stddev"] = stddev
    with pytest.raises(DataError, match=f"event 0 at site 3 is {stddev}, expected a number above 0"):
        scores.score(table, {}, **FEW)


# --- histogram ---------------------------------------------------------------------------------------


def test_histogram_by_hand():
    """Standardised residuals 0, 0, 3 and -3: two in the bin from 0.5, one at each end."""
    table = scored(2, 2).assign(mean=0.0, ln_im=[0, 0, 3 * SIGMA, -3 * SIGMA])
    found = scores.pit_histogram(table, bins=4, **FEW)
    assert found["density"].tolist() == [1, 0, 2, 1]
    assert found["left"].tolist() == [0, 0.25, 0.5, 0.75]
    assert found["right"].tolist() == [0.25, 0.5, 0.75, 1]


def test_a_certain_record_falls_into_the_last_bin():
    """Forty standard deviations off, the transform is exactly 1."""
    table = scored(2, 2).assign(mean=0.0, ln_im=40 * SIGMA)
    assert scores.pit_histogram(table, bins=4, **FEW)["density"].tolist() == [0, 0, 0, 4]


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "calibrated"), [(1.0, True), (1.4, False), (0.7, False)])
def test_band_of_the_histogram_holds_1_where_calibrated(spread, calibrated):
    found = scores.pit_histogram(scored(spread=spread), resamples=100)
    assert ((found["low"] <= 1) & (found["high"] >= 1)).all() == calibrated
    assert (found["low"] >= 0).all()


def test_band_is_wider_where_records_share_events():
    """The same histogram, once with an event for every ten records that deviate alike."""
    alone = scored(200, 10)
    shared = alone.assign(ln_im=alone["mean"] + alone.groupby("event_id")["ln_im"].transform("first") + 3)
    one, other = (
        scores.pit_histogram(table, bins=5, resamples=200).eval("high - low").mean()
        for table in (alone, shared)
    )
    assert other > 1.5 * one


# --- over-confidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spread", "verdict"), [(1.5, ["over-confident"]), (1.0, []), (0.7, ["under-confident"])]
)
def test_over_and_under_confident_models_are_flagged(spread, verdict):
    table = scores.score(scored(60, 30, spread), scores.by_cell("kik"), resamples=200)
    found = scores.confidence(table)
    assert found["verdict"].tolist() == verdict
    if verdict:
        assert found.loc[0, ["cell", "model"]].tolist() == ["validation / validation", "M"]
        assert found.loc[0, "why"].startswith(f"residuals spread {spread:.1f}")


def verdict_of(spread: tuple, coverage: tuple) -> list[str]:
    rows = [("z std", *spread), ("coverage 90%", *coverage)]
    table = pd.DataFrame(rows, columns=["statistic", "value", "low", "high"]).assign(model="M")
    return scores.confidence(table)["verdict"].tolist()


@pytest.mark.parametrize(
    ("spread", "coverage", "verdict"),
    [
        ((1.2, 0.9, 1.4), (0.8, 0.7, 0.85), ["over-confident"]),  # by coverage alone
        ((1.2, 1.1, 1.4), (0.9, 0.8, 0.95), ["over-confident"]),  # by spread alone
        ((0.9, 0.8, 0.95), (0.9, 0.8, 0.95), ["under-confident"]),
        ((1.0, 0.8, 1.2), (0.95, 0.93, 0.97), ["under-confident"]),
        ((1.2, 1.1, 1.4), (0.95, 0.93, 0.97), ["not Normal"]),  # heavy tails
        ((1.0, 0.9, 1.1), (0.9, 0.85, 0.95), []),
        ((1.5, np.nan, np.nan), (0.5, np.nan, np.nan), []),  # too few events or sites for an interval
    ],
)
def test_verdicts_by_hand(spread, coverage, verdict):
    assert verdict_of(spread, coverage) == verdict


def test_the_reason_is_in_plain_words():
    table = scores.score(scored(60, 30, 1.5), scores.by_cell("kik"), resamples=200)
    why = scores.confidence(table).loc[0, "why"]
    row = table.set_index("statistic").loc["coverage 90%"]
    assert why.endswith(
        f"the 90% intervals hold {row['value']:.1%} ({row['low']:.1%} to {row['high']:.1%}) of the records"
    )
