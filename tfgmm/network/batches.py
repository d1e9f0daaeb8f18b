"""Records by role -> (event maps, station pixels, ln IM, weights), as pipelines of tf.data."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import tensorflow as tf

from tfgmm.core.errors import DataError, listed
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import RECORD, RUPTURE_DISTANCE, SITE_XY, SOURCE_XY, UNSEEN, training_records
from tfgmm.network.channels import Rasteriser, event_vectors, select
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold, nearest_km, stations_in_use, stopping_records
from tfgmm.stats.backbone import Backbone

#: Columns of `flat_table` that backbone, field and likelihood alone use, and no table of predictions has.
NOT_PREDICTED = ["row", "col", "vs30", "r_rup_km", "tectonic_class", *SOURCE_XY, *SITE_XY]
NOT_PREDICTED += UNSEEN


def processor_precision() -> str:
    """Return ``bfloat16`` if the processor multiplies in it (AVX512-BF16 or AMX), else ``float32``.

    Returns
    -------
    str
        Name of a number format.
    """
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text().split() if processor.is_file() else []
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def native_precision() -> str:
    """Return the fastest number format in which a network still learns on this machine.

    Returns
    -------
    str
        ``bfloat16`` on NVIDIA GPUs of compute capability 8 or more, ``float16`` on GPUs of capability 7.x,
        whose tensor cores lack bfloat16, ``float32`` on older GPUs; without a GPU the format of
        `processor_precision`.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return processor_precision()
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


def resolved(experiment: Experiment) -> Experiment:
    """Return the experiment with the precision ``auto`` replaced by the format of `native_precision`.

    Parameters
    ----------
    experiment : Experiment
        Description of a run.

    Returns
    -------
    Experiment
        The same object if its precision is not ``auto``.
    """
    if experiment.network.precision != "auto":
        return experiment
    return experiment.computed_in(native_precision())


