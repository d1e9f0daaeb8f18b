"""Verify the files of a run or a dataset: which are unchanged, which are damaged."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.data.dataset import DESCRIPTION, Dataset, changed_files
from tfgmm.runs import run as runs
from tfgmm.runs.member_folder import MANIFEST, MemberFolder
from tfgmm.runs.run import RunFolder

WHOLE, UNTRAINED = "whole", "not trained yet"


def verify(folder: Path) -> pd.DataFrame:
    """Check every file of a run folder or a dataset folder, and return the state of each.

    Parameters
    ----------
    folder : Path
        The folder of a run or of a dataset.

    Returns
    -------
    pandas.DataFrame
        ``file`` and ``state``: ``whole``, ``not trained yet``, or a text that says what is wrong.

    Raises
    ------
    UsageError
        The folder is neither a run nor a dataset.
    """
    if (folder / runs.DESCRIPTION).is_file():
        states = dict(_run(folder))
    elif (folder / DESCRIPTION).is_file():
        states = {DESCRIPTION: _state(lambda: Dataset.read(folder))} | dict(_dataset(folder))
    else:
        raise UsageError(f"{folder} is neither a run nor a dataset folder")
    return pd.DataFrame({"file": states.keys(), "state": states.values()})


def _run(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the state of each file and each member folder of a run."""
    try:
        run = RunFolder.open(folder)
    except DataError as error:
        yield runs.DESCRIPTION, str(error)
        return
    yield runs.DESCRIPTION, WHOLE
    yield runs.DATA, _state(run.dataset)
    state = _state(run.manifest.hashes)
    yield MANIFEST, state
    has_hashes = state == WHOLE
    for name in run.manifest.hashes() if has_hashes else ():
        yield name, _state(functools.partial(run.manifest.file, name))
    experiment = run.experiment
    lost = {run.member(*place) for im in experiment.ims for place in run.lost(im)} if has_hashes else set()
    yield from ((str(member.path.relative_to(folder)), "missing") for member in lost)
    for arm in run.arms():
        for chunk, init in np.ndindex(experiment.chunks, experiment.inits):
            member = run.member(chunk, init, arm)
            if member not in lost:
                yield str(member.path.relative_to(folder)), _member_state(run, member)


def _member_state(run: RunFolder, member: MemberFolder) -> str:
    """Return the state of a member folder: whole, not trained yet, or the names of the damaged files."""
    if not member.is_trained:
        return UNTRAINED
    damaged = member.damaged_files(run.fingerprint)
    return f"damaged: {', '.join(damaged)}" if damaged else WHOLE


def _dataset(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the state of each file that the description of a dataset lists."""
    with contextlib.suppress(TfgmmError):  # said of the description already
        for name, wrong in changed_files(folder).items():
            yield name, wrong or WHOLE


def _state(read: Callable[[], object]) -> str:
    """Return `WHOLE` if the function `read` succeeds, else the message of its error in one line."""
    try:
        read()
    except (TfgmmError, OSError, ValueError) as error:
        return " ".join(f"{error}".split())
    return WHOLE
