"""Places for which a distribution is predicted: all pixels of the map, or sites."""

import dataclasses
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid

Interpolation = Literal["nearest", "bilinear"]


class Window(NamedTuple):
    """A square part of the input maps: its first row, its first column and its side, pixels."""

    row: int
    col: int
    size: int


@dataclasses.dataclass(frozen=True)
class Places:
    """Points on or off the map, and the pixels from which their values are interpolated.

    Attributes
    ----------
    dims : tuple of str
        Names of the dimensions of the arrays: ``("row", "col")`` or ``("site",)``, below written as [...].
    longitude, latitude : ndarray, [...]
        Degrees.
    x_km, y_km : ndarray, [...]
        Position, km east and north of the map's centre.
    outside : ndarray of bool, [...]
        True where a place lies outside the map; such a place takes the values of the nearest pixel.
    row, col, weight : ndarray, [k, ...]
        Rows, columns and weights of the k pixels from which the value at a place is interpolated.
    """

    dims: tuple[str, ...]
    longitude: np.ndarray
    latitude: np.ndarray
    x_km: np.ndarray
    y_km: np.ndarray
    outside: np.ndarray
    row: np.ndarray
    col: np.ndarray
    weight: np.ndarray

    @classmethod
    def pixels(cls, grid: Grid) -> Self:
        """Return all pixel centres of the output window as places, [row, col].

        Parameters
        ----------
        grid : Grid
            Map of the run.

        Returns
        -------
        Places
        """
        size = grid.output_size
        row, col = np.indices((size, size))
        x, y = np.moveaxis(grid.centres_km(size), -1, 0)
        outside, weight = np.zeros((size, size), bool), np.ones((1, size, size))
        return cls(("row", "col"), *grid.lonlat(size), x, y, outside, row[None], col[None], weight)

    @classmethod
    def sites(cls, grid: Grid, sites: pd.DataFrame, interpolation: Interpolation) -> Self:
        """Return sites with ``longitude`` and ``latitude`` (degrees) as places, [site].

        Parameters
        ----------
        grid : Grid
            Map of the run.
        sites : pandas.DataFrame
            ``longitude`` and ``latitude``, degrees.
        interpolation : {"nearest", "bilinear"}
            The value at a site is that of the site's pixel (``nearest``), or interpolated between the
            centres of four pixels (``bilinear``).

        Returns
        -------
        Places

        Raises
        ------
        UsageError
            The interpolation is unknown.
        DataError
            A site is too far away to be projected.
        """
        if interpolation not in ("nearest", "bilinear"):
            raise UsageError(f"unknown interpolation {interpolation!r}: choose nearest or bilinear")
        lon, lat = (sites[name].to_numpy(float) for name in ("longitude", "latitude"))
        x, y = projected(grid, sites, "sites")
        row, col, inside = grid.locate(lon, lat)
        last = grid.output_size - 1
        if interpolation == "bilinear":
            pixels = _four_pixels(grid, x, y)
        else:
            pixels = (np.clip(row, 0, last)[None], np.clip(col, 0, last)[None], np.ones((1, len(x))))
        return cls(("site",), lon, lat, x, y, ~inside, *pixels)

    @property
    def xy_km(self) -> np.ndarray:
        """Return the positions of the places, km east and north of the map's centre, [..., 2]."""
        return np.stack([self.x_km, self.y_km], axis=-1)

    def window(self, grid: Grid, depth: int) -> Window:
        """Return the smallest window of the input maps from which a U-Net predicts the same at all places.

        The window begins at a multiple of :math:`2^{depth}` pixels: the pooling of a U-Net of this depth
        then pairs the same pixels as on the whole map.

        Parameters
        ----------
        grid : Grid
            Map of the run.
        depth : int
            Number of pooling steps of the U-Net.

        Returns
        -------
        Window
        """
        step, last = 2**depth, grid.output_size - 1
        ends = [(axis.min() // step, (last - axis.max()) // step) for axis in (self.row, self.col)]
        spare = min(before + after for before, after in ends)
        row, col = (int(min(before, spare)) * step for before, _ in ends)
        return Window(row, col, grid.input_size - int(spare) * step)

    def sample(self, maps: np.ndarray, window: Window) -> np.ndarray:
        """Interpolate the output maps of a window to the places, and return the values.

        Parameters
        ----------
        maps : ndarray, [event, row, col]
            Output of a network for the window.
        window : Window
            Part of the input maps from which `maps` were computed.

        Returns
        -------
        ndarray, [event, ...]
            In the unit of `maps`.
        """
        at_pixels = maps[:, self.row - window.row, self.col - window.col]
        return (at_pixels * self.weight).sum(axis=1)

    def r_hyp_km(self, x_km, y_km, depth_km) -> np.ndarray:
        """Return the hypocentral distances from events to the places, km, [event, ...].

        Parameters
        ----------
        x_km, y_km, depth_km : array_like, [event]
            Epicentres, km east and north of the map's centre, and depths, km.

        Returns
        -------
        ndarray, [event, ...]
        """
        x, y, depth = (np.reshape(value, (-1, *[1] * self.x_km.ndim)) for value in (x_km, y_km, depth_km))
        return np.hypot(np.hypot(self.x_km - x, self.y_km - y), depth)

    def nearest_km(self, stations: pd.DataFrame) -> np.ndarray:
        """Return the distance of each place to the nearest station, km, [...].

        Parameters
        ----------
        stations : pandas.DataFrame
            ``x_km, y_km`` of at least one station, km east and north of the map's centre.

        Returns
        -------
        ndarray, [...]
        """
        return KDTree(stations[["x_km", "y_km"]]).query(self.xy_km)[0]


def projected(grid: Grid, points: pd.DataFrame, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Project points to km east and north of the grid's centre.

    Parameters
    ----------
    grid : Grid
        Map of the run.
    points : pandas.DataFrame
        ``longitude`` and ``latitude``, degrees.
    what : str
        Name of the points in the error message.

    Returns
    -------
    x_km, y_km : ndarray, [n]
        Km east and km north of the grid's centre.

    Raises
    ------
    DataError
        A point cannot be projected, because it lies on the other side of the Earth.
    """
    x, y = grid.project(points["longitude"], points["latitude"])
    lost = ~np.isfinite(x + y)
    if lost.any():
        row = int(lost.argmax())
        lon, lat = points["longitude"].iloc[row], points["latitude"].iloc[row]
        raise DataError(
            f"{what}, row {row + 1}: {lon} E {lat} N is too far from the map for its projection {grid.crs}"
        )
    return x, y


def _four_pixels(
    grid: Grid, x_km: np.ndarray, y_km: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns and weights, [4, site] each, for bilinear interpolation between pixel centres.

    Beyond the outermost pixel centres the values are constant.
    """
    size = grid.output_size
    x, y = grid.axes_km(size)
    col = np.interp(x_km, x, np.arange(size))
    row = np.interp(-y_km, -y, np.arange(size))
    north, west = np.floor(row).astype(int), np.floor(col).astype(int)
    south, east = np.minimum(north + 1, size - 1), np.minimum(west + 1, size - 1)
    down, right = row - north, col - west
    return (
        np.stack([north, north, south, south]),
        np.stack([west, east, west, east]),
        np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]),
    )
