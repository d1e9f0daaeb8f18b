"""Records -> tensors."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr

from conftest import TINY, small_dataset
from tfgmm.core.errors import DataError
from tfgmm.network import batches as data_pipeline
from tfgmm.network.channels import Rasteriser
from tfgmm.runs.experiment import Experiment

NAMES = ("magnitude", "pixel_x", "pixel_y", "r_hyp")


@pytest.fixture
def table(small, tiny):
    return data_pipeline.flat_table(small, tiny, "PGA")


def group(table, events, grid) -> data_pipeline.EventRecords:
    """Group the records of one measure, each of weight 1."""
    return data_pipeline.EventRecords.group({"PGA": table}, events, grid, {"PGA": np.ones(len(table))})


@pytest.fixture
def grouped(small, tiny, table):
    return group(table, small.events, tiny.grid)


def rasteriser(tiny, shift=0):
    return Rasteriser(tiny.grid, NAMES, None, shift)


def test_flat_table_by_hand(small, tiny, table):
    assert len(table) == len(small.records)
    one = table.iloc[7]
    station = small.stations.set_index("station_id").loc[one["station_id"]]
    event = small.events.set_index("event_id").loc[one["event_id"]]
    record = small.records.set_index(["event_id", "station_id"]).loc[(one["event_id"], one["station_id"])]
    sx, sy = tiny.grid.project(station["longitude"], station["latitude"])
    ex, ey = tiny.grid.project(event["longitude"], event["latitude"])
    distance = np.sqrt((sx - ex) ** 2 + (sy - ey) ** 2 + event["depth_km"] ** 2)
    assert one["r_hyp_km"] == pytest.approx(distance, rel=1e-9)
    assert one["ln_im"] == pytest.approx(np.log(record["PGA"]))
    row, col, _ = tiny.grid.locate(station["longitude"], station["latitude"])
    assert (one["row"], one["col"]) == (row, col)


def test_unknown_intensity_measure(small, tiny):
    with pytest.raises(DataError, match=r"no SA\(1.0\): it has PGA"):
        data_pipeline.flat_table(small, tiny, "SA(1.0)")


def test_missing_amplitudes_are_no_records(small, tiny):
    small.records.loc[3, "PGA"] = np.nan
    assert len(data_pipeline.flat_table(small, tiny, "PGA")) == len(small.records) - 1


def test_grouping_keeps_every_record_with_its_event(small, grouped, table):
    assert len(grouped) == table["event_id"].nunique()
    names = np.unique(table["event_id"])
    for i in (0, 5, len(names) - 1):
        rows = slice(grouped.splits[i], grouped.splits[i + 1])
        of_event = table[table["event_id"] == names[i]]
        np.testing.assert_allclose(grouped.ln_im[rows, 0], of_event["ln_im"], rtol=1e-6)
        magnitude = small.events.set_index("event_id").loc[names[i], "magnitude"]
        assert grouped.events[i, 3] == pytest.approx(magnitude, rel=1e-6)


def test_records_of_two_measures_share_their_places(small, tiny, table):
    """The second measure lacks every third record and all records of one event."""
    other = table.iloc[1::3]
    other = other[other["event_id"] != table["event_id"].iloc[0]].assign(ln_im=lambda t: t["ln_im"] - 1)
    tables = {"PGA": table, "SA(1.0)": other.reset_index(drop=True)}
    weights = {im: data_pipeline.training_weight(of_im, "record") for im, of_im in tables.items()}
    records = data_pipeline.EventRecords.group(tables, small.events, tiny.grid, weights)
    np.testing.assert_array_equal(records.pixels, table[["row", "col"]])
    has_both = records.weight[:, 1] > 0
    assert has_both.sum() == len(other) and (records.weight[:, 0] > 0).all()
    np.testing.assert_allclose(records.ln_im[has_both, 0] - records.ln_im[has_both, 1], 1, atol=1e-5)
    # Each measure counts the same in the loss.
    np.testing.assert_allclose(records.weight.sum(axis=0), len(records) / 2, rtol=1e-5)


def test_weights(table):
    by_record = data_pipeline.training_weight(table, "record")
    assert np.unique(by_record).size == 1
    assert by_record.sum() == pytest.approx(table["event_id"].nunique())
    by_event = pd.Series(data_pipeline.training_weight(table, "event")).groupby(table["event_id"]).sum()
    assert np.allclose(by_event, 1)


def test_stopping_weight_is_the_mean_of_means(table):
    roles = table.assign(site_role=np.where(table["station_id"] < "K05", "stopping", "training"))
    loss = np.random.default_rng(0).normal(size=len(roles))
    weighted = (data_pipeline.stopping_weight(roles) * loss).sum() / roles["event_id"].nunique()
    means = pd.Series(loss).groupby(roles["site_role"]).mean()
    assert weighted == pytest.approx(means.mean())


def test_fixed_batches_hold_each_record_once(tiny, grouped, table):
    batches = list(data_pipeline.fixed_batches(grouped, rasteriser(tiny), 4).as_numpy_iterator())
    assert sum(len(maps) for maps, _ in batches) == len(grouped)
    kept = [(s["ln_im"][s["weight"] > 0], s["pixels"][s["weight"][..., 0] > 0]) for _, s in batches]
    np.testing.assert_allclose(np.concatenate([k[0] for k in kept]), table["ln_im"], rtol=1e-6)
    assert (np.concatenate([k[1] for k in kept]) == table[["row", "col"]]).all(axis=None)


def test_training_batches_have_their_cardinality(tiny, grouped):
    batches = data_pipeline.training_batches(grouped, rasteriser(tiny, 1), 4, range(2, 5), seed=3)
    steps = data_pipeline.steps_per_epoch(len(grouped), 4)
    assert int(batches.cardinality()) == 3 * steps == sum(1 for _ in batches)


def events_seen(tiny, grouped, epochs, seed):
    batches = data_pipeline.training_batches(grouped, rasteriser(tiny, 1), 4, epochs, seed)
    return [maps[:, 0, 0].tolist() for maps, _ in batches.as_numpy_iterator()]


def test_order_depends_on_seed_and_epoch_only(tiny, grouped):
    both = events_seen(tiny, grouped, range(2), 3)
    assert both == events_seen(tiny, grouped, range(2), 3)
    assert both[len(both) // 2 :] == events_seen(tiny, grouped, range(1, 2), 3)
    assert both[: len(both) // 2] != both[len(both) // 2 :]
    assert both != events_seen(tiny, grouped, range(2), 4)


def test_each_event_comes_at_most_once_an_epoch(tiny, grouped):
    magnitudes = [m[0] for batch in events_seen(tiny, grouped, range(1), 3) for m in batch]
    assert len(set(magnitudes)) == len(magnitudes) == len(grouped) // 4 * 4


def test_the_networks_learn_what_backbone_and_field_leave(tiny, small, table):
    told = table.assign(backbone=-1.0, field_mean=np.linspace(0, 1, len(table)), field_variance=0.3)
    records = group(told, small.events, tiny.grid)
    batches = data_pipeline.training_batches(records, rasteriser(tiny, 1), 4, range(2), seed=3)
    left, seen = (told["ln_im"] + 1 - told["field_mean"]).to_numpy("float32"), set()
    for _, stations in batches.as_numpy_iterator():
        real = stations["weight"] > 0
        assert set(stations["variance"][real]) == {np.float32(0.3)}
        seen.update(stations["ln_im"][real].tolist())
    assert seen <= set(left.tolist()) and len(seen) > 0.9 * len(table)


def test_shifted_stations_stay_on_their_place(tiny, grouped):
    """The pixel of a station shows the station's own coordinates, however the window is shifted."""
    batches = data_pipeline.training_batches(grouped, rasteriser(tiny, 3), 4, range(3), seed=1)
    positions = dict(zip(map(float, grouped.ln_im[:, 0]), grouped.pixels.tolist(), strict=True))
    x, y = (axis.astype("float32") for axis in tiny.grid.axes_km(28))
    checked = 0
    for maps, stations in batches.as_numpy_iterator():
        inner = maps[:, tiny.grid.margin : -tiny.grid.margin, tiny.grid.margin : -tiny.grid.margin]
        for b, s in np.argwhere(stations["weight"][..., 0] > 0):
            row, col = positions[float(stations["ln_im"][b, s, 0])]
            pixel = inner[b][tuple(stations["pixels"][b, s])]
            assert (pixel[1], pixel[2]) == pytest.approx((x[col], y[row]))
            checked += 1
    assert checked > 500


