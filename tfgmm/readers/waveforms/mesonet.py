"""Continuous waveforms, their stations and an event catalogue -> records: MeSO-net."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset, hypocentral_km
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue, selection, units
from tfgmm.readers.waveforms import continuous, event_windows, instruments, intensity_measures, obspy_files

#: Factor on what a sensor in a borehole measures, by the base that "adds 0.5 to log PGA" may mean
#: (Sunny, Cotton and Lilienkamp, 2022): natural logarithm; JMA intensity I = 2 log10 a + 0.94;
#: decimal logarithm; no correction.
CORRECTIONS = {"ln": math.exp(0.5), "intensity": 10 ** (0.5 / 2), "log10": 10**0.5, "none": 1.0}
VELOCITIES = ("leave-out", "differentiate")
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
    velocity : {"leave-out", "differentiate"}
        What becomes of channels that measure velocity. They are differentiated only where the unit is told
        (by the WIN32 channel table, the file or the station table), and never preferred.
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
    velocity: str = "leave-out"
    sensor_depth_m: float = 20.0
    cut: event_windows.Cut = dataclasses.field(default_factory=event_windows.Cut)
    processing: intensity_measures.Processing = dataclasses.field(
        default_factory=intensity_measures.Processing
    )

    @property
    def measures(self) -> list[str]:
        """The intensity measures, each once, in their one spelling."""
        return list(dict.fromkeys(map(imt.canonical, self.ims)))

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise UsageError(f"correction {self.correction!r} is unknown: choose {', '.join(CORRECTIONS)}")
        if self.velocity not in VELOCITIES:
            raise UsageError(f"velocity {self.velocity!r} is unknown: choose {' or '.join(VELOCITIES)}")
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
) -> Dataset:
    """Records of the events of a catalogue in continuous waveforms.

    Files are read one after the other in the order of time, and a record is measured as soon as its
    window can get no more samples: what is held in memory is one file and the windows that can. A
    window may span any number of files.

    Parameters
    ----------
    paths : sequence of Path
        Waveform files of one kind, in any order; WIN32 with `channels`, else with `stations`.
    events : Path
        Event catalogue.
    limits : Limits
    channels : Path, optional
        Channel table of WIN32 files (`win32_channels.read`).
    stations : Path, optional
        Station table of files that ObsPy reads (`obspy_files.ObspyFiles`).
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
    tally = Tally()
    reader = continuous.Win32Files if channels is not None else obspy_files.ObspyFiles
    source = reader(channels or stations, tally, settings.velocity == "differentiate")
    table, sites = catalogue.read(events, tally), _sites(source.stations, settings)
    cutter = _cutter(table, sites, limits, settings.cut)
    used = _in_order(paths, source, cutter, tally)
    cuttings = _cuttings(used, source, cutter, progress)
    measured = [_measured(cutting, table, sites, settings, tally) for cutting in cuttings]
    rows = _one_instrument([row for row in measured if row], settings, tally)
    if rows.empty:
        reasons = (f"{entry['count']} {entry['what']}: {entry['reason']}" for entry in tally.dropped())
        raise DataError(
            f"no record in {len(paths)} files ({'; '.join(reasons)}): check events and stations"
        )
    tally.count("station", len(sites))
    provenance = _provenance([*used, events, channels or stations], settings)
    provenance["choices"]["taken as Mw"] = f"{catalogue.magnitude_types(table)}, as {events.name} lists"
    provenance["noted"] = source.noted.dropped() + _implausible(rows, table, sites, settings)
    return selection.select(selection.RawDataset(table, sites, rows, provenance, tally), limits)


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
) -> event_windows.Cutter:
    """Windows for the events and stations within the limits; `selection` counts the others."""
    unknown = events[[*HYPOCENTRE, "magnitude"]].isna().any(axis=1)
    single = ~unknown & ~events.duplicated([*HYPOCENTRE, "magnitude"])
    inside = limits.inside(sites)
    windows = event_windows.windows(
        events.where(single), sites.where(inside), limits.max_distance_km, limits.min_magnitude, cut
    )
    return event_windows.Cutter(windows, sites["station_id"])


