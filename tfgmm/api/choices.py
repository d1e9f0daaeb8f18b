"""Choices that all readers have, and the forms in which files may be given."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from tfgmm.api.dataset import PathLike
from tfgmm.readers.common import bounded, selection, sheet

#: West, south, east, north, degrees.
Region = tuple[float, float, float, float]
#: One file or several.
Files = PathLike | Iterable[PathLike]
#: Called with each file once it has been read.
Progress = Callable[[Path], None]


class Choices(TypedDict, total=False):
    """Choices that all readers have: which records are kept, and how files are read.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Only stations in it, degrees; a west beyond the east means across the date line.
    min_magnitude : float
        Smallest moment magnitude, 4 by default.
    max_distance_km : float
        Largest hypocentral distance, 300 km by default.
    min_records : int
        Fewest records that an event must have, 1 by default.
    large : bool
        Also unpack files of more than 2 GB, or 200 times their packed size.
    decimal_comma : bool
        Read the comma as the decimal sign in tables of text.
    """

    region: Region | None
    min_magnitude: float
    max_distance_km: float
    min_records: int
    large: bool
    decimal_comma: bool


@contextlib.contextmanager
def limits_of(choices: Choices) -> Iterator[selection.Limits]:
    """Yield the limits on records; while the block runs, files are read as chosen."""
    numbers = {name: value for name, value in choices.items() if name not in ("large", "decimal_comma")}
    with (
        bounded.large(choices.get("large", False)),
        sheet.decimal_comma(choices.get("decimal_comma", False)),
    ):
        yield selection.Limits(**numbers)


def paths_of(files: Files) -> list[Path]:
    """Return the paths of one file or several."""
    return [Path(files)] if isinstance(files, PathLike) else [Path(file) for file in files]


def path_of(file: PathLike | None) -> Path | None:
    """Return the path of a file, if there is one."""
    return None if file is None else Path(file)
