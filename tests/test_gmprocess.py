import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.damaged_files import mutated
from helpers.flatfile_rows import GMPROCESS as ROW
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.flatfiles import gmprocess

ALL = Limits(min_magnitude=0, max_distance_km=1000)


def flatfile(path, *rows: dict):
    pd.DataFrame([ROW | row for row in rows]).to_csv(path, index=False)
    return path


def test_rules_of_the_flatfile(tmp_path):
    path = flatfile(
        tmp_path / "SA_rotd50.0_x.csv",
        {},
        {"StationID": "CI.ABC.BN", "StationLatitude": 35.601},
        {"StationID": "CI.MEA.HN", "StationLatitude": 35.7, "Measured_VS30": 500},
        {"StationID": "CI.SLO.HN", "StationLatitude": 35.8, "Vs30_mps_CA_map": np.nan},
    )
    dataset = gmprocess.read([path], ALL)
    assert list(dataset.stations.station_id) == ["CI.ABC.HN", "CI.ABC.BN", "CI.MEA.HN", "CI.SLO.HN"]
    assert list(dataset.stations.site_id) == ["CI.ABC.HN", "CI.ABC.HN", "CI.MEA.HN", "CI.SLO.HN"]
    assert list(dataset.stations.vs30_m_s) == [400, 400, 500, 300]
    assert dataset.networks == ["ci"] and dataset.ims == ["PGA", "PGV", "SA(1.0)"]
    assert dataset.records["PGV"].tolist() == [1.0] * 4  # cm/s, whatever the unit of PGA
    assert dataset.provenance["unit"] == {"PGA": "g", "PGV": "cm/s", "SA(1.0)": "g"}
    assert dataset.records["SA(1.0)"].tolist() == [0.03] * 4
    assert dataset.provenance["choices"]["magnitude"].endswith("events kept with mlr 1")


def test_spectra_beyond_the_high_pass_corner_are_missing(tmp_path):
    """The longest usable period is 0.8 divided by the corner."""
    corners = [0.5, 0.8, 1.0, np.nan]
    rows = [
        {"StationID": f"CI.{name}.HN", "StationLatitude": 35.2 + number / 10, "Highpass": corner}
        for number, (name, corner) in enumerate(zip("ABCD", corners, strict=True))
    ]
    path = flatfile(tmp_path / "SA_rotd50.0_x.csv", *rows)
    dataset = gmprocess.read([path], ALL, unit_as_stated=True)
    assert dataset.records["SA(1.0)"].notna().tolist() == [True, True, False, True]
    assert dataset.records["PGA"].notna().all() and dataset.records["PGV"].notna().all()
    (dropped,) = (row for row in dataset.provenance["dropped"] if "high-pass" in row["reason"])
    assert dropped["count"] == 1
    assert dataset.records["highpass_hz"].tolist()[:3] == corners[:3]


def test_columns_of_later_versions(tmp_path):
    path = tmp_path / "x_default_metrics_rotd(percentile=50.0).csv"
    pd.DataFrame([ROW]).rename(columns={"SA(1.000)": "SA(T=1.0000, D=0.050)"}).to_csv(path, index=False)
    assert gmprocess.read([path], ALL).records["SA(1.0)"].tolist() == [0.03]


@pytest.mark.parametrize(
    "columns",
    [
        ["Measured_VS30", "Vs30_mps_CA_map", "Vs30_mps_slope"],
        ["EarthquakeMagnitudeType", "StationElevation"],
        ["SA(1.000)"],
        ["PGA"],
    ],
)
def test_columns_that_the_format_does_not_promise(tmp_path, columns):
    path = tmp_path / "x_rotd50.0.csv"
    pd.DataFrame([ROW]).drop(columns=columns).to_csv(path, index=False)
    dataset = gmprocess.read([path], ALL)
    assert len(dataset.records) == 1
    assert dataset.stations.vs30_m_s.isna().all() == ("Measured_VS30" in columns)


def test_a_unit_that_is_not_that_of_gmprocess(tmp_path):
    rows = [
        {"EarthquakeId": f"ci{i}", "EarthquakeMagnitude": 5 + i / 10, "PGA": 0.05 + 0.005 * i}
        | {"SA(1.000)": 0.01 + 0.001 * i}
        for i in range(5)
    ]
    path = flatfile(tmp_path / "x_rotd50.0.csv", *rows)
    with pytest.raises(DataError, match="--unit g would fit .* --unit-as-stated"):
        gmprocess.read([path], ALL)
    assert gmprocess.read([path], ALL, unit="g").records["PGA"].tolist()[0] == 0.05
    assert gmprocess.read([path], ALL, unit_as_stated=True).records["PGA"].tolist()[0] == 0.0005


