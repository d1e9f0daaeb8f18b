"""Predictions of other models on the folds of a run: fitted to the same records, or published.

A fold is a station chunk of the run: the sites of the chunk are held out from training.
"""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import is_training, training_records
from tfgmm.evaluation import rivals
from tfgmm.evaluation.boosting import boost, cross_fitted
from tfgmm.stats import ergodic, kriging, tectonics
from tfgmm.stats.point_source import ln_rupture_distance
from tfgmm.stats.published import (
    CLASSES,
    DEEPEST_CRUSTAL_KM,
    MODELS,
    PublishedModel,
    evaluate,
    interpolate,
    with_assumptions,
)
from tfgmm.stats.published_scaling import depth_to_top

#: End of the name of a published model to which a fitted constant was added.
RECENTRED = " (re-centred)"
#: End of the name of a published model to which a fitted constant and a slope with ln R were added.
RECENTRED_BY_DISTANCE = " + a+b ln R"

#: Number of records on which the interpolation of published models is checked.
_CHECKED = 100


def published_predictions(
    table: pd.DataFrame, progress: Callable[[], None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict with published models, as published and re-centred by a constant in each fold.

    A fold is a station chunk, held out from training. The constant is the mean residual of the fold's
    training records, one for each tectonic class. If there is a column ``tectonic_class``, a model predicts
    only the events of the model's class, and every crustal model is completed by AGA16 to a model of all
    events. Otherwise every model predicts every event. A model that lacks the period of an intensity
    measure is left out.

    Parameters
    ----------
    table : pandas.DataFrame
        The predictions table of a run, with the columns of `tfgmm.runs.run.RunFolder.with_places`:
        ``vs30, vs30_m_s`` (m/s) and ``tectonic_class`` where known.
    progress : callable, optional
        Function without arguments, called after each pair of published model and intensity measure.

    Returns
    -------
    scored : pandas.DataFrame
        Scored table with two rows per record, chunk and model, as published and re-centred: the record, the
        roles of event and site, ``model``, ``mean`` and ``stddev`` (ln units), ``epistemic`` (0).
    ranges : pandas.DataFrame
        One row per intensity measure and model: ``im, model, records``; ``outside_range``, the share of the
        records outside the range that the authors state; ``interpolation_error``, the largest absolute
        error of the interpolated median of up to 100 records, ln units.

    Raises
    ------
    DataError
        A tectonic class is not one of `CLASSES`.
    """
    records = with_assumptions(pd.concat(folds(table), ignore_index=True))
    records = _with_classes(records)
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
    """Return the records of the model's tectonic class with the predictions of the model.

    The columns added are ``mean`` and ``stddev`` of ln IM and ``constant``, the mean residual of the
    training records of the fold, ln units. There are no rows if the model lacks the intensity measure.
    """
    if "tectonic_class" in records:
        records = records[records["tectonic_class"] == model.tectonic_class]
    if records.empty:
        return records
    mean, stddev = interpolate(model, im, _at_ruptures(records, model)).T
    residual = (records["ln_im"] - mean).where(is_training(records))
    constant = residual.groupby(records["chunk"]).transform("mean").fillna(0.0)
    return records.assign(mean=mean, stddev=stddev, constant=constant)[np.isfinite(mean)]


def _at_ruptures(records: pd.DataFrame, model: PublishedModel) -> pd.DataFrame:
    """Return records with the distances expected to the unknown rupture in place of the hypocentre.

    The distances are those that the backbone assumes; they matter from M 6 on.
    """
    magnitude, r_hyp_km, depth_km = (
        records[name].to_numpy(float) for name in ("magnitude", "r_hyp_km", "depth_km")
    )
    ln_r_rup, _ = ln_rupture_distance(magnitude, np.maximum(r_hyp_km, 1.0), depth_km, model.tectonic_class)
    r_rup_km = np.exp(ln_r_rup)
    top_km = np.minimum(depth_to_top(magnitude, depth_km), DEEPEST_CRUSTAL_KM)
    r_jb_km = np.sqrt(np.maximum(r_rup_km**2 - top_km**2, 0.0))
    return records.assign(r_hyp_km=r_rup_km, r_epi_km=r_jb_km)


def _complete_classes(
    predictions: list[tuple[PublishedModel, pd.DataFrame]], by_class: bool
) -> Iterator[pd.DataFrame]:
    """Yield scored tables of each model, as published and re-centred.

    If `by_class` is true, the non-crustal models complete each crustal model at events of other tectonic
    classes.
    """
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
    """Return the number of records, the share outside the model's range, and the interpolation error.

    `predicted` are the records with predictions, one row per record and chunk; the error is in ln units.
    """
    records = predicted.drop_duplicates(["event_id", "station_id"])
    inside = [records[name].between(*limits) for name, limits in model.ranges.items()]
    sample = records.sample(min(_CHECKED, len(records)), random_state=0)
    error = evaluate(model, im, _at_ruptures(sample, model))[:, 0] - sample["mean"]
    return {
        "records": len(records),
        "outside_range": 1 - np.all(inside, axis=0).mean(),
        "interpolation_error": error.abs().max(),
    }


def _with_classes(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with a tectonic class for every event if any is known: the likeliest for the depth.

    Raises `DataError` if a class is not one of `CLASSES`.
    """
    known = records["tectonic_class"].notna() if "tectonic_class" in records else pd.Series(dtype=bool)
    if not known.any():
        return records.drop(columns="tectonic_class", errors="ignore")
    unknown = records[known & ~records["tectonic_class"].isin(CLASSES)]
    if len(unknown):
        event, value = unknown[["event_id", "tectonic_class"]].iloc[0]
        raise DataError(
            f"events: event {event}, column tectonic_class holds {value!r}: write one of "
            f"{', '.join(CLASSES)}, or nothing where it is unknown"
        )
    weights = tectonics.class_weights(records["depth_km"])
    by_depth = np.array(tectonics.CLASSES, object)[weights.argmax(axis=1)]
    return records.assign(tectonic_class=records["tectonic_class"].astype(object).where(known, by_depth))


def recentre_by_distance(published: pd.DataFrame) -> pd.DataFrame:
    r"""Re-centre published models by a constant and a slope with ln R, fitted in each fold.

    .. math:: \ln IM = \ln IM_{published} + a + b \, (\ln R - \overline{\ln R})

    with the hypocentral distance R, at least 1 km. a and b are those of least squares over the training
    records of the fold, for each tectonic class of its own if there is a column ``tectonic_class``. b is 0
    if these records have one distance, and both are 0 without training records. What the published model
    says of magnitude, depth and Vs30 is kept.

    Parameters
    ----------
    published : pandas.DataFrame
        First result of `published_predictions`, optionally with ``tectonic_class``.

    Returns
    -------
    pandas.DataFrame
        The rows of the models as published, with the re-centred ``mean``; `RECENTRED_BY_DISTANCE` is added
        to ``model``.
    """
    as_published = published[~published["model"].str.endswith(RECENTRED)]
    keys = ["im", "chunk", "model", *(name for name in ["tectonic_class"] if name in published)]
    by_fold = as_published.groupby(keys, sort=False, observed=True)
    parts = [rows.assign(mean=rows["mean"] + _correct_by_distance(rows)) for _, rows in by_fold]
    corrected = pd.concat(parts) if parts else as_published
    return corrected.assign(model=corrected["model"] + RECENTRED_BY_DISTANCE)


def _correct_by_distance(rows: pd.DataFrame) -> np.ndarray:
    """Return a + b (ln R - mean ln R), [n] ln units, fitted to the residuals of the training records."""
    ln_r = np.log(np.maximum(rows["r_hyp_km"].to_numpy(float), ergodic.MIN_R_HYP_KM))
    trained = is_training(rows).to_numpy()
    if not trained.any():
        return np.zeros(len(rows))
    residual = (rows["ln_im"] - rows["mean"]).to_numpy()[trained]
    centred = ln_r - ln_r[trained].mean()
    square = (centred[trained] ** 2).sum()
    slope = (centred[trained] * residual).sum() / square if square > 0 else 0.0
    return residual.mean() + slope * centred


ERGODIC, ERGODIC_SITES = "ergodic", "ergodic + site terms"
KRIGED, BOOSTED, KRIGED_BOOSTED = "ergodic + kriged site terms", "boosting", "kriged + boosting"

#: Columns of a record that are kept beside a prediction.
_RECORD = [
    *("im", "event_id", "station_id", "site_id", "network", "ln_im", "magnitude", "depth_km"),
    *("r_hyp_km", "nearest_added_km", "event_role", "site_role", "chunk"),
]


def scored_table(records: pd.DataFrame, model: str, mean, stddev) -> pd.DataFrame:
    """Return records with the predictions of a model, as a scored table.

    Parameters
    ----------
    records : pandas.DataFrame
        Records with the columns of `_RECORD`, one row per record and chunk.
    model : str
        Name of the model.
    mean, stddev : array_like, [n]
        Mean and standard deviation of ln IM, ln units.

    Returns
    -------
    pandas.DataFrame
        One row per record and chunk: the columns of `_RECORD`, ``model``, ``mean``, ``stddev`` and
        ``epistemic``, which is 0.
    """
    return records[_RECORD].assign(model=model, mean=mean, stddev=stddev, epistemic=0.0)


def folds(predictions: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the records of each intensity measure and chunk, each record once, not once per member.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run: one row per record and member (chunk times initialisation).

    Yields
    ------
    pandas.DataFrame
        Records of one intensity measure and chunk, with the roles of event and site.
    """
    one_init = predictions[predictions["init"] == predictions["init"].min()]
    for _, fold in one_init.groupby(["im", "chunk"], observed=True):
        yield fold


def fingerprint(predictions: pd.DataFrame) -> str:
    """Return the SHA-256 of the records of all folds and their roles, from which the baselines are fitted.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run.

    Returns
    -------
    str
        Hexadecimal digits; the order of the records does not matter.
    """
    records = pd.concat(list(folds(predictions)))[_RECORD]
    rows = pd.util.hash_pandas_object(records, index=False).sort_values()
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def ergodic_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predict with an ergodic regression that is fitted in each fold to the training records of the fold.

    Crossed event and site terms (Al Atik et al., 2010) are estimated together with the median. The model
    ``ergodic`` predicts the median everywhere; ``ergodic + site terms`` adds the site term at training
    sites, and equals ``ergodic`` at all other sites.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run.

    Returns
    -------
    pandas.DataFrame
        Scored table with two rows per record and chunk, one per model: the record, the roles of event and
        site, ``model``, ``mean`` and ``stddev`` (ln units), ``epistemic`` (0).
    """
    tables = []
    for fold in folds(predictions):
        tables += _predict_ergodic(fold, ergodic.fit(training_records(fold)))
    return pd.concat(tables, ignore_index=True)


def fitted_predictions(table: pd.DataFrame, progress: Callable[[], None] | None = None) -> pd.DataFrame:
    """Predict with ergodic regression, kriged site terms and boosted trees, fitted in each fold.

    The models are the two of `ergodic_predictions`, and three more: ``ergodic + kriged site terms``
    (`tfgmm.stats.kriging`), ``boosting`` (`boost` of ln IM) and ``kriged + boosting`` (`boost` of the
    residuals of the model with kriged site terms).

    Parameters
    ----------
    table : pandas.DataFrame
        The predictions table of a run with the positions of events and stations in km
        (`tfgmm.runs.run.RunFolder.with_places`).
    progress : callable, optional
        Function without arguments, called after each fold.

    Returns
    -------
    pandas.DataFrame
        Scored table with five rows per record and chunk, one per model, in the columns of
        `ergodic_predictions`.
    """
    tables = []
    for fold in folds(table):
        tables += _predict_all(fold)
        if progress:
            progress()
    return pd.concat(tables, ignore_index=True)


def _predict_ergodic(fold: pd.DataFrame, model: ergodic.ErgodicModel) -> list[pd.DataFrame]:
    """Return two scored tables of an ergodic model for a fold: without and with site terms."""
    median = model.median_of(fold)
    site_term = model.site_terms.reindex(fold["site_id"]).to_numpy()
    known = np.isfinite(site_term)
    stddev = np.where(known, model.sigma_known_site, model.sigma)
    return [
        scored_table(fold, ERGODIC, median, model.sigma),
        scored_table(fold, ERGODIC_SITES, median + np.where(known, site_term, 0.0), stddev),
    ]


def _predict_all(fold: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the scored tables of all fitted models for the records of one fold."""
    trained = is_training(fold)
    model = ergodic.fit(fold[trained])
    mean, stddev = _predict_kriged(fold, trained, model)
    boosted = boost(fold, fold["ln_im"])
    correction = boost(fold, fold["ln_im"] - mean)
    medians = {
        rivals.REGRESSION: model.median_of(fold),
        BOOSTED: cross_fitted(fold, fold["ln_im"], boosted),
        KRIGED_BOOSTED: mean + cross_fitted(fold, fold["ln_im"] - mean, correction),
    }
    return [
        *_without_training(fold, rivals.predict(fold, medians)),
        *_predict_ergodic(fold, model),
        scored_table(fold, KRIGED, mean, stddev),
        scored_table(fold, BOOSTED, boosted.mean, boosted.stddev),
        scored_table(fold, KRIGED_BOOSTED, mean + correction.mean, correction.stddev),
    ]


def _without_training(
    fold: pd.DataFrame, predictions: Iterator[tuple[str, np.ndarray, np.ndarray]]
) -> Iterator[pd.DataFrame]:
    """Yield scored tables without training records, which a field would predict from themselves."""
    unseen = ~is_training(fold).to_numpy()
    for name, mean, stddev in predictions:
        yield scored_table(fold[unseen], name, mean[unseen], stddev[unseen])


def _predict_kriged(
    fold: pd.DataFrame, trained, model: ergodic.ErgodicModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (ln units, [n]) of the ergodic model with kriged site terms.

    `trained` says which records of the fold are training records, [n].
    """
    records, median = fold[trained], model.median_of(fold)
    event_term = model.event_terms.reindex(records["event_id"]).to_numpy()
    residual = records["ln_im"] - median[trained] - event_term
    site_term, variance = kriging.fit(records, residual, model.phi_ss).terms(fold)
    return median + site_term, np.sqrt(model.tau**2 + model.phi_ss**2 + variance)
