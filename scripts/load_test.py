#!/usr/bin/env python
"""Load, mistreat and update `tfgmm serve` with an exported model: throughput, waiting, failures, memory."""

import asyncio
import collections
import contextlib
import gzip
import itertools
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import psutil
import typer

from tfgmm.cli.console import console, import_tensorflow, show_table
from tfgmm.core.errors import TfgmmError
from tfgmm.serving.client import Client, Patience

SITES = 100
#: Connections of the one who mistreats the server: in a hurry, and slow.
HASTY, SLOW = 24, 96
#: One in so many bad requests is slow: each takes as long as the server's patience.
SLOW_SHARE = 20
FIGURES = ("per second", "p50, ms", "p99, ms", "CPU a request, ms", "memory, MB")


def serve(folder: Path, pipe) -> None:
    """The server, in a process of its own."""
    import_tensorflow()
    from tfgmm.serving.models import Models
    from tfgmm.serving.server import Server

    server = Server(Models([folder]), rest_port=0, grpc_port=0)
    server.serve(lambda: pipe.send(server.addresses))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[list[str], psutil.Process]]:
    """Addresses and process of a server."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=[folder, there])
    process.start()
    try:
        yield here.recv(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()
        console.print(f"The server stopped with exit code {process.exitcode}.")


def requests(model: Path) -> Iterator[dict[str, np.ndarray]]:
    """Endless requests to ``at_sites``: one event within the training ranges, sites on the map."""
    about = json.loads(next(model.glob("*/assets.extra/tfgmm.json")).read_text())
    grid, ranges, rng = about["grid"], about["ranges"], np.random.default_rng(0)
    lock, half = threading.Lock(), grid["output_size"] * grid["pixel_km"] / 2 / 111
    while True:
        with lock:
            around = rng.uniform(-half, half, (2, 1 + SITES)) * 0.9
            depth, magnitude = (rng.uniform(*ranges[name], 1) for name in ("depth_km", "magnitude"))
        longitude, latitude = grid["longitude"] + around[0], grid["latitude"] + around[1]
        yield {
            "longitude": longitude[:1],
            "latitude": latitude[:1],
            "depth_km": depth.astype("float32"),
            "magnitude": magnitude.astype("float32"),
            "site_longitude": longitude[None, 1:],
            "site_latitude": latitude[None, 1:],
        }


def load(urls: list[str], asked: list[dict], clients: int) -> dict:
    """Ask from several clients at once, each its share; how long they waited."""
    waited, failures, start = [], [], threading.Barrier(clients + 1)

    def ask(number: int) -> None:
        client = Client(urls[number % len(urls)], Patience(retries=0))
        client.predict("at_sites", asked[number])
        start.wait()
        for inputs in itertools.islice(asked, number, None, clients):
            began = time.perf_counter()
            try:
                found = client.predict("at_sites", inputs)
                assert all(np.isfinite(values).all() for values in found.values())
            except (TfgmmError, AssertionError) as error:
                failures.append(str(error))
            waited.append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(clients)]
    for one in threads:
        one.start()
    start.wait()
    began = time.perf_counter()
    for one in threads:
        one.join()
    seconds = time.perf_counter() - began
    for text, count in collections.Counter(failures).items():
        console.print(f"{count} failed: {text}")
    p50, p99 = np.quantile(waited, [0.5, 0.99]) * 1000
    return {
        "requests": len(waited),
        "failed": len(failures),
        "per second": len(waited) / seconds,
        "p50, ms": p50,
        "p99, ms": p99,
    }


def bad_requests(name: str, good: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
    """What should be refused: kind -> parts, sent one by one."""
    event = {key: values.tolist() for key, values in good.items()}
    host = b"host: x\r\n"

    def post(
        content: bytes, model: str = name, length: int | None = None, more: bytes = b""
    ) -> list[bytes]:
        size = len(content) if length is None else length
        head = f"POST /v1/models/{model}:predict HTTP/1.1\r\ncontent-length: {size}\r\n".encode()
        return [head + host + more + b"\r\n" + content]

    def predict(signature: str = "at_sites", **changes) -> list[bytes]:
        return post(json.dumps({"signature_name": signature, "inputs": event | changes}).encode())

    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    chunked = f"POST /v1/models/{name}:predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n".encode() + host
    whole, zipped = predict()[0], b"content-encoding: gzip\r\n"
    return {
        "no HTTP": [b"\x16\x03\x01\x02\x00\x01\r\n\r\n"],
        "huge head": [b"GET / HTTP/1.1\r\n" + host + b"x: " + b"y" * 100_000],
        "no JSON": post(b"{'inputs'"),
        "deep JSON": post(b"[" * 100_000),
        "neither inputs nor instances": post(b'{"x": 1}'),
        "text for a number": predict(magnitude=["six"]),
        "a long text among many": predict(magnitude=["x" * 1000] + ["a"] * 100_000),
        "a key twice": post(b'{"inputs": {}, "inputs": {}}'),
        "no base64": predict("at_stations", station_id=[[{"b64": "?"}]]),
        "gzip bomb": post(gzip.compress(b" " * (1 << 28)), more=zipped),
        "damaged gzip": post(gzip.compress(b" " * 1000)[:-5], more=zipped),
        "another coding": post(b"{}", more=b"content-encoding: br\r\n"),
        "NaN": predict(magnitude=[float("nan")]),
        "ragged": predict(site_longitude=[[139.0, 140.0], [139.0]]),
        "impossible magnitude": predict(magnitude=[99.0]),
        "input missing": post(json.dumps({"inputs": {"longitude": [139.0]}}).encode()),
        "another signature": predict(signature="classify"),
        "another model": post(b"{}", "another"),
        "another address": [b"GET /admin HTTP/1.1\r\n" + host + b"\r\n"],
        "another method": [f"DELETE /v1/models/{name} HTTP/1.1\r\n".encode() + host + b"\r\n"],
        "bad chunk": [chunked + b"\r\nzz\r\n"],
        "too long": post(b" " * 65536, length=10**12),
        "too long, not announced": [chunked + b"\r\n", *[chunk] * 80],
        "too many events": predict(**{key: values * 100 for key, values in event.items()}),
        "cut off": [whole[: len(whole) // 2], b""],
        "slow head": [whole[:20]],
        "slow body": [whole[:-20]],
    }


async def send(place: tuple[str, int], parts: list[bytes]) -> str:
    """Send parts, an empty one meaning to hang up; the status of the answer."""
    with contextlib.suppress(ConnectionError):  # answered before all was sent
        reader, writer = await asyncio.open_connection(*place)
        try:
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    if not part:
                        return "hung up"
                    writer.write(part)
                    await writer.drain()
            line = await asyncio.wait_for(reader.readline(), 60)
            return line.split()[1].decode() if line else "closed"
        finally:
            writer.close()
    return "reset"


async def mistreat(place: tuple[str, int], kinds: dict[str, list[bytes]], count: int) -> dict:
    """Send bad requests of all kinds; kind -> answers and their number."""
    found = collections.defaultdict(collections.Counter)
    slow = [name for name in kinds if name.startswith("slow")]
    hasty = [name for name in kinds if name not in slow]
    queue = {HASTY: itertools.cycle(hasty), SLOW: itertools.cycle(slow)}
    shares = {HASTY: count - count // SLOW_SHARE, SLOW: count // SLOW_SHARE}

    async def worker(kind: int) -> None:
        while shares[kind]:
            shares[kind] -= 1
            name = next(queue[kind])
            found[name][await send(place, kinds[name])] += 1

    await asyncio.gather(*(worker(kind) for kind in queue for _ in range(kind)))
    return found


def mistreat_grpc(url: str, good: dict[str, np.ndarray], count: int) -> dict:
    """Bad messages of gRPC; kind -> codes and their number."""
    import_tensorflow()
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from tfgmm.serving.client import Address

    address, found = Address.parse(url), collections.defaultdict(collections.Counter)

    def message(model: str = address.model, **changes) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, "at_sites"
        for name, values in (good | changes).items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        return request

    vast, elsewhere, repeated = message(), message(), message()
    vast.inputs["magnitude"].tensor_shape.dim[0].size = 1 << 40
    elsewhere.inputs["magnitude"].ClearField("float_val")
    elsewhere.inputs["magnitude"].int_val.append(6)
    repeated.output_filter.extend(["mean"] * 100_000)
    kinds = {
        "gRPC: another model": message("another"),
        "gRPC: another type": message(magnitude=np.array([6])),
        "gRPC: NaN": message(magnitude=np.array([np.nan], "float32")),
        "gRPC: says to be huge": vast,
        "gRPC: values in another field": elsewhere,
        "gRPC: one name 100,000 times": repeated,
        "gRPC: is huge": message(site_longitude=np.zeros((1, 700_000))),
        "gRPC: given up": message(),
    }
    contents = {name: request.SerializeToString() for name, request in kinds.items()}
    contents["gRPC: no message"] = contents["gRPC: given up"][:-1]
    with grpc.insecure_channel(address.place, [("grpc.max_send_message_length", -1)]) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for name in itertools.islice(itertools.cycle(contents), count):
            try:
                predict(contents[name], timeout=0.001 if name.endswith("up") else 60)
                found[name]["OK"] += 1
            except grpc.RpcError as error:
                found[name][error.code().name] += 1
    return found


def beside(work: Callable[[], object]) -> tuple[threading.Thread, list]:
    """Begin something in a thread; its result comes into the list."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


