"""Do one stage of a training in a process of its own, which ends when the process that started it ends.

`tfgmm.network.executors.Stage` starts this module as ``python -m tfgmm.network.child STAGE ARGUMENT ...``.
What TensorFlow and Python print goes to standard error, the log; standard output gets one line at the end.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from tfgmm.core.errors import TfgmmError, one_line

#: Variable of the environment with the largest memory of the process, GB.
MEMORY = "TFGMM_MEMORY_GB"


def main() -> None:
    """Do the stage that the arguments name, and print what the starting process wants to know.

    It is the process to which a member is left, the message of an error, or nothing.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A batch system warns every process of a job; the one that started this one acts on it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _limit_memory()
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        try:
            answer.write(_stage(*sys.argv[1:]) or "")
        except TfgmmError as error:
            print(f"tfgmm: {one_line(error)}", file=sys.stderr)
            answer.write(one_line(error))
            raise SystemExit(error.exit_code) from None


def _stage(name: str, run: str, *arguments: str) -> str | None:
    """Do a stage, and return the process to which a member is left."""
    from tfgmm.network import stages  # TensorFlow comes after the limits

    if name == "member":
        arm, chunk, init = arguments
        return stages.member(Path(run), arm, int(chunk), int(init))
    if name == "prepare":
        arm, chunk = arguments
        return stages.prepare(Path(run), int(chunk), arm)
    return stages.finish(Path(run))


def _end_with_parent() -> None:
    """Wait until the process at the other end of standard input is gone, then end at once."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGKILL)


def _limit_memory() -> None:
    """Limit the memory of this process to what the environment says, if it says something."""
    if os.environ.get(MEMORY):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        size = int(float(os.environ[MEMORY]) * 1e9)
        # A limit that the system sets cannot be raised.
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


if __name__ == "__main__":
    main()
