"""Simulated stations and earthquakes stand where those of Kanto do."""

import numpy as np
import pandas as pd
import pydantic
import pytest
from scipy.spatial import KDTree

from tfgmm.core import coast
from tfgmm.core.errors import UsageError
from tfgmm.simulation import scenario, truth
from tfgmm.simulation.scenario import SimulationSettings

SMALL = SimulationSettings(events=60, kik_stations=20, meso_events=3, meso_stations=40)


def of(table: pd.DataFrame, network: str) -> pd.DataFrame:
    return table[table["network"] == network]


def neighbour_km(points, others=None):
    xy = truth.project(points["longitude"], points["latitude"])
    if others is None:
        return KDTree(xy).query(xy, k=2)[0][:, 1]
    return KDTree(truth.project(others["longitude"], others["latitude"])).query(xy)[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_earthquakes_look_like_those_under_kanto(seed):
    events = scenario.events(SimulationSettings(seed=seed), "kik")
    x, y = truth.project(events["longitude"], events["latitude"]).T
    assert np.hypot(x, y).max() < 250.1
    assert events["depth_km"].between(5, 120).all()
    assert events["origin_time"].is_monotonic_increasing
    deep = events["depth_km"] > 60
    assert ((y - x)[deep]).mean() > 50 + ((y - x)[events["depth_km"].between(30, 50)]).mean()
    # Maximum likelihood of Aki (1965), with the bin of 0.1 and almost no truncation.
    b_value = np.log10(np.e) / (events["magnitude"][events["magnitude"] >= 3.55].mean() - 3.55)
    assert b_value == pytest.approx(0.9, abs=0.1)
    assert events["magnitude"].between(3.5, 7.3).all()


def test_record_numbers_follow_the_sizes():
    assert (SMALL.kik_records, SMALL.meso_records) == (298, 40)
    assert SimulationSettings(events=10, kik_stations=3).kik_records == 10
    assert SimulationSettings(events=1432).kik_records == pytest.approx(46191 / 2, abs=1)
    assert SimulationSettings(events=1432, kik_records=5000).kik_records == 5000


@pytest.mark.parametrize("setting", [{"events": 0}, {"meso_stations": 501}, {"trigger": 0.0}, {"noise": 1}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(pydantic.ValidationError, match=next(iter(setting))):
        SimulationSettings(**setting)


def test_options_that_are_not_given_take_their_default():
    assert SimulationSettings.of(events=100, seed=None) == SimulationSettings(events=100)
    with pytest.raises(UsageError, match=r"^events = 0: Input should be greater than or equal to 1$"):
        SimulationSettings.of(events=0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reference_stations_are_spread_over_the_box_on_land(seed):
    kik = of(scenario.stations(SimulationSettings(seed=seed)), "kik")
    west, south, east, north = truth.BOX
    places = kik.drop_duplicates("site_id")
    assert len(places) == 62
    assert kik["longitude"].between(west - 0.02, east + 0.02).all()
    assert kik["latitude"].between(south - 0.02, north + 0.02).all()
    assert coast.on_land(kik["longitude"], kik["latitude"]).all()
    assert neighbour_km(places).min() > 8
    assert neighbour_km(places).max() < 40


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_added_stations_are_dense_lines_and_a_sparser_spread(seed):
    stations = scenario.stations(SimulationSettings(seed=seed))
    meso = of(stations, "meso")
    tokyo = truth.project(*scenario.TOKYO)
    xy = truth.project(meso["longitude"], meso["latitude"])
    assert np.linalg.norm(xy - tokyo, axis=1).max() < 81
    assert coast.on_land(meso["longitude"], meso["latitude"]).all()
    on_line = len(scenario.LINES) * scenario.LINE_STATIONS
    steps = np.linalg.norm(np.diff(xy[:on_line].reshape(5, 30, 2), axis=1), axis=-1)
    assert 2 < steps.min() < steps.max() < 3
    nearest = neighbour_km(meso)[on_line:]
    assert 3.99 < nearest.min() < nearest.max() < 10.01
    assert (neighbour_km(meso, of(stations, "kik")) < 0.5).sum() >= 2


def test_the_largest_added_network_still_finds_room():
    stations = scenario.stations(SimulationSettings(meso_stations=500, kik_stations=30))
    assert of(stations, "meso")["site_id"].nunique() == 500
