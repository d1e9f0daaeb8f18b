"""Kriging of site terms against fields of known covariance and dense linear algebra."""

import numpy as np
import pandas as pd
import pytest

from tfgmm.stats import kriging

RANGE_KM, FIELD, NUGGET, PHI_SS = 15.0, 0.30, 0.15, 0.45


def field(xy: np.ndarray, seed: int) -> np.ndarray:
    """One draw of the planted field at points [n, 2]."""
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    covariance = FIELD * np.exp(-distance / RANGE_KM) + 1e-10 * np.eye(len(xy))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).normal(size=len(xy))


def records(n_sites: int = 200, seed: int = 0) -> pd.DataFrame:
    """Sites on a square of 120 km, each with one to thirty residuals."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 120, (n_sites, 2))
    term = field(xy, seed) + np.sqrt(NUGGET) * rng.normal(size=n_sites)
    site = np.repeat(np.arange(n_sites), rng.integers(1, 31, n_sites))
    return pd.DataFrame(
        {
            "site_id": [f"S{number:03d}" for number in site],
            "x_km": xy[site, 0],
            "y_km": xy[site, 1],
            "term": term[site],
            "residual": term[site] + PHI_SS * rng.normal(size=len(site)),
        }
    )


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return records()


@pytest.fixture(scope="module")
def kriged(data) -> kriging.KrigedSites:
    return kriging.fit(data, data["residual"], PHI_SS)


@pytest.mark.slow
def test_planted_covariance_is_recovered():
    """Over a few draws: one draw's own range scatters by a third."""
    result = []
    for seed in range(1, 4):
        drawn = records(200, seed)
        fitted = kriging.fit(drawn, drawn["residual"], PHI_SS)
        result.append((fitted.range_km, fitted.field_variance, fitted.nugget_variance))
    range_km, field_variance, nugget = np.mean(result, axis=0)
    assert range_km == pytest.approx(RANGE_KM, rel=0.35)
    assert field_variance == pytest.approx(FIELD, rel=0.35)
    assert nugget == pytest.approx(NUGGET, rel=0.35)


def dense(kriged, data) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Sites, the covariance of their terms without noise, and the noise, written out."""
    by_site = data.groupby("site_id")
    sites = by_site[["x_km", "y_km", "residual"]].mean()
    xy = sites[["x_km", "y_km"]].to_numpy()
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    terms = kriged.field_variance * np.exp(-distance / kriged.range_km)
    return sites, terms, PHI_SS**2 / by_site.size().to_numpy()


def test_a_trained_site_has_the_posterior_of_field_plus_nugget(kriged, data):
    sites, terms, noise = dense(kriged, data)
    terms += kriged.nugget_variance * np.eye(len(sites))
    gain = terms @ np.linalg.inv(terms + np.diag(noise))
    trained = kriged.trained()
    np.testing.assert_allclose(trained["mean"], gain @ sites["residual"], atol=1e-9)
    np.testing.assert_allclose(trained["variance"], np.diag(terms - gain @ terms), atol=1e-9)


def test_any_other_place_has_that_of_the_field_and_the_nugget_in_its_variance(kriged, data):
    sites, terms, noise = dense(kriged, data)
    place = np.array([[40.0, 70.0]])
    cross = kriged.field_variance * np.exp(
        -np.linalg.norm(sites[["x_km", "y_km"]] - place, axis=1) / kriged.range_km
    )
    gain = cross @ np.linalg.inv(terms + np.diag(noise + kriged.nugget_variance))
    mean, variance = kriged.at(place)
    assert mean == pytest.approx(gain @ sites["residual"], abs=1e-9)
    total = kriged.field_variance + kriged.nugget_variance
    assert variance == pytest.approx(total - gain @ cross, abs=1e-9)


def test_far_away_the_mean_is_zero_and_the_variance_full(kriged):
    mean, variance = kriged.at([[5_000.0, 5_000.0]])
    assert mean == pytest.approx(0, abs=1e-12)
    assert variance == pytest.approx(kriged.field_variance + kriged.nugget_variance)


def test_terms_of_records(kriged, data):
    """Trained sites by name, from whichever station; others by place."""
    asked = data.iloc[[0, -1]].assign(x_km=[1.0, 2.0])
    asked.loc[len(data)] = {"site_id": "new", "x_km": 60.0, "y_km": 50.0}
    mean, variance = kriged.terms(asked)
    trained = kriged.trained().loc[asked["site_id"].iloc[:2]]
    np.testing.assert_array_equal(mean[:2], trained["mean"])
    np.testing.assert_array_equal(variance[:2], trained["variance"])
    assert (mean[2], variance[2]) == tuple(value[0] for value in kriged.at([[60.0, 50.0]]))


def test_means_are_not_shrunken_and_few_records_weigh_less(data):
    fitted = kriging.fit(data, data["residual"], PHI_SS)
    by_site = data.groupby("site_id")["residual"]
    np.testing.assert_allclose(fitted.means, by_site.mean())
    own = fitted.trained()["variance"]
    assert own[by_site.size() == 1].min() > own[by_site.size() > 20].max()


def test_terms_are_better_than_none_and_their_variance_is_right(kriged, data):
    sites = data.drop_duplicates("site_id")
    mean, variance = kriged.terms(sites)
    error = sites["term"] - mean
    assert error.std() < 0.5 * sites["term"].std()
    assert (error**2 / variance).mean() == pytest.approx(1, abs=0.35)


def test_held_out_sites_are_predicted_with_the_stated_variance():
    drawn = records(300, seed=5)
    held = drawn["site_id"] >= "S220"
    kriged = kriging.fit(drawn[~held], drawn.loc[~held, "residual"], PHI_SS)
    sites = drawn[held].drop_duplicates("site_id")
    mean, variance = kriged.terms(sites)
    error = sites["term"] - mean
    assert error.std() < 0.9 * sites["term"].std()
    assert (error**2 / variance).mean() == pytest.approx(1, abs=0.35)


def test_without_a_field_or_a_nugget_nothing_breaks():
    noise = records(60).assign(residual=lambda t: np.random.default_rng(1).normal(0, PHI_SS, len(t)))
    kriged = kriging.fit(noise, noise["residual"], PHI_SS)
    assert np.abs(kriged.trained()["mean"]).max() < 0.2
    assert kriged.field_variance + kriged.nugget_variance < 0.05
