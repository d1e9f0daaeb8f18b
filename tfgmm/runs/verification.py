"""Verify the files of a run or a dataset: which are what was written, which are damaged."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.data.dataset import DESCRIPTION, Dataset, changed_files
from tfgmm.runs import run_folder
from tfgmm.runs.run_folder import RunFolder

WHOLE, UNTRAINED = "whole", "not trained yet"


def verify(folder: Path) -> pd.DataFrame:
    """Verify every file of a run folder or a dataset folder.

    Returns
    -------
    pandas.DataFrame
        ``file`` and ``state``: ``whole``, ``not trained yet``, or what is wrong with it.

    Raises
    ------
    UsageError
        It is neither a run nor a dataset.
    """
    if (folder / run_folder.DESCRIPTION).is_file():
        states = dict(_run(folder))
    elif (folder / DESCRIPTION).is_file():
        states = {DESCRIPTION: _state(lambda: Dataset.read(folder))} | dict(_dataset(folder))
    else:
        raise UsageError(f"{folder} is neither a run nor a dataset folder")
    return pd.DataFrame({"file": states.keys(), "state": states.values()})


def _run(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        run = RunFolder.open(folder)
    except DataError as error:
        yield run_folder.DESCRIPTION, str(error)
        return
    yield run_folder.DESCRIPTION, WHOLE
    yield run_folder.DATA, _state(run.dataset)
    state = _state(run.noted)
    yield run_folder.MANIFEST, state
    has_hashes = state == WHOLE
    for name in run.noted() if has_hashes else ():
        yield name, _state(lambda name=name: run.file(name))
    experiment = run.experiment
    for im in experiment.ims:
        lost = [run.member(im, *place) for place in run.lost(im)] if has_hashes else []
        yield from ((str(path.relative_to(folder)), "missing") for path in lost)
        for arm in run.arms(im):
            for place in np.ndindex(experiment.chunks, experiment.inits):
                member = run.member(im, *place, arm)
                yield from () if member in lost else _member(run, member)


def _member(run: RunFolder, folder: Path) -> Iterator[tuple[str, str]]:
    name = str(folder.relative_to(run.path))
    if not (folder / run_folder.DONE).is_file():
        yield name, UNTRAINED
        return
    damaged = run_folder.damaged_files(folder, run.fingerprint)
    yield name, f"damaged: {', '.join(damaged)}" if damaged else WHOLE


def _dataset(folder: Path) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(TfgmmError):  # said of the description already
        for name, wrong in changed_files(folder).items():
            yield name, wrong or WHOLE


def _state(read: Callable[[], object]) -> str:
    try:
        read()
    except (TfgmmError, OSError, ValueError) as error:
        return " ".join(f"{error}".split())
    return WHOLE
