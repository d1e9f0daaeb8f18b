"""Units of acceleration and velocity: detect the unit of amplitudes, or check a stated unit."""

import functools
import itertools
import re

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import distance_km

#: Size of each unit in g, by the name of the unit.
IN_G = {
    "g": 1.0,
    "%g": 0.01,
    "m/s^2": 1 / imt.STANDARD_GRAVITY,
    "cm/s^2": 0.01 / imt.STANDARD_GRAVITY,
    "gal": 0.01 / imt.STANDARD_GRAVITY,
}
#: Size of each unit of velocity in cm/s.
IN_CM_S = {"cm/s": 1.0, "m/s": 100.0}
#: Units of amplitudes whose logarithms may stand in a file.
OF_LOGARITHMS = ("g", "%g", "m/s^2", "cm/s^2")
#: Pattern of other spellings of "per second squared".
_SQUARE = re.compile(r"(?:/s(?:ec)?(?:\^|\*\*)?[2²]|/s/s)$")
#: Half the smallest step between g, m/s^2 and cm/s^2 (a factor of 9.8), ln units.
HALF_STEP = np.log(imt.STANDARD_GRAVITY) / 2
#: Standard deviation of ln PGA about `expected_ln_pga`, ln units (0.74 for two years of JMA records).
SCATTER = 0.8
#: Median residuals, ln units: above the first (a factor of 20) the unit is wrong in any region, above the
#: second (a factor of 5) in most regions.
IMPLAUSIBLE, DOUBTFUL = np.log(20), np.log(5)
FEWEST, FEWEST_LOGARITHMS = 3, 10
#: Smallest ratio of the standard deviation of ln amplitude to the expected one: below the first value, the
#: numbers are logarithms; below the second, they are logarithms if their size is implausible, too.
#: Measured amplitudes have 0.9 to 1.1; those of single earthquakes, listed only above a level, 0.43.
LEAST_SPREAD, LEAST_SPREAD_IMPLAUSIBLE = 0.4, 0.7
#: Negative numbers are no single mistakes if there are `FEWEST_NEGATIVE` and at least the share
#: `MOST_NEGATIVE_SHARE` of them, or if there are `MOST_NEGATIVE`.
FEWEST_NEGATIVE, MOST_NEGATIVE, MOST_NEGATIVE_SHARE = 2, 3, 0.05
#: Ln likelihood ratio (normal to log-normal) from which numbers are taken for logarithms.
LIKELIER = 2.5
#: Magnitudes and distances (km) for which amplitudes are compared with the model BSSA14.
MAGNITUDES, DISTANCES_KM = (3.0, 8.5), (1.0, 300.0)


def spelled(unit: str) -> str:
    """Return a unit in the spelling of `IN_G` and `IN_CM_S`; an unknown unit is returned unchanged.

    Parameters
    ----------
    unit : str
        Unit in any of the usual spellings.

    Returns
    -------
    str
        Unit.

    Examples
    --------
    >>> [spelled(unit) for unit in ("cm/s2", "Gal", "M/s²", "% G", "cm/sec", "kine", "furlong")]
    ['cm/s^2', 'gal', 'm/s^2', '%g', 'cm/s', 'cm/s', 'furlong']
    """
    plain = _SQUARE.sub("/s^2", "".join(unit.lower().split()))
    plain = {"cm/sec": "cm/s", "m/sec": "m/s", "kine": "cm/s"}.get(plain, plain)
    return plain if plain in {**IN_G, **IN_CM_S} else unit


def in_g(unit: str) -> float:
    """Return the size of a unit of acceleration in g.

    Parameters
    ----------
    unit : str
        Unit in any spelling that `spelled` knows.

    Returns
    -------
    float
        Size in g.

    Raises
    ------
    UsageError
        The unit is unknown.

    Examples
    --------
    >>> in_g("%g")
    0.01
    """
    known = spelled(unit)
    if known not in IN_G:
        raise UsageError(f"unknown unit {unit!r}: write one of {', '.join(IN_G)}")
    return IN_G[known]


