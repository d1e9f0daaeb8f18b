"""Waveforms -> a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from tfgmm.api.choices import Choices, Files, Progress, limits_of, path_of, paths_of
from tfgmm.api.dataset import Dataset, PathLike


def read_nied(
    files: Files,
    *,
    ims: Sequence[str] = ("PGA",),
    component: str = "geometric_mean",
    sensor: str = "surface",
    baseline: str = "pre_event",
    highpass_hz: float | None = 0.1,
    lowpass_hz: float | None = None,
    catalogue: PathLike | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read K-NET and KiK-net records, ASCII or CSV, as downloaded from NIED.

    Parameters
    ----------
    files : path or paths
        Files, folders of them, and archives ``.tar``, ``.tar.gz``, ``.zip``.
    ims : sequence of str
        ``PGA``, ``SA(T)``.
    component : {"geometric_mean", "rotd50"}
    sensor : {"surface", "borehole"}
        Which sensor of KiK-net.
    baseline : {"pre_event", "linear"}
        Take off the mean before the first arrival, or a straight line.
    highpass_hz, lowpass_hz : float or None
        Corners of the filters; None for none.
    catalogue : path, optional
        CSV file or QuakeML with better magnitudes.
    progress, **choices
        As for `read_jma`.

    Raises
    ------
    UsageError
        A file does not exist, a setting is unknown, or no station lies in the region.
    DataError
        No pair of horizontals can be read, or no record is left.

    Examples
    --------
    >>> data = tfgmm.read_nied("2011.tar", ims=["PGA", "SA(1.0)"])  # doctest: +SKIP
    """
    from tfgmm.readers.waveforms import intensity_measures, nied

    processing = intensity_measures.Processing(
        baseline=baseline, highpass_hz=highpass_hz, lowpass_hz=lowpass_hz
    )
    with limits_of(choices) as limits:
        return Dataset.of(
            nied.read(
                paths_of(files),
                limits,
                ims=ims,
                component=component,
                sensor=sensor,
                processing=processing,
                catalogue=path_of(catalogue),
                progress=progress,
            )
        )


def read_waveforms(
    files: Files,
    catalogue: PathLike,
    *,
    channels: PathLike | None = None,
    stations: PathLike | None = None,
    network: str = "meso",
    ims: Sequence[str] = ("PGA", "SA(1.0)"),
    component: str = "geometric_mean",
    correction: str = "ln",
    velocity: str = "leave-out",
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Dataset:
    """Read continuous waveforms, cut into the events of a catalogue: MeSO-net and others.

    Parameters
    ----------
    files : path or paths
        WIN32 files, or MiniSEED, SAC, GSE files.
    catalogue : path
        Event catalogue, CSV or QuakeML.
    channels : path, optional
        Channel table of WIN32 files.
    stations : path, optional
        Station table (CSV) of other files.
    network : str
        Name that the network gets.
    ims, component
        As for `read_nied`.
    correction : {"ln", "intensity", "log10", "none"}
        Factor from a borehole to the surface: 1.65, 1.78, 3.16, none.
    velocity : {"leave-out", "differentiate"}
        What becomes of channels that measure velocity.
    progress, **choices
        As for `read_jma`.

    Raises
    ------
    UsageError
        A file does not exist, a setting does not fit, or no station lies in the region.
    DataError
        A file is damaged, or no record is left.

    Examples
    --------
    >>> data = tfgmm.read_waveforms("day.mseed", "events.csv", stations="stations.csv")  # doctest: +SKIP
    """
    from tfgmm.readers.waveforms import mesonet

    settings = mesonet.WaveformSettings(
        network=network, ims=tuple(ims), component=component, correction=correction, velocity=velocity
    )
    with limits_of(choices) as limits:
        return Dataset.of(
            mesonet.read(
                paths_of(files),
                Path(catalogue),
                limits,
                channels=path_of(channels),
                stations=path_of(stations),
                settings=settings,
                progress=progress,
            )
        )
