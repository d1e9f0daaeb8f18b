"""Distances to the rupture in flatfiles: many names, values that cannot be, files without them."""

import numpy as np
import pandas as pd
import pytest

from conftest import small_dataset
from helpers.flatfile_rows import GMPROCESS
from tfgmm.core.errors import DataError
from tfgmm.core.sphere import hypocentral_km
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.flatfiles import gmprocess, layout, table

ALL = Limits(min_magnitude=0, max_distance_km=1000)


def flatfile(path, names, *values, **more):
    """A flatfile of small records, with a column of rupture distances under each of the names."""
    dataset = small_dataset(n_events=3, n_kik=len(values), n_meso=0)
    table.write(dataset, path)
    rows = pd.read_csv(path).drop(columns="simulated").iloc[: len(values)]
    for name in names:
        rows[name] = values
    rows.assign(**more).to_csv(path, index=False)
    return path


def read(path, **options) -> Dataset:
    return table.read([path], ALL, **options)


def dropped(dataset: Dataset) -> dict[str, int]:
    return {entry["reason"]: entry["count"] for entry in dataset.provenance["dropped"]}


@pytest.mark.parametrize(
    "name",
    [
        *("r_rup_km", "RuptureDistance", "Rrup", "rrup", "r_rup", "Rrup (km)", "ClosestD", "ClstD (km)"),
        *("rup_dist", "record_r_rup_km"),
    ],
)
def test_the_column_under_its_names(tmp_path, name):
    records = read(flatfile(tmp_path / "x.csv", [name], 11.5, np.nan, 7.0)).records
    assert records["r_rup_km"].tolist() == pytest.approx([11.5, np.nan, 7.0], nan_ok=True)
    assert list(records) == ["event_id", "station_id", "PGA", "component", "r_rup_km"]


def test_a_column_of_any_name_by_the_layout(tmp_path):
    path = flatfile(tmp_path / "x.csv", ["how far"], 11.5, 9.0)
    dataset = read(path, layout=layout.choose(columns=["r_rup_km=how far"]))
    assert dataset.records["r_rup_km"].tolist() == [11.5, 9.0]
    assert dataset.provenance["choices"]["columns"]["r_rup_km"] == "how far"


def test_distances_that_cannot_be_are_made_missing_and_counted(tmp_path):
    plain = read(flatfile(tmp_path / "x.csv", [], 0, 0, 0, 0, 0, 0))
    r_hyp = hypocentral_km(plain.records, plain.events, plain.stations)
    values = [r_hyp[0] * 1.049 + 4.99, r_hyp[1] * 1.051 + 5.01, -3, -999, 9999, 0]
    dataset = read(flatfile(tmp_path / "y.csv", ["rrup"], *values))
    expected = [values[0], np.nan, np.nan, np.nan, np.nan, 0]
    assert dataset.records["r_rup_km"].tolist() == pytest.approx(expected, nan_ok=True)
    assert dropped(dataset) == {
        "r_rup_km above the hypocentral distance by more than 5 km and 5%": 2,
        "r_rup_km is negative": 1,
    }
    pd.testing.assert_frame_equal(dataset.records.drop(columns="r_rup_km"), plain.records)


def test_distances_in_metres_are_not_taken_for_kilometres(tmp_path):
    dataset = read(flatfile(tmp_path / "x.csv", ["rrup"], 11500, 9000))
    assert "r_rup_km" not in dataset.records
    assert dropped(dataset) == {"r_rup_km above the hypocentral distance by more than 5 km and 5%": 2}


def test_a_distance_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="row 3, column Rrup: 'near', expected a number"):
        read(flatfile(tmp_path / "x.csv", ["Rrup"], 11.5, "near"))


def test_a_dataset_without_the_column_stays_as_it_is(tmp_path):
    plain = read(flatfile(tmp_path / "x.csv", [], 0, 0))
    blank = read(flatfile(tmp_path / "y.csv", ["rrup"], np.nan, np.nan))
    assert list(plain.records) == ["event_id", "station_id", "PGA", "component"]
    assert plain.digest() == blank.digest()
    assert not plain.provenance["dropped"] and not blank.provenance["dropped"]


def test_the_variance_goes_with_its_distance(tmp_path):
    more = {"RuptureDistanceVar": [0.8, np.nan, -1, 2.0]}
    records = read(flatfile(tmp_path / "x.csv", ["RuptureDistance"], 11.5, 9, 8, -3, **more)).records
    assert records["r_rup_var_km2"].tolist() == pytest.approx([0.8, np.nan, np.nan, np.nan], nan_ok=True)


def test_the_column_survives_the_folder_and_the_flatfile(tmp_path):
    more = {"RuptureDistanceVar": [0.8, np.nan]}
    dataset = read(flatfile(tmp_path / "x.csv", ["RuptureDistance"], 11.5, 9, **more))
    dataset.write(tmp_path / "data")
    pd.testing.assert_frame_equal(Dataset.read(tmp_path / "data").records, dataset.records)
    table.write(dataset, tmp_path / "again.csv")
    pd.testing.assert_frame_equal(read(tmp_path / "again.csv").records, dataset.records)


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_a_dataset_with_a_wrong_distance_is_refused(value):
    dataset = small_dataset(n_events=3)
    dataset.records["r_rup_km"] = value
    with pytest.raises(DataError, match="records table, row 0, column r_rup_km"):
        dataset.checked()


def test_gmprocess_writes_rupture_distances(tmp_path):
    path = tmp_path / "x_rotd50.0.csv"
    pd.DataFrame([GMPROCESS | {"RuptureDistance": 15.1, "RuptureDistanceVar": 0.9}]).to_csv(
        path, index=False
    )
    records = gmprocess.read([path], ALL).records
    assert records[["r_rup_km", "r_rup_var_km2"]].to_numpy().tolist() == [[15.1, 0.9]]


@pytest.mark.slow
def test_rupture_distances_of_ridgecrest(shared_data):
    dataset = gmprocess.read([shared_data / "ridgecrest" / "SA_rotd50.0_2020.03.31.csv.gz"], ALL)
    records = dataset.records
    assert records["r_rup_km"].notna().all() and not [text for text in dropped(dataset) if "r_rup" in text]
    # Only the two largest earthquakes have a known rupture; the others have an estimate and its variance.
    known = records.loc[records["r_rup_var_km2"].isna(), "event_id"].unique()
    assert sorted(known) == ["ci38443183", "ci38457511"]
    nearest = records.set_index(["event_id", "station_id"]).loc[("ci38457511", "CI.CLC.HN"), "r_rup_km"]
    assert nearest == 2.21
