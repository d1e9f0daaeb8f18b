"""Units of acceleration: tell the unit of a file, or check the unit that is stated."""

import functools
import itertools
import re

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import distance_km

#: Unit -> its size in g.
IN_G = {
    "g": 1.0,
    "%g": 0.01,
    "m/s^2": 1 / imt.STANDARD_GRAVITY,
    "cm/s^2": 0.01 / imt.STANDARD_GRAVITY,
    "gal": 0.01 / imt.STANDARD_GRAVITY,
}
#: Units of which values may be the logarithm.
OF_LOGARITHMS = ("g", "%g", "m/s^2", "cm/s^2")
#: Other spellings of the square of a second.
_SQUARE = re.compile(r"(?:/s(?:ec)?(?:\^|\*\*)?[2²]|/s/s)$")
#: Half the distance between the nearest of g, m/s^2 and cm/s^2, in ln units.
HALF_STEP = np.log(imt.STANDARD_GRAVITY) / 2
#: Standard deviation of ln PGA about the reference model (0.74 on two years of JMA records).
SCATTER = 0.8
#: A median residual beyond a factor of 20 is a wrong unit in any region, beyond one of 5 in most.
IMPLAUSIBLE, DOUBTFUL = np.log(20), np.log(5)
FEWEST, FEWEST_LOGARITHMS = 3, 10
#: Least ratio of the spread of ln amplitude to the spread expected: below the first the values are
#: logarithms, below the second they are if their size is implausible too (measured amplitudes: 0.9 to
#: 1.1; of single earthquakes listed only above a level: 0.43).
LEAST_SPREAD, LEAST_SPREAD_IMPLAUSIBLE = 0.4, 0.7
#: Negative values are no mistake if there are `FEWEST_NEGATIVE` and such a share, or `MOST_NEGATIVE`.
FEWEST_NEGATIVE, MOST_NEGATIVE, MOST_NEGATIVE_SHARE = 2, 3, 0.05
#: Ln of how much likelier values must be normal than log-normal to be taken for logarithms.
LIKELIER = 2.5
#: Range in which values are compared with BSSA14: magnitude, and km.
MAGNITUDES, DISTANCES_KM = (3.0, 8.5), (1.0, 300.0)


def spelled(unit: str) -> str:
    """Return a unit of any spelling as the key of `IN_G`; an unknown unit as it is.

    >>> [spelled(unit) for unit in ("cm/s2", "Gal", "M/s²", "% G", "furlong")]
    ['cm/s^2', 'gal', 'm/s^2', '%g', 'furlong']
    """
    plain = _SQUARE.sub("/s^2", "".join(unit.lower().split()))
    return plain if plain in IN_G else unit


def in_g(unit: str) -> float:
    """Return the size in g of a unit, in any spelling that `spelled` knows.

    >>> in_g("%g")
    0.01

    Raises
    ------
    UsageError
        The unit is not known.
    """
    known = spelled(unit)
    if known not in IN_G:
        raise UsageError(f"unknown unit {unit!r}: write one of {', '.join(IN_G)}")
    return IN_G[known]


def hypocentral_km(event_longitude, event_latitude, depth_km, longitude, latitude) -> np.ndarray:
    """Return the distance from hypocentres to stations, ``sqrt(epicentral^2 + depth^2)``.

    Parameters
    ----------
    event_longitude, event_latitude, longitude, latitude : array_like, [n]
        Of the events and of the stations, degrees.
    depth_km : array_like, [n]

    Returns
    -------
    ndarray, [n]
        In km.
    """
    return np.hypot(distance_km(event_longitude, event_latitude, longitude, latitude), depth_km)


def expected_ln_pga(magnitude, depth_km, distance_km) -> np.ndarray:
    r"""Return the mean ln PGA of a crustal earthquake, in g.

    .. math:: \log_{10} A = 0.50 M_w + 0.0036 D + 0.60 - \log_{10} X - 0.003 X

    with A in cm/s^2, focal depth D in km, and X in km the hypocentral distance, which stands for the
    equivalent hypocentral distance.

    Parameters
    ----------
    magnitude, depth_km, distance_km : array_like, [n]

    Returns
    -------
    ndarray, [n]

    Source: Si and Midorikawa (1999), J. Struct. Constr. Eng. (AIJ) 523, 63-70; coefficients as in
    Douglas (2011), Ground-motion prediction equations 1964-2010.
    """
    distance_km = np.maximum(distance_km, 1.0)
    log10 = 0.50 * magnitude + 0.0036 * depth_km + 0.60 - np.log10(distance_km) - 0.003 * distance_km
    return np.log(10.0) * log10 + np.log(IN_G["cm/s^2"])


