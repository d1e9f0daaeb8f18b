"""The backbone of a run as a GMPE table: read back, and interpolated as OpenQuake does."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

import tfgmm
from helpers import untrained_run
from tfgmm.cli.app import main
from tfgmm.core.errors import UsageError
from tfgmm.runs.run import RunFolder
from tfgmm.serving import gmpe_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(made_once) -> tfgmm.Run:
    """A run of PGA in two chunks and SA(1.0) in one."""
    changes = {"backbone": "auto", "backbone_region": "california"}
    root = made_once("gmpe-table", lambda root: untrained_run.make(root, **changes))
    return tfgmm.open_run(root / "run")


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "kanto.hdf5"
    return run.export(out, format="gmpe-table", depth_km=12.0, tectonic_class="crustal")


def interpolated(store, group, im, magnitude, r_km):
    """Linear in magnitude for the logarithm, then linear in distance, by hand."""
    key, column = ("PGA", 0) if im == "PGA" else ("SA", list(store[group]["T"]).index(float(im[3:-1])))
    table, nodes = store[group][key][:, column, :], store["Mw"][:]
    above = int(np.clip(np.searchsorted(nodes, magnitude), 1, len(nodes) - 1))
    share = (magnitude - nodes[above - 1]) / (nodes[above] - nodes[above - 1])
    curve = np.exp((1 - share) * np.log(table[:, above - 1]) + share * np.log(table[:, above]))
    return np.interp(r_km, store["Distances"][:, 0, above], curve)


@pytest.mark.parametrize("im", untrained_run.IMS)
def test_between_the_nodes_it_is_the_backbone(run, written, im):
    rng = np.random.default_rng(1)
    backbone = run.folder.backbone_of_all(im)
    with h5py.File(written) as store:
        for magnitude in rng.uniform(3, 9, 50):
            r_km = np.exp(rng.uniform(0, np.log(1000), 200))
            scenario = (im, [magnitude], [12.0], np.log(r_km)[None])
            given = {"vs30": 760.0, "tectonic_class": ["crustal"]}
            got = np.log(interpolated(store, "IMLs", im, magnitude, r_km))
            np.testing.assert_allclose(got, backbone.median(*scenario, **given)[0], atol=1e-3)
            tau, s2s, ss = backbone.stddevs[backbone.ims.index(im)]
            intra = np.sqrt(s2s**2 + ss**2)
            for group, expected in (("Inter", tau), ("Intra", intra), ("Total", np.hypot(tau, intra))):
                got = interpolated(store, group, im, magnitude, r_km)
                np.testing.assert_allclose(got, expected, atol=1e-3)


def test_the_layout_is_that_of_openquake(written):
    """Distances and tables as [R, measure, M]; two periods at least, or nothing can be interpolated."""
    with h5py.File(written) as store:
        assert store["Distances"].attrs["metric"] == "rrup"
        count, _, magnitudes = store["Distances"].shape
        assert (store["Mw"][0], store["Mw"][-1], magnitudes) == (3, 9, len(store["Mw"]))
        np.testing.assert_allclose(store["Distances"][[0, -1], 0, 0], [1, 1000])
        for group in ("IMLs", "Total", "Inter", "Intra"):
            assert store[group]["PGA"].shape == (count, 1, magnitudes)
            assert store[group]["SA"].shape == (count, 2, magnitudes)
            np.testing.assert_allclose(store[group]["T"][:], [1.0, 1.001])


def test_it_says_where_it_comes_from(run, written):
    with h5py.File(written) as store:
        said = dict(store.attrs)
    assert said["simulated"] and said["run_hash"] == run.folder.fingerprint
    assert json.loads(said["classes"]) == {"crustal": 1.0} and said["depth_km"] == 12
    assert said["conditioned_on"] == "all records"
    assert said["data_digest"] == run.folder.conditioned_on["data"] != ""
    assert "crustal" in json.loads(said["models"])["PGA"] and said["date"].startswith("20")


def test_the_default_is_the_class_with_most_records(run, tmp_path):
    planned = gmpe_table.prepare(run.folder, tmp_path / "a.h5")
    records = run.folder.training_records("PGA")
    depth_km = records["depth_km"]
    deep = np.where(depth_km < 25, 0.0, 1 - 0.5 * np.clip((60 - depth_km) / 35, 0, 1))
    assert planned.tectonic_class == "intraslab" and deep.sum() > (depth_km < 25).sum()
    assert deep[depth_km <= planned.depth_km].sum() >= deep.sum() / 2
    assert deep[depth_km < planned.depth_km].sum() < deep.sum() / 2
    by_depth = gmpe_table.prepare(run.folder, tmp_path / "a.h5", depth_km=150.0)
    assert by_depth.tectonic_class is None and "depths of the training records" in by_depth.summary


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"depth_km": -1.0}, "a depth of -1 km: give 0 to 200 km"),
        ({"depth_km": float("nan")}, "give 0 to 200 km"),
        ({"tectonic_class": "volcanic"}, "does not have the class 'volcanic': choose crustal"),
        ({"members": 1}, "members, precision and condition are of a SavedModel"),
        ({"precision": "float16"}, "members, precision and condition are of a SavedModel"),
        ({"im": "SA(3.0)"}, "has no SA"),
        ({"format": "csv"}, "unknown format 'csv': choose saved-model or gmpe-table"),
        ({"format": "saved-model", "depth_km": 5.0}, "give --format gmpe-table"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, given, says):
    with pytest.raises(UsageError, match=says):
        run.export(tmp_path / "table.hdf5", **{"format": "gmpe-table"} | given)
    assert not list(tmp_path.iterdir())


def test_other_files_stay(run, written, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        run.export(written, format="gmpe-table")
    with pytest.raises(UsageError, match=r"GMPE tables can be written as \.hdf5, \.h5"):
        run.export(tmp_path / "table.nc", format="gmpe-table")


@pytest.mark.parametrize("backbone", ["none", "ergodic"])
def test_a_run_without_published_models_is_refused(tmp_path, backbone):
    untrained_run.make(tmp_path, backbone=backbone)
    with pytest.raises(UsageError, match="has no backbone of published models.*train with --backbone auto"):
        gmpe_table.prepare(RunFolder.open(tmp_path / "run"), tmp_path / "table.hdf5")


def test_the_command_writes_one_measure(run, tmp_path, capfd):
    out = tmp_path / "table.h5"
    arguments = f"export {run.path} --format gmpe-table --im PGA --class crustal --depth 5 --out {out}"
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    said = " ".join(capfd.readouterr().out.split())
    assert not end.value.code and "PGA of the backbone alone" in said
    with h5py.File(out) as store:
        assert list(store["IMLs"]) == ["PGA"] and store.attrs["depth_km"] == 5


def test_a_run_without_vs30_is_refused(run, tmp_path):
    blind = run.experiment.model_copy(update={"drop": ("vs30",)})
    with pytest.raises(UsageError, match="trained with --drop vs30, without Vs30"):
        gmpe_table.prepare(dataclasses.replace(run.folder, experiment=blind), tmp_path / "table.hdf5")
