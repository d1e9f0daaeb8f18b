"""The parts of sigma that a mixed-effects model predicts, beside those found in its residuals."""

import numpy as np
import pandas as pd

from tfgmm.data.roles import training_records
from tfgmm.evaluation import scores, variability
from tfgmm.stats import site_kriging, within_event
from tfgmm.stats.path_covariance import PAIRS
from tfgmm.stats.random_effects import RandomEffects

EPISTEMIC = "epistemic"


def predicted(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Root mean squares of the predicted parts of sigma in each cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, of `tfgmm.evaluation.scores.partial_ensembles`.
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
        Of `tfgmm.evaluation.variability.tidy`.

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


def within_event_correlation(table: pd.DataFrame) -> pd.DataFrame:
    """How far the within-event residuals of trained sites are alike, as found and as fitted.

    Parameters
    ----------
    table : pandas.DataFrame
        As for `predicted`, with ``x_km`` and ``y_km``.

    Returns
    -------
    pandas.DataFrame
        The rows of `within_event.correlation_by_distance`, all chunks together, with ``im`` and the
        ``share`` and ``range_km`` of the `within_event.Correlation` fitted to them.
    """
    rows = []
    for im, records in scores.by("im")(training_records(table)).items():
        of_chunk = records["chunk"].astype(str) + " " + records["event_id"].astype(str)
        found = within_event.correlation_by_distance(
            records.assign(event_id=of_chunk, z=within_event.standardised_residuals(records))
        )
        fitted = within_event.Correlation.fit(found)
        rows.append(found.assign(im=im, share=fitted.share, range_km=fitted.range_km))
    return pd.concat(rows, ignore_index=True)


def path_covariance(effects: dict[str, RandomEffects]) -> pd.DataFrame:
    """How far residuals of different events are alike, as found at the trained sites and as fitted.

    Parameters
    ----------
    effects : dict of str to RandomEffects
        By intensity measure.

    Returns
    -------
    pandas.DataFrame
        The rows of `covariance_by_distance` in `tfgmm.stats.path_covariance` from which something was
        fitted, with ``im`` and ``fitted``.
    """
    tables = [
        one.paths.classes.assign(im=im, fitted=one.paths.covariance.at(one.paths.classes))
        for im, one in effects.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table["pairs"] >= PAIRS[0]].reset_index(drop=True)


def floor(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    r"""What better interpolation could still gain at unknown sites, and what only more stations could.

    What f leaves at the trained sites is kriged in each chunk: a field that neighbours tell of and a
    nugget that they do not. With the best interpolation between these stations an unknown site would lack
    what kriging says that it does not know; with stations everywhere but there, its nugget alone:

    .. math:: interpolated = \sqrt{RMSE_{TV}^2 + \overline{\sigma_{kriging}^2}}, \quad
        floor = \sqrt{RMSE_{TV}^2 + \sigma_u^2}

    with the error at trained sites for validation events, TV, and the kriging variance (with the nugget)
    at the validation sites.

    Parameters
    ----------
    table, reference
        As for `predicted`, with ``x_km`` and ``y_km``.

    Returns
    -------
    pandas.DataFrame
        ``im, nugget, field, range_km, known_site, unknown_site, interpolated, floor``: standard deviations
        of nugget and field, root mean squares over the chunks, the median range, RMSE for validation
        events. A field whose range is shorter than the distance between stations is hardly told from a
        nugget.
    """
    rows = []
    for im, records in scores.by("im")(table).items():
        cells = scores.cells(records, reference)
        known, unknown = (cells[f"{site} / validation"] for site in ("training", "validation"))
        fits = {chunk: _kriged(of) for chunk, of in training_records(records).groupby("chunk")}
        variance = [fits[chunk].at(of[["x_km", "y_km"]])[1] for chunk, of in unknown.groupby("chunk")]
        nugget, field = (
            np.mean([getattr(one, name) for one in fits.values()])
            for name in ("nugget_variance", "field_variance")
        )
        of_known, of_unknown = (((one["ln_im"] - one["mean"]) ** 2).mean() for one in (known, unknown))
        squares = {
            "nugget": nugget,
            "field": field,
            "known_site": of_known,
            "unknown_site": of_unknown,
            "interpolated": of_known + np.concatenate(variance).mean(),
            "floor": of_known + nugget,
        }
        roots = {name: float(np.sqrt(value)) for name, value in squares.items()}
        rows.append({"im": im, "range_km": np.median([one.range_km for one in fits.values()])} | roots)
    return pd.DataFrame(rows)


def _kriged(records: pd.DataFrame) -> site_kriging.KrigedSites:
    left = records["ln_im"] - records["mean"]
    of_site = left + records["site_term"]
    # What f is off by everywhere is no field.
    return site_kriging.fit(records, of_site - of_site.mean(), left.std())
