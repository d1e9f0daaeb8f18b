"""Predictions of simpler models, fitted on the folds of a run to the records that its networks saw."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit

from tfgmm.data.roles import is_training, training_records
from tfgmm.stats import ergodic, site_kriging

ERGODIC, ERGODIC_SITES = "ergodic", "ergodic + site terms"
KRIGED, BOOSTED, KRIGED_BOOSTED = "ergodic + kriged site terms", "boosting", "kriged + boosting"

#: Largest number of boosted trees, and number of trees without gain after which the search for their
#: best number ends.
MAX_ROUNDS, PATIENCE = 2000, 20
#: Share of the training events on which the number of trees is chosen.
HIDDEN_SHARE = 0.2

#: Columns of a record that are kept beside a prediction.
_RECORD = [
    *("im", "event_id", "station_id", "site_id", "network", "ln_im", "magnitude", "depth_km"),
    *("r_hyp_km", "nearest_added_km", "event_role", "site_role", "chunk"),
]
_FEATURES = ["magnitude", "event_x_km", "event_y_km", "depth_km", "x_km", "y_km", "r_hyp_km"]


def scored_table(records: pd.DataFrame, model: str, mean, stddev) -> pd.DataFrame:
    """Return a scored table: one row per record and chunk, with ``mean`` and ``stddev`` of ``model``.

    ``epistemic``, the variance between members, is 0.
    """
    return records[_RECORD].assign(model=model, mean=mean, stddev=stddev, epistemic=0.0)


def folds(predictions: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the records of each intensity measure and chunk, once each, whatever the number of members."""
    one_init = predictions[predictions["init"] == predictions["init"].min()]
    for _, fold in one_init.groupby(["im", "chunk"], observed=True):
        yield fold


def fingerprint(predictions: pd.DataFrame) -> str:
    """Return the SHA-256 of the records of all folds and their roles, from which the baselines learn."""
    records = pd.concat(list(folds(predictions)))[_RECORD]
    rows = pd.util.hash_pandas_object(records, index=False).sort_values()
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def ergodic_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predict with an ergodic regression, fitted in each fold to the records that the networks saw.

    Crossed event and site terms (Al Atik et al., 2010) are estimated with the median. The model
    ``ergodic`` predicts the median everywhere; ``ergodic + site terms`` adds the site term where the
    site trained, and is the same elsewhere.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run.

    Returns
    -------
    pandas.DataFrame
        Two rows per record and chunk: the record, its roles, ``model, mean, stddev, epistemic``, ln
        units.
    """
    tables = []
    for fold in folds(predictions):
        tables += _predict_ergodic(fold, ergodic.fit(training_records(fold)))
    return pd.concat(tables, ignore_index=True)


def fitted_predictions(table: pd.DataFrame, progress: Callable[[], None] | None = None) -> pd.DataFrame:
    """Predict with ergodic regression, kriged site terms, boosted trees, and the last two together.

    To the models of `ergodic_predictions` are added ``ergodic + kriged site terms`` (`site_kriging`),
    ``boosting`` (`boost` of ln IM) and ``kriged + boosting`` (`boost` of the residuals of the kriged
    model).

    Parameters
    ----------
    table : pandas.DataFrame
        The predictions table of a run with the places of its events and stations in km.
    progress : callable, optional
        Called after each fold.

    Returns
    -------
    pandas.DataFrame
        Five rows per record and chunk, in the columns of `ergodic_predictions`.
    """
    tables = []
    for fold in folds(table):
        tables += _predict_all(fold)
        if progress:
            progress()
    return pd.concat(tables, ignore_index=True)


def _predict_ergodic(fold: pd.DataFrame, model: ergodic.ErgodicModel) -> list[pd.DataFrame]:
    """Return the scored tables of one fold with and without the site terms of an ergodic model."""
    median = model.median_of(fold)
    site_term = model.site_terms.reindex(fold["site_id"]).to_numpy()
    known = np.isfinite(site_term)
    stddev = np.where(known, model.sigma_known_site, model.sigma)
    return [
        scored_table(fold, ERGODIC, median, model.sigma),
        scored_table(fold, ERGODIC_SITES, median + np.where(known, site_term, 0.0), stddev),
    ]


def _predict_all(fold: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the scored tables of all five models of one fold."""
    trained = is_training(fold)
    model = ergodic.fit(fold[trained])
    mean, stddev = _predict_kriged(fold, trained, model)
    boosted = boost(fold, fold["ln_im"])
    correction, spread = boost(fold, fold["ln_im"] - mean)
    return [
        *_predict_ergodic(fold, model),
        scored_table(fold, KRIGED, mean, stddev),
        scored_table(fold, BOOSTED, *boosted),
        scored_table(fold, KRIGED_BOOSTED, mean + correction, spread),
    ]


