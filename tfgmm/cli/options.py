"""Options that several commands have in common, and functions that read the texts of options."""

import inspect
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tfgmm.core.errors import UsageError

#: Settings of typer for every command.
HELP = {"help_option_names": ["-h", "--help"]}
#: Titles of the groups of commands in the help.
GET_DATA, TRAIN, LOOK, USE = "Get data", "Train", "Look", "Use"

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output folder if it exists.")]
OverwriteOthers = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files of the same names even if tfgmm did not make them."),
]
OverwriteFile = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
DataFolder = Annotated[Path, typer.Argument(help="Dataset folder.")]
Im = Annotated[
    list[str] | None,
    typer.Option(help="Intensity measure, PGA, PGV or SA(T) with the period T in s; repeatable."),
]
DecimalComma = Annotated[
    bool, typer.Option("--decimal-comma", help="The comma is the decimal sign in text tables.")
]


def taking(*functions: Callable) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a command the parameters of other functions, as keyword parameters.

    Parameters of the form ``**name`` are left out.

    Parameters
    ----------
    *functions : callable
        Functions whose parameters the command gets, in their order.

    Returns
    -------
    callable
        The decorator.
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
    """Return the numbers of a text with commas between the numbers; None for None.

    Parameters
    ----------
    text : str or None
        Value of the option.
    count : int
        Expected number of numbers.
    option : str
        Name of the option, for the message.

    Raises
    ------
    UsageError
        The text does not consist of `count` numbers.
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


def place(text: str) -> dict[str, str | float]:
    """Return the place in a text of the form ``LON,LAT[,NAME]``.

    >>> place("139.77,35.68,Tokyo")
    {'name': 'Tokyo', 'longitude': 139.77, 'latitude': 35.68}

    Parameters
    ----------
    text : str
        Value of the option ``--at``.

    Returns
    -------
    dict
        ``name`` (without NAME, the whole text); ``longitude`` and ``latitude``, float, degrees.

    Raises
    ------
    UsageError
        The text is not of this form, or the latitude is none.
    """
    *coordinates, name = text.split(",") if text.count(",") > 1 else [*text.split(","), text]
    longitude, latitude = numbers(",".join(coordinates), 2, "--at")
    if abs(latitude) > 90:
        raise UsageError(f"--at {text}: {latitude:g} is no latitude; write LON,LAT")
    return {"name": name.strip(), "longitude": longitude, "latitude": latitude}


def names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a text with commas between the names; None for None.

    Parameters
    ----------
    text : str or None
        Value of the option.
    """
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def one_of(text: str | None, choices: Collection[str], option: str) -> str | None:
    """Return the text of an option that has a few choices; None for None.

    Parameters
    ----------
    text : str or None
        Value of the option.
    choices : collection of str
        The choices.
    option : str
        Name of the option, for the message.

    Raises
    ------
    UsageError
        The text is none of the choices.
    """
    if text is not None and text not in choices:
        raise UsageError(f"{option} {text}: choose {' or '.join(choices)}")
    return text


def expanded(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with ``~`` replaced by the home folder, as in ``--out=~/run``.

    Shells replace ``~`` only at the beginning of a word. Only paths begin with ``~``, no other texts do.

    Parameters
    ----------
    arguments : sequence of str
        Arguments of the command.
    """
    parts = (re.fullmatch(r"(--?[\w-]+=)?(.*)", argument, re.DOTALL) for argument in arguments)
    return [(part[1] or "") + os.path.expanduser(part[2]) for part in parts]
