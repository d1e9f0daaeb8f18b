"""The page on a validation window, from tables of an evaluation."""

import pandas as pd
import pytest

CELLS = ["training / validation", "validation / training", "validation / validation"]
MODELS = ["U-Net ensemble", "regression + field", "boosting"]


@pytest.fixture
def run(tmp_path):
    """A folder with the tables of an evaluation of two measures."""
    rows = [
        {"im": im, "cell": cell, "model": model}
        for im in ("PGA", "SA(1.0)")
        for cell in [*CELLS, "added / training"]
        for model in MODELS
    ]
    table = pd.DataFrame(rows)
    rmse = 0.5 + 0.01 * table.index.to_numpy()
    tables = tmp_path / "tables"
    tables.mkdir()
    table.assign(rmse_pooled=rmse, z_std=1.0).to_csv(tables / "four_way.csv", index=False)
    table.assign(statistic="coverage 90%", value=0.9).to_csv(tables / "scores.csv", index=False)
    intervals = {"low": -0.03, "high": 0.01, "low_chunks": -0.04, "high_chunks": 0.02}
    differences = table[table["model"] != MODELS[0]].assign(statistic="RMSE", value=-0.01, **intervals)
    differences.loc[differences["model"] == "boosting", ["low_chunks", "high_chunks"]] = float("nan")
    differences.to_csv(tables / "differences.csv", index=False)
    return tmp_path


def test_a_row_a_model_and_a_column_a_cell(run, import_script):
    scores = import_script("score_window").scores_of(run, "PGA")
    assert scores["model"].tolist() == MODELS
    assert scores.iloc[1, 1:4].tolist() == ["0.510", "0.540", "0.570"]
    assert scores.loc[0, "inside 90 %"] == "90.0% / 90.0% / 90.0%"


def test_rivals_lead_and_intervals_of_chunks_need_chunks(run, import_script):
    differences = import_script("score_window").differences_of(run, "SA(1.0)")
    assert differences["model"].tolist() == ["regression + field", "boosting"]
    assert differences.iloc[0, 1] == "-0.010 (-0.030 to +0.010; chunks -0.040 to +0.020)"
    assert differences.iloc[1, 1] == "-0.010 (-0.030 to +0.010)"
