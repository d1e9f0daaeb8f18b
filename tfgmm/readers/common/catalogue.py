"""Read event catalogues (tables or QuakeML); replace magnitudes by those of a catalogue."""

import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from tfgmm.core import errors
from tfgmm.core.errors import DataError
from tfgmm.core.rupture import PLANE_LIMITS
from tfgmm.core.sphere import wrapped
from tfgmm.data.schemas import EVENT_RANGES, TECTONIC_CLASSES, YEARS
from tfgmm.data.tally import Tally
from tfgmm.readers.common import bounded, matching, selection, sheet
from tfgmm.readers.common.rupture_file import PLANE_COLUMNS, refuse_incomplete
from tfgmm.readers.common.sheet import NUMERAL, Column

#: Columns of the table of events.
QUAKEML_COLUMNS = ["event_id", "origin_time", "longitude", "latitude", "depth_km", "magnitude"]
QUAKEML_COLUMNS += ["magnitude_source", "event_type"]
#: Pattern of an event id in a public id, as ``query?eventid=us7000abcd&format=quakeml`` of FDSN services
#: or ``evid=600516598`` of the ISC.
_QUERY = re.compile(r"[?&/](?:event|ev)id=([^&/#]+)", re.IGNORECASE)

#: Names of elements that are not read; an event may have thousands of them.
_BULK = ("pick", "arrival", "amplitude", "stationMagnitude", "focalMechanism")


def read_quakeml(path: Path, content: bytes) -> pd.DataFrame:
    """Read the events of a QuakeML file of any version into a table of text, one event at a time.

    The preferred origin is taken, else the first. The magnitude is the preferred one if it is a moment
    magnitude, else the first moment magnitude, else the preferred magnitude, else the first.

    Parameters
    ----------
    path : Path
        File of the content, for messages.
    content : bytes
        Content of the file.

    Returns
    -------
    pandas.DataFrame, [n_events, 8]
        `COLUMNS` as text (degrees, km), missing where the file has no value; the index, named ``event``,
        counts from 1.

    Raises
    ------
    DataError
        The content is no QuakeML.
    """
    try:
        rows = [_read_event(event) for event in _iterate_events(content)]
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(
            f"{path} is no QuakeML ({error}): give QuakeML, or a table with a header such as "
            "time,latitude,longitude,depth,mag"
        ) from error
    table = pd.DataFrame(rows, columns=QUAKEML_COLUMNS, dtype="str")
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="event"))


def is_moment(magnitude_type: str | None) -> bool:
    """Return True if a type of magnitude is a moment magnitude: Mw, Mww, Mwc, Mwb, Mwr, ...

    Parameters
    ----------
    magnitude_type : str or None
        Type of the magnitude in any case.

    Returns
    -------
    bool
        False for other types and for None.

    Examples
    --------
    >>> is_moment("mww"), is_moment("Mw(mB)"), is_moment("ML")
    (True, False, False)
    """
    return re.fullmatch(r"mw[a-z]*", magnitude_type or "", re.IGNORECASE) is not None


def _iterate_events(content: bytes) -> Iterator[ElementTree.Element]:
    """Yield the XML element of each event; the element is emptied before the next event is read."""
    open_elements: list[ElementTree.Element] = []
    for what, element in ElementTree.iterparse(io.BytesIO(content), ("start", "end")):
        if what == "start":
            if not open_elements and _name(element.tag) != "quakeml":
                raise ValueError(f"its root is <{_name(element.tag)}>")
            open_elements.append(element)
            continue
        open_elements.pop()
        if _name(element.tag) in _BULK:
            element.clear()
        if len(open_elements) == 2:  # below quakeml and eventParameters
            if _name(element.tag) == "event":
                yield element
            open_elements[-1].clear()


