"""Longitude and latitude -> pixel by TensorFlow operations, since a model server has no PROJ."""

import math

import numpy as np
import pyproj
import tensorflow as tf

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid

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
