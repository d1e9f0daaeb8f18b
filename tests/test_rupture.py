"""Distances to a rupture: against a plain reference, geodesic distances, laws, and published distances."""

import time

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.core.rupture import Rupture, distance_to_quadrilaterals
from tfgmm.readers.common import rupture_file

PLANE = {"strike": 320.0, "dip": 60.0, "length_km": 40.0, "width_km": 15.0}


def sampled_distance(x, y, quadrilateral, steps=150) -> np.ndarray:
    """The distance to the nearest of many points on the two triangles of a quadrilateral."""
    share = np.linspace(0, 1, steps + 1)
    u, v = (part.ravel() for part in np.meshgrid(share, share))
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    surface = np.concatenate(
        [
            a + u[:, None] * (b - a) + v[:, None] * (c - a)
            for a, b, c in (quadrilateral[[0, 1, 2]], quadrilateral[[0, 2, 3]])
        ]
    )
    places = np.stack([x, y, np.zeros_like(x)], axis=1)
    return np.linalg.norm(places[:, None] - surface, axis=2).min(axis=1)


def test_distances_are_those_of_a_densely_sampled_surface():
    rng = np.random.default_rng(0)
    for scale in (5.0, 40.0):
        quadrilaterals = rng.uniform(
            -scale, scale, (20, 4, 3)
        )  # most of them warped, some above the ground
        quadrilaterals[:, :, 2] += scale / 2
        x, y = rng.uniform(-2 * scale, 2 * scale, (2, 40))
        reference = np.min([sampled_distance(x, y, quad) for quad in quadrilaterals], axis=0)
        exact = distance_to_quadrilaterals(x, y, quadrilaterals)
        assert (exact <= reference + 1e-9).all()
        assert np.abs(exact - reference).max() < scale / 100
        # far from the surface the nearest sample lies beside the nearest point, not before it
        far = reference > scale / 2
        assert far.sum() > 5
        assert np.abs(exact - reference)[far].max() < scale / 2000


def test_the_foot_of_the_perpendicular_the_edge_and_the_corner():
    square = np.array([[[0, 0, 3], [10, 0, 3], [10, 10, 3], [0, 10, 3]]], float)
    distances = distance_to_quadrilaterals([5, 5, -4, 13, 0], [5, -4, -0.0, 14, 10], square)
    assert distances == pytest.approx([3, 5, 5, np.sqrt(9 + 16 + 9), 3])


def test_the_crease_of_a_folded_quadrilateral():
    folded = np.array([[[0, 0, 1], [10, 0, 8], [10, 10, 1], [0, 10, 8]]], float)
    assert distance_to_quadrilaterals([5], [5], folded) == pytest.approx([1])


def test_a_place_on_the_trace():
    rupture = Rupture.planar(10, 45, 5, strike=30, dip=90, length_km=20, width_km=10)
    assert rupture.distance_km(*rupture.corners[0, 0, :2]) == pytest.approx(0, abs=1e-4)


def test_a_vertical_rupture_has_the_joyner_boore_distance_of_its_trace():
    rupture = Rupture.planar(0, 0, 5, strike=0, dip=90, length_km=20, width_km=10)
    _, north = rupture.corners[0, 1, :2]
    there = rupture.joyner_boore_km([0.1, 0.0], [0.0, north + 0.1])
    assert there == pytest.approx([0.1 * 111.3195, 0.1 * 110.574], rel=1e-3)


def test_the_joyner_boore_distance_is_zero_above_the_rupture():
    rupture = Rupture.planar(139.7, 35.6, 20, strike=90, dip=30, length_km=60, width_km=30)
    assert rupture.joyner_boore_km(139.7, 35.6) == 0
    assert rupture.distance_km(139.7, 35.6) == pytest.approx(20 * np.cos(np.radians(30)), rel=1e-6)


