"""Parts of out-of-fold residuals: between events (tau), between sites (phi_S2S), remaining (phi_SS).

An out-of-fold residual comes from networks that did not train on the record. Cells are the combinations of
site role and event role in `tfgmm.evaluation.scores.cells`; a fold is a station chunk.
"""

import dataclasses

import numpy as np
import pandas as pd
from scipy.differentiate import hessian
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from tfgmm.evaluation import scores
from tfgmm.stats import bootstrap, mixed_effects

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
