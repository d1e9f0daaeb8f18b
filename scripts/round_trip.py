#!/usr/bin/env python
"""Ask an exported ensemble through every engine, and compare with Keras: the largest difference of each."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
import xarray as xr
from load_test import served

from tfgmm.cli.console import console, import_tensorflow, run_script, say_simulated, show_table
from tfgmm.serving.client import Client

C_CLIENT = Path(__file__).parents[1] / "tests" / "conformance" / "c_api.py"
OUTPUTS = ("mean", "stddev", "aleatory", "epistemic")
MAPS, SITES = "serving_default", "at_sites"

#: Signature -> output -> values.
Answers = dict[str, dict[str, np.ndarray]]


def questions(run, events: int, sites: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events within the training ranges around the map, and sites on it."""
    grid, ranges, rng = run.experiment.grid, run.ranges(run.experiment.ims[0]), np.random.default_rng(0)
    half = grid.output_size * grid.pixel_km / 2
    lon, lat = grid.unproject(*rng.uniform(-half, half, (2, events + sites)))
    asked = pd.DataFrame({"longitude": lon, "latitude": lat})
    depth, magnitude = (rng.uniform(*limits, events) for limits in (ranges.depth_km, ranges.magnitude))
    numbers = {"depth_km": depth.astype("float32"), "magnitude": magnitude.astype("float32")}
    return asked[:events].assign(**numbers), asked[events:].reset_index(drop=True)


def inputs(events: pd.DataFrame, sites: pd.DataFrame | None = None) -> dict[str, np.ndarray]:
    """As the signatures take them."""
    found = {name: events[name].to_numpy() for name in events}
    if sites is not None:
        found |= {f"site_{name}": np.tile(sites[name], (len(events), 1)) for name in sites}
    return found


def in_c(version: Path, events: pd.DataFrame, sites: pd.DataFrame) -> Answers:
    """The C++ runtime of TensorFlow, in a process without its Python."""
    import tensorflow as tf

    asked = {MAPS: inputs(events), SITES: inputs(events, sites)}
    flat = {f"x/{name}/{given}": one for name, each in asked.items() for given, one in each.items()}
    with tempfile.TemporaryDirectory() as folder:
        sent, came = Path(folder) / "requests.npz", Path(folder) / "answers.npz"
        np.savez(sent, **flat)
        subprocess.run(
            [sys.executable, C_CLIENT, Path(tf.__file__).parent, version, sent, came], check=True
        )
        found = dict(np.load(came))
    return {signature: {name: found[f"x/{signature}/{name}"] for name in OUTPUTS} for signature in asked}


def in_openvino(version: Path, events: pd.DataFrame) -> Answers:
    """OpenVINO, which reads the default signature only."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.Core().read_model(version), "CPU", hints)
    answer = compiled(inputs(events))
    return {MAPS: {name: answer[name] for name in OUTPUTS}}


def through(url: str, events: pd.DataFrame, sites: pd.DataFrame) -> Answers:
    """A server and its client."""
    asked = Client(url)
    return {MAPS: arrays(asked.maps(events)), SITES: arrays(asked.at_sites(events, sites))}


def arrays(found: xr.Dataset) -> dict[str, np.ndarray]:
    """The outputs of a dataset."""
    return {name: found[name].to_numpy() for name in OUTPUTS}


def engines(model: Path, events: pd.DataFrame, sites: pd.DataFrame) -> Iterator[tuple[str, Answers]]:
    """Names and answers."""
    version = max(
        (one for one in model.iterdir() if one.name.isdigit()), key=lambda folder: int(folder.name)
    )
    yield "C++ runtime", in_c(version, events, sites)
    yield "OpenVINO", in_openvino(version, events)
    with served(model) as (urls, _):
        for url in urls:
            yield f"tfgmm serve, {url.partition(':')[0]}", through(url, events, sites)


def main(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    model: Annotated[Path, typer.Argument(help="Its export, saved_models/NAME.")],
    events: Annotated[int, typer.Option(help="Events to ask for.")] = 4,
    sites: Annotated[int, typer.Option(help="Sites to ask for.")] = 100,
) -> None:
    """Compare what engines make of an export with the members' Keras models."""
    import_tensorflow()
    from tfgmm.prediction import ensemble

    loaded = ensemble.load(run)
    say_simulated(loaded.run.simulated)
    asked = questions(loaded.run, events, sites)
    expected = {MAPS: arrays(loaded.maps(asked[0])), SITES: arrays(loaded.at_sites(*asked))}
    rows = [
        {"engine": engine, "signature": signature}
        | {name: np.abs(found[name] - expected[signature][name]).max() for name in OUTPUTS}
        for engine, answers in engines(model, *asked)
        for signature, found in answers.items()
    ]
    title = f"{len(loaded.members)} members, {events} events: largest difference from Keras, ln units"
    show_table(title, pd.DataFrame(rows), dict.fromkeys(OUTPUTS, ".1e"))
    console.print(f"{sites} sites for {SITES}; all pixels of the maps for {MAPS}.")


if __name__ == "__main__":
    run_script(main)
