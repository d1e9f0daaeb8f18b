"""Parts of sigma: as a mixed-effects model predicts them, as its residuals have them, and their limits."""

import numpy as np
import pandas as pd

from tfgmm.data.columns import training_records
from tfgmm.evaluation import scores, variability
from tfgmm.stats import site_kriging, within_event
from tfgmm.stats.path_covariance import PAIRS
from tfgmm.stats.random_effects import RandomEffects

EPISTEMIC = "epistemic"


def predicted(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return root mean squares of the predicted parts of sigma in each cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects (`tfgmm.evaluation.scores.partial_ensembles`).
    reference : str
        The reference network.

    Returns
    -------
    pandas.DataFrame
        ``im, cell, part, predicted``, ln units: `variability.PARTS`, `EPISTEMIC` (the spread of the
        members' means) and their sum. At a known site or event phi_s2s or tau is the standard deviation
        of its term given the records.
    """
    rows = []
    for names, records in scores.groups(
        table, {"im": scores.by_value("im"), "cell": lambda t: scores.cells(t, reference)}
    ):
        total, event, site = (records[name] ** 2 for name in ("stddev", "event_stddev", "site_stddev"))
        within = total - event - site - records["epistemic"]
        variances = (event, site, within, records["epistemic"], total)
        rows += [
            names | {"part": part, "predicted": float(np.sqrt(variance.mean()))}
            for part, variance in zip(
                (*variability.PARTS, EPISTEMIC, variability.SIGMA), variances, strict=True
            )
        ]
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame, estimated: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Put predicted parts beside those estimated from residuals of validation events, with intervals.

    Parameters
    ----------
    table, reference
        As for `predicted`.
    estimated : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.tidy`.

    Returns
    -------
    pandas.DataFrame
        ``im, cell, part, predicted, estimate, low, high``, ln units; the spread of the members has no
        estimate, it is in those of the other parts.
    """
    of_ensemble = estimated.loc[
        estimated["model"] == scores.ENSEMBLE, ["im", "cell", "part", "estimate", "low", "high"]
    ]
    cells = of_ensemble[["im", "cell"]].drop_duplicates()
    return (
        predicted(table, reference)
        .merge(cells, on=["im", "cell"])
        .merge(of_ensemble, on=["im", "cell", "part"], how="left")
    )


def within_event_correlation(table: pd.DataFrame) -> pd.DataFrame:
    """Estimate the correlation of within-event residuals of trained sites by distance, and fit a curve.

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
    for im, records in scores.by_value("im")(training_records(table)).items():
        chunk_and_event = records["chunk"].astype(str) + " " + records["event_id"].astype(str)
        classes = within_event.correlation_by_distance(
            records.assign(event_id=chunk_and_event, z=within_event.standardised_residuals(records))
        )
        fitted = within_event.Correlation.fit(classes)
        rows.append(classes.assign(im=im, share=fitted.share, range_km=fitted.range_km))
    return pd.concat(rows, ignore_index=True)


def path_covariance(effects: dict[str, RandomEffects]) -> pd.DataFrame:
    """Return the covariance of residuals of different events at trained sites, estimated and fitted.

    Parameters
    ----------
    effects : dict of str to RandomEffects
        By intensity measure.

    Returns
    -------
    pandas.DataFrame
        The rows of `covariance_by_distance` in `tfgmm.stats.path_covariance` to which the covariance
        was fitted, with ``im`` and ``fitted``.
    """
    tables = [
        of_im.paths.classes.assign(im=im, fitted=of_im.paths.covariance.at(of_im.paths.classes))
        for im, of_im in effects.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table["pairs"] >= PAIRS[0]].reset_index(drop=True)


def floor(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    r"""Estimate the RMSE at unknown sites with the best interpolation, and with stations everywhere.

    The residuals of the map part of the model at trained sites are kriged in each chunk: a field that
    neighbouring sites share, and a nugget that each site has alone. With the best interpolation between
    these stations the error at an unknown site has the kriging variance in addition to the error at a
    known site; with stations everywhere but there, the variance of the nugget alone:

    .. math:: interpolated = \sqrt{RMSE_{TV}^2 + \overline{\sigma_{kriging}^2}}, \quad
        floor = \sqrt{RMSE_{TV}^2 + \sigma_u^2}

    with the error at trained sites for validation events, :math:`RMSE_{TV}`, the kriging variance (with
    the nugget) at the validation sites, and the standard deviation :math:`\sigma_u` of the nugget.

    Parameters
    ----------
    table, reference
        As for `predicted`, with ``x_km`` and ``y_km``.

    Returns
    -------
    pandas.DataFrame
        ``im, nugget, field, range_km, known_site, unknown_site, interpolated, floor``: standard deviations
        of nugget and field, root mean squares over the chunks, the median range, RMSE for validation
        events, ln units. A field whose range is shorter than the distance between stations can hardly be
        told from a nugget.
    """
    rows = []
    for im, records in scores.by_value("im")(table).items():
        cells = scores.cells(records, reference)
        known, unknown = (cells[f"{site} / validation"] for site in ("training", "validation"))
        fits = {chunk: _krige_sites(fold) for chunk, fold in training_records(records).groupby("chunk")}
        kriging_variance = [
            fits[chunk].at(fold[["x_km", "y_km"]])[1] for chunk, fold in unknown.groupby("chunk")
        ]
        nugget, field = (
            np.mean([getattr(fit, name) for fit in fits.values()])
            for name in ("nugget_variance", "field_variance")
        )
        at_known, at_unknown = (((cell["ln_im"] - cell["mean"]) ** 2).mean() for cell in (known, unknown))
        squares = {
            "nugget": nugget,
            "field": field,
            "known_site": at_known,
            "unknown_site": at_unknown,
            "interpolated": at_known + np.concatenate(kriging_variance).mean(),
            "floor": at_known + nugget,
        }
        roots = {name: float(np.sqrt(value)) for name, value in squares.items()}
        rows.append({"im": im, "range_km": np.median([fit.range_km for fit in fits.values()])} | roots)
    return pd.DataFrame(rows)


def _krige_sites(records: pd.DataFrame) -> site_kriging.KrigedSites:
    """Krige the residuals of the map part of the model: site terms are added back to the residuals."""
    residual = records["ln_im"] - records["mean"]
    of_map_part = residual + records["site_term"]
    # An offset of the map part that is the same everywhere is no field.
    return site_kriging.fit(records, of_map_part - of_map_part.mean(), residual.std())
