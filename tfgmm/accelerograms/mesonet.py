"""Continuous waveforms, their stations and an event catalogue -> records: MeSO-net."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm import files, imt, records
from tfgmm.accelerograms import continuous, event_windows, waveforms
from tfgmm.errors import DataError, UsageError
from tfgmm.sources import catalogue, selection

#: Factor on what a sensor in a borehole measures, by the base that "adds 0.5 to log PGA" may mean
#: (Sunny, Cotton and Lilienkamp, 2022): natural logarithm; JMA intensity I = 2 log10 a + 0.94;
#: decimal logarithm; no correction.
CORRECTIONS = {"ln": math.exp(0.5), "intensity": 10 ** (0.5 / 2), "log10": 10**0.5, "none": 1.0}
HYPOCENTRE = ["origin_time", "longitude", "latitude", "depth_km"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured on the waveforms, and how.

    Attributes
    ----------
    network : str
        Name of the network.
    ims : tuple of str
        ``PGA``, ``SA(T)``.
    component : {"geometric_mean", "rotd50"}
    correction : {"ln", "intensity", "log10", "none"}
        Which of the `CORRECTIONS` every intensity measure of a sensor below the surface gets.
    sensor_depth_m : float
        Depth of sensors for which the station table has none.
    cut : Cut
        The windows of events in the data.
    processing : Processing
        Baseline and filters.
    """

    network: str = "meso"
    ims: tuple[str, ...] = ("PGA", "SA(1.0)")
    component: str = "geometric_mean"
    correction: str = "ln"
    sensor_depth_m: float = 20.0
    cut: event_windows.Cut = dataclasses.field(default_factory=event_windows.Cut)
    processing: waveforms.Processing = dataclasses.field(default_factory=waveforms.Processing)

    @property
    def measures(self) -> list[str]:
        """The intensity measures, each once, in their one spelling."""
        return list(dict.fromkeys(map(imt.canonical, self.ims)))

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise UsageError(f"correction {self.correction!r} is unknown: choose {', '.join(CORRECTIONS)}")
        if not self.sensor_depth_m >= 0:
            raise UsageError(f"sensor depth is {self.sensor_depth_m:g} m: it must be 0 or more")
        there, asked = self.cut.needed_before_s, self.processing.pre_event_s
        if self.processing.baseline == "pre_event" and asked > there:
            raise UsageError(
                f"the baseline is taken from {asked:g} s before P, but the cut needs only {there:g} s: "
                "raise needed_before_s or choose the linear baseline"
            )


def read(
    paths: Sequence[Path],
    events: Path,
    limits: selection.Limits,
    *,
    channels: Path | None = None,
    stations: Path | None = None,
    settings: Settings = Settings(),
    progress: Callable[[Path], None] | None = None,
) -> records.Dataset:
    """Records of the events of a catalogue in continuous waveforms.

    Files are read one after the other in the order of time, and a record is measured as soon as its
    window is complete or the next file begins after it: what is held in memory is one file and the
    windows that are not complete. A window may span any number of files.

    Parameters
    ----------
    paths : sequence of Path
        Waveform files of one kind, in any order; WIN32 with `channels`, else with `stations`.
    events : Path
        Event catalogue.
    limits : Limits
    channels : Path, optional
        Channel table of WIN32 files (`win32.read_channels`).
    stations : Path, optional
        Station table of files that ObsPy reads (`continuous.ObspyFiles`).
    settings : Settings
    progress : callable, optional
        Called with each file once it is done with.

    Returns
    -------
    Dataset
        A record also has ``duration_s``, the length of what was measured on.

    Raises
    ------
    UsageError
        A file does not exist, a setting does not fit, or no station lies in the region.
    DataError
        A file is damaged, or no record is left.
    """
    if (channels is None) == (stations is None):
        raise UsageError("give a channel table, for WIN32 files, or else a station table: one of the two")
    tally = records.Tally()
    if channels is not None:
        source = continuous.Win32Files(channels, tally)
    else:
        source = continuous.ObspyFiles(stations, tally)
    table, sites = catalogue.read(events), _sites(source.stations, settings)
    cutter = _cutter(table, sites, limits, settings.cut, tally)
    used = _in_order(paths, source, cutter, tally)
    cuttings = _cuttings(used, source, cutter, progress)
    measured = [_measured(cutting, table, sites, settings, tally) for cutting in cuttings]
    keys = ["event_id", "station_id", *settings.measures, "component", "duration_s"]
    rows = pd.DataFrame([row for row in measured if row], columns=keys)
    if rows.empty:
        reasons = (f"{entry['count']} {entry['what']}: {entry['reason']}" for entry in tally.dropped())
        raise DataError(
            f"no record in {len(paths)} files ({'; '.join(reasons)}): check events and stations"
        )
    tally.count("event", len(table))
    tally.count("station", len(sites))
    provenance = _provenance([*used, events, channels or stations], settings)
    return selection.select(selection.Found(table, sites, rows, provenance, tally), limits)


