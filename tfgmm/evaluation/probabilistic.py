"""Scores of predicted distributions, with intervals, in any grouping of the records."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scoringrules
from scipy.stats import norm

from tfgmm.core.errors import DataError
from tfgmm.evaluation.scores import Grouping, groups
from tfgmm.stats import bootstrap

#: Central intervals whose coverage is scored.
NOMINAL = (0.5, 0.8, 0.9, 0.95)
#: Coverage that decides, with the spread of standardised residuals, whether a model is over-confident.
FLAGGED = 0.9

_SCORE_COLUMNS = ["statistic", "value", "low", "high", "n", "events", "sites"]
_LH_STEPS = np.arange(0, 1.01, 0.05)


def per_record(table: pd.DataFrame) -> pd.DataFrame:
    r"""Compute the quantities of each record whose means `STATISTICS` are functions of.

    With :math:`r = y - \mu` (observed minus predicted ln IM) and :math:`z = r / \sigma`: r, z and their
    squares; the negative log-likelihood of y; the continuous ranked probability score; 1 where a
    central interval holds y; :math:`\sigma`; and 1 where :math:`LH = 2 (1 - \Phi(|z|))` is below each
    twentieth.

    Parameters
    ----------
    table : pandas.DataFrame
        ``ln_im``, ``mean``, ``stddev``, ``event_id`` and ``site_id``.

    Returns
    -------
    pandas.DataFrame
        One row per record, one column per quantity.

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
    """Return the LH at which the cumulative share, linear between the twentieths, passes one half."""
    share = np.column_stack([mean[f"LH < {step:.2f}"] for step in _LH_STEPS[1:-1]])
    share = np.pad(share, [(0, 0), (1, 1)], constant_values=(0, 1))
    left = (share < 0.5).sum(axis=1) - 1
    below, above = (np.take_along_axis(share, left[:, None] + side, 1)[:, 0] for side in (0, 1))
    steps = _LH_STEPS[left] + (0.5 - below) / (above - below) * _LH_STEPS[1]
    return pd.Series(steps, mean.index)


#: Functions of the means of `per_record`. Best values: coverage as nominal, "z std" 1, "LH median" 0.5;
#: bias 0; the others the smaller the better. "LLH" is in bits.
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
    r"""Compute every statistic in every group, with its interval by the two-way bootstrap.

    The log score is :math:`NLL = -\ln p(y)`, sharpness the mean predicted standard deviation, CRPS the
    integral of :math:`(F(x) - 1[x \ge y])^2`. A Normal that is true has :math:`NLL =
    \ln(2 \pi e \sigma^2) / 2` and :math:`CRPS = \sigma / \sqrt \pi` on average. The intervals see that
    records share events and sites; they do not see that held-out sites of one chunk share networks.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table of partial ensembles (`tfgmm.evaluation.scores.partial_ensembles`) or baselines.
    groupings : mapping of str to Grouping
        `tfgmm.evaluation.scores.by_cell`, for instance; statistics of one group mix its models unless one
        grouping tells them apart.
    statistics, level, resamples, seed
        As for `tfgmm.stats.bootstrap.intervals`.

    Returns
    -------
    pandas.DataFrame
        One row per group and statistic: a column per grouping, ``statistic``, ``value``, ``low``,
        ``high``, ``n`` (scored pairs), ``events``, ``sites``.

    Raises
    ------
    DataError
        A value is not finite, or a predicted standard deviation not above 0.

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
    r"""Return the probability integral transform :math:`\Phi((y - \mu) / \sigma)`.

    It is uniform between 0 and 1 if the model is true.
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
    """Count a histogram of the probability integral transform, with a simultaneous band.

    A calibrated model has density 1 everywhere, inside the band of all bins at once with probability
    `level`. The band comes from the two-way bootstrap, so it allows for shared events and sites.

    Parameters
    ----------
    table : pandas.DataFrame
        Scored records of one model: ``ln_im, mean, stddev, event_id, site_id``.
    bins : int
        Number of bins of equal width.
    level, resamples, seed
        As for `tfgmm.stats.bootstrap.band` and `tfgmm.stats.bootstrap.resampled_means`.

    Returns
    -------
    pandas.DataFrame
        One row per bin: ``left`` and ``right`` edge, ``density``, ``low``, ``high``.
    """
    edges = np.linspace(0, 1, bins + 1)
    in_bin = np.minimum((pit(table) * bins).astype(int), bins - 1)[:, None] == np.arange(bins)
    shares = bootstrap.resampled_means(
        pd.DataFrame(in_bin.astype(float)), table["event_id"], table["site_id"], resamples, seed
    )
    density = (bootstrap.band(shares, level) * bins).clip(lower=0)
    return density.rename(columns={"value": "density"}).assign(left=edges[:-1], right=edges[1:])


def confidence(scores_table: pd.DataFrame) -> pd.DataFrame:
    """Say which models are over- or under-confident in which groups, in plain words.

    Over-confident: the interval of the standard deviation of standardised residuals lies above 1, or
    that of the 90 % coverage below 90 %. Under-confident: the reverse. Where the two disagree the
    distribution is not Normal.

    Parameters
    ----------
    scores_table : pandas.DataFrame
        Result of `score`.

    Returns
    -------
    pandas.DataFrame
        One row per group with a verdict: a column per grouping, ``verdict`` and ``why``. Groups without
        interval get no verdict.
    """
    names = list(scores_table.columns.difference(_SCORE_COLUMNS, sort=False))
    rows = []
    for group, statistics in scores_table.groupby(names, sort=False, observed=True):
        row = _judge(statistics.set_index("statistic"))
        rows.append(dict(zip(names, group, strict=True)) | row)
    verdicts = pd.DataFrame(rows, columns=[*names, "verdict", "why"])
    return verdicts[verdicts["verdict"] != ""].reset_index(drop=True)


def _judge(statistics: pd.DataFrame) -> dict[str, str]:
    """Return verdict and reason for one group, the verdict empty where there is none."""
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
