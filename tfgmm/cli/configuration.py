"""Take the options of a command from a file in TOML."""

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tfgmm.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from click import Command, Parameter


def read_configuration(context: typer.Context, path: Path | None) -> Path | None:
    """Take the values of a configuration file as the defaults of the options of a command.

    Options on the command line win. Paths in the file are relative to the working folder, as on the
    command line.

    Parameters
    ----------
    context : typer.Context
        The command in execution.
    path : Path or None
        Value of the option ``--config``: a TOML file whose keys are names of options without the dashes in
        front; None for no file.

    Returns
    -------
    Path or None
        The path.

    Raises
    ------
    UsageError
        There is no such file, or a key is no option of the command.
    DataError
        The file is no TOML, or a value is a table.
    """
    if path is not None:
        content = read_toml(path, "--config ")
        context.default_map = option_values(content, context.command, context.info_name, str(path))
    return path


def read_toml(path: Path, option: str = "") -> dict[str, Any]:
    """Return the content of a file in TOML.

    Parameters
    ----------
    path : Path
        The file.
    option : str
        Name of the option that names the file, for the message.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        The file is no TOML.
    """
    if not path.is_file():
        raise UsageError(f"{option}{path}: there is no such file")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no TOML file ({error}): write lines as pixel-km = 1.0") from error


def option_values(
    content: dict[str, Any], command: "Command", command_name: str | None, where: str
) -> dict[str, Any]:
    """Return the values of options of a command as its parameters take them.

    Parameters
    ----------
    content : dict
        Values by name of the option, without the dashes in front.
    command : click.Command
        The command.
    command_name : str
        Its name, for messages.
    where : str
        Name of the file, for messages.

    Returns
    -------
    dict
        Values by name of the parameter.

    Raises
    ------
    UsageError
        A key is no option of the command.
    DataError
        A value is a table.
    """
    options, values = _options(command), {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean {near[0]}?" if near else f"see tfgmm {command_name} --help"
            raise UsageError(f"{where}: {command_name} has no option {key}: {hint}")
        if isinstance(value, dict):
            raise DataError(f"{where}: {key} is a table: write its keys without it, one below the other")
        values[options[name].name] = _as_given(value, options[name])
    return values


def _options(command: "Command") -> "dict[str, Parameter]":
    """Return the options of a command that a file may give, by name: ``pixel-km``."""
    return {
        option.removeprefix("--"): parameter
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option not in ("--config", "--help")
    }


def _as_given(value: Any, option: "Parameter") -> Any:
    """Return a value of a file as the command line gives it: texts with commas, yes or no, a list."""
    if option.multiple:
        return value if isinstance(value, list) else [value]
    if isinstance(value, bool) and not option.is_flag:
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else value
