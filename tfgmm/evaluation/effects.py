"""What the networks of a run have learned about sources and paths."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError, UsageError
from tfgmm.stats import ergodic

#: Side of a source cell, degrees.
CELL_DEG = 0.25
#: With fewer records than this a source cell is left out, in all and at the chosen station.
MIN_RECORDS, MIN_PATH_RECORDS = 20, 3

#: What is averaged: the network's mean and, to compare, the observation, each less the ergodic median.
_VALUES = ["predicted", "observed"]
_RECORD = ["event_id", "station_id"]


@dataclasses.dataclass(frozen=True)
class Effects:
    """Source, site and path effects of one intensity measure, ln units.

    Attributes
    ----------
    sources : pandas.DataFrame
        A row a source cell: ``longitude, latitude`` of its centre, ``predicted, observed, records,
        events``. Effects have mean zero over the cells.
    sites : pandas.DataFrame
        By ``site_id``: ``predicted, observed``.
    paths : pandas.DataFrame
        A row a source cell with records at the station: what is left of its records there without the
        source and the site effect, in the columns of `sources`.
    station : pandas.Series
        ``station_id, longitude, latitude`` of the station of `paths`.
    """

    sources: pd.DataFrame
    sites: pd.DataFrame
    paths: pd.DataFrame
    station: pd.Series


def learned(partial: pd.DataFrame) -> pd.DataFrame:
    """Predicted mean and observation of each record, less the ergodic median, averaged over folds.

    `tfgmm.stats.ergodic.fit` fits the median in each fold to what its networks trained on. Folds that
    trained on a record count as those that held it out: asked is what was learned, not how well it
    carries over.

    Parameters
    ----------
    partial : pandas.DataFrame
        Of `tfgmm.evaluation.scores.partial_ensembles`, of one intensity measure, with the columns of
        `tfgmm.runs.run.RunFolder.with_places`.

    Returns
    -------
    pandas.DataFrame
        One row a record: ``event_id, station_id, site_id``, ``event_longitude, event_latitude,
        longitude, latitude``, ``predicted`` and ``observed``, ln units.
    """
    names = ["site_id", "event_longitude", "event_latitude", "longitude", "latitude"]
    parts = []
    for _, fold in partial.groupby("chunk"):
        trained = fold["event_role"].eq("training") & fold["site_role"].eq("training")
        median = ergodic.fit(fold[trained]).median_of(fold)
        effect = {"predicted": fold["mean"] - median, "observed": fold["ln_im"] - median}
        parts.append(fold[[*_RECORD, *names]].assign(**effect))
    records = pd.concat(parts).groupby(_RECORD, sort=False, observed=True)
    return records[names].first().join(records[_VALUES].mean()).reset_index()


def of(
    records: pd.DataFrame,
    station: str | None = None,
    cell_deg: float = CELL_DEG,
    min_records: int = MIN_RECORDS,
) -> Effects:
    r"""Balanced effects of source cells and sites, and of the paths to one station.

    .. math:: d_{es} = u_{c(e)} + v_s + p_{c(e), s} + rest

    Cells and sites are fitted together by least squares, so that a cell whose earthquakes are mostly
    recorded at amplifying sites does not look strong for it; p is the mean of what is left in the pairs
    of a cell and the chosen station. Cells with too few records are left out first.

    Parameters
    ----------
    records : pandas.DataFrame
        Of `learned`.
    station : str, optional
        Of the paths; by default the one with most records.
    cell_deg : float
        Side of a source cell, degrees.
    min_records : int
        A cell with fewer is left out; for paths `MIN_PATH_RECORDS`.

    Raises
    ------
    UsageError
        The size of a cell is not above 0, or the station has too few records in every cell.
    DataError
        Fewer than two cells have enough records.
    """
    if not cell_deg > 0:
        raise UsageError(f"source cells of {cell_deg:g} degrees: choose a size above 0")
    records = _with_cells(records, cell_deg)
    records = records[records.groupby("cell")["event_id"].transform("size") >= min_records]
    if records["cell"].nunique() < 2:
        raise DataError(
            f"fewer than 2 source cells of {cell_deg:g} degrees have {min_records} records: choose another "
            "size of the cells"
        )
    u, v = _additive(records)
    rest = records[_VALUES] - u.loc[records["cell"]].to_numpy() - v.loc[records["site_id"]].to_numpy()
    station = records["station_id"].mode()[0] if station is None else station
    at_station = records["station_id"] == station
    paths = _by_cell(records[at_station].assign(**rest[at_station]))
    paths = paths[paths["records"] >= MIN_PATH_RECORDS]
    if paths.empty:
        raise UsageError(
            f"station {station} has no {MIN_PATH_RECORDS} records in any of the source cells of "
            f"{cell_deg:g} degrees: choose another station or larger cells"
        )
    return Effects(
        _by_cell(records).assign(**u).reset_index(drop=True),
        v,
        paths.reset_index(drop=True),
        records.loc[at_station, ["station_id", "longitude", "latitude"]].iloc[0],
    )


def _with_cells(records: pd.DataFrame, cell_deg: float) -> pd.DataFrame:
    """Add ``cell``, and ``cell_longitude`` and ``cell_latitude`` of its centre."""
    centres = {
        f"cell_{name}": (np.floor(records[f"event_{name}"] / cell_deg) + 0.5) * cell_deg
        for name in ("longitude", "latitude")
    }
    records = records.assign(**centres)
    return records.assign(cell=records.groupby(list(centres)).ngroup())


def _additive(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Least-squares effects of cells, mean zero, and of sites; where these fall apart, the shortest."""
    (cell, cells), (site, sites) = (pd.factorize(records[name], sort=True) for name in ("cell", "site_id"))
    counts = np.zeros((len(cells), len(sites)))
    np.add.at(counts, (cell, site), 1)
    gram = np.block([[np.diag(counts.sum(axis=1)), counts], [counts.T, np.diag(counts.sum(axis=0))]])
    right = [
        np.concatenate([np.bincount(cell, y), np.bincount(site, y)]) for y in records[_VALUES].T.to_numpy()
    ]
    solution = np.linalg.lstsq(gram, np.transpose(right))[0]
    u, v = np.split(solution, [len(cells)])
    return pd.DataFrame(u - u.mean(axis=0), cells, _VALUES), pd.DataFrame(
        v + u.mean(axis=0), pd.Index(sites, name="site_id"), _VALUES
    )


def _by_cell(records: pd.DataFrame) -> pd.DataFrame:
    """Means of the values by cell, with its centre and numbers of records and events."""
    return records.groupby("cell").agg(
        longitude=("cell_longitude", "first"),
        latitude=("cell_latitude", "first"),
        **{name: (name, "mean") for name in _VALUES},
        records=("event_id", "size"),
        events=("event_id", "nunique"),
    )
