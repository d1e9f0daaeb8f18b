"""What the command line shows: tables, progress with time left."""

import contextlib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Table
from rich.text import Text

from tfgmm.cli import options
from tfgmm.core.errors import TfgmmError, one_line
from tfgmm.data import description
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally

#: Wide enough for a line a model where the terminal does not say its width. What is printed is text as it
#: is: brackets and colons in names of files are no markup.
console = Console(width=max(Console().width, 100), markup=False, emoji=False)
#: Where progress bars go: standard output may be a file, and holds results only.
bars = Console(stderr=True, markup=False, emoji=False)


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42), duration(400), duration(40000)
    ('42 s', '7 min', '11 h 7 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def show_table(title: str, table: pd.DataFrame, formats: dict[str, str] | None = None) -> None:
    """Print a data frame; numbers are right-aligned, `formats` holds format specifications by column."""
    # A table's own title would be wrapped to the width of its columns.
    console.print(title, style="bold")
    shown = Table(header_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    formats = formats or {}
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(str(name), justify="right" if numeric else "left")
    for row in table.itertuples(index=False):
        cells = zip(table.columns, row, strict=True)
        shown.add_row(*(_cell(value, formats.get(name, "")) for name, value in cells))
    console.print(shown)


def _cell(value, specification: str) -> str:
    return "" if value is pd.NA else format(value, specification)


def show_version(wanted: bool) -> None:
    """Print the version and end the command, if that is `wanted`."""
    if wanted:
        print(f"tfgmm {importlib.metadata.version('tfgmm')}")
        raise typer.Exit


def show_dataset(dataset: Dataset) -> None:
    """What a dataset holds, where it comes from, and what was dropped and why."""
    say_simulated(dataset.simulated)
    console.print(description.headline(dataset))
    for title, table in description.tables(dataset):
        show_table(title, table)


def say_simulated(simulated: bool) -> None:
    """Say that records are simulated, where they are."""
    if simulated:
        made = ": made by tfgmm with a planted truth, not measured."
        console.print(Text("Simulated records", style="bold").append(made, style="not bold"))


def say_dropped(tally: Tally) -> None:
    """Say what was left out, why, and the first names."""
    for row in tally.dropped():
        whole, names = tally.read.get(row["what"], row["count"]), ", ".join(row["examples"])
        more = (
            f" and {row['count'] - len(row['examples']):,} more"
            if row["count"] > len(row["examples"])
            else ""
        )
        console.print(
            f"{row['count']:,} of {whole:,} {row['what']}s left out: {row['reason']} ({names}{more})"
        )


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator:
    """A bar over `total` pieces of work; yields the function that is called after each."""
    with _bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda *_: bar.advance(task)


def tracked(pieces: Sequence, description: str) -> Iterable:
    """Return the pieces of work one after the other, with a bar over them."""
    return track(pieces, description, console=bars, disable=not bars.is_terminal)


@contextlib.contextmanager
def stage_progress() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that is told a stage and its share done; it shows a bar from its first call on."""
    bar = _bar()
    task = bar.add_task("", total=1.0, start=False)

    def report(what: str, share: float) -> None:
        bar.start()  # not before: other bars may be shown first
        bar.start_task(task)
        bar.update(task, description=what, completed=share)

    try:
        yield report
    finally:
        bar.stop()


@contextlib.contextmanager
def training_progress(total: int, done: int) -> Iterator:
    """A bar over all members; yields the function that is told a member's name and share done."""
    with _bar() as bar:
        task = bar.add_task("training", total=total, completed=done)
        finished: dict[str, float] = {}

        def report(name: str, share: float) -> None:
            finished[name] = share
            bar.update(task, completed=done + sum(finished.values()), description=name)

        yield report


class _Notes(logging.Handler):
    """Print what the package logs, as notes beside the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(f"Note: {record.getMessage()}", highlight=False)


def show_log() -> None:
    """Print warnings that the package logs, in place of Python's own way."""
    log = logging.getLogger("tfgmm")
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())
        log.propagate = False


def train_missing(training, what: str) -> bool:
    """Say what is trained and what the rest will cost, and train it; Ctrl-C ends the command with code 130.

    Parameters
    ----------
    training : tfgmm.network.training.Training
    what : str
        Of what the members are, as ``Run runs/kik``.

    Returns
    -------
    bool
        Whether all is trained; else other processes are at work on the rest.
    """
    experiment, members, missing = training.experiment, training.members, training.missing
    console.print(
        f"{what}: {len(members)} members ({experiment.chunks} chunks x {experiment.inits} "
        f"initialisations, {', '.join(training.ims)}), {len(members) - len(missing)} trained already."
    )
    if missing:
        seconds = training.seconds_per_member()
        console.print(
            f"To train: {len(missing)}, at most {duration(seconds)} each, "
            f"{duration(seconds * len(missing))} in all on this machine. "
            "Ctrl-C interrupts; the same command goes on."
        )
    try:
        with training_progress(len(members), len(members) - len(missing)) as report:
            elsewhere = training.train(report)
    except KeyboardInterrupt:
        console.print(f"Interrupted. The same command goes on with {training.run.path}.")
        raise SystemExit(130) from None
    for line in elsewhere:
        console.print(f"Left to another process: {line}")
    return not elsewhere


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=bars,
        disable=not bars.is_terminal,
        speed_estimate_period=600,
    )


def import_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, without what its libraries print while they load."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it reports absent GPUs as errors
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()  # which looks for GPUs, and complains if it finds none
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def run_script(main: Callable[..., None]) -> None:
    """Run the command of a script: an error is one line, and the exit code its own."""
    app = typer.Typer(add_completion=False, context_settings=options.HELP)
    app.command()(main)
    try:
        app(options.expanded(sys.argv[1:]))
    except TfgmmError as error:
        print(f"{Path(sys.argv[0]).stem}: {one_line(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
