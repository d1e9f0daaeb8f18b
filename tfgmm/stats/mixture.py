"""Many Normal distributions -> mean, aleatory and epistemic variance."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

_RECORD = ["event_id", "station_id"]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Moments of an ensemble; all arrays of one shape.

    Attributes
    ----------
    mean : ndarray
        Ensemble mean of ln IM.
    aleatory, epistemic : ndarray
        The two parts of the variance.
    """

    mean: np.ndarray
    aleatory: np.ndarray
    epistemic: np.ndarray

    @property
    def stddev(self) -> np.ndarray:
        """Square root of the total variance."""
        return np.sqrt(self.aleatory + self.epistemic)


def moments(means: Sequence, variances: Sequence) -> tuple:
    r"""Return mean, aleatory and epistemic variance of several Normal distributions of equal weight.

    By the laws of total expectation and total variance:

    .. math:: \mu = E[\mu_i], \quad \sigma^2 = E[\sigma_i^2] + Var[\mu_i]

    The second part is taken as a variance of the means, never as a difference of large numbers. Plain
    arithmetic, for NumPy arrays and tensors alike.

    Parameters
    ----------
    means, variances : sequence of array or tensor
        Of every member, all of one shape.

    References
    ----------
    Lilienkamp et al. (2022), equations 5 and 6; Sunny, Cotton & Lilienkamp (2022), equations 1 and 2.
    """
    count = len(means)
    mean = sum(means) / count
    return mean, sum(variances) / count, sum((one - mean) ** 2 for one in means) / count


def combine(mean: np.ndarray, stddev: np.ndarray, axis: int = 0) -> Mixture:
    """Return the moments of an ensemble from arrays of its members, as `moments` defines them.

    Parameters
    ----------
    mean, stddev : ndarray
        Of every member, along `axis`.
    axis : int
    """
    means, stddevs = (np.moveaxis(np.asarray(values, float), axis, 0) for values in (mean, stddev))
    return Mixture(*moments(means, stddevs**2))


def combine_table(members: pd.DataFrame, count: int) -> pd.DataFrame:
    """A predictions table in which `count` rows, one a member, follow each other for every record.

    Returns
    -------
    pandas.DataFrame
        A row a record, as its first one, with the ``mean``, ``stddev`` and ``epistemic`` (a variance) of
        the ensemble. Of random effects the terms are means, the standard deviations those of the mean
        variance.
    """

    def of(name: str) -> np.ndarray:
        return members[name].to_numpy(float).reshape(-1, count)

    moments = combine(of("mean"), of("stddev"), axis=1)
    found = members.iloc[::count].assign(
        mean=moments.mean, stddev=moments.stddev, epistemic=moments.epistemic
    )
    if "site_term" in members:
        for name in ("site_term", "event_term", "path_term", "within_term"):
            found[name] = of(name).mean(axis=1)
        unknown = ("tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss")
        for name in (*unknown, "site_stddev", "event_stddev", "path_stddev", "within_stddev"):
            found[name] = np.sqrt((of(name) ** 2).mean(axis=1))
    return found


def combine_chunks(members: pd.DataFrame) -> pd.DataFrame:
    """Members of each chunk, as many as it has, combined record by record.

    Parameters
    ----------
    members : pandas.DataFrame
        A row a record and member, of one intensity measure, in any order.
    """
    of_chunk = members.sort_values(_RECORD).groupby("chunk", observed=True)
    return pd.concat([combine_table(rows, rows["init"].nunique()) for _, rows in of_chunk])
