"""An ensemble -> one SavedModel with all that a server needs."""

import dataclasses
import gc
import json
import re
import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from helpers import untrained_run
from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.grid import Grid
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction import ensemble
from tfgmm.runs import member_folder
from tfgmm.runs.run import RunFolder
from tfgmm.serving import export
from tfgmm.serving.graph import EVENT, SITES, detached
from tfgmm.serving.graph import STATIONS as STATION_IDS
from tfgmm.serving.models import definitions
from tfgmm.stats import calibration

MAPS = ("mean", "stddev", "aleatory", "epistemic", "support")
EVENTS, PLACES = untrained_run.events(3), untrained_run.sites(30)


@pytest.fixture(scope="module")
def run(untrained_root):
    return RunFolder.open(untrained_root() / "run")


@pytest.fixture(scope="module")
def version(untrained_root):
    return untrained_root() / "tiny" / "1"


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(version).signatures


@pytest.fixture(scope="module")
def loaded(run):
    return ensemble.load(run.path)


@pytest.fixture
def copied(run, tmp_path):
    """A run that may be changed."""
    shutil.copytree(run.path, tmp_path / "run")
    return dataclasses.replace(run, path=tmp_path / "run")


def ask(signature, **inputs):
    dtypes = EVENT | SITES | STATION_IDS
    given = {name: tf.constant(values, dtypes[name]) for name, values in inputs.items()}
    return {name: values.numpy() for name, values in signature(**given).items()}


def stored(version):
    """Variables of the checkpoint: name -> (shape, bytes)."""
    reader = tf.train.load_checkpoint(version / "variables" / "variables")
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    del shapes["_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: (tuple(shape), np.prod(shape) * dtypes[name].size) for name, shape in shapes.items()}


@pytest.mark.slow
def test_maps_are_those_of_the_ensemble(loaded, signatures):
    expected = loaded.maps(EVENTS)
    found = ask(signatures["serving_default"], **untrained_run.inputs(EVENTS))
    assert set(found) == set(MAPS)
    for name in MAPS:
        assert expected[name].std() > 0.01 or name == "support"
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@pytest.mark.slow
def test_sites_are_those_of_the_ensemble(loaded, signatures):
    expected = loaded.at_sites(EVENTS, PLACES)
    found = ask(signatures["at_sites"], **untrained_run.inputs(EVENTS, PLACES))
    assert 5 < expected["outside_map"].sum() < 25
    np.testing.assert_array_equal(found["inside"], np.tile(~expected["outside_map"], (3, 1)))
    for name in MAPS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@pytest.mark.slow
def test_members_one_by_one(signatures):
    event = untrained_run.inputs(EVENTS)
    one_by_one = ask(signatures["normal_parameters"], **event)
    together = ask(signatures["serving_default"], **event)
    assert one_by_one["mean"].shape == (3, 4, 28, 28)
    np.testing.assert_allclose(one_by_one["mean"].mean(1), together["mean"], atol=1e-5)
    np.testing.assert_allclose(
        np.sqrt((one_by_one["stddev"] ** 2).mean(1)), together["aleatory"], atol=1e-5
    )


@pytest.mark.slow
def test_calibration_is_in_the_graph(copied, tmp_path):
    """With the distance of the site itself, which the length of 2 km, the pixel's, would tell."""
    chosen = calibration.Calibration(a=1.2, b=0.4, length_km=2.0, c=3.0)
    raw = ensemble.load(copied.path).maps(EVENTS)
    calibration.write({"PGA": chosen}, copied.path)
    version = export.prepare(copied.path, tmp_path / "calibrated").write()
    signatures, calibrated = tf.saved_model.load(version).signatures, ensemble.load(copied.path)
    maps = ask(signatures["serving_default"], **untrained_run.inputs(EVENTS))
    at_sites = ask(signatures["at_sites"], **untrained_run.inputs(EVENTS, PLACES))
    expected = calibrated.maps(EVENTS)
    assert (expected["epistemic"] > 1.7 * raw["epistemic"]).any()
    for name in MAPS:
        np.testing.assert_allclose(maps[name], expected[name], atol=1e-5)
        np.testing.assert_allclose(at_sites[name], calibrated.at_sites(EVENTS, PLACES)[name], atol=1e-5)
    assert json.loads((version / export.DESCRIPTION).read_text())["calibration"]["PGA"]["b"] == 0.4
    assert "Standard deviations are calibrated." in (version.parent / "README.md").read_text()


@pytest.fixture(scope="module")
def with_field(untrained_root):
    """A run with a field, its exported version, and the loaded model."""
    root = untrained_root(True)
    version = root / "tiny" / "1"
    return RunFolder.open(root / "run"), version, tf.saved_model.load(version)


STATIONS = ["K03", "M01", "K17", "K03"]
IDS = np.array([STATIONS] * 3, object)


def assert_as_python(model, python):
    """Mean to 0.0001, sigma and its parts to 1 %."""
    event = untrained_run.inputs(EVENTS)
    pairs = {
        "serving_default": (event, python.maps(EVENTS)),
        "at_sites": (untrained_run.inputs(EVENTS, PLACES), python.at_sites(EVENTS, PLACES)),
        "at_stations": (event | {"station_id": IDS}, python.at_stations(EVENTS, STATIONS)),
    }
    for signature, (inputs, expected) in pairs.items():
        found = ask(model.signatures[signature], **inputs)
        np.testing.assert_allclose(found["mean"], expected["mean"], atol=1e-4, err_msg=signature)
        for name in (*MAPS[1:4], "between_event", "within_event"):
            assert expected[name].min() > 0.01
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-2, err_msg=name)


