"""The client, over REST and gRPC, with servers that are absent, late, wrong or fail."""

import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from helpers import served_model
from tfgmm.core.errors import DataError, UsageError
from tfgmm.prediction.quantities import table
from tfgmm.serving import client
from tfgmm.serving.client import Address, Client, Patience
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

EVENTS = pd.DataFrame(
    {"longitude": 139.8, "latitude": 35.5, "depth_km": 30.0, "magnitude": np.linspace(5, 7, 7)}
)
SITES = pd.DataFrame({"longitude": [139.8, 138.8, 139.3], "latitude": [36.0, 34.0, 35.5]})
HURRIED = Patience(timeout_s=5, retries=1, backoff_s=0.01)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models([served_model.write(tmp_path_factory.mktemp("client") / "tiny").parent])


@pytest.fixture(scope="module")
def server(models):
    with running(Server(models, rest_port=0, grpc_port=0)) as found:
        yield found


@pytest.fixture(params=[0, 1], ids=["rest", "grpc"])
def url(server, request):
    return server.addresses[request.param]


@pytest.fixture
def few_at_once(monkeypatch):
    for name, value in {"_MAPS_AT_ONCE": 2, "_EVENTS_AT_ONCE": 3, "_VALUES_AT_ONCE": 2}.items():
        monkeypatch.setattr(client, name, value)


@pytest.mark.slow
def test_at_sites(url):
    found = Client(url).at_sites(EVENTS, SITES.assign(station_id=["A", "B", "C"]))
    expected = EVENTS["magnitude"].to_numpy()[:, None] - 0.3 + [0, 1, 0.5]
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["median_g"], np.exp(expected), rtol=1e-5)
    assert found["mean"].dims == ("event", "site") and found["mean"].dtype == "float32"
    assert list(found["outside_map"].to_numpy()) == [False, True, False]
    assert list(found["site_id"].to_numpy()) == ["A", "B", "C"]
    assert found.attrs["model"] == url


def test_at_stations(url, few_at_once):
    found = Client(url).at_stations(EVENTS, ["K03", "M011"])
    np.testing.assert_allclose(found["mean"], EVENTS["magnitude"].to_numpy()[:, None] - 0.3 + [3, 4])
    assert found["within_event"].dims == ("event", "site") and (found["within_event"] == 4).all()
    assert table(found)["site_id"].tolist()[:2] == ["K03", "M011"]
    with pytest.raises(UsageError, match="station_id names no station of this model"):
        Client(url).at_stations(EVENTS, ["K03", "nowhere"])


def test_stations_are_texts(url):
    inputs = {name: EVENTS[name].to_numpy(dtype)[:1] for name, dtype in client._EVENT.items()}
    with pytest.raises(UsageError, match="station_id (needs to hold texts only|has type)"):
        Client(url).predict("at_stations", inputs | {"station_id": np.array([[3]])})


def test_maps(url):
    told = []
    found = Client(url).maps(EVENTS, progress=told.append)
    assert found["stddev"].dims == ("event", "row", "col") and found["stddev"].shape == (7, 8, 8)
    np.testing.assert_allclose(found["mean"][:, 3, 4], EVENTS["magnitude"] - 0.3, rtol=1e-6)
    assert told == [4, 7]


def test_a_few_at_a_time_is_the_same(url, few_at_once):
    one = Client(url)
    few, maps = one.at_sites(EVENTS, SITES), one.maps(EVENTS)
    client._MAPS_AT_ONCE, client._EVENTS_AT_ONCE, client._VALUES_AT_ONCE = 50, 50, 1000
    assert few.identical(one.at_sites(EVENTS, SITES))
    assert maps.identical(one.maps(EVENTS))


def test_table(url):
    rows = table(Client(url).at_sites(EVENTS.assign(event_id=list("abcdefg")), SITES))
    assert list(rows.columns[:6]) == [
        *("event_id", "event_longitude", "event_latitude", "depth_km", "magnitude", "site_id"),
    ]
    row = rows.iloc[4]
    assert (row["event_id"], row["site_id"], row["longitude"], row["outside_map"]) == (
        "b",
        "2",
        138.8,
        True,
    )
    assert row["mean"] == pytest.approx(EVENTS["magnitude"][1] + 0.7)


def test_one_version(url):
    assert Client(url + "/versions/1").maps(EVENTS[:1]).sizes["event"] == 1
    with pytest.raises(
        UsageError, match="versions/2 is not there: .*version 2 of tiny is not served: 1 is"
    ):
        Client(url + "/versions/2").maps(EVENTS)


