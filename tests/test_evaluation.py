"""A finished run -> tables, figures, a report."""

import dataclasses
import errno
import html
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from conftest import CHANNELS, TINY, small_dataset
from helpers import untrained_run
from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core import drawing
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import baselines, evaluation, report, rivals, scored_run, scores
from tfgmm.evaluation.sections import HELD_OUT
from tfgmm.runs.beginning import begin
from tfgmm.runs.experiment import Experiment, Split
from tfgmm.runs.run import RunFolder
from tfgmm.stats import bootstrap, calibration
from tfgmm.stats.field_records import Cells

CALIBRATED = scores.ENSEMBLE + calibration.CALIBRATED
#: Plain records of a run: one intensity measure, as in most of these tests.
ERGODIC = [scores.ENSEMBLE, CALIBRATED, baselines.ERGODIC, baselines.ERGODIC_SITES]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """A thousand resamples are for people who read the numbers."""
    monkeypatch.setattr(bootstrap.intervals, "__defaults__", (0.9, 40, 0))
    monkeypatch.setattr(bootstrap.paired, "__defaults__", (0.9, 40, 0))
    monkeypatch.setattr(bootstrap.resampled_means, "__defaults__", (40, 0))


@pytest.fixture
def finished(tmp_path, tiny, small):
    return lambda table, *args, name="run", **changes: make_run(
        tmp_path / name, tiny, small, table, *args, **changes
    )


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes the longest and is not what most tests are about."""
    monkeypatch.setattr(drawing, "save", lambda figure, path: drawing.plt.close(figure))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run with all baselines, evaluated with its figures."""
    path = make_run(
        tmp_path_factory.mktemp("runs") / "run", Experiment(**TINY), small_dataset(), predictions()
    )
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.intervals, "__defaults__", (0.9, 40, 0))
        patch.setattr(bootstrap.paired, "__defaults__", (0.9, 40, 0))
        patch.setattr(bootstrap.resampled_means, "__defaults__", (40, 0))
        patch.setitem(drawing.STYLE, "savefig.dpi", 50)
        result = evaluation.evaluate(path, report=lambda what, share: said.append((what, share)))
    drawing.plt.close("all")
    return result, said


@pytest.mark.slow
def test_every_section_stands_in_the_run(evaluated):
    result, _ = evaluated
    for section in result.sections:
        assert (result.run.path / "tables" / f"{section.name}.csv").is_file() == (section.table is not None)
        for ending in (".png", ".pdf"):
            drawn = result.run.path / "figures" / f"{section.name}{ending}"
            assert drawn.is_file() == (section.draw is not None)
    assert len({section.name for section in result.sections}) == len(result.sections)


@pytest.mark.slow
def test_every_table_says_that_records_are_simulated(evaluated):
    result, _ = evaluated
    for path in (result.run.path / "tables").iterdir():
        assert pd.read_csv(path)["simulated"].all(), path.name


@pytest.mark.slow
def test_all_models_score_the_same_records(evaluated):
    result, _ = evaluated
    table = result.section("four_way").table
    medians = (rivals.REGRESSION, baselines.BOOSTED, baselines.KRIGED_BOOSTED, rivals.MEAN)
    ensemble, ergodic = ERGODIC[:-2], ERGODIC[-2:]
    models = [*ensemble, *(name + rivals.WITH_FIELD for name in medians), *ergodic]
    models += [baselines.KRIGED, baselines.BOOSTED, baselines.KRIGED_BOOSTED]
    for site, event in scores.CELLS:
        cell = table[table["cell"] == f"{site} / {event}"]
        is_seen = (site, event) == ("training", "training")
        assert cell["model"].tolist() == [
            model for model in models if not (is_seen and model.endswith(rivals.WITH_FIELD))
        ]
        assert cell["records"].nunique() == 1


@pytest.mark.slow
def test_progress_names_what_takes_long(evaluated):
    _, said = evaluated
    assert ("fitting baselines", 1.0) in said and ("evaluating published models", 1.0) in said


@pytest.mark.slow
def test_calibration_is_kept_and_changes_only_sigma(evaluated):
    result, _ = evaluated
    assert set(calibration.read(result.run.path)) == {"PGA"}
    table = result.section("four_way").table.set_index(["cell", "model"])
    raw, other = table.loc[HELD_OUT].loc[scores.ENSEMBLE], table.loc[HELD_OUT].loc[CALIBRATED]
    assert raw["rmse"] == other["rmse"] and raw["z_std"] != other["z_std"]