def _in_order(
    paths: Sequence[Path], source, cutter: event_windows.Cutter, tally: Tally
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
    used = dict(sorted(begins.items(), key=lambda item: item[1]))
    source.expect(list(used))
    return used


def _cuttings(
    used: dict[Path, float], source, cutter: event_windows.Cutter, progress: Callable | None
) -> Iterator[event_windows.Cutting]:
    """Records as they become complete, while the files are read one after the other."""
    for path, begin in used.items():
        yield from cutter.finished(begin, source.awaited)
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
    tally: Tally,
) -> dict | None:
    """The row of a record, and its instrument; nothing, and the reason tallied, if it cannot be used."""
    names = events["event_id"].iat[cutting.event], sites["station_id"].iat[cutting.station]
    tally.count("record", 1)
    motion, dt, reason = cutting.motion, 1 / cutting.rate, cutting.reason
    if not reason:
        try:
            if cutting.instrument.quantity == instruments.VELOCITY:
                motion = intensity_measures.differentiated(motion, dt, settings.processing.taper_s)
            amplitudes = intensity_measures.intensity_measures(
                motion, dt, settings.measures, settings.component, settings.processing
            )
        except DataError as error:
            reason = str(error).partition(":")[0]
    if reason:
        tally.drop("record", reason, [" ".join(names)])
        return None
    factor = sites["correction"].iat[cutting.station]
    return {
        "event_id": names[0],
        "station_id": names[1],
        **{name: amplitudes[name] * factor for name in settings.measures},
        "component": settings.component,
        "duration_s": motion.shape[1] / cutting.rate,
        "preference": (cutting.instrument.quantity, -round(cutting.rate), cutting.instrument),
    }


def _one_instrument(rows: list[dict], settings: Settings, tally: Tally) -> pd.DataFrame:
    """One record an event and station, of the preferred of its instruments; the others are tallied.

    Acceleration goes before velocity, then the higher sampling rate, then the location code and the
    channel codes in the order of the alphabet: nothing of it depends on names of files.
    """
    rows = sorted(rows, key=lambda row: (row["event_id"], row["station_id"], row["preference"]))
    keys = ["event_id", "station_id", *settings.measures, "component", "duration_s"]
    table = pd.DataFrame(rows, columns=keys)
    again = table.duplicated(["event_id", "station_id"])
    return selection.drop(table, again, "record", "another instrument of its station is taken", tally)


def _implausible(
    rows: pd.DataFrame, events: pd.DataFrame, sites: pd.DataFrame, settings: Settings
) -> list[dict]:
    """Note the stations whose unit or gain must be wrong: median amplitudes a factor of 20 off BSSA14."""
    counts = rows["station_id"].value_counts()
    some = rows[rows["station_id"].isin(counts.index[counts >= units.FEWEST])]
    if some.empty:
        return []
    name = settings.measures[0]
    distance = hypocentral_km(some, events, sites)
    magnitude = events.set_index("event_id")["magnitude"].loc[some["event_id"]].to_numpy(float)
    residual = np.log(some[name]) - units.bssa14_ln(name, magnitude, distance)
    median = residual.groupby(some["station_id"]).median()
    factors = np.exp(median[median.abs() > units.IMPLAUSIBLE])
    reason = "amplitudes a factor of 20 or more off what is expected: is its unit or gain right?"
    texts = [f"{station}: {factor:.3g} times {name}" for station, factor in factors.items()]
    return selection.note("station", reason, texts)


def _provenance(paths: Sequence[Path], settings: Settings) -> dict:
    return {
        "name": f"continuous waveforms of {settings.network}",
        "component": settings.component,
        "unit": dict.fromkeys(settings.measures, "g"),
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": {
            "velocity": settings.velocity,
            "instrument": "one a station: acceleration before velocity, higher sampling rate, lower codes",
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
