"""Better coordinates of JMA stations than the whole arc minutes of ``code_p.dat``."""

import warnings
from pathlib import Path

import pandas as pd

from tfgmm import records
from tfgmm.errors import DataError, UsageError
from tfgmm.sources import selection

#: Rounding to a minute of arc and to 0.01 degree explains no more than 1.9 km.
MAX_SHIFT_KM = 2.0
COLUMNS = ["code", "y", "x"]


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
        CSV in UTF-8 with the columns ``code`` (the agency's), ``y`` and ``x`` (degrees north and east;
        blank where unknown).

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        It is no such table.
    """
    second = _read(path).reindex(stations["station_id"]).set_axis(stations.index)
    own = stations[["latitude", "longitude"]]
    given = second.notna().all(axis=1) & own.notna().all(axis=1)
    places = (table[name] for table in (own, second) for name in ("longitude", "latitude"))
    far = records.distance_km(*places) > MAX_SHIFT_KM
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
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # too long a row
            table = pd.read_csv(path, dtype=str, encoding="utf-8", index_col=False)[COLUMNS]
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give a table of better coordinates") from error
    except (OSError, KeyError, ValueError, pd.errors.ParserWarning) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: expected CSV in UTF-8 with the columns code, y, x ({reason})") from error
    _refuse(path, table["code"], table["code"].isna() | table["code"].duplicated(), "each code once")
    limits = {"y": ("latitude", 90), "x": ("longitude", 180)}
    return pd.DataFrame(
        {name: _degrees(path, table[column], limit) for column, (name, limit) in limits.items()}
    ).set_axis(table["code"])


def _degrees(path: Path, column: pd.Series, limit: float) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce")
    bad = column.notna() & ~values.between(-limit, limit)
    _refuse(path, column, bad, f"degrees from {-limit} to {limit}, or blank")
    return values


def _refuse(path: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    if bad.any():
        row = bad.idxmax()
        raise DataError(
            f"{path}, row {row + 2}, column {column.name}: {column[row]!r}, expected {expected}"
        )
