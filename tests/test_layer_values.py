"""Marks of missing values that a file does not declare: refused, or declared by the user."""

import re

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from test_raster import write_tif

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.layers import recognise, shared

# rasterio 1.4 multiplies in a way that affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

LAT, LON = np.arange(34.0, 36, 0.25), np.arange(138.0, 140, 0.25)
#: Written as people write them; files hold the last but one as -3.4028235e38.
MARKS = ["0", "-1", "-9999", "9999", "-99999", "1e20", "1e30", "-3.4e38", "-2147483648"]


def field(mark: float) -> xr.DataArray:
    """Return values from 200 to 515 m/s; four of them are the mark."""
    known = 200 + 5.0 * np.arange(64).reshape(8, 8)
    known[2:4, 5:7] = np.finfo("float32").min if mark == -3.4e38 else mark
    return xr.DataArray(known, {"lat": ("lat", LAT), "lon": ("lon", LON)}, name="vs30")


@pytest.fixture(params=["tif", "utm", "netcdf", "csv", "scattered", "xyz"])
def write(request, tmp_path):
    """Write the field in one of the formats; return the file and the options it needs."""

    def to_file(mark: float):
        path, data, kind = tmp_path / "field", field(mark), request.param
        if kind == "netcdf":
            data.astype("float32").to_netcdf(path, engine="scipy")
        elif kind == "tif":
            write_tif(
                path, data.to_numpy()[::-1].astype("float32"), from_origin(137.875, 35.875, 0.25, 0.25)
            )
        elif kind == "utm":
            transform = from_origin(3e5, 4e6, 1e4, 1e4)
            write_tif(path, data.to_numpy()[::-1].astype("float32"), transform, "EPSG:32654")
        else:
            table = data.to_dataframe().reset_index()[["lon", "lat", "vs30"]]
            table.to_csv(path, index=False, header=kind != "xyz", sep="\t" if kind == "xyz" else ",")
        return path, {"step": 0.05} if kind == "scattered" else {}

    return to_file


@pytest.mark.slow
@pytest.mark.parametrize("mark", MARKS)
def test_an_undeclared_mark_is_refused_by_place_and_value(write, mark):
    path, options = write(float(mark))
    with pytest.raises(DataError) as error:
        recognise.read_layer(path, "vs30", **options)
    message = str(error.value)
    place = r"3[456][\d.]* N 13\d[\d.]* E|row \d+, column (?:vs30|value)"
    named = re.fullmatch(
        rf"\S*field, ({place}): (\S+), expected a .* of 30 to 5000 m/s: give --missing=(\S+) if it .*",
        message,
    )
    assert named and named[2] == named[3] and float(named[2]) == pytest.approx(float(mark), rel=1e-2)
    layer = recognise.read_layer(path, "vs30", missing=[float(named[2])], **options)
    assert layer.attrs["missing"].endswith(": 4 values"), "what the message names can be given"


@pytest.mark.slow
@pytest.mark.parametrize("mark", MARKS)
def test_a_declared_mark_is_missing_and_averaged_into_nothing(write, mark):
    path, options = write(float(mark))
    layer = recognise.read_layer(path, "vs30", missing=[-12345.0, float(mark)], **options)
    assert layer.min() >= 200 and layer.max() <= 515
    assert layer.isnull().any() or "step" in options  # scattered points are interpolated between
    assert layer.attrs["missing"] == f"-12345, {float(mark):.9g}: 4 values"


def test_bedrock_at_0_m_is_an_outcrop_and_may_be_declared_missing(tmp_path):
    values = np.array([[0.0, 10.0], [20.0, 30.0]])
    path = write_tif(tmp_path / "z.tif", values, from_origin(138, 36, 0.5, 0.5))
    assert float(recognise.read_layer(path, "z_bedrock").min()) == 0
    assert int(recognise.read_layer(path, "z_bedrock", missing=[0]).isnull().sum()) == 1


def taken(name, numbers, **options):
    return shared.in_unit(name, np.array(numbers, float), str, **options)[0]


