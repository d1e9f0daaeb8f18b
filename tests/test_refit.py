"""A finished run and newer records -> backbone and field that know them, and networks as they were."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tfgmm
from conftest import CHANNELS, small_dataset
from tfgmm.cli.app import main
from tfgmm.core import files, lease
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.network import refit, training
from tfgmm.runs.beginning import begin
from tfgmm.runs.run import RunFolder
from tfgmm.stats.field import Field
from tfgmm.stats.field_records import Cells

STATION, NEW = "K03", "K99"


@pytest.fixture
def run(tmp_path, field_run) -> tfgmm.Run:
    return tfgmm.open_run(shutil.copytree(field_run, tmp_path / "run"))


def newer(run: RunFolder) -> Dataset:
    """Twelve events more, recorded strongly at `STATION` and at the new station `NEW`."""
    old, more = run.dataset(), small_dataset(12, seed=5)
    events = more.events.assign(event_id=more.events["event_id"].str.replace("E", "N"))
    place = old.stations[old.stations["station_id"] == STATION]
    station = place.assign(station_id=NEW, site_id=NEW, longitude=139.95, latitude=35.75)
    strong = pd.DataFrame({"event_id": events["event_id"]}).merge(
        pd.DataFrame({"station_id": [STATION, NEW]}), how="cross"
    )
    strong = strong.assign(PGA=0.8, component="geometric_mean")
    strong["SA(1.0)"] = 0.4
    return Dataset(
        pd.concat([old.events, events]),
        pd.concat([old.stations, station]),
        pd.concat([old.records, strong]),
        old.provenance,
        None,  # the layers of the run stay
    ).checked()


def at(field: Field, run: RunFolder, station: str) -> float:
    """Mean of the field for a new event, of no source region with records, at a station of the run."""
    place = run.stations([station])
    xy = np.c_[run.experiment.grid.project(place["longitude"], place["latitude"])].reshape(1, 2)
    site = pd.Index(field.records.site_ids).get_indexer(place["terms_of"])
    return float(field.mean(Cells(np.array([[9e3, 0.0, 10.0]]), xy, np.array([-1]), site))[0])


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): files.sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_prediction_moves_towards_newer_records_and_networks_stay(run):
    folder, data = run.folder, newer(run.folder)
    kept = [folder.path / name for name in ("members", "data")]
    before, old = [hashes(path) for path in kept], folder.field("PGA")
    chunks = files.sha256(folder.path / "conditioned/field_PGA_chunk-0.npz")
    told = run.refit(data)
    assert [hashes(path) for path in kept] == before
    assert files.sha256(folder.path / "conditioned/field_PGA_chunk-0.npz") == chunks
    assert told.loc["after", "events"] == told.loc["before", "events"] + 12
    assert told.loc["after", "records"] == told.loc["before", "records"] + 24
    assert told.loc["after", "stations"] == told.loc["before", "stations"] + 1
    assert told["data"].tolist() == [folder.dataset().digest(), data.digest()]
    assert folder.is_refitted
    assert folder.conditioned_on["data"] == data.digest()
    new = folder.field("PGA")
    assert at(new, folder, STATION) > at(old, folder, STATION) + 0.1
    assert at(new, folder, NEW) > 0.15
    assert (run.check()["state"] == "whole").all()


@pytest.mark.slow
def test_new_stations_join_those_of_the_run_and_see_its_layers(run):
    folder, before = run.folder, run.stations()
    run.refit(newer(folder))
    after = run.stations()
    assert sorted(set(after["station_id"]) - set(before["station_id"])) == [NEW]
    assert run.stations([NEW])["terms_of"].tolist() == [NEW]
    pd.testing.assert_frame_equal(
        after[after["station_id"] != NEW].reset_index(drop=True), before, check_like=True
    )
    stations = files.read_parquet(folder.path / "conditioned/stations.parquet")
    assert stations["z_bedrock"].notna().all()
    assert run.field("PGA").sites().set_index("station_id").loc[NEW, "records"] == 12


@pytest.mark.slow
def test_a_damaged_file_is_made_again_as_its_message_says(run):
    path = run.path / "conditioned/field_PGA.npz"
    written = files.sha256(path)
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"with tfgmm refit {run.path} --data {run.path}/data$"):
        run.field("PGA")
    run.refit(run.path / "data")
    assert files.sha256(path) == written


@pytest.mark.slow
def test_stations_of_unknown_networks_are_left_out_and_said(run, caplog):
    data = newer(run.folder)
    stations = data.stations.assign(
        network=data.stations["network"].mask(data.stations["station_id"] == NEW, "x")
    )
    run.refit(dataclasses.replace(data, stations=stations))
    assert f"stations of network x are left out: run {run.path} knows kik, meso" in caplog.text
    assert NEW not in run.stations()["station_id"].tolist()


@pytest.mark.slow
def test_a_station_that_newer_records_lack_stays(run):
    data = run.folder.dataset()
    lost = data.stations["station_id"] == STATION
    records = data.records[data.records["station_id"] != STATION]
    run.refit(dataclasses.replace(data, stations=data.stations[~lost], records=records).checked())
    assert run.stations([STATION])["terms_of"].tolist() == [STATION]


@pytest.mark.slow
def test_training_again_keeps_what_refit_wrote_unless_it_is_damaged(run, caplog):
    data = newer(run.folder)
    run.refit(data)
    path = run.path / "conditioned/field_PGA.npz"
    written = files.sha256(path)
    training.reopen(run.folder).train()
    assert files.sha256(path) == written
    assert run.folder.is_refitted
    path.write_bytes(b"damaged")
    with pytest.raises(
        DataError, match=rf"field_PGA\.npz .*with tfgmm refit {run.path} --data DATA, with the"
    ):
        run.field("PGA")
    training.reopen(run.folder).train()
    assert "tfgmm refit" in caplog.text
    assert not run.folder.is_refitted
    assert len(run.field("PGA").records())


@pytest.mark.slow
def test_the_data_of_the_run_bring_it_back(run):
    before = files.sha256(run.path / "conditioned/field_PGA.npz")
    run.refit(newer(run.folder))
    run.refit(run.path / "data")
    assert not run.folder.is_refitted
    assert files.sha256(run.path / "conditioned/field_PGA.npz") == before
    assert NEW not in run.stations()["station_id"].tolist()


@pytest.mark.slow
def test_a_failure_leaves_the_run_as_it_was(run, monkeypatch):
    before = hashes(run.path)

    def fail(records, covariance):
        raise DataError("too few")

    monkeypatch.setattr(refit.fields, "condition", fail)
    with pytest.raises(DataError, match="too few"):
        run.refit(newer(run.folder))
    assert hashes(run.path) == before


@pytest.mark.slow
def test_another_process_at_work_is_in_the_way(run, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_S", 0.0)
    with lease.held(run.path / "run"), pytest.raises(UsageError, match="process"):
        run.refit(newer(run.folder))


def changed(data: Dataset, **columns) -> Dataset:
    return dataclasses.replace(data, records=data.records.assign(**columns))


def moved(data: Dataset, tables: str, degrees: float) -> Dataset:
    table = getattr(data, tables)
    return dataclasses.replace(data, **{tables: table.assign(latitude=table["latitude"] + degrees)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: changed(data, component="rotd50"), "component rotd50"),
        (lambda data: dataclasses.replace(data, records=data.records.drop(columns="PGA")), "no PGA"),
        (lambda data: dataclasses.replace(data, provenance={"simulated": False}), "bring simulated ones"),
        (lambda data: dataclasses.replace(data, stations=data.stations.assign(network="x")), "needs kik"),
        (lambda data: dataclasses.replace(data, stations=data.stations.assign(latitude=10.0)), "needs kik"),
        (lambda data: changed(data, station_id="Z1"), "no new record is of a station on the map"),
        (lambda data: moved(data, "stations", 0.1), "station .* is 11.1 km away from its place in run"),
        (lambda data: moved(data, "events", 1.0), "event .* is 111 km away from its place in run"),
    ],
)
def test_data_that_do_not_fit_are_refused(run, change, words):
    before = hashes(run.path)
    with pytest.raises(UsageError, match=words):
        run.refit(change(run.folder.dataset()))
    assert hashes(run.path) == before


@pytest.mark.slow
def test_runs_without_backbone_or_unfinished_are_refused(tmp_path, tiny, small):
    from helpers import untrained_run

    begun = begin(tmp_path / "begun", tiny, small, channels=CHANNELS)
    with pytest.raises(UsageError, match="no predictions yet"):
        refit.refit(begun, small)
    data = untrained_run.write_data(tmp_path / "data")
    without = untrained_run.make_finished(data, tmp_path / "run")
    with pytest.raises(UsageError, match="no backbone"):
        refit.refit(without, without.dataset())


@pytest.mark.slow
def test_the_command_says_what_it_did(run, tmp_path, capfd):
    data = newer(run.folder)
    data.write(tmp_path / "newer")
    with pytest.raises(SystemExit) as end:
        main(["refit", str(run.path), "--data", str(tmp_path / "newer")])
    assert end.value.code == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "networks are as they were" in said
    assert "before" in said and "after" in said
    assert data.digest()[:20] in said.replace(" ", "")
    with pytest.raises(SystemExit):
        main(["check", str(run.path)])
    assert f"of tfgmm refit (data hash {data.digest()[:12]})" in " ".join(capfd.readouterr().out.split())
