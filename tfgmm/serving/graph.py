"""An ensemble as TensorFlow functions that need no Python: event -> maps, event and sites -> values."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgmm.network.channels import Rasteriser
from tfgmm.serving.path_graph import PathGraph
from tfgmm.serving.projection import Projection
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.random_effects import RandomEffects

#: Inputs of every signature, [n]; coordinates in float32 degrees would step by 1.5 m.
EVENT = {"longitude": tf.float64, "latitude": tf.float64, "depth_km": tf.float32, "magnitude": tf.float32}
#: Further inputs of ``at_sites``, [n, m].
SITES = {"site_longitude": tf.float64, "site_latitude": tf.float64}
#: Further input of ``at_stations``, [n, m].
STATIONS = {"station_id": tf.string}
#: What records may hold, and so what a request may; NaN is refused as well.
LIMITS = {"longitude": (-180, 180), "latitude": (-90, 90), "depth_km": (-5, 800), "magnitude": (-1, 10)}

#: Trained sites whose distances from all places are in memory at once.
_SITES_AT_ONCE = 16

#: Maps [n, input_size, input_size, channels] -> mean and standard deviation [n, rows, cols].
Member = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def detached(model: keras.Model, storage: tf.DType) -> tuple[list[tf.Variable], Member]:
    """A trained network as raw variables and a function of them; the Keras model is free to go.

    A module that holds Keras 3 objects loads in Python, but not in the C++ runtime of a model server.

    Parameters
    ----------
    model : keras.Model
        Maps -> Normal.
    storage : tf.DType
        Of the variables.
    """
    count = len(model.trainable_variables)
    weights = [*model.trainable_variables, *model.non_trainable_variables]
    variables = [tf.Variable(tf.cast(one.value, storage), trainable=False) for one in weights]

    def normal(maps):
        values = [tf.cast(one, tf.float32) for one in variables]
        found, _ = model.stateless_call(values[:count], values[count:], maps)
        return found.loc, found.scale

    spec = tf.TensorSpec(model.input_shape, tf.float32)
    return variables, tf.function(normal, autograph=False).get_concrete_function(spec)


@dataclasses.dataclass(frozen=True)
class SiteTerms:
    """What members know of site terms.

    Attributes
    ----------
    ids : sequence of str, [k]
        Stations.
    pixel : ndarray of int32, [k, 2]
        Their rows and columns on the output window.
    term, stddev : ndarray, [k, members]
        Mean and standard deviation of their site terms.
    field : ndarray, [members, rows, cols]
        What they tell of the terms of other places.
    paths : PathGraph
        What they tell of other events.
    """

    ids: Sequence[str]
    pixel: np.ndarray
    term: np.ndarray
    stddev: np.ndarray
    field: np.ndarray
    paths: PathGraph


class Graph:
    """The functions of an ensemble.

    Parameters
    ----------
    members : sequence of Member
    rasteriser : Rasteriser
        For the members' channels.
    calibration : Calibration, optional
        Applied to both parts of the variance.
    trained_km : ndarray, [k, 2], optional
        Km east and north of the trained sites, for the calibration, which asks for the nearest.
    effects : RandomEffects, optional
    terms : SiteTerms, optional
        With random effects; then there is ``at_stations``.
    """

    def __init__(
        self,
        members: Sequence[Member],
        rasteriser: Rasteriser,
        *,
        calibration: Calibration | None = None,
        trained_km: np.ndarray | None = None,
        effects: RandomEffects | None = None,
        terms: SiteTerms | None = None,
    ) -> None:
        self._members, self._rasteriser = members, rasteriser
        self._projection = Projection(rasteriser.grid)
        self._calibration, self._trained_km = calibration or Calibration(), trained_km
        self._effects, self._terms = effects, terms
        #: Finds stations by their ids; a SavedModel must hold it, and the weights of path terms.
        self.table = None
        if terms is not None:
            numbers = tf.range(len(terms.ids), dtype=tf.int64)
            rows = tf.lookup.KeyValueTensorInitializer(tf.constant(list(terms.ids)), numbers)
            self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self.path_weights = terms and terms.paths.weights
        self._parameters = tf.function(self._one_by_one, autograph=False)

    def signatures(self) -> dict[str, Callable]:
        """The named functions of a SavedModel; each returns a dict of tensors.

        ``serving_default``
            `EVENT` -> ``mean, stddev, aleatory, epistemic`` [n, rows, cols] of ln IM; the last three are
            standard deviations.
        ``at_sites``
            `EVENT` and `SITES` -> the same [n, m] and ``inside``, 1 where the site lies on the map;
            elsewhere 0 and the values of the nearest edge.
        ``at_stations``
            With random effects: `EVENT` and `STATIONS` -> the same [n, m] with the stations' terms.
        ``normal_parameters``
            `EVENT` -> ``mean, stddev`` [n, members, rows, cols], not calibrated, without random effects.

        With random effects all but the last also have ``between_event`` and ``within_event``.
        """
        event = [tf.TensorSpec([None], dtype, name) for name, dtype in EVENT.items()]
        sites = [tf.TensorSpec([None, None], dtype, name) for name, dtype in SITES.items()]
        stations = [tf.TensorSpec([None, None], dtype, name) for name, dtype in STATIONS.items()]
        functions = {
            "serving_default": (self._maps, event),
            "at_sites": (self._at_sites, event + sites),
            "normal_parameters": (self._apart, event),
        }
        if self._terms is not None:
            functions["at_stations"] = (self._at_stations, event + stations)
        return {
            name: tf.function(function, input_signature=inputs, autograph=False)
            for name, (function, inputs) in functions.items()
        }

    def _one_by_one(self, *event: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of every member, [n, members, rows, cols]."""
        _refuse(EVENT, event)
        columns = (*event, *self._projection.project(*event[:2]))  # as `event_vectors` has them
        vectors = tf.stack([tf.cast(one, tf.float32) for one in columns], axis=-1)
        maps = tf.vectorized_map(lambda vector: self._rasteriser(vector, tf.zeros(2, tf.int32)), vectors)
        found, before = [], []
        for member in self._members:
            # One after the other: memory for one network's layers is enough.
            with tf.control_dependencies(before):
                found.append(member(maps))
            before = found[-1][:1]
        return tuple(tf.stack(parts, axis=1) for parts in zip(*found, strict=True))

    def _apart(self, *event: tf.Tensor) -> dict[str, tf.Tensor]:
        mean, stddev = self._parameters(*event)
        return {"mean": mean, "stddev": stddev}

    def _maps(self, *event: tf.Tensor) -> dict[str, tf.Tensor]:
        grid = self._rasteriser.grid
        places = np.moveaxis(grid.centres_km(grid.output_size), -1, 0)
        return self._calibrated(self._moments(*event), *places)

    def _at_sites(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        event, sites = inputs[: len(EVENT)], inputs[len(EVENT) :]
        _refuse(SITES, sites)
        pixel, inside = self._projection.locate(*sites)
        moments = [tf.gather_nd(one, pixel, batch_dims=1) for one in self._moments(*event)]
        values = self._calibrated(moments, *self._projection.project(*sites))
        return values | {"inside": tf.cast(inside, tf.int32)}

    def _at_stations(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        event, ids, known = inputs[: len(EVENT)], inputs[len(EVENT)], self._terms
        number = self.table.lookup(ids)
        all_known = tf.debugging.Assert(
            tf.reduce_all(number >= 0), ["station_id names no station of this model"]
        )
        with tf.control_dependencies([all_known]):  # else looking up no row fails first
            number = tf.identity(number)
        pixel = tf.gather(tf.constant(known.pixel), number)
        of_members = (tf.transpose(one, (0, 2, 3, 1)) for one in self._parameters(*event))
        mean, stddev = (tf.gather_nd(one, pixel, batch_dims=1) for one in of_members)
        term, of_site = (
            tf.gather(tf.constant(one, tf.float32), number) for one in (known.term, known.stddev)
        )
        of_path = tf.transpose(known.paths.at_stations(self._source_km(*event)), (0, 2, 1))
        mean += term + tf.gather(of_path, number, batch_dims=1)
        return self._named(*_moments(mean, self._variance(stddev, of_site), axis=-1))

    def _moments(self, *event: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean, aleatory and epistemic variance at pixels of which no record is known."""
        mean, stddev = self._parameters(*event)
        of_site = 0.0
        if self._effects is not None:
            grid, known = self._rasteriser.grid, self._terms
            of_path = known.paths.on_map(self._source_km(*event), grid.centres_km(grid.output_size))
            mean += tf.constant(known.field, tf.float32) + of_path
            of_site = np.hypot(self._effects.phi_s2s, self._effects.phi_place)
        return _moments(mean, self._variance(stddev, of_site), axis=1)

    def _source_km(self, *event: tf.Tensor) -> tf.Tensor:
        """Hypocentres, [n, 3]."""
        columns = (*self._projection.project(*event[:2]), event[2])
        return tf.stack([tf.cast(one, tf.float32) for one in columns], axis=-1)

    def _variance(self, stddev: tf.Tensor, of_site: tf.Tensor | float) -> tf.Tensor:
        """Of a network's standard deviation, and with random effects of what is unknown of a site."""
        return self._effects.variance(stddev, of_site) if self._effects else stddev**2

    def _calibrated(self, moments: Sequence[tf.Tensor], x_km, y_km) -> dict[str, tf.Tensor]:
        """`Calibration.variance` of what the members say, at places [..., k] of any shape."""
        (mean, aleatory, epistemic), one = moments, self._calibration
        aleatory, epistemic = one.a**2 * aleatory, one.c * epistemic
        if self._trained_km is not None:
            epistemic += (one.b * tf.math.expm1(-self._nearest_km(x_km, y_km) / one.length_km)) ** 2
        return self._named(mean, aleatory, epistemic)

    def _named(self, mean: tf.Tensor, aleatory: tf.Tensor, epistemic: tf.Tensor) -> dict[str, tf.Tensor]:
        """Outputs from moments."""
        total, found = aleatory + epistemic, {}
        if self._effects is not None:
            between = self._effects.tau**2
            found["between_event"] = tf.sqrt(between * tf.ones_like(total))
            found["within_event"] = tf.sqrt(total - between)
        return found | {
            "mean": mean,
            "stddev": tf.sqrt(total),
            "aleatory": tf.sqrt(aleatory),
            "epistemic": tf.sqrt(epistemic),
        }

    def _nearest_km(self, x_km, y_km) -> tf.Tensor:
        """Distance to the nearest trained site; a few sites at a time and in turn, for memory's sake."""
        x, y = (tf.cast(one, tf.float32)[..., None] for one in (x_km, y_km))
        count = -(-len(self._trained_km) // _SITES_AT_ONCE)
        nearest = tf.fill(tf.shape(x)[:-1], np.float32(np.inf))
        for block in np.array_split(self._trained_km.astype("float32"), count):
            with tf.control_dependencies([nearest]):
                squares = (x - block[:, 0]) ** 2 + (y - block[:, 1]) ** 2
            nearest = tf.minimum(nearest, tf.reduce_min(squares, axis=-1))
        return tf.sqrt(nearest)


def _moments(mean: tf.Tensor, variance: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean, aleatory and epistemic variance: the laws of total expectation and total variance."""
    return tf.reduce_mean(mean, axis), tf.reduce_mean(variance, axis), tf.math.reduce_variance(mean, axis)


def _refuse(names: Iterable[str], inputs: Sequence[tf.Tensor]) -> None:
    """Fail, with the name of the input, on what no record may hold."""
    for name, values in zip(names, inputs, strict=True):
        low, high = LIMITS[name.removeprefix("site_")]
        possible = tf.reduce_all((values >= low) & (values <= high))
        tf.debugging.Assert(possible, [f"{name} must lie between {low} and {high}"])
