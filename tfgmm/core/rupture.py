"""Surface of a rupture, made of quadrilaterals, and the distances of places to it, km."""

import dataclasses
from typing import Self

import numpy as np
import pyproj

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.core.sphere import unit_vectors, wrapped

#: Lowest and highest value of a corner (degrees, km), in the order of the last axis of `Rupture.corners`.
LIMITS = {"longitude": (-180.0, 360.0), "latitude": (-90.0, 90.0), "depth_km": (-5.0, 800.0)}
#: Lowest and highest value of the parameters of a plane (degrees, km).
PLANE_LIMITS = {
    "strike": (-360.0, 360.0),
    "dip": (0.1, 90.0),
    "length_km": (0.001, 2000.0),
    "width_km": (0.001, 1000.0),
}
#: Largest distance of a corner from the centre of the rupture, km. The longest rupture known, of the
#: earthquake of 2004 off Sumatra, reached about 650 km from its centre.
FARTHEST_KM = 1000.0
#: Number of places whose distances are computed at once: the arrays fit into the processor's cache.
_BLOCK = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class Rupture:
    """Surface of a rupture, made of one or more quadrilaterals.

    A quadrilateral is two triangles: its first three corners; its first, third and fourth corner. So each
    surface is defined exactly, also where four corners do not lie in one plane.

    Attributes
    ----------
    corners : ndarray, [n_quadrilaterals, 4, 3]
        Longitude and latitude (degrees) and depth (km) of the corners: two along the top edge, then two
        along the bottom edge in the opposite direction. Longitudes are from -180 to 180 degrees.
    shifted_km : float
        Distance by which `planar` has shifted the plane down dip, so that its top is not above the ground.

    Raises
    ------
    DataError
        There is no quadrilateral, a value is missing or out of range, or the corners are too far apart.
    """

    corners: np.ndarray
    shifted_km: float = 0.0

    def __post_init__(self) -> None:
        corners = np.array(self.corners, float)
        if corners.ndim != 3 or corners.shape[1:] != (4, 3) or not len(corners):
            raise DataError(
                f"the corners of a rupture have the shape {corners.shape}, expected (n, 4, 3): four "
                "corners (longitude, latitude, depth) of each of n quadrilaterals"
            )
        for axis, (name, (lowest, highest)) in enumerate(LIMITS.items()):
            values = corners[..., axis]
            bad = np.argwhere(~((values >= lowest) & (values <= highest)))
            if len(bad):
                quadrilateral, corner = bad[0]
                raise DataError(
                    f"rupture, quadrilateral {quadrilateral + 1}, corner {corner + 1}, {name}: "
                    f"{values[quadrilateral, corner]:g}, expected a number from {lowest:g} to {highest:g}"
                )
        corners[..., 0] = wrapped(corners[..., 0])
        corners.flags.writeable = False
        object.__setattr__(self, "corners", corners)
        x, y = self._local(corners[..., 0], corners[..., 1])
        farthest = np.hypot(x, y).max()
        if not farthest <= FARTHEST_KM:
            raise DataError(
                f"the rupture reaches {farthest:,.0f} km from its centre, expected at most "
                f"{FARTHEST_KM:,.0f} km: check its longitudes and latitudes"
            )

    @classmethod
    def planar(
        cls,
        longitude: float,
        latitude: float,
        depth_km: float,
        *,
        strike: float,
        dip: float,
        length_km: float,
        width_km: float,
        along_strike: float = 0.5,
        down_dip: float = 0.5,
    ) -> Self:
        """Return a rectangular rupture through a hypocentre.

        The rupture dips to the right of the direction of strike. If its top were above the ground, it is
        shifted down dip until its top is at the ground, and `shifted_km` says by how much.

        Parameters
        ----------
        longitude, latitude : float
            Epicentre, degrees.
        depth_km : float
            Depth of the hypocentre, km.
        strike, dip : float
            Direction of strike from north to the east, and angle of dip from the horizontal, degrees.
        length_km, width_km : float
            Length along strike and width down dip, km.
        along_strike, down_dip : float
            Place of the hypocentre on the rectangle: 0 at the start of the top edge, 1 at its end; 0 at the
            top, 1 at the bottom.

        Returns
        -------
        Rupture
            One quadrilateral.

        Raises
        ------
        UsageError
            A value is missing or out of range.
        """
        plane = {"strike": strike, "dip": dip, "length_km": length_km, "width_km": width_km}
        ranges = LIMITS | PLANE_LIMITS | {"along_strike": (0.0, 1.0), "down_dip": (0.0, 1.0)}
        place = {"longitude": longitude, "latitude": latitude, "depth_km": depth_km}
        for name, value in (place | plane | {"along_strike": along_strike, "down_dip": down_dip}).items():
            lowest, highest = ranges[name]
            if not lowest <= value <= highest:
                raise UsageError(
                    f"rupture, {name}: {value:g}, expected a number from {lowest:g} to {highest:g}"
                )
        azimuth, slope = np.radians(strike), np.radians(dip)
        along = np.array([-along_strike, 1 - along_strike]) * length_km
        shifted = max(0.0, down_dip * width_km - depth_km / np.sin(slope))
        down = np.array([-down_dip, 1 - down_dip]) * width_km + shifted
        s, t = along[[0, 1, 1, 0]], down[[0, 0, 1, 1]]
        right = t * np.cos(slope)
        x, y = (
            s * np.sin(azimuth) + right * np.cos(azimuth),
            s * np.cos(azimuth) - right * np.sin(azimuth),
        )
        degrees = _local_map(longitude, latitude)(x, y, inverse=True)
        depth = np.maximum(depth_km + t * np.sin(slope), min(depth_km, 0.0))  # rounding
        return cls(np.stack([*degrees, depth], axis=-1)[np.newaxis], float(shifted))

    def area_km2(self) -> float:
        """Return the area of the surface, km^2, on an azimuthal equidistant map around its centre.

        Returns
        -------
        float
        """
        x, y = self._local(self.corners[..., 0], self.corners[..., 1])
        corners = np.stack([x, y, self.corners[..., 2]], axis=-1)
        triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
        u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
        return float(np.linalg.norm(np.cross(u, v), axis=1).sum() / 2)

    def distance_km(self, longitude, latitude) -> np.ndarray:
        r"""Return the distance of places at the ground to the nearest point of the rupture, km.

        .. math:: R_{rup} = \min_{p} \sqrt{|x - x_p|^2 + z_p^2}

        over the points p of the surface, at the place :math:`x_p` and depth :math:`z_p`, where x are km
        east and north on an azimuthal equidistant map (WGS 84) around the centre of the rupture. Lengths on
        this map differ from geodesic ones by less than 0.05 % up to 300 km and by less than 0.5 % up to
        1000 km from the centre.

        Parameters
        ----------
        longitude, latitude : array_like
            Coordinates of the places, degrees.

        Returns
        -------
        ndarray
            Distances, km, in the shape of the input; NaN where a coordinate is NaN.
        """
        return self._distance(self.corners[..., 2], longitude, latitude)

    def joyner_boore_km(self, longitude, latitude) -> np.ndarray:
        """Return the distance of places to the projection of the rupture to the ground, km.

        The distance is zero above the rupture (Joyner & Boore, 1981).

        Parameters
        ----------
        longitude, latitude : array_like
            Coordinates of the places, degrees.

        Returns
        -------
        ndarray
            Distances, km, in the shape of the input; NaN where a coordinate is NaN.
        """
        return self._distance(np.zeros(self.corners.shape[:2]), longitude, latitude)

    def map_distance_km(self, grid: Grid, x_km, y_km) -> np.ndarray:
        """Return the distance of points of a map to the nearest point of the rupture, measured on the map.

        Distances are as true to scale as the map (`Grid.refuse_distortion`), and consistent with other
        distances on it, such as that of a pixel to the hypocentre.

        Parameters
        ----------
        grid : Grid
            Projection of the map.
        x_km, y_km : array_like
            Km east and km north of the centre of the grid.

        Returns
        -------
        ndarray
            Distances, km, in the shape of the input.

        Raises
        ------
        UsageError
            The rupture lies outside the area of the projection.
        """
        x, y = grid.project(self.corners[..., 0], self.corners[..., 1])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise UsageError(f"the rupture has no position in the projection {grid.crs} of the map")
        return distance_to_quadrilaterals(x_km, y_km, np.stack([x, y, self.corners[..., 2]], axis=-1))

    def _distance(self, depth_km: np.ndarray, longitude, latitude) -> np.ndarray:
        """Return distances of places to the surface whose corners have the depths [n, 4], km."""
        x, y = self._local(self.corners[..., 0], self.corners[..., 1])
        surface = np.stack([x, y, depth_km], axis=-1)
        return distance_to_quadrilaterals(*self._local(longitude, latitude), surface)

    def _local(self, longitude, latitude) -> tuple[np.ndarray, np.ndarray]:
        """Return km east and km north of the centre of the rupture on an equidistant map around it."""
        east, middle, up = unit_vectors(*self.corners[..., :2].reshape(-1, 2).T).mean(axis=0)
        center = np.degrees([np.arctan2(middle, east), np.arctan2(up, np.hypot(east, middle))])
        longitude, latitude = np.broadcast_arrays(np.asarray(longitude, float), np.asarray(latitude, float))
        x, y = _local_map(*center)(longitude, latitude)
        known = np.isfinite(longitude) & np.isfinite(latitude)
        return np.where(known, x, np.nan), np.where(known, y, np.nan)


