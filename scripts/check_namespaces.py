"""Train across two network namespaces that share a folder, as two machines do, and train no member twice.

A Dask scheduler and the command stand in the first namespace, two workers in the second; each has a host
name of its own, so that leases are those of two machines. At the same time a second command trains the same
run with a local process of the first namespace. No member may be trained twice, and weights and predictions
must be those of a run of one machine, bit for bit.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from check_executors import refuse_lost_epochs
from check_kills import RECORDS, TFGMM, Run, refuse_different

from tfgmm.cli.console import console, run_script
from tfgmm.core.errors import DataError

FIRST, SECOND = (f"tfgmm-{os.getpid()}-{letter}" for letter in "ab")
ADDRESSES = {FIRST: "10.213.77.1", SECOND: "10.213.77.2"}
SCHEDULER = f"tcp://{ADDRESSES[FIRST]}:8786"
SIZE = ["--base", "2", "--depth", "2", "--input-size", "68", "--pixel-km", "4", "--inits", "3"]
SIZE += ["--backbone", "none", "--field", "no", "--threads", "1"]


def ip(*words: str) -> None:
    """Run the command ``ip``."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Make two network namespaces with a cable between them; remove both in the end."""
    try:
        for name in ADDRESSES:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", FIRST, "type", "veth", "peer", "name", "cable", "netns", SECOND)
        for name, address in ADDRESSES.items():
            ip("-n", name, "address", "add", f"{address}/30", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in ADDRESSES:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@contextlib.contextmanager
def inside(name: str, command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a command in a namespace, with its name as host name; end it in the end."""
    rename = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, *rename, *command], stdout=stream, stderr=stream
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def watch(run: Run, commands: list[subprocess.Popen]) -> dict[str, float]:
    """Wait for commands; return when each member was trained; raise `DataError` if one was twice."""
    saved: dict[str, int] = {}
    ended: dict[str, float] = {}
    while any([command.poll() is None for command in commands]):
        time.sleep(0.05)
        refuse_lost_epochs(run, saved)
        for done in run.folder.rglob("done.json"):
            with contextlib.suppress(FileNotFoundError):
                written = done.stat().st_mtime
                if ended.setdefault(done.parent.name, written) != written:
                    raise DataError(f"{done.parent} was trained twice")
    return ended


def main(
    keep: Annotated[Path | None, typer.Option(help="Keep the runs and logs in this folder.")] = None,
) -> None:
    """Train across two network namespaces."""
    if os.geteuid() or shutil.which("ip") is None:
        console.print(f"Skipped: {'there is no command ip' if not os.geteuid() else 'it needs root'}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the namespaces are removed
    root = keep or Path(tempfile.mkdtemp(prefix="check-namespaces-"))
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [*TFGMM, "simulate", str(root / "data"), *RECORDS, "--overwrite"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    alone, shared = (Run(root / name, root / "data", "quick") for name in ("alone", "shared"))
    for run in (alone, shared):
        shutil.rmtree(run.folder, ignore_errors=True)
        run.command += SIZE
    local = ["--executor", "local", "--workers", "1"]
    dask = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", ADDRESSES[FIRST], "--port", "8786"]
    workers = ["distributed.cli.dask_worker", SCHEDULER, "--nworkers", "2", "--nthreads", "1"]
    with namespaces(), contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(inside(name, command, root / f"{what}.log"))
            for name, command, what in (
                (FIRST, [*dask, *scheduler, "--no-dashboard"], "scheduler"),
                (SECOND, [*dask, *workers, "--memory-limit", "0", "--no-dashboard"], "workers"),
                (FIRST, [*shared.command, "--executor", "dask", "--address", SCHEDULER], "first"),
                (FIRST, [*shared.command, *local], "second"),
            )
        ]
        ended = watch(shared, processes[2:])
        if any(command.returncode for command in processes[2:]):
            raise DataError(f"a command fails: see {root}/first.log and {root}/second.log")
    for run in (shared, alone):
        run.command += local
        run.finish()
    if {path.parent.name: path.stat().st_mtime for path in shared.folder.rglob("done.json")} != ended:
        raise DataError(f"{shared.folder}: the commands left members, or trained some twice")
    refuse_different(shared, alone.content())
    if keep is None:
        shutil.rmtree(root)
    console.print(
        f"{len(ended)} members of one run by two commands in two namespaces, none trained twice: weights, "
        "histories and predictions equal those of one machine"
    )


if __name__ == "__main__":
    run_script(main)
