"""Tables of earthquakes of any agency -> one row an event, as it stands in the file."""

import dataclasses
import re

import pandas as pd

from tfgmm.readers.common import column_names, quakeml
from tfgmm.readers.common.sheet import Sheet

#: Columns that may hold what is wanted, best first, as `column_names.plain` writes them.
NEEDED = {
    "longitude": (*column_names.LONGITUDE, "eventlongitude", "eventlon", "epicentrelongitude"),
    "latitude": (*column_names.LATITUDE, "eventlatitude", "eventlat", "epicentrelatitude"),
    "depth_km": ("depth", "depthkm", "dep", "eventdepth", "eventdepthkm", "hypocentredepth"),
}
EVENT_ID = ("eventid", "id", "publicid", "cuspid", "evid")
TIME = (
    "origintime",
    "datetime",
    "time",
    "eventtime",
    "timeutc",
    "origintimeutc",
    "datetimeutc",
    "timestamp",
)
DATE = ("date", "origindate", "eventdate", "dateutc")
PARTS = ("year", "month", "day", "hour", "minute", "second")
#: Columns of moment magnitudes, of magnitudes whose type another column tells, and of other types.
MOMENT = {name: name.capitalize() for name in ("mw", "mww", "mwc", "mwb", "mwr")} | dict.fromkeys(
    ("momentmagnitude", "magnitudemw", "magmw"), "Mw"
)
MAGNITUDE = ("magnitude", "mag", "eventmagnitude")
OTHER = {"ms": "Ms", "mb": "mb", "ml": "ML", "md": "Md", "mjma": "Mj", "mj": "Mj"}
MAGNITUDE_TYPE = ("magnitudesource", "magnitudetype", "magtype")
EVENT_TYPE = ("eventtype", "evtype", "etype")

_MAGNITUDE_TYPE = re.compile(r"m[a-z]{0,2}(?:_?lg|jma|tmp|v)?\d?(?:\(\w+\))?", re.IGNORECASE)


def read(sheet: Sheet) -> pd.DataFrame:
    """Read the events of a table.

    A moment magnitude in a column of its own comes before ``mag`` or ``magnitude``, and that before
    magnitudes of other types, row by row. A column ``type`` tells of the magnitude where all of its
    values are types of magnitudes (ISC), else of the event (USGS).

    Parameters
    ----------
    sheet : Sheet

    Returns
    -------
    pandas.DataFrame
        As of `quakeml.read`, without blank rows; the index, ``row``, tells where it stands in the file.

    Raises
    ------
    UsageError
        A column is not there.
    """
    sheet = _distinct(sheet)
    column_names.refuse_contradictions(sheet)
    columns = {
        name: sheet.with_points(sheet.text(column_names.needed(sheet.path, sheet.columns, names)))
        for name, names in NEEDED.items()
    }
    columns["event_id"] = _text(sheet, EVENT_ID)
    of_magnitude, of_event = _types(sheet)
    magnitude, source = _magnitude(sheet, of_magnitude)
    columns |= {"magnitude": magnitude, "magnitude_source": source, "event_type": of_event}
    columns["origin_time"] = _time(sheet)
    rows = pd.Index(sheet.rows, name="row")
    table = pd.DataFrame(columns, columns=quakeml.COLUMNS, dtype="str").set_axis(rows)
    return table.dropna(how="all")


def _distinct(sheet: Sheet) -> Sheet:
    """Return the sheet with the second of two equal names numbered: ISC has two TYPE and two AUTHOR."""
    names = pd.Series(sheet.columns, dtype=object)
    again = names.groupby(names).cumcount()
    names = names + again.map(lambda number: f" {number + 1}" if number else "")
    return dataclasses.replace(sheet, table=sheet.table.rename_columns(names.tolist()))


def _text(sheet: Sheet, names) -> pd.Series | None:
    column = column_names.find(sheet.columns, names)
    return None if column is None else sheet.text(column)


def _types(sheet: Sheet) -> tuple[pd.Series | None, pd.Series | None]:
    """Return the types of magnitudes, and those of events."""
    of_magnitude, of_event = _text(sheet, MAGNITUDE_TYPE), _text(sheet, EVENT_TYPE)
    for name in sheet.columns:
        if re.fullmatch(r"type\d?", column_names.plain(name)):
            values = sheet.text(name)
            given = values.dropna().unique()
            if len(given) and all(map(_MAGNITUDE_TYPE.fullmatch, given)):
                of_magnitude = values if of_magnitude is None else of_magnitude
            elif of_event is None:
                of_event = values
    return of_magnitude, of_event


def _magnitude(sheet: Sheet, types: pd.Series | None) -> tuple[pd.Series, pd.Series]:
    """Return the best magnitude of each row, and its type."""
    present = {column_names.plain(name): name for name in reversed(sheet.columns)}
    columns = {name: present[name] for name in (*MOMENT, *MAGNITUDE, *OTHER) if name in present}
    if not columns:
        column_names.needed(sheet.path, sheet.columns, (MAGNITUDE[0], "mag", "mw"))  # whose error says so
    magnitude = source = pd.Series(None, range(sheet.table.num_rows), dtype="str")
    for plain, column in columns.items():
        values = sheet.with_points(sheet.text(column))
        new = magnitude.isna() & values.notna()
        magnitude = magnitude.mask(new, values)
        kind = types if plain in MAGNITUDE else (MOMENT | OTHER)[plain]
        source = source if kind is None else source.mask(new, kind)
    return magnitude, source


def _time(sheet: Sheet) -> pd.Series | None:
    """Return the origin times as text: of one column, of date and time, or of six from year to second."""
    date, time = _text(sheet, DATE), _text(sheet, TIME)
    if date is not None and time is not None:
        alone = ~time.str.match(r"\d{4}[-/]", na=False)
        joined = date.str.split(r"[T ]", regex=True).str[0] + "T" + time
        return time.mask(alone, joined)
    if date is not None or time is not None:
        return date if time is None else time
    parts = {part: _text(sheet, (part,)) for part in PARTS}
    if any(part is None for part in parts.values()):
        return None
    whole = {part: text.str.replace(r"\.0*$", "", regex=True).str.zfill(2) for part, text in parts.items()}
    second = parts["second"].str.replace(r"^(\d)(\.|$)", r"0\1\2", regex=True)
    clock = whole["hour"] + ":" + whole["minute"] + ":" + second
    return whole["year"] + "-" + whole["month"] + "-" + whole["day"] + "T" + clock