@pytest.mark.slow
def test_the_field_is_in_the_graph(with_field):
    run, version, model = with_field
    python = ensemble.load(run.path)
    assert_as_python(model, python)
    station, place = python.at_stations(EVENTS, STATIONS), python.at_sites(EVENTS, run.stations(STATIONS))
    assert np.abs(station["mean"] - place["mean"]).max() > 0.02
    about = json.loads((version / export.DESCRIPTION).read_text())
    assert about["field"]["PGA"] == run.field("PGA").covariance.stddevs
    assert {*STATIONS} < set(about["stations"])
    said = run.conditioned_on["data"]
    assert (about["conditioned_on"], about["data_hash"]) == ("all records", said)
    page = " ".join((version.parent / "README.md").read_text().split())
    assert f"Backbone and field of residuals are conditioned on all records of data {said}." in page


@pytest.mark.slow
def test_a_model_of_training_records(with_field, tmp_path):
    """Each chunk has its own backbone and field; stations without records in a chunk are new ones there."""
    run, _, of_all = with_field
    version = export.prepare(run.path, tmp_path / "model", condition="training").write()
    model = tf.saved_model.load(version)
    assert_as_python(model, ensemble.load(run.path, condition="training"))
    found, other = (
        ask(one.signatures["at_stations"], **untrained_run.inputs(EVENTS), station_id=IDS)
        for one in (model, of_all)
    )
    assert np.abs(found["mean"] - other["mean"]).max() > 0.02
    about = json.loads((version / export.DESCRIPTION).read_text())
    assert (about["conditioned_on"], about["data_hash"]) == ("training records", run.data["digest"])
    assert "conditioned on training records of data" in (version.parent / "README.md").read_text()


@pytest.mark.slow
def test_what_the_signatures_share_is_stored_once(with_field):
    run, version, _ = with_field
    field, prepared = run.field("PGA"), export.prepare(run.path, version.parent)
    assert sum(size for _, size in stored(version).values()) == prepared.size_bytes
    networks = prepared.weights * 4 * len(prepared.members)
    arrays = [values for name, values in field.constants.items() if name != "covariance"]
    assert prepared.size_bytes > networks + sum(values.nbytes for values in arrays)
    graph = (version / "saved_model.pb").stat().st_size
    assert graph < 3e6  # no array is in the graph itself


@pytest.mark.slow
def test_fewer_members_have_the_same_field(with_field, tmp_path):
    """One member of each chunk: (0, 0) and (1, 0)."""
    run, *_ = with_field
    version = export.prepare(run.path, tmp_path / "fewer", members=2).write()
    found = ask(
        tf.saved_model.load(version).signatures["at_stations"],
        **untrained_run.inputs(EVENTS),
        station_id=IDS,
    )
    few = ensemble.load(run.path)
    members = {place: networks for place, networks in few.members.items() if place[1] == 0}
    few._outputs = ensemble.Outputs(members, Rasteriser.of_run(run))
    np.testing.assert_allclose(found["mean"], few.at_stations(EVENTS, STATIONS)["mean"], atol=1e-4)


