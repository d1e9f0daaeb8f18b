"""Members -> maps of mean, aleatory and epistemic standard deviation."""

import numpy as np
import pytest
from conftest import TINY, small_dataset

from tfgmm import records
from tfgmm.errors import UsageError
from tfgmm.experiment import Experiment
from tfgmm.model import ensemble, training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("ensemble")
    records.write(small_dataset(), root / "data")
    chosen = Experiment(
        **TINY | {"data": str(root / "data"), "inits": 2, "training": {"epochs": 1, "shift_pixels": 0}}
    )
    begun = training.begin(chosen, root / "run")
    begun.train()
    return begun


@pytest.fixture(scope="module")
def loaded(run):
    return ensemble.load(run.run.path)


def test_all_members(loaded):
    assert set(loaded.members) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_maps_have_place_and_unit(loaded, run):
    maps = loaded.predict(run.dataset.events.iloc[:2])
    assert dict(maps.sizes) == {"event": 2, "row": 28, "col": 28}
    assert maps.attrs["intensity_measure"] == "PGA"
    row, col, inside = run.run.experiment.grid.locate(maps["longitude"][3, 5], maps["latitude"][3, 5])
    assert (row, col, inside) == (3, 5, True)


def test_parts_of_the_variance_add_up(loaded, run):
    maps = loaded.predict(run.dataset.events.iloc[:1])
    np.testing.assert_allclose(
        maps["stddev"] ** 2, maps["aleatory"] ** 2 + maps["epistemic"] ** 2, rtol=1e-6
    )
    assert (maps["epistemic"] > 0).any()


def test_map_at_a_station_is_the_predictions_table(loaded, run):
    table = run.run.read_predictions()
    event = run.dataset.events.iloc[3]
    of_event = table[table["event_id"] == event["event_id"]].groupby("station_id")
    maps = loaded.predict(run.dataset.events.iloc[3:4]).isel(event=0)
    stations = run.dataset.stations.set_index("station_id").loc[list(of_event.groups)]
    row, col, _ = run.run.experiment.grid.locate(stations["longitude"], stations["latitude"])
    np.testing.assert_allclose(maps["mean"].to_numpy()[row, col], of_event["mean"].mean(), atol=1e-5)
    aleatory = np.sqrt(of_event["stddev"].agg(lambda s: (s**2).mean()))
    np.testing.assert_allclose(maps["aleatory"].to_numpy()[row, col], aleatory, atol=1e-5)


def test_no_such_intensity_measure(run):
    with pytest.raises(UsageError, match=r"has no SA\(1.0\): it has PGA"):
        ensemble.load(run.run.path, "SA(1.0)")


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="is no run folder"):
        ensemble.load(tmp_path)
