"""Groups of scored records, and the four-way table: known and unknown sites, known and unknown events.

A member is one trained network: a station chunk times an initialisation (init). The sites of a chunk are
held out from the training of its members, which together are a partial ensemble; a fold is the same split
of the records for any other model. A scored table has one row per record, chunk and model:
``im, event_id, station_id, site_id, network, chunk, model``; ``site_role`` and ``event_role``, each
training, validation (held out) or stopping (decides when the training ends); ``ln_im``, observed; ``mean``
and ``stddev`` of ln IM, predicted (IM in g); ``nearest_added_km``, the distance to the nearest station of a
network other than the reference, NaN where there is none. A cell is a combination of site role and event
role, for example validation sites and training events.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import scoringrules
from scipy.stats import norm

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import TERMS, is_training
from tfgmm.stats import bootstrap
from tfgmm.stats.mixture import combine_chunks

ENSEMBLE = "U-Net ensemble"
#: Backbone and field without the networks, for runs with the field.
FIELD_ALONE = "backbone + field"

#: (site role, event role) of the four cells, as the publication orders them.
CELLS = (
    ("training", "training"),
    ("training", "validation"),
    ("validation", "training"),
    ("validation", "validation"),
)
#: Held-out sites without an added station within this distance, km, are also reported separately.
NEAR_ADDED_KM = 1.0

#: A function of a table that returns the rows of each group by the name of the group; a row may be in
#: several groups or in none.
Grouping = Callable[[pd.DataFrame], dict[str, pd.DataFrame]]


def partial_ensembles(predictions: pd.DataFrame) -> pd.DataFrame:
    """Combine the members of each chunk; return one prediction per record and chunk.

    The members of a chunk are trained without the sites that the chunk holds out.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run: one row per record and member.

    Returns
    -------
    pandas.DataFrame
        Scored table with one row per record and chunk: ``mean`` and ``stddev`` of ln IM; ``epistemic``, the
        variance of the members' means; `ENSEMBLE` as ``model``; without the columns ``arm`` (set of input
        channels) and ``init``.

    References
    ----------
    Lilienkamp et al. (2022), partial ensemble estimators.
    """
    of_im = predictions.groupby("im", observed=True)
    combined = pd.concat([combine_chunks(members) for _, members in of_im], ignore_index=True)
    return combined.drop(columns=["arm", "init"]).assign(model=ENSEMBLE)


def without_networks(partial: pd.DataFrame, noise: pd.Series) -> pd.DataFrame:
    """Return the predictions of backbone and field without the networks, which tell what networks add.

    Parameters
    ----------
    partial : pandas.DataFrame
        Partial ensembles of a run with the field, one row per record and chunk.
    noise : pandas.Series, [n]
        Variance of the noise of a record in the covariance of the field, squared ln units, with the index
        of `partial`.

    Returns
    -------
    pandas.DataFrame
        Rows of `partial` with ``mean`` of backbone and field and its total ``stddev``, ln units;
        ``epistemic`` is 0 and ``model`` is `FIELD_ALONE`. There are no training records, which the field
        would predict from themselves.
    """
    unseen = partial[~is_training(partial)]
    return unseen.assign(
        mean=unseen["backbone"] + unseen[TERMS].sum(axis=1),
        stddev=np.sqrt(unseen["field_stddev"] ** 2 + noise[unseen.index]),
        epistemic=0.0,
        model=FIELD_ALONE,
    )


def cells(partial: pd.DataFrame, reference: str) -> dict[str, pd.DataFrame]:
    """Split a scored table into cells, combinations of site role and event role; return rows by cell.

    A role is training, validation (held out) or stopping (decides when the training ends).

    Parameters
    ----------
    partial : pandas.DataFrame
        Scored table of partial ensembles or a baseline.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    dict of str to pandas.DataFrame
        Rows of each cell by the name ``site role / event role``. The four `CELLS` hold records of the
        reference network only. If other networks were added, there are also the held-out cell without
        sites that have an added station within `NEAR_ADDED_KM`, and ``added / event role`` with the
        records of the added training stations.
    """
    is_reference = partial["network"] == reference
    by_name = {}
    for site, event in CELLS:
        in_cell = (partial["site_role"] == site) & (partial["event_role"] == event)
        by_name[f"{site} / {event}"] = partial[in_cell & is_reference]
    held_out = by_name["validation / validation"]
    if partial["nearest_added_km"].notna().any():
        apart = held_out["nearest_added_km"] > NEAR_ADDED_KM
        by_name[f"the same, no added station within {NEAR_ADDED_KM:g} km"] = held_out[apart]
    added = partial[~is_reference & (partial["site_role"] == "training")]
    for event in ("training", "validation"):
        rows = added[added["event_role"] == event]
        if len(rows):
            by_name[f"added / {event}"] = rows
    return by_name


def by_value(column: str) -> Grouping:
    """Return a grouping of records by equal values of a column; groups keep the order of first occurrence.

    Parameters
    ----------
    column : str
        Name of the column; the values as texts become the names of the groups.

    Returns
    -------
    Grouping
        Function of a table that returns the rows of each group by name.
    """
    return lambda table: {
        str(name): rows for name, rows in table.groupby(column, sort=False, observed=True)
    }


def by_bin(column: str, cuts: Sequence[float]) -> Grouping:
    """Return a grouping of records by bins of a numerical column: below, between and above the cuts.

    A value equal to a cut belongs to the bin above the cut. Rows without a value form a group ``unknown``.

    >>> table = pd.DataFrame({"magnitude": [4.2, 5.0, 5.5, 6.0]})
    >>> {name: len(rows) for name, rows in by_bin("magnitude", [5, 6])(table).items()}
    {'below 5': 1, '5 to 6': 2, '6 and above': 1}

    Parameters
    ----------
    column : str
        Name of the column.
    cuts : sequence of float
        Ascending bounds between the bins, in the unit of the column.

    Returns
    -------
    Grouping
        Function of a table that returns the rows of each group by name, without empty groups.
    """
    names = [f"below {cuts[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in itertools.pairwise(cuts)]
    names += [f"{cuts[-1]:g} and above", "unknown"]

    def grouping(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        values = table[column].to_numpy(float)
        bin_of_row = np.where(np.isnan(values), len(cuts) + 1, np.searchsorted(cuts, values, side="right"))
        return {name: table[bin_of_row == i] for i, name in enumerate(names) if (bin_of_row == i).any()}

    return grouping


def groups(
    table: pd.DataFrame, groupings: Mapping[str, Grouping]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the records of every combination of groups; each grouping divides the groups of the one before.

    Parameters
    ----------
    table : pandas.DataFrame
        Table of records, for example a scored table.
    groupings : mapping of str to Grouping
        Groupings by the name of the column that shall hold the names of the groups.

    Yields
    ------
    tuple of (dict, pandas.DataFrame)
        The name of the group in each grouping, and the rows of the combination.
    """
    if not groupings:
        yield {}, table
        return
    (name, grouping), *inner = groupings.items()
    for group, rows in grouping(table).items():
        for names, records in groups(rows, dict(inner)):
            yield {name: group} | names, records


