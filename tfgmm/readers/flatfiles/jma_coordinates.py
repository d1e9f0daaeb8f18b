"""Better coordinates of JMA stations than the whole arc minutes of ``code_p.dat``."""

from pathlib import Path

import pandas as pd

from tfgmm.core.sphere import distance_km, wrapped
from tfgmm.readers.common import column_names, selection, sheet

#: Rounding to a minute of arc and to 0.01 degree explains no more than 1.9 km.
MAX_SHIFT_KM = 2.0
#: Accepted names of the columns.
COLUMNS = {
    "code": ("code", *column_names.STATION),
    "latitude": ("y", *column_names.LATITUDE),
    "longitude": ("x", *column_names.LONGITUDE),
}


def improve(stations: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[dict]]:
    """The stations at the coordinates of a second table, and what was done, for ``noted``.

    Such tables are matched by name, and a moved station keeps its name. So a position is refused that
    is farther than 2 km from the agency's own, and one that is given to stations which the agency has
    at different places. A station without coordinates of the agency gets none: nothing checks them.

    Parameters
    ----------
    stations : pandas.DataFrame
        With ``station_id``, ``latitude``, ``longitude``.
    path : Path
        Table with the columns ``code`` (the agency's), ``y`` and ``x`` (degrees north and east; blank
        where unknown), or ``lat`` and ``lon``.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        It is no such table.
    """
    second = _read(path).reindex(stations["station_id"]).set_axis(stations.index)
    own = stations[["latitude", "longitude"]]
    given = second.notna().all(axis=1) & own.notna().all(axis=1)
    places = (table[name] for table in (own, second) for name in ("longitude", "latitude"))
    far = distance_km(*places) > MAX_SHIFT_KM
    places = own[given].groupby([second["latitude"], second["longitude"]])
    several = (places.transform("nunique") > 1).any(axis=1).reindex(own.index, fill_value=False)
    taken = given & ~far & ~several
    reasons = {
        "coordinates improved by the second table": taken,
        f"second coordinates refused: farther than {MAX_SHIFT_KM:g} km from the first": given & far,
        "second coordinates refused: one position for stations at different places": given & ~far & several,
        "second coordinates unknown": ~given,
    }
    noted = []
    for reason, of in reasons.items():
        noted += selection.note("station", reason, stations["station_id"][of])
    return stations.assign(**own.where(~taken, second)), noted


def _read(path: Path) -> pd.DataFrame:
    """Latitude and longitude by station code."""
    table = sheet.read(path)
    names = {
        what: column_names.find(table.columns, accepted) or accepted[0]
        for what, accepted in COLUMNS.items()
    }
    code = table.text(names["code"])
    table.refuse(code, code.isna() | code.duplicated(), "each code once")
    texts = [table.text(names[what]) for what in ("latitude", "longitude")]
    latitude, longitude = map(table.to_number, texts)
    table.refuse(texts[0], latitude.abs() > 90, "degrees from -90 to 90, or blank")
    table.refuse(texts[1], ~longitude.between(-180, 360) & longitude.notna(), "degrees, or blank")
    places = {"latitude": latitude, "longitude": wrapped(longitude)}
    return pd.DataFrame(places).set_axis(code)
