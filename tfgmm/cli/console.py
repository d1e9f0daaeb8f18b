"""Print tables and progress bars on the terminal."""

import contextlib
import logging
import os
import sys
import time
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
from tfgmm.core.errors import TfgmmError, counted, one_line

if TYPE_CHECKING:
    import pandas as pd

    from tfgmm.data.dataset import Dataset
    from tfgmm.data.tally import Tally
    from tfgmm.network import executors
    from tfgmm.network.executors import Launch
    from tfgmm.network.training import Training

#: Console for results, at least 100 columns wide. Text is printed unchanged: brackets and colons in file
#: names are no markup.
console = Console(width=max(Console().width, 100), markup=False, emoji=False)
#: Console for progress bars: standard error, because standard output holds results only.
bars = Console(stderr=True, markup=False, emoji=False)


def duration(seconds: float) -> str:
    """Return a duration as text, in s, min, or h and min.

    >>> duration(42), duration(400), duration(40000)
    ('42 s', '7 min', '11 h 7 min')

    Parameters
    ----------
    seconds : float
        Duration, s.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def show_table(title: str, table: "pd.DataFrame", formats: dict[str, str] | None = None) -> None:
    """Print a data frame as a table with a title, numbers right-aligned; nothing is returned.

    Parameters
    ----------
    title : str
        Title above the table.
    table : pandas.DataFrame
        The table.
    formats : dict of str to str, optional
        Format specification by column, as ``.2f``.
    """
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
    """Print the version of tfgmm and end the command, if `wanted` is True.

    Parameters
    ----------
    wanted : bool
        Value of the option ``--version``.
    """
    if wanted:
        print(f"tfgmm {tfgmm.__version__}")
        raise typer.Exit


def show_dataset(dataset: "Dataset") -> None:
    """Print tables of the content of a dataset, its sources, and the dropped records by reason.

    Parameters
    ----------
    dataset : Dataset
        The dataset.
    """
    from tfgmm.data import description

    say_simulated(dataset.simulated)
    console.print(description.headline(dataset))
    for title, table in description.tables(dataset):
        show_table(title, table)


def say_simulated(simulated: bool) -> None:
    """Print that the records are simulated, if they are.

    Parameters
    ----------
    simulated : bool
        True for simulated records, False for measured ones.
    """
    if simulated:
        meaning = ": made by tfgmm with a planted truth, not measured."
        console.print(Text("Simulated records", style="bold").append(meaning, style="not bold"))


def say_dropped(tally: "Tally") -> None:
    """Print how many events, stations or records were dropped, for each reason, with some of their names.

    Parameters
    ----------
    tally : Tally
        Counts of what was read and dropped.
    """
    for row in tally.dropped():
        read, names = tally.read.get(row["what"], row["count"]), ", ".join(row["examples"])
        not_named = row["count"] - len(row["examples"])
        names += f" and {not_named:,} more" if not_named else ""
        console.print(f"{row['count']:,} of {read:,} {row['what']}s left out: {row['reason']} ({names})")


class _Bar(Progress):
    """Progress bar with share, elapsed time and remaining time; it is shown on terminals only."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        super().__init__(
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

    def begin(self, name: str) -> None:
        """Print the name of a step when it is first heard of, where no bar is shown: in files and pipes."""
        if name not in self._begun and not bars.is_terminal:
            console.print(f"{time.strftime('%H:%M:%S')} {name}", highlight=False, markup=False)
        self._begun.add(name)


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator:
    """Show a progress bar while a block runs; yield the function to call after each step.

    Parameters
    ----------
    description : str
        Text beside the bar.
    total : int
        Number of steps.

    Yields
    ------
    callable
        Function that advances the bar by one step, whatever its arguments.
    """
    with _Bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda *_: bar.advance(task)


def tracked(pieces: Sequence, description: str) -> Iterable:
    """Return an iterable over steps of work that shows a progress bar.

    Parameters
    ----------
    pieces : sequence
        The steps of work.
    description : str
        Text beside the bar.
    """
    return track(pieces, description, console=bars, disable=not bars.is_terminal)


@contextlib.contextmanager
def stage_progress() -> Iterator:
    """Show a progress bar for steps of unknown number; yield the function that reports a step.

    The bar appears with the first report, because another bar may be shown before.

    Yields
    ------
    callable
        Function of the name of the current step and the share of the step that is done, 0 to 1.
    """
    bar = _Bar()
    task = bar.add_task("", total=1.0, start=False)

    def report(what: str, share: float) -> None:
        bar.begin(what)
        bar.start()
        bar.start_task(task)
        bar.update(task, description=what, completed=share)

    try:
        yield report
    finally:
        bar.stop()


