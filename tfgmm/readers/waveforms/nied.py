"""K-NET and KiK-net files as downloaded from NIED -> pairs of horizontals -> records."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import distance_km
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue as catalogues
from tfgmm.readers.common import matching, selection
from tfgmm.readers.flatfiles import jma
from tfgmm.readers.waveforms import archive, intensity_measures, nied_format

PROCESSING, TOLERANCE = intensity_measures.Processing(), matching.Tolerance()
SENSORS = ("surface", "borehole")
#: Max. Acc. of a header may differ from the samples by this share, or by so many gal if that is more.
MAX_ACC_SHARE, MAX_ACC_GAL = 0.01, 0.01
#: Epicentres of one origin time within this distance are one event: old headers round to 0.1 degrees.
SAME_EVENT_KM = 15.0
#: A station listed within this distance of its earlier place has not moved.
SAME_STATION_KM = 0.1
#: Number of components that wait for their partners; an archive holds them side by side.
WAITING = 1000
#: Endings of the names of records, which tell a damaged record from any other file.
ENDINGS = tuple(f".{component}{sensor}" for component in ("ew", "ns", "ud") for sensor in ("", "1", "2"))


def read(
    paths: Sequence[Path],
    limits: selection.Limits,
    *,
    ims: Sequence[str] = ("PGA",),
    component: str = "geometric_mean",
    sensor: str = "surface",
    processing: intensity_measures.Processing = PROCESSING,
    catalogue: Path | None = None,
    tolerance: matching.Tolerance = TOLERANCE,
    progress: Callable[[Path], None] | None = None,
) -> Dataset:
    """Read K-NET and KiK-net records, and compute intensity measures from both horizontals.

    Files are read one at a time, whatever their number. Magnitudes are ``0.917 Mj + 0.337`` of the JMA
    magnitude in the header, or those of `catalogue`.

    Parameters
    ----------
    paths : sequence of Path
        Files in the ASCII or the CSV form, folders of them, and ``.tar``, ``.tar.gz`` and ``.zip``
        archives, also nested.
    limits : Limits
    ims : sequence of str
        ``PGA``, ``SA(T)``.
    component : {"geometric_mean", "rotd50"}
    sensor : {"surface", "borehole"}
        Sensor of KiK-net; K-NET has surface sensors only.
    processing : Processing
    catalogue : Path, optional
        Events with better magnitudes, see `tfgmm.readers.common.catalogue`.
    tolerance : Tolerance
        Largest differences between an event and its partner in `catalogue`.
    progress : callable, optional
        Called with each file or archive once it has been read.

    Returns
    -------
    Dataset
        ``network`` is ``knet`` or ``kik``. ``event_id`` is ``nied`` and the origin time (UTC),
        ``station_id`` the code, with ``-borehole`` for a borehole sensor; an event or station with the
        name of another one at another place gets ``-2``.

    Raises
    ------
    UsageError
        A file does not exist, a setting is unknown, or no station lies in the region.
    DataError
        No pair of horizontals can be read, or no record is left.
    """
    if sensor not in SENSORS:
        raise UsageError(f"sensor {sensor!r} is unknown: choose {' or '.join(SENSORS)}")
    names = [imt.canonical(name) for name in ims]
    # The catalogue is read first: a fault in it must not show after hours.
    left_out = Tally()
    catalogue_events = None if catalogue is None else catalogues.read(catalogue, left_out)

    def measure(motion: np.ndarray, dt: float) -> list[float]:
        measured = intensity_measures.intensity_measures(motion, dt, names, component, processing)
        return [measured[name] for name in names]

    pairs = _read_pairs(paths, Pairs(sensor, measure), progress)
    provenance = _describe_source(paths, names, component)
    provenance["choices"] |= {"sensor": sensor, "processing": processing.as_choices()}
    provenance["noted"] = selection.note(
        "component", "Max. Acc. of the header disagrees with the samples", pairs.disagreements
    )
    events = _convert_magnitudes(pairs.events)
    if catalogue_events is not None:
        events, report = catalogues.improve(events, catalogue_events, tolerance)
        report |= {"file": catalogue.name, "tolerance": dataclasses.asdict(tolerance)}
        report |= {"left_out": left_out.dropped()}
        provenance["choices"]["catalogue"] = report
        provenance["sources"].append(archive.describe(catalogue))
    rows = pairs.rows(names).assign(component=component)
    return selection.select(
        selection.RawDataset(events, pairs.stations, rows, provenance, pairs.tally), limits
    )


def _read_pairs(paths: Sequence[Path], pairs: "Pairs", progress: Callable[[Path], None] | None) -> "Pairs":
    """Give all files to `pairs`, and return it."""
    for file in [file for path in paths for file in archive.files_in(path)]:
        for member in archive.members(file):
            pairs.add(member)
        if progress:
            progress(file)
    pairs.end()
    return pairs


def _convert_magnitudes(events: pd.DataFrame) -> pd.DataFrame:
    """Convert the JMA magnitudes of the headers to moment magnitudes."""
    slope, intercept = jma.MW_FROM_MJ
    return events.assign(
        magnitude=slope * events["magnitude"] + intercept, magnitude_source="JMA converted"
    )


def _describe_source(paths: Sequence[Path], names: Sequence[str], component: str) -> dict:
    """Return the description of sources and choices that goes into the dataset."""
    slope, intercept = jma.MW_FROM_MJ
    return {
        "name": "K-NET and KiK-net strong-motion records",
        "component": component,
        "unit": dict.fromkeys(names, "g"),
        "sources": [archive.describe(path) for path in paths],
        "choices": {
            "magnitude": f"of the catalogue, else {slope} Mj + {intercept} of the header's JMA magnitude",
            "events": f"headers of one origin time within {SAME_EVENT_KM:g} km are one event",
            "Max. Acc.": f"may differ by {MAX_ACC_SHARE:.0%} or {MAX_ACC_GAL:g} gal",
            "vertical components": "not read",
        },
        "truncation": "Stations record when they are triggered: weak motion far from an event is missing.",
        "attribution": "Made from strong-motion records of K-NET and KiK-net, National Research Institute "
        "for Earth Science and Disaster Resilience (NIED), Japan, doi 10.17598/NIED.0004.",
    }


class UniqueNames:
    """Gives unique names to events or stations: the second place of a name is ``name-2``.

    Parameters
    ----------
    near_km : float
        Places of one name within this distance are the same.
    """

    def __init__(self, near_km: float):
        self._near_km = near_km
        self._listed: dict[str, list[tuple]] = {}
        self._names: dict[tuple, str] = {}

    def name(self, name: str, row: tuple) -> str:
        """Return the unique name for `row`, which begins with longitude and latitude."""
        if (name, row) not in self._names:
            self._names[name, row] = self._find_or_add(name, row)
        return self._names[name, row]

    def _find_or_add(self, name: str, row: tuple) -> str:
        """Return the unique name of a place near `row`, else a new one."""
        listed = self._listed.setdefault(name, [])
        for known_name, *known_row in listed:
            [distance] = distance_km(*zip(known_row[:2]), *zip(row[:2]))
            if distance <= self._near_km:
                return known_name
        listed.append((f"{name}-{len(listed) + 1}" if listed else name, *row))
        return listed[-1][0]

    def table(self, *columns: str) -> pd.DataFrame:
        """Return one row per unique name: the name, and the first row with it."""
        return pd.DataFrame([row for rows in self._listed.values() for row in rows], columns=columns)


class Pairs:
    """Joins the two horizontals of a sensor from single files, and measures each pair.

    Parameters
    ----------
    sensor : {"surface", "borehole"}
    measure : callable
        Acceleration [2, n] in m/s^2 and sampling interval in s -> intensity measures; may raise
        `DataError`.

    Attributes
    ----------
    tally : Tally
        Counts files (each is in a pair, or is a pair in the CSV form, or dropped), pairs (``record``),
        events and stations.
    disagreements : list of str
        Components whose largest sample differs from Max. Acc. of their header.
    """

    def __init__(self, sensor: str, measure: Callable[[np.ndarray, float], list[float]]):
        self.tally = Tally()
        self.disagreements: list[str] = []
        self._sensor, self._measure = sensor, measure
        self._events, self._stations = UniqueNames(SAME_EVENT_KM), UniqueNames(SAME_STATION_KM)
        self._rows: list[tuple] = []
        self._waiting: dict[tuple, tuple[str, nied_format.Component]] = {}
        self._done: set[tuple] = set()

    def add(self, member: archive.Member) -> None:
        """Add a file: measure the pair that it completes, or let it wait, or drop it."""
        self.tally.count("file", 1)
        try:
            if not member.problem and nied_format.is_csv(member.content):
                self._add_csv(member.name, nied_format.read_csv(member.content))
                return
            reason = self._find_drop_reason(member)
            if reason:
                self.tally.drop("file", reason, [member.name])
            else:
                self._join(member.name, nied_format.read_ascii(member.content))
        except DataError as error:
            self.tally.drop("file", "cannot be read", [f"{member.name}: {error}"])

    def end(self) -> None:
        """Drop components that still wait, and count events and stations.

        Raises
        ------
        DataError
            There is no pair of horizontals.
        """
        while self._waiting:
            self._drop_oldest()
        if not self._rows:
            reasons = [
                f"{row['count']} {row['reason']} ({row['examples'][0]})" for row in self.tally.dropped()
            ]
            raise DataError(
                f"no pair of {self._sensor} horizontals in {self.tally.read.get('file', 0)} files: "
                f"{'; '.join(reasons) or 'give K-NET or KiK-net files (ASCII or CSV) or archives of them'}"
            )
        self.tally.count("event", len(self.events))
        self.tally.count("station", len(self.stations))

    @property
    def events(self) -> pd.DataFrame:
        """Return the events as in the headers; ``magnitude`` is JMA's."""
        columns = ("event_id", "longitude", "latitude", "depth_km", "magnitude", "origin_time")
        return self._events.table(*columns)

    @property
    def stations(self) -> pd.DataFrame:
        """Return the stations, with sensor depth 0, or NaN in boreholes: the files do not hold it."""
        table = self._stations.table("station_id", "longitude", "latitude", "elevation_m", "network")
        depth = 0.0 if self._sensor == "surface" else np.nan
        return table.assign(sensor_depth_m=depth, vs30_m_s=np.nan)

    def rows(self, ims: list[str]) -> pd.DataFrame:
        """Return the intensity measures, one row per pair."""
        return pd.DataFrame(self._rows, columns=["event_id", "station_id", *ims])

    def _find_drop_reason(self, member: archive.Member) -> str:
        """Return the reason why a file is not used, empty if it is used; raise `DataError` if damaged."""
        if member.problem:
            raise DataError(member.problem)
        if not nied_format.is_ascii(member.content):
            if member.name.lower().endswith(ENDINGS):
                raise DataError("does not begin with Origin Time: fetch it again")
            return "no K-NET or KiK-net file"
        _, sensor, component = nied_format.direction(member.content)
        if component == "UD":
            return "vertical component"
        return "" if sensor == self._sensor else self._other_sensor

    def _add_csv(self, name: str, components: dict[tuple[str, str, str], nied_format.Component]) -> None:
        """Measure the pair of horizontals in a file of the CSV form."""
        pair = {
            direction: component
            for (_, sensor, direction), component in components.items()
            if sensor == self._sensor and direction != "UD"
        }
        if len(pair) < 2:
            reason = f"only one horizontal of the {self._sensor} sensor" if pair else self._other_sensor
            self.tally.drop("file", reason, [name])
            return
        key = (*self._find_names(pair["EW"]), pair["EW"].start.value)
        if key in self._done:
            self.tally.drop("file", "given twice", [name])
        else:
            self._done.add(key)
            self._measure_pair(key, pair)

    @property
    def _other_sensor(self) -> str:
        """Return the reason for dropping a file of the sensor that is not read."""
        return f"{next(sensor for sensor in SENSORS if sensor != self._sensor)} sensor"

    def _join(self, name: str, component: nied_format.Component) -> None:
        """Measure the pair that a component completes, or let the component wait for its partner."""
        key = (*self._find_names(component), component.start.value)
        partner = self._waiting.get(key)
        if key in self._done or (partner and partner[1].direction == component.direction):
            self.tally.drop("file", "given twice", [name])
        elif partner:
            del self._waiting[key]
            self._done.add(key)
            self._measure_pair(key, {c.direction: c for c in (component, partner[1])})
        else:
            self._waiting[key] = name, component
            if len(self._waiting) > WAITING:
                self._drop_oldest()

    def _find_names(self, component: nied_format.Component) -> tuple[str, str]:
        """Return the unique names of event and station."""
        time, code = component.origin_time, component.code
        return (
            self._events.name(*catalogues.time_ids([time], "nied"), (*component.event, time)),
            self._stations.name(
                code if self._sensor == "surface" else f"{code}-borehole",
                (*component.station, component.network),
            ),
        )

    def _drop_oldest(self) -> None:
        """Drop the component that has waited longest."""
        name, _ = self._waiting.pop(next(iter(self._waiting)))
        reason = f"no partner within {WAITING} components"
        self.tally.drop("file", reason, [name])

    def _measure_pair(self, key: tuple, pair: dict[str, nied_format.Component]) -> None:
        """Measure a pair of horizontals, or count it as a dropped record."""
        east, north = pair["EW"], pair["NS"]
        event, station, _ = key
        self.tally.count("record", 1)
        for component in (east, north):
            self._check_max_acc(f"{event} {station} {component.direction}", component)
        try:
            if (east.dt, len(east.acceleration)) != (north.dt, len(north.acceleration)):
                raise DataError("EW and NS differ in sampling or length")
            measured = self._measure(np.stack([east.acceleration, north.acceleration]), east.dt)
        except DataError as error:
            self.tally.drop("record", "waveform cannot be used", [f"{event} {station}: {error}"])
        else:
            self._rows.append((event, station, *measured))

    def _check_max_acc(self, name: str, component: nied_format.Component) -> None:
        """Note a component whose largest sample differs from Max. Acc. of its header."""
        listed, measured = component.listed_max_gal, component.max_gal
        if not abs(listed - measured) <= max(MAX_ACC_GAL, MAX_ACC_SHARE * abs(listed)):  # or NaN
            self.disagreements.append(f"{name}: header {listed:g}, samples {measured:g} gal")