def _name(tag: str) -> str:
    """Return the name of a tag or attribute without its namespace, which differs by QuakeML version."""
    return tag.rpartition("}")[2]


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the child elements of an element that have the given name."""
    return [child for child in element if _name(child.tag) == name]


def _text(element: ElementTree.Element | None, *names: str) -> str | None:
    """Return the text of the element at a path of names below an element; None if there is no text."""
    for name in names:
        element = next(iter(_children(element, name)), None) if element is not None else None
    text = "" if element is None else (element.text or "").strip()
    return text or None


def _read_event(event: ElementTree.Element) -> dict[str, str | None]:
    """Return the values of one event as texts, by column; None where the event has no value."""
    origin = _preferred(_children(event, "origin"), _text(event, "preferredOriginID"))
    magnitudes = [
        magnitude for magnitude in _children(event, "magnitude") if _text(magnitude, "mag", "value")
    ]
    best = _preferred(magnitudes, _text(event, "preferredMagnitudeID"))
    if not is_moment(_text(best, "type")):
        moment = (magnitude for magnitude in magnitudes if is_moment(_text(magnitude, "type")))
        best = next(moment, best)
    return {
        "event_id": _event_id({_name(key): value for key, value in event.attrib.items()}),
        "origin_time": _text(origin, "time", "value"),
        "longitude": _text(origin, "longitude", "value"),
        "latitude": _text(origin, "latitude", "value"),
        "depth_km": _in_km(_text(origin, "depth", "value")),
        "magnitude": _text(best, "mag", "value"),
        "magnitude_source": _text(best, "type"),
        "event_type": _text(event, "type"),
    }


def _preferred(elements: list[ElementTree.Element], public_id: str | None) -> ElementTree.Element | None:
    """Return the element with the given public id, else the first element; None if the list is empty."""
    chosen = (element for element in elements if element.get("publicID") == public_id)
    return next(chosen, next(iter(elements), None))


def _in_km(depth_m: str | None) -> str | None:
    """Return a depth, which QuakeML gives in m, in km; a text that is no number is returned unchanged."""
    try:
        return None if depth_m is None else repr(float(depth_m) / 1000)
    except ValueError:
        return depth_m


def _event_id(attributes: dict[str, str]) -> str | None:
    """Return the id under which the service of the agency knows an event; None if there is no id.

    The id is the ``eventid`` of a query, else ``catalog:eventsource`` followed by ``catalog:eventid``, else
    the last part of the public id.
    """
    public_id = attributes.get("publicID", "")
    if query := _QUERY.search(public_id):
        return query[1]
    source, number = attributes.get("eventsource", ""), attributes.get("eventid", "")
    if number:
        return number if number.startswith(source) else source + number
    return public_id.rstrip("/").rsplit("/")[-1] or None


QUAKEML = (".xml", ".qml", ".quakeml")
#: ``magnitude_source`` where the catalogue gives no type.
NOT_STATED = "not stated"
#: Plain names (`sheet.plain_name`) of columns of moment magnitudes, of magnitudes whose type is in another
#: column, and of magnitudes of other types.
MOMENT = {name: name.capitalize() for name in ("mw", "mww", "mwc", "mwb", "mwr")} | dict.fromkeys(
    ("momentmagnitude", "magnitudemw", "magmw"), "Mw"
)
MAGNITUDE = ("magnitude", "mag", "eventmagnitude")
OTHER = {"ms": "Ms", "mb": "mb", "ml": "ML", "md": "Md", "mjma": "Mj", "mj": "Mj"}
PARTS = ("year", "month", "day", "hour", "minute", "second")
TIMES = ("origintime", "datetime", "time", "eventtime", "timeutc", "origintimeutc", "datetimeutc")
#: Columns of a table of events, except the magnitudes.
COLUMNS = {
    "longitude": Column(
        (*sheet.LONGITUDE, "eventlongitude", "eventlon", "epicentrelongitude"), NUMERAL, required=True
    ),
    "latitude": Column(
        (*sheet.LATITUDE, "eventlatitude", "eventlat", "epicentrelatitude"), NUMERAL, required=True
    ),
    "depth_km": Column(
        ("depth", "depthkm", "dep", "eventdepth", "eventdepthkm", "hypocentredepth"), NUMERAL, required=True
    ),
    "event_id": Column(("eventid", "id", "publicid", "cuspid", "evid")),
    "time": Column((*TIMES, "timestamp")),
    "date": Column(("date", "origindate", "eventdate", "dateutc")),
    **{part: Column((part,)) for part in PARTS},
    "magnitude_type": Column(("magnitudesource", "magnitudetype", "magtype")),
    "event_type": Column(("eventtype", "evtype", "etype")),
}

_TECTONIC_CLASS = {"tectonic_class": Column(("tectonicclass", "tectonicregion", "tectonicregiontype"))}

#: Pattern of event types that are no earthquakes, as QuakeML, FDSN services, ISC and SCEDC write them.
_NO_EARTHQUAKE = re.compile(
    r"blast|explo|quarr|\bmin(?:e|es|ing)\b|collapse|rock ?burst|\bice|sonic|acoustic|thunder|avalanche"
    r"|slide|meteor|crash|eruption|glaci|nuclear|noise|atmospher|anthropogenic|road cut|other|duplicate"
    r"|false|fake|\bno[nt]\b(?! reported)|^(?:[ks][hmnrx]|ls|qb|ex|sn|nt)$"
)
_MAGNITUDE_TYPE = re.compile(r"m[a-z]{0,2}(?:_?lg|jma|tmp|v)?\d?(?:\(\w+\))?", re.IGNORECASE)
_TIME = "a time such as 2016-12-28T12:38:49Z"


def read(
    path: Path, tally: Tally, *, times: bool = True, any_type: bool = False, planes: bool = False
) -> pd.DataFrame:
    """Read the earthquakes of an event catalogue into an events table, and count the events left out.

    A table (`sheet.read`: CSV, FDSN text, Excel, ...) has a header such as
    ``time,latitude,longitude,depth,mag`` and depths in km. Times are ISO 8601, in UTC unless they give an
    offset (``2016-12-28T21:38:49+09:00``).

    In each row of a table the magnitude is taken from the first of these columns with a value: moment
    magnitude, ``magnitude`` or ``mag``, other types. A column ``type`` holds the type of the magnitude if
    all its values are types of magnitudes (ISC), else the type of the event (USGS).

    An event is left out if a value is impossible, such as a latitude of 95 degrees, or if its type is no
    earthquake: a quarry blast, an explosion, an ice quake, ...

    Parameters
    ----------
    path : Path
        Catalogue file: QuakeML if the ending or the first character says so, else a table.
    tally : Tally
        Counts to which the numbers of events read and of events left out are added.
    times : bool
        Whether origin times are needed. If false, a text that is no time counts as blank.
    any_type : bool
        Whether events of all types are kept.
    planes : bool
        Whether the tectonic class is read too, and strike, dip, length and width of ruptures, from a table
        that has all four.

    Returns
    -------
    pandas.DataFrame
        One row per event, with the columns of the events table of a dataset; NaN or NaT where blank. With
        `planes` also ``strike, dip`` (degrees), ``length_km, width_km``, and ``tectonic_class``, None where
        unknown, if the table has them.
        ``magnitude_source`` is the type of the magnitude, or ``not stated``. An event without id gets an id
        made of its origin time (`time_ids`).

    Raises
    ------
    UsageError
        The file or a required column does not exist.
    DataError
        The file is no catalogue, or no event can be used.
    """
    table = _read_rows(path, planes)
    tally.count("event", len(table))
    if table.empty:
        raise DataError(f"{path} lists no event: give a catalogue with at least one")
    if not any_type:
        table = _keep_earthquakes(path, table, tally)
    events = _convert(path, table, tally, times)
    events["longitude"] = wrapped(events["longitude"])
    ids, origin = events["event_id"].copy(), events["origin_time"]
    ids[ids.isna() & origin.notna()] = time_ids(origin[ids.isna() & origin.notna()])
    ids[ids.isna()] = _name_rows(ids[ids.isna()])
    source = events["magnitude_source"].fillna(NOT_STATED)
    return events.assign(event_id=unique(ids), magnitude_source=source).reset_index(drop=True)


def magnitude_types(events: pd.DataFrame) -> str:
    """Return a text with the number of events per type of magnitude, the most frequent type first.

    Parameters
    ----------
    events : pandas.DataFrame
        Column ``magnitude_source``, the type of the magnitude; one row per event.

    Returns
    -------
    str
        Numbers and types.

    Examples
    --------
    >>> magnitude_types(pd.DataFrame({"magnitude_source": ["mb", "Mww", "Mww"]}))
    '2 Mww, 1 mb'
    """
    counts = events["magnitude_source"].value_counts()
    return errors.listed([f"{count:,} {kind}" for kind, count in counts.items()])


def improve(
    events: pd.DataFrame, catalogue: pd.DataFrame, tolerance: matching.Tolerance
) -> tuple[pd.DataFrame, dict]:
    """Replace the magnitudes of events by the magnitudes of the same earthquakes in a catalogue.

    Parameters
    ----------
    events : pandas.DataFrame
        Events table, whose magnitudes are replaced.
    catalogue : pandas.DataFrame
        Events table with the new magnitudes; events without magnitude are ignored.
    tolerance : Tolerance
        Largest differences in time, place and magnitude between two entries of one earthquake.

    Returns
    -------
    events : pandas.DataFrame
        The events in the same order. ``magnitude_source`` of a matched event is ``catalogue`` and the type
        of the new magnitude; an event without match is unchanged.
    report : dict
        ``events``, ``matched`` and ``unmatched``: numbers of events; ``examples``: ids of up to three
        unmatched events; ``taken_as_mw``: types of the new magnitudes (`magnitude_types`); ``mean_change``
        and ``largest_change`` (absolute) of the magnitude, None if no old and new magnitude can be
        compared.
    """
    usable = catalogue[catalogue["magnitude"].notna()]
    partner = matching.match(events, usable, tolerance)
    matched = partner >= 0
    old = events["magnitude"].to_numpy(float)
    new, source = old.copy(), events["magnitude_source"].to_numpy(dtype=object, copy=True)
    new[matched] = usable["magnitude"].to_numpy()[partner[matched]]
    source[matched] = "catalogue " + usable["magnitude_source"].to_numpy(dtype=object)[partner[matched]]
    change = (new - old)[matched & np.isfinite(old)]
    report = {
        "events": len(events),
        "matched": int(matched.sum()),
        "unmatched": int((~matched).sum()),
        "examples": events["event_id"][~matched].head(3).tolist(),
        "taken_as_mw": magnitude_types(usable.iloc[partner[matched]]),
        "mean_change": float(change.mean()) if len(change) else None,
        "largest_change": float(np.abs(change).max()) if len(change) else None,
    }
    return events.assign(magnitude=new, magnitude_source=source), report


def time_ids(times: pd.Series, prefix: str = "") -> list[str]:
    """Return event ids made of origin times in UTC, to the hundredth of a second.

    Parameters
    ----------
    times : pandas.Series or DatetimeIndex of timestamps, [n]
        Origin times, UTC.
    prefix : str
        Text in front of each time.

    Returns
    -------
    list of str, [n]
        Ids; ``unknown`` after the prefix where the time is missing.

    Examples
    --------
    >>> time_ids(pd.to_datetime(["2016-12-28T12:38:49.04Z"]), "nied")
    ['nied20161228123849.04']
    """
    return [prefix + ("unknown" if pd.isna(time) else f"{time:%Y%m%d%H%M%S.%f}"[:-4]) for time in times]


def unique(ids: pd.Series) -> pd.Series:
    """Make ids unique: append ``-2`` to the second of equal ids, ``-3`` to the third, and so on.

    Parameters
    ----------
    ids : pandas.Series of str, [n]
        Ids, some of them equal.

    Returns
    -------
    pandas.Series of str, [n]
        Ids that differ.

    Examples
    --------
    >>> unique(pd.Series(["a", "b", "a"])).tolist()
    ['a', 'b', 'a-2']
    """
    again = ids.groupby(ids).cumcount()
    return ids + ("-" + (again + 1).astype(str)).where(again > 0, "")


def _read_rows(path: Path, planes: bool = False) -> pd.DataFrame:
    """Return the events of a catalogue file as text, one row per event; the index counts rows or events."""
    content = bounded.content(path)
    xml = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if xml or path.suffix.lower() in QUAKEML:
        return read_quakeml(path, content)
    del content
    return _read_table(sheet.read(path), planes)


# ---- values and types of events ----------------------------------------------------------------


def _keep_earthquakes(path: Path, table: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the rows whose event type is earthquake or unknown; count the other rows in `tally`."""
    kinds = table["event_type"].dropna().unique()
    no_earthquake = table["event_type"].isin(list(filter(_is_no_earthquake, kinds)))
    for kind, rows in table[no_earthquake].groupby("event_type"):
        tally.drop("event", f"{kind}, no earthquake", _name_events(rows))
    if no_earthquake.all():
        counts = [f"{count:,} {kind}" for kind, count in table["event_type"].value_counts().items()]
        raise DataError(
            f"{path}: none of its {len(table):,} events is an earthquake ({errors.listed(counts)}): give "
            "earthquakes, or --any-type to predict these as if they were"
        )
    return table[~no_earthquake]


