"""The server as a whole: strange clients, queues, new versions under load, its end."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from helpers import served_model
from helpers.served_model import ONE, SOON, until
from tfgmm.core.errors import UsageError
from tfgmm.serving.docker import docker_command
from tfgmm.serving.limits import Limits
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return served_model.write(tmp_path_factory.mktemp("exported") / "tiny").parent


@pytest.fixture(scope="module")
def server(exported):
    with running(Server(Models([exported], SOON), rest_port=0, grpc_port=0, limits=SOON)) as found:
        yield found


HEAD = b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\n"


def post(server, magnitude):
    content = {"signature_name": "mean_only", "inputs": ONE | {"magnitude": [magnitude]}}
    return requests.post(f"{server.addresses[0]}:predict", json=content, timeout=30)


def raw(server, content, seconds=5.0):
    """What comes back to bytes, until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=seconds) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400),
        (HEAD + b"x: " + b"y" * 100_000, 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"content-length: 1000000000000\r\n\r\n{", 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n6000\r\n" + b" " * 0x6000, 413),
        (HEAD[:20], 408),
        (b"", 408),
        (HEAD + b"content-length: 9\r\n\r\n{", 408),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + HEAD[:20], 200),  # the first of two on a connection
    ],
)
def test_strange_slow_and_cut_off(server, content, status):
    answer = raw(server, content)
    assert answer.startswith(b"HTTP/1.1 %d " % status)


CHUNKED = b" /v1/models/tiny HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (b"GET" + CHUNKED, [400]),
        (b"HEAD" + CHUNKED, [400]),
        (b"DELETE" + CHUNKED, [400]),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n\x16\x03\x01\r\n\r\n", [200, 400]),
        (HEAD + b"content-length: 1000000000000\r\n\r\n" + b"{" * 100_000, [413, 408]),
        (b"GET /v1/models/tiny/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", [404]),
        (b"GET * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", [404]),
        (b"GET /%ff%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", [404]),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", [404]),
    ],
)
def test_bad_input_is_no_news_for_the_owner(server, caplog, content, statuses):
    """One answer each, and nothing in the log."""
    answer = raw(server, content)
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", answer)] == statuses
    assert not caplog.records


def test_too_many_connections(server):
    with_all = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(SOON.connections)]
    try:
        assert raw(server, b"").startswith(b"HTTP/1.1 503 ")
    finally:
        for one in with_all:
            one.close()
    until(lambda: raw(server, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"))


@pytest.mark.slow
def test_a_queue_has_an_end(server):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(server, 8)))
        for _ in range(SOON.connections - 1)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = {status: [one for one in answers if one.status_code == status] for status in (200, 503)}
    assert len(found[200]) + len(found[503]) == len(answers)
    assert len(found[200]) >= SOON.waiting and found[503]
    assert "too many requests are waiting" in found[503][0].json()["error"]
    assert found[503][0].headers["retry-after"] == "1"


@pytest.mark.slow
def test_too_late(exported):
    limits = Limits(timeout_s=0.01)
    with running(Server(Models([exported], limits), rest_port=0, grpc_port=0, limits=limits)) as late:
        answer = post(late, 8)
    assert answer.status_code == 504 and "not done in 0.01 s" in answer.json()["error"]


@pytest.mark.slow
def test_new_versions_take_over_without_a_failed_request(tmp_path):
    model, told = tmp_path / "tiny", []
    served_model.write(model, 1)
    served_model.write(tmp_path / "later" / "tiny", 2, bias=1.0)
    models = Models([model], report=told.append)
    found, end = [], threading.Event()

    def ask(rest):
        with requests.Session() as session:
            while not end.is_set():
                answer = session.post(
                    f"{rest}:predict", json={"signature_name": "mean_only", "inputs": ONE}, timeout=20
                )
                found.append((answer.status_code, answer.text))

    with running(Server(models, rest_port=0, grpc_port=0, poll_s=0.02)) as server:
        threads = [threading.Thread(target=ask, args=[server.addresses[0]]) for _ in range(3)]
        for one in threads:
            one.start()
        until(lambda: len(found) > 20)
        (tmp_path / "later" / "tiny" / "2").rename(model / "2")
        until(lambda: models.get("tiny").version == 2)
        after = len(found) + 5
        until(lambda: len(found) > after + 20)
        last = found[after:]
        shutil.rmtree(model / "2")  # back to the first one
        until(lambda: models.get("tiny").version == 1)
        end.set()
        for one in threads:
            one.join()
    assert {status for status, _ in found} == {200}
    assert json.loads(found[0][1]) == {"outputs": [5.7]}
    assert {text for _, text in last} == {'{"outputs":[6.7]}'}
    assert told == [f"tiny, version {version}: is served" for version in (1, 2, 1)]


@pytest.mark.slow
def test_taken_port(server, exported):
    models = Models([exported])
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{server.rest_port}: .*--rest-port"):
        Server(models, rest_port=server.rest_port, grpc_port=0).serve()
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{server.grpc_port}: .*--grpc-port"):
        Server(models, rest_port=0, grpc_port=server.grpc_port).serve()


SERVE = "from tfgmm.cli.app import main; main()"


@pytest.mark.slow
def test_sigterm_finishes_what_has_begun(exported):
    """Of the command `tfgmm serve`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", exported, "--rest-port", "0", "--grpc-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    body = json.dumps({"signature_name": "mean_only", "inputs": ONE}).encode()
    head = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    with process:
        address = next(line for line in process.stdout if line.startswith("http://"))
        place = ("127.0.0.1", int(address.split(":")[2].partition("/")[0]))
        with socket.create_connection(place, timeout=20) as connection:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it has begun
            process.send_signal(signal.SIGTERM)
            until(lambda: refuses(place))
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(1000), b""))
        assert process.wait(20) == 0
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"outputs":[5.7]}')


def refuses(place):
    try:
        socket.create_connection(place).close()
    except ConnectionRefusedError:
        return True
    return False


def test_docker_command(tmp_path):
    command = docker_command(tmp_path / "my model", grpc_port=9000)
    assert "-p 127.0.0.1:8501:8501 -p 127.0.0.1:9000:8500" in command
    assert f"'type=bind,source={tmp_path}/my model,target=/models/my model,readonly'" in command
    assert command.endswith("-e 'MODEL_NAME=my model' tensorflow/serving")
