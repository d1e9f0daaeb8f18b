"""Mean and variance of the field at the records themselves, from fits without them."""

import dataclasses
import itertools

import numpy as np

from tfgmm.core.errors import DataError, counted
from tfgmm.stats.field import condition
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_records import Records
from tfgmm.stats.field_solver import Basis


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """Mean and variance of the field at records, from fits without them.

    Attributes
    ----------
    mean, variance : ndarray, [n]
        From the fit without the record's block of events and without its fold of sites; ln units and
        squared ln units.
    block, fold : ndarray of int, [n]
        Block of events and fold of sites of each record.
    """

    mean: np.ndarray
    variance: np.ndarray
    block: np.ndarray
    fold: np.ndarray


def out_of_fold(
    covariance: Covariance,
    records: Records,
    event_time,
    *,
    event_blocks: int = 4,
    site_folds: int = 3,
    seed: int = 0,
) -> OutOfFold:
    """Return mean and variance of the field at each record from fits without it.

    The covariance is one for all fits; it has few parameters and may be fitted to all records. The
    functions of the shared terms are common too, for they follow from the places alone.

    Parameters
    ----------
    covariance : Covariance
        Covariance of the field.
    records : Records
        Records.
    event_time : array_like, [events]
        Origin time of each event of the records, in their order: blocks are of consecutive events.
    event_blocks, site_folds : int
        Numbers of blocks of events and of folds of sites, two or more each.
    seed : int
        Seed of the choice of the folds and of the functions.

    Returns
    -------
    OutOfFold
        Means and variances for a new event at a new site.

    Raises
    ------
    DataError
        There are fewer events than blocks or fewer sites than folds.
    """
    events, sites = len(records.source_km), len(records.site_ids)
    if min(event_blocks, site_folds) < 2 or events < event_blocks or sites < site_folds:
        raise DataError(
            f"field: {counted(events, 'event')} and {counted(sites, 'site')} cannot be split in "
            f"{event_blocks} blocks and {site_folds} folds: bring more records, or choose at least two and "
            "fewer of both"
        )
    rank_of_event = np.argsort(np.argsort(np.asarray(event_time), kind="stable"), kind="stable")
    rank_of_site = np.random.default_rng(seed).permutation(sites)
    block = (rank_of_event * event_blocks // events)[records.event]
    fold = (rank_of_site % site_folds)[records.site[records.station]]
    basis, cells = Basis.choose(covariance, records, seed), records.cells()
    mean, variance = np.zeros(len(records)), np.zeros(len(records))
    for number, held_fold in itertools.product(range(event_blocks), range(site_folds)):
        fitted = condition(covariance, records.chosen((block != number) & (fold != held_fold)), basis)
        out = (block == number) & (fold == held_fold)
        mean[out], variance[out] = fitted.mean(cells[out]), fitted.variance(cells[out])
    return OutOfFold(mean, variance, block, fold)