def test_9999_m_is_a_depth_where_it_stands_among_its_like():
    """Marks repeat, and are larger than all others by far."""
    for numbers in ([9000, 9998, 9999, 9999], [5, 9999], [9999, 9999, 12000]):
        np.testing.assert_array_equal(taken("z_bedrock", numbers), numbers)
    for name, numbers in (("z_bedrock", [5, 8000, 9999, 9999]), ("vs30", [300, 800, 999, 999])):
        with pytest.raises(DataError, match=rf"--missing={numbers[-1]} "):
            taken(name, numbers)


def test_limits_hold_in_the_unit_of_the_layer():
    np.testing.assert_array_equal(taken("vs30", [0.2, 1.5, np.nan], scale=1000), [200, 1500, np.nan])
    with pytest.raises(DataError, match=r"0\.2, expected .* of 30 to 5000 m/s: .*--scale for another unit"):
        taken("vs30", [0.2])


@pytest.mark.parametrize(
    ("unit", "scale"), [("km", 1000), ("kilometers", 1000), ("cm", 0.01), ("feet", 0.3048)]
)
def test_a_unit_of_the_file_that_is_not_the_layers(tmp_path, unit, scale):
    path = tmp_path / "z.nc"
    data = xr.DataArray(
        [[1.0, 2.0], [3.0, 4.0]], {"lat": [34.0, 35.0], "lon": [138.0, 139.0]}, ("lat", "lon")
    )
    data.rename("z").assign_attrs(units=unit).to_netcdf(path, engine="scipy")
    with pytest.raises(UsageError, match=rf"z\.nc holds values in '{unit}': .* --scale {scale:g}$"):
        recognise.read_layer(path, "z_bedrock")
    assert float(recognise.read_layer(path, "z_bedrock", scale=scale).max()) == pytest.approx(4 * scale)


@pytest.mark.parametrize("kind", ["netcdf", "tif", "csv"])
@pytest.mark.parametrize(("column", "name"), [("vs30", "z_bedrock"), ("bedrock_depth", "vs30")])
def test_a_column_of_the_other_layer_must_be_named(tmp_path, kind, column, name):
    path, data = tmp_path / f"field.{kind}", field(400.0).rename(column)
    if kind == "netcdf":
        data.to_netcdf(path, engine="scipy")
    elif kind == "csv":
        data.to_dataframe().to_csv(path)
    else:
        write_tif(path, data.to_numpy()[::-1].astype("float32"), from_origin(137.875, 35.875, 0.25, 0.25))
        with rasterio.open(path, "r+") as file:
            file.set_band_description(1, column)
    with pytest.raises(UsageError, match=f"'{column}' is named as .* --value"):
        recognise.read_layer(path, name)
    assert recognise.read_layer(path, name, value="1" if kind == "tif" else column).max() == 515


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("z_bedrock", "m/s"),
        ("z_bedrock", "m s-1"),
        ("z_bedrock", "km/s"),
        ("vs30", "m"),
        ("vs30", "meters"),
    ],
)
@pytest.mark.parametrize("kind", ["netcdf", "csv"])
def test_units_of_another_dimension_are_refused(tmp_path, kind, name, unit):
    path, value = tmp_path / f"field.{kind}", "v" if kind == "netcdf" else f"v ({unit})"
    data = field(400.0).rename(value).assign_attrs(units=unit)
    if kind == "netcdf":
        data.to_netcdf(path, engine="scipy")
    else:
        data.to_dataframe().to_csv(path)
    with pytest.raises(UsageError, match=f"'{unit}', expected m"):
        recognise.read_layer(path, name, value=value, scale=2)


def test_a_scale_turns_into_the_unit_of_the_layer():
    with pytest.raises(UsageError, match="turn them into m/s, --scale 1000"):
        shared.refuse_unit("a.nc", "km/s", 1, "vs30")
    with pytest.raises(UsageError, match="turn them into m, --scale 0.3048"):
        shared.refuse_unit("a.nc", "feet", 1, "z_bedrock")
