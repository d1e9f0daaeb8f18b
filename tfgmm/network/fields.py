"""The field of a station chunk: fitted to training records, taught to the networks, added to predictions.

The field is the Gaussian process of `tfgmm.stats.field` of the residuals from the backbone. A chunk is the
group of stations whose sites are held out. Networks learn from each record what a field that has not seen
the record cannot tell; to their predictions the field of all training records is added.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import RECORD, TERMS, UNSEEN, VALIDATION, is_training
from tfgmm.stats import field as process
from tfgmm.stats import field_fit
from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_folds import out_of_block, out_of_fold
from tfgmm.stats.field_records import Cells, Records

#: Numbers of training sites, counted by their records, and of training events from which networks learn
#: what the field tells of a site without records of its own. Of fewer they learn the sites by heart, which
#: the field of the sites' records then tells once more: RMSE of known stations at the best share 0.585 in
#: place of 0.567 with 57 sites, 0.576 in place of 0.555 with 69 events. With 670 sites (499 by records) and
#: 509 events it was better, by 0.010 there and by 0.020 at new sites (docs/results/ideas.md).
FEWEST_SITES, FEWEST_EVENTS = 200, 400


def covariances(records: Mapping[str, pd.DataFrame]) -> dict[str, Covariance]:
    """Fit the covariance of the field of each intensity measure to residuals from its backbone.

    Parameters
    ----------
    records : mapping of str to pandas.DataFrame, [n, ...]
        Records by intensity measure: ``event_id, station_id, site_id, ln_im``, ``backbone`` (ln units),
        places as for `Records.of`.

    Returns
    -------
    dict of str to Covariance
        Covariances by intensity measure; those of near periods share their ranges
        (`tfgmm.stats.field_fit.fit_measures`).

    Raises
    ------
    DataError
        The records are too few.
    """
    try:
        return field_fit.fit_measures({im: _residuals(rows) for im, rows in records.items()})
    except DataError as error:
        raise DataError(f"{error}; or train with --field no") from error


def condition(records: pd.DataFrame, covariance: Covariance) -> Field:
    """Condition the field on the residuals of records from the backbone.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        Columns as for `covariances`.
    covariance : Covariance
        Covariance of the field.

    Returns
    -------
    Field

    Raises
    ------
    DataError
        There is no record, or the equations do not converge.
    """
    return process.condition(covariance, _residuals(records))


def unseen(records: pd.DataFrame, covariance: Covariance, origin_time: pd.Series) -> pd.DataFrame:
    """Return mean and variance of the field at training and stopping records that it is not conditioned on.

    The field is given training records of other blocks of events. For a training record these are of other
    folds of sites as well, if there are `FEWEST_SITES` and `FEWEST_EVENTS`.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        Columns as for `covariances`, and ``event_role, site_role``.
    covariance : Covariance
        Covariance of the field.
    origin_time : pandas.Series
        Origin time by event id, for blocks of consecutive events.

    Returns
    -------
    pandas.DataFrame, [n, 2]
        ``field_mean`` (ln units) and ``field_variance`` (squared ln units), with the index of `records`;
        0 for validation records, on which nothing is trained.

    Raises
    ------
    DataError
        There is no training record, there are too few events, or the equations do not converge.
    """
    trained = is_training(records)
    given = _residuals(records[trained])
    times = origin_time.loc[given.event_ids].to_numpy()
    # Many sites with few records each are no crowd: it is the others that networks learn by heart.
    records_of_site = np.bincount(given.site[given.station])
    is_large = records_of_site.sum() ** 2 / (records_of_site**2).sum() >= FEWEST_SITES
    is_large &= len(given.event_ids) >= FEWEST_EVENTS
    moments = pd.DataFrame(0.0, records.index, UNSEEN)
    by_block = records[["event_role", "site_role"]].ne(VALIDATION).all(axis=1)
    if is_large:
        by_block &= ~trained
        folds = out_of_fold(covariance, given, times)
        # `Records` are sorted by event id, then by station id.
        in_order = records.loc[trained, RECORD].astype(str).sort_values(RECORD).index
        moments.loc[in_order] = np.c_[folds.mean, folds.variance]
    rows = records[by_block]
    times_of_rows = origin_time.loc[rows["event_id"].astype(str)].to_numpy()
    mean, variance = out_of_block(covariance, given, times, Cells.of(rows, given), times_of_rows)
    moments.loc[rows.index] = np.c_[mean, variance]
    return moments


def with_terms(field: Field, members: pd.DataFrame) -> pd.DataFrame:
    """Append the terms of the field, as columns, to the predictions of a chunk's networks.

    The terms are not added to the predictions (see `add`).

    Parameters
    ----------
    field : Field
        Field given the training records of the chunk.
    members : pandas.DataFrame, [n, ...]
        Predictions of the chunk's networks, each of the same records: ``init``, columns as for
        `covariances`, and ``stddev`` of the network, ln units.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The rows in the same order with the columns `tfgmm.runs.predictions.FIELD`.
    """
    number, first = _records_of(members)
    cells = Cells.of(first, field.records)
    parts, variance, of_site = field.parts(cells), field.variance(cells), field.site_variance(cells)
    fit, new = field.covariance, cells.event < 0
    path = np.maximum(variance - fit.event - fit.within - of_site, 0.0)
    of_records = {
        "event_term": parts["event"],
        "site_term": parts["site_own"] + parts["site_shared"],
        "path_term": parts["source"] + parts["path_own"] + parts["path_shared"],
        "within_term": parts["within"],
        "field_stddev": np.sqrt(variance),
        "event_stddev": np.where(new, np.sqrt(fit.event), np.nan),
        "site_stddev": np.sqrt(of_site),
        "path_stddev": np.where(new, np.sqrt(path), np.nan),
        "within_stddev": np.where(new, np.sqrt(fit.within), np.nan),
    }
    columns = {name: values[number] for name, values in of_records.items()}
    columns["within_stddev"] = np.hypot(columns["within_stddev"], members["stddev"].to_numpy(float))
    return members.assign(**columns)


def add(members: pd.DataFrame) -> pd.DataFrame:
    r"""Add the terms of the field to the predictions of networks.

    .. math:: \mu_{es} = b_{es} + E[G(e, s) | y - b] + u_{es}, \quad
        \sigma_{es}^2 = Var[G(e, s)] + s_{es}^2

    with the backbone b and the network's mean u. Where the event itself has training records, u is left
    out: they tell what it would, and its part that they do not tell is noise (docs/results/ideas.md).

    Parameters
    ----------
    members : pandas.DataFrame, [n, ...]
        Rows of `with_terms`, with ``mean`` of backbone and network.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The rows in the same order with the field in ``mean`` and ``stddev``.
    """
    is_new = members["event_stddev"].notna()
    median = members["mean"].where(is_new, members["backbone"])
    return members.assign(
        mean=median + members[TERMS].sum(axis=1),
        stddev=np.hypot(members["field_stddev"], members["stddev"]),
    )


def _residuals(records: pd.DataFrame) -> Records:
    """Return the residuals of records from the backbone."""
    return Records.of(records, records["ln_im"] - records["backbone"])


def _records_of(members: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the number of the record of each row, [n], and one row for each record."""
    record = members.groupby(RECORD, sort=False, observed=True)
    return record.ngroup().to_numpy(), members[~members.duplicated(RECORD)]
