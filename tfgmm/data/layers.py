"""Site layers: rasters of z_bedrock (m) and vs30 (m/s), their checks, and values at the pixel centres."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import distance_transform_edt

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.data.dataset import Dataset

#: Unit and long name of each possible site layer, by name.
LAYERS = {
    "z_bedrock": ("m", "depth to seismic bedrock"),
    "vs30": ("m/s", "time-averaged shear-wave velocity of the upper 30 m"),
}
#: Smallest and largest plausible value; other values have a wrong unit or mark a missing value. A bedrock
#: depth of 0 m is an outcrop; a Vs30 of 0 m/s is water or a missing value.
RANGE = {"z_bedrock": (0.0, 30_000.0), "vs30": (30.0, 5_000.0)}
#: Largest number of points of a raster: several copies of it must fit into the memory.
MAX_POINTS = 20_000_000
MIN_COVER = 0.9

#: West, south, east and north edge, degrees; the east edge is above 180 in a region across the date line.
Region = tuple[float, float, float, float]


def known(name: str) -> tuple[str, str]:
    """Return the unit and the long name of a site layer.

    Parameters
    ----------
    name : str
        Name of the layer, one of `LAYERS`.

    Returns
    -------
    str, str
        Unit, such as ``m/s``, and long name.

    Raises
    ------
    UsageError
        `name` is no possible site layer.
    """
    if name not in LAYERS:
        raise UsageError(f"unknown site layer {name!r}: choose one of {', '.join(LAYERS)}")
    return LAYERS[name]


def make(
    name: str, latitude: np.ndarray, longitude: np.ndarray, values: np.ndarray, **attrs
) -> xr.DataArray:
    """Return a checked site layer as an array with coordinates and attributes of the CF conventions.

    Parameters
    ----------
    name : str
        Name of the layer, one of `LAYERS`.
    latitude, longitude : ndarray, [n_latitudes], [n_longitudes]
        Coordinates of the raster points, degrees, ascending; at least two of each.
    values : ndarray, [n_latitudes, n_longitudes]
        Values in the unit of the layer; NaN where unknown.
    **attrs
        Provenance: ``source`` (name of a file, required), ``sha256``, ``method``, ...

    Returns
    -------
    xarray.DataArray, [n_latitudes, n_longitudes]
        The site layer.

    Raises
    ------
    UsageError
        `name` is no possible site layer.
    DataError
        All values are missing, or a value lies outside `RANGE`.
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
    """Shift longitudes by multiples of 360 degrees, so that they lie within 180 degrees of a centre.

    Parameters
    ----------
    longitude : ndarray
        Longitudes, degrees.
    centre : float
        Longitude of the centre, degrees.

    Returns
    -------
    ndarray
        Shifted longitudes, degrees.
    """
    return longitude - 360 * np.rint((longitude - centre) / 360)


def refuse_large(source: str, shape: Sequence[int]) -> None:
    """Raise an error if a raster has more than `MAX_POINTS` points.

    Parameters
    ----------
    source : str
        Name of the file, for the message.
    shape : sequence of int, [2]
        Numbers of rows and columns of the raster.

    Raises
    ------
    UsageError
        The raster is too large.
    """
    if np.prod(shape, dtype=float) > MAX_POINTS:
        raise UsageError(
            f"{source}: {shape[0]:.0f} x {shape[1]:.0f} points are more than {MAX_POINTS}: "
            "take a part with --region, or a larger --step"
        )


def crop(layer: xr.DataArray, region: Region | None) -> xr.DataArray:
    """Return the part of a site layer in a region, with one more raster point on each side.

    Parameters
    ----------
    layer : xarray.DataArray
        Site layer on ``latitude`` and ``longitude``, degrees, ascending.
    region : tuple of float or None
        West, south, east and north edge, degrees; None returns the whole layer.

    Returns
    -------
    xarray.DataArray
        The part of the layer.

    Raises
    ------
    UsageError
        The layer does not extend into the region.
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
    """Return the latitudes and the longitudes of the raster of a site layer.

    Parameters
    ----------
    layer : xarray.DataArray
        Site layer with the dimensions ``latitude`` and ``longitude``, or ``latitude_NAME`` and
        ``longitude_NAME`` where its raster differs from that of the other layers of a dataset.

    Returns
    -------
    latitude, longitude : ndarray, [n_latitudes], [n_longitudes]
        Coordinates of the raster points, degrees.
    """
    lat, lon = (layer[dim].to_numpy() for dim in _dimensions(layer))
    return lat, lon


def _dimensions(layer: xr.DataArray) -> list[str]:
    """Return the names of the dimensions of a site layer: the latitude first, then the longitude."""
    return sorted(map(str, layer.dims))


def attach(dataset: Dataset, layer: xr.DataArray) -> Dataset:
    """Return a dataset with a site layer added; a layer of the same name is replaced.

    The attributes of the layer become an entry of ``layers`` in the provenance. If the raster of the layer
    differs from that of the other layers, its dimensions are renamed ``latitude_NAME`` and
    ``longitude_NAME``.

    Parameters
    ----------
    dataset : Dataset
        Dataset that gets the layer.
    layer : xarray.DataArray
        Site layer on ``latitude`` and ``longitude``, as `make` returns it.

    Returns
    -------
    Dataset
        A copy of the dataset with the layer.
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
    """Replace each missing value of a site layer by the value of the nearest raster point that has one.

    Parameters
    ----------
    layer : xarray.DataArray
        Site layer; NaN where unknown.

    Returns
    -------
    xarray.DataArray
        Layer without missing values, on the same raster.

    Raises
    ------
    DataError
        All values of the layer are missing.
    """
    values = layer.to_numpy()
    missing = np.isnan(values)
    if missing.all():
        raise DataError(f"site layer {layer.name} holds no value at all")
    row, col = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return layer.copy(data=values[row, col])


def on_grid(layer: xr.DataArray, grid: Grid, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a site layer at the pixel centres of a window of the grid.

    The interpolation is bilinear inside the raster; outside, the value at the nearest edge is used.

    Parameters
    ----------
    layer : xarray.DataArray
        Site layer on ascending latitude and longitude; NaN where unknown.
    grid : Grid
        Map projection and pixels.
    size : int
        Pixels along one side of the window.

    Returns
    -------
    values : ndarray, [size, size]
        Values in the unit of the layer; the nearest known value where the layer has none.
    covered : ndarray of bool, [size, size]
        False where the layer has no value and a neighbouring one is used.

    Raises
    ------
    DataError
        The layer covers less than 90 % of the output window, or has no value.
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
    """Return a site layer that goes round the Earth, cut at the meridian opposite `longitude` (degrees).

    Other layers are returned unchanged.
    """
    _, degrees = axes(layer)
    if np.ptp(degrees) + 1.5 * np.diff(degrees).max() < 360:
        return layer
    _, dim = _dimensions(layer)
    return layer.assign_coords({dim: beside(degrees, longitude)}).sortby(dim).drop_duplicates(dim)
