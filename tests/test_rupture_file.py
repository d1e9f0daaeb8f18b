"""Ruptures in GeoJSON of ShakeMap, and in tables of planes."""

import copy
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.damaged_files import mutated
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.core.rupture import Rupture
from tfgmm.readers.common import rupture_file

RING = [
    [10.0, 45.0, 1.0],
    [10.1, 45.1, 1.0],
    [10.2, 45.2, 2.0],
    [10.3, 45.1, 15.0],
    [10.2, 45.0, 14.0],
    [10.1, 44.9, 14.0],
    [10.0, 45.0, 1.0],
]
SURFACE = {
    "type": "FeatureCollection",
    "metadata": {"id": "x", "lon": 10.1, "lat": 45.05, "depth": 8.0, "mag": 6.5},
    "features": [
        {
            "type": "Feature",
            "properties": {"rupture type": "rupture extent"},
            "geometry": {"type": "MultiPolygon", "coordinates": [[RING]]},
        }
    ],
}
POINT = SURFACE | {
    "features": [
        {
            "type": "Feature",
            "properties": {},
            "geometry": {"type": "Point", "coordinates": [10.1, 45.05, 8]},
        }
    ]
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def with_ring(*rings) -> dict:
    content = copy.deepcopy(SURFACE)
    content["features"][0]["geometry"]["coordinates"] = [[*rings]]
    return content


def test_a_ring_is_quadrilaterals_between_top_and_bottom(tmp_path):
    described = rupture_file.read(write(tmp_path / "rupture.json", SURFACE))
    expected = [
        [RING[0], RING[1], RING[4], RING[5]],
        [RING[1], RING[2], RING[3], RING[4]],
    ]
    assert described.rupture.corners.tolist() == expected
    earthquake = described.longitude, described.latitude, described.depth_km, described.magnitude
    assert earthquake == (10.1, 45.05, 8, 6.5)


def test_all_rings_of_all_polygons_are_parts_of_the_surface(tmp_path):
    content = with_ring(RING, RING)
    content["features"][0]["geometry"]["coordinates"].append([RING])
    content["features"] += [{"geometry": {"type": "Polygon", "coordinates": [RING]}}]
    assert len(rupture_file.read(write(tmp_path / "r.json", content)).rupture.corners) == 8


def test_a_hypocentre_alone_is_no_known_surface(tmp_path):
    described = rupture_file.read(write(tmp_path / "rupture.json", POINT))
    assert described.rupture is None and described.magnitude == 6.5
    without = rupture_file.read(write(tmp_path / "rupture.json", {**POINT, "metadata": None}))
    assert (without.longitude, without.latitude, without.depth_km) == (10.1, 45.05, 8)
    assert np.isnan(without.magnitude)


def moved(axis: int, value) -> list:
    ring = copy.deepcopy(RING)
    ring[2][axis] = value
    return ring


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON .* expected a FeatureCollection"),
        ("[1]", "holds no JSON object"),
        ('{"a": NaN}', "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ({"type": "FeatureCollection", "features": []}, "has no features"),
        ({"type": "Topology"}, "feature 1: geometry of the type None, expected MultiPolygon or Point"),
        ({"type": "FeatureCollection", "features": [7]}, "feature 1: geometry of the type None"),
        (
            SURFACE | {"features": [{"geometry": {"type": "LineString", "coordinates": RING}}]},
            "feature 1: geometry of the type 'LineString'",
        ),
        (with_ring(), "feature 1 has no ring"),
        (with_ring(RING, 5), "feature 1, ring 2: expected a list of points"),
        (with_ring(RING[:-1]), "ring 1 has 6 points, expected an odd number from 5"),
        (with_ring(RING[:3]), "ring 1 has 3 points"),
        (with_ring([*RING[:-1], [11, 45, 1]]), "ring 1 is not closed: its last point is not the first"),
        (with_ring([*RING[3:6], *RING[:4]]), "ring 1, point 1: the top edge at 15 km is deeper than the"),
        (
            with_ring([point[:2] for point in RING]),
            r"ring 1, point 1: \[10.0, 45.0\], expected \[longitude",
        ),
        (with_ring(moved(1, 95)), "ring 1, point 3, latitude: 95, expected a number from -90 to 90"),
        (with_ring(moved(0, "10")), "ring 1, point 3, longitude: 10, expected a number"),
        (with_ring(moved(0, True)), "ring 1, point 3, longitude: True, expected a number"),
        (with_ring(moved(2, 15000)), r"depth_km: 15000, expected .* from -5 to 800 km \(it may be in m\)"),
        (with_ring(moved(0, 100)), "from its centre, expected at most 1,000 km"),
        (
            with_ring([[lat, lon, depth] for lon, lat, depth in RING]),
            r"the epicentre 10.1 E 45.05 N is [\d,]+ km from the surface, .* may be swapped",
        ),
        (SURFACE | {"metadata": {"mag": 71}}, "metadata, mag: '71', expected a number from -1 to 10"),
        (SURFACE | {"metadata": {"depth": 8000}}, "metadata, depth: '8000'"),
        (SURFACE | {"metadata": {"lat": "45 N"}}, "metadata, lat: '45 N'"),
        (
            SURFACE | {"features": [{"geometry": {"type": "Point", "coordinates": [10.1]}}]},
            r"feature 1: \[10.1\], expected \[longitude",
        ),
    ],
)
def test_a_file_that_is_no_rupture(tmp_path, content, message):
    path = write(tmp_path / "rupture.json", content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}.*{message}"):
        rupture_file.read(path)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path):
    with (tmp_path / "rupture.json").open("wb") as stream:
        stream.truncate(10**10)  # takes no room on the disk
    with pytest.raises(DataError, match="is larger than 5 MB"):
        rupture_file.read(tmp_path / "rupture.json")


