"""Reader of continuous waveforms, for example of MeSO-net, with stations and event catalogue -> records."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import hypocentral_km
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue, selection, units
from tfgmm.readers.waveforms import event_windows, instruments, intensity_measures
from tfgmm.readers.waveforms.obspy_files import ObspyFiles
from tfgmm.readers.waveforms.win32_files import Win32Files

#: Factor by which the amplitudes of a borehole sensor are multiplied. The published correction "adds 0.5 to
#: log PGA" (Sunny, Cotton and Lilienkamp, 2022), where log may be read as the natural logarithm, as JMA
#: intensity I = 2 log10 a + 0.94, or as the decimal logarithm; the fourth choice is no correction.
CORRECTIONS = {"ln": math.exp(0.5), "intensity": 10 ** (0.5 / 2), "log10": 10**0.5, "none": 1.0}
VELOCITIES = ("leave-out", "differentiate")
HYPOCENTRE = ["origin_time", "longitude", "latitude", "depth_km"]


@dataclasses.dataclass(frozen=True)
class WaveformSettings:
    """Settings for measuring intensity measures on continuous waveforms.

    Attributes
    ----------
    network : str
        Name of the network in the dataset.
    ims : tuple of str
        Intensity measures: ``PGA``, ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Combination of the two horizontals.
    correction : {"ln", "intensity", "log10", "none"}
        One of the `CORRECTIONS`, a factor on all intensity measures of sensors below the surface.
    velocity : {"leave-out", "differentiate"}
        Treatment of channels that measure velocity. They are differentiated only where the WIN32 channel
        table, the file or the station table states the unit. Channels that measure acceleration are
        preferred.
    sensor_depth_m : float
        Depth of the sensors, m, where the station table does not state the depth.
    cut : Cut
        Lengths of the windows that are cut out for the events.
    processing : Processing
        Baseline correction, taper and filters.
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
        """Return the canonical names of the intensity measures, each once."""
        return list(dict.fromkeys(map(imt.canonical, self.ims)))

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise UsageError(f"correction {self.correction!r} is unknown: choose {', '.join(CORRECTIONS)}")
        if self.velocity not in VELOCITIES:
            raise UsageError(f"velocity {self.velocity!r} is unknown: choose {' or '.join(VELOCITIES)}")
        if not self.sensor_depth_m >= 0:
            raise UsageError(f"sensor depth is {self.sensor_depth_m:g} m: it must be 0 or more")
        cut_s, baseline_s = self.cut.needed_before_s, self.processing.pre_event_s
        if self.processing.baseline == "pre_event" and baseline_s > cut_s:
            raise UsageError(
                f"the baseline is taken from {baseline_s:g} s before P, but the cut needs only "
                f"{cut_s:g} s: raise needed_before_s or choose the linear baseline"
            )


