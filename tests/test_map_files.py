"""Maps on disk: CF NetCDF that grows event by event, and GeoTIFF, read back by other libraries."""

import weakref

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr

from tfgmm.core.grid import Grid
from tfgmm.prediction import writing

GRID = Grid(pixel_km=4.0, input_size=69 + 1, output_size=7)
IDS = ["a", "é", "a-long-name", "b", "水戸"]
QUANTITIES = ("median_g", "mean", "r_hyp_km")


def batch(ids: list[str], seed: int = 0) -> xr.Dataset:
    """Random maps; the first event has an unlearned magnitude, the first row an unlearned distance."""
    rng, n, size = np.random.default_rng(seed), len(ids), GRID.output_size
    longitude, latitude = GRID.lonlat(size)
    dims = ("event", "row", "col")
    far = np.zeros((n, size, size), bool)
    far[:, 0] = True
    return xr.Dataset(
        {name: (dims, rng.normal(size=(n, size, size)), {"units": "g"}) for name in QUANTITIES}
        | {
            "outside_magnitude": ("event", np.arange(n) == 0),
            "outside_depth": ("event", np.zeros(n, bool)),
            "outside_distance": (dims, far),
            "outside_map": (dims[1:], np.zeros((size, size), bool)),
        },
        coords={
            "longitude": (dims[1:], longitude),
            "latitude": (dims[1:], latitude),
            "event_id": ("event", np.array(ids, object)),
            **{name: ("event", rng.normal(size=n)) for name in ("event_longitude", "event_latitude")},
            "depth_km": ("event", rng.uniform(5, 50, n)),
            "magnitude": ("event", np.arange(n) + 4.5),
            "known_rupture": ("event", np.arange(n) == 1),
        },
        attrs={"intensity_measure": "PGA", "simulated": 1},
    )


@pytest.fixture(scope="module")
def parts() -> list[xr.Dataset]:
    return [batch(IDS[:3], 1), batch(IDS[3:4], 2), batch(IDS[4:], 3)]


@pytest.fixture(scope="module")
def path(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.nc"
    writing.write_netcdf(iter(parts), path, GRID, max(len(name.encode()) for name in IDS))
    return path


def test_netcdf_holds_every_event(path, parts):
    with xr.open_dataset(path, engine="scipy") as found:
        assert found["event_id"].to_numpy().tolist() == IDS
        assert found["known_rupture"].to_numpy().tolist() == [0, 1, 0, 0, 0]
        for name in QUANTITIES:
            written = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(found[name], written.astype("float32"))
        for name in ("depth_km", "magnitude", "event_longitude", "event_latitude"):
            np.testing.assert_array_equal(found[name], np.concatenate([part[name] for part in parts]))


def test_netcdf_says_what_and_where(path):
    with xr.open_dataset(path, engine="scipy") as found:
        assert found.attrs["Conventions"] == "CF-1.11"
        assert (found.attrs["intensity_measure"], found.attrs["simulated"]) == ("PGA", 1)
        assert pyproj.CRS.from_cf(found["crs"].attrs) == pyproj.CRS(GRID.crs)
        assert found["median_g"].attrs == {"units": "g", "grid_mapping": "crs"}
        assert {"longitude", "latitude"} <= set(found["median_g"].coords)
        to_degrees = pyproj.Transformer.from_crs(GRID.crs, "EPSG:4326", always_xy=True)
        longitude, latitude = to_degrees.transform(*np.meshgrid(found["x"], found["y"]))
        np.testing.assert_allclose(longitude, found["longitude"], atol=1e-9)
        np.testing.assert_allclose(latitude, found["latitude"], atol=1e-9)
        assert (np.diff(found["y"]) < 0).all()  # row 0 is north


def test_flags_are_bits(path):
    with xr.open_dataset(path, engine="scipy") as found:
        outside = found["outside"].to_numpy()
        assert found["outside"].attrs["flag_meanings"] == "magnitude depth distance map"
        np.testing.assert_array_equal(found["outside"].attrs["flag_masks"], [1, 2, 4, 8])
    assert (outside[0, 0] == 5).all() and (outside[0, 1:] == 1).all()
    assert (outside[3, 1:] == 1).all()  # the first of the second batch
    assert (outside[2, 0] == 4).all() and (outside[2, 1:] == 0).all()


def test_gdal_reads_the_same_netcdf(path, parts):
    """A reader with other authors."""
    with rasterio.open(f"netcdf://{path}:mean") as file:
        np.testing.assert_array_equal(
            file.read(), np.concatenate([part["mean"] for part in parts]).astype("float32")
        )
        assert file.crs.to_epsg() == 6677
        row, col = file.index(*(axis[3] for axis in writing.axes_m(GRID)))
    assert (row, col) == (3, 3)


def test_one_batch_is_in_memory_at_a_time(tmp_path):
    alive = []

    def batches():
        for seed in range(6):
            assert sum(reference() is not None for reference in alive) <= 1
            values = batch(["x"], seed)
            alive.append(weakref.ref(values["mean"].variable.values))
            yield values

    writing.write_netcdf(batches(), tmp_path / "maps.nc", GRID, 1)
    assert len(alive) == 6


def test_geotiff(tmp_path, parts):
    one = parts[0].isel(event=2)
    writing.write_geotiff(one, tmp_path / "map.tif", GRID)
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", GRID.crs, always_xy=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.descriptions == (*QUANTITIES, "outside")
        assert file.units[0] == "g"
        assert file.crs.to_epsg() == 6677
        point = to_metres.transform(one["longitude"][1, 5].item(), one["latitude"][1, 5].item())
        (values,) = file.sample([point])
        expected = [one[name][1, 5].item() for name in QUANTITIES]
        np.testing.assert_allclose(values, [*expected, 0], rtol=1e-6)
        assert (file.read(4)[0] == 4).all()
        tags = file.tags()
    assert (tags["event_id"], tags["magnitude"], tags["simulated"]) == ("a-long-name", "6.5", "1")
