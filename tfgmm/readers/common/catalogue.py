"""Event catalogues, tables or QuakeML -> the events table; better magnitudes for events."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import errors
from tfgmm.core.errors import DataError
from tfgmm.core.sphere import wrapped
from tfgmm.data.schemas import EVENT_RANGES, YEARS
from tfgmm.data.tally import Tally
from tfgmm.readers.common import bounded, catalogue_table, matching, quakeml, sheet

QUAKEML = (".xml", ".qml", ".quakeml")
#: ``magnitude_source`` where the catalogue tells no type.
NOT_STATED = "not stated"

#: Types of events that are no earthquakes, as written by QuakeML, FDSN services, ISC and SCEDC.
_NO_EARTHQUAKE = re.compile(
    r"blast|explo|quarr|\bmin(?:e|es|ing)\b|collapse|rock ?burst|\bice|sonic|acoustic|thunder|avalanche"
    r"|slide|meteor|crash|eruption|glaci|nuclear|noise|atmospher|anthropogenic|road cut|other|duplicate"
    r"|false|fake|\bno[nt]\b(?! reported)|^(?:[ks][hmnrx]|ls|qb|ex|sn|nt)$"
)
_TIME = "a time such as 2016-12-28T12:38:49Z"


def read(path: Path, tally: Tally, *, times: bool = True, any_type: bool = False) -> pd.DataFrame:
    """Read the earthquakes of a catalogue, and count what is left out.

    A table (`sheet.read`: CSV, FDSN text, Excel, ...) has a header such as
    ``time,latitude,longitude,depth,mag`` (`catalogue_table`) and depths in km. Times are ISO 8601, in UTC
    unless they give an offset (``2016-12-28T21:38:49+09:00``). Of several magnitudes a moment magnitude
    is taken. An event with a value that cannot be is left out, and so is what the catalogue does not
    call an earthquake: quarry blasts, explosions, ice quakes, ...

    Parameters
    ----------
    path : Path
        QuakeML is told from its ending or its first character.
    tally : Tally
        Gets the number of events, and those left out.
    times : bool
        Whether origin times are needed: without, what is no time is missing.
    any_type : bool
        Keep events of all types.

    Returns
    -------
    pandas.DataFrame
        The columns of the data contract, NaN or NaT where blank. ``magnitude_source`` is the type as
        listed, else ``not stated``. An event without id has its origin time for one (`time_ids`).

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        It is no catalogue, or no event can be used.
    """
    table = _rows(path)
    tally.count("event", len(table))
    if table.empty:
        raise DataError(f"{path} lists no event: give a catalogue with at least one")
    if not any_type:
        table = _earthquakes(path, table, tally)
    events = _values(path, table, tally, times)
    events["longitude"] = wrapped(events["longitude"])
    ids, times = events["event_id"].copy(), events["origin_time"]
    ids[ids.isna() & times.notna()] = time_ids(times[ids.isna() & times.notna()])
    ids[ids.isna()] = _places(ids[ids.isna()])
    source = events["magnitude_source"].fillna(NOT_STATED)
    return events.assign(event_id=unique(ids), magnitude_source=source).reset_index(drop=True)


def magnitude_types(events: pd.DataFrame) -> str:
    """Return how many events have a magnitude of which type, the most frequent first.

    >>> magnitude_types(pd.DataFrame({"magnitude_source": ["mb", "Mww", "Mww"]}))
    '2 Mww, 1 mb'
    """
    counts = events["magnitude_source"].value_counts()
    return errors.listed([f"{count:,} {kind}" for kind, count in counts.items()])


def improve(
    events: pd.DataFrame, catalogue: pd.DataFrame, tolerance: matching.Tolerance
) -> tuple[pd.DataFrame, dict]:
    """The events with the magnitudes of their partners in a catalogue.

    Parameters
    ----------
    events, catalogue : pandas.DataFrame
        Events tables. Who has no magnitude in the catalogue is nobody's partner.
    tolerance : Tolerance

    Returns
    -------
    events : pandas.DataFrame
        ``magnitude_source`` of a matched event is ``catalogue`` and the type of magnitude.
    report : dict
        ``events``, ``matched``, ``unmatched`` with up to three ``examples``, ``taken_as_mw`` (types of the
        magnitudes taken, see `magnitude_types`), and ``mean_change`` and ``largest_change`` of the
        magnitude (None where nothing changed).
    """
    usable = catalogue[catalogue["magnitude"].notna()]
    partner = matching.match(events, usable, tolerance)
    found = partner >= 0
    old = events["magnitude"].to_numpy(float)
    new, source = old.copy(), events["magnitude_source"].to_numpy(dtype=object, copy=True)
    new[found] = usable["magnitude"].to_numpy()[partner[found]]
    source[found] = "catalogue " + usable["magnitude_source"].to_numpy(dtype=object)[partner[found]]
    change = (new - old)[found & np.isfinite(old)]
    report = {
        "events": len(events),
        "matched": int(found.sum()),
        "unmatched": int((~found).sum()),
        "examples": events["event_id"][~found].head(3).tolist(),
        "taken_as_mw": magnitude_types(usable.iloc[partner[found]]),
        "mean_change": float(change.mean()) if len(change) else None,
        "largest_change": float(np.abs(change).max()) if len(change) else None,
    }
    return events.assign(magnitude=new, magnitude_source=source), report


def time_ids(times: pd.Series, prefix: str = "") -> list[str]:
    """Ids made of origin times in UTC, to the hundredth of a second.

    >>> time_ids(pd.to_datetime(["2016-12-28T12:38:49.04Z"]), "nied")
    ['nied20161228123849.04']
    """
    return [prefix + ("unknown" if pd.isna(time) else f"{time:%Y%m%d%H%M%S.%f}"[:-4]) for time in times]


def unique(ids: pd.Series) -> pd.Series:
    """The ids, where the second of one name gets ``-2``, the third ``-3``.

    >>> unique(pd.Series(["a", "b", "a"])).tolist()
    ['a', 'b', 'a-2']
    """
    again = ids.groupby(ids).cumcount()
    return ids + ("-" + (again + 1).astype(str)).where(again > 0, "")


def _rows(path: Path) -> pd.DataFrame:
    """Return the events as they stand in the file; the index, and its name, say where."""
    content = bounded.content(path)
    xml = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    if xml or path.suffix.lower() in QUAKEML:
        return quakeml.read(path, content)
    del content
    return catalogue_table.read(sheet.read(path))


def _earthquakes(path: Path, table: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the rows that are, or may be, earthquakes."""
    others = table["event_type"].isin(
        list(filter(_is_no_earthquake, table["event_type"].dropna().unique()))
    )
    for kind, rows in table[others].groupby("event_type"):
        tally.drop("event", f"{kind}, no earthquake", _names(rows))
    if others.all():
        kinds = [f"{count:,} {kind}" for kind, count in table["event_type"].value_counts().items()]
        raise DataError(
            f"{path}: none of its {len(table):,} events is an earthquake ({errors.listed(kinds)}): give "
            "earthquakes, or --any-type to predict these as if they were"
        )
    return table[~others]


