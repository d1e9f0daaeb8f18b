"""K-NET and KiK-net records, ASCII or CSV, as downloaded from NIED -> records."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue as catalogues
from tfgmm.readers.common import matching, selection
from tfgmm.readers.flatfiles import jma
from tfgmm.readers.waveforms import archive, intensity_measures, nied_pairs

PROCESSING, TOLERANCE = intensity_measures.Processing(), matching.Tolerance()


def read(
    paths: Sequence[Path],
    limits: selection.Limits,
    *,
    ims: Sequence[str] = ("PGA",),
    component: str = "geometric_mean",
    sensor: str = "surface",
    processing: intensity_measures.Processing = PROCESSING,
    catalogue: Path | None = None,
    tolerance: matching.Tolerance = TOLERANCE,
    progress: Callable[[Path], None] | None = None,
) -> Dataset:
    """Records of K-NET and KiK-net, intensity measures computed from both horizontals.

    Files are read one at a time, whatever their number. Magnitudes are ``0.917 Mj + 0.337`` of the JMA
    magnitude in the header, or those of `catalogue`.

    Parameters
    ----------
    paths : sequence of Path
        Files in the ASCII or the CSV form, folders of them, and ``.tar``, ``.tar.gz`` and ``.zip``
        archives, also nested.
    limits : Limits
    ims : sequence of str
        ``PGA``, ``SA(T)``.
    component : {"geometric_mean", "rotd50"}
    sensor : {"surface", "borehole"}
        Which sensor of KiK-net; K-NET has surface sensors only.
    processing : Processing
    catalogue : Path, optional
        Events with better magnitudes, see `tfgmm.readers.common.catalogue`.
    tolerance : Tolerance
        How far an event may be from its partner in `catalogue`.
    progress : callable, optional
        Called with each file or archive once it has been read.

    Returns
    -------
    Dataset
        ``network`` is ``knet`` or ``kik``. ``event_id`` is ``nied`` and the origin time (UTC),
        ``station_id`` the code, of a borehole sensor with ``-borehole``; what has the name of another
        and is not in its place gets ``-2``.

    Raises
    ------
    UsageError
        A file does not exist, a setting is unknown, or no station lies in the region.
    DataError
        No pair of horizontals can be read, or no record is left.
    """
    if sensor not in nied_pairs.SENSORS:
        raise UsageError(f"sensor {sensor!r} is unknown: choose {' or '.join(nied_pairs.SENSORS)}")
    names = [imt.canonical(name) for name in ims]
    left_out = Tally()
    better = None if catalogue is None else catalogues.read(catalogue, left_out)  # or fail after hours

    def measure(motion: np.ndarray, dt: float) -> list[float]:
        measured = intensity_measures.intensity_measures(motion, dt, names, component, processing)
        return [measured[name] for name in names]

    pairs = nied_pairs.Pairs(sensor, measure)
    for file in [file for path in paths for file in archive.files_in(path)]:
        for member in archive.members(file):
            pairs.add(member)
        if progress:
            progress(file)
    pairs.end()
    provenance = _provenance(paths, names, component)
    provenance["choices"] |= {"sensor": sensor, "processing": processing.as_choices()}
    provenance["noted"] = selection.note(
        "component", "Max. Acc. of the header disagrees with the samples", pairs.disagreements
    )
    events = _moment_magnitude(pairs.events)
    if better is not None:
        events, report = catalogues.improve(events, better, tolerance)
        report |= {"file": catalogue.name, "tolerance": dataclasses.asdict(tolerance)}
        report |= {"left_out": left_out.dropped()}
        provenance["choices"]["catalogue"] = report
        provenance["sources"].append(archive.source(catalogue))
    rows = pairs.rows(names).assign(component=component)
    return selection.select(
        selection.RawDataset(events, pairs.stations, rows, provenance, pairs.tally), limits
    )


def _moment_magnitude(events: pd.DataFrame) -> pd.DataFrame:
    slope, intercept = jma.MW_FROM_MJ
    return events.assign(
        magnitude=slope * events["magnitude"] + intercept, magnitude_source="JMA converted"
    )


def _provenance(paths: Sequence[Path], names: Sequence[str], component: str) -> dict:
    slope, intercept = jma.MW_FROM_MJ
    return {
        "name": "K-NET and KiK-net strong-motion records",
        "component": component,
        "unit": dict.fromkeys(names, "g"),
        "sources": [archive.source(path) for path in paths],
        "choices": {
            "magnitude": f"of the catalogue, else {slope} Mj + {intercept} of the header's JMA magnitude",
            "events": f"headers of one origin time within {nied_pairs.SAME_EVENT_KM:g} km are one event",
            "Max. Acc.": f"may differ by {nied_pairs.MAX_ACC_SHARE:.0%} or {nied_pairs.MAX_ACC_GAL:g} gal",
            "vertical components": "not read",
        },
        "truncation": "Stations record when they are triggered: weak motion far from an event is missing.",
        "attribution": "Made from strong-motion records of K-NET and KiK-net, National Research Institute "
        "for Earth Science and Disaster Resilience (NIED), Japan, doi 10.17598/NIED.0004.",
    }
