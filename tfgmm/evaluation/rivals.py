"""Rivals with the information of the networks: simple medians, and the field of their residuals on top.

The field (`tfgmm.stats.field`) is one Gaussian process over earthquakes and stations. It gives a simple
median the event, site, source and path terms that the training records tell, as the networks have them: it
is the non-ergodic model of the literature.
"""

import logging
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import is_training
from tfgmm.stats import field
from tfgmm.stats.field_records import Cells, Records
from tfgmm.stats.mixture import moments

_log = logging.getLogger(__name__)

#: End of the name of a model to which the field of its residuals is added.
WITH_FIELD = " + field"
#: Names of a median, and of the mean of two medians, each with its field.
REGRESSION, MEAN = "regression", "mean of regression and boosting"


def predict(
    fold: pd.DataFrame, medians: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    r"""Predict the records of a fold with medians and the field of their residuals.

    .. math:: \mu_{es} = m_{es} + E[G(e, s) \mid r], \quad
        \sigma_{es}^2 = Var[G(e, s) \mid r] + \sigma^2

    with the median m, the field G, the residuals r of the training records and the variance
    :math:`\sigma^2` of the noise of a record.

    Parameters
    ----------
    fold : pandas.DataFrame, [n, ...]
        Records of one chunk and intensity measure with the positions of events and stations, km; the roles
        ``event_role`` and ``site_role``.
    medians : dict of str to ndarray, [n]
        Median of every record by name; a flexible median comes from a fit without the event of the record,
        else its residuals are too small.

    Yields
    ------
    name, mean, stddev : str, ndarray, ndarray
        Name of the model, mean and standard deviation of ln IM, ln units. First one model for each median,
        then the mean of the first two. There is none if the records are too few for a field.

    References
    ----------
    Landwehr, Kuehn, Scheffer & Abrahamson (2016), Bull. Seismol. Soc. Am. 106(6), 2574-2583.
    """
    trained = is_training(fold).to_numpy()
    predicted = {}
    for name, median in medians.items():
        try:
            mean, variance = _field_of(fold, trained, (fold["ln_im"].to_numpy(float) - median)[trained])
        except DataError as error:
            _log.warning("no rival with a field in chunk %s: %s", fold["chunk"].iloc[0], error)
            return
        predicted[name] = median + mean, variance
    for name, (mean, variance) in predicted.items():
        yield name + WITH_FIELD, mean, np.sqrt(variance)
    means, variances = zip(*list(predicted.values())[:2], strict=True)
    mean, aleatory, epistemic = moments(list(means), list(variances))
    yield MEAN + WITH_FIELD, mean, np.sqrt(aleatory + epistemic)


def _field_of(
    fold: pd.DataFrame, trained: np.ndarray, residual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean of the field and total variance, ln units and squared ln units, of all records of a fold.

    `residual`, [n_training], are those of the records that `trained` marks.
    """
    given = field.fitted(Records.of(fold[trained], residual))
    cells = Cells.of(fold, given.records)
    return given.mean(cells), given.variance(cells) + given.covariance.noise
