"""The report says which published models the backbone took, and what they assume."""

import pandas as pd
import pytest

from conftest import TINY
from helpers import untrained_run
from tfgmm.cli import run_commands
from tfgmm.evaluation import evaluation
from tfgmm.evaluation.backbone_section import RECENTRED, backbone_sections
from tfgmm.evaluation.scored_run import gather


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("section")
    run = untrained_run.make_finished(
        untrained_run.write_data(root / "data"), root / "run", backbone="auto", backbone_region="california"
    )
    return gather(run, with_baselines=False)


@pytest.mark.slow
def test_every_model_has_a_row_and_a_reason(evaluated):
    (section,) = backbone_sections(evaluated)
    table = section.table
    assert set(table["im"]) == set(untrained_run.IMS)
    models = table[table["model"] != RECENTRED]
    weights = models.groupby(["im", "tectonic_class"])["weight"].sum()
    assert weights.to_numpy() == pytest.approx(1) and len(weights) > 2
    assert models["note"].notna().all() and models["bias"].notna().any()
    assert (models.loc[models["weight"] == 0, "note"].str.startswith("dropped")).all()
    whole = table[table["model"] == RECENTRED]
    assert (whole[["tau", "phi_ss"]] > 0).all(axis=None) and whole["chunks"].tolist() == [2, 2]
    for said in (
        "region california",
        "Assumed: R is the closest distance",
        "of what the networks say is added",
    ):
        assert said in section.text
    assert "truncated" not in section.text
    assert not section.shown.isna().any(axis=None)


@pytest.mark.slow
def test_it_is_written(evaluated, monkeypatch):
    monkeypatch.setattr(evaluation, "_write", lambda run, section: written.append(section.name))
    written = []
    path = evaluated.run.path
    (section,) = backbone_sections(evaluated)
    evaluation.evaluate(path, with_baselines=False)
    assert written[-1] == section.name
    monkeypatch.undo()
    evaluation._write(evaluated.run, section)
    assert len(pd.read_csv(path / "tables" / "backbone.csv")) == len(section.table)


@pytest.mark.slow
def test_training_says_what_it_took(evaluated, capfd):
    run_commands._say_backbones(evaluated.run)
    said = " ".join(capfd.readouterr().out.split())
    assert "Backbone of PGA, region california: crustal " in said and "Backbone of SA(1.0)" in said


@pytest.mark.slow
def test_without_backbone_there_is_no_section(tmp_path, capfd):
    data = untrained_run.write_data(tmp_path / "data")
    run = untrained_run.make_finished(data, tmp_path / "run", chunks=TINY["chunks"])
    assert not list(backbone_sections(gather(run, with_baselines=False)))
    run_commands._say_backbones(run)
    assert "Backbone" not in capfd.readouterr().out


@pytest.mark.slow
def test_an_ergodic_backbone_is_said_in_words(tmp_path, capfd):
    data = untrained_run.write_data(tmp_path / "data")
    run = untrained_run.make_finished(data, tmp_path / "run", backbone="ergodic")
    run_commands._say_backbones(run)
    said = " ".join(capfd.readouterr().out.split())
    assert "Backbone of PGA: an ergodic regression of the training records." in said
    assert "region" not in said
    (section,) = backbone_sections(gather(run, with_baselines=False))
    assert section.text.startswith("An ergodic regression, fitted to the training records of each chunk; ")
    assert "region" not in section.text and "Published models" not in section.text
