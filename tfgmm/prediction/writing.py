"""Earthquakes -> files of what engineers ask for, maps or a table of sites; streamed."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import xarray as xr
from scipy.special import ndtr, ndtri

from tfgmm.core import drawing, endings, files
from tfgmm.core.errors import UsageError
from tfgmm.prediction import figures, map_files, scenarios
from tfgmm.prediction.ensemble import Ensemble
from tfgmm.prediction.places import Interpolation
from tfgmm.readers.common import catalogue

#: Rows of a table that are written at once.
_ROWS = 100_000
#: First columns of a table of sites.
_FIRST = (
    "event_id",
    "event_longitude",
    "event_latitude",
    "depth_km",
    "magnitude",
    "site_id",
    "longitude",
    "latitude",
)
_LONG_NAMES = {
    "median_g": ("g", "median of {im}"),
    "mean": ("1", "mean of ln {im}, {im} in g"),
    "stddev": ("1", "total standard deviation of ln {im}"),
    "aleatory": ("1", "aleatory standard deviation of ln {im}"),
    "epistemic": ("1", "epistemic standard deviation of ln {im}"),
    "between_event": ("1", "between-event standard deviation of ln {im}"),
    "within_event": ("1", "within-event standard deviation of ln {im}"),
    "r_hyp_km": ("km", "hypocentral distance"),
}


@dataclasses.dataclass(frozen=True)
class Quantities:
    r"""What is wanted beside median, mean and standard deviations.

    .. math:: P(IM > y) = 1 - \Phi((\ln y - \mu) / \sigma), \quad y_p = e^{\mu + \sigma \Phi^{-1}(p / 100)}

    The distribution of ln IM is taken as Normal with the ensemble's mean and total standard deviation.
    The mixture of the members' distributions has the same two moments, but not quite this shape.

    Attributes
    ----------
    exceed : tuple of float
        Levels y, g.
    percentiles : tuple of float
        p, between 0 and 100.

    Raises
    ------
    UsageError
        A level is not positive, or a percentile not between 0 and 100.
    """

    exceed: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for level in self.exceed:
            if not 0 < level < np.inf:
                raise UsageError(f"level {level}: expected a positive number, in g")
        for p in self.percentiles:
            if not 0 < p < 100:
                raise UsageError(f"percentile {p}: expected a number between 0 and 100, both excluded")

    def of(self, found: xr.Dataset) -> xr.Dataset:
        """What follows from mean and total standard deviation.

        Parameters
        ----------
        found : xarray.Dataset
            Of `Ensemble.maps`, `Ensemble.at_sites` or `Ensemble.batches`.

        Returns
        -------
        xarray.Dataset
            ``median_g``, what `found` has, and for each y and p ``exceed_y`` and ``percentile_p_g``,
            as ``exceed_0.1`` (probability) and ``percentile_84_g``.
        """
        im, mean, stddev = found.attrs["intensity_measure"], found["mean"], found["stddev"]
        new = {"median_g": np.exp(mean), **found.data_vars}
        labels = {name: label for name, label in _LONG_NAMES.items() if name in new}
        for y in self.exceed:
            new[f"exceed_{y:g}"] = (mean.dims, ndtr(((mean - np.log(y)) / stddev).to_numpy()))
            labels[f"exceed_{y:g}"] = ("1", f"probability that {{im}} exceeds {y:g} g")
        for p in self.percentiles:
            new[f"percentile_{p:g}_g"] = np.exp(mean + stddev * ndtri(p / 100))
            labels[f"percentile_{p:g}_g"] = ("g", f"percentile {p:g} of {{im}}")
        derived = xr.Dataset(new, found.coords, found.attrs)
        for name, (units, long_name) in labels.items():
            derived[name].attrs = {"units": units, "long_name": long_name.format(im=im)}
        return derived


def write(
    ensemble: Ensemble,
    events: pd.DataFrame,
    out: Path,
    sites: pd.DataFrame | None = None,
    *,
    known: bool = False,
    quantities: Quantities = Quantities(),
    interpolation: Interpolation = "nearest",
    calibrated: bool | None = None,
    overwrite: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Path:
    """Predict events and write what is wanted; memory does not depend on their number.

    Parameters
    ----------
    ensemble : Ensemble
    events : pandas.DataFrame
        With ``longitude, latitude, depth_km, magnitude``.
    out : Path
        Its ending tells the format. Maps: ``.nc`` (CF NetCDF, all events in one file), ``.tif``, ``.png``
        or ``.pdf`` (one file an event: of several, a folder of the name without ending). Table of
        sites: ``.csv`` or ``.parquet``.
    sites : pandas.DataFrame, optional
        With ``longitude`` and ``latitude``.
    quantities : Quantities
    known, interpolation, calibrated
        As for `Ensemble.batches`.
    overwrite : bool
        Replace what `out` was.
    progress : callable
        Called after each event.

    Returns
    -------
    Path
        What was written, whole or not at all.

    Raises
    ------
    UsageError
        The ending does not fit, `out` exists, there is no calibration.
    DataError
        An event or a site cannot be, or the file system refuses to write.
    """
    ending = endings.of_prediction(out, sites is not None)
    events = scenarios.check_events(events)
    folder = ending not in (".nc", *endings.TABLES) and len(events) > 1
    target = out.with_suffix("") if folder else out
    _refuse_existing(target, folder, ending, overwrite)
    found = ensemble.batches(events, sites, known=known, interpolation=interpolation, calibrated=calibrated)
    wanted = _watched(map(quantities.of, found), progress)
    with (files.whole_files if folder else files.whole_file)(target) as temporary:
        if ending in endings.TABLES:
            _write_table(wanted, temporary, ending)
        elif ending == ".nc":
            id_bytes = max(len(name.encode()) for name in events["event_id"])
            map_files.write_netcdf(wanted, temporary, ensemble.experiment.grid, id_bytes)
        else:
            paths = _paths(temporary, events["event_id"], ending) if folder else [temporary]
            _write_each(wanted, paths, ending, ensemble)
    return target


def _refuse_existing(target: Path, folder: bool, ending: str, overwrite: bool) -> None:
    files.refuse_existing(target, overwrite)
    if folder and target.exists():
        others = [path.name for path in target.iterdir() if path.suffix.lower() != ending]
        if others:  # a run, say, of the same name
            raise UsageError(f"{target} holds {others[0]} and is not replaced: choose another name")
    elif target.is_dir():
        raise UsageError(f"{target} is a folder and is not replaced: choose another name")


def _watched(batches: Iterator[xr.Dataset], progress: Callable[[], None]) -> Iterator[xr.Dataset]:
    for batch in batches:
        yield batch
        for _ in range(batch.sizes["event"]):
            progress()


def _paths(folder: Path, event_ids: pd.Series, ending: str) -> list[Path]:
    """One name an event, of characters that every file system takes."""
    names = catalogue.unique(event_ids.map(lambda name: re.sub(r"[^\w.-]", "_", name)))
    return [folder / f"{name}{ending}" for name in names]


def _write_each(batches: Iterator[xr.Dataset], paths: list[Path], ending: str, ensemble: Ensemble) -> None:
    events = (batch.isel(event=i) for batch in batches for i in range(batch.sizes["event"]))
    for maps, path in zip(events, paths, strict=True):
        if ending in (".tif", ".tiff"):
            map_files.write_geotiff(maps, path, ensemble.experiment.grid)
        else:
            drawing.save(figures.scenario(maps, ensemble.stations), path, ("",))


def _write_table(batches: Iterator[xr.Dataset], path: Path, ending: str) -> None:
    writer_of = pa.csv.CSVWriter if ending == ".csv" else pa.parquet.ParquetWriter
    tables = _row_groups(pa.Table.from_pandas(table(batch), preserve_index=False) for batch in batches)
    first = next(tables)
    with writer_of(path, first.schema) as writer:
        for rows in itertools.chain([first], tables):
            writer.write_table(rows)


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows in fewer tables: Parquet keeps a description of each in memory until the end."""
    waiting: list[pa.Table] = []
    for rows in tables:
        waiting.append(rows)
        if sum(len(one) for one in waiting) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def table(found: xr.Dataset) -> pd.DataFrame:
    """One row an event and site, with all quantities as columns.

    Parameters
    ----------
    found : xarray.Dataset
        [event, site].
    """
    rows = found.to_dataframe(["event", "site"]).reset_index(drop=True)
    others = rows.columns.difference(_FIRST, sort=False)
    single = dict.fromkeys([name for name in others if rows[name].dtype.kind == "f"], "float32")
    constant = {name: bool(found.attrs[name]) for name in ("calibrated", "simulated")}
    return rows[[*_FIRST, *others]].astype(single).assign(im=found.attrs["intensity_measure"], **constant)