def in_cm_s(unit: str) -> float:
    """Return the size of a unit of velocity in cm/s.

    Parameters
    ----------
    unit : str
        Unit in any spelling that `spelled` knows.

    Returns
    -------
    float
        Size in cm/s.

    Raises
    ------
    UsageError
        The unit is unknown, or one of acceleration.

    Examples
    --------
    >>> in_cm_s("m/s")
    100.0
    """
    known = spelled(unit)
    if known not in IN_CM_S:
        raise UsageError(f"unknown unit of velocity {unit!r}: write one of {', '.join(IN_CM_S)}")
    return IN_CM_S[known]


def hypocentral_km(event_longitude, event_latitude, depth_km, longitude, latitude) -> np.ndarray:
    r"""Return hypocentral distances from epicentres, focal depths and station coordinates, km.

    .. math:: R_{hyp} = \sqrt{R_{epi}^2 + Z^2}

    with the epicentral distance :math:`R_{epi}` and the focal depth :math:`Z`, both in km.

    Parameters
    ----------
    event_longitude, event_latitude : array_like, [n]
        Epicentres, degrees.
    depth_km : array_like, [n]
        Focal depths :math:`Z`, km.
    longitude, latitude : array_like, [n]
        Stations, degrees.

    Returns
    -------
    ndarray, [n]
        Distances, km.
    """
    return np.hypot(distance_km(event_longitude, event_latitude, longitude, latitude), depth_km)


def expected_ln_pga(magnitude, depth_km, distance_km) -> np.ndarray:
    r"""Return the mean ln PGA of crustal earthquakes by Si and Midorikawa (1999), PGA in g.

    .. math:: \log_{10} A = 0.50 M_w + 0.0036 D + 0.60 - \log_{10} X - 0.003 X

    with the peak acceleration A in cm/s^2, the focal depth D in km, and the equivalent hypocentral distance
    X in km, for which the hypocentral distance is used.

    Parameters
    ----------
    magnitude : array_like, [n]
        Moment magnitudes.
    depth_km : array_like, [n]
        Focal depths, km.
    distance_km : array_like, [n]
        Hypocentral distances, km; values below 1 km count as 1 km.

    Returns
    -------
    ndarray, [n]
        Mean of ln PGA, PGA in g.

    References
    ----------
    Si and Midorikawa (1999), J. Struct. Constr. Eng. (AIJ) 523, 63-70; coefficients as in Douglas (2011),
    Ground-motion prediction equations 1964-2010.
    """
    distance_km = np.maximum(distance_km, 1.0)
    log10 = 0.50 * magnitude + 0.0036 * depth_km + 0.60 - np.log10(distance_km) - 0.003 * distance_km
    return np.log(10.0) * log10 + np.log(IN_G["cm/s^2"])


