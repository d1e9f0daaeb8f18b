import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.waveforms.intensity_measures import (
    Processing,
    differentiate,
    intensity_measures,
    oscillator,
    process,
)

G = 9.80665
DT = 0.01
TIME = np.arange(0, 60, DT)
#: Nothing but the baseline: what goes in is what is measured.
BARE = Processing(taper_s=0, highpass_hz=None)


def noise(seed: int = 0) -> np.ndarray:
    """Return two horizontals with a quiet beginning and end, m/s^2."""
    samples = np.random.default_rng(seed).normal(size=(2, len(TIME)))
    smooth = np.stack([np.convolve(row, np.hanning(9), "same") for row in samples])
    return smooth * np.exp(-(((TIME - 30) / 5) ** 2))


def sine(hz: float, amplitude: float = 1.0) -> np.ndarray:
    """Return two horizontals that swing together, slowly up and down again."""
    return np.ones((2, 1)) * amplitude * np.sin(2 * np.pi * hz * TIME) * np.hanning(len(TIME)) ** 2


def triangle(peak: float) -> np.ndarray:
    return peak * np.clip(1 - np.abs(TIME - 20), 0, None)


# ---- amplitudes --------------------------------------------------------------------------------


def test_pga_is_the_geometric_mean_of_the_peaks():
    measured = intensity_measures([triangle(2), triangle(-8)], DT, ["pga"], processing=BARE)
    assert measured == {"PGA": pytest.approx(4 / G, rel=1e-12)}


@pytest.mark.parametrize("direction", [1, 20, 45, 100])
def test_rotd50_of_linear_motion_does_not_depend_on_its_direction(direction):
    angle = np.radians(direction)
    motion = np.outer([np.cos(angle), np.sin(angle)], triangle(3))
    measured = intensity_measures(motion, DT, ["PGA"], "rotd50", BARE)
    assert measured["PGA"] == pytest.approx(3 / G * np.cos(np.pi / 4), rel=0.01)


def test_rotd50_of_circular_motion_is_its_radius():
    motion = 1.5 * np.stack([np.cos(2 * np.pi * TIME), np.sin(2 * np.pi * TIME)]) * (TIME > 11)
    assert intensity_measures(motion, DT, ["PGA"], "rotd50", BARE)["PGA"] == pytest.approx(
        1.5 / G, rel=1e-3
    )


def test_pgv_of_a_sine_is_its_acceleration_by_the_angular_frequency():
    measured = intensity_measures(sine(0.8, 2.0), DT, ["PGA", "PGV"])
    assert measured["PGA"] == pytest.approx(2 / G, rel=2e-3)
    assert measured["PGV"] == pytest.approx(100 * 2 / (2 * np.pi * 0.8), rel=2e-3)


def test_pgv_does_not_know_the_baseline():
    still = Processing(pre_event_s=5)
    pgv, moved = (
        intensity_measures(noise() + shift, DT, ["PGV"], processing=still)["PGV"] for shift in (0, 0.7)
    )
    assert moved == pytest.approx(pgv, rel=1e-9)


def test_pgv_needs_a_high_pass_filter():
    with pytest.raises(UsageError, match="PGV needs a high-pass filter"):
        intensity_measures(noise(), DT, ["PGA", "PGV"], processing=BARE)


def test_velocity_that_is_differentiated_has_its_own_peak():
    velocity = sine(0.8, 0.3)
    measured = intensity_measures(differentiate(velocity, DT, 2.0), DT, ["PGV"])
    assert measured["PGV"] == pytest.approx(30, rel=2e-3)


@pytest.mark.parametrize("period", [0.1, 0.35, 1.0, 5.0])
def test_response_solves_the_differential_equation(period):
    ground = noise()[:, 2500:3100]
    ground -= ground[:, :1]
    time, w = np.arange(ground.shape[1]) * DT, 2 * np.pi / period

    def motion(t, state):
        return [state[1], -np.interp(t, time, ground[0]) - 2 * 0.05 * w * state[1] - w**2 * state[0]]

    solution = solve_ivp(motion, time[[0, -1]], [0, 0], t_eval=time, max_step=DT, rtol=1e-8, atol=1e-12)
    response = oscillator(ground, DT, period)[0]
    assert response == pytest.approx(w**2 * solution.y[0], abs=1e-5 * np.abs(response).max())


