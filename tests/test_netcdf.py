"""Axes of NetCDF files: packed, in degrees however they say so, or refused by name."""

import h5py
import numpy as np
import pytest
import xarray as xr
from test_raster import LAT, LON, VALUES, dataset, write_netcdf4

from tfgmm.core.errors import DataError
from tfgmm.readers.layers import raster

# rasterio 1.4 multiplies in a way that affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.mark.parametrize("kind", ["netcdf 3", "netcdf 4"])
def test_packed_axes_are_unpacked(tmp_path, kind):
    path = tmp_path / "z.nc"
    lat, lon = (np.arange(n, dtype="int16") for n in VALUES.shape)
    data = dataset(lat, lon)
    data["lat"].attrs |= {"scale_factor": 0.1, "add_offset": 35.05}
    data["lon"].attrs |= {"scale_factor": 0.2, "add_offset": 139.1}
    if kind == "netcdf 3":
        data.to_netcdf(path, engine="scipy")
    else:
        write_netcdf4(path)
        with h5py.File(path, "r+") as file:
            for name in ("lat", "lon"):
                file[name][:] = data[name].to_numpy()
                file[name].attrs.update(
                    {key: data[name].attrs[key] for key in ("scale_factor", "add_offset")}
                )
    for layer in (raster.read(path, "z_bedrock"), raster.read(path, "z_bedrock", step=0.05)):
        assert 35 < layer.latitude[0] < layer.latitude[-1] < 36
        assert 139 <= layer.longitude[0] < layer.longitude[-1] < 140.5
    np.testing.assert_allclose(raster.read(path, "z_bedrock").latitude, LAT)


@pytest.mark.parametrize(
    "units", [{}, {"lat": "degrees"}, {"lat": "degree_N", "lon": "degree_E"}, {"lat": "Degrees_North"}]
)
def test_axes_in_degrees_however_they_say_so(tmp_path, units):
    data = dataset()
    for name in ("lat", "lon"):
        data[name].attrs = {"units": units[name]} if name in units else {}
    data.to_netcdf(tmp_path / "z.nc", engine="scipy")
    np.testing.assert_allclose(raster.read(tmp_path / "z.nc", "z_bedrock").longitude, LON)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"units": "radians"}, "the axis lat is a latitude in 'radians', expected a latitude in degrees"),
        ({"units": "m"}, "the axis lat is a latitude in 'm', expected"),
        (
            {"units": "km", "standard_name": "projection_y_coordinate"},
            "the axis lat is a projection_y_coordinate in 'km'",
        ),
        (
            {"units": "degrees", "standard_name": "grid_latitude"},
            "the axis lat is a grid_latitude in 'degrees'",
        ),
        ({"units": "degrees_east"}, "the axis lat is a latitude in 'degrees_east'"),
        ({"_FillValue": 35.05}, "the latitude is not in degrees: nan, expected at most 90"),
    ],
)
def test_axes_that_are_not_in_degrees_are_named(tmp_path, attrs, message):
    data = dataset()
    data["lat"].attrs = attrs
    data.to_netcdf(tmp_path / "z.nc", engine="scipy")
    with pytest.raises(DataError, match=rf"z\.nc: {message}"):
        raster.read(tmp_path / "z.nc", "z_bedrock")


def test_axes_of_a_map_projection_are_named(tmp_path):
    axes = {"y": ("y", LAT * 1000, {"units": "m"}), "x": ("x", LON * 1000, {"units": "m"})}
    xr.Dataset({"z": (("y", "x"), VALUES)}, axes).to_netcdf(tmp_path / "z.nc", engine="scipy")
    with pytest.raises(DataError, match="latitude in degrees, found z on y in 'm', x in 'm'"):
        raster.read(tmp_path / "z.nc", "z_bedrock")
    data = dataset().assign(crs=((), 0, {"grid_mapping_name": "rotated_latitude_longitude"}))
    data["z"].attrs["grid_mapping"] = "crs"
    data.to_netcdf(tmp_path / "z.nc", engine="scipy")
    with pytest.raises(DataError, match="variable z is in the map projection rotated_latitude_longitude"):
        raster.read(tmp_path / "z.nc", "z_bedrock")