@contextlib.contextmanager
def training_progress(total: int, done: int) -> Iterator:
    """Show a progress bar for the training of an ensemble; yield the function that reports a member.

    Parameters
    ----------
    total : int
        Number of members (trained networks) of the ensemble.
    done : int
        Number of members that are trained already.

    Yields
    ------
    callable
        Function of the name of a member and the share of its training that is done, 0 to 1.
    """
    with _Bar() as bar:
        task = bar.add_task("training", total=total, completed=done)
        finished: dict[str, float] = {}

        def report(name: str, share: float) -> None:
            bar.begin(name)
            finished[name] = share
            bar.update(task, completed=done + sum(finished.values()), description=name)

        yield report


class _Notes(logging.Handler):
    """Logging handler that prints messages of the package as notes, beside progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(f"Note: {record.getMessage()}", highlight=False)


def show_log() -> None:
    """Print the warnings that the package logs as notes, instead of in the format of Python."""
    log = logging.getLogger("tfgmm")
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())
        log.propagate = False


@contextlib.contextmanager
def members_progress(total: int, done: int, epochs: int) -> Iterator:
    """Show a progress bar for each member in training and one for all; yield the function that reports.

    Parameters
    ----------
    total : int
        Number of members (trained networks) of the ensemble.
    done : int
        Number of members that are trained already.
    epochs : int
        Largest number of epochs of a member.

    Yields
    ------
    callable
        Function of the members in training (`tfgmm.network.executors.Progress`) and the number of those
        that are done since.
    """
    with _Bar() as bar:
        whole, tasks = bar.add_task("all members", total=total, completed=done), {}

        def show(members: "list[executors.Progress]", finished: int) -> None:
            names = {member.name for member in members}
            for name in [name for name in tasks if name not in names]:
                bar.remove_task(tasks.pop(name))
            for member in members:
                bar.begin(member.name)
                if member.name not in tasks:
                    tasks[member.name] = bar.add_task(member.name, total=1.0)
                epoch = f", {member.epoch} of {epochs} epochs, loss {member.loss:.3f}" * bool(member.epoch)
                bar.update(tasks[member.name], completed=member.share, description=member.name + epoch)
            bar.update(whole, completed=done + finished + sum(member.share for member in members))

        yield show


def train_missing(training: "Training", what: str, launch: "Launch | None" = None) -> bool:
    """Print what is left to train and how long that may take, and train it.

    Ctrl-C ends the command with exit code 130; the same command continues the training.

    Parameters
    ----------
    training : tfgmm.network.training.Training
        Training of the members (trained networks) of an ensemble.
    what : str
        Name of the ensemble for the printed text, as ``Run runs/kik``.
    launch : tfgmm.network.executors.Launch, optional
        Where and how to train in processes of their own; by default in this process.

    Returns
    -------
    bool
        True if all members are trained; False if other processes are training some of them.
    """
    experiment, members, missing = training.experiment, training.members, training.missing
    console.print(
        f"{what}: {len(members)} members ({experiment.chunks} chunks x {experiment.inits} "
        f"initialisations, {', '.join(experiment.ims)}), {len(members) - len(missing)} trained already."
    )
    try:
        if launch is None:
            _say_cost(training)
            with training_progress(len(members), len(members) - len(missing)) as report:
                left_to_others = training.train(report)
        else:
            from tfgmm.network import executors

            console.print(
                f"To train: {len(missing)} with --executor {launch.executor or 'local'}, "
                f"{launch.count} at a time, {counted(launch.threads_each, 'thread')} each. "
                "Ctrl-C interrupts; the same command goes on."
            )
            epochs = experiment.training.epochs
            with members_progress(len(members), len(members) - len(missing), epochs) as show:
                left_to_others = executors.train(training, launch, show)
    except KeyboardInterrupt:
        console.print(f"Interrupted. The same command goes on with {training.run.path}.")
        raise SystemExit(130) from None
    for line in left_to_others:
        console.print(f"Left to another process: {line}")
    return not left_to_others


def _say_cost(training: "Training") -> None:
    """Print how long the training of the missing members takes, measured on this machine."""
    count = len(training.missing)
    if count:
        seconds = training.seconds_per_member()
        console.print(
            f"To train: {count}, at most {duration(seconds)} each, "
            f"{duration(seconds * count)} in all on this machine. "
            "Ctrl-C interrupts; the same command goes on."
        )


def import_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, and suppress the messages of its libraries."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, and prints warnings if there is none
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def has_gpu() -> bool:
    """Return True if TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def run_script(main: Callable[..., None]) -> None:
    """Run a function as the command of a script; print an error as one line, and end with its exit code.

    Parameters
    ----------
    main : callable
        Function whose parameters are the options of the command.
    """
    app = typer.Typer(add_completion=False, context_settings=options.HELP)
    app.command()(main)
    try:
        app(options.expanded(sys.argv[1:]))
    except TfgmmError as error:
        print(f"{Path(sys.argv[0]).stem}: {one_line(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
