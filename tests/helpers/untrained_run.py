"""Runs whose networks have random weights, made in seconds, and what to ask about them."""

import dataclasses
import itertools
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
from tfgmm.runs.member_folder import MemberFolder, backbone_of, network_name
from tfgmm.runs.run import RunFolder

IMS = ("PGA", "SA(1.0)")


def write_data(folder: Path, layers: bool = False) -> str:
    """Write the small dataset with two intensity measures, and on request a site layer."""
    dataset = small_dataset()
    dataset.records["SA(1.0)"] = dataset.records["PGA"] * 0.5
    if layers:
        lat, lon = np.linspace(33, 38.5, 56), np.linspace(137, 143, 61)
        axes = {"latitude": lat, "longitude": lon}
        bowl = np.exp(-((lat[:, None] - 35.75) ** 2 + (lon - 139.95) ** 2) * 4)
        layer = (tuple(axes), 200 + 3000 * bowl, {"units": "m"})
        dataset = dataclasses.replace(dataset, layers=xr.Dataset({"z_bedrock": layer}, axes))
    dataset.write(folder)
    return str(folder)


def make(root: Path, **changes) -> RunFolder:
    """Make a run of two chunks of two members, and its dataset; the second measure lacks a chunk."""
    described = {"data": write_data(root / "data"), "inits": 2, "ims": IMS}
    begun = training.begin(Experiment(**TINY | described | changes), root / "run")
    rng = np.random.default_rng(0)
    give_random_weights(begun, rng, lacking=("SA(1.0)", 1))
    if begun.run.experiment.backbone != "none":
        begun.write_predictions()
    return begun.run


def make_finished(data: str, path: Path, **changes) -> RunFolder:
    """Make a run on a dataset, with all members and the table of their predictions."""
    begun = training.begin(Experiment(**QUICK | {"data": data, "ims": IMS} | changes), path)
    give_random_weights(begun)
    begun.write_predictions()
    return begun.run


def give_random_weights(
    begun: training.Training, rng: np.random.Generator | None = None, lacking: tuple[str, int] | None = None
) -> None:
    """Write all members, without the network of one measure in one chunk; no two predict the same."""
    rng = np.random.default_rng(0) if rng is None else rng
    materials = {}
    for im, one in itertools.product(begun.ims, begun.members):
        if (im, one.chunk) == lacking:
            continue
        if (im, one.chunk) not in materials:
            materials[im, one.chunk] = begun.materials(one, [im])[im]
        material = materials[im, one.chunk]
        keras.utils.set_random_seed(one.chunk * 2 + one.init)
        model = member.build(material)
        for weight in model.weights:
            if len(weight.shape) == 1:  # a bias: nobody would notice if zeros went missing
                weight.assign(rng.uniform(0.1, 0.3, weight.shape))
        _add_network(begun.folder(one), im, model, material, one)


def _add_network(folder: MemberFolder, im: str, model, material: Material, one: training.Member) -> None:
    """Write the network of one measure into a member's folder, with the predictions of its records."""
    done = folder.done() if folder.is_trained else {"networks": {}}
    name = network_name(im, material.experiment.ims)
    folder.path.mkdir(parents=True, exist_ok=True)
    model.save(folder.path / name)
    if material.backbone is not None:
        material.backbone.save(folder.path / backbone_of(name))
    which = {"im": im, "arm": material.experiment.arm, "chunk": one.chunk, "init": one.init}
    errors = np.random.default_rng([one.chunk, one.init]).normal(0, 0.5, len(material.records))
    records = material.records.drop(columns=NOT_PREDICTED)
    table = records.assign(**which, mean=material.records["ln_im"] + errors, stddev=0.5)
    if folder.is_trained:
        table = pd.concat([pd.read_parquet(folder.predictions), table])
    table.to_parquet(folder.predictions, index=False)
    (folder.path / "done.json").write_text(json.dumps(done | {"networks": done["networks"] | {name: [im]}}))


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
