"""What the members of a run have learned from."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CHANNELS
from tfgmm.core.errors import DataError, UsageError
from tfgmm.runs import predictions
from tfgmm.runs.beginning import begin
from tfgmm.runs.member_folder import Ranges
from tfgmm.runs.run import RunFolder

RANGES = Ranges(magnitude=(4, 7), depth_km=(10, 80), r_hyp_km=(12, 200))

#: Chunk, station, roles of event and site, magnitude, depth and distance.
RECORDS = [
    (0, "A", "training", "training", 5.0, 30.0, 40.0),
    (0, "B", "training", "validation", 4.0, 10.0, 20.0),  # trains in chunk 1
    (0, "C", "validation", "training", 9.0, 300.0, 999.0),  # never trains
    (0, "D", "stopping", "training", 8.0, 200.0, 500.0),  # neither
    (1, "A", "training", "validation", 5.0, 30.0, 40.0),
    (1, "B", "training", "training", 4.5, 15.0, 25.0),
    (1, "C", "validation", "training", 9.0, 300.0, 999.0),
]
COLUMNS = ["chunk", "station_id", "event_role", "site_role", "magnitude", "depth_km", "r_hyp_km"]


def train(run: RunFolder, chunk: int, im: str = "PGA", init: int = 0) -> None:
    """As if a member were trained."""
    table = pd.DataFrame(RECORDS, columns=COLUMNS).assign(event_id="E")
    folder = run.member(chunk, init)
    folder.path.mkdir(parents=True, exist_ok=True)
    ims = [*folder.ims(), im]
    tables = [table[table["chunk"] == chunk].assign(im=name) for name in ims]
    pd.concat(tables, ignore_index=True).to_parquet(folder.predictions)
    (folder.path / "done.json").write_text(
        json.dumps({"networks": {f"model_{name}.keras": [name] for name in ims}})
    )


@pytest.fixture
def run(tmp_path, tiny, small):
    begun = begin(
        tmp_path / "run",
        tiny.model_copy(update={"inits": 2, "ims": ("PGA", "SA(1.0)")}),
        small,
        channels=CHANNELS,
    )
    names = [*"DCBA"]
    stations = pd.DataFrame({"station_id": names, "x_km": range(4), "y_km": 0.0})
    begun.write_places(pd.DataFrame({"event_id": ["E"], "event_x_km": 0.0, "event_y_km": 0.0}), stations)
    return begun


def test_only_what_trained_counts(run):
    train(run, 0)
    train(run, 1, init=1)  # the first initialisation of a chunk may be missing
    assert run.ranges("PGA") == Ranges(magnitude=(4.5, 5), depth_km=(15, 30), r_hyp_km=(25, 40))
    assert run.trained_stations("PGA")["station_id"].tolist() == ["B", "A"]


def test_chunks_that_are_not_trained_do_not_count(run):
    train(run, 0)
    assert run.ranges("PGA").magnitude == (5, 5)
    assert run.trained_stations("PGA").to_dict("records") == [{"station_id": "A", "x_km": 3, "y_km": 0.0}]


def test_each_intensity_measure_has_its_own(run):
    train(run, 0)
    train(run, 1, im="SA(1.0)")
    assert run.ranges("SA(1.0)").depth_km == (15, 15)
    assert run.ranges("PGA").depth_km == (30, 30)


def test_records_that_lack_a_measure_do_not_count_for_it(run):
    """One member has both measures; its second one is missing in one of two records."""
    records = pd.DataFrame([RECORDS[0], RECORDS[0]], columns=COLUMNS)
    records = records.assign(event_id=["E", "F"], magnitude=[5.0, 6.0])
    train(run, 0)
    folder = run.member(0, 0)
    both = pd.concat([records.assign(im="PGA"), records.head(1).assign(im="SA(1.0)")], ignore_index=True)
    both.assign(event_role="training", site_role="training").to_parquet(folder.predictions)
    done = {"networks": {"model.keras": ["PGA", "SA(1.0)"]}}
    (folder.path / "done.json").write_text(json.dumps(done))
    assert run.ranges("PGA").magnitude == (5, 6)
    assert run.ranges("SA(1.0)").magnitude == (5, 5)


def test_bounds_are_inside_and_nan_is_outside():
    outside = RANGES.outside([4, 7, 3.99, np.nan], [[10, 80.01]], 12.0)
    assert outside["magnitude"].tolist() == [False, False, True, True]
    assert outside["depth_km"].tolist() == [[False, True]]
    assert outside["r_hyp_km"].tolist() is False


number = st.floats(allow_nan=False, allow_infinity=False)


@given(magnitude=st.tuples(number, number), r_hyp_km=st.tuples(number, number))
def test_json_and_back(magnitude, r_hyp_km):
    ranges = Ranges(magnitude=magnitude, depth_km=(1, 2), r_hyp_km=r_hyp_km)
    assert Ranges.model_validate_json(ranges.model_dump_json()) == ranges


def test_nothing_trained(run):
    with pytest.raises(UsageError, match="no trained member of PGA yet"):
        run.ranges("PGA")


def test_damaged_member(run):
    train(run, 0)
    run.member(0, 0).predictions.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"chunk-0_init-0/predictions\.parquet is missing or damaged"):
        run.ranges("PGA")


def test_no_table_of_stations(run):
    train(run, 0)
    (run.path / "stations.parquet").unlink()
    with pytest.raises(DataError, match=r"stations\.parquet is missing or damaged .*tfgmm train"):
        run.trained_stations("PGA")


def test_tables_of_members_are_read_once(run, monkeypatch):
    read, opened = [], predictions.read_columns
    monkeypatch.setattr(
        predictions, "read_columns", lambda path, names: read.append(path) or opened(path, names)
    )
    train(run, 0)
    for ask in (run.ranges, run.support, run.trained_stations):
        ask("PGA")
    assert len(read) == 1
    train(run, 1)  # what was read before is not all any more
    assert run.ranges("PGA").magnitude == (4.5, 5)
