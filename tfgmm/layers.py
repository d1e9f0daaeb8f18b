"""Site layers on the grid: interpolation, cover, and what had to be filled."""

import numpy as np
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import distance_transform_edt

from tfgmm.errors import DataError
from tfgmm.grid import Grid

#: Known layers: unit and long name.
LAYERS = {
    "z_bedrock": ("m", "depth to seismic bedrock"),
    "vs30": ("m/s", "time-averaged shear-wave velocity of the upper 30 m"),
}
MIN_COVER = 0.9


def fill_holes(layer: xr.DataArray) -> xr.DataArray:
    """Replace missing values by the nearest value on the layer's own raster."""
    values = layer.to_numpy()
    missing = np.isnan(values)
    if missing.all():
        raise DataError(f"site layer {layer.name} holds no value at all")
    row, col = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return layer.copy(data=values[row, col])


def on_grid(layer: xr.DataArray, grid: Grid, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A layer at the pixel centres of a window, bilinear inside its raster and constant outside.

    Parameters
    ----------
    layer : xarray.DataArray
        On ascending ``latitude`` and ``longitude``; NaN where unknown.
    grid : Grid
    size : int
        Pixels along a side of the window.

    Returns
    -------
    values : ndarray, [size, size]
        In the layer's unit; the nearest known value where the layer does not reach.
    covered : ndarray of bool, [size, size]
        False where the value had to be filled.

    Raises
    ------
    DataError
        Less than 90 % of the output window is covered.
    """
    lon, lat = grid.lonlat(size)
    axes = layer["latitude"].to_numpy(), layer["longitude"].to_numpy()
    edges = [(axis[0], axis[-1]) for axis in axes]
    points = np.stack([np.clip(lat, *edges[0]), np.clip(lon, *edges[1])], axis=-1)
    known = layer.transpose("latitude", "longitude")
    values = RegularGridInterpolator(axes, fill_holes(known).to_numpy())(points)
    gap = RegularGridInterpolator(axes, known.isnull().to_numpy().astype(float))(points)
    within = (points[..., 0] == lat) & (points[..., 1] == lon)
    covered = within & (gap < 0.5)
    margin = (size - grid.output_size) // 2
    share = covered[margin : size - margin, margin : size - margin].mean()
    if share < MIN_COVER:
        raise DataError(
            f"site layer {layer.name} covers {share:.0%} of the output window, at least "
            f"{MIN_COVER:.0%} are needed: move or shrink the grid, or bring a wider layer"
        )
    return values, covered
