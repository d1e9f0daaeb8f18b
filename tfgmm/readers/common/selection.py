"""Select the usable events, stations and records within limits, make a dataset of them, count the rest."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.sphere import hypocentral_km, wrapped
from tfgmm.data.dataset import Dataset, site_ids
from tfgmm.data.schemas import AMPLITUDES, RUPTURE_DISTANCE, TECTONIC_CLASSES
from tfgmm.data.tally import Tally

#: Distance and share by which a listed rupture distance may exceed the hypocentral distance.
BEYOND_KM, BEYOND_SHARE = 5.0, 0.05
WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)
#: Spellings of the tectonic classes in flatfiles and in OpenQuake, as letters in lower case.
_CLASS_SPELLINGS = dict.fromkeys(("crustal", "shallowcrustal", "activeshallowcrust", "ascr"), "crustal")
_CLASS_SPELLINGS |= dict.fromkeys(("interface", "subductioninterface", "sinter", "interplate"), "interface")
_CLASS_SPELLINGS |= dict.fromkeys(
    ("intraslab", "subductionintraslab", "sslab", "inslab", "slab", "intraplate"), "intraslab"
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on the events, stations and records that a user wants in a dataset.

    Attributes
    ----------
    region : (west, south, east, north) or None
        Edges of a box, degrees, included; None is the whole Earth. A west edge beyond the east edge means a
        box across the date line; longitudes may also count from 0 to 360. Stations outside the box are
        dropped, events outside the box are not.
    min_magnitude : float
        Smallest moment magnitude Mw.
    max_distance_km : float
        Largest hypocentral distance, km.
    min_records : int
        Smallest number of records of an event, after all other limits are applied.

    Raises
    ------
    UsageError
        The region is no box on the Earth, or another limit is out of range.
    """

    region: tuple[float, float, float, float] | None = None
    min_magnitude: float = 4.0
    max_distance_km: float = 300.0
    min_records: int = 1

    def __post_init__(self) -> None:
        west, south, east, north = self.region or WHOLE_EARTH
        if not (-90 <= south <= north <= 90 and all(-180 <= edge <= 360 for edge in (west, east))):
            raise UsageError(
                f"the region {_write_box(self.region)} is none: write WEST,SOUTH,EAST,NORTH in degrees, "
                "south below north; west beyond east means across the date line"
            )
        # Written so that NaN is refused too.
        if not (self.max_distance_km > 0 and self.min_magnitude > -10 and self.min_records >= 0):
            raise UsageError(
                f"smallest magnitude {self.min_magnitude:g}, largest distance {self.max_distance_km:g} km, "
                f"at least {self.min_records} records: give a magnitude, a distance, a number from 0"
            )

    def inside(self, places: pd.DataFrame) -> pd.Series:
        """Return, for each place, whether the place lies in the region.

        Parameters
        ----------
        places : pandas.DataFrame
            Columns ``longitude`` and ``latitude``, degrees; one row per place.

        Returns
        -------
        pandas.Series of bool, [n_places]
            True inside the region or at its edge; False where a coordinate is NaN.
        """
        west, south, east, north = self.region or WHOLE_EARTH
        longitude = pd.Series(wrapped(places["longitude"]), places.index)
        west, east = wrapped([west, east]) if east - west < 360 else (-180, 180)
        if west <= east:
            within = longitude.between(west, east)
        else:  # across the date line
            within = (longitude >= west) | (longitude <= east)
        return within & places["latitude"].between(south, north)


@dataclasses.dataclass
class RawDataset:
    """Events, stations and records as a reader has read them, before limits and checks are applied.

    Attributes
    ----------
    events, stations, records : pandas.DataFrame
        Tables with the columns of a dataset (`tfgmm.data.schemas`) and any further columns of the file.
        These values may be NaN: magnitude and hypocentre of an event, coordinates of a station, intensity
        measures. Longitudes may count from 0 to 360 degrees. Stations have no ``site_id`` yet. If several
        rows have the same id (for records: event id and station id), the first usable row is kept.
    provenance : dict
        ``name``, ``sources``, ``choices`` and further entries of ``dataset.json``, such as ``noted`` (see
        `note`).
    tally : Tally
        Counts of the rows read, and of the rows that the reader itself has dropped.
    """

    events: pd.DataFrame
    stations: pd.DataFrame
    records: pd.DataFrame
    provenance: dict
    tally: Tally