@pytest.mark.parametrize("period", [0.1, 0.25, 0.5, 2.0])
def test_spectrum_of_a_harmonic(period):
    measured = intensity_measures(sine(2.0), DT, ["PGA", f"SA({period})"])
    ratio = period * 2.0
    amplification = 1 / np.hypot(1 - ratio**2, 2 * 0.05 * ratio)
    assert measured["PGA"] == pytest.approx(1 / G, rel=0.01)
    assert measured[f"SA({period})"] == pytest.approx(amplification / G, rel=0.02)


def test_a_period_of_few_samples_is_interpolated():
    """At 12.5 Hz the samples miss the peaks of an oscillator of 0.025 s, a stiff one."""
    measured = intensity_measures(sine(12.5), DT, ["SA(0.025)"])["SA(0.025)"]
    assert measured == pytest.approx(1 / G / np.hypot(1 - 0.3125**2, 0.03125), rel=0.02)


# ---- processing --------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["pre_event", "linear"])
def test_an_offset_changes_nothing(baseline):
    processing = Processing(baseline=baseline)
    ims = ["PGA", "SA(3.0)"]
    expected = intensity_measures(noise(), DT, ims, processing=processing)
    moved = intensity_measures(noise() + np.array([[0.5], [-20]]), DT, ims, processing=processing)
    assert moved == pytest.approx(expected, rel=1e-9)


def test_pre_event_mean_and_linear_trend():
    drift = 0.01 * TIME
    flat = process(0.01 * noise() + drift, DT, Processing("linear", taper_s=0, highpass_hz=None))
    level = process(noise() + drift, DT, BARE)
    assert np.abs(flat[:, -500:]).max() < 0.01
    assert level[:, -1] == pytest.approx(0.01 * (TIME[-1] - TIME[:1000].mean()))


@pytest.mark.parametrize("zero_phase", [True, False])
def test_filters_take_what_they_should(zero_phase):
    processing = Processing(highpass_hz=0.1, lowpass_hz=20, zero_phase=zero_phase)
    inside = intensity_measures(sine(2.0), DT, ["PGA"], processing=processing)["PGA"]
    disturbed = sine(2.0) + sine(0.02, 3) + sine(45, 0.5)
    assert inside == pytest.approx(1 / G, rel=0.01)
    assert intensity_measures(disturbed, DT, ["PGA"], processing=processing)["PGA"] == pytest.approx(
        inside, rel=0.02
    )
    without = intensity_measures(disturbed, DT, ["PGA"], processing=BARE)["PGA"]
    assert without > 2 * inside


@pytest.mark.parametrize(("zero_phase", "power"), [(True, 2), (False, 1)])
def test_gain_at_the_corner_tells_the_passes(zero_phase, power):
    processing = Processing(highpass_hz=1.0, zero_phase=zero_phase)
    measured = intensity_measures(sine(1.0), DT, ["PGA"], processing=processing)["PGA"]
    assert measured == pytest.approx(0.5 ** (power / 2) / G, rel=0.02)


def test_zero_phase_moves_no_peak():
    both, forward = (
        np.argmax(process(sine(2.0), DT, Processing(highpass_hz=1.0, zero_phase=zero_phase))[0]) - 600
        for zero_phase in (True, False)
    )
    unmoved = np.argmax(sine(2.0)[0])
    assert abs(both - unmoved) <= 1 < abs(forward - unmoved)


def test_taper_ends_at_zero():
    motion = process(noise() + 1, DT, Processing("linear", taper_s=2, highpass_hz=None))
    assert (motion[:, [0, -1]] == 0).all()
    untouched = process(noise() + 1, DT, Processing("linear", taper_s=0, highpass_hz=None))
    assert motion[:, 201:-201] == pytest.approx(untouched[:, 201:-201])


