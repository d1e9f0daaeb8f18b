"""What a dataset holds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tfgmm.data import description
from tfgmm.data.dataset import Dataset

PROVENANCE = {
    "name": "JMA files",
    "component": "geometric_mean",
    "simulated": False,
    "read": {"event": 40, "record": 700},
    "dropped": [{"what": "event", "reason": "no magnitude", "count": 10, "examples": ["a", "b", "c"]}],
    "choices": {"region": [138.9, 34.9, 141.0, 36.6], "min_magnitude": 4.3},
    "truncation": "stations below intensity 0.5 are not listed",
    "attribution": "Japan Meteorological Agency",
    "sources": [{"file": "i2016.zip", "sha256": "ab"}],
}


@pytest.fixture
def full(small):
    lat, lon = np.linspace(34.9, 36.6, 3), np.linspace(138.9, 141.0, 4)
    z = np.arange(12.0).reshape(3, 4)
    z[0, :3] = np.nan
    layer = xr.DataArray(z, {"latitude": lat, "longitude": lon}, attrs={"units": "m"})
    return dataclasses.replace(small, provenance=PROVENANCE, layers=xr.Dataset({"z_bedrock": layer}))


def test_headline(full):
    line = description.headline(full)
    assert line == (
        f"Dataset JMA files: 30 events, 32 stations, {len(full.records):,} records of PGA "
        f"(geometric_mean). Data hash {full.digest()[:16]}."
    )


def test_repr_is_one_line_that_tells_datasets_apart(full, small):
    assert repr(full) == (
        f"<Dataset 'JMA files': 30 events; 32 stations; {len(full.records):,} records of PGA; "
        f"networks {', '.join(full.networks)}; {_years(full)}; site layers z_bedrock>"
    )
    assert repr(small).startswith("<Dataset 'small': 30 events;")
    assert repr(small).endswith("; simulated>")


def _years(dataset: Dataset) -> str:
    years = dataset.events["origin_time"].dt.year
    return f"{years.min()} to {years.max()}"


@pytest.mark.parametrize("table", ["events", "stations", "records"])
def test_repr_of_tables_that_are_not_checked_yet(small, table):
    """A debugger shows a dataset also where a column is missing."""
    bare = dataclasses.replace(small, **{table: pd.DataFrame()}, provenance={})
    assert f"0 {table}" in repr(bare)


def test_tables_of_a_full_dataset(full):
    tables = dict(description.tables(full))
    assert list(tables) == [
        "Networks", "Density", "Events", "Site layers", "Read", "Dropped", "Choices", "Sources",
    ]  # fmt: skip
    assert tables["Read"].to_numpy().tolist() == [["event", 40], ["record", 700]]
    assert tables["Dropped"].iloc[0].tolist() == ["event", "no magnitude", 10, "a, b, c"]
    choices = tables["Choices"].set_index("choice")["value"]
    assert choices["region"] == "[138.9, 34.9, 141.0, 36.6]"
    assert choices["truncation"] == PROVENANCE["truncation"]
    assert choices["attribution"] == PROVENANCE["attribution"]
    assert tables["Sources"]["file"].tolist() == ["i2016.zip"]


def test_tables_that_would_be_empty_are_left_out(small):
    assert [title for title, _ in description.tables(small)] == ["Networks", "Density", "Events"]


def test_a_sum_of_imports_shows_each_of_them(full):
    other = {
        "name": "NIED",
        "read": {"event": 3},
        "choices": {"unit": "gal"},
        "merged_events": {"x": "E001"},
    }
    noted = [{"what": "record", "reason": "after its station's period", "count": 4, "examples": ["a"]}]
    whole = {"imports": [PROVENANCE, other], "choices": {"same event within": "10 s"}, "noted": noted}
    tables = dict(description.tables(dataclasses.replace(full, provenance=whole)))
    imports = tables["Imports"].set_index("import")
    assert imports["name"].tolist() == ["JMA files", "NIED"]
    assert imports.loc[1, ["files", "events read", "records read", "events renamed"]].tolist() == [
        1,
        40,
        700,
        0,
    ]
    assert imports.loc[2, ["files", "events read", "events renamed"]].tolist() == [0, 3, 1]
    assert tables["Noted"].to_numpy().tolist() == [["record", "after its station's period", 4, "a"]]
    choices = tables["Choices"].set_index("choice")["value"]
    assert choices.to_dict() == {
        "same event within": "10 s",
        "1. region": "[138.9, 34.9, 141.0, 36.6]",
        "1. min_magnitude": "4.3",
        "2. unit": "gal",
    }


def test_density():
    stations = pd.DataFrame(
        {
            "station_id": ["A", "A2", "B", "C", "X"],
            "site_id": ["A", "A", "B", "C", "X"],
            "network": ["kik"] * 4 + ["knet"],
            "longitude": 140.0,
            "latitude": [0.0, 0.0, 1.0, 3.0, 50.0],
        }
    )
    pairs = [("E1", "A"), ("E1", "B"), ("E1", "C"), ("E2", "A"), ("E3", "A"), ("E3", "A2")]
    rows = pd.DataFrame(pairs, columns=["event_id", "station_id"])
    table = description.density(Dataset(pd.DataFrame(), stations, rows, {})).set_index("network")
    # Sites 1, 2 and 3 degrees of a meridian apart, 111.195 km each; records 3, 1, 2 an event and 3, 1, 1, 1
    # a station.
    assert table.loc["kik"].tolist() == [111.2, 222.4, 2, 1]
    assert table.loc["knet"].isna().all(), "one site and no record"


def test_networks(small):
    small.stations.loc[1, "site_id"] = "K00"
    table = description.networks(small).set_index("network")
    kik = small.records["station_id"].str.startswith("K")
    assert table.loc["kik"].tolist() == [20, 19, kik.sum(), 28, 2000, 2017]
    assert table.loc["meso"].tolist() == [12, 12, (~kik).sum(), 2, 2021, 2021]


def test_a_network_without_records_is_listed(small):
    silent = small.stations.iloc[:1].assign(station_id="X", site_id="X", network="knet")
    more = dataclasses.replace(small, stations=pd.concat([small.stations, silent], ignore_index=True))
    table = description.networks(more).set_index("network")
    assert table.loc["knet", ["stations", "sites", "records", "events"]].tolist() == [1, 1, 0, 0]
    assert table.loc["knet", ["first year", "last year"]].isna().all()
    assert table.loc["kik", "first year"] == 2000


def test_ranges(small):
    table = description.ranges(small).set_index("column")
    magnitude = small.events["magnitude"]
    assert table.loc["magnitude"].tolist() == [round(f(magnitude), 2) for f in (min, np.median, max)]
    assert list(table.index) == ["magnitude", "depth_km", "longitude", "latitude"]


def test_layers(full):
    row = description.layers(full).iloc[0]
    assert row.to_dict() == {
        "layer": "z_bedrock",
        "unit": "m",
        "min": 3.0,
        "max": 11.0,
        "raster": "3 x 4",
        "extent": "138.90 to 141.00 E, 34.90 to 36.60 N",
        "missing": "25.0%",
    }
