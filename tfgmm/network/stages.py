"""The stages of a training, each of which any process may do: prepare a chunk, train a member, finish.

Every stage works on a run folder that `tfgmm train` has begun, can be interrupted and given again, and does
nothing where its result is there. A chunk is a group of stations whose sites are held out; a member is one
trained network of a chunk and an initialisation; an arm is a set of input channels.
"""

import contextlib
import time
from pathlib import Path

from tfgmm.core.errors import UsageError
from tfgmm.core.lease import held
from tfgmm.network import training
from tfgmm.network.training import Member, Training
from tfgmm.runs.member_folder import SHARE, work_folder
from tfgmm.runs.run import RunFolder

#: Shortest time between two notes of the share that is done, s.
_NOTE_S = 1.0


def prepare(run: Path, chunk: int, arm: str | None = None) -> None:
    """Fit the backbone of a chunk, and what the field tells its members, and write both into the run.

    Parameters
    ----------
    run : Path
        Run folder.
    chunk : int
        Number of the station chunk, from 0.
    arm : str, optional
        Name of the arm; by default the run's own.

    Raises
    ------
    UsageError
        There is no such run, chunk or arm.
    DataError
        The data are damaged or too few, or the file system refuses to write.
    """
    _training(run, arm, chunk).prepare(chunk)


def member(run: Path, arm: str, chunk: int, init: int) -> str | None:
    """Train a member, on from its last saved epoch; prepare its chunk before, if that is not done.

    Parameters
    ----------
    run : Path
        Run folder.
    arm : str
        Name of the arm.
    chunk, init : int
        Numbers of the station chunk and of the initialisation, from 0.

    Returns
    -------
    str or None
        The process to which the member is left, because that process is training it at present.

    Raises
    ------
    UsageError
        There is no such run, arm, chunk or initialisation.
    DataError
        The data are damaged, the loss is not finite, memory is short, or the file system refuses to write.
    """
    begun, one = _training(run, arm, chunk), Member(chunk, init)
    if one not in begun.members:
        raise UsageError(f"no initialisation {init}: the run has 0 to {begun.experiment.inits - 1}")
    work, noted = work_folder(begun.folder(one).path), time.monotonic()

    def note(name: str, share: float) -> None:
        nonlocal noted
        if share < 1 and time.monotonic() - noted >= _NOTE_S:
            noted = time.monotonic()
            with contextlib.suppress(OSError):  # a display that lags is no reason to fail
                work.mkdir(exist_ok=True)
                (work / SHARE).write_text(f"{share:.6f}")

    return begun.train_member(one, note)


def finish(run: Path) -> None:
    """Condition the field of each chunk, and write the table of predictions of all trained members.

    Parameters
    ----------
    run : Path
        Run folder.

    Raises
    ------
    UsageError
        There is no such run, or no member is trained.
    DataError
        A member is damaged, the field cannot be fitted, or the file system refuses to write.
    """
    begun = _training(run)
    if len(begun.missing) == len(begun.members):
        raise UsageError(f"{run}: no member is trained yet")
    with held(begun.run.path / "run"):
        begun.write_predictions()


def _training(run: Path, arm: str | None = None, chunk: int | None = None) -> Training:
    """Return the training of an arm of a run, of one chunk or of all."""
    begun = training.reopen(RunFolder.open(run))
    chunks = range(begun.experiment.chunks)
    if chunk is not None and chunk not in chunks:
        raise UsageError(f"no chunk {chunk}: the run has chunks 0 to {chunks[-1]}")
    begun.chunks = tuple(chunks) if chunk is None else (chunk,)
    return begun if arm is None else begun.arm(begun.experiment.of_arm(arm))
