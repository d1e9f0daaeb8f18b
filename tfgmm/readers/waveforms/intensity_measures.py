"""PGA, PGV and pseudo-spectral accelerations of the two horizontal components of an accelerogram."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import fft, integrate, signal

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import COMPONENTS

DAMPING = 0.05
#: Largest sample, offset included, that can be ground motion, m/s^2 (or m/s).
MAX_M_S2 = 1e4
BASELINES = ("pre_event", "linear")
#: Samples per period of an oscillator: with fewer than two the record does not contain the period; with
#: ten or more the largest sample of a sine is within 5 % of the peak of the sine.
FEWEST_PER_PERIOD, ENOUGH_PER_PERIOD = 2, 10
#: A record is clipped where at least `CLIPPED_RUN` samples in a row have an extreme value, and the steps
#: before and after these samples are larger than `CLIPPED_JUMP` times the smallest step of the record.
CLIPPED_RUN, CLIPPED_JUMP = 5, 10
ROTATIONS = np.radians(np.arange(180))


@dataclasses.dataclass(frozen=True)
class Processing:
    """Baseline correction, taper and filters of an accelerogram.

    Attributes
    ----------
    baseline : {"pre_event", "linear"}
        Baseline that is subtracted: the mean of the first `pre_event_s` seconds, or a straight line.
    pre_event_s : float
        Length of the part of the record before the first arrival, s.
    taper_s : float
        Length of the cosine taper at each end of the record, s; 0 for none.
    highpass_hz, lowpass_hz : float or None
        Corner frequencies of the Butterworth filters, Hz; None for no filter.
    order : int
        Order of each filter in one pass.
    zero_phase : bool
        True to filter forward and backward, which doubles the order; False to filter forward only.
    """

    baseline: str = "pre_event"
    pre_event_s: float = 10.0
    taper_s: float = 2.0
    highpass_hz: float | None = 0.1
    lowpass_hz: float | None = None
    order: int = 4
    zero_phase: bool = True

    def __post_init__(self):
        if self.baseline not in BASELINES:
            raise UsageError(f"baseline {self.baseline!r} is unknown: choose {' or '.join(BASELINES)}")
        if not (self.pre_event_s > 0 and self.taper_s >= 0 and 1 <= self.order <= 10):
            raise UsageError("processing needs pre_event_s above 0, taper_s of 0 or more, order 1 to 10")
        low, high = self.highpass_hz, self.lowpass_hz
        if any(corner is not None and not corner > 0 for corner in (low, high)):
            raise UsageError(f"filter corners must be above 0 Hz: highpass {low}, lowpass {high}")
        if low is not None and high is not None and low >= high:
            raise UsageError(f"highpass {low:g} Hz must be below lowpass {high:g} Hz")

    def as_choices(self) -> dict:
        """Return the settings and the fixed rules of the processing, for the provenance of a dataset."""
        return dataclasses.asdict(self) | {
            "filter": "Butterworth, on the record padded with zeros",
            "damping": DAMPING,
            "PGV": "processed acceleration integrated by the trapezoidal rule, padding included",
            "SA": "pseudo-spectral acceleration of an oscillator under linear change between samples",
        }


def intensity_measures(
    acceleration: np.ndarray,
    dt: float,
    ims: Sequence[str],
    component: str = "geometric_mean",
    processing: Processing = Processing(),
) -> dict[str, float]:
    """Return PGA and spectral accelerations (g) and PGV (cm/s) of two horizontal components.

    SA(T) is the pseudo-spectral acceleration, ``(2 pi / T)^2`` times the largest relative displacement of
    an oscillator with period T and 5 % damping. PGV is the peak of the processed acceleration, integrated
    by the trapezoidal rule from the start of the padding; the high-pass filter, which takes away the
    baseline and what would grow under integration, is therefore needed.

    ``geometric_mean`` is the geometric mean of the peaks of both horizontals; ``rotd50`` is the median over
    the directions 0, 1, ... 179 degrees of the peak in that direction (Boore, 2010).

    Parameters
    ----------
    acceleration : ndarray, [2, n]
        Both horizontals as recorded, m/s^2.
    dt : float
        Sampling interval, s.
    ims : sequence of str
        Intensity measures: ``PGA``, ``PGV``, ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Combination of the two horizontals.
    processing : Processing
        Baseline correction, taper and filters.

    Returns
    -------
    dict of str to float
        Amplitude in g (PGV in cm/s) by canonical name of the intensity measure.

    Raises
    ------
    UsageError
        `component` or an intensity measure is unknown, or PGV is asked for without a high-pass filter.
    DataError
        The record is not finite, too short, sampled too coarsely, without motion or clipped.
    """
    if component not in COMPONENTS:
        raise UsageError(f"component {component!r} is unknown: choose {' or '.join(COMPONENTS)}")
    names = list(dict.fromkeys(map(imt.canonical, ims)))
    if "PGV" in names and processing.highpass_hz is None:
        raise UsageError("PGV needs a high-pass filter, without which the integral drifts: give its corner")
    periods = {name: imt.period(name) for name in names if name != "PGV"}
    acceleration = np.asarray(acceleration, dtype=float)
    _refuse_unusable(acceleration, dt, periods, processing)
    motion = process(acceleration, dt, processing) / imt.STANDARD_GRAVITY

    def response(name: str) -> np.ndarray:
        """Return the motion of which an intensity measure is the peak, [2, m], g or cm/s."""
        if name == "PGV":
            cm_s = 100 * imt.STANDARD_GRAVITY * motion
            return integrate.cumulative_trapezoid(cm_s, dx=dt, axis=1, initial=0)
        return oscillator(motion, dt, periods[name]) if periods[name] else motion

    return {name: _find_peak(response(name), component) for name in names}


def differentiate(velocity: np.ndarray, dt: float, taper_s: float) -> np.ndarray:
    """Return the acceleration of a pair of velocity components, differentiated in the frequency domain.

    Before, a straight line is subtracted and `taper_s` seconds at each end are tapered, so that the ends
    cause no step. The response of the instrument is not removed.

    Parameters
    ----------
    velocity : ndarray, [2, n]
        Both horizontals as recorded, m/s.
    dt : float
        Sampling interval, s.
    taper_s : float
        Length of the cosine taper at each end, s.

    Returns
    -------
    ndarray, [2, n]
        Acceleration, m/s^2.

    Raises
    ------
    DataError
        The record is not finite, without motion or clipped.
    """
    _refuse_samples(velocity, "m/s")
    n = velocity.shape[1]
    motion = signal.detrend(velocity, type="linear")
    motion *= signal.windows.tukey(n, min(1.0, 2 * taper_s / (n * dt)))
    length = fft.next_fast_len(n, real=True)
    frequency = fft.rfftfreq(length, dt)
    return fft.irfft(2j * np.pi * frequency * fft.rfft(motion, length), length)[:, :n]


def process(acceleration: np.ndarray, dt: float, processing: Processing) -> np.ndarray:
    """Return an accelerogram after baseline correction, taper, zero padding and filters.

    The padding, ``1.5 order / highpass_hz`` seconds of zeros at each end, takes up the transients of the
    filter and is not removed afterwards (Boore, 2005).

    Parameters
    ----------
    acceleration : ndarray, [2, n]
        Both horizontals as recorded, in any unit.
    dt : float
        Sampling interval, s.
    processing : Processing
        Baseline correction, taper and filters.

    Returns
    -------
    ndarray, [2, n + padding]
        Processed acceleration in the unit of `acceleration`.
    """
    if processing.baseline == "linear":
        motion = signal.detrend(acceleration, type="linear")
    else:
        before = max(1, round(processing.pre_event_s / dt))
        motion = acceleration - acceleration[:, :before].mean(axis=1, keepdims=True)
    n = motion.shape[1]
    motion = motion * signal.windows.tukey(n, min(1.0, 2 * processing.taper_s / (n * dt)))
    if processing.highpass_hz is not None:
        padding = round(1.5 * processing.order / (processing.highpass_hz * dt))
        motion = np.pad(motion, ((0, 0), (padding, padding)))
    for kind, corner in (("highpass", processing.highpass_hz), ("lowpass", processing.lowpass_hz)):
        if corner is not None:
            sections = signal.butter(processing.order, corner, kind, fs=1 / dt, output="sos")
            motion = signal.sosfilt(sections, motion)
            if processing.zero_phase:
                motion = signal.sosfilt(sections, motion[:, ::-1])[:, ::-1]
    return motion


def oscillator(motion: np.ndarray, dt: float, period: float, damping: float = DAMPING) -> np.ndarray:
    """Return the pseudo-acceleration ``w^2 u`` of an oscillator with ``u'' + 2 h w u' + w^2 u = -motion``.

    The solution is exact for a motion that changes linearly between samples (Nigam and Jennings, 1969).
    A motion with fewer than ten samples per period is interpolated first.

    Parameters
    ----------
    motion : ndarray, [2, n]
        Ground acceleration of both horizontals, in any unit.
    dt : float
        Sampling interval, s.
    period : float
        Undamped period ``2 pi / w``, s.
    damping : float
        Ratio `h` of the damping to the critical damping.

    Returns
    -------
    ndarray, [2, m]
        Pseudo-acceleration in the unit of `motion`; m is n, or a multiple of n if the motion is
        interpolated.
    """
    factor = int(np.ceil(ENOUGH_PER_PERIOD * dt / period))
    if factor > 1:
        motion = signal.resample_poly(motion, factor, 1, axis=1)
    w = 2 * np.pi / period
    system = ([-(w**2)], [1, 2 * damping * w, w**2])
    numerator, denominator, _ = signal.cont2discrete(system, dt / factor, method="foh")
    return signal.lfilter(numerator.ravel(), denominator, motion)


def _find_peak(motion: np.ndarray, component: str) -> float:
    """Return the peak of two horizontals [2, n], geometric mean or RotD50, in the unit of `motion`."""
    if component == "geometric_mean":
        return float(np.sqrt(np.prod(np.abs(motion).max(axis=1))))
    first, second = motion
    # One direction at a time: all at once would need the memory of 180 records.
    return float(np.median([np.abs(np.cos(a) * first + np.sin(a) * second).max() for a in ROTATIONS]))


def _refuse_unusable(acceleration: np.ndarray, dt: float, periods: dict, processing: Processing) -> None:
    """Raise `DataError` for a record from which the intensity measures cannot be computed."""
    if acceleration.ndim != 2 or len(acceleration) != 2:
        raise DataError(f"accelerogram has shape {acceleration.shape}, expected two horizontals [2, n]")
    if not (np.isfinite(dt) and dt > 0):
        raise DataError(f"sampling interval is {dt} s, expected a positive number")
    _refuse_sampling(acceleration.shape[1], dt, periods, processing)
    _refuse_samples(acceleration, "m/s^2")


def _refuse_samples(pair: np.ndarray, unit: str) -> None:
    """Raise `DataError` for horizontals that are not finite, too large, flat or clipped."""
    for number, motion in enumerate(pair, 1):
        good = np.abs(motion) < MAX_M_S2  # False for NaN
        if not good.all():
            sample = int(np.argmin(good))
            raise DataError(
                f"horizontal {number}, sample {sample + 1} is {motion[sample]:g} {unit}, expected a number "
                f"within {MAX_M_S2:g}"
            )
        if np.ptp(motion) == 0:
            raise DataError(f"horizontal {number} is flat: all samples are {motion[0]:g} {unit}")
        if _is_clipped(motion):
            raise DataError(f"horizontal {number} looks clipped: an extreme value is a plateau")


def _refuse_sampling(n: int, dt: float, periods: dict, processing: Processing) -> None:
    """Raise `DataError` for a record that is too short or too coarse for the processing and the periods."""
    corners = [corner for corner in (processing.highpass_hz, processing.lowpass_hz) if corner is not None]
    needed = max(
        2 * processing.taper_s,
        processing.pre_event_s if processing.baseline == "pre_event" else 0,
        1 / processing.highpass_hz if processing.highpass_hz else 0,
    )
    if n < 2 or n * dt < needed:
        raise DataError(f"record is too short: {n * dt:g} s, the processing needs {needed:g} s")
    if any(corner * dt >= 0.5 for corner in corners):
        raise DataError(
            f"record is sampled at {1 / dt:g} Hz: the filter corner {max(corners):g} Hz is too high"
        )
    for name, period in periods.items():
        if 0 < period < FEWEST_PER_PERIOD * dt:
            raise DataError(f"record is sampled at {1 / dt:g} Hz, too coarse for {name}")


def _is_clipped(motion: np.ndarray) -> bool:
    """Return True if a component [n] has a plateau with steep sides at its largest or smallest value.

    A slow wave in whole counts has plateaus too, but the steps to and from such plateaus are a few counts.
    """
    steps = np.abs(np.diff(motion))
    jump = CLIPPED_JUMP * steps[steps > 0].min()
    deviation = motion - np.median(motion)
    largest = np.abs(deviation).max()
    for extreme in (deviation.max(), deviation.min()):
        if abs(extreme) >= largest / 2:  # the rest level of a one-sided disturbance is no clipping
            edges = np.flatnonzero(np.diff(deviation == extreme, prepend=False, append=False))
            for first, end in edges.reshape(-1, 2):
                inside = first > 0 and end < len(motion)
                if end - first >= CLIPPED_RUN and inside and min(steps[[first - 1, end - 1]]) > jump:
                    return True
    return False
