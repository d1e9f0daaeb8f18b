"""Places on the Earth: longitudes of any convention, distances."""

import numpy as np
import pandas as pd

EARTH_RADIUS_KM = 6371.0


def wrapped(longitude) -> np.ndarray:
    """Return longitudes with those of 180 to 360 degrees turned into -180 to 0, and all others as they are.

    >>> wrapped([140.0, 180.2, -170.0]).tolist()
    [140.0, -179.8, -170.0]
    """
    longitude = np.asarray(longitude, float)
    # Rounded to a tenth of a millimetre, so that 180.2 and -179.8 are one place.
    return np.where((longitude > 180) & (longitude <= 360), np.round(longitude - 360, 9), longitude)


def unit_vectors(longitude, latitude) -> np.ndarray:
    """Return points as unit vectors from the centre of the Earth, [n, 3].

    The chord between the vectors of two near points, times `EARTH_RADIUS_KM`, is their great-circle
    distance: 1 m too short at 100 km.

    Parameters
    ----------
    longitude, latitude : array_like, [n]
        Degrees.
    """
    lon, lat = np.radians(np.asarray(longitude, float)), np.radians(np.asarray(latitude, float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def distance_km(longitude, latitude, other_longitude, other_latitude) -> np.ndarray:
    """Return the distance from each point to the other point of its row, along the chord, in km, [n].

    Parameters
    ----------
    longitude, latitude, other_longitude, other_latitude : array_like, [n]
        Degrees.
    """
    ends = unit_vectors(longitude, latitude), unit_vectors(other_longitude, other_latitude)
    return EARTH_RADIUS_KM * np.linalg.norm(np.subtract(*ends), axis=1)


def hypocentral_km(rows: pd.DataFrame, events: pd.DataFrame, stations: pd.DataFrame) -> np.ndarray:
    r"""Return the hypocentral distance of each record in km, [n_rows].

    .. math:: R_{hyp} = \sqrt{R_{epi}^2 + Z^2}

    Parameters
    ----------
    rows : pandas.DataFrame
        ``event_id, station_id``, a row per record.
    events, stations : pandas.DataFrame
        Tables of a dataset.
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
