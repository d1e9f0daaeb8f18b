"""The front door: what `tfgmm` itself names, from files to predictions."""

import ast
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import tfgmm
from conftest import small_dataset
from helpers import served_model, untrained_run
from helpers.finished_run import make_run
from helpers.jma_files import dat, row, source, station_table
from helpers.prediction_tables import predictions
from tfgmm.api import run
from tfgmm.core.errors import UsageError
from tfgmm.data import layers
from tfgmm.evaluation import residual_sections, sections
from tfgmm.network import training
from tfgmm.stats import bootstrap

#: Networks of seconds.
GRID = {"pixel_km": 4.0, "input_size": 68}
TINY = {"preset": "quick", "backbone": "BSSA14", "chunks": 2, "depth": 2, "base": 2, "epochs": 1} | GRID
#: Types of what a trained run returns.
WITH_TENSORFLOW = {"Ensemble", "Spectra", "SiteAmplification"}
EVENT = tfgmm.scenario(6.5, 139.8, 35.7, 30.0)


@pytest.fixture(scope="module")
def data() -> tfgmm.Dataset:
    return tfgmm.Dataset.of(small_dataset())


# ---- names -------------------------------------------------------------------------------------------


def test_importing_loads_nothing_heavy_and_names_everything():
    code = (
        "import sys, time; start = time.perf_counter(); import tfgmm; took = time.perf_counter() - start; "
        "heavy = {'numpy', 'pandas', 'xarray', 'scipy', 'tensorflow', 'keras'} & set(sys.modules); "
        "print(sorted(heavy), took, *dir(tfgmm))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, took, *names = done.stdout.split()
    assert heavy == "[]" and float(took) < 0.5
    assert names == sorted([*tfgmm.__all__, "__version__"])


def test_using_a_name_loads_no_tensorflow():
    code = (
        f"import sys, tfgmm; names = {{*tfgmm.__all__}} - {WITH_TENSORFLOW}; "
        "[getattr(tfgmm, name) for name in names]; "
        "tfgmm.experiment('kik', preset='quick'); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", tfgmm.__all__)
def test_every_name_is_there_and_explained(name):
    public = getattr(tfgmm, name)
    assert public.__name__ == name
    assert public.__module__ in tfgmm._MODULES
    described = inspect.getdoc(public)
    assert described and (not public.__module__.startswith("tfgmm.api") or ">>>" in described)


def test_help_names_everything_by_its_use():
    names = re.findall(r"^    (\w+) {2,}\S", tfgmm.__doc__, re.MULTILINE)
    assert sorted(names) == sorted(tfgmm.__all__)
    assert re.findall(r"^(\w[\w ]+)\n    \w", tfgmm.__doc__, re.MULTILINE) == [
        *("Get data", "Train", "Look", "Use", "Errors")
    ]


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(tfgmm.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: getattr(tfgmm, name).__module__ for name in tfgmm.__all__}


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="module 'tfgmm' has no attribute 'trian'"):
        _ = tfgmm.trian


@pytest.mark.parametrize("public", [tfgmm.Dataset, run.Run])
def test_every_verb_is_explained(public):
    for name, member in vars(public).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
            assert inspect.getdoc(getattr(public, name)), name


# ---- datasets ----------------------------------------------------------------------------------------


def test_a_dataset_is_saved_and_opened(data, tmp_path):
    saved = data.save(tmp_path / "data")
    opened = tfgmm.open_dataset(str(tmp_path / "data"))
    assert type(saved) is type(opened) is tfgmm.Dataset
    assert opened.digest() == saved.digest() == data.digest()
    assert opened.provenance["tfgmm"] == tfgmm.__version__
    with pytest.raises(UsageError, match="exists"):
        data.save(tmp_path / "data")
    assert data.save(tmp_path / "data", overwrite=True).digest() == data.digest()
    with pytest.raises(UsageError, match=r"a dataset is a folder, and .nc means a file"):
        data.save(tmp_path / "data.nc")


def test_a_dataset_says_what_it_is(data, tmp_path):
    assert repr(data).startswith(
        "<Dataset 'small': 30 events; 32 stations; 584 records of PGA; networks kik"
    )
    assert '<th style="text-align: left">networks</th>' in data._repr_html_()
    assert data.describe()["Networks"]["network"].tolist() == ["kik", "meso"]
    assert {path.name for path in data.draw(tmp_path)} >= {"stations.png", "hit-counts.pdf"}


def test_a_dataset_becomes_a_table_and_comes_back(data, tmp_path):
    left_out = data.to_table(tmp_path / "flat.csv")
    assert left_out.dropped() == []
    back = tfgmm.read_table(tmp_path / "flat.csv", min_magnitude=0, max_distance_km=1000)
    assert len(back.records) == len(data.records) and back.simulated
    with pytest.raises(UsageError, match="exists"):
        data.to_table(tmp_path / "flat.csv")