def test_stations_off_a_shifted_window_weigh_nothing():
    dataset = small_dataset(n_events=6, n_kik=4, n_meso=2)
    chosen = Experiment(**TINY)
    edge = chosen.grid.unproject(-14 * 4 + 0.5, 0.0)
    dataset.stations.loc[0, ["longitude", "latitude"]] = edge
    table = data_pipeline.flat_table(dataset, chosen, "PGA")
    grouped = group(table, dataset.events, chosen.grid)
    batches = data_pipeline.training_batches(grouped, rasteriser(chosen, 3), 1, range(30), seed=1)
    at_edge = set(map(float, grouped.ln_im[grouped.pixels[:, 1] == 0, 0]))
    weights = [
        float(w)
        for _, stations in batches.as_numpy_iterator()
        for value, w in zip(stations["ln_im"].flat, stations["weight"].flat, strict=True)
        if float(value) in at_edge
    ]
    assert set(weights) == {0.0, 1.0}


def test_channel_statistics(tiny, grouped):
    mean, variance = data_pipeline.channel_statistics(grouped, rasteriser(tiny), max_events=1000)
    magnitude = grouped.events[:, 3].astype(float)
    assert mean[0] == pytest.approx(magnitude.mean(), rel=1e-5)
    assert variance[0] == pytest.approx(magnitude.var(), rel=1e-3)
    assert mean[1] == pytest.approx(0, abs=1e-3)
    assert variance[1] == pytest.approx((68**2 - 1) / 12 * 16, rel=1e-3)


