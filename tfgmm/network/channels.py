"""The input channels of a network, as maps: name, unit, group (source | path | site), formula."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf
import xarray as xr

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.data import layers
from tfgmm.runs.run import RunFolder

#: Elements of the event vector, from which the channels are computed: degrees, km, Mw, km east and north.
EVENT_VECTOR = ("longitude", "latitude", "depth_km", "magnitude", "x_km", "y_km")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One event and the part of the map that a network sees, from which the channels are computed.

    Attributes
    ----------
    event : dict of str to scalar tensor
        Values of the event by the names of `EVENT_VECTOR`.
    x_km, y_km : tensor, [1, cols] and [rows, 1]
        Pixel centres, km east and north of the map's centre.
    layers : dict of str to tensor, [rows, cols]
        Site layers by name: ``z_bedrock`` (m), ``vs30`` (m/s).
    """

    event: Mapping[str, tf.Tensor]
    x_km: tf.Tensor
    y_km: tf.Tensor
    layers: Mapping[str, tf.Tensor]

    def r_hyp_km(self) -> tf.Tensor:
        """Return the hypocentral distance of every pixel, km, [rows, cols]."""
        event = self.event
        return tf.sqrt(
            (self.x_km - event["x_km"]) ** 2 + (self.y_km - event["y_km"]) ** 2 + event["depth_km"] ** 2
        )


@dataclasses.dataclass(frozen=True)
class Channel:
    """One input channel of a network.

    Attributes
    ----------
    name : str
        Name of the channel.
    unit : str
        Unit of its values.
    group : {"source", "path", "site"}
        Group of channels to which the channel belongs.
    formula : callable
        Function from a `Scene` to the values, a tensor that broadcasts to [rows, cols].
    """

    name: str
    unit: str
    group: str
    formula: Callable[[Scene], tf.Tensor]


CHANNELS = {
    channel.name: channel
    for channel in (
        Channel("event_longitude", "degree", "source", lambda s: s.event["longitude"]),
        Channel("event_latitude", "degree", "source", lambda s: s.event["latitude"]),
        Channel("event_depth", "km", "source", lambda s: s.event["depth_km"]),
        Channel("magnitude", "1", "source", lambda s: s.event["magnitude"]),
        Channel("r_hyp", "km", "path", Scene.r_hyp_km),
        Channel("pixel_x", "km", "site", lambda s: s.x_km),
        Channel("pixel_y", "km", "site", lambda s: s.y_km),
        Channel("z_bedrock", "m", "site", lambda s: s.layers["z_bedrock"]),
        Channel("vs30", "m/s", "site", lambda s: s.layers["vs30"]),
    )
}
GROUPS = ("source", "path", "site")


