"""The commands ``tfgmm fetch ...``: download what is free to download."""

from pathlib import Path
from typing import Annotated

import typer

from tfgmm.cli.console import console, stage_progress
from tfgmm.core import outputs
from tfgmm.readers.common import fetch

app = typer.Typer(
    help="Download records that are free to download.", epilog=fetch.ACCOUNTS, no_args_is_help=True
)


@app.callback()
def _fetch() -> None:
    """Keeps the name of the only command."""


@app.command()
def jma(
    years: Annotated[str, typer.Option(help="Years and ranges, as 2010,2012-2018.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    base: Annotated[str, typer.Option(help="Address of the folder on the server.")] = fetch.JMA,
) -> None:
    """Annual files and station table of the JMA; the same command goes on after a break."""
    outputs.refuse_file_name(out, "what is downloaded")
    with stage_progress() as told:
        paths = fetch.fetch_jma(
            fetch.parse_years(years),
            out,
            base=base,
            progress=lambda name, done, total: told(name, done / total if total else 0.0),
        )
    console.print(
        f"{len(paths)} files in {out}. Next: tfgmm import jma {out}/i*.zip --stations {paths[-1]}"
    )
