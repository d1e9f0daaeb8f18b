"""Source and path terms of near sources and stations."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from tfgmm.core.errors import DataError
from tfgmm.stats import path_terms
from tfgmm.stats.path_terms import Covariance, PathTerms, Residuals

PLANTED = Covariance(
    event=0.04, source=0.03, own=0.06, path=0.05, within=0.05, noise=0.02, source_km=30.0, site_km=20.0
)
SOURCE, SITE = ["event_x_km", "event_y_km", "depth_km"], ["x_km", "y_km"]


def records(
    n_events: int, n_stations: int, inits: int = 1, extent_km: float = 80.0, seed=0
) -> pd.DataFrame:
    """Residuals of the planted covariance; each member knows seven in ten of them."""
    rng = np.random.default_rng(seed)
    source = np.c_[rng.uniform(0, extent_km, (n_events, 2)), rng.uniform(5, 40, n_events)]
    site = rng.uniform(0, extent_km, (n_stations, 2))
    h, g = PLANTED.source_correlation(source, source), PLANTED.site_correlation(site, site)

    def drawn(variance, of_events, of_stations):
        left, right = (
            np.linalg.cholesky(one + 1e-6 * np.eye(len(one))) for one in (of_events, of_stations)
        )
        return np.sqrt(variance) * left @ rng.normal(size=(n_events, n_stations)) @ right.T

    of_event, of_station, common = np.eye(n_events), np.eye(n_stations), np.ones((n_stations, n_stations))
    told = drawn(PLANTED.source, h, common) + drawn(PLANTED.path, h, g) + drawn(PLANTED.own, h, of_station)
    left = (
        drawn(PLANTED.event, of_event, common)
        + drawn(PLANTED.within, of_event, g)
        + drawn(PLANTED.noise, of_event, of_station)
    )
    event, station = (index.ravel() for index in np.indices((n_events, n_stations)))
    table = pd.DataFrame({"told": told.ravel(), "residual": (told + left).ravel(), "chunk": 0})
    table["event_id"] = np.char.add("E", event.astype(str))
    table["station_id"] = np.char.add("S", station.astype(str))
    table[SOURCE], table[SITE] = source[event], site[station]
    members = [table.assign(init=init, known=rng.random(len(table)) < 0.7) for init in range(inits)]
    return pd.concat(members, ignore_index=True)


@pytest.fixture(scope="module")
def whole():
    return records(60, 25, inits=2)


@pytest.fixture(scope="module")
def table(whole):
    """What the members know."""
    return whole[whole["known"]]


def dense(table: pd.DataFrame, other: pd.DataFrame | None = None, covariance=PLANTED) -> np.ndarray:
    """The covariance of all records with all (others), [n, m], one by one."""
    one, two = table, table if other is None else other
    between = pd.DataFrame(
        {
            "source_class": np.not_equal.outer(
                one["event_id"].to_numpy(), two["event_id"].to_numpy()
            ).ravel(),
            "site_class": np.not_equal.outer(
                one["station_id"].to_numpy(), two["station_id"].to_numpy()
            ).ravel(),
            "source_km": cdist(one[SOURCE], two[SOURCE]).ravel(),
            "site_km": cdist(one[SITE], two[SITE]).ravel(),
        }
    )
    return covariance.at(between).reshape(len(one), len(two))


@pytest.mark.slow
def test_classes_are_means_of_their_pairs(table):
    classes = path_terms.covariance_by_distance(Residuals.of(table, table["residual"]))
    pairs = table.merge(table, on=["chunk", "init"], suffixes=("", "_2"))
    source, site = (
        np.sqrt(sum((pairs[name] - pairs[f"{name}_2"]) ** 2 for name in names)) for names in (SOURCE, SITE)
    )
    same_event, same_station = (pairs[name] == pairs[f"{name}_2"] for name in ("event_id", "station_id"))
    product = pairs["residual"] * pairs["residual_2"]
    assert classes["pairs"].sum() == ((source < 100) & (site < 60)).sum()
    for one in classes.itertuples():
        of_class = pd.Series(True, pairs.index)
        for distance, borders, number, same in (
            (source, path_terms.SOURCE_CLASSES_KM, one.source_class, same_event),
            (site, path_terms.SITE_CLASSES_KM, one.site_class, same_station),
        ):
            inside = (distance >= borders[number - 1]) & (distance < borders[number]) & ~same
            of_class &= inside if number else same
        assert one.pairs == of_class.sum()
        assert one.covariance == pytest.approx(product[of_class].mean(), abs=1e-6)
        assert one.site_km == pytest.approx(site[of_class].mean(), abs=1e-6)
        assert one.source_km == pytest.approx(source[of_class].mean(), abs=1.5)


def test_planted_covariance_is_found():
    draws = pd.concat(
        [
            path_terms.covariance_by_distance(Residuals.of(one, one["residual"]))
            for one in (records(250, 60, extent_km=200.0, seed=seed) for seed in range(4))
        ]
    )
    fitted = Covariance.fit(draws)
    for name in ("event", "source", "own", "path", "within"):
        assert getattr(fitted, name) == pytest.approx(getattr(PLANTED, name), abs=0.02)
    assert fitted.source_km == pytest.approx(PLANTED.source_km, rel=0.3)
    assert fitted.site_km == pytest.approx(PLANTED.site_km, rel=0.3)


def test_from_few_pairs_nothing_is_told():
    few = records(4, 5)
    fitted = PathTerms.fit(few, few["residual"])
    assert fitted.covariance == Covariance()
    assert not fitted.shared([[10, 10, 10]], [[5, 5]]).any()
    assert not fitted.own([[10, 10, 10]], ["S1"]).any()


@pytest.fixture(scope="module")
def planted(table):
    """Terms with the planted covariance."""
    residuals = Residuals.of(table, table["residual"])
    where = residuals.source_km, residuals.site_km, residuals.stations, residuals.members
    return PathTerms(PLANTED, pd.DataFrame(), *where, path_terms._weights(PLANTED, residuals))


def test_weights_solve_the_equations_of_all_records(planted, table):
    for number, member in enumerate(planted.members):
        of_member = table["init"] == member[1]
        event, station = (pd.factorize(table[name])[0][of_member] for name in ("event_id", "station_id"))
        of_member = table[of_member]
        expected = np.linalg.solve(dense(of_member), of_member["residual"])
        result = planted.weights[number, event, station]
        np.testing.assert_allclose(result, expected, atol=5e-3 * np.abs(expected).max())
        assert np.count_nonzero(planted.weights[number]) == len(of_member)


def test_terms_are_the_conditional_mean(planted, table):
    rng = np.random.default_rng(4)
    source, place = rng.uniform(0, 60, (3, 3)), rng.uniform(0, 60, (2, 4, 2))
    stations = ["S3", "elsewhere", "S11"]
    shared, own = planted.shared(source, place), planted.own(source, stations)
    assert shared.shape == (2, 3, 2, 4) and own.shape == (2, 3, 3)
    told = dataclasses.replace(PLANTED, event=0.0, own=0.0, within=0.0, noise=0.0)
    alone = dataclasses.replace(told, source=0.0, path=0.0, own=PLANTED.own)
    for number, (_, init) in enumerate(planted.members):
        known = table[table["init"] == init]
        weight = np.linalg.solve(dense(known), known["residual"])
        wanted = pd.DataFrame(np.repeat(source, 8, axis=0), columns=SOURCE)
        wanted[SITE] = np.tile(place.reshape(-1, 2), (3, 1))
        wanted = wanted.assign(event_id="new", station_id="new")
        expected = dense(wanted, known, told) @ weight
        np.testing.assert_allclose(shared[number].ravel(), expected, atol=3e-3)
        wanted = pd.DataFrame(np.repeat(source, 3, axis=0), columns=SOURCE)
        wanted = wanted.assign(event_id="new", station_id=stations * 3, x_km=0.0, y_km=0.0)
        np.testing.assert_allclose(own[number].ravel(), dense(wanted, known, alone) @ weight, atol=3e-3)
    assert not own[:, :, 1].any()


def test_they_tell_of_records_that_are_not_known(planted, whole):
    """Of events with known records, too, which hold part of the event's own terms."""
    one = whole[(whole["init"] == 0) & ~whole["known"]]
    shared, own = planted.of_records(one)
    result = shared + own
    assert np.corrcoef(result, one["told"])[0, 1] > 0.7
    assert (one["told"] - result).std() < 0.75 * one["told"].std()


