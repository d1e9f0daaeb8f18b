import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.damaged_files import mutated
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.common import sheet
from tfgmm.readers.layers import point_table

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


def test_points_become_a_raster(write):
    path = write(HEADER + "35.5,139.0,10\n35.0,139.5,20\n35.0,139.0,\n\n36.5,139.5,40.5\n")
    layer = point_table.read(path, "z")
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
        "scale": 1.0,
        "method": "as listed",
    }


def test_columns_and_layer_by_name(write):
    path = write("x,y,v30\n139,35,300\n139,36,400\n140,35,500\n140,36,600\n")
    layer = point_table.read(path, "v30", name="vs30", latitude="y", longitude="x")
    np.testing.assert_array_equal(layer, [[300, 500], [400, 600]])
    assert layer.attrs["units"] == "m/s"


GRID = [
    (lat, lon, 200 + 100 * i + j)
    for i, lat in enumerate((35.0, 35.5))
    for j, lon in enumerate((139.0, 139.25))
]


def table(header, row, points=GRID):
    return "".join(
        f"{line}\n" for line in [*header, *(row.format(lat=a, lon=o, v=v) for a, o, v in points)]
    )


@pytest.mark.parametrize(
    "content",
    [
        table(["lat,lon,vs30"], "{lat},{lon},{v}"),
        table(["\ufefflat,lon,vs30"], "{lat},{lon},{v}"),
        table(["sep=;", "lat;lon;vs30"], "{lat};{lon};{v}"),
        table(["lat;lon;vs30"], "{lat};{lon};{v}"),
        table(["Latitude\tLONG\tVs30 (m/s)"], "{lat}\t{lon}\t{v}"),
        table(["# Vs30 of the region", "LAT,Lng,vs30_m_s,sigma"], "{lat},{lon},{v},0.1"),
        table(["id,longitude,latitude,vs30"], "a,{lon},{lat},{v}"),
        table(["lat lon vs30"], "{lat}  {lon}  {v}"),
        table([], "{lon} {lat} {v}"),
        table([], "{lon}\t{lat}\t{v}"),
        table([], "  {lon}   {lat}   {v}  "),
        table([], "{lon},{lat},{v}"),
        table([], "{lon};{lat};{v}"),
        table(["# made by grd2xyz", "#"], "{lon} {lat} {v}e0"),
        table(["", "# lon lat vs30"], "{lon} {lat} {v}"),
    ],
)  # fmt: skip
def test_the_same_points_however_they_are_written(tmp_path, content):
    path = tmp_path / "points"
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(content.encode(encoding))
        layer = point_table.read(path, name="vs30")
        np.testing.assert_array_equal(layer, [[200, 201], [300, 301]])
        np.testing.assert_array_equal([*layer.latitude, *layer.longitude], [35, 35.5, 139, 139.25])


def test_decimal_commas_are_read_on_request(write):
    path = write(table(["lat;lon;vs30"], "{lat};{lon};{v},0").replace(".", ","))
    with pytest.raises(DataError, match=r"row 2, column lat: '35,0', expected a number.*--decimal-comma"):
        point_table.read(path, name="vs30")
    with sheet.decimal_comma():
        np.testing.assert_array_equal(point_table.read(path, name="vs30"), [[200, 201], [300, 301]])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("35 139 200\n36 139 200\n", DataError, "row 1, column latitude: '139', expected a latitude"),
        ("139 35 200\n140 35 x\n", DataError, "row 2, column value: 'x', expected a number"),
        ("139 35 200\n140 36 1\n1 2\n", DataError, "row 3: 2 cells, expected 3"),
        ("139 35 200 1\n140 36 300 1\n", DataError, "row 1: 139, 35, 200, 1 are no names of columns"),
        ("y,x,vs30\n35,139,200\n", UsageError, "has no column of latitude: name it, --latitude .* y, x"),
        ("lat,lon,a,b\n35,139,2,3\n", UsageError, "name the column with the values, --value COLUMN"),
    ],
)  # fmt: skip
def test_points_whose_columns_are_not_clear(write, content, error, message):
    with pytest.raises(error, match=rf"points\.csv[,:]? {message}"):
        point_table.read(write(content), name="vs30")


