"""Time and peak memory by what grows, each point in a process of its own, for `scripts/benchmark.py`."""

import dataclasses
import multiprocessing
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.grid import output_size

#: What grows, and how far.
SIZES = {
    "map pixels": [124**2, 188**2, 284**2, 380**2],
    "stations an event": [100, 1_000, 10_000],
    "events": [500, 2_000, 8_000],
    "members": [1, 2, 5, 10],
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a training step an event, or of a prediction.

    Attributes
    ----------
    seconds : float
    peak_gb : float
        Largest resident memory of the process.
    own_gb : float
        Less what the process had before it made the network and its pipeline.
    """

    seconds: float
    peak_gb: float
    own_gb: float


def alone(function: Callable[..., Cost], *args) -> Cost:
    """The result of a function in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def training_step(
    preset: str, network: dict, grid: dict | None = None, stations: int | None = None, events: int = 32
) -> Cost:
    """A step of tfgmm with its pipeline; every event has so many stations, if they are given."""
    import contenders

    from tfgmm.network import member
    from tfgmm.simulation import simulated

    dataset = simulated.embedded()
    chosen = contenders.material(dataset, preset, 32, network=network, grid=grid or {})
    training = repeated(chosen.training, events, stations)
    chosen = dataclasses.replace(chosen, training=training)
    before = peak_gb(anew=True)
    batch = chosen.experiment.training.batch_size
    step = contenders.keras_steps(member.compiled(chosen, 0), contenders.batches(chosen))
    first = step(2)
    seconds = np.median([step(max(1, int(1 / first))) for _ in range(5)]) / batch
    return Cost(float(seconds), peak_gb(), peak_gb() - before)


def repeated(data, events: int, stations: int | None):
    """Records of so many events, which are those of `data` again and again."""
    source = np.arange(events) % len(data)
    count = np.diff(data.splits)[source] if stations is None else np.full(events, stations)
    splits = np.append(0, np.cumsum(count))
    of_event = np.arange(splits[-1]) - np.repeat(splits[:-1], count)
    row = np.repeat(data.splits[source], count) + of_event % np.repeat(np.diff(data.splits)[source], count)
    return dataclasses.replace(
        data,
        events=data.events[source],
        splits=splits,
        pixels=data.pixels[row],
        ln_im=data.ln_im[row],
        variance=data.variance[row],
        weight=data.weight[row] / (1 if stations is None else stations),
    )


def prediction(preset: str, base: int, members: int) -> Cost:
    """Maps of one event by so many untrained members."""
    import predictors

    from tfgmm.simulation import simulated

    with tempfile.TemporaryDirectory() as scratch:
        asked = predictors.Asked(simulated.embedded(), preset, base, Path(scratch), members)
        before = peak_gb(anew=True)
        predict = predictors.timed(lambda: asked.ensemble.maps(asked.next_event()))
        return Cost(float(np.median([predict(1) for _ in range(9)])), peak_gb(), peak_gb() - before)


def peak_gb(anew: bool = False) -> float:
    """Largest resident memory of this process so far, or since this call if counted `anew`."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    # Not getrusage: its figure begins with that of the parent process.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e9


def cost(what: str, size: int, base: int) -> Cost:
    """Of the preset standard with one thing as large as `size`."""
    network = {"base": base}
    if what == "members":
        return alone(prediction, "standard", base, size)
    if what == "map pixels":
        side = int(size**0.5)
        # The same part of the Earth is left of maps of any size.
        grid = {"input_size": side, "pixel_km": 200 / output_size(side, 3)}
        return alone(training_step, "standard", network, grid)
    if what == "events":
        return alone(training_step, "standard", network, None, None, size)
    return alone(training_step, "standard", network, None, size)


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes of ln time and of ln memory by ln size, a row each thing that grows.

    Parameters
    ----------
    table : pandas.DataFrame
        ``what, size``, and columns of positive numbers.
    """
    names = [name for name in table if name not in ("what", "size")]
    rows = []
    for what, one in table.groupby("what", sort=False):
        slopes = np.polyfit(np.log(one["size"].astype(float)), np.log(one[names].astype(float)), 1)[0]
        rows.append({"what": what, **dict(zip(names, slopes, strict=True))})
    return pd.DataFrame(rows)
