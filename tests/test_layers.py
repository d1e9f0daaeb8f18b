"""Site layers on the grid."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfgmm import layers
from tfgmm.errors import DataError
from tfgmm.grid import Grid

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)
SLOPE = st.floats(-1000, 1000)


LAT, LON = np.linspace(33, 38.5, 56), np.linspace(137, 143, 61)


def layer(function, lat=LAT, lon=LON) -> xr.DataArray:
    values = function(*np.meshgrid(lat, lon, indexing="ij"))
    return xr.DataArray(values, {"latitude": lat, "longitude": lon}, name="z_bedrock")


def plane(lat, lon):
    return 100 * (lat - 35) + 10 * (lon - 139)


@given(SLOPE, SLOPE, SLOPE)
def test_bilinear_is_exact_for_a_plane(a, b, c):
    field = layer(lambda lat, lon: a + b * (lat - 35) + c * (lon - 139))
    lon, lat = GRID.lonlat(68)
    values, covered = layers.on_grid(field, GRID, 68)
    np.testing.assert_allclose(values, a + b * (lat - 35) + c * (lon - 139), atol=1e-8)
    assert covered.all()


def test_constant_beyond_the_raster():
    west, east = 138.9, 141.0
    field = layer(plane, lon=np.linspace(west, east, 22))
    lon, lat = GRID.lonlat(68)
    values, covered = layers.on_grid(field, GRID, 68)
    np.testing.assert_allclose(values, plane(lat, np.clip(lon, west, east)), atol=1e-9)
    np.testing.assert_array_equal(covered, (lon >= west) & (lon <= east))
    assert 0.1 < covered.mean() < 0.9


def test_order_of_dimensions_does_not_matter():
    field = layer(plane)
    for one, two in zip(
        layers.on_grid(field, GRID, 68), layers.on_grid(field.transpose(), GRID, 68), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@given(arrays.arrays(bool, (6, 7)).filter(lambda hole: not hole.all()))
def test_holes_take_the_value_of_a_nearest_cell(hole):
    values = np.arange(42.0).reshape(6, 7)  # every value names its cell
    filled = layers.fill_holes(xr.DataArray(np.where(hole, np.nan, values))).to_numpy()
    known = np.argwhere(~hole)
    for cell in np.ndindex(6, 7):
        source = np.array(divmod(int(filled[cell]), 7))
        nearest = np.linalg.norm(known - cell, axis=1).min()
        assert np.linalg.norm(source - cell) == pytest.approx(nearest)
        assert not hole[tuple(source)]


def test_a_hole_is_filled_and_counts_as_not_covered():
    lon, lat = GRID.lonlat(68)
    field = layer(
        lambda lat, lon: np.where((abs(lat - 35.75) < 0.11) & (abs(lon - 139.95) < 0.11), np.nan, 7)
    )
    values, covered = layers.on_grid(field, GRID, 68)
    np.testing.assert_allclose(values, 7)
    deep = (abs(lat - 35.75) < 0.05) & (abs(lon - 139.95) < 0.05)
    far = (abs(lat - 35.75) > 0.15) | (abs(lon - 139.95) > 0.15)
    assert deep.any() and not covered[deep].any()
    assert covered[far].all()


def test_less_than_ninety_percent_of_the_output_window_is_an_error():
    west = GRID.unproject(-56 + 0.15 * 112, 0)[0]
    field = layer(plane, lon=np.linspace(west, 143, 40))
    with pytest.raises(DataError, match=r"site layer z_bedrock covers 8[2-7]% of the output window.*90%"):
        layers.on_grid(field, GRID, 68)


def test_only_the_output_window_must_be_covered():
    """The Kanto bedrock table leaves a third of the input window open."""
    west, south = GRID.unproject(-58, -58)
    east, north = GRID.unproject(58, 58)
    field = layer(plane, np.linspace(south, north, 20), np.linspace(west, east, 20))
    for size in (68, 74):  # as it is, and with three pixels for shifts on each side
        margin = (size - 28) // 2
        covered = layers.on_grid(field, GRID, size)[1]
        assert covered[margin:-margin, margin:-margin].mean() > 0.97
        assert covered.mean() < 0.25


def test_a_layer_without_any_value_is_an_error():
    with pytest.raises(DataError, match="site layer z_bedrock holds no value"):
        layers.on_grid(layer(lambda lat, lon: lat * np.nan), GRID, 68)


def test_known_layers_have_units():
    assert {name: unit for name, (unit, _) in layers.LAYERS.items()} == {"z_bedrock": "m", "vs30": "m/s"}
