import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import statsmodels.formula.api as smf
from hypothesis import given, settings

from tfgmm.core.errors import DataError
from tfgmm.stats import mixed_effects

TRUTH = {"tau": 0.35, "phi_s2s": 0.42, "phi_ss": 0.5}


def simulate(n, n_events, n_sites, seed=0, tau=0.35, phi_s2s=0.42, phi_ss=0.5):
    """Design (intercept, event-wise column, record-wise column), y, event and site."""
    rng = np.random.default_rng(seed)
    event, site = np.divmod(rng.choice(n_events * n_sites, n, replace=False), n_sites)
    design = np.column_stack([np.ones(n), rng.normal(0, 1, n_events)[event], rng.uniform(2, 6, n)])
    scatter = rng.normal(0, tau, n_events)[event] + rng.normal(0, phi_s2s, n_sites)[site]
    y = design @ [1.0, 0.7, -1.3] + scatter + rng.normal(0, phi_ss, n)
    return design, y, np.char.add("e", event.astype(str)), np.char.add("s", site.astype(str))


def dense(design, y, event, site, tau, phi_s2s, phi_ss):
    """The same by generalised least squares with the whole covariance matrix of the records."""
    z_event, z_site = (pd.get_dummies(ids).to_numpy(float) for ids in (event, site))
    v = tau**2 * z_event @ z_event.T + phi_s2s**2 * z_site @ z_site.T + phi_ss**2 * np.eye(len(y))
    v_inverse = np.linalg.inv(v)
    covariance = np.linalg.inv(design.T @ v_inverse @ design)
    coefficients = covariance @ design.T @ v_inverse @ y
    rest = y - design @ coefficients
    criterion = (
        np.linalg.slogdet(v)[1]
        - np.linalg.slogdet(covariance)[1]
        + rest @ v_inverse @ rest
        + (len(y) - design.shape[1]) * np.log(2 * np.pi)
    )
    return {
        "coefficients": coefficients,
        "covariance": covariance,
        "event_terms": tau**2 * z_event.T @ v_inverse @ rest,
        "site_terms": phi_s2s**2 * z_site.T @ v_inverse @ rest,
    }, criterion


@pytest.mark.parametrize("shape", [(150, 30, 12), (150, 12, 30)], ids=["more events", "more sites"])
@pytest.mark.parametrize("variances", [(0.35, 0.42, 0.5), (1.5, 0.02, 0.1), (0.0, 0.4, 0.5)], ids=str)
def test_solution_equals_dense_generalised_least_squares(shape, variances):
    data = simulate(*shape)
    solution = mixed_effects.MixedModelEquations(*data).solve(*variances)
    expected, _ = dense(*data, *variances)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(solution, name), value, rtol=1e-8, atol=1e-8, err_msg=name)


def test_a_pair_with_two_records_counts_twice():
    design, y, event, site = simulate(60, 8, 9)
    data = [np.concatenate([part, part[:7]]) for part in (design, y + np.sin(np.arange(60)), event, site)]
    solution = mixed_effects.MixedModelEquations(*data).solve(0.3, 0.4, 0.5)
    expected, _ = dense(*data, 0.3, 0.4, 0.5)
    np.testing.assert_allclose(solution.site_terms, expected["site_terms"], atol=1e-8)


@pytest.mark.parametrize("ratios", [(0.7, 0.8), (3.0, 0.1), (0.0, 0.0)], ids=str)
def test_criterion_is_the_restricted_likelihood(ratios):
    data = simulate(150, 30, 12)
    criterion, phi_ss = mixed_effects.MixedModelEquations(*data).profile(*ratios)
    _, expected = dense(*data, ratios[0] * phi_ss, ratios[1] * phi_ss, phi_ss)
    assert criterion == pytest.approx(expected, rel=1e-10)
    for other in (0.99, 1.01):
        sd = phi_ss * other
        assert dense(*data, ratios[0] * sd, ratios[1] * sd, sd)[1] > expected


def test_fit_agrees_with_statsmodels():
    design, y, event, site = simulate(110, 14, 10)
    fitted = mixed_effects.fit(design, y, event, site)
    table = pd.DataFrame({"y": y, "x1": design[:, 1], "x2": design[:, 2], "event": event, "site": site})
    components = {"event": "0 + C(event)", "site": "0 + C(site)"}
    model = smf.mixedlm("y ~ x1 + x2", table, groups=np.ones(len(y)), vc_formula=components, re_formula="0")
    expected = model.fit(reml=True)
    np.testing.assert_allclose(fitted.coefficients, expected.fe_params, rtol=1e-3)
    np.testing.assert_allclose([fitted.tau, fitted.phi_s2s], np.sqrt(expected.vcomp), rtol=2e-3)
    assert fitted.phi_ss == pytest.approx(np.sqrt(expected.scale), rel=1e-3)
    terms = np.concatenate([fitted.event_terms, fitted.site_terms])
    np.testing.assert_allclose(terms, expected.random_effects[1.0], atol=1e-3)


