"""Empirical site terms, and where they meet the maps."""

import numpy as np
import pandas as pd
import pytest

from tfgmm.runs.folds import Fold
from tfgmm.site_amplification import site_terms
from tfgmm.site_amplification.estimate import Estimate
from tfgmm.site_amplification.site_terms import SiteTerms

N_SITES, N_EVENTS = 40, 60


@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, pd.Series]:
    """Records of sites with known terms on a square of 100 km."""
    rng = np.random.default_rng(0)
    event, site = (index.ravel() for index in np.indices((N_EVENTS, N_SITES)))
    x, y = rng.uniform(0, 100, (2, N_SITES))
    term = pd.Series(rng.normal(0, 0.4, N_SITES), [f"S{i:02d}" for i in range(N_SITES)])
    magnitude, depth = rng.uniform(4, 7, N_EVENTS)[event], rng.uniform(5, 60, N_EVENTS)[event]
    r_hyp = rng.uniform(20, 200, len(event))
    median = 1.1 * (magnitude - 6) - 1.3 * np.log(r_hyp)
    noise = rng.normal(0, 0.35, N_EVENTS)[event] + rng.normal(0, 0.3, len(event))
    records = pd.DataFrame(
        {
            "event_id": [f"E{i:02d}" for i in event],
            "site_id": term.index[site],
            "station_id": term.index[site],
            "magnitude": magnitude,
            "depth_km": depth,
            "r_hyp_km": r_hyp,
            "ln_im": median + term.to_numpy()[site] + noise,
            "x_km": x[site],
            "y_km": y[site],
        }
    )
    return records.sample(frac=0.5, random_state=1), term


def test_terms_are_found_with_their_stated_error(planted):
    records, term = planted
    found = SiteTerms.fit(records).table
    error = found["site_mean"] - term - (found["site_mean"] - term).mean()
    assert (error**2 / found["site_mean_variance"]).mean() == pytest.approx(1, abs=0.4)
    assert found["site_term"].std() < found["site_mean"].std()  # shrunken
    assert found["site_records"].sum() == len(records)
    assert site_terms.correlation(found["site_term"], term) > 0.97


def folds() -> list[Fold]:
    events = pd.Series("training", [f"E{i:02d}" for i in range(N_EVENTS)])
    events.iloc[-20:] = "validation"
    found = []
    for chunk in (0, 1):
        stations = pd.Series("training", [f"S{i:02d}" for i in range(N_SITES)])
        stations.iloc[chunk * 10 : chunk * 10 + 10] = "validation"
        found.append(Fold(chunk, events, stations))
    return found


def test_a_pixel_is_trained_stations_what_trained_in_any_fold(planted):
    records, _ = planted
    found = site_terms.trained_stations(records, folds()).set_index("station_id")
    expected = records[records["event_id"] < "E40"].groupby("station_id").size()
    pd.testing.assert_series_equal(found["records"], expected, check_names=False)
    one = records[records["station_id"] == "S03"].iloc[0]
    assert found.loc["S03", ["x_km", "y_km"]].tolist() == [one["x_km"], one["y_km"]]


def test_held_out_stations_know_their_fold_and_distance(planted):
    records, _ = planted
    stations = records.drop_duplicates("station_id").sort_values("station_id").assign(network="kik")
    stations["network"] = np.where(stations["station_id"] == "S05", "meso", "kik")
    found = site_terms.held_out(stations, folds(), "kik").set_index("station_id")
    assert set(found.index) == {f"S{i:02d}" for i in range(20)} - {"S05"}
    assert found.loc["S03", "chunk"] == 0 and found.loc["S13", "chunk"] == 1
    place = stations.set_index("station_id")[["x_km", "y_km"]]
    others = place.drop([f"S{i:02d}" for i in range(10)])  # S13 trains while S03 is held out
    assert found.loc["S03", "nearest_km"] == pytest.approx(
        np.hypot(*(others - place.loc["S03"]).T.to_numpy()).min()
    )


def test_interpolation_is_judged_by_the_networks_that_never_saw_the_site(planted):
    """The map of its own chunk is wrong by 0.5 at each site, that of the other exact."""
    _, term = planted
    rng, size = np.random.default_rng(2), N_SITES
    held = pd.DataFrame(
        {
            "site_id": term.index,
            "chunk": np.arange(size) % 2,
            "row": 0,
            "col": range(size),
            "nearest_km": 50.0,
        }
    )
    wrong = rng.choice([-0.5, 0.5], size)
    own = np.arange(size) % 2 == np.arange(2)[:, None]
    members = (term.to_numpy() + own * wrong)[:, None, None, :]
    terms = pd.DataFrame({"site_mean": term, "site_mean_variance": 1e-4})

    def fitted(maps):
        estimate = Estimate(np.concatenate([maps, maps], axis=1), np.zeros((2, 1, size)), 0.0)
        interpolation = site_terms.interpolation_variance(estimate, held, terms, alone=0.0)
        return interpolation.variance(50.0), estimate.jackknife_variance().mean()

    found, jackknife = fitted(members)
    assert jackknife > 0.05  # what it holds is not fitted again: the two add up to what was found
    assert found + jackknife == pytest.approx(0.25, abs=0.03)
    assert fitted(members[::-1])[0] < 0.01


def test_pairs_of_unknown_value_are_left_out():
    assert site_terms.correlation([1, np.nan, 2, 5], [1, 3, 2, 5]) == pytest.approx(1)
    assert np.isnan(site_terms.correlation([1, np.nan, 2], [1, 3, 2]))