def detect(
    amplitude, expected_ln, what: str, scatter: float = SCATTER, option: str = "--unit"
) -> tuple[str, str]:
    """Tell which of g, m/s^2 and cm/s^2 the amplitudes are in, and say why.

    The unit with the smallest median residual of ln amplitude is taken if that residual, with two
    standard errors added, stays below half the step between units.

    Parameters
    ----------
    amplitude : array_like, [n]
        Positive where known.
    expected_ln : array_like, [n]
        Ln of the expected amplitude, in g.
    what : str
        Name of the amplitudes, for the message.
    scatter : float
        Standard deviation of ln amplitude about the expected one.
    option : str
        Option with which the user states the unit, for the message.

    Returns
    -------
    str, str
        A key of `IN_G`, and a sentence.

    Raises
    ------
    DataError
        No unit fits, or there are too few amplitudes.
    """
    raw, count = _median_residual(amplitude, expected_ln)
    if count == 0:
        raise DataError(f"no {what} to tell the unit from: give it with {option}")
    medians = {unit: raw + np.log(IN_G[unit]) for unit in ("g", "m/s^2", "cm/s^2")}
    unit = min(medians, key=lambda name: abs(medians[name]))
    factors = ", ".join(f"{np.exp(value):.3g} in {name}" for name, value in medians.items())
    reason = f"median of {count} {what} over what is expected: {factors}"
    # 1.25 standard deviations / sqrt(n) is the standard error of a median.
    if abs(medians[unit]) + 2 * 1.25 * scatter / np.sqrt(count) >= HALF_STEP:
        raise DataError(f"the unit cannot be told ({reason}): give it with {option}")
    return unit, f"{unit}, detected ({reason})"


def bssa14_ln(im: str, magnitude, distance_km) -> np.ndarray:
    """Return the median ln IM in g of BSSA14 at Vs30 400 m/s, NaN outside `MAGNITUDES` and `DISTANCES_KM`.

    The model of Boore, Stewart, Seyhan and Atkinson (2014, Earthquake Spectra 30(3), 1057-1085) by pygmm,
    mechanism and region unspecified; the distance stands for the Joyner-Boore distance.

    Parameters
    ----------
    im : str
    magnitude, distance_km : array_like, [n]

    Returns
    -------
    ndarray, [n]
    """
    magnitude, distance_km = np.asarray(magnitude, float), np.asarray(distance_km, float)
    near = np.log(np.maximum(distance_km, DISTANCES_KM[0]))
    axes, periods, spectra = _bssa14()
    period = imt.period(im)
    if period > 0 and not periods[1] <= period <= periods[-1]:
        return np.full(np.broadcast(magnitude, near).shape, np.nan)
    upper = int(np.searchsorted(periods, period))
    values = spectra[..., upper]
    if periods[upper] != period:
        share = np.log(period / periods[upper - 1]) / np.log(periods[upper] / periods[upper - 1])
        values = (1 - share) * spectra[..., upper - 1] + share * values
    return RegularGridInterpolator(axes, values, bounds_error=False)(np.stack([magnitude, near], axis=-1))


