"""The flatfile: what it may hold, and that it survives the disk."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from conftest import small_dataset
from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.tally import Tally

KM_PER_DEGREE = np.pi * EARTH_RADIUS_KM / 180
SMALL = small_dataset()
TABLES = ("events", "stations", "records")


def layered(dataset: Dataset) -> Dataset:
    lat, lon = np.linspace(34, 37, 7), np.linspace(138, 142, 9)
    z = 100 * lat[:, None] + 10 * lon
    z[2, 3] = np.nan
    vs30 = (("latitude", "longitude"), np.full((7, 9), 300.0), {"units": "m/s"})
    layers = xr.Dataset(
        {"z_bedrock": (("latitude", "longitude"), z, {"units": "m"}), "vs30": vs30},
        coords={"latitude": lat, "longitude": lon},
    )
    return dataclasses.replace(dataset, layers=layers)


def changed(dataset, table: str, column: str, row: int, value) -> Dataset:
    copy = getattr(dataset, table).copy()
    copy.loc[row, column] = value
    return dataclasses.replace(dataset, **{table: copy})


# --- disk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_layers", [False, True])
def test_what_is_written_is_read(small, tmp_path, with_layers):
    small.stations["operating_to"] = pd.Timestamp("2010-01-01")
    small.stations.loc[3, ["operating_to", "vs30_m_s"]] = pd.NaT, np.nan
    small.stations["site_id"] = site_ids(small.stations)
    small.records["SA(1.0)"] = small.records["PGA"].where(small.records.index > 5)
    dataset = layered(small) if with_layers else small
    written = dataset.write(tmp_path / "data")
    read = Dataset.read(tmp_path / "data")
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(read, name), getattr(dataset, name))
    assert read.provenance == written.provenance
    assert read.digest() == written.digest() == dataset.digest() == read.provenance["digest"]
    if with_layers:
        xr.testing.assert_identical(read.layers, dataset.layers)
    else:
        assert read.layers is None


def test_the_same_data_are_the_same_bytes(small, tmp_path):
    for name in "ab":
        layered(small).write(tmp_path / name)
    names = [path.name for path in (tmp_path / "a").iterdir()]
    assert sorted(names) == [
        "dataset.json", "events.parquet", "layers.nc", "records.parquet", "stations.parquet",
    ]  # fmt: skip
    for name in names:
        assert files.sha256(tmp_path / "a" / name) == files.sha256(tmp_path / "b" / name)


def test_provenance_says_what_is_kept(small, tmp_path):
    small.write(tmp_path / "data")
    provenance = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert provenance["kept"] == {"events": 30, "stations": 32, "records": len(small.records)}
    assert provenance["simulated"] is True


def test_a_broken_dataset_is_not_written(small, tmp_path):
    with pytest.raises(DataError):
        changed(small, "events", "magnitude", 0, np.nan).write(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_overwrite_replaces_a_dataset_and_nothing_else(small, tmp_path):
    layered(small).write(tmp_path / "data")
    with pytest.raises(UsageError, match="--overwrite"):
        small.write(tmp_path / "data")
    small.write(tmp_path / "data", overwrite=True)
    assert not (tmp_path / "data" / "layers.nc").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="home is no dataset folder and is not replaced"):
        small.write(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").is_file()


def test_extra_files_are_part_of_the_whole(small, tmp_path):
    def fail(folder: Path) -> None:
        (folder / "truth.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left"):
        small.write(tmp_path / "data", extra=fail)
    assert list(tmp_path.iterdir()) == []
    small.write(tmp_path / "data", extra=lambda folder: (folder / "x").touch())
    assert (tmp_path / "data" / "x").is_file()


def test_no_dataset_folder(tmp_path):
    with pytest.raises(UsageError, match="is no dataset folder: make one with tfgmm import"):
        Dataset.read(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["events.parquet", "records.parquet", "layers.nc", "dataset.json"])
def test_truncated_file_is_named_in_one_line(small, tmp_path, name, share):
    layered(small).write(tmp_path / "data")
    path = tmp_path / "data" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"{name} is missing or damaged") as error:
        Dataset.read(tmp_path / "data")
    assert "\n" not in str(error.value)


def test_site_layers_cut_anywhere_are_one_line(small, tmp_path):
    layered(small).write(tmp_path / "data")
    path = tmp_path / "data" / "layers.nc"
    whole = path.read_bytes()
    for size in [*range(30), *range(30, len(whole), 50), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"^[^\n]*layers\.nc is missing or damaged[^\n]*$"):
            Dataset.read(tmp_path / "data")


def flipped(path: Path, number: int) -> None:
    """Change one bit of a file."""
    whole = bytearray(path.read_bytes())
    whole[number // 8 % len(whole)] ^= 1 << number % 8
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["events.parquet", "records.parquet", "layers.nc", "dataset.json"])
def test_a_flipped_bit_is_never_read_as_data(small, tmp_path, name):
    """One line of error, or the very same data: not every bit of a file means something."""
    written = layered(small).write(tmp_path / "data")
    path = tmp_path / "data" / name
    whole, refused = path.read_bytes(), 0
    for number in np.random.default_rng(0).integers(0, 8 * len(whole), 40):
        flipped(path, int(number))
        try:
            again = Dataset.read(tmp_path / "data")
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert again.digest() == written.digest()
            assert again.simulated == written.simulated
        path.write_bytes(whole)
    assert refused > 10


def test_a_replaced_layer_is_refused(small, tmp_path):
    written = layered(small).write(tmp_path / "data")
    files.write_netcdf(written.layers * 2, tmp_path / "data" / "layers.nc")
    with pytest.raises(
        DataError, match=r"layers\.nc is missing or damaged .*SHA-256.*: make the dataset again"
    ):
        Dataset.read(tmp_path / "data")


def test_a_dataset_of_an_earlier_version_is_read(small, tmp_path):
    layered(small).write(tmp_path / "data")
    path = tmp_path / "data" / "dataset.json"
    content = json.loads(path.read_text())
    del content["checksum"], content["files"]
    path.write_text(json.dumps(content))
    read = Dataset.read(tmp_path / "data")
    files.write_netcdf(read.layers * 2, tmp_path / "data" / "layers.nc")
    with pytest.raises(
        DataError, match=r"data is not what its dataset\.json says .data hash.: .* make the dataset"
    ):
        Dataset.read(tmp_path / "data")


def test_layers_are_added_beside_strangers_files(small, tmp_path):
    """Through a link, from inside the folder, and tables stay the files that they are."""
    small.write(tmp_path / "data")
    (tmp_path / "data" / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to("data")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "data").glob("*.parquet")}
    layered(small).write_layers(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"
    assert {path.name: path.stat().st_ino for path in (tmp_path / "data").glob("*.parquet")} == before
    assert Dataset.read(tmp_path / "data").layers is not None
    small.write(tmp_path / "link", overwrite=True)
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"
    assert Dataset.read(tmp_path / "link").layers is None


def test_a_dataset_in_the_current_folder(small, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    small.write(Path())
    layered(small).write_layers(Path())
    layered(small).write(Path(), overwrite=True)
    assert Dataset.read(Path()).layers is not None
    assert not list(Path().glob(".*"))


def test_missing_table_is_named(small, tmp_path):
    small.write(tmp_path / "data")
    (tmp_path / "data" / "stations.parquet").unlink()
    with pytest.raises(DataError, match=r"stations\.parquet is missing or damaged"):
        Dataset.read(tmp_path / "data")


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_provenance_that_is_no_object(small, tmp_path, content):
    small.write(tmp_path / "data")
    (tmp_path / "data" / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json is missing or damaged"):
        Dataset.read(tmp_path / "data")


# --- data hash ---------------------------------------------------------------------------------------

NUMBERS = {
    "events": ["longitude", "latitude", "depth_km", "magnitude"],
    "stations": ["longitude", "latitude", "sensor_depth_m", "vs30_m_s"],
    "records": ["PGA"],
}


@given(st.data())
def test_digest_changes_with_any_number(data):
    table = data.draw(st.sampled_from(TABLES))
    column = data.draw(st.sampled_from(NUMBERS[table]))
    row = data.draw(st.integers(0, len(getattr(SMALL, table)) - 1))
    old = getattr(SMALL, table).loc[row, column]
    new = data.draw(
        st.sampled_from([np.nextafter(old, np.inf), np.nextafter(old, -np.inf), np.nan, 2 * old + 1])
    )
    assert changed(SMALL, table, column, row, new).digest() != SMALL.digest()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("events", "event_id", "E999"),
        ("events", "origin_time", pd.Timestamp("2001-01-01", tz="UTC")),
        ("stations", "network", "knet"),
        ("records", "station_id", "K01"),
        ("records", "component", "rotd50"),
    ],
)
def test_digest_changes_with_names_and_times(table, column, value):
    assert changed(SMALL, table, column, 0, value).digest() != SMALL.digest()


def test_digest_changes_with_columns_rows_and_layers():
    variants = [
        SMALL,
        dataclasses.replace(SMALL, records=SMALL.records.rename(columns={"PGA": "SA(1.0)"})),
        dataclasses.replace(SMALL, records=SMALL.records.iloc[1:]),
        dataclasses.replace(SMALL, stations=SMALL.stations.assign(name="x")),
        layered(SMALL),
    ]
    layers = layered(SMALL).layers
    moved = layers.assign_coords(longitude=layers["longitude"] + 1)
    other = layers.copy(deep=True)
    other["z_bedrock"][0, 0] += 1
    renamed = layers.rename(z_bedrock="vs30", vs30="z_bedrock")
    variants += [dataclasses.replace(SMALL, layers=x) for x in (moved, other, renamed, layers[["vs30"]])]
    assert len({v.digest() for v in variants}) == len(variants)


def test_digest_does_not_depend_on_provenance_or_attributes():
    other = dataclasses.replace(layered(SMALL), provenance={"name": "other"})
    other.layers["vs30"].attrs["source"] = "elsewhere"
    assert other.digest() == layered(SMALL).digest()


# --- contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("events", "magnitude", np.nan, "events table, row 3, column magnitude: nan .*not_nullable"),
        ("events", "magnitude", 11.0, r"column magnitude: 11.0 .*in_range\(-1, 10\)"),
        ("events", "depth_km", 900.0, r"events table, row 3, column depth_km: 900.0 .*in_range\(-5, 800\)"),
        ("events", "latitude", 91.0, r"column latitude: 91.0 .*in_range\(-90, 90\)"),
        ("events", "origin_time", pd.NaT, "column origin_time: NaT .*not_nullable"),
        ("events", "event_id", "E000", "column event_id: E000 .*uniqueness"),
        ("stations", "longitude", np.nan, "stations table, row 3, column longitude: nan"),
        ("stations", "network", "Kik-net", "column network: Kik-net"),
        ("stations", "sensor_depth_m", -1.0, "column sensor_depth_m: -1.0"),
        ("stations", "vs30_m_s", 1.0, r"column vs30_m_s: 1.0 .*in_range\(30, 5000\)"),
        ("records", "PGA", 0.0, r"records table, row 3, column PGA: 0.0 .*in_range\(0, 20"),
        ("records", "PGA", 980.0, "column PGA: 980.0"),
        ("records", "component", "ew", "column component: ew .*geometric_mean"),
        ("records", "station_id", "K02", "uniqueness"),
        (
            "records",
            "station_id",
            "K99",
            "records name station_id 'K99', which is not in the stations table",
        ),
        ("records", "event_id", "E99", "records name event_id 'E99', which is not in the events table"),
    ],
)
def test_offending_value_is_named_in_one_line(table, column, value, message):
    with pytest.raises(DataError, match=message) as error:
        changed(SMALL, table, column, 3, value).checked()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ("events", "depth_km", "^events table has no column depth_km$"),
        ("stations", "site_id", "^stations table has no column site_id$"),
        ("records", "PGA", r"^records table has no intensity measure column such as PGA or SA\(1\.0\)$"),
    ],
)
def test_missing_column(table, column, message):
    broken = dataclasses.replace(SMALL, **{table: getattr(SMALL, table).drop(columns=column)})
    with pytest.raises(DataError, match=message):
        broken.checked()


def test_measure_in_no_known_spelling():
    renamed = SMALL.records.rename(columns={"PGA": "SA(one)"})
    with pytest.raises(DataError, match="no intensity measure column"):
        dataclasses.replace(SMALL, records=renamed).checked()


def test_no_record_is_left():
    with pytest.raises(DataError, match="no record is left"):
        dataclasses.replace(SMALL, records=SMALL.records.iloc[:0]).checked()


def test_times_become_utc():
    local = SMALL.events["origin_time"].dt.tz_convert("Asia/Tokyo")
    checked = dataclasses.replace(SMALL, events=SMALL.events.assign(origin_time=local)).checked()
    pd.testing.assert_frame_equal(checked.events, SMALL.events)


def test_further_columns_are_kept(small):
    small.records["intensity"] = 3.5
    assert (small.checked().records["intensity"] == 3.5).all()


def test_measures_come_by_period_and_networks_by_name(small):
    small.records["SA(10.0)"] = small.records["SA(2.0)"] = small.records["PGA"]
    small.records["SA(2)"] = small.records["PGA"]  # not the one spelling
    assert small.ims == ["PGA", "SA(2.0)", "SA(10.0)"]
    assert small.networks == ["kik", "meso"]


def test_tally_counts_and_keeps_examples():
    tally = Tally()
    tally.count("event", 3)
    tally.count("event", np.int64(2))
    tally.drop("event", "no magnitude", [])
    tally.drop("event", "too deep", ["a", "b"])
    tally.drop("event", "too deep", pd.Series(["c", "d"]))
    assert tally.read == {"event": 5}
    assert tally.dropped() == [
        {"what": "event", "reason": "too deep", "count": 4, "examples": ["a", "b", "c"]}
    ]
    json.dumps([tally.read, tally.dropped()])


# --- sites -------------------------------------------------------------------------------------------


def stations(*rows, **columns) -> pd.DataFrame:
    """Stations from (network, km east, km north) of 140 E, 36 N, with ids S0, S1, ..."""
    network, east, north = zip(*rows, strict=True)
    cosine = np.cos(np.radians(36))
    return pd.DataFrame(
        {
            "station_id": [f"S{i}" for i in range(len(rows))],
            "network": network,
            "longitude": 140 + np.array(east) / (KM_PER_DEGREE * cosine),
            "latitude": 36 + np.array(north) / KM_PER_DEGREE,
        }
        | columns
    )


def times(*years) -> pd.Series:
    return pd.Series(
        [pd.NaT if y is None else pd.Timestamp(f"{y}-01-01") for y in years], dtype="datetime64[us]"
    )


@pytest.mark.parametrize(("km", "one"), [(0.0, True), (0.49, True), (0.51, False), (1.9, False)])
def test_stations_of_one_network_closer_than_500_m_are_one_site(km, one):
    for east, north in ((km, 0), (0, km)):
        ids = site_ids(stations(("kik", 0, 0), ("kik", east, north)))
        assert list(ids) == (["S0", "S0"] if one else ["S0", "S1"])


def test_networks_do_not_share_sites():
    assert list(site_ids(stations(("kik", 0, 0), ("meso", 0, 0)))) == ["S0", "S1"]


def test_sites_are_transitive():
    row = [("kik", 0.4 * i, 0) for i in range(5)]
    assert list(site_ids(stations(*row))) == ["S0"] * 5


def test_single_station():
    assert list(site_ids(stations(("kik", 0, 0)))) == ["S0"]


@pytest.mark.parametrize(
    ("km", "start", "end", "one"),
    [
        (1.9, (1990, 2005), (2005, None), True),
        (1.9, (2005, 1990), (None, 2005), True),  # the successor is listed first
        (2.1, (1990, 2005), (2005, None), False),
        (1.9, (1990, 2004), (2005, None), False),  # they overlap by a year
        (1.9, (1990, 2005), (None, None), False),  # the first still operates
        (1.9, (1990, None), (2005, None), False),  # unknown when the second began
    ],
)
def test_successive_codes_are_one_site(km, start, end, one):
    table = stations(("kik", 0, 0), ("kik", km, 0), operating_from=times(*start), operating_to=times(*end))
    assert list(site_ids(table)) == (["S0", "S0"] if one else ["S0", "S1"])
    assert list(site_ids(table.assign(network=["kik", "meso"]))) == ["S0", "S1"]


def test_successive_codes_must_share_the_locality():
    table = stations(
        ("jma", 0, 0), ("jma", 1, 0), operating_from=times(1990, 2005), operating_to=times(2005, None)
    )
    assert len(set(site_ids(table.assign(locality=["30001", "30001"])))) == 1
    assert len(set(site_ids(table.assign(locality=["30001", "30002"])))) == 2
    near = table.assign(longitude=140.0, locality=["30001", "30002"])
    assert len(set(site_ids(near))) == 1  # one place is one place, whatever the municipality


@given(
    st.lists(st.tuples(st.sampled_from(["kik", "meso"]), *[st.floats(0, 4)] * 2), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_sites_are_the_connected_groups_in_any_order(rows, random):
    table = stations(*rows)
    group = list(range(len(rows)))
    for i, (net, x, y) in enumerate(rows):
        for j, (other, u, v) in enumerate(rows[:i]):
            distance = np.hypot(x - u, y - v)
            if abs(distance - 0.5) < 0.002:  # the plane of this test is not the sphere
                return
            if net == other and distance < 0.5:
                group = [group[j] if g == group[i] else g for g in group]
    order = random.sample(range(len(rows)), len(rows))
    shuffled = table.iloc[order]
    result = pd.Series(site_ids(shuffled), index=shuffled["station_id"])[table["station_id"]]
    expected = pd.Series(group)
    np.testing.assert_array_equal(
        result.to_numpy()[:, None] == result.to_numpy(),
        expected.to_numpy()[:, None] == expected.to_numpy(),
    )
    assert (
        result[result.to_numpy()].to_numpy() == result.to_numpy()
    ).all()  # a site is named by one of its own


def test_unit_vectors_give_great_circles():
    """A degree of latitude, and a quarter of the globe."""
    p = unit_vectors([140, 140, 50], [36, 37, 0])
    q = unit_vectors([0, 90], [0, 0])
    assert np.linalg.norm(p[1] - p[0]) * EARTH_RADIUS_KM == pytest.approx(KM_PER_DEGREE, rel=1e-4)
    assert q[0] @ q[1] == pytest.approx(0)
    np.testing.assert_allclose(np.linalg.norm(p, axis=1), 1)
