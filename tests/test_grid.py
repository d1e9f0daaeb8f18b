"""Projection and pixel geometry."""

import re

import numpy as np
import pydantic
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid, check_size, output_size

GRIDS = [
    Grid(),
    Grid(pixel_km=0.5, input_size=572, output_size=388),
    Grid(pixel_km=4.0, input_size=68, output_size=28),
    Grid(crs="EPSG:32611", longitude=-117.6, latitude=35.7, pixel_km=1.5, input_size=140, output_size=100),
    Grid(crs="EPSG:32719", longitude=-70.4, latitude=-23.6, pixel_km=3.0, input_size=61, output_size=21),
]
FRACTION = st.floats(-0.499, 0.499)
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g.crs}-{g.pixel_km}")


def convolved(size: int, depth: int) -> int | None:
    """Length of a signal that goes through the layers themselves."""
    x = np.ones(size)

    def two_convolutions(x):
        return np.convolve(x, np.ones(5), "valid") if len(x) >= 5 else np.ones(0)

    for _ in range(depth):
        x = two_convolutions(x)
        if len(x) == 0 or len(x) % 2:
            return None
        x = x.reshape(-1, 2).max(axis=1)
    for _ in range(depth):
        x = two_convolutions(x).repeat(2)
    return len(two_convolutions(x)) or None


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_output_size_is_that_of_the_layers(depth):
    assert [output_size(n, depth) for n in range(1, 300)] == [convolved(n, depth) for n in range(1, 300)]


def test_output_size_of_the_publication():
    assert output_size(572, 4) == 388


@pytest.mark.parametrize(("depth", "lost"), [(1, 16), (2, 40), (3, 88), (4, 184)])
def test_pixels_lost_at_the_edges(depth, lost):
    sizes = [n for n in range(1, 700) if output_size(n, depth)]
    assert {n - output_size(n, depth) for n in sizes} == {lost}
    assert set(np.diff(sizes)) == {2**depth}


@given(st.integers(1, 900), st.integers(1, 6))
def test_check_size_names_the_nearest_sizes(size, depth):
    if output_size(size, depth):
        assert check_size(size, depth) == output_size(size, depth)
        return
    with pytest.raises(
        UsageError, match=f"input size {size} does not fit a U-Net of depth {depth}"
    ) as error:
        check_size(size, depth)
    named = [int(n) for n in re.search(r"that do are (\d+) and (\d+)$", str(error.value)).groups()]
    works = sorted((n for n in range(1, 2000) if output_size(n, depth)), key=lambda n: abs(n - size))
    assert sorted(abs(n - size) for n in named) == [abs(n - size) for n in works[:2]]
    assert all(output_size(n, depth) for n in named)


@every_grid
@given(x=FRACTION, y=FRACTION)
def test_degrees_to_pixel_and_back_within_half_a_pixel(grid, x, y):
    width = grid.output_size * grid.pixel_km
    point = grid.unproject(x * width, y * width)
    row, col, inside = grid.locate(*point)
    assert inside
    centre_x, centre_y = grid.axes_km(grid.output_size)
    there = grid.project(*grid.unproject(centre_x[col], centre_y[row]))
    assert np.abs(np.subtract(there, grid.project(*point))).max() <= grid.pixel_km / 2 + 1e-6


@every_grid
@given(x=FRACTION, y=FRACTION)
def test_project_and_unproject_undo_each_other(grid, x, y):
    width = grid.input_size * grid.pixel_km
    np.testing.assert_allclose(
        grid.project(*grid.unproject(x * width, y * width)), (x * width, y * width), atol=1e-6
    )


@every_grid
def test_pixel_centres_locate_to_themselves(grid):
    size = grid.output_size
    row, col, inside = grid.locate(*grid.lonlat(size))
    np.testing.assert_array_equal(row, np.arange(size)[:, None].repeat(size, 1))
    np.testing.assert_array_equal(col, np.arange(size)[None].repeat(size, 0))
    assert inside.all()


@every_grid
def test_the_output_window_lies_in_the_middle_of_the_input_window(grid):
    row, col, inside = grid.locate(*grid.lonlat(grid.input_size))
    margin, size = grid.margin, grid.output_size
    np.testing.assert_array_equal(row[:, 0], np.arange(-margin, size + margin))
    np.testing.assert_array_equal(col[0], np.arange(-margin, size + margin))
    assert inside.sum() == size**2
    assert inside[margin:-margin, margin:-margin].all()


@every_grid
def test_row_0_is_north_and_column_0_is_west(grid):
    lon, lat = grid.lonlat(grid.output_size)
    assert (np.diff(lat, axis=0) < 0).all()
    assert (np.diff(lon, axis=1) > 0).all()


