"""Units of acceleration: which one a file is in, where it does not say so."""

import numpy as np

from tfgmm import imt, records
from tfgmm.errors import DataError, UsageError

#: One of each unit, in g.
IN_G = {
    "g": 1.0,
    "%g": 0.01,
    "m/s^2": 1 / imt.STANDARD_GRAVITY,
    "cm/s^2": 0.01 / imt.STANDARD_GRAVITY,
    "gal": 0.01 / imt.STANDARD_GRAVITY,
}
#: Half the distance between the nearest of g, m/s^2 and cm/s^2, in ln units.
HALF_STEP = np.log(imt.STANDARD_GRAVITY) / 2
#: Standard deviation of ln PGA about the reference model (0.74 on two years of JMA records).
SCATTER = 0.8
#: A median residual beyond a factor of 20 is a wrong unit in any region.
IMPLAUSIBLE = np.log(20)
FEWEST = 10


def in_g(unit: str) -> float:
    """One of `unit`, in g.

    >>> in_g("%g")
    0.01

    Raises
    ------
    UsageError
        The unit is not known.
    """
    if unit not in IN_G:
        raise UsageError(f"unknown unit {unit!r}: write one of {', '.join(IN_G)}")
    return IN_G[unit]


def hypocentral_km(event_longitude, event_latitude, depth_km, longitude, latitude) -> np.ndarray:
    """Distance from hypocentres to stations, ``sqrt(epicentral^2 + depth^2)``, km, [n]."""
    return np.hypot(records.distance_km(event_longitude, event_latitude, longitude, latitude), depth_km)


def expected_ln_pga(magnitude, depth_km, distance_km) -> np.ndarray:
    """Ln PGA in g that a crustal earthquake gives on average.

    ``log10 A = 0.50 Mw + 0.0036 D + 0.60 - log10 X - 0.003 X``, A in cm/s^2, focal depth D in km,
    and X in km the hypocentral distance, which stands in for the equivalent one.

    Source: Si and Midorikawa (1999), J. Struct. Constr. Eng. (AIJ) 523, 63-70; coefficients as in
    Douglas (2011), Ground-motion prediction equations 1964-2010.
    """
    distance_km = np.maximum(distance_km, 1.0)
    log10 = 0.50 * magnitude + 0.0036 * depth_km + 0.60 - np.log10(distance_km) - 0.003 * distance_km
    return np.log(10.0) * log10 + np.log(IN_G["cm/s^2"])


def detect(
    amplitude, expected_ln, what: str, scatter: float = SCATTER, option: str = "--unit"
) -> tuple[str, str]:
    """Which of g, m/s^2 and cm/s^2 the amplitudes are in, and a sentence that says why.

    The unit with the smallest median residual of ln amplitude is taken if that residual, with two
    standard errors added, stays below half the step between units.

    Parameters
    ----------
    amplitude : array_like, [n]
        Positive where known.
    expected_ln : array_like, [n]
        ln of what is expected, in g.
    what : str
        What the amplitudes are, for the message.
    scatter : float
        Standard deviation of ln amplitude about what is expected.
    option : str
        What the user can say instead, for the message.

    Raises
    ------
    DataError
        No unit fits, or the amplitudes are too few to tell.
    """
    raw, count = _residual(amplitude, expected_ln)
    if count == 0:
        raise DataError(f"no {what} to tell the unit from: give it with {option}")
    medians = {unit: raw + np.log(IN_G[unit]) for unit in ("g", "m/s^2", "cm/s^2")}
    unit = min(medians, key=lambda name: abs(medians[name]))
    factors = ", ".join(f"{np.exp(value):.3g} in {name}" for name, value in medians.items())
    found = f"median of {count} {what} over what is expected: {factors}"
    # 1.25 standard deviations / sqrt(n) is the standard error of a median.
    if abs(medians[unit]) + 2 * 1.25 * scatter / np.sqrt(count) >= HALF_STEP:
        raise DataError(f"the unit cannot be told ({found}): give it with {option}")
    return unit, f"{unit}, detected ({found})"


def refuse_implausible(amplitude_g, expected_ln, what: str) -> None:
    """Raise `DataError` if amplitudes taken as g are a factor of 20 off what is expected."""
    median, count = _residual(amplitude_g, expected_ln)
    if count >= FEWEST and abs(median) > IMPLAUSIBLE:
        raise DataError(
            f"the median of {count} {what} taken as g is {np.exp(median):.3g} times what is expected: "
            f"say the unit ({', '.join(IN_G)}) with --unit"
        )


def _residual(amplitude, expected_ln) -> tuple[float, int]:
    """Median of ln amplitude - expected, over how many."""
    amplitude, expected_ln = np.asarray(amplitude, float), np.asarray(expected_ln, float)
    known = np.isfinite(amplitude) & (amplitude > 0) & np.isfinite(expected_ln)
    residual = np.log(amplitude[known]) - expected_ln[known]
    return (float(np.median(residual)) if len(residual) else np.nan), len(residual)