def detect(
    amplitude, expected_ln, what: str, scatter: float = SCATTER, option: str = "--unit"
) -> tuple[str, str]:
    """Detect which of g, m/s^2 and cm/s^2 is the unit of amplitudes; return the unit and the reason.

    The unit with the smallest absolute median residual of ln amplitude is taken, if this residual plus two
    standard errors of the median stays below half the step between units (`HALF_STEP`).

    Parameters
    ----------
    amplitude : array_like, [n]
        Amplitudes as the file has them; NaN where unknown.
    expected_ln : array_like, [n]
        Expected ln amplitude, amplitude in g; NaN where unknown.
    what : str
        Name of the amplitudes, for the message.
    scatter : float
        Standard deviation of ln amplitude about `expected_ln`, ln units.
    option : str
        Command-line option with which the user states the unit, for the message.

    Returns
    -------
    str, str
        Unit, a key of `IN_G`; and a sentence that gives the reason.

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
    """Return the median ln IM of the ground-motion model BSSA14 at a Vs30 of 400 m/s (g; PGV in cm/s).

    The model is computed by pygmm, with unspecified mechanism and region. The given distance is used as the
    Joyner-Boore distance. Values are interpolated between magnitudes, ln distances and ln periods.

    Parameters
    ----------
    im : str
        Intensity measure IM: ``PGA``, ``PGV`` or ``SA(T)``.
    magnitude : array_like, [n]
        Moment magnitudes.
    distance_km : array_like, [n]
        Distances, km; values below 1 km count as 1 km.

    Returns
    -------
    ndarray, [n]
        Median of ln IM, IM in g (PGV in cm/s); NaN outside `MAGNITUDES`, `DISTANCES_KM` and the periods
        of the model.

    References
    ----------
    Boore, Stewart, Seyhan and Atkinson (2014), Earthquake Spectra 30(3), 1057-1085.
    """
    magnitude, distance_km = np.asarray(magnitude, float), np.asarray(distance_km, float)
    near = np.log(np.maximum(distance_km, DISTANCES_KM[0]))
    axes, periods, spectra, ln_pgv = _bssa14()
    at = np.stack(np.broadcast_arrays(magnitude, near), axis=-1)
    if im == "PGV":
        return RegularGridInterpolator(axes, ln_pgv, bounds_error=False)(at)
    period = imt.period(im)
    if period > 0 and not periods[1] <= period <= periods[-1]:
        return np.full(np.broadcast(magnitude, near).shape, np.nan)
    upper = int(np.searchsorted(periods, period))
    values = spectra[..., upper]
    if periods[upper] != period:
        share = np.log(period / periods[upper - 1]) / np.log(periods[upper] / periods[upper - 1])
        values = (1 - share) * spectra[..., upper - 1] + share * values
    return RegularGridInterpolator(axes, values, bounds_error=False)(at)


@functools.cache
def _bssa14() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Return a table of BSSA14: magnitudes and ln km, periods in s (0 is PGA), ln IM (g), ln PGV (cm/s).

    The table of ln IM has the shape [n_magnitudes, n_distances, n_periods], that of ln PGV no periods.
    """
    import pygmm  # half a second

    axes = np.linspace(*MAGNITUDES, 23), np.linspace(*np.log(DISTANCES_KM), 31)
    spectra, velocities = [], []
    for magnitude, near in itertools.product(*axes):
        scenario = {"mag": magnitude, "dist_jb": np.exp(near), "v_s30": 400, "mechanism": "U"}
        model = pygmm.BooreStewartSeyhanAtkinson2014(pygmm.Scenario(**scenario))
        spectra.append(np.log([model.pga, *model.spec_accels]))
        velocities.append(np.log(model.pgv))
    periods = np.array([0.0, *model.periods])
    shape = tuple(map(len, axes))
    return axes, periods, np.reshape(spectra, (*shape, len(periods))), np.reshape(velocities, shape)


def check(
    values,
    expected_ln,
    unit: str,
    what: str,
    *,
    as_stated: bool = False,
    option: str = "--unit",
    beside: str = "",
    limit: float = IMPLAUSIBLE,
) -> tuple[str, bool]:
    """Check a stated unit: compare amplitudes with expected ones, and refuse an impossible unit.

    Parameters
    ----------
    values : array_like, [n]
        Amplitudes as the file has them; NaN where unknown.
    expected_ln : array_like, [n]
        Expected ln amplitude, amplitude in g (velocities in cm/s); NaN where unknown.
    unit : str
        Stated unit, a key of `IN_G` or `IN_CM_S` or another spelling of it.
    what : str
        Name of the amplitudes, for the message.
    as_stated : bool
        Whether the unit is accepted without a check.
    option : str
        Command-line option with which the user states the unit, for the message.
    beside : str
        Name of other amplitudes of the file that the stated unit fits, so that stating another unit for all
        amplitudes would not help; empty if there are none.
    limit : float
        Largest plausible median residual, ln units.

    Returns
    -------
    str
        Sentence with the median ratio of the amplitudes to the expected ones.
    bool
        True if the unit is doubtful: another unit fits much better, which a user should know.

    Raises
    ------
    DataError
        The median ratio of the amplitudes to the expected ones lies outside the limit, or the values look
        like logarithms.
    """
    if as_stated:
        return "not checked (--unit-as-stated)", False
    unit = spelled(unit)
    velocity = unit in IN_CM_S
    sizes = IN_CM_S if velocity else {name: in_g(name) for name in (unit, *OF_LOGARITHMS)}
    values, expected_ln = np.asarray(values, float), np.asarray(expected_ln, float)
    refuse_negative(values, what)
    median, count = _median_residual(values, expected_ln)
    if count < FEWEST:
        return f"not checked: of the {what} {count} can be compared with what is expected", False
    factors = {name: np.exp(median) * size for name, size in sizes.items()}
    off = {name: abs(np.log(factor)) for name, factor in factors.items()}
    fit = min(off, key=off.__getitem__)
    measured = f"the median of {count} {what} taken as {unit} is {factors[unit]:.3g} times what is expected"
    override = "or take them as they are with --unit-as-stated"
    least_spread = LEAST_SPREAD_IMPLAUSIBLE if off[unit] > limit else LEAST_SPREAD
    if logarithm := _tell_logarithm(values, expected_ln, least_spread, sizes):
        raise DataError(
            f"{what} look like logarithms ({logarithm}): {measured}; give the amplitudes, {override}"
        )
    nearer = f"{option} {fit} would fit ({factors[fit]:.3g} times)"
    if beside:
        nearer = f"{fit} would fit ({factors[fit]:.3g} times), unlike {beside}"
    if off[unit] > limit:
        none = "cm/s, m/s fits: is it an acceleration" if velocity else f"{', '.join(IN_G)} fits"
        advice = nearer if off[fit] < limit else f"none of {none}"
        cure = "bring all columns to one unit" if beside else f"say the unit with {option}"
        most = f"{np.exp(limit):.3g}"
        raise DataError(f"{measured} (1/{most} to {most} can be): {advice}; {cure}, {override}")
    doubtful = off[unit] > DOUBTFUL and fit != unit
    return (f"{measured}; {nearer}" if doubtful else measured), doubtful


