"""Combine the Normal distributions of an ensemble: mean, aleatory and epistemic variance.

A member is one trained network, identified by the chunk of stations that it holds out and the
initialisation of its weights (chunk, init).
"""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.data.schemas import RECORD, TERM_STDDEVS, TERMS


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Mean and variance of ln IM of an ensemble, in arrays of one shape.

    Attributes
    ----------
    mean : ndarray, [...]
        Ensemble mean of ln IM.
    aleatory : ndarray, [...]
        Mean of the variances of the members, squared ln units.
    epistemic : ndarray, [...]
        Variance of the means of the members, squared ln units.
    """

    mean: np.ndarray
    aleatory: np.ndarray
    epistemic: np.ndarray

    @property
    def stddev(self) -> np.ndarray:
        """Return the total standard deviation of ln IM, sqrt(aleatory + epistemic), in ln units."""
        return np.sqrt(self.aleatory + self.epistemic)


def moments(means, variances) -> tuple:
    r"""Return mean, aleatory and epistemic variance of several Normal distributions of equal weight.

    By the laws of total expectation and total variance, with the mean :math:`\mu_i` and the variance
    :math:`\sigma_i^2` of member i,

    .. math:: \mu = E[\mu_i], \quad \sigma^2 = E[\sigma_i^2] + Var[\mu_i]

    The first summand is the aleatory variance, the second the epistemic variance. The second is taken as
    a variance of the means, never as a difference of large numbers. The computation is plain arithmetic,
    for NumPy arrays and tensors alike.

    Parameters
    ----------
    means : sequence of array or tensor
        Means of ln IM of the members, all of one shape.
    variances : sequence of array or tensor
        Variances of ln IM of the members, squared ln units, of the same shape.

    Returns
    -------
    mean, aleatory, epistemic : array or tensor
        Mean of ln IM and both variances (squared ln units), of the shape of the arrays of a member.

    References
    ----------
    Lilienkamp et al. (2022), equations 5 and 6; Sunny, Cotton & Lilienkamp (2022), equations 1 and 2.
    """
    count = len(means)
    mean = sum(means) / count
    return mean, sum(variances) / count, sum((value - mean) ** 2 for value in means) / count


def combine(mean: np.ndarray, stddev: np.ndarray, axis: int = 0) -> Mixture:
    """Combine the members of an ensemble, given as arrays, into mean, aleatory and epistemic variance.

    Parameters
    ----------
    mean, stddev : ndarray, [..., members, ...]
        Mean and standard deviation of ln IM (ln units) of every member, along `axis`.
    axis : int
        Axis of the members.

    Returns
    -------
    Mixture
        Arrays without the axis of the members, see `moments`.
    """
    means, stddevs = (np.moveaxis(np.asarray(values, float), axis, 0) for values in (mean, stddev))
    return Mixture(*moments(means, stddevs**2))


def combine_table(members: pd.DataFrame, count: int) -> pd.DataFrame:
    """Combine a table with a row per record and member into a table with a row per record.

    Parameters
    ----------
    members : pandas.DataFrame, [n * count, ...]
        Predictions with ``mean`` and ``stddev`` (ln units); the `count` rows of a record, one per member,
        follow each other.
    count : int
        Number of members.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The first row of each record, with the ``mean``, total ``stddev`` (ln units) and ``epistemic``
        variance (squared ln units) of the ensemble. If `members` has the field (a column
        ``site_term``), terms are means over the members and standard deviations are root mean squares.
    """

    def values(name: str) -> np.ndarray:
        """Return a column of `members` as an array, [records, members]."""
        return members[name].to_numpy(float).reshape(-1, count)

    moments = combine(values("mean"), values("stddev"), axis=1)
    table = members.iloc[::count].assign(
        mean=moments.mean, stddev=moments.stddev, epistemic=moments.epistemic
    )
    if "site_term" in members:
        for name in TERMS:
            table[name] = values(name).mean(axis=1)
        for name in TERM_STDDEVS:
            table[name] = np.sqrt((values(name) ** 2).mean(axis=1))
    return table


def combine_chunks(members: pd.DataFrame) -> pd.DataFrame:
    """Combine the members of each chunk, record by record.

    Parameters
    ----------
    members : pandas.DataFrame
        Predictions of one intensity measure, a row per record and member, in any order; a chunk has several
        members, one per initialisation.

    Returns
    -------
    pandas.DataFrame
        A row per record and chunk, see `combine_table`.
    """
    chunks = members.sort_values(RECORD).groupby("chunk", observed=True)
    return pd.concat([combine_table(rows, rows["init"].nunique()) for _, rows in chunks])
