"""QuakeML -> one row an event, as it stands in the file."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from tfgmm.core.errors import DataError

#: What is taken of an event.
COLUMNS = ["event_id", "origin_time", "longitude", "latitude", "depth_km", "magnitude"]
COLUMNS += ["magnitude_source", "event_type"]
#: ``query?eventid=us7000abcd&format=quakeml`` of FDSN services, ``evid=600516598`` of the ISC.
_QUERY = re.compile(r"[?&/](?:event|ev)id=([^&/#]+)", re.IGNORECASE)

#: What an event may have thousands of, and is not taken.
_BULK = ("pick", "arrival", "amplitude", "stationMagnitude", "focalMechanism")


def read(path: Path, content: bytes) -> pd.DataFrame:
    """Read the events of QuakeML of any version, one at a time: memory holds what is taken of them.

    The preferred origin is taken, else the first. Of the magnitudes the preferred one is taken if it is
    a moment magnitude, else the first moment magnitude, else the preferred one, else the first.

    Parameters
    ----------
    path : Path
        What messages name.
    content : bytes

    Returns
    -------
    pandas.DataFrame
        `COLUMNS` as text, missing where the file has nothing; the index, ``event``, counts from 1.

    Raises
    ------
    DataError
        It is no QuakeML.
    """
    try:
        rows = [_row(event) for event in _events(content)]
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(
            f"{path} is no QuakeML ({error}): give QuakeML, or a table with a header such as "
            "time,latitude,longitude,depth,mag"
        ) from error
    table = pd.DataFrame(rows, columns=COLUMNS, dtype="str")
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="event"))


def is_moment(magnitude_type: str | None) -> bool:
    """Return whether a type of magnitude is a moment magnitude: Mw, Mww, Mwc, Mwb, Mwr, ...

    >>> is_moment("mww"), is_moment("Mw(mB)"), is_moment("ML")
    (True, False, False)
    """
    return re.fullmatch(r"mw[a-z]*", magnitude_type or "", re.IGNORECASE) is not None


def _events(content: bytes) -> Iterator[ElementTree.Element]:
    """Yield the elements of the events; each is emptied before the next is read."""
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
    """Return a tag, or the name of an attribute, without its namespace, which differs by version."""
    return tag.rpartition("}")[2]


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _name(child.tag) == name]


def _text(element: ElementTree.Element | None, *names: str) -> str | None:
    """Return the text below an element along a path of names, None where there is none."""
    for name in names:
        element = next(iter(_all(element, name)), None) if element is not None else None
    text = "" if element is None else (element.text or "").strip()
    return text or None


def _row(event: ElementTree.Element) -> dict[str, str | None]:
    origin = _preferred(_all(event, "origin"), _text(event, "preferredOriginID"))
    magnitudes = [magnitude for magnitude in _all(event, "magnitude") if _text(magnitude, "mag", "value")]
    best = _preferred(magnitudes, _text(event, "preferredMagnitudeID"))
    if not is_moment(_text(best, "type")):
        best = next((other for other in magnitudes if is_moment(_text(other, "type"))), best)
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
    chosen = (element for element in elements if element.get("publicID") == public_id)
    return next(chosen, next(iter(elements), None))


def _in_km(depth_m: str | None) -> str | None:
    """Return a depth of QuakeML, m, in km; what is no number as it is, to be named later."""
    try:
        return None if depth_m is None else repr(float(depth_m) / 1000)
    except ValueError:
        return depth_m


def _event_id(attributes: dict[str, str]) -> str | None:
    """Return the id by which the agency's own service knows an event.

    That is the ``eventid`` of a query, else ``catalog:eventsource`` and ``catalog:eventid``, else the last
    part of the public id.
    """
    public_id = attributes.get("publicID", "")
    if query := _QUERY.search(public_id):
        return query[1]
    source, number = attributes.get("eventsource", ""), attributes.get("eventid", "")
    if number:
        return number if number.startswith(source) else source + number
    return public_id.rstrip("/").rsplit("/")[-1] or None