@functools.cache
def _bssa14() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Return magnitudes and ln km, periods in s (0: PGA), and ln IM in g [magnitude, distance, period]."""
    import pygmm  # half a second

    axes = np.linspace(*MAGNITUDES, 23), np.linspace(*np.log(DISTANCES_KM), 31)
    spectra = []
    for magnitude, near in itertools.product(*axes):
        scenario = {"mag": magnitude, "dist_jb": np.exp(near), "v_s30": 400, "mechanism": "U"}
        model = pygmm.BooreStewartSeyhanAtkinson2014(pygmm.Scenario(**scenario))
        spectra.append(np.log([model.pga, *model.spec_accels]))
    periods = np.array([0.0, *model.periods])
    return axes, periods, np.reshape(spectra, (*map(len, axes), len(periods)))


def check(
    values,
    expected_ln,
    unit: str,
    what: str,
    *,
    as_stated: bool = False,
    option: str = "--unit",
    beside: str = "",
) -> tuple[str, bool]:
    """Compare values in a stated unit with the values expected, and refuse a unit that cannot be.

    Parameters
    ----------
    values : array_like, [n]
        As the file has them; NaN where unknown.
    expected_ln : array_like, [n]
        Ln of the expected values, in g; NaN where unknown.
    unit : str
        A key of `IN_G`.
    what : str
        Name of the values, for the message.
    as_stated : bool
        Take the unit without a check.
    option : str
        Option with which the user states the unit, for the message.
    beside : str
        Name of other values that the unit fits, so that another unit for all values is no help.

    Returns
    -------
    str, bool
        A sentence on how far the values are off, and true if
        another unit is much nearer, which a user should know.

    Raises
    ------
    DataError
        The median of values over expected lies outside 1/20 to 20, or the values are logarithms.
    """
    if as_stated:
        return "not checked (--unit-as-stated)", False
    unit = spelled(unit)
    values, expected_ln = np.asarray(values, float), np.asarray(expected_ln, float)
    refuse_negative(values, what)
    median, count = _median_residual(values, expected_ln)
    if count < FEWEST:
        return f"not checked: of the {what} {count} can be compared with what is expected", False
    factors = {name: np.exp(median) * in_g(name) for name in (unit, "g", "%g", "m/s^2", "cm/s^2")}
    off = {name: abs(np.log(factor)) for name, factor in factors.items()}
    fit = min(off, key=off.__getitem__)
    measured = f"the median of {count} {what} taken as {unit} is {factors[unit]:.3g} times what is expected"
    override = "or take them as they are with --unit-as-stated"
    least_spread = LEAST_SPREAD_IMPLAUSIBLE if off[unit] > IMPLAUSIBLE else LEAST_SPREAD
    if logarithm := _tell_logarithm(values, expected_ln, least_spread):
        raise DataError(
            f"{what} look like logarithms ({logarithm}): {measured}; give the amplitudes, {override}"
        )
    nearer = f"{option} {fit} would fit ({factors[fit]:.3g} times)"
    if beside:
        nearer = f"{fit} would fit ({factors[fit]:.3g} times), unlike {beside}"
    if off[unit] > IMPLAUSIBLE:
        advice = nearer if off[fit] < IMPLAUSIBLE else f"none of {', '.join(IN_G)} fits"
        cure = "bring all columns to one unit" if beside else f"say the unit with {option}"
        raise DataError(f"{measured} (1/20 to 20 can be): {advice}; {cure}, {override}")
    doubtful = off[unit] > DOUBTFUL and fit != unit
    return (f"{measured}; {nearer}" if doubtful else measured), doubtful


def refuse_negative(values: np.ndarray, what: str) -> None:
    """Raise `DataError` if so many values are negative that they are logarithms, or signed peaks."""
    known = values[np.isfinite(values)]
    negative = int((known < 0).sum())
    if negative >= min(MOST_NEGATIVE, max(FEWEST_NEGATIVE, MOST_NEGATIVE_SHARE * len(known))):
        raise DataError(
            f"{negative} of {len(known)} {what} are negative, as logarithms are (ln or log10), or peaks "
            "with a sign: give the amplitudes, or leave the negative ones out with --unit-as-stated"
        )


def _tell_logarithm(values: np.ndarray, expected_ln: np.ndarray, least_spread: float) -> str:
    """Return base and unit of which the values may be logarithms; empty where they are amplitudes.

    Values may be logarithms if they vary too little for amplitudes, or if they are normal about a line
    over the expected ln, rather than log-normal as amplitudes are.
    """
    known = np.isfinite(values) & (values > 0) & np.isfinite(expected_ln)
    values, expected_ln = values[known], expected_ln[known]
    spread = np.std(expected_ln)
    if len(values) < FEWEST_LOGARITHMS or not spread:
        return ""
    if (
        np.std(np.log(values)) > least_spread * spread
        and _ln_likelihood_ratio(values, expected_ln) < LIKELIER
    ):
        return ""
    fits, most = {}, 1.5 * np.hypot(spread, SCATTER)
    for base, factor in (("ln", 1.0), ("log10", np.log(10.0))):
        for unit in OF_LOGARITHMS:
            median = np.median(factor * values - expected_ln) + np.log(in_g(unit))
            if 0.6 * spread < np.std(factor * values) < most and abs(median) < IMPLAUSIBLE:
                fits[f"{base} of {unit}"] = abs(median)
    return min(fits, key=fits.__getitem__, default="")


def _ln_likelihood_ratio(values: np.ndarray, expected_ln: np.ndarray) -> float:
    """Return ln of how much likelier values are normal than log-normal about a line over `expected_ln`."""
    scatters = []
    for amplitudes in (values, np.log(values)):
        line = np.polynomial.Polynomial.fit(expected_ln, amplitudes, 1)
        scatters.append(np.std(amplitudes - line(expected_ln)))
    normal, log_normal = np.log(np.maximum(scatters, 1e-12))
    return float(len(values) * (log_normal - normal + np.log(values).mean()))


def _median_residual(amplitude, expected_ln) -> tuple[float, int]:
    """Return the median of ln amplitude - expected, and of how many amplitudes."""
    amplitude, expected_ln = np.asarray(amplitude, float), np.asarray(expected_ln, float)
    known = np.isfinite(amplitude) & (amplitude > 0) & np.isfinite(expected_ln)
    residual = np.log(amplitude[known]) - expected_ln[known]
    return (float(np.median(residual)) if len(residual) else np.nan), len(residual)
