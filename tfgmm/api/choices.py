"""Options that all readers of records have in common, and types of their arguments."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from tfgmm.api.dataset import PathLike
from tfgmm.readers.common import bounded, selection, sheet

#: Box (west, south, east, north), degrees.
Region = tuple[float, float, float, float]
#: One file or several files.
Files = PathLike | Iterable[PathLike]
#: Called with each file once it has been read.
Progress = Callable[[Path], None]


class Choices(TypedDict, total=False):
    """Options that all readers of records have in common: which records are kept, how files are read.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Box in degrees; only records of stations inside the box are kept. If west is greater than east, the
        box crosses the date line.
    min_magnitude : float
        Smallest moment magnitude of an event that is kept, 4 by default.
    max_distance_km : float
        Largest hypocentral distance of a record that is kept, km, 300 by default.
    min_records : int
        Smallest number of records of an event that is kept, 1 by default.
    large : bool
        If True, also unpack files that have more than 2 GB, or 200 times their packed size, when unpacked.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.
    """

    region: Region | None
    min_magnitude: float
    max_distance_km: float
    min_records: int
    large: bool
    decimal_comma: bool


@contextlib.contextmanager
def limits_of(choices: Choices) -> Iterator[selection.Limits]:
    """Yield the limits on records; the options on reading files apply while the block runs.

    Parameters
    ----------
    choices : Choices
        Options of a reader.

    Yields
    ------
    tfgmm.readers.common.selection.Limits
        Region (degrees), smallest magnitude, largest distance (km) and smallest number of records.
    """
    numbers = {name: value for name, value in choices.items() if name not in ("large", "decimal_comma")}
    with (
        bounded.large(choices.get("large", False)),
        sheet.decimal_comma(choices.get("decimal_comma", False)),
    ):
        yield selection.Limits(**numbers)


def paths_of(files: Files) -> list[Path]:
    """Return a list of paths, from one path or several.

    Parameters
    ----------
    files : path or iterable of paths
        One file or several files.

    Returns
    -------
    list of Path
        The paths, in the given order.
    """
    return [Path(files)] if isinstance(files, PathLike) else [Path(file) for file in files]


def path_of(file: PathLike | None) -> Path | None:
    """Return an optional path as a `Path`; return None for None.

    Parameters
    ----------
    file : path or None
        A file, or None if there is no file.

    Returns
    -------
    Path or None
        The path of the file.
    """
    return None if file is None else Path(file)
