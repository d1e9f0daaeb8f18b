"""Checks of the names of output files and folders, made before a result is computed or written."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tfgmm.core.errors import UsageError

#: Endings of the files in which maps of predictions, and tables of predictions, can be written.
MAPS = (".nc", ".tif", ".tiff", ".png", ".pdf")
TABLES = (".csv", ".parquet")
#: Endings of figures, of maps or of spectra at sites.
FIGURES = (".png", ".pdf")
#: Endings of file names: if the name of an output folder has one, the user meant a file.
FILES = (
    *(".csv", ".feather", ".geojson", ".gpkg", ".htm", ".html", ".ipynb", ".jpeg", ".jpg", ".json", ".md"),
    *(".nc", ".npz", ".parquet", ".pdf", ".png", ".svg", ".tar", ".tex", ".tif", ".tiff", ".tsv", ".txt"),
    *(".xls", ".xlsx", ".xml", ".zip", ".gz", ".keras", ".h5", ".hdf5"),
)


def ending_of(path: Path, allowed: Sequence[str], what: str) -> str:
    """Return the ending of an output file in lower case, or raise an error if it names no possible format.

    Parameters
    ----------
    path : Path
        File that will be written.
    allowed : sequence of str
        Endings of the possible formats, such as ``.csv``.
    what : str
        Content of the file, for the message, such as ``maps``.

    Returns
    -------
    str
        Ending with its point.

    Raises
    ------
    UsageError
        The ending is not one of `allowed`.
    """
    ending = path.suffix.lower()
    if ending not in allowed:
        raise UsageError(f"{path}: {what} can be written as {', '.join(allowed)}: give such a name")
    return ending


def prediction_ending(path: Path, at_sites: bool) -> str:
    """Return the ending of a file of predictions in lower case, or raise an error if it is not possible.

    Parameters
    ----------
    path : Path
        File that will be written.
    at_sites : bool
        Whether the file is a table of predictions at sites (`TABLES`) or a figure of their spectra, not
        maps on the grid (`MAPS`).

    Returns
    -------
    str
        Ending with its point.

    Raises
    ------
    UsageError
        The ending is not possible for such predictions.
    """
    if at_sites:
        return ending_of(path, (*TABLES, *FIGURES), "a table of sites, or a figure of their spectra,")
    if path.suffix.lower() in TABLES:
        raise UsageError(
            f"{path} is a table: say where, with sites or stations; maps are {', '.join(MAPS)}"
        )
    return ending_of(path, MAPS, "maps")


def refuse_file_name(path: Path, what: str) -> None:
    """Raise an error if the name of an output folder has the ending of a file, such as ``.csv``.

    Parameters
    ----------
    path : Path
        Folder that will be created.
    what : str
        Content of the folder, for the message, such as ``a run``.

    Raises
    ------
    UsageError
        The name ends in one of `FILES`.

    Examples
    --------
    >>> refuse_file_name(Path("run-v0.2"), "a run")
    """
    if path.suffix.lower() in FILES:
        raise UsageError(
            f"{path}: {what} is a folder, and {path.suffix} means a file: give a name without ending"
        )


def refuse_strangers(paths: Iterable[Path], is_ours: Callable[[Path], bool], overwrite: bool) -> None:
    """Raise an error if an existing file would be replaced that tfgmm has not written.

    Parameters
    ----------
    paths : iterable of Path
        Files that will be written.
    is_ours : callable
        Function that takes the path of an existing file and returns True if tfgmm has written that file.
    overwrite : bool
        Whether any existing file may be replaced.

    Raises
    ------
    UsageError
        `overwrite` is false, and one of the files exists and was not written by tfgmm.
    """
    for path in paths:
        if not overwrite and os.path.lexists(path) and not is_ours(path):
            raise UsageError(
                f"{path} exists already and was not made by this command: choose another name, or replace "
                "it with --overwrite"
            )


def holds(path: Path, text: str) -> bool:
    """Return True if a file exists, can be read and contains a text.

    Parameters
    ----------
    path : Path
        File to search.
    text : str
        Text to find, encoded in UTF-8.

    Returns
    -------
    bool
        False also if the file cannot be read.
    """
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False