def test_layers_are_added_in_memory_and_on_disk(data, tmp_path):
    rows = [f"{lat},{lon},{300 + lon}" for lat in (35, 36) for lon in (139, 140, 141)]
    (tmp_path / "v.csv").write_text("\n".join(["lat,lon,vs30", *rows]))
    layer = tfgmm.read_layer(tmp_path / "v.csv", "vs30", region=(139, 35, 140, 36))
    together = data.add_layer(layer)
    assert type(together) is tfgmm.Dataset and data.layers is None
    data.save(tmp_path / "data")
    on_disk = tfgmm.add_layer(tmp_path / "data", tmp_path / "v.csv", "vs30", region=(139, 35, 140, 36))
    assert on_disk.digest() == together.digest() == tfgmm.open_dataset(tmp_path / "data").digest()
    np.testing.assert_array_equal(on_disk.layers["vs30"], layer)
    assert layers.LAYERS.keys() == {"vs30", "z_bedrock"}


@pytest.mark.slow
def test_simulated_records_keep_their_truth(tmp_path):
    data = tfgmm.simulate(events=40, kik_stations=8, meso_events=2, meso_stations=10)
    assert data.simulated and data.truth is not None
    data.save(tmp_path / "data")
    assert (tmp_path / "data" / "truth.nc").is_file() and (tmp_path / "data" / "truth.json").is_file()
    assert tfgmm.open_dataset(tmp_path / "data").truth is None


def test_files_are_read_within_limits_and_added_up(tmp_path):
    stations = station_table(tmp_path / "code_p.dat")
    first = dat(tmp_path / "i2016.dat", source(), row(), row("3500034"))
    second = dat(tmp_path / "i2017.dat", source("2017010112000000"), row())
    seen = []
    data = tfgmm.read_jma(first, stations, region=(139.7, 35.6, 139.74, 35.8), progress=seen.append)
    assert data.records["station_id"].tolist() == ["3500034"] and seen == [first]
    with pytest.raises(UsageError, match="is no dataset folder"):
        tfgmm.read_jma([second], stations).append_to(tmp_path / "data")
    data.save(tmp_path / "data")
    both = tfgmm.read_jma([second], stations).append_to(tmp_path / "data", same=(10, 50, 1))
    assert type(both) is tfgmm.Dataset and len(both.events) == 2
    assert tfgmm.open_dataset(tmp_path / "data").digest() == both.digest()
    with pytest.raises(UsageError, match="no max_distance"):
        tfgmm.read_jma(first, stations, max_distance=100)


def test_tables_take_columns_as_a_mapping(tmp_path):
    names = "event_id,origin_time,event_longitude,event_latitude,depth_km,Mw,station_id,network,"
    names += "station_longitude,station_latitude,component,PGA"
    event = "e,2016-01-05T02:21:11Z,139.8,35.6,10,6.1"
    rows = [f"{event},S{i},nz,{139 + i / 9},35.5,rotd50,5" for i in range(4)]
    (tmp_path / "t.csv").write_text("\n".join([names, *rows]))
    constants = {"magnitude_source": "mine"}
    data = tfgmm.read_table(tmp_path / "t.csv", columns={"magnitude": "Mw"}, constants=constants, unit="%g")
    assert data.events["magnitude"].tolist() == [6.1] and data.records["PGA"].tolist() == [0.05] * 4
    assert data.events["magnitude_source"].tolist() == ["mine"]


# ---- runs --------------------------------------------------------------------------------------------


def test_settings_are_given_by_their_names():
    tonga = {"crs": "EPSG:32701", "center": (184.0, -20.0)}  # the longitude counts from 0 to 360
    experiment = tfgmm.experiment("kik", **tonga, pixel_km=1.0, epochs=3, base=4, seed=7)
    assert experiment.networks == ("kik",) and experiment.reference == "kik" and experiment.seed == 7
    assert (experiment.grid.longitude, experiment.grid.latitude) == (-176.0, -20.0)
    assert (experiment.grid.pixel_km, experiment.training.epochs, experiment.network.base) == (1.0, 3, 4)
    assert tfgmm.experiment(["kik", "meso"], epochs=None).training == tfgmm.experiment("kik").training
    with pytest.raises(UsageError, match="unknown setting 'epoch': choose one of .*epochs"):
        tfgmm.experiment("kik", epoch=3)
    with pytest.raises(UsageError, match="names no network"):
        tfgmm.experiment([])


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> tfgmm.Run:
    """A run on records in memory."""
    shares = []
    out = tmp_path_factory.mktemp("trained") / "run"
    finished = tfgmm.train(
        data, ["kik", "meso"], out=out, report=lambda what, share: shares.append(share), **TINY
    )
    assert shares[-1] == 1.0
    return finished


@pytest.mark.slow
def test_training_on_records_in_memory(trained, data, monkeypatch):
    assert repr(trained).endswith("/run: PGA from kik, meso, quick>") and trained.simulated
    assert trained.dataset().digest() == data.digest()
    assert set(trained.check()["state"]) == {"whole"} == set(tfgmm.check(trained)["state"])
    monkeypatch.setattr(training.Training, "_train_leased", None)  # nothing is left to train
    again = tfgmm.train(data, ["kik", "meso"], out=trained, **TINY)
    assert again.path == trained.path == tfgmm.open_run(trained).path
    with pytest.raises(UsageError, match="holds another run"):
        tfgmm.train(data, ["kik", "meso"], out=trained, **TINY | {"epochs": 2})


