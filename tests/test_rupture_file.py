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


# ---- tables of planes ---------------------------------------------------------------------------

PLANES = pd.DataFrame(
    {
        "Event_ID": ["a", "b", "c"],
        "Strike (deg)": [10, np.nan, 350],
        "DIP": [90, np.nan, 30],
        "Length": [20, np.nan, 100.5],
        "width_km": [12, np.nan, 60],
    }
)


def test_a_table_of_planes(tmp_path):
    PLANES.to_csv(tmp_path / "planes.csv", index=False)
    table = rupture_file.read_planes(tmp_path / "planes.csv")
    assert table.to_dict("list") == {
        "event_id": ["a", "c"],
        "strike": [10, 350],
        "dip": [90, 30],
        "length_km": [20, 100.5],
        "width_km": [12, 60],
    }


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("DIP", 91, "row 2, column DIP: '91.0', expected a number from 0.1 to 90"),
        ("Length", 40000, "column Length: '40000.0', expected a number from 0.001 to 2000"),
        ("DIP", None, "row 2: no dip, expected all of strike, dip, length_km, width_km or none of them"),
        ("Event_ID", "c", "column Event_ID: 'c', expected one row"),
    ],
)
def test_a_table_of_planes_that_is_wrong(tmp_path, column, value, message):
    table = PLANES.copy()
    table.loc[0, column] = value
    table.to_csv(tmp_path / "planes.csv", index=False)
    with pytest.raises(DataError, match=message):
        rupture_file.read_planes(tmp_path / "planes.csv")


def test_a_table_of_planes_without_a_column(tmp_path):
    PLANES.drop(columns="DIP").to_csv(tmp_path / "planes.csv", index=False)
    with pytest.raises(UsageError, match="has no column dip"):
        rupture_file.read_planes(tmp_path / "planes.csv")


def test_planes_lie_through_the_hypocentres_of_their_events():
    events = pd.DataFrame(
        {
            "event_id": ["c", "x", "a"],
            "longitude": [10.0, 11, 12],
            "latitude": 45.0,
            "depth_km": [30.0, 10, 10],
        }
    )
    table = PLANES.set_axis(["event_id", "strike", "dip", "length_km", "width_km"], axis=1)
    ruptures = rupture_file.planes(events, table)
    assert list(ruptures) == ["c", "a"]
    assert ruptures["a"].corners[..., 0].mean() == pytest.approx(12, abs=1e-3)
    assert ruptures["c"].corners[..., 2].mean() == pytest.approx(30)
