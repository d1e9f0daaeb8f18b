"""Earthquakes and sites to be predicted, read and checked."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.rupture import PLANE_LIMITS, Rupture
from tfgmm.core.sphere import wrapped
from tfgmm.data.schemas import EVENT_RANGES, VS30_RANGE
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue, rupture_file, sheet

_log = logging.getLogger(__name__)

#: Columns that describe an earthquake, with their lowest and highest values.
LIMITS = EVENT_RANGES
_SITE_IDS = ("site_id", "station_id")
#: Columns of a table of sites.
_SITE_COLUMNS = {
    "longitude": sheet.Column(sheet.LONGITUDE, sheet.NUMBER, True, True, *LIMITS["longitude"]),
    "latitude": sheet.Column(sheet.LATITUDE, sheet.NUMBER, True, True, *LIMITS["latitude"]),
    "site_id": sheet.Column(sheet.SITE, filled=True, expected="an id"),
    "vs30_m_s": sheet.Column(("vs30ms", "vs30"), sheet.NUMBER, False, False, *VS30_RANGE),
}


def single(
    magnitude: float | None, longitude: float | None, latitude: float | None, depth_km: float | None
) -> pd.DataFrame:
    """Return a table of events with one earthquake, whose ``event_id`` is ``scenario``.

    Parameters
    ----------
    magnitude : float or None
        Moment magnitude.
    longitude, latitude : float or None
        Epicentre, degrees.
    depth_km : float or None
        Depth, km.

    Returns
    -------
    pandas.DataFrame
        One row: ``event_id, longitude, latitude, depth_km, magnitude``; longitude from -180 to 180 degrees.

    Raises
    ------
    UsageError
        A value is missing (None) or out of range.
    """
    event = {"longitude": longitude, "latitude": latitude, "depth_km": depth_km, "magnitude": magnitude}
    missing = [name for name, value in event.items() if value is None]
    if missing:
        raise UsageError(
            f"the scenario has no {', '.join(missing)}: give magnitude, longitude, latitude and depth"
        )
    for name, (lowest, highest) in LIMITS.items():
        if not lowest <= event[name] <= highest:
            raise UsageError(
                f"the scenario's {name} is {event[name]}, expected a number from {lowest} to {highest}"
                + "; longitude and latitude may be swapped"
                * (name == "latitude" and abs(longitude) <= highest)
            )
    event["longitude"] = float(wrapped(longitude))
    return pd.DataFrame([{"event_id": "scenario"} | event])


def from_catalogue(path: Path, any_type: bool = False) -> tuple[pd.DataFrame, Tally]:
    """Read the earthquakes of a catalogue, a table or QuakeML, and count the dropped earthquakes by reason.

    Earthquakes without magnitude, coordinates or depth are dropped; origin times are not needed.

    Parameters
    ----------
    path : Path
        File of the catalogue.
    any_type : bool
        Also keep events that the catalogue calls a quarry blast, an explosion, ...

    Returns
    -------
    events : pandas.DataFrame
        A row per earthquake: ``event_id``; ``longitude, latitude``, degrees; ``depth_km``; ``magnitude``;
        ``magnitude_source``, the type of the magnitude; further columns of `catalogue.read`, with strike,
        dip, length and width of ruptures where the table has all four.
    tally : Tally
        Numbers of events that were read and dropped, by reason.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        The file is no catalogue (`tfgmm.readers.common.catalogue.read`), or every event lacks a value.
    """
    tally = Tally()
    events = catalogue.read(path, tally, times=False, any_type=any_type, planes=True)
    for column in LIMITS:
        blank = events[column].isna()
        tally.drop("event", f"no {column}", events.loc[blank, "event_id"])
        events = events[~blank]
    if events.empty:
        raise DataError(f"{path}: no event has all of {', '.join(LIMITS)}: fill what is blank")
    return events.reset_index(drop=True), tally


def taken_as_mw(events: pd.DataFrame, source: str) -> str:
    """Return a sentence on the types of magnitudes, and on the number of magnitudes that are taken as Mw.

    Parameters
    ----------
    events : pandas.DataFrame
        Column ``magnitude_source``, as returned by `from_catalogue`.
    source : str
        Name of the catalogue.

    Returns
    -------
    str

    >>> taken_as_mw(pd.DataFrame({"magnitude_source": ["mb", "Mww", "not stated"]}), "list.csv")
    'Magnitudes of list.csv: 1 mb, 1 Mww, 1 not stated; 2 of 3 are taken as Mw, which it does not say.'
    """
    not_moment = int((~events["magnitude_source"].map(catalogue.is_moment)).sum())
    types = f"Magnitudes of {source}: {catalogue.magnitude_types(events)}"
    if not not_moment:
        return f"{types}."
    return f"{types}; {not_moment:,} of {len(events):,} are taken as Mw, which it does not say."


def check_events(events: pd.DataFrame) -> pd.DataFrame:
    """Check a table of events, and return it with ``event_id`` as text and longitudes in one range.

    Parameters
    ----------
    events : pandas.DataFrame
        ``longitude, latitude`` (degrees), ``depth_km``, ``magnitude`` (Mw), and optionally ``event_id``.

    Returns
    -------
    pandas.DataFrame
        All columns of `events`, with a new index from 0. Without a column ``event_id``, the id is the
        number of the row, from 1. Longitudes are from -180 to 180 degrees.

    Raises
    ------
    UsageError
        A column is missing.
    DataError
        There is no event, or a value is missing or out of range.
    """
    _check(events, "events", LIMITS)
    ids = events["event_id"] if "event_id" in events else pd.Series(range(1, len(events) + 1))
    twice = ids.astype(str).duplicated()
    if twice.any():
        raise DataError(f"events: two have the id {str(ids[twice].iloc[0])!r}: give each an id of its own")
    longitude = wrapped(events["longitude"])
    return events.assign(event_id=ids.astype(str).to_numpy(), longitude=longitude).reset_index(drop=True)


def ruptures(events: pd.DataFrame, rupture: Path | str | None = None) -> dict[str, Rupture]:
    """Return the known surfaces of ruptures by event id.

    Parameters
    ----------
    events : pandas.DataFrame
        Events, as returned by `check_events`; optionally ``strike, dip`` (degrees), ``length_km`` and
        ``width_km``.
    rupture : path, optional
        GeoJSON file of the rupture of the one event.

    Returns
    -------
    dict of str to Rupture
        Without the event of a file that describes only a hypocentre.

    Raises
    ------
    UsageError
        A file is given for several events, or a value is out of range.
    DataError
        The file cannot be read, its surface does not fit the event in place, depth or size, or an event has
        only some of the values of a plane.
    """
    if rupture is None:
        has_planes = set(PLANE_LIMITS) <= set(events)
        return rupture_file.planes(events) if has_planes else {}
    if len(events) != 1:
        raise UsageError(f"--rupture describes one earthquake, and there are {len(events)}")
    path, event = Path(rupture), events.iloc[0]
    described = rupture_file.read(path)
    surface = described.rupture
    if surface is None:
        _log.warning("%s describes a hypocentre, no surface: the rupture counts as unknown", rupture)
        return {}
    rupture_file.refuse_far(path, surface, event["longitude"], event["latitude"])
    rupture_file.refuse_strange_depth(path, surface, event["depth_km"])
    rupture_file.refuse_strange_area(str(path), surface, event["magnitude"])
    if abs(described.magnitude - event["magnitude"]) > rupture_file.LIKE_MAGNITUDE:
        _log.warning(
            "%s is of an earthquake of M %.2g, and M %.2g is predicted: distances are those to its surface",
            *(path, described.magnitude, event["magnitude"]),
        )
    return {str(event["event_id"]): surface}


def check_sites(sites: pd.DataFrame) -> pd.DataFrame:
    """Check a table of sites, and return coordinates, ids and known Vs30 with a new index from 0.

    Parameters
    ----------
    sites : pandas.DataFrame
        ``longitude, latitude`` (degrees), and optionally ``site_id`` or ``station_id``, and ``vs30_m_s``
        (m/s), blank where unknown.

    Returns
    -------
    pandas.DataFrame
        ``longitude, latitude``, longitudes from -180 to 180 degrees; ``site_id``, text: the column
        ``site_id``, or else ``station_id``, or else the number of the row, from 1; ``vs30_m_s`` if given.

    Raises
    ------
    UsageError
        A column is missing.
    DataError
        There is no site, a coordinate is missing or out of range, or one id has two places or two Vs30.
    """
    coordinates = ["longitude", "latitude"]
    _check(sites, "sites", coordinates)
    id_column = next((name for name in _SITE_IDS if name in sites), None)
    ids = sites[id_column] if id_column else pd.Series(range(1, len(sites) + 1))
    checked = sites[coordinates].reset_index(drop=True).assign(site_id=ids.astype(str).to_numpy())
    checked["longitude"] = wrapped(checked["longitude"])
    if "vs30_m_s" in sites:
        checked["vs30_m_s"] = sites["vs30_m_s"].to_numpy()
        _refuse_outside(checked["vs30_m_s"].dropna(), "sites", *VS30_RANGE)
        checked["vs30_m_s"] = checked["vs30_m_s"].astype(float)
    _refuse_two_sites(checked, "sites", range(1, len(checked) + 1))
    return checked


def _refuse_two_sites(sites: pd.DataFrame, what: str, rows: Sequence[int]) -> None:
    """Raise `DataError` for the first id that has two places or two Vs30; an id may be listed twice."""
    distinct = sites.drop_duplicates()
    repeated = distinct.duplicated("site_id")
    if repeated.any():
        second = int(repeated.idxmax())
        name = sites.at[second, "site_id"]
        first = int((sites["site_id"] == name).idxmax())
        pair = sites.loc[[first, second]]
        where = f"{what}, rows {rows[first]} and {rows[second]}: site {name!r} has two"
        if len(pair.drop_duplicates(["longitude", "latitude"])) == 1:
            values = " and ".join(f"{value:g}" for value in pair["vs30_m_s"])
            raise DataError(f"{where} values of vs30_m_s ({values}): give one, or two ids")
        places = " and ".join(f"{row.longitude:g}, {row.latitude:g}" for row in pair.itertuples())
        raise DataError(f"{where} places ({places}): give each place an id of its own")


def read_sites(path: Path) -> tuple[pd.DataFrame, Tally]:
    """Read the sites of a table, and count the rows that list a site again.

    Parameters
    ----------
    path : Path
        A table. The columns are called ``longitude, lon, long, lng`` and ``latitude, lat`` (degrees), and
        the id ``site_id``, ``custom_site_id``, ``station_id``, ... (`sheet.SITE`), in any case.

    Returns
    -------
    sites : pandas.DataFrame
        A row per site: ``longitude, latitude, site_id``, longitudes from -180 to 180 degrees; ``vs30_m_s``
        (m/s, NaN where blank) if the table has it. Without an id in the table, sites are numbered from 1.
    tally : Tally
        Numbers of rows that were read and dropped.

    Raises
    ------
    UsageError
        The file does not exist or lacks a column.
    DataError
        The file is no table or has no rows, a coordinate is blank, not a number or out of range, a Vs30 is
        a mark such as -999 or NaN or out of range, or one id has two places or two Vs30.
    """
    table = sheet.read(path)
    located = sheet.locate_columns(table, _SITE_COLUMNS)
    listed, tally = sheet.read_columns(table, _SITE_COLUMNS, located).reset_index(drop=True), Tally()
    if "vs30_m_s" in located:
        _refuse_marks(table, located["vs30_m_s"], listed["vs30_m_s"])
    else:
        listed = listed.drop(columns="vs30_m_s")
    if "site_id" not in located:
        listed["site_id"] = (listed.index + 1).astype(str)
    listed = listed.assign(longitude=wrapped(listed["longitude"]), site_id=listed["site_id"].astype(object))
    _refuse_two_sites(listed, str(path), table.rows)
    tally.count("site", len(listed))
    repeated = listed.duplicated()
    tally.drop("site", "listed again", listed.loc[repeated, "site_id"])
    return listed[~repeated].reset_index(drop=True), tally


def _refuse_marks(table: sheet.Sheet, column: str, numbers: pd.Series) -> None:
    """Raise `DataError` for a Vs30 such as -999 or NaN, which may be meant as a value; a blank is none."""
    text = table.text(column, sentinels=False)
    marked = numbers.isna() & text.notna()
    lowest, highest = VS30_RANGE
    table.refuse(
        text, marked, f"{lowest:g} to {highest:g} m/s, or a blank cell where the site layer counts"
    )


def _check(table: pd.DataFrame, what: str, columns) -> None:
    """Raise an error if a column of a table is missing, or a value is missing or out of `LIMITS`."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"the {what} have no column {', '.join(missing)}: they need {', '.join(columns)}")
    if table.empty:
        raise DataError(f"there are no {what} to predict for: give at least one")
    for name in columns:
        _refuse_outside(table[name].reset_index(drop=True), what, *LIMITS[name])


def _refuse_outside(values: pd.Series, what: str, lowest: float, highest: float) -> None:
    """Raise `DataError` for the first of the values of a column, by row from 0, that is out of a range."""
    bad = ~pd.to_numeric(values, errors="coerce").between(lowest, highest)
    if bad.any():
        row = bad.idxmax()
        raise DataError(
            f"{what}, row {row + 1}, column {values.name}: {values[row]!s}, "
            f"expected a number from {lowest} to {highest}"
        )