def select(raw: RawDataset, limits: Limits) -> Dataset:
    """Make a dataset of the usable rows that lie within the limits; count the dropped rows with reasons.

    Parameters
    ----------
    raw : RawDataset
        Tables as read; the dropped rows are added to its tally.
    limits : Limits
        Region, smallest magnitude, largest distance (km) and smallest number of records per event.

    Returns
    -------
    Dataset
        The checked dataset, with site ids and with the counts of dropped rows in its provenance.

    Raises
    ------
    UsageError
        No station lies in the region.
    DataError
        No record is left, or a table has a wrong column or value (`tfgmm.data.schemas`).
    """
    tally = raw.tally
    events = _usable_events(_wrap_longitudes(raw.events), limits.min_magnitude, tally)
    listed = _wrap_longitudes(raw.stations)
    listed = drop(listed, listed.duplicated("station_id"), "station", "second entry of its code", tally)
    located, within = _usable_stations(listed, limits, tally)
    rows = raw.records.reset_index(drop=True)
    for key, known, reason in (
        ("event_id", events, "its event was dropped"),
        ("station_id", listed, "its station is not in the table"),
        ("station_id", located, "its station has no coordinates"),
        ("station_id", within, "its station is outside the region"),
    ):
        rows = drop(rows, ~rows[key].isin(known[key]), "record", reason, tally)
    rows = _usable_amplitudes(rows, tally)
    r_hyp_km = hypocentral_km(rows, events, within)
    rows = _usable_rupture_distances(rows, r_hyp_km, tally)
    far = r_hyp_km > limits.max_distance_km
    rows = drop(rows, far, "record", f"farther than {limits.max_distance_km:g} km", tally)
    again = rows.duplicated(["event_id", "station_id"])
    rows = drop(rows, again, "record", "second record of a station in an event", tally)
    events, rows = _enough_records(events, rows, limits.min_records, tally)
    silent = ~within["station_id"].isin(rows["station_id"].unique())
    kept = drop(within, silent, "station", "no record is kept", tally)
    kept = kept.assign(site_id=site_ids(kept) if len(kept) else "")
    provenance = _complete_provenance(raw, limits, _note_out_of_service(rows, events, kept))
    return Dataset(events, kept, rows, provenance).checked()


def drop(table: pd.DataFrame, bad, what: str, reason: str, tally: Tally) -> pd.DataFrame:
    """Return a table without its bad rows, and add these rows to the counts of dropped rows.

    Parameters
    ----------
    table : pandas.DataFrame, [n_rows, ...]
        Table with ``event_id``, ``station_id``, or both (records).
    bad : array_like of bool, [n_rows]
        True for the rows to drop.
    what : str
        Kind of the rows: ``event``, ``station`` or ``record``.
    reason : str
        Why the rows are dropped.
    tally : Tally
        Counts to which the bad rows are added, with the ids of up to three rows.

    Returns
    -------
    pandas.DataFrame
        The other rows.
    """
    tally.drop(what, reason, _name_rows(table[bad], what))
    return table[~bad]


def note(what: str, reason: str, names) -> list[dict]:
    """Return a note for the provenance about rows that are kept although something is doubtful.

    Parameters
    ----------
    what : str
        Kind of the rows: ``event``, ``station``, ``record``, ...
    reason : str
        What a user should know about the rows.
    names : iterable of str
        Ids of the rows.

    Returns
    -------
    list of dict
        One note with ``what``, ``reason``, ``count`` and up to three ``examples``; empty if there are no
        rows.
    """
    tally = Tally()
    tally.drop(what, reason, names)
    return tally.dropped()


