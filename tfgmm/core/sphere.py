"""Longitudes wrapped to -180 to 180 degrees, and distances on a spherical Earth of radius 6371 km."""

import numpy as np
import pandas as pd

EARTH_RADIUS_KM = 6371.0


def wrapped(longitude) -> np.ndarray:
    """Return longitudes wrapped to -180 to 180 degrees: 360 is subtracted from values above 180 up to 360.

    Parameters
    ----------
    longitude : array_like
        Longitudes, degrees; values outside 180 to 360, and NaN, stay as they are.

    Returns
    -------
    ndarray
        Longitudes, degrees, in the shape of the input.

    Examples
    --------
    >>> wrapped([140.0, 180.2, -170.0]).tolist()
    [140.0, -179.8, -170.0]
    """
    longitude = np.asarray(longitude, float)
    # Rounded to a tenth of a millimetre, so that 180.2 and -179.8 are one place.
    return np.where((longitude > 180) & (longitude <= 360), np.round(longitude - 360, 9), longitude)


def unit_vectors(longitude, latitude) -> np.ndarray:
    """Return points on the Earth as unit vectors from its centre, without unit.

    The length of the chord between two vectors times `EARTH_RADIUS_KM` is nearly the great-circle distance
    of the points: 1 m too short at 100 km.

    Parameters
    ----------
    longitude, latitude : array_like, [n]
        Coordinates of the points, degrees.

    Returns
    -------
    ndarray, [n, 3]
        Cartesian components x (longitude 0), y (longitude 90 degrees) and z (north).
    """
    lon, lat = np.radians(np.asarray(longitude, float)), np.radians(np.asarray(latitude, float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def distance_km(longitude, latitude, other_longitude, other_latitude) -> np.ndarray:
    """Return the distance between two points of each row, along the chord through the Earth, km.

    Parameters
    ----------
    longitude, latitude : array_like, [n]
        Coordinates of the first points, degrees.
    other_longitude, other_latitude : array_like, [n]
        Coordinates of the second points, degrees.

    Returns
    -------
    ndarray, [n]
        Distances, km.
    """
    ends = unit_vectors(longitude, latitude), unit_vectors(other_longitude, other_latitude)
    return EARTH_RADIUS_KM * np.linalg.norm(np.subtract(*ends), axis=1)


def hypocentral_km(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> np.ndarray:
    r"""Return the hypocentral distance of each record, km.

    .. math:: R_{hyp} = \sqrt{R_{epi}^2 + Z^2}

    with the epicentral distance :math:`R_{epi}` and the focal depth :math:`Z`, both in km.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``event_id`` and ``station_id``; one row per record.
    events : pandas.DataFrame
        Columns ``event_id``, ``longitude`` and ``latitude`` in degrees, and ``depth_km``.
    stations : pandas.DataFrame
        Columns ``station_id``, and ``longitude`` and ``latitude`` in degrees.

    Returns
    -------
    ndarray, [n_records]
        Distances, km, in the order of `rows`.
    """
    source, site = (
        table[names].iloc[pd.Index(table[key]).get_indexer(rows[key])]
        for key, table, names in (
            ("event_id", events, ["longitude", "latitude", "depth_km"]),
            ("station_id", stations, ["longitude", "latitude"]),
        )
    )
    places = (point[name].to_numpy() for point in (source, site) for name in ("longitude", "latitude"))
    return np.hypot(distance_km(*places), source["depth_km"].to_numpy())
