"""Flatfiles that gmprocess of the USGS writes -> records."""

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
    # As later versions write it; SA(1.000) of the earlier ones needs no pattern.
    "SA": "SA(T={T}, D=0.050)",
}
#: Component -> how a file name says it.
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
    """Read the records of flatfiles of one component: PGA and all SA(T) in them.

    Magnitudes are taken as listed, whatever their type, which becomes ``magnitude_source`` where the
    file has it. Vs30 is the measured one, else that of the map of California, else that of the slope, as
    far as the file has them. Two instruments at one place (``HN``, ``BN``) are two stations of one site.

    Parameters
    ----------
    paths : sequence of Path
        CSV files, plain or compressed.
    limits : Limits
    component : str, optional
        ``geometric_mean`` or ``rotd50``; default: as file names say (``SA_rotd50.0_2020.csv``).
    progress : callable, optional
        Called with each file once it has been read.
    unit : str
        Of the amplitudes; gmprocess writes %g.
    unit_as_stated : bool
        Take the unit as it is, also where `units.check` would refuse it.

    Raises
    ------
    UsageError
        As `table.read`; or the component is not known or differs among the files.
    DataError
        As `table.read`.
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
    """Return the component that the names of all files say."""
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
