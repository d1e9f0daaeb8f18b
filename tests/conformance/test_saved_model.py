"""One SavedModel, several engines: the C++ runtime of TensorFlow, OpenVINO, a real model server."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from helpers import untrained_run
from tfgmm.network.channels import event_vectors
from tfgmm.prediction import ensemble
from tfgmm.runs.run import RunFolder
from tfgmm.serving import export

CLIENT = Path(__file__).with_name("c_api.py")
SIGNATURES = ("at_sites", "normal_parameters", "serving_default")
BATCHES = (1, 16)
SITES = untrained_run.sites(40)


MAPS = ("mean", "stddev", "aleatory", "epistemic", "support")


@pytest.fixture(scope="module")
def run(untrained_root):
    return RunFolder.open(untrained_root() / "run")


@pytest.fixture(scope="module")
def version(untrained_root):
    return untrained_root() / "tiny" / "1"


@pytest.fixture(scope="module")
def requests():
    sites = {"at_sites": SITES}
    return {
        f"{count}/{name}": untrained_run.inputs(untrained_run.events(count), sites.get(name))
        for count in BATCHES
        for name in SIGNATURES
    }


@pytest.fixture(scope="module")
def expected(run):
    """What the Keras models say, without anything that is exported."""
    loaded, found = ensemble.load(run.path), {}
    row, col, inside = run.experiment.grid.locate(SITES["longitude"], SITES["latitude"])
    row, col = (np.clip(index, 0, 27) for index in (row, col))
    members = [loaded.members[place] for place in sorted(loaded.members, key=lambda place: place[::-1])]
    for count in BATCHES:
        events = untrained_run.events(count)
        maps = loaded.maps(events)
        maps = {name: maps[name].to_numpy() for name in MAPS}
        vectors = event_vectors(events, run.experiment.grid)
        rasteriser = loaded._outputs.rasteriser
        stacks = tf.stack([rasteriser(tf.constant(one), tf.zeros(2, tf.int32)) for one in vectors])
        normals = [member(stacks) for member in members]
        found[f"{count}/serving_default"] = maps
        found[f"{count}/at_sites"] = {name: one[:, row, col] for name, one in maps.items()} | {
            "inside": np.tile(inside, (count, 1)),
            "support": loaded.at_sites(events, SITES)["support"].to_numpy(),  # by the site's own distance
        }
        found[f"{count}/normal_parameters"] = {
            "mean": np.stack([normal.loc[..., 0] for normal in normals], axis=1),
            "stddev": np.stack([normal.scale[..., 0] for normal in normals], axis=1),
        }
    return found


@pytest.fixture(scope="module")
def runtime(version, requests, tmp_path_factory):
    """What the C++ runtime says, in a process without TensorFlow's Python."""
    impossible = requests["1/serving_default"] | {"depth_km": np.array([np.nan], "float32")}
    return run_in_c(
        version, requests | {"impossible/serving_default": impossible}, tmp_path_factory.mktemp("c_api")
    )


def run_in_c(version, asked, folder):
    flat = {f"{name}/{given}": one for name, inputs in asked.items() for given, one in inputs.items()}
    np.savez(folder / "requests.npz", **flat)
    arguments = (Path(tf.__file__).parent, version, folder / "requests.npz", folder / "answers.npz")
    done = subprocess.run(
        [sys.executable, CLIENT, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "answers.npz"))


def assert_agrees(found, expected, atol):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert np.isfinite(found[name]).all()
        # A support is a number of records, and steep at the edges of its windows.
        tolerance = {"rtol": 1e-3, "atol": 2e-3} if name == "support" else {"rtol": 0, "atol": atol}
        np.testing.assert_allclose(found[name], values, err_msg=name, **tolerance)


@pytest.mark.slow
def test_runtime_has_no_tensorflow_python(runtime):
    assert not len(runtime["imported"])


@pytest.mark.slow
def test_runtime_finds_the_signatures(runtime):
    assert set(runtime["signatures"]) == {*SIGNATURES, "__saved_model_init_op"}


@pytest.mark.slow
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("count", BATCHES)
def test_runtime_agrees_with_keras(runtime, expected, count, signature):
    request = f"{count}/{signature}"
    answer = {
        name.rpartition("/")[2]: values
        for name, values in runtime.items()
        if name.startswith(f"{request}/")
    }
    assert_agrees(answer, expected[request], atol=1e-5)


