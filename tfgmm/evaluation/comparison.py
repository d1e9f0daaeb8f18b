"""Comparison of runs with each other and with the Kanto study; paired differences on the same records.

A cell is a combination of site role and event role, see `tfgmm.evaluation.scores`. z is the residual
divided by the predicted standard deviation.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.data.schemas import is_training
from tfgmm.evaluation import scores
from tfgmm.evaluation.scores import CELLS
from tfgmm.runs.experiment import Experiment
from tfgmm.stats import bootstrap

SOURCE = (
    "Sunny, Cotton & Lilienkamp (2022), URBASIS-EU Deliverable D1.4: Tables 1 and 2 (RMSE, mean and "
    "standard deviation over five partial ensembles), section 5.1 (standardised residuals)"
)
KANTO_IM = "PGA"
#: Standard deviation of the standardised residuals of the full ensemble, about the same for both sets of
#: networks. It mixes records on which networks trained with records on which no network trained.
FULL_ENSEMBLE_Z_STD = 0.86

#: RMSE, its standard deviation over chunks, standard deviation of standardised residuals (NaN: the text
#: gives no number), ln units, in the order of `tfgmm.evaluation.scores.CELLS`.
_CELLS = {
    ("kik",): (
        (0.432, 0.007, np.nan),
        (0.496, 0.005, np.nan),
        (0.871, 0.104, np.nan),
        (0.854, 0.090, 1.39),
    ),
    ("kik", "meso"): (
        (0.429, 0.007, np.nan),
        (0.494, 0.005, np.nan),
        (0.865, 0.086, np.nan),
        (0.841, 0.080, 1.35),
    ),
}


def networks_of_study(experiment: Experiment) -> tuple[str, ...]:
    """Return the networks of a run for which values of the Kanto study are looked up.

    Parameters
    ----------
    experiment : Experiment
        Settings of the run.

    Returns
    -------
    tuple of str
        The networks whose records train. None if the events are split by magnitude: such a run
        extrapolates, and the study, which split its events by time, did not.
    """
    return () if experiment.split.kind == "magnitude" else experiment.networks


def kanto_four_way(networks: Iterable[str], im: str = KANTO_IM) -> pd.DataFrame:
    """Return the RMSE at known and unknown sites and events that the Kanto study published.

    >>> kanto_four_way(["meso", "kik"])["rmse"].tolist()
    [0.429, 0.494, 0.865, 0.841]

    Parameters
    ----------
    networks : iterable of str
        Names of the networks whose records trained the model, in any order.
    im : str
        Intensity measure; the study has ``PGA`` only.

    Returns
    -------
    pandas.DataFrame
        One row for each cell of `tfgmm.evaluation.scores.CELLS`: ``cell``; ``rmse`` and ``rmse_std``, mean
        and standard deviation over five partial ensembles, ln units; ``z_std``, the standard deviation of
        the standardised residuals, NaN where not published. No rows for networks or an intensity measure
        that the study does not have.

    References
    ----------
    `SOURCE`.
    """
    rows = _CELLS.get(tuple(sorted(networks)), ()) if im == KANTO_IM else ()
    table = pd.DataFrame(rows, columns=["rmse", "rmse_std", "z_std"], dtype=float)
    table.insert(0, "cell", [f"{site} / {event}" for site, event in CELLS][: len(rows)])
    return table


#: Statistics of which differences between two models are computed, by name.
STATISTICS = {
    name: scores.STATISTICS[name]
    for name in ("RMSE", "bias", "z std", "NLL", "CRPS", "coverage 90%", "sharpness")
}

_KEYS = ["im", "model", "chunk", "event_id", "station_id", "site_role", "event_role"]
_STUDY_COLUMNS = ["rmse", "rmse_std", "z_std"]


def side_by_side(runs: Mapping[str, pd.DataFrame], networks: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Return the four-way tables of several runs as one table, with published values of the Kanto study.

    Parameters
    ----------
    runs : mapping of str to pandas.DataFrame
        Four-way table (`tfgmm.evaluation.scores.four_way`) by name of the run.
    networks : mapping of str to iterable of str
        Names of the networks whose records train, by name of the run, see `networks_of_study`.

    Returns
    -------
    pandas.DataFrame
        The rows of all tables, sorted so that rows of one intensity measure, cell and model are together.
        Columns: ``run``, the columns of the tables, and the values of `tfgmm.evaluation.comparison` for
        the same networks as ``published_rmse``, ``published_rmse_std`` (ln units) and
        ``published_z_std``; NaN where the study published no value (other networks, intensity measures or
        cells, or a baseline).
    """
    parts = [
        table.merge(_study_values(table, networks[name]), on=["im", "cell", "model"], how="left").assign(
            run=name
        )
        for name, table in runs.items()
    ]
    all_rows = pd.concat(parts, ignore_index=True)
    model = all_rows.groupby(["im", "cell", "model"], sort=False, observed=True).ngroup()
    cell = all_rows.groupby(["im", "cell"], sort=False, observed=True).ngroup()
    order = np.lexsort([all_rows.index, model, cell])
    columns = ["run", *all_rows.columns.drop("run")]
    return all_rows.loc[order, columns].reset_index(drop=True)


