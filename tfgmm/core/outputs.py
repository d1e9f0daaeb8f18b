"""Refuse names of output files that mean no format, folders named like files, and files of others."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tfgmm.core.errors import UsageError

#: Endings of the files that maps and tables of predictions can be written as.
MAPS = (".nc", ".tif", ".tiff", ".png", ".pdf")
TABLES = (".csv", ".parquet")
#: Endings of files: a folder of such a name was meant to be a file.
FILES = (
    *(".csv", ".feather", ".geojson", ".gpkg", ".htm", ".html", ".ipynb", ".jpeg", ".jpg", ".json", ".md"),
    *(".nc", ".npz", ".parquet", ".pdf", ".png", ".svg", ".tar", ".tex", ".tif", ".tiff", ".tsv", ".txt"),
    *(".xls", ".xlsx", ".xml", ".zip", ".gz", ".keras", ".h5", ".hdf5"),
)


def ending_of(path: Path, allowed: Sequence[str], what: str) -> str:
    """Return the ending of the file that shall be written, in lower case.

    Parameters
    ----------
    path : Path
        The file that shall be written.
    allowed : sequence of str
        Endings that mean a format, as ``.csv``.
    what : str
        The content of the file, for the message, as ``maps``.

    Raises
    ------
    UsageError
        The ending is not among those allowed.
    """
    ending = path.suffix.lower()
    if ending not in allowed:
        raise UsageError(f"{path}: {what} can be written as {', '.join(allowed)}: give such a name")
    return ending


def prediction_ending(path: Path, at_sites: bool) -> str:
    """Return the ending of a file of predictions: one of `TABLES` at sites, one of `MAPS` on the grid.

    Raises
    ------
    UsageError
        The ending is none of these.
    """
    return ending_of(path, TABLES, "a table of sites") if at_sites else ending_of(path, MAPS, "maps")


def refuse_file_name(path: Path, what: str) -> None:
    """Raise `UsageError` if the folder that shall be made is named like a file.

    >>> refuse_file_name(Path("run-v0.2"), "a run")

    Parameters
    ----------
    path : Path
        The folder that shall be made.
    what : str
        The content of the folder, for the message, as ``a run``.
    """
    if path.suffix.lower() in FILES:
        raise UsageError(
            f"{path}: {what} is a folder, and {path.suffix} means a file: give a name without ending"
        )


def refuse_strangers(paths: Iterable[Path], is_ours: Callable[[Path], bool], overwrite: bool) -> None:
    """Raise `UsageError` if a file that would be replaced was not made by tfgmm, and may not be replaced.

    Parameters
    ----------
    paths : iterable of Path
        Files that will be written.
    is_ours : callable
        Returns True for an existing file that is an earlier result of tfgmm.
    overwrite : bool
        Replace any file.
    """
    for path in paths:
        if not overwrite and os.path.lexists(path) and not is_ours(path):
            raise UsageError(
                f"{path} exists already and was not made by this command: choose another name, or replace "
                "it with --overwrite"
            )


def holds(path: Path, text: str) -> bool:
    """Return True if a file exists, can be read and contains a text."""
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False