@pytest.mark.parametrize(
    ("name", "option", "component"),
    [
        ("SA_rotd50.0_2020.03.31.csv", None, "rotd50"),
        ("default_metrics_rotd(percentile=50.0).csv", None, "rotd50"),
        ("x_geometric_mean_README.csv", None, "geometric_mean"),
        ("records.csv", "rotd50", "rotd50"),
    ],
)
def test_component(tmp_path, name, option, component):
    dataset = gmprocess.read([flatfile(tmp_path / name, {})], ALL, option)
    assert set(dataset.records.component) == {component} == {dataset.provenance["component"]}


@pytest.mark.parametrize("name", ["records.csv", "x_rotd100.0.csv", "SA_rotd500.csv", "x_h1.csv"])
def test_a_component_that_is_not_said(tmp_path, name):
    with pytest.raises(UsageError, match="do not say one component: choose geometric_mean or rotd50"):
        gmprocess.read([flatfile(tmp_path / name, {})], ALL)


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "rotd50.csv"
    pd.DataFrame([ROW]).drop(columns="EarthquakeDepth").to_csv(path, index=False)
    with pytest.raises(UsageError, match="has no column 'EarthquakeDepth'"):
        gmprocess.read([path], ALL)


@pytest.fixture(scope="module")
def ridgecrest(shared_data):
    return gmprocess.read([shared_data / "ridgecrest" / "SA_rotd50.0_2020.03.31.csv.gz"], ALL)


@pytest.mark.slow
def test_ridgecrest_is_read_whole(ridgecrest):
    counts = {"record": 22375, "event": 131, "station": 968}
    assert ridgecrest.provenance["read"] == counts
    dropped = {entry["reason"]: entry["count"] for entry in ridgecrest.provenance["dropped"]}
    # Among them are all amplitudes below 1e-7 g.
    assert dropped == {"SA(T) beyond the high-pass corner, T > 0.8 / corner": 79719}
    assert "19779 values of PGA taken as %g is 0.995 times" in ridgecrest.provenance["choices"]["unit"]
    assert ridgecrest.records["PGV"].notna().all()
    assert (len(ridgecrest.records), len(ridgecrest.events), len(ridgecrest.stations)) == (22375, 131, 968)
    assert (
        len(ridgecrest.ims) == 23
        and ridgecrest.ims[:2] == ["PGA", "PGV"]
        and ridgecrest.ims[-1] == "SA(10.0)"
    )
    assert len(ridgecrest.networks) == 18
    kinds = ridgecrest.events.set_index("event_id").magnitude_source
    assert (kinds["ci38443095"], kinds["ci38443255"]) == ("mw", "mlr")
    (elevation,) = (e for e in ridgecrest.provenance["noted"] if e["reason"].startswith("elevation_m"))
    assert elevation["count"] == 19


def test_golden_values_of_ridgecrest(ridgecrest):
    # read by eye from the first line of the file, in %g there
    record = ridgecrest.records.set_index(["event_id", "station_id"]).loc[("ci38443095", "AZ.BZN.HN")]
    expected = {"PGA": 0.011752309, "SA(0.01)": 0.015906042, "SA(0.075)": 0.032681486}
    assert {im: record[im] for im in expected} == pytest.approx({im: v / 100 for im, v in expected.items()})
    assert np.isnan(record["SA(10.0)"])  # beyond the high-pass corner of the record
    assert record["PGV"] == pytest.approx(0.005367, abs=5e-7)  # cm/s
    event = ridgecrest.events.set_index("event_id").loc["ci38443095"]
    assert event.origin_time == pd.Timestamp("2019-07-04T17:02:55.34Z")
    place = event.longitude, event.latitude, event.depth_km, event.magnitude
    assert place == (-117.50367, 35.70817, 10.6, 4.0)
    station = ridgecrest.stations.set_index("station_id").loc["AZ.BZN.HN"]
    assert (station.network, station.longitude, station.latitude) == ("az", -116.667, 33.4915)
    assert (station.elevation_m, station.vs30_m_s) == (1301, 686.7)


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused(tmp_path, data):
    path = flatfile(tmp_path / "rotd50.csv", {}, {"StationID": "CI.X.HN"})
    path.write_bytes(mutated(data, path.read_bytes()))
    try:
        dataset = gmprocess.read([path], ALL)
    except TfgmmError as error:
        assert isinstance(error, DataError | UsageError) and "\n" not in str(error)
    else:
        lost = sum(e["count"] for e in dataset.provenance["dropped"] if e["what"] == "record")
        assert dataset.provenance["read"]["record"] == len(dataset.records) + lost
