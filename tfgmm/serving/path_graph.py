"""Source and path terms as TensorFlow operations: hypocentres -> maps, or values at stations."""

import numpy as np
import tensorflow as tf

from tfgmm.stats.path_terms import PathTerms


class PathGraph:
    """`PathTerms.shared` and `PathTerms.own` of some members.

    Parameters
    ----------
    paths : PathTerms
    stations : sequence of str, [k]
        Those that are asked for.
    xy_km : ndarray, [k, 2]
        Where they are.
    """

    def __init__(self, paths: PathTerms, stations, xy_km: np.ndarray) -> None:
        self._paths, self._xy_km = paths, xy_km
        self._column = paths.columns(stations)
        #: A SavedModel must hold it.
        self.weights = tf.Variable(paths.weights, trainable=False)

    def on_map(self, source_km: tf.Tensor, centres_km: np.ndarray) -> tf.Tensor:
        """Terms of events [n, 3] at pixel centres [rows, cols, 2], [n, members, rows, cols]."""
        near = self._near(source_km)
        # A row at a time: for memory's sake.
        rows = tf.map_fn(lambda places: self._shared(near, places), tf.constant(centres_km, tf.float32))
        return tf.transpose(rows, (1, 2, 0, 3))

    def at_stations(self, source_km: tf.Tensor) -> tf.Tensor:
        """Terms of events [n, 3] at all the stations, [n, members, k]."""
        near = self._near(source_km)
        own = tf.where(self._column >= 0, tf.gather(near, np.maximum(self._column, 0), axis=-1), 0.0)
        shared = self._shared(near, tf.constant(self._xy_km, tf.float32))
        return shared + self._paths.covariance.own * own

    def _near(self, source_km: tf.Tensor) -> tf.Tensor:
        """Weights summed over the events near sources, [n, members, stations]."""
        h = _correlation(source_km, self._paths.source_km, self._paths.covariance.source_km)
        return tf.einsum("ne,mes->nms", h, self.weights)

    def _shared(self, near: tf.Tensor, places_km: tf.Tensor) -> tf.Tensor:
        found = self._paths.covariance
        g = _correlation(self._paths.site_km, places_km, found.site_km)
        return found.path * near @ g + found.source * tf.reduce_sum(near, axis=-1, keepdims=True)


def _correlation(one_km, other_km, range_km: float) -> tf.Tensor:
    """exp(-d / l) of places [n, d] and [m, d], [n, m]."""
    one, other = (tf.cast(km, tf.float32) for km in (one_km, other_km))
    return tf.exp(-tf.norm(one[:, tf.newaxis] - other, axis=-1) / range_km)