def test_more_points_than_can_be_triangulated(write, monkeypatch):
    monkeypatch.setattr(point_table, "MOST_SCATTERED", 3)
    with pytest.raises(UsageError, match="holds 4 points, at most 3 are interpolated: thin them out"):
        point_table.read(write(table(["lat,lon,z"], "{lat},{lon},{v}")), step=0.1)


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
    layer = point_table.read(path, "z")
    np.testing.assert_allclose(layer, values)
    np.testing.assert_allclose(layer.latitude, lat, atol=1e-5)
    np.testing.assert_allclose(layer.longitude, lon, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("35,139,1\n35.5,139.5,deep\n", "row 3, column z: 'deep', expected a number"),
        ("35,139,1\n35.5,139.5,inf\n", "row 3, column z: inf, expected a depth .* of 0 to 30000 m"),
        ("35,139,1\n\n,139.5,2\n", "row 4, column lat: nan, expected a latitude, at most 90 degrees"),
        (
            "35,139,1\n35.5,139.5,-2\n",
            "row 3, column z: -2, expected a depth .* of 0 to 30000 m: give --missing=-2 ",
        ),
        ("35,139,1\n35.5,139.5,2\n35,139,3\n", "row 4: the same point as row 2"),
        (
            "35,139.0,1\n36,139.1,2\n35,139.2,3\n35,139.33,4\n35,139.4,5\n35,139.5,6\n",
            r"column longitude: 139\.33 lies 30% of a step \(0\.1\) off",
        ),
        ("35,139,1\n35,139.5,2\n", "column latitude: 1 distinct values, a raster needs two"),
    ],
)
def test_bad_tables_are_named(write, rows, message):
    with pytest.raises(DataError, match=rf"points\.csv, {message}"):
        point_table.read(write(HEADER + rows), "z")


def test_bad_commands_are_named(write, tmp_path):
    path = write(HEADER + "35,139,1\n")
    with pytest.raises(UsageError, match=r"no column 'depth': its columns are lat, lon, z"):
        point_table.read(path, "depth")
    with pytest.raises(UsageError, match="unknown site layer 'z1p0': choose one of z_bedrock, vs30"):
        point_table.read(path, "z", name="z1p0")
    with pytest.raises(UsageError, match=r"none\.csv does not exist"):
        point_table.read(tmp_path / "none.csv", "z")
    with pytest.raises(DataError, match=r"points\.csv"):
        point_table.read(write(""), "z")
    with pytest.raises(DataError, match=r"points\.csv"):
        point_table.read(write(HEADER + "35,139,1,5\n"), "z")
    with pytest.raises(DataError, match=r"points\.csv (holds no point|has no rows)"):
        point_table.read(write(HEADER + "\n"), "z")


def test_the_real_bedrock_table():
    if not REAL.is_file():
        pytest.skip("the bedrock table is not at hand")
    bedrock = point_table.read(REAL, "z_deepest_listed_m")
    assert bedrock.shape == (15, 23) and int(bedrock.notnull().sum()) == 336
    assert float(bedrock.sel(latitude=34.9375, longitude=139.8125)) == 2385
    assert np.isnan(bedrock.sel(latitude=34.9375, longitude=138.5625))