def _predict_kriged(
    fold: pd.DataFrame, trained, model: ergodic.ErgodicModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the ergodic model with kriged site terms."""
    records, median = fold[trained], model.median_of(fold)
    event_term = model.event_terms.reindex(records["event_id"]).to_numpy()
    residual = records["ln_im"] - median[trained] - event_term
    site_term, variance = site_kriging.fit(records, residual, model.phi_ss).terms(fold)
    return median + site_term, np.sqrt(model.tau**2 + model.phi_ss**2 + variance)


# ---- gradient boosting ---------------------------------------------------------------------------


def features(records: pd.DataFrame) -> np.ndarray:
    """Return the features that the boosted trees see, [record, 9].

    They are ``magnitude, event_x_km, event_y_km, depth_km, x_km, y_km, r_hyp_km`` and the sine and cosine
    of the azimuth from the event to the site, clockwise from north.
    """
    azimuth = np.arctan2(records["x_km"] - records["event_x_km"], records["y_km"] - records["event_y_km"])
    return np.column_stack([records[_FEATURES], np.sin(azimuth), np.cos(azimuth)]).astype(float)


def boost(fold: pd.DataFrame, target) -> tuple[np.ndarray, np.ndarray]:
    """Predict a target at all records of a fold with gradient-boosted trees fitted to its training records.

    The number of trees is the best for a fifth of the training events, hidden while it is sought; the
    trees are then grown anew from all training records. The standard deviation is one number for the
    trained sites and one for all others: the root mean square of the residuals of the stopping events,
    which the fit never saw, at either kind of site. Where a fold has no such records, it is that of
    the hidden training events, which is too small at sites that did not train.

    Parameters
    ----------
    fold : pandas.DataFrame
        Records of one chunk: the columns of `features`, ``event_id, event_role, site_role``.
    target : array_like, [record]
        Value of each record; used where both roles are training and, for the standard deviation only,
        where the role of the event is stopping.

    Returns
    -------
    mean, stddev : ndarray, [record]
        In the unit of the target.
    """
    x, y = features(fold), np.asarray(target, float)
    known_site = (fold["site_role"] == "training").to_numpy()
    trained = known_site & (fold["event_role"] == "training").to_numpy()
    rounds, hidden_rms = _best_rounds(x[trained], y[trained], fold["event_id"].to_numpy(str)[trained])
    mean = _make_trees(rounds, early_stopping=False).fit(x[trained], y[trained]).predict(x)
    stddev = np.full(len(y), hidden_rms)
    stopping = (fold["event_role"] == "stopping").to_numpy()
    for sites in (known_site, ~known_site):
        unseen = stopping & sites & (fold["site_role"] != "validation").to_numpy()
        if unseen.any():
            stddev[sites] = np.sqrt(np.mean((y[unseen] - mean[unseen]) ** 2))
    return mean, stddev


def _make_trees(rounds: int, **settings) -> HistGradientBoostingRegressor:
    """Return boosted trees with the settings of this baseline, not yet fitted."""
    return HistGradientBoostingRegressor(
        max_iter=rounds, learning_rate=0.1, min_samples_leaf=50, random_state=0, **settings
    )


def _best_rounds(x: np.ndarray, y: np.ndarray, event: np.ndarray) -> tuple[int, float]:
    """Return the best number of trees for hidden events, and the root mean square of their residuals."""
    split = GroupShuffleSplit(1, test_size=HIDDEN_SHARE, random_state=0)
    seen, hidden = next(split.split(x, groups=event))
    trees = _make_trees(MAX_ROUNDS, early_stopping=True, n_iter_no_change=PATIENCE)
    trees.fit(x[seen], y[seen], X_val=x[hidden], y_val=y[hidden])
    # The score is minus half the mean squared residual; the first is that of no tree at all.
    best = max(1, int(np.argmax(trees.validation_score_)))
    return best, float(np.sqrt(-2 * trees.validation_score_[best]))
