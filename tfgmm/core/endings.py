"""Endings of names of files mean formats; what cannot be written so is refused."""

from collections.abc import Sequence
from pathlib import Path

from tfgmm.core.errors import UsageError

#: What predictions can be written as.
MAPS = (".nc", ".tif", ".tiff", ".png", ".pdf")
TABLES = (".csv", ".parquet")
#: Endings of files: a folder of such a name was meant to be a file.
FILES = (
    *(".csv", ".feather", ".geojson", ".gpkg", ".htm", ".html", ".ipynb", ".jpeg", ".jpg", ".json", ".md"),
    *(".nc", ".npz", ".parquet", ".pdf", ".png", ".svg", ".tar", ".tex", ".tif", ".tiff", ".tsv", ".txt"),
    *(".xls", ".xlsx", ".xml", ".zip", ".gz", ".keras", ".h5", ".hdf5"),
)


def of_file(path: Path, allowed: Sequence[str], what: str) -> str:
    """Return the ending of the file that shall be written, in lower case.

    Parameters
    ----------
    path : Path
    allowed : sequence of str
        Endings that mean a format, as ``.csv``.
    what : str
        What shall be written, for the message.

    Raises
    ------
    UsageError
        It is none of these.
    """
    ending = path.suffix.lower()
    if ending not in allowed:
        raise UsageError(f"{path}: {what} can be written as {', '.join(allowed)}: give such a name")
    return ending


def of_prediction(path: Path, at_sites: bool) -> str:
    """Return the ending of the file of a prediction, of `TABLES` if it is one at sites, else of `MAPS`.

    Raises
    ------
    UsageError
        It is none of these.
    """
    return of_file(path, TABLES, "a table of sites") if at_sites else of_file(path, MAPS, "maps")


def refuse_file(path: Path, what: str) -> None:
    """Raise `UsageError` if the name of the folder that shall be made has the ending of a file.

    >>> refuse_file(Path("run-v0.2"), "a run")
    """
    if path.suffix.lower() in FILES:
        raise UsageError(
            f"{path}: {what} is a folder, and {path.suffix} means a file: give a name without ending"
        )
