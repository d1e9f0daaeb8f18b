"""Site layers: checked rasters of z_bedrock and vs30, in a dataset and interpolated on the grid."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import distance_transform_edt

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.data.dataset import Dataset

#: Known layers: unit and long name.
LAYERS = {
    "z_bedrock": ("m", "depth to seismic bedrock"),
    "vs30": ("m/s", "time-averaged shear-wave velocity of the upper 30 m"),
}
#: Values that are believed; others are in a wrong unit or stand for a missing value. Bedrock at 0 m is an
#: outcrop; a Vs30 of 0 m/s is water or nothing.
RANGE = {"z_bedrock": (0.0, 30_000.0), "vs30": (30.0, 5_000.0)}
#: Points of a raster that fit in memory several times over.
MAX_POINTS = 20_000_000
MIN_COVER = 0.9

#: West, south, east, north, degrees; east of 180 where it crosses the date line.
Region = tuple[float, float, float, float]


def known(name: str) -> tuple[str, str]:
    """Return the unit and the long name of a site layer.

    Raises
    ------
    UsageError
        There is no such layer.
    """
    if name not in LAYERS:
        raise UsageError(f"unknown site layer {name!r}: choose one of {', '.join(LAYERS)}")
    return LAYERS[name]


def make(
    name: str, latitude: np.ndarray, longitude: np.ndarray, values: np.ndarray, **attrs
) -> xr.DataArray:
    """Return a checked site layer with the attributes of the CF conventions.

    Parameters
    ----------
    name : str
        One of `LAYERS`.
    latitude, longitude : ndarray
        Degrees, ascending, at least two of each.
    values : ndarray, [latitude, longitude]
        In the layer's unit; NaN where unknown.
    **attrs
        Provenance: ``source`` (the name of a file), ``sha256``, ``method``, ...

    Raises
    ------
    UsageError
        The layer is not known.
    DataError
        All values are missing, or one is out of `RANGE`.
    """
    units, long_name = known(name)
    if min(values.shape) < 2 or np.isnan(values).all():
        raise DataError(f"{attrs['source']} gives no raster of {name}: {values.shape} points, all missing")
    low, high = RANGE[name]
    bad = (values < low) | (values > high)
    if bad.any():
        row, col = np.unravel_index(np.argmax(bad), bad.shape)
        raise DataError(
            f"{attrs['source']}, {latitude[row]:g} N {longitude[col]:g} E: {values[row, col]:g}, expected "
            f"a {long_name} of {low:g} to {high:g} {units}, or NaN where it is missing"
        )
    axes = {
        "latitude": ("latitude", latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": ("longitude", longitude, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    return xr.DataArray(values, axes, name=name, attrs={"units": units, "long_name": long_name, **attrs})


def beside(longitude: np.ndarray, centre: float) -> np.ndarray:
    """Turn longitudes by whole circles to within 180 degrees of `centre`."""
    return longitude - 360 * np.rint((longitude - centre) / 360)


def refuse_large(source: str, shape: Sequence[int]) -> None:
    """Raise `UsageError` for a raster that is larger than any map needs."""
    if np.prod(shape, dtype=float) > MAX_POINTS:
        raise UsageError(
            f"{source}: {shape[0]:.0f} x {shape[1]:.0f} points are more than {MAX_POINTS}: "
            "take a part with --region, or a larger --step"
        )


def crop(layer: xr.DataArray, region: Region | None) -> xr.DataArray:
    """Return the part of a layer in a region, and the points next to it.

    Parameters
    ----------
    layer : xarray.DataArray
    region : tuple of float, optional
        West, south, east, north, degrees; by default the whole layer.

    Raises
    ------
    UsageError
        The layer does not reach into the region.
    """
    if region is None:
        return layer
    west, south, east, north = region
    parts = {}
    for axis, low, high in (("latitude", south, north), ("longitude", west, east)):
        degrees = layer[axis].to_numpy()
        if high < 2 * degrees[0] - degrees[1] or low > 2 * degrees[-1] - degrees[-2]:
            raise UsageError(f"{layer.attrs['source']} has no {layer.name} in the region {region}")
        first, last = np.searchsorted(degrees, low), np.searchsorted(degrees, high, "right")
        parts[axis] = slice(min(max(first - 1, 0), len(degrees) - 2), max(last + 1, 2))
    return layer.isel(parts)


def axes(layer: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of the raster of a layer, degrees.

    A layer on a raster of its own in a dataset names them ``latitude_NAME`` and ``longitude_NAME``.
    """
    lat, lon = (layer[dim].to_numpy() for dim in _dimensions(layer))
    return lat, lon


def _dimensions(layer: xr.DataArray) -> list[str]:
    """Return the names of the dimensions of a layer: latitude, longitude."""
    return sorted(map(str, layer.dims))


def attach(dataset: Dataset, layer: xr.DataArray) -> Dataset:
    """Return the dataset with a layer added, or put in place of the layer of the same name.

    The layer's attributes become an entry of ``layers`` in the provenance. A layer whose raster differs
    from that of the others keeps it: its dimensions are then ``latitude_NAME``, ``longitude_NAME``.
    """
    kept = {name: values for name, values in (dataset.layers or {}).items() if name != layer.name}
    on_common_raster = (values for values in kept.values() if "latitude" in values.dims)
    if not all(
        layer[d].equals(values[d]) for values in on_common_raster for d in ("latitude", "longitude")
    ):
        layer = layer.rename({d: f"{d}_{layer.name}" for d in ("latitude", "longitude")})
    entries = [entry for entry in dataset.provenance.get("layers", []) if entry["name"] != layer.name]
    entry = {"name": layer.name, **layer.attrs}
    return dataclasses.replace(
        dataset,
        layers=xr.Dataset({**kept, layer.name: layer}),
        provenance=dataset.provenance | {"layers": [*entries, entry]},
    )


def fill_holes(layer: xr.DataArray) -> xr.DataArray:
    """Replace missing values by the nearest value on the layer's own raster."""
    values = layer.to_numpy()
    missing = np.isnan(values)
    if missing.all():
        raise DataError(f"site layer {layer.name} holds no value at all")
    row, col = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return layer.copy(data=values[row, col])


def on_grid(layer: xr.DataArray, grid: Grid, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a layer at the pixel centres of a window: bilinear inside its raster, constant outside.

    Parameters
    ----------
    layer : xarray.DataArray
        On ascending latitude and longitude; NaN where unknown.
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
        The layer covers less than 90 % of the output window.
    """
    layer = _facing(layer, grid.longitude)
    raster = axes(layer)
    lon, lat = grid.lonlat(size)
    lon = beside(lon, (raster[1][0] + raster[1][-1]) / 2)
    edges = [(axis[0], axis[-1]) for axis in raster]
    points = np.stack([np.clip(lat, *edges[0]), np.clip(lon, *edges[1])], axis=-1)
    layer = layer.transpose(*_dimensions(layer))
    values = RegularGridInterpolator(raster, fill_holes(layer).to_numpy())(points)
    gap = RegularGridInterpolator(raster, layer.isnull().to_numpy().astype(float))(points)
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


def _facing(layer: xr.DataArray, longitude: float) -> xr.DataArray:
    """Turn a layer that goes round the Earth so that its seam is opposite `longitude`."""
    _, degrees = axes(layer)
    if np.ptp(degrees) + 1.5 * np.diff(degrees).max() < 360:
        return layer
    _, dim = _dimensions(layer)
    return layer.assign_coords({dim: beside(degrees, longitude)}).sortby(dim).drop_duplicates(dim)
