"""Ground-motion models learned as image processing.

The house has thirteen rooms, in the order in which data flow through them. A room imports only from
rooms above it, and inside a room imports have no circle (``tests/conformance/test_rooms.py``). What a
room is for, and which files are in it, stands in the first lines of its ``__init__.py``.

core                what every room needs: errors, files, measures, the grid, places, drawing
data                one dataset, checked and on disk
readers             files of others -> a dataset or a site layer
stats               statistics on tables and arrays, without TensorFlow
simulation          records with a planted truth
runs                what a run is: settings, folds, files and tables, without verbs
network             maps, U-Net, likelihood, training
prediction          a trained run -> distributions anywhere
evaluation          how good a run is, and beside what
site_amplification  what a run has learned about the ground
serving             the model elsewhere: export, servers, clients
api                 the public objects with their verbs, named here
cli                 the command line: parses and prints
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgmm.api.asking import docker_command, query, read_events, read_sites, scenario, serve
    from tfgmm.api.dataset import Dataset, open_dataset, simulate
    from tfgmm.api.reading import (
        add_layer,
        fetch_jma,
        read_gmprocess,
        read_jma,
        read_kiknet_flatfile,
        read_layer,
        read_nied,
        read_table,
        read_waveforms,
    )
    from tfgmm.api.reports import check, compare, report
    from tfgmm.api.run import Run, open_run
    from tfgmm.api.training import begin_training, experiment, train, upgrade
    from tfgmm.core.errors import DataError, TfgmmError, UsageError
    from tfgmm.serving.client import Client

__version__ = "0.2.0"

__all__ = [
    "Client",
    "DataError",
    "Dataset",
    "Run",
    "TfgmmError",
    "UsageError",
    "add_layer",
    "begin_training",
    "check",
    "compare",
    "docker_command",
    "experiment",
    "fetch_jma",
    "open_dataset",
    "open_run",
    "query",
    "read_events",
    "read_gmprocess",
    "read_jma",
    "read_kiknet_flatfile",
    "read_layer",
    "read_nied",
    "read_sites",
    "read_table",
    "read_waveforms",
    "report",
    "scenario",
    "serve",
    "simulate",
    "train",
    "upgrade",
]

#: Module of each public name, imported when the name is first used: importing tfgmm takes milliseconds.
_MODULES = {
    "tfgmm.api.asking": ("docker_command", "query", "read_events", "read_sites", "scenario", "serve"),
    "tfgmm.api.dataset": ("Dataset", "open_dataset", "simulate"),
    "tfgmm.api.reading": (
        *("add_layer", "fetch_jma", "read_gmprocess", "read_jma", "read_kiknet_flatfile"),
        *("read_layer", "read_nied", "read_table", "read_waveforms"),
    ),
    "tfgmm.api.reports": ("check", "compare", "report"),
    "tfgmm.api.run": ("Run", "open_run"),
    "tfgmm.api.training": ("begin_training", "experiment", "train", "upgrade"),
    "tfgmm.core.errors": ("DataError", "TfgmmError", "UsageError"),
    "tfgmm.serving.client": ("Client",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a public object, importing the module that holds it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tfgmm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
