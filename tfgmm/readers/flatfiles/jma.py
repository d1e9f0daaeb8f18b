"""Reader of the annual intensity and acceleration files of JMA, and better coordinates of its stations."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.core.errors import UsageError
from tfgmm.core.sphere import distance_km, wrapped
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection, sheet
from tfgmm.readers.flatfiles import jma_format

#: Slope and intercept of the moment magnitude as a linear function of the JMA magnitude, from the 742
#: events in these files that have both.
MW_FROM_MJ = (0.917, 0.337)
#: Kinds of magnitude that count where both are listed.
MAGNITUDES = ("moment", "jma")
#: Magnitudes on the JMA displacement scale (J, D; d from few stations) or consistent with it (V, v).
JMA_TYPES = ["J", "D", "V", "d", "v"]
GAL_M_S2 = 0.01
HYPOCENTRE = ["origin_time", "longitude", "latitude", "depth_km"]
#: Flags of sources that are not determined (N), or known only to the hour, day or month.
UNDETERMINED = ["N", "H", "D", "M"]
#: Largest distance between two positions of a station, km: rounding to one minute of arc and to 0.01
#: degree explains 1.9 km.
MAX_SHIFT_KM = 2.0
#: Columns of a second table of station coordinates.
COORDINATES = {
    "code": sheet.Column(
        ("code", *sheet.STATION), filled=True, expected="each code once", unique="each code once"
    ),
    "latitude": sheet.Column(
        ("y", *sheet.LATITUDE),
        sheet.NUMBER,
        lowest=-90,
        highest=90,
        expected="degrees from -90 to 90, or blank",
    ),
    "longitude": sheet.Column(
        ("x", *sheet.LONGITUDE), sheet.NUMBER, lowest=-180, highest=360, expected="degrees, or blank"
    ),
}


def read(
    archives: Sequence[Path],
    stations: Path,
    limits: selection.Limits,
    progress: Callable[[Path], None] | None = None,
    coordinates: Path | None = None,
    *,
    magnitude: str = "moment",
) -> Dataset:
    r"""Read the records of the seismic intensity meters in files of the Japan Meteorological Agency (JMA).

    PGA is the geometric mean of the peaks of the two horizontal components, :math:`\sqrt{NS \cdot EW}`, in
    g. Magnitudes are Mw: type W as listed, else :math:`0.917 M_j + 0.337` with the first listed JMA
    magnitude Mj (types J, D, V, d and v). Files before 2012 list no moment magnitude; one scale for all
    years is that of Mj, with `magnitude` "jma".

    Parameters
    ----------
    archives : sequence of Path
        Annual files ``iYYYY.zip``, each with one ``.dat`` file, or the ``.dat`` files themselves.
    stations : Path
        Station table ``code_p.dat``. Stations whose names end in a full-width asterisk form the network
        ``local`` (municipalities and NIED), the others form the network ``jma``.
    limits : Limits
        Region, smallest magnitude, largest distance (km) and smallest number of records per event.
    progress : callable, optional
        Function called with the path of each archive that has been read.
    coordinates : Path, optional
        Second table of station coordinates, see `improve_coordinates`.
    magnitude : {"moment", "jma"}
        ``jma``: Mw is converted from Mj wherever Mj is listed, also where a moment magnitude is.

    Returns
    -------
    Dataset
        ``event_id`` is ``jma`` and the origin time as listed (Japan Standard Time, JST); a second event of
        the same hundredth of a second gets ``-2``. ``station_id`` is the code of JMA. Records also have
        ``intensity`` (instrumental, JMA scale); stations also have ``name``, ``locality`` (municipality),
        ``operating_from`` and ``operating_to``.

    Raises
    ------
    UsageError
        A file does not exist, no station lies in the region, or there is no such choice of magnitude.
    DataError
        A file is damaged or does not have the format of JMA, or no record is left.
    """
    if magnitude not in MAGNITUDES:
        raise UsageError(f"magnitude {magnitude!r}: choose {' or '.join(MAGNITUDES)}")
    tally = Tally()
    station_table, noted = _complete_stations(jma_format.read_stations(stations)), []
    if coordinates:
        station_table, noted = improve_coordinates(station_table, coordinates)
    events, rows = _read_archives(archives, progress)
    for what, table in (("event", events), ("station", station_table), ("record", rows)):
        tally.count(what, len(table))
    events = _usable_events(_add_moment_magnitudes(events, magnitude), tally)
    tables = [stations, coordinates] if coordinates else [stations]
    provenance = _provenance([*archives, *tables], magnitude) | {"noted": noted}
    raw = selection.RawDataset(events, station_table, _amplitudes(rows), provenance, tally)
    return selection.select(raw, limits)


def improve_coordinates(stations: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[dict]]:
    """Replace station coordinates, which JMA rounds to minutes of arc, by those of a second table.

    Such a table is often matched by the names of stations, and a moved station keeps its name. So a second
    position is refused if it is more than 2 km from the position of JMA, or if several stations share it
    that JMA lists at different places. A station without coordinates of JMA stays without coordinates,
    because there is nothing to check a second position by.

    Parameters
    ----------
    stations : pandas.DataFrame
        Columns ``station_id``, and ``latitude`` and ``longitude`` in degrees.
    path : Path
        Second table, with the columns ``code`` (station code of JMA), ``y`` and ``x`` (latitude and
        longitude, degrees; blank where unknown), or ``lat`` and ``lon``.

    Returns
    -------
    stations : pandas.DataFrame
        The stations in the same order, with coordinates in degrees.
    noted : list of dict
        Notes for the provenance: how many stations were improved, and how many were not and why.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        The file is no table, or a cell is wrong.
    """
    second = _read_coordinates(path).reindex(stations["station_id"]).set_axis(stations.index)
    own = stations[["latitude", "longitude"]]
    known = second.notna().all(axis=1) & own.notna().all(axis=1)
    places = (table[name] for table in (own, second) for name in ("longitude", "latitude"))
    far = distance_km(*places) > MAX_SHIFT_KM
    places = own[known].groupby([second["latitude"], second["longitude"]])
    several = (places.transform("nunique") > 1).any(axis=1).reindex(own.index, fill_value=False)
    improved = known & ~far & ~several
    reasons = {
        "coordinates improved by the second table": improved,
        f"second coordinates refused: farther than {MAX_SHIFT_KM:g} km from the first": known & far,
        "second coordinates refused: one position for stations at different places": known & ~far & several,
        "second coordinates unknown": ~known,
    }
    noted = []
    for reason, concerned in reasons.items():
        noted += selection.note("station", reason, stations["station_id"][concerned])
    return stations.assign(**own.where(~improved, second)), noted


def _read_coordinates(path: Path) -> pd.DataFrame:
    """Read a second table of coordinates: latitude and longitude (degrees), indexed by station code."""
    table = sheet.read(path)
    # Of a column that is not there the error names the usual name.
    located = {what: column.names[0] for what, column in COORDINATES.items()}
    rows = sheet.read_columns(table, COORDINATES, located | sheet.locate_columns(table, COORDINATES))
    return rows.assign(longitude=wrapped(rows["longitude"])).set_index("code")


def _read_archives(archives: Sequence[Path], progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events and the records of all files, which are linked by unique ``event_id``."""
    events, rows, groups = [], [], 0
    for path in archives:
        event_table, record_table = jma_format.read_events(path)
        events.append(event_table)
        rows.append(record_table.assign(group=record_table["group"] + groups))
        groups += len(event_table)
        if progress:
            progress(path)
    all_events = pd.concat(events, ignore_index=True)
    twin = all_events.groupby("event_id").cumcount()
    all_events["event_id"] += ("-" + (twin + 1).astype(str)).where(twin > 0, "")
    all_rows = pd.concat(rows, ignore_index=True)
    return all_events, all_rows.assign(event_id=all_events["event_id"].to_numpy()[all_rows["group"]])