@every_grid
def test_kilometres_are_those_of_the_earth(grid):
    """Scale factors of these projections are within a few parts in ten thousand of one."""
    lon, lat = grid.unproject([0, 30, 0], [0, 0, 30])
    _, _, metres = pyproj.Geod(ellps="GRS80").inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    np.testing.assert_allclose(metres, 30_000, rtol=1e-3)
    np.testing.assert_allclose((lon[0], lat[0]), (grid.longitude, grid.latitude), atol=1e-9)


def test_points_beyond_the_edges_are_outside():
    grid = GRIDS[2]
    edge = grid.output_size * grid.pixel_km / 2
    x, y = np.array([-edge, edge, 0, 0]), np.array([0, 0, -edge, edge])
    assert grid.locate(*grid.unproject(x * 0.999, y * 0.999))[2].all()
    assert not grid.locate(*grid.unproject(x * 1.001, y * 1.001))[2].any()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crs", "EPSG:4326", "EPSG:4326 is not metric"),
        ("crs", "EPSG:4978", "EPSG:4978 is not metric"),  # geocentric: metres, but no map
        ("crs", "EPSG:2263", "EPSG:2263 is not metric"),  # US feet
        ("crs", "EPSG:999999", "no coordinate reference system"),
        ("longitude", 181, "less than or equal to 180"),
        ("latitude", -91, "greater than or equal to -90"),
        ("pixel_km", 0, "greater than 0"),
        ("input_size", 0, "greater than 0"),
        ("size", 5, "Extra inputs"),
    ],
)
def test_grids_that_make_no_sense(field, value, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Grid(**{field: value})


@every_grid
def test_json_round_trip_after_use(grid):
    grid.locate(grid.longitude, grid.latitude)
    again = Grid.model_validate_json(grid.model_dump_json())
    assert again == grid
    assert hash(again) == hash(grid)


# --- kilometres on the map are those of the Earth ----------------------------------------------------

AZIMUTHAL = "+proj=aeqd +lat_0=35 +lon_0=139 +datum=WGS84 +units=m +type=crs"


@pytest.mark.parametrize(
    "grid",
    [
        *GRIDS,
        Grid(crs="EPSG:26911", longitude=-117.6, latitude=35.75, pixel_km=4.0),
        Grid(crs="EPSG:3460", longitude=180, latitude=-17.5),  # Fiji, across the date line
        Grid(crs=AZIMUTHAL, longitude=139, latitude=35, pixel_km=10.0),
        Grid(crs="EPSG:3857", longitude=10, latitude=0),  # Mercator is true at the equator
    ],
    ids=lambda grid: f"{grid.crs}-{grid.pixel_km}",
)
def test_true_projections_are_taken(grid):
    assert grid.refuse_distortion() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crs": "EPSG:3857"}, r"EPSG:3857 has a scale of 1\.2\d\d to 1\.2\d\d .*choose --crs EPSG:32654$"),
        ({"crs": "EPSG:32611"}, r"EPSG:32611 has .*139\.95 E 35\.75 N.* choose --crs EPSG:32654$"),
        ({"crs": "+proj=eqc +lat_ts=35.75"}, r"a scale of 0\.98\d to 1\.02\d .*choose --crs EPSG:32654$"),
        ({"crs": "EPSG:3413", "latitude": 90}, r"0\.970 to 0\.970 .*choose --crs '\+proj=aeqd \+lat_0=90 "),
        ({"longitude": 50.0}, r"EPSG:6677 has .*choose --crs EPSG:32639$"),
        ({"pixel_km": 10.0}, r"1880 km wide .*choose --crs '\+proj=aeqd \+lat_0=35\.75 \+lon_0=139\.95 "),
        ({"pixel_km": 30.0}, r"no projection is true over so wide a window, make it smaller$"),
    ],
)
def test_untrue_projections_are_refused_with_one_that_fits(changes, message):
    grid = Grid(**changes)
    with pytest.raises(UsageError, match=message) as error:
        grid.refuse_distortion()
    if fitting := re.search(r"--crs '?([^']+)'?$", str(error.value)):
        grid.model_copy(update={"crs": fitting[1]}).refuse_distortion()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32653", "+proj=eqc +lat_ts=35.75", "ESRI:54009"])
def test_the_scale_is_that_of_geodesics(crs):
    """Lengths of short lines in four directions, at the corners, the edges and the centre."""
    grid = Grid(crs=crs)
    geod, half, short = pyproj.Geod(ellps="WGS84"), grid.input_size * grid.pixel_km / 2, 0.1
    scales = []
    for x in (-half, 0, half):
        for y in (-half, 0, half):
            angle = np.linspace(0, np.pi, 90)
            start, end = (
                grid.unproject(x + sign * short * np.cos(angle), y + sign * short * np.sin(angle))
                for sign in (-1, 1)
            )
            scales.append(2000 * short / geod.inv(*start, *end)[2])
    np.testing.assert_allclose(grid._scale_range(), (np.min(scales), np.max(scales)), rtol=5e-3)
