"""An ensemble as TensorFlow functions that need no Python, with the map projection in the graph."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyproj
import tensorflow as tf

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.data.schemas import VS30_RANGE
from tfgmm.network.channels import Rasteriser
from tfgmm.network.member import Networks
from tfgmm.prediction import conditioning
from tfgmm.prediction.conditioning import Conditioned, FieldMoments, MemberMoments
from tfgmm.prediction.field_graph import FieldGraph
from tfgmm.stats.backbone import TABLES, Earthquakes, MedianTables
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.field import Field
from tfgmm.stats.scaling_tables import ArrayFunctions
from tfgmm.stats.support import Shrinkage, Support

#: Distance from the centre of the grid, km, up to which the series is checked against PROJ.
REACH_KM = 500.0
#: Largest accepted difference between the series and PROJ, km.
TOLERANCE_KM = 0.001

#: Largest eta': the equator 90 degrees from the central meridian is infinitely far.
_FARTHEST = 2.0
_POSSIBLE = (
    "export needs a run on a transverse Mercator projection with the datum WGS 84 or one that agrees "
    "with it, as UTM (EPSG:32654) or Japan Plane Rectangular CS (EPSG:6677)"
)


class Projection:
    r"""Ellipsoidal transverse Mercator projection, by the series of Krueger in the third flattening n.

    .. math::
        \tau' &= \sinh(\mathrm{artanh} \sin\varphi - e \, \mathrm{artanh}(e \sin\varphi)) \\
        \xi' &= \mathrm{atan2}(\tau', \cos\lambda), \quad
        \eta' = \mathrm{arsinh}(\sin\lambda / \sqrt{\tau'^2 + \cos^2\lambda}) \\
        y &= k_0 A (\xi' + \sum_{j=1}^4 \alpha_j \sin 2j\xi' \cosh 2j\eta') \\
        x &= k_0 A (\eta' + \sum_{j=1}^4 \alpha_j \cos 2j\xi' \sinh 2j\eta')

    for latitude :math:`\varphi` and longitude :math:`\lambda` from the central meridian, with the
    eccentricity e, the scale factor :math:`k_0` and the rectifying radius A. False easting and northing
    cancel, because coordinates of a grid are relative to its centre. Terms in n^5 are below 0.1 mm.

    Parameters
    ----------
    grid : Grid
        Map of a run: its projection, its centre, and its pixels.

    Raises
    ------
    UsageError
        The projection of the grid is no transverse Mercator projection, or its datum differs from WGS 84 by
        a metre or more.

    References
    ----------
    Karney (2011), Transverse Mercator with an accuracy of a few nanometers, Journal of Geodesy 85,
    475-485, equations 7 to 14 and 35.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        crs = pyproj.CRS(grid.crs)
        a_m, b_m = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
        n = (a_m - b_m) / (a_m + b_m)
        self._eccentricity = math.sqrt(1 - (b_m / a_m) ** 2)
        self._alpha = _series(n)
        self._meridian, factor = _meridian_and_factor(crs)
        self._scale_km = factor * a_m / 1000 / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
        center = self._normalised(_float64(grid.longitude), _float64(grid.latitude))
        self._center = [float(value) for value in center]
        self._compare_with_proj()

    def project(self, longitude: tf.Tensor, latitude: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return coordinates relative to the centre of the grid, km east and km north.

        Parameters
        ----------
        longitude, latitude : tensor of float64
            Coordinates, degrees, in any shape.

        Returns
        -------
        x_km, y_km : tensor of float64
            Km east and km north, in the shape of the input; absolute values stay below 40,000 km.
        """
        x, y = self._normalised(longitude, latitude)
        return self._scale_km * (x - self._center[0]), self._scale_km * (y - self._center[1])

    def locate(self, longitude: tf.Tensor, latitude: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the pixel of the output window that contains a point, and whether there is such a pixel.

        Parameters
        ----------
        longitude, latitude : tensor of float64, [...]
            Coordinates, degrees.

        Returns
        -------
        pixel : tensor of int32, [..., 2]
            Row and column of the pixel; for a point outside the window, those of the nearest edge.
        inside : tensor of bool, [...]
            True for a point inside the window.
        """
        row, col, inside = self.grid.pixel_at(*self.project(longitude, latitude), tf.math)
        pixel = tf.cast(tf.stack([row, col], axis=-1), tf.int32)
        return tf.clip_by_value(pixel, 0, self.grid.output_size - 1), inside

    def _normalised(self, longitude: tf.Tensor, latitude: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return distances east of the central meridian and north of the equator, in units of k0 A."""
        lam = (longitude - self._meridian) * (math.pi / 180)
        sin_phi, e = tf.sin(latitude * (math.pi / 180)), self._eccentricity
        # At the poles tau is infinite, but xi and eta are not.
        tau = tf.sinh(tf.atanh(sin_phi) - e * tf.atanh(e * sin_phi))
        xi = tf.atan2(tau, tf.cos(lam))
        eta = tf.asinh(tf.sin(lam) / tf.sqrt(tau**2 + tf.cos(lam) ** 2))
        eta = tf.clip_by_value(eta, -_FARTHEST, _FARTHEST)
        x, y = eta, xi
        for j, alpha in enumerate(self._alpha, start=1):
            x += alpha * tf.cos(2 * j * xi) * tf.sinh(2 * j * eta)
            y += alpha * tf.sin(2 * j * xi) * tf.cosh(2 * j * eta)
        return x, y

    def _compare_with_proj(self) -> None:
        """Raise `UsageError` if the series differs from PROJ, as for another datum or turned axes."""
        axis = np.linspace(-REACH_KM, REACH_KM, 5)
        x, y = np.meshgrid(axis, axis)
        x_series, y_series = self.project(*map(_float64, self.grid.unproject(x, y)))
        off = np.hypot(x_series - x, y_series - y).max()
        if not off < TOLERANCE_KM:
            raise UsageError(
                f"{self.grid.crs} is up to {off * 1000:.3g} m away from transverse Mercator on WGS 84 "
                f"within {REACH_KM:g} km of the map's centre: {_POSSIBLE}"
            )


def _float64(values) -> tf.Tensor:
    """Return values as a tensor of float64."""
    return tf.convert_to_tensor(values, tf.float64)


def _meridian_and_factor(crs: pyproj.CRS) -> tuple[float, float]:
    """Return the central meridian, degrees, and the scale factor of a transverse Mercator projection.

    Raise `UsageError` for any other projection.
    """
    operation = crs.coordinate_operation
    if operation is None or operation.method_name != "Transverse Mercator":
        method = operation.method_name if operation else "no map projection"
        raise UsageError(f"{crs.name} ({method}) cannot be computed in a model server: {_POSSIBLE}")
    values = {
        parameter.name: parameter.value * parameter.unit_conversion_factor for parameter in operation.params
    }
    return math.degrees(values["Longitude of natural origin"]), values["Scale factor at natural origin"]


def _series(n: float) -> tuple[float, ...]:
    """Return the coefficients alpha_1 to alpha_4 of Karney (2011), equation 35, up to n^4."""
    return (
        n / 2 - n**2 * 2 / 3 + n**3 * 5 / 16 + n**4 * 41 / 180,
        n**2 * 13 / 48 - n**3 * 3 / 5 + n**4 * 557 / 1440,
        n**3 * 61 / 240 - n**4 * 103 / 140,
        n**4 * 49561 / 161280,
    )


#: Functions of TensorFlow with which tables of backbones are interpolated.
TENSORS = ArrayFunctions(
    *(tf.floor, tf.minimum, tf.maximum, tf.math.log, tf.exp, tf.einsum, tf.constant),
    lambda values: tf.cast(values, tf.int32),
    lambda values, like: tf.cast(values, like.dtype),
    lambda rows, index: tf.gather(rows, index, batch_dims=1),
    lambda arrays: tf.stack(arrays, axis=-1),
)
#: Inputs of every signature, [n]; coordinates in float32 degrees would step by 1.5 m.
EVENT = {"longitude": tf.float64, "latitude": tf.float64, "depth_km": tf.float32, "magnitude": tf.float32}
#: Further inputs of ``at_sites``, [n, m].
SITES = {"site_longitude": tf.float64, "site_latitude": tf.float64}
#: Inputs of signature ``at_known_sites`` beside `EVENT` and `SITES`: Vs30 (m/s) and distance to the rupture
#: (km), [n, m] each; 0 where unknown.
KNOWN = {"site_vs30_m_s": tf.float32, "site_r_rup_km": tf.float32}
#: Further input of ``at_stations``, [n, m].
STATIONS = {"station_id": tf.string}
#: Lowest and highest values of inputs, as for records; NaN is refused as well.
LIMITS = {"longitude": (-180, 180), "latitude": (-90, 90), "depth_km": (-5, 800), "magnitude": (-1, 10)}
LIMITS |= {"vs30_m_s": VS30_RANGE, "r_rup_km": (0, 20_000)}

#: Number of training sites whose distances to all places are in memory at once.
_SITES_AT_ONCE = 16

#: One tensor per member.
_Members = Sequence[tf.Tensor]
#: Function from input maps, [n, input_size, input_size, channels], to mean and stddev, [n, rows, cols, K].
Member = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def output_name(quantity: str, im: str, measures: int) -> str:
    """Return the name of a quantity of an intensity measure among the outputs of a signature.

    >>> output_name("mean", "PGA", 1), output_name("mean", "SA(1.0)", 8), output_name("mean", "PGV", 1)
    ('mean', 'mean_SA(1.0)', 'mean_PGV')

    Parameters
    ----------
    quantity : str
        Name of the quantity.
    im : str
        Intensity measure.
    measures : int
        Number of measures of the model.

    Returns
    -------
    str
        The quantity alone for a model of one measure in g, else followed by the measure.
    """
    return quantity if measures == 1 and imt.unit(im) == "g" else f"{quantity}_{im}"


def detached(networks: Networks, storage: tf.DType) -> tuple[list[tf.Variable], Member]:
    """Return the weights of a member as variables, and its networks as a function of the weights.

    The function does not need the Keras model: a module that holds Keras 3 objects can be loaded in Python,
    but not by the C++ runtime of a model server.

    Parameters
    ----------
    networks : Networks
        Trained networks of the member for the K intensity measures of the model.
    storage : tf.DType
        Type of the variables.

    Returns
    -------
    variables : list of tf.Variable
        All weights.
    member : Member
        Function from input maps [n, input_size, input_size, channels] to mean and standard deviation of
        the networks' outputs [n, rows, cols, K], ln units.
    """
    by_model = [
        [
            tf.Variable(tf.cast(weight.value, storage), trainable=False)
            for weight in (*model.trainable_variables, *model.non_trainable_variables)
        ]
        for model in networks.models
    ]

    def normal(maps):
        """Return mean and standard deviation at all pixels, [n, rows, cols, K] each, ln units."""
        normals = []
        for model, of_model in zip(networks.models, by_model, strict=True):
            values = [tf.cast(variable, tf.float32) for variable in of_model]
            count = len(model.trainable_variables)
            normals.append(model.stateless_call(values[:count], values[count:], maps)[0])
        joined = networks.joined(normals)
        return joined.loc, joined.scale

    spec = tf.TensorSpec(networks.input_shape, tf.float32)
    variables = list(itertools.chain.from_iterable(by_model))
    return variables, tf.function(normal, autograph=False).get_concrete_function(spec)


def shared_arrays(conditioned: Iterable[Conditioned], support: Support | None) -> dict[int, np.ndarray]:
    """Return the arrays that the signatures of a model share by their id: tables, field, effective records.

    Parameters
    ----------
    conditioned : iterable of Conditioned
        Backbone and field of the members.
    support : Support or None
        Joint support by training records.

    Returns
    -------
    dict of int to ndarray
    """
    arrays = [] if support is None else [support.effective]
    for tables, field in conditioned:
        arrays += [] if tables is None else [getattr(tables, name) for name in TABLES]
        arrays += [] if field is None else _arrays(field).values()
    return {id(array): array for array in arrays}


def _arrays(field: Field) -> dict[str, np.ndarray]:
    """Return the constants of a field that are arrays."""
    return {name: values for name, values in field.constants.items() if name != "covariance"}


class _Places(NamedTuple):
    """Places of a prediction, [n or 1, ...]; n is the number of events.

    Attributes
    ----------
    x_km, y_km : array or tensor
        Positions, km east and north of the centre of the map.
    vs30 : array, tensor or None
        Vs30, m/s; NaN or None where unknown.
    r_rup_km : tensor or None
        Distance to the rupture, km; 0 or None where unknown.
    station : tensor of int or None
        Numbers of the stations that stand there; None for places without records.
    """

    x_km: Any
    y_km: Any
    vs30: Any = None
    r_rup_km: Any = None
    station: Any = None


@dataclasses.dataclass(frozen=True)
class Stations:
    """Stations that a model knows by name, with the sites that they stand at.

    Attributes
    ----------
    ids, site_ids : sequence of str, [k]
        Ids of the stations and of their sites.
    pixel : ndarray of int32, [k, 2]
        Row and column of each station in the output window.
    xy_km : ndarray, [k, 2]
        Positions of the stations, km east and north of the centre of the map.
    vs30 : ndarray, [k]
        Vs30 of the stations for the backbones, m/s; NaN where unknown.
    """

    ids: Sequence[str]
    site_ids: Sequence[str]
    pixel: np.ndarray
    xy_km: np.ndarray
    vs30: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """Facts that turn the outputs of the networks into the distribution of one intensity measure.

    Attributes
    ----------
    conditioned : sequence of Conditioned, [members]
        Backbone and field to which each network adds; members share the same objects.
    support : Support or None
        Joint support of predictions by training records, an output of all signatures with a distribution.
    shrinkage : Shrinkage or None
        How far the networks are shrunken towards the backbone where the support is small.
    calibration : Calibration or None
        Calibration of the aleatory and the epistemic variance.
    trained_km : ndarray, [k, 2], or None
        Training sites, km east and north of the centre of the map; needed with a calibration, which depends
        on the distance to the nearest training site.
    """

    conditioned: Sequence[Conditioned]
    support: Support | None = None
    shrinkage: Shrinkage | None = None
    calibration: Calibration | None = None
    trained_km: np.ndarray | None = None


class Graph:
    """An ensemble as the TensorFlow functions (signatures) of a SavedModel.

    Parameters
    ----------
    members : sequence of Member
        The networks as functions.
    rasteriser : Rasteriser
        Function that makes the input maps of the networks from an event.
    measures : dict of str to Measure
        Intensity measures by name, in the order of the outputs of the networks.
    stations : Stations, optional
        Stations with records of the field; needed for ``at_stations``.
    vs30 : ndarray, [rows, cols], optional
        Vs30 at the pixels of the output window, m/s, for the backbones; unknown by default.
    hides_vs30 : bool
        Whether Vs30 was hidden from the backbones, which then refuse it in ``at_known_sites``.
    """

    def __init__(
        self,
        members: Sequence[Member],
        rasteriser: Rasteriser,
        measures: dict[str, Measure],
        *,
        stations: Stations | None = None,
        vs30: np.ndarray | None = None,
        hides_vs30: bool = False,
    ) -> None:
        #: Arrays that a SavedModel must hold once for all signatures, by the id of the NumPy array.
        self.shared = {
            number: tf.Variable(array, trainable=False, dtype=tf.float32)
            for measure in measures.values()
            for number, array in shared_arrays(measure.conditioned, measure.support).items()
        }
        self._measures = {im: self._with_variables(measure) for im, measure in measures.items()}
        self._stations, self._vs30, self._hides_vs30 = stations, vs30, hides_vs30
        self._members, self._rasteriser = members, rasteriser
        self._projection = Projection(rasteriser.grid)
        #: Table from station id to number, which a SavedModel must hold.
        self.table = None
        if stations is not None:
            numbers = tf.range(len(stations.ids), dtype=tf.int64)
            rows = tf.lookup.KeyValueTensorInitializer(tf.constant(list(stations.ids)), numbers)
            self.table = tf.lookup.StaticHashTable(rows, default_value=-1)
        self._outputs = tf.function(self._one_by_one, autograph=False)

    def _with_variables(self, measure: Measure) -> Measure:
        """Return a measure whose backbones and support are the variables `shared`."""

        def of_tables(tables: MedianTables) -> MedianTables:
            variables = {name: self.shared[id(getattr(tables, name))] for name in TABLES}
            return dataclasses.replace(tables, **variables)

        backbones = conditioning.of_each((one.tables for one in measure.conditioned), of_tables)
        fields, support = (one.field for one in measure.conditioned), measure.support
        if support is not None:
            support = dataclasses.replace(support, effective=self.shared[id(support.effective)])
        conditioned = list(itertools.starmap(Conditioned, zip(backbones, fields, strict=True)))
        return dataclasses.replace(measure, conditioned=conditioned, support=support)

    def _named(self, im: str, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return outputs by the names that they have in the signatures."""
        return {output_name(name, im, len(self._measures)): values for name, values in outputs.items()}

    def signatures(self) -> dict[str, Callable]:
        """Return the signatures of the SavedModel by name; each signature returns a dict of tensors.

        Returns
        -------
        dict of str to callable
            ``serving_default``: from `EVENT` to ``mean, stddev, aleatory, epistemic`` of ln IM, [n, rows,
            cols]. The last three are the total, aleatory and epistemic standard deviation.

            ``at_sites``: from `EVENT` and `SITES` to the same quantities, [n, m], and ``inside``, which is
            1 for a site on the map, and 0 for a site outside the map with the values of the nearest edge.

            ``at_known_sites``, only with a backbone of published models: from `EVENT`, `SITES` and `KNOWN`
            to those of ``at_sites``.

            ``at_stations``, only with a field: from `EVENT` and `STATIONS` to the same quantities, [n, m],
            with what the records of the stations tell of the field.

            ``normal_parameters``: from `EVENT` to ``mean, stddev`` of every network on its backbone, [n,
            members, rows, cols], neither calibrated nor with the field.

            With a field, all signatures but the last also return the standard deviations ``between_event``
            and ``within_event``. `output_name` states how quantities of several measures are named.
        """
        event = [tf.TensorSpec([None], dtype, name) for name, dtype in EVENT.items()]
        sites = [tf.TensorSpec([None, None], dtype, name) for name, dtype in SITES.items()]
        stations = [tf.TensorSpec([None, None], dtype, name) for name, dtype in STATIONS.items()]
        functions = {
            "serving_default": (self._maps, event),
            "at_sites": (self._at_sites, event + sites),
            "normal_parameters": (self._apart, event),
        }
        every = (one.tables for measure in self._measures.values() for one in measure.conditioned)
        if any(tables is not None and not tables.hypocentral for tables in every):
            known = [tf.TensorSpec([None, None], dtype, name) for name, dtype in KNOWN.items()]
            functions["at_known_sites"] = (self._at_sites, event + sites + known)
        if self._stations is not None:
            functions["at_stations"] = (self._at_stations, event + stations)
        return {
            name: tf.function(function, input_signature=inputs, autograph=False)
            for name, (function, inputs) in functions.items()
        }

    def _one_by_one(self, *event: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean u and standard deviation of ln IM by every network.

        Both are [n, members, rows, cols, measures].
        """
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
        """Return ``mean`` and ``stddev`` of ln IM by every network, [n, members, rows, cols] each."""
        mean, stddev = self._outputs(*event)
        outputs: dict[str, tf.Tensor] = {}
        for number, (im, measure) in enumerate(self._measures.items()):
            networks = tf.unstack(mean[..., number], axis=1)
            backbones = self._backbone(measure, event, self._pixels)
            means = [
                network if backbone is None else network + backbone[0]
                for network, backbone in zip(networks, backbones, strict=True)
            ]
            apart = {"mean": tf.stack(means, axis=1), "stddev": stddev[..., number]}
            outputs |= self._named(im, apart)
        return outputs

    @property
    def _pixels(self) -> _Places:
        """Return the pixels that are predicted as places, [1, rows, cols]."""
        grid = self._rasteriser.grid
        centres_km = np.moveaxis(grid.centres_km(grid.output_size), -1, 0)[:, np.newaxis]
        return _Places(*centres_km, None if self._vs30 is None else self._vs30[np.newaxis])

    def _maps(self, *event: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution of ln IM at all pixels, [n, rows, cols], by name of the quantity."""
        networks = [tf.unstack(values, axis=1) for values in self._outputs(*event)]
        return self._distribution(networks, event, self._pixels)

    def _at_sites(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution of ln IM at sites, [n, m], and ``inside``, 1 for sites on the map."""
        event, sites = inputs[: len(EVENT)], inputs[len(EVENT) : len(EVENT) + len(SITES)]
        known = inputs[len(EVENT) + len(SITES) :]
        _refuse(SITES, sites)
        _refuse([*KNOWN][: len(known)], known)
        pixel, inside = self._projection.locate(*sites)
        networks = self._at_pixels(event, pixel)
        vs30, r_rup_km = None, None
        if self._vs30 is not None:
            vs30 = tf.gather_nd(np.asarray(self._vs30, "float32"), pixel)
        if known:
            own, r_rup_km = known
            if self._hides_vs30:
                text = "site_vs30_m_s must be 0: this model was trained without Vs30"
                tf.debugging.Assert(tf.reduce_all(own == 0), [text])
            vs30 = tf.where(own > 0, own, np.float32(np.nan) if vs30 is None else vs30)
        places = _Places(*self._projection.project(*sites), vs30, r_rup_km)
        distribution = self._distribution(networks, event, places)
        return distribution | {"inside": tf.cast(inside, tf.int32)}

    def _at_stations(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the distribution of ln IM at stations, [n, m], with what their records tell."""
        event, ids, stations = inputs[: len(EVENT)], inputs[len(EVENT)], self._stations
        number = self.table.lookup(ids)
        all_found = tf.debugging.Assert(
            tf.reduce_all(number >= 0), ["station_id names no station of this model"]
        )
        with tf.control_dependencies([all_found]):  # else looking up no row fails first
            number = tf.identity(number)
        networks = self._at_pixels(event, tf.gather(tf.constant(stations.pixel), number))
        x_km, y_km = (tf.gather(tf.constant(axis, tf.float32), number) for axis in stations.xy_km.T)
        vs30 = tf.gather(tf.constant(stations.vs30, tf.float32), number)
        return self._distribution(networks, event, _Places(x_km, y_km, vs30, station=number))

    def _at_pixels(self, event: Sequence[tf.Tensor], pixel: tf.Tensor) -> list[_Members]:
        """Return means u and stddevs of every network at pixels [n, m, 2], [n, m, measures] each."""
        return [
            [tf.gather_nd(of_member, pixel, batch_dims=1) for of_member in tf.unstack(values, axis=1)]
            for values in self._outputs(*event)
        ]

    def _source_km(self, *event: tf.Tensor) -> tf.Tensor:
        """Return hypocentres [n, 3] in km: east and north of the centre of the map, and depth."""
        columns = (*self._projection.project(*event[:2]), event[2])
        return tf.stack([tf.cast(column, tf.float32) for column in columns], axis=-1)

    def _distribution(
        self, networks: list[_Members], event: Sequence[tf.Tensor], places: _Places
    ) -> dict[str, tf.Tensor]:
        """Return the distribution at places, [n, ...], of every measure by name of the quantity.

        `networks` are means u and standard deviations of the networks there, [n, ..., measures] each.
        """
        outputs: dict[str, tf.Tensor] = {}
        for number, (im, measure) in enumerate(self._measures.items()):
            of_measure = [[values[..., number] for values in members] for members in networks]
            outputs |= self._named(im, self._distribution_of(measure, of_measure, event, places))
        return outputs

    def _distribution_of(
        self, measure: Measure, networks: list[_Members], event: Sequence[tf.Tensor], places: _Places
    ) -> dict[str, tf.Tensor]:
        """Return the distribution of one measure at places, [n, ...], by name of the quantity."""
        nearest_km = None
        if measure.calibration is not None:
            nearest_km = self._nearest_km(measure.trained_km, places.x_km, places.y_km)
        fields = conditioning.of_each(
            (one.field for one in measure.conditioned), lambda field: self._field_of(field, event, places)
        )
        moments = zip(*networks, self._backbone(measure, event, places), fields, strict=True)
        support = measure.support
        return conditioning.combined(
            list(itertools.starmap(MemberMoments, moments)),
            None if support is None else self._support_at(support, event, places),
            measure.shrinkage,
            calibration=measure.calibration,
            nearest_km=nearest_km,
            xp=tf.math,
        )

    def _field_of(self, field: Field, event: Sequence[tf.Tensor], places: _Places) -> FieldMoments:
        """Return mean and variance of a field at places, [n, ...] each."""
        constants = {name: tf.convert_to_tensor(self.shared[id(a)]) for name, a in _arrays(field).items()}
        of_field = FieldGraph(constants | {"covariance": field.covariance})
        x, y = (tf.cast(values, tf.float32) for values in (places.x_km, places.y_km))
        shape = tf.concat([tf.shape(event[0]), tf.shape(x)[1:]], axis=0)
        place_km = tf.reshape(tf.stack([x, y], axis=-1), [tf.shape(x)[0], -1, 2])
        site = None
        if places.station is not None:
            numbers = conditioning.site_numbers(field, self._stations.site_ids)
            site = tf.gather(tf.constant(numbers, tf.int32), places.station)
        if x.shape[0] == 1:  # the same places for all events
            found = of_field.at(self._source_km(*event), place_km[0])
        else:
            found = of_field.at_own(self._source_km(*event), place_km, site)
        return FieldMoments(*(tf.reshape(values, shape) for values in found), field.covariance.event)

    def _support_at(self, support: Support, event: Sequence[tf.Tensor], places: _Places) -> tf.Tensor:
        """Return the support of predictions at places, [n, ...]."""
        x, y, depth = tf.unstack(self._source_km(*event), axis=-1)
        curve = support.curve(tf.cast(event[3], tf.float32), depth, x, y, xp=TENSORS)
        return support.at(curve, self._ln_r_hyp(event, places), xp=TENSORS)

    def _ln_r_hyp(self, event: Sequence[tf.Tensor], places: _Places) -> tf.Tensor:
        """Return ln of the hypocentral distances (km, at least 1) to places, [n, ...]."""
        x, y = (tf.cast(values, tf.float32) for values in (places.x_km, places.y_km))
        shape = [-1, *[1] * (len(x.shape) - 1)]
        ex, ey, depth = (tf.reshape(axis, shape) for axis in tf.unstack(self._source_km(*event), axis=-1))
        ln_r = tf.math.log(tf.maximum(tf.sqrt((x - ex) ** 2 + (y - ey) ** 2 + depth**2), 1.0))
        # Inputs that are no numbers are refused by name, and must not end in an index out of range before.
        return tf.where(tf.math.is_finite(ln_r), ln_r, 0.0)

    def _backbone(
        self, measure: Measure, event: Sequence[tf.Tensor], places: _Places
    ) -> list[tuple | None]:
        """Return median and variance of ln IM of the backbone of each member at places, [n, ...] each.

        None stands for a member without backbone.
        """
        return conditioning.of_each(
            (one.tables for one in measure.conditioned),
            lambda tables: self._backbone_of(tables, event, places),
        )

    def _backbone_of(self, tables: MedianTables, event: Sequence[tf.Tensor], places: _Places) -> tuple:
        """Return median and variance of ln IM of one backbone at places; see `_backbone`."""
        at_places = self._ln_r_hyp(event, places)
        shape = tf.shape(at_places)
        ln_r = tf.reshape(at_places, [shape[0], -1])
        vs30 = tf.cast([np.nan] if places.vs30 is None else places.vs30, tf.float32)
        vs30 = tf.where(tf.math.is_nan(vs30), np.float32(tables.vs30_m_s), vs30)
        vs30 = tf.broadcast_to(tf.reshape(vs30, [tf.shape(vs30)[0], -1]), tf.shape(ln_r))
        # As in `_ln_r_hyp`: what is no number is refused by name.
        scenario = (tf.cast(values, tf.float32) for values in (event[3], event[2]))
        finite = (tf.where(tf.math.is_finite(values), values, 0.0) for values in scenario)
        earthquakes = Earthquakes(*finite)
        moments = tables.at(earthquakes, vs30, ln_r_hyp=ln_r, xp=TENSORS)
        if places.r_rup_km is not None and not tables.hypocentral:
            r_rup_km = tf.where(tf.math.is_finite(places.r_rup_km), places.r_rup_km, 0.0)
            known = tf.math.log(tf.maximum(r_rup_km, 1.0))
            with_rupture = tables.at(earthquakes, vs30, ln_r_rup=known, xp=TENSORS)
            moments = [tf.where(r_rup_km > 0, *both) for both in zip(with_rupture, moments, strict=True)]
        return tuple(tf.reshape(values, shape) for values in moments)

    @staticmethod
    def _nearest_km(trained_km: np.ndarray, x_km, y_km) -> tf.Tensor:
        """Return the distance from each place to the nearest training site, km.

        Training sites are taken a few at a time, to save memory.
        """
        x, y = (tf.cast(values, tf.float32)[..., None] for values in (x_km, y_km))
        count = -(-len(trained_km) // _SITES_AT_ONCE)
        nearest = tf.fill(tf.shape(x)[:-1], np.float32(np.inf))
        for block in np.array_split(trained_km.astype("float32"), count):
            with tf.control_dependencies([nearest]):
                squares = (x - block[:, 0]) ** 2 + (y - block[:, 1]) ** 2
            nearest = tf.minimum(nearest, tf.reduce_min(squares, axis=-1))
        return tf.sqrt(nearest)


def _refuse(names: Iterable[str], inputs: Sequence[tf.Tensor]) -> None:
    """Make the graph raise an error that names the input if a value lies outside `LIMITS`.

    Inputs of `KNOWN` may also be 0, which is unknown.
    """
    for name, values in zip(names, inputs, strict=True):
        low, high = LIMITS[name.removeprefix("site_")]
        possible, text = (values >= low) & (values <= high), f"{name} must lie between {low} and {high}"
        if name in KNOWN:
            possible, text = possible | (values == 0), f"{text}, or be 0 where unknown"
        tf.debugging.Assert(tf.reduce_all(possible), [text])
