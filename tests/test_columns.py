"""What columns may be called."""

import pytest

from tfgmm.readers.common import columns


@pytest.mark.parametrize(
    "name",
    ["longitude", "LON", "Long", "lng", " Lon. ", "Longitude (deg)", "lon[deg]", "lon_deg", "LONGITUDE_DD"],
)
def test_longitude_by_any_name(name):
    assert columns.find(["lat", name], columns.LONGITUDE) == name


@pytest.mark.parametrize("name", ["longitude_error", "station_longitude", "along", "x", ""])
def test_what_is_no_longitude(name):
    assert columns.find([name], columns.LONGITUDE) is None


def test_the_best_name_wins_and_then_the_first_column():
    assert columns.find(["lon", "Longitude", "LON"], columns.LONGITUDE) == "Longitude"
    assert columns.find(["lat", "LON", "lon"], columns.LONGITUDE) == "LON"
