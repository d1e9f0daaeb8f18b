from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from tfgmm.core.errors import DataError
from tfgmm.stats import ergodic

PLANTED = (-3.0, 1.2, -0.1, -1.3, 0.1, -0.003, 0.01)


def simulate(n=6_000, n_events=300, n_sites=60, seed=0):
    rng = np.random.default_rng(seed)
    event, site = np.divmod(rng.choice(n_events * n_sites, n, replace=False), n_sites)
    magnitude, depth = rng.uniform(4.3, 7.5, n_events)[event], rng.uniform(3, 90, n_events)[event]
    r = np.exp(rng.uniform(np.log(10), np.log(300), n))
    m = magnitude - 6
    c = PLANTED
    median = c[0] + c[1] * m + c[2] * m**2 + (c[3] + c[4] * m) * np.log(r) + c[5] * r + c[6] * depth
    scatter = (
        rng.normal(0, 0.35, n_events)[event] + rng.normal(0, 0.42, n_sites)[site] + rng.normal(0, 0.4, n)
    )
    return pd.DataFrame(
        {
            "event_id": [f"e{number}" for number in event],
            "site_id": [f"s{number}" for number in site],
            "magnitude": magnitude,
            "depth_km": depth,
            "r_hyp_km": r,
            "ln_im": median + scatter,
        }
    )


def test_median_by_hand():
    model = ergodic.ErgodicModel(PLANTED, 0.3, 0.4, 0.5, pd.Series({"s0": 0.2}), pd.Series())
    # -3 + 1.2 - 0.1 + (-1.3 + 0.1) ln 100 - 0.003 x 100 + 0.01 x 10, ln 100 = 4.605170186
    assert model.median(7.0, 100.0, 10.0) == pytest.approx(-2.1 - 5.526204223)
    # Nearer than 1 km counts as 1 km: -3 - 0.003 + 0.05
    np.testing.assert_allclose(model.median(6.0, np.array([0.2, 1.0]), 5.0), [-2.953, -2.953])


def test_median_of_a_map_has_its_shape():
    model = ergodic.ErgodicModel(PLANTED, 0.3, 0.4, 0.5, pd.Series(), pd.Series())
    r = np.linspace(5, 200, 12).reshape(3, 4)
    np.testing.assert_allclose(model.median(6.5, r, 20.0)[2, 1], model.median(6.5, r[2, 1], 20.0))


def test_standard_deviations_add_in_squares():
    model = ergodic.ErgodicModel(PLANTED, 0.3, 1.2, 0.4, pd.Series(), pd.Series())
    assert model.sigma == pytest.approx(1.3)
    assert model.sigma_known_site == pytest.approx(0.5)


def test_terms_are_plain_arithmetic():
    # A fraction knows nothing of numpy.
    parts = ergodic.terms(Fraction(7), Fraction(10), Fraction(5, 2), Fraction(20))
    assert parts == [1, 1, 1, 2.5, 2.5, 10, 20]
    assert len(ergodic.TERMS) == len(parts)


def test_fit_recovers_what_was_planted():
    records = simulate()
    model = ergodic.fit(records)
    assert (model.tau, model.phi_s2s, model.phi_ss) == pytest.approx((0.35, 0.42, 0.4), rel=0.15)
    # Coefficients trade off against each other; the medians they give do not.
    truth = ergodic.ErgodicModel(PLANTED, 0, 0, 0, model.site_terms, model.event_terms)
    grid = np.meshgrid([4.5, 5.5, 6.5, 7.5], [15.0, 50.0, 250.0], [10.0, 80.0])
    np.testing.assert_allclose(model.median(*grid), truth.median(*grid), atol=0.25)
    np.testing.assert_allclose(model.coefficients[3:6], PLANTED[3:6], atol=0.05)
    assert set(model.site_terms.index) == set(records["site_id"])
    assert set(model.event_terms.index) == set(records["event_id"])


def test_site_terms_belong_to_their_sites():
    records = simulate(2_000, 100, 40)
    loud = records["site_id"] == "s7"
    raised = ergodic.fit(records.assign(ln_im=records["ln_im"] + 1.0 * loud)).site_terms
    assert (raised - ergodic.fit(records).site_terms).idxmax() == "s7"


def test_event_terms_belong_to_their_events():
    records = simulate(2_000, 100, 40)
    strong = records["event_id"] == "e7"
    raised = ergodic.fit(records.assign(ln_im=records["ln_im"] + 1.0 * strong)).event_terms
    assert (raised - ergodic.fit(records).event_terms).idxmax() == "e7"


@pytest.mark.parametrize(
    "column, value, silent",
    [
        ("depth_km", 10.0, [6]),
        ("magnitude", 5.0, [1, 2, 4]),
        ("magnitude", 6.0, [1, 2, 4]),
        ("depth_km", 0.0, [6]),
    ],
)
def test_a_term_without_spread_is_left_out(column, value, silent):
    model = ergodic.fit(simulate(2_000, 100, 40).assign(**{column: value}))
    assert [number for number, c in enumerate(model.coefficients) if c == 0] == silent
    assert np.isfinite(model.median(5.0, 50.0, 10.0))


def test_two_magnitudes_give_a_slope_but_no_curvature():
    records = simulate(2_000, 100, 40)
    model = ergodic.fit(records.assign(magnitude=np.where(records["magnitude"] > 6, 6.5, 5.0)))
    assert [number for number, c in enumerate(model.coefficients) if c == 0] == [2]


@pytest.mark.parametrize("column, shown", [("depth_km", "Z"), ("r_hyp_km", "ln R"), ("ln_im", "y")])
def test_a_missing_value_is_named(column, shown):
    records = simulate(500, 50, 20)
    records.loc[4, column] = np.nan
    with pytest.raises(DataError, match=f"row 4, column {shown} holds nan"):
        ergodic.fit(records)


def test_no_record_is_refused():
    with pytest.raises(DataError, match="at least 2"):
        ergodic.fit(simulate(500, 50, 20).iloc[:0])
