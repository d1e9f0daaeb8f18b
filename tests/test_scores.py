"""The four-way table against computations by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.prediction_tables import predictions
from tfgmm.evaluation import scores

KNOWN, UNKNOWN = "training / training", "validation / validation"
KEYS = ["im", "chunk", "event_id", "station_id"]

#: chunk, network, site role, event role, km to the nearest added station, observed minus predicted
HAND = [
    (0, "kik", "training", "training", 3.0, 1.0),
    (1, "kik", "training", "training", 0.5, 3.0),
    (0, "kik", "training", "validation", 3.0, -1.0),
    (0, "kik", "validation", "training", 0.5, 5.0),
    (0, "kik", "validation", "validation", 0.5, 2.0),
    (0, "kik", "validation", "validation", 0.5, -4.0),
    (1, "kik", "validation", "validation", 3.0, 1.0),
    (1, "kik", "validation", "validation", 3.0, 1.0),
    (0, "meso", "training", "training", 0.0, 10.0),
    (0, "meso", "training", "validation", 0.0, 20.0),
    # Never scored: the stopping set, and added stations at a held-out site.
    (0, "kik", "stopping", "training", 3.0, 1e6),
    (0, "kik", "stopping", "stopping", 3.0, 1e6),
    (0, "kik", "training", "stopping", 3.0, 1e6),
    (0, "kik", "validation", "stopping", 3.0, 1e6),
    (0, "meso", "validation", "validation", 0.0, 1e6),
    (0, "meso", "training", "stopping", 0.0, 1e6),
    (0, "meso", "stopping", "training", 0.0, 1e6),
]


@pytest.fixture
def hand() -> pd.DataFrame:
    columns = ["chunk", "network", "site_role", "event_role", "nearest_added_km", "residual"]
    table = pd.DataFrame(HAND, columns=columns)
    return table.assign(im="PGA", model="M", mean=0.7, ln_im=0.7 + table["residual"], stddev=2.0)


def row(table: pd.DataFrame, cell: str) -> pd.Series:
    return table.set_index("cell").loc[cell]


def test_cells_hold_the_right_records_in_the_order_of_the_publication(hand):
    chosen = scores.cells(hand, "kik")
    assert {name: records["residual"].tolist() for name, records in chosen.items()} == {
        KNOWN: [1, 3],
        "training / validation": [-1],
        "validation / training": [5],
        UNKNOWN: [2, -4, 1, 1],
        "the same, no added station within 1 km": [1, 1],
        "added / training": [10],
        "added / validation": [20],
    }
    assert list(chosen)[:4] == [f"{site} / {event}" for site, event in scores.CELLS]


def test_no_rows_apart_without_an_added_network(hand):
    alone = hand[hand["network"] == "kik"].assign(nearest_added_km=np.nan)
    assert len(scores.cells(alone, "kik")) == 4


def test_the_other_network_may_be_the_reference(hand):
    assert scores.cells(hand, "meso")[KNOWN]["residual"].tolist() == [10]


def test_scores_by_hand(hand):
    table = scores.four_way(hand, "kik")
    # Chunks 1 and 3: mean 2, standard deviation (n - 1) sqrt 2, pooled sqrt((1 + 9) / 2).
    known = row(table, KNOWN)
    assert known["rmse"] == pytest.approx(2)
    assert known["rmse_std"] == pytest.approx(np.sqrt(2))
    assert known["rmse_pooled"] == pytest.approx(np.sqrt(5))
    assert known["bias"] == pytest.approx(2)
    assert known["z_mean"] == pytest.approx(1)
    assert known["z_std"] == pytest.approx(np.sqrt(0.5))
    assert known["records"] == 2
    # Chunks sqrt((4 + 16) / 2) and 1; pooled sqrt((4 + 16 + 1 + 1) / 4).
    unknown = row(table, UNKNOWN)
    assert unknown["rmse"] == pytest.approx((np.sqrt(10) + 1) / 2)
    assert unknown["rmse_pooled"] == pytest.approx(np.sqrt(5.5))
    assert unknown["bias"] == 0
    assert unknown["records"] == 4


def test_one_chunk_has_no_standard_deviation(hand):
    one = row(scores.four_way(hand, "kik"), "validation / training")
    assert (one["rmse"], one["rmse_pooled"]) == (5, 5)
    assert np.isnan(one["rmse_std"])


def test_models_and_measures_are_scored_apart(hand):
    worse = hand.assign(model="W", mean=hand["mean"] - 100)
    table = scores.four_way(pd.concat([hand, worse, hand.assign(im="SA(1.0)")]), "kik")
    known = table[table["cell"] == KNOWN]
    assert known[["im", "model"]].to_numpy().tolist() == [["PGA", "M"], ["PGA", "W"], ["SA(1.0)", "M"]]
    np.testing.assert_allclose(known["bias"], [2, 102, 2])


# --- partial ensembles -------------------------------------------------------------------------------


def members(*moments) -> pd.DataFrame:
    """One record in chunk 0, predicted by members with these means and standard deviations."""
    mean, stddev = zip(*moments, strict=True)
    common = {"im": "PGA", "chunk": 0, "event_id": "E", "station_id": "S", "arm": "all", "ln_im": 0.0}
    return pd.DataFrame({"init": range(len(moments)), "mean": mean, "stddev": stddev} | common)


def test_law_of_total_variance_by_hand():
    """N(0, 1), N(2, 3^2), N(4, 2^2): mean 2, E[s^2] = 14 / 3, Var[m] = 8 / 3."""
    partial = scores.partial_ensembles(members((0, 1), (2, 3), (4, 2)))
    assert len(partial) == 1
    assert partial.loc[0, "mean"] == 2
    assert partial.loc[0, "stddev"] == pytest.approx(np.sqrt(22 / 3))
    assert partial.loc[0, "epistemic"] == pytest.approx(8 / 3)
    assert partial.loc[0, "model"] == scores.ENSEMBLE
    assert not {"arm", "init"} & set(partial)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_partial_ensembles_in_any_order_of_rows(random):
    table = predictions(n_events=3, n_sites=4, inits=3, ims=("PGA", "SA(1.0)"))
    expected = table.groupby(KEYS, sort=True).agg(
        mean=("mean", "mean"),
        ln_im=("ln_im", "first"),
        site_role=("site_role", "first"),
        total=("mean", lambda m: m.astype(float).var(ddof=0)),
        square=("stddev", lambda s: (s.astype(float) ** 2).mean()),
    )
    order = random.sample(range(len(table)), len(table))
    found = scores.partial_ensembles(table.iloc[order]).set_index(KEYS).sort_index()
    assert found.index.equals(expected.index)
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-5)
    np.testing.assert_allclose(found["stddev"] ** 2, expected["total"] + expected["square"], rtol=1e-5)
    np.testing.assert_allclose(found["epistemic"], expected["total"], rtol=1e-5, atol=1e-12)
    pd.testing.assert_series_equal(found["ln_im"], expected["ln_im"])
    pd.testing.assert_series_equal(found["site_role"], expected["site_role"])


def test_chunks_may_have_different_numbers_of_members():
    """A run that was interrupted: chunk 1 lacks its last initialisation."""
    table = predictions(n_events=4, n_sites=6, inits=2)
    partly = table[(table["chunk"] == 0) | (table["init"] == 0)]
    found = scores.partial_ensembles(partly).set_index(KEYS)
    whole = scores.partial_ensembles(table).set_index(KEYS)
    single = table[(table["chunk"] == 1) & (table["init"] == 0)].set_index(KEYS)
    pd.testing.assert_frame_equal(found.loc[(slice(None), 0), :], whole.loc[(slice(None), 0), :])
    for name in ("mean", "stddev"):
        np.testing.assert_allclose(found.loc[single.index, name], single[name], rtol=1e-6)


# --- groupings ---------------------------------------------------------------------------------------


def test_bins_hold_every_record_once():
    table = pd.DataFrame({"vs30": [100.0, 200.0, 399.9, 400.0, 900.0, np.nan]})
    found = scores.by_bin("vs30", [200, 400])(table)
    assert {name: rows["vs30"].tolist() for name, rows in found.items() if name != "unknown"} == {
        "below 200": [100],
        "200 to 400": [200, 399.9],
        "400 and above": [400, 900],
    }
    assert len(found["unknown"]) == 1


def test_groups_nest_in_the_given_order():
    table = pd.DataFrame({"a": ["y", "x", "y"], "b": [1, 1, 2]})
    found = scores.groups(table, {"first": scores.by_value("a"), "second": scores.by_value("b")})
    assert [(*names.values(), len(rows)) for names, rows in found] == [
        ("y", "1", 1),
        ("y", "2", 1),
        ("x", "1", 1),
    ]
    [(names, rows)] = scores.groups(table, {})
    assert names == {}
    assert len(rows) == 3
