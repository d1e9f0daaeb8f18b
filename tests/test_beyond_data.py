"""Records outside the training range: which they are, how every model does there, what is drawn."""

import dataclasses

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from conftest import TINY, small_dataset
from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core import drawing
from tfgmm.evaluation import baselines, beyond_data, evaluation, report, residuals, scored_run, scores
from tfgmm.runs.experiment import Experiment, Split
from tfgmm.runs.run import RunFolder
from tfgmm.stats import bootstrap

mpl.use("Agg")

#: Magnitudes of the validation events in turn: in four classes.
LARGE = np.array([6.0, 6.4, 6.7, 7.2])
SPLIT = Split(kind="magnitude", min_magnitude=6.0)


def split_by_magnitude(**changes) -> pd.DataFrame:
    """Predictions of a run whose validation events are the large ones."""
    table = predictions(**changes)
    number = table["event_id"].str[1:].astype(int).to_numpy()
    small = table["magnitude"].clip(4.5, 5.9)
    return table.assign(
        magnitude=np.where(table["event_role"] == "validation", LARGE[number // 4 % len(LARGE)], small)
    )


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap.intervals, "__defaults__", (0.9, 40, 0))
    monkeypatch.setattr(bootstrap.paired, "__defaults__", (0.9, 40, 0))
    monkeypatch.setattr(bootstrap.resampled_means, "__defaults__", (40, 0))


@pytest.fixture(scope="module")
def partial() -> pd.DataFrame:
    return scores.partial_ensembles(split_by_magnitude())


@pytest.fixture(scope="module")
def rows(partial) -> pd.DataFrame:
    return beyond_data.select(partial, beyond_data.training_ranges(partial), "kik")


# --- which records ------------------------------------------------------------------------------------


def record(event, station, chunk, event_role, site_role, magnitude, r_hyp_km, **changes) -> dict:
    row = {
        "im": "PGA",
        "event_id": event,
        "station_id": station,
        "site_id": station,
        "network": "kik",
        "chunk": chunk,
        "event_role": event_role,
        "site_role": site_role,
        "magnitude": magnitude,
        "r_hyp_km": r_hyp_km,
        "model": scores.ENSEMBLE,
        "ln_im": 0.0,
        "mean": 0.0,
        "stddev": 0.5,
    }
    return row | changes


#: Training records of M 4 to 6 and 20 to 200 km in chunk 0, of M 4 to 5.5 and 20 to 200 km in chunk 1; one
#: of a stopping event, one at a held-out site.
TRAINED = [
    record("A", "S1", 0, "training", "training", 4.0, 20.0),
    record("B", "S1", 0, "training", "training", 6.0, 200.0, network="meso"),
    record("C", "S1", 0, "stopping", "training", 8.0, 900.0),
    record("D", "S2", 0, "training", "validation", 3.0, 1.0),
    record("A", "S2", 1, "training", "training", 4.0, 20.0),
    record("E", "S2", 1, "training", "training", 5.5, 200.0),
]


def test_ranges_are_those_of_the_training_records_of_each_fold():
    ranges = beyond_data.training_ranges(pd.DataFrame(TRAINED))
    assert ranges.to_numpy().tolist() == [
        ["PGA", 0, 4.0, 6.0, 20.0, 200.0],
        ["PGA", 1, 4.0, 5.5, 20.0, 200.0],
    ]


@pytest.mark.parametrize(
    ("magnitude", "r_hyp_km", "chunks"),
    [
        (5.5, 100.0, []),  # the ends belong to the range
        (5.6, 100.0, [1]),
        (6.0, 200.0, [1]),
        (6.1, 100.0, [0, 1]),
        (3.9, 100.0, [0, 1]),
        (4.0, 20.0, []),
        (5.0, 19.9, [0, 1]),
        (5.0, 200.1, [0, 1]),
    ],
)
def test_a_record_is_beyond_the_data_of_some_folds(magnitude, r_hyp_km, chunks):
    scored = [record("V", "S1", chunk, "validation", "training", magnitude, r_hyp_km) for chunk in (0, 1)]
    table = pd.DataFrame([*TRAINED, *scored])
    rows = beyond_data.select(table, beyond_data.training_ranges(table), "kik")
    assert rows["chunk"].tolist() == chunks and set(rows["event_id"]) <= {"V"}


def test_other_networks_and_other_roles_are_not_scored():
    others = [
        record("V", "S1", 0, "validation", "training", 7.0, 100.0, network="meso"),
        record("W", "S1", 0, "stopping", "training", 7.0, 100.0),
    ]
    table = pd.DataFrame([*TRAINED, *others])
    assert beyond_data.select(table, beyond_data.training_ranges(table), "kik").empty


# --- scores -------------------------------------------------------------------------------------------


def test_every_record_counts_once_with_the_mean_of_its_folds():
    scored = [
        record("V", "S1", 0, "validation", "training", 6.2, 30.0, ln_im=1.0),
        record("V", "S1", 1, "validation", "validation", 6.2, 30.0, ln_im=3.0),
        record("V", "S2", 0, "validation", "stopping", 6.2, 60.0, ln_im=-1.0),
        record("W", "S1", 0, "validation", "training", 7.5, 150.0, ln_im=0.5),
        record("X", "S1", 0, "validation", "training", 3.0, 60.0, ln_im=0.5),
        record("Y", "S1", 0, "validation", "training", 5.0, 10.0, ln_im=0.5),
        record("Y", "S2", 0, "validation", "training", 5.0, 250.0, ln_im=0.5),
    ]
    table = pd.DataFrame([*TRAINED, *scored])
    rows = beyond_data.select(table, beyond_data.training_ranges(table), "kik")
    found = beyond_data.score(rows).set_index(["cell", "magnitude", "r_hyp_km", "statistic"])
    value, count = found["value"], found["n"]
    assert value["all / validation", "6 to 6.5", "all", "bias"] == pytest.approx(0.5)
    assert value["all / validation", "6 to 6.5", "all", "scatter"] == pytest.approx(1.5)
    assert value["all / validation", "6 to 6.5", "all", "RMSE"] == pytest.approx(np.sqrt(2.5))
    assert value["all / validation", "6 to 6.5", "below 50", "bias"] == pytest.approx(2.0)
    assert value["training / validation", "6 to 6.5", "all", "bias"] == pytest.approx(1.0)
    assert value["validation / validation", "6 to 6.5", "all", "bias"] == pytest.approx(3.0)
    assert count["all / validation", "6 to 6.5", "all", "bias"] == 2
    classes = [key[1:3] for key in found.index if key[0] == "all / validation" and key[3] == "bias"]
    assert classes == [
        *(("6 to 6.5", name) for name in ("below 50", "50 to 120", "all")),
        *(("7 and above", name) for name in ("120 and above", "all")),
        *(("below training", name) for name in ("50 to 120", "all")),
        *(("inside training", name) for name in ("nearer than training", "farther than training", "all")),
    ]


def test_classes_of_distance_add_up(rows):
    table = beyond_data.score(rows).query("statistic == 'bias'")
    apart, whole = (table[(table["r_hyp_km"] == "all") == flag] for flag in (False, True))
    keys = ["cell", "magnitude"]
    np.testing.assert_array_equal(apart.groupby(keys)["n"].sum(), whole.groupby(keys)["n"].sum())
    assert set(table["magnitude"]) == {"6 to 6.5", "6.5 to 7", "7 and above"}
    assert whole.groupby("magnitude")["events"].max().to_dict() == {
        "6 to 6.5": 6, "6.5 to 7": 2, "7 and above": 2,
    }  # fmt: skip


def test_at_all_sites_the_ensemble_is_the_mean_of_all_members(rows):
    table = split_by_magnitude()
    full = residuals.full_ensemble(table)
    large = full[(full["magnitude"] >= 6) & (full["network"] == "kik")]
    expected = (large["ln_im"] - large["mean"]).groupby(large["magnitude"] >= 7).mean()
    found = beyond_data.score(rows).set_index(["cell", "magnitude", "r_hyp_km", "statistic"])["value"]
    assert found["all / validation", "7 and above", "all", "bias"] == pytest.approx(expected[True])


# --- published models, re-centred ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    """A published model whose error is a constant and a slope with ln R, of its own in every fold."""
    table = pd.concat(list(baselines.folds(split_by_magnitude(n_events=16))), ignore_index=True)
    error = 0.4 + table["chunk"] - (0.3 + 0.1 * table["chunk"]) * np.log(table["r_hyp_km"])
    raw = table.assign(model="ASK14", mean=table["ln_im"] - error, stddev=0.6)
    return pd.concat([raw, raw.assign(model="ASK14 (re-centred)", mean=99.0)], ignore_index=True)


def test_constant_and_slope_are_found_and_hold_for_large_events_too(published):
    found = baselines.recentre_by_distance(published)
    assert set(found["model"]) == {"ASK14 + a+b ln R"}
    assert len(found) == len(published) / 2
    np.testing.assert_allclose(found["mean"], found["ln_im"], atol=1e-9)


def test_the_fit_of_constant_and_slope_sees_training_records_only(published):
    trained = (published["event_role"] == "training") & (published["site_role"] == "training")
    poisoned = published.assign(ln_im=published["ln_im"].where(trained, 1e6))
    expected, found = (baselines.recentre_by_distance(table)["mean"] for table in (published, poisoned))
    np.testing.assert_array_equal(found, expected)


def test_every_tectonic_class_has_its_own_constant_and_slope(published):
    number = published["event_id"].str[1:].astype(int) // 4 % 2
    kind = np.array(["crustal", "interface"])[number]
    table = published.assign(tectonic_class=kind, mean=published["mean"] + 2.0 * number)
    found = baselines.recentre_by_distance(table)
    np.testing.assert_allclose(found["mean"], found["ln_im"], atol=1e-9)


def test_one_distance_has_no_slope_and_no_training_record_no_correction(published):
    same = baselines.recentre_by_distance(published.assign(r_hyp_km=50.0))
    trained = same[(same["event_role"] == "training") & (same["site_role"] == "training")]
    bias = (trained["ln_im"] - trained["mean"]).groupby(trained["chunk"]).mean()
    np.testing.assert_allclose(bias, 0, atol=1e-9)
    alone = published[published["event_role"] == "validation"]
    raw = alone[alone["model"] == "ASK14"]["mean"]
    np.testing.assert_array_equal(np.sort(baselines.recentre_by_distance(alone)["mean"]), np.sort(raw))


# --- sections and figure ------------------------------------------------------------------------------


@pytest.fixture
def scored(tmp_path):
    """Score a run with made-up predictions, with published models that are as good as the ensemble."""

    def gather(table: pd.DataFrame) -> scored_run.ScoredRun:
        path = make_run(tmp_path / "run", Experiment(**TINY), small_dataset(), table, split=SPLIT)
        found = scored_run.gather(RunFolder.open(path), with_baselines=False)
        of_reference = found.ensemble[found.ensemble["network"] == "kik"]
        names = [f"{name}{end}" for name in ("ASK14", "CY14") for end in ("", baselines.RECENTRED)]
        published = pd.concat([of_reference.assign(model=name) for name in names], ignore_index=True)
        return dataclasses.replace(found, published=published)

    return gather


def test_table_and_figure_have_all_models(scored):
    main, figure = beyond_data.beyond_data_sections(scored(split_by_magnitude(n_events=80)))
    assert (main.name, figure.name) == ("beyond_data", "beyond_data_PGA")
    models = [
        scores.ENSEMBLE, baselines.ERGODIC, baselines.ERGODIC_SITES, "ASK14", "CY14",
        "ASK14 + a+b ln R", "CY14 + a+b ln R",
    ]  # fmt: skip
    assert list(main.table["model"].unique()) == models
    assert "magnitude 4.52 to 5.9, distance 15 to " in main.text
    headings = [text for text in main.shown["magnitude"] if not text.startswith("  ")]
    assert headings == ["6 to 6.5, 10 events", "6.5 to 7, 5 events", "7 and above, 5 events"]
    assert len(main.shown) == 3 * (1 + len(models))
    drawn = figure.draw()
    try:
        axes = drawn.get_axes()
        assert len(axes) == 3 * 3  # fitted, published, re-centred
        for ax in axes:
            assert scores.ENSEMBLE in ax.get_legend_handles_labels()[1]
        bias = main.table.query("cell == 'all / validation' and statistic == 'bias' and r_hyp_km != 'all'")
        expected = bias[(bias["magnitude"] == "6 to 6.5") & (bias["model"] == scores.ENSEMBLE)]["value"]
        np.testing.assert_allclose(axes[0].lines[0].get_ydata(), expected)
        assert [tick.get_text() for tick in axes[-1].get_xticklabels()] == ["< 50", "50–120", "≥ 120"]
    finally:
        plt.close(drawn)


def test_without_interval_the_marker_is_hollow(scored):
    """Of two events there is no interval."""
    _, figure = beyond_data.beyond_data_sections(scored(split_by_magnitude()))
    drawn = figure.draw()
    try:
        large = drawn.get_axes()[2]
        assert large.get_title() == "M 7 and above (2 events)"
        hollow = [line for line in large.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow[0].get_xdata()) == 3
    finally:
        plt.close(drawn)


def test_distance_alone_makes_a_table_and_no_figure(scored):
    table = split_by_magnitude()
    far = (table["event_role"] == "validation") & (table["station_id"] == "S3")
    table = table.assign(magnitude=5.0, r_hyp_km=table["r_hyp_km"].where(~far, 400.0))
    (main,) = beyond_data.beyond_data_sections(scored(table))
    assert main.draw is None
    assert set(main.table["r_hyp_km"]) >= {"farther than training", "all"}
    assert set(main.table["magnitude"]) == {"inside training"}


@pytest.fixture
def inside() -> pd.DataFrame:
    """Predictions of a run whose validation records all lie inside the training range."""
    table = split_by_magnitude()
    middle = table["event_role"] == "validation"
    return table.assign(
        magnitude=table["magnitude"].mask(middle, 5.0), r_hyp_km=table["r_hyp_km"].mask(middle, 60.0)
    )


def test_a_run_without_such_records_says_so_in_one_sentence(scored, inside, tmp_path, monkeypatch):
    found = scored(inside)
    (section,) = beyond_data.beyond_data_sections(found)
    assert section.text.startswith(
        "No validation record lies outside the range of the training records (mag"
    )
    assert section.table is section.shown is section.draw is None
    written = evaluation.Evaluation(found, [section])
    report.html([written], tmp_path / "page.html")
    report.markdown([written], tmp_path / "folder", "tfgmm report run")
    for page in (tmp_path / "page.html", tmp_path / "folder" / "README.md"):
        assert section.text in page.read_text()


@pytest.mark.slow
def test_it_is_the_first_section_of_a_run_split_by_magnitude(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "save", lambda figure, path: plt.close(figure))
    for name, split, place in (("magnitude", SPLIT, slice(0, 2)), ("time", Split(), slice(2, None))):
        table = split_by_magnitude(n_events=80)
        path = make_run(tmp_path / name, Experiment(**TINY), small_dataset(), table, split=split)
        sections = [section.name for section in evaluation.evaluate(path, with_baselines=False).sections]
        assert {"beyond_data", "beyond_data_PGA"} <= set(sections[place])
        assert pd.read_csv(path / "tables" / "beyond_data.csv")["simulated"].all()