def _is_no_earthquake(event_type: str) -> bool:
    """Return True for an event type that is certainly no earthquake, such as ``quarry blast``."""
    kind = re.sub(r"[_\s-]+", " ", event_type).strip().lower()
    if re.search(r"earthquake|induced", kind) and not re.search(r"\bno[nt]\b", kind):
        return False
    return _NO_EARTHQUAKE.search(kind) is not None


def _convert(path: Path, table: pd.DataFrame, tally: Tally, times: bool) -> pd.DataFrame:
    """Return the events with numbers and times in place of text; drop and count impossible values."""
    events, bad = table.drop(columns="event_type"), pd.Series(False, table.index)
    if "tectonic_class" in table:
        events["tectonic_class"] = _read_tectonic_classes(path, table)
    if set(PLANE_LIMITS) <= set(table):
        events = events.assign(**_read_planes(path, table))
    first_error = ""
    for name, expected, values, cannot_be in _convert_columns(table, times):
        events[name] = values
        new = cannot_be & ~bad
        rows = table[new]
        names = [f"{event}: {text}" for event, text in zip(_name_events(rows), rows[name], strict=True)]
        tally.drop("event", f"{name} is not {expected}", names)
        if new.any() and not first_error:
            value = rows[name].iat[0]
            first_error = f"{path}, {_name_rows(rows)[0]}, column {name}: {value!r}, expected {expected}"
            if re.fullmatch(sheet.DECIMAL_COMMA, value):
                first_error += "; decimal commas are read with --decimal-comma"
        bad |= cannot_be
    if bad.all():
        others = f"; of the other {len(bad) - 1:,} events none can be read either" if len(bad) > 1 else ""
        raise DataError(first_error + others)
    return events[~bad]


