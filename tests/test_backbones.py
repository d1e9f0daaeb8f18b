"""Backbones of a run: fitted per chunk, and the same numbers in training, ensemble and exported graph."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from conftest import TINY, small_dataset
from helpers import untrained_run
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.rupture import Rupture
from tfgmm.network import backbones, training
from tfgmm.network.batches import Material
from tfgmm.prediction import ensemble
from tfgmm.prediction.conditioning import Known
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import make_folds
from tfgmm.runs.member_folder import write_done
from tfgmm.serving import export
from tfgmm.stats.backbone import Backbone, Earthquakes

EVENTS = pd.DataFrame(
    {
        "longitude": 139.8,
        "latitude": 35.6,
        "depth_km": [8.0, 30.0, 24.99, 55.0],
        "magnitude": [5.0, 6, 7.4, 8],
    }
)


def fitted(**changes):
    dataset, experiment = small_dataset(), Experiment(**TINY | changes)
    return backbones.fit(dataset, experiment, "PGA", make_folds(dataset, experiment)[0])


def test_without_backbone_there_is_none():
    assert fitted(backbone="none") is None


def test_a_model_by_name_is_the_only_one():
    backbone = fitted(backbone="bssa14")
    assert backbone.report["model"].tolist() == ["BSSA14"]
    assert backbone.region == "japan"
    assert fitted(backbone="BSSA14", backbone_region="california").region == "california"


@pytest.mark.parametrize("backbone", ["none", "ergodic"])
def test_a_region_without_published_models_is_refused(backbone):
    experiment = Experiment(**TINY | {"backbone": backbone, "backbone_region": "japan"})
    with pytest.raises(
        UsageError, match=f"published models, which --backbone {backbone} does without: leave"
    ):
        backbones.check(experiment)


def test_networks_without_site_channels_do_not_know_vs30():
    assert np.isnan(fitted(backbone="BSSA14", drop=("site",)).ranges["vs30"][0])


def test_all_members_of_a_chunk_share_one_fit(tmp_path):
    begun = training.begin(
        Experiment(**TINY | {"data": untrained_run.write_data(tmp_path / "data"), "backbone": "ergodic"}),
        tmp_path / "run",
    )
    first, second = (begun.material(member).backbones["PGA"] for member in begun.members[:2])
    other = begun.material(begun.members[-1]).backbones["PGA"]
    assert (first is second) == (begun.members[0].chunk == begun.members[1].chunk)
    assert other is not first


@pytest.mark.slow
def test_a_damaged_table_is_restored_with_the_backbone_of_its_member(tmp_path, monkeypatch):
    data = untrained_run.write_data(tmp_path / "data")
    run = untrained_run.make_finished(data, tmp_path / "run", backbone="BSSA14")
    folder = run.member(0, 0)
    facts, table = folder.done(), folder.predictions
    (folder.path / "done.json").unlink()
    write_done(folder.path, facts)  # with hashes, as training does
    expected = pd.read_parquet(table).query("im == 'PGA'")["backbone"]
    table.write_bytes(b"PAR1")
    fit = backbones.fit

    def of_all_records(dataset, experiment, im, fold=None):
        assert fold is None, "the backbone of a chunk is fitted again"
        return fit(dataset, experiment, im)

    monkeypatch.setattr(backbones, "fit", of_all_records)
    training.reopen(run).train()
    restored = pd.read_parquet(table).query("im == 'PGA'")["backbone"]
    assert (expected != 0).any()
    np.testing.assert_allclose(restored, expected, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run.make(tmp_path_factory.mktemp("backbone"), backbone="BSSA14")


@pytest.fixture(scope="module")
def signatures(run, tmp_path_factory):
    version = export.prepare(run, tmp_path_factory.mktemp("model") / "model").write()
    return tf.saved_model.load(str(version)).signatures


@pytest.mark.slow
def test_exported_graph_adds_the_same_backbone(run, signatures):
    loaded = ensemble.load(run, "PGA")
    assert set(loaded.condition.by_chunk) == {0, 1}
    inputs = {
        name: tf.constant(EVENTS[name], dtype)
        for name, dtype in zip(EVENTS, (tf.float64, tf.float64, tf.float32, tf.float32), strict=True)
    }
    expected, found = loaded.maps(EVENTS), signatures["serving_default"](**inputs)
    for name in ("mean", "stddev", "epistemic"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    sites = untrained_run.sites(5)
    places = {
        f"site_{name}": tf.constant(np.tile(sites[name], (len(EVENTS), 1)), tf.float64)
        for name in ("longitude", "latitude")
    }
    expected, found = loaded.at_sites(EVENTS, sites), signatures["at_sites"](**inputs, **places)
    np.testing.assert_allclose(found["mean"], expected["mean"], atol=1e-4)
    shape = len(EVENTS), len(sites)
    known = {"site_vs30_m_s": tf.fill(shape, 250.0), "site_r_rup_km": tf.zeros(shape)}
    found = signatures["at_known_sites"](**inputs, **places, **known)
    expected = loaded.at_sites(EVENTS, sites, known=Known(vs30_m_s=250.0))
    np.testing.assert_allclose(found["mean"], expected["mean"], atol=1e-4)


@pytest.mark.slow
def test_a_known_rupture_in_the_graph(run, signatures):
    loaded, event = ensemble.load(run, "PGA"), EVENTS.iloc[[2]].assign(event_id="large")
    rupture = Rupture.planar(139.8, 35.6, 24.99, strike=30, dip=60, length_km=80, width_km=25)
    sites = untrained_run.sites(5)
    distance = rupture.map_distance_km(
        run.experiment.grid, *run.experiment.grid.project(sites["longitude"], sites["latitude"])
    )
    inputs = {
        name: tf.constant(event[name], dtype)
        for name, dtype in zip(EVENTS, (tf.float64, tf.float64, tf.float32, tf.float32), strict=True)
    }
    places = {f"site_{name}": tf.constant([sites[name]], tf.float64) for name in ("longitude", "latitude")}
    known = {"site_vs30_m_s": tf.zeros((1, 5)), "site_r_rup_km": tf.constant([distance], tf.float32)}
    found = signatures["at_known_sites"](**inputs, **places, **known)
    expected = loaded.at_sites(event, sites, known=Known(ruptures={"large": rupture}))
    np.testing.assert_allclose(found["mean"], expected["mean"], atol=1e-4)
    np.testing.assert_allclose(found["epistemic"], expected["epistemic"], atol=1e-4)
    unknown = loaded.at_sites(event, sites)
    assert (np.abs(unknown["mean"] - expected["mean"]) > 0.01).all()


@pytest.mark.slow
def test_an_export_reads_backbones_and_support_once(tmp_path, monkeypatch):
    run = untrained_run.make(tmp_path, backbone="BSSA14", inits=1)
    read, load = [], Backbone.load
    monkeypatch.setattr(Backbone, "load", lambda path: read.append(path.parent.name) or load(path))
    prepared = export.prepare(run, tmp_path / "model")
    _, support = prepared.measures["PGA"]
    assert prepared.size_bytes > prepared.weights * 4 * len(prepared.members) + support.effective.size
    prepared.write()
    assert read == ["conditioned"]
    read.clear()
    export.prepare(run, tmp_path / "model", condition="training")
    assert sorted(read) == ["chunk-0_init-0", "chunk-1_init-0"]


def at_known_sites(signatures, vs30: float, r_rup_km: float = 0.0):
    """Ask a model for one earthquake at one site."""
    event = {name: tf.constant(EVENTS[name][:1], tf.float64) for name in ("longitude", "latitude")}
    event |= {name: tf.constant(EVENTS[name][:1], tf.float32) for name in ("depth_km", "magnitude")}
    site = {
        "site_longitude": tf.constant([[139.8]], tf.float64),
        "site_latitude": tf.constant([[35.6]], tf.float64),
    }
    known = {"site_vs30_m_s": tf.constant([[vs30]]), "site_r_rup_km": tf.constant([[r_rup_km]])}
    return signatures["at_known_sites"](**event, **site, **known)


@pytest.mark.slow
@pytest.mark.parametrize("vs30", [10.0, 29.9, 5001.0, -1.0, np.nan])
def test_the_graph_has_the_limits_of_the_command(signatures, vs30):
    for allowed in (0.0, 30.0, 5000.0):
        at_known_sites(signatures, allowed)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="site_vs30_m_s must lie between 30 and 5000, or"
    ):
        at_known_sites(signatures, vs30)


@pytest.mark.slow
def test_a_model_that_was_trained_without_vs30_refuses_it(tmp_path):
    run = untrained_run.make(tmp_path, backbone="BSSA14", drop=("vs30",), inits=1)
    model = tf.saved_model.load(str(export.prepare(run, tmp_path / "model").write())).signatures
    assert np.isfinite(at_known_sites(model, 0.0, 10.0)["mean"]).all()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="must be 0: this model was trained without Vs30"
    ):
        at_known_sites(model, 760.0)


@pytest.mark.slow
def test_the_backbone_carries_large_earthquakes(run):
    """A network that knows nothing beyond its backbone cannot run away."""
    loaded = ensemble.load(run, "PGA")
    tables = loaded.condition.by_chunk[0].tables
    magnitude, depth = np.array([4.5, 6.0, 7.5, 9.0]), np.full(4, 10.0)
    ln_r = np.log(np.tile([1.0, 20.0, 100.0], (4, 1)))
    median, variance, _ = tables.at(Earthquakes(magnitude, depth), np.full((4, 3), 400.0), ln_r_rup=ln_r)
    assert (np.diff(median, axis=0)[:2] > 0).all() and np.exp(median).max() < 3
    assert (variance >= 0).all() and variance[3, 0] > variance[0, 2]


def test_the_tectonic_class_of_the_dataset_decides():
    dataset, experiment = small_dataset(), Experiment(**TINY | {"backbone": "auto"})
    fold = make_folds(dataset, experiment)[0]
    events = dataset.events.assign(tectonic_class="interface")
    named = dataclasses.replace(dataset, events=events)
    assert backbones.fit(named, experiment, "PGA", fold).classes == ("interface",)
    # An unknown class is told by the depth.
    unknown = dataclasses.replace(dataset, events=events.assign(tectonic_class=None))
    by_depth = backbones.fit(unknown, experiment, "PGA", fold)
    assert by_depth.classes == backbones.fit(dataset, experiment, "PGA", fold).classes
    records = Material.of(named, experiment, fold, {"PGA": by_depth}).records["PGA"]
    assert set(records["tectonic_class"]) == {"interface"}
    np.testing.assert_allclose(records["backbone"], by_depth.median_of("PGA", records), atol=1e-6)


@pytest.mark.slow
def test_a_prediction_takes_the_tectonic_class_of_the_event(run):
    loaded = ensemble.load(run, "PGA")
    by_depth, crustal = (
        loaded.maps(EVENTS.assign(**changes)) for changes in ({}, {"tectonic_class": ["crustal", None] * 2})
    )
    np.testing.assert_array_equal(by_depth["mean"][0], crustal["mean"][0])  # 8 km deep
    np.testing.assert_array_equal(by_depth["mean"][1], crustal["mean"][1])
    with pytest.raises(DataError, match="tectonic_class holds 'shallow'"):
        loaded.maps(EVENTS.assign(tectonic_class="shallow"))


@pytest.mark.parametrize("depth_km", [5.0, 20.0, 30.0, 60.0, 150.0])
def test_sigma_of_a_giant_earthquake_is_bounded_at_all_distances(depth_km):
    """Of M 9.5 nobody knows which of a thousand kilometres break; sigma says so without running away."""
    tables = fitted(backbone="auto").tables("PGA")
    ln_r = np.log(np.geomspace(depth_km, 1000, 60))[None]
    earthquake = Earthquakes(np.array([9.5]), np.array([depth_km]))
    _, variance, _ = tables.at(earthquake, np.full(ln_r.shape, 400.0), ln_r_hyp=ln_r)
    assert np.sqrt(variance + 0.7**2).max() < 1.5  # with the scatter of records
    _, smaller, _ = tables.at(
        Earthquakes(np.array([5.0]), np.array([depth_km])), 400.0 + 0 * ln_r, ln_r_hyp=ln_r
    )
    assert (variance > smaller - 0.05).all()
