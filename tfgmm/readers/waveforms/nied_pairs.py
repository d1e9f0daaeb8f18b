"""K-NET and KiK-net files, one after the other -> pairs of horizontals, their events and stations."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue
from tfgmm.readers.waveforms import archive, nied_csv, nied_format

SENSORS = ("surface", "borehole")
#: A header's Max. Acc. may differ from the samples by the larger of a share and so many gal.
MAX_ACC_SHARE, MAX_ACC_GAL = 0.01, 0.01
#: Epicentres of one origin time this near are one event: old headers round to a tenth of a degree.
SAME_EVENT_KM = 15.0
#: A station listed this near to where it was has not moved.
SAME_STATION_KM = 0.1
#: How many components wait for their partners; those of a station lie side by side in an archive.
WAITING = 1000
#: Endings of records, which tell a damaged record from a file that is none.
ENDINGS = tuple(f".{component}{sensor}" for component in ("ew", "ns", "ud") for sensor in ("", "1", "2"))


class Places:
    """Names of what lies at places: a second place of a name is ``name-2``."""

    def __init__(self, near_km: float):
        self._near_km = near_km
        self._listed: dict[str, list[tuple]] = {}
        self._names: dict[tuple, str] = {}

    def name(self, name: str, row: tuple) -> str:
        """The name of what stands in `row`, which begins with longitude and latitude."""
        if (name, row) not in self._names:
            self._names[name, row] = self._find(name, row)
        return self._names[name, row]

    def _find(self, name: str, row: tuple) -> str:
        listed = self._listed.setdefault(name, [])
        for known, *place in listed:
            if _km(place, row) <= self._near_km:
                return known
        listed.append((f"{name}-{len(listed) + 1}" if listed else name, *row))
        return listed[-1][0]

    def table(self, *columns: str) -> pd.DataFrame:
        """One row a name: it, and the row that was given first."""
        return pd.DataFrame([row for rows in self._listed.values() for row in rows], columns=columns)


def _km(first, second) -> float:
    ends = unit_vectors(*zip(first[:2], second[:2], strict=True))
    return EARTH_RADIUS_KM * float(np.linalg.norm(ends[0] - ends[1]))


class Pairs:
    """Takes files, joins the two horizontals of a sensor, and keeps what is measured on them.

    Parameters
    ----------
    sensor : {"surface", "borehole"}
    measure : callable
        Acceleration [2, n] in m/s^2 and sampling interval in s -> intensity measures, or `DataError`.

    Attributes
    ----------
    tally : Tally
        Of files (``file``: each is in a pair, or is one in the CSV form, or dropped), pairs (``record``),
        events and stations.
    disagreements : list of str
        Components whose largest sample is not the Max. Acc. of their header.
    """

    def __init__(self, sensor: str, measure: Callable[[np.ndarray, float], list[float]]):
        self.tally = Tally()
        self.disagreements: list[str] = []
        self._sensor, self._measure = sensor, measure
        self._events, self._stations = Places(SAME_EVENT_KM), Places(SAME_STATION_KM)
        self._rows: list[tuple] = []
        self._waiting: dict[tuple, tuple[str, nied_format.Component]] = {}
        self._done: set[tuple] = set()

    def add(self, member: archive.Member) -> None:
        """Take a file: measure the pair it completes, or let it wait, or drop it."""
        self.tally.count("file", 1)
        try:
            if not member.problem and nied_csv.is_record(member.content):
                self._take_csv(member.name, nied_csv.read(member.content))
                return
            unused = self._unused(member)
            if unused:
                self.tally.drop("file", unused, [member.name])
            else:
                self._join(member.name, nied_format.read(member.content))
        except DataError as error:
            self.tally.drop("file", "cannot be read", [f"{member.name}: {error}"])

    def end(self) -> None:
        """Drop what still waits.

        Raises
        ------
        DataError
            There is no pair.
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
        """Events as their headers list them; ``magnitude`` is JMA's."""
        columns = ("event_id", "longitude", "latitude", "depth_km", "magnitude", "origin_time")
        return self._events.table(*columns)

    @property
    def stations(self) -> pd.DataFrame:
        """Stations; the depth of a borehole sensor is not in the files."""
        table = self._stations.table("station_id", "longitude", "latitude", "elevation_m", "network")
        depth = 0.0 if self._sensor == "surface" else np.nan
        return table.assign(sensor_depth_m=depth, vs30_m_s=np.nan)

    def rows(self, ims: list[str]) -> pd.DataFrame:
        """What was measured: one row a pair."""
        return pd.DataFrame(self._rows, columns=["event_id", "station_id", *ims])

    def _unused(self, member: archive.Member) -> str:
        """Why a file is not asked for; empty if it is."""
        if member.problem:
            raise DataError(member.problem)
        if not nied_format.is_record(member.content):
            if member.name.lower().endswith(ENDINGS):
                raise DataError("does not begin with Origin Time: fetch it again")
            return "no K-NET or KiK-net file"
        _, sensor, component = nied_format.direction(member.content)
        if component == "UD":
            return "vertical component"
        return "" if sensor == self._sensor else self._other_sensor

    def _take_csv(self, name: str, components: dict[tuple[str, str, str], nied_format.Component]) -> None:
        """Measure the pair of a file in the CSV form."""
        pair = {
            direction: component
            for (_, sensor, direction), component in components.items()
            if sensor == self._sensor and direction != "UD"
        }
        if len(pair) < 2:
            reason = f"only one horizontal of the {self._sensor} sensor" if pair else self._other_sensor
            self.tally.drop("file", reason, [name])
            return
        key = (*self._names(pair["EW"]), pair["EW"].start.value)
        if key in self._done:
            self.tally.drop("file", "given twice", [name])
        else:
            self._done.add(key)
            self._record(key, pair)

    @property
    def _other_sensor(self) -> str:
        """Why a file of the sensor that is not asked for is not used."""
        return f"{next(sensor for sensor in SENSORS if sensor != self._sensor)} sensor"

    def _join(self, name: str, component: nied_format.Component) -> None:
        key = (*self._names(component), component.start.value)
        partner = self._waiting.get(key)
        if key in self._done or (partner and partner[1].direction == component.direction):
            self.tally.drop("file", "given twice", [name])
        elif partner:
            del self._waiting[key]
            self._done.add(key)
            self._record(key, {c.direction: c for c in (component, partner[1])})
        else:
            self._waiting[key] = name, component
            if len(self._waiting) > WAITING:
                self._drop_oldest()

    def _names(self, component: nied_format.Component) -> tuple[str, str]:
        time, code = component.origin_time, component.code
        return (
            self._events.name(*catalogue.time_ids([time], "nied"), (*component.event, time)),
            self._stations.name(
                code if self._sensor == "surface" else f"{code}-borehole",
                (*component.station, component.network),
            ),
        )

    def _drop_oldest(self) -> None:
        name, _ = self._waiting.pop(next(iter(self._waiting)))
        reason = f"no partner within {WAITING} components"
        self.tally.drop("file", reason, [name])

    def _record(self, key: tuple, pair: dict[str, nied_format.Component]) -> None:
        """Measure a pair."""
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
        listed, measured = component.listed_max_gal, component.max_gal
        if not abs(listed - measured) <= max(MAX_ACC_GAL, MAX_ACC_SHARE * abs(listed)):  # or NaN
            self.disagreements.append(f"{name}: header {listed:g}, samples {measured:g} gal")
