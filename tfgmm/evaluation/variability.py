"""Residuals split into event, site and remaining parts, and sigma into predicted and estimated parts.

The parts are tau (between events), phi_S2S (between sites), phi_SS (remaining) and the epistemic spread of
the members. A member is one trained network: a station chunk times an initialisation. Cells are the
combinations of site role and event role in `tfgmm.evaluation.scores.cells`. The map part is the prediction
of the networks without random effects.
"""

import dataclasses

import numpy as np
import pandas as pd
from scipy.differentiate import hessian
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from tfgmm.data.schemas import training_records
from tfgmm.evaluation import scores
from tfgmm.stats import bootstrap, kriging, mixed_effects
from tfgmm.stats.path_terms import PAIRS
from tfgmm.stats.random_effects import RandomEffects

#: Names of the parts that `decompose` estimates (ln units), and of the square root of the sum of squares.
PARTS = ("tau", "phi_s2s", "phi_ss")
SIGMA = "sigma"
#: A part below this share of phi_ss is zero within the resolution of the records, and has no interval.
_NEGLIGIBLE = 1e-3
_PLACES = {"site_id": ["longitude", "latitude"], "event_id": ["event_longitude", "event_latitude"]}


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """Between-event, between-site and remaining parts of the residuals of one model in one cell.

    A cell is a combination of site role and event role, for example validation sites and validation events.
    A fold is a station chunk, whose sites are held out from training.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each of `PARTS` and for `SIGMA`: ``part``; ``estimate``, a standard deviation, and
        ``low`` and ``high``, the ends of the interval, ln units.
    site_terms : pandas.Series
        Best linear unbiased predictions of the site terms, ln units, indexed by ``site_id``.
    event_terms : pandas.Series
        Best linear unbiased predictions of the event terms, ln units, indexed by ``event_id``.
    offsets : pandas.Series
        Intercept of each fold, ln units, indexed by ``chunk``.
    records : int
        Number of records.
    """

    table: pd.DataFrame
    site_terms: pd.Series
    event_terms: pd.Series
    offsets: pd.Series
    records: int


def decompose(rows: pd.DataFrame) -> Decomposition:
    r"""Split residuals into between-event, between-site and remaining parts by a mixed-effects fit.

    .. math:: r_{es} = a_{c} + \delta B_e + \delta S2S_s + \delta WS_{es}

    is fitted by restricted maximum likelihood, with an intercept :math:`a_c` for each fold c (a station
    chunk, held out from training). The networks of a fold share an offset, which would otherwise count as
    variance between the held-out sites. Each record is used once: a site that several folds predict is
    taken from one of these folds, and the folds are assigned to the sites in turn. The spread of the
    networks, and source and path terms that the networks miss, are included in the three parts.

    The intervals have the level `tfgmm.stats.bootstrap.LEVEL`. They are intervals of the logarithms of the
    standard deviations, from the curvature of the likelihood at its maximum, and NaN where a part is
    negligible.

    Parameters
    ----------
    rows : pandas.DataFrame
        Scored table of one intensity measure, model and cell: ``event_id, site_id, chunk``; ``ln_im``,
        observed, and ``mean``, predicted, ln units.

    Returns
    -------
    Decomposition
        tau, phi_S2S, phi_SS, sigma and the terms, ln units.

    Raises
    ------
    DataError
        There are fewer than two events or sites, or a value is missing.

    References
    ----------
    Al Atik et al. (2010), as for `tfgmm.stats.mixed_effects.fit`.
    """
    rows = _take_sites_once(rows)
    folds = pd.get_dummies(rows["chunk"]).astype(float)
    folds.columns = folds.columns.astype(str)
    residuals = folds, rows["ln_im"] - rows["mean"], rows["event_id"], rows["site_id"]
    effects = mixed_effects.fit(*residuals)
    parts = np.array([getattr(effects, name) for name in PARTS])
    equations = mixed_effects.MixedModelEquations(*residuals)
    stderrs = _estimate_log_stderrs(equations, parts, len(rows) - folds.shape[1])
    sigma = np.sqrt((parts**2).sum())
    estimate = np.append(parts, sigma)
    # Delta method; the parts' estimates are taken as uncorrelated.
    stderrs = np.append(stderrs, np.sqrt(((parts**2 * np.nan_to_num(stderrs)) ** 2).sum()) / sigma**2)
    factor = np.exp(norm.ppf(0.5 + bootstrap.LEVEL / 2) * stderrs)
    return Decomposition(
        pd.DataFrame(
            {
                "part": [*PARTS, SIGMA],
                "estimate": estimate,
                "low": estimate / factor,
                "high": estimate * factor,
            }
        ),
        effects.site_terms.rename_axis("site_id"),
        effects.event_terms.rename_axis("event_id"),
        pd.Series(effects.coefficients, folds.columns.astype(int), name="offset").rename_axis("chunk"),
        len(rows),
    )


