"""The server as a whole: strange clients, queues, new versions under load, its end."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psutil
import pytest
import requests
import served_model
import tensorflow as tf
from served_model import ONE, SOON, until
from tensorflow_serving.apis import predict_pb2

from tfgmm.errors import UsageError
from tfgmm.serving.graph import EVENT
from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.models import Models
from tfgmm.serving.refusal import RefusedError
from tfgmm.serving.server import Server, docker_command, running


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


def test_too_many_connections(server):
    with_all = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(SOON.connections)]
    try:
        assert raw(server, b"").startswith(b"HTTP/1.1 503 ")
    finally:
        for one in with_all:
            one.close()
    until(lambda: raw(server, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"))


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


def test_too_late(exported):
    limits = Limits(timeout_s=0.01)
    with running(Server(Models([exported], limits), rest_port=0, grpc_port=0, limits=limits)) as late:
        answer = post(late, 8)
    assert answer.status_code == 504 and "not done in 0.01 s" in answer.json()["error"]


#: In a hurry, but for large answers.
HURRY = Limits(timeout_s=1.0, patience_s=0.3)


@pytest.fixture(scope="module")
def hurried(exported):
    with running(Server(Models([exported], HURRY), rest_port=0, grpc_port=0, limits=HURRY)) as found:
        yield found


@pytest.mark.parametrize("ending", ["", "connection: close\r\n"])
def test_a_client_that_does_not_read_over_rest(hurried, ending):
    content = {"signature_name": "at_stations", "inputs": ONE | {"station_id": [["abc"] * 240_000]}}
    body = json.dumps(content).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", hurried.rest_port))
        connection.sendall(HEAD + f"{ending}content-length: {len(body)}\r\n\r\n".encode() + body)
        head = connection.recv(200)
        until(lambda: not connected(hurried.rest_port))
        received = len(head) + sum(map(len, iter(lambda: connection.recv(1 << 20), b"")))
    size = int(re.search(rb"content-length: (\d+)", head)[1])
    assert received < size > 5_000_000


def connected(port):
    """Whether this process, which serves, holds a connection at a port."""
    found = psutil.Process().net_connections("tcp")
    return any(one.laddr.port == port and one.status == "ESTABLISHED" for one in found)


def test_a_slow_client_that_reads_gets_all(hurried):
    content = {"signature_name": "at_stations", "inputs": ONE | {"station_id": [["abc"] * 240_000]}}
    with requests.post(f"{hurried.addresses[0]}:predict", json=content, timeout=30, stream=True) as answer:
        pieces = []
        for piece in answer.iter_content(1 << 19):
            pieces.append(piece)
            time.sleep(0.05)
    assert len(json.loads(b"".join(pieces))["outputs"]["mean"][0]) == 240_000


def frame(kind, flags, stream, content=b""):
    """Of HTTP/2."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def test_a_client_that_does_not_read_over_grpc(hurried):
    """It allows no byte of an answer, by a window of 0 in its settings."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", "mean_only"
    for name, values in ONE.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, EVENT[name]))
    content = request.SerializeToString()
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "x",
        ":path": "/tensorflow.serving.PredictionService/Predict",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    text = [bytes([len(one)]) + one.encode() for pair in fields.items() for one in pair]
    head = b"".join(b"\0" + key + value for key, value in zip(text[::2], text[1::2], strict=True))
    with socket.create_connection(("127.0.0.1", hurried.grpc_port), timeout=20) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0, b"\0\4\0\0\0\0")
            + frame(1, 4, 1, head)
            + frame(0, 1, 1, b"\0" + len(content).to_bytes(4, "big") + content)
        )
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert b"application/grpc" in answer and b"max connection age" in answer


def test_a_grpc_connection_that_says_nothing(hurried):
    with socket.create_connection(("127.0.0.1", hurried.grpc_port), timeout=20) as connection:
        assert b"Did not receive HTTP/2 settings" in b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_grpc_connections_that_are_renewed_lose_no_request(hurried):
    with grpc.insecure_channel(f"127.0.0.1:{hurried.grpc_port}") as channel:
        check, end = channel.unary_unary("/grpc.health.v1.Health/Check"), time.monotonic() + 2.5
        while time.monotonic() < end:
            assert check(b"", timeout=5) == b"\x08\x01"


def test_those_who_watch_do_not_keep_it_from_stopping(exported):
    limits = Limits(timeout_s=60)
    with running(Server(Models([exported], limits), rest_port=0, grpc_port=0, limits=limits)) as found:
        channel = grpc.insecure_channel(f"127.0.0.1:{found.grpc_port}")
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        next(watching)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert list(watching) == []
    channel.close()


def test_answers_that_nobody_reads_have_an_end():
    workers = Workers(Limits(unread_bytes=10))
    release = workers.hold(b"x" * 100)  # a single one may be of any size
    with pytest.raises(RefusedError, match="too many answers wait"):
        workers.hold(b"x")
    release()
    releases = [workers.hold(b"xxxxx"), workers.hold(b"xxxxx")]
    with pytest.raises(RefusedError):
        workers.hold(b"x")
    releases[0]()
    workers.hold(b"x")
    workers.close()


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


def test_taken_port(server, exported):
    models = Models([exported])
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{server.rest_port}: .*--rest-port"):
        Server(models, rest_port=server.rest_port, grpc_port=0).serve()
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{server.grpc_port}: .*--grpc-port"):
        Server(models, rest_port=0, grpc_port=server.grpc_port).serve()


SERVE = """
import sys
from pathlib import Path
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server
server = Server(Models([Path(sys.argv[1])]), rest_port=0, grpc_port=0)
server.serve(lambda: print(server.addresses[0], flush=True))
print("ended", flush=True)
"""


def test_sigterm_finishes_what_has_begun(exported):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, exported],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    body = json.dumps({"signature_name": "mean_only", "inputs": ONE}).encode()
    head = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    with process:
        place = ("127.0.0.1", int(process.stdout.readline().split(":")[2].partition("/")[0]))
        with socket.create_connection(place, timeout=20) as connection:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it has begun
            process.send_signal(signal.SIGTERM)
            until(lambda: refuses(place))
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(1000), b""))
        assert process.wait(20) == 0
        assert process.stdout.read() == "ended\n"
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"outputs":[5.7]}')


def refuses(place):
    try:
        socket.create_connection(place).close()
    except ConnectionRefusedError:
        return True
    return False


def test_docker_command(tmp_path):
    command = docker_command(tmp_path / "my model", "127.0.0.1", 8501, 9000)
    assert "-p 127.0.0.1:8501:8501 -p 127.0.0.1:9000:8500" in command
    assert f"'type=bind,source={tmp_path}/my model,target=/models/my model,readonly'" in command
    assert command.endswith("-e 'MODEL_NAME=my model' tensorflow/serving")