@pytest.mark.parametrize("latitude", [-70, 0, 36, 70])
def test_distances_of_a_point_like_rupture_are_geodesic(latitude):
    small = {"strike": 0, "dip": 45, "length_km": 0.01, "width_km": 0.01}
    rupture = Rupture.planar(179.9, latitude, 10, **small)
    azimuth, epicentral = np.meshgrid(np.arange(0, 360, 15.0), [1, 30, 100, 300, 1000.0])
    ends = np.full(azimuth.shape, 179.9), np.full(azimuth.shape, float(latitude))
    longitude, latitudes, _ = pyproj.Geod(ellps="WGS84").fwd(*ends, azimuth, epicentral * 1000)
    expected = np.hypot(epicentral, 10)
    assert np.abs(rupture.distance_km(longitude, latitudes) / expected - 1).max() < 1e-3


def test_distances_of_a_long_rupture_are_geodesic_beside_its_ends():
    rupture = Rupture.planar(142.5, 38, 0, strike=10, dip=90, length_km=500, width_km=0.001)
    geod = pyproj.Geod(ellps="WGS84")
    for end, strike in ((0, 190.0), (1, 10.0)):
        longitude, latitude, _ = geod.fwd(*rupture.corners[0, end, :2], strike + 90, 300_000)
        _, _, to_trace = geod.inv(
            *[
                np.linspace(a, b, 5001)
                for a, b in zip(rupture.corners[0, 0, :2], rupture.corners[0, 1, :2], strict=True)
            ],
            np.full(5001, longitude),
            np.full(5001, latitude),
        )
        assert rupture.distance_km(longitude, latitude) == pytest.approx(to_trace.min() / 1000, rel=5e-3)


def test_across_the_date_line():
    rupture = Rupture.planar(179.95, 51, 20, **PLANE)
    assert (np.abs(rupture.corners[..., 0]) > 179).all() and (rupture.corners[..., 0] < 0).any()
    assert rupture.distance_km(-179.5, 51) == rupture.distance_km(180.5, 51) < 40


def test_distances_on_the_map_are_those_on_the_earth():
    grid = Grid()
    rupture = Rupture.planar(grid.longitude, grid.latitude, 20, **PLANE)
    x, y = np.moveaxis(grid.centres_km(grid.output_size), -1, 0)
    on_map = rupture.map_distance_km(grid, x, y)
    assert on_map.shape == (grid.output_size, grid.output_size)
    assert np.abs(on_map / rupture.distance_km(*grid.unproject(x, y)) - 1).max() < 2e-3


def test_a_map_that_cannot_show_the_rupture():
    grid = Grid(crs="+proj=gnom +lat_0=35.75 +lon_0=139.95 +datum=WGS84 +units=m +type=crs")
    with pytest.raises(UsageError, match="no position in the projection"):
        Rupture.planar(-40, -35, 20, **PLANE).map_distance_km(grid, 0, 0)


def test_unknown_places_have_no_distance():
    rupture = Rupture.planar(10, 45, 10, **PLANE)
    distances = rupture.distance_km([np.nan, 10, 10], [45, np.nan, 45])
    assert np.isnan(distances).tolist() == [True, True, False]
    assert rupture.distance_km(np.zeros((2, 3)), 45).shape == (2, 3)


def test_a_hundred_thousand_pixels_take_less_than_a_second():
    pieces = [Rupture.planar(10 + i / 50, 45, 10, **PLANE).corners for i in range(20)]
    rupture = Rupture(np.concatenate(pieces))
    longitude, latitude = np.meshgrid(np.linspace(8, 12, 320), np.linspace(43, 47, 320))
    start = time.process_time()
    rupture.distance_km(longitude, latitude)
    assert time.process_time() - start < 1.5  # 0.25 s on an idle core


# ---- the plane through a hypocentre --------------------------------------------------------------


@given(
    st.floats(0, 360),
    st.floats(1, 90),
    st.floats(0.1, 200),
    st.floats(0.1, 80),
    st.floats(0, 600),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-80, 80),
)
def test_a_plane_contains_its_hypocentre_and_stays_below_the_ground(
    strike, dip, length, width, depth, along, down, latitude
):
    rupture = Rupture.planar(
        139.0,
        latitude,
        depth,
        strike=strike,
        dip=dip,
        length_km=length,
        width_km=width,
        along_strike=along,
        down_dip=down,
    )
    depths = rupture.corners[0, :, 2]
    assert depths.min() >= 0 and depths[0] == depths[1] <= depths[2] == depths[3]
    assert depths[2] - depths[0] == pytest.approx(width * np.sin(np.radians(dip)), abs=1e-6)
    # On a map whose origin is lifted to the hypocentre it is at distance zero.
    x, y = pyproj.Proj(proj="aeqd", lon_0=139.0, lat_0=latitude, datum="WGS84", units="km")(
        *rupture.corners[0, :, :2].T
    )
    raised = np.stack([x, y, depths - depth], axis=-1)[np.newaxis]
    assert distance_to_quadrilaterals(0.0, 0.0, raised) < 1e-3
    assert np.hypot(x[1] - x[0], y[1] - y[0]) == pytest.approx(length, rel=1e-6)


