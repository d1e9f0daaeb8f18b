"""Gradient boosting: what a table learner without maps makes of the same records."""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit

#: At most so many trees, and so many without gain before the search for their number ends.
MAX_ROUNDS, PATIENCE = 2000, 20
#: Share of the training events on which the number of trees is chosen.
HIDDEN_SHARE = 0.2

_COLUMNS = ["magnitude", "event_x_km", "event_y_km", "depth_km", "x_km", "y_km", "r_hyp_km"]


def features(records: pd.DataFrame) -> np.ndarray:
    """What the trees see, [n, 9]: ``magnitude, event_x_km, event_y_km, depth_km, x_km, y_km, r_hyp_km``
    and the sine and cosine of the azimuth from the event to the site, clockwise from north.
    """
    azimuth = np.arctan2(records["x_km"] - records["event_x_km"], records["y_km"] - records["event_y_km"])
    return np.column_stack([records[_COLUMNS], np.sin(azimuth), np.cos(azimuth)]).astype(float)


def predict(fold: pd.DataFrame, target) -> tuple[np.ndarray, np.ndarray]:
    """Boosted trees fitted to a fold's training records: mean and standard deviation of the target.

    The number of trees is the best for a fifth of the training events, hidden while it is sought; the
    trees are then grown anew from all training records. The standard deviation is one number for the
    trained sites and one for all others: the root mean square of the residuals of the stopping events,
    which the fit never saw, at either kind of site. Where a fold has no such records, it is that of
    the hidden training events, which is too small at sites that did not train.

    Parameters
    ----------
    fold : pandas.DataFrame
        Records of one chunk: the columns of `features`, ``event_id, event_role, site_role``.
    target : array_like
        Of each record; used where both roles are training and, for the standard deviation only, where
        the event's is stopping.
    """
    x, y = features(fold), np.asarray(target, float)
    known_site = (fold["site_role"] == "training").to_numpy()
    trained = known_site & (fold["event_role"] == "training").to_numpy()
    rounds, stddev = _rounds(x[trained], y[trained], fold["event_id"].to_numpy(str)[trained])
    mean = _trees(rounds, early_stopping=False).fit(x[trained], y[trained]).predict(x)
    spread = np.full(len(y), stddev)
    stopping = (fold["event_role"] == "stopping").to_numpy()
    for sites in (known_site, ~known_site):
        unseen = stopping & sites & (fold["site_role"] != "validation").to_numpy()
        if unseen.any():
            spread[sites] = _rms(y[unseen] - mean[unseen])
    return mean, spread


def _trees(rounds: int, **settings) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=rounds, learning_rate=0.1, min_samples_leaf=50, random_state=0, **settings
    )


def _rounds(x: np.ndarray, y: np.ndarray, event: np.ndarray) -> tuple[int, float]:
    """The best number of trees for hidden events, and the root mean square of their residuals."""
    split = GroupShuffleSplit(1, test_size=HIDDEN_SHARE, random_state=0)
    seen, hidden = next(split.split(x, groups=event))
    trees = _trees(MAX_ROUNDS, early_stopping=True, n_iter_no_change=PATIENCE)
    trees.fit(x[seen], y[seen], X_val=x[hidden], y_val=y[hidden])
    # The score is minus half the mean squared residual; the first is that of no tree at all.
    best = max(1, int(np.argmax(trees.validation_score_)))
    return best, float(np.sqrt(-2 * trees.validation_score_[best]))


def _rms(residual: np.ndarray) -> float:
    return float(np.sqrt(np.mean(residual**2)))
