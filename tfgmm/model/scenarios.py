"""What is to be predicted: earthquakes, and sites; read and checked."""

from pathlib import Path

import pandas as pd

from tfgmm.errors import DataError, UsageError
from tfgmm.records import Tally
from tfgmm.sources import catalogue, sheet

#: What describes an earthquake, with its lowest and highest value.
LIMITS = catalogue.RANGES
_SITE_IDS = ("site_id", "station_id")


def single(
    magnitude: float | None, longitude: float | None, latitude: float | None, depth_km: float | None
) -> pd.DataFrame:
    """The events table of one earthquake, ``event_id`` scenario.

    Raises
    ------
    UsageError
        A value is missing or cannot be.
    """
    given = {"longitude": longitude, "latitude": latitude, "depth_km": depth_km, "magnitude": magnitude}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UsageError(
            f"the scenario has no {', '.join(missing)}: give magnitude, longitude, latitude and depth"
        )
    for name, (lowest, highest) in LIMITS.items():
        if not lowest <= given[name] <= highest:
            raise UsageError(
                f"the scenario's {name} is {given[name]}, expected a number from {lowest} to {highest}"
            )
    return pd.DataFrame([{"event_id": "scenario"} | given])


def from_catalogue(path: Path) -> tuple[pd.DataFrame, Tally]:
    """Events of a catalogue, CSV or QuakeML, and how many were dropped because a value is blank.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        It is no catalogue (`tfgmm.sources.catalogue.read`), or no event is complete.
    """
    events, tally = catalogue.read(path), Tally()
    tally.count("event", len(events))
    for column in LIMITS:
        blank = events[column].isna()
        tally.drop("event", f"no {column}", events.loc[blank, "event_id"])
        events = events[~blank]
    if events.empty:
        raise DataError(f"{path}: no event has all of {', '.join(LIMITS)}: fill what is blank")
    return events.reset_index(drop=True), tally


def check_events(events: pd.DataFrame) -> pd.DataFrame:
    """The events with rows numbered and ``event_id`` as text, or an error that names the bad value.

    Raises
    ------
    UsageError
        A column is missing.
    DataError
        There is no event, or a value is missing or cannot be.
    """
    _check(events, "events", LIMITS)
    ids = events["event_id"] if "event_id" in events else pd.Series(range(1, len(events) + 1))
    return events.assign(event_id=ids.astype(str).to_numpy()).reset_index(drop=True)


def check_sites(sites: pd.DataFrame) -> pd.DataFrame:
    """``site_id, longitude, latitude`` of sites, rows numbered.

    The id is the column ``site_id`` or else ``station_id`` or else the number of the row, from 1.

    Raises
    ------
    UsageError
        A column is missing.
    DataError
        There is no site, or a coordinate is missing or cannot be.
    """
    coordinates = ["longitude", "latitude"]
    _check(sites, "sites", coordinates)
    named = next((name for name in _SITE_IDS if name in sites), None)
    ids = sites[named] if named else pd.Series(range(1, len(sites) + 1))
    return sites[coordinates].reset_index(drop=True).assign(site_id=ids.astype(str).to_numpy())


def read_sites(path: Path) -> pd.DataFrame:
    """Sites of a CSV, Excel or Parquet table with ``longitude``, ``latitude`` and perhaps an id.

    Raises
    ------
    UsageError
        The file does not exist or lacks a column.
    DataError
        It is no table, has no rows, or a coordinate is blank, no number or out of range.
    """
    table = sheet.read(path)
    found = {}
    for name in ("longitude", "latitude"):
        text, (lowest, highest) = table.text(name), LIMITS[name]
        found[name] = table.to_number(text)
        table.refuse(text, ~found[name].between(lowest, highest), f"a number from {lowest} to {highest}")
    for name in _SITE_IDS:
        if name in table.columns:
            found[name] = table.text(name)
            table.refuse(found[name], found[name].isna(), "an id")
    return check_sites(pd.DataFrame(found))


def _check(table: pd.DataFrame, what: str, columns) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"the {what} have no column {', '.join(missing)}: they need {', '.join(columns)}")
    if table.empty:
        raise DataError(f"there are no {what} to predict for: give at least one")
    for name in columns:
        lowest, highest = LIMITS[name]
        values = pd.to_numeric(table[name], errors="coerce")
        bad = ~values.between(lowest, highest).to_numpy()
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{what}, row {row + 1}, column {name}: {table[name].iloc[row]!s}, "
                f"expected a number from {lowest} to {highest}"
            )
