"""Values of a site layer as a file holds them -> the layer's unit; what cannot be a value is refused."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.layers import LAYERS, RANGE

#: Values of `RANGE` that stand for a missing value in many files.
MARKS = (999.0, 9999.0)
#: Units in which files hold layers, by how they begin: what they are multiplied by.
OTHER_UNITS = {"km": 1000.0, "kilomet": 1000.0, "cm": 0.01, "ft": 0.3048, "feet": 0.3048, "foot": 0.3048}
#: What columns, variables and bands of a layer are called.
NAMES = {
    "z_bedrock": re.compile(r"bedrock|depth|(?:^|_)z(?:1|2)[._]?[05]", re.IGNORECASE),
    "vs30": re.compile(r"vs_?30|v_?s30|(?:^|[^a-z])(?:a?vs|v)_?30", re.IGNORECASE),
}
#: A length, or a length by a second.
UNIT = re.compile(
    r"(?:[kc]?m|(?:kilo|centi)?met(?:er|re)s?|ft|feet|foot)"
    r"(?P<speed>\s*(?:/|per)\s*s(?:ec(?:onds?)?)?|[ .*]*s(?:ec)?(?:\^|\*\*)?-1)?$",
    re.IGNORECASE,
)


def in_unit(
    name: str,
    values: np.ndarray,
    place: Callable[[tuple[int, ...]], str],
    scale: float = 1.0,
    missing: Sequence[float] = (),
) -> tuple[np.ndarray, dict]:
    """Turn values as a file holds them into the layer's unit, before anything is interpolated.

    Parameters
    ----------
    name : str
        One of `LAYERS`.
    values : ndarray of float, [...]
        As in the file, NaN where the file says so; changed in place, for it may be large.
    place : callable
        Index of a value -> file and place, for a message.
    scale : float
        Factor from the file's unit to the layer's.
    missing : sequence of float
        Values, as in the file, that stand for a missing one.

    Returns
    -------
    values : ndarray, [...]
        The same array, NaN where missing.
    attrs : dict
        Attribute ``missing``: how many values of `missing` there were; empty without any.

    Raises
    ------
    DataError
        A value cannot be, and is not declared as missing. 999 and 9999 cannot be where they repeat and
        are larger than all others by far.
    """
    declared = is_declared(values, missing)
    values[declared] = np.nan
    low, high = (limit / scale for limit in RANGE[name])
    bad = (values < low) | (values > high)
    for mark in MARKS:
        others = np.max(values, where=values < mark, initial=0)
        if others < 0.9 * mark and np.nanmax(values, initial=0) == mark and (values == mark).sum() > 1:
            bad |= values == mark
    if bad.any():
        index = np.unravel_index(np.argmax(bad), bad.shape)
        (units, long_name), mark = LAYERS[name], f"{values[index]:.7g}"
        raise DataError(
            f"{place(index)}: {mark}, expected a {long_name} of {RANGE[name][0]:g} to {RANGE[name][1]:g} "
            f"{units}: give --missing={mark} if it stands for a missing value, --scale for another unit"
        )
    values *= scale
    counted = f"{', '.join(f'{mark:.9g}' for mark in missing)}: {declared.sum()} values"
    return values, {"missing": counted} if len(missing) else {}


def is_declared(values: np.ndarray, missing: Sequence[float]) -> np.ndarray:
    """Return which values are one of those that stand for a missing one, to the digits people write."""
    declared = np.zeros(np.shape(values), bool)
    for mark in missing:
        # A file holds -3.4028235e38 where people write -3.4e38.
        declared |= np.isclose(values, mark, rtol=1e-2 if abs(mark) > 1e10 else 1e-6, atol=0)
    return declared


def refuse_other_layer(source: str, column: str, name: str) -> None:
    """Refuse values that are named as another layer, where the user has not named them.

    Raises
    ------
    UsageError
        The message says how to name them.
    """
    for other, names in NAMES.items():
        if other != name and names.search(column) and not NAMES[name].search(column):
            raise UsageError(
                f"{source}: {column!r} is named as a {LAYERS[other][1]}, expected a {LAYERS[name][1]}: "
                "bring another file, or name the values with --value if they are what the layer needs"
            )


def refuse_unit(source: str, unit: str, scale: float, name: str) -> None:
    """Refuse values of another dimension than the layer's, or in km, cm or feet without a scale.

    Raises
    ------
    UsageError
        The message names the unit that is expected, or the scale.
    """
    expected = LAYERS[name][0]
    if match := UNIT.match(unit.strip()):
        found = "m/s" if match["speed"] else "m"
        if found != expected:
            raise UsageError(f"{source} holds values in {unit!r}, expected {expected}: they are no {name}")
    for start, factor in OTHER_UNITS.items():
        if unit.strip().lower().startswith(start) and scale == 1:
            raise UsageError(
                f"{source} holds values in {unit!r}: turn them into {expected}, --scale {factor:g}"
            )
