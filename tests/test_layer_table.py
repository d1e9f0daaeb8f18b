import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgmm.errors import DataError, UsageError
from tfgmm.records import Dataset
from tfgmm.sources import layer_table

REAL = (
    Path(__file__).parents[1].parent / "shared" / "data" / "bedrock" / "kanto_jivsm_v4_bedrock_0125deg.csv"
)
HEADER = "lat,lon,z\n"


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        path = tmp_path / "points.csv"
        path.write_text(text)
        return path

    return _write


def dataset(**layers) -> Dataset:
    empty = pd.DataFrame()
    return Dataset(empty, empty, empty, {"name": "x"}, xr.Dataset(layers) if layers else None)


def test_points_become_a_raster(write):
    path = write(HEADER + "35.5,139.0,10\n35.0,139.5,20\n35.0,139.0,\n\n36.5,139.5,40.5\n")
    layer = layer_table.read(path, "z")
    nan = np.nan
    np.testing.assert_array_equal(layer, [[nan, 20], [10, nan], [nan, nan], [nan, 40.5]])
    np.testing.assert_array_equal(layer.latitude, [35.0, 35.5, 36.0, 36.5])
    np.testing.assert_array_equal(layer.longitude, [139.0, 139.5])
    assert (layer.name, layer.dims) == ("z_bedrock", ("latitude", "longitude"))
    assert layer.attrs == {
        "units": "m",
        "long_name": "depth to seismic bedrock",
        "source": "points.csv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "column": "z",
    }


def test_columns_and_layer_by_name(write):
    path = write("x,y,v30\n139,35,300\n139,36,400\n140,35,500\n140,36,600\n")
    layer = layer_table.read(path, "v30", name="vs30", latitude="y", longitude="x")
    np.testing.assert_array_equal(layer, [[300, 500], [400, 600]])
    assert layer.attrs["units"] == "m/s"


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    start=st.tuples(st.floats(-80, 70), st.floats(-170, 160)),
    step=st.sampled_from([0.125, 0.05, 1 / 480, 1 / 120]),
    seed=st.integers(0, 1000),
)
def test_what_is_written_in_any_order_with_rounded_coordinates_is_read(
    shape, start, step, seed, tmp_path_factory
):
    rng = np.random.default_rng(seed)
    lat, lon = (np.round(first + step * np.arange(n), 5) for first, n in zip(start, shape, strict=True))
    values = rng.uniform(0, 5000, shape)
    table = pd.DataFrame(values, lat, lon).melt(ignore_index=False, var_name="lon", value_name="z")
    path = tmp_path_factory.mktemp("raster") / "points.csv"
    table.rename_axis("lat").reset_index().sample(frac=1, random_state=seed).to_csv(path, index=False)
    layer = layer_table.read(path, "z")
    np.testing.assert_allclose(layer, values)
    np.testing.assert_allclose(layer.latitude, lat, atol=1e-5)
    np.testing.assert_allclose(layer.longitude, lon, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("35,139,1\n35.5,139.5,deep\n", "line 3, column z: 'deep', expected a number"),
        ("35,139,1\n35.5,139.5,inf\n", "line 3, column z: 'inf', expected a number"),
        ("35,139,1\n\n,139.5,2\n", "line 4, column lat: nan, expected a number"),
        ("35,139,1\n35.5,139.5,-2\n", "line 3, column z: '-2.0', expected a depth .* of 0 m or more"),
        ("35,139,1\n35.5,139.5,2\n35,139,3\n", "line 4: the same point as line 2"),
        (
            "35,139.0,1\n36,139.1,2\n35,139.2,3\n35,139.33,4\n35,139.4,5\n35,139.5,6\n",
            r"column lon: 139\.33 lies 30% of a step \(0\.1\) off",
        ),
        ("35,139,1\n35,139.5,2\n", "column lat: 1 distinct values, a raster needs two"),
    ],
)
def test_bad_tables_are_named(write, rows, message):
    with pytest.raises(DataError, match=rf"points\.csv, {message}"):
        layer_table.read(write(HEADER + rows), "z")


def test_bad_commands_are_named(write, tmp_path):
    path = write(HEADER + "35,139,1\n")
    with pytest.raises(UsageError, match=r"no column 'depth': its columns are lat, lon, z"):
        layer_table.read(path, "depth")
    with pytest.raises(UsageError, match="unknown site layer 'z1p0': choose one of z_bedrock, vs30"):
        layer_table.read(path, "z", name="z1p0")
    with pytest.raises(UsageError, match=r"none\.csv does not exist"):
        layer_table.read(tmp_path / "none.csv", "z")
    with pytest.raises(DataError, match="no readable CSV table"):
        layer_table.read(write(""), "z")


def layer(name="z_bedrock", value=1.0, shift=0.0) -> xr.DataArray:
    coordinates = {"latitude": [35.0 + shift, 36.0 + shift], "longitude": [139.0, 140.0]}
    return xr.DataArray(
        np.full((2, 2), value),
        coordinates,
        ("latitude", "longitude"),
        name=name,
        attrs={"source": f"{value}"},
    )


def test_attach_adds_and_leaves_the_original_alone():
    bare = dataset()
    one = layer_table.attach(bare, layer())
    two = layer_table.attach(one, layer("vs30", 300.0))
    assert bare.layers is None and bare.provenance == {"name": "x"}
    assert list(one.layers) == ["z_bedrock"] and len(one.provenance["layers"]) == 1
    assert set(two.layers) == {"z_bedrock", "vs30"}
    assert two.provenance == {
        "name": "x",
        "layers": [{"name": "z_bedrock", "source": "1.0"}, {"name": "vs30", "source": "300.0"}],
    }
    xr.testing.assert_identical(two.layers["vs30"], layer("vs30", 300.0))


def test_attach_replaces_a_layer_of_the_same_name():
    again = layer_table.attach(dataset(z_bedrock=layer()), layer(value=2.0, shift=0.25))
    assert (again.layers["z_bedrock"] == 2.0).all()
    assert list(again.layers.latitude) == [35.25, 36.25]
    twice = layer_table.attach(again, layer(value=3.0))
    assert twice.provenance["layers"] == [{"name": "z_bedrock", "source": "3.0"}]


def test_attach_refuses_another_raster():
    with pytest.raises(
        UsageError, match=r"vs30 \(2 x 2 points, 35\.25 to .*\) does not share the raster of z_bed"
    ):
        layer_table.attach(dataset(z_bedrock=layer()), layer("vs30", shift=0.25))


def test_the_real_bedrock_table():
    if not REAL.is_file():
        pytest.skip("the bedrock table is not at hand")
    bedrock = layer_table.read(REAL, "z_deepest_listed_m")
    assert bedrock.shape == (15, 23) and int(bedrock.notnull().sum()) == 336
    assert float(bedrock.sel(latitude=34.9375, longitude=139.8125)) == 2385
    assert np.isnan(bedrock.sel(latitude=34.9375, longitude=138.5625))