def test_a_path_without_a_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        rupture_file.read(tmp_path / "rupture.json")
    with pytest.raises(UsageError, match="is a folder"):
        rupture_file.read(tmp_path)


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused(tmp_path, data):
    path = tmp_path / "rupture.json"
    path.write_bytes(mutated(data, json.dumps(SURFACE).encode()))
    try:
        rupture_file.read(path)
    except TfgmmError as error:
        assert isinstance(error, DataError) and "\n" not in str(error)


def test_the_published_rupture_of_ridgecrest(shared_data):
    described = rupture_file.read(shared_data / "shakemap" / "ci38457511_rupture.json")
    assert described.rupture.corners.shape == (34, 4, 3)
    assert set(described.rupture.corners[..., 2].ravel()) == {0, 15}
    assert (described.longitude, described.latitude, described.depth_km) == (-117.5993, 35.7695, 8)


# ---- does the rupture belong to the earthquake? -------------------------------------------------


def flat_rings():
    """A point, a line along the ground, and a trace without extent down dip."""
    line = [[10 + 0.1 * i, 45.0, 0.0] for i in (0, 1, 2)]
    return [[RING[0]] * 5, [*line, *line[::-1], line[0]], [*RING[:2], *RING[1::-1], RING[0]]]


@pytest.mark.parametrize("ring", flat_rings())
def test_a_surface_without_area_is_refused(tmp_path, ring):
    path = write(tmp_path / "rupture.json", with_ring(RING, ring))
    with pytest.raises(
        DataError, match=f"^{path}, feature 1, ring 2 has an area of 0 .*one line. Expected"
    ):
        rupture_file.read(path)


def test_the_area_of_a_plane_is_length_times_width():
    plane = Rupture.planar(10, 45, 20, strike=40, dip=30, length_km=20, width_km=16)
    assert plane.area_km2() == pytest.approx(320, rel=1e-3)


def test_a_hypocentre_far_above_or_below_is_refused(tmp_path):
    plane = Rupture.planar(10, 45, 20, strike=0, dip=90, length_km=30, width_km=20)
    for depth_km in (0.0, 10.0, 50.0):
        rupture_file.refuse_strange_depth(tmp_path, plane, depth_km)
    with pytest.raises(DataError, match="from 10 to 30 km of depth, and the hypocentre lies at 51 km"):
        rupture_file.refuse_strange_depth(tmp_path, plane, 51.0)


@pytest.mark.parametrize(("magnitude", "fits"), [(5.5, False), (6.0, True), (7.0, True), (8.5, False)])
def test_a_rupture_has_the_size_of_its_magnitude(magnitude, fits):
    plane = Rupture.planar(10, 45, 20, strike=0, dip=90, length_km=30, width_km=15)
    if fits:
        return rupture_file.refuse_strange_area("r.json", plane, magnitude)
    with pytest.raises(
        DataError, match=r"^r.json: a rupture of 450 km\^2 does not fit M .*average of M 6.8"
    ):
        rupture_file.refuse_strange_area("r.json", plane, magnitude)
    return None


def test_the_rupture_of_ridgecrest_belongs_to_its_earthquake(shared_data):
    path = shared_data / "shakemap" / "ci38457511_rupture.json"
    described = rupture_file.read(path)
    assert described.rupture is not None
    rupture_file.refuse_strange_depth(path, described.rupture, described.depth_km)
    rupture_file.refuse_strange_area(str(path), described.rupture, 7.1)
    with pytest.raises(DataError, match="does not fit M 5"):
        rupture_file.refuse_strange_area(str(path), described.rupture, 5.0)


# ---- planes through hypocentres -----------------------------------------------------------------

EVENTS = pd.DataFrame(
    {
        "event_id": ["c", "x", "a"],
        "longitude": [10.0, 11, 12],
        "latitude": 45.0,
        "depth_km": [30.0, 10, 10],
        "magnitude": [8.0, 5.0, 6.3],
        "strike": [350, np.nan, 10],
        "dip": [30, np.nan, 90],
        "length_km": [100.5, np.nan, 20],
        "width_km": [60, np.nan, 12],
    }
)


def test_planes_lie_through_the_hypocentres_of_their_events():
    ruptures = rupture_file.planes(EVENTS)
    assert list(ruptures) == ["c", "a"]
    assert ruptures["a"].corners[..., 0].mean() == pytest.approx(12, abs=1e-3)
    assert ruptures["c"].corners[..., 2].mean() == pytest.approx(30)


def test_planes_that_are_wrong():
    half = EVENTS.assign(length_km=np.nan)
    with pytest.raises(DataError, match="events, row 1: no length_km, expected all of strike, dip, length"):
        rupture_file.planes(half)
    with pytest.raises(DataError, match="event a: a rupture of 240 km.* does not fit M 8.3"):
        rupture_file.planes(EVENTS.assign(magnitude=8.3))
