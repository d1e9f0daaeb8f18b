"""Sections on several measures: planted correlations come back through a run; spectra of known shape."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.api.run import Run
from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import evaluation, scored_run, scores, spectra_sections
from tfgmm.evaluation.sections import HELD_OUT
from tfgmm.runs.run import RunFolder
from tfgmm.stats import bootstrap
from tfgmm.stats.im_correlation import PARTS

mpl.use("Agg")
IMS = ("SA(1.0)", "PGA", "PGV", "SA(0.2)", "SA(0.5)", "SA(2.0)")
SPECTRAL = ["SA(0.2)", "SA(0.5)", "SA(1.0)", "SA(2.0)"]
#: Correlation between any two measures, by part.
PLANTED = {"between_event": 0.8, "site_to_site": 0.3, "single_station": 0.6}


def correlated(n_events: int = 240, n_sites: int = 90, **changes) -> pd.DataFrame:
    """A predictions table whose residuals have event, site and record terms that measures share in part."""
    table = predictions(n_events, n_sites, 2, 1, **changes)
    rng = np.random.default_rng(3)
    event, site = (pd.factorize(table[name])[0] for name in ("event_id", "site_id"))
    number = {
        "between_event": event,
        "site_to_site": site,
        "single_station": event * n_sites + site,
    }
    measure = pd.factorize(table["im"])[0]
    residual = np.zeros(len(table))
    for part, group in number.items():
        shared, own = (
            rng.normal(size=group.max() + 1),
            rng.normal(size=(measure.max() + 1, group.max() + 1)),
        )
        share = PLANTED[part]
        residual += 0.4 * (np.sqrt(share) * shared[group] + np.sqrt(1 - share) * own[measure, group])
    return table.assign(mean=table["ln_im"] - residual, backbone=table["mean"])


@pytest.fixture(scope="module")
def ensemble() -> pd.DataFrame:
    return scores.partial_ensembles(correlated(ims=IMS))


def test_planted_correlations_come_back_from_held_out_records_alone(ensemble):
    found = spectra_sections.cross_fitted(ensemble, "kik")
    assert found.ims == ("PGA", "PGV", "SA(0.2)", "SA(0.5)", "SA(1.0)", "SA(2.0)")
    whole = PLANTED | {
        "within_event": (PLANTED["site_to_site"] + PLANTED["single_station"]) / 2,
        "total": sum(PLANTED.values()) / 3,
    }
    off = ~np.eye(len(IMS), dtype=bool)
    for part, matrix in zip(PARTS, found.correlation, strict=True):
        assert matrix[off].mean() == pytest.approx(whole[part], abs=0.1), part
    assert (found.events == 60).all()  # every fourth validates
    assert (found.sites == 60).all()  # each site of the reference network is held out once
    assert (found.records == 3600).all()
    is_held_out = (ensemble["site_role"] == "validation") & (ensemble["event_role"] == "validation")
    noise = np.random.default_rng(0).normal(0, 5, len(ensemble))
    spoilt = ensemble.assign(mean=ensemble["mean"].where(is_held_out, noise))
    again = spectra_sections.cross_fitted(spoilt, "kik")
    np.testing.assert_array_equal(again.correlation, found.correlation)


def test_records_that_lack_a_measure_count_for_the_others(ensemble):
    some = ensemble["im"].eq("PGV") & ensemble["station_id"].isin([f"S{i}" for i in range(10)])
    found = spectra_sections.cross_fitted(ensemble[~some], "kik")
    assert found.sites[0].tolist() == [60, 50, 60, 60, 60, 60]
    assert found.records[1, 1] == 3000


def test_second_differences_of_a_parabola_are_constant_on_any_periods():
    periods_s = np.array([0.1, 0.15, 0.4, 0.5, 2.0, 10.0])
    x = np.log(periods_s)
    spectra = np.array([3 * x**2 - x + 5, -2 * x + 1])
    found = spectra_sections.second_differences(spectra, periods_s)
    assert found == pytest.approx(np.array([[6.0] * 4, [0.0] * 4]), abs=1e-9)


def test_running_mean_is_that_of_the_integral():
    periods_s = 10.0 ** np.array([-1, -0.9, -0.5, 0])
    straight = np.array([[1.0, 1.1, 1.5, 2.0]])
    found = spectra_sections.smoothed(straight, periods_s)
    assert found[0, 1:3] == pytest.approx(straight[0, 1:3])
    assert found[0, 0] == pytest.approx(1.0125)  # half the window is beyond the first period
    peak = spectra_sections.smoothed(np.array([[0.0, 0.0, 1.0, 0.0]]), periods_s)
    assert peak[0, 2] == pytest.approx(1 - 0.0125 * (1 / 0.4 + 1 / 0.5), abs=1e-4)


def _with_spectra(added: dict[str, float], observed: dict[str, float]) -> pd.DataFrame:
    """Partial ensembles whose residuals from the backbone are given by measure, times a factor a record."""
    table = scores.partial_ensembles(predictions(ims=SPECTRAL, inits=1))
    factor = 1 + pd.factorize(table["event_id"])[0] % 3
    backbone = table["mean"]
    return table.assign(
        backbone=backbone,
        mean=backbone + factor * table["im"].map(added),
        ln_im=backbone + factor * table["im"].map(observed),
    )


def test_ratio_of_known_spectra():
    zigzag = dict(zip(SPECTRAL, [0.1, -0.1, 0.1, -0.1], strict=True))
    twice = {im: 2 * value for im, value in zigzag.items()}
    table = spectra_sections.smoothness(_with_spectra(twice, zigzag), SPECTRAL, "kik", resamples=20)
    periods_s = np.array([imt.period(im) for im in SPECTRAL])
    spectrum = np.array([list(zigzag.values())])
    rough, smooth = (
        np.sqrt((spectra_sections.second_differences(one, periods_s) ** 2).mean(axis=0))
        for one in (2 * spectrum, spectra_sections.smoothed(spectrum, periods_s))
    )
    assert set(table["cell"]) == {"training / validation", "validation / training", HELD_OUT}
    rows = table[table["cell"] == HELD_OUT].set_index("period_s")
    assert rows.index.tolist() == ["all", "0.5", "1"]
    assert rows.loc[["0.5", "1"], "value"].tolist() == pytest.approx(list(rough / smooth))
    together = np.sqrt((rough**2).sum() / (smooth**2).sum())
    assert rows.loc["all", ["value", "low", "high"]].tolist() == pytest.approx([together] * 3)
    assert rows.loc["all", "value"] > 2
    straight = dict(zip(SPECTRAL, np.log(periods_s), strict=True))
    smooth = spectra_sections.smoothness(_with_spectra(straight, zigzag), SPECTRAL, "kik", resamples=20)
    assert smooth["value"].tolist() == pytest.approx([0] * len(smooth), abs=1e-6)


def test_records_without_a_period_are_left_out():
    table = _with_spectra(dict.fromkeys(SPECTRAL, 0.1), dict(zip(SPECTRAL, range(4), strict=True)))
    held_out = scores.cells(table, "kik")[HELD_OUT]
    lost = table["im"].eq("SA(0.5)") & table["event_id"].eq(held_out["event_id"].iloc[0])
    few = spectra_sections.smoothness(table[~lost], SPECTRAL, "kik", resamples=20).set_index("cell")
    everything = spectra_sections.smoothness(table, SPECTRAL, "kik", resamples=20).set_index("cell")
    assert (everything.loc[HELD_OUT, "events"] - few.loc[HELD_OUT, "events"]).tolist() == [1] * 3
    no_period = spectra_sections.smoothness(table[table["im"] != "SA(0.5)"], SPECTRAL, "kik")
    assert no_period.empty


def sections_of(path) -> list:
    scored = scored_run.gather(RunFolder.open(path), with_baselines=False)
    return list(spectra_sections.spectra_sections(scored))


@pytest.fixture
def finished(tmp_path, tiny, small, monkeypatch):
    monkeypatch.setattr(bootstrap.intervals, "__defaults__", (0.9, 20, 0))
    return lambda table, **changes: make_run(tmp_path / "run", tiny, small, table, **changes)


def test_a_run_keeps_its_correlation(finished):
    path = finished(correlated(80, 45, ims=IMS), ims=IMS)
    run = Run.open(path)
    with pytest.raises(UsageError, match="needs two or more, and tfgmm evaluate"):
        run.im_correlation()
    (section,) = sections_of(path)  # it has no backbone, so no smoothness
    evaluation._write(run.folder, dataclasses.replace(section, draw=None))
    found = run.im_correlation()
    scored = scored_run.gather(run.folder, with_baselines=False)
    fitted = spectra_sections.cross_fitted(scored.ensemble, "kik")
    assert found.ims == fitted.ims
    assert found.correlation == pytest.approx(fitted.correlation, abs=1e-4)
    assert found.stddev == pytest.approx(fitted.stddev, rel=1e-4)
    table = path / "tables" / "im_correlation.csv"
    whole = pd.read_csv(table)
    assert whole["simulated"].all() and set(whole["data_hash"]) == {run.folder.data["digest"]}
    for damaged in (whole.assign(data_hash="0" * 64), whole.iloc[1:], whole.drop(columns="stddev")):
        damaged.to_csv(table, index=False)
        with pytest.raises(DataError, match="give tfgmm evaluate .* again"):
            run.im_correlation()


def test_section_says_what_it_shows(finished):
    (section,) = sections_of(finished(correlated(80, 45, ims=IMS), ims=IMS))
    assert section.shown["im"].tolist() == ["PGV", "SA(0.2)", "SA(0.5)", "SA(1.0)", "SA(2.0)"]
    assert section.shown["published"].tolist()[0] == ""  # PGV
    assert "From 600 records of 20 events at 30 sites a pair" in section.text
    figure = section.draw()
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 3
    total = panels[0].images[0].get_array()
    published = section.table.set_index(["part", "im", "other_im"]).loc[("total", "PGA", "SA(2.0)")]
    assert total[5, 0] == pytest.approx(published["correlation"])
    assert total[0, 5] == pytest.approx(published["baker_jayaram_2008"])
    assert np.ma.getmaskarray(np.ma.masked_invalid(total))[0, 1]  # PGV above the diagonal
    assert [text.get_text() for text in panels[0].get_xticklabels()] == [
        *("PGA", "PGV", "0.2", "0.5", "1.0", "2.0")
    ]
    mpl.pyplot.close("all")


def test_one_measure_has_no_section(finished):
    assert sections_of(finished(predictions())) == []


def test_few_records_leave_a_sentence(finished):
    (section,) = sections_of(finished(predictions(16, ims=("PGA", "PGV")), ims=("PGA", "PGV")))
    assert section.table is None and section.draw is None
    assert section.text.startswith("Not estimated. correlation: PGA and PGA share 64 records, expected 100")


def test_smoothness_stands_where_there_is_a_backbone(finished):
    table = correlated(80, 45, ims=IMS)
    path = finished(table, ims=IMS)
    scored = scored_run.gather(RunFolder.open(path), with_baselines=False)
    with_backbone = scored.run.experiment.model_copy(update={"backbone": "auto"})
    run = dataclasses.replace(scored.run, experiment=with_backbone)
    found = list(spectra_sections.spectra_sections(dataclasses.replace(scored, run=run)))
    assert [section.name for section in found] == ["im_correlation", "smoothness"]
    assert set(found[1].table["data_hash"]) == {run.data["digest"]}
    (ax,) = found[1].draw().axes
    shown = found[1].table
    rows = shown[(shown["cell"] == HELD_OUT) & (shown["period_s"] != "all")]
    assert ax.lines[1].get_ydata().tolist() == rows["predicted"].tolist()
    mpl.pyplot.close("all")