@pytest.mark.slow
def test_unknown_station_is_refused(with_field):
    ids = np.array([["K03", "nowhere"]] * 3, object)
    with pytest.raises(tf.errors.InvalidArgumentError, match="station_id names no station of this model"):
        ask(with_field[2].signatures["at_stations"], **untrained_run.inputs(EVENTS), station_id=ids)


@pytest.mark.slow
def test_calibration_of_another_intensity_measure(copied, tmp_path):
    calibration.write({"SA(1.0)": calibration.Calibration()}, copied.path)
    with pytest.raises(DataError, match=r"calibration.json has no PGA"):
        export.prepare(copied.path, tmp_path / "model").write()
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_every_weight_is_stored_once(run, version):
    places = [run.member(chunk, init) for chunk in (0, 1) for init in (0, 1)]
    models = [model for place in places for model in member.load_networks(place, ["PGA"]).models]
    shapes = [tuple(weight.shape) for model in models for weight in model.weights]
    expected = sorted([*shapes, run.support("PGA").effective.shape])
    variables = stored(version)
    assert sorted(shape for shape, _ in variables.values()) == expected
    size = sum(size for _, size in variables.values())
    assert size == export.prepare(run.path, version.parent).size_bytes
    data = sum(path.stat().st_size for path in version.glob("variables/variables.data*"))
    assert size <= data < 1.5 * size


@pytest.mark.slow
def test_half_precision_is_half_the_size(run, signatures, tmp_path):
    full, half = (
        export.prepare(run.path, tmp_path / "half", members=1, precision=precision)
        for precision in export.PRECISIONS
    )
    assert half.size_bytes * 2 == full.size_bytes + half.shared * 4
    version = half.write()
    assert sum(size for _, size in stored(version).values()) == half.size_bytes
    event = untrained_run.inputs(EVENTS)
    expected = ask(signatures["normal_parameters"], **event)
    found = ask(tf.saved_model.load(version).signatures["normal_parameters"], **event)
    for name in ("mean", "stddev"):
        assert found[name].dtype == np.float32
        difference = np.abs(found[name] - expected[name][:, :1]).max()
        assert 0 < difference < 0.02


@pytest.mark.slow
def test_keras_models_are_free_to_go(run):
    networks = member.load_networks(run.member(0, 0), ["PGA"])
    variables, function = detached(networks, tf.float32)
    watched = weakref.ref(networks.models[0])
    del networks
    gc.collect()
    assert watched() is None
    assert function is not None and len(variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("depth_km", np.nan, "depth_km must lie between -5 and 800"),
        ("longitude", 181.0, "longitude must lie between -180 and 180"),
        ("latitude", -np.inf, "latitude must lie"),
        ("magnitude", 11.0, "magnitude must lie"),
        ("site_latitude", np.nan, "site_latitude must lie between -90 and 90"),
    ],
)
def test_what_cannot_be_is_refused_by_name(signatures, name, value, message):
    given = untrained_run.inputs(EVENTS, PLACES)
    given[name] = np.where(np.arange(given[name].size).reshape(given[name].shape) == 1, value, given[name])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(signatures["at_sites"], **given)


@pytest.mark.slow
@pytest.mark.parametrize(
    "event",
    [(-40.2, 0.0, -5.0, -1.0), (49.8, 0.0, 800.0, 10.0), (180.0, 90.0, 0.0, 10.0), (-180, -90, 0, 0)],
)
def test_finite_for_any_event(signatures, event):
    given = {name: [value] for name, value in zip(EVENT, event, strict=True)}
    places = {"site_longitude": [[event[0], 0.0]], "site_latitude": [[event[1], 0.0]]}
    found = ask(signatures["at_sites"], **given, **places)
    assert all(np.isfinite(values).all() for values in found.values())
    assert not found["inside"].any()


def test_request_for_a_hundred_sites_is_small():
    request = predict_pb2.PredictRequest()
    for name, values in untrained_run.inputs(EVENTS[:1], untrained_run.sites(100)).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    assert 1000 < request.ByteSize() < 4000


@pytest.mark.slow
def test_description_and_pages(run, version):
    text = (version / export.DESCRIPTION).read_text()
    found = json.loads(text)
    assert (found["intensity_measures"], found["version"], found["simulated"]) == (["PGA"], 1, True)
    assert Grid(**found["grid"]) == run.experiment.grid
    assert member_folder.Ranges(**found["ranges"]) == run.ranges("PGA")
    assert found["versions"]["tensorflow"] == tf.__version__
    page = (version.parent / "README.md").read_text()
    assert "target=/models/tiny" in page and "SIMULATED" in page and "not calibrated." in page
    assert 'base_path: "/models/tiny"' in (version.parent / "models.config").read_text()


