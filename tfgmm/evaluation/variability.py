"""Residuals split into event, site and remaining parts, and sigma into predicted and found parts.

The parts are tau (between events), phi_S2S (between sites), phi_P2P (between paths, source terms
included), phi_SS (remaining) and the epistemic spread of the members. A member is one trained network: a
station chunk times an initialisation. Cells are the combinations of site role and event role in
`tfgmm.evaluation.scores.cells`. The field is the Gaussian process of `tfgmm.stats.field`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.differentiate import hessian
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from tfgmm.data.schemas import VALIDATION
from tfgmm.evaluation import scores
from tfgmm.stats import bootstrap, mixed_effects
from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import RANGES, VARIANCES, Covariance
from tfgmm.stats.field_fit import LEAST_PAIRS, mean_products
from tfgmm.stats.field_records import Cells

#: Names of the parts that `decompose` estimates (ln units), and of the square root of the sum of squares.
PARTS = ("tau", "phi_s2s", "phi_ss")
SIGMA = "sigma"
#: Names of further predicted parts: path terms with source terms, and the spread of the members.
PATHS, EPISTEMIC = "phi_p2p", "epistemic"
#: Largest number of events of a chunk whose covariance between stations is computed.
_EVENTS = 40
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


def predicted_parts(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the root mean square of each predicted part of sigma for validation events in each cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles of a run with the field (`tfgmm.evaluation.scores.partial_ensembles`), one row per
        record and chunk.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell and part: ``im, cell, part``; ``predicted``, with the ends
        ``predicted_low`` and ``predicted_high`` of its interval over events and sites, ln units; ``events,
        sites``, their numbers. The parts are ``tau, phi_s2s``, `PATHS`, ``phi_ss``, `EPISTEMIC` and the
        total, `SIGMA`. At a known site, phi_s2s and phi_p2p are what is unknown of the terms; at an unknown
        place they are what its neighbours do not tell.
    """
    rows = []
    for names, records in scores.groups(
        table, {"im": scores.by_value("im"), "cell": lambda t: scores.cells(t, reference)}
    ):
        if records.empty or not (records["event_role"] == VALIDATION).all():
            continue
        squares = {
            part: records[column] ** 2
            for part, column in (
                ("tau", "event_stddev"),
                ("phi_s2s", "site_stddev"),
                (PATHS, "path_stddev"),
                ("phi_ss", "within_stddev"),
            )
        }
        squares |= {EPISTEMIC: records["epistemic"], SIGMA: records["stddev"] ** 2}
        roots = {part: lambda mean, part=part: np.sqrt(mean[part]) for part in squares}
        clusters = records["event_id"], records["site_id"]
        found = bootstrap.intervals(pd.DataFrame(squares), *clusters, roots).rename_axis("part")
        rows.append(found.reset_index().assign(**names))
    named = {"value": "predicted", "low": "predicted_low", "high": "predicted_high"}
    columns = ["im", "cell", "part", *named.values(), "events", "sites"]
    return pd.concat(rows, ignore_index=True).rename(columns=named)[columns]


@threadpool_limits.wrap(limits=1, user_api="blas")  # thousands of matrices, one an event
def shared_in_events(
    table: pd.DataFrame, field_of: Callable[[str, int], Field], reference: str
) -> pd.DataFrame:
    """Return what the records of one validation event have in common by the field, in each cell.

    A fit to residuals counts all that the records of an event share as its event term: beside the event
    term of the field, the source term, and path and within-event terms of a long range.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles of a run with the field, as for `predicted_parts`, with the positions of events
        and stations, km.
    field_of : callable
        Function of intensity measure and chunk that returns the field of the chunk.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure and cell: ``im, cell``; ``shared``, ln units, the square root of the
        covariance of the field at two sites, given the training records: the mean over all pairs of sites
        of an event, and over events, of which up to 40 of each chunk are taken.
    """
    found = []
    for (im, chunk), rows in table.groupby(["im", "chunk"], observed=True):
        field = field_of(im, chunk)
        for cell, records in scores.cells(rows[rows["event_role"] == VALIDATION], reference).items():
            by_event = list(records.groupby("event_id", observed=True))
            for number in np.unique(np.linspace(0, len(by_event) - 1, _EVENTS).astype(int)):
                cells = Cells.of(by_event[number][1], field.records) if by_event else []
                if len(cells) and (other := np.not_equal.outer(cells.site, cells.site)).any():
                    covariance = field.event_covariance(cells)[other].mean()
                    found.append({"im": im, "cell": cell, "shared": covariance})
    mean = pd.DataFrame(found).groupby(["im", "cell"], sort=False)["shared"].mean()
    return np.sqrt(mean.clip(lower=0)).reset_index()