def update(model: Path, times: int, seconds: float) -> None:
    """New versions, one after the other, written whole."""
    newest = max((path for path in model.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    for step in range(1, times + 1):
        time.sleep(seconds)
        shutil.copytree(newest, model / ".new")
        (model / ".new").rename(model / str(int(newest.name) + step))
    time.sleep(seconds)


def main(
    model: Annotated[Path, typer.Argument(help="Folder of an exported model; only a copy is touched.")],
    count: Annotated[int, typer.Option("--requests", help="Good requests in each part.")] = 2000,
    clients: Annotated[int, typer.Option(help="At once.")] = 8,
    bad: Annotated[int, typer.Option(help="Bad requests over REST; a tenth as many over gRPC.")] = 10_000,
    updates: Annotated[int, typer.Option(help="New versions under load.")] = 3,
) -> None:
    """Print what a server under load, mistreated and updated does."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / model.resolve().name
        shutil.copytree(model, folder)
        asked = list(itertools.islice(requests(folder), count))
        with served(folder) as (urls, process):
            rest, grpc = urls
            rows = []

            def part(name: str, urls: list[str]) -> None:
                used = process.cpu_times().user
                row = {"part": name} | load(urls, asked, clients)
                used = (process.cpu_times().user - used) / count * 1000
                rows.append(
                    row | {"CPU a request, ms": used, "memory, MB": process.memory_info().rss / 1e6}
                )
                console.print(f"{name}: {row['requests']} requests, {row['failed']} failed")

            load(urls, asked[: 8 * clients], clients)
            rows.append({"part": "after the first few", "memory, MB": process.memory_info().rss / 1e6})
            part("REST", [rest])
            part("gRPC", [grpc])
            place = rest.split("/")[2].split(":")
            kinds = bad_requests(folder.name, asked[0])
            workers = [
                beside(lambda: asyncio.run(mistreat((place[0], int(place[1])), kinds, bad))),
                beside(lambda: mistreat_grpc(grpc, asked[0], bad // 10)),
            ]
            while any(thread.is_alive() for thread, _ in workers):
                part("both, mistreated", urls)
            answers = workers[0][1][0] | workers[1][1][0]
            part("both, after that", urls)
            thread, _ = beside(lambda: update(folder, updates, 5.0))
            while thread.is_alive():
                part("both, updated", urls)
            part("both, after that", urls)
    show_table("Load", pd.DataFrame(rows).convert_dtypes(), dict.fromkeys(FIGURES, ".1f"))
    table = [(kind, *pair) for kind, found in answers.items() for pair in found.items()]
    show_table("Bad requests", pd.DataFrame(table, columns=["kind", "answer", "number"]))


if __name__ == "__main__":
    try:
        typer.run(main)
    except TfgmmError as error:
        sys.exit(f"load_test: {error}")
