"""tf.data: records -> (event maps, station pixels, ln IM, weights)."""

import dataclasses

import numpy as np
import pandas as pd
import tensorflow as tf

from tfgmm.core.errors import DataError, listed
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset
from tfgmm.network.channels import Rasteriser, event_vectors
from tfgmm.network.device import on_device
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import nearest_km, stations_in_use


def flat_table(dataset: Dataset, experiment: Experiment, im: str) -> pd.DataFrame:
    """Join records, events and stations in one table, one row per record of the networks in use.

    Returns
    -------
    pandas.DataFrame
        ``event_id, station_id, site_id, network, ln_im, magnitude, depth_km, r_hyp_km, row, col,
        nearest_added_km`` (the last: distance to the nearest station of an added network), sorted by
        event and station.

    Raises
    ------
    DataError
        The dataset lacks the intensity measure.
    """
    if im not in dataset.ims:
        raise DataError(f"the dataset has no {im}: it has {listed(dataset.ims)}")
    stations = stations_in_use(dataset, experiment)
    grid = experiment.grid
    row, col, _ = grid.locate(stations["longitude"], stations["latitude"])
    x, y = grid.project(stations["longitude"], stations["latitude"])
    added = stations[stations["network"] != experiment.reference]
    stations = stations.assign(
        row=row, col=col, x_km=x, y_km=y, nearest_added_km=nearest_km(stations, added)
    )
    ex, ey = grid.project(dataset.events["longitude"], dataset.events["latitude"])
    events = dataset.events.assign(event_x_km=ex, event_y_km=ey)
    table = (
        dataset.records[["event_id", "station_id", im]]
        .dropna()
        .merge(stations.drop(columns=["longitude", "latitude"]), on="station_id")
        .merge(events[["event_id", "magnitude", "depth_km", "event_x_km", "event_y_km"]], on="event_id")
        .sort_values(["event_id", "station_id"], ignore_index=True)
    )
    epicentral = np.hypot(table["x_km"] - table["event_x_km"], table["y_km"] - table["event_y_km"])
    table["r_hyp_km"] = np.hypot(epicentral, table["depth_km"])
    table["ln_im"] = np.log(table[im])
    columns = ["event_id", "station_id", "site_id", "network", "ln_im", "magnitude", "depth_km", "r_hyp_km"]
    return table[[*columns, "row", "col", "nearest_added_km"]]


