#!/usr/bin/env python
"""Measure what executors cost: the same members in a plain loop of processes, and through each of them."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from check_kills import RECORDS, TFGMM
from check_slurm import lacking, slurm
from result_page import head, made, markdown

from tfgmm.cli.console import console, run_script, show_table
from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.network.executors import cores, thread_limits

LOOP = "plain loop"
#: Time between two looks at the folders of the members, s.
LOOK_S = 0.1
FORMATS = {"start-up s": ".1f", "members s": ".1f", "training s": ".1f", "end s": ".1f"}
FORMATS |= {"extra s a member": ".2f", "ratio": ".3f"}
EXPLANATION = """\
*start-up*: from the command to the first step of the first member; *members*: from there to the end of the
last member, with the start of a process for each of the others; *training*: what the members themselves say
that they trained, added up; *end*: field and predictions of the run, and the end of the engine; *extra s a
member*: *members* minus that of the plain loop, which starts `tfgmm stage member` for one member after the
other, by the number of members, below 0 where members run side by side; *ratio*: of *members* to the plain
loop.
"""


def cases(threads: int) -> list[tuple[str, int, int]]:
    """Return executor, workers, and threads of each worker of everything that this machine can measure."""
    found = [(LOOP, 1, threads), ("local", 1, threads), ("dask", 1, threads)]
    if reason := lacking():
        console.print(f"slurm is left out: {reason}")
    else:
        found.append(("slurm", 1, threads))
    return [*found, ("local", threads, 1)] if threads > 1 else found


def loop(run: Path, members: int, threads: int) -> subprocess.Popen:
    """Start the plain loop: xargs trains one member after the other."""
    numbers = run.with_suffix(".numbers")
    numbers.write_text(" ".join(map(str, range(members))))
    one = [*TFGMM, "stage", "member", str(run), "all", "0"]
    limited = os.environ | thread_limits(threads)
    return started(["xargs", "--arg-file", str(numbers), "-n1", *one], run, limited)


def started(command: list[str], run: Path, environment: dict | None = None) -> subprocess.Popen:
    """Start a command; its messages go beside the run folder."""
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def watched(process: subprocess.Popen, run: Path, members: int) -> dict[str, float]:
    """Wait for a training of so many members; return the seconds of its parts.

    Raises
    ------
    DataError
        The command fails, or members are missing.
    """
    begun, first = time.time(), None
    while process.poll() is None:
        time.sleep(LOOK_S)
        if first is None and [*run.glob("members/**/share.txt")]:
            first = time.time()
    ended, done = time.time(), [*run.glob("members/**/done.json")]
    if process.returncode or len(done) != members or first is None:
        raise DataError(f"{run}: {len(done)} of {members} members trained: see {run.with_suffix('.log')}")
    last = max(path.stat().st_mtime for path in done)
    return {
        "start-up s": first - begun,
        "members s": last - first,
        "training s": sum(files.read_json(path)["seconds"] for path in done),
        "end s": ended - last,
    }


def main(
    members: Annotated[int, typer.Option(help="Members that each executor trains.")] = 8,
    epochs: Annotated[int, typer.Option(help="Of each member.")] = 60,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Train the same members in a plain loop and through each executor; say what each takes."""
    with tempfile.TemporaryDirectory(prefix="executor-overhead-") as folder:
        root, threads, rows = Path(folder), cores(), []
        data, begun = root / "data", root / "begun"
        train = [*TFGMM, "train", "--networks", "kik,meso", "--data", str(data), "--preset", "quick"]
        train += ["--inits", str(members), "--chunk", "0", "--epochs", str(epochs), "--patience", "0"]
        for command in (
            [*TFGMM, "simulate", str(data), *RECORDS],
            [*train, "--out", str(begun), "--begin"],
            [*TFGMM, "stage", "prepare", str(begun), "0"],
        ):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name, workers, each in cases(threads):
            run = root / f"{name.replace(' ', '-')}-{workers}"
            shutil.copytree(begun, run)
            command = [*train, "--out", str(run), "--executor", name, "--minutes", "60"]
            command += ["--workers", str(workers), "--threads", str(each)]
            with slurm(root) if name == "slurm" else contextlib.nullcontext():
                process = loop(run, members, each) if name == LOOP else started(command, run)
                seconds = watched(process, run, members)
            rows.append({"executor": name, "workers": workers, "threads each": each, **seconds})
            console.print(f"{name}, {workers} x {each}: {seconds['members s']:.0f} s")
            shutil.rmtree(run)
    table = pd.DataFrame(rows)
    of_loop = table.loc[table["executor"] == LOOP, "members s"].item()
    table["extra s a member"] = (table["members s"] - of_loop) / members
    table["ratio"] = table["members s"] / of_loop
    title = f"{members} members of {table['training s'].iloc[0] / members:.0f} s each"
    show_table(title, table, FORMATS)
    if out:
        with files.whole_file(out) as temporary:
            temporary.write_text(f"{head(title, made())}\n{markdown(table, FORMATS)}\n\n{EXPLANATION}")


if __name__ == "__main__":
    run_script(main)