def distance_to_quadrilaterals(x_km, y_km, quadrilaterals) -> np.ndarray:
    """Return the distance of points at the ground to the nearest of several quadrilaterals in space, km.

    A quadrilateral is two triangles, as in `Rupture`. The nearest point of a triangle is the foot of the
    perpendicular on its plane, if that lies in the triangle, else it lies on an edge.

    Parameters
    ----------
    x_km, y_km : array_like
        Km east and north of the points, whose depth is zero; two arrays of the same shape.
    quadrilaterals : array_like, [n_quadrilaterals, 4, 3]
        Corners: km east, km north, depth in km.

    Returns
    -------
    ndarray
        Distances, km, in the shape of `x_km`.

    References
    ----------
    Ericson (2005), Real-time collision detection, sections 3.4 and 5.1.
    """
    corners = np.asarray(quadrilaterals, float)
    center = corners.mean(axis=(0, 1))
    corners = corners - center  # so that products of coordinates stay small, and exact
    x, y = np.broadcast_arrays(np.asarray(x_km, float), np.asarray(y_km, float))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) - center
    squared = np.empty(x.size)
    triangles = _planes(np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]))
    edges = _edges(corners)
    for start in range(0, x.size, _BLOCK):
        block = points[start : start + _BLOCK]
        nearest = np.minimum(_squared_to_edges(block, *edges), _squared_to_planes(block, *triangles))
        squared[start : start + _BLOCK] = nearest
    return np.sqrt(np.maximum(squared, 0.0)).reshape(x.shape)


