"""What columns may be called."""

import pytest

from tfgmm.readers.common import column_names


@pytest.mark.parametrize(
    "name",
    ["longitude", "LON", "Long", "lng", " Lon. ", "Longitude (deg)", "lon[deg]", "lon_deg", "LONGITUDE_DD"],
)
def test_longitude_by_any_name(name):
    assert column_names.find(["lat", name], column_names.LONGITUDE) == name


@pytest.mark.parametrize("name", ["longitude_error", "station_longitude", "along", "x", ""])
def test_what_is_no_longitude(name):
    assert column_names.find([name], column_names.LONGITUDE) is None


def test_the_best_name_wins_and_then_the_first_column():
    assert column_names.find(["lon", "Longitude", "LON"], column_names.LONGITUDE) == "Longitude"
    assert column_names.find(["lat", "LON", "lon"], column_names.LONGITUDE) == "LON"
