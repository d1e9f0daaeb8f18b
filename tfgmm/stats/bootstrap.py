"""Confidence intervals of scores, by resampling events and sites.

Records of one event or of one site are not independent, so single records are not resampled.
"""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError

#: Function of a table of weighted means (a row per resample, a column per averaged value, see
#: `resampled_means`) that returns one number per row, for instance the square root of a mean square.
Statistic = Callable[[pd.DataFrame], pd.Series]

#: Default probability of an interval, and default number of resamples.
LEVEL, RESAMPLES = 0.9, 1000
#: Smallest numbers of events and of sites for which an interval is computed.
MIN_CLUSTERS = 5
#: Intervals from fewer events or fewer sites are too narrow: in simulations with 17 sites, intervals of
#: 90 % contained the true value in 71 to 84 % of the cases.
FEW_CLUSTERS = 20
#: Smallest number of chunks for which an interval is computed that resamples the sites of a chunk together.
MIN_CHUNKS = 3

_BLOCK = 50  # resamples that are computed at once: bounds the memory to records x _BLOCK numbers


def resampled_means(
    values: pd.DataFrame, event: pd.Series, site: pd.Series, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    r"""Return weighted means of per-record values in two-way resamples of events and sites.

    In resample b, a record of event e and site s has the weight :math:`w_{b,e} w_{b,s}`. Both factors are
    drawn anew in each resample, from an exponential distribution of mean 1.

    .. math:: \bar x_b = \sum_i w_{b,e(i)} w_{b,s(i)} x_i / \sum_i w_{b,e(i)} w_{b,s(i)}

    All records of an event share a weight, and so do all records of a site: event terms and site terms
    widen the interval as they should. Where most events and sites have a single record, the interval is up
    to sqrt 3 too wide.

    Parameters
    ----------
    values : pandas.DataFrame, [n, k]
        A row per record, a column per value to average.
    event, site : pandas.Series, [n]
        Event ids and site ids of the records, in the order of `values`. The same ids and the same seed give
        the same weights.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the random weights.

    Returns
    -------
    pandas.DataFrame, [1 + resamples, k]
        The columns of `values`. Row 0 holds the plain means, each later row the means in one resample.

    Raises
    ------
    DataError
        The table has no record, or a value is missing or infinite.

    References
    ----------
    Owen (2007), The pigeonhole bootstrap, Ann. Appl. Stat. 1(2), 386-411, with the weights of
    Rubin (1981), The Bayesian bootstrap, Ann. Stat. 9(1), 130-134, which never lose all records
    (product weights: Owen & Eckles, 2012, Ann. Appl. Stat. 6(3), 895-927).
    """
    _refuse_unusable(values, event, site)
    pairs = values.groupby([event.to_numpy(), site.to_numpy()])
    sums = np.vstack([pairs.sum().to_numpy(float).T, pairs.size()])
    rng = np.random.default_rng(seed)
    event_codes, site_codes = cast(pd.MultiIndex, pairs.size().index).codes
    # The order of the two draws decides the weights that a seed gives.
    event_weights = _draw_weights(event_codes, resamples, rng)
    site_weights = _draw_weights(site_codes, resamples, rng)
    blocks = [slice(first, first + _BLOCK) for first in range(0, resamples + 1, _BLOCK)]
    totals = np.hstack(
        [
            sums @ (event_weights[:, block][event_codes] * site_weights[:, block][site_codes])
            for block in blocks
        ]
    )
    return pd.DataFrame((totals[:-1] / totals[-1]).T, columns=values.columns)


def _refuse_unusable(values: pd.DataFrame, event: pd.Series, site: pd.Series) -> None:
    """Raise `DataError` if `values` has no row, or one of its values is not a finite number.

    The message names the event and the site of the first bad record.
    """
    if values.empty:
        raise DataError("there is no record to take a score of: expected one or more")
    numbers = values.to_numpy(float)
    bad = ~np.isfinite(numbers)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        name = str(values.columns[column])
        raise DataError(
            f"{name} of the record of event {event.iloc[row]} at site {site.iloc[row]} "
            f"is {numbers[row, column]}, expected a finite number: a network predicts a standard "
            "deviation so small that the record is impossible, or no number; train longer (--epochs)"
        )


def _draw_weights(codes: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return random exponential weights of events (or sites), [number of events, 1 + resamples].

    Column 0 holds ones. `codes` are the numbers of the events, from 0 to their highest number.
    """
    drawn = rng.exponential(size=(codes.max() + 1, resamples))
    return np.insert(drawn, 0, 1.0, axis=1)


def intervals(
    values: pd.DataFrame,
    event: pd.Series,
    site: pd.Series,
    statistics: Mapping[str, Statistic],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return statistics of per-record values with their percentile bootstrap intervals.

    >>> values = pd.DataFrame({"square": [1.0, 4.0, 4.0]})
    >>> event, site = pd.Series(["E1", "E1", "E2"]), pd.Series(["S1", "S2", "S1"])
    >>> intervals(values, event, site, {"rms": lambda mean: np.sqrt(mean["square"])})["value"]
    rms    1.732051
    Name: value, dtype: float64

    Parameters
    ----------
    values : pandas.DataFrame, [n, k]
        A row per record, a column per value to average.
    event, site : pandas.Series, [n]
        Event ids and site ids of the records.
    statistics : mapping of str to callable
        Statistics by name, each a function of the table of weighted means, see `Statistic`.
    level : float
        Probability that the interval covers, between 0 and 1.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the random weights.

    Returns
    -------
    pandas.DataFrame
        A row per statistic: ``value``, the bounds ``low`` and ``high``, and the numbers of records ``n``,
        ``events`` and ``sites``. The bounds are NaN if there are fewer than `MIN_CLUSTERS` events or sites.

    Raises
    ------
    DataError
        The table has no record, or a value is missing or infinite.
    """
    means = resampled_means(values, event, site, resamples, seed)
    return _summary(_evaluated(statistics, means), event, site, level)


def paired(
    first: pd.DataFrame,
    second: pd.DataFrame,
    event: pd.Series,
    site: pd.Series,
    statistics: Mapping[str, Statistic],
    *,
    chunk: pd.Series | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return differences between the statistics of two models for the same records, with their intervals.

    The difference is first minus second. Both models get the same weights in each resample. A second
    interval draws one weight for all sites of a chunk: the networks that predict them share their
    training, so their errors are not independent. It is coarse: K chunks underestimate the standard error
    by a factor of about sqrt((K - 1) / (K + 1)), which is 0.8 for five chunks.

    Parameters
    ----------
    first, second : pandas.DataFrame, [n, k]
        Values of the two models for the same records in the same order, with the same columns.
    event, site : pandas.Series, [n]
        Event ids and site ids of the records.
    statistics : mapping of str to callable
        Statistics by name, each a function of the table of weighted means, see `Statistic`.
    chunk : pandas.Series, [n], optional
        Station chunk whose networks predict the record; with it there is a second interval.
    level : float
        Probability that the interval covers, between 0 and 1.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the random weights.

    Returns
    -------
    pandas.DataFrame
        A row per statistic: the statistics of both models ``first`` and ``second``, the difference
        ``value``, its bounds ``low`` and ``high``, with `chunk` the bounds ``low_chunks`` and
        ``high_chunks`` from resamples of events and chunks, and the numbers of records ``n``, ``events``
        and ``sites``. Bounds are NaN if there are fewer than `MIN_CLUSTERS` events or sites; those from
        chunks also if there are fewer than `MIN_CHUNKS` chunks.

    Raises
    ------
    DataError
        A table has no record, or a value is missing or infinite.

    References
    ----------
    Resampling whole clusters: Davison & Hinkley (1997), Bootstrap Methods and their Application, section
    3.8; Cameron, Gelbach & Miller (2008), Rev. Econ. Stat. 90(3), 414-427, on few clusters.
    """
    first_statistics, second_statistics = (
        _evaluated(statistics, resampled_means(values, event, site, resamples, seed))
        for values in (first, second)
    )
    summary = _summary(first_statistics - second_statistics, event, site, level)
    summary.insert(0, "first", first_statistics.iloc[0])
    summary.insert(1, "second", second_statistics.iloc[0])
    if chunk is None:
        return summary
    low, high = np.nan, np.nan
    if chunk.nunique() >= MIN_CHUNKS and summary["low"].notna().all():
        # The chunk takes the place of the site: all its sites share a weight.
        by_chunk = (
            _evaluated(statistics, resampled_means(values, event, chunk, resamples, seed))
            for values in (first, second)
        )
        low, high = _bounds(next(by_chunk) - next(by_chunk), level)
    summary.insert(5, "low_chunks", low)
    summary.insert(6, "high_chunks", high)
    return summary


def _evaluated(statistics: Mapping[str, Statistic], means: pd.DataFrame) -> pd.DataFrame:
    """Return the statistics of every resample, a column per statistic, [1 + resamples, statistics].

    Row 0 holds the statistics of the plain means.
    """
    return pd.DataFrame({name: statistic(means) for name, statistic in statistics.items()})


def _summary(evaluated: pd.DataFrame, event: pd.Series, site: pd.Series, level: float) -> pd.DataFrame:
    """Return a row per statistic with its value, its percentile interval and the counts of the records.

    `evaluated` is the result of `_evaluated`; its row 0 is the value, its other rows give the interval.
    """
    counts = {"n": len(event), "events": event.nunique(), "sites": site.nunique()}
    enough = min(counts["events"], counts["sites"]) >= MIN_CLUSTERS
    low, high = _bounds(evaluated, level) if enough else (np.nan, np.nan)
    return pd.DataFrame({"value": evaluated.iloc[0], "low": low, "high": high}).assign(**counts)


def _bounds(evaluated: pd.DataFrame, level: float) -> np.ndarray:
    """Return the ends of the percentile interval of each statistic, [2, statistics].

    Row 0 of `evaluated` is no resample.
    """
    tail = (1 - level) / 2
    return np.quantile(evaluated.iloc[1:], [tail, 1 - tail], axis=0)


def is_narrow(table: pd.DataFrame) -> pd.Series:
    """Return True for rows whose interval is too narrow, from fewer than `FEW_CLUSTERS` events or sites.

    Parameters
    ----------
    table : pandas.DataFrame, [n, ...]
        Result of `intervals` or `paired`, with ``low``, ``events`` and ``sites``.

    Returns
    -------
    pandas.Series of bool, [n]
        False for a row without an interval.
    """
    return table["low"].notna() & (table[["events", "sites"]].min(axis=1) < FEW_CLUSTERS)


def band(shares: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    r"""Return a simultaneous confidence band, which holds the true values of all columns at once.

    .. math:: x_j \pm q s_j

    with the value :math:`x_j` and the bootstrap standard deviation :math:`s_j` of column j. q is the
    quantile at `level` of :math:`\max_j |x_{b,j} - x_j| / s_j` over the resamples b (sup-t band).

    Parameters
    ----------
    shares : pandas.DataFrame, [1 + resamples, k]
        Result of `resampled_means`.
    level : float
        Probability that the band covers, between 0 and 1.

    Returns
    -------
    pandas.DataFrame, [k, 3]
        A row per column of `shares`: ``value`` and the bounds ``low`` and ``high``.

    References
    ----------
    Montiel Olea & Plagborg-Moller (2019), J. Appl. Econometrics 34(1), 1-17.
    """
    value, drawn = shares.iloc[0], shares.iloc[1:]
    stddev = drawn.std()
    largest = ((drawn - value).abs() / stddev.where(stddev > 0, np.inf)).max(axis=1)
    half = stddev * float(largest.quantile(level))
    return pd.DataFrame({"value": value, "low": value - half, "high": value + half})
