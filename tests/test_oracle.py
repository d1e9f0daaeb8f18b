"""The oracle is kriging with the covariance that was planted, and sees the records only."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from tfgmm.core.coast import footprint
from tfgmm.simulation import oracle, simulated, truth
from tfgmm.simulation.oracle import Oracle, map_errors
from tfgmm.simulation.simulated import SimulationSettings
from tfgmm.simulation.truth import Truth

LON, LAT = np.array([139.6, 139.9, 140.1, 140.3]), np.array([35.5, 35.9, 35.7, 36.2])
TERMS = ("site_field", "source_field", "path_field")


@pytest.fixture(scope="module", autouse=True)
def few_waves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "WAVES", 40)
        yield


@pytest.fixture(scope="module")
def made(few_waves):
    return simulated.simulate(
        SimulationSettings(events=60, kik_stations=20, meso_events=3, meso_stations=40)
    )


def ln(dataset, im: str) -> pd.DataFrame:
    return dataset.records[["event_id", "station_id"]].assign(ln_im=np.log(dataset.records[im]))


def fit(made, im: str = "PGA", events=None, **options) -> Oracle:
    """The oracle of all records, or of those of some events."""
    dataset, planted = made
    table = ln(dataset, im)
    if events is not None:
        table = table[table["event_id"].isin(events["event_id"])]
    return Oracle.fit(planted, im, table, dataset.events, dataset.stations, **options)


def covariance(planted: Truth, im: str, a, b) -> np.ndarray:
    """Of the map part between pairs (epicentres, places), each [n, 2] in km."""

    def turns(field, *planes):
        return np.exp(1j * sum(x @ k.T for x, k in zip(planes, field.wavenumbers, strict=True)))

    def between(field, left, right):
        return (left @ right.conj().T).real / len(field.wavenumbers[0])

    site, source, path = planted.site_field, planted.source_field, planted.path_field
    of_box = turns(site, truth.project(*truth.land_of_box())).mean(axis=0)
    return (
        planted.correlated_scale(im) ** 2
        * between(site, turns(site, a[1]) - of_box, turns(site, b[1]) - of_box)
        + truth.PHI_SOURCE**2 * between(source, turns(source, a[0]), turns(source, b[0]))
        + truth.PHI_PATH**2 * between(path, turns(path, *a), turns(path, *b))
    )


def kriged(made, im: str, tau: float, events: pd.DataFrame) -> np.ndarray:
    """The posterior mean by a dense matrix of all records."""
    dataset, planted = made
    table = ln(dataset, im).merge(dataset.events, on="event_id").merge(dataset.stations, on="station_id")
    seen = tuple(truth.project(table[f"longitude_{s}"], table[f"latitude_{s}"]) for s in "xy")
    same_event, same_site = (
        table[c].to_numpy()[:, None] == table[c].to_numpy() for c in ("event_id", "site_id")
    )
    matrix = covariance(planted, im, seen, seen) + tau**2 * same_event + truth.PHI_NUGGET**2 * same_site
    matrix += truth.PHI_SS**2 * np.eye(len(table))

    def known(of_events, lon, lat):
        layers = planted.site_parts(lon, lat)[0, :, truth.IMS.index(im)]
        return planted.ergodic_median(im, of_events, lon, lat) + layers

    prior = known(dataset.events, dataset.stations["longitude"], dataset.stations["latitude"])
    row = dataset.events.set_index("event_id").index.get_indexer(table["event_id"])
    col = dataset.stations.set_index("station_id").index.get_indexer(table["station_id"])
    weights = np.linalg.solve(matrix, table["ln_im"] - prior[row, col])
    epicentres, points = truth.project(events["longitude"], events["latitude"]), truth.project(LON, LAT)
    pairs = np.array(list(itertools.product(epicentres, points)))
    correction = covariance(planted, im, (pairs[:, 0], pairs[:, 1]), seen) @ weights
    return known(events, LON, LAT) + correction.reshape(len(events), len(LON))


@pytest.mark.parametrize(
    ("im", "tau"), [("PGA", 0.35), ("PGV", 0.35), ("SA(2.0)", 0.35), ("PGA", 0.0), ("PGA", 4.0)]
)
def test_is_dense_kriging_with_the_covariance_of_the_waves(made, monkeypatch, im, tau):
    monkeypatch.setattr(truth, "TAU", tau)
    events = made[0].events.iloc[[3, 30, 61]].assign(longitude=[139.8, 140.4, 141.0])
    assert fit(made, im).median(events, LON, LAT) == pytest.approx(kriged(made, im, tau, events), abs=1e-6)


def test_event_term_without_bounds_hides_a_shift_of_all_records_of_an_event(made, monkeypatch):
    dataset, planted = made
    table = ln(dataset, "PGA")
    shift = table["event_id"].map(dict.fromkeys(table["event_id"].unique()[::3], 0.5)).fillna(0.0)
    shifted = table.assign(ln_im=table["ln_im"] + shift)

    def median(records):
        return Oracle.fit(planted, "PGA", records, dataset.events, dataset.stations).median(
            dataset.events, LON, LAT
        )

    assert np.abs(median(shifted) - median(table)).max() > 0.01
    monkeypatch.setattr(truth, "TAU", 1e5)
    assert median(shifted) == pytest.approx(median(table), abs=1e-6)


def test_blocks_of_events_change_nothing(made, monkeypatch):
    whole = fit(made)
    monkeypatch.setattr(oracle, "_ROWS", 25)
    sizes = []

    def watch(blocks):
        sizes.extend(map(len, blocks))
        return blocks

    again = fit(made, watch=watch)
    assert len(sizes) > 10 and sum(sizes) == len(made[0].records)
    pd.testing.assert_series_equal(again.nuggets, whole.nuggets, atol=1e-10)
    events = made[0].events[:5]
    assert again.median(events, LON, LAT) == pytest.approx(whole.median(events, LON, LAT), abs=1e-9)


def test_order_of_records_changes_nothing(made):
    dataset, planted = made
    mixed = dataclasses.replace(dataset, records=dataset.records.sample(frac=1, random_state=1))
    events = dataset.events[:5]
    assert fit((mixed, planted)).median(events, LON, LAT) == pytest.approx(
        fit(made).median(events, LON, LAT), abs=1e-9
    )


def test_values_that_are_unknown_are_never_looked_at(made):
    dataset, planted = made
    blind = Truth(planted.seed, pd.DataFrame(), pd.DataFrame())
    assert blind.correlated_scale("PGA") == planted.correlated_scale("PGA")
    for name in TERMS:
        field = getattr(blind, name)
        blind.__dict__[name] = dataclasses.replace(field, weights=np.full_like(field.weights, np.nan))
    result = fit((dataset, blind)).median(dataset.events[:5], LON, LAT)
    np.testing.assert_array_equal(result, fit(made).median(dataset.events[:5], LON, LAT))


def test_records_bring_it_near_the_truth():
    made = simulated.simulate(
        SimulationSettings(events=400, kik_stations=40, meso_events=10, meso_stations=80)
    )
    dataset, planted = made
    held_out = dataset.events[::5]
    seen = dataset.events.drop(held_out.index)
    inside = footprint(dataset.stations, truth.GRID)
    lon, lat = (degrees[inside][::40] for degrees in truth.GRID.lonlat(truth.GRID.output_size))
    median = planted.median("PGA", held_out, lon, lat)
    result, fewer = fit(made, events=seen), fit(made, events=seen[::4])
    rmse, rmse_fewer = (map_errors(o.median(held_out, lon, lat), median)["rmse"] for o in (result, fewer))
    ergodic = map_errors(planted.ergodic_median("PGA", held_out, lon, lat), median)["rmse"]
    assert rmse < 0.9 * rmse_fewer
    assert rmse < 0.7 * ergodic
    nuggets = planted.nuggets["PGA"].groupby(dataset.stations.set_index("station_id")["site_id"]).first()
    assert np.corrcoef(result.nuggets, nuggets[result.nuggets.index])[0, 1] > 0.6


def test_errors_of_maps():
    planted = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    error = np.array([[0.3, 0.3, 0.3], [0.0, -0.1, 0.4]])
    result = map_errors(planted + error, planted)
    assert result == pytest.approx(
        {
            "rmse": np.sqrt((3 * 0.09 + 0.01 + 0.16) / 6),
            "rmse_pattern": np.sqrt((0.01 + 0.04 + 0.09) / 6),
            "bias": 0.15,
        }
    )
