"""The parts of sigma that a mixed-effects model predicts, beside those found in its residuals."""

import numpy as np
import pandas as pd

from tfgmm.analysis import scores, site_kriging, variability
from tfgmm.pipeline import splits

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


def floor(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    r"""How far better interpolation between stations could bring the error at unknown sites.

    What f leaves at the trained sites is kriged in each chunk: a field that neighbours tell of and a
    nugget that they do not. Were the field known everywhere, an unknown site would lack its nugget alone:

    .. math:: floor = \sqrt{RMSE_{TV}^2 + \sigma_u^2}

    with the error at trained sites for validation events, TV.

    Parameters
    ----------
    table, reference
        As for `predicted`, with ``x_km`` and ``y_km``.

    Returns
    -------
    pandas.DataFrame
        ``im, nugget, field, range_km, known_site, unknown_site, floor``: standard deviations of nugget and
        field, root mean squares over the chunks, the median range, and the RMSE for validation events.
    """
    rows = []
    for im, records in scores.by("im")(table).items():
        fits = [_kriged(chunk) for _, chunk in splits.training_records(records).groupby("chunk")]
        nugget, field = (
            float(np.mean([getattr(one, name) for one in fits]))
            for name in ("nugget_variance", "field_variance")
        )
        cells = scores.cells(records, reference)
        known, unknown = (
            float(((one["ln_im"] - one["mean"]) ** 2).mean())
            for one in (cells["training / validation"], cells["validation / validation"])
        )
        squares = {
            "nugget": nugget,
            "field": field,
            "known_site": known,
            "unknown_site": unknown,
            "floor": known + nugget,
        }
        roots = {name: np.sqrt(value) for name, value in squares.items()}
        rows.append({"im": im, "range_km": np.median([one.range_km for one in fits])} | roots)
    return pd.DataFrame(rows)


def _kriged(records: pd.DataFrame) -> site_kriging.KrigedSites:
    left = records["ln_im"] - records["mean"]
    of_site = left + records["site_term"]
    # What f is off by everywhere is no field.
    return site_kriging.fit(records, of_site - of_site.mean(), left.std())
