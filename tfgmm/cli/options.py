"""Options of the command line: their types, help texts, and how their text is read."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tfgmm.core.errors import UsageError

#: Settings of every command.
HELP = {"help_option_names": ["-h", "--help"]}

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder if it exists.")]
OverwriteOthers = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace also files of these names that it did not make."),
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
DataFolder = Annotated[Path, typer.Argument(help="Dataset folder.")]

DecimalComma = Annotated[
    bool, typer.Option("--decimal-comma", help="In tables of text the decimal sign is the comma.")
]


def numbers(text: str | None, count: int, option: str) -> tuple[float, ...] | None:
    """Numbers with commas between them.

    Raises
    ------
    UsageError
        They are not numbers, or not `count`.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise UsageError(f"{option} {text}: write {count} numbers with commas between them")
    return found


def names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def expanded(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with ``~`` for the home folder, as in ``--out=~/run``.

    Shells expand only a word that begins with it. Text of options never does, but paths.
    """
    parts = (re.fullmatch(r"(--?[\w-]+=)?(.*)", argument, re.DOTALL) for argument in arguments)
    return [(part[1] or "") + os.path.expanduser(part[2]) for part in parts]
