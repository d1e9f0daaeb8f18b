"""Accelerograms -> PGA and response spectra of the two horizontals."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import fft, signal

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import COMPONENTS

DAMPING = 0.05
#: Largest sample, offset included, that is taken for ground motion.
MAX_M_S2 = 1e4
BASELINES = ("pre_event", "linear")
#: Samples per period: below two the period is not in the record, and from ten on the largest
#: sample of a sine is within 5 % of its peak.
FEWEST_PER_PERIOD, ENOUGH_PER_PERIOD = 2, 10
#: A record is clipped where this many samples in a row have an extreme value, and the steps to and from
#: them are more than so many of its smallest steps.
CLIPPED_RUN, CLIPPED_JUMP = 5, 10
ROTATIONS = np.radians(np.arange(180))


@dataclasses.dataclass(frozen=True)
class Processing:
    """Baseline correction, taper and filters of an accelerogram.

    Attributes
    ----------
    baseline : {"pre_event", "linear"}
        Subtract the mean of the first `pre_event_s` seconds, or a straight line.
    pre_event_s : float
        Seconds before the first arrival.
    taper_s : float
        Length of the cosine taper at each end; 0 for none.
    highpass_hz, lowpass_hz : float or None
        Corners of the Butterworth filters; None for none.
    order : int
        Order of each filter in one pass.
    zero_phase : bool
        Filter forward and backward, which doubles the order, else forward only.
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
        """Return the settings and the fixed rules, for the provenance of a dataset."""
        return dataclasses.asdict(self) | {
            "filter": "Butterworth, on the record padded with zeros",
            "damping": DAMPING,
            "SA": "pseudo-spectral acceleration of an oscillator under linear change between samples",
        }


def intensity_measures(
    acceleration: np.ndarray,
    dt: float,
    ims: Sequence[str],
    component: str = "geometric_mean",
    processing: Processing = Processing(),
) -> dict[str, float]:
    """Compute PGA and spectral accelerations of a pair of horizontals.

    SA(T) is the pseudo-spectral acceleration, ``(2 pi / T)^2`` times the largest displacement, at 5 %
    damping. ``geometric_mean`` is the geometric mean of the peaks of both horizontals; ``rotd50`` is the
    median over the directions 0, 1, ... 179 degrees of the peak in that direction (Boore, 2010).

    Parameters
    ----------
    acceleration : ndarray, [2, n]
        As recorded, in m/s^2.
    dt : float
        Sampling interval in s.
    ims : sequence of str
        ``PGA``, ``SA(T)``.
    component : {"geometric_mean", "rotd50"}
    processing : Processing

    Returns
    -------
    dict
        Amplitude in g by canonical name of the intensity measure.

    Raises
    ------
    UsageError
        `component` or an intensity measure is unknown.
    DataError
        The record is not finite, too short, sampled too coarsely, without motion or clipped.
    """
    if component not in COMPONENTS:
        raise UsageError(f"component {component!r} is unknown: choose {' or '.join(COMPONENTS)}")
    periods = {imt.canonical(name): imt.period(name) for name in ims}
    acceleration = np.asarray(acceleration, dtype=float)
    _refuse_unusable(acceleration, dt, periods, processing)
    motion = process(acceleration, dt, processing) / imt.STANDARD_GRAVITY
    return {
        name: _find_peak(oscillator(motion, dt, period) if period else motion, component)
        for name, period in periods.items()
    }


def differentiate(velocity: np.ndarray, dt: float, taper_s: float) -> np.ndarray:
    """Differentiate a pair of velocities to acceleration, by their Fourier transform.

    A straight line is subtracted and `taper_s` seconds at each end are tapered before, so that the ends
    give no step. The response of the instrument is not removed.

    Parameters
    ----------
    velocity : ndarray, [2, n]
        As recorded, in m/s.
    dt : float
        Sampling interval in s.
    taper_s : float
        Length of the cosine taper at each end.

    Returns
    -------
    ndarray, [2, n]
        In m/s^2.

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
    """Subtract the baseline of an accelerogram, taper it, pad it with zeros and filter it.

    The padding, ``1.5 order / highpass_hz`` seconds at each end, holds the transients of the
    filter and stays (Boore, 2005).

    Parameters
    ----------
    acceleration : ndarray, [2, n]
    dt : float
        Sampling interval in s.
    processing : Processing

    Returns
    -------
    ndarray, [2, n + padding]
        In the unit of `acceleration`.
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
    """Compute the pseudo-acceleration ``w^2 u`` of an oscillator, ``u'' + 2 h w u' + w^2 u = -motion``.

    The solution is exact for a motion that changes linearly between samples (Nigam and Jennings, 1969).
    Samples are interpolated where a period has fewer than ten.

    Parameters
    ----------
    motion : ndarray, [2, n]
        Acceleration.
    dt : float
        Sampling interval in s.
    period : float
        Undamped period ``2 pi / w`` in s.
    damping : float
        Share `h` of the critical damping.

    Returns
    -------
    ndarray, [2, m]
        In the unit of `motion`; m is n, or a multiple of it where samples are interpolated.
    """
    factor = int(np.ceil(ENOUGH_PER_PERIOD * dt / period))
    if factor > 1:
        motion = signal.resample_poly(motion, factor, 1, axis=1)
    w = 2 * np.pi / period
    system = ([-(w**2)], [1, 2 * damping * w, w**2])
    numerator, denominator, _ = signal.cont2discrete(system, dt / factor, method="foh")
    return signal.lfilter(numerator.ravel(), denominator, motion)


def _find_peak(motion: np.ndarray, component: str) -> float:
    """Return the largest absolute value of both horizontals combined."""
    if component == "geometric_mean":
        return float(np.sqrt(np.prod(np.abs(motion).max(axis=1))))
    first, second = motion
    # One direction at a time: all at once would need the memory of 180 records.
    return float(np.median([np.abs(np.cos(a) * first + np.sin(a) * second).max() for a in ROTATIONS]))


def _refuse_unusable(acceleration: np.ndarray, dt: float, periods: dict, processing: Processing) -> None:
    """Raise `DataError` for a record that cannot be measured."""
    if acceleration.ndim != 2 or len(acceleration) != 2:
        raise DataError(f"accelerogram has shape {acceleration.shape}, expected two horizontals [2, n]")
    if not (np.isfinite(dt) and dt > 0):
        raise DataError(f"sampling interval is {dt} s, expected a positive number")
    _refuse_sampling(acceleration.shape[1], dt, periods, processing)
    _refuse_samples(acceleration, "m/s^2")


def _refuse_samples(pair: np.ndarray, unit: str) -> None:
    """Raise `DataError` for samples that are not finite, too large for ground motion, flat or clipped."""
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
    """Raise `DataError` for a record that is too short or too coarse for processing and periods."""
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
    """Return True if an extreme value is a plateau with steep sides.

    A slow wave in whole counts has plateaus too, but steps down from them by a few counts.
    """
    steps = np.abs(np.diff(motion))
    jump = CLIPPED_JUMP * steps[steps > 0].min()
    deviation = motion - np.median(motion)
    largest = np.abs(deviation).max()
    for extreme in (deviation.max(), deviation.min()):
        if abs(extreme) >= largest / 2:  # a record at rest, disturbed to one side only, is whole
            edges = np.flatnonzero(np.diff(deviation == extreme, prepend=False, append=False))
            for first, end in edges.reshape(-1, 2):
                inside = first > 0 and end < len(motion)
                if end - first >= CLIPPED_RUN and inside and min(steps[[first - 1, end - 1]]) > jump:
                    return True
    return False