def test_crop_keeps_a_neighbour_on_each_side(write):
    rows = "".join(f"{lat},{lon},{lat + lon}\n" for lat in range(30, 40) for lon in range(130, 140))
    part = point_table.read(write(HEADER + rows), "z", region=(132.5, 33, 134, 35.5))
    np.testing.assert_array_equal(part.longitude, [132, 133, 134, 135])
    np.testing.assert_array_equal(part.latitude, [32, 33, 34, 35, 36])
    np.testing.assert_array_equal(part, part.latitude + part.longitude)
    with pytest.raises(UsageError, match=r"points\.csv has no z_bedrock in the region"):
        point_table.read(write(HEADER + rows), "z", region=(10, 33, 20, 35))


def test_scale(write):
    path = write(HEADER + "35,139,0.1\n36,140,2.5\n")
    assert point_table.read(path, "z", scale=1000).max() == 2500
    with pytest.raises(DataError, match=r"row 2, column z: 0\.1, expected .* of 0 to 30000 m: .*--scale"):
        point_table.read(path, "z", scale=1e6)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    slope=st.tuples(*[st.floats(-100, 100)] * 2),
    seed=st.integers(0, 1000),
    step=st.sampled_from([0.01, 0.1]),
)
def test_scattered_points_of_a_plane_are_interpolated_exactly(slope, seed, step, tmp_path_factory):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.uniform((35, 139), (36, 140), (40, 2)).round(5), columns=["lat", "lon"])

    def plane(lat, lon):
        return 1000 + slope[0] * (lat - 35.5) + slope[1] * (lon - 139.5)

    table["z"] = plane(table["lat"], table["lon"])
    path = tmp_path_factory.mktemp("scattered") / "points.csv"
    table.to_csv(path, index=False)
    layer = point_table.read(path, "z", step=step)
    np.testing.assert_allclose(np.diff(layer.latitude), step)
    np.testing.assert_allclose(layer.longitude / step, np.round(layer.longitude / step), atol=1e-6)
    expected = plane(layer.latitude, layer.longitude).where(layer.notnull())
    np.testing.assert_allclose(layer, expected, atol=1e-6)
    assert 0.5 < layer.notnull().mean() < 1  # outside the hull it is missing
    assert layer.method == f"linear, step {step:g} degrees"


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("35,139,1\n36,140,2\n", DataError, "2 points with a value span no area"),
        ("35,139,1\n36,140,2\n37,141,3\n", DataError, "3 points with a value span no area"),
        ("35,139,1\n36,140,2\n35,139,3\n37,139,3\n", DataError, "row 4: the same point as row 2"),
        ("0,0,1\n80,170,2\n80,0,3\n", UsageError, "8001 x 17001 points .*--region, or a larger --step"),
    ],
)
def test_points_that_cannot_be_interpolated(write, rows, error, message):
    with pytest.raises(error, match=message):
        point_table.read(write(HEADER + rows), "z", step=0.01)


def test_the_real_mesonet_table(shared_data):
    path = shared_data / "stations" / "mesonet_sites.csv"
    table = pd.read_csv(path)
    with pytest.raises(DataError, match=r"off a regular raster.*--step"):
        point_table.read(path, "depthbas", scale=1000)
    layer = point_table.read(path, "depthbas", scale=1000, step=0.01)
    at_stations = layer.interp(
        latitude=("station", table["lat"]), longitude=("station", table["lon"])
    ).to_numpy()
    off = np.abs(at_stations - 1000 * table["depthbas"])
    assert np.nanmedian(off) < 10 and np.nanmean(off < 100) > 0.9
    assert 3000 < layer.max() < 5000


@settings(max_examples=150)
@given(data=st.data())
def test_mutated_bytes_give_an_error_or_a_layer(data, tmp_path_factory):
    good = (
        HEADER + "".join(f"{35 + i / 2},{139 + j / 2},{i + j}\n" for i in range(4) for j in range(4))
    ).encode()
    path = tmp_path_factory.mktemp("fuzz") / "points.csv"
    path.write_bytes(mutated(data, good))
    with contextlib.suppress(TfgmmError):
        assert point_table.read(path, "z", step=data.draw(st.sampled_from([None, 0.25]))).notnull().any()
