"""Simulated stations of two networks, and simulated earthquakes with places, times and magnitudes.

The reference network ``kik`` is spread over the study area; the dense network ``meso`` lies around Tokyo.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import pydantic
from scipy.spatial import KDTree

from tfgmm.core.coast import on_land
from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import site_ids
from tfgmm.simulation.truth import BOX, GRID, project, stream

Network = Literal["kik", "meso"]
NETWORKS: tuple[Network, ...] = ("kik", "meso")

TOKYO = (139.76, 35.68)
#: Azimuths, in degrees, of the dense lines that leave Tokyo; all on land for 85 km.
LINES = (30.0, 75.0, 240.0, 290.0, 340.0)
#: Largest number of stations on a line; the remaining stations are spread around Tokyo.
LINE_STATIONS = 30
MESO_RADIUS_KM = 80.0
#: Smallest and largest distance of a spread station to the nearest other station, km.
SPREAD_KM = (4.0, 10.0)
EVENT_RADIUS_KM = 250.0
B_VALUE, MAX_MAGNITUDE = 0.9, 7.3
PERIODS = {"kik": ("1996-01-01", "2018-01-01"), "meso": ("2021-01-01", "2023-01-01")}
MIN_MAGNITUDE = {"kik": 3.5, "meso": 4.5}


class Cluster(NamedTuple):
    """A cluster of earthquakes of one kind, whose epicentres are normally distributed around a point.

    Attributes
    ----------
    kind : {"crustal", "interface", "intraslab"}
        Type of earthquake, which determines the depths and whether the epicentres are on land.
    share : float
        Probability that a drawn earthquake belongs to this cluster.
    longitude, latitude : float
        Mean of the epicentres, degrees.
    spread_km : float
        Standard deviation of the epicentres in each direction, km.
    """

    kind: Literal["crustal", "interface", "intraslab"]
    share: float
    longitude: float
    latitude: float
    spread_km: float


CLUSTERS = (
    Cluster("crustal", 0.10, 140.6, 36.9, 20.0),
    Cluster("crustal", 0.04, 139.5, 36.7, 15.0),
    Cluster("crustal", 0.04, 138.9, 35.5, 15.0),
    Cluster("crustal", 0.08, 139.4, 36.0, 90.0),
    Cluster("interface", 0.18, 141.3, 36.4, 45.0),
    Cluster("interface", 0.12, 140.9, 35.5, 30.0),
    Cluster("interface", 0.04, 139.3, 35.0, 15.0),
    Cluster("intraslab", 0.18, 140.0, 36.05, 25.0),
    Cluster("intraslab", 0.12, 140.2, 35.6, 30.0),
    Cluster("intraslab", 0.10, 139.5, 35.9, 70.0),
)


def _record_count(published: int, **sizes: int):
    """Return a settings field whose default is a number of records in proportion to events and stations.

    The default is at least one record per event.

    Parameters
    ----------
    published : int
        Number of records in the published study.
    **sizes : int
        Numbers of events and stations in the published study by name of the setting; events first.
    """

    def default(data: dict[str, int]) -> int:
        """Return the default number of records for the numbers of events and stations in the settings."""
        ratio = np.prod([data[name] / size for name, size in sizes.items()])
        return max(round(published * ratio), data[next(iter(sizes))])

    return pydantic.Field(default_factory=default, ge=1)


class SimulationSettings(pydantic.BaseModel):
    """Sizes of the simulated dataset, by default the sizes of the published study.

    Attributes
    ----------
    events : int
        Number of earthquakes of 1996 to 2017, recorded by the reference network ``kik``.
    kik_stations : int
        Number of stations of the reference network.
    meso_events : int
        Number of earthquakes of 2021 and 2022, recorded by the dense network ``meso``.
    meso_stations : int
        Number of stations of the dense network.
    kik_records, meso_records : int
        Number of records of each network after thinning; by default in proportion to the published 46,191
        and 1,921.
    seed : int
        Seed of all random numbers.
    trigger : float or None
        Trigger level, PGA in g: records below it are removed after the thinning. None for no trigger.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    events: int = pydantic.Field(2864, ge=1)
    kik_stations: int = pydantic.Field(65, ge=3, le=1000)
    kik_records: int = _record_count(46191, events=2864, kik_stations=65)
    meso_events: int = pydantic.Field(19, ge=1)
    meso_stations: int = pydantic.Field(300, ge=10, le=500)
    meso_records: int = _record_count(1921, meso_events=19, meso_stations=300)
    seed: int = pydantic.Field(1, ge=0)
    trigger: float | None = pydantic.Field(None, gt=0)

    @classmethod
    def of(cls, **changes: float | None) -> Self:
        """Return settings with the given values; a value of None stands for the default.

        Parameters
        ----------
        **changes : float or None
            Values by name of the setting.

        Returns
        -------
        SimulationSettings

        Raises
        ------
        UsageError
            A value is out of range, or there is no setting of this name.
        """
        try:
            return cls(**{name: value for name, value in changes.items() if value is not None})
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"{first['loc'][0]} = {first['input']}: {first['msg']}") from error

    def number_of(self, what: Literal["events", "stations", "records"], network: Network) -> int:
        """Return the number of events, stations or records of a network, as set.

        Parameters
        ----------
        what : {"events", "stations", "records"}
            The number that is returned.
        network : {"kik", "meso"}
            The network.
        """
        return getattr(self, "events" if (what, network) == ("events", "kik") else f"{network}_{what}")