def _add_moment_magnitudes(events: pd.DataFrame, magnitude: str) -> pd.DataFrame:
    """Return the events with the columns ``magnitude`` (Mw) and ``magnitude_source``.

    `magnitude`, one of `MAGNITUDES`, counts where both are listed. Without any Mw or JMA magnitude, the
    magnitude is NaN and the source is ``other`` or, if no magnitude is listed, ``none``.
    """
    values = [events[f"magnitude_{i}"].to_numpy() for i in (1, 2)]
    types = [
        np.where(np.isnan(value), "", events[f"type_{i}"].to_numpy(dtype=str))
        for i, value in enumerate(values, 1)
    ]
    slope, intercept = MW_FROM_MJ
    converted = [slope * value + intercept for value in values]
    moment = [(t == "W", value, t) for t, value in zip(types, values, strict=True)]
    jma = [
        (np.isin(t, JMA_TYPES), value, np.char.add(t, " converted"))
        for t, value in zip(types, converted, strict=True)
    ]
    is_listed, listed, names = zip(*(moment + jma if magnitude == "moment" else jma + moment), strict=True)
    absent = np.where(np.isnan(values).all(axis=0), "none", "other")
    return events.assign(
        magnitude=np.select(is_listed, listed, np.nan),
        magnitude_source=np.select(is_listed, names, absent),
    )


