"""Support is a count of like records, sigma grows where it falls, and a planted share is found again."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfgmm.core.errors import DataError
from tfgmm.serving.graph import TENSORS
from tfgmm.stats import support
from tfgmm.stats.support import LN_R, Shrinkage, Support


def training_records(seed: int = 0, events: int = 60, largest: float = 6.5) -> pd.DataFrame:
    """Records of small and moderate earthquakes; magnitudes and depths are rounded as in catalogues."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "event_id": [f"E{i}" for i in range(events)],
            "magnitude": rng.uniform(4, largest, events).round(1),
            "depth_km": rng.uniform(5, 80, events).round(),
            "event_x_km": rng.uniform(-60, 60, events),
            "event_y_km": rng.uniform(-60, 60, events),
        }
    )
    records = table.loc[table.index.repeat(rng.integers(1, 40, events))].reset_index(drop=True)
    return records.assign(
        r_hyp_km=np.hypot(records["depth_km"], np.exp(rng.uniform(0, np.log(200), len(records))))
    )


def counted(records: pd.DataFrame, event, r_km: float, rho: float) -> float:
    """The support of one event at one distance, record by record."""
    magnitude, depth_km, x_km, y_km = event
    total = 0.0
    for _, rows in records.groupby("event_id"):
        first = rows.iloc[0]
        if (
            abs(round(first["magnitude"] - magnitude, 6)) <= 0.5
            and abs(round(first["depth_km"] - depth_km, 6)) <= 20
            and np.hypot(first["event_x_km"] - x_km, first["event_y_km"] - y_km) <= 50
        ):
            count = sum(0.7 * r_km <= r <= 1.3 * r_km for r in rows["r_hyp_km"])
            total += count and count / (1 + (count - 1) * rho)
    return total


@pytest.fixture(scope="module")
def records():
    return training_records()


@pytest.fixture(scope="module")
def places():
    """Five events, given to 0.1 and 1 km as those of training, and ln R of 3 x 4 places of each."""
    rng = np.random.default_rng(1)
    events = np.stack([rng.uniform(4, 6.5, 5).round(1), rng.uniform(5, 80, 5).round()])
    return (*events, *rng.uniform(-60, 60, (2, 5))), np.log(rng.uniform(5, 300, (5, 3, 4)))


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_support_at_nodes_is_a_count_of_records(records, places, rho):
    events, _ = places
    curve = Support.fit(records, rho).curve(*events)
    expected = [
        [counted(records, event, np.exp(ln_r), rho) for ln_r in LN_R[40::9]]
        for event in zip(*events, strict=True)
    ]
    assert np.max(expected) > 3
    np.testing.assert_allclose(curve[:, 40::9], expected, rtol=1e-5)


def test_between_nodes_it_is_interpolated_and_beyond_them_constant(records, places):
    events, ln_r = places
    fitted = Support.fit(records)
    curve = fitted.curve(*events)
    expected = [np.interp(of_event, LN_R, values) for of_event, values in zip(ln_r, curve, strict=True)]
    np.testing.assert_allclose(fitted.at(curve, ln_r), expected, rtol=1e-5)
    ends = np.array([[-3.0, 0.0, LN_R[-1], 9.0]] * 5)
    np.testing.assert_allclose(fitted.at(curve, ends), curve[:, [0, 0, -1, -1]], rtol=1e-5)
    np.testing.assert_allclose(fitted.at(curve, ln_r[:, 0, 0]), np.array(expected)[:, 0, 0], rtol=1e-5)


def test_differences_at_the_edge_of_a_window_count_in_any_number_format():
    """0.5 in magnitude and 20 km in depth are common in catalogues, and 5.1 - 4.6 is not 0.5 in float32."""
    magnitude = np.arange(40, 75) / 10
    at_edge = pd.DataFrame(
        {"event_id": np.arange(35), "magnitude": magnitude, "depth_km": 30.0, "r_hyp_km": 100.0}
    ).assign(event_x_km=0.0, event_y_km=0.0)
    fitted, zero = Support.fit(at_edge), np.zeros(35)
    node = np.abs(LN_R - np.log(100)).argmin()
    expected = [sum(abs(round(m - other, 6)) <= 0.5 for other in magnitude) for m in magnitude]
    exact = fitted.curve(magnitude, zero + 50, zero, zero)
    assert exact[:, node].tolist() == expected
    single = fitted.curve(
        *(tf.constant(v, tf.float32) for v in (magnitude, zero + 50, zero, zero)), TENSORS
    )
    assert single.numpy()[:, node].tolist() == expected
    assert not fitted.curve(magnitude, zero + 50.1, zero, zero).any()