def stations(settings: SimulationSettings) -> pd.DataFrame:
    """Return a table of the simulated stations of both networks, one row per station.

    Parameters
    ----------
    settings : SimulationSettings
        Numbers of stations, and seed.

    Returns
    -------
    pandas.DataFrame
        Station table of a dataset: ``station_id``, ``site_id``, ``network``, ``longitude``, ``latitude``
        (degrees), ``elevation_m`` (NaN), ``sensor_depth_m`` (0), ``vs30_m_s`` (NaN), ``operating_from`` and
        ``operating_to`` (UTC). Both times are NaT except for up to three stations of the reference network
        that were moved by about 1 km: their old and new stations do not operate at the same time.
    """
    kik = _kik(settings)
    table = pd.concat([kik, _meso(settings, project(kik["longitude"], kik["latitude"]))], ignore_index=True)
    missing = {"elevation_m": np.nan, "sensor_depth_m": 0.0, "vs30_m_s": np.nan}
    table = table.assign(**missing, site_id=site_ids(table))
    first = ["station_id", "site_id", "network", "longitude", "latitude", *missing]
    return table[[*first, "operating_from", "operating_to"]]


def _kik(settings: SimulationSettings) -> pd.DataFrame:
    """Return the stations of the reference network: evenly spread, and up to three of them moved once."""
    rng = stream(settings.seed, "kik stations")
    moved = min(3, settings.kik_stations // 10)
    places = _spread_over_box(rng, settings.kik_stations - moved)
    pairs = [[place, _beside(rng, place, 0.8, 1.6)] for place in places[:moved]]
    before_and_after = [place for pair in pairs for place in pair]
    table = _station_table("kik", np.array([*before_and_after, *places[moved:]]))
    dates = pd.Timestamp("2004-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 3000, moved), "D")
    table.loc[np.arange(0, 2 * moved, 2), "operating_to"] = dates
    table.loc[np.arange(1, 2 * moved, 2), "operating_from"] = dates
    return table


def _meso(settings: SimulationSettings, kik_km: np.ndarray) -> pd.DataFrame:
    """Return the stations of the dense network: on lines from Tokyo, and spread around Tokyo.

    Up to two stations stand 0.1 to 0.4 km from a station of the reference network.

    Parameters
    ----------
    settings : SimulationSettings
        Number of stations, and seed.
    kik_km : ndarray, [n, 2]
        Coordinates of the reference stations, km east and north of the centre of `truth.GRID`.
    """
    rng = stream(settings.seed, "meso stations")
    center = project(*TOKYO)
    number = settings.meso_stations
    on_line = min(LINE_STATIONS, number // 10)
    points = np.concatenate([_line(rng, center, azimuth, on_line) for azimuth in LINES])
    # Up to two stations are put beside reference stations that are not near a line.
    for place in kik_km[np.linalg.norm(kik_km - center, axis=1) < MESO_RADIUS_KM - SPREAD_KM[1]]:
        apart = KDTree(points).query(place)[0] > SPREAD_KM[0] + 0.4
        if apart and len(points) < on_line * len(LINES) + 2:
            points = np.vstack([points, _beside(rng, place, 0.1, 0.4)])
    while len(points) < number:
        points = np.vstack([points, _next_spread(rng, center, points)])
    return _station_table("meso", points)


def _station_table(network: Network, xy_km: np.ndarray) -> pd.DataFrame:
    """Return a table of stations at points [n, 2], km, with ids; both operating times are NaT."""
    lon, lat = (degrees.round(5) for degrees in GRID.unproject(*xy_km.T))
    table = pd.DataFrame({"network": network, "longitude": lon, "latitude": lat})
    for column in ("operating_from", "operating_to"):
        table[column] = pd.Series(pd.NaT, table.index, dtype="datetime64[us, UTC]")
    return table.assign(station_id=[f"{network.upper()[:3]}{i:03}" for i in range(1, len(table) + 1)])


def _spread_over_box(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return evenly spread points on land in the study area, km, [number, 2].

    Each point is the one of up to 60 random candidates that is farthest from all earlier points (Mitchell,
    1991).
    """
    west, south, east, north = BOX
    candidates = (
        _on_land(project(rng.uniform(west, east, 60), rng.uniform(south, north, 60))) for _ in range(number)
    )
    points = next(candidates)[:1]
    for places in candidates:
        nearest, _ = KDTree(points).query(places)
        points = np.vstack([points, places[np.argmax(nearest)]])
    return points


def _line(rng: np.random.Generator, center: np.ndarray, azimuth: float, number: int) -> np.ndarray:
    """Return points on a line that leaves `center` at `azimuth` degrees, km east and north, [number, 2].

    Neighbouring points are 2.1 to 2.7 km apart.
    """
    distance = 4.0 + np.cumsum(rng.uniform(2.1, 2.7, number))
    angle = np.radians(azimuth)
    return center + distance[:, np.newaxis] * [np.sin(angle), np.cos(angle)]


def _next_spread(rng: np.random.Generator, center: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a random point on land, km, [2], within `MESO_RADIUS_KM` of `center`.

    Its distance from the nearest of the earlier `points` [n, 2] is within the bounds of `SPREAD_KM`.
    """
    while True:
        places = _on_land(center + rng.uniform(-MESO_RADIUS_KM, MESO_RADIUS_KM, (200, 2)))
        nearest = np.asarray(KDTree(points).query(places)[0])
        fits = (np.linalg.norm(places - center, axis=1) < MESO_RADIUS_KM) & (nearest <= SPREAD_KM[1])
        best = np.where(fits, nearest, 0.0).argmax()
        if fits[best] and nearest[best] >= SPREAD_KM[0]:
            return places[best]


def _beside(rng: np.random.Generator, place: np.ndarray, low_km: float, high_km: float) -> np.ndarray:
    """Return a random point on land, km, [2], between `low_km` and `high_km` away from a point [2], km."""
    while True:
        angle = rng.uniform(0, 2 * np.pi, 20)
        offset = rng.uniform(low_km, high_km, 20) * np.array([np.sin(angle), np.cos(angle)])
        places = _on_land(place + offset.T)
        if len(places):
            return places[0]


def _on_land(xy_km: np.ndarray) -> np.ndarray:
    """Return those rows of points [n, 2], km, that are on land."""
    return xy_km[on_land(*GRID.unproject(*xy_km.T))]


def events(settings: SimulationSettings, network: Network) -> pd.DataFrame:
    """Return the simulated earthquakes that a network records, sorted by origin time.

    Parameters
    ----------
    settings : SimulationSettings
        Number of events, and seed.
    network : {"kik", "meso"}
        The network; it determines the period and the smallest magnitude.

    Returns
    -------
    pandas.DataFrame
        Event table of a dataset: ``event_id``, ``origin_time`` (UTC), ``longitude`` and ``latitude``
        (degrees), ``depth_km``, ``magnitude`` (Mw), ``magnitude_source``.
    """
    number = settings.number_of("events", network)
    table = pd.DataFrame()
    batches = _batches(stream(settings.seed, f"{network} events"), network)
    while len(table) < number:
        table = pd.concat([table, next(batches)], ignore_index=True)
    table = table[:number].assign(magnitude_source="simulated")
    # Events are numbered before sorting, so that a larger catalogue contains a smaller one.
    table.insert(0, "event_id", [f"E{network[0].upper()}{i:05}" for i in range(1, number + 1)])
    return table.sort_values("origin_time", ignore_index=True)


def _batches(rng: np.random.Generator, network: Network, size: int = 512) -> Iterator[pd.DataFrame]:
    """Yield tables of earthquakes without end; each holds the plausible ones of `size` random draws."""
    shares = np.array([cluster.share for cluster in CLUSTERS])
    start, end = (pd.Timestamp(day, tz="UTC") for day in PERIODS[network])
    while True:
        cluster = pd.DataFrame(CLUSTERS).iloc[rng.choice(len(CLUSTERS), size, p=shares)]
        center = project(cluster["longitude"], cluster["latitude"])
        xy = center + cluster[["spread_km"]].to_numpy() * rng.standard_normal((size, 2))
        lon, lat = (degrees.round(4) for degrees in GRID.unproject(*xy.T))
        depth, plausible = _depth(rng, cluster["kind"].to_numpy(), xy, on_land(lon, lat))
        seconds = rng.integers(0, int((end - start).total_seconds()), size)
        table = pd.DataFrame(
            {
                "origin_time": (start + pd.to_timedelta(seconds, "s")).as_unit("us"),
                "longitude": lon,
                "latitude": lat,
                "depth_km": depth.round(1),
                "magnitude": _magnitude(rng, MIN_MAGNITUDE[network], size).round(1),
            }
        )
        yield table[plausible & (np.hypot(*xy.T) < EVENT_RADIUS_KM)]


def _depth(rng: np.random.Generator, kind: np.ndarray, xy_km: np.ndarray, land: np.ndarray):
    """Draw depths; return depths (km) and True where depth and place suit the kind of earthquake, [n] each.

    The mean depth of the plate interface and of the slab increases to the north-west.
    """
    north_west = (xy_km[:, 1] - xy_km[:, 0]) / np.sqrt(2)
    scatter = rng.standard_normal(len(kind))
    options = {
        "crustal": (12 + 4 * scatter, 5, 25, land),
        "interface": (40 + 0.25 * north_west + 6 * scatter, 10, 60, ~land),
        "intraslab": (65 + 0.40 * north_west + 10 * scatter, 30, 120, True),
    }
    depth, plausible = np.zeros(len(kind)), np.zeros(len(kind), bool)
    for name, (value, low, high, place) in options.items():
        plausible |= (kind == name) & (value >= low) & (value <= high) & place
        depth = np.where(kind == name, value, depth)
    return depth, plausible


def _magnitude(rng: np.random.Generator, low: float, number: int) -> np.ndarray:
    """Return magnitudes, [number], of a Gutenberg-Richter distribution from `low` to `MAX_MAGNITUDE`."""
    beyond = 1 - 10 ** (-B_VALUE * (MAX_MAGNITUDE - low))
    return low - np.log10(1 - rng.random(number) * beyond) / B_VALUE