@pytest.mark.slow
def test_baselines_are_fitted_again_only_for_other_records(evaluated, tmp_path, monkeypatch):
    result, _ = evaluated
    run = dataclasses.replace(result.run, path=shutil.copytree(result.run.path, tmp_path / "run"))
    table = pd.read_parquet(run.predictions)

    class FittedAgainError(Exception):
        pass

    def refuse(*args):
        raise FittedAgainError

    monkeypatch.setattr(scored_run.baselines, "fitted_predictions", refuse)
    more = pd.concat([table, table.assign(init=table["init"] + 1, mean=table["mean"] + 1)])
    more.to_parquet(run.predictions)
    found, before = (
        models[models["model"] == baselines.BOOSTED].reset_index(drop=True)
        for models in (scored_run.gather(run).models, result.scored.models)
    )
    pd.testing.assert_frame_equal(found, before)
    table.assign(site_role=table["site_role"].iloc[::-1].to_numpy()).to_parquet(run.predictions)
    with pytest.raises(FittedAgainError):
        scored_run.gather(run)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _write_other_scores(path):
    table = pd.read_parquet(path)
    table.assign(mean=table["mean"] + 1).to_parquet(path, index=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("fitted.parquet", _write_other_scores),
        ("published.parquet", _cut),
        ("ranges.csv", lambda path: path.unlink()),
        ("origin.json", lambda path: path.write_bytes(b"\xff{")),
        ("origin.json", lambda path: path.write_text(path.read_text().replace("a", "b"))),
        ("origin.json", lambda path: path.write_text('{"files_sha256": []}')),
    ],
)
def test_damaged_baselines_are_fitted_again(evaluated, tmp_path, monkeypatch, caplog, name, damage):
    result, _ = evaluated
    run = dataclasses.replace(result.run, path=shutil.copytree(result.run.path, tmp_path / "run"))
    folder = run.path / "baselines"
    fitted, published = (pd.read_parquet(folder / f"{one}.parquet") for one in ("fitted", "published"))
    ranges = pd.read_csv(folder / "ranges.csv")
    monkeypatch.setattr(scored_run.baselines, "fitted_predictions", lambda *args: fitted)
    monkeypatch.setattr(scored_run.baselines, "published_predictions", lambda *args: (published, ranges))
    damage(folder / name)
    again = scored_run.gather(run)
    pd.testing.assert_frame_equal(again.models, result.scored.models)
    pd.testing.assert_frame_equal(again.published, result.scored.published)
    assert "baselines is incomplete, damaged" in caplog.text
    caplog.clear()
    scored_run.gather(run)
    assert not caplog.records  # they are whole again


@pytest.mark.slow
def test_an_over_confident_ensemble_is_flagged(finished, no_figures):
    table = predictions()
    result = evaluation.evaluate(finished(table.assign(stddev=table["stddev"] / 3)), with_baselines=False)
    text = result.section("scores").text
    assert f"{scores.ENSEMBLE}, {HELD_OUT} (PGA): over-confident" in text


@pytest.mark.slow
def test_a_run_of_one_epoch_is_scored(finished, no_figures):
    """Its standard deviations may be hundreds of times too small: no score is infinite, nothing warns."""
    table = predictions()
    result = evaluation.evaluate(finished(table.assign(stddev=table["stddev"] / 500)), with_baselines=False)
    four_way = result.section("four_way").table
    assert np.isfinite(four_way["z_std"]).all() and four_way["z_std"].max() > 38


@pytest.mark.slow
def test_without_baselines_the_ergodic_ones_stay(finished, no_figures):
    result = evaluation.evaluate(finished(predictions()), with_baselines=False)
    assert result.section("four_way").table["model"].unique().tolist() == ERGODIC
    assert not (result.run.path / "baselines").exists()


@pytest.mark.slow
def test_published_values_stand_beside_the_published_networks(finished, no_figures):
    table = predictions()
    table["network"] = "kik"
    result = evaluation.evaluate(finished(table, networks=("kik",)), with_baselines=False)
    shown = result.section("four_way").shown.set_index("sites / events")["published"]
    published = ["0.432 ± 0.007", "0.496 ± 0.005", "0.871 ± 0.104", "0.854 ± 0.090"]
    assert shown[f"  {scores.ENSEMBLE}"].tolist()[:4] == published
    assert set(shown.drop(f"  {scores.ENSEMBLE}")) == {""}
    assert repr(result) == f"<Evaluation of {result.run.path}: PGA>"
    learned = {finding.what: finding.short for finding in result.findings("PGA")}
    shown = result._repr_html_()
    assert learned["sigma"] and all(f">{html.escape(short)}<" in shown for short in learned.values())