def test_planted_variances_and_terms_are_recovered():
    fitted = mixed_effects.fit(*simulate(12_000, 400, 150))
    for name, planted in TRUTH.items():
        assert getattr(fitted, name) == pytest.approx(planted, rel=0.12), name
    assert fitted.phi_ss == pytest.approx(TRUTH["phi_ss"], rel=0.02)
    error = (fitted.coefficients - [1.0, 0.7, -1.3]) / np.sqrt(np.diag(fitted.covariance))
    assert np.abs(error).max() < 3.5
    assert len(fitted.event_terms) == 400
    assert fitted.site_terms.index[:3].tolist() == ["s0", "s1", "s10"]


@pytest.mark.parametrize("silent", ["tau", "phi_s2s"])
def test_an_absent_variance_ends_at_the_bound(silent):
    design, y, event, site = simulate(800, 40, 20, **{silent: 0.0})
    ids = event if silent == "tau" else site
    y = y - pd.Series(y - design @ [1.0, 0.7, -1.3]).groupby(ids).transform("mean")
    fitted = mixed_effects.fit(design, y, event, site)
    assert getattr(fitted, silent) < 2e-3 * fitted.phi_ss
    terms = fitted.event_terms if silent == "tau" else fitted.site_terms
    assert np.abs(terms).max() < 1e-4


def test_no_record_scatter_ends_at_the_other_bound():
    fitted = mixed_effects.fit(*simulate(300, 20, 30, phi_ss=0.0))
    assert fitted.phi_ss < 2e-3 * TRUTH["phi_s2s"]
    np.testing.assert_allclose(fitted.coefficients[2], -1.3, atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 100), shift=st.floats(-50, 50))
def test_a_constant_moves_the_intercept_only(seed, shift):
    design, y, event, site = simulate(200, 20, 15, seed)
    still, moved = (mixed_effects.fit(design, y + constant, event, site) for constant in (0.0, shift))
    np.testing.assert_allclose(moved.coefficients - still.coefficients, [shift, 0, 0], atol=1e-5)
    np.testing.assert_allclose(moved.site_terms, still.site_terms, atol=1e-5)
    assert moved.phi_ss == pytest.approx(still.phi_ss, rel=1e-5)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 100))
def test_the_order_of_the_records_does_not_matter(seed):
    data = simulate(200, 20, 15, seed)
    order = np.random.default_rng(seed).permutation(200)
    still, moved = mixed_effects.fit(*data), mixed_effects.fit(*(part[order] for part in data))
    np.testing.assert_allclose(moved.coefficients, still.coefficients, atol=1e-5)
    pd.testing.assert_series_equal(moved.event_terms, still.event_terms, rtol=0, atol=1e-5)


def test_criterion_is_smallest_at_the_fit():
    data = simulate(150, 30, 12)
    fitted, equations = mixed_effects.fit(*data), mixed_effects.MixedModelEquations(*data)
    ratios = np.array([fitted.tau, fitted.phi_s2s]) / fitted.phi_ss
    slope = scipy.optimize.approx_fprime(np.log(ratios), lambda x: equations.profile(*np.exp(x))[0], 1e-5)
    np.testing.assert_allclose(slope, 0, atol=2e-3)


def break_design(value):
    def do(design, y, event, site):
        design[3, 2] = value
        return pd.DataFrame(design, columns=["1", "M", "ln R"]), y, event, site

    return do


BAD = {
    "missing in the design": (break_design(np.nan), "row 3, column ln R holds nan"),
    "infinite in the design": (break_design(-np.inf), "row 3, column ln R holds -inf"),
    "infinite y": (
        lambda d, y, e, s: (d, np.where(np.arange(len(y)) == 5, np.inf, y), e, s),
        "row 5, column y",
    ),
    "event unknown": (lambda d, y, e, s: (d, y, [None, *e[1:]], s), "row 0, column event"),
    "one event": (lambda d, y, e, s: (d, y, ["a"] * len(y), s), "have 1 event"),
    "one site": (lambda d, y, e, s: (d, y, e, ["a"] * len(y)), "have 1 site"),
    "no record": (lambda d, y, e, s: (d[:0], y[:0], e[:0], s[:0]), "have 0 event"),
    "dependent": (
        lambda d, y, e, s: (np.column_stack([d, d[:, 1] - 3]), y, e, s),
        "column 3 is a combination",
    ),
    "no scatter": (lambda d, y, e, s: (d, d @ [1.0, 2.0, 3.0], e, s), "explains y exactly"),
    "all zero": (lambda d, y, e, s: (d, y * 0, e, s), "explains y exactly"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD)
def test_bad_input_is_refused(spoil, message):
    with pytest.raises(DataError, match=message):
        mixed_effects.fit(*spoil(*simulate(100, 20, 15)))


def test_independent_columns_keeps_the_first_of_those_that_say_the_same():
    x = np.random.default_rng(0).normal(size=(50, 2))
    one = np.ones(50)
    columns = np.column_stack([one, one * 0, x[:, 0], 3 * one - 1e3 * x[:, 0], 1e-9 * x[:, 1]])
    assert mixed_effects.independent_columns(columns).tolist() == [True, False, True, False, True]


def test_row_labels_of_the_tables_do_not_matter():
    design, y, event, site = simulate(100, 20, 15)
    label = np.arange(100)[::-1] + 7
    fitted = mixed_effects.fit(
        pd.DataFrame(design, label), pd.Series(y, label), pd.Series(event, label[::-1]), pd.Series(site)
    )
    expected = mixed_effects.fit(design, y, event, site)
    np.testing.assert_allclose(fitted.coefficients, expected.coefficients)
