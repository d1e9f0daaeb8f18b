"""The REST interface: answers and refusals."""

import gzip
import json

import numpy as np
import pytest
import requests

from helpers import served_model
from helpers.served_model import ONE, TWO_SITES, several


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served_model.serving(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def rest(server):
    return server.addresses[0]


def post(rest, content, **options):
    return requests.post(f"{rest}:predict", json=content, timeout=30, **options)


def test_columns(rest):
    answer = post(rest, {"signature_name": "at_sites", "inputs": ONE | TWO_SITES})
    assert answer.status_code == 200
    found = answer.json()["outputs"]
    np.testing.assert_allclose(found["mean"], [[5.7, 6.7]], rtol=1e-6)
    assert found["inside"] == [[1, 0]] and found["stddev"] == [[5.0, 5.0]]


def test_rows(rest):
    instances = [{name: values[0] for name, values in (ONE | TWO_SITES).items()}] * 2
    instances[1] = instances[1] | {"magnitude": 7}
    found = post(rest, {"signature_name": "at_sites", "instances": instances}).json()["predictions"]
    assert [one["inside"] for one in found] == [[1, 0], [1, 0]]
    np.testing.assert_allclose([one["mean"] for one in found], [[5.7, 6.7], [6.7, 7.7]], rtol=1e-6)


def test_only_output_has_no_name(rest):
    assert post(rest, {"signature_name": "mean_only", "inputs": several(2)}).json() == {
        "outputs": [5.7, 5.7]
    }
    rows = [{name: values[0] for name, values in ONE.items()}]
    assert post(rest, {"signature_name": "mean_only", "instances": rows}).json() == {"predictions": [5.7]}


def test_default_signature_and_version(rest):
    found = post(rest + "/versions/1", {"inputs": ONE}).json()["outputs"]
    assert np.shape(found["mean"]) == (1, 8, 8)


def test_status_metadata_health(rest):
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for place in (rest, rest + "/versions/1"):
        assert requests.get(place, timeout=5).json() == {"model_version_status": [status]}
    found = requests.get(rest + "/metadata", timeout=5).json()
    assert found["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    depth = found["metadata"]["signature_def"]["signature_def"]["at_sites"]["inputs"]["depth_km"]
    assert depth["dtype"] == "DT_FLOAT" and depth["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    root = rest.partition("/v1")[0]
    assert requests.get(root + "/healthz", timeout=5).json() == {"status": "ok"}
    assert "TensorFlow Serving, which it is not" in requests.get(root, timeout=5).json()["server"]


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        ({}, 400, 'either "inputs" or "instances"'),
        ([], 400, 'either "inputs" or "instances"'),
        ({"inputs": ONE, "instances": []}, 400, 'either "inputs" or "instances"'),
        ({"instances": []}, 400, "at least one instance"),
        ({"instances": [5]}, 400, "the request lacks"),
        ({"inputs": {}}, 400, "the request lacks"),
        ({"inputs": ONE | {"vs30": [1]}}, 400, "the request has 'vs30': inputs of serving_default are"),
        (
            {"inputs": ONE, "signature_name": "classify"},
            400,
            "model tiny has no signature 'classify': it has",
        ),
        ({"inputs": ONE, "signature_name": 3}, 400, "signature_name needs to be a text"),
        ({"inputs": ONE | {"magnitude": ["6"]}}, 400, "input magnitude needs to hold numbers only"),
        ({"inputs": ONE | {"magnitude": [None]}}, 400, "input magnitude needs to hold numbers only"),
        ({"inputs": ONE | {"magnitude": [True]}}, 400, "input magnitude needs to hold numbers only"),
        ({"inputs": ONE | {"magnitude": [[6], [6, 7]]}}, 400, "input magnitude is no regular array"),
        ({"inputs": ONE | {"magnitude": 6}}, 400, "input magnitude has shape [], expected [any]"),
        ({"inputs": ONE | {"magnitude": [6, 7]}}, 400, "inputs need one length above 0"),
        ({"inputs": several(0)}, 400, "inputs need one length above 0"),
        ({"inputs": ONE | {"magnitude": [9.5]}}, 400, "magnitude must lie between -1 and 9"),
        ({"inputs": ONE | {"magnitude": [1e300]}}, 400, "magnitude must lie between -1 and 9"),
        (
            {"inputs": ONE | {"magnitude": [6, "x" * 1000]}},
            400,
            "numbers only, of type float32: it has a text",
        ),
        (
            {"signature_name": "at_stations", "inputs": ONE | {"station_id": [["x" * 300]]}},
            413,
            "at most 256",
        ),
        ({"inputs": several(5)}, 413, "5 events, but at most 4 fit in a request"),
        ({"inputs": several(3)}, 413, "an answer of 3072 bytes, at most 3000"),
        ({"inputs": several(2000)}, 413, "a request may have 20000 bytes"),
    ],
)
def test_refused(rest, content, status, error):
    answer = post(rest, content)
    assert answer.status_code == status
    assert error in answer.json()["error"]


STATIONS = {"signature_name": "at_stations", "inputs": ONE | {"station_id": [["abc", {"b64": "YWI="}]]}}


def test_bytes_in_base64_and_a_compressed_body(rest):
    """As TensorFlow Serving takes them."""
    body, coded = json.dumps(STATIONS).encode(), {"content-encoding": "gzip"}
    answer = requests.post(f"{rest}:predict", data=gzip.compress(body, mtime=0), headers=coded, timeout=5)
    np.testing.assert_allclose(answer.json()["outputs"]["mean"], [[8.7, 7.7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("coding", "body", "status", "error"),
    [
        ("gzip", b"{}", 400, "the request is no gzip"),
        ("gzip", gzip.compress(b"{}" * 1000, mtime=0)[:-9], 400, "ends too early"),
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0), 413, "may have 20000 bytes"),
        ("br", b"{}", 415, "content-encoding 'br' is not known"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), 415, "send gzip or none"),
    ],
)
def test_other_compressed_bodies(rest, coding, body, status, error):
    headers = {"content-encoding": coding}
    answer = requests.post(f"{rest}:predict", data=body, headers=headers, timeout=5)
    assert answer.status_code == status and error in answer.json()["error"]


