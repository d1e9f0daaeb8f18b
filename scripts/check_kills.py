"""Kill trainings with SIGKILL, finish them with the same command, compare with an undisturbed one.

Each round begins a run anew and kills it once or twice: at a random time, or as soon as a file of a chosen
kind appears (a temporary file, a checkpoint, the end of a member). In every fourth round two processes
train side by side and one is killed. In the end weights, histories, predictions, backbones and fields must
be those of the undisturbed run, bit for bit, and nothing temporary may be left.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from tfgmm.cli.console import console, import_tensorflow, run_script
from tfgmm.core import files
from tfgmm.core.errors import DataError

import_tensorflow()
from tfgmm.network import member  # noqa: E402

#: What is waited for before a kill: patterns of files in the run folder, None for a random time.
MOMENTS = (
    *(None, None, None),
    *("**/.tfgmm-*", "**/epoch-*.npz", "**/state.json", "data/*", "members/*/*/chunk-0*/done.json"),
    *("predictions.parquet", "conditioned/field_*"),
)
#: Small enough for a training of half a minute; all else is the preset's.
SIZE = ["--chunks", "2", "--inits", "1", "--epochs", "4"]
RECORDS = ["--events", "100", "--kik-stations", "60", "--meso-stations", "30", "--meso-events", "20"]
TFGMM = [sys.executable, "-c", "from tfgmm.cli.app import main; main()"]


class Run:
    """A run folder and the command that trains it."""

    def __init__(self, folder: Path, data: Path, preset: str) -> None:
        self.folder = folder
        self.command = [*TFGMM, "train", "--networks", "kik,meso", "--data", str(data)]
        self.command += ["--preset", preset, "--out", str(folder), *SIZE]

    def start(self) -> subprocess.Popen:
        """Start training in a process of its own."""
        log = self.folder.with_suffix(".log").open("a")
        return subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def finish(self) -> None:
        """Train until the end.

        Raises
        ------
        DataError
            The command fails, or leaves something temporary.
        """
        if self.start().wait():
            tail = self.folder.with_suffix(".log").read_text().splitlines()[-3:]
            raise DataError(f"the same command does not go on with {self.folder}: {' '.join(tail)}")
        left = [path.name for pattern in (".tfgmm-*", ".*.work") for path in self.folder.rglob(pattern)]
        if left:
            raise DataError(f"{self.folder}: left behind {', '.join(left)}")

    def content(self) -> dict[str, np.ndarray | pd.DataFrame]:
        """Return all that training makes, by name."""
        content = {}
        for done in sorted(self.folder.rglob("done.json")):
            folder = done.parent
            for path in folder.glob("*.keras"):
                for number, weight in enumerate(member.load(path).get_weights()):
                    content[f"{folder.name} {path.stem} weight {number}"] = weight
            content[f"{folder.name} history"] = pd.read_csv(folder / "history.csv")
            content[f"{folder.name} predictions"] = files.read_parquet(folder / "predictions.parquet")
        for path in sorted(self.folder.glob("*.parquet")):
            content[path.name] = files.read_parquet(path)
        for path in sorted(self.folder.glob("conditioned/*.npz")):
            with np.load(path) as arrays:
                content |= {f"{path.name} {name}": arrays[name] for name in arrays}
        return content


def wait_and_kill(run: Run, process: subprocess.Popen, moment: str | None, seconds: float) -> str:
    """Kill a process when a file appears, or after so many seconds; return what was waited for."""
    deadline, before = time.monotonic() + seconds, set(run.folder.glob(moment)) if moment else set()
    while process.poll() is None and time.monotonic() < deadline:
        if moment and set(run.folder.glob(moment)) - before:
            break
        time.sleep(0.002 if moment else 0.05)
    process.kill()
    process.wait()
    return moment or f"{seconds:.1f} s"


def refuse_different(run: Run, expected: dict) -> None:
    """Raise `DataError` that names the first thing that is not as in the undisturbed run."""
    content = run.content()
    if content.keys() != expected.keys():
        raise DataError(f"{run.folder} has {set(content) ^ set(expected)} more or less")
    for name, value in expected.items():
        same = (
            value.equals(content[name])
            if isinstance(value, pd.DataFrame)
            else np.array_equal(value, content[name])
        )
        if not same:
            raise DataError(f"{run.folder}: {name} differs from the undisturbed run")


def main(
    rounds: Annotated[int, typer.Option(help="Runs that are killed.")] = 20,
    preset: Annotated[str, typer.Option(help="Preset of the runs.")] = "standard",
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs and logs in this folder.")] = None,
) -> None:
    """Kill trainings, finish them, and compare with an undisturbed one."""
    root = keep or Path(tempfile.mkdtemp(prefix="check-kills-"))
    root.mkdir(parents=True, exist_ok=True)
    data = root / "data"
    subprocess.run(
        [*TFGMM, "simulate", str(data), *RECORDS, "--overwrite"], check=True, stdout=subprocess.DEVNULL
    )
    undisturbed = Run(root / "undisturbed", data, preset)
    shutil.rmtree(undisturbed.folder, ignore_errors=True)
    started = time.monotonic()
    undisturbed.finish()
    seconds = time.monotonic() - started
    expected = undisturbed.content()
    console.print(f"Undisturbed: {seconds:.0f} s, {len(expected)} arrays and tables")
    rng, kills = np.random.default_rng(seed), 0
    for number in range(1, rounds + 1):
        run, told = Run(root / f"round-{number}", data, preset), []
        for _ in range(int(rng.integers(1, 3))):
            pair = [run.start() for _ in range(2 if number % 4 == 0 else 1)]
            moment = MOMENTS[rng.integers(len(MOMENTS))]
            limit = float(rng.uniform(2, seconds)) if moment is None else 2 * seconds
            told.append(wait_and_kill(run, pair[0], moment, limit) + " of two" * (len(pair) - 1))
            kills += 1
            for other in pair[1:]:
                other.wait()
        run.finish()
        refuse_different(run, expected)
        console.print(f"Round {number} of {rounds}: killed at {' and '.join(told)}: the same", markup=False)
        shutil.rmtree(run.folder)
    if keep is None:
        shutil.rmtree(root)
    console.print(f"{rounds} rounds, {kills} kills: weights, histories, predictions, fields equal")


if __name__ == "__main__":
    run_script(main)
