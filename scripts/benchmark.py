#!/usr/bin/env python
"""Measure training and prediction beside plain Keras and PyTorch: a table as text, CSV and Markdown."""

import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from result_page import markdown

from tfgmm.cli.console import import_tensorflow, run_script, show_table, tracked
from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.simulation import simulated

#: Repeats of each measurement, interleaved; the median is shown.
REPEATS = 5
#: Seconds that one measurement shall last, if a step is not longer.
SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class Result:
    """A table with its title, and how the numbers are shown."""

    name: str
    title: str
    table: pd.DataFrame
    formats: dict[str, str]


def median_of(
    contenders: dict[str, Callable[[int], float]], repeats: int = REPEATS
) -> dict[str, np.ndarray]:
    """Seconds a step of each contender, [repeats]; they take turns: what disturbs one disturbs all."""
    steps = {name: max(1, int(SECONDS / step(1))) for name, step in contenders.items()}
    times = [{name: step(steps[name]) for name, step in contenders.items()} for _ in range(repeats)]
    return {name: np.array([one[name] for one in times]) for name in contenders}


def matmul_rate(precision: str, size: int = 2048) -> float:
    """Floating-point operations a second of a matrix product."""
    import tensorflow as tf

    one = tf.cast(tf.random.normal((size, size)), precision)
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        tf.matmul(one, one).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(seconds[2:]))


def operations(model) -> float:
    """Floating-point operations of one training step an event, of the convolutions alone.

    A product and a sum are two; the gradients by the weights and by the input cost as much as the layer
    itself, but nobody needs that by the maps.
    """
    import keras

    total, kinds = 0.0, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    for number, layer in enumerate(one for one in model.layers if isinstance(one, kinds)):
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        pixels = np.prod((layer.input if transposed else layer.output).shape[1:3])
        total += 2 * pixels * np.prod(layer.kernel.shape) * (3 if number else 2)
    return total


