"""Options that several commands have, and how the text of options is read."""

import inspect
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tfgmm.core.errors import UsageError

#: Settings of every command.
HELP = {"help_option_names": ["-h", "--help"]}
#: Groups of commands in the help.
GET_DATA, TRAIN, LOOK, USE = "Get data", "Train", "Look", "Use"

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder if it exists.")]
OverwriteOthers = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace also files of these names that it did not make."),
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
DataFolder = Annotated[Path, typer.Argument(help="Dataset folder.")]
Im = Annotated[list[str] | None, typer.Option(help="Intensity measure, PGA or SA(T); repeatable.")]
OneIm = Annotated[str | None, typer.Option(help="Intensity measure (default: the run's first).")]
DecimalComma = Annotated[
    bool, typer.Option("--decimal-comma", help="In tables of text the decimal sign is the comma.")
]


def taking(*functions: Callable) -> Callable[[Callable], Callable]:
    """Give a command the parameters of other functions, in their order; it gets them by name.

    A parameter ``**name`` of these functions is left out.
    """

    def decorate(command: Callable) -> Callable:
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for function in functions
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        command.__signature__ = inspect.Signature(parameters)
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def numbers(text: str | None, count: int, option: str) -> tuple[float, ...] | None:
    """Read numbers with commas between them.

    Raises
    ------
    UsageError
        They are not numbers, or not `count`.
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UsageError(f"{option} {text}: write {count} numbers with commas between them")
    return values


def names(text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between them."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def expanded(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with ``~`` for the home folder, as in ``--out=~/run``.

    Shells expand only a word that begins with it. Text of options never does, but paths.
    """
    parts = (re.fullmatch(r"(--?[\w-]+=)?(.*)", argument, re.DOTALL) for argument in arguments)
    return [(part[1] or "") + os.path.expanduser(part[2]) for part in parts]
