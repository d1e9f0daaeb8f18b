"""Ground-motion models learned as image processing.

What there is to call, as ``tfgmm.NAME``; ``help(tfgmm.NAME)`` says more.

Get data
    open_dataset          open a dataset folder
    simulate              make simulated records from known terms
    read_table            read any flatfile with one row per record
    read_gmprocess        read flatfiles of USGS gmprocess
    read_kiknet_flatfile  read the KiK-net flatfile
    fetch_jma             download the files of the JMA
    read_jma              read the files of the JMA
    read_nied             read K-NET and KiK-net records
    read_waveforms        read continuous waveforms and cut out events
    read_layer            read a site layer
    add_layer             add a site layer to a dataset on disk
    Dataset               events, stations, records and site layers
    Choices               options that all readers share
    Tally                 counts of what was read and left out

Train
    train                 train an ensemble, and return its run
    experiment            make the settings of a run
    begin_training        make a run folder, and train later
    upgrade               bring a run of version 0.1 up to this one
    Experiment            all settings of a run

Look
    open_run              open a run folder
    Run                   a run, with all that can be done with it
    report                write one page on runs
    compare               compare the scores of runs
    check                 verify the files of a run or a dataset
    Report                the files of a report
    Evaluation            the scores of a run, as run.evaluate() returns them
    Effects               source, site and path effects, as run.effects() returns them
    FieldTerms            what records tell beyond the backbone, as run.field() returns it
    ImCorrelation         correlation between measures, as run.im_correlation() returns it
    SiteAmplification     maps of the ground, as run.site_amplification() returns them

Use
    scenario              make the table of one earthquake
    read_events           read a catalogue to predict for
    read_sites            read a table of sites to predict for
    Ensemble              the networks of a run for one measure, as run.ensemble() returns them
    Spectra               the same for several measures
    Known                 what else is known of ruptures and the ground
    table                 make a table of predictions at sites
    serve                 run a small model server
    docker_command        say how to run TensorFlow Serving
    query                 ask a model server once
    Client                ask a model server
    Patience              how long a client waits

Errors
    TfgmmError            base of both errors
    UsageError            an argument is wrong
    DataError             data cannot be trusted, read or written

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
import os
from typing import TYPE_CHECKING

# TensorFlow reports absent GPUs as errors; who wants to see that sets another level before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from tfgmm.api.asking import query, read_events, read_sites, scenario, serve
    from tfgmm.api.dataset import Choices, Dataset, open_dataset, simulate
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
    from tfgmm.api.reports import Report, check, compare, report
    from tfgmm.api.run import Run, open_run
    from tfgmm.api.training import begin_training, experiment, train, upgrade
    from tfgmm.core.errors import DataError, TfgmmError, UsageError
    from tfgmm.data.tally import Tally
    from tfgmm.evaluation.effects import Effects
    from tfgmm.evaluation.evaluation import Evaluation
    from tfgmm.prediction.conditioning import Known
    from tfgmm.prediction.ensemble import Ensemble
    from tfgmm.prediction.field_terms import FieldTerms
    from tfgmm.prediction.quantities import table
    from tfgmm.prediction.spectra import Spectra
    from tfgmm.runs.experiment import Experiment
    from tfgmm.serving.client import Client, Patience
    from tfgmm.serving.docker import docker_command
    from tfgmm.site_amplification.writing import SiteAmplification
    from tfgmm.stats.im_correlation import ImCorrelation

__version__ = "0.2.0"

__all__ = [
    "Choices",
    "Client",
    "DataError",
    "Dataset",
    "Effects",
    "Ensemble",
    "Evaluation",
    "Experiment",
    "FieldTerms",
    "ImCorrelation",
    "Known",
    "Patience",
    "Report",
    "Run",
    "SiteAmplification",
    "Spectra",
    "Tally",
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
    "table",
    "train",
    "upgrade",
]

#: Module of each public name, imported when the name is first used: importing tfgmm takes milliseconds.
_MODULES = {
    "tfgmm.api.asking": ("query", "read_events", "read_sites", "scenario", "serve"),
    "tfgmm.api.dataset": ("Choices", "Dataset", "open_dataset", "simulate"),
    "tfgmm.api.reading": (
        *("add_layer", "fetch_jma", "read_gmprocess", "read_jma", "read_kiknet_flatfile"),
        *("read_layer", "read_nied", "read_table", "read_waveforms"),
    ),
    "tfgmm.api.reports": ("Report", "check", "compare", "report"),
    "tfgmm.api.run": ("Run", "open_run"),
    "tfgmm.api.training": ("begin_training", "experiment", "train", "upgrade"),
    "tfgmm.core.errors": ("DataError", "TfgmmError", "UsageError"),
    "tfgmm.data.tally": ("Tally",),
    "tfgmm.evaluation.effects": ("Effects",),
    "tfgmm.evaluation.evaluation": ("Evaluation",),
    "tfgmm.prediction.conditioning": ("Known",),
    "tfgmm.prediction.ensemble": ("Ensemble",),
    "tfgmm.prediction.field_terms": ("FieldTerms",),
    "tfgmm.prediction.quantities": ("table",),
    "tfgmm.prediction.spectra": ("Spectra",),
    "tfgmm.runs.experiment": ("Experiment",),
    "tfgmm.serving.client": ("Client", "Patience"),
    "tfgmm.serving.docker": ("docker_command",),
    "tfgmm.site_amplification.writing": ("SiteAmplification",),
    "tfgmm.stats.im_correlation": ("ImCorrelation",),
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