def test_infinite(rest):
    content = json.dumps({"inputs": ONE}).replace("6.0", "1e999")
    answer = requests.post(f"{rest}:predict", data=content, timeout=5)
    assert answer.status_code == 400 and "magnitude must lie between" in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 5000, b'{"inputs": {"magnitude": [NaN]}}'])
def test_no_json(rest, content):
    answer = requests.post(f"{rest}:predict", data=content, timeout=5)
    assert answer.status_code == 400 and "the request is no JSON" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "place", "status", "error"),
    [
        ("GET", "/v1/models/other", 404, "no model 'other' is served here: there is tiny"),
        ("POST", "/v1/models/other:predict", 404, "no model 'other'"),
        ("GET", "/v1/models/tiny/versions/2", 404, "version 2 of tiny is not served: 1 is"),
        ("GET", "/v1/models/tiny/versions/" + "9" * 5000, 404, "is no version"),
        ("GET", "/v1/models/tiny/versions/one/metadata", 404, "'one' is no version"),
        ("POST", "/v1/models/tiny:classify", 405, "Method Not Allowed"),
        ("DELETE", "/v1/models/tiny", 405, "Method Not Allowed"),
        ("GET", "/v1/models/../../etc/passwd", 404, "Not Found"),
        ("GET", "/admin", 404, "GET /admin: Not Found"),
    ],
)
def test_wrong_address(server, method, place, status, error):
    answer = requests.request(method, f"http://127.0.0.1:{server.rest_port}{place}", timeout=5)
    assert answer.status_code == status
    assert error in answer.json()["error"]