def test_choices_name_every_setting():
    choices = Processing(lowpass_hz=30.0).as_choices()
    assert json.loads(json.dumps(choices)) == choices
    assert choices.items() >= {"baseline": "pre_event", "highpass_hz": 0.1, "lowpass_hz": 30.0}.items()
    assert choices["damping"] == 0.05 and choices["zero_phase"] is True and choices["order"] == 4


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(1e-4, 50), st.sampled_from(["geometric_mean", "rotd50"]))
def test_laws(seed, factor, component):
    motion, ims = noise(seed), ["PGA", "SA(0.5)"]
    first = intensity_measures(motion, DT, ims, component)
    assert intensity_measures(-factor * motion[::-1], DT, ims, component) == pytest.approx(
        {name: factor * value for name, value in first.items()}, rel=1e-6
    )


# ---- what cannot be trusted --------------------------------------------------------------------


def with_value(value: float) -> np.ndarray:
    motion = noise()
    motion[1, 3000] = value
    return motion


@pytest.mark.parametrize(
    ("motion", "dt", "message"),
    [
        (noise()[0], DT, r"shape \(6000,\), expected two"),
        (with_value(np.nan), DT, "horizontal 2, sample 3001 is nan"),
        (with_value(-2e4), DT, "horizontal 2, sample 3001 is -20000 m/s.2, expected a number within 10000"),
        (with_value(np.inf), DT, "horizontal 2, sample 3001 is inf"),
        (noise()[:, :900], DT, "too short: 9 s, the processing needs 10 s"),
        (noise()[:, :0], DT, "too short: 0 s"),
        (noise() * [[1], [0]], DT, "horizontal 2 is flat: all samples are -?0 m"),
        (noise() * [[0], [1]] + 3, DT, "horizontal 1 is flat: all samples are 3 m"),
        (noise(), 0.0, "sampling interval is 0"),
        (noise(), np.nan, "sampling interval is nan"),
        (noise(), 0.2, "sampled at 5 Hz, too coarse for SA.0.3."),
        (noise(), 6.0, "corner 0.1 Hz is too high"),
        (np.clip(sine(2.0), -0.5, 0.5), DT, "horizontal 1 looks clipped"),
        (noise() * [[1], [0]] + np.clip(sine(1.0), -2, 0.7) * [[0], [1]], DT, "horizontal 2 looks clipped"),
    ],
)
def test_bad_records(motion, dt, message):
    with pytest.raises(DataError, match=message):
        intensity_measures(motion, dt, ["SA(0.3)"])


@pytest.mark.parametrize("counts", [20, 500, 100_000])
@pytest.mark.parametrize("hz", [0.2, 2.0])
def test_slow_waves_in_whole_counts_are_not_clipped(counts, hz):
    motion = np.round(counts * sine(hz) + [[10], [-3]]) * 1e-3
    assert intensity_measures(motion, DT, ["PGA"])["PGA"] == pytest.approx(counts * 1e-3 / G, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "spline"}, "'spline' is unknown: choose pre_event or linear"),
        ({"highpass_hz": 0.0}, "above 0 Hz"),
        ({"highpass_hz": 5.0, "lowpass_hz": 1.0}, "highpass 5 Hz must be below lowpass 1 Hz"),
        ({"order": 0}, "order 1 to 10"),
        ({"taper_s": float("nan")}, "taper_s of 0 or more"),
        ({"pre_event_s": 0.0}, "pre_event_s above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UsageError, match=message):
        Processing(**settings)


def test_unknown_names():
    with pytest.raises(UsageError, match="'median' is unknown: choose geometric_mean or rotd50"):
        intensity_measures(noise(), DT, ["PGA"], "median")
    with pytest.raises(UsageError, match="unknown intensity measure 'PGD'"):
        intensity_measures(noise(), DT, ["PGD"])
