"""Runs with and without site channels that have random weights, made in seconds."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import xarray as xr

from conftest import TINY, small_dataset
from tfgmm.network import member, training
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run_folder import RunFolder

IMS = ("PGA", "SA(1.0)")
QUICK = TINY | {"training": {"epochs": 1, "shift_pixels": 0}}


def dataset(folder: Path) -> str:
    """The small dataset with two intensity measures and a site layer."""
    made = small_dataset()
    made.records["SA(1.0)"] = made.records["PGA"] * 0.5
    lat, lon = np.linspace(33, 38.5, 56), np.linspace(137, 143, 61)
    axes = {"latitude": lat, "longitude": lon}
    bowl = np.exp(-((lat[:, None] - 35.75) ** 2 + (lon - 139.95) ** 2) * 4)
    layer = (tuple(axes), 200 + 3000 * bowl, {"units": "m"})
    made = dataclasses.replace(made, layers=xr.Dataset({"z_bedrock": layer}, axes))
    made.write(folder)
    return str(folder)


def make(data: str, path: Path, **changes) -> RunFolder:
    """A run whose own members have random weights."""
    begun = training.begin(Experiment(**QUICK | {"data": data, "ims": IMS} | changes), path)
    untrained(begun)
    return begun.run


def untrained(begun: training.Training) -> None:
    """Members with random weights; no two predict the same."""
    for number, one in enumerate(begun.members):
        material = begun.material(one)
        keras.utils.set_random_seed(number)
        model = member.build(material)
        folder = begun.folder(one)
        folder.mkdir(parents=True)
        model.save(folder / "model.keras")
        known = {"arm": begun.experiment.arm, "chunk": one.chunk, "init": one.init}
        table = material.records.assign(**known, mean=-3.0, stddev=0.5)
        table.to_parquet(folder / "predictions.parquet", index=False)
        (folder / "done.json").write_text(json.dumps({}))
    begun.write_predictions()