def _sites(stations: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    depth = stations["sensor_depth_m"].astype(float).fillna(settings.sensor_depth_m)
    return stations.assign(
        network=settings.network,
        elevation_m=stations["elevation_m"].astype(float),
        sensor_depth_m=depth,
        vs30_m_s=np.nan,
        correction=np.where(depth > 0, CORRECTIONS[settings.correction], 1.0),
    )


def _cutter(
    events: pd.DataFrame,
    sites: pd.DataFrame,
    limits: selection.Limits,
    cut: event_windows.Cut,
    tally: records.Tally,
) -> event_windows.Cutter:
    """Windows for the events and stations within the limits; `selection` counts the others."""
    unknown = events[[*HYPOCENTRE, "magnitude"]].isna().any(axis=1)
    single = ~unknown & ~events.duplicated([*HYPOCENTRE, "magnitude"])
    inside = limits.inside(sites)
    windows = event_windows.windows(
        events.where(single), sites.where(inside), limits.max_distance_km, limits.min_magnitude, cut
    )
    return event_windows.Cutter(windows, sites["station_id"], tally)


def _in_order(
    paths: Sequence[Path], source, cutter: event_windows.Cutter, tally: records.Tally
) -> dict[Path, float]:
    """Files in which an event is, by the time at which they begin, and that time."""
    begins, seen = {}, set()
    for path in paths:
        begin, end = source.span(path)
        if not cutter.wanted(begin, end):
            tally.drop("file", "no event in its time", [path.name])
        elif (content := files.sha256(path)) in seen:
            tally.drop("file", "given twice", [path.name])
        else:
            begins[path] = begin
            seen.add(content)
    tally.count("file", len(paths))
    return dict(sorted(begins.items(), key=lambda item: item[1]))


def _cuttings(
    used: dict[Path, float], source, cutter: event_windows.Cutter, progress: Callable | None
) -> Iterator[event_windows.Cutting]:
    """Records as they become complete, while the files are read one after the other."""
    for path, begin in used.items():
        yield from cutter.finished(until=begin)
        for piece in source.pieces(path, cutter.wanted):
            cutter.add(piece)
        if progress:
            progress(path)
    yield from cutter.finished()


def _measured(
    cutting: event_windows.Cutting,
    events: pd.DataFrame,
    sites: pd.DataFrame,
    settings: Settings,
    tally: records.Tally,
) -> tuple | None:
    """The row of a record; nothing, and the reason tallied, if it cannot be used."""
    names = events["event_id"].iat[cutting.event], sites["station_id"].iat[cutting.station]
    tally.count("record", 1)
    motion, rate, reason = cutting.acceleration, cutting.rate, cutting.reason
    if not reason:
        try:
            found = waveforms.intensity_measures(
                motion, 1 / rate, settings.measures, settings.component, settings.processing
            )
        except DataError as error:
            reason = str(error).partition(":")[0]
    if reason:
        tally.drop("record", reason, [" ".join(names)])
        return None
    factor = sites["correction"].iat[cutting.station]
    corrected = (found[name] * factor for name in settings.measures)
    return *names, *corrected, settings.component, motion.shape[1] / rate


def _provenance(paths: Sequence[Path], settings: Settings) -> dict:
    return {
        "name": f"continuous waveforms of {settings.network}",
        "component": settings.component,
        "unit": dict.fromkeys(settings.measures, "g"),
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": {
            "correction": settings.correction,
            "correction_factor": CORRECTIONS[settings.correction],
            "corrected": "every intensity measure of sensors below the surface",
            "sensor_depth_m": settings.sensor_depth_m,
            "window": dataclasses.asdict(settings.cut),
            "processing": settings.processing.as_choices(),
        },
        "attribution": "Cite the operator of the network; MeSO-net is operated by the National Research "
        "Institute for Earth Science and Disaster Resilience (NIED).",
    }
