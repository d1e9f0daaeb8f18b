"""Combine the Normal distributions of an ensemble: mean, aleatory and epistemic variance."""

import dataclasses
from typing import cast

import numpy as np
import pandas as pd

from tfgmm.data.columns import MEMBER, RECORD, TERM_STDDEVS, TERMS, UNKNOWN_STDDEVS


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Mean and variance of an ensemble; all arrays have one shape.

    Attributes
    ----------
    mean : ndarray
        Ensemble mean of ln IM.
    aleatory, epistemic : ndarray
        Mean variance of the members, and variance of their means.
    """

    mean: np.ndarray
    aleatory: np.ndarray
    epistemic: np.ndarray

    @property
    def stddev(self) -> np.ndarray:
        """Return the square root of the total variance."""
        return np.sqrt(self.aleatory + self.epistemic)


def moments(means, variances) -> tuple:
    r"""Return mean, aleatory and epistemic variance of several Normal distributions of equal weight.

    By the laws of total expectation and total variance:

    .. math:: \mu = E[\mu_i], \quad \sigma^2 = E[\sigma_i^2] + Var[\mu_i]

    The second part is taken as a variance of the means, never as a difference of large numbers. Plain
    arithmetic, for NumPy arrays and tensors alike.

    Parameters
    ----------
    means, variances : sequence of array or tensor
        Means and variances of the members, all of one shape.

    References
    ----------
    Lilienkamp et al. (2022), equations 5 and 6; Sunny, Cotton & Lilienkamp (2022), equations 1 and 2.
    """
    count = len(means)
    mean = sum(means) / count
    return mean, sum(variances) / count, sum((value - mean) ** 2 for value in means) / count


def combine(mean: np.ndarray, stddev: np.ndarray, axis: int = 0) -> Mixture:
    """Combine the members of an ensemble, given as arrays; see `moments`.

    Parameters
    ----------
    mean, stddev : ndarray
        Mean and standard deviation of ln IM of every member, along `axis`.
    axis : int
        Axis of the members.
    """
    means, stddevs = (np.moveaxis(np.asarray(values, float), axis, 0) for values in (mean, stddev))
    return Mixture(*moments(means, stddevs**2))


def combine_table(members: pd.DataFrame, count: int) -> pd.DataFrame:
    """Combine a table with a row per record and member into one with a row per record.

    Parameters
    ----------
    members : pandas.DataFrame
        Predictions; the `count` rows of a record, one per member, follow each other.
    count : int
        Number of members.

    Returns
    -------
    pandas.DataFrame
        The first row of each record, with ``mean``, ``stddev`` and ``epistemic`` (a variance) of the
        ensemble. Terms of random effects are means over the members, their standard deviations those of
        the mean variance.
    """

    def values(name: str) -> np.ndarray:
        """Return a column as an array, [records, members]."""
        return members[name].to_numpy(float).reshape(-1, count)

    moments = combine(values("mean"), values("stddev"), axis=1)
    table = members.iloc[::count].assign(
        mean=moments.mean, stddev=moments.stddev, epistemic=moments.epistemic
    )
    if "site_term" in members:
        for name in TERMS:
            table[name] = values(name).mean(axis=1)
        for name in [*UNKNOWN_STDDEVS, *TERM_STDDEVS]:
            table[name] = np.sqrt((values(name) ** 2).mean(axis=1))
    return table


def combine_chunks(members: pd.DataFrame) -> pd.DataFrame:
    """Combine the members of each chunk, record by record.

    Parameters
    ----------
    members : pandas.DataFrame
        Predictions of one intensity measure, a row per record and member, in any order.

    Returns
    -------
    pandas.DataFrame
        A row per record and chunk, see `combine_table`.
    """
    chunks = members.sort_values(RECORD).groupby("chunk", observed=True)
    return pd.concat([combine_table(rows, rows["init"].nunique()) for _, rows in chunks])


def rows_of_members(table: pd.DataFrame) -> dict[tuple[int, int], np.ndarray]:
    """Return the row numbers of each member, (chunk, init), in a table with these two columns."""
    return cast(dict[tuple[int, int], np.ndarray], table.groupby(MEMBER, observed=True).indices)
