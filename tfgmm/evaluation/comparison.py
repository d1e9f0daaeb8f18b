"""Runs beside each other and beside the publication; paired differences on the same records."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.evaluation import probabilistic, published, scores
from tfgmm.stats import bootstrap

#: What the difference of two models is taken of.
STATISTICS = {
    name: probabilistic.STATISTICS[name]
    for name in ("RMSE", "bias", "z std", "NLL", "CRPS", "coverage 90%", "sharpness")
}

_KEYS = ["im", "model", "chunk", "event_id", "station_id", "site_role", "event_role"]
_PUBLISHED = ["rmse", "rmse_std", "z_std"]


def side_by_side(runs: Mapping[str, pd.DataFrame], networks: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Four-way tables of several runs in one, with what was published for the same networks.

    Parameters
    ----------
    runs : mapping of str to pandas.DataFrame
        Four-way table (`tfgmm.evaluation.scores.four_way`) by name of the run.
    networks : mapping of str to iterable of str
        Networks by name of the run.

    Returns
    -------
    pandas.DataFrame
        The rows of all tables, those of one measure, cell and model together: ``run`` and the columns of
        the tables, and ``published_rmse``, ``published_rmse_std``, ``published_z_std``, NaN where there
        is none (other networks, measures, cells, or a baseline).
    """
    parts = [
        table.merge(_published(table, networks[name]), on=["im", "cell", "model"], how="left").assign(
            run=name
        )
        for name, table in runs.items()
    ]
    everything = pd.concat(parts, ignore_index=True)
    place = everything.groupby(["im", "cell", "model"], sort=False, observed=True).ngroup()
    cell = everything.groupby(["im", "cell"], sort=False, observed=True).ngroup()
    order = np.lexsort([everything.index, place, cell])
    columns = ["run", *everything.columns.drop("run")]
    return everything.loc[order, columns].reset_index(drop=True)


def _published(table: pd.DataFrame, networks: Iterable[str]) -> pd.DataFrame:
    networks = list(networks)
    parts = [published.four_way(networks, im).assign(im=im) for im in table["im"].unique()]
    values = pd.concat(parts, ignore_index=True).assign(model=scores.ENSEMBLE)
    return values.rename(columns={name: f"published_{name}" for name in _PUBLISHED})


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `side_by_side` as one reads them: a line a cell and model, columns a run.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `side_by_side`.

    Returns
    -------
    pandas.DataFrame
        ``im``, ``sites / events``, ``model``; for each run RMSE (mean and standard deviation over
        chunks) and z std, and the published ones beside where there are any.
    """
    lines = {}
    for row in table.to_dict("records"):
        key = row["im"], row["cell"], row["model"]
        line = lines.setdefault(key, dict(zip(["im", "sites / events", "model"], key, strict=True)))
        line |= _columns(row["run"], row, "")
        if not np.isnan(row["published_rmse"]):
            line |= _columns(f"published {row['run']}", row, "published_")
    return pd.DataFrame(lines.values()).fillna("")


def _columns(title: str, row: dict, prefix: str) -> dict[str, str]:
    rmse, spread, z_std = (row[prefix + name] for name in _PUBLISHED)
    return {
        f"{title}: RMSE": f"{rmse:.3f}" + ("" if np.isnan(spread) else f" ± {spread:.3f}"),
        f"{title}: z std": "" if np.isnan(z_std) else f"{z_std:.2f}",
    }


def between_runs(
    first: pd.DataFrame, second: pd.DataFrame, reference: str, names: tuple[str, str], **bootstrapped
) -> pd.DataFrame:
    """Scores of one run minus another's, in each cell, for each model of both, on identical records.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Scored tables of the runs.
    reference : str
        The reference network; its records alone are compared. The cell without added stations near
        exists if either run has added stations.
    names : tuple of str
        Of the runs, for messages.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.paired`.

    Returns
    -------
    pandas.DataFrame
        ``im, cell, model, statistic``, ``first`` and ``second`` value, ``value`` (first minus second),
        ``low``, ``high``, ``n``, ``events``, ``sites``.

    Raises
    ------
    UsageError
        The runs do not score the same event-station pairs in the same roles, or have no model in common.
    """
    common = set(first["model"]) & set(second["model"])
    pair = [run[run["model"].isin(common) & (run["network"] == reference)] for run in (first, second)]
    if pair[0].empty:
        raise UsageError(f"{names[0]} and {names[1]} have no model and no record of {reference} in common")
    return _differences(_matched(*pair, names), scores.by_cell(reference), **bootstrapped)


def between_models(
    scored: pd.DataFrame, model: str, groupings: Mapping[str, scores.Grouping], **bootstrapped
) -> pd.DataFrame:
    """Scores of one model minus those of each other model, on the same records.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table with several models.
    model : str
        The first of each pair.
    groupings : mapping of str to Grouping
        Of `tfgmm.evaluation.scores.by_cell`; ``model`` names the second of the pair.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.paired`.

    Returns
    -------
    pandas.DataFrame
        A column a grouping, then as of `between_runs`.

    Raises
    ------
    UsageError
        The models do not score the same records, or there is no other.
    """
    one, others = scored[scored["model"] == model], scored[scored["model"] != model]
    if one.empty or others.empty:
        raise UsageError(f"nothing to compare {model} with: there are {sorted(scored['model'].unique())}")
    first = pd.concat([one.assign(model=other) for other in others["model"].unique()])
    return _differences(_matched(first, others, (model, "the other models")), groupings, **bootstrapped)


def _matched(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """The first table with the second's predictions as ``mean_second`` and ``stddev_second``."""
    new = ["mean", "stddev", "ln_im", "nearest_added_km"]
    both = first.merge(second[_KEYS + new], on=_KEYS, how="left", suffixes=("", "_second"), indicator=True)
    same = (both["_merge"] == "both").sum()
    if not len(first) == len(second) == len(both) == same:
        raise UsageError(
            f"{names[0]} scores {len(first):,} records and {names[1]} {len(second):,}, {same:,} of them "
            "the same in event, station, chunk and roles: compare runs of the same dataset, split and seed"
        )
    if not np.allclose(both["ln_im"], both["ln_im_second"]):
        raise UsageError(
            f"{names[0]} and {names[1]} have different observed values of the same records: compare runs "
            "of the same dataset"
        )
    return both.assign(nearest_added_km=both[["nearest_added_km", "nearest_added_km_second"]].min(axis=1))


def _differences(
    both: pd.DataFrame, groupings: Mapping[str, scores.Grouping], **bootstrapped
) -> pd.DataFrame:
    parts = []
    for group, records in scores.groups(both, groupings):
        values = [
            probabilistic.per_record(records.assign(mean=records[mean], stddev=records[stddev]))
            for mean, stddev in (("mean", "stddev"), ("mean_second", "stddev_second"))
        ]
        clusters = records["event_id"], records["site_id"]
        difference = bootstrap.paired(*values, *clusters, STATISTICS, **bootstrapped)
        parts.append(difference.rename_axis("statistic").reset_index().assign(**group))
    columns = [*groupings, *parts[0].columns.drop(list(groupings))]
    return pd.concat(parts, ignore_index=True)[columns]