@pytest.mark.slow
def test_no_published_value_stands_beside_a_split_by_magnitude(finished, no_figures):
    """The publication split its events by time: its networks did not extrapolate."""
    table = predictions()
    table["network"] = "kik"
    split = Split(kind="magnitude", min_magnitude=6.5)
    result = evaluation.evaluate(finished(table, networks=("kik",), split=split), with_baselines=False)
    assert "published" not in result.section("four_way").shown
    assert result.settings()["validation events"] == split.description


@pytest.mark.slow
def test_a_run_that_stopped_on_the_validation_events_is_not_calibrated(finished, no_figures):
    table = predictions()
    for role in ("site_role", "event_role"):
        table[role] = table[role].replace("stopping", "training")
    result = evaluation.evaluate(finished(table, stopping="paper"), with_baselines=False)
    assert CALIBRATED not in set(result.section("four_way").table["model"])


@pytest.mark.slow
def test_one_chunk_alone_shows_no_nan(finished, no_figures):
    one = predictions()
    result = evaluation.evaluate(finished(one[one["chunk"] == 0]), with_baselines=False)
    shown = result.section("four_way").shown
    assert shown["RMSE (chunks)"].str.fullmatch(r"|\d\.\d{3}").all()
    assert not shown.apply(lambda column: column.str.contains("nan")).any(axis=None)


@pytest.mark.slow
def test_several_measures_have_tables_and_figures_of_their_own(finished, monkeypatch):
    saved = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(path.name))
    path = finished(predictions(ims=("PGA", "SA(1.0)")), ims=("PGA", "SA(1.0)"))
    result = evaluation.evaluate(path, with_baselines=False)
    drawing.plt.close("all")
    assert {f"residual_trends_{im}" for im in ("PGA", "SA(1.0)")} <= set(saved)
    cells = result.section("four_way").shown["sites / events"]
    assert {"PGA, " + HELD_OUT, "SA(1.0), " + HELD_OUT} <= set(cells)


