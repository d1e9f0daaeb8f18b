"""Regression of listed records: planted coefficients, the prior, records that are alike."""

import numpy as np
import pytest
from scipy.stats import norm

from tfgmm.core.errors import DataError
from tfgmm.stats import listed_regression, mixed_effects
from tfgmm.stats.listed_regression import Listing

B = np.array([-4.9, 1.2, -1.4, -0.6])
WIDE = np.eye(4) * 1e-6


def world(n, seed=0, events=200, sites=150):
    rng = np.random.default_rng(seed)
    event, site = rng.integers(0, events, n), rng.integers(0, sites, n)
    r_km = np.exp(rng.uniform(2.5, 5.7, n))
    magnitude = rng.uniform(4.3, 6.5, events)[event]
    x = np.column_stack([np.ones(n), magnitude - 5, np.log(r_km) - 4.3, r_km / 100 - 1])
    y = x @ B + rng.normal(0, 0.4, events)[event] + rng.normal(0, 0.45, sites)[site]
    return x, y + rng.normal(0, 0.55, n), event, site


def listed(x, y, event, site, seed=9):
    kept = np.random.default_rng(seed).uniform(size=len(y)) < norm.cdf((y + 6.62) / 0.45)
    return x[kept], y[kept], event[kept], site[kept]


def z_scores(fit):
    return (fit.coefficients - B) / np.sqrt(np.diag(fit.covariance))


def test_without_prior_and_listing_it_is_restricted_maximum_likelihood():
    x, y, event, site = world(3000)
    fit, reference = listed_regression.fit(x, y, event, site, WIDE), mixed_effects.fit(x, y, event, site)
    np.testing.assert_allclose(fit.coefficients, reference.coefficients, atol=1e-4)
    np.testing.assert_allclose(fit.covariance, reference.covariance, rtol=0.02)
    stddevs = [fit.tau, fit.phi_s2s, fit.phi_ss]
    np.testing.assert_allclose(stddevs, [reference.tau, reference.phi_s2s, reference.phi_ss], rtol=0.005)
    np.testing.assert_allclose(fit.event_terms, reference.event_terms, atol=0.005)
    assert fit.converged


def test_it_does_not_matter_which_effect_is_eliminated():
    x, y, event, site = world(2000, events=40, sites=90)
    fit, swapped = (
        listed_regression.fit(x, y, *ids, WIDE, listing=Listing()) for ids in [(event, site), (site, event)]
    )
    np.testing.assert_allclose(fit.coefficients, swapped.coefficients, atol=1e-6)
    assert np.isclose(fit.tau, swapped.phi_s2s) and np.isclose(fit.log_likelihood, swapped.log_likelihood)


def test_slopes_of_listed_records_are_recovered_where_a_plain_fit_is_biased():
    records = listed(*world(30_000))
    assert len(records[1]) < 27_000
    plain = listed_regression.fit(*records, WIDE)
    fit = listed_regression.fit(*records, WIDE, listing=Listing())
    assert np.abs(z_scores(plain)[2:]).max() > 6
    assert np.abs(z_scores(fit)).max() < 3
    np.testing.assert_allclose([fit.tau, fit.phi_s2s, fit.phi_ss], [0.4, 0.45, 0.55], rtol=0.1)


def test_a_listing_that_lists_everything_changes_nothing():
    x, y, event, site = world(2000)
    plain = listed_regression.fit(x, y, event, site, WIDE)
    fit = listed_regression.fit(x, y, event, site, WIDE, listing=Listing(level=-40.0))
    np.testing.assert_allclose(fit.coefficients, plain.coefficients, atol=1e-6)


def test_a_narrow_prior_wins_and_collinear_columns_are_no_matter():
    x, y, event, site = world(2000)
    precision = np.diag([1e-6, 1e-6, 1e8, 1e-6, 1.0])
    fit = listed_regression.fit(np.column_stack([x, x[:, 1]]), y, event, site, precision)
    assert abs(fit.coefficients[2]) < 0.01  # the prior mean
    assert abs(fit.coefficients[1] + fit.coefficients[4] - 1.2) < 0.3


def test_an_offset_is_part_of_the_median_that_is_truncated():
    x, y, event, site = listed(*world(4000))
    fit = listed_regression.fit(x, y, event, site, WIDE, listing=Listing())
    moved = listed_regression.fit(x, y, event, site, WIDE, listing=Listing(), offset=x @ B)
    np.testing.assert_allclose(moved.coefficients + B, fit.coefficients, atol=2e-3)


def test_records_that_are_alike_count_less():
    x, y, event, site = world(5000)
    # 30 copies of one error each: nothing is known that was not known before.
    copies = [np.repeat(a, 30, axis=0) for a in (x, y, event, site)]
    fit = listed_regression.fit(*copies, WIDE)
    alike = listed_regression.fit(*copies, WIDE, records_alike=30)
    once = listed_regression.fit(x, y, event, site, WIDE)
    ratio = np.diag(alike.covariance)[2:] / np.diag(once.covariance)[2:]
    assert (ratio > 0.8).all() and (np.diag(fit.covariance)[2:] < 0.1 * np.diag(once.covariance)[2:]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_missing_values_are_refused(wrong):
    x, y, event, site = world(100)
    y[3] = wrong
    with pytest.raises(DataError, match="missing or infinite"):
        listed_regression.fit(x, y, event, site, WIDE)


def test_one_event_is_refused():
    x, y, event, site = world(100)
    with pytest.raises(DataError, match="1 events"):
        listed_regression.fit(x, y, event * 0, site, WIDE)