def _name_events(rows: pd.DataFrame) -> list[str]:
    """Return for each row its number in the file and the id of its event, as ``row 3 (us7000abcd)``."""
    ids = rows["event_id"]
    named = zip(_name_rows(rows), ids, ids.notna(), strict=True)
    return [f"{row} ({name})" if known else row for row, name, known in named]


def _name_rows(rows: pd.DataFrame | pd.Series) -> list[str]:
    """Return for each row its number in the file, as ``row 3``."""
    return [f"{rows.index.name} {number}" for number in rows.index]


def _convert_columns(table: pd.DataFrame, times: bool) -> Iterator[tuple[str, str, pd.Series, pd.Series]]:
    """Yield for each column: name, expected values (a text), converted values, and which are impossible."""
    time = _parse_times(table["origin_time"])
    yield "origin_time", _TIME, time, times & time.isna() & table["origin_time"].notna()
    for name, limits in EVENT_RANGES.items():
        yield name, *_numbers(table[name], *limits)


def _numbers(texts: pd.Series, lowest: float, highest: float) -> tuple[str, pd.Series, pd.Series]:
    """Return the expected values (a text), the values of texts, and which of them are impossible."""
    values = pd.to_numeric(texts, errors="coerce").astype(float)
    absent = texts.isna() | texts.str.lower().isin(sheet.NO_NUMBER)
    cannot_be = ~absent & ~values.between(lowest, highest)
    return f"a number from {lowest:g} to {highest:g}", values, cannot_be