def compare_parts(
    table: pd.DataFrame, shared: pd.DataFrame, estimated: pd.DataFrame, reference: str
) -> pd.DataFrame:
    r"""Return predicted parts of sigma beside the parts found in residuals of validation events.

    A fit to residuals cannot tell source, path and within-event terms from others. What it would find if
    the predictions were right is

    .. math:: \tau'^2 = \overline{cov}, \quad \phi_{S2S}'^2 = \phi_{S2S}^2, \quad
        \phi_{SS}'^2 = \sigma^2 - \tau'^2 - \phi_{S2S}'^2

    with the mean covariance of two records of an event.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles of a run with the field, as for `predicted_parts`.
    shared : pandas.DataFrame
        Result of `shared_in_events`.
    estimated : pandas.DataFrame
        Result of `tfgmm.evaluation.variability.tidy`: estimated parts, per model and cell.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        The rows of `predicted_parts` in the cells of `estimated`, with ``expected``, what a fit to
        residuals would find; ``estimate``, what it has found, and the ends ``low`` and ``high`` of its
        interval, ln units. Both are NaN for `PATHS` and `EPISTEMIC`, which are in the other parts.
    """
    columns = ["im", "cell", "part", "estimate", "low", "high"]
    of_ensemble = estimated.loc[estimated["model"] == scores.ENSEMBLE, columns]
    predicted = predicted_parts(table, reference)
    across = predicted.pivot(index=["im", "cell"], columns="part", values="predicted").reset_index()
    expected = across.merge(shared, on=["im", "cell"])
    rest = expected[SIGMA] ** 2 - expected["shared"] ** 2 - expected["phi_s2s"] ** 2
    expected = expected.assign(tau=expected["shared"], phi_ss=np.sqrt(rest.clip(lower=0)))
    expected = expected.melt(["im", "cell"], [*PARTS, SIGMA], "part", "expected")
    cells = of_ensemble[["im", "cell"]].drop_duplicates()
    return (
        predicted.merge(cells, on=["im", "cell"])
        .merge(expected, on=["im", "cell", "part"], how="left")
        .merge(of_ensemble, on=["im", "cell", "part"], how="left")
    )


def field_parts(of_all: Covariance, of_chunks: Iterable[Covariance]) -> pd.DataFrame:
    """Return standard deviations and ranges of the parts of the field, of all records and of the chunks.

    Parameters
    ----------
    of_all : Covariance
        Covariance of the field of all records.
    of_chunks : iterable of Covariance
        Covariances of the fields of the training records of each station chunk.

    Returns
    -------
    pandas.DataFrame
        One row per part, then one per range: ``part``, a name of `VARIANCES` or `RANGES` of
        `tfgmm.stats.field_covariance`; ``unit``; ``all_records``; ``mean, lowest, highest`` over the
        chunks. Standard deviations are in ln units, ranges in km.
    """
    values = [
        pd.Series(
            {name: np.sqrt(getattr(covariance, name)) for name in VARIANCES}
            | {name: getattr(covariance, name) for name in RANGES}
        )
        for covariance in (of_all, *of_chunks)
    ]
    chunks = pd.concat(values[1:], axis=1)
    table = {"all_records": values[0], "mean": chunks.mean(axis=1)}
    table |= {"lowest": chunks.min(axis=1), "highest": chunks.max(axis=1)}
    unit = np.where(values[0].index.isin(RANGES), "km", "ln units")
    parts = pd.DataFrame(table).rename_axis("part").reset_index()
    parts.insert(1, "unit", unit)
    return parts


def field_classes(field: Field) -> pd.DataFrame:
    """Return the covariance of residuals of two records by distance, as found and as fitted.

    Parameters
    ----------
    field : Field
        Field of a run; the residuals are those that it is conditioned on.

    Returns
    -------
    pandas.DataFrame
        The classes of `tfgmm.stats.field_fit.mean_products` that the fit used, and ``fitted``, the
        covariance of the field there, squared ln units. The class of a record with itself is left out.
    """
    classes = mean_products(field.records)
    classes = classes[(classes["pairs"] >= LEAST_PAIRS) & ~classes["is_record"]]
    return classes.assign(fitted=field.covariance.at(classes)).reset_index(drop=True)


def floor(
    table: pd.DataFrame, covariances: Mapping[tuple[str, int], Covariance], reference: str
) -> pd.DataFrame:
    r"""Return the RMSE at known and at unknown sites, and the one that more stations could reach.

    However many stations stand around a place, they tell nothing of the part of its site term that no
    neighbour shares. In place of what is unknown of the site term at a known site, this part remains:

    .. math:: floor = \sqrt{RMSE_{known}^2 - \overline{\phi_{S2S}^2} + S_0^2}

    where :math:`\phi_{S2S}^2` is the variance of the site term given the records, at known sites, and
    :math:`S_0^2` the variance of the own site term.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles of a run with the field, as for `predicted_parts`.
    covariances : mapping of (str, int) to Covariance
        Covariances of the field by intensity measure and chunk.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure: ``im``; ``known_site`` and ``unknown_site``, the RMSE at training and
        validation sites for validation events; ``floor``; ``site_own`` and ``site_shared``, standard
        deviations of the parts of the site term, root mean squares over the chunks; all in ln units; and
        ``site_km``, the median range of the shared part. If the range is shorter than the distance between
        stations, shared and own part can hardly be told apart.
    """
    rows = []
    for im, records in scores.by_value("im")(table).items():
        cells = scores.cells(records, reference)
        known, unknown = (cells[f"{site} / validation"] for site in ("training", "validation"))
        of_chunks = [covariances[im, chunk] for chunk in records["chunk"].unique()]
        own, shared = (
            np.mean([getattr(one, name) for one in of_chunks]) for name in ("site_own", "site_shared")
        )
        at_known, at_unknown = (((cell["ln_im"] - cell["mean"]) ** 2).mean() for cell in (known, unknown))
        squares = {
            "known_site": at_known,
            "unknown_site": at_unknown,
            "floor": at_known - (known["site_stddev"] ** 2).mean() + own,
            "site_own": own,
            "site_shared": shared,
        }
        roots = {name: float(np.sqrt(max(value, 0.0))) for name, value in squares.items()}
        rows.append({"im": im} | roots | {"site_km": np.median([one.site_km for one in of_chunks])})
    return pd.DataFrame(rows)
