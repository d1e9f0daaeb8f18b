"""Read waveforms, compute their intensity measures, and return a dataset."""

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
    """Read K-NET and KiK-net records (ASCII or CSV) as downloaded from NIED, and return a dataset.

    Parameters
    ----------
    files : path or paths
        Files, folders of files, and archives ``.tar``, ``.tar.gz``, ``.zip``.
    ims : sequence of str
        Intensity measures to compute, ``PGA`` or ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Horizontal component of the intensity measures.
    sensor : {"surface", "borehole"}
        Sensor of KiK-net stations whose records are read.
    baseline : {"pre_event", "linear"}
        Baseline to subtract: mean before the first arrival, or straight line.
    highpass_hz, lowpass_hz : float or None
        Corner frequencies of the filters, Hz; None for no filter.
    catalogue : path, optional
        CSV or QuakeML catalogue with more reliable magnitudes than the records state.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file does not exist, an option is unknown, or no station lies in the region.
    DataError
        No pair of horizontal components can be read, or no record fits the options.

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
    """Read continuous waveforms (MeSO-net and others), cut out the events of a catalogue, return a dataset.

    Parameters
    ----------
    files : path or paths
        WIN32 files, or MiniSEED, SAC or GSE files.
    catalogue : path
        Event catalogue, CSV or QuakeML.
    channels : path, optional
        Channel table of the WIN32 files.
    stations : path, optional
        Station table (CSV) of MiniSEED, SAC or GSE files.
    network : str
        Name of the network in the dataset.
    ims : sequence of str
        Intensity measures to compute, ``PGA`` or ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Horizontal component of the intensity measures.
    correction : {"ln", "intensity", "log10", "none"}
        Amplification from a borehole sensor to the surface: factor 1.65, 1.78, 3.16, or none.
    velocity : {"leave-out", "differentiate"}
        Treatment of channels that measure velocity.
    progress : callable, optional
        Called with the path of each file after the file has been read.
    **choices
        Options of `Choices`: ``region``, ``min_magnitude``, ...

    Returns
    -------
    Dataset
        Events, stations and records that fit the options.

    Raises
    ------
    UsageError
        A file does not exist, an option does not fit, or no station lies in the region.
    DataError
        A file is damaged, or no record fits the options.

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