def test_wrong_model(url):
    with pytest.raises(UsageError, match=r"tinyx is not there: check the model's name.*there is tiny\)"):
        Client(url + "x").at_sites(EVENTS, SITES)


def test_wrong_signature(url):
    one = Client(url)
    with pytest.raises(UsageError, match="has no signature classify: it has .*at_sites"):
        one.predict("classify", {})
    with pytest.raises(UsageError, match="refused the request: the request lacks"):
        one.predict("at_sites", {})


def test_refused_values(url):
    with pytest.raises(UsageError, match="refused the request: magnitude must lie between -1 and 9"):
        Client(url).maps(EVENTS.assign(magnitude=9.5))
    with pytest.raises(DataError, match="events, row 1, column magnitude: 99.0"):
        Client(url).maps(EVENTS.assign(magnitude=99.0))
    with pytest.raises(UsageError, match="the sites have no column latitude"):
        Client(url).at_sites(EVENTS, SITES[["longitude"]])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_server_is_down(scheme):
    with pytest.raises(DataError, match=f"no answer from {scheme}://127.0.0.1:1 .*is the server up"):
        Client(f"{scheme}://127.0.0.1:1/v1/models/tiny", HURRIED).maps(EVENTS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["rest", "grpc"])
def test_server_that_comes_late(models, number):
    with running(Server(models, rest_port=0, grpc_port=0)) as first:
        ports, url = (first.rest_port, first.grpc_port), first.addresses[number]
    found = []
    patience = Patience(timeout_s=20, retries=4, backoff_s=0.3)
    thread = threading.Thread(target=lambda: found.append(Client(url, patience).maps(EVENTS)))
    thread.start()
    time.sleep(0.3)
    with running(Server(models, rest_port=ports[0], grpc_port=ports[1])):
        thread.join()
    assert found[0].sizes["event"] == 7


def test_busy_server_is_asked_again(httpserver):
    known = {"metadata": {"signature_def": {"signature_def": {"mean_only": {"inputs": {"x": {}}}}}}}
    expected = {"signature_name": "mean_only", "inputs": {"x": [1.5]}}
    httpserver.expect_ordered_request("/v1/models/m/metadata").respond_with_json(known)
    asked = [httpserver.expect_ordered_request("/v1/models/m:predict", json=expected) for _ in range(2)]
    asked[0].respond_with_data("<html>busy</html>", status=503)
    asked[1].respond_with_json({"outputs": {"y": [2.5]}})
    found = Client(httpserver.url_for("/v1/models/m"), HURRIED).predict("mean_only", {"x": np.array([1.5])})
    assert found["y"] == [2.5]
    httpserver.check_assertions()


def test_server_that_stays_busy(httpserver):
    httpserver.expect_request("/v1/models/m/metadata").respond_with_data("busy", status=503)
    with pytest.raises(DataError, match=r"no answer from http://.* \(busy\)"):
        Client(httpserver.url_for("/v1/models/m"), HURRIED).maps(EVENTS)
    assert len(httpserver.log) == 2


@pytest.mark.parametrize("answer", ["<html>hello</html>", "[1]", "{}", '{"metadata": 1}'])
def test_no_model_server(httpserver, answer):
    httpserver.expect_request("/v1/models/m/metadata").respond_with_data(answer)
    with pytest.raises(DataError, match="answers, but not as a model server: check the port"):
        Client(httpserver.url_for("/v1/models/m")).maps(EVENTS)


@pytest.mark.parametrize(
    "text",
    [
        "http://x",
        "127.0.0.1:8501",
        "ftp://x/v1/models/m",
        "http://x/v1/models/m:predict",
        "",
        "grpc://x/v1/models/m/versions/9999999999999999999",
    ],
)
def test_address_of_nothing(text):
    with pytest.raises(UsageError, match="is no address of a model: write http://HOST:PORT/v1/models/NAME"):
        Address.parse(text)


def test_address():
    parsed = Address.parse("grpc://h:8500/v1/models/m-1/versions/12/")
    assert parsed == Address("grpc", "h:8500", "m-1", 12)
    assert str(parsed) == "grpc://h:8500/v1/models/m-1/versions/12"


@pytest.mark.slow
def test_rest_needs_no_tensorflow():
    code = "import sys, tfgmm.serving.client; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
