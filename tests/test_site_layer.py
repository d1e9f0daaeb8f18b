"""Files of site layers, recognised by their first bytes. The readers have tests of their own."""

import pytest
import xarray as xr

from tfgmm.core.errors import UsageError
from tfgmm.readers.layers import recognise

# rasterio 1.4 multiplies in a way that affine 3 announces to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

TABLE = "lat,lon,z\n35.0,139,0.1\n35.0,140,0.2\n36.0,139,0.3\n36.0,140,0.4\n"
MESHES = "# CODE,S0,D0\n53394606,0,100\n53394607,0,200\n53394616,0,300\n53394617,0,400\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"  # no suffix


def test_a_table(path):
    path.write_text(TABLE)
    layer = recognise.read_layer(path, "z_bedrock", value="z", scale=1000)
    assert layer.values.ravel().tolist() == [100, 200, 300, 400]
    finer = recognise.read_layer(path, "z_bedrock", value="z", scale=1000, step=0.5)
    assert finer.shape == (3, 3)


def test_meshes(path):
    path.write_text(MESHES)
    assert recognise.read_layer(path, "z_bedrock").values.ravel().tolist() == [100, 200, 300, 400]


def test_a_raster(path):
    xr.DataArray(
        [[100.0, 200.0], [300.0, 400.0]],
        {"lat": ("lat", [35.0, 36.0]), "lon": ("lon", [139.0, 140.0])},
        name="z",
    ).to_netcdf(path, engine="scipy")
    layer = recognise.read_layer(path, "z_bedrock", region=(139, 35, 139.5, 36))
    assert layer.values.ravel().tolist() == [100, 200, 300, 400]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            TABLE.replace("lon,", "lon,v,").replace("139,", "139,1,").replace("140,", "140,1,"),
            {},
            "name the column with the values, --value COLUMN",
        ),
        (MESHES, {"step": 0.1}, "of J-SHIS.*leave out --value, --scale, --step"),
        (TABLE, {"value": "z", "scale": 0.0}, "--scale 0: write a positive factor"),
        (TABLE, {"value": "z", "scale": float("nan")}, "--scale nan"),
        (TABLE, {"value": "z", "step": -1.0}, "--step -1: write degrees"),
        (TABLE, {"value": "z", "step": float("nan")}, "--step nan"),
        (TABLE, {"value": "z", "region": (139, 36, 140, 35)}, "--region 139,36,140,35: write WEST,SOUTH"),
        (TABLE, {"value": "z", "region": (139, 35, 140, float("nan"))}, "--region 139,35,140,nan: write"),
    ],
)
def test_options_that_do_not_fit(path, content, options, message):
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        recognise.read_layer(path, "z_bedrock", **options)


def test_a_file_that_is_not_there(path):
    with pytest.raises(UsageError, match="does not exist"):
        recognise.read_layer(path, "z_bedrock")
