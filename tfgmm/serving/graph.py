"""An ensemble as TensorFlow functions that need no Python: event -> maps, event and sites -> values.

What is predicted from the networks' output is computed by the functions of
`tfgmm.prediction.conditioning`, as in `tfgmm.prediction.ensemble`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgmm.network.channels import Rasteriser
from tfgmm.prediction import conditioning
from tfgmm.serving.projection import Projection
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.mixture import moments
from tfgmm.stats.path_covariance import correlation
from tfgmm.stats.path_terms import PathTerms
from tfgmm.stats.random_effects import RandomEffects

#: Inputs of every signature, [n]; coordinates in float32 degrees would step by 1.5 m.
EVENT = {"longitude": tf.float64, "latitude": tf.float64, "depth_km": tf.float32, "magnitude": tf.float32}
#: Further inputs of ``at_sites``, [n, m].
SITES = {"site_longitude": tf.float64, "site_latitude": tf.float64}
#: Further input of ``at_stations``, [n, m].
STATIONS = {"station_id": tf.string}
#: Lowest and highest values of inputs, those that records may have; NaN is refused as well.
LIMITS = {"longitude": (-180, 180), "latitude": (-90, 90), "depth_km": (-5, 800), "magnitude": (-1, 10)}

#: Trained sites whose distances from all places are in memory at once.
_SITES_AT_ONCE = 16

#: A tensor for each member.
_Members = Sequence[tf.Tensor]
#: Maps [n, input_size, input_size, channels] -> mean and standard deviation [n, rows, cols].
Member = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def detached(model: keras.Model, storage: tf.DType) -> tuple[list[tf.Variable], Member]:
    """Return a trained network as raw variables and a function of them; the Keras model is free to go.

    A module that holds Keras 3 objects loads in Python, but not in the C++ runtime of a model server.

    Parameters
    ----------
    model : keras.Model
        Maps -> Normal.
    storage : tf.DType
        Type of the variables.

    Returns
    -------
    variables : list of tf.Variable
    member : Member
    """
    count = len(model.trainable_variables)
    weights = [*model.trainable_variables, *model.non_trainable_variables]
    variables = [tf.Variable(tf.cast(weight.value, storage), trainable=False) for weight in weights]

    def normal(maps):
        """Return mean and standard deviation at all pixels."""
        values = [tf.cast(variable, tf.float32) for variable in variables]
        distribution, _ = model.stateless_call(values[:count], values[count:], maps)
        return distribution.loc, distribution.scale

    spec = tf.TensorSpec(model.input_shape, tf.float32)
    return variables, tf.function(normal, autograph=False).get_concrete_function(spec)


class PathGraph:
    """Source and path terms of some members, at any place and at stations.

    Parameters
    ----------
    paths : PathTerms
    stations : sequence of str, [k]
        Stations whose terms may be asked for.
    xy_km : ndarray, [k, 2]
        Km east and north of the map's centre.
    """

    def __init__(self, paths: PathTerms, stations: Sequence[str], xy_km: np.ndarray) -> None:
        self._paths, self._xy_km = paths, xy_km
        self._column = paths.columns(stations)
        #: Weights of the terms, which a SavedModel must hold.
        self.weights = tf.Variable(paths.weights, trainable=False)

    def on_map(self, source_km: tf.Tensor, centres_km: np.ndarray) -> _Members:
        """Return terms of events [n, 3] at pixel centres [rows, cols, 2]: [n, rows, cols] per member."""
        near = self._near(source_km)
        # A row at a time: for memory's sake.
        rows = tf.map_fn(lambda places: self._shared(near, places), tf.constant(centres_km, tf.float32))
        return tf.unstack(tf.transpose(rows, (1, 2, 0, 3)))

    def at_stations(self, source_km: tf.Tensor) -> _Members:
        """Return terms of events [n, 3] at all the stations: [n, k] per member."""
        near = self._near(source_km)
        at_own = tf.gather(near, np.maximum(self._column, 0), axis=-1)
        own = self._paths.covariance.own_term(tf.where(self._column >= 0, at_own, 0.0))
        return tf.unstack(self._shared(near, tf.constant(self._xy_km, tf.float32)) + own)

    def _near(self, source_km: tf.Tensor) -> tf.Tensor:
        """Return weights summed over the events near sources, [members, n, stations]."""
        distance_km = _distance_km(source_km, self._paths.source_km)
        return correlation(distance_km, self._paths.covariance.source_km, tf.math) @ self.weights

    def _shared(self, near: tf.Tensor, places_km: tf.Tensor) -> tf.Tensor:
        """Return the terms of places [m, 2] that do not depend on the station, [members, n, m]."""
        covariance = self._paths.covariance
        g = correlation(_distance_km(self._paths.site_km, places_km), covariance.site_km, tf.math)
        return covariance.shared_term(near, g)


def _distance_km(from_km, to_km) -> tf.Tensor:
    """Return distances between places [n, d] and [m, d], [n, m]."""
    starts, ends = (tf.cast(places_km, tf.float32) for places_km in (from_km, to_km))
    return tf.norm(starts[:, tf.newaxis] - ends, axis=-1)


@dataclasses.dataclass(frozen=True)
class SiteTerms:
    """Site and path terms that members know.

    Attributes
    ----------
    ids : sequence of str, [k]
        Stations.
    pixel : ndarray of int32, [k, 2]
        Rows and columns of the stations on the output window.
    term, stddev : ndarray, [members, k]
        Mean and standard deviation of the stations' site terms.
    on_map : ndarray, [members, rows, cols]
        Site terms expected at places without records.
    paths : PathGraph
        Source and path terms.
    """

    ids: Sequence[str]
    pixel: np.ndarray
    term: np.ndarray
    stddev: np.ndarray
    on_map: np.ndarray
    paths: PathGraph


class Graph:
    """The functions of an ensemble.

    Parameters
    ----------
    members : sequence of Member
    rasteriser : Rasteriser
        Maker of the members' maps.
    calibration : Calibration, optional
        Scales both parts of the variance.
    trained_km : ndarray, [k, 2], optional
        With a calibration: km east and north of the trained sites, of which it needs the nearest.
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
        self._calibration, self._trained_km = calibration, trained_km
        self._effects, self._terms = effects, terms
        #: Finds stations by their ids; a SavedModel must hold it, and the weights of path terms.
        self.table = None
        if terms is not None:
            numbers = tf.range(len(terms.ids), dtype=tf.int64)
            rows = tf.lookup.KeyValueTensorInitializer(tf.constant(list(terms.ids)), numbers)
            self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self.path_weights = terms and terms.paths.weights
        self._outputs = tf.function(self._one_by_one, autograph=False)

    def signatures(self) -> dict[str, Callable]:
        """Return the named functions of a SavedModel; each returns a dict of tensors.

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
        """Return mean and standard deviation by every network, [n, members, rows, cols]."""
        _refuse(EVENT, event)
        columns = (*event, *self._projection.project(*event[:2]))  # as `event_vectors` has them
        vectors = tf.stack([tf.cast(column, tf.float32) for column in columns], axis=-1)
        maps = tf.vectorized_map(lambda vector: self._rasteriser(vector, tf.zeros(2, tf.int32)), vectors)
        outputs, before = [], []
        for member in self._members:
            # One after the other: memory for one network's layers is enough.
            with tf.control_dependencies(before):
                outputs.append(member(maps))
            before = outputs[-1][:1]
        return tuple(tf.stack(parts, axis=1) for parts in zip(*outputs, strict=True))

    def _apart(self, *event: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of all networks by name."""
        mean, stddev = self._outputs(*event)
        return {"mean": mean, "stddev": stddev}

    def _maps(self, *event: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution at all pixels."""
        grid = self._rasteriser.grid
        places = np.moveaxis(grid.centres_km(grid.output_size), -1, 0)
        return self._distribution(self._moments(*event), *places)

    def _at_sites(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution at sites, and which of them lie on the map."""
        event, sites = inputs[: len(EVENT)], inputs[len(EVENT) :]
        _refuse(SITES, sites)
        pixel, inside = self._projection.locate(*sites)
        at_sites = tuple(tf.gather_nd(values, pixel, batch_dims=1) for values in self._moments(*event))
        distribution = self._distribution(at_sites, *self._projection.project(*sites))
        return distribution | {"inside": tf.cast(inside, tf.int32)}

    def _at_stations(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution at stations by their ids."""
        event, ids, stations = inputs[: len(EVENT)], inputs[len(EVENT)], self._terms
        number = self.table.lookup(ids)
        all_found = tf.debugging.Assert(
            tf.reduce_all(number >= 0), ["station_id names no station of this model"]
        )
        with tf.control_dependencies([all_found]):  # else looking up no row fails first
            number = tf.identity(number)
        pixel = tf.gather(tf.constant(stations.pixel), number)
        site_terms, site_stddevs = (
            [tf.gather(of_member, number) for of_member in np.asarray(values, "float32")]
            for values in (stations.term, stations.stddev)
        )
        path_terms = [
            tf.gather(of_member, number, batch_dims=1)
            for of_member in stations.paths.at_stations(self._source_km(*event))
        ]
        outputs = (
            [tf.gather_nd(of_member, pixel, batch_dims=1) for of_member in tf.unstack(values, axis=1)]
            for values in self._outputs(*event)
        )
        terms = zip(site_terms, site_stddevs, path_terms, strict=True)
        return conditioning.distribution(self._combined(*outputs, terms), effects=self._effects, xp=tf.math)

    def _moments(self, *event: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return mean, aleatory and epistemic variance at pixels, where no record is known."""
        outputs = (tf.unstack(values, axis=1) for values in self._outputs(*event))
        if self._effects is None:
            return self._combined(*outputs, [()] * len(self._members))
        grid = self._rasteriser.grid
        centres_km = grid.centres_km(grid.output_size)
        path_terms = self._terms.paths.on_map(self._source_km(*event), centres_km)
        site_stddev = conditioning.unknown_place_stddev(self._effects)
        on_map = np.asarray(self._terms.on_map, "float32")
        terms = [(term, site_stddev, path) for term, path in zip(on_map, path_terms, strict=True)]
        return self._combined(*outputs, terms)

    def _combined(self, means: _Members, stddevs: _Members, terms: Iterable[tuple]) -> tuple:
        """Return mean, aleatory and epistemic variance of the members, with their site and path terms."""
        members = [
            conditioning.member_moments(mean, stddev, self._effects, of_member)
            for mean, stddev, of_member in zip(means, stddevs, terms, strict=True)
        ]
        return moments(*zip(*members, strict=True))

    def _source_km(self, *event: tf.Tensor) -> tf.Tensor:
        """Return hypocentres, [n, 3]."""
        columns = (*self._projection.project(*event[:2]), event[2])
        return tf.stack([tf.cast(column, tf.float32) for column in columns], axis=-1)

    def _distribution(self, at_places: tuple, x_km, y_km) -> dict[str, tf.Tensor]:
        """Return the calibrated distribution from moments at places [..., k] of any shape."""
        nearest_km = None if self._calibration is None else self._nearest_km(x_km, y_km)
        return conditioning.distribution(
            at_places,
            effects=self._effects,
            calibration=self._calibration,
            nearest_km=nearest_km,
            xp=tf.math,
        )

    def _nearest_km(self, x_km, y_km) -> tf.Tensor:
        """Return the distance to the nearest trained site; a few sites in turn, for memory's sake."""
        x, y = (tf.cast(values, tf.float32)[..., None] for values in (x_km, y_km))
        count = -(-len(self._trained_km) // _SITES_AT_ONCE)
        nearest = tf.fill(tf.shape(x)[:-1], np.float32(np.inf))
        for block in np.array_split(self._trained_km.astype("float32"), count):
            with tf.control_dependencies([nearest]):
                squares = (x - block[:, 0]) ** 2 + (y - block[:, 1]) ** 2
            nearest = tf.minimum(nearest, tf.reduce_min(squares, axis=-1))
        return tf.sqrt(nearest)


def _refuse(names: Iterable[str], inputs: Sequence[tf.Tensor]) -> None:
    """Raise an error that names the input on values outside of `LIMITS`."""
    for name, values in zip(names, inputs, strict=True):
        low, high = LIMITS[name.removeprefix("site_")]
        possible = tf.reduce_all((values >= low) & (values <= high))
        tf.debugging.Assert(possible, [f"{name} must lie between {low} and {high}"])
