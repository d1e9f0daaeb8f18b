"""The ergodic regression, fitted and scored on the folds of a run."""

import numpy as np
import pandas as pd

from tfgmm import ergodic

ERGODIC, ERGODIC_SITES = "ergodic", "ergodic + site terms"

_KEYS = ["im", "chunk"]


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
        Two rows a record and chunk, with a column ``model`` in place of ``arm`` and ``init``.
    """
    one_init = predictions[predictions["init"] == predictions["init"].min()]
    parts = [_fold(fold) for _, fold in one_init.groupby(_KEYS, observed=True)]
    return pd.concat(parts, ignore_index=True)


def _fold(fold: pd.DataFrame) -> pd.DataFrame:
    trained = (fold["event_role"] == "training") & (fold["site_role"] == "training")
    model = ergodic.fit(fold[trained])
    median = model.median_of(fold)
    term = fold["site_id"].map(model.site_terms)
    known = term.notna()
    fold = fold.drop(columns=["arm", "init"])
    return pd.concat(
        [
            fold.assign(model=ERGODIC, mean=median, stddev=model.sigma),
            fold.assign(
                model=ERGODIC_SITES,
                mean=median + term.fillna(0.0),
                stddev=np.where(known, model.sigma_known_site, model.sigma),
            ),
        ]
    )
