"""The command line of the imports: records in, a dataset out, several of them added up."""

import bz2

import numpy as np
import pandas as pd
import pytest

from conftest import small_dataset
from helpers.jma_files import dat, row, source, station_table
from helpers.nied_files import ascii_record, shaking, tar
from tfgmm.cli.app import main
from tfgmm.core import lease
from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset


def run(*arguments) -> None:
    """A command that must succeed."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code


@pytest.fixture
def jma_dataset(tmp_path):
    """Folder made of one event at two stations, and the station table."""
    table = station_table(tmp_path / "code_p.dat")
    first = dat(tmp_path / "i2016.dat", source(), row(), row("3500034"))
    run("import", "jma", first, "--stations", table, "--out", tmp_path / "data")
    return tmp_path / "data", table


def test_limits_reach_the_reader(jma_dataset, tmp_path):
    folder, table = jma_dataset
    assert len(Dataset.read(folder).records) == 2
    box = "139.70,35.6,139.74,35.8"  # the second station lies west of it, at 139.733
    run("import", "jma", tmp_path / "i2016.dat", "--stations", table, "--out", tmp_path / "other",
        "--region", box, "--min-magnitude", 4.5, "--max-distance", 200)  # fmt: skip
    dataset = Dataset.read(tmp_path / "other")
    assert dataset.records["station_id"].tolist() == ["3500034"]
    choices = dataset.provenance["choices"]
    assert (choices["min_magnitude"], choices["max_distance_km"]) == (4.5, 200)


def test_two_imports_add_up_and_the_same_twice_changes_nothing(jma_dataset, tmp_path):
    folder, table = jma_dataset
    second = dat(tmp_path / "i2017.dat", source("2017010112000000"), row())
    run("import", "jma", second, "--stations", table, "--out", folder, "--append")
    both = Dataset.read(folder)
    assert (len(both.events), len(both.records)) == (2, 3)
    run("import", "jma", second, "--stations", table, "--out", folder, "--append")
    assert Dataset.read(folder).digest() == both.digest()


def test_one_earthquake_of_two_agencies_is_one_event(jma_dataset, tmp_path):
    folder, _ = jma_dataset
    event = ("35.5", "140.0", "10", "5.2")
    files = {
        f"X.{channel}": ascii_record(
            channel, shaking(peak), origin="2016/01/01 12:00:03", record="2016/01/01 12:00:20",
            code="TKY007", event=event, station=("35.71", "139.8", "34"),
        )
        for channel, peak in (("EW", 20), ("NS", 5))
    }  # fmt: skip
    (tmp_path / "knt.tar").write_bytes(tar(files))
    run("import", "nied-ascii", tmp_path / "knt.tar", "--out", folder, "--append", "--same", "10,50,1")
    both = Dataset.read(folder)
    assert len(both.events) == 1 and both.networks == ["jma", "knet", "local"]
    assert both.records["event_id"].nunique() == 1 and len(both.records) == 3
    assert both.records["PGA"].iloc[-1] == pytest.approx(0.01 * np.sqrt(20 * 5) / 9.80665, rel=0.03)
    merged = both.provenance["imports"][-1]["merged_events"]
    assert list(merged.values()) == both.events["event_id"].tolist()


def test_a_dataset_goes_out_as_one_table_and_comes_back(tmp_path):
    dataset = small_dataset()
    dataset.write(tmp_path / "data")
    run("export-table", tmp_path / "data", "--out", tmp_path / "flat.csv")
    run("import", "table", tmp_path / "flat.csv", "--out", tmp_path / "back", "--min-magnitude", 0,
        "--max-distance", 1000)  # fmt: skip
    back = Dataset.read(tmp_path / "back")
    assert back.simulated
    key = ["event_id", "station_id"]
    pd.testing.assert_frame_equal(
        back.records.sort_values(key, ignore_index=True)[[*key, "PGA"]],
        dataset.records.sort_values(key, ignore_index=True)[[*key, "PGA"]],
    )


def test_what_a_user_says_of_a_table_reaches_the_reader(tmp_path):
    columns = (
        "event_id origin_time event_longitude event_latitude depth_km magnitude station_id network "
        "station_longitude station_latitude component PGA"
    )
    row = "e1 2016-01-05T02:21:11Z 180,5 -17,5 10 6,1 S{0} nz {1} -17,{0}5 rotd50 0,1"
    rows = [row.format(i, str(179 + i / 2).replace(".", ",")) for i in range(6)]
    text = "\n".join(["sep=;", *(line.replace(" ", ";") for line in (columns, *rows))])
    packed = bz2.compress(text.encode() + b"\n" * 11_000_000)
    (tmp_path / "flat.csv.bz2").write_bytes(packed)
    run("import", "table", tmp_path / "flat.csv.bz2", "--out", tmp_path / "data", "--decimal-comma",
        "--large", "--unit", "%g", "--unit-as-stated", "--region=179.4,-20,-178.9,-16")  # fmt: skip
    dataset = Dataset.read(tmp_path / "data")
    assert dataset.stations["longitude"].tolist() == [179.5, 180, -179.5, -179]
    assert dataset.records["PGA"].tolist() == [0.001] * 4


def test_append_needs_a_dataset_and_excludes_overwrite(tmp_path):
    table = station_table(tmp_path / "code_p.dat")
    first = dat(tmp_path / "i2016.dat", source(), row())
    command = ["import", "jma", str(first), "--stations", str(table), "--out", str(tmp_path / "data")]
    for more, message in (
        (["--append"], "is no dataset folder"),
        (["--append", "--overwrite"], "exclude each other"),
        (["--same", "1,2", "--overwrite"], "--same 1,2: write 3 numbers"),
    ):
        with pytest.raises(UsageError, match=message):
            main(["--debug", *command, *more])
        assert not (tmp_path / "data").exists()


def test_describe_draws_the_stations_and_the_hit_counts(jma_dataset):
    folder, _ = jma_dataset
    run("describe", folder)
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"stations.png", "stations.pdf", "hit-counts.png", "hit-counts.pdf"}
    assert (folder / "figures" / "stations.png").read_bytes().startswith(b"\x89PNG")


def test_options_of_layers_reach_the_reader(jma_dataset, tmp_path):
    folder, _ = jma_dataset
    rows = [
        f"{lat};{lon};{300 if lon < 183 else -9999}" for lat in (-20, -19, -18) for lon in range(177, 185)
    ]
    (tmp_path / "v.csv").write_text("lat;lon;vs30\n" + "\n".join(rows).replace(".", ","))
    run("import", "vs30", tmp_path / "v.csv", "--data", folder, "--missing", -9999, "--missing", 0,
        "--region", "178,-20,-178,-18", "--decimal-comma", "--large")  # fmt: skip
    layer = Dataset.read(folder).layers["vs30"]
    assert layer["longitude"].to_numpy().tolist() == [*range(177, 184)], "the region and its neighbours"
    assert int(layer.isnull().sum()) == 3
    assert Dataset.read(folder).provenance["layers"][0]["missing"] == "-9999, 0: 6 values"


def test_an_import_waits_for_another_into_the_same_dataset(tmp_path, monkeypatch, capsys):
    """What it adds is added to what the other has written, not to what stood there before."""
    small_dataset().write(tmp_path / "data")
    (tmp_path / "a.csv").write_text("lat,lon,vs30\n35,139,400\n35,140,400\n36,139,400\n36,140,400\n")
    other = lease.Lease(tmp_path / "data" / "dataset")
    assert other.take()
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    with pytest.raises(SystemExit) as end:
        main(["import", "vs30", str(tmp_path / "a.csv"), "--data", str(tmp_path / "data")])
    assert end.value.code == 2
    assert "is in the hands of process" in capsys.readouterr().err
    other.release()
    run("import", "vs30", tmp_path / "a.csv", "--data", tmp_path / "data")
    assert "vs30" in Dataset.read(tmp_path / "data").layers
    assert not list((tmp_path / "data").glob(".*"))