def test_many_places_are_those_of_a_few(planted, monkeypatch):
    source, place = [[10.0, 20.0, 5.0]], np.random.default_rng(1).uniform(0, 60, (7, 2))
    whole = planted.shared(source, place)
    monkeypatch.setattr(path_terms, "_PLACES_AT_ONCE", 3)
    np.testing.assert_allclose(planted.shared(source, place), whole, rtol=1e-5)


def test_one_member_alone(planted):
    alone = planted.of_members([(0, 1)])
    source, place = [[10.0, 20.0, 5.0]], [[5.0, 6.0]]
    np.testing.assert_allclose(alone.shared(source, place)[0], planted.shared(source, place)[1], rtol=1e-5)
    turned = planted.of_members([(0, 1), (0, 0)])
    np.testing.assert_allclose(turned.own(source, ["S1"]), planted.own(source, ["S1"])[::-1], rtol=1e-5)


def test_those_of_records_are_those_of_their_places(planted, whole):
    rows = whole.sample(20, random_state=0)
    shared, own = planted.of_records(rows)
    for row, one in enumerate(rows.itertuples()):
        source, site = [[one.event_x_km, one.event_y_km, one.depth_km]], [[one.x_km, one.y_km]]
        assert shared[row] == pytest.approx(planted.shared(source, site)[one.init, 0, 0], abs=1e-5)
        assert own[row] == pytest.approx(planted.own(source, [one.station_id])[one.init, 0, 0], abs=1e-5)


def test_no_convergence_is_an_error(monkeypatch, table):
    monkeypatch.setattr(path_terms, "_MAX_STEPS", 1)
    with pytest.raises(DataError, match="conjugate gradients do not converge in 1 steps;"):
        path_terms._weights(PLANTED, Residuals.of(table, table["residual"]))


def test_without_covariance_all_is_noise(table):
    """Products of residuals that are negative in every class of distance fit no variance."""
    classes = path_terms.covariance_by_distance(Residuals.of(table, table["residual"]))
    assert (classes["pairs"] >= path_terms.PAIRS[0]).sum() > 8
    assert Covariance.fit(classes.assign(covariance=-0.1)) == Covariance()
