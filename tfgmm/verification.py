"""Verify the files of a run or a dataset: which are what was written, which are damaged."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm import files, records, run_folder
from tfgmm.errors import DataError, TfgmmError, UsageError
from tfgmm.run_folder import RunFolder

WHOLE, UNTRAINED = "whole", "not trained yet"
_READERS: dict[str, Callable[[Path], object]] = {
    ".json": files.read_json,
    ".parquet": files.read_parquet,
    ".npz": lambda path: {name: array.shape for name, array in np.load(path).items()},
}


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
    elif (folder / records.DESCRIPTION).is_file():
        states = {records.DESCRIPTION: _state(lambda: records.read(folder))}
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
    for path in sorted(folder.iterdir()):
        if path.suffix in _READERS and path.name != run_folder.DESCRIPTION:
            yield path.name, _state(lambda path=path: _READERS[path.suffix](path))
    experiment = run.experiment
    for im in experiment.ims:
        for arm in run.arms(im):
            for place in np.ndindex(experiment.chunks, experiment.inits):
                yield from _member(run.path, run.member(im, *place, arm))


def _member(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    name = str(folder.relative_to(root))
    if not (folder / run_folder.DONE).is_file():
        yield name, UNTRAINED
        return
    damaged = run_folder.damaged_files(folder)
    yield name, f"damaged: {', '.join(damaged)}" if damaged else WHOLE


def _state(read: Callable[[], object]) -> str:
    try:
        read()
    except (TfgmmError, OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        return " ".join(f"{error}".split())
    return WHOLE
