"""Tables and progress on the terminal."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

import tfgmm
from tfgmm.cli import options
from tfgmm.core.errors import TfgmmError, one_line

if TYPE_CHECKING:
    import pandas as pd

    from tfgmm.data.dataset import Dataset
    from tfgmm.data.tally import Tally
    from tfgmm.network.training import Training

#: Wide enough for a line a model where the terminal does not say its width. What is printed is text as it
#: is: brackets and colons in names of files are no markup.
console = Console(width=max(Console().width, 100), markup=False, emoji=False)
#: Where progress bars go: standard output may be a file, and holds results only.
bars = Console(stderr=True, markup=False, emoji=False)


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> duration(42), duration(400), duration(40000)
    ('42 s', '7 min', '11 h 7 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def show_table(title: str, table: "pd.DataFrame", formats: dict[str, str] | None = None) -> None:
    """Print a data frame; numbers are right-aligned, `formats` holds format specifications by column."""
    import pandas as pd

    # A table's own title would be wrapped to the width of its columns.
    console.print(title, style="bold")
    shown = Table(header_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    formats = formats or {}
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(str(name), justify="right" if numeric else "left")
    for row in table.itertuples(index=False):
        cells = zip(table.columns, row, strict=True)
        shown.add_row(
            *("" if value is pd.NA else format(value, formats.get(name, "")) for name, value in cells)
        )
    console.print(shown)


def show_version(wanted: bool) -> None:
    """Print the version and end the command, if that is `wanted`."""
    if wanted:
        print(f"tfgmm {tfgmm.__version__}")
        raise typer.Exit


def show_dataset(dataset: "Dataset") -> None:
    """Print what a dataset holds, where it comes from, and what was dropped and why."""
    from tfgmm.data import description

    say_simulated(dataset.simulated)
    console.print(description.headline(dataset))
    for title, table in description.tables(dataset):
        show_table(title, table)


def say_simulated(simulated: bool) -> None:
    """Print that records are simulated, where they are."""
    if simulated:
        meaning = ": made by tfgmm with a planted truth, not measured."
        console.print(Text("Simulated records", style="bold").append(meaning, style="not bold"))


def say_dropped(tally: "Tally") -> None:
    """Print what was left out, why, and the first names."""
    for row in tally.dropped():
        read, names = tally.read.get(row["what"], row["count"]), ", ".join(row["examples"])
        not_named = row["count"] - len(row["examples"])
        names += f" and {not_named:,} more" if not_named else ""
        console.print(f"{row['count']:,} of {read:,} {row['what']}s left out: {row['reason']} ({names})")


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator:
    """Show a bar over `total` pieces of work; yield the function to be called after each."""
    with _bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda *_: bar.advance(task)


def tracked(pieces: Sequence, description: str) -> Iterable:
    """Return the pieces of work one after the other, with a bar over them."""
    return track(pieces, description, console=bars, disable=not bars.is_terminal)


@contextlib.contextmanager
def stage_progress() -> Iterator:
    """Show a bar for stages of unknown number; yield the function that receives a stage and its share done.

    The bar appears with the first stage: before, another bar may be shown.
    """
    bar = _bar()
    task = bar.add_task("", total=1.0, start=False)

    def report(what: str, share: float) -> None:
        bar.start()
        bar.start_task(task)
        bar.update(task, description=what, completed=share)

    try:
        yield report
    finally:
        bar.stop()


@contextlib.contextmanager
def training_progress(total: int, done: int) -> Iterator:
    """Show a bar over all members; yield the function that receives a member's name and share done."""
    with _bar() as bar:
        task = bar.add_task("training", total=total, completed=done)
        finished: dict[str, float] = {}

        def report(name: str, share: float) -> None:
            finished[name] = share
            bar.update(task, completed=done + sum(finished.values()), description=name)

        yield report


class _Notes(logging.Handler):
    """A handler that prints what the package logs, as notes beside the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(f"Note: {record.getMessage()}", highlight=False)


def show_log() -> None:
    """Print warnings that the package logs, in place of Python's own way."""
    log = logging.getLogger("tfgmm")
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())
        log.propagate = False


def train_missing(training: "Training", what: str) -> bool:
    """Print what is left to train and what it will cost, and train it.

    Ctrl-C ends the command with code 130.

    Parameters
    ----------
    training : tfgmm.network.training.Training
    what : str
        Words for what the members belong to, as ``Run runs/kik``.

    Returns
    -------
    bool
        True if all is trained; False if other processes are at work on some members.
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
            left_to_others = training.train(report)
    except KeyboardInterrupt:
        console.print(f"Interrupted. The same command goes on with {training.run.path}.")
        raise SystemExit(130) from None
    for line in left_to_others:
        console.print(f"Left to another process: {line}")
    return not left_to_others


def _bar() -> Progress:
    """Return a bar with a share, the time it took and the time left, shown on terminals only."""
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
