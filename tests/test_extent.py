"""Layers with longitudes of any convention, and across the date line."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import Affine, from_origin
from test_raster import write_tif

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.data import layers
from tfgmm.readers.layers import recognise, shared

# rasterio 1.4 multiplies in a way that affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

FIJI = Grid(crs="EPSG:3460", longitude=179.5, latitude=-17.5, pixel_km=8.0, input_size=68, output_size=28)
LAT = np.arange(-21.5, -13.5, 0.5)
ACROSS = (177.0, -20.0, -178.0, -15.0)


def smooth(latitude, longitude):
    """Return a field of the sphere, the same in any convention of longitudes."""
    return latitude + 500 + 100 * np.sin(np.radians(longitude))


# --- regions and axes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ((138, 34, 142, 38), (138, 34, 142, 38)),
        ((178, -20, -178, -16), (178, -20, 182, -16)),
        ((178, -20, 182, -16), (178, -20, 182, -16)),
        ((236, 35, 240, 39), (-124, 35, -120, 39)),
        ((0, -90, 360, 90), (0, -90, 360, 90)),
        ((-180, -90, 180, 90), (-180, -90, 180, 90)),
        ((350, 35, 10, 39), (-10, 35, 10, 39)),
    ],
)
def test_regions_in_both_conventions(region, expected):
    assert shared.box(region) == expected


@pytest.mark.parametrize(
    "region", [(138, 38, 142, 34), (138, 34, 138, 38), (-181, 0, 5, 5), (1, 2, float("nan"), 3)]
)
def test_no_regions(region):
    with pytest.raises(
        UsageError, match="--region .*: write WEST,SOUTH,EAST,NORTH in degrees; with WEST > EAST"
    ):
        shared.box(region)


@given(start=st.floats(-180, 180), width=st.floats(1, 350), turn=st.integers(-1, 1))
def test_a_map_is_one_piece_wherever_it_lies(start, width, turn):
    axis = np.linspace(start, start + width, 100)
    unbroken = shared.unbroken(np.mod(axis + 180, 360) - 180 + 360 * turn)
    np.testing.assert_allclose(np.diff(unbroken), width / 99, atol=1e-9)
    assert -180 <= unbroken[0] <= 180 or unbroken[0] == pytest.approx(180)


def test_a_map_round_the_earth_begins_at_the_date_line():
    axis = np.arange(0, 360, 0.5)
    np.testing.assert_array_equal(np.sort(shared.unbroken(axis)), np.arange(-179.5, 180.5, 0.5))


# --- files -------------------------------------------------------------------------------------------


@pytest.fixture(
    params=["netcdf", "netcdf north first", "tif", "tif south first", "tif east first", "csv", "xyz"]
)
def write(request, tmp_path):
    """Write the field on cells of 0.5 degrees in one of the formats."""

    def to_file(lon, lat=LAT):
        path = tmp_path / "field"
        values = smooth(*np.meshgrid(lat, lon, indexing="ij"))
        field = xr.DataArray(values, {"lat": ("lat", lat), "lon": ("lon", lon)}, name="vs30")
        match request.param.split()[0], request.param.partition(" ")[2]:
            case "netcdf", order:
                field.isel(lat=slice(None, None, -1 if order else 1)).to_netcdf(path, engine="scipy")
            case "tif", "south first":
                write_tif(path, values, Affine(0.5, 0, lon[0] - 0.25, 0, 0.5, lat[0] - 0.25))
            case "tif", "east first":
                write_tif(path, values[::-1, ::-1], from_origin(lon[-1] + 0.25, lat[-1] + 0.25, -0.5, 0.5))
            case "tif", _:
                write_tif(path, values[::-1], from_origin(lon[0] - 0.25, lat[-1] + 0.25, 0.5, 0.5))
            case kind, _:
                table = field.to_dataframe().reset_index()[["lon", "lat", "vs30"]]
                table.to_csv(path, index=False, header=kind == "csv", sep=" " if kind == "xyz" else ",")
        return path

    return to_file


@pytest.mark.slow
@pytest.mark.parametrize("start", [-180.0, 0.0, 170.0])
@pytest.mark.parametrize("step", [None, 0.25])
def test_a_region_across_the_date_line(write, start, step):
    """Files count longitudes from -180 to 180, from 0 to 360, and from 170 to 190."""
    width = 20 if start == 170 else 360
    layer = recognise.read_layer(
        write(np.arange(start, start + width, 0.5)), "vs30", region=ACROSS, step=step
    )
    assert layer.longitude[0] <= 177 and layer.longitude[-1] >= 182 and layer.sizes["longitude"] < 28
    inner = layer.sel(longitude=slice(177, 182), latitude=slice(-20, -15))
    np.testing.assert_allclose(inner, smooth(inner.latitude, inner.longitude), atol=0.01)


@pytest.mark.parametrize("start", [236.0, -124.0])
def test_files_from_0_to_360_are_found_west_of_greenwich(write, start):
    path = write(np.arange(start, start + 8, 0.5), np.arange(34.0, 40, 0.5))
    for options in ({"region": (-123, 35, -119, 38)}, {}):
        layer = recognise.read_layer(path, "vs30", **options)
        assert -124 <= layer.longitude[0] <= -123 and -119 <= layer.longitude[-1] <= -116.5
        np.testing.assert_allclose(layer, smooth(layer.latitude, layer.longitude), atol=1e-4)


def test_a_file_across_the_date_line_stays_one_piece_without_a_region(write):
    layer = recognise.read_layer(
        write(np.array([*np.arange(170, 180, 0.5), *np.arange(180, 190, 0.5)])), "vs30"
    )
    np.testing.assert_allclose(layer.longitude, np.arange(170, 190, 0.5))
    np.testing.assert_allclose(layer, smooth(layer.latitude, layer.longitude), atol=1e-4)


@pytest.mark.parametrize("region", [ACROSS, None, (178, -19, 180, -16), (-180, -19, -179, -16)])
@pytest.mark.parametrize("crs", ["EPSG:3460", "EPSG:3832"])
def test_a_map_projection_across_the_date_line(tmp_path, region, crs):
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_map.transform(179.5, -17.5)
    offset = (np.arange(120) - 59.5) * 10_000
    columns, rows = np.meshgrid(x + offset, y - offset)
    lon, lat = to_map.transform(columns, rows, direction="INVERSE")
    transform = from_origin(x - 6e5, y + 6e5, 10_000, 10_000)
    path = write_tif(tmp_path / "v.tif", smooth(lat, lon).astype("float32"), transform, crs)
    layer = recognise.read_layer(path, "vs30", region=region)
    inner = layer.sel(longitude=slice(*shared.box(region or ACROSS)[::2]), latitude=slice(-19, -16))
    assert inner.size > 200 and layer.longitude[-1] - layer.longitude[0] < 15
    np.testing.assert_allclose(inner, smooth(inner.latitude, inner.longitude), atol=0.1)


def test_a_world_map_whose_edge_is_the_date_line_is_refused_for_a_region_across_it(tmp_path):
    edge = 20037508.34
    step = 2 * edge / 720
    values, transform = np.full((120, 720), 300.0), from_origin(-edge, 61 * step, step, step)
    path = write_tif(tmp_path / "v.tif", values, transform, "EPSG:3857")
    with pytest.raises(UsageError, match=r"v\.tif breaks at the date line, which the region crosses"):
        recognise.read_layer(path, "vs30", region=ACROSS)
    layer = recognise.read_layer(path, "vs30", region=(175, -20, 180, -15))
    assert layer.sel(longitude=slice(175, 179.5)).notnull().all()


@pytest.mark.parametrize("crs", ["EPSG:6668", "EPSG:4612", "EPSG:4269"])
def test_datums_that_agree_with_wgs_84_are_taken_as_stored(tmp_path, crs):
    values = np.arange(30.0).reshape(5, 6) + 100
    layer = recognise.read_layer(
        write_tif(tmp_path / "v.tif", values, from_origin(138, 36, 0.2, 0.2), crs), "vs30"
    )
    np.testing.assert_array_equal(layer, values[::-1])
    np.testing.assert_allclose(layer.longitude, 138.1 + 0.2 * np.arange(6))
    assert layer.method == "as stored"


def test_the_tokyo_datum_is_400_m_off_and_is_moved(tmp_path):
    lat = np.repeat(36 - 0.002 * np.arange(60), 60).reshape(60, 60)
    path = write_tif(
        tmp_path / "v.tif",
        1000 + 5000 * (lat - 35.9),
        from_origin(137.999, 36.001, 0.002, 0.002),
        "EPSG:4301",
    )
    layer = recognise.read_layer(path, "vs30", region=(138.03, 35.92, 138.09, 35.96))
    off = (layer - 1000) / 5000 + 35.9 - layer.latitude
    np.testing.assert_allclose(off, -0.0032, atol=0.0004)


# --- on the grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axis",
    [
        np.arange(-180, 180, 0.5),
        np.arange(170, 190, 0.5),
        np.arange(-190, -170, 0.5),
        np.arange(0, 360.5, 0.5),
    ],
)
def test_a_grid_across_the_date_line(axis):
    lat = np.arange(-25, -10, 0.5)
    layer = xr.DataArray(
        smooth(*np.meshgrid(lat, axis, indexing="ij")), {"latitude": lat, "longitude": axis}, name="vs30"
    )
    values, covered = layers.on_grid(layer, FIJI, 68)
    lon, lat = FIJI.lonlat(68)
    assert covered.all() and lon.min() < -179 and lon.max() > 179
    np.testing.assert_allclose(values, smooth(lat, lon), atol=0.01)