def test_a_graph_of_tensorflow_computes_the_same(records, places):
    fitted, (events, ln_r) = Support.fit(records), places

    @tf.function(
        input_signature=[*[tf.TensorSpec([None])] * 4, tf.TensorSpec([None, 3, 4])], autograph=False
    )
    def graph(magnitude, depth_km, x_km, y_km, ln_r):
        curve = fitted.curve(magnitude, depth_km, x_km, y_km, TENSORS)
        return fitted.at(curve, ln_r, TENSORS)

    inputs = [tf.constant(values, tf.float32) for values in (*events, ln_r)]
    computed = graph(*inputs)
    assert computed.dtype == tf.float32
    np.testing.assert_allclose(computed, fitted.at(fitted.curve(*events), ln_r), atol=1e-4, rtol=1e-4)
    assert graph(*(values[:0] for values in inputs)).shape == (0, 3, 4)


def test_an_event_counts_first_as_one_and_saturates():
    assert support.effective_number(np.array([0, 1])).tolist() == [0, 1]
    number = support.effective_number(np.arange(1, 2000), 0.25)
    assert (np.diff(number) > 0).all() and 3.9 < number[-1] < 4


def test_members_that_share_records_count_them_once(records):
    once, twice = Support.fit(records), Support.fit(pd.concat([records, records]))
    np.testing.assert_array_equal(once.effective, twice.effective)


def test_support_of_records_is_that_of_their_events_and_distances(records):
    fitted, rows = Support.fit(records), records.sample(50, random_state=0)
    columns = ["magnitude", "depth_km", "event_x_km", "event_y_km"]
    curve = fitted.curve(*rows[columns].to_numpy().T)
    expected = fitted.at(curve, np.log(rows["r_hyp_km"].to_numpy()))
    np.testing.assert_allclose(fitted.at_records(rows), expected, rtol=1e-6)
    assert (fitted.at_records(records) > 0.5).all()


def test_records_without_values_are_refused(records):
    for bad in (records.iloc[:0], records.assign(depth_km=np.nan)):
        with pytest.raises(DataError, match="support of predictions"):
            Support.fit(bad)


# ---- the share of the network ----------------------------------------------------------------------------


@pytest.mark.parametrize("r_km", [20.0, 100.0])
def test_along_magnitude_sigma_does_not_fall_while_support_falls(r_km):
    fitted = Support.fit(training_records(events=300, largest=6.6))
    magnitude = np.arange(4.5, 7.55, 0.1)
    curve = fitted.curve(magnitude, np.full(31, 15.0), np.zeros(31), np.zeros(31))
    n = fitted.at(curve, np.full(31, np.log(r_km)))
    sigma = np.sqrt(0.6**2 + Shrinkage().added_variance(n))
    falls = np.diff(n) < 0
    assert falls.sum() > 5 and n.max() > 5
    assert (np.diff(sigma)[falls] > 0).all()
    assert n[-1] == 0 and sigma[-1] == pytest.approx(np.hypot(0.6, support.DEFAULT_VARIANCE_U**0.5))
    assert sigma.argmin() == n.argmax()


def test_share_goes_from_the_backbone_to_the_network():
    n = np.array([0.0, 10.0, 1e9])
    shrinkage = Shrinkage(10.0, 0.2)
    np.testing.assert_allclose(shrinkage.share(n), [0.75, 0.875, 1])
    np.testing.assert_allclose(shrinkage.added_variance(n), [0.2, 0.1, 0], atol=1e-8)
    tensor = shrinkage.added_variance(tf.constant(n, tf.float32))
    np.testing.assert_allclose(tensor, [0.2, 0.1, 0], atol=1e-7)


def test_share_is_a_part_of_the_full_share():
    n = np.array([0.0, 10.0, 1e9])
    np.testing.assert_allclose(Shrinkage(10.0, full_share=0.4).share(n), [0.3, 0.35, 0.4])