def _local_map(longitude: float, latitude: float) -> pyproj.Proj:
    """Return the azimuthal equidistant projection around a place: degrees to km east and north."""
    return pyproj.Proj(proj="aeqd", lon_0=longitude, lat_0=latitude, datum="WGS84", units="km")


def _edges(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and vectors of the edges of the triangles, once each, [n_edges, 3] each."""
    start, end = corners[:, [0, 1, 2, 3, 0]].reshape(-1, 3), corners[:, [1, 2, 3, 0, 2]].reshape(-1, 3)
    return start, end - start


def _planes(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return first corner, unit normal and two dual vectors of each triangle that has an area, [n, 3].

    The dual vectors times a point, relative to the first corner, are the shares of the second and the third
    corner in the foot of the perpendicular (barycentric coordinates).
    """
    first, u, v = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    normal = np.cross(u, v)
    length = np.linalg.norm(normal, axis=1)
    # Triangles without area, such as the projection of a vertical plane to the ground, are their edges.
    flat = length <= 1e-9 * np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    first, u, v, normal = (vectors[~flat] for vectors in (first, u, v, normal))
    length = length[~flat, np.newaxis]
    return first, normal / length, np.cross(v, normal) / length**2, np.cross(normal, u) / length**2


def _squared_to_edges(points: np.ndarray, start: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return the squared distance of each point to the nearest edge, km^2, [n_points]."""
    square = (vector**2).sum(axis=1)
    along = points @ vector.T - (start * vector).sum(axis=1)
    share = np.clip(along / np.where(square > 0, square, 1.0), 0.0, 1.0)
    to_start = (points**2).sum(axis=1)[:, np.newaxis] - 2 * points @ start.T + (start**2).sum(axis=1)
    return (to_start - share * (2 * along - share * square)).min(axis=1)


def _squared_to_planes(
    points: np.ndarray,
    first: np.ndarray,
    normal: np.ndarray,
    second_dual: np.ndarray,
    third_dual: np.ndarray,
) -> np.ndarray:
    """Return the squared height above the nearest triangle that a point lies above, else infinity, km^2."""
    height, second, third = (
        points @ vectors.T - (first * vectors).sum(axis=1) for vectors in (normal, second_dual, third_dual)
    )
    above = (second >= 0) & (third >= 0) & (second + third <= 1)
    return np.where(above, height**2, np.inf).min(axis=1, initial=np.inf)
