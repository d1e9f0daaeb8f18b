"""Event catalogues, CSV or QuakeML -> the events table; better magnitudes for events."""

import re
import warnings
from pathlib import Path

import numpy as np
import obspy
import pandas as pd

from tfgmm import records
from tfgmm.errors import DataError, UsageError
from tfgmm.sources import matching

#: Names that a column of a CSV may have, best first; case, blanks, _, . and units do not matter.
NAMES = {
    "event_id": ("eventid", "id", "publicid", "cuspid"),
    "origin_time": ("origintime", "time", "datetime"),
    "longitude": ("longitude", "lon", "long", "eventlongitude"),
    "latitude": ("latitude", "lat", "eventlatitude"),
    "depth_km": ("depthkm", "depth", "eventdepth"),
    "magnitude": ("mw", "magnitude", "mag"),
    "magnitude_source": ("magnitudesource", "magnitudetype", "magtype"),
}
OPTIONAL = ("event_id", "magnitude_source")
RANGES = {"longitude": (-180, 180), "latitude": (-90, 90), "depth_km": (-5, 800), "magnitude": (-1, 10)}
QUAKEML = (".xml", ".qml", ".quakeml")


def read(path: Path) -> pd.DataFrame:
    """Events of a catalogue.

    A CSV has a header such as ``time,latitude,longitude,depth,mag`` (`NAMES`) and depths in km. Times
    are ISO 8601, in UTC unless they give an offset (``2016-12-28T21:38:49+09:00``). Of a QuakeML event
    the preferred origin and magnitude are taken; else the first origin, and the first Mw or else
    the first magnitude.

    Parameters
    ----------
    path : Path
        QuakeML ends in ``.xml``, ``.qml`` or ``.quakeml``; all else is read as CSV.

    Returns
    -------
    pandas.DataFrame
        The columns of the data contract, NaN or NaT where blank. ``magnitude_source`` is the type as
        listed, else ``Mw``. An event without id has its origin time for one (`time_ids`).

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        It is no catalogue, lacks a column, or a value is not what it should be.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give an event catalogue, CSV or QuakeML")
    quakeml = path.suffix.lower() in QUAKEML
    table = _read_quakeml(path) if quakeml else _read_csv(path)
    if table.empty:
        raise DataError(f"{path} lists no event: give a catalogue with at least one")
    row = "event" if quakeml else "line"
    year = table["origin_time"].dt.year
    first, last = records.YEARS[0], records.YEARS[-1]
    _refuse(
        path, row, table["origin_time"], year.notna() & ~year.between(first, last), f"a year from {first}"
    )
    for column, (lowest, highest) in RANGES.items():
        outside = table[column].notna() & ~table[column].between(lowest, highest)
        _refuse(path, row, table[column], outside, f"a number from {lowest} to {highest}, or blank")
    ids = table["event_id"].fillna(pd.Series(time_ids(table["origin_time"]), table.index))
    source = table["magnitude_source"].fillna("Mw")
    return table.assign(event_id=unique(ids), magnitude_source=source).reset_index(drop=True)


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
        ``events``, ``matched``, ``unmatched`` with up to three ``examples``, and ``mean_change``
        and ``largest_change`` of the magnitude (None where nothing changed).
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


# ---- CSV ---------------------------------------------------------------------------------------


def _read_csv(path: Path) -> pd.DataFrame:
    """Columns of the contract; the index is the line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than names
            table = pd.read_csv(
                path, dtype=str, encoding="utf-8-sig", index_col=False, skip_blank_lines=False
            )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # ValueError: not UTF-8, no header
        raise DataError(f"{path} is no CSV in UTF-8 ({str(error).strip()}): save it as such") from error
    table.index += 2
    table = table.dropna(how="all").apply(lambda column: column.str.strip())
    columns = {name: _column(path, table, name) for name in NAMES}
    if _plain(columns["magnitude"].name) == "mw":
        columns["magnitude_source"] = pd.Series("Mw", table.index)  # a type column tells of another one
    numbers = {name: _numbers(path, columns[name]) for name in RANGES}
    return pd.DataFrame(columns | {"origin_time": _times(path, columns["origin_time"])} | numbers)


def _plain(name: str) -> str:
    return re.sub(r"\(.*\)|[\s_.]", "", name.lower())


def _column(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    present = {_plain(column): column for column in reversed(table.columns)}
    for candidate in NAMES[name]:
        if candidate in present:
            return table[present[candidate]].replace("", np.nan)
    if name in OPTIONAL:
        return pd.Series(np.nan, table.index, dtype=object)
    raise DataError(
        f"{path} has no column {name}: name one of its columns ({', '.join(table.columns)}) "
        f"{' or '.join(NAMES[name])}"
    )


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce")
    _refuse(path, "line", column, column.notna() & ~np.isfinite(values), "a number or blank")
    return values.astype(float)


def _times(path: Path, column: pd.Series) -> pd.Series:
    times = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    bad = column.notna() & (times.isna() | ~column.str.contains(":", na=False))
    _refuse(path, "line", column, bad, "YYYY-MM-DDThh:mm:ss, UTC unless an offset such as +09:00 follows")
    return times.astype("datetime64[us, UTC]")


def _refuse(path: Path, row: str, column: pd.Series, bad: pd.Series, expected: str) -> None:
    if bad.any():
        number = bad.idxmax()
        raise DataError(
            f"{path}, {row} {number}, column {column.name}: {column[number]!r}, expected {expected}"
        )


# ---- QuakeML -----------------------------------------------------------------------------------


def _read_quakeml(path: Path) -> pd.DataFrame:
    """Columns of the contract; the index counts the events from 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ObsPy leaves out is missing in the table
            events = obspy.read_events(path, format="QUAKEML")
    except Exception as error:  # lxml, ObsPy and Python's own: the file is to blame
        raise DataError(f"{path} is no QuakeML ({str(error).strip()}): save it as such") from error
    table = pd.DataFrame([_row(event) for event in events], columns=list(NAMES))
    table["origin_time"] = pd.to_datetime(table["origin_time"], utc=True).astype("datetime64[us, UTC]")
    table.index += 1
    return table.astype(dict.fromkeys(RANGES, float))


def _row(event: obspy.core.event.Event) -> dict:
    origin = event.preferred_origin() or next(iter(event.origins), None)
    magnitudes = [event.preferred_magnitude(), *sorted(event.magnitudes, key=_is_not_mw)]
    magnitude = next((magnitude for magnitude in magnitudes if magnitude), None)
    depth_m = getattr(origin, "depth", None)
    return {
        "event_id": event.resource_id.id.rsplit("/")[-1],
        "origin_time": origin.time.datetime if origin and origin.time else None,
        "longitude": getattr(origin, "longitude", None),
        "latitude": getattr(origin, "latitude", None),
        "depth_km": None if depth_m is None else depth_m / 1000,
        "magnitude": getattr(magnitude, "mag", None),
        "magnitude_source": getattr(magnitude, "magnitude_type", None),
    }


def _is_not_mw(magnitude: obspy.core.event.Magnitude) -> bool:
    return not (magnitude.magnitude_type or "").lower().startswith("mw")
