"""Intensity measure types, in OpenQuake's spelling: ``PGA``, ``SA(1.0)``. Both are in g."""

import math
import re

import numpy as np

from tfgmm.core.errors import UsageError

#: Standard gravity, the g in which PGA and SA are given, in m/s^2.
STANDARD_GRAVITY = 9.80665

_SA = re.compile(r"SA\((\d+(?:\.\d*)?|\.\d+)\s*S?\)")


def canonical(name: str) -> str:
    """Return the one spelling of an intensity measure type.

    >>> canonical("pga"), canonical("SA(1)"), canonical("SA(0.1s)")
    ('PGA', 'SA(1.0)', 'SA(0.1)')

    Raises
    ------
    UsageError
        `name` is neither PGA nor SA(T) with a period T in seconds.
    """
    upper = name.strip().upper()
    if upper == "PGA":
        return upper
    match = _SA.fullmatch(upper)
    if match and 0 < float(match[1]) < math.inf:
        return f"SA({np.format_float_positional(float(match[1]), trim='0')})"
    raise UsageError(f"unknown intensity measure {name!r}: write PGA or SA(T), T in s, as SA(1.0)")


def is_imt(name: str) -> bool:
    """Return True if a column name is an intensity measure type in its one spelling."""
    try:
        return canonical(name) == name
    except UsageError:
        return False


def period(name: str) -> float:
    """Return the natural period of an intensity measure type in s; 0 for PGA."""
    match = _SA.fullmatch(canonical(name))
    return float(match[1]) if match else 0.0
