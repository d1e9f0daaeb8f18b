"""Predict the records of a run with published ergodic models, as published and re-centred."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.roles import is_training
from tfgmm.evaluation.baselines import folds, scored_table
from tfgmm.stats.published import (
    CLASSES,
    MODELS,
    PublishedModel,
    evaluate,
    interpolate,
    with_assumptions,
)

#: Ends the name of a model whose constant was fitted.
RECENTRED = " (re-centred)"

#: Number of records by which the interpolation is checked.
_CHECKED = 100


def published_predictions(
    table: pd.DataFrame, progress: Callable[[], None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict with published models, as published and with a constant fitted in each fold.

    The constant is the mean residual of the fold's training records, one for each tectonic class. Where
    there is a column ``tectonic_class``, a model predicts the events of its class only, and every crustal
    model is completed by AGA16 to one that predicts all events; else every model predicts every event. A
    model that lacks the period of an intensity measure is left out.

    Parameters
    ----------
    table : pandas.DataFrame
        The predictions table of a run; with ``vs30, vs30_m_s`` and ``tectonic_class`` where known.
    progress : callable, optional
        Called after each of `MODELS` and intensity measures.

    Returns
    -------
    scored : pandas.DataFrame
        Two rows per record, chunk and model: the record, its roles, ``model, mean, stddev, epistemic``,
        ln units.
    ranges : pandas.DataFrame
        ``im, model, records, outside_range`` (share of the records outside the range that the authors
        state) and ``interpolation_error`` (the largest of 100 records, ln units).

    Raises
    ------
    DataError
        A tectonic class is not one of `CLASSES`.
    """
    records = with_assumptions(pd.concat(folds(table), ignore_index=True))
    _refuse_unknown_class(records)
    tables, ranges = [], []
    for im, of_im in records.groupby("im", observed=True):
        predictions = []
        for model in MODELS:
            predicted = _predict(model, im, of_im)
            if len(predicted):
                predictions.append((model, predicted))
                ranges.append({"im": im, "model": model.name} | _check_range(model, im, predicted))
            if progress:
                progress()
        tables += _complete_classes(predictions, by_class="tectonic_class" in of_im)
    return pd.concat(tables, ignore_index=True), pd.DataFrame(ranges)


def _predict(model: PublishedModel, im: str, records: pd.DataFrame) -> pd.DataFrame:
    """Return the records of the model's class with ``mean, stddev, constant``; none without the period."""
    if "tectonic_class" in records:
        records = records[records["tectonic_class"] == model.tectonic_class]
    if records.empty:
        return records
    mean, stddev = interpolate(model, im, records).T
    residual = (records["ln_im"] - mean).where(is_training(records))
    constant = residual.groupby(records["chunk"]).transform("mean").fillna(0.0)
    return records.assign(mean=mean, stddev=stddev, constant=constant)[np.isfinite(mean)]


def _complete_classes(
    predictions: list[tuple[PublishedModel, pd.DataFrame]], by_class: bool
) -> Iterator[pd.DataFrame]:
    """Yield scored tables of each model; by class, of each crustal model completed by the others."""
    completion = [rows for model, rows in predictions if by_class and model.tectonic_class != "crustal"]
    for model, rows in predictions:
        if by_class and model.tectonic_class != "crustal":
            continue
        name = f"{model.name} + AGA16" if by_class else model.name
        all_rows = pd.concat([rows, *completion])
        mean, stddev = all_rows["mean"], all_rows["stddev"]
        yield scored_table(all_rows, name, mean, stddev)
        yield scored_table(all_rows, name + RECENTRED, mean + all_rows["constant"], stddev)


def _check_range(model: PublishedModel, im: str, predicted: pd.DataFrame) -> dict:
    """Return the share of records outside the range of a model, and the error of its interpolation."""
    records = predicted.drop_duplicates(["event_id", "station_id"])
    inside = [records[name].between(*limits) for name, limits in model.ranges.items()]
    sample = records.sample(min(_CHECKED, len(records)), random_state=0)
    error = evaluate(model, im, sample)[:, 0] - sample["mean"]
    return {
        "records": len(records),
        "outside_range": 1 - np.all(inside, axis=0).mean(),
        "interpolation_error": error.abs().max(),
    }


def _refuse_unknown_class(records: pd.DataFrame) -> None:
    """Raise `DataError` if the tectonic class of an event is not one of `CLASSES`."""
    if "tectonic_class" not in records:
        return
    unknown = records[~records["tectonic_class"].isin(CLASSES)]
    if len(unknown):
        event, value = unknown[["event_id", "tectonic_class"]].iloc[0]
        raise DataError(
            f"events: event {event}, column tectonic_class holds {value!r}: write one of "
            f"{', '.join(CLASSES)} for every event, or leave the column out to see all models side by side"
        )