def by_cell(reference: str, **within: Grouping) -> dict[str, Grouping]:
    """Return groupings of a scored table by intensity measure, cell (site role / event role) and model.

    >>> list(by_cell("kik", r_hyp_km=by_bin("r_hyp_km", [50, 100])))
    ['im', 'cell', 'r_hyp_km', 'model']

    Parameters
    ----------
    reference : str
        Name of the reference network, see `cells`.
    **within : Grouping
        Further groupings by name of column, applied between cell and model.

    Returns
    -------
    dict of str to Grouping
        Groupings for `groups`, by name of column.
    """
    return {
        "im": by_value("im"),
        "cell": lambda table: cells(table, reference),
        **within,
        "model": by_value("model"),
    }


def four_way(partial: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return RMSE, bias and standardised residuals of each model in each cell (site role / event role).

    Residuals are observed minus predicted ln IM. Standardised residuals z are residuals divided by the
    predicted standard deviation.

    Parameters
    ----------
    partial : pandas.DataFrame
        Scored table of partial ensembles and baselines.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell and model: ``rmse`` and ``rmse_std`` (mean and standard
        deviation over chunks of the RMSE of a chunk), ``rmse_pooled`` and ``bias`` (over the records of all
        chunks), all in ln units; ``z_mean`` and ``z_std`` (over the records of all chunks); ``records``
        (number of records, summed over chunks).

    References
    ----------
    Lilienkamp et al. (2022), Table 2; Sunny, Cotton & Lilienkamp (2022), Tables 1 and 2.
    """
    cells_and_models = groups(partial, by_cell(reference))
    return pd.DataFrame([names | _summarise(records) for names, records in cells_and_models])


def _summarise(records: pd.DataFrame) -> dict[str, float]:
    """Return the statistics of one row of `four_way` by name of column, from the records of the row."""
    residual = records["ln_im"] - records["mean"]
    z = residual / records["stddev"]
    by_chunk = np.sqrt((residual**2).groupby(records["chunk"]).mean())
    return {
        "rmse": by_chunk.mean(),
        "rmse_std": by_chunk.std(),
        "rmse_pooled": float(np.sqrt((residual**2).mean())),
        "bias": residual.mean(),
        "z_mean": z.mean(),
        "z_std": z.std(),
        "records": len(records),
    }


#: Probabilities of the central prediction intervals whose coverage is scored.
NOMINAL = (0.5, 0.8, 0.9, 0.95)
#: Probability of the interval whose coverage decides, together with the standard deviation of z, whether
#: a model is over-confident.
FLAGGED = 0.9

_SCORE_COLUMNS = ["statistic", "value", "low", "high", "n", "events", "sites"]
_LH_STEPS = np.arange(0, 1.01, 0.05)


def per_record(table: pd.DataFrame) -> pd.DataFrame:
    r"""Return the quantities of each record whose means are the arguments of `STATISTICS`.

    With :math:`r = y - \mu` (observed minus predicted ln IM) and :math:`z = r / \sigma`, the quantities
    are: r, z and the squares of r and z; the negative log-likelihood of y; the continuous ranked
    probability score (CRPS); :math:`\sigma`; 1 if a central interval contains y, else 0; and 1 if
    :math:`LH = 2 (1 - \Phi(|z|))` is below a multiple of 0.05, else 0.

    Parameters
    ----------
    table : pandas.DataFrame
        Records: ``ln_im``, observed; ``mean`` and ``stddev``, predicted, ln units; ``event_id`` and
        ``site_id``.

    Returns
    -------
    pandas.DataFrame
        One row per record, one column per quantity: ``residual, residual^2, z, z^2, nll, crps, stddev``,
        ``inside 50%`` and so on for `NOMINAL`, and ``LH < 0.05`` to ``LH < 0.95``.

    Raises
    ------
    DataError
        A predicted standard deviation is not above 0.
    """
    observed, mean, stddev = (table[name].to_numpy(float) for name in ("ln_im", "mean", "stddev"))
    if not (stddev > 0).all():
        record = table[~(stddev > 0)].iloc[0]
        raise DataError(
            f"the standard deviation predicted for the record of event {record['event_id']} at site "
            f"{record['site_id']} is {record['stddev']}, expected a number above 0: train longer (--epochs)"
        )
    residual = observed - mean
    z = residual / stddev
    likelihood = 2 * norm.sf(np.abs(z))
    values = {
        "residual": residual,
        "residual^2": residual**2,
        "z": z,
        "z^2": z**2,
        # Not the logarithm of the density, which is 0 beyond 38 standard deviations.
        "nll": -norm.logpdf(observed, mean, stddev),
        "crps": scoringrules.crps_normal(observed, mean, stddev),
        "stddev": stddev,
    }
    values |= {f"inside {p:.0%}": np.abs(z) <= norm.ppf((1 + p) / 2) for p in NOMINAL}
    values |= {f"LH < {step:.2f}": likelihood < step for step in _LH_STEPS[1:-1]}
    return pd.DataFrame(values).astype(float)


def _median_lh(mean: pd.DataFrame) -> pd.Series:
    """Return the median of LH for each row of means, interpolated in the cumulative shares of LH."""
    share = np.column_stack([mean[f"LH < {step:.2f}"] for step in _LH_STEPS[1:-1]])
    share = np.pad(share, [(0, 0), (1, 1)], constant_values=(0, 1))
    left = (share < 0.5).sum(axis=1) - 1
    below, above = (np.take_along_axis(share, left[:, None] + side, 1)[:, 0] for side in (0, 1))
    steps = _LH_STEPS[left] + (0.5 - below) / (above - below) * _LH_STEPS[1]
    return pd.Series(steps, mean.index)


#: Statistics by name, functions of the means of `per_record`. Best values: coverage as nominal, "z std" 1,
#: "LH median" 0.5, bias 0 and "z mean" 0; all other statistics: the smaller, the better. "LLH" is in bits.
STATISTICS: dict[str, bootstrap.Statistic] = {
    "RMSE": lambda mean: np.sqrt(mean["residual^2"]),
    "bias": lambda mean: mean["residual"],
    "z mean": lambda mean: mean["z"],
    "z std": lambda mean: np.sqrt((mean["z^2"] - mean["z"] ** 2).clip(lower=0)),  # 0 is rounded
    "NLL": lambda mean: mean["nll"],
    "CRPS": lambda mean: mean["crps"],
    **{f"coverage {p:.0%}": (lambda mean, p=p: mean[f"inside {p:.0%}"]) for p in NOMINAL},
    "sharpness": lambda mean: mean["stddev"],
    "LH median": _median_lh,
    "LLH": lambda mean: mean["nll"] / np.log(2),
}


def score(
    scored: pd.DataFrame,
    groupings: Mapping[str, Grouping],
    statistics: Mapping[str, bootstrap.Statistic] = STATISTICS,
    *,
    level: float = bootstrap.LEVEL,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Return every statistic in every group of records, with intervals by the two-way bootstrap.

    The log score is :math:`NLL = -\ln p(y)`, sharpness the mean predicted standard deviation, CRPS the
    integral of :math:`(F(x) - 1[x \ge y])^2`, where F is the predicted distribution function. If the
    predicted Normal distribution is the true one, the means are :math:`NLL = \ln(2 \pi e \sigma^2) / 2` and
    :math:`CRPS = \sigma / \sqrt \pi`. The intervals allow for records that share events and sites. They do
    not allow for held-out sites of one chunk, which share networks.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table of partial ensembles (`tfgmm.evaluation.scores.partial_ensembles`) or baselines.
    groupings : mapping of str to Grouping
        Groupings by name of column, for example from `tfgmm.evaluation.scores.by_cell`. Without a grouping
        by model, the statistics of a group mix all models of the table.
    statistics : mapping of str to callable
        Statistics of the means of `per_record`, by name.
    level : float
        Probability of the interval, between 0 and 1.
    resamples : int
        Number of resamples of the bootstrap.
    seed : int
        Seed of the bootstrap, see `tfgmm.stats.bootstrap.intervals`.

    Returns
    -------
    pandas.DataFrame
        One row per group and statistic: a column per grouping, ``statistic``, ``value``; ``low`` and
        ``high``, the ends of the interval; ``n, events, sites``, the numbers of rows scored, events and
        sites. RMSE, bias, CRPS and sharpness are in ln units, LLH is in bits.

    Raises
    ------
    DataError
        A value is not finite, or a predicted standard deviation is not above 0.

    References
    ----------
    CRPS and log score: Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, 359-378. LH: Scherbaum,
    Cotton & Smit (2004), BSSA 94(6), 2164-2185. LLH: Scherbaum, Delavaud & Riggelsen (2009), BSSA
    99(6), 3234-3247: :math:`-\log_2 p(y)` on average.
    """
    parts = []
    for names, records in groups(scored, groupings):
        values = per_record(records)
        clusters = records["event_id"], records["site_id"]
        of_group = bootstrap.intervals(
            values, *clusters, statistics, level=level, resamples=resamples, seed=seed
        )
        parts.append(of_group.rename_axis("statistic").reset_index().assign(**names))
    columns = [*groupings, *_SCORE_COLUMNS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def pit(table: pd.DataFrame) -> np.ndarray:
    r"""Return the probability integral transform :math:`\Phi((y - \mu) / \sigma)` of each record.

    The transform is uniform between 0 and 1 if the predicted distribution is the true one.

    Parameters
    ----------
    table : pandas.DataFrame
        Records: ``ln_im``, observed; ``mean`` and ``stddev``, predicted, ln units.

    Returns
    -------
    ndarray, [n]
        Probabilities, 0 to 1.
    """
    return norm.cdf(table["ln_im"], table["mean"], table["stddev"])


def pit_histogram(
    table: pd.DataFrame,
    bins: int = 20,
    *,
    level: float = bootstrap.LEVEL,
    resamples: int = bootstrap.RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a histogram of the probability integral transform, with a simultaneous band.

    A calibrated model has density 1 everywhere. With probability `level` the true densities of all bins
    lie in the band at once. The band comes from the two-way bootstrap, which allows for records that share
    events and sites.

    Parameters
    ----------
    table : pandas.DataFrame
        Scored records of one model: ``ln_im, mean, stddev`` (ln units), ``event_id, site_id``.
    bins : int
        Number of bins of equal width.
    level : float
        Probability of the band, between 0 and 1, see `tfgmm.stats.bootstrap.band`.
    resamples : int
        Number of resamples of the bootstrap.
    seed : int
        Seed of the bootstrap, see `tfgmm.stats.bootstrap.resampled_means`.

    Returns
    -------
    pandas.DataFrame
        One row per bin: ``left`` and ``right``, the edges; ``density``; ``low`` and ``high``, the band.
    """
    edges = np.linspace(0, 1, bins + 1)
    in_bin = np.minimum((pit(table) * bins).astype(int), bins - 1)[:, None] == np.arange(bins)
    shares = bootstrap.resampled_means(
        pd.DataFrame(in_bin.astype(float)), table["event_id"], table["site_id"], resamples, seed
    )
    density = (bootstrap.band(shares, level) * bins).clip(lower=0)
    return density.rename(columns={"value": "density"}).assign(left=edges[:-1], right=edges[1:])


def confidence(scores_table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that says in words which models are over- or under-confident, and in which groups.

    Over-confident: the interval of the standard deviation of standardised residuals lies above 1, or the
    interval of the 90 % coverage lies below 90 %. Under-confident: the reverse. If one criterion says
    over-confident and the other under-confident, the distribution is not Normal.

    Parameters
    ----------
    scores_table : pandas.DataFrame
        Result of `score`.

    Returns
    -------
    pandas.DataFrame
        One row per group with a verdict: a column per grouping, ``verdict`` (``over-confident``,
        ``under-confident`` or ``not Normal``) and ``why``. Groups without an interval, and groups to which
        no verdict applies, are left out.
    """
    names = list(scores_table.columns.difference(_SCORE_COLUMNS, sort=False))
    rows = []
    for group, statistics in scores_table.groupby(names, sort=False, observed=True):
        row = judge(statistics.set_index("statistic"))
        rows.append(dict(zip(names, group, strict=True)) | row)
    verdicts = pd.DataFrame(rows, columns=[*names, "verdict", "why"])
    return verdicts[verdicts["verdict"] != ""].reset_index(drop=True)


def judge(statistics: pd.DataFrame) -> dict[str, str]:
    """Return in words if the predicted distributions of one group are over- or under-confident.

    Parameters
    ----------
    statistics : pandas.DataFrame
        The rows of the group in the result of `score`, indexed by ``statistic``.

    Returns
    -------
    dict of str to str
        ``verdict`` and ``why``, as in `confidence`; the verdict is empty if none applies.
    """
    spread, coverage = statistics.loc["z std"], statistics.loc[f"coverage {FLAGGED:.0%}"]
    over = spread["low"] > 1 or coverage["high"] < FLAGGED
    under = spread["high"] < 1 or coverage["low"] > FLAGGED
    why = (
        f"residuals spread {spread['value']:.2f} ({spread['low']:.2f} to {spread['high']:.2f}) times as "
        f"much as predicted; the {FLAGGED:.0%} intervals hold {coverage['value']:.1%} "
        f"({coverage['low']:.1%} to {coverage['high']:.1%}) of the records"
    )
    verdicts = {(True, False): "over-confident", (False, True): "under-confident"}
    return {
        "verdict": "not Normal" if over and under else verdicts.get((bool(over), bool(under)), ""),
        "why": why,
    }
