"""The two-way bootstrap against computations by hand and against made-up crossed effects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgmm.core.errors import DataError
from tfgmm.evaluation import sections
from tfgmm.stats import bootstrap

TAU, PHI_S2S, PHI_SS = 0.35, 0.42, 0.4
SIGMA = np.sqrt(TAU**2 + PHI_S2S**2 + PHI_SS**2)
STATISTICS = {
    "mean": lambda mean: mean["x"],
    "rms": lambda mean: np.sqrt(mean["x^2"]),
    "share": lambda mean: mean["inside"],
}
TRUE = {"mean": 0.0, "rms": SIGMA, "share": 0.9}


def crossed(rng: np.random.Generator, n_events: int = 80, n_sites: int = 50, share: float = 0.3):
    """Values, events and sites of records with event, site and remaining terms."""
    event, site = np.nonzero(rng.random((n_events, n_sites)) < share)
    x = TAU * rng.normal(size=n_events)[event] + PHI_S2S * rng.normal(size=n_sites)[site]
    x += PHI_SS * rng.normal(size=len(event))
    values = pd.DataFrame({"x": x, "x^2": x**2, "inside": (np.abs(x) < 1.645 * SIGMA).astype(float)})
    return values, pd.Series(event).astype(str), pd.Series(site).astype(str)


def test_weights_are_products_of_those_of_event_and_site():
    """One indicator column a record gives back its weight, but for the sum: a table of rank one."""
    event, site = (pd.Series(index.ravel()) for index in np.indices((3, 4)))
    means = bootstrap.resampled_means(pd.DataFrame(np.eye(12)), event, site, resamples=60)
    np.testing.assert_allclose(means.iloc[0], 1 / 12)
    np.testing.assert_allclose(means.sum(axis=1), 1)
    for weights in means.iloc[1:].to_numpy().reshape(-1, 3, 4):
        np.testing.assert_allclose(weights, np.outer(weights.sum(axis=1), weights.sum(axis=0)))
    assert means.iloc[1:].std().min() > 0.01


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(random):
    values, event, site = crossed(np.random.default_rng(1), 8, 6, 0.8)
    order = random.sample(range(len(values)), len(values))
    shuffled = (table.iloc[order] for table in (values, event, site))
    expected = bootstrap.resampled_means(values, event, site, resamples=20)
    pd.testing.assert_frame_equal(bootstrap.resampled_means(*shuffled, resamples=20), expected)


def test_a_seed_repeats_and_another_does_not():
    data = crossed(np.random.default_rng(2))
    one, same, other = (bootstrap.intervals(*data, STATISTICS, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    assert (one["low"] != other["low"]).all()
    pd.testing.assert_series_equal(one["value"], other["value"])


def test_value_is_the_plain_statistic_with_the_counts():
    values, event, site = crossed(np.random.default_rng(2))
    result = bootstrap.intervals(values, event, site, STATISTICS, resamples=99)
    assert result.loc["mean", "value"] == pytest.approx(values["x"].mean())
    assert result.loc["rms", "value"] == pytest.approx(np.sqrt(np.mean(values["x"] ** 2)))
    assert result.loc["rms", ["n", "events", "sites"]].tolist() == [len(values), 80, 50]
    assert (result["low"] < result["value"]).all()
    assert (result["value"] < result["high"]).all()


@pytest.mark.parametrize(("level", "tails"), [(0.9, [0.05, 0.95]), (0.5, [0.25, 0.75])])
def test_ends_are_percentiles_of_the_resamples(level, tails):
    data = crossed(np.random.default_rng(2))
    result = bootstrap.intervals(*data, STATISTICS, level=level).loc["mean"]
    drawn = bootstrap.resampled_means(*data)["x"].iloc[1:]
    assert result[["low", "high"]].tolist() == pytest.approx(np.quantile(drawn, tails))


def test_intervals_hold_the_truth_as_often_as_they_say_and_naive_ones_do_not():
    rng = np.random.default_rng(5)
    held, naive = [], []
    for seed in range(100):
        values, event, site = crossed(rng)
        one_each = pd.Series(np.arange(len(values)))
        for hits, clusters in ((held, (event, site)), (naive, (one_each, one_each * 0))):
            means = bootstrap.resampled_means(values, *clusters, resamples=200, seed=seed)
            ends = {name: np.quantile(f(means)[1:], [0.05, 0.95]) for name, f in STATISTICS.items()}
            hits.append({name: ends[name][0] < TRUE[name] < ends[name][1] for name in TRUE})
    held, naive = pd.DataFrame(held).mean(), pd.DataFrame(naive).mean()
    assert held.between(0.8, 0.99).all(), held
    assert (naive < 0.75).all(), naive


def test_paired_differences_forget_what_both_share():
    values, event, site = crossed(np.random.default_rng(6))
    shifted = values.assign(x=values["x"] - 0.1)
    result = bootstrap.paired(values, shifted, event, site, {"mean": STATISTICS["mean"]}).loc["mean"]
    alone = bootstrap.intervals(values, event, site, {"mean": STATISTICS["mean"]}).loc["mean"]
    assert result[["value", "low", "high"]].tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert alone["high"] - alone["low"] > 0.1
    assert result["first"] - result["second"] == pytest.approx(result["value"])


@pytest.mark.parametrize(("n_events", "n_sites", "known"), [(5, 5, True), (4, 9, False), (9, 4, False)])
def test_no_interval_from_a_handful_of_clusters(n_events, n_sites, known):
    data = crossed(np.random.default_rng(7), n_events, n_sites, share=1.0)
    result = bootstrap.intervals(*data, STATISTICS, resamples=20)
    assert result[["low", "high"]].notna().all(axis=None) == known
    assert result["value"].notna().all()


def test_band_holds_all_columns_at_once():
    """Of ten independent standard normals, 90 % of the largest are below 2.56 (0.9 ** 0.1 = 0.9895)."""
    drawn = pd.DataFrame(np.random.default_rng(8).normal(5, 3, (20000, 10)))
    drawn.iloc[0] = 5
    result = bootstrap.band(drawn)
    np.testing.assert_allclose(result["high"] - 5, 2.56 * 3, rtol=0.03)
    np.testing.assert_allclose(result["low"] + result["high"], 10)


def test_a_column_that_never_varies_has_a_band_of_no_width():
    assert bootstrap.band(pd.DataFrame({"empty": np.zeros(50)})).loc["empty"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(value):
    values, event, site = crossed(np.random.default_rng(9), 5, 5, 1.0)
    values.loc[7, "x^2"] = value
    with pytest.raises(
        DataError, match=rf"x\^2 .* 1 at site 2 is {value}, expected a finite.*train longer"
    ):
        bootstrap.intervals(values, event, site, STATISTICS)


def test_no_records_are_an_error():
    values, event, site = (table.iloc[:0] for table in crossed(np.random.default_rng(9)))
    with pytest.raises(DataError, match="no record"):
        bootstrap.resampled_means(values, event, site)


def test_intervals_of_few_events_or_sites_are_marked():
    rng = np.random.default_rng(0)
    for events, sites, narrow in ((30, 30, False), (30, 17, True), (17, 30, True), (30, 3, False)):
        event, site = (pd.Series(index.ravel()) for index in np.indices((events, sites)))
        values = pd.DataFrame({"square": rng.exponential(size=events * sites)})
        table = bootstrap.intervals(
            values, event, site, {"mean": lambda mean: mean["square"]}, resamples=50
        )
        assert bootstrap.is_narrow(table).tolist() == [narrow]
        (text,) = sections.format_intervals(table)
        assert text.endswith("]*") is narrow
        made = sections.Section("name", "title", "Text.", shown=pd.DataFrame({"mean": [text]}))
        assert made.text == "Text." + f" {sections.NARROW_NOTE}" * narrow


# --- sites of one chunk resampled together ------------------------------------------------------------


def paired_by_chunk(of_chunk: float, chunks: int = 5, sites_per_chunk: int = 12, seed: int = 0):
    """Difference of means with intervals; each chunk has an error of its own, of given spread."""
    rng = np.random.default_rng(seed)
    event, site = (index.ravel() for index in np.indices((40, chunks * sites_per_chunk)))
    chunk = site % chunks
    error = of_chunk * rng.normal(size=chunks)[chunk] + 0.2 * rng.normal(size=site.max() + 1)[site]
    first = pd.DataFrame({"x": error + 0.1 * rng.normal(size=len(event))})
    clusters = (pd.Series(index).astype(str) for index in (event, site))
    return bootstrap.paired(
        first, first * 0, *clusters, {"mean": STATISTICS["mean"]}, chunk=pd.Series(chunk), resamples=300
    ).loc["mean"]


def widths(row: pd.Series) -> tuple[float, float]:
    return row["high"] - row["low"], row["high_chunks"] - row["low_chunks"]


def test_interval_of_chunks_is_wider_where_chunks_differ():
    by_site, by_chunk = np.mean([widths(paired_by_chunk(0.3, seed=seed)) for seed in range(5)], axis=0)
    assert by_chunk > 1.8 * by_site


def test_interval_of_chunks_is_about_the_same_where_chunks_do_not_differ():
    """Sites differ, chunks do not: five chunks give 0.8 times the standard error on average."""
    ratios = [np.divide(*widths(paired_by_chunk(0.0, seed=seed))[::-1]) for seed in range(20)]
    assert 0.65 < np.mean(ratios) < 1.1


def test_interval_of_chunks_is_that_of_a_bootstrap_whose_sites_are_chunks():
    values, event, site = crossed(np.random.default_rng(3))
    chunk, statistics = (site.astype(int) % 6).astype(str), {"mean": STATISTICS["mean"]}
    both = bootstrap.paired(values, values * 0, event, site, statistics, chunk=chunk).loc["mean"]
    alone = bootstrap.intervals(values, event, chunk, statistics).loc["mean"]
    assert both[["low_chunks", "high_chunks"]].tolist() == alone[["low", "high"]].tolist()
    without = bootstrap.paired(values, values * 0, event, site, statistics).loc["mean"]
    pd.testing.assert_series_equal(both.drop(["low_chunks", "high_chunks"]), without)


@pytest.mark.parametrize(("chunks", "known"), [(2, False), (3, True)])
def test_no_interval_from_fewer_than_three_chunks(chunks, known):
    row = paired_by_chunk(0.3, chunks)
    assert row[["low_chunks", "high_chunks"]].notna().tolist() == [known] * 2
    assert row[["low", "high"]].notna().all()
    pd.testing.assert_series_equal(row, paired_by_chunk(0.3, chunks))
