"""Reader of K-NET and KiK-net files as downloaded from NIED -> pairs of horizontals -> records."""

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
#: Largest allowed difference between Max. Acc. of a header and the largest sample: a share of Max. Acc., or
#: a value in gal, whichever is larger.
MAX_ACC_SHARE, MAX_ACC_GAL = 0.01, 0.01
#: Headers with the same origin time and with epicentres within this distance (km) are one event: old
#: headers round the epicentre to 0.1 degrees.
SAME_EVENT_KM = 15.0
#: A station whose listed coordinates change by no more than this distance (km) has not moved.
SAME_STATION_KM = 0.1
#: Largest number of horizontals that wait for the other horizontal; in an archive the two are neighbours.
WAITING = 1000
#: Endings of the names of record files, by which a damaged record is distinguished from any other file.
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

    Files are read one at a time, so that the memory does not grow with their number. Magnitudes are
    ``0.917 Mj + 0.337`` of the JMA magnitude Mj in the header, or the magnitudes in `catalogue`.

    Parameters
    ----------
    paths : sequence of Path
        Files in NIED's ASCII or CSV form, folders of such files, and ``.tar``, ``.tar.gz`` and ``.zip``
        archives, also nested.
    limits : Limits
        Limits of region, magnitude, distance and number of records per event.
    ims : sequence of str
        Intensity measures: ``PGA``, ``SA(T)`` with the period T in s.
    component : {"geometric_mean", "rotd50"}
        Combination of the two horizontals.
    sensor : {"surface", "borehole"}
        Sensor of KiK-net; K-NET has surface sensors only.
    processing : Processing
        Baseline correction, taper and filters.
    catalogue : Path, optional
        Catalogue of events with better magnitudes (`tfgmm.readers.common.catalogue`).
    tolerance : Tolerance
        Largest differences between an event in the headers and the same event in `catalogue`.
    progress : callable, optional
        Function that is called with the path of each file or archive once it has been read.

    Returns
    -------
    Dataset
        Intensity measures in g (PGV in cm/s).
        ``network`` is ``knet`` or ``kik``. ``event_id`` is ``nied`` and the origin
        time (UTC); ``station_id`` is the code of the station, with ``-borehole`` for a borehole sensor. A
        second event or station with the same name at another place gets the suffix ``-2``.

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
    # The catalogue is read first: a fault in the catalogue must not show after hours of reading records.
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
    """Read all files, add each file to `pairs`, and return `pairs`."""
    for file in [file for path in paths for file in archive.files_in(path)]:
        for member in archive.members(file):
            pairs.add(member)
        if progress:
            progress(file)
    pairs.end()
    return pairs


def _convert_magnitudes(events: pd.DataFrame) -> pd.DataFrame:
    """Return the events with moment magnitudes, converted from the JMA magnitudes in the headers."""
    slope, intercept = jma.MW_FROM_MJ
    return events.assign(
        magnitude=slope * events["magnitude"] + intercept, magnitude_source="JMA converted"
    )


