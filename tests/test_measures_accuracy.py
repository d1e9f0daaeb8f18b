"""The page on networks of all measures beside networks of one, from made-up predictions."""

import types

import numpy as np
import pandas as pd
import pytest

from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.runs.member_folder import NETWORK
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import truth
from tfgmm.stats import bootstrap
from tfgmm.stats.im_correlation import PARTS, ImCorrelation

IMS = ("PGA", "SA(1.0)")


@pytest.fixture(scope="module")
def script(import_script):
    return import_script("measures_accuracy")


@pytest.fixture
def runs(tmp_path, tiny, small, monkeypatch) -> dict[str, RunFolder]:
    """A run of two measures, and runs of each: that of PGA errs more by a tenth, the other one less."""
    monkeypatch.setattr(bootstrap.paired, "__defaults__", (0.9, 20, 0))
    table = predictions(inits=1, ims=IMS)
    made = {}
    for name, ims, closer, size in (
        ("all", IMS, 0, 5000),
        ("PGA", IMS[:1], -0.1, 4000),
        ("SA", IMS[1:], 0.1, 4000),
    ):
        rows = table[table["im"].isin(ims)]
        rows = rows.assign(mean=rows["mean"] + closer * (rows["ln_im"] - rows["mean"]), backbone=0.0)
        path = make_run(tmp_path / name, tiny, small, rows, ims=ims)
        run = RunFolder.open(path)
        for chunk in range(2):
            folder = run.member(chunk, 0).path
            folder.mkdir(parents=True)
            (folder / NETWORK).write_bytes(bytes(size))
            trainings = {NETWORK: {"epochs": 2}}
            done = {"networks": {NETWORK: list(ims)}, "seconds": 10 + chunk, "trainings": trainings}
            files.write_json(folder / "done.json", done)
        run.manifest.note(members={im: [[0, 0], [1, 0]] for im in ims})
        made[name] = RunFolder.open(path)
    return made


def test_differences_are_those_that_were_made(script, runs):
    for name, factor in (("PGA", 1.1), ("SA", 0.9)):
        table = script.differences(runs["all"], runs[name])
        assert table["cell"].unique().tolist() == list(script.CELLS)
        rmse = table[table["statistic"] == "RMSE"]
        assert (rmse["second"] / rmse["first"]).tolist() == pytest.approx([factor] * 4)
        assert (np.sign(rmse["value"]) == np.sign(1 - factor)).all()
        assert (np.sign(rmse["low"]) == np.sign(rmse["high"])).all()
        nll = table[table["statistic"] == "NLL"]
        assert (np.sign(nll["value"]) == np.sign(1 - factor)).all()


def test_page_has_scores_of_all_cells_time_and_size(script, runs):
    page, table = script.page_of(runs["all"], [runs["PGA"], runs["SA"]])
    assert len(table) == 2 * 4 * 2
    shown = script.scores_of(table)
    assert len(shown) == 8 and shown["im"].unique().tolist() == list(IMS)
    rmse = table[table["statistic"] == "RMSE"].reset_index(drop=True)
    assert shown["RMSE together"].tolist() == rmse["first"].map("{:.3f}".format).tolist()
    assert shown["RMSE alone"].tolist() == rmse["second"].map("{:.3f}".format).tolist()
    assert "the wider interval is above 0 in 4 of 8 rows, below 0 in 4." in page
    assert runs["all"].data["digest"] in page and "simulated records, not measured ones" in page
    costs = script.cost(runs["all"])
    assert costs["s an epoch"] == 5.25 and costs["networks MB"] == 0.01
    assert costs["run MB"] > costs["networks MB"]
    assert "| PGA, SA(1.0) |" in page


def test_correlations_stand_beside_the_planted_ones(script, runs):
    ims = ("SA(1.0)", "PGA", "PGV")
    planted = truth.planted_im_correlation()
    order = [truth.IMS.index(im) for im in ims]
    found = planted[np.ix_(order, order)] + np.arange(len(PARTS)).reshape(-1, 1, 1) / 10
    counts = np.full((3, 3), 700)
    fitted = ImCorrelation(ims, found, np.ones((len(PARTS), 3)), counts, counts // 20, counts // 10)
    table = script.correlations(types.SimpleNamespace(im_correlation=lambda: fitted)).set_index("part")
    assert table["a pair"].unique().tolist() == ["700 records of 35 events"]
    for column in ("mean", "rms", "largest"):
        assert table[column].to_dict() == pytest.approx({"between_event": 0.1, "single_station": 0.4})
    assert "Correlations" not in script.page_of(runs["all"], [runs["PGA"]])[0]


def test_command_writes_page_and_table(script, runs, tmp_path):
    out = tmp_path / "page.md"
    script.main(runs["all"].path, [runs["SA"].path], out)
    assert out.read_text().startswith("# One network of all measures beside one of each")
    assert pd.read_csv(tmp_path / "page.csv")["simulated"].all()


def test_runs_that_do_not_fit_are_refused(script, runs, tmp_path, tiny, small):
    with pytest.raises(UsageError, match=r"has no SA\(1.0\): leave"):
        script.differences(runs["PGA"], runs["SA"])
    other = make_run(tmp_path / "other", tiny, small, predictions(44, inits=1))
    with pytest.raises(UsageError, match="compare runs of the same dataset, split and seed"):
        script.differences(runs["all"], RunFolder.open(other))