@pytest.mark.slow
def test_runtime_adds_the_backbone(tmp_path):
    run, events, sites = untrained_run.make(tmp_path, backbone="BSSA14"), untrained_run.events(2), SITES
    version = export.prepare(run, tmp_path / "model").write()
    known = {
        "site_vs30_m_s": np.full((2, len(sites)), 250, "float32"),
        "site_r_rup_km": np.full((2, len(sites)), 40, "float32"),
    }
    asked = untrained_run.inputs(events, sites)
    requests = {"a/serving_default": untrained_run.inputs(events), "b/at_known_sites": asked | known}
    found = run_in_c(version, requests, tmp_path)
    maps = ensemble.load(run.path).maps(events)
    answer = {name: found[f"a/serving_default/{name}"] for name in MAPS}
    assert_agrees(answer, {name: maps[name].to_numpy() for name in MAPS}, atol=1e-4)
    soft = found["b/at_known_sites/mean"]
    assert np.isfinite(soft).all() and soft.std() > 0


@pytest.mark.slow
def test_runtime_finds_stations_by_name(untrained_root, tmp_path):
    root = untrained_root(True)
    run, version = RunFolder.open(root / "run"), root / "tiny" / "1"
    ids, events = ["K03", "M01", "K17"], untrained_run.events(2)
    asked = {
        name: untrained_run.inputs(events) | {"station_id": np.array([chosen] * 2, "S8")}
        for name, chosen in (("known/at_stations", ids), ("unknown/at_stations", [*ids, "X"]))
    }
    found = run_in_c(version, asked, tmp_path)
    expected = ensemble.load(run.path).at_stations(events, ids)
    names = (*MAPS, "between_event", "within_event")
    answer = {name: found[f"known/at_stations/{name}"] for name in names}
    assert_agrees(answer, {name: expected[name].to_numpy() for name in names}, atol=1e-4)
    assert "names no station of this model" in str(found["unknown/at_stations/error"])
    assert not len(found["without_kernel"])


@pytest.mark.slow
def test_runtime_refuses_what_cannot_be(runtime):
    assert "depth_km must lie between -5 and 800" in str(runtime["impossible/serving_default/error"])


@pytest.mark.slow
def test_every_op_has_a_processor_kernel(runtime):
    assert {"Conv2D", "StatefulPartitionedCall", "Atan2"} <= set(runtime["ops"])
    assert not len(runtime["without_kernel"])


@pytest.mark.slow
def test_nothing_needs_python_or_xla(runtime):
    assert not [op for op in runtime["ops"] if "PyFunc" in op or op.startswith("Xla")]
    assert not [name for name in runtime["attributes"] if "xla" in name.lower()]


@pytest.mark.slow
def test_openvino_agrees_with_keras(version, requests, expected):
    """Of the default signature: OpenVINO reads no other from a folder."""
    openvino = pytest.importorskip("openvino")
    converted = openvino.Core().read_model(version)
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.compile_model(converted, "CPU", hints)
    for count in BATCHES:
        request = f"{count}/serving_default"
        answer = compiled(requests[request])
        found = {name: answer[name] for name in expected[request]}
        assert_agrees(found, expected[request], atol=1e-4)


@pytest.fixture(scope="module")
def server(version):
    """The address of a real TensorFlow model server."""
    binary = os.environ.get("TFGMM_MODEL_SERVER")
    if not binary:
        pytest.skip("TFGMM_MODEL_SERVER names no tensorflow_model_server")
    with socket.socket() as rest, socket.socket() as grpc:
        for one in (rest, grpc):
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (rest, grpc)]
    options = [f"--rest_api_port={ports[0]}", f"--port={ports[1]}", "--model_name=tiny"]
    process = subprocess.Popen(
        [binary, *options, f"--model_base_path={version.parent}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{ports[0]}/v1/models/tiny"
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(address, content=None, seconds=60):
    """JSON from the server, which may still be loading."""
    last = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, content, timeout=seconds) as answer:
                return json.load(answer)
        except OSError:
            if time.monotonic() > last:
                raise
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("count", BATCHES)
def test_model_server_agrees_with_keras(server, requests, expected, count, signature):
    request = f"{count}/{signature}"
    given = {name: values.tolist() for name, values in requests[request].items()}
    content = json.dumps({"signature_name": signature, "inputs": given}).encode()
    found = {name: np.array(one) for name, one in ask(f"{server}:predict", content)["outputs"].items()}
    assert_agrees(found, expected[request], atol=1e-5)
