"""Mean and variance of the field at records, from fits without them or without records of their time."""

import dataclasses
import itertools

import numpy as np

from tfgmm.core.errors import DataError, counted
from tfgmm.stats.field import condition
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_records import Cells, Records
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


def blocks_of(event_time, blocks: int, times=None) -> np.ndarray:
    """Return the block of consecutive events to which each event, or each given time, belongs.

    Parameters
    ----------
    event_time : array_like, [events]
        Origin times of the events, of which each block has as many.
    blocks : int
        Number of blocks.
    times : array_like, [n], optional
        Times of other events; those before the first event belong to the first block, and those between two
        blocks to the earlier one. By default the events themselves.

    Returns
    -------
    ndarray of int, [events] or [n]
        Number of the block, from 0.
    """
    event_time = np.asarray(event_time)
    order = np.argsort(event_time, kind="stable")
    block_in_order = np.arange(len(order)) * blocks // len(order)
    if times is None:
        return block_in_order[np.argsort(order, kind="stable")]
    before = np.searchsorted(event_time[order], np.asarray(times), side="right")
    return block_in_order[np.maximum(before - 1, 0)]


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
        Numbers of blocks of events and of folds of sites, two or more.
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
            f"{event_blocks} blocks and {site_folds} folds: bring more records, or choose fewer blocks and "
            "folds, at least two of each"
        )
    rank_of_site = np.random.default_rng(seed).permutation(sites)
    block = blocks_of(event_time, event_blocks)[records.event]
    fold = (rank_of_site % site_folds)[records.site[records.station]]
    basis, cells = Basis.choose(covariance, records, seed), records.cells()
    mean, variance = np.zeros(len(records)), np.zeros(len(records))
    for number, held_fold in itertools.product(range(event_blocks), range(site_folds)):
        fitted = condition(covariance, records.chosen((block != number) & (fold != held_fold)), basis)
        out = (block == number) & (fold == held_fold)
        mean[out], variance[out] = fitted.mean(cells[out]), fitted.variance(cells[out])
    return OutOfFold(mean, variance, block, fold)


def out_of_block(
    covariance: Covariance, records: Records, event_time, cells: Cells, times, *, event_blocks: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the field at cells from records of other blocks of time.

    Records of the same time tell more of an event than there will be of the next one: of its sequence and
    of its source. The covariance, and the functions of the shared terms, are one for all fits.

    Parameters
    ----------
    covariance : Covariance
        Covariance of the field.
    records : Records
        Records.
    event_time : array_like, [events]
        Origin time of each event of the records, in their order: blocks are of consecutive events.
    cells : Cells, [n]
        Events and places that are asked for.
    times : array_like, [n]
        Origin times of their events.
    event_blocks : int
        Number of blocks of events.

    Returns
    -------
    mean, variance : ndarray, [n]
        Ln units and squared ln units.

    Raises
    ------
    DataError
        There are fewer events than blocks.
    """
    if len(records.source_km) < event_blocks:
        raise DataError(
            f"field: {counted(len(records.source_km), 'event')} cannot be split in "
            f"{event_blocks} blocks: bring more records, or choose fewer blocks"
        )
    of_events = blocks_of(event_time, event_blocks)
    block = of_events[records.event]
    # Events of one time may be in two blocks; an event of the records is in its own.
    block_of_cell = np.where(
        cells.event >= 0, of_events[np.maximum(cells.event, 0)], blocks_of(event_time, event_blocks, times)
    )
    basis = Basis.choose(covariance, records)
    mean, variance = np.zeros(len(block_of_cell)), np.zeros(len(block_of_cell))
    for number in np.unique(block_of_cell):
        fitted = condition(covariance, records.chosen(block != number), basis)
        out = block_of_cell == number
        mean[out], variance[out] = fitted.mean(cells[out]), fitted.variance(cells[out])
    return mean, variance
