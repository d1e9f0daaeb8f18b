"""Section of an evaluation on types of magnitudes: bias and RMSE of each model for validation events.

A dataset takes magnitudes of several types as moment magnitudes, some of them converted. If a conversion is
wrong, the bias of its events differs from the bias of the others.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfgmm.data.schemas import TRAINING, VALIDATION
from tfgmm.evaluation import scores
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section, statistics_as_columns
from tfgmm.stats import calibration

#: Largest number of types that are shown. Of more, the last one gathers all but the most frequent.
MAX_TYPES = 6
OTHER, NOT_STATED = "other", "not stated"
#: Cells (site role / event role) of validation events.
CELLS = tuple(f"{site} / {VALIDATION}" for site in (TRAINING, VALIDATION))

_STATISTICS = {name: scores.STATISTICS[name] for name in ("RMSE", "bias")}


def magnitude_type_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report section on types of magnitudes; nothing if the validation events have one type.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Bias and RMSE (ln units) by type of magnitude, cell and model, with numbers of records and events.
        Runs whose tables do not name the types have no section.
    """
    is_calibrated = scored.models["model"].str.endswith(calibration.CALIBRATED)
    table = score(scored.models[~is_calibrated], scored.reference)
    if table["magnitude_type"].nunique() < 2:
        return
    index = ["im", "cell", "magnitude_type", "model"]
    shown = statistics_as_columns(table, index, ["bias", "RMSE"])
    counts = table.drop_duplicates(index)[[*index, "n", "events"]]
    yield Section(
        "scores_by_magnitude_type",
        "Bias and RMSE by type of magnitude, validation events",
        "Residuals are observed minus predicted, ln units; 90 % intervals by the two-way bootstrap over "
        "events and sites. All magnitudes are taken as moment magnitudes: a type with a bias of its own in "
        "all models may be converted wrongly, or hold other earthquakes.",
        table,
        shown.merge(counts.rename(columns={"n": "records"}), on=index),
    )


def score(models: pd.DataFrame, reference: str, **bootstrapped) -> pd.DataFrame:
    """Return bias and RMSE of models for validation events by type of magnitude, with intervals.

    Parameters
    ----------
    models : pandas.DataFrame
        Scored table (see `tfgmm.evaluation.scores`) with ``magnitude_source``, the type of the magnitude.
    reference : str
        Name of the reference network, whose records are scored.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.evaluation.scores.score`.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell of `CELLS`, type, model and statistic: ``im, cell,
        magnitude_type, model, statistic``; ``value, low, high`` in ln units; ``n, events, sites``, the
        numbers of records, events and sites. No rows if `models` lacks the column ``magnitude_source``.

    Raises
    ------
    DataError
        A value is not finite, or a predicted standard deviation is not above 0.
    """
    validates = (models["event_role"] == VALIDATION) & (models["network"] == reference)
    rows = models[validates]
    if "magnitude_source" not in rows:
        rows = rows.iloc[:0].assign(magnitude_source="")
    rows = rows.assign(magnitude_type=_name_types(rows))
    groupings = {
        "im": scores.by_value("im"),
        "cell": _by_cell,
        "magnitude_type": _by_type,
        "model": scores.by_value("model"),
    }
    return scores.score(rows, groupings, _STATISTICS, **bootstrapped)


def _name_types(rows: pd.DataFrame) -> pd.Series:
    """Return the type of the magnitude of each record; `OTHER` for rare types if there are too many."""
    types = rows["magnitude_source"].astype(object).where(rows["magnitude_source"].notna(), NOT_STATED)
    counts = _count_events(rows["event_id"], types)
    if len(counts) <= MAX_TYPES:
        return types
    return types.where(types.isin(counts.index[: MAX_TYPES - 1]), OTHER)


def _count_events(event: pd.Series, types: pd.Series) -> pd.Series:
    """Return the number of events of each type, the most frequent first, equals in alphabetical order."""
    counts = event.groupby(types.to_numpy()).nunique()
    return counts.iloc[np.argsort(-counts.to_numpy(), kind="stable")]


def _by_cell(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the records of validation events at training and at held-out sites, by cell."""
    by_name = {f"{role} / {VALIDATION}": rows[rows["site_role"] == role] for role in (TRAINING, VALIDATION)}
    return {name: records for name, records in by_name.items() if len(records)}


def _by_type(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the records of each type of magnitude: the most frequent type first, `OTHER` last."""
    names = list(_count_events(rows["event_id"], rows["magnitude_type"]).index)
    names.sort(key=lambda name: name == OTHER)
    return {name: rows[rows["magnitude_type"] == name] for name in names}
