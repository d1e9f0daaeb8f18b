"""Small things that many tests need."""

import importlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import settings

from tfgmm.core.grid import Grid
from tfgmm.data.dataset import Dataset
from tfgmm.runs.experiment import Experiment

# A time limit for each example fails on a busy machine.
settings.register_profile("tfgmm", deadline=None)
settings.load_profile("tfgmm")

SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_collection_modifyitems(items):
    """Run files with many slow tests first: a worker of pytest-xdist that takes one last runs alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that gives a folder by its name, made once for all workers of pytest-xdist.

    Tests that change what is in such a folder copy it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name / "whole").exists():
                make(folder / name)
                (folder / name / "whole").touch()
        return folder / name

    return folder_of


@pytest.fixture(scope="session")
def import_script():
    """A module of ``scripts/`` by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "scripts")
        yield importlib.import_module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real records; tests that use it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real strong-motion data are not on this machine")
    return SHARED / "data"


def small_dataset(n_events: int = 30, n_kik: int = 20, n_meso: int = 12, seed: int = 0) -> Dataset:
    """A dataset with a simple attenuation law, two networks and, last, two added events."""
    rng = np.random.default_rng(seed)
    total = n_kik + n_meso
    ids = [f"K{i:02d}" for i in range(n_kik)] + [f"M{i:02d}" for i in range(n_meso)]
    stations = pd.DataFrame(
        {
            "station_id": ids,
            "site_id": ids,
            "network": ["kik"] * n_kik + ["meso"] * n_meso,
            "longitude": rng.uniform(139.6, 140.3, total),
            "latitude": rng.uniform(35.45, 36.05, total),
            "elevation_m": np.nan,
            "sensor_depth_m": 0.0,
            "vs30_m_s": 300.0,
        }
    )
    year = np.append(np.linspace(2000, 2017, n_events - 2).astype(int), [2021, 2021])
    events = pd.DataFrame(
        {
            "event_id": [f"E{i:03d}" for i in range(n_events)],
            "origin_time": pd.to_datetime([f"{y}-06-15" for y in year], utc=True),
            "longitude": rng.uniform(139.3, 140.8, n_events),
            "latitude": rng.uniform(35.2, 36.3, n_events),
            "depth_km": rng.uniform(10, 80, n_events),
            "magnitude": rng.uniform(4.5, 6.5, n_events),
            "magnitude_source": "made",
        }
    )
    pairs = events.merge(stations, how="cross", suffixes=("", "_s"))
    added_only = pairs["origin_time"].dt.year == 2021
    pairs = pairs[(pairs["network"] == "meso") == added_only]
    distance = np.hypot(
        np.hypot(
            (pairs["longitude"] - pairs["longitude_s"]) * 90,
            (pairs["latitude"] - pairs["latitude_s"]) * 111,
        ),
        pairs["depth_km"],
    )
    ln_pga = 1.2 * (pairs["magnitude"] - 6) - 1.3 * np.log(distance) + 2 + rng.normal(0, 0.4, len(pairs))
    table = pairs[["event_id", "station_id"]].assign(PGA=np.exp(ln_pga), component="geometric_mean")
    return Dataset(events, stations, table, {"name": "small", "simulated": True}).checked()


@pytest.fixture
def small() -> Dataset:
    """A dataset for tests that change it."""
    return small_dataset()


#: A network of seconds: 68 -> 28 pixels at depth 2.
TINY = {
    "networks": ("kik", "meso"),
    "reference": "kik",
    "chunks": 2,
    "inits": 1,
    "grid": Grid(pixel_km=4.0, input_size=68, output_size=28),
    "network": {"depth": 2, "base": 2},
    "training": {"epochs": 2, "shift_pixels": 1},
}


#: Maps that its networks see.
CHANNELS = ("magnitude", "r_hyp")


#: The same, trained for one epoch.
QUICK = TINY | {"training": {"epochs": 1, "shift_pixels": 0}}


@pytest.fixture
def tiny() -> Experiment:
    """An experiment for `small`."""
    return Experiment(**TINY)


@pytest.fixture(scope="session")
def trained_root(made_once) -> Path:
    """A folder with a dataset whose site terms are large, and a run with the field trained on it."""
    from tfgmm.network import training

    def make(root: Path) -> None:
        dataset = small_dataset()
        terms = np.random.default_rng(1).normal(0, 1.5, len(dataset.stations))
        of_station = dict(zip(dataset.stations["station_id"], terms, strict=True))
        dataset.records["PGA"] *= np.exp(dataset.records["station_id"].map(of_station))
        dataset.write(root / "data")
        changes = {"data": str(root / "data"), "backbone": "auto", "field": True, "stopping": "blocks"}
        training.begin(Experiment(**QUICK | changes), root / "run").train()

    return made_once("trained", make)


@pytest.fixture(scope="session")
def untrained_root(made_once) -> Callable[[bool], Path]:
    """Return a function that gives a folder with an untrained run, and its exported model ``tiny``."""

    def root_of(field: bool = False) -> Path:
        from helpers import untrained_run
        from tfgmm.serving import export

        def make(root: Path) -> None:
            run = untrained_run.make(root, field=field, backbone="auto" if field else "none")
            export.prepare(run.path, root / "tiny").write()

        return made_once(f"untrained-{field}", make)

    return root_of


@pytest.fixture(scope="session")
def field_run(made_once) -> Path:
    """The folder of a run with the field and networks of random weights; tests that change it copy it."""

    def make(root: Path) -> None:
        from helpers import untrained_run

        data = untrained_run.write_data(root / "data", layers=True)
        changes = {"backbone": "auto", "field": True, "stopping": "blocks"}
        untrained_run.make_finished(data, root / "run", **changes)

    return made_once("field-run", make) / "run"
