"""Reader of the flatfiles that the program gmprocess of the USGS writes."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import COMPONENTS
from tfgmm.readers.common import selection
from tfgmm.readers.flatfiles import layout, table

COLUMNS = {
    "event_id": "EarthquakeId",
    "origin_time": "EarthquakeTime",
    "event_longitude": "EarthquakeLongitude",
    "event_latitude": "EarthquakeLatitude",
    "depth_km": "EarthquakeDepth",
    "magnitude": "EarthquakeMagnitude",
    "magnitude_source": "EarthquakeMagnitudeType",
    "station_id": "StationID",
    "network": "Network",
    "station_longitude": "StationLongitude",
    "station_latitude": "StationLatitude",
    "elevation_m": "StationElevation",
    # Measured before mapped before inferred from slope.
    "vs30_m_s": "Measured_VS30|Vs30_mps_CA_map|Vs30_mps_slope",
    "record_highpass_hz": "Highpass",
    # As later versions write it; SA(1.000) of the earlier ones needs no pattern.
    "SA": "SA(T={T}, D=0.050)",
}
#: Pattern of the names of files with this component, by component.
PATTERNS = {
    "rotd50": re.compile(r"rotd\W*(?:percentile=)?50(?!\d)", re.IGNORECASE),
    "geometric_mean": re.compile(r"geometric_?mean|geo_?mean", re.IGNORECASE),
}


def read(
    paths: Sequence[Path],
    limits: selection.Limits,
    component: str | None = None,
    progress: Callable[[Path], None] | None = None,
    *,
    unit: str = "%g",
    unit_as_stated: bool = False,
) -> Dataset:
    """Read PGA, PGV and all SA(T) of flatfiles of one component into a dataset.

    Magnitudes are taken as listed, whatever their type, and used as Mw; the type becomes
    ``magnitude_source`` if the file has it. Vs30 (m/s) is the measured value, else the value of the map of
    California, else the value from the slope, if the file has them. Two instruments at one place (``HN``,
    ``BN``) are two stations of one site. SA(T) beyond the high-pass corner of a record is missing
    (`wide.within_passband`).

    Parameters
    ----------
    paths : sequence of Path
        CSV files, plain or compressed.
    limits : Limits
        Region, smallest magnitude, largest distance (km) and smallest number of records per event.
    component : str, optional
        ``geometric_mean`` or ``rotd50``; by default the one in the names of the files
        (``SA_rotd50.0_2020.csv``).
    progress : callable, optional
        Function called with the path of each file that has been read.
    unit : str
        Unit of PGA and SA; gmprocess writes %g. PGV is in cm/s.
    unit_as_stated : bool
        Whether the unit is accepted even if `units.check` would refuse it.

    Returns
    -------
    Dataset
        Events, stations and records within the limits.

    Raises
    ------
    UsageError
        A file or a column does not exist, no station lies in the region, or the component is unknown or
        differs between the files.
    DataError
        A file is damaged, a value cannot be trusted, or no record is left.
    """
    file_layout = layout.Layout(
        columns=COLUMNS,
        constants={"component": component or _read_component(paths)},
        optional=layout.UNPROMISED,
        unit=unit,
        unit_as_stated=unit_as_stated,
        name="gmprocess flatfile",
    )
    dataset = table.read(paths, limits, file_layout, progress)
    counts = dataset.events["magnitude_source"].value_counts()
    magnitude = "as listed, whatever its type, taken as Mw: events kept with " + ", ".join(
        f"{kind} {count}" for kind, count in counts.items()
    )
    choices = dataset.provenance["choices"] | {"magnitude": magnitude}
    attribution = (
        "Made from a flatfile of ground-motion records processed with gmprocess (U.S. Geological Survey)."
    )
    return dataclasses.replace(
        dataset, provenance=dataset.provenance | {"choices": choices, "attribution": attribution}
    )


def _read_component(paths: Sequence[Path]) -> str:
    """Return the component in the names of the files; raise `UsageError` if the names do not agree."""
    components = {
        next((name for name, pattern in PATTERNS.items() if pattern.search(path.name)), None)
        for path in paths
    }
    if len(components) != 1 or None in components:
        names = ", ".join(path.name for path in paths)
        raise UsageError(
            f"the names of {names} do not say one component: choose {' or '.join(COMPONENTS)} "
            "with --component"
        )
    return components.pop()