def _take_sites_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one fold (station chunk) for each site; folds are assigned to sites in turn."""
    pairs = rows[["site_id", "chunk"]].drop_duplicates().sort_values(["site_id", "chunk"])
    site = pairs.groupby("site_id", observed=True)
    turn = site.ngroup() % site["chunk"].transform("size")
    return rows.merge(pairs[site.cumcount() == turn], on=["site_id", "chunk"])


def _estimate_log_stderrs(equations, parts: np.ndarray, degrees_of_freedom: int) -> np.ndarray:
    """Return standard errors of ln tau, ln phi_s2s and ln phi_ss, from the curvature of the REML criterion.

    The result has shape [3] and is NaN for a negligible part. `equations` are
    `tfgmm.stats.mixed_effects.MixedModelEquations`, and `parts` the estimates in ln units, [3].
    """

    def half_criterion(logs: np.ndarray) -> float:
        tau_ratio, phi_s2s_ratio = np.exp(logs[:2] - logs[2])
        profiled, phi_ss = equations.profile(tau_ratio, phi_s2s_ratio)
        square = (phi_ss / np.exp(logs[2])) ** 2
        return (profiled + degrees_of_freedom * (square - 1 - np.log(square))) / 2

    present = parts > _NEGLIGIBLE * parts[2]
    stderrs = np.full(len(parts), np.nan)

    def criterion_of_present(present_logs: np.ndarray) -> np.ndarray:
        shape = present_logs.shape[1:]
        logs = np.log(parts)[:, np.newaxis] + np.zeros(shape).reshape(1, -1)
        logs[present] = present_logs.reshape(len(present_logs), -1)
        return np.array([half_criterion(column) for column in logs.T]).reshape(shape)

    start = np.log(parts[present])
    with threadpool_limits(1, "blas"):
        curvature = hessian(criterion_of_present, start, order=2, initial_step=0.02, maxiter=1).ddf
    variance = np.diag(np.linalg.inv(curvature))
    stderrs[present] = np.sqrt(np.where(variance > 0, variance, np.nan))
    return stderrs


def decompositions(table: pd.DataFrame, reference: str) -> dict[tuple[str, str, str], Decomposition]:
    """Decompose residuals of validation events for each intensity measure, model and cell.

    A cell is a combination of site role and event role, for example validation sites and validation events.
    Training events are left out, because the networks have learned the event terms of training events.

    Parameters
    ----------
    table : pandas.DataFrame
        Scored table, see `tfgmm.evaluation.scores`.
    reference : str
        Name of the reference network; added stations have cells of their own.

    Returns
    -------
    dict of (str, str, str) to Decomposition
        Decompositions by ``(im, model, cell)``, cells as `tfgmm.evaluation.scores.cells` names them. A cell
        with fewer than two events or sites is left out.
    """
    by_group = {}
    for im, of_im in table.groupby("im", observed=True):
        for cell, of_cell in scores.cells(of_im, reference).items():
            if not cell.endswith("/ validation"):
                continue
            for model, rows in of_cell.groupby("model", sort=False, observed=True):
                if min(rows["event_id"].nunique(), rows["site_id"].nunique()) > 1:
                    by_group[im, model, cell] = decompose(rows)
    return by_group


def tidy(decompositions: dict[tuple[str, str, str], Decomposition]) -> pd.DataFrame:
    """Return decompositions as one tidy table.

    Parameters
    ----------
    decompositions : dict of (str, str, str) to Decomposition
        Result of `decompositions`.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, model, cell and part: ``im, model, cell, part``; ``estimate``,
        ``low`` and ``high``, ln units; ``records, events, sites``, their numbers.
    """
    return pd.concat(
        [
            pd.DataFrame({"im": im, "model": model, "cell": cell}, fit.table.index)
            .join(fit.table)
            .assign(records=fit.records, events=len(fit.event_terms), sites=len(fit.site_terms))
            for (im, model, cell), fit in decompositions.items()
        ],
        ignore_index=True,
    )


def place_terms(terms: pd.Series, table: pd.DataFrame) -> pd.DataFrame:
    """Return site or event terms with their coordinates.

    Parameters
    ----------
    terms : pandas.Series
        Site or event terms of a `Decomposition`, ln units; the name of the index, ``site_id`` or
        ``event_id``, says which.
    table : pandas.DataFrame
        Result of `tfgmm.runs.run.RunFolder.with_places`, for the coordinates.

    Returns
    -------
    pandas.DataFrame
        One row per term: the id, ``longitude`` and ``latitude`` (degrees), ``term`` (ln units).
    """
    key = terms.index.name
    places = table.groupby(key, observed=True)[_PLACES[key]].first()
    places.columns = ["longitude", "latitude"]
    return places.join(terms.rename("term"), how="inner").reset_index()


EPISTEMIC = "epistemic"


def predicted_parts(table: pd.DataFrame, reference: str) -> pd.DataFrame:
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
            for part, variance in zip((*PARTS, EPISTEMIC, SIGMA), variances, strict=True)
        ]
    return pd.DataFrame(rows)


def compare_parts(table: pd.DataFrame, estimated: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return predicted parts of sigma beside the parts estimated from residuals of validation events.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, as for `predicted_parts`.
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
        predicted_parts(table, reference)
        .merge(cells, on=["im", "cell"])
        .merge(of_ensemble, on=["im", "cell", "part"], how="left")
    )


def within_event_correlation(table: pd.DataFrame) -> pd.DataFrame:
    r"""Return the correlation of within-event residuals of training sites by distance, and a fitted curve.

    The residuals of one event at two sites are compared, over all chunks together.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with random effects, as for `predicted_parts`, with positions ``x_km, y_km``.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure and class of distance: ``im``; ``distance_km, correlation,
        standard_error`` of `tfgmm.stats.kriging.correlation_by_distance`; ``share`` a (no unit) and
        ``range_km`` l of the fitted :math:`\rho(d) = a \exp(-d / l)`, equal in all rows of an intensity
        measure.
    """
    rows = []
    for im, records in scores.by_value("im")(training_records(table)).items():
        chunk_and_event = records["chunk"].astype(str) + " " + records["event_id"].astype(str)
        classes = kriging.correlation_by_distance(
            records.assign(event_id=chunk_and_event, z=kriging.standardised_residuals(records))
        )
        fitted = kriging.Correlation.fit(classes)
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
        `tfgmm.stats.path_terms.covariance_by_distance` (distances in km, ``covariance`` in squared ln
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
        Partial ensembles with random effects, as for `predicted_parts`, with positions ``x_km, y_km``.
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


def _krige_sites(records: pd.DataFrame) -> kriging.KrigedSites:
    """Return the kriged residuals (ln units) of the map part of the model at the sites of the records.

    The map part is the prediction without random effects; the residuals of the map part are the residuals
    of the ensemble plus the predicted site terms.
    """
    residual = records["ln_im"] - records["mean"]
    of_map_part = residual + records["site_term"]
    # An offset of the map part that is the same everywhere is no field.
    return kriging.fit(records, of_map_part - of_map_part.mean(), residual.std())
