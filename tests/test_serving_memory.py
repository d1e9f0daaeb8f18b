"""Memory that one request may cost a server: 50 MB + 10 x its body + 3 x its answer."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from helpers import served_model
from helpers.served_model import ONE
from tfgmm.serving.graph import EVENT

if not Path("/proc/self/clear_refs").exists():
    pytest.skip("the peak of a process can be told on Linux only", allow_module_level=True)

#: A server that gives memory back to the system when it is told to, so that nothing hides a peak.
SERVE = """
import ctypes, gc, signal, sys
from pathlib import Path
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server
trim = lambda *_: (gc.collect(), ctypes.CDLL(None).malloc_trim(0), print("trimmed", flush=True))
signal.signal(signal.SIGUSR1, trim)
server = Server(Models([Path(sys.argv[1])]), rest_port=0, grpc_port=0)
server.serve(lambda: print(server.rest_port, server.grpc_port, flush=True))
"""


class Measured:
    """A server in a process, and its memory."""

    def __init__(self, process):
        self.process = process
        self.rest_port, self.grpc_port = (int(port) for port in process.stdout.readline().split())
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc_port}", [("grpc.max_receive_message_length", -1)]
        )

    def rest(self, body, **headers):
        url = f"http://127.0.0.1:{self.rest_port}/v1/models/tiny:predict"
        answer = requests.post(url, data=body, headers=headers, timeout=60)
        return str(answer.status_code), answer.content

    def grpc(self, body):
        method = self.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        try:
            return "OK", method(body, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, b""

    def peak(self, ask, *arguments, **options):
        """Bytes above the level before, and what was answered."""
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout.readline() == "trimmed\n"
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # the peak is the level now
        before = psutil.Process(self.process.pid).memory_info().rss
        found = ask(*arguments, **options)
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        return peak - before, *found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = served_model.write(tmp_path_factory.mktemp("measured") / "tiny").parent
    command = [sys.executable, "-c", SERVE, model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        found = Measured(process)
        yield found
        found.channel.close()
        process.terminate()


def columns(signature="serving_default", **changes):
    return json.dumps({"signature_name": signature, "inputs": ONE | changes}).encode()


def in_place_of_magnitude(text):
    return columns().replace(b"[6.0]", text.encode())


def several(count):
    return {name: values * count for name, values in ONE.items()}


RNG = np.random.default_rng(0)
PLACES = {
    "site_longitude": RNG.uniform(139, 140, (1, 100_000)).round(5),
    "site_latitude": RNG.uniform(35, 36, (1, 100_000)).round(5),
}
OBJECTS = ",".join(f'"{number}":0' for number in range(240_000))
REST = {
    "a long text among short ones": (columns(magnitude=["x" * 1000] + ["a"] * 800_000), "413"),
    "a long text among fewer": (columns(magnitude=["x" * 1000] + ["a"] * 240_000), "400"),
    "a long name": (columns("at_stations", station_id=[["x" * 1000] + ["a"] * 240_000]), "413"),
    "long names": (columns("at_stations", station_id=[["x" * 250] + ["a"] * 240_000]), "400"),
    "lists": (in_place_of_magnitude("[" + "[]," * 240_000 + "[]]"), "400"),
    "objects": (in_place_of_magnitude("[" + "{}," * 240_000 + "{}]"), "400"),
    "keys": (in_place_of_magnitude("{" + OBJECTS + "}"), "413"),
    "wide characters": (in_place_of_magnitude("[" + '"\U0001f600xxxxxxxxxxx",' * 200_000 + "1]"), "400"),
    "deep": (b"[" * 4_000_000, "400"),
    "many stations": (columns("at_stations", station_id=[["abcd"] * 240_000]), "200"),
    "many sites": (
        columns("at_sites", **{name: values.tolist() for name, values in PLACES.items()}),
        "200",
    ),
    "many maps": (json.dumps({"inputs": several(64)}).encode(), "200"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REST)
def test_rest(server, kind):
    body, status = REST[kind]
    server.rest(columns())
    peak, code, answer = server.peak(server.rest, body)
    assert code == status
    assert peak < 50e6 + 10 * len(body) + 3 * len(answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [REST["keys"][0], REST["wide characters"][0], REST["lists"][0], b"0" * 100_000_000]
)
def test_compressed(server, content):
    """What counts is the body as it comes."""
    body = gzip.compress(content, 1)
    peak, code, answer = server.peak(server.rest, body, **{"content-encoding": "gzip"})
    assert code in ("400", "413")
    assert peak < 50e6 + 10 * len(body) + 3 * len(answer)


def field(number, content):
    """One of a message on the wire."""
    size = len(content)
    length = b"" if size else b"\0"
    while size:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
    return bytes([number << 3 | 2]) + length + content


def message(signature="serving_default", more=b"", **changes):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", signature
    for name, values in (ONE | changes).items():
        if not isinstance(values, bytes):
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, EVENT.get(name)))
    raw = (
        field(1, name.encode()) + field(2, one) for name, one in changes.items() if isinstance(one, bytes)
    )
    return request.SerializeToString() + b"".join(field(2, one) for one in raw) + more


MOST = 2_000_000
FLOAT = b"\x08\x01"
GRPC = {
    "one name in the filter": (message(more=field(3, b"mean") * 100_000), "INVALID_ARGUMENT"),
    "empty names in the filter": (message(more=field(3, b"") * MOST), "INVALID_ARGUMENT"),
    "empty inputs": (message(more=field(2, b"") * MOST), "INVALID_ARGUMENT"),
    "dimensions": (message(magnitude=FLOAT + field(2, field(2, b"") * MOST)), "INVALID_ARGUMENT"),
    "shapes": (message(magnitude=FLOAT + field(2, field(2, b"")) * (MOST // 2)), "INVALID_ARGUMENT"),
    "resources": (message(magnitude=FLOAT + field(14, b"") * MOST), "INVALID_ARGUMENT"),
    "variants": (message(magnitude=FLOAT + field(15, b"") * MOST), "INVALID_ARGUMENT"),
    "texts": (message(magnitude=FLOAT + field(8, b"") * MOST), "INVALID_ARGUMENT"),
    "whole numbers": (message(magnitude=FLOAT + field(10, b"\x01" * 4_000_000)), "INVALID_ARGUMENT"),
    "many stations": (message("at_stations", station_id=[["abcd"] * 240_000]), "OK"),
    "many sites": (message("at_sites", **PLACES), "OK"),
    "many maps": (message(**several(64)), "OK"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GRPC)
def test_grpc(server, kind):
    body, status = GRPC[kind]
    server.grpc(message())
    peak, code, answer = server.peak(server.grpc, body)
    assert code == status
    assert peak < 50e6 + 10 * len(body) + 3 * len(answer)


@pytest.mark.slow
def test_level_afterwards(server):
    """Requests that were refused leave nothing behind."""

    def level():
        server.peak(server.rest, columns())
        return psutil.Process(server.process.pid).memory_info().rss

    def refused(count):
        for _ in range(count):
            server.rest(REST["keys"][0])
            server.grpc(GRPC["empty inputs"][0])

    refused(5)
    before = level()
    refused(10)
    # Twenty that stay would cost ten times as much; the allocator keeps some of the first.
    assert level() < before + 80e6
