"""Continuous waveforms of one earthquake, and the catalogue and settings to read them with."""

import dataclasses
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest

from tfgmm.readers.waveforms import intensity_measures, mesonet
from tfgmm.readers.waveforms.event_windows import Cut

RATE = 100
#: Seconds of data before the origin.
BEFORE = 20
ORIGIN = pd.Timestamp("2018-01-05T02:02:30Z")
CATALOGUE = f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
LIGHT = intensity_measures.Processing(baseline="linear", taper_s=0.1, highpass_hz=None)
CUT = Cut(before_s=12, after_s=30)
SETTINGS = mesonet.WaveformSettings(ims=("PGA",), correction="none", processing=LIGHT, cut=CUT)
DIFFERENTIATE = dataclasses.replace(SETTINGS, velocity="differentiate")
VELOCITY = ("channel", "measures velocity, no acceleration")
OTHER = ("record", "another instrument of its station is taken")


def counts(peak: float, seed: int = 0, rate: float = RATE) -> np.ndarray:
    """Return counts of two horizontals: a burst of 2 Hz that swings to `peak`, 15 s after the origin."""
    time = np.arange(80 * round(rate)) / rate - BEFORE
    burst = np.exp(-(((time - 15) / 3) ** 2)) * np.cos(2 * np.pi * 2 * (time - 15))
    noise = np.random.default_rng(seed).normal(0, peak / 1e5, (2, len(time)))
    return np.round(peak * burst + noise).astype(np.int32)


def stream(name: str, pair: np.ndarray, channels, rate: float = RATE) -> obspy.Stream:
    network, station, location = name.split(".")
    head = {
        "network": network,
        "station": station,
        "location": location,
        "starttime": obspy.UTCDateTime(ORIGIN.timestamp() - BEFORE),
        "sampling_rate": rate,
    }
    return obspy.Stream(
        [
            obspy.Trace(row.copy(), head | {"channel": channel})
            for row, channel in zip(pair, channels, strict=False)
        ]
    )


def write(folder: Path, *streams: obspy.Stream, kind: str = "MSEED") -> list[Path]:
    paths = [folder / f"{i}.{kind.lower()}" for i in range(len(streams))]
    for traces, path in zip(streams, paths, strict=True):
        traces.write(str(path), format=kind)
    return paths


def pga(gal: float, tolerance: float = 0.01):
    return pytest.approx(gal / 980.665, rel=tolerance)
