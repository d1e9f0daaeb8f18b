"""Read QuakeML into a table with one row per event, with the values as the file has them, as text."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from tfgmm.core.errors import DataError

#: Columns of the table of events.
COLUMNS = ["event_id", "origin_time", "longitude", "latitude", "depth_km", "magnitude"]
COLUMNS += ["magnitude_source", "event_type"]
#: Pattern of an event id in a public id, as ``query?eventid=us7000abcd&format=quakeml`` of FDSN services
#: or ``evid=600516598`` of the ISC.
_QUERY = re.compile(r"[?&/](?:event|ev)id=([^&/#]+)", re.IGNORECASE)

#: Names of elements that are not read; an event may have thousands of them.
_BULK = ("pick", "arrival", "amplitude", "stationMagnitude", "focalMechanism")


def read(path: Path, content: bytes) -> pd.DataFrame:
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
    table = pd.DataFrame(rows, columns=COLUMNS, dtype="str")
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