def on_device(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return a pipeline that loads batches ahead into the memory of the GPU, if the machine has one.

    Parameters
    ----------
    batches : tf.data.Dataset
        Finished pipeline: no step may follow the loading.

    Returns
    -------
    tf.data.Dataset
        Without a GPU, `batches` unchanged.
    """
    gpus = tf.config.list_logical_devices("GPU")
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, 2)) if gpus else batches


def flat_table(dataset: Dataset, experiment: Experiment, im: str) -> pd.DataFrame:
    """Join records, events and stations in one table, with one row per record of the run's networks.

    Parameters
    ----------
    dataset : Dataset
        Tables of events, stations and records.
    experiment : Experiment
        Description of the run: networks, reference network and grid.
    im : str
        Intensity measure.

    Returns
    -------
    pandas.DataFrame
        ``event_id, station_id, site_id, network``; ``ln_im``, ln of IM in g; ``magnitude`` (Mw);
        ``depth_km``; ``r_hyp_km``, the hypocentral distance; ``row, col``, the station's pixel in the
        output window; ``nearest_added_km``, the distance from the station to the nearest station of a
        network other than the reference network, NaN if there is none; ``vs30``, m/s, of the site layer at
        the pixel, else of the station, NaN if unknown or if the run leaves the channel out; ``r_rup_km``,
        the distance to the rupture, NaN if unknown; ``tectonic_class`` of the event, None if unknown;
        ``event_x_km, event_y_km`` and ``x_km, y_km``, epicentre and station, km east and north of the map's
        centre; ``backbone, field_mean, field_variance``, 0. Rows are sorted by event and station. Stations
        outside the output window are left out.

    Raises
    ------
    UsageError
        A network of the experiment is not in the dataset.
    DataError
        The dataset lacks the intensity measure, or a network has no station inside the output window.
    """
    if im not in dataset.ims:
        raise DataError(f"the dataset has no {im}: it has {listed(dataset.ims)}")
    stations = stations_in_use(dataset, experiment)
    grid = experiment.grid
    row, col, _ = grid.locate(stations["longitude"], stations["latitude"])
    x, y = grid.project(stations["longitude"], stations["latitude"])
    added = stations[stations["network"] != experiment.reference]
    stations = stations.assign(
        row=row,
        col=col,
        x_km=x,
        y_km=y,
        nearest_added_km=nearest_km(stations, added),
        vs30=_vs30(dataset, experiment, stations, row, col),
    )
    ex, ey = grid.project(dataset.events["longitude"], dataset.events["latitude"])
    events = dataset.events.assign(event_x_km=ex, event_y_km=ey)
    events["tectonic_class"] = events.get("tectonic_class")
    of_event = ["magnitude", "depth_km", "event_x_km", "event_y_km", "tectonic_class"]
    table = (
        _with_rupture_distance(dataset.records)[["event_id", "station_id", im, "r_rup_km"]]
        .dropna(subset=im)
        .merge(stations.drop(columns=["longitude", "latitude"]), on="station_id")
        .merge(events[["event_id", *of_event]], on="event_id")
        .sort_values(["event_id", "station_id"], ignore_index=True)
    )
    epicentral = np.hypot(table["x_km"] - table["event_x_km"], table["y_km"] - table["event_y_km"])
    table["r_hyp_km"] = np.hypot(epicentral, table["depth_km"])
    table["ln_im"] = np.log(table[im])
    columns = ["event_id", "station_id", "site_id", "network", "ln_im", "magnitude", "depth_km", "r_hyp_km"]
    columns += ["nearest_added_km", *NOT_PREDICTED]
    return table.assign(field_mean=0.0, field_variance=0.0)[columns].assign(backbone=0.0)


def with_backbone(records: pd.DataFrame, im: str, backbone: Backbone | None) -> pd.DataFrame:
    """Return records with the median of a backbone as ``backbone``, ln units; 0 without a backbone.

    Parameters
    ----------
    records : pandas.DataFrame
        Rows of `flat_table`.
    im : str
        Intensity measure.
    backbone : Backbone or None
        The backbone.

    Returns
    -------
    pandas.DataFrame
    """
    return records if backbone is None else records.assign(backbone=backbone.median_of(im, records))


def _with_rupture_distance(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with ``r_rup_km``, the distance to a known rupture, km, NaN where none is known.

    A distance with a variance is an estimate for an unknown rupture, for which the backbone has its own.
    """
    distance, variance = (
        records[name] if name in records else pd.Series(np.nan, records.index) for name in RUPTURE_DISTANCE
    )
    return records.assign(r_rup_km=distance.where(variance.isna()))


def _vs30(dataset: Dataset, experiment: Experiment, stations: pd.DataFrame, row, col) -> np.ndarray:
    """Return Vs30 of stations at the pixels (`row`, `col`), m/s; NaN where a network must not know it."""
    if experiment.hides_vs30:
        return np.full(len(stations), np.nan)
    if dataset.layers is not None and "vs30" in dataset.layers:
        return layers.on_grid(dataset.layers["vs30"], experiment.grid, experiment.grid.output_size)[0][
            row, col
        ]
    return stations["vs30_m_s"].to_numpy(float)


def places(dataset: Dataset, experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables of the events and of the stations that a run uses, with positions and site layers.

    Parameters
    ----------
    dataset : Dataset
        Tables of events and stations, and site layers.
    experiment : Experiment
        Description of the run: networks and grid.

    Returns
    -------
    events : pandas.DataFrame
        All events: ``event_id, origin_time``; ``event_longitude, event_latitude``, degrees;
        ``event_x_km, event_y_km``, km east and north of the map's centre; ``tectonic_class`` and
        ``magnitude_source``, the type of the magnitude, where the dataset has them.
    stations : pandas.DataFrame
        Stations of the experiment's networks inside the output window: ``station_id, site_id``;
        ``longitude, latitude``, degrees; ``x_km, y_km``, km east and north of the map's centre;
        ``vs30_m_s``; and one column per site layer with the value at the station's pixel, which the
        network sees.

    Raises
    ------
    UsageError
        A network of the experiment is not in the dataset.
    DataError
        A network has no station inside the output window.
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
    named |= {name: name for name in ("tectonic_class", "magnitude_source") if name in events}
    events = events[["event_id", "origin_time", *named]].rename(columns=named)
    stations = stations[["station_id", "site_id", "longitude", "latitude", "vs30_m_s"]]
    return events.assign(event_x_km=ex, event_y_km=ey), stations.assign(x_km=x, y_km=y, **at_pixel)


class Records(NamedTuple):
    """Records of several intensity measures, which may lack some of them.

    Attributes
    ----------
    places : pandas.DataFrame, [n, ...]
        ``event_id, station_id, row, col`` of records that have any of the measures, by event and station.
    rows : dict of str to ndarray of int
        By intensity measure, the row in `places` of each row of the measure's own table.
    """

    places: pd.DataFrame
    rows: dict[str, np.ndarray]

    @classmethod
    def of(cls, tables: Mapping[str, pd.DataFrame]) -> Self:
        """Join the records of several intensity measures.

        Parameters
        ----------
        tables : dict of str to pandas.DataFrame
            Rows of `flat_table` by intensity measure.

        Returns
        -------
        Records
        """
        every = pd.concat([table[[*RECORD, "row", "col"]] for table in tables.values()])
        places = every.drop_duplicates(RECORD).sort_values(RECORD, ignore_index=True)
        index = pd.MultiIndex.from_frame(places[RECORD])
        rows = {im: index.get_indexer(pd.MultiIndex.from_frame(t[RECORD])) for im, t in tables.items()}
        return cls(places, rows)

    def column(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return values of the measures' own tables as an array, [n, measures]; 0 for a lacking record.

        Parameters
        ----------
        values : dict of str to array_like
            A value for each row of a measure's own table, by intensity measure.

        Returns
        -------
        ndarray of float32, [n, measures]
        """
        joined = np.zeros((len(self.places), len(self.rows)), "float32")
        for number, (im, rows) in enumerate(self.rows.items()):
            joined[rows, number] = values[im]
        return joined


@dataclasses.dataclass(frozen=True)
class EventRecords:
    """Records grouped by event, as arrays that tf.data slices; K is the number of intensity measures.

    Attributes
    ----------
    names : ndarray of str, [n_events]
        Ids of the events.
    events : ndarray of float32, [n_events, 6]
        Event vectors, in the order of `tfgmm.network.channels.EVENT_VECTOR`.
    splits : ndarray of int, [n_events + 1]
        Row numbers of the records: those of event i are ``splits[i]:splits[i + 1]``.
    pixels : ndarray of int32, [n_records, 2]
        Row and column of the station in the output window.
    ln_im : ndarray of float32, [n_records, K]
        Observed ln IM minus the backbone and the mean of the field, which the network learns.
    variance : ndarray of float32, [n_records, K]
        Variance of what the field leaves open of ln IM, squared ln units; 0 without field.
    weight : ndarray of float32, [n_records, K]
        Weight of the record in the loss; 0 for a measure that the record lacks.
    """

    names: np.ndarray
    events: np.ndarray
    splits: np.ndarray
    pixels: np.ndarray
    ln_im: np.ndarray
    variance: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @classmethod
    def group(
        cls,
        tables: Mapping[str, pd.DataFrame],
        events: pd.DataFrame,
        grid,
        weights: Mapping[str, np.ndarray],
    ) -> "EventRecords":
        """Return the records of several intensity measures, grouped by event, as arrays.

        Parameters
        ----------
        tables : dict of str to pandas.DataFrame
            By intensity measure, rows of `flat_table` with the median ``backbone`` of ln IM and with mean
            and variance of the field, each 0 without one.
        events : pandas.DataFrame
            Events of the dataset: ``event_id``; ``longitude, latitude``, degrees; ``depth_km``;
            ``magnitude``.
        grid : Grid
            Map projection, for the positions of the epicentres.
        weights : dict of str to ndarray
            By intensity measure, the weight of each record among those of the measure, without unit.

        Returns
        -------
        EventRecords
            Each measure counts the same in the loss, whatever the number of its events.
        """
        records = Records.of(tables)
        names, first = np.unique(records.places["event_id"].to_numpy(str), return_index=True)
        # The loss is a mean over all events, also over those that lack a measure.
        share = {im: len(names) / (t["event_id"].nunique() * len(tables)) for im, t in tables.items()}
        learned = {im: t["ln_im"] - t["backbone"] - t["field_mean"] for im, t in tables.items()}
        return cls(
            names=names,
            events=event_vectors(events.set_index("event_id").loc[names], grid),
            splits=np.append(first, len(records.places)),
            pixels=records.places[["row", "col"]].to_numpy("int32"),
            ln_im=records.column(learned),
            variance=records.column({im: table["field_variance"] for im, table in tables.items()}),
            weight=records.column({im: weight * share[im] for im, weight in weights.items()}),
        )


def training_weight(table: pd.DataFrame, weighting: str) -> np.ndarray:
    """Return the weights of training records in the loss, [n_records].

    The loss of a batch is the mean over its events of the weighted sum over the records of an event.

    Parameters
    ----------
    table : pandas.DataFrame
        Training records, with ``event_id`` and ``ln_im``.
    weighting : {"record", "event", "correlated"}
        ``record``, ``correlated``: the weight is 1 / (mean number of records per event), so that all
        records count the same; ``event``: the weight is 1 / (number of records of the event), so that all
        events count the same.

    Returns
    -------
    ndarray, [n_records]
        Without unit.
    """
    count = table.groupby("event_id", observed=True)["ln_im"].transform("size").to_numpy(float)
    if weighting == "event":
        return 1 / count
    return np.full(len(table), table["event_id"].nunique() / len(table))


def stopping_weight(table: pd.DataFrame) -> np.ndarray:
    """Return the weights of stopping records that make training and stopping sites count the same.

    Stopping records are the records that decide when a training ends.

    Parameters
    ----------
    table : pandas.DataFrame
        Stopping records, with ``event_id``, ``site_role`` and ``ln_im``.

    Returns
    -------
    ndarray, [n_records]
        Without unit. The mean over events of the weighted sum over records is the mean over site roles of
        the mean over the records of a role.
    """
    count = table.groupby("site_role", observed=True)["ln_im"].transform("size").to_numpy(float)
    return table["event_id"].nunique() / (table["site_role"].nunique() * count)


def turned(maps: tf.Tensor, pixels: tf.Tensor, size: int, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn and mirror maps, and the station pixels in them, in one of the eight symmetries of the square.

    Parameters
    ----------
    maps : tensor, [input_size, input_size, channels]
        Input maps of one event.
    pixels : tensor of int32, [stations, 2]
        Row and column of each station in the output window.
    size : int
        Number of pixels along a side of the output window.
    turn : tensor of int32, [3]
        1 or 0: whether rows and columns are swapped, then rows reversed, then columns reversed.

    Returns
    -------
    maps : tensor, [input_size, input_size, channels]
        The turned maps.
    pixels : tensor of int32, [stations, 2]
        Row and column of each station in the turned output window.
    """
    swapped, *mirrored = tf.unstack(tf.cast(turn, tf.bool))
    maps = tf.cond(swapped, lambda: tf.transpose(maps, (1, 0, 2)), lambda: maps)
    pixels = tf.where(swapped, pixels[:, ::-1], pixels)
    maps = tf.cond(mirrored[0], lambda: maps[::-1], lambda: maps)
    maps = tf.cond(mirrored[1], lambda: maps[:, ::-1], lambda: maps)
    return maps, tf.where(tf.stack(mirrored), size - 1 - pixels, pixels)


def _loader(data: EventRecords, rasteriser: Rasteriser):
    """Return a function that computes the maps and the station tensors of one event from its number.

    The function takes the number of the event, the shift of the window in pixels, [2], and the turn, [3]
    (see `turned`). Stations that the shift moves out of the output window get the weight 0. Station tensors
    are ``pixels``, ``ln_im``, ``variance`` and ``weight``, see `training_batches`.
    """
    events, splits, pixels, *of_records = (tf.constant(array) for array in dataclasses.astuple(data)[1:])
    ln_im, variance, weight = of_records
    size = rasteriser.grid.output_size

    def load(number, shift, turn):
        rows = slice(splits[number], splits[number + 1])
        moved = pixels[rows] - shift
        inside = tf.reduce_all((moved >= 0) & (moved < size), axis=-1)
        maps, moved = turned(rasteriser(events[number], shift), moved, size, turn)
        stations = {
            "pixels": tf.clip_by_value(moved, 0, size - 1),
            "ln_im": ln_im[rows],
            "variance": variance[rows],
            "weight": weight[rows] * tf.cast(inside, tf.float32)[:, tf.newaxis],
        }
        return maps, stations

    return load


def _batched(numbers: tf.data.Dataset, data, rasteriser, batch_size: int, drop_remainder: bool):
    """Return batches of input maps and of station tensors, which are padded with zeros to one length.

    `numbers` yields the number of each event, the shift of its window and its turn, as of `_loader`.
    """
    loaded = numbers.map(_loader(data, rasteriser), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    size, channels = rasteriser.grid.input_size, len(rasteriser.names)
    lists = {name: [None, data.ln_im.shape[1]] for name in ("ln_im", "variance", "weight")}
    shapes = ([size, size, channels], {"pixels": [None, 2], **lists})
    return loaded.padded_batch(batch_size, shapes, drop_remainder=drop_remainder).prefetch(2)


def steps_per_epoch(n_events: int, batch_size: int) -> int:
    """Return the number of full batches per epoch.

    Events that do not fill a batch are left out of an epoch; the order of events is random, and other
    events are left out in the next epoch.

    Parameters
    ----------
    n_events : int
        Number of training events.
    batch_size : int
        Number of events per batch.

    Returns
    -------
    int
    """
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
    """Return the batches of `epochs`, with events in random order and windows at random shifts.

    Order, shifts and turns depend on (seed, epoch) only: a training that goes on from epoch k sees the same
    batches as a training without interruption.

    Parameters
    ----------
    data : EventRecords
        Training records.
    rasteriser : Rasteriser
        Maker of the input maps; its ``max_shift`` is the largest shift in pixels.
    batch_size : int
        Number of events per batch; at most the number of events.
    epochs : range
        Numbers of the epochs, from 0.
    seed : int
        Seed of the member.
    turns : bool
        Turn and mirror the maps at random.

    Returns
    -------
    tf.data.Dataset
        ``len(epochs) * steps_per_epoch(...)`` elements (maps, stations). Maps are [batch, input_size,
        input_size, channels]; stations is a dict with ``pixels`` [batch, stations, 2] and ``ln_im``,
        ``variance`` and ``weight``, [batch, stations, K] each, for K intensity measures.
    """
    count, batch_size = len(data), min(batch_size, len(data))
    used = steps_per_epoch(count, batch_size) * batch_size

    def one_epoch(epoch):
        key = tf.stack([tf.cast(seed, tf.int64), epoch])
        order = _order(count, key)[:used]
        limit = rasteriser.max_shift
        shift = tf.random.stateless_uniform([used, 2], key, -limit, limit + 1, tf.int32)
        other_key = tf.random.experimental.stateless_fold_in(key, 1)
        turn = tf.random.stateless_uniform([used, 3], other_key, 0, 1 + turns, tf.int32)
        return tf.data.Dataset.from_tensor_slices((order, shift, turn))

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    batches = _batched(numbers, data, rasteriser, batch_size, drop_remainder=True)
    counted = tf.data.experimental.assert_cardinality(len(epochs) * (used // batch_size))
    return on_device(batches.apply(counted))


def _order(count: int, key: tf.Tensor) -> tf.Tensor:
    """Return the numbers of the training events in the order of an epoch, `key` being (seed, epoch)."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), key)


def events_of_batch(data: EventRecords, batch_size: int, epoch: int, step: int, seed: int) -> list[str]:
    """Return the ids of the events in one batch of `training_batches`.

    Parameters
    ----------
    data : EventRecords
        Training records.
    batch_size : int
        Number of events per batch; at most the number of events.
    epoch, step : int
        Numbers of the epoch and of the batch in it, from 0.
    seed : int
        Seed of the member.

    Returns
    -------
    list of str
    """
    order = _order(len(data), tf.constant([seed, epoch], tf.int64)).numpy()
    size = min(batch_size, len(data))
    return data.names[order[step * size : (step + 1) * size]].tolist()


def fixed_batches(data: EventRecords, rasteriser: Rasteriser, batch_size: int = 8) -> tf.data.Dataset:
    """Return batches that hold every event once, in order, with windows that are not shifted or turned.

    Parameters
    ----------
    data : EventRecords
        Records to evaluate.
    rasteriser : Rasteriser
        Maker of the input maps.
    batch_size : int
        Number of events per batch; the last batch may be smaller.

    Returns
    -------
    tf.data.Dataset
        Elements (maps, stations) as of `training_batches`.
    """
    numbers = tf.data.Dataset.range(len(data)).map(
        lambda n: (n, tf.zeros(2, tf.int32), tf.zeros(3, tf.int32))
    )
    return _batched(numbers, data, rasteriser, batch_size, drop_remainder=False)


def channel_statistics(
    data: EventRecords, rasteriser: Rasteriser, max_events: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every channel over the pixels of up to `max_events` training events.

    Parameters
    ----------
    data : EventRecords
        Training records.
    rasteriser : Rasteriser
        Maker of the input maps.
    max_events : int
        Largest number of events; if there are more, events are picked evenly.

    Returns
    -------
    mean, variance : ndarray, [channels]
        In the unit of the channel, and in the squared unit; the variance is at least 1e-12.
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


@dataclasses.dataclass(frozen=True)
class Material:
    """Records by role and makers of input maps, which the members of one chunk share.

    A member is one trained network of a station chunk, whose sites are held out, and an initialisation.

    Attributes
    ----------
    experiment : Experiment
        Description of the run, with the precision of this machine in place of ``auto``.
    records : dict of str to pandas.DataFrame
        By intensity measure, `tfgmm.network.batches.flat_table` with ``event_role`` and ``site_role``, each
        training, validation or stopping; ``backbone``, the backbone's median of ln IM (0 without a
        backbone); ``field_mean`` and ``field_variance``, what the field tells of training and stopping
        records that it has not seen, in ln units and squared ln units (0 without field).
    backbones : dict of str to Backbone
        Medians of ln IM to which the networks of the chunk add; empty without backbone.
    training : EventRecords
        Training set: records of training events at training sites.
    stopping : EventRecords
        Stopping set: records that decide when a training ends.
    scored : EventRecords
        All records, each of weight 1, for the predictions table.
    moving, fixed : Rasteriser
        Makers of the input maps with random shifts, for the training, and without.
    """

    experiment: Experiment
    records: Mapping[str, pd.DataFrame]
    backbones: Mapping[str, Backbone]
    training: EventRecords
    stopping: EventRecords
    scored: EventRecords
    moving: Rasteriser
    fixed: Rasteriser

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        experiment: Experiment,
        fold: Fold,
        backbones: Mapping[str, Backbone | None] | None = None,
        *,
        unseen: Mapping[str, pd.DataFrame | None] | None = None,
    ) -> Self:
        """Return the records and the makers of input maps of one fold.

        Parameters
        ----------
        dataset : Dataset
            Tables of events, stations and records, and site layers.
        experiment : Experiment
            Description of the run, with its intensity measures.
        fold : Fold
            Roles of events and stations while one chunk of sites is held out.
        backbones : dict of str to Backbone, optional
            Backbone of the chunk by intensity measure (`tfgmm.network.backbones.fit`).
        unseen : dict of str to pandas.DataFrame, optional
            What the field tells of the records, by intensity measure (`tfgmm.network.fields.unseen`).

        Returns
        -------
        Material

        Raises
        ------
        UsageError
            A channel to drop is unknown.
        DataError
            The dataset lacks an intensity measure, a site layer covers too little of the map, or the
            stopping set is empty.
        """
        experiment, records = resolved(experiment), {}
        backbones, unseen = backbones or {}, unseen or {}
        for im in experiment.ims:
            table = fold.roles(flat_table(dataset, experiment, im))
            table = with_backbone(table, im, backbones.get(im))
            records[im] = table if unseen.get(im) is None else table.assign(**unseen[im])
        training = {im: training_records(table) for im, table in records.items()}
        stopping = {im: stopping_records(table, experiment) for im, table in records.items()}
        names, weighting = select(dataset.layers or (), experiment.drop), experiment.training.weighting

        def group(tables, weight):
            weights = {im: weight(table) for im, table in tables.items()}
            return EventRecords.group(tables, dataset.events, experiment.grid, weights)

        return cls(
            experiment=experiment,
            records=records,
            backbones={im: backbone for im, backbone in backbones.items() if backbone is not None},
            training=group(training, lambda table: training_weight(table, weighting)),
            stopping=group(stopping, stopping_weight),
            scored=group(records, lambda table: np.ones(len(table))),
            moving=Rasteriser(experiment.grid, names, dataset.layers, experiment.training.shift_pixels),
            fixed=Rasteriser(experiment.grid, names, dataset.layers),
        )

    @property
    def steps(self) -> int:
        """Return the number of optimiser steps per epoch."""
        return steps_per_epoch(len(self.training), self.experiment.training.batch_size)

    @property
    def epochs(self) -> int:
        """Return the number of epochs after which a training ends if it is not stopped earlier."""
        return self.experiment.training.epochs_of(self.steps)
