"""Names of intensity measures in the spelling of OpenQuake: ``PGA`` and ``SA(1.0)``, both in g."""

import math
import re

import numpy as np

from tfgmm.core.errors import UsageError

#: Standard gravity, the g in which PGA and SA are given, in m/s^2.
STANDARD_GRAVITY = 9.80665

_SA = re.compile(r"SA\((\d+(?:\.\d*)?|\.\d+)\s*S?\)")


def canonical(name: str) -> str:
    """Return the canonical spelling of the name of an intensity measure: ``PGA`` or ``SA(T)``, T in s.

    Parameters
    ----------
    name : str
        Name in any case, with the period in any decimal notation.

    Returns
    -------
    str
        Canonical name.

    Raises
    ------
    UsageError
        `name` is neither PGA nor SA(T) with a positive period T.

    Examples
    --------
    >>> canonical("pga"), canonical("SA(1)"), canonical("SA(0.1s)")
    ('PGA', 'SA(1.0)', 'SA(0.1)')
    """
    upper = str(name).strip().upper()
    if upper == "PGA":
        return upper
    match = _SA.fullmatch(upper)
    if match and 0 < float(match[1]) < math.inf:
        return f"SA({np.format_float_positional(float(match[1]), trim='0')})"
    raise UsageError(f"unknown intensity measure {name!r}: write PGA or SA(T), T in s, as SA(1.0)")


def is_imt(name: str) -> bool:
    """Return True if a column name is the canonical name of an intensity measure, such as ``SA(1.0)``.

    Parameters
    ----------
    name : str
        Name of a column.

    Returns
    -------
    bool
        False for other names, and for other spellings such as ``SA(1)``.
    """
    try:
        return canonical(name) == name
    except UsageError:
        return False


def period(name: str) -> float:
    """Return the natural period of an intensity measure, s; 0 for PGA.

    Parameters
    ----------
    name : str
        ``PGA`` or ``SA(T)`` in any spelling that `canonical` accepts.

    Returns
    -------
    float
        Period, s.

    Raises
    ------
    UsageError
        `name` is neither PGA nor SA(T) with a positive period T.
    """
    match = _SA.fullmatch(canonical(name))
    return float(match[1]) if match else 0.0