def step(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """Training steps of all contenders."""
    import contenders
    import keras

    rows = []
    rate = {precision: matmul_rate(precision) for precision in ("float32", "bfloat16")}
    settings = [(p, b, x) for p in presets for b in bases for x in rate]
    for preset, base, precision in tracked(settings, "training step"):
        chosen = contenders.material(dataset, preset, 32, network={"base": base, "precision": precision})
        events = chosen.experiment.training.batch_size
        found = median_of(contenders.all_steps(chosen, scratch))
        needed = operations(contenders.plain(chosen))
        for name, seconds in found.items():
            each = np.median(seconds) / events
            rows.append(
                {
                    "preset": preset,
                    "base": base,
                    "precision": precision,
                    "contender": name,
                    "ms an event": 1e3 * each,
                    "spread": float(np.ptp(np.quantile(seconds, [0.25, 0.75])) / np.median(seconds)),
                    "of matmul": needed / each / rate[precision],
                }
            )
        keras.backend.clear_session()
    table = pd.DataFrame(rows)
    first = table[(table["contender"] == contenders.RASTERISED) & (table["precision"] == "float32")]
    reference = first.set_index(["preset", "base"])["ms an event"].rename("reference")
    table = table.join(reference, on=["preset", "base"])
    table["speed"] = table.pop("reference") / table["ms an event"]
    title = (
        "Training step; speed: against plain Keras in float32 from maps rasterised before; "
        + ", ".join(
            f"matrix product in {precision} {value / 1e9:.0f} GFLOP/s" for precision, value in rate.items()
        )
    )
    formats = {"ms an event": ".1f", "spread": ".1%", "of matmul": ".0%", "speed": ".2f"}
    return Result("step", title, table, formats)


def pipeline(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """Whether the network ever waits for its maps."""
    import contenders

    from tfgmm.network import member

    rows = []
    for preset in tracked(list(presets), "pipeline"):
        chosen = contenders.material(dataset, preset, 32, network={"base": min(bases)})
        ours = contenders.batches(chosen)
        found = median_of(
            {
                "maps alone, rasterised": contenders.drained(ours),
                "maps alone, from a file": contenders.drained(contenders.rasterised(chosen, scratch)),
                "step on one batch": contenders.keras_steps(
                    member.compiled(chosen, 0), contenders.one_batch(ours)
                ),
                "step with its pipeline": contenders.keras_steps(member.compiled(chosen, 0), ours),
            }
        )
        events = chosen.experiment.training.batch_size
        for name, seconds in found.items():
            rows.append({"preset": preset, "what": name, "ms an event": 1e3 * np.median(seconds) / events})
    title = f"Pipeline, base {min(bases)}: time an event"
    return Result("pipeline", title, pd.DataFrame(rows), {"ms an event": ".2f"})


def prediction(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """Ten members of the smallest base: Keras one after the other, tfgmm, and the exported graph."""
    import predictors

    rows = []
    for preset in tracked([one for one in presets if one != "paper"], "prediction"):
        asked = predictors.Asked(dataset, preset, min(bases), scratch)
        for what, contenders in asked.contenders().items():
            for name, seconds in median_of(contenders).items():
                rows.append({"preset": preset, "what": what, "by": name, "ms": 1e3 * np.median(seconds)})
    title = f"Prediction by ten members, base {min(bases)}, float32; {predictors.SITES:,} sites"
    return Result("prediction", title, pd.DataFrame(rows), {"ms": ".0f"})


def memory(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """Peak memory of a training step, in a process of its own."""
    import growth

    settings = [(preset, base) for preset in presets for base in bases]
    rows = []
    for preset, base in tracked(settings, "memory"):
        cost = growth.alone(growth.training_step, preset, {"base": base})
        rows.append({"preset": preset, "base": base, "peak GB": cost.peak_gb, "own GB": cost.own_gb})
    from tfgmm.network import batches

    title = f"Peak memory of a training step of tfgmm in {batches.native_precision()}"
    return Result("memory", title, pd.DataFrame(rows), {"peak GB": ".2f", "own GB": ".2f"})


def growing(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """How time and memory grow: a training step an event, for members a prediction."""
    import growth

    points = [(what, size) for what, sizes in growth.SIZES.items() for size in sizes]
    rows = []
    for what, size in tracked(points, "growth"):
        cost = growth.cost(what, size, min(bases))
        rows.append({"what": what, "size": size, "ms": 1e3 * cost.seconds, "own GB": cost.own_gb})
    table = pd.DataFrame(rows)
    slopes = growth.exponents(table).rename(columns={"ms": "exponent of ms", "own GB": "exponent of GB"})
    title = f"Growth of a training step (members: a prediction), preset standard, base {min(bases)}"
    formats = {"ms": ".1f", "own GB": ".2f", "exponent of ms": ".2f", "exponent of GB": ".2f"}
    return Result("growth", title, table.merge(slopes, on="what"), formats)


def quickstart(dataset: Dataset, presets: Iterable[str], bases: Iterable[int], scratch: Path) -> Result:
    """The main job of a newcomer, command by command."""
    run, program = str(scratch / "quick"), Path(sys.executable).with_name("tfgmm")
    commands = (["train", "--networks", "kik,meso", "--preset", "quick", "--out", run], ["evaluate", run])
    rows = []
    for command in tracked(commands, "quickstart"):
        started = time.perf_counter()
        subprocess.run([program, *command], check=True, capture_output=True)
        rows.append({"command": f"tfgmm {command[0]}", "seconds": time.perf_counter() - started})
    return Result(
        "quickstart", "The quickstart, environment made before", pd.DataFrame(rows), {"seconds": ".0f"}
    )


CASES = {
    "step": step,
    "pipeline": pipeline,
    "prediction": prediction,
    "memory": memory,
    "growth": growing,
    "quickstart": quickstart,
}


def main(
    case: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(CASES)}; repeatable (default: all).")
    ] = None,
    preset: Annotated[list[str] | None, typer.Option(help="Preset; repeatable.")] = None,
    base: Annotated[list[int] | None, typer.Option(help="Filters of the first level; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables as CSV and Markdown.")] = None,
) -> None:
    """Measure on this machine, which should have nothing else to do."""
    unknown = set(case or ()) - set(CASES)
    if unknown:
        raise UsageError(f"no case {min(unknown)}: there are {', '.join(CASES)}")
    import_tensorflow()
    presets, bases = preset or ["standard", "paper"], base or [8, 16, 32, 64]
    results, dataset = [], simulated.embedded()
    with tempfile.TemporaryDirectory() as scratch:
        for name in case or CASES:
            result = CASES[name](dataset, presets, bases, Path(scratch))
            show_table(result.title, result.table, result.formats)
            results.append(result)
    if out:
        write(results, out)


def write(results: list[Result], folder: Path) -> None:
    """A CSV file of each table, and all of them in ``README.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"Measured on {date.today()}: {processor()}, Python {platform.python_version()}.",
    ]
    for one in results:
        one.table.to_csv(folder / f"{one.name}.csv", index=False, float_format="%.6g")
        lines += ["", f"## {one.title}", "", markdown(one.table, one.formats)]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def processor() -> str:
    """Name of the processor and number of cores."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.is_file()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    run_script(main)
