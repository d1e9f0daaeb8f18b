"""The network is shown nothing beyond its training records, and these unchanged."""

import keras
import numpy as np
import pandas as pd
import pytest
import shapely
import tensorflow as tf

from tfgmm.network import input_channels
from tfgmm.network.channels import CHANNELS
from tfgmm.network.input_channels import ClippedChannels

NAMES = (*CHANNELS,)
SIZE = 5


def tables(seed: int = 0, count: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training records, and events, the last of which has no record."""
    rng = np.random.default_rng(seed)
    events = pd.DataFrame(
        {
            "event_id": [f"E{i}" for i in range(count)],
            "longitude": rng.uniform(139.2, 140.8, count),
            "latitude": rng.uniform(34.9, 36.4, count),
            "magnitude": rng.uniform(4, 6.5, count).round(1),
            "depth_km": rng.uniform(5, 90, count).round(),
        }
    )
    records = events.loc[events.index[:-1].repeat(5), ["event_id", "magnitude", "depth_km"]]
    events.loc[count - 1, ["longitude", "latitude"]] = 150.0, 45.0
    return records.assign(r_hyp_km=rng.uniform(8, 250, len(records))), events


def maps_of(longitude, latitude, magnitude=5.0, depth_km=30.0, r_hyp_km=100.0, seed: int = 0) -> np.ndarray:
    """Maps of events [event, row, col, channel] with random site channels."""
    longitude, latitude, magnitude, depth_km = np.broadcast_arrays(longitude, latitude, magnitude, depth_km)
    maps = np.random.default_rng(seed).normal(0, 1e4, (len(longitude), SIZE, SIZE, len(NAMES)))
    constant = {"event_longitude": longitude, "event_latitude": latitude, "magnitude": magnitude}
    for name, values in (constant | {"event_depth": depth_km}).items():
        maps[..., NAMES.index(name)] = values[:, None, None]
    maps[..., NAMES.index("r_hyp")] = r_hyp_km
    return maps.astype("float32")


def channel(maps, name: str) -> np.ndarray:
    return np.asarray(maps)[..., NAMES.index(name)]


@pytest.fixture(scope="module")
def training():
    return tables()


@pytest.fixture(scope="module")
def layer(training):
    return ClippedChannels(**input_channels.limits(*training, NAMES))


def test_what_the_records_have_shown_does_not_change_by_a_bit(training, layer):
    records, events = training
    known = events[:-1]
    r_hyp = np.random.default_rng(2).uniform(records["r_hyp_km"].min(), 250, (39, SIZE, SIZE))
    r_hyp[:, 0, :2] = records["r_hyp_km"].min(), records["r_hyp_km"].max()
    r_hyp = np.minimum(r_hyp, records["r_hyp_km"].max())
    maps = maps_of(*known[["longitude", "latitude", "magnitude", "depth_km"]].to_numpy().T, r_hyp)
    assert np.array_equal(layer(maps).numpy().view("int32"), maps.view("int32"))


def test_values_outside_are_clipped_and_sites_never(training, layer):
    records, _ = training
    r_hyp = np.broadcast_to([1.0, 8.5, 100.0, 240.0, 900.0], (2, SIZE, SIZE))
    maps = maps_of([140.0, 140.0], [35.5, 35.5], [3.0, 8.0], [-2.0, 600.0], r_hyp)
    clipped = layer(maps)
    for name, column in input_channels.RANGES.items():
        low, high = (np.float32(records[column].agg(end)) for end in ("min", "max"))
        np.testing.assert_array_equal(channel(clipped, name), np.clip(channel(maps, name), low, high))
    for name in ("event_longitude", "event_latitude", "pixel_x", "pixel_y", "z_bedrock", "vs30"):
        np.testing.assert_array_equal(channel(clipped, name), channel(maps, name))


HULLS = {
    "polygon": None,
    "triangle": ([139.0, 141.0, 140.0], [35.0, 35.2, 36.0]),
    "segment": ([139.0, 140.0, 139.5], [35.0, 36.0, 35.5]),
    "segment but for rounding": ([139.0, 140.0, 139.5], [35.0, 36.0, 35.5 + 1e-9]),
    "meridian": ([140.0] * 4, [35.0, 35.2, 35.9, 36.0]),
    "point": ([140.1, 140.1], [35.7, 35.7]),
}


@pytest.mark.parametrize("kind", HULLS)
def test_a_source_outside_is_moved_to_the_nearest_point_of_the_hull(training, kind):
    known = training[1][:-1]
    points = HULLS[kind] or (known["longitude"], known["latitude"])
    hull = input_channels.hull_of(*points)
    rng = np.random.default_rng(4)
    lon, lat = rng.uniform(136, 143, 200), rng.uniform(33, 38, 200)
    # The ends of a line, continued.
    lon[:2], lat[:2] = (138.0, 141.0), (34.0, 37.0)
    no_limits = [None] * len(NAMES)
    maps = maps_of(lon, lat)
    moved = ClippedChannels(no_limits, no_limits, [0, 1], hull)(maps)
    scale = np.cos(np.radians(np.mean(hull, axis=0)[1]))
    shape = shapely.convex_hull(shapely.multipoints(np.column_stack(points) * [scale, 1]))
    places = shapely.points(lon * scale, lat)
    expected = shapely.get_coordinates(shapely.shortest_line(shape, places))[::2] / [scale, 1]
    for name, values in zip(NAMES[:2], expected.T, strict=True):
        of_maps = channel(moved, name)
        assert np.ptp(of_maps, axis=(1, 2)).max() == 0
        np.testing.assert_allclose(of_maps[:, 0, 0], values, atol=1e-4)
    np.testing.assert_array_equal(moved[..., 2:], maps[..., 2:])
    stays = (channel(moved, "event_longitude") == channel(maps, "event_longitude"))[:, 0, 0]
    assert stays.tolist() == shapely.intersects(shape, places).tolist()
    assert stays.any() == (shape.area > 0.1)


@pytest.mark.parametrize("slope", [0.0, 0.37])
def test_training_events_on_an_edge_of_the_hull_stay(slope):
    """As those of catalogues that give positions to 0.1 degree, or of a fault."""
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.arange(1390, 1411) / 10, np.arange(350, 361) / 10))
    lat = lat + slope * (lon - 139)
    no_limits = [None] * len(NAMES)
    for chosen in (slice(None), slice(21)):
        maps = maps_of(lon[chosen], lat[chosen])
        hull = input_channels.hull_of(lon[chosen], lat[chosen])
        assert np.array_equal(ClippedChannels(no_limits, no_limits, [0, 1], hull)(maps), maps)


def test_events_without_training_records_are_no_part_of_the_hull(training, layer):
    records, events = training
    assert max(np.array(layer.hull)[:, 1]) < 37
    without_ids = input_channels.limits(records, events[:-1].drop(columns="event_id"), NAMES)
    assert without_ids == input_channels.limits(records, events, NAMES)


def test_dropped_channels(training):
    without_source = [name for name in NAMES if CHANNELS[name].group != "source"]
    arguments = input_channels.limits(*training, without_source)
    assert arguments["position_channels"] == [] and arguments["hull"] == []
    assert [name for name, low in zip(without_source, arguments["low"], strict=True) if low] == ["r_hyp"]
    arguments = input_channels.limits(*training, ("event_latitude", "vs30"))
    latitude = training[1]["latitude"][:-1]
    assert arguments["low"] == [latitude.min(), None] and arguments["high"] == [latitude.max(), None]
    clipped = ClippedChannels(**arguments)(np.full((1, 2, 3, 2), 89, "float32"))
    np.testing.assert_allclose(clipped[..., 0], latitude.max(), rtol=1e-6)
    assert (clipped[..., 1].numpy() == 89).all()


def test_position_without_a_hull_is_refused():
    with pytest.raises(ValueError, match="needs a vertex"):
        ClippedChannels([None, None], [None, None], [0, 1])
    assert ClippedChannels([np.nan], [np.inf]).get_config()["low"] == [None]


def test_it_is_the_same_from_a_file_and_in_a_graph(layer, tmp_path):
    x = keras.Input((SIZE, SIZE, len(NAMES)))
    model = keras.Model(x, layer(x))
    model.save(tmp_path / "model.keras")
    rng = np.random.default_rng(5)
    maps = maps_of(rng.uniform(135, 145, 20), rng.uniform(33, 38, 20), 8.0, 300.0, 500.0)
    expected = layer(maps).numpy()
    assert not np.array_equal(expected, maps)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.output_shape == (None, SIZE, SIZE, len(NAMES))
    np.testing.assert_array_equal(loaded(maps), expected)
    spec = [tf.TensorSpec([None, SIZE, SIZE, len(NAMES)], tf.float32)]
    graph = tf.function(lambda maps: loaded.stateless_call([], [], maps)[0], spec, autograph=False)
    np.testing.assert_array_equal(graph(maps), expected)
    assert graph(maps[:0]).shape == (0, SIZE, SIZE, len(NAMES))


def test_other_engines_know_all_operations(layer):
    """OpenVINO reads no Bitcast, which Keras makes of argmin."""
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, SIZE, SIZE, len(NAMES)])).graph
    assert "Bitcast" not in {operation.type for operation in graph.get_operations()}
