"""Kill a training child, a Dask worker and the command itself, finish with the same command, and compare.

Each round trains twelve small members anew on two Dask workers of this machine and kills one process of
each kind with SIGKILL, in random order and at random moments. In odd rounds the command makes the cluster
itself and drives it; in even rounds it is a client of a scheduler that lives on. In the end weights,
histories and predictions must be those of a run that nobody disturbed, bit for bit, all hashes good,
nothing temporary left, and no saved epoch trained twice.
"""

import contextlib
import glob
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from check_kills import RECORDS, TFGMM, Run, refuse_different

import tfgmm
from tfgmm.cli.console import console, run_script
from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.runs.verification import WHOLE

#: Small enough for a training of a minute.
SIZE = ["--base", "2", "--depth", "2", "--input-size", "68", "--pixel-km", "4", "--inits", "6"]
#: Words of the command line of each kind of process that is killed.
KINDS = {"child": "tfgmm.network.child", "worker": "spawn_main", "command": ""}
#: Longest time of a round, s.
PATIENCE_S = 1800


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[subprocess.Popen, list[str]]]:
    """Run a Dask scheduler and two workers; yield the process above the workers, and further options."""
    found, log = folder / "scheduler.json", (folder / "cluster.log").open("ab")
    found.unlink(missing_ok=True)
    place = ["--scheduler-file", str(found), "--no-dashboard"]
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", *place]
    workers = ["dask_worker", "--nworkers", "2", "--nthreads", "1", "--memory-limit", "0", *place]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]], stdout=log, stderr=log
        )
        for words in (scheduler, workers)
    ]
    try:
        while not found.exists():
            time.sleep(0.1)
        yield processes[1], ["--address", json.loads(found.read_text())["address"]]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def kill(roots: list[subprocess.Popen], kind: str, rng: np.random.Generator) -> bool:
    """Kill the process of the command, or one of a kind below it, with SIGKILL; return if there was one."""
    try:
        chosen = [psutil.Process(roots[0].pid)]
        if kind != "command":
            below = [one for root in roots for one in psutil.Process(root.pid).children(recursive=True)]
            chosen = [one for one in below if KINDS[kind] in " ".join(one.cmdline())]
        if chosen:
            chosen[rng.integers(len(chosen))].kill()
        return bool(chosen)
    except psutil.Error:
        return False


def refuse_lost_epochs(run: Run, saved: dict[str, int]) -> None:
    """Note how many epochs each member has saved; raise `DataError` if a member has fewer than before."""
    for path in map(Path, glob.glob(f"{run.folder}/**/state.json", recursive=True, include_hidden=True)):
        with contextlib.suppress(OSError, ValueError):  # it is being written, or the member has ended
            epochs = len(files.read_json(path)["history"])
            if epochs < saved.setdefault(path.parent.name, 0):
                raise DataError(f"{path}: {epochs} epochs, after {saved[path.parent.name]} before a kill")
            saved[path.parent.name] = epochs


def disturbed(
    run: Run, above: list[subprocess.Popen], rng: np.random.Generator, seconds: float
) -> tuple[list[str], int]:
    """Train a run, and kill one process of each kind; return what was killed and the number of commands."""
    kinds, killed, saved, commands = rng.permutation([*KINDS]).tolist(), [], {}, 0
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        process, commands = run.start(), commands + 1
        moment = time.monotonic() + rng.uniform(1, seconds)
        while process.poll() is None:
            time.sleep(0.05)
            refuse_lost_epochs(run, saved)
            if kinds and time.monotonic() > moment and kill([process, *above], kinds[0], rng):
                moment = time.monotonic() + rng.uniform(1, seconds)
                killed.append(f"{kinds.pop(0)} at {sum(saved.values())} saved epochs")
        if process.returncode == 0 and (run.folder / "predictions.parquet").exists():
            return killed, commands
    raise DataError(f"{run.folder} is not trained after {PATIENCE_S} s: see {run.folder}.log")


def main(
    rounds: Annotated[int, typer.Option(help="Runs that are disturbed.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the runs and logs here; an undisturbed run is used again.")
    ] = None,
) -> None:
    """Kill processes of trainings on two Dask workers, finish them, and compare."""
    root = keep or Path(tempfile.mkdtemp(prefix="check-executors-"))
    root.mkdir(parents=True, exist_ok=True)
    data, rng, kills = root / "data", np.random.default_rng(seed), 0
    subprocess.run(
        [*TFGMM, "simulate", str(data), *RECORDS, "--overwrite"], check=True, stdout=subprocess.DEVNULL
    )

    def make(name: str, *options: str) -> Run:
        run = Run(root / name, data, "quick")
        run.command += [*SIZE, "--threads", "1", "--executor", *options]
        return run

    undisturbed = make("undisturbed", "local", "--workers", "1")
    undisturbed.finish()
    expected = undisturbed.content()
    seconds = sum(files.read_json(done)["seconds"] for done in undisturbed.folder.rglob("done.json"))
    console.print(f"Undisturbed, one local worker: {seconds:.0f} s, {len(expected)} arrays and tables")
    for number in range(1, rounds + 1):
        run, started = make(f"round-{number}", "dask"), time.monotonic()
        shutil.rmtree(run.folder, ignore_errors=True)
        with contextlib.ExitStack() as stack:
            if number % 2:
                above, options = [], ["--workers", "2"]
            else:
                workers, options = stack.enter_context(cluster(root))
                above = [workers]
            run.command += options
            killed, commands = disturbed(run, above, rng, seconds)
            run.finish()
        kills += len(killed)
        refuse_different(run, expected)
        states = tfgmm.check(run.folder)
        if not (states["state"] == WHOLE).all():
            raise DataError(f"{run.folder}: {states[states['state'] != WHOLE].to_string()}")
        who = "driver" if number % 2 else "client"
        console.print(
            f"Round {number} of {rounds}, the command is the {who}: killed {', '.join(killed)}; "
            f"{commands} commands, {time.monotonic() - started:.0f} s: the same",
            markup=False,
        )
        shutil.rmtree(run.folder)
    if keep is None:
        shutil.rmtree(root)
    console.print(
        f"{rounds} rounds, {kills} kills: weights, histories, predictions, fields equal; hashes good; no "
        "saved epoch lost, so each kill cost at most the epoch that was being trained"
    )


if __name__ == "__main__":
    run_script(main)
