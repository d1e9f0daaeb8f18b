"""What simpler models predict on the folds of a run, fitted to what its networks saw."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from tfgmm.data.roles import is_training, training_records
from tfgmm.evaluation import boosting
from tfgmm.stats import ergodic, site_kriging

ERGODIC, ERGODIC_SITES = "ergodic", "ergodic + site terms"
KRIGED, BOOSTED, KRIGED_BOOSTED = "ergodic + kriged site terms", "boosting", "kriged + boosting"

#: What of a record is kept beside a prediction.
_RECORD = [
    *("im", "event_id", "station_id", "site_id", "network", "ln_im", "magnitude", "depth_km"),
    *("r_hyp_km", "nearest_added_km", "event_role", "site_role", "chunk"),
]


def scored(records: pd.DataFrame, model: str, mean, stddev) -> pd.DataFrame:
    """A scored table: one row a record and chunk, with the ``mean`` and ``stddev`` of ``model``.

    ``epistemic``, the variance between members, is 0.
    """
    return records[_RECORD].assign(model=model, mean=mean, stddev=stddev, epistemic=0.0)


def folds(predictions: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The records of each intensity measure and chunk, once each, whatever the number of members."""
    one_init = predictions[predictions["init"] == predictions["init"].min()]
    for _, fold in one_init.groupby(["im", "chunk"], observed=True):
        yield fold


def fingerprint(predictions: pd.DataFrame) -> str:
    """SHA-256 of the records of all folds and their roles: of all that the baselines learn from."""
    records = pd.concat(list(folds(predictions)))[_RECORD]
    rows = pd.util.hash_pandas_object(records, index=False).sort_values()
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def ergodic_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """What an ergodic regression predicts, fitted in each fold to what the networks saw.

    Crossed event and site terms (Al Atik et al., 2010) are estimated with the median. The model
    ``ergodic`` predicts the median everywhere; ``ergodic + site terms`` adds the site's term where the
    site trained, and is the same elsewhere.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run.

    Returns
    -------
    pandas.DataFrame
        Two rows a record and chunk: the record, its roles, ``model, mean, stddev, epistemic``.
    """
    tables = []
    for fold in folds(predictions):
        tables += _ergodic(fold, ergodic.fit(training_records(fold)))
    return pd.concat(tables, ignore_index=True)


def fitted_predictions(table: pd.DataFrame, progress: Callable[[], None] | None = None) -> pd.DataFrame:
    """What the ergodic regression, kriged site terms, boosted trees and the two together predict.

    To the models of `ergodic_predictions` come ``ergodic + kriged site terms`` (`site_kriging`),
    ``boosting`` of ln IM and ``kriged + boosting``, that of the residuals from the kriged model
    (`boosting`).

    Parameters
    ----------
    table : pandas.DataFrame
        The predictions table of a run with the places of its events and stations in km.
    progress : callable, optional
        Called after each fold.

    Returns
    -------
    pandas.DataFrame
        Five rows a record and chunk, as of `ergodic_predictions`.
    """
    tables = []
    for fold in folds(table):
        tables += _fitted(fold)
        if progress:
            progress()
    return pd.concat(tables, ignore_index=True)


def _ergodic(fold: pd.DataFrame, model: ergodic.ErgodicModel) -> list[pd.DataFrame]:
    median = model.median_of(fold)
    term = model.site_terms.reindex(fold["site_id"]).to_numpy()
    known = np.isfinite(term)
    stddev = np.where(known, model.sigma_known_site, model.sigma)
    return [
        scored(fold, ERGODIC, median, model.sigma),
        scored(fold, ERGODIC_SITES, median + np.where(known, term, 0.0), stddev),
    ]


def _fitted(fold: pd.DataFrame) -> list[pd.DataFrame]:
    """All models of one fold."""
    trained = is_training(fold)
    model = ergodic.fit(fold[trained])
    mean, stddev = _kriged(fold, trained, model)
    boosted = boosting.predict(fold, fold["ln_im"])
    correction, spread = boosting.predict(fold, fold["ln_im"] - mean)
    return [
        *_ergodic(fold, model),
        scored(fold, KRIGED, mean, stddev),
        scored(fold, BOOSTED, *boosted),
        scored(fold, KRIGED_BOOSTED, mean + correction, spread),
    ]


def _kriged(fold: pd.DataFrame, trained, model: ergodic.ErgodicModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the ergodic model with kriged site terms."""
    records, median = fold[trained], model.median_of(fold)
    event_term = model.event_terms.reindex(records["event_id"]).to_numpy()
    residual = records["ln_im"] - median[trained] - event_term
    term, variance = site_kriging.fit(records, residual, model.phi_ss).terms(fold)
    return median + term, np.sqrt(model.tau**2 + model.phi_ss**2 + variance)
