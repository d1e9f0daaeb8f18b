"""The command ``tfgmm``: it reads options and prints results; public functions of ``tfgmm`` do the work."""

import os
import sys
from typing import Annotated

import typer

from tfgmm.cli import data_commands, options, prediction_commands, run_commands, study_commands
from tfgmm.cli.console import show_log, show_version
from tfgmm.core.errors import TfgmmError, one_line

app = typer.Typer(
    help="Learn ground-motion models from strong-motion records as an image-processing task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=options.HELP,
)
app.add_typer(data_commands.imports, name="import", rich_help_panel=options.GET_DATA)
app.add_typer(data_commands.fetches, name="fetch", rich_help_panel=options.GET_DATA)
app.add_typer(data_commands.app)
app.add_typer(run_commands.app)
app.add_typer(study_commands.app)
app.add_typer(prediction_commands.app)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; end the program with an exit code.

    An error of tfgmm is printed as one line on standard error, with exit code 2 for wrong usage and 1 for
    wrong data.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments of the command; those of the program by default.

    Raises
    ------
    SystemExit
        The command has ended, with or without an error.
    TfgmmError
        The command failed, and the option ``--debug`` is given.
    """
    arguments = options.expanded(sys.argv[1:] if arguments is None else arguments)
    show_log()
    os.environ.setdefault("MPLBACKEND", "agg")  # figures become files, never windows
    try:
        app(arguments)
    except TfgmmError as error:
        if "--debug" in arguments:
            raise
        print(f"tfgmm: {one_line(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
