"""Kill a training child, a Dask worker or the command itself, finish with the same command, and compare.

Each round trains a run anew on two Dask workers of this machine and kills one process of each kind, in
random order and at random moments. In the end weights, histories and predictions must be those of a run
that nobody disturbed, bit for bit, and nothing temporary may be left.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from check_kills import RECORDS, TFGMM, Run, refuse_different

from tfgmm.cli.console import console, run_script
from tfgmm.core.errors import DataError

#: Small enough for a training of a minute.
SIZE = ["--base", "2", "--depth", "2", "--input-size", "68", "--pixel-km", "4"]
DASK = ["--executor", "dask", "--workers", "2", "--threads", "1"]
#: Words of the command line of each kind of process that is killed.
KINDS = {"child": "tfgmm.network.child", "worker": "spawn_main", "command": ""}
#: How many times the same command is given until all members are trained.
PATIENCE = 5


def kill(process: subprocess.Popen, kind: str, rng: np.random.Generator) -> bool:
    """Kill the process of the command or one below it with SIGKILL; return whether there was one."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        if kind == "command":
            chosen = [psutil.Process(process.pid)]
        else:
            chosen = [one for one in below if KINDS[kind] in " ".join(one.cmdline())]
        if chosen:
            chosen[rng.integers(len(chosen))].kill()
        return bool(chosen)
    except psutil.Error:
        return False


def disturbed(run: Run, kinds: list[str], rng: np.random.Generator, seconds: float) -> list[str]:
    """Train a run, and kill one process of each kind at random moments; return what was killed."""
    killed: list[str] = []
    for _ in range(PATIENCE):
        process = run.start()
        while process.poll() is None:
            time.sleep(float(rng.uniform(0.1, seconds / 4)))
            if kinds and kill(process, kinds[0], rng):
                killed.append(kinds.pop(0))
        if not kinds and process.returncode == 0 and (run.folder / "predictions.parquet").exists():
            return killed
    raise DataError(f"{run.folder} is not trained after {PATIENCE} commands: see {run.folder}.log")


def main(
    rounds: Annotated[int, typer.Option(help="Runs that are disturbed.")] = 3,
    inits: Annotated[int, typer.Option(help="Members of each of two chunks.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs and logs in this folder.")] = None,
) -> None:
    """Kill processes of trainings on two Dask workers, finish them, and compare."""
    root = keep or Path(tempfile.mkdtemp(prefix="check-executors-"))
    root.mkdir(parents=True, exist_ok=True)
    data, rng = root / "data", np.random.default_rng(seed)
    subprocess.run(
        [*TFGMM, "simulate", str(data), *RECORDS, "--overwrite"], check=True, stdout=subprocess.DEVNULL
    )

    def make(name: str, *options: str) -> Run:
        run = Run(root / name, data, "quick")
        run.command += [*SIZE, "--inits", str(inits), *options]
        shutil.rmtree(run.folder, ignore_errors=True)
        return run

    undisturbed = make("undisturbed", "--executor", "local", "--workers", "1", "--threads", "1")
    started = time.monotonic()
    undisturbed.finish()
    seconds = time.monotonic() - started
    expected = undisturbed.content()
    console.print(f"Undisturbed, one local worker: {seconds:.0f} s, {len(expected)} arrays and tables")
    for number in range(1, rounds + 1):
        run = make(f"round-{number}", *DASK)
        killed = disturbed(run, rng.permutation([*KINDS]).tolist(), rng, seconds)
        run.finish()
        refuse_different(run, expected)
        console.print(f"Round {number} of {rounds}: killed {', '.join(killed)}: the same", markup=False)
        shutil.rmtree(run.folder)
    if keep is None:
        shutil.rmtree(root)
    console.print(f"{rounds} rounds: weights, histories, predictions, fields equal")


if __name__ == "__main__":
    run_script(main)
