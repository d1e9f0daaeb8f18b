"""Site layers on the grid."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset

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


# --- what a layer is ---------------------------------------------------------------------------------


def made(values, name="z_bedrock"):
    values = np.asarray(values, float)
    return layers.make(name, *(np.arange(n) + 35.0 for n in values.shape), values, source="a.tif")


def test_make_adds_the_attributes_of_cf():
    result = made([[100, np.nan], [300, 400]], "vs30")
    assert result.attrs == {
        "units": "m/s",
        "long_name": "time-averaged shear-wave velocity of the upper 30 m",
        "source": "a.tif",
    }
    assert result.latitude.attrs["standard_name"] == "latitude"
    assert result.longitude.attrs["units"] == "degrees_east"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, -0.5], [1, 1]], r"a\.tif, 35 N 36 E: -0\.5, expected .* of 0 to 30000 m, or NaN"),
        ([[1, 1], [1, 65535]], r"a\.tif, 36 N 36 E: 65535"),
        ([[np.nan, np.nan], [np.nan, np.nan]], r"a\.tif gives no raster of z_bedrock"),
        ([[1, 2, 3]], r"a\.tif gives no raster of z_bedrock"),
    ],
)
def test_make_refuses(values, message):
    with pytest.raises(DataError, match=message):
        made(values)


@given(st.lists(st.integers(-20, 120), min_size=4, max_size=4))
def test_crop_holds_all_that_interpolation_in_the_region_needs(corners):
    south, north, west, east = (0.1 * x for x in (*sorted(corners[:2]), *sorted(corners[2:])))
    field = made(np.arange(121.0).reshape(11, 11)).assign_coords(latitude=range(11), longitude=range(11))
    if north < -1 or south > 11 or east < -1 or west > 11:
        with pytest.raises(UsageError, match=r"a\.tif has no z_bedrock in the region"):
            layers.crop(field, (west, south, east, north))
        return
    part = layers.crop(field, (west, south, east, north))
    for axis, low, high in (("latitude", south, north), ("longitude", west, east)):
        assert part[axis][0] <= max(low, 0) and part[axis][-1] >= min(high, 10)
        assert part[axis][0] >= low - 2 and part[axis][-1] <= high + 2 and part.sizes[axis] >= 2
    xr.testing.assert_identical(part, field.sel(latitude=part.latitude, longitude=part.longitude))


def test_large_rasters_are_refused():
    layers.refuse_large("a.tif", (4000, 5000))
    with pytest.raises(UsageError, match=r"a\.tif: 4001 x 5000 points are more than 20000000: .*--region"):
        layers.refuse_large("a.tif", (4001, 5000))


# --- several layers in a dataset ---------------------------------------------------------------------


def coarse(value=1.0, shift=0.0) -> xr.DataArray:
    field = layer(lambda lat, lon: 0 * lat + value, LAT[::5] + shift, LON[::5])
    return field.assign_attrs(source=f"{value}")


def fine(value=300.0) -> xr.DataArray:
    return layer(lambda lat, lon: 100 * (lat - 30) + value).rename("vs30").assign_attrs(source=f"{value}")


def test_attach_adds_and_leaves_the_original_alone(small):
    one = layers.attach(small, coarse())
    two = layers.attach(one, fine().sel(latitude=LAT[::5], longitude=LON[::5]))
    assert small.layers is None and "layers" not in small.provenance
    assert list(one.layers) == ["z_bedrock"] and len(one.provenance["layers"]) == 1
    assert set(two.layers) == {"z_bedrock", "vs30"} and set(two.layers.dims) == {"latitude", "longitude"}
    assert two.provenance["layers"] == [
        {"name": "z_bedrock", "source": "1.0"},
        {"name": "vs30", "source": "300.0"},
    ]
    xr.testing.assert_identical(two.layers["z_bedrock"], coarse())


def test_attach_replaces_a_layer_of_the_same_name(small):
    again = layers.attach(layers.attach(small, coarse()), coarse(2.0, shift=0.25))
    assert (again.layers["z_bedrock"] == 2.0).all() and again.layers.latitude[0] == LAT[0] + 0.25
    assert again.provenance["layers"] == [{"name": "z_bedrock", "source": "2.0"}]


@pytest.mark.parametrize("first", [coarse, fine])
def test_layers_on_different_rasters_live_in_one_dataset(small, tmp_path, first):
    both = small
    for new in sorted((coarse, fine), key=lambda f: f is not first):
        both = layers.attach(both, new())
    both.write(tmp_path / "data")
    read = Dataset.read(tmp_path / "data")
    xr.testing.assert_identical(read.layers, both.layers)
    assert read.digest() == both.digest() == read.provenance["digest"]
    for new in (coarse(), fine()):
        result = read.layers[new.name]
        np.testing.assert_array_equal(result, new)
        assert [len(axis) for axis in layers.axes(result)] == list(new.shape)
        for one, two in zip(layers.on_grid(result, GRID, 68), layers.on_grid(new, GRID, 68), strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_data_hash_is_that_of_the_content_not_of_the_names_of_dimensions(small):
    one = layers.attach(layers.attach(small, coarse()), fine())
    two = layers.attach(layers.attach(small, fine()), coarse())
    assert set(one.layers.dims) != set(two.layers.dims)
    assert one.digest() == two.digest()
    moved = layers.attach(one, fine().assign_coords(latitude=LAT + 0.01))
    assert moved.digest() != one.digest()


def test_a_layer_on_its_own_raster_can_be_replaced(small):
    both = layers.attach(layers.attach(small, coarse()), fine())
    shared = layers.attach(both, fine().sel(latitude=LAT[::5], longitude=LON[::5]))
    assert set(shared.layers.dims) == {"latitude", "longitude"}
    swapped = layers.attach(both, coarse(2.0, shift=0.25))
    assert set(swapped.layers.dims) == {"latitude", "longitude", "latitude_vs30", "longitude_vs30"}
    np.testing.assert_array_equal(swapped.layers["vs30"], fine())