def _usable_events(events: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Return the single earthquakes with a hypocentre, except those with magnitudes of other agencies only.

    Events without any magnitude stay; the dropped events are counted in `tally`.
    """
    unknown = events["flag"].isin(UNDETERMINED)
    reasons = {
        "swarm that cannot be separated (B)": events["kind"] == "B",
        "pair of separate earthquakes (D)": events["kind"] == "D",
        "origin time or hypocentre undetermined": unknown | events[HYPOCENTRE].isna().any(axis=1),
        "magnitude of another agency only (B, S)": events["magnitude_source"] == "other",
    }
    for reason, bad in reasons.items():
        events = selection.drop(events, bad.loc[events.index], "event", reason, tally)
    return events[["event_id", *HYPOCENTRE, "magnitude", "magnitude_source"]]


def _complete_stations(table: pd.DataFrame) -> pd.DataFrame:
    """Return the stations with network and locality; values that JMA does not list are NaN.

    The depth of the sensor is 0 m.
    """
    return table.assign(
        network=np.where(table["name"].str.endswith("＊"), "local", "jma"),
        locality=table["station_id"].str[:5],
        elevation_m=np.nan,
        sensor_depth_m=0.0,
        vs30_m_s=np.nan,
    )


def _amplitudes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the records with PGA (g, geometric mean of the horizontal peaks) and JMA intensity."""
    product = rows["ns_gal"] * rows["ew_gal"]
    rows = rows.assign(PGA=np.sqrt(product) * GAL_M_S2 / imt.STANDARD_GRAVITY, component="geometric_mean")
    return rows[["event_id", "station_id", "PGA", "component", "intensity"]]


def _provenance(paths: Sequence[Path], magnitude: str) -> dict:
    """Return the provenance for ``dataset.json``: files, hashes, choices, truncation, attribution."""
    slope, intercept = MW_FROM_MJ
    listed, converted = "Mw as listed (W)", f"{slope} Mj + {intercept} of the first of J, D, d, V, v"
    first, second = (listed, converted) if magnitude == "moment" else (converted, listed)
    return {
        "name": "JMA seismic intensity and acceleration files",
        "component": "geometric_mean",
        "unit": {"PGA": "g"},
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": {
            "magnitude": f"{first}, else {second}",
            "PGA": "square root of the product of the NS and EW peaks",
            "operating period": "records outside it are kept and noted",
            "network": "local where the station name ends in a full-width asterisk, else jma",
        },
        "truncation": "An event lists only stations with intensity 0.5 or more: the records are truncated "
        "from below, and a scaling fitted without regard to it is biased at large distance.",
        # ln PGA (g) at which half of the records are listed, and the spread: docs/results/ideas.md.
        "listing": {"level": -6.62, "spread": 0.45},
        "attribution": "Made from the annual seismic intensity and acceleration files of the Japan "
        "Meteorological Agency (JMA).",
    }
