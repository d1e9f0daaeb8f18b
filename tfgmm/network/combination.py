"""Networks, backbone and field of each chunk -> the predictions of a run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tfgmm.data.schemas import RECORD, STOPPING, UNSEEN, VALIDATION, training_records
from tfgmm.network import fields
from tfgmm.stats.field import Field
from tfgmm.stats.support import Shrinkage, Support, fit_shares


def with_parts(table: pd.DataFrame, by_chunk: Mapping[int, Field]) -> pd.DataFrame:
    """Append support and terms of the field, as columns, to predictions of networks.

    Parameters
    ----------
    table : pandas.DataFrame, [n, ...]
        Predictions of the members of one intensity measure and arm (a set of input channels), with the
        positions of events and stations, km.
    by_chunk : mapping of int to Field
        Field of each chunk, given its training records; empty without field.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The rows with ``support``, the effective number of training records of the chunk like a record, and
        the columns of `tfgmm.network.fields.with_terms`; nothing is added to the predictions yet.
    """
    parts = []
    for chunk, rows in table.groupby("chunk", observed=True, sort=False):
        support = Support.fit(training_records(rows)).at_records(rows)
        supported = rows.assign(support=support)
        parts.append(fields.with_terms(by_chunk[int(chunk)], supported) if by_chunk else supported)
    return pd.concat(parts)


def combine(
    tables: Mapping[str, pd.DataFrame],
) -> tuple[dict[str, Shrinkage], dict[str, pd.DataFrame]]:
    """Return the shrinkage of the networks of one arm, and their predictions with backbone and field.

    With a backbone, the part of the network is shrunken, the more where the support is small. How far is
    fitted to stopping events, which did not train.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame, [n, ...]
        Results of `with_parts` by intensity measure, with field also with the columns `UNSEEN`.

    Returns
    -------
    shrinkages : dict of str to Shrinkage
        By intensity measure; empty without backbone.
    predictions : dict of str to pandas.DataFrame, [n, ...]
        The rows by intensity measure, with shrinkage and field in ``mean`` and ``stddev``.
    """
    # Networks of version 0.1 hold their regression themselves.
    if not any(table["backbone"].any() for table in tables.values()):
        return {}, {im: table.sort_index() for im, table in tables.items()}
    shrinkages = fit_shares({im: _stopping_residuals(table) for im, table in tables.items()})
    combined = {im: _shrunken(table, shrinkages[im]) for im, table in tables.items()}
    has_field = "field_stddev" in next(iter(tables.values()))
    return shrinkages, {
        im: (fields.add(table) if has_field else table).sort_index() for im, table in combined.items()
    }


def _stopping_residuals(table: pd.DataFrame) -> pd.DataFrame:
    """Return residuals and network's means of stopping records, as `fit_shares` takes them.

    What is shrunken is the mean over the members of a chunk, as it is in scores. The field has not seen the
    time of the events, as it will not have seen that of the next one (`tfgmm.network.fields.unseen`).
    """
    stopping = (table["event_role"] == STOPPING) & (table["site_role"] != VALIDATION)
    held = table[stopping & (table["backbone"] != 0)]
    # Without field there are no such columns.
    field_mean, field_variance = held.reindex(columns=UNSEEN, fill_value=0.0).to_numpy(float).T
    residuals = {
        "backbone_residual": held["ln_im"] - held["backbone"] - field_mean,
        "u": held["mean"] - held["backbone"],
        "stddev": np.sqrt(held["stddev"] ** 2 + field_variance),
        "n": held["support"],
    }
    of_members = held[["chunk", *RECORD]].astype(str).assign(**residuals)
    return of_members.groupby(["chunk", *RECORD], as_index=False).mean()


def _shrunken(table: pd.DataFrame, shrinkage: Shrinkage) -> pd.DataFrame:
    """Return predictions whose networks are shrunken towards the backbone by their support."""
    has_backbone = table["backbone"] != 0
    share = shrinkage.share(table["support"]).where(has_backbone, 1.0)
    added = shrinkage.added_variance(table["support"]).where(has_backbone, 0.0)
    return table.assign(
        mean=table["backbone"] + share * (table["mean"] - table["backbone"]),
        stddev=np.sqrt(table["stddev"] ** 2 + added),
    )