def test_a_plane_dips_to_the_right_of_its_strike():
    corners = Rupture.planar(10, 45, 30, strike=0, dip=45, length_km=20, width_km=10).corners[0]
    assert corners[0, 1] < corners[1, 1]  # to the north
    assert corners[0, 0] < corners[3, 0] and corners[0, 2] < corners[3, 2]  # down to the east


def test_a_plane_that_would_reach_out_of_the_ground_is_shifted_down_dip():
    rupture = Rupture.planar(10, 45, 2, strike=0, dip=30, length_km=20, width_km=16)
    assert rupture.corners[0, :2, 2].tolist() == [0, 0]
    assert rupture.shifted_km == pytest.approx(8 - 4)
    assert Rupture.planar(10, 45, 20, strike=0, dip=30, length_km=20, width_km=16).shifted_km == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dip": 95}, "dip: 95, expected a number from 0.1 to 90"),
        ({"dip": np.nan}, "dip: nan, expected"),
        ({"strike": 400}, "strike: 400"),
        ({"length_km": 0}, "length_km: 0"),
        ({"width_km": 15000}, "width_km: 15000"),
        ({"down_dip": 1.5}, "down_dip: 1.5, expected a number from 0 to 1"),
    ],
)
def test_a_plane_that_cannot_be(change, message):
    with pytest.raises(UsageError, match=message):
        Rupture.planar(10, 45, 10, **PLANE | change)


# ---- corners ------------------------------------------------------------------------------------


def corners(**change) -> np.ndarray:
    values = np.array(Rupture.planar(10, 45, 20, **PLANE).corners)
    for axis, name in enumerate(("longitude", "latitude", "depth_km")):
        values[0, 2, axis] = change.get(name, values[0, 2, axis])
    return values


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (corners(latitude=95), "quadrilateral 1, corner 3, latitude: 95, expected a number from -90 to 90"),
        (corners(depth_km=15000), "depth_km: 15000, expected a number from -5 to 800"),
        (corners(longitude=np.nan), "longitude: nan"),
        (corners(longitude=60), "from its centre, expected at most 1,000 km"),
        (np.zeros((0, 4, 3)), r"shape \(0, 4, 3\), expected \(n, 4, 3\)"),
        (np.zeros((4, 3)), r"shape \(4, 3\)"),
    ],
)
def test_corners_that_cannot_be(wrong, message):
    with pytest.raises(DataError, match=message):
        Rupture(wrong)


def test_a_rupture_cannot_be_changed():
    rupture = Rupture(corners())
    with pytest.raises(ValueError, match="read-only"):
        rupture.corners[0, 0, 0] = 5


# ---- published distances ------------------------------------------------------------------------


def test_ridgecrest_distances_are_those_of_the_flatfile(shared_data):
    described = rupture_file.read(shared_data / "shakemap" / "ci38457511_rupture.json")
    flatfile = pd.read_csv(shared_data / "ridgecrest" / "SA_rotd50.0_2020.03.31.csv.gz", low_memory=False)
    rows = flatfile[flatfile["EarthquakeId"] == "ci38457511"]
    places = rows["StationLongitude"], rows["StationLatitude"]
    for computed, listed in (
        (described.rupture.distance_km(*places), rows["RuptureDistance"]),
        (described.rupture.joyner_boore_km(*places), rows["JoynerBooreDistance"]),
    ):
        near = listed < 300
        assert near.sum() > 500
        assert np.abs(computed / listed - 1)[near].max() < 0.002
        assert np.abs(computed / listed - 1).max() < 0.005