@pytest.mark.slow
def test_page_names_every_signature_input_and_output(with_field, version):
    """From the model itself: one with a field, and one without."""
    for folder in (with_field[1], version):
        page = (folder.parent / "README.md").read_text()
        for signature, definition in definitions(folder).signature_def.items():
            if signature.startswith("__"):
                continue
            (line,) = re.findall(rf"^- `{signature}` \(.+", page, re.MULTILINE)
            for name in {*definition.inputs, *definition.outputs}:
                assert f" `{name}` [n" in line
                assert re.search(rf"^\| `{name}` \| \w+ \| \w.+ \|$", page, re.MULTILINE)
    assert "`at_stations`" not in page and "between_event" not in page
    assert "conditioned on" not in page
    page = (with_field[1].parent / "README.md").read_text()
    assert "`station_id` [n, m] -> `mean` [n, m]" in page
    assert "`between_event` [n, 28, 28], `within_event` [n, 28, 28]" in page


@pytest.mark.slow
def test_example_of_the_page_runs(with_field, version, monkeypatch):
    for folder, places in ((with_field[1], 2), (version, 1)):
        page = (folder.parent / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
        monkeypatch.chdir(folder.parents[1])
        names: dict = {}
        exec(code, names)  # as its reader does
        assert names["median_g"].shape == (1, places)
        request = json.loads(re.search(r"-d '(.+)'", page)[1])
        found = ask(tf.saved_model.load(folder).signatures["at_sites"], **request["inputs"])
        assert np.isfinite(found["mean"]).all() and found["inside"].all()


@pytest.mark.slow
def test_no_place_of_this_machine_is_told(run, version):
    told = [path.read_bytes() for path in version.parent.rglob("*") if path.is_file()]
    assert len(told) > 5
    roots = (run.path.parents[2], version.parents[2], run.path.home(), run.path.cwd())
    assert not any(str(root).encode() in content for root in roots for content in told)


@pytest.mark.slow
def test_warm_up_requests_can_be_answered(version, signatures):
    asked = set()
    for record in tf.data.TFRecordDataset([str(version / export.WARMUP)]):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(values) for name, values in request.inputs.items()}
        assert request.model_spec.name == "tiny"
        asked.add(request.model_spec.signature_name)
        found = ask(signatures[request.model_spec.signature_name], **inputs)
        assert all(len(values) == 1 for values in found.values())
    assert asked == set(signatures)


@pytest.mark.slow
def test_versions_count_up(run, version):
    again = export.prepare(run.path, version.parent, members=1)
    assert again.version == version.with_name("2")
    (version.parent / ("9" * 30)).mkdir()  # no version of a server
    assert export.prepare(run.path, version.parent, members=1).version == again.version
    (version.parent / ("9" * 30)).rmdir()
    with pytest.raises(UsageError, match=r"tiny is a model of PGA, not SA\(1.0\): choose another --out"):
        export.prepare(run.path, version.parent, im="SA(1.0)")


@pytest.mark.slow
def test_two_exports_at_once_are_both_kept(run, tmp_path, monkeypatch):
    """One ends while the other is in the middle of writing, a third between preparing and writing."""
    first, second, third = (export.prepare(run.path, tmp_path / "model", members=1) for _ in range(3))
    assert first.version == second.version == third.version
    save, written = export._save, []

    def save_slowly(*args):
        monkeypatch.setattr(export, "_save", save)
        written.append(second.write())
        save(*args)

    monkeypatch.setattr(export, "_save", save_slowly)
    written += [first.write(), third.write()]
    assert [path.name for path in written] == ["1", "2", "3"]
    for path in written:
        assert json.loads((path / export.DESCRIPTION).read_text())["version"] == int(path.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "models.config"])
def test_files_of_others_are_not_replaced(run, tmp_path, name):
    path = tmp_path / "model" / name
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UsageError, match=f"{name} exists already and was not made by this.*--overwrite"):
        export.prepare(run.path, tmp_path / "model")
    assert path.read_text() == "mine"
    export.prepare(run.path, tmp_path / "model", members=1, overwrite=True).write()
    assert path.read_text() != "mine"
    assert export.prepare(run.path, tmp_path / "model").version.name == "2"  # these are ours


