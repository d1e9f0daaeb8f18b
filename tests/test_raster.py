"""GeoTIFF and NetCDF -> site layer. The files are written with rasterio, SciPy and h5py."""

import contextlib
import functools
import hashlib
import io

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import from_origin

from helpers.damaged_files import mutated
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.layers import raster

# rasterio 1.4 multiplies in a way that affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

LAT, LON = np.arange(35.05, 36, 0.1), np.arange(139.1, 140.4, 0.2)
VALUES = np.arange(70.0).reshape(10, 7) + 100


def write_tif(path, values, transform, crs="EPSG:4326", **profile):
    values = np.atleast_3d(values.T).T
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", transform=transform, crs=crs, **profile) as file:
        file.write(values)
    return path


def in_degrees(path, values=VALUES, **profile):
    return write_tif(path, values[::-1], from_origin(139, 36, 0.2, 0.1), **profile)


def plane(lat, lon):
    return 1000 + 100 * (lat - 35.5) + 50 * (lon - 139.5)


def test_degrees_are_taken_as_stored(tmp_path):
    path = in_degrees(tmp_path / "z.tif")
    layer = raster.read(path, "z_bedrock")
    np.testing.assert_array_equal(layer, VALUES)
    np.testing.assert_allclose(layer.latitude, LAT)
    np.testing.assert_allclose(layer.longitude, LON)
    assert layer.attrs == {
        "units": "m",
        "long_name": "depth to seismic bedrock",
        "column": "1",
        "scale": 1.0,
        "method": "as stored",
        "source": "z.tif",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_nodata_scale_and_offset_of_the_file(tmp_path):
    values = VALUES.astype("int16").copy()
    values[3, 4] = -9999
    path = in_degrees(tmp_path / "z.tif", values, nodata=-9999)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [0.5], [3.0]
    layer = raster.read(path, "z_bedrock", scale=10)
    expected = 10 * (0.5 * VALUES + 3)
    expected[3, 4] = np.nan
    np.testing.assert_allclose(layer, expected)


def test_undeclared_missing_values_are_refused(tmp_path):
    values = VALUES.astype("float32").copy()
    values[0, 0] = 3.4e38
    with pytest.raises(
        DataError, match=r"z\.tif, 35\.05 N 139\.1 E: 3\.4e\+38, expected .*--missing=3\.4e\+38 "
    ):
        raster.read(in_degrees(tmp_path / "z.tif", values), "z_bedrock")


@settings(max_examples=40)
@given(
    west=st.floats(139.0, 140.2),
    south=st.floats(35.0, 35.9),
    size=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_region_holds_what_interpolation_needs_and_little_more(west, south, size, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "region.tif"
    if not path.exists():
        in_degrees(path)
    region = (west, south, west + size[0], south + size[1])
    layer = raster.read(path, "z_bedrock", region=region)
    whole = raster.read(path, "z_bedrock")
    xr.testing.assert_identical(layer, whole.sel(latitude=layer.latitude, longitude=layer.longitude))
    for axis, low, high in (("latitude", south, region[3]), ("longitude", west, region[2])):
        assert layer[axis][0] <= max(low, whole[axis][0]) and layer[axis][-1] >= min(high, whole[axis][-1])
        assert layer.sizes[axis] <= (high - low) / (whole[axis][1] - whole[axis][0]) + 4


@pytest.mark.parametrize(
    ("crs", "pixel"), [("EPSG:6677", 1000.0), ("EPSG:32654", 500.0), ("EPSG:3857", 1500.0)]
)
def test_map_projections_are_reprojected(tmp_path, crs, pixel):
    """A plane in degrees stays that plane, to the curvature within a pixel."""
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_map.transform(139.5, 35.5)
    offset = (np.arange(120) + 0.5) * pixel
    columns, rows = np.meshgrid(x - 60 * pixel + offset, y + 60 * pixel - offset)
    lon, lat = to_map.transform(columns, rows, direction="INVERSE")
    path = write_tif(
        tmp_path / "z.tif", plane(lat, lon), from_origin(x - 60 * pixel, y + 60 * pixel, pixel, pixel), crs
    )
    layer = raster.read(path, "z_bedrock", region=(139.4, 35.4, 139.6, 35.6))
    assert layer.longitude[0] < 139.4 and layer.longitude[-1] > 139.6
    assert layer.notnull().all() and layer.method.startswith(f"bilinear, from {crs} to a step of 0.0")
    np.testing.assert_allclose(layer, plane(layer.latitude, layer.longitude), atol=0.1)


def test_a_coarser_step_is_the_average(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 5000, (100, 200))
    path = write_tif(tmp_path / "z.tif", values, from_origin(139, 36, 0.01, 0.01))
    layer = raster.read(path, "z_bedrock", step=0.1)
    blocks = values.reshape(10, 10, 20, 10).mean(axis=(1, 3))[::-1]
    np.testing.assert_allclose(layer, blocks, rtol=1e-6)
    np.testing.assert_allclose(layer.latitude, np.arange(35.05, 36, 0.1))
    assert layer.method == "average, from EPSG:4326 to a step of 0.1 degrees"


def test_a_finer_step_is_bilinear(tmp_path):
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    path = in_degrees(tmp_path / "z.tif", plane(lat, lon))
    layer = raster.read(path, "z_bedrock", step=0.025)
    inner = layer.sel(latitude=slice(35.2, 35.8), longitude=slice(139.3, 140.1))
    np.testing.assert_allclose(inner, plane(inner.latitude, inner.longitude), rtol=1e-6)
    assert layer.method == "bilinear, from EPSG:4326 to a step of 0.025 degrees"


def test_bands_are_chosen_by_number(tmp_path):
    bands = np.stack([VALUES, 2 * VALUES])
    path = write_tif(tmp_path / "z.tif", bands, from_origin(139, 36, 0.2, 0.1))
    with pytest.raises(UsageError, match=r"names no band; there are 1, 2"):
        raster.read(path, "z_bedrock")
    with pytest.raises(UsageError, match="--value 3 names no band"):
        raster.read(path, "z_bedrock", value="3")
    two, one = (raster.read(path, "z_bedrock", value=band) for band in "21")
    assert two.column == "2"
    np.testing.assert_array_equal(two, 2 * one)


# --- NetCDF ------------------------------------------------------------------------------------------


def dataset(lat=LAT, lon=LON, **variables):
    variables = variables or {"z": VALUES}
    return xr.Dataset(
        {name: (("lat", "lon"), values) for name, values in variables.items()},
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )


def write_netcdf4(path):
    with h5py.File(path, "w") as file:
        for name, values, units in (("lat", LAT, "degrees_north"), ("lon", LON, "degrees_east")):
            file[name] = values
            file[name].make_scale(name)
            file[name].attrs["units"] = np.bytes_(units)
        file["z"] = VALUES
        file["z"].dims[0].attach_scale(file["lat"])
        file["z"].dims[1].attach_scale(file["lon"])


@pytest.mark.parametrize("kind", ["netcdf 3", "netcdf 4", "north first", "one time"])
def test_netcdf(tmp_path, kind):
    path = tmp_path / "z.nc"
    data = dataset()
    if kind == "north first":
        data = data.isel(lat=slice(None, None, -1))
    if kind == "one time":
        data = data.expand_dims(time=[0])
    if kind == "netcdf 4":
        write_netcdf4(path)
    else:
        data.to_netcdf(path, engine="scipy")
    layer = raster.read(path, "z_bedrock")
    np.testing.assert_array_equal(layer, VALUES)
    np.testing.assert_allclose(layer.latitude, LAT)
    np.testing.assert_allclose(layer.longitude, LON)
    assert layer.method == "as stored"


def test_variables_are_chosen_by_name(tmp_path):
    path = tmp_path / "z.nc"
    dataset(z=VALUES, v=VALUES + 200).to_netcdf(path, engine="scipy")
    with pytest.raises(UsageError, match=r"names no variable; there are z, v"):
        raster.read(path, "vs30")
    layer = raster.read(path, "vs30", value="v")
    np.testing.assert_array_equal(layer, VALUES + 200)
    assert (layer.column, layer.units) == ("v", "m/s")


def test_packed_values_and_marks_of_missing_ones(tmp_path):
    path = tmp_path / "z.nc"
    packed = VALUES.astype("int16")
    packed[2, 1] = -1
    data = dataset(z=packed)
    data["z"].attrs = {"scale_factor": 0.5, "add_offset": 3.0, "_FillValue": np.int16(-1)}
    data.to_netcdf(path, engine="scipy")
    expected = 0.5 * VALUES + 3
    expected[2, 1] = np.nan
    np.testing.assert_array_equal(raster.read(path, "z_bedrock"), expected)


def test_netcdf_on_another_step(tmp_path):
    path = tmp_path / "z.nc"
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    dataset(z=plane(lat, lon)).to_netcdf(path, engine="scipy")
    coarser = raster.read(path, "z_bedrock", step=0.4)
    np.testing.assert_allclose(
        coarser, plane(coarser.latitude, coarser.longitude).where(coarser.notnull()), atol=30
    )
    assert coarser.method.startswith("average")
    finer = raster.read(path, "z_bedrock", step=0.02, region=(139.5, 35.4, 139.7, 35.6))
    np.testing.assert_allclose(finer, plane(finer.latitude, finer.longitude), atol=1e-6)
    assert finer.shape[0] < 20 and finer.method.startswith("bilinear")


def test_netcdf_with_uneven_axes_stays_as_it_is(tmp_path):
    path = tmp_path / "z.nc"
    uneven = LAT + 0.02 * (LAT > 35.5)
    dataset(lat=uneven).to_netcdf(path, engine="scipy")
    np.testing.assert_allclose(raster.read(path, "z_bedrock").latitude, uneven)
    with pytest.raises(UsageError, match="on no regular raster: leave out --step"):
        raster.read(path, "z_bedrock", step=0.1)


def test_more_than_one_map_is_refused(tmp_path):
    dataset().expand_dims(time=[0, 1]).to_netcdf(tmp_path / "z.nc", engine="scipy")
    with pytest.raises(DataError, match="variable z has the axes time, lat, lon, expected one map"):
        raster.read(tmp_path / "z.nc", "z_bedrock")


def test_longitudes_from_0_to_360(tmp_path):
    path = tmp_path / "z.nc"
    dataset(lon=LON + 100).to_netcdf(path, engine="scipy")
    layer = raster.read(path, "z_bedrock", region=(-120.5, 35.2, -120.1, 35.5))
    assert layer.longitude[0] < -120.5 < -120.1 < layer.longitude[-1]
    assert float(layer.sel(latitude=35.35, longitude=-120.3, method="nearest")) == VALUES[3, 3]


# --- what is refused ---------------------------------------------------------------------------------


def test_files_that_say_not_where_they_lie(tmp_path):
    with pytest.raises(DataError, match=r"z\.tif does not say where on the Earth it lies"):
        raster.read(in_degrees(tmp_path / "z.tif", crs=None), "z_bedrock")
    data = xr.Dataset({"z": (("y", "x"), VALUES)})
    data.to_netcdf(tmp_path / "z.nc", engine="scipy")
    with pytest.raises(DataError, match=r"z\.nc does not say where on the Earth it lies"):
        raster.read(tmp_path / "z.nc", "z_bedrock")


def test_bad_commands_are_named(tmp_path):
    path = in_degrees(tmp_path / "z.tif")
    with pytest.raises(UsageError, match=r"does not reach into the region"):
        raster.read(path, "z_bedrock", region=(10, 10, 11, 11))
    with pytest.raises(UsageError, match=r"no\.tif does not exist"):
        raster.read(tmp_path / "no.tif", "z_bedrock")
    with pytest.raises(UsageError, match="unknown site layer 'z'"):
        raster.read(path, "z")
    with pytest.raises(UsageError, match=r"10000 x 1400\d points are more than 20000000"):
        raster.read(path, "z_bedrock", step=0.0001)
    (tmp_path / "no.tif").write_text("<html>")
    with pytest.raises(DataError, match=r"no\.tif is no readable raster \(.*\): bring a GeoTIFF"):
        raster.read(tmp_path / "no.tif", "z_bedrock")


@functools.cache
def good(kind) -> bytes:
    if kind == "nc":
        return bytes(dataset().to_netcdf(engine="scipy"))
    if kind == "h5":
        stream = io.BytesIO()
        write_netcdf4(stream)
        return stream.getvalue()
    with rasterio.MemoryFile() as memory:
        in_degrees(memory.name)
        return memory.read()


@settings(max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["tif", "nc", "h5"]))
def test_mutated_bytes_give_an_error_or_a_layer(data, kind, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{kind}"
    path.write_bytes(mutated(data, good(kind)))
    with contextlib.suppress(TfgmmError):
        assert raster.read(path, "z_bedrock").notnull().any()