@pytest.mark.slow
def test_page_needs_nothing_beside_it(evaluated, tmp_path):
    result, _ = evaluated
    report.html([result], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    targets = re.findall(r"href=\"#(.+?)\"", page)
    assert targets and set(targets) == set(re.findall(r" id=\"(.+?)\"", page))
    assert page.count("data:image/png;base64,") == sum(s.draw is not None for s in result.sections)
    assert "Simulated records" in page and f'<td class="below">{scores.ENSEMBLE}</td>' in page
    assert f'<td class="above">{HELD_OUT}</td>' in page
    for finding in result.findings("PGA"):
        assert page.index(html.escape(finding.short)) < page.index("Contents")


@pytest.mark.slow
def test_folder_of_markdown_holds_what_it_names(evaluated, tmp_path):
    result, _ = evaluated
    for _ in range(2):  # a second time replaces the first
        report.markdown([result], tmp_path / "docs", "tfgmm report runs/x")
    page = (tmp_path / "docs" / "README.md").read_text()
    assert "`tfgmm report runs/x`" in page and "**simulated**" in page
    assert all(f"**{finding.short}**" in page for finding in result.findings("PGA"))
    for picture in re.findall(r"\]\((.+?\.png)\)", page):
        assert (tmp_path / "docs" / picture).is_file()


@pytest.mark.slow
def test_files_of_others_are_not_replaced(evaluated, tmp_path):
    result, _ = evaluated
    page, readme = tmp_path / "page.html", tmp_path / "md" / "README.md"
    readme.parent.mkdir()
    for path in (page, readme):
        path.write_text("mine")
    with pytest.raises(UsageError, match=r"page.html exists already and was not made by.*--overwrite"):
        report.html([result], page)
    with pytest.raises(UsageError, match=r"README.md exists already and was not made by.*--overwrite"):
        report.markdown([result], readme.parent, "tfgmm report runs/x")
    assert page.read_text() == readme.read_text() == "mine"
    for overwrite in (True, False):  # the second time it is ours
        report.html([result], page, overwrite)
        report.markdown([result], readme.parent, "tfgmm report runs/x", overwrite)


@pytest.mark.slow
def test_two_runs_are_compared_on_the_same_records(finished):
    table = predictions()
    worse = table.assign(mean=table["mean"] + 3)
    paths = [finished(one, name=name) for one, name in ((table, "a"), (worse, "b"))]
    runs = [
        evaluation.Evaluation(scored_run.gather(RunFolder.open(path), with_baselines=False), [])
        for path in paths
    ]
    side, difference = report.compare(runs)
    assert {"a: RMSE", "b: RMSE"} <= set(side.shown.columns)
    rows = difference.table.set_index(["cell", "model", "statistic"]).loc[HELD_OUT, scores.ENSEMBLE, "RMSE"]
    assert rows["high"] < 0


def test_unfinished_run_and_no_run(tmp_path, tiny, small):
    run = begin(tmp_path / "run", tiny, small, channels=CHANNELS)
    with pytest.raises(UsageError, match="no predictions yet"):
        evaluation.evaluate(run.path)
    with pytest.raises(UsageError, match="is no run folder"):
        evaluation.evaluate(tmp_path)
    assert not (run.path / "tables").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pandas.DataFrame.to_csv", "pathlib.Path.write_bytes"])
def test_full_disk(finished, monkeypatch, method):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = finished(predictions())
    monkeypatch.setattr(method, full)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        evaluation.evaluate(path, with_baselines=False)
    assert not [p for p in path.rglob(".*")]
    drawing.plt.close("all")


@pytest.mark.slow
def test_other_arms_of_a_run_change_no_number(finished, no_figures):
    """Members without site channels, trained to compare, stand in the same table."""
    own = predictions()
    other = own.assign(arm="drop-site", mean=99.0, stddev=0.01)
    alone = evaluation.evaluate(finished(own, name="alone"), with_baselines=False)
    both = evaluation.evaluate(finished(pd.concat([own, other]), name="both"), with_baselines=False)
    assert [one.name for one in alone.sections] == [one.name for one in both.sections]
    for one, two in zip(alone.sections, both.sections, strict=True):
        if one.table is not None:
            pd.testing.assert_frame_equal(one.table, two.table)
    assert alone.scored.members == both.scored.members
    baselines_of = [baselines.ergodic_predictions(one.run.read_predictions()) for one in (alone, both)]
    pd.testing.assert_frame_equal(*baselines_of)


@pytest.mark.slow
def test_the_field_has_its_sections(tmp_path, no_figures):
    """Backbone and field beside the ensemble, parts of sigma, covariance, floor; no calibration."""
    data = untrained_run.write_data(tmp_path / "data")
    changes = {"ims": ("PGA",), "backbone": "auto", "field": True, "stopping": "blocks"}
    run = untrained_run.make_finished(data, tmp_path / "run", **changes)
    found = evaluation.evaluate(run, with_baselines=False)
    four_way = found.section("four_way").table
    assert scores.FIELD_ALONE in four_way["model"].tolist()
    assert CALIBRATED not in four_way["model"].tolist()
    held = scores.cells(found.scored.models, "kik")[HELD_OUT]
    chunk = held[(held["model"] == scores.FIELD_ALONE) & (held["chunk"] == 1)]
    field = run.field("PGA", 1)
    cells = Cells.of(chunk, field.records)
    np.testing.assert_allclose(chunk["mean"], chunk["backbone"] + field.mean(cells), atol=1e-4)
    variance = field.variance(cells) + field.covariance.noise
    np.testing.assert_allclose(chunk["stddev"] ** 2, variance, rtol=1e-4)
    parts = found.section("sigma_parts").table.set_index(["cell", "part"])["predicted"]
    of_chunks = [run.field("PGA", number).covariance for number in range(2)]
    tau = np.sqrt(np.mean([held.loc[held["chunk"] == c, "event_stddev"].mean() ** 2 for c in range(2)]))
    assert parts[HELD_OUT, "tau"] == pytest.approx(tau, rel=0.05)
    of_field = found.section("field_PGA").table.set_index("part")
    assert of_field.loc["event", "all_records"] == pytest.approx(run.field("PGA").covariance.event ** 0.5)
    assert of_field.loc["event", "highest"] == pytest.approx(max(one.event for one in of_chunks) ** 0.5)
    floor = pd.read_csv(run.path / "tables" / "floor.csv").iloc[0]
    rmse = four_way.set_index(["model", "cell"])["rmse_pooled"]
    assert floor["unknown_site"] == pytest.approx(rmse[scores.ENSEMBLE, HELD_OUT], rel=1e-4)


@pytest.mark.slow
def test_the_full_ensemble_is_scored_on_validation_events(finished, no_figures):
    found = evaluation.evaluate(finished(predictions()), with_baselines=False)
    table = found.section("full_ensemble_PGA").table.set_index(["network", "statistic"])
    full, of_run = found.scored.full, found.run.read_predictions()
    validates = full["event_id"].isin(of_run.loc[of_run["event_role"] == "validation", "event_id"])
    rows = full[validates & (full["network"] == "meso")]
    residual = rows["ln_im"] - rows["mean"]
    assert table.loc[("meso", "RMSE"), "value"] == pytest.approx(np.sqrt((residual**2).mean()))
    inside = (abs(residual) <= 1.6449 * rows["stddev"]).mean()
    assert table.loc[("meso", "coverage 90%"), "value"] == pytest.approx(inside, abs=1e-3)
    assert table.loc[("kik", "RMSE"), "n"] == 10 * 16