def refuse_negative(values: np.ndarray, what: str) -> None:
    """Raise an error if so many values are negative that they are logarithms or peaks with a sign.

    Parameters
    ----------
    values : ndarray, [n]
        Values as the file has them; NaN where unknown.
    what : str
        Name of the values, for the message.

    Raises
    ------
    DataError
        At least three values are negative; or two, if these are at least 5 % of the known values.
    """
    known = values[np.isfinite(values)]
    negative = int((known < 0).sum())
    if negative >= min(MOST_NEGATIVE, max(FEWEST_NEGATIVE, MOST_NEGATIVE_SHARE * len(known))):
        raise DataError(
            f"{negative} of {len(known)} {what} are negative, as logarithms are (ln or log10), or peaks "
            "with a sign: give the amplitudes, or leave the negative ones out with --unit-as-stated"
        )


def _tell_logarithm(
    values: np.ndarray, expected_ln: np.ndarray, least_spread: float, sizes: dict[str, float]
) -> str:
    """Return which logarithm the values may be, as ``ln of g``; an empty text if they are amplitudes.

    `sizes` are the units that come into question, with their sizes in that of `expected_ln`.

    Values [n] may be logarithms if they vary too little for amplitudes, or if their residuals about a line
    over `expected_ln` [n] are normally rather than log-normally distributed.
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
        for unit, size in sizes.items():
            median = np.median(factor * values - expected_ln) + np.log(size)
            if 0.6 * spread < np.std(factor * values) < most and abs(median) < IMPLAUSIBLE:
                fits[f"{base} of {unit}"] = abs(median)
    return min(fits, key=fits.__getitem__, default="")


def _ln_likelihood_ratio(values: np.ndarray, expected_ln: np.ndarray) -> float:
    """Return the ln likelihood ratio of normal to log-normal values [n] about a line over `expected_ln`."""
    scatters = []
    for amplitudes in (values, np.log(values)):
        line = np.polynomial.Polynomial.fit(expected_ln, amplitudes, 1)
        scatters.append(np.std(amplitudes - line(expected_ln)))
    normal, log_normal = np.log(np.maximum(scatters, 1e-12))
    return float(len(values) * (log_normal - normal + np.log(values).mean()))


def _median_residual(amplitude, expected_ln) -> tuple[float, int]:
    """Return the median of ln amplitude - `expected_ln` (ln units), and the number of amplitudes used."""
    amplitude, expected_ln = np.asarray(amplitude, float), np.asarray(expected_ln, float)
    known = np.isfinite(amplitude) & (amplitude > 0) & np.isfinite(expected_ln)
    residual = np.log(amplitude[known]) - expected_ln[known]
    return (float(np.median(residual)) if len(residual) else np.nan), len(residual)