def _read_planes(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return strike, dip, length and width of ruptures; refuse impossible values and half planes.

    An event whose plane were left out would be predicted as if its rupture were unknown.
    """
    planes = pd.DataFrame(index=table.index)
    for name, limits in PLANE_LIMITS.items():
        expected, planes[name], cannot_be = _numbers(table[name], *limits)
        if cannot_be.any():
            rows = table[cannot_be]
            raise DataError(
                f"{path}, {_name_rows(rows)[0]}, column {name}: {rows[name].iat[0]!r}, expected {expected}"
            )
    refuse_incomplete(planes, f"{path}, {table.index.name}")
    return planes


def _read_tectonic_classes(path: Path, table: pd.DataFrame) -> pd.Series:
    """Return the tectonic class of each event, None where unknown; refuse a text that names no class."""
    classes, strange = selection.tectonic_classes(table["tectonic_class"])
    if strange.any():
        rows = table[strange]
        raise DataError(
            f"{path}, {_name_rows(rows)[0]}, column tectonic_class: {rows['tectonic_class'].iat[0]!r}, "
            f"expected {', '.join(TECTONIC_CLASSES)} or a blank"
        )
    return classes


def _parse_times(texts: pd.Series) -> pd.Series:
    """Return times in UTC from texts; NaT for a text that is no time, or a year outside `schemas.YEARS`."""
    texts = texts.str.replace(r"\s*(?:UTC|GMT)$", "Z", regex=True)
    texts = texts.where(texts.str.contains(":", na=False))  # not a date or a year alone
    times = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    return times.where(times.dt.year.isin(YEARS)).astype("datetime64[us, UTC]")


# ---- tables of any agency ----------------------------------------------------------------------


def _read_table(table: sheet.Sheet, planes: bool = False) -> pd.DataFrame:
    """Return the events of a table in the columns of `QUAKEML_COLUMNS`, as text, without blank rows.

    With `planes` there are also the columns of `PLANE_LIMITS`, if the table has all of them. The index,
    named ``row``, is the number of the row in the file.
    """
    table = _number_repeats(table)
    located = sheet.locate_columns(table, COLUMNS)
    rows = sheet.read_columns(table, COLUMNS, located)
    magnitude_type, event_type = _read_types(table, rows, located)
    magnitude, source = _read_magnitudes(table, magnitude_type)
    rows = rows.assign(
        magnitude=magnitude,
        magnitude_source=source,
        event_type=event_type,
        origin_time=_join_times(rows, located),
    )
    rows = rows[QUAKEML_COLUMNS]
    of_class = sheet.locate_columns(table, _TECTONIC_CLASS)
    if planes and of_class:
        rows = rows.join(sheet.read_columns(table, _TECTONIC_CLASS, of_class))
    of_planes = {name: Column(names, NUMERAL) for name, names in PLANE_COLUMNS.items()}
    located = sheet.locate_columns(table, of_planes) if planes else {}
    missing = [name for name in of_planes if name not in located]
    if len(missing) == 1:  # strike and dip alone are a focal mechanism
        raise DataError(
            f"{table.path} has {', '.join(located)}, but no column {missing[0]}: a rupture needs all four"
        )
    if not missing:
        rows = rows.join(sheet.read_columns(table, of_planes, located))
    return rows.astype("str").dropna(how="all")


def _number_repeats(table: sheet.Sheet) -> sheet.Sheet:
    """Return the table with numbers appended to repeated column names: ISC writes TYPE and AUTHOR twice."""
    names = pd.Series(table.columns, dtype=object)
    again = names.groupby(names).cumcount()
    names = names + again.map(lambda number: f" {number + 1}" if number else "")
    return dataclasses.replace(table, table=table.table.rename_columns(names.tolist()))


def _read_types(table: sheet.Sheet, rows: pd.DataFrame, located: dict) -> tuple[pd.Series, pd.Series]:
    """Return the magnitude type and the event type of each row; blank where no column has it."""
    types = {name: rows[name] for name in ("magnitude_type", "event_type")}
    known = set(located)
    for name in table.columns:
        if re.fullmatch(r"type\d?", sheet.plain_name(name)):
            values = table.text(name).set_axis(rows.index)
            present = values.dropna().unique()
            of_magnitudes = len(present) and all(map(_MAGNITUDE_TYPE.fullmatch, present))
            what = "magnitude_type" if of_magnitudes else "event_type"
            if what not in known:
                types[what] = values
                known.add(what)
    return types["magnitude_type"], types["event_type"]


def _read_magnitudes(table: sheet.Sheet, types: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the best magnitude of each row as text, and its type; moment magnitudes come first."""
    wanted = {name: Column((name,), NUMERAL) for name in (*MOMENT, *MAGNITUDE, *OTHER)}
    located = sheet.locate_columns(table, wanted)
    if not located:
        raise sheet.lacking_columns(table, (MAGNITUDE[0], "mag", "mw"))
    listed = sheet.read_columns(table, {name: wanted[name] for name in located}, located)
    magnitude = source = pd.Series(None, listed.index, dtype="str")
    for name in located:
        new = magnitude.isna() & listed[name].notna()
        magnitude = magnitude.mask(new, listed[name])
        source = source.mask(new, types if name in MAGNITUDE else (MOMENT | OTHER)[name])
    return magnitude, source


def _join_times(rows: pd.DataFrame, located: dict) -> pd.Series:
    """Return the origin time of each row as text.

    The text comes from one column, from a date and a time, or from six columns (year to second).
    """
    date, time = rows["date"], rows["time"]
    if "date" in located and "time" in located:
        alone = ~time.str.match(r"\d{4}[-/]", na=False)
        joined = date.str.split(r"[T ]", regex=True).str[0] + "T" + time
        return time.mask(alone, joined)
    if "date" in located or "time" in located:
        return date if "date" in located else time
    # Blank where one of the six columns is absent.
    whole = {part: rows[part].str.replace(r"\.0*$", "", regex=True).str.zfill(2) for part in PARTS}
    second = rows["second"].str.replace(r"^(\d)(\.|$)", r"0\1\2", regex=True)
    clock = whole["hour"] + ":" + whole["minute"] + ":" + second
    return whole["year"] + "-" + whole["month"] + "-" + whole["day"] + "T" + clock
