"""A finished run laid out as version 0.1 did: a folder per measure, arm and member, and no data."""

import shutil
from pathlib import Path

import keras
import pandas as pd

from tfgmm.core import files
from tfgmm.network.member import load
from tfgmm.network.normal import GroundMotionModel, NormalLayer
from tfgmm.runs.member_folder import DONE, HISTORY, NETWORK, MemberFolder
from tfgmm.runs.run import RunFolder


def lay_out(path: Path) -> None:
    """Turn a run folder of this version into what version 0.1 would have written."""
    run = RunFolder.open(path)
    for arm in run.arms():
        for folder in sorted((path / "members" / arm).glob("chunk-*_init-*")):
            member = MemberFolder(folder)
            for number, im in enumerate(run.experiment.ims):
                old = path / "members" / im / arm / folder.name
                old.mkdir(parents=True)
                _one_measure(load(folder / NETWORK), number).save(old / NETWORK)
                table = pd.read_parquet(member.predictions).query("im == @im").drop(columns="im")
                table.to_parquet(old / member.predictions.name, index=False)
                history = pd.DataFrame({"epoch": [0], "loss": [1.5], "stopping_loss": [1.4]})
                history.to_csv(old / HISTORY, index=False)
                facts = {"epochs": 1, "best_epoch": 0, "stopping_loss": 1.4, "filled": {}}
                files.write_json(old / DONE, facts | {"seed": 7, "seconds": 2.5})
        shutil.rmtree(path / "members" / arm)
    shutil.rmtree(path / "data")
    (path / "files.json").unlink()
    content = files.read_json(path / "experiment.json")
    files.write_json(
        path / "experiment.json", {key: content[key] for key in ("experiment", "data", "versions")}
    )


def _one_measure(model: GroundMotionModel, number: int) -> GroundMotionModel:
    """Return the network of one measure, as version 0.1 had one for each."""
    parameters, normal = model.get_layer("parameters"), model.get_layer("normal")
    one = keras.layers.Conv2D(2, 1, name="parameters")
    layer = NormalLayer(normal.location[number], normal.scale[number], normal.min_stddev, name="normal")
    network = GroundMotionModel(model.input, layer(one(parameters.input)))
    chosen = [number, number + len(normal.location)]
    one.set_weights([weight[..., chosen] for weight in parameters.get_weights()])
    return network
