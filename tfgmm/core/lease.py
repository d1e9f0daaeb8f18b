"""Leases: lock files that let one process at a time train a member or finish a run.

A member is one trained network of the ensemble of a run. A lease ends when its process ends.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError

#: Time, in s, without a sign of life after which the lease of a process on another machine ends.
#: The lease of a process that has died on this machine ends at once.
DURATION_S = 120.0
#: Time, in s, within which a living process has written its name into its new lease.
BLANK_S = 2.0
#: Longest time, in s, that a process waits for another process that finishes the same run.
PATIENCE_S = 1800.0
_log = logging.getLogger(__name__)
NAME = files.PREFIX + "{}.lease"


class Lease:
    """Lock file that names the process which works on a file or folder at present.

    The lease works on a file system that several machines share. Its owner, the process that holds it,
    renews the lock file regularly. If the owner is dead, or has not renewed the file for `DURATION_S`
    seconds, the next process that asks gets the lease.

    Parameters
    ----------
    target : Path
        File or folder that one process may work on; the lock file stands beside it.

    Attributes
    ----------
    path : Path
        The lock file.
    lost : bool
        Whether another process has taken over the lease that this process held.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(NAME.format(target.name))
        self.lost = False
        self._lock = filelock.SoftFileLease(
            self.path, lease_duration=DURATION_S, thread_local=False, on_compromise=self._lose
        )

    def _lose(self, compromise: filelock.LeaseCompromise) -> None:
        """Set `lost`, because another process has taken the lease over."""
        self.lost = True

    def take(self, patience_s: float = 0.0) -> bool:
        """Try to take the lease, and return True if this process holds it afterwards.

        Parameters
        ----------
        patience_s : float
            Longest time to wait for another process that holds the lease, s.

        Returns
        -------
        bool
            False if another process still holds the lease after `patience_s` seconds.

        Raises
        ------
        DataError
            The file system refuses to write the lock file.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._end_nameless()
            self._lock.acquire(timeout=patience_s, poll_interval=0.5)
        except (filelock.Timeout, filelock.LeaseSettingsMismatch):
            return False
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}") from error
        self.lost = False
        return True

    def _end_nameless(self) -> None:
        """Remove a lock file that names no process: an empty one after a kill, or an old damaged one."""
        deadline = time.monotonic() + BLANK_S
        while time.monotonic() < deadline:
            if not self.path.exists() or self._lock.owner is not None:
                return
            time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError):
            state = self.path.stat()
            if not state.st_size or time.time() - state.st_mtime > DURATION_S:
                self.path.unlink()

    def release(self) -> None:
        """Give the lease up, so that another process can take it."""
        self._lock.release()

    @property
    def owner(self) -> str:
        """Return the process that holds the lease as a text for messages: its id and its machine."""
        record = self._lock.owner
        return "another process" if record is None else f"process {record.pid} on {record.hostname}"

    @property
    def is_remote(self) -> bool:
        """Return True if the owner of the lease runs on another machine, or is unknown.

        This machine cannot check whether such an owner is alive.
        """
        record = self._lock.owner
        return record is None or record.hostname != socket.gethostname()

    def refuse_lost(self) -> None:
        """Raise an error if another process has taken the lease over.

        Another process takes the lease over if this process could not renew the lock file in time.

        Raises
        ------
        DataError
            The lease is lost; the message names the process that holds it now.
        """
        if self.lost:
            raise DataError(
                f"{self.path} has gone to {self.owner}, since this process could not renew it: its work on "
                "this member is left to that one"
            )


@contextlib.contextmanager
def held(target: Path) -> Iterator[None]:
    """Hold the lease of a file or folder while the block runs; wait first if another process holds it.

    Parameters
    ----------
    target : Path
        File or folder that one process may work on.

    Raises
    ------
    UsageError
        Another process still holds the lease after `PATIENCE_S` seconds.
    """
    lease = Lease(target)
    if not lease.take():
        _log.warning("waiting for %s, which is at work on %s", lease.owner, target.parent)
        if not lease.take(PATIENCE_S):
            raise UsageError(f"{target} is in the hands of {lease.owner}: try again when it is done")
    try:
        yield
    finally:
        lease.release()


def refuse_held(folder: Path) -> None:
    """Raise an error if a process works on anything in a folder; delete the leases of dead processes.

    Parameters
    ----------
    folder : Path
        Folder to search for leases, with all its subfolders.

    Raises
    ------
    UsageError
        A living process holds a lease in the folder; the message names the process.
    """
    for path in folder.rglob(NAME.format("*")):
        lease = Lease(path.with_name(path.name.removeprefix(files.PREFIX).removesuffix(".lease")))
        if not lease.take():
            raise UsageError(f"{lease.owner} is at work in {folder}: wait until it is done, or end it")
        lease.release()
