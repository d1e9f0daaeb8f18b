"""Read the surface of a rupture from a file of ShakeMap, or make it from strike, dip, length and width."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.core.rupture import LIMITS, PLANE_LIMITS, Rupture
from tfgmm.readers.common import bounded

#: Largest size of a file, bytes: the largest published ruptures have less than a tenth of it.
MOST_BYTES = 5 * 10**6
#: Largest distance of the epicentre from the projection of the surface to the ground, km; beyond it file
#: and earthquake do not belong together, or longitude and latitude are swapped.
FARTHEST_EPICENTRE_KM = 100.0
#: Smallest area of a ring, km^2: that of an earthquake of about M 1.5.
SMALLEST_KM2 = 0.01
#: Largest distance, km, of the hypocentre above or below the depths of the surface.
FARTHEST_DEPTH_KM = 20.0
#: Largest factor between the area of a surface and the average one of its magnitude. It is four standard
#: deviations of Wells & Coppersmith (1994), and leaves room for other relations and for fault models
#: that are larger than what slipped.
LARGEST_AREA_FACTOR = 10.0
#: Largest difference of the magnitude in a file from that of the earthquake of which nothing is said.
LIKE_MAGNITUDE = 0.5
#: Largest difference of the first and the last point of a closed ring, degrees and km.
_CLOSED = 1e-6
#: Range of the values of `RuptureFile`, by key of the metadata of a ShakeMap file.
_METADATA = {"lon": LIMITS["longitude"], "lat": LIMITS["latitude"], "depth": LIMITS["depth_km"]}
_METADATA |= {"mag": (-1.0, 10.0)}
_FORM = (
    "a FeatureCollection of GeoJSON with a feature of the type MultiPolygon, as rupture.json of ShakeMap, "
    "longitude, latitude, depth in km"
)

#: Columns of planes through hypocentres, by their names in tables.
PLANE_COLUMNS = {
    "strike": ("strike", "strk"),
    "dip": ("dip",),
    "length_km": ("lengthkm", "length", "rupturelength", "rupturelengthkm", "faultlength"),
    "width_km": ("widthkm", "width", "rupturewidth", "rupturewidthkm", "faultwidth"),
}


@dataclasses.dataclass(frozen=True)
class RuptureFile:
    """Content of a ShakeMap file of a rupture: its surface, if it is known, and the earthquake.

    Attributes
    ----------
    rupture : Rupture or None
        Surface; None if the file has only a hypocentre.
    longitude, latitude : float
        Epicentre, degrees; NaN if the file does not say.
    depth_km : float
        Depth of the hypocentre, km, or NaN.
    magnitude : float
        Magnitude, or NaN.
    """

    rupture: Rupture | None
    longitude: float = math.nan
    latitude: float = math.nan
    depth_km: float = math.nan
    magnitude: float = math.nan


def read(path: Path) -> RuptureFile:
    """Read the surface of a rupture from a GeoJSON file, as ShakeMap writes it (``rupture.json``).

    A ring of points goes along the top edge of the rupture, back along the bottom edge with as many points,
    and to its first point again. All rings are parts of the surface. A feature of the type Point is a
    hypocentre without a known surface.

    Parameters
    ----------
    path : Path
        GeoJSON file of at most `MOST_BYTES`.

    Returns
    -------
    RuptureFile
        Surface or None; epicentre, depth and magnitude as far as the file has them.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file cannot be read, is too large, is no GeoJSON of a rupture, has a value out of range, or its
        epicentre is far from its surface. The message names feature, ring, point and what is expected.

    References
    ----------
    Worden et al. (2020), ShakeMap manual, U.S. Geological Survey, section "Rupture specification".
    """
    content = _load(path)
    features = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(features, list) or not features:
        raise DataError(f"{path} has no features: expected {_FORM}")
    known = _metadata(path, content.get("metadata"))
    quadrilaterals: list[np.ndarray] = []
    for number, feature in enumerate(features, start=1):
        where = f"{path}, feature {number}"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind == "Point":
            place = _point(geometry.get("coordinates"), where)
            known = dict(zip(("lon", "lat", "depth"), place, strict=True)) | known
        elif kind in ("Polygon", "MultiPolygon"):
            rings = list(_rings(geometry.get("coordinates"), kind, where))
            quadrilaterals += [_quadrilaterals(ring, name) for name, ring in rings]
        else:
            raise DataError(f"{where}: geometry of the type {kind!r}, expected MultiPolygon or Point")
    try:
        rupture = Rupture(np.concatenate(quadrilaterals)) if quadrilaterals else None
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    described = RuptureFile(rupture, *(known.get(key, math.nan) for key in _METADATA))
    _refuse_strange_surface(path, described)
    return described


def planes(events: pd.DataFrame) -> dict[str, Rupture]:
    """Return planar ruptures through the middle of which the hypocentres of events lie, by event id.

    Parameters
    ----------
    events : pandas.DataFrame
        ``event_id``; ``longitude, latitude``, degrees; ``depth_km``; ``magnitude``; ``strike, dip``,
        degrees; ``length_km, width_km``. Where the last four are blank the rupture is unknown.

    Returns
    -------
    dict of str to Rupture
        The rupture of each event with a plane.

    Raises
    ------
    UsageError
        A value is out of range.
    DataError
        An event has some of the four values only, or its area does not fit its magnitude.
    """
    refuse_incomplete(events[[*PLANE_LIMITS]].set_axis(range(1, len(events) + 1)), "events, row")
    ruptures = {}
    for event in events.dropna(subset=[*PLANE_LIMITS]).to_dict("records"):
        name, plane = str(event["event_id"]), {key: float(event[key]) for key in PLANE_LIMITS}
        hypocentre = (float(event[key]) for key in ("longitude", "latitude", "depth_km"))
        ruptures[name] = Rupture.planar(*hypocentre, **plane)
        refuse_strange_area(f"event {name}", ruptures[name], float(event["magnitude"]))
    return ruptures


def refuse_incomplete(table: pd.DataFrame, where: str) -> None:
    """Raise `DataError` for the first row that has only some of the four values of a plane.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns `PLANE_LIMITS`, NaN where blank; the index is the number of the row.
    where : str
        Text before the number of the row, for the message.
    """
    incomplete = table.isna().any(axis=1) & table.notna().any(axis=1)
    if incomplete.any():
        row = incomplete.idxmax()
        missing = ", ".join(table.columns[table.loc[row].isna()])
        raise DataError(
            f"{where} {row}: no {missing}, expected all of {', '.join(PLANE_LIMITS)}, or none of them "
            "where the rupture is unknown"
        )


def _load(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of at most `MOST_BYTES`, which is read only up to that size."""
    bounded.refuse_irregular(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(text) > MOST_BYTES:
        raise DataError(f"{path} is larger than {MOST_BYTES / 1e6:g} MB: expected {_FORM}")
    try:
        content = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is no JSON ({error}): expected {_FORM}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object: expected {_FORM}")
    return content


def _metadata(path: Path, metadata: Any) -> dict[str, float]:
    """Return the values of `_METADATA` that the metadata of a file have; refuse values out of range."""
    listed: Mapping = metadata if isinstance(metadata, dict) else {}
    given = {key: listed[key] for key in _METADATA if listed.get(key) is not None}
    for key, value in given.items():
        if not _is_within(value, _METADATA[key]):
            lowest, highest = _METADATA[key]
            raise DataError(
                f"{path}, metadata, {key}: {str(value)[:80]!r}, expected a number from {lowest:g} to "
                f"{highest:g}"
            )
    return {key: float(value) for key, value in given.items()}


def _is_within(value: Any, limits: tuple[float, float]) -> bool:
    """Return True if a value is a number (not true or false) within limits."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and limits[0] <= value <= limits[1]
    )


def _point(point: Any, where: str) -> list[float]:
    """Return longitude, latitude (degrees) and depth (km) of a point; refuse what is none."""
    if not isinstance(point, list) or len(point) != len(LIMITS):
        raise DataError(f"{where}: {str(point)[:80]}, expected [longitude, latitude, depth in km]")
    for value, (name, limits) in zip(point, LIMITS.items(), strict=True):
        if not _is_within(value, limits):
            unit = " km (it may be in m)" if name == "depth_km" else ""
            raise DataError(
                f"{where}, {name}: {str(value)[:80]}, expected a number from {limits[0]:g} to "
                f"{limits[1]:g}{unit}"
            )
    return [float(value) for value in point]


def _rings(coordinates: Any, kind: str, where: str) -> Iterator[tuple[str, list]]:
    """Yield name, for messages, and points of each ring of a Polygon or MultiPolygon."""
    polygons = coordinates if kind == "MultiPolygon" else [coordinates]
    number = 0
    for polygon in polygons if isinstance(polygons, list) else [None]:
        for ring in polygon if isinstance(polygon, list) else [None]:
            number += 1
            if not isinstance(ring, list):
                raise DataError(f"{where}, ring {number}: expected a list of points, see {_FORM}")
            yield f"{where}, ring {number}", ring
    if not number:
        raise DataError(f"{where} has no ring: expected {_FORM}")


def _quadrilaterals(ring: list, where: str) -> np.ndarray:
    """Return the quadrilaterals between top and bottom edge of a ring, degrees and km, [n, 4, 3]."""
    points = np.array([_point(point, f"{where}, point {i}") for i, point in enumerate(ring, start=1)])
    form = "the top edge, the bottom edge backwards with as many points, and the first point again"
    if len(points) < 5 or len(points) % 2 == 0:
        raise DataError(f"{where} has {len(points)} points, expected an odd number from 5: {form}")
    if np.abs(points[0] - points[-1]).max() > _CLOSED:
        raise DataError(f"{where} is not closed: its last point is not the first one, expected {form}")
    top, bottom = points[: len(points) // 2], points[-2 : len(points) // 2 - 1 : -1]
    above = np.flatnonzero(top[:, 2] > bottom[:, 2])
    if len(above):
        i = above[0]
        raise DataError(
            f"{where}, point {i + 1}: the top edge at {top[i, 2]:g} km is deeper than the bottom edge at "
            f"{bottom[i, 2]:g} km, expected {form}"
        )
    quadrilaterals = np.stack([top[:-1], top[1:], bottom[1:], bottom[:-1]], axis=1)
    try:
        area_km2 = Rupture(quadrilaterals).area_km2()
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if area_km2 < SMALLEST_KM2:
        raise DataError(
            f"{where} has an area of {area_km2:.2g} km^2: its points lie in one place or on one line. "
            f"Expected a surface of at least {SMALLEST_KM2:g} km^2, {form}; a rupture without a known "
            "surface is a feature of the type Point"
        )
    return quadrilaterals


def _refuse_strange_surface(path: Path, described: RuptureFile) -> None:
    """Raise `DataError` if the epicentre of a file is farther than 100 km from its surface."""
    place = described.longitude, described.latitude
    if described.rupture is not None:
        refuse_far(path, described.rupture, *place)
    elif not np.isfinite([*place, described.depth_km]).all():
        raise DataError(f"{path} has neither a surface nor a hypocentre: expected {_FORM}")


def refuse_far(path: Path, rupture: Rupture, longitude: float, latitude: float) -> None:
    """Raise `DataError` if an epicentre is farther than `FARTHEST_EPICENTRE_KM` from a rupture.

    Parameters
    ----------
    path : Path
        File of the rupture, for the message.
    rupture : Rupture
        Surface.
    longitude, latitude : float
        Epicentre, degrees; NaN, if unknown, is not refused.
    """
    far = float(rupture.joyner_boore_km(longitude, latitude))
    if far > FARTHEST_EPICENTRE_KM:
        raise DataError(
            f"{path}: the epicentre {longitude:g} E {latitude:g} N is {far:,.0f} km from the surface, "
            f"expected at most {FARTHEST_EPICENTRE_KM:g} km: longitude and latitude may be swapped"
        )


def refuse_strange_depth(path: Path, rupture: Rupture, depth_km: float) -> None:
    """Raise `DataError` if a hypocentre is more than `FARTHEST_DEPTH_KM` above or below a rupture.

    Parameters
    ----------
    path : Path
        File of the rupture, for the message.
    rupture : Rupture
        Surface.
    depth_km : float
        Depth of the hypocentre, km.
    """
    top, bottom = rupture.corners[..., 2].min(), rupture.corners[..., 2].max()
    if not top - FARTHEST_DEPTH_KM <= depth_km <= bottom + FARTHEST_DEPTH_KM:
        raise DataError(
            f"{path}: the surface reaches from {top:g} to {bottom:g} km of depth, and the hypocentre lies "
            f"at {depth_km:g} km, expected at most {FARTHEST_DEPTH_KM:g} km above or below: give the depth "
            "of this earthquake, or its own rupture"
        )


def refuse_strange_area(where: str, rupture: Rupture, magnitude: float) -> None:
    r"""Raise `DataError` if the area of a rupture is 10 times the average one of its magnitude, or a tenth.

    The average is :math:`\log_{10} A = -3.49 + 0.91 M`, A in km^2, of Wells & Coppersmith (1994), Table 2A,
    all slip types.

    Parameters
    ----------
    where : str
        File or event, for the message.
    rupture : Rupture
        Surface.
    magnitude : float
        Moment magnitude of the earthquake.

    References
    ----------
    Wells & Coppersmith (1994), Bull. Seismol. Soc. Am. 84(4), 974-1002.
    """
    area_km2, average_km2 = rupture.area_km2(), 10 ** (-3.49 + 0.91 * magnitude)
    if not average_km2 / LARGEST_AREA_FACTOR <= area_km2 <= average_km2 * LARGEST_AREA_FACTOR:
        like = (np.log10(area_km2) + 3.49) / 0.91
        raise DataError(
            f"{where}: a rupture of {area_km2:,.4g} km^2 does not fit M {magnitude:g}, whose average is "
            f"{average_km2:,.3g} km^2, expected a tenth of it to ten times it; the area is the average of "
            f"M {like:.1f}: check the magnitude, and that lengths are in km"
        )