def test_layers_at_stations_are_those_of_their_pixels(small, tiny):
    lat, lon = np.linspace(33, 38.5, 40), np.linspace(137, 143, 45)
    depth = ("latitude", "longitude"), 100 * lat[:, None] + lon
    layers = xr.Dataset({"z_bedrock": depth}, coords={"latitude": lat, "longitude": lon})
    _, stations = data_pipeline.places(dataclasses.replace(small, layers=layers), tiny)
    row, col, _ = tiny.grid.locate(stations["longitude"], stations["latitude"])
    lon_of, lat_of = (degrees[row, col] for degrees in tiny.grid.lonlat(tiny.grid.output_size))
    np.testing.assert_allclose(stations["z_bedrock"], 100 * lat_of + lon_of, rtol=1e-6)
    assert (stations["vs30_m_s"] == 300).all()


# ---- turned maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", list(itertools.product([0, 1], repeat=3)))
def test_turned_maps_are_the_maps_of_the_turned_world(tiny, turn):
    """A world in which source and stations are turned about the centre of the map, rasterised anew."""
    grid, names = tiny.grid, ("event_depth", "magnitude", "r_hyp")
    raster = Rasteriser(grid, names, None)
    x, y = 31.0, -47.0  # of the epicentre, km
    pixels = np.array([[0, 0], [3, 20], [27, 27], [14, 5]], "int32")
    east, north = grid.axes_km(grid.output_size)
    stations = np.stack([east[pixels[:, 1]], north[pixels[:, 0]]], axis=1)

    def moved(points):
        """Swapping rows and columns mirrors at the falling diagonal: (x, y) -> (-y, -x)."""
        points = -points[..., ::-1] if turn[0] else points
        return points * [-1 if turn[2] else 1, -1 if turn[1] else 1]

    def maps(x_y):
        event = np.array([140.0, 35.5, 40.0, 6.0, *x_y], "float32")
        return raster(tf.constant(event), tf.zeros(2, tf.int32))

    made, where = data_pipeline.turned(
        maps((x, y)), tf.constant(pixels), grid.output_size, tf.constant(turn, tf.int32)
    )
    np.testing.assert_allclose(made, maps(moved(np.array([x, y]))), rtol=1e-5)
    expected = moved(stations)
    np.testing.assert_allclose(east[where[:, 1]], expected[:, 0])
    np.testing.assert_allclose(north[where[:, 0]], expected[:, 1])
    inner = made.numpy()[grid.margin : -grid.margin, grid.margin : -grid.margin, 2]
    r_hyp = np.sqrt(((stations - [x, y]) ** 2).sum(axis=1) + 1600)
    np.testing.assert_allclose(inner[tuple(where.numpy().T)], r_hyp, rtol=1e-5)


def test_stations_keep_their_distance_in_turned_batches(tiny, small, table, grouped):
    """Every record still stands where its own hypocentral distance is on the map."""
    raster = Rasteriser(tiny.grid, ("r_hyp",), None, 2)
    distance = table.set_index(table["ln_im"].astype("float32"))["r_hyp_km"]
    margin, seen = tiny.grid.margin, []
    straight, turned = (
        list(data_pipeline.training_batches(grouped, raster, 4, range(2), 5, turns=turns))
        for turns in (False, True)
    )
    for (maps, _), (other, stations) in zip(straight, turned, strict=True):
        seen += [not np.array_equal(*pair) for pair in zip(maps, other, strict=True)]
        for number, rows in enumerate(stations["weight"].numpy()[..., 0] > 0):
            row, col = stations["pixels"].numpy()[number][rows].T
            result = other.numpy()[number, row + margin, col + margin, 0]
            expected = distance.loc[stations["ln_im"].numpy()[number][rows, 0]]
            assert np.abs(result - expected).max() < 4  # the pixel's centre, of 4 km
    assert 0.5 < np.mean(seen) < 1  # one in eight stays as it is


def test_turns_are_drawn_anew_and_the_same_again(tiny, grouped):
    raster = Rasteriser(tiny.grid, ("r_hyp",), None)

    def first(epoch):
        maps, _ = next(
            iter(data_pipeline.training_batches(grouped, raster, 8, range(epoch, epoch + 1), 5, turns=True))
        )
        return maps.numpy()

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(0), first(1))