def select(available: Collection[str], drop: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the channels that a network uses, in the order of `CHANNELS`.

    Parameters
    ----------
    available : collection of str
        Names of the site layers of the dataset; a channel whose site layer is missing is left out.
    drop : collection of str
        Names of channels or groups of channels that are also left out.

    Returns
    -------
    tuple of str
        Names of channels.

    Raises
    ------
    UsageError
        A name in `drop` is neither a channel nor a group, or no channel is left.
    """
    for name in drop:
        if name not in CHANNELS and name not in GROUPS:
            raise UsageError(
                f"cannot drop {name!r}: it is neither a group ({', '.join(GROUPS)}) "
                f"nor a channel ({', '.join(CHANNELS)})"
            )
    absent = set(layers.LAYERS) - set(available)
    chosen = tuple(
        c.name for c in CHANNELS.values() if c.name not in absent and not {c.name, c.group} & set(drop)
    )
    if not chosen:
        raise UsageError("every channel is dropped: nothing is left for the network to see")
    return chosen


class Rasteriser:
    """A function that computes the input maps of an event from an event vector and a shift of the window.

    Parameters
    ----------
    grid : Grid
        Projection and windows of the map.
    names : tuple of str
        Names of the channels, in the order of the last axis of the maps.
    site_layers : xarray.Dataset or None
        Site layers of the dataset.
    max_shift : int
        Largest shift of the window, pixels.

    Attributes
    ----------
    filled : dict of str to float
        Share, 0 to 1, of the map where the site layer has no value and was filled, by name of the layer.

    Raises
    ------
    DataError
        A site layer covers too little of the map.
    """

    def __init__(
        self, grid: Grid, names: tuple[str, ...], site_layers: xr.Dataset | None, max_shift: int = 0
    ) -> None:
        self.grid = grid
        self.names = names
        self.max_shift = max_shift
        size = grid.input_size + 2 * max_shift
        self._x, self._y = (axis.astype("float32") for axis in grid.axes_km(size))
        self._layers, self.filled = {}, {}
        for name in set(names) & set(layers.LAYERS):
            values, covered = layers.on_grid(site_layers[name], grid, size)
            self._layers[name] = values.astype("float32")
            self.filled[name] = float(1 - covered.mean())

    @classmethod
    def of_run(cls, run: RunFolder) -> "Rasteriser":
        """Return the rasteriser that makes the input maps of the networks of a run.

        Parameters
        ----------
        run : RunFolder
            An existing run.

        Returns
        -------
        Rasteriser
            Without random shifts of the window.

        Raises
        ------
        DataError
            The run's copy of the data is missing or damaged.
        """
        return cls(run.experiment.grid, run.channels, run.site_layers())

    def __call__(self, event: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Return the input maps of one event.

        Parameters
        ----------
        event : tensor of float32, [6]
            Event vector, in the order of `EVENT_VECTOR`.
        shift : tensor of int32, [2]
            Rows south and columns east by which the window is moved, each at most `max_shift` pixels.

        Returns
        -------
        tensor of float32, [input_size, input_size, channels]
            Values in the units of the channels.
        """
        size = self.grid.input_size
        row, col = self.max_shift + shift[0], self.max_shift + shift[1]
        scene = Scene(
            event=dict(zip(EVENT_VECTOR, tf.unstack(event), strict=True)),
            x_km=tf.convert_to_tensor(self._x)[None, col : col + size],
            y_km=tf.convert_to_tensor(self._y)[row : row + size, None],
            layers={
                name: tf.convert_to_tensor(values)[row : row + size, col : col + size]
                for name, values in self._layers.items()
            },
        )
        maps = [tf.broadcast_to(CHANNELS[name].formula(scene), (size, size)) for name in self.names]
        # Stacked in front and turned over: twice as fast as interleaving the channels one by one.
        return tf.ensure_shape(tf.transpose(tf.stack(maps), (1, 2, 0)), (size, size, len(self.names)))

    @functools.cached_property
    def of_events(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return a graph from event vectors, [event, 6], to input maps, [event, row, col, channel].

        The window is not moved. The graph is traced once, whoever asks for it and however often.
        """
        # A partial function of its own: TensorFlow counts the traces of one line of code together, and
        # warns of retracing where several rasterisers have one graph each.
        maps = functools.partial(_unmoved, self)
        return tf.function(maps, [tf.TensorSpec([None, len(EVENT_VECTOR)], tf.float32)])


def _unmoved(rasteriser: Rasteriser, vectors: tf.Tensor) -> tf.Tensor:
    """Return the input maps, [event, row, col, channel], of event vectors, [event, 6]."""
    return tf.vectorized_map(lambda vector: rasteriser(vector, tf.zeros(2, tf.int32)), vectors)


def event_vectors(events, grid: Grid) -> np.ndarray:
    """Return the event vectors of a table of events, [n, 6].

    Parameters
    ----------
    events : pandas.DataFrame
        ``longitude, latitude`` (degrees), ``depth_km``, ``magnitude`` (Mw).
    grid : Grid
        Map projection.

    Returns
    -------
    ndarray of float32, [n, 6]
        Columns in the order of `EVENT_VECTOR`.
    """
    x, y = grid.project(events["longitude"], events["latitude"])
    columns = [events[name].to_numpy() for name in EVENT_VECTOR[:4]]
    return np.stack([*columns, x, y], axis=1).astype("float32")