def tectonic_classes(texts: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the tectonic classes that texts name, and which texts name no known class.

    >>> tectonic_classes(pd.Series(["Subduction IntraSlab", "slab", None, "volcanic"]))[0].tolist()
    ['intraslab', 'intraslab', None, None]

    Parameters
    ----------
    texts : pandas.Series of str
        Texts; missing or blank where the class is unknown.

    Returns
    -------
    classes : pandas.Series of object
        One of `TECTONIC_CLASSES`, or None.
    strange : pandas.Series of bool
        True for a text that names no class.
    """
    letters = texts.astype("str").str.lower().str.replace("[^a-z]", "", regex=True)
    classes = letters.map(_CLASS_SPELLINGS).astype(object)
    known = classes.isin(TECTONIC_CLASSES)
    blank = texts.isna() | letters.isin(("", "unknown", "undetermined", "nan"))
    return classes.where(known, None), ~known & ~blank


def _wrap_longitudes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its column ``longitude`` wrapped to -180 to 180 degrees."""
    return table.assign(longitude=wrapped(table["longitude"]))


def _write_box(region) -> str:
    """Return a region as the text ``west,south,east,north``, degrees."""
    return ",".join(f"{value:.7g}" for value in region or WHOLE_EARTH)


def _name_rows(table: pd.DataFrame, what: str) -> pd.Series:
    """Return the id of each event or station; for records, event id and station id with a blank between."""
    return table["event_id"] + " " + table["station_id"] if what == "record" else table[f"{what}_id"]


def _usable_events(events: pd.DataFrame, min_magnitude: float, tally: Tally) -> pd.DataFrame:
    """Return the events with a hypocentre and a magnitude of at least `min_magnitude`, each once."""
    hypocentre = ["origin_time", "longitude", "latitude", "depth_km"]
    reasons = {
        "origin time or hypocentre undetermined": lambda table: table[hypocentre].isna().any(axis=1),
        "listed twice": lambda table: table.duplicated([*hypocentre, "magnitude"]),
        "no magnitude": lambda table: table["magnitude"].isna(),
        f"magnitude below {min_magnitude:g}": lambda table: table["magnitude"] < min_magnitude,
        "second entry of its id": lambda table: table.duplicated("event_id"),
    }
    for reason, bad in reasons.items():
        events = drop(events, bad(events), "event", reason, tally)
    return events


def _usable_stations(
    table: pd.DataFrame, limits: Limits, tally: Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the stations that have coordinates, and the subset of these stations in the region."""
    blank = table[["longitude", "latitude"]].isna().any(axis=1)
    located = drop(table, blank, "station", "no coordinates", tally)
    if located.empty:
        raise DataError("no station has coordinates: check the station table")
    inside = limits.inside(located)
    if not inside.any():
        spans = *located[["longitude", "latitude"]].min(), *located[["longitude", "latitude"]].max()
        raise UsageError(
            f"no station lies in the region {_write_box(limits.region)} (west,south,east,north): "
            f"the table spans {_write_box([round(float(degrees), 2) for degrees in spans])}"
        )
    return located, drop(located, ~inside, "station", "outside the region", tally)


def _usable_amplitudes(rows: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the records with at least one usable intensity measure; unusable values become NaN.

    A value out of range in a record that is kept is counted as a dropped ``value``; a value that the file
    does not give is not counted.
    """
    ims = [name for name in rows.columns if imt.is_imt(name)]
    values = rows[ims]
    reasons = {"amplitude is zero": values == 0, "amplitude is negative": values < 0}
    for unit, (low, high) in AMPLITUDES.items():
        in_unit = [imt.unit(name) == unit for name in ims]
        reasons[f"amplitude below {low:g} {unit}"] = (values > 0) & (values < low) & in_unit
        reasons[f"amplitude above {high:g} {unit}"] = (values > high) & in_unit
    good = values.mask(sum(reasons.values(), start=values.isna()))
    left = good.notna().any(axis=1)
    for reason, bad in reasons.items():
        for name in ims:
            tally.drop("value", f"{name}: {reason}", _name_rows(rows[bad[name] & left], "record"))
    rows = rows.assign(**good)
    for reason, bad in {**reasons, "amplitude is missing": values.isna()}.items():
        unusable = (bad.any(axis=1) & ~left).loc[rows.index]
        rows = drop(rows, unusable, "record", reason, tally)
    return rows


def _usable_rupture_distances(rows: pd.DataFrame, r_hyp_km: np.ndarray, tally: Tally) -> pd.DataFrame:
    """Return the records with rupture distances that cannot be made NaN, counted as dropped ``value``.

    The hypocentre is a point of the rupture, so the rupture is not farther; but agencies revise hypocentres
    and estimate distances of unknown ruptures. A column without any value is left out.
    """
    distance = rows.get("r_rup_km", pd.Series(np.nan, rows.index))
    variance = rows.get("r_rup_var_km2", pd.Series(np.nan, rows.index))
    beyond = f"r_rup_km above the hypocentral distance by more than {BEYOND_KM:g} km and {BEYOND_SHARE:.0%}"
    reasons = {
        "r_rup_km is negative": distance < 0,
        beyond: distance > r_hyp_km * (1 + BEYOND_SHARE) + BEYOND_KM,
        "r_rup_var_km2 is negative or infinite": (variance < 0) | np.isinf(variance),
    }
    for reason, bad in reasons.items():
        tally.drop("value", reason, _name_rows(rows[bad], "record"))
    *wrong, strange = reasons.values()
    distance = distance.mask(wrong[0] | wrong[1])
    checked = {"r_rup_km": distance, "r_rup_var_km2": variance.mask(strange | distance.isna())}
    rows = rows.drop(columns=RUPTURE_DISTANCE, errors="ignore")
    return rows.assign(**{name: values for name, values in checked.items() if values.notna().any()})


def _note_out_of_service(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> list[dict]:
    """Return notes about records outside the operating period of their station in the station table.

    Such records are kept, because the table gives dates of announcements, and a station may record for some
    days after.
    """
    if "operating_from" not in stations or rows.empty:
        return []
    station = stations.set_index("station_id").loc[rows["station_id"]]
    time = events.set_index("event_id")["origin_time"].loc[rows["event_id"]].set_axis(station.index)
    early, late = time < station["operating_from"], time > station["operating_to"]
    return [
        *note("record", "before its station's operating period", _name_rows(rows[early.array], "record")),
        *note("record", "after its station's operating period", _name_rows(rows[late.array], "record")),
    ]


def _enough_records(
    events: pd.DataFrame, rows: pd.DataFrame, min_records: int, tally: Tally
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events with at least `min_records` records, and the records of these events."""
    counts = rows["event_id"].value_counts()
    enough = counts.index[counts >= min_records]
    reason = f"fewer than {min_records} records"
    few = ~rows["event_id"].isin(enough)
    return (
        drop(events, ~events["event_id"].isin(enough), "event", reason, tally),
        drop(rows, few, "record", f"its event has {reason}", tally),
    )


def _complete_provenance(raw: RawDataset, limits: Limits, noted: list[dict]) -> dict:
    """Return the provenance of the raw dataset with the limits, the counts of rows and the notes added."""
    chosen = dataclasses.asdict(limits) | {"region": list(limits.region) if limits.region else None}
    east = {what: int((getattr(raw, what)["longitude"] > 180).sum()) for what in ("events", "stations")}
    if any(east.values()):
        counts = " and ".join(f"{count} {what}" for what, count in east.items())
        chosen["longitude"] = f"{counts} above 180 degrees, wrapped to -180 to 180"
    return raw.provenance | {
        "simulated": False,
        "choices": chosen | {"distance": "hypocentral"} | raw.provenance.get("choices", {}),
        "read": raw.tally.read,
        "dropped": raw.tally.dropped(),
        "noted": raw.provenance.get("noted", []) + noted,
    }
