"""The maps that the network sees: name, unit, group (source | path | site), formula."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf
import xarray as xr

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.data import layers
from tfgmm.runs.run import RunFolder

#: Columns of the event vector from which maps are computed.
EVENT_VECTOR = ("longitude", "latitude", "depth_km", "magnitude", "x_km", "y_km")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One event over one window: what channels are computed from.

    Attributes
    ----------
    event : dict of scalar tensors
        The event vector by name.
    x_km, y_km : tensors [1, cols] and [rows, 1]
        Pixel centres.
    layers : dict of tensors [rows, cols]
        Site layers.
    """

    event: Mapping[str, tf.Tensor]
    x_km: tf.Tensor
    y_km: tf.Tensor
    layers: Mapping[str, tf.Tensor]

    def r_hyp_km(self) -> tf.Tensor:
        """Return the hypocentral distance of every pixel in km."""
        event = self.event
        return tf.sqrt(
            (self.x_km - event["x_km"]) ** 2 + (self.y_km - event["y_km"]) ** 2 + event["depth_km"] ** 2
        )


@dataclasses.dataclass(frozen=True)
class Channel:
    """One map that the network sees."""

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
    """Choose the channels that are used, in the order of `CHANNELS`.

    Parameters
    ----------
    available : collection of str
        Site layers that the dataset has; a channel whose layer is missing is left out.
    drop : collection of str
        Channels or groups to leave out as well.

    Raises
    ------
    UsageError
        `drop` names no channel and no group, or nothing is left.
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
    """A function that turns an event vector into a stack of maps over the input window.

    Parameters
    ----------
    grid : Grid
    names : sequence of str
        Channels, in order.
    site_layers : xarray.Dataset or None
    max_shift : int
        Largest shift of the window in pixels.

    Attributes
    ----------
    filled : dict of str to float
        Share of the input window where a layer had to be filled.
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
        """Return the maker of the maps that the networks of a run see; errors as `RunFolder.dataset`."""
        return cls(run.experiment.grid, run.channels, run.site_layers())

    def __call__(self, event: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Return the maps of one event.

        Parameters
        ----------
        event : tensor of float32, [6]
            In the order of `EVENT_VECTOR`.
        shift : tensor of int32, [2]
            Rows south and columns east by which the window is moved, at most `max_shift`.

        Returns
        -------
        tensor of float32, [input_size, input_size, channels]
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


def event_vectors(events, grid: Grid) -> np.ndarray:
    """Turn a table of events into vectors [n, 6], float32, in the order of `EVENT_VECTOR`."""
    x, y = grid.project(events["longitude"], events["latitude"])
    columns = [events[name].to_numpy() for name in EVENT_VECTOR[:4]]
    return np.stack([*columns, x, y], axis=1).astype("float32")
