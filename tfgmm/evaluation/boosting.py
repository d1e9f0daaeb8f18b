"""Gradient-boosted trees on magnitude, places, distance and azimuth, fitted in a fold of a run."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit

from tfgmm.data.schemas import is_training

#: Largest number of boosted trees, and number of trees without gain after which the search for the
#: best number of trees ends.
MAX_ROUNDS, PATIENCE = 2000, 20
#: Share of the training events on which the number of trees is chosen.
HIDDEN_SHARE = 0.2
#: Number of blocks of successive events of `cross_fitted`.
BLOCKS = 4
_FEATURES = ["magnitude", "event_x_km", "event_y_km", "depth_km", "x_km", "y_km", "r_hyp_km"]


def features(records: pd.DataFrame) -> np.ndarray:
    """Return the features from which the boosted trees predict.

    Parameters
    ----------
    records : pandas.DataFrame
        Records with ``magnitude``, ``event_x_km, event_y_km, depth_km``, ``x_km, y_km`` and ``r_hyp_km``.

    Returns
    -------
    ndarray, [n, 9]
        These columns (km, except for the magnitude), and the sine and cosine of the azimuth from the event
        to the site, clockwise from north.
    """
    azimuth = np.arctan2(records["x_km"] - records["event_x_km"], records["y_km"] - records["event_y_km"])
    return np.column_stack([records[_FEATURES], np.sin(azimuth), np.cos(azimuth)]).astype(float)


class Boosted(NamedTuple):
    """Predictions of boosted trees for the records of a fold, in the unit of the target.

    Attributes
    ----------
    mean, stddev : ndarray, [n_records]
        Mean and standard deviation.
    rounds : int
        Number of trees.
    """

    mean: np.ndarray
    stddev: np.ndarray
    rounds: int


def boost(fold: pd.DataFrame, target) -> Boosted:
    """Predict a target at the records of a fold with gradient-boosted trees.

    The trees are fitted to the training records of the fold (station chunk). The number of trees is the one
    that is best for a random fifth of the training events, left out of the first fit; the trees are then
    fitted again to all training records. The standard deviation is one number for training sites and one
    for all other sites: the root mean square of the residuals of stopping events at the same kind of site.
    Stopping events decide when the training of the networks ends; the trees are not fitted to them. If a
    fold has no records of stopping events, the standard deviation is the root mean square of the residuals
    of the left-out training events, which is too small at sites that did not train.

    Parameters
    ----------
    fold : pandas.DataFrame
        Records of one chunk and intensity measure: the columns of `features`, ``event_id, event_role,
        site_role``.
    target : array_like, [n_records]
        Value of each record, for example ln IM. Values are used only where both roles are training and, for
        the standard deviation, where the event is a stopping event and the site is not a validation site.

    Returns
    -------
    Boosted
        Mean, standard deviation and number of trees.
    """
    x, y = features(fold), np.asarray(target, float)
    known_site, trained = (fold["site_role"] == "training").to_numpy(), is_training(fold).to_numpy()
    rounds, hidden_rms = _best_rounds(x[trained], y[trained], fold["event_id"].to_numpy(str)[trained])
    mean = _make_trees(rounds, early_stopping=False).fit(x[trained], y[trained]).predict(x)
    stddev = np.full(len(y), hidden_rms)
    stopping = (fold["event_role"] == "stopping").to_numpy()
    for sites in (known_site, ~known_site):
        unseen = stopping & sites & (fold["site_role"] != "validation").to_numpy()
        if unseen.any():
            stddev[sites] = np.sqrt(np.mean((y[unseen] - mean[unseen]) ** 2))
    return Boosted(mean, stddev, rounds)


def cross_fitted(fold: pd.DataFrame, target, boosted: Boosted) -> np.ndarray:
    """Predict a target at the records of a fold by trees that did not see the record's event.

    The training events are cut into `BLOCKS` blocks in the order of their ids. All records of the events of
    a block are predicted by trees that are fitted to the training records of the other blocks; records of
    other events are predicted as by `boost`, whose number of trees is taken for the blocks too.

    Parameters
    ----------
    fold : pandas.DataFrame, [n_records, ...]
        Records of one chunk and intensity measure, see `boost`.
    target : array_like, [n_records]
        Value of each record; only those of training records are used.
    boosted : Boosted
        Result of `boost` for the same target.

    Returns
    -------
    ndarray, [n_records]
        In the unit of the target.
    """
    trained, event = is_training(fold).to_numpy(), fold["event_id"].to_numpy(str)
    x, y = features(fold), np.asarray(target, float)
    names = np.unique(event[trained])
    block = pd.Series(np.arange(len(names)) * BLOCKS // len(names), names).reindex(event).to_numpy()
    mean = boosted.mean.copy()
    for rows in (block == number for number in range(BLOCKS)):
        seen = trained & ~rows
        if rows.any():
            trees = _make_trees(boosted.rounds, early_stopping=False)
            mean[rows] = trees.fit(x[seen], y[seen]).predict(x[rows])
    return mean


def _make_trees(rounds: int, **settings) -> HistGradientBoostingRegressor:
    """Return an unfitted gradient-boosting regressor of `rounds` trees, with the baseline's settings."""
    return HistGradientBoostingRegressor(
        max_iter=rounds, learning_rate=0.1, min_samples_leaf=50, random_state=0, **settings
    )


def _best_rounds(x: np.ndarray, y: np.ndarray, event: np.ndarray) -> tuple[int, float]:
    """Return the best number of trees for left-out events, and the RMS of the residuals of these events.

    The arguments are features [n, 9], target values [n] and event ids [n] of the training records.
    """
    split = GroupShuffleSplit(1, test_size=HIDDEN_SHARE, random_state=0)
    seen, hidden = next(split.split(x, groups=event))
    trees = _make_trees(MAX_ROUNDS, early_stopping=True, n_iter_no_change=PATIENCE)
    trees.fit(x[seen], y[seen], X_val=x[hidden], y_val=y[hidden])
    # The score is minus half the mean squared residual; the first is that of no tree at all.
    best = max(1, int(np.argmax(trees.validation_score_)))
    return best, float(np.sqrt(-2 * trees.validation_score_[best]))
