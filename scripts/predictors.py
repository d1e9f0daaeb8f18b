"""An untrained ensemble of full size, and those who predict with it, for `scripts/benchmark.py`."""

import functools
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from contenders import Steps, described

from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import SITE_XY, SOURCE_XY
from tfgmm.network import member, training
from tfgmm.network.channels import event_vectors
from tfgmm.prediction import ensemble
from tfgmm.runs.member_folder import NETWORK, backbone_name
from tfgmm.serving import export

SITES = 1000
#: Scenarios that are asked for at once.
SCENARIOS = 32


class Asked:
    """A run of up to ten members with random weights, in a folder, and what is asked of it."""

    def __init__(self, dataset: Dataset, preset: str, base: int, scratch: Path, members: int = 10) -> None:
        experiment = described(preset, field=False, network={"base": base})
        begun = training.begin(experiment, scratch / "run")
        for one in begun.members[:members]:
            material = begun.material(one)
            ((im, table),) = material.records.items()
            folder = begun.folder(one)
            folder.path.mkdir(parents=True)
            member.build(material).save(folder.path / NETWORK)
            for backbone in material.backbones.values():
                backbone.save(folder.path / backbone_name(im, [im]))
            which = {"im": im, "arm": experiment.arm, "chunk": one.chunk, "init": one.init}
            table = table.drop(columns=[*SOURCE_XY, *SITE_XY]).assign(**which, mean=0.0, stddev=1.0)
            table.to_parquet(folder.predictions, index=False)
            done = {"networks": {NETWORK: [im]}}
            (folder.path / "done.json").write_text(json.dumps(done))
        begun.write_predictions()
        rng = np.random.default_rng(0)
        self.ensemble = ensemble.load(begun.run.path)
        self.events = dataset.events.head(SCENARIOS)
        self.sites = pd.DataFrame(
            {"longitude": rng.uniform(139.2, 140.7, SITES), "latitude": rng.uniform(35.1, 36.4, SITES)}
        )
        self._scratch, self._turns = scratch, itertools.cycle(range(len(self.events)))

    def next_event(self) -> pd.DataFrame:
        """Another event than the last one, which the ensemble would know."""
        return self.events.iloc[[next(self._turns)]]

    @functools.cached_property
    def exported(self) -> Callable:
        """The exported graph."""
        version = export.prepare(self.ensemble.run.path, self._scratch / "exported").write()
        return tf.saved_model.load(str(version)).signatures["at_sites"]

    def contenders(self) -> dict[str, dict[str, Steps]]:
        """What is asked, and who answers."""
        all_of_them, ensemble = self.events, self.ensemble
        return {
            "one event at the sites": {
                "Keras, one after the other": timed(lambda: self._keras(self.next_event())),
                "tfgmm": timed(lambda: ensemble.at_sites(self.next_event(), self.sites)),
                "exported": timed(lambda: self._exported(self.next_event())),
            },
            "maps of one event": {"tfgmm": timed(lambda: ensemble.maps(self.next_event()))},
            f"{SCENARIOS} events at the sites": {
                "Keras, one after the other": timed(lambda: self._keras(all_of_them)),
                "tfgmm": timed(lambda: ensemble.at_sites(all_of_them, self.sites)),
            },
        }

    def _keras(self, events: pd.DataFrame) -> np.ndarray:
        """Mean of the members at the sites, by ``predict``."""
        grid, rasteriser = self.ensemble.experiment.grid, self.ensemble._outputs.rasteriser
        unmoved = tf.zeros(2, tf.int32)
        maps = np.stack([rasteriser(one, unmoved) for one in tf.constant(event_vectors(events, grid))])
        row, col, _ = grid.locate(self.sites["longitude"], self.sites["latitude"])
        models = [networks.models[0] for networks in self.ensemble.members.values()]
        found = [model.predict(maps, batch_size=4, verbose=0) for model in models]
        return np.mean([one["mean"][:, row, col] for one in found], axis=0)

    def _exported(self, events: pd.DataFrame) -> np.ndarray:
        given = {name: tf.constant(events[name], tf.float32) for name in ("depth_km", "magnitude")}
        given |= {name: tf.constant(events[name], tf.float64) for name in ("longitude", "latitude")}
        given |= {
            f"site_{name}": tf.constant(np.tile(self.sites[name], (len(events), 1))) for name in self.sites
        }
        types = self.exported.structured_input_signature[1]
        return self.exported(**{n: tf.cast(v, types[n].dtype) for n, v in given.items()})["mean"].numpy()


def timed(answer: Callable[[], object]) -> Steps:
    """Seconds an answer, after a first one."""
    answer()

    def run(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            answer()
        return (time.perf_counter() - started) / times

    return run