def read(
    paths: Sequence[Path],
    events: Path,
    limits: selection.Limits,
    *,
    channels: Path | None = None,
    stations: Path | None = None,
    settings: WaveformSettings = WaveformSettings(),
    progress: Callable[[Path], None] | None = None,
) -> Dataset:
    """Cut continuous waveforms into records of the events of a catalogue, and measure the records.

    The files are read one after the other in the order of time, and a record is measured as soon as its
    window can get no more samples. Therefore only one file and the windows that still wait for samples are
    in memory. A window may extend over any number of files.

    Parameters
    ----------
    paths : sequence of Path
        Waveform files of one kind in any order: WIN32 files if `channels` is given, else files that belong
        to `stations`.
    events : Path
        Event catalogue.
    limits : Limits
        Limits of region, magnitude, distance and number of records per event.
    channels : Path, optional
        Channel table of WIN32 files (`win32_files.read_channel_table`).
    stations : Path, optional
        Station table of other files (`obspy_files.read_station_table`).
    settings : WaveformSettings
        Intensity measures, windows and processing.
    progress : callable, optional
        Function that is called with the path of each file once the file has been read.

    Returns
    -------
    Dataset
        Intensity measures in g (PGV in cm/s). The records have the additional column ``duration_s``,
        the length of the waveform that was measured, s.

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
    reader = Win32Files if channels is not None else ObspyFiles
    waveforms = reader(channels or stations, tally, settings.velocity == "differentiate")
    event_table = catalogue.read(events, tally)
    station_table = _describe_stations(waveforms.stations, settings)
    cutter = _make_cutter(event_table, station_table, limits, settings.cut)
    begins = _choose_files(paths, waveforms, cutter, tally)
    cut_records = _cut_out(begins, waveforms, cutter, progress)
    measured = [
        _measure(cut_record, event_table, station_table, settings, tally) for cut_record in cut_records
    ]
    rows = _choose_instrument([row for row in measured if row], settings, tally)
    if rows.empty:
        reasons = (f"{entry['count']} {entry['what']}: {entry['reason']}" for entry in tally.dropped())
        raise DataError(
            f"no record in {len(paths)} files ({'; '.join(reasons)}): check events and stations"
        )
    tally.count("station", len(station_table))
    provenance = _describe_source([*begins, events, channels or stations], settings)
    provenance["choices"]["taken as Mw"] = (
        f"{catalogue.magnitude_types(event_table)}, as {events.name} lists"
    )
    implausible = _note_implausible(rows, event_table, station_table, settings)
    provenance["noted"] = waveforms.noted.dropped() + implausible
    return selection.select(
        selection.RawDataset(event_table, station_table, rows, provenance, tally), limits
    )


def _describe_stations(stations: pd.DataFrame, settings: WaveformSettings) -> pd.DataFrame:
    """Return the stations with the additional columns network, sensor depth (m) and correction factor."""
    depth = stations["sensor_depth_m"].astype(float).fillna(settings.sensor_depth_m)
    return stations.assign(
        network=settings.network,
        elevation_m=stations["elevation_m"].astype(float),
        sensor_depth_m=depth,
        vs30_m_s=np.nan,
        correction=np.where(depth > 0, CORRECTIONS[settings.correction], 1.0),
    )


def _make_cutter(
    events: pd.DataFrame,
    stations: pd.DataFrame,
    limits: selection.Limits,
    cut: event_windows.Cut,
) -> event_windows.Cutter:
    """Return a cutter with windows for the events and stations within the limits.

    Events and stations outside the limits are counted later, by `selection`.
    """
    unknown = events[[*HYPOCENTRE, "magnitude"]].isna().any(axis=1)
    single = ~unknown & ~events.duplicated([*HYPOCENTRE, "magnitude"])
    inside = limits.inside(stations)
    windows = event_windows.windows(
        events.where(single), stations.where(inside), limits.max_distance_km, limits.min_magnitude, cut
    )
    return event_windows.Cutter(windows, stations["station_id"])


def _choose_files(
    paths: Sequence[Path], waveforms: Win32Files | ObspyFiles, cutter: event_windows.Cutter, tally: Tally
) -> dict[Path, float]:
    """Return the files that overlap a window, in order of time, with their start times, s since 1970."""
    begins, seen = {}, set()
    for path in paths:
        begin, end = waveforms.span(path)
        if not cutter.wanted(begin, end):
            tally.drop("file", "no event in its time", [path.name])
        elif (content := files.sha256(path)) in seen:
            tally.drop("file", "given twice", [path.name])
        else:
            begins[path] = begin
            seen.add(content)
    tally.count("file", len(paths))
    begins = dict(sorted(begins.items(), key=lambda item: item[1]))
    waveforms.choose_channels(list(begins))
    return begins


def _cut_out(
    begins: dict[Path, float],
    waveforms: Win32Files | ObspyFiles,
    cutter: event_windows.Cutter,
    progress: Callable[[Path], None] | None,
) -> Iterator[event_windows.CutRecord]:
    """Read the waveform files in turn; yield each record as soon as its window can get no more samples.

    Parameters
    ----------
    begins : dict of Path to float
        Start times of the files, s since 1970, in the order of time.
    waveforms : Win32Files or ObspyFiles
        Reader of the files.
    cutter : Cutter
        Windows of the events at the stations.
    progress : callable, optional
        Called with each file once it has been read.

    Yields
    ------
    CutRecord
        A record, or the reason why the window has no usable record.
    """
    for path, begin in begins.items():
        yield from cutter.cut_finished(begin, waveforms.has_more)
        for piece in waveforms.pieces(path, cutter.wanted):
            cutter.add(piece)
        if progress:
            progress(path)
    yield from cutter.cut_finished()


def _measure(
    cut_record: event_windows.CutRecord,
    events: pd.DataFrame,
    stations: pd.DataFrame,
    settings: WaveformSettings,
    tally: Tally,
) -> dict | None:
    """Return the row of a record with intensity measures, or None for a record that cannot be used.

    The reason why a record cannot be used is counted in `tally`.
    """
    names = events["event_id"].iat[cut_record.event], stations["station_id"].iat[cut_record.station]
    tally.count("record", 1)
    motion, dt, reason = cut_record.motion, 1 / cut_record.rate, cut_record.reason
    if not reason:
        try:
            if cut_record.instrument.quantity == instruments.VELOCITY:
                motion = intensity_measures.differentiate(motion, dt, settings.processing.taper_s)
            amplitudes = intensity_measures.intensity_measures(
                motion, dt, settings.measures, settings.component, settings.processing
            )
        except DataError as error:
            reason = str(error).partition(":")[0]
    if reason:
        tally.drop("record", reason, [" ".join(names)])
        return None
    factor = stations["correction"].iat[cut_record.station]
    return {
        "event_id": names[0],
        "station_id": names[1],
        **{name: amplitudes[name] * factor for name in settings.measures},
        "component": settings.component,
        "duration_s": motion.shape[1] / cut_record.rate,
        "preference": (cut_record.instrument.quantity, -round(cut_record.rate), cut_record.instrument),
    }


def _choose_instrument(rows: list[dict], settings: WaveformSettings, tally: Tally) -> pd.DataFrame:
    """Return one record per event and station, of the preferred instrument; count the others as dropped.

    Acceleration is preferred to velocity, then the higher sampling rate, then the alphabetically first
    location code and channel codes. The choice does not depend on the names of the files.
    """
    rows = sorted(rows, key=lambda row: (row["event_id"], row["station_id"], row["preference"]))
    columns = ["event_id", "station_id", *settings.measures, "component", "duration_s"]
    table = pd.DataFrame(rows, columns=columns)
    not_preferred = table.duplicated(["event_id", "station_id"])
    return selection.drop(
        table, not_preferred, "record", "another instrument of its station is taken", tally
    )


def _note_implausible(
    rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame, settings: WaveformSettings
) -> list[dict]:
    """Return notes on stations whose unit or gain must be wrong.

    The median residual of such a station from the model BSSA14 is larger than a factor of 20.
    """
    counts = rows["station_id"].value_counts()
    records = rows[rows["station_id"].isin(counts.index[counts >= units.FEWEST])]
    if records.empty:
        return []
    name = settings.measures[0]
    distance = hypocentral_km(records, events, stations)
    magnitude = events.set_index("event_id")["magnitude"].loc[records["event_id"]].to_numpy(float)
    residual = np.log(records[name]) - units.bssa14_ln(name, magnitude, distance)
    median = residual.groupby(records["station_id"]).median()
    factors = np.exp(median[median.abs() > units.IMPLAUSIBLE])
    reason = "amplitudes a factor of 20 or more off what is expected: is its unit or gain right?"
    texts = [f"{station}: {factor:.3g} times {name}" for station, factor in factors.items()]
    return selection.note("station", reason, texts)


def _describe_source(paths: Sequence[Path], settings: WaveformSettings) -> dict:
    """Return the description of sources and settings for the provenance of the dataset."""
    return {
        "name": f"continuous waveforms of {settings.network}",
        "component": settings.component,
        "unit": {name: imt.unit(name) for name in settings.measures},
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
