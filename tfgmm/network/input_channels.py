"""Layers before the U-Net: channels kept inside the range of the training records, and standardised."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import shapely
from keras import ops

from tfgmm.runs.member_folder import Ranges

#: Names of the channels of the source position, and columns of the ranges of other channels.
POSITION = ("event_longitude", "event_latitude")
RANGES = {"magnitude": "magnitude", "event_depth": "depth_km", "r_hyp": "r_hyp_km"}

#: Distance outside the hull, degrees, up to which a source is not moved: about 10 m, and more than the
#: rounding of a longitude in float32, so that no training event is moved.
_NO_DISTANCE = 1e-4
#: Distance from all edges, degrees, from which a source is surely inside the hull: a hull that is a line
#: but for rounding has no inside.
_SURELY_INSIDE = 1e-5


@keras.saving.register_keras_serializable("tfgmm")
class ClippedChannels(keras.layers.Layer):
    r"""A Keras layer that keeps input channels inside what the training records have shown.

    .. math:: x' = \min(\max(x, x_{low}), x_{high})

    The position of the source is moved to the nearest point of the convex hull of the training epicentres,
    on a plane of degrees on which longitudes are shortened by the cosine of the mean latitude of the hull.
    A hull of two vertices is a segment, of one a point. Values inside do not change at all.

    Parameters
    ----------
    low, high : sequence of float or None, [channels]
        Lowest and highest value of every channel, in the unit of the channel; None or NaN leaves it as it
        is.
    position_channels : (int, int) or ()
        Positions of longitude and latitude of the source among the channels. They are constant over a map.
        Empty: the source is not moved.
    hull : sequence of (float, float), [vertices, 2]
        Longitudes and latitudes of the vertices of the hull, degrees, anticlockwise.

    Raises
    ------
    ValueError
        There are position channels and no vertices.
    """

    def __init__(
        self,
        low: Sequence[float | None],
        high: Sequence[float | None],
        position_channels: Sequence[int] = (),
        hull: Sequence[Sequence[float]] = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.low, self.high = ([_finite(value) for value in limit] for limit in (low, high))
        self.position_channels = [int(position) for position in position_channels]
        self.hull = [[float(value) for value in vertex] for vertex in hull]
        if self.position_channels and not self.hull:
            raise ValueError("a source is moved to the hull of training epicentres: it needs a vertex")

    def call(self, maps):
        """Return the input maps with all values inside what the training records have shown.

        Parameters
        ----------
        maps : tensor, [batch, row, col, channel]
            Input maps in the units of the channels.

        Returns
        -------
        tensor, [batch, row, col, channel]
            Maps in the same units.
        """
        _, rows, cols, channels = maps.shape
        low = np.array([[-np.inf if value is None else value for value in self.low]], "float32")
        high = np.array([[np.inf if value is None else value for value in self.high]], "float32")
        if self.position_channels:
            # A map has one source: to move it is to clip its channels to one value.
            place = ops.stack([maps[:, 0, 0, channel] for channel in self.position_channels], axis=-1)
            nearest, outside = self._nearest(ops.cast(place, "float32"))
            for axis, channel in enumerate(self.position_channels):
                moved = outside & (np.arange(channels) == channel)
                low, high = (ops.where(moved, nearest[:, axis, None], limit) for limit in (low, high))
        limits = (ops.cast(_along_row(limit, cols), maps.dtype) for limit in (low, high))
        clipped = _as_rows(maps)
        for limit, chosen in zip(limits, (ops.maximum, ops.minimum), strict=True):
            clipped = chosen(clipped, limit)
        return ops.reshape(clipped, (-1, rows, cols, channels))

    def _nearest(self, place):
        """Return the nearest points of the hull to sources, and which sources are outside.

        `place`, [batch, 2], are longitudes and latitudes, degrees. The results are points [batch, 2] of the
        same kind, and booleans [batch, 1].
        """
        vertices = np.array(self.hull, "float32")
        # Shifted first, for the digits of float32; the same arithmetic below leaves a vertex where it is.
        centre = vertices.mean(axis=0)
        scale = np.array([np.cos(np.radians(centre[1])), 1.0], "float32")
        start = (vertices - centre) * scale
        edge = np.roll(start, -1, axis=0) - start
        square = np.maximum((edge**2).sum(axis=1), np.finfo("float32").tiny)
        from_start = ((place - centre) * scale)[:, None] - start
        along = ops.clip(ops.sum(from_start * edge, axis=-1) / square, 0.0, 1.0)
        offset = along[..., None] * edge - from_start
        distance = ops.sqrt(ops.sum(offset**2, axis=-1))
        # Not argmin, of which Keras makes an operation that OpenVINO does not know. Edges that are equally
        # near share their nearest point, a vertex.
        is_nearest = ops.cast(distance <= ops.min(distance, axis=1, keepdims=True), distance.dtype)
        is_nearest = is_nearest / ops.sum(is_nearest, axis=1, keepdims=True)
        nearest = place + ops.sum(is_nearest[..., None] * offset, axis=1) / scale
        outside = ops.min(distance, axis=1, keepdims=True) > _NO_DISTANCE
        if len(vertices) > 2:
            left = edge[:, 0] * from_start[..., 1] - edge[:, 1] * from_start[..., 0]
            inside = ops.all(left / np.sqrt(square) > _SURELY_INSIDE, axis=1, keepdims=True)
            outside = outside & ~inside
        return nearest, outside

    def compute_output_shape(self, input_shape):
        """Return the shape of the maps, which stays."""
        return input_shape

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        names = ("low", "high", "position_channels", "hull")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("tfgmm")
class StandardisedChannels(keras.layers.Layer):
    r"""A Keras layer that standardises input channels, as `keras.layers.Normalization` does but faster.

    .. math:: x' = (x - m) / \max(\sqrt{v}, 10^{-7})

    Parameters
    ----------
    mean, variance : sequence of float, [channels]
        Mean m and variance v of each channel over the training records, in its unit and its unit squared.
    """

    def __init__(self, mean: Sequence[float], variance: Sequence[float], **kwargs):
        super().__init__(**kwargs)
        self.mean, self.variance = ([float(value) for value in values] for values in (mean, variance))

    def call(self, maps):
        """Return the input maps with every channel standardised.

        Parameters
        ----------
        maps : tensor, [batch, row, col, channel]
            Input maps in the units of the channels.

        Returns
        -------
        tensor, [batch, row, col, channel]
            Standardised maps, without unit.
        """
        _, rows, cols, channels = maps.shape
        mean = np.array([self.mean], "float32")
        stddev = np.maximum(np.sqrt(np.array([self.variance], "float32")), keras.config.epsilon())
        mean, stddev = (ops.cast(_along_row(values, cols), maps.dtype) for values in (mean, stddev))
        return ops.reshape((_as_rows(maps) - mean) / stddev, (-1, rows, cols, channels))

    def compute_output_shape(self, input_shape):
        """Return the shape of the maps, which stays."""
        return input_shape

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        return super().get_config() | {"mean": self.mean, "variance": self.variance}


def _as_rows(maps):
    """Return maps, [batch, row, col, channel], with columns and channels as one axis.

    Arithmetic with values that repeat along an axis of nine channels takes three times as long.
    """
    _, rows, cols, channels = maps.shape
    return ops.reshape(maps, (-1, rows, cols * channels))


def _along_row(values, cols: int):
    """Return values of each channel, [batch, channel], repeated for each column of `_as_rows`."""
    return ops.tile(values, (1, cols))[:, None]


def _finite(value: float | None) -> float | None:
    """Return a limit as a number, or None if it is None, NaN or infinite."""
    return None if value is None or not np.isfinite(value) else float(value)


def hull_of(longitude, latitude) -> list[list[float]]:
    """Return the vertices of the convex hull of epicentres, anticlockwise.

    Parameters
    ----------
    longitude, latitude : array_like, [n]
        Epicentres, degrees.

    Returns
    -------
    list of [float, float]
        Longitude and latitude of each vertex, degrees: two if all epicentres lie on a line, one if they are
        one place.

    Examples
    --------
    >>> hull_of([140, 141, 141, 140.6], [35, 35, 36, 35.3])
    [[140.0, 35.0], [141.0, 35.0], [141.0, 36.0]]
    """
    hull = shapely.convex_hull(shapely.multipoints(np.column_stack([longitude, latitude])))
    if isinstance(hull, shapely.Polygon):
        hull = shapely.LineString(shapely.geometry.polygon.orient(hull).exterior.coords[:-1])
    return shapely.get_coordinates(hull).tolist()


def limits(records: pd.DataFrame, events: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `ClippedChannels` for channels and the records that trained.

    Magnitude, event depth and hypocentral distance get the range of the records; the position of the source
    the hull of the epicentres, or where one of its two channels is dropped the range of the other. Site
    channels are left as they are: a map shows the network all of them in training.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        Training records: ``event_id, magnitude, depth_km, r_hyp_km`` (km).
    events : pandas.DataFrame
        ``longitude, latitude``, degrees, of the training events. If there is a column ``event_id``, events
        without training records are left out.
    names : sequence of str
        Names of the channels, in the order of the maps.

    Returns
    -------
    dict
        ``low``, ``high``, ``position_channels`` and ``hull``.
    """
    if "event_id" in events:
        events = events[events["event_id"].isin(records["event_id"])]
    ranges = Ranges.of_records(records)
    limit: dict[str, tuple[float, float]] = {name: getattr(ranges, RANGES[name]) for name in RANGES}
    hull, positions = [], [names.index(name) for name in POSITION if name in names]
    if len(positions) == len(POSITION):
        hull = hull_of(events["longitude"], events["latitude"])
    else:
        positions = []
        degrees = dict(zip(POSITION, ("longitude", "latitude"), strict=True))
        limit |= {name: (float(events[d].min()), float(events[d].max())) for name, d in degrees.items()}
    low, high = ([limit[name][end] if name in limit else None for name in names] for end in (0, 1))
    return {"low": low, "high": high, "position_channels": positions, "hull": hull}
