"""Parts of sigma: as predicted by a mixed-effects model, as estimated from residuals, and their limits.

The parts are tau (between events), phi_S2S (between sites), phi_SS (remaining) and the epistemic spread of
the members. A member is one trained network: a station chunk times an initialisation. Cells are the
combinations of site role and event role in `tfgmm.evaluation.scores.cells`. The map part is the prediction
of the networks without random effects.
"""

import numpy as np
import pandas as pd

from tfgmm.data.columns import training_records
from tfgmm.evaluation import scores, variability
from tfgmm.stats import site_kriging, within_event
from tfgmm.stats.path_covariance import PAIRS
from tfgmm.stats.random_effects import RandomEffects

EPISTEMIC = "epistemic"


def predicted(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the root mean square of each predicted part of sigma in each cell (site role / event role).

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects (`tfgmm.evaluation.scores.partial_ensembles`), one row per
        record and chunk.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell and part: ``im, cell, part`` and ``predicted``, ln units. The
        parts are `variability.PARTS`, `EPISTEMIC` (the spread of the members' means) and the total,
        `variability.SIGMA`. For a known site phi_s2s, and for a known event tau, is the posterior standard
        deviation of the term.
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
    """Return predicted parts of sigma beside the parts estimated from residuals of validation events.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, as for `predicted`.
    estimated : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.tidy`: estimated parts, per model and cell.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell and part: ``im, cell, part``; ``predicted`` and ``estimate``;
        ``low`` and ``high``, the ends of the interval of the estimate; ln units. The epistemic part has no
        estimate (NaN), because the spread of the members is included in the estimates of the other parts.
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
    r"""Return the correlation of within-event residuals of training sites by distance, and a fitted curve.

    The residuals of one event at two sites are compared, over all chunks together.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, as for `predicted`, with the positions ``x_km`` and ``y_km``.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure and class of distance: ``im``; ``distance_km, correlation,
        standard_error`` of `tfgmm.stats.within_event.correlation_by_distance`; ``share`` a (no unit) and
        ``range_km`` l of the fitted :math:`\rho(d) = a \exp(-d / l)`, equal in all rows of an intensity
        measure.
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
    """Return the covariance of residuals of pairs of records at training sites, estimated and fitted.

    Parameters
    ----------
    effects : dict of str to RandomEffects
        Random effects of a run, by intensity measure.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure and class of distance: ``im``; the columns of
        `tfgmm.stats.path_covariance.covariance_by_distance` (distances in km, ``covariance`` in squared ln
        units); ``fitted``, the fitted covariance, squared ln units. Classes with fewer pairs than the fit
        requires are left out.
    """
    tables = [
        of_im.paths.classes.assign(im=im, fitted=of_im.paths.covariance.at(of_im.paths.classes))
        for im, of_im in effects.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table["pairs"] >= PAIRS[0]].reset_index(drop=True)


def floor(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    r"""Estimate the RMSE at unknown sites with the best interpolation, and with stations everywhere.

    The residuals of the map part of the model (the networks without random effects) at training sites are
    kriged in each station chunk, as a spatially correlated field that neighbouring sites share, and a
    nugget that each site has alone. With the best interpolation between the existing stations, the mean
    square error at an unknown site is the mean square error at a known site plus the kriging variance. With
    stations everywhere except at the site itself, the variance of the nugget takes the place of the kriging
    variance:

    .. math:: interpolated = \sqrt{RMSE_{TV}^2 + \overline{\sigma_{kriging}^2}}, \quad
        floor = \sqrt{RMSE_{TV}^2 + \sigma_u^2}

    where :math:`RMSE_{TV}` is the error at training sites for validation events,
    :math:`\sigma_{kriging}^2` the kriging variance (with the nugget) at the validation sites, and
    :math:`\sigma_u` the standard deviation of the nugget.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, as for `predicted`, with the positions ``x_km`` and ``y_km``.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure: ``im``; ``nugget`` and ``field``, standard deviations, root mean
        squares over the chunks; ``known_site`` and ``unknown_site``, the RMSE at training and validation
        sites for validation events; ``interpolated`` and ``floor``, see above; all in ln units; and
        ``range_km``, the median over the chunks of the range of the field. A field whose range is shorter
        than the distance between stations can hardly be distinguished from a nugget.
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
    """Return the kriged residuals (ln units) of the map part of the model at the sites of the records.

    The map part is the prediction without random effects; the residuals of the map part are the residuals
    of the ensemble plus the predicted site terms.
    """
    residual = records["ln_im"] - records["mean"]
    of_map_part = residual + records["site_term"]
    # An offset of the map part that is the same everywhere is no field.
    return site_kriging.fit(records, of_map_part - of_map_part.mean(), residual.std())