def places(dataset: Dataset, experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables of the events and stations in use, with places in km and site layers.

    Returns
    -------
    events : pandas.DataFrame
        ``event_id, origin_time, event_longitude, event_latitude, event_x_km, event_y_km``.
    stations : pandas.DataFrame
        ``station_id, site_id, longitude, latitude, x_km, y_km, vs30_m_s`` and the value of every site
        layer at the station's pixel, as the network sees it.
    """
    grid, events, stations = experiment.grid, dataset.events, stations_in_use(dataset, experiment)
    ex, ey = grid.project(events["longitude"], events["latitude"])
    x, y = grid.project(stations["longitude"], stations["latitude"])
    row, col, _ = grid.locate(stations["longitude"], stations["latitude"])
    at_pixel = {
        name: layers.on_grid(layer, grid, grid.output_size)[0][row, col]
        for name, layer in (dataset.layers or {}).items()
    }
    named = {"longitude": "event_longitude", "latitude": "event_latitude"}
    events = events[["event_id", "origin_time", *named]].rename(columns=named)
    stations = stations[["station_id", "site_id", "longitude", "latitude", "vs30_m_s"]]
    return events.assign(event_x_km=ex, event_y_km=ey), stations.assign(x_km=x, y_km=y, **at_pixel)


@dataclasses.dataclass(frozen=True)
class EventRecords:
    """Records grouped by event, as arrays that tf.data slices.

    Attributes
    ----------
    events : ndarray of float32, [n_events, 6]
    splits : ndarray of int, [n_events + 1]
        Records of event i are rows ``splits[i]:splits[i + 1]``.
    pixels : ndarray of int32, [n_records, 2]
    ln_im, weight : ndarray of float32, [n_records]
    """

    events: np.ndarray
    splits: np.ndarray
    pixels: np.ndarray
    ln_im: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.events)

    @classmethod
    def group(cls, table: pd.DataFrame, events: pd.DataFrame, grid, weight: np.ndarray) -> "EventRecords":
        """Group a flat table that is sorted by event; `weight` is the records' share of the loss."""
        names, first = np.unique(table["event_id"].to_numpy(str), return_index=True)
        return cls(
            events=event_vectors(events.set_index("event_id").loc[names], grid),
            splits=np.append(first, len(table)),
            pixels=table[["row", "col"]].to_numpy("int32"),
            ln_im=table["ln_im"].to_numpy("float32"),
            weight=np.asarray(weight, "float32"),
        )


def training_weight(table: pd.DataFrame, weighting: str) -> np.ndarray:
    """Return weights of records with which the mean over a batch's events is the loss.

    ``record``: 1 / (mean records an event), so that every record weighs the same;
    ``event``: 1 / (records of the event), so that every event does.
    """
    count = table.groupby("event_id", observed=True)["ln_im"].transform("size").to_numpy(float)
    if weighting == "event":
        return 1 / count
    return np.full(len(table), table["event_id"].nunique() / len(table))


def stopping_weight(table: pd.DataFrame) -> np.ndarray:
    """Return weights of records with which both site roles count the same in the stopping loss."""
    count = table.groupby("site_role", observed=True)["ln_im"].transform("size").to_numpy(float)
    return table["event_id"].nunique() / (table["site_role"].nunique() * count)


def turned(maps: tf.Tensor, pixels: tf.Tensor, size: int, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn and mirror maps, and the station pixels in them, in one of the eight ways of the square.

    Parameters
    ----------
    maps : tensor, [input_size, input_size, channels]
    pixels : tensor of int32, [stations, 2]
        Row and column in the output window, of `size` pixels a side.
    size : int
    turn : tensor of int32, [3]
        1 or 0: whether rows and columns are swapped, then rows reversed, then columns reversed.
    """
    swapped, *mirrored = tf.unstack(tf.cast(turn, tf.bool))
    maps = tf.cond(swapped, lambda: tf.transpose(maps, (1, 0, 2)), lambda: maps)
    pixels = tf.where(swapped, pixels[:, ::-1], pixels)
    maps = tf.cond(mirrored[0], lambda: maps[::-1], lambda: maps)
    maps = tf.cond(mirrored[1], lambda: maps[:, ::-1], lambda: maps)
    return maps, tf.where(tf.stack(mirrored), size - 1 - pixels, pixels)


def _loader(data: EventRecords, rasteriser: Rasteriser):
    """Return a function from event number, shift and turn to maps and lists of station records."""
    events, splits, pixels, ln_im, weight = (tf.constant(array) for array in dataclasses.astuple(data))
    size = rasteriser.grid.output_size

    def load(number, shift, turn):
        rows = slice(splits[number], splits[number + 1])
        moved = pixels[rows] - shift
        inside = tf.reduce_all((moved >= 0) & (moved < size), axis=-1)
        maps, moved = turned(rasteriser(events[number], shift), moved, size, turn)
        stations = {
            "pixels": tf.clip_by_value(moved, 0, size - 1),
            "ln_im": ln_im[rows],
            "weight": weight[rows] * tf.cast(inside, tf.float32),
            "record": tf.range(splits[number], splits[number + 1]),
        }
        return maps, stations

    return load


def _batched(numbers: tf.data.Dataset, data, rasteriser, batch_size: int, drop_remainder: bool):
    loaded = numbers.map(_loader(data, rasteriser), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    size, channels = rasteriser.grid.input_size, len(rasteriser.names)
    lists = {name: [None] for name in ("ln_im", "weight", "record")}
    shapes = ([size, size, channels], {"pixels": [None, 2], **lists})
    return loaded.padded_batch(batch_size, shapes, drop_remainder=drop_remainder).prefetch(2)


def steps_per_epoch(n_events: int, batch_size: int) -> int:
    """Return the number of full batches per epoch; events left over in one epoch come in another."""
    return n_events // min(batch_size, n_events)


def training_batches(
    data: EventRecords,
    rasteriser: Rasteriser,
    batch_size: int,
    epochs: range,
    seed: int,
    *,
    turns: bool = False,
) -> tf.data.Dataset:
    """Yield all batches of `epochs`, events in random order and windows at random shifts.

    Order, shifts and, with `turns`, turns depend on (seed, epoch) only: a member that goes on from epoch
    k sees what it would have seen without the interruption.

    Returns
    -------
    tf.data.Dataset
        ``len(epochs) * steps_per_epoch(...)`` elements (maps [batch, size, size, channels],
        {"pixels": [batch, stations, 2]} and "ln_im", "weight", "record" (its number) [batch, stations]).
    """
    count, batch_size = len(data), min(batch_size, len(data))
    used = steps_per_epoch(count, batch_size) * batch_size

    def one_epoch(epoch):
        key = tf.stack([tf.cast(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key)[:used]
        limit = rasteriser.max_shift
        shift = tf.random.stateless_uniform([used, 2], key, -limit, limit + 1, tf.int32)
        other_key = tf.random.experimental.stateless_fold_in(key, 1)
        turn = tf.random.stateless_uniform([used, 3], other_key, 0, 1 + turns, tf.int32)
        return tf.data.Dataset.from_tensor_slices((order, shift, turn))

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    batches = _batched(numbers, data, rasteriser, batch_size, drop_remainder=True)
    counted = tf.data.experimental.assert_cardinality(len(epochs) * (used // batch_size))
    return on_device(batches.apply(counted))


def fixed_batches(data: EventRecords, rasteriser: Rasteriser, batch_size: int = 8) -> tf.data.Dataset:
    """Yield every event once, in order, in batches with the window where it belongs."""
    numbers = tf.data.Dataset.range(len(data)).map(
        lambda n: (n, tf.zeros(2, tf.int32), tf.zeros(3, tf.int32))
    )
    return _batched(numbers, data, rasteriser, batch_size, drop_remainder=False)


def channel_statistics(
    data: EventRecords, rasteriser: Rasteriser, max_events: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every channel over pixels of up to `max_events` training events.

    Returns
    -------
    mean, variance : ndarray, [channels]
    """
    sample = data.events[:: -(-len(data) // max_events)]
    centre = tf.zeros(2, tf.int32)
    moments = np.array(
        [
            [tf.reduce_mean(maps, (0, 1)), tf.reduce_mean(maps**2, (0, 1))]
            for maps in (tf.cast(rasteriser(tf.constant(event), centre), tf.float64) for event in sample)
        ]
    ).mean(axis=0)
    return moments[0], np.maximum(moments[1] - moments[0] ** 2, 1e-12)