@pytest.mark.slow
def test_a_folder_of_something_else(run, tmp_path):
    (tmp_path / "7").mkdir()
    with pytest.raises(UsageError, match="holds something else than exports of tfgmm"):
        export.prepare(run.path, tmp_path)


@pytest.mark.slow
def test_all_or_nothing(run, tmp_path, monkeypatch):
    def fails(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_warmup", fails)
    with pytest.raises(DataError, match="cannot write .*No space left"):
        export.prepare(run.path, tmp_path / "model", members=1).write()
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "expected"),
    [(None, [(0, 0), (1, 0), (0, 1), (1, 1)]), (3, [(0, 0), (1, 0), (0, 1)]), (1, [(0, 0)])],
)
def test_members_are_spread_over_chunks_first(run, tmp_path, count, expected):
    assert export.prepare(run.path, tmp_path / "model", members=count).members == expected


@pytest.mark.slow
def test_default_names(run):
    named = {im: export.prepare(run.path, im=im).name for im in ("PGA", "SA(1.0)", "all")}
    assert named == {"PGA": "run", "SA(1.0)": "run-SA-1.0", "all": "run-spectra"}


@pytest.mark.slow
def test_a_model_of_all_measures_says_of_each_what_its_own_model_says(run, signatures, tmp_path):
    prepared = export.prepare(run.path, tmp_path / "all", im="all")
    version = prepared.write()
    assert sum(size for _, size in stored(version).values()) == prepared.size_bytes
    both = tf.saved_model.load(version).signatures
    places = untrained_run.inputs(EVENTS) | untrained_run.inputs(EVENTS, PLACES)
    for name, inputs in (("serving_default", untrained_run.inputs(EVENTS)), ("at_sites", places)):
        alone, found = ask(signatures[name], **inputs), ask(both[name], **inputs)
        for quantity in MAPS:
            np.testing.assert_allclose(found[f"{quantity}_PGA"], alone[quantity], rtol=1e-5, atol=1e-6)
        expected = ensemble.load(run, "SA(1.0)")
    in_python = expected.maps(EVENTS)
    maps = ask(both["serving_default"], **untrained_run.inputs(EVENTS))
    np.testing.assert_allclose(maps["mean_SA(1.0)"], in_python["mean"], atol=1e-4)
    np.testing.assert_allclose(maps["stddev_SA(1.0)"], in_python["stddev"], rtol=1e-3)
    page = (version.parent / "README.md").read_text()
    assert "model for PGA, SA(1.0)" in page and "`mean_SA(1.0)` | float32 | SA(1.0): of ln IM" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 0}, "--members 0: .* 1 to 4 to choose from"),
        ({"members": 5}, "--members 5"),
        ({"precision": "float8"}, "unknown precision 'float8': choose float32 or float16"),
        ({"im": "SA(2.0)"}, r"no SA\(2.0\): ask for PGA, SA\(1.0\)"),
        ({"out": "a b"}, "'a b' cannot be the name of a served model"),
    ],
)
def test_what_does_not_fit(run, settings, message):
    with pytest.raises(UsageError, match=message):
        export.prepare(run.path, **settings)


@pytest.mark.slow
def test_projection_that_cannot_be_exported(copied, tmp_path):
    path = copied.path / "experiment.json"
    content = files.read_json(path)
    content["experiment"]["grid"]["crs"] = "EPSG:3034"
    files.write_json(path, content)
    with pytest.raises(UsageError, match="Lambert Conic Conformal.*cannot be computed in a model server"):
        export.prepare(copied.path, tmp_path / "model")


@pytest.mark.slow
def test_says_what_is_huge_and_what_does_not_fit(run, tmp_path, monkeypatch):
    small = export.prepare(run.path, tmp_path / "model")
    assert small.summary.endswith(f"model/1: 4 members of {small.weights:,} weights in float32, 0.0 MB")
    paper = dataclasses.replace(small, weights=31_000_000)
    assert "496.0 MB" in paper.summary and "--members" not in paper.summary
    paper = dataclasses.replace(paper, members=[(0, 0)] * 50)
    assert "6,200.0 MB. A server needs as much memory. --members K" in paper.summary
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 5))
    with pytest.raises(DataError, match="but only 0.0 MB are free"):
        export.prepare(run.path, tmp_path / "model")
