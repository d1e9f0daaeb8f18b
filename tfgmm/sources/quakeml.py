"""QuakeML -> one row an event, as it stands in the file."""

import io
import re
import warnings
from pathlib import Path

import pandas as pd

from tfgmm.errors import DataError
from tfgmm.records import Tally

#: ``query?eventid=us7000abcd&format=quakeml`` of FDSN services, ``evid=600516598`` of the ISC.
_QUERY = re.compile(r"[?&/](?:event|ev)id=([^&/#]+)", re.IGNORECASE)
#: What ObsPy says of an event that it leaves out.
_IGNORED = re.compile(r"Event type '(.*)' does not comply")


def read(path: Path, content: bytes, tally: Tally) -> pd.DataFrame:
    """Read the events of QuakeML.

    The preferred origin is taken, else the first. Of the magnitudes the preferred one is taken if it is
    a moment magnitude, else the first moment magnitude, else the preferred one, else the first.

    Parameters
    ----------
    path : Path
        What messages name.
    content : bytes
    tally : Tally
        Gets the events that ObsPy leaves out.

    Returns
    -------
    pandas.DataFrame
        ``event_id, origin_time`` (ISO 8601), ``longitude, latitude, depth_km, magnitude,
        magnitude_source, event_type``, None where the file has nothing; the index counts the events from 1.

    Raises
    ------
    DataError
        It is no QuakeML.
    """
    import obspy  # here, because it takes a second and most catalogues are tables

    try:
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            events = obspy.read_events(io.BytesIO(content), format="QUAKEML")
            rows = [_row(event) for event in events]
    except Exception as error:  # lxml, ObsPy and Python's own: the file is to blame
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} is no QuakeML ({reason}): give QuakeML, or a table with a header such as "
            "time,latitude,longitude,depth,mag"
        ) from error
    ignored = [match[1] for message in messages if (match := _IGNORED.match(str(message.message)))]
    tally.count("event", len(ignored))
    tally.drop("event", "its type is none that QuakeML knows", ignored)
    columns = ["event_id", "origin_time", "longitude", "latitude", "depth_km", "magnitude"]
    table = pd.DataFrame(rows, columns=[*columns, "magnitude_source", "event_type"], dtype=object)
    return table.set_axis(range(1, len(table) + 1))


def is_moment(magnitude_type: str | None) -> bool:
    """Return whether a type of magnitude is a moment magnitude: Mw, Mww, Mwc, Mwb, Mwr, ...

    >>> is_moment("mww"), is_moment("Mw(mB)"), is_moment("ML")
    (True, False, False)
    """
    return re.fullmatch(r"mw[a-z]*", magnitude_type or "", re.IGNORECASE) is not None


def event_id(event) -> str | None:
    """Return the id by which the agency's own service knows an event, an `obspy` Event.

    That is the ``eventid`` of a query, else ``catalog:eventsource`` and ``catalog:eventid``, else the last
    part of the resource id.
    """
    resource = event.resource_id.id if event.resource_id else ""
    if query := _QUERY.search(resource):
        return query[1]
    source, number = (event.get("extra", {}).get(key, {}).get("value", "") for key in _CATALOG)
    if number:
        return number if number.startswith(source) else source + number
    return resource.rstrip("/").rsplit("/")[-1] or None


_CATALOG = ("eventsource", "eventid")


def _row(event) -> dict:
    origin = _preferred(event.origins, event.preferred_origin_id)
    depth_m = getattr(origin, "depth", None)
    magnitudes = [magnitude for magnitude in event.magnitudes if magnitude.mag is not None]
    best = _preferred(magnitudes, event.preferred_magnitude_id)
    if best is not None and not is_moment(best.magnitude_type):
        best = next((other for other in magnitudes if is_moment(other.magnitude_type)), best)
    return {
        "event_id": event_id(event),
        "origin_time": str(origin.time) if origin and origin.time else None,
        "longitude": getattr(origin, "longitude", None),
        "latitude": getattr(origin, "latitude", None),
        "depth_km": None if depth_m is None else depth_m / 1000,
        "magnitude": getattr(best, "mag", None),
        "magnitude_source": getattr(best, "magnitude_type", None),
        "event_type": event.event_type,
    }


def _preferred(choices: list, preferred):
    """The one whose id it is, else the first; ObsPy would also find one of a file that was read before."""
    ids = [choice.resource_id for choice in choices]
    return choices[ids.index(preferred)] if preferred in ids else next(iter(choices), None)
