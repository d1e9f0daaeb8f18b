"""Mean and variance of the field at the records themselves, from fits without them."""

import dataclasses

import numpy as np

from tfgmm.core.errors import DataError
from tfgmm.stats.field import condition
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_records import Records
from tfgmm.stats.field_solver import Basis


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """Mean and variance of the field at records, from fits without them.

    Attributes
    ----------
    new_site_mean, new_site_variance : ndarray, [n]
        From the fit without the record's block of events and without its fold of sites; ln units and
        squared ln units.
    known_site_mean, known_site_variance : ndarray, [n]
        From the fit without the record's block of events.
    block, fold : ndarray of int, [n]
        Block of events and fold of sites of each record.
    """

    new_site_mean: np.ndarray
    new_site_variance: np.ndarray
    known_site_mean: np.ndarray
    known_site_variance: np.ndarray
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
        Means and variances for a new event at a new site, and for a new event at a known site.

    Raises
    ------
    DataError
        There are fewer events than blocks or fewer sites than folds.
    """
    events, sites = len(records.source_km), len(records.site_ids)
    if min(event_blocks, site_folds) < 2 or events < event_blocks or sites < site_folds:
        raise DataError(
            f"field: {events} event(s) and {sites} site(s) cannot be split in {event_blocks} blocks and "
            f"{site_folds} folds: bring more records, or choose at least two and fewer of both"
        )
    rank_of_event = np.argsort(np.argsort(np.asarray(event_time), kind="stable"), kind="stable")
    rank_of_site = np.random.default_rng(seed).permutation(sites)
    block = (rank_of_event * event_blocks // events)[records.event]
    fold = (rank_of_site % site_folds)[records.site[records.station]]
    basis, cells = Basis.choose(covariance, records, seed), records.cells()
    results = np.zeros((4, len(records)))
    for number in range(event_blocks):
        for held_fold in [*range(site_folds), None]:
            out = block == number
            kept = ~out if held_fold is None else ~out & (fold != held_fold)
            wanted = out if held_fold is None else out & (fold == held_fold)
            fitted = condition(covariance, records.chosen(kept), basis)
            row = 2 if held_fold is None else 0
            results[row, wanted] = fitted.mean(cells[wanted])
            results[row + 1, wanted] = fitted.variance(cells[wanted])
    new_mean, new_variance, known_mean, known_variance = results
    return OutOfFold(new_mean, new_variance, known_mean, known_variance, block, fold)
