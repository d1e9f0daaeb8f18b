"""A SavedModel with the signatures of an export, made by hand in a second: its answers are simple sums."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgmm.serving.export import write_warmup
from tfgmm.serving.graph import EVENT, SITES, STATIONS
from tfgmm.serving.limits import Limits
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

SIZE = 8
#: Limits that are easily met.
SOON = Limits(
    request_bytes=20_000,
    events=4,
    answer_bytes=3000,
    timeout_s=20,
    patience_s=0.4,
    connections=20,
    computing=2,
    waiting=12,
)
#: A request, and sites for it.
ONE = {"longitude": [139.8], "latitude": [35.5], "depth_km": [30.0], "magnitude": [6.0]}
TWO_SITES = {"site_longitude": [[139.8, 138.8]], "site_latitude": [[36.0, 34.0]]}


def write(model: Path, version: int = 1, bias: float = 0.0, warm: bool = True) -> Path:
    """Write a version whose mean is magnitude - depth / 100 + bias, and at sites + longitude - site's.

    Magnitudes above 9 are refused by the graph; magnitude 8 takes a while.
    """
    module = tf.Module()
    module.bias = tf.Variable(bias, trainable=False)

    def value(longitude, latitude, depth_km, magnitude):
        tf.debugging.Assert(tf.reduce_all(magnitude <= 9), ["magnitude must lie between -1 and 9"])
        return magnitude - depth_km / 100 + module.bias + slow(magnitude)

    def slow(magnitude):
        turns = tf.where(tf.reduce_any(magnitude == 8), 400, 0)
        found = tf.while_loop(
            lambda i, matrix: i < turns,
            lambda i, matrix: (i + 1, tf.linalg.matmul(matrix, matrix) * 1e-9),
            (0, tf.zeros([256, 256])),
        )
        return tf.reduce_sum(found[1])

    def four(mean):
        return {"mean": mean, "stddev": 0 * mean + 5, "aleatory": 0 * mean + 4, "epistemic": 0 * mean + 3}

    def maps(*event):
        return four(value(*event)[:, None, None] + tf.zeros([1, SIZE, SIZE]))

    def at_sites(*inputs):
        east = tf.cast(inputs[0][:, None] - inputs[4], tf.float32)
        inside = tf.cast(inputs[5] > 35, tf.int32)
        return four(value(*inputs[:4])[:, None] + east) | {"inside": inside}

    def at_stations(*inputs):
        length = tf.strings.length(inputs[4])
        tf.debugging.Assert(tf.reduce_all(length < 5), ["station_id names no station of this model"])
        found = four(value(*inputs[:4])[:, None] + tf.cast(length, tf.float32))
        return found | {"between_event": found["epistemic"], "within_event": found["aleatory"]}

    event = [tf.TensorSpec([None], dtype, name) for name, dtype in EVENT.items()]
    stations = [tf.TensorSpec([None, None], dtype, name) for name, dtype in STATIONS.items()]
    sites = [tf.TensorSpec([None, None], dtype, name) for name, dtype in SITES.items()]
    signatures = {
        "serving_default": tf.function(maps, input_signature=event, autograph=False),
        "at_sites": tf.function(at_sites, input_signature=event + sites, autograph=False),
        "at_stations": tf.function(at_stations, input_signature=event + stations, autograph=False),
        "mean_only": tf.function(
            lambda *inputs: {"mean": value(*inputs)}, input_signature=event, autograph=False
        ),
    }
    folder = model / str(version)
    tf.saved_model.save(module, str(folder), signatures)
    if warm:
        request = {name: np.ones(1, dtype.as_numpy_dtype) for name, dtype in EVENT.items()}
        write_warmup(folder, model.name, {"serving_default": request})
    return folder


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of a new model ``tiny``."""
    model = write(folder / "tiny").parent
    with running(Server(Models([model], SOON), rest_port=0, grpc_port=0, limits=SOON)) as found:
        yield found


def several(count: int) -> dict[str, list]:
    """A request for one event, several times."""
    return {name: values * count for name, values in ONE.items()}


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.01)
