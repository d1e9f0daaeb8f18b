"""One predicted earthquake, drawn."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.contour import QuadContourSet

from tfgmm.core.grid import Grid
from tfgmm.prediction import writing

mpl.use("Agg")

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)
STATIONS = pd.DataFrame({"longitude": [139.8, 140.0, 140.2], "latitude": [35.6, 35.9, 35.7]})


@pytest.fixture
def maps() -> xr.Dataset:
    rng, (longitude, latitude) = np.random.default_rng(0), GRID.lonlat(28)
    dims = ("row", "col")
    return xr.Dataset(
        {
            "median_g": (dims, rng.uniform(0.01, 0.3, (28, 28))),
            "stddev": (dims, rng.uniform(0.5, 0.9, (28, 28))),
            "outside_distance": (dims, np.zeros((28, 28), bool)),
            "outside_magnitude": False,
            "outside_depth": False,
        },
        coords={
            "longitude": (dims, longitude),
            "latitude": (dims, latitude),
            "event_longitude": 139.85,
            "event_latitude": 35.55,
            "magnitude": 7.0,
            "known_rupture": False,
            "depth_km": 30.0,
        },
        attrs={"intensity_measure": "PGA", "simulated": 0, "calibrated": 0, "reference_rock": 0},
    )


@pytest.fixture
def draw(maps):
    def drawn(**changes):
        return writing.draw_scenario(maps.assign(changes), STATIONS)

    yield drawn
    plt.close("all")


def test_median_and_sigma_with_coast_stations_and_epicentre(draw, maps):
    figure = draw()
    for ax, name in zip(figure.axes[:2], ("median_g", "stddev"), strict=True):
        image, coast, stations, star = ax.collections
        assert isinstance(image, QuadMesh) and isinstance(coast, LineCollection)
        np.testing.assert_array_equal(image.get_array().reshape(28, 28), maps[name])
        assert isinstance(stations, PathCollection)
        np.testing.assert_allclose(stations.get_offsets(), STATIONS)
        np.testing.assert_allclose(star.get_offsets(), [[139.85, 35.55]])
    assert [ax.get_ylabel() for ax in figure.axes[2:]] == ["PGA (g)", "Standard deviation of ln PGA"]
    assert figure.get_suptitle() == "M 7.0, depth 30 km, 139.85°E 35.55°N"


def test_ticks_of_the_median_are_plain(draw):
    figure = draw()
    figure.canvas.draw()
    assert {text.get_text() for text in figure.axes[2].get_yticklabels()} >= {"0.02", "0.05", "0.1", "0.2"}


def test_title_says_what_must_be_known(draw, maps):
    maps.attrs |= {"simulated": 1, "calibrated": 1}
    assert draw(outside_magnitude=True, outside_depth=True).get_suptitle().split("\n")[1] == (
        "simulated records; calibrated sigma; outside the training range: magnitude, depth"
    )


def test_what_is_too_far_is_hatched(draw, maps):
    far = maps["outside_distance"].copy()
    far[:5] = True
    figure = draw(outside_distance=far)
    for ax in figure.axes[:2]:
        (hatched,) = [artist for artist in ax.collections if isinstance(artist, QuadContourSet)]
        (path,) = hatched.get_paths()
        assert path.get_extents().ymin == pytest.approx(maps["latitude"][4:6].mean().item(), abs=0.05)
    assert "hatched: fewer than 10 training records like it" in figure.get_suptitle()