@pytest.mark.slow
def test_a_run_predicts(trained, tmp_path):
    maps = trained.ensemble("pga").maps(EVENT)
    assert maps["mean"].dims == ("event", "row", "col")
    assert trained.ensemble() is trained.ensemble("PGA")
    seen = []
    written = trained.predict(EVENT, tmp_path / "maps.nc", exceed=[0.1], progress=lambda: seen.append(1))
    with xr.open_dataset(written) as file:
        np.testing.assert_allclose(file["mean"].to_numpy(), maps["mean"].to_numpy(), rtol=1e-5)
        assert "exceed_0.1" in file
    assert seen == [1]
    table = pd.read_csv(trained.predict(EVENT, tmp_path / "k.csv", stations=["K03", "K01"]))
    assert table["site_id"].tolist() == ["K03", "K01"]
    assert len(pd.read_csv(trained.predict(EVENT, tmp_path / "all.csv", stations="all"))) == 32
    with pytest.raises(UsageError, match="has no station X"):
        trained.predict(EVENT, tmp_path / "x.csv", stations=["X"])
    with pytest.raises(UsageError, match="exists"):
        trained.predict(EVENT, written)


@pytest.mark.slow
def test_a_run_is_exported_whole(tmp_path):
    """Members are loaded one at a time; the sum of what is prepared is what is written."""
    source_run = tfgmm.Run(untrained_run.make(tmp_path))
    prepared = source_run.prepare_export(tmp_path / "tiny", members=1)
    assert len(prepared.members) == 1 and not (tmp_path / "tiny").exists()
    done = []
    version = source_run.export(tmp_path / "tiny", members=1, progress=done.append)
    assert version == prepared.version and done == [1] and (version / "saved_model.pb").is_file()


@pytest.mark.slow
def test_a_run_is_evaluated_and_reported(tmp_path, tiny, small, monkeypatch):
    score_sections = sections.score_sections  # each section is computed when its turn comes
    monkeypatch.setattr(sections, "score_sections", lambda run: itertools.islice(score_sections(run), 1))
    monkeypatch.setattr(residual_sections, "residual_sections", lambda run: [])
    monkeypatch.setattr(bootstrap.paired, "__defaults__", (0.9, 40, 0))
    paths = [make_run(tmp_path / name, tiny, small, predictions(seed=0)) for name in ("one", "two")]
    first, second = map(tfgmm.open_run, paths)
    shown_in = mpl.get_backend()
    mpl.use("svg")  # as a notebook has one of its own
    evaluation = first.evaluate(baselines=False)
    assert mpl.get_backend() == "svg"
    mpl.use(shown_in)
    assert len(evaluation.section("four_way").shown) and (first.path / "tables" / "four_way.csv").is_file()
    beside, *_ = tfgmm.compare([evaluation, second.evaluate(baselines=False)])
    assert {"one: RMSE", "two: RMSE"} <= {*beside.shown}
    report = first.report(baselines=False, markdown=tmp_path / "pages")
    assert report.page == first.path / "report.html" and report.page.is_file()
    assert (tmp_path / "pages" / "README.md").read_text().count("tfgmm report ") == 1
    assert [one.run.path for one in report.evaluations] == [first.path]


# ---- servers -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_is_asked_and_its_answer_written(tmp_path):
    with served_model.serving(tmp_path) as server:
        url = server.addresses[0]
        maps = tfgmm.query(url, EVENT, tmp_path / "maps.nc")
        sites = pd.DataFrame({"longitude": [139.8, 139.9], "latitude": [35.5, 36.0]})
        rows = tfgmm.query(url, EVENT, tmp_path / "sites.parquet", sites=sites)
        with pytest.raises(UsageError, match=r"maps can be written as .nc"):
            tfgmm.query(url, EVENT, tmp_path / "maps.tif")
    with xr.open_dataset(tmp_path / "maps.nc") as written:
        np.testing.assert_array_equal(written["mean"], maps["mean"])
    table = pd.read_parquet(tmp_path / "sites.parquet")
    assert table["mean"].tolist() == rows["mean"].to_numpy().ravel().tolist()


@pytest.mark.slow
def test_serving_says_where(tmp_path, monkeypatch):
    folder, said = served_model.write(tmp_path / "tiny").parent, []
    monkeypatch.setattr("tfgmm.serving.server.Server.serve", lambda server, ready: ready())
    tfgmm.serve(folder, rest_port=0, grpc_port=0, say=said.append)
    assert "which it is not" in said[-2] and said[-1].endswith("/v1/models/tiny\nCtrl-C stops it.")
    assert f"source={folder}" in tfgmm.docker_command(folder)
