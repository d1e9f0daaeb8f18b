"""The field in events without records as TensorFlow functions, in bounded memory."""

from typing import Any, Self

import tensorflow as tf
from keras import ops

from tfgmm.stats.field import Field
from tfgmm.stats.field_event import at_places, of_event

#: Number of places for which the field is computed at once.
_PLACES_AT_ONCE = 1024


class FieldGraph:
    """A field as TensorFlow functions of hypocentres and places.

    Distances between places and stations take most of the memory. They are computed for a block of places
    at a time, and serve all events at these places. All runs on the processor: a graphics card rounds the
    factors of matrix products to three digits, and large numbers cancel here.

    Parameters
    ----------
    constants : dict of str to tensor
        Result of `tfgmm.stats.field.Field.constants`, the arrays as tensors.
    """

    def __init__(self, constants: dict[str, Any]) -> None:
        self._constants = constants

    @classmethod
    def of(cls, field: Field) -> Self:
        """Return the functions of a field.

        Parameters
        ----------
        field : Field
            The field.

        Returns
        -------
        FieldGraph
        """
        return cls(
            {
                name: values if name == "covariance" else tf.constant(values)
                for name, values in field.constants.items()
            }
        )

    def at(
        self,
        source_km: tf.Tensor,
        place_km: tf.Tensor,
        site: tf.Tensor | None = None,
        *,
        site_terms: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance of the field of events at the same places.

        Parameters
        ----------
        source_km : tensor of float32, [n, 3]
            Hypocentres: km east and north of the centre of the map, and depth in km.
        place_km : tensor of float32, [m, 2]
            Places, km east and north of the centre of the map.
        site : tensor of int32, [m], optional
            Index of the site of each place among those of the records, negative for a new one; by default
            all sites are new.
        site_terms : bool
            If False, site terms are left out of the mean; the variance is the same.

        Returns
        -------
        mean, variance : tensor of float32, [n, m]
            Ln units; squared ln units, without the noise of a record.
        """
        count = tf.shape(place_km)[0]
        blocks = tf.maximum(-(-count // _PLACES_AT_ONCE), 1)

        def in_blocks(values):
            """Return values of the places, [m, ...], as [blocks, places at once, ...]; zeros at the end."""
            more = blocks * _PLACES_AT_ONCE - count
            padded = tf.pad(values, [[0, more], *[[0, 0]] * (len(values.shape) - 1)])
            return tf.reshape(padded, [blocks, _PLACES_AT_ONCE, *values.shape[1:]])

        def of_block(block):
            """Return mean and variance of all events at a block of places, [n, places at once] each."""
            functions = at_places(self._constants, *block, xp=ops)
            if not site_terms:
                functions = functions._replace(site_mean=tf.zeros_like(functions.site_mean))
            return _one_by_one(lambda source: of_event(self._constants, functions, source, ops), source_km)

        with tf.device("CPU:0"):
            given = tuple(in_blocks(values) for values in (place_km, site) if values is not None)
            found = _one_by_one(of_block, given)
        size = tf.stack([tf.shape(source_km)[0], blocks * _PLACES_AT_ONCE])
        return tuple(tf.reshape(tf.transpose(values, (1, 0, 2)), size)[:, :count] for values in found)

    def at_own(
        self, source_km: tf.Tensor, place_km: tf.Tensor, site: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance of the field for events that each have places of their own.

        `at` takes the same places for all events.

        Parameters
        ----------
        source_km : tensor of float32, [n, 3]
            As for `at`.
        place_km, site : tensor, [n, m, 2] and [n, m]
            As for `at`, for each event.

        Returns
        -------
        mean, variance : tensor of float32, [n, m]
            As of `at`.
        """

        def of_one(inputs):
            """Return mean and variance of one event at its places, [m] each."""
            source, *places = inputs
            return tuple(values[0] for values in self.at(source[tf.newaxis], *places))

        return _one_by_one(of_one, (source_km, place_km, *([] if site is None else [site])))


def _one_by_one(function, inputs) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two results of a function of the slices of tensors, one after the other to save memory."""
    kinds = (tf.float32, tf.float32)
    return tf.map_fn(function, inputs, parallel_iterations=1, fn_output_signature=kinds)