def _study_values(table: pd.DataFrame, networks: Iterable[str]) -> pd.DataFrame:
    """Return the published values of the Kanto study for the networks, as ``published_`` columns.

    The result has the intensity measures of `table`; the model is `tfgmm.evaluation.scores.ENSEMBLE`.
    """
    networks = list(networks)
    parts = [kanto_four_way(networks, im).assign(im=im) for im in table["im"].unique()]
    values = pd.concat(parts, ignore_index=True).assign(model=scores.ENSEMBLE)
    return values.rename(columns={name: f"published_{name}" for name in _STUDY_COLUMNS})


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of `side_by_side` as texts: a line per cell and model, columns per run.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `side_by_side`.

    Returns
    -------
    pandas.DataFrame
        ``im``, ``sites / events``, ``model``; for each run the RMSE (mean and standard deviation over
        chunks, ln units) and the standard deviation of z, followed by the RMSE and z std that the Kanto
        study published, if any.
    """
    lines = {}
    for row in table.to_dict("records"):
        key = row["im"], row["cell"], row["model"]
        line = lines.setdefault(key, dict(zip(["im", "sites / events", "model"], key, strict=True)))
        line |= _format_columns(row["run"], row, "")
        if not np.isnan(row["published_rmse"]):
            line |= _format_columns(f"published {row['run']}", row, "published_")
    return pd.DataFrame(lines.values()).fillna("")


def _format_columns(title: str, row: dict, prefix: str) -> dict[str, str]:
    """Return RMSE (ln units) and standard deviation of z of one table row as texts, by title of column.

    `prefix` is ``published_`` for the columns of the Kanto study, else empty.
    """
    rmse, spread, z_std = (row[prefix + name] for name in _STUDY_COLUMNS)
    return {
        f"{title}: RMSE": f"{rmse:.3f}" + ("" if np.isnan(spread) else f" ± {spread:.3f}"),
        f"{title}: z std": "" if np.isnan(z_std) else f"{z_std:.2f}",
    }


def between_runs(
    first: pd.DataFrame,
    second: pd.DataFrame,
    reference: str,
    names: tuple[str, str],
    within: Mapping[str, scores.Grouping] | None = None,
    **bootstrapped,
) -> pd.DataFrame:
    """Return the scores of one run minus the scores of another, per cell and model, on the same records.

    Only models that both runs have are compared.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Scored tables of the runs, see `tfgmm.evaluation.scores`.
    reference : str
        Name of the reference network; only records of the reference network are compared. The cell of
        held-out sites without an added station nearby exists if either run has added stations.
    names : tuple of str
        Names of the two runs, for messages.
    within : mapping of str to Grouping, optional
        Further groupings inside a cell by name of column, see `tfgmm.evaluation.scores.by_cell`.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.paired`.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell (site role / event role), model and statistic: ``im, cell,
        model, statistic``; ``first`` and ``second``, the statistic of either run; ``value``, first minus
        second; ``low`` and ``high``, the ends of the bootstrap interval of ``value``; ``low_chunks`` and
        ``high_chunks``, its ends where the sites of a chunk are resampled together; ``n, events, sites``,
        the numbers of records, events and sites. RMSE, bias, CRPS and sharpness are in ln units.

    Raises
    ------
    UsageError
        The runs do not score the same event-station pairs in the same roles, or have no model in common.
    """
    common = set(first["model"]) & set(second["model"])
    pair = [run[run["model"].isin(common) & (run["network"] == reference)] for run in (first, second)]
    if pair[0].empty:
        raise UsageError(f"{names[0]} and {names[1]} have no model and no record of {reference} in common")
    groupings = scores.by_cell(reference, **within or {})
    return _subtract_scores(_match_records(*pair, names), groupings, **bootstrapped)


def with_wider_interval(differences: pd.DataFrame) -> pd.DataFrame:
    """Return differences with the wider of their two intervals.

    Parameters
    ----------
    differences : pandas.DataFrame
        Result of `between_runs` or `between_models`.

    Returns
    -------
    pandas.DataFrame
        The rows, whose ``low`` and ``high`` are ``low_chunks`` and ``high_chunks`` where these are farther
        apart.
    """
    low, high = differences["low_chunks"], differences["high_chunks"]
    by_chunks = high - low > differences["high"] - differences["low"]
    return differences.assign(
        low=low.where(by_chunks, differences["low"]), high=high.where(by_chunks, differences["high"])
    )


def between_models(
    scored: pd.DataFrame, model: str, groupings: Mapping[str, scores.Grouping], **bootstrapped
) -> pd.DataFrame:
    """Return the scores of one model minus the scores of each other model, on the same records.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table of several models, see `tfgmm.evaluation.scores`.
    model : str
        Name of the model from whose scores the scores of each other model are subtracted.
    groupings : mapping of str to Grouping
        Groupings by name of column, as returned by `tfgmm.evaluation.scores.by_cell`. The grouping
        ``model`` is by the other model, whose scores are subtracted.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.paired`.

    Returns
    -------
    pandas.DataFrame
        One row per group and statistic: a column per grouping, then ``statistic`` and the columns that
        follow it in the result of `between_runs`.

    Raises
    ------
    UsageError
        The models do not score the same records, or the table lacks `model` or any other model.
    """
    own, others = scored[scored["model"] == model], scored[scored["model"] != model]
    if own.empty or others.empty:
        raise UsageError(f"nothing to compare {model} with: there are {sorted(scored['model'].unique())}")
    unseen = own[~is_training(own)]  # a model that does not score its training records is compared without
    first = pd.concat(
        [
            (own if is_training(rows).any() else unseen).assign(model=other)
            for other, rows in others.groupby("model", sort=False, observed=True)
        ]
    )
    pairs = _match_records(first, others, (model, "the other models"))
    return _subtract_scores(pairs, groupings, **bootstrapped)


def _match_records(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Return the rows of the first table with the predictions of the second table for the same records.

    The added columns are ``mean_second`` and ``stddev_second`` (ln units); ``nearest_added_km`` is the
    smaller of both distances. `names` are the names of the two models or runs, for messages.
    """
    values = ["mean", "stddev", "ln_im", "nearest_added_km"]
    pairs = first.merge(
        second[_KEYS + values], on=_KEYS, how="left", suffixes=("", "_second"), indicator=True
    )
    same = (pairs["_merge"] == "both").sum()
    if not len(first) == len(second) == len(pairs) == same:
        raise UsageError(
            f"{names[0]} scores {len(first):,} records and {names[1]} {len(second):,}, {same:,} of them "
            "the same in event, station, chunk and roles: compare runs of the same dataset, split and seed"
        )
    if not np.allclose(pairs["ln_im"], pairs["ln_im_second"]):
        raise UsageError(
            f"{names[0]} and {names[1]} have different observed values of the same records: compare runs "
            "of the same dataset"
        )
    return pairs.assign(nearest_added_km=pairs[["nearest_added_km", "nearest_added_km_second"]].min(axis=1))


def _subtract_scores(
    pairs: pd.DataFrame, groupings: Mapping[str, scores.Grouping], **bootstrapped
) -> pd.DataFrame:
    """Return `STATISTICS` of the first prediction minus `STATISTICS` of the second, per group of records.

    `pairs` is the result of `_match_records`. The result has one row per group and statistic, in the
    columns of `between_models`.
    """
    parts = []
    for group, records in scores.groups(pairs, groupings):
        values = [
            scores.per_record(records.assign(mean=records[mean], stddev=records[stddev]))
            for mean, stddev in (("mean", "stddev"), ("mean_second", "stddev_second"))
        ]
        clusters = records["event_id"], records["site_id"]
        difference = bootstrap.paired(
            *values, *clusters, STATISTICS, chunk=records["chunk"], **bootstrapped
        )
        parts.append(difference.rename_axis("statistic").reset_index().assign(**group))
    columns = [*groupings, *parts[0].columns.drop(list(groupings))]
    return pd.concat(parts, ignore_index=True)[columns]
