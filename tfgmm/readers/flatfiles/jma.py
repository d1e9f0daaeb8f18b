"""JMA annual intensity and acceleration files -> records: what is kept, and why."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection
from tfgmm.readers.flatfiles import jma_coordinates, jma_format

#: Moment magnitude from a JMA magnitude: slope and intercept of a fit on the 742 events in these
#: files that have both.
MW_FROM_MJ = (0.917, 0.337)
#: Magnitudes on the JMA displacement scale (J, D; d from few stations) or consistent with it (V, v).
JMA_TYPES = ["J", "D", "V", "d", "v"]
GAL_M_S2 = 0.01
HYPOCENTRE = ["origin_time", "longitude", "latitude", "depth_km"]
#: Source flags: not determined, or known only to the hour, day or month.
UNDETERMINED = ["N", "H", "D", "M"]


def read(
    archives: Sequence[Path],
    stations: Path,
    limits: selection.Limits,
    progress: Callable[[Path], None] | None = None,
    coordinates: Path | None = None,
) -> Dataset:
    """Records of the intensity meters that the Japan Meteorological Agency collects.

    PGA is the geometric mean of the peaks of the two horizontals, ``sqrt(NS EW)``, in g. Magnitudes
    are Mw: type W as listed, else ``0.917 Mj + 0.337`` of the first of the types J, D, V.

    Parameters
    ----------
    archives : sequence of Path
        ``iYYYY.zip``, each with one ``.dat``, or the ``.dat`` itself.
    stations : Path
        ``code_p.dat``. Names that end in a full-width asterisk are the network ``local``
        (municipalities and NIED), the others ``jma``.
    limits : Limits
    progress : callable, optional
        Called with each archive once it has been read.
    coordinates : Path, optional
        Second table of station coordinates, see `jma_coordinates.improve`.

    Returns
    -------
    Dataset
        ``event_id`` is ``jma`` and the origin time as listed (JST); a second event of the same
        hundredth of a second gets ``-2``. ``station_id`` is the agency's code. Records also have
        ``intensity`` (instrumental, JMA scale), stations ``name``, ``locality`` (municipality) and
        ``operating_from``, ``operating_to``.

    Raises
    ------
    UsageError
        A file does not exist, or no station lies in the region.
    DataError
        A file is damaged or is not what the agency specifies, or no record is left.
    """
    tally = Tally()
    table, noted = _network(jma_format.read_stations(stations)), []
    if coordinates:
        table, noted = jma_coordinates.improve(table, coordinates)
    events, rows = _read_all(archives, progress)
    for what, found in (("event", events), ("station", table), ("record", rows)):
        tally.count(what, len(found))
    events = _adopted_events(_moment_magnitude(events), tally)
    tables = [stations, coordinates] if coordinates else [stations]
    provenance = _provenance([*archives, *tables]) | {"noted": noted}
    return selection.select(selection.Found(events, table, _amplitudes(rows), provenance, tally), limits)


def _read_all(archives: Sequence[Path], progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events and records of all files, joined by ``event_id``."""
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


def _moment_magnitude(events: pd.DataFrame) -> pd.DataFrame:
    """Mw and its source; without one NaN, and ``none`` or ``other`` for what is listed instead."""
    values = [events[f"magnitude_{i}"].to_numpy() for i in (1, 2)]
    types = [
        np.where(np.isnan(value), "", events[f"type_{i}"].to_numpy(dtype=str))
        for i, value in enumerate(values, 1)
    ]
    slope, intercept = MW_FROM_MJ
    converted = [slope * value + intercept for value in values]
    choices = [t == "W" for t in types] + [np.isin(t, JMA_TYPES) for t in types]
    names = types + [np.char.add(t, " converted") for t in types]
    absent = np.where(np.isnan(values).all(axis=0), "none", "other")
    return events.assign(
        magnitude=np.select(choices, values + converted, np.nan),
        magnitude_source=np.select(choices, names, absent),
    )


def _adopted_events(events: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    """Single earthquakes with a hypocentre and no magnitude but a usable one."""
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


def _network(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        network=np.where(table["name"].str.endswith("＊"), "local", "jma"),
        locality=table["station_id"].str[:5],
        elevation_m=np.nan,
        sensor_depth_m=0.0,
        vs30_m_s=np.nan,
    )


def _amplitudes(rows: pd.DataFrame) -> pd.DataFrame:
    product = rows["ns_gal"] * rows["ew_gal"]
    rows = rows.assign(PGA=np.sqrt(product) * GAL_M_S2 / imt.STANDARD_GRAVITY, component="geometric_mean")
    return rows[["event_id", "station_id", "PGA", "component", "intensity"]]


def _provenance(paths: Sequence[Path]) -> dict:
    slope, intercept = MW_FROM_MJ
    return {
        "name": "JMA seismic intensity and acceleration files",
        "component": "geometric_mean",
        "unit": {"PGA": "g"},
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": {
            "magnitude": f"Mw as listed (W), else {slope} Mj + {intercept} of the first of J, D, d, V, v",
            "PGA": "square root of the product of the NS and EW peaks",
            "operating period": "records outside it are kept and noted",
            "network": "local where the station name ends in a full-width asterisk, else jma",
        },
        "truncation": "An event lists only stations with intensity 0.5 or more: the records are truncated "
        "from below, and a scaling fitted without regard to it is biased at large distance.",
        "attribution": "Made from the annual seismic intensity and acceleration files of the Japan "
        "Meteorological Agency (JMA).",
    }
