"""One process at a time trains a member or finishes a run: leases that end with their owner."""

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError

#: After so long without a sign of life from a process on another machine its lease ends, s.
#: One that died on this machine loses its lease at once.
DURATION_S = 120.0
#: Time in which a living process has written its name into the lease that it has made, s.
BLANK_S = 2.0
#: How long a process waits for another that finishes the same run, s.
PATIENCE_S = 1800.0
_log = logging.getLogger(__name__)
NAME = files.PREFIX + "{}.lease"


class Lease:
    """A file, made by exclusive creation, that says which process is at work on something.

    Holds on a file system that several machines share; the owner touches the file, and an owner that is
    dead, or was not heard of for `DURATION_S`, is succeeded by the next who asks.

    Parameters
    ----------
    target : Path
        The file or folder that one process may work on; the lease stands beside it.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(NAME.format(target.name))
        self.lost = False
        self._lock = filelock.SoftFileLease(
            self.path, lease_duration=DURATION_S, thread_local=False, on_compromise=self._lose
        )

    def _lose(self, compromise: filelock.LeaseCompromise) -> None:
        """Note that another process has taken the lease over."""
        self.lost = True

    def take(self, patience_s: float = 0.0) -> bool:
        """Take the lease, after at most `patience_s` seconds, and return True if this process has it then.

        Raises
        ------
        DataError
            The file system refuses to write.
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
        """Remove a lease that names no process: left blank by a kill, or damaged and old."""
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
        """Give the lease up."""
        self._lock.release()

    @property
    def owner(self) -> str:
        """Return the name of the process that holds the lease, for messages."""
        record = self._lock.owner
        return "another process" if record is None else f"process {record.pid} on {record.hostname}"

    @property
    def is_remote(self) -> bool:
        """Return True if the owner is on another machine, so that nobody here can see if it is alive."""
        record = self._lock.owner
        return record is None or record.hostname != socket.gethostname()

    def refuse_lost(self) -> None:
        """Raise `DataError` if another process has taken over, because this one gave no sign of life."""
        if self.lost:
            raise DataError(
                f"{self.path} has gone to {self.owner}, since this process could not renew it: its work on "
                "this member is left to that one"
            )


@contextlib.contextmanager
def held(target: Path) -> Iterator[None]:
    """Hold the lease of `target` while the block runs; a process holds one at a time.

    Raises
    ------
    UsageError
        Another process holds the lease for more than `PATIENCE_S` seconds.
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
    """Raise `UsageError` if a process is at work on anything in `folder`; end the leases of dead ones."""
    for path in folder.rglob(NAME.format("*")):
        lease = Lease(path.with_name(path.name.removeprefix(files.PREFIX).removesuffix(".lease")))
        if not lease.take():
            raise UsageError(f"{lease.owner} is at work in {folder}: wait until it is done, or end it")
        lease.release()
