"""The command that trains all runs of a study."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import tfgmm
from tfgmm.cli import options
from tfgmm.cli.console import (
    console,
    duration,
    has_gpu,
    import_tensorflow,
    members_progress,
    say_simulated,
    show_table,
    training_progress,
)
from tfgmm.core import outputs
from tfgmm.core.errors import DataError, TfgmmError, UsageError, counted

if TYPE_CHECKING:
    from tfgmm.cli.study_file import Study
    from tfgmm.network.training import Training

app = typer.Typer()


@app.command(rich_help_panel=options.TRAIN)
def study(
    file: Annotated[
        Path,
        typer.Argument(
            help="TOML file with options of tfgmm train: those of all runs, and in tables [runs.NAME]."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print members, cost and disk of each run, and end.")
    ] = False,
) -> None:
    """Train all runs of a file in one queue, resumable with the same command."""
    from tfgmm.cli import study_file  # it and what else is imported in functions takes long to load

    read = study_file.read(file)
    outputs.refuse_file_name(read.folder, "a study")
    import_tensorflow()
    from tfgmm.network import study

    if dry_run:
        _say_plans(read)
        return
    with study.alone(read.folder):
        trainings = _begun(read)
        say_simulated(any(training.dataset.simulated for training in trainings.values()))
        open_ = {name: one for name, one in trainings.items() if not one.is_finished}
        missing = {name: len(one.missing) for name, one in open_.items()}
        console.print(
            f"Study {read.folder}: {counted(len(trainings), 'run')}, {len(open_)} to do, "
            f"{counted(sum(missing.values()), 'member')} to train, {read.launch.count} at a time. "
            "Ctrl-C interrupts; the same command goes on."
        )
        try:
            left, failed = _train(read, open_, sum(missing.values())) if open_ else ([], [])
        except KeyboardInterrupt:
            console.print(f"Interrupted. The same command goes on with {read.folder}.")
            raise SystemExit(130) from None
        _say_result(trainings, missing, left + failed)
    for line in left:
        console.print(f"Left to another process: {line}")
    for line in failed:
        console.print(f"Failed: {line}")
    if failed:
        raise DataError(f"{len(failed)} failed, as said above: the same command does what is missing")
    if left:
        console.print("Give the same command again when the other processes have ended.")


def _train(read: "Study", trainings: "dict[str, Training]", missing: int) -> tuple[list[str], list[str]]:
    """Train the members of runs, and return what was left to others and what failed."""
    from tfgmm.network import executors, study

    if read.launch.in_this_process(has_gpu()):
        with training_progress(missing, 0) as report:
            return study.train_here(trainings, report)
    epochs = max(one.experiment.training.epochs for one in trainings.values())
    with members_progress(missing, 0, epochs) as show:
        return executors.train_all(trainings, read.launch, read.folder, show)


def _begun(read: "Study") -> "dict[str, Training]":
    """Begin all runs; if runs that are there do not fit, raise one error for all, and write nothing."""
    from tfgmm.runs.run import DESCRIPTION

    trainings, open_dataset = {}, _opening()
    for present in (True, False):
        problems: dict[str, TfgmmError] = {}
        for name, (experiment, chunks) in read.runs.items():
            if (read.folder / name / DESCRIPTION).is_file() is present and name not in trainings:
                try:
                    trainings[name] = tfgmm.begin_training(
                        experiment, read.folder / name, dataset=open_dataset(experiment.data), chunks=chunks
                    )
                except TfgmmError as error:
                    problems[name] = error
        _raise(problems)
    return {name: trainings[name] for name in read.runs}


def _opening():
    """Return a function that reads each dataset once; None for one that is gone."""
    from tfgmm.simulation import simulated

    @lru_cache
    def open_dataset(data: str | None):
        try:
            return simulated.open_dataset(data)
        except UsageError:
            return None  # an existing run goes on with its own copy, or the message comes from there

    return open_dataset


def _raise(problems: dict[str, TfgmmError]) -> None:
    """Raise one error with the messages of all by the name of the run, if there are any."""
    if problems:
        said = "; ".join(f"run {name}: {error}" for name, error in problems.items())
        hint = "in a study, give a changed run another name in the file, or remove its folder"
        raise type(next(iter(problems.values())))(f"{said} ({hint})")


def _say_plans(read: "Study") -> None:
    """Print what each run has and costs."""
    import pandas as pd

    from tfgmm.network import study
    from tfgmm.simulation import simulated

    rows, problems, seconds, open_dataset = [], {}, 0.0, _opening()
    datasets = [open_dataset(experiment.data) for experiment, _ in read.runs.values()]
    say_simulated(any(dataset is not None and dataset.simulated for dataset in datasets))
    console.print("A few training steps of each run are measured first, if none of its members is trained.")
    for name, (experiment, chunks) in read.runs.items():
        try:
            dataset = open_dataset(experiment.data) or simulated.open_dataset(experiment.data)
            plan = study.plan(experiment, read.folder / name, dataset, chunks)
        except TfgmmError as error:
            problems[name] = error
            continue
        to_train = plan.members - plan.trained
        seconds += to_train * plan.seconds
        rows.append(
            {
                "run": name,
                "members": plan.members,
                "trained": plan.trained,
                "a member": f"{duration(plan.seconds)}, {'measured' if plan.is_measured else 'estimated'}",
                "to do": duration(to_train * plan.seconds),
                "disk": f"{plan.disk / 1e6:,.0f} MB",
            }
        )
    _raise(problems)
    show_table(f"Study {read.folder}", pd.DataFrame(rows))
    console.print(
        f"In all {duration(seconds)} of one worker; {read.launch.count} at a time. Estimated: at most, "
        "from steps on all cores here. The preparation of chunks is not in it. Nothing was trained."
    )


def _say_result(trainings: "dict[str, Training]", missing: dict[str, int], undone: list[str]) -> None:
    """Print how many members of each run are trained, how many of them now, and what comes next."""
    import pandas as pd

    rows = []
    for name, training in trainings.items():
        lost = [text for text in undone if text.startswith(f"{name}: ")]
        trained = sum(training.folder(one).is_trained for one in training.members)
        rows.append(
            {
                "run": name,
                "members": len(training.members),
                "trained": trained,
                "of them now": max(0, trained - len(training.members) + missing.get(name, 0)),
                "next": f"{len(lost)} not done" if lost else f"tfgmm evaluate {training.run.path}",
            }
        )
    show_table("Study: what is trained", pd.DataFrame(rows))
