"""The parts of sigma that a mixed-effects model predicts, beside those found in its residuals."""

import numpy as np
import pandas as pd

from tfgmm.analysis import scores, variability

EPISTEMIC = "epistemic"


def predicted(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Root mean squares of the predicted parts of sigma in each cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, of `tfgmm.analysis.scores.partial_ensembles`.
    reference : str
        The reference network.

    Returns
    -------
    pandas.DataFrame
        ``im, cell, part, predicted``, ln units: `variability.PARTS`, `EPISTEMIC` (the spread of the
        members' means) and their sum. Of a known site or event phi_s2s or tau is what is unknown of its
        term.
    """
    rows = []
    for names, records in scores.groups(
        table, {"im": scores.by("im"), "cell": lambda t: scores.cells(t, reference)}
    ):
        total, of_event, of_site = (
            records[name] ** 2 for name in ("stddev", "event_stddev", "site_stddev")
        )
        within = total - of_event - of_site - records["epistemic"]
        parts = (of_event, of_site, within, records["epistemic"], total)
        rows += [
            names | {"part": part, "predicted": float(np.sqrt(variance.mean()))}
            for part, variance in zip(
                (*variability.PARTS, EPISTEMIC, variability.SIGMA), parts, strict=True
            )
        ]
    return pd.DataFrame(rows)


def beside_found(table: pd.DataFrame, found: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Predicted parts beside those of the residuals of validation events, with their intervals.

    Parameters
    ----------
    table, reference
        As for `predicted`.
    found : pandas.DataFrame
        Of `tfgmm.analysis.variability.tidy`.

    Returns
    -------
    pandas.DataFrame
        ``im, cell, part, predicted, estimate, low, high``; the spread of the members is found in the other
        parts.
    """
    of_model = found.loc[
        found["model"] == scores.ENSEMBLE, ["im", "cell", "part", "estimate", "low", "high"]
    ]
    cells = of_model[["im", "cell"]].drop_duplicates()
    return (
        predicted(table, reference)
        .merge(cells, on=["im", "cell"])
        .merge(of_model, on=["im", "cell", "part"], how="left")
    )
