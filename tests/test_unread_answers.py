"""Clients that do not read their answers, and connections that go on for ever."""

import asyncio
import json
import re
import socket
import time

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from helpers import served_model
from helpers.served_model import ONE, until
from tfgmm.serving.client import Client, Patience
from tfgmm.serving.graph import EVENT
from tfgmm.serving.http import Answer
from tfgmm.serving.limits import LIMITS, Limits, RefusedError, Workers
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

HEAD = b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return served_model.write(tmp_path_factory.mktemp("exported") / "tiny").parent


#: In a hurry, but for large answers.
HURRY = Limits(timeout_s=1.0, patience_s=0.3)


@pytest.fixture(scope="module")
def hurried(exported):
    with running(Server(Models([exported], HURRY), rest_port=0, grpc_port=0, limits=HURRY)) as found:
        yield found


def large(ending=""):
    """A request whose answer is larger than what the system takes for a client."""
    content = {"signature_name": "at_stations", "inputs": ONE | {"station_id": [["abc"] * 240_000]}}
    body = json.dumps(content).encode()
    return HEAD + f"{ending}content-length: {len(body)}\r\n\r\n".encode() + body


def test_others_have_their_turn_between_pieces():
    """Also the connection itself, which else would not notice that its client hung up."""
    pieces, seen = [], []

    async def send(message):
        pieces.append(message.get("body"))

    async def another():
        seen.append(len(pieces))

    async def scenario():
        workers = Workers(LIMITS)
        task = asyncio.create_task(another())
        await Answer(b"x" * (1 << 20), workers)({}, None, send)
        await task
        workers.close()

    asyncio.run(scenario())
    assert len(b"".join(pieces[1:])) == 1 << 20
    assert 1 < seen[0] < len(pieces)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "connection: close\r\n"])
def test_a_client_that_does_not_read_over_rest(hurried, ending):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", hurried.rest_port))
        connection.sendall(large(ending))
        head = connection.recv(200)
        until(lambda: not connected(hurried.rest_port))
        received = len(head) + sum(map(len, iter(lambda: connection.recv(1 << 20), b"")))
    size = int(re.search(rb"content-length: (\d+)", head)[1])
    assert received < size > 5_000_000


def connected(port):
    """Whether this process, which serves, holds a connection at a port."""
    found = psutil.Process().net_connections("tcp")
    return any(one.laddr.port == port and one.status == "ESTABLISHED" for one in found)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_grpc_connections_that_are_renewed_lose_no_request(hurried):
    with grpc.insecure_channel(f"127.0.0.1:{hurried.grpc_port}") as channel:
        check, end = channel.unary_unary("/grpc.health.v1.Health/Check"), time.monotonic() + 2.5
        while time.monotonic() < end:
            assert check(b"", timeout=5) == b"\x08\x01"


@pytest.mark.slow
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


PLACE = {"site_longitude": np.array([[139.8]]), "site_latitude": np.array([[35.5]])}


@pytest.mark.slow
def test_answers_that_are_read_are_forgotten(exported):
    limits = Limits(unread_bytes=1)  # room for one
    with running(Server(Models([exported], limits), rest_port=0, grpc_port=0, limits=limits)) as found:
        for url in found.addresses:
            client = Client(url, Patience(backoff_s=0.05))  # which asks again: the next may come too soon
            for _ in range(3):
                inputs = {name: np.array(ONE[name], EVENT[name].as_numpy_dtype) for name in ONE}
                assert len(client.predict("at_sites", inputs | PLACE)["mean"]) == 1
