"""Bias and RMSE by type of magnitude: a planted bias of one type, rare types, and runs without types."""

import numpy as np
import pandas as pd
import pytest

from conftest import small_dataset
from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.evaluation import magnitude_types, scored_run, scores
from tfgmm.network import batches
from tfgmm.runs.run import RunFolder

FEW = {"resamples": 40}


def partial(**changes) -> pd.DataFrame:
    """Partial ensembles of 80 events, of which every other validation event has a converted magnitude."""
    table = scores.partial_ensembles(predictions(n_events=80, inits=1, **changes))
    number = table["event_id"].str[1:].astype(int)
    return table.assign(magnitude_source=np.where(number // 4 % 2, "Mw", "mb converted"))


def test_planted_bias_of_a_type_is_found():
    table = partial()
    converted = table["magnitude_source"] == "mb converted"
    shifted = table.assign(mean=np.where(converted, table["ln_im"] - 0.7, table["mean"]))
    found = magnitude_types.score(shifted, "kik", **FEW)
    assert found["cell"].unique().tolist() == list(magnitude_types.CELLS)
    rows = found.set_index(["cell", "magnitude_type", "statistic"])
    for cell in magnitude_types.CELLS:
        for statistic in ("bias", "RMSE"):
            row = rows.loc[(cell, "mb converted", statistic)]
            assert row[["value", "low", "high"]].tolist() == pytest.approx([0.7] * 3)
            assert row["events"] == 10
        other = rows.loc[(cell, "Mw", "bias")]
        assert other["low"] < other["value"] < other["high"] < 0.7
    cell = scores.cells(shifted, "kik")["validation / validation"]
    assert rows["n"].loc["validation / validation", :, "bias"].sum() == len(cell)
    pd.testing.assert_frame_equal(found, magnitude_types.score(shifted, "kik", **FEW))


@pytest.mark.parametrize(("types", "shown"), [(6, 6), (7, 6), (10, 6)])
def test_rare_types_are_gathered(types, shown):
    table = partial()
    number = table["event_id"].str[1:].astype(int) // 4
    named = "type " + np.minimum(number, types - 1).astype(str)  # the last one is the most frequent
    found = magnitude_types.score(table.assign(magnitude_source=named), "kik", **FEW)
    names = found["magnitude_type"].unique().tolist()
    assert len(names) == shown and names[0] == f"type {types - 1}"
    assert (magnitude_types.OTHER in names) == (types > magnitude_types.MAX_TYPES)
    assert names[-1] == magnitude_types.OTHER or types == 6


def test_missing_types_are_a_type():
    table = partial()
    some = table["magnitude_source"].where(table["magnitude_source"] == "Mw")
    found = magnitude_types.score(table.assign(magnitude_source=some), "kik", **FEW)
    assert set(found["magnitude_type"]) == {"Mw", magnitude_types.NOT_STATED}


def test_a_table_without_types_has_no_row():
    assert magnitude_types.score(partial().drop(columns="magnitude_source"), "kik").empty


@pytest.mark.slow
def test_section_stands_where_validation_events_have_several_types(tmp_path, tiny, small):
    path = make_run(tmp_path / "run", tiny, small, predictions())
    assert list(magnitude_types.magnitude_type_sections(gather(path))) == []
    events = pd.read_parquet(path / "events.parquet")
    kinds = np.where(np.arange(len(events)) // 4 % 2, "Mw", "mb converted")
    for source, sections in (("Mw", 0), (kinds, 1)):
        run = RunFolder.open(path)
        stations = pd.read_parquet(path / "stations.parquet")
        run.write_places(events.assign(magnitude_source=source), stations)
        found = list(magnitude_types.magnitude_type_sections(gather(path)))
        assert len(found) == sections
    assert {"magnitude_type", "bias", "RMSE", "records", "events"} <= set(found[0].shown)
    assert set(found[0].table["model"]) == {scores.ENSEMBLE, "ergodic", "ergodic + site terms"}


def gather(path):
    return scored_run.gather(RunFolder.open(path), with_baselines=False)


def test_types_reach_the_tables_of_a_run(tiny):
    dataset = small_dataset()
    events, _ = batches.places(dataset, tiny)
    assert events["magnitude_source"].tolist() == dataset.events["magnitude_source"].tolist()