def _describe_source(paths: Sequence[Path], names: Sequence[str], component: str) -> dict:
    """Return the description of sources and settings for the provenance of the dataset."""
    slope, intercept = jma.MW_FROM_MJ
    return {
        "name": "K-NET and KiK-net strong-motion records",
        "component": component,
        "unit": {name: imt.unit(name) for name in names},
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
    """Gives unique names to events or stations that share a name but are at different places.

    The name of the first place stays as it is, the second place gets the suffix ``-2``, and so on.

    Parameters
    ----------
    near_km : float
        Places of one name within this distance (km) are the same.
    """

    def __init__(self, near_km: float):
        self._near_km = near_km
        self._listed: dict[str, list[tuple]] = {}
        self._names: dict[tuple, str] = {}

    def name(self, name: str, row: tuple) -> str:
        """Return the unique name of an event or station.

        Parameters
        ----------
        name : str
            Name that events or stations at different places may share.
        row : tuple
            Longitude and latitude (degrees), and further values for the `table`.
        """
        if (name, row) not in self._names:
            self._names[name, row] = self._find_or_add(name, row)
        return self._names[name, row]

    def _find_or_add(self, name: str, row: tuple) -> str:
        """Return the unique name of a known place near `row`, or a new unique name where there is none."""
        listed = self._listed.setdefault(name, [])
        for known_name, *known_row in listed:
            [distance] = distance_km(*zip(known_row[:2]), *zip(row[:2]))
            if distance <= self._near_km:
                return known_name
        listed.append((f"{name}-{len(listed) + 1}" if listed else name, *row))
        return listed[-1][0]

    def table(self, *columns: str) -> pd.DataFrame:
        """Return a table with one row per unique name: the name, and the first values given with the name.

        Parameters
        ----------
        *columns : str
            Names of the columns: one for the unique name, and one for each value of a row.
        """
        return pd.DataFrame([row for rows in self._listed.values() for row in rows], columns=columns)


class Pairs:
    """Joins the two horizontals of a sensor, which come in separate files, and measures each pair.

    Parameters
    ----------
    sensor : {"surface", "borehole"}
        Sensor that is read.
    measure : callable
        Function of acceleration [2, n], m/s^2, and sampling interval, s, that returns the intensity
        measures; it may raise `DataError`.

    Attributes
    ----------
    tally : Tally
        Counts files (read and dropped), pairs of horizontals (``record``), events and stations.
    disagreements : list of str
        Components whose largest sample differs from Max. Acc. in their header.
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
        """Add a file: measure the pair that it completes, or keep the component until its partner comes.

        A file that cannot be used is counted as dropped.

        Parameters
        ----------
        member : Member
            The file.
        """
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
        """Drop the components without a partner, and count events and stations, after the last file.

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
        """Return the events as in the headers; ``magnitude`` is the JMA magnitude.

        One row per event: ``event_id``, ``longitude``, ``latitude`` (degrees), ``depth_km``, ``magnitude``,
        ``origin_time`` (UTC).
        """
        columns = ("event_id", "longitude", "latitude", "depth_km", "magnitude", "origin_time")
        return self._events.table(*columns)

    @property
    def stations(self) -> pd.DataFrame:
        """Return the stations as in the headers; the sensor depth is 0 m, or NaN for borehole sensors.

        One row per station: ``station_id``, ``longitude``, ``latitude`` (degrees), ``elevation_m``,
        ``network``, ``sensor_depth_m``, ``vs30_m_s`` (NaN). The files do not state the depth of a
        borehole sensor.
        """
        table = self._stations.table("station_id", "longitude", "latitude", "elevation_m", "network")
        depth = 0.0 if self._sensor == "surface" else np.nan
        return table.assign(sensor_depth_m=depth, vs30_m_s=np.nan)

    def rows(self, ims: list[str]) -> pd.DataFrame:
        """Return a table with one row per pair of horizontals: event id, station id and intensity measures.

        Parameters
        ----------
        ims : list of str
            Names of the columns with the intensity measures, in the order in which `measure` returns them.
        """
        return pd.DataFrame(self._rows, columns=["event_id", "station_id", *ims])

    def _find_drop_reason(self, member: archive.Member) -> str:
        """Return the reason why a file is not used, or an empty text; raise `DataError` if damaged."""
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
        """Measure the pair of horizontals in a file of the CSV form, or count the file as dropped."""
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
        """Measure the pair that a component completes, or keep the component until its partner comes."""
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
        """Return the unique names of event and station of a component."""
        time, code = component.origin_time, component.code
        return (
            self._events.name(*catalogues.time_ids([time], "nied"), (*component.event, time)),
            self._stations.name(
                code if self._sensor == "surface" else f"{code}-borehole",
                (*component.station, component.network),
            ),
        )

    def _drop_oldest(self) -> None:
        """Drop the component that has waited longest for its partner."""
        name, _ = self._waiting.pop(next(iter(self._waiting)))
        reason = f"no partner within {WAITING} components"
        self.tally.drop("file", reason, [name])

    def _measure_pair(self, key: tuple, pair: dict[str, nied_format.Component]) -> None:
        """Measure a pair of horizontals, or count the pair as a dropped record."""
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
        """Note a component whose largest sample differs from Max. Acc. in its header."""
        listed, measured = component.listed_max_gal, component.max_gal
        if not abs(listed - measured) <= max(MAX_ACC_GAL, MAX_ACC_SHARE * abs(listed)):  # or NaN
            self.disagreements.append(f"{name}: header {listed:g}, samples {measured:g} gal")
