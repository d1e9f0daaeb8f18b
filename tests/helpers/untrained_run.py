"""Runs whose networks have random weights, made in seconds, and what to ask about them."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import xarray as xr

from conftest import QUICK, TINY, small_dataset
from tfgmm.network import member, training
from tfgmm.network.batches import NOT_PREDICTED, Material
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.member_folder import NETWORK, backbone_name
from tfgmm.runs.run import RunFolder

IMS = ("PGA", "SA(1.0)")


def write_data(folder: Path, layers: bool = False) -> str:
    """Write the small dataset with several intensity measures, and on request a site layer."""
    dataset = small_dataset()
    of_pga = {"PGV": 60.0, "SA(0.5)": 1.5, "SA(1.0)": 0.5}
    for im, factor in of_pga.items():
        dataset.records[im] = dataset.records["PGA"] * factor
    if layers:
        lat, lon = np.linspace(33, 38.5, 56), np.linspace(137, 143, 61)
        axes = {"latitude": lat, "longitude": lon}
        bowl = np.exp(-((lat[:, None] - 35.75) ** 2 + (lon - 139.95) ** 2) * 4)
        layer = (tuple(axes), 200 + 3000 * bowl, {"units": "m"})
        dataset = dataclasses.replace(dataset, layers=xr.Dataset({"z_bedrock": layer}, axes))
    dataset.write(folder)
    return str(folder)


def make(root: Path, **changes) -> RunFolder:
    """Make a run of two chunks of two members, and its dataset."""
    described = {"data": write_data(root / "data"), "inits": 2, "ims": IMS}
    begun = training.begin(Experiment(**TINY | described | changes), root / "run")
    give_random_weights(begun)
    if begun.run.experiment.backbone != "none":
        begun.write_predictions()
    return begun.run


def make_finished(data: str, path: Path, **changes) -> RunFolder:
    """Make a run on a dataset, with all members and the table of their predictions."""
    begun = training.begin(Experiment(**QUICK | {"data": data, "ims": IMS} | changes), path)
    give_random_weights(begun)
    begun.write_predictions()
    return begun.run


def give_random_weights(begun: training.Training) -> None:
    """Write all members; no two predict the same."""
    rng, materials = np.random.default_rng(0), {}
    for one in begun.members:
        if one.chunk not in materials:
            materials[one.chunk] = begun.material(one)
        material = materials[one.chunk]
        keras.utils.set_random_seed(one.chunk * 2 + one.init)
        model = member.build(material)
        for weight in model.weights:
            if len(weight.shape) == 1:  # a bias: nobody would notice if zeros went missing
                weight.assign(rng.uniform(0.1, 0.3, weight.shape))
        _write_member(begun.folder(one).path, model, material, one)


def _write_member(folder: Path, model, material: Material, one: training.Member) -> None:
    """Write the folder of a member, with predictions of its records."""
    experiment, tables = material.experiment, []
    folder.mkdir(parents=True)
    model.save(folder / NETWORK)
    for im, backbone in material.backbones.items():
        backbone.save(folder / backbone_name(im, experiment.ims))
    for im, records in material.records.items():
        which = {"im": im, "arm": experiment.arm, "chunk": one.chunk, "init": one.init}
        errors = np.random.default_rng([one.chunk, one.init]).normal(0, 0.5, len(records))
        table = records.drop(columns=NOT_PREDICTED)
        tables.append(table.assign(**which, mean=records["ln_im"] + errors, stddev=0.5))
    pd.concat(tables).to_parquet(folder / "predictions.parquet", index=False)
    (folder / "done.json").write_text(json.dumps({"networks": {NETWORK: [*experiment.ims]}}))


def events(count: int, seed: int = 0) -> pd.DataFrame:
    """Events on and around the map of `TINY`."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "longitude": rng.uniform(138.5, 141.5, count),
            "latitude": rng.uniform(34.5, 37.0, count),
            "depth_km": rng.uniform(10, 80, count).astype("float32"),
            "magnitude": rng.uniform(4.5, 7.5, count).astype("float32"),
        }
    )


def sites(count: int, seed: int = 0) -> pd.DataFrame:
    """Sites on the map of `TINY`, and some beyond its edges."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"longitude": rng.uniform(139.2, 140.7, count), "latitude": rng.uniform(35.1, 36.4, count)}
    )


def inputs(events: pd.DataFrame, sites: pd.DataFrame | None = None) -> dict[str, np.ndarray]:
    """The inputs of a signature: events, and the same sites for each of them."""
    found = {name: events[name].to_numpy() for name in events}
    if sites is not None:
        found |= {f"site_{name}": np.tile(sites[name], (len(events), 1)) for name in sites}
    return found