def held_out(
    n0: float, variance_u: float, tau: float, n=None, seed: int = 0, events: int = 300, full_share=1.0
):
    """Records that deviate from the backbone by w u and by what is unknown; alike within an event."""
    rng = np.random.default_rng(seed)
    event = np.repeat(np.arange(events), 10)
    n = np.exp(rng.uniform(-3, 7, len(event))) if n is None else np.full(len(event), n)
    u, stddev = rng.normal(0, 0.5, len(event)), rng.uniform(0.4, 0.7, len(event))
    shared, own = rng.normal(size=events)[event], rng.normal(size=len(event))
    variance = stddev**2 + Shrinkage(n0, variance_u).added_variance(n) + tau**2
    noise = np.sqrt(variance) * (np.sqrt(support.RHO) * shared + np.sqrt(1 - support.RHO) * own)
    residual = Shrinkage(n0, full_share=full_share).share(n) * u + noise
    return pd.DataFrame(
        {"chunk": 0, "event_id": event, "backbone_residual": residual, "u": u, "stddev": stddev, "n": n}
    )


def fit_share(table: pd.DataFrame) -> Shrinkage:
    return support.fit_shares({"PGA": table})["PGA"]


@pytest.mark.parametrize(("n0", "variance_u", "tau"), [(3.0, 0.3, 0.0), (10.0, 0.1, 0.3), (60.0, 0.5, 0.3)])
def test_planted_share_is_found_again(n0, variance_u, tau):
    fitted = fit_share(held_out(n0, variance_u, tau, events=1200))
    assert fitted.n0 == pytest.approx(n0, rel=0.5)
    assert fitted.variance_u == pytest.approx(variance_u, rel=0.35)
    assert fitted.tau == pytest.approx(tau, abs=0.1)


@pytest.mark.parametrize("full_share", [0.0, 0.3, 0.8])
def test_planted_full_share_is_found_again(full_share):
    fitted = fit_share(held_out(10.0, 0.1, 0.3, full_share=full_share))
    assert fitted.full_share == pytest.approx(full_share, abs=0.06)


def test_few_events_leave_the_share_near_one():
    """The same estimate of a few events weighs less than that of many."""
    shares = [fit_share(held_out(10.0, 0.1, 0.3, events=k, full_share=0.2)) for k in (12, 300)]
    assert shares[0].full_share > shares[1].full_share + 0.05


def test_measures_have_one_full_share_and_are_no_more_evidence_than_one():
    table = held_out(10.0, 0.1, 0.3, events=20, full_share=0.2)
    alone = fit_share(table)
    twins = support.fit_shares({"PGA": table, "PGV": table})
    assert twins["PGA"].full_share == twins["PGV"].full_share == pytest.approx(alone.full_share)
    other = held_out(10.0, 0.1, 0.3, events=300, full_share=0.9)
    few = held_out(10.0, 0.1, 0.3, events=5)
    fitted = support.fit_shares({"PGA": table, "PGV": other, "SA(10.0)": few})
    assert alone.full_share < fitted["PGA"].full_share == fitted["SA(10.0)"].full_share
    assert fitted["PGA"].n0 == alone.n0 and fitted["SA(10.0)"].n0 == support.DEFAULT_N0


def test_copies_of_an_event_are_no_events_of_their_own():
    table = held_out(10.0, 0.1, 0.3, events=20, full_share=0.2)
    copies = pd.concat([table.assign(chunk=chunk) for chunk in range(5)])
    once, five = fit_share(table), fit_share(copies)
    assert five.full_share == pytest.approx(once.full_share, abs=0.1)


def test_networks_that_say_nothing_have_the_default_share():
    assert fit_share(held_out(10.0, 0.1, 0.3).assign(u=0.0)).full_share == 1


def test_too_narrow_predictions_do_not_pass_for_a_bad_network():
    """What the records scatter more at any support leaves the share alone."""
    table = held_out(3.0, 0.2, 0.0)
    narrow = fit_share(table.assign(stddev=table["stddev"] * 0.8))
    assert narrow.n0 == pytest.approx(fit_share(table).n0, rel=0.35)
    assert narrow.tau > 0.2


def test_where_records_do_not_tell_the_defaults_hold():
    assert fit_share(held_out(50.0, 0.5, 0.0, events=9)) == Shrinkage()
    one_kind = fit_share(held_out(1.0, 0.1, 0.0, n=5000.0))
    assert 5 < one_kind.n0 < 20 and 0.05 < one_kind.variance_u < 0.2
    useless = held_out(100.0, 0.1, 0.0)
    rng = np.random.default_rng(3)
    useless["backbone_residual"] = useless["stddev"] * rng.normal(size=len(useless))
    assert fit_share(useless).full_share < 0.1


@pytest.mark.parametrize("bad", [{"u": np.nan}, {"stddev": 0.0}, {"n": -1.0}])
def test_impossible_residuals_are_refused(bad):
    with pytest.raises(DataError, match="share of the network"):
        fit_share(held_out(10.0, 0.1, 0.0, events=12).assign(**bad))
