"""The maps that the network sees."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.network import channels

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)
EVENT = pd.DataFrame({"longitude": [140.5], "latitude": [36.1], "depth_km": [40.0], "magnitude": [5.5]})


@pytest.fixture
def layers():
    lat, lon = np.linspace(33, 38.5, 56), np.linspace(137, 143, 61)
    z = 100 * lat[:, None] + 10 * lon
    return xr.Dataset(
        {"z_bedrock": (("latitude", "longitude"), z), "vs30": (("latitude", "longitude"), z / 10)},
        coords={"latitude": lat, "longitude": lon},
    )


def maps(rasteriser, shift=(0, 0)):
    event = channels.event_vectors(EVENT, GRID)[0]
    values = rasteriser(tf.constant(event), tf.constant(shift, tf.int32)).numpy()
    return dict(zip(rasteriser.names, np.moveaxis(values, -1, 0), strict=True))


def test_nine_channels_of_the_publication(layers):
    names = channels.select(layers)
    assert len(names) == 9
    assert {channels.CHANNELS[n].group for n in names} == set(channels.GROUPS)


def test_values_are_those_of_an_independent_computation(layers):
    found = maps(channels.Rasteriser(GRID, channels.select(layers), layers))
    lon, lat = GRID.lonlat(68)
    x, y = GRID.project(lon, lat)
    ex, ey = GRID.project(140.5, 36.1)
    expected = {
        "event_longitude": 140.5,
        "event_latitude": 36.1,
        "event_depth": 40.0,
        "magnitude": 5.5,
        "pixel_x": x,
        "pixel_y": y,
        "r_hyp": np.sqrt((x - ex) ** 2 + (y - ey) ** 2 + 1600),
        "z_bedrock": 100 * lat + 10 * lon,
        "vs30": 10 * lat + lon,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], np.broadcast_to(values, (68, 68)), rtol=2e-6, atol=2e-3)


def test_row_0_is_north():
    found = maps(channels.Rasteriser(GRID, ("pixel_x", "pixel_y"), None))
    assert found["pixel_y"][0, 0] > found["pixel_y"][-1, 0]
    assert found["pixel_x"][0, 0] < found["pixel_x"][0, -1]


def test_shift_moves_the_window(layers):
    wide = channels.Rasteriser(GRID, channels.select(layers), layers, max_shift=3)
    still, moved = maps(wide), maps(wide, (2, -3))
    unshifted = maps(channels.Rasteriser(GRID, channels.select(layers), layers))
    for name in wide.names:
        np.testing.assert_allclose(still[name], unshifted[name], rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(moved[name][:-2, 3:], still[name][2:, :-3], rtol=1e-6, atol=1e-4)


def test_layers_that_the_dataset_lacks_are_left_out(layers):
    assert "vs30" not in channels.select(["z_bedrock"])
    assert len(channels.select(())) == 7


def test_drop_group_and_channel(layers):
    assert set(channels.select(layers, ["site"])) == {
        "event_longitude", "event_latitude", "event_depth", "magnitude", "r_hyp",
    }  # fmt: skip
    assert "r_hyp" not in channels.select(layers, ["r_hyp"])


@pytest.mark.parametrize("drop", [["sites"], ["source", "path", "site"]])
def test_drop_that_makes_no_sense(drop, layers):
    with pytest.raises(UsageError, match="cannot drop 'sites'|every channel is dropped"):
        channels.select(layers, drop)


def test_filled_share_is_reported(layers):
    narrow = layers.sel(longitude=slice(138.9, 141))
    rasteriser = channels.Rasteriser(GRID, ("z_bedrock",), narrow)
    assert 0.1 < rasteriser.filled["z_bedrock"] < 0.9


def test_the_graph_of_a_rasteriser_is_traced_once_and_many_graphs_warn_of_nothing(layers, caplog):
    """The site amplification asks for the maps of many layers, again for each member."""
    vectors = channels.event_vectors(EVENT, GRID)
    for _ in range(7):
        rasteriser = channels.Rasteriser(GRID, channels.select(layers), layers)
        for _ in range(2):
            found = rasteriser.of_events(vectors)
        assert rasteriser.of_events.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(found[0, ..., 0], maps(rasteriser)[rasteriser.names[0]])
    assert "retracing" not in caplog.text