def _is_no_earthquake(event_type: str) -> bool:
    kind = re.sub(r"[_\s-]+", " ", event_type).strip().lower()
    if re.search(r"earthquake|induced", kind) and not re.search(r"\bno[nt]\b", kind):
        return False
    return _NO_EARTHQUAKE.search(kind) is not None


def _values(path: Path, table: pd.DataFrame, tally: Tally, times: bool) -> pd.DataFrame:
    """Return the rows whose values can be, as numbers and times."""
    events, bad = table.drop(columns="event_type"), pd.Series(False, table.index)
    wrong = ""
    for name, expected, values, cannot_be in _converted(table, times):
        events[name] = values
        new = cannot_be & ~bad
        rows = table[new]
        names = [f"{row}: {text}" for row, text in zip(_names(rows), rows[name], strict=True)]
        tally.drop("event", f"{name} is not {expected}", names)
        if new.any() and not wrong:
            value = rows[name].iat[0]
            wrong = f"{path}, {_places(rows)[0]}, column {name}: {value!r}, expected {expected}"
            if re.fullmatch(sheet.DECIMAL_COMMA, value):
                wrong += "; decimal commas are read with --decimal-comma"
        bad |= cannot_be
    if bad.all():
        raise DataError(wrong + (f"; so it is with all {len(bad):,} events" if len(bad) > 1 else ""))
    return events[~bad]


def _names(rows: pd.DataFrame) -> list[str]:
    """Return where the rows stand in the file, with their ids, as ``row 3 (us7000abcd)``."""
    ids = rows["event_id"]
    named = zip(_places(rows), ids, ids.notna(), strict=True)
    return [f"{place} ({name})" if known else place for place, name, known in named]


def _places(rows: pd.DataFrame | pd.Series) -> list[str]:
    return [f"{rows.index.name} {number}" for number in rows.index]


def _converted(table: pd.DataFrame, times: bool) -> Iterator[tuple[str, str, pd.Series, pd.Series]]:
    """Yield of each column its name, what is expected, the values, and whether one cannot be."""
    time = _times(table["origin_time"])
    yield "origin_time", _TIME, time, times & time.isna() & table["origin_time"].notna()
    for name, (lowest, highest) in EVENT_RANGES.items():
        values = pd.to_numeric(table[name], errors="coerce").astype(float)
        absent = table[name].isna() | table[name].str.lower().isin(sheet.NO_NUMBER)
        cannot_be = ~absent & ~values.between(lowest, highest)
        yield name, f"a number from {lowest} to {highest}", values, cannot_be


def _times(texts: pd.Series) -> pd.Series:
    """Return times in UTC; NaT for what is none, or of a year that cannot be."""
    texts = texts.str.replace(r"\s*(?:UTC|GMT)$", "Z", regex=True)
    texts = texts.where(texts.str.contains(":", na=False))  # not a date or a year alone
    times = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    return times.where(times.dt.year.isin(YEARS)).astype("datetime64[us, UTC]")
