"""Names of intensity measures as OpenQuake spells them: ``PGA`` and ``SA(1.0)`` in g, ``PGV`` in cm/s."""

import itertools
import math
import re
from collections.abc import Iterable

import numpy as np

from tfgmm.core.errors import UsageError

#: Standard gravity, the g in which PGA and SA are given, in m/s^2.
STANDARD_GRAVITY = 9.80665

#: Names that stand for all intensity measures that there are.
WHOLE = ("all", "spectrum")
_SA = re.compile(r"SA\((\d+(?:\.\d*)?|\.\d+)\s*S?\)")


def canonical(name: str) -> str:
    """Return the canonical spelling of an intensity measure: ``PGA``, ``PGV`` or ``SA(T)``, T in s.

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
        `name` is neither PGA, PGV nor SA(T) with a positive period T.

    Examples
    --------
    >>> canonical("pga"), canonical("SA(1)"), canonical("SA(0.1s)")
    ('PGA', 'SA(1.0)', 'SA(0.1)')
    """
    upper = str(name).strip().upper()
    if upper in ("PGA", "PGV"):
        return upper
    match = _SA.fullmatch(upper)
    if match and 0 < float(match[1]) < math.inf:
        return f"SA({np.format_float_positional(float(match[1]), trim='0')})"
    raise UsageError(f"unknown intensity measure {name!r}: write PGA, PGV or SA(T), T in s, as SA(1.0)")


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
        `name` is neither PGA nor SA(T) with a positive period T; PGV has no period.
    """
    known = canonical(name)
    if known == "PGV":
        raise UsageError("PGV has no period: ask for PGA or SA(T)")
    match = _SA.fullmatch(known)
    return float(match[1]) if match else 0.0


def unit(name: str) -> str:
    """Return the unit in which an intensity measure is given everywhere: ``cm/s`` for PGV, else ``g``.

    Parameters
    ----------
    name : str
        Intensity measure in any spelling that `canonical` accepts.

    Returns
    -------
    str
        Unit, as it stands on axes and in headers.

    Raises
    ------
    UsageError
        `name` is no intensity measure.

    Examples
    --------
    >>> unit("PGA"), unit("PGV"), unit("SA(1.0)")
    ('g', 'cm/s', 'g')
    """
    return "cm/s" if canonical(name) == "PGV" else "g"


def order(name: str) -> tuple[int, float]:
    """Return the key that sorts intensity measures: PGA, PGV, then SA by period.

    Parameters
    ----------
    name : str
        Intensity measure in any spelling that `canonical` accepts.

    Returns
    -------
    int, float
        Key for `sorted`.

    Raises
    ------
    UsageError
        `name` is no intensity measure.

    Examples
    --------
    >>> sorted(["SA(1.0)", "PGV", "SA(0.1)", "PGA"], key=order)
    ['PGA', 'PGV', 'SA(0.1)', 'SA(1.0)']
    """
    known = canonical(name)
    return (("PGA", "PGV").index(known), 0.0) if known in ("PGA", "PGV") else (2, period(known))


def expanded(names: Iterable[str], measures: Iterable[str]) -> list[str]:
    """Return intensity measures by canonical name, each once, with all that there are in place of `WHOLE`.

    Parameters
    ----------
    names : iterable of str
        Intensity measures, or one of `WHOLE`.
    measures : iterable of str
        The intensity measures that there are.

    Returns
    -------
    list of str

    Raises
    ------
    UsageError
        A name is no intensity measure.

    Examples
    --------
    >>> expanded(["all"], ["SA(1.0)", "PGA"]), expanded(["sa(1)", "SA(1.0)"], [])
    (['PGA', 'SA(1.0)'], ['SA(1.0)'])
    """
    chosen: list[str] = []
    for name in names:
        chosen += sorted(measures, key=order) if name in WHOLE else [canonical(name)]
    return list(dict.fromkeys(chosen))


def between(measures: Iterable[str], name: str) -> tuple[str, str, float]:
    r"""Find the two spectral accelerations whose periods bracket a period, and the weight of the second.

    Between them ln SA is taken as linear in ln T:

    .. math:: \ln SA(T) = (1 - w) \ln SA(T_1) + w \ln SA(T_2), \quad w = \ln(T / T_1) / \ln(T_2 / T_1)

    Parameters
    ----------
    measures : iterable of str
        Intensity measures that are known; PGA and PGV have no neighbours and are passed over.
    name : str
        Spectral acceleration that is asked for, such as ``SA(0.85)``.

    Returns
    -------
    first, second : str
        Measures with the nearest period at most and at least the one asked for; both are `name` if it is
        one of `measures`.
    weight : float
        Weight w of the second, 0 to 1; 0 if `name` is one of `measures`.

    Raises
    ------
    UsageError
        `name` is no spectral acceleration, or its period lies outside those of `measures`.

    Examples
    --------
    >>> between(["PGA", "SA(0.5)", "SA(1.0)", "SA(2.0)"], "SA(1.0)")
    ('SA(1.0)', 'SA(1.0)', 0.0)
    """
    wanted = canonical(name)
    known = sorted(map(canonical, measures), key=order)
    if wanted in known:
        return wanted, wanted, 0.0
    spectral = [measure for measure in known if measure not in ("PGA", "PGV")]
    if wanted not in ("PGA", "PGV"):
        for first, second in itertools.pairwise(spectral):
            if period(first) < period(wanted) < period(second):
                weight = math.log(period(wanted) / period(first)) / math.log(period(second) / period(first))
                return first, second, weight
    if len(spectral) > 1:
        known.append(f"SA(T) with T between {period(spectral[0]):g} and {period(spectral[-1]):g} s")
    raise UsageError(f"there is no {wanted}: ask for {', '.join(known)}")
