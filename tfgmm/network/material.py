"""What the members of one chunk share: records with their roles, and maps."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.data.columns import training_records
from tfgmm.data.dataset import Dataset
from tfgmm.network import batches, device
from tfgmm.network.batches import EventRecords
from tfgmm.network.channels import Rasteriser, select
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold, stopping_records

#: Channels from which the ergodic median is computed, in the order of `ErgodicMedian`.
MEDIAN_CHANNELS = ("magnitude", "r_hyp", "event_depth")


@dataclasses.dataclass(frozen=True)
class Material:
    """Records with their roles, and makers of maps, which the members of one chunk share.

    Attributes
    ----------
    records : pandas.DataFrame
        `tfgmm.network.batches.flat_table` with ``event_role`` and ``site_role``.
    training : EventRecords
        What ``fit`` sees.
    stopping : EventRecords
        What decides when to stop.
    scored : EventRecords
        All records, for the predictions table.
    """

    experiment: Experiment
    records: pd.DataFrame
    training: EventRecords
    stopping: EventRecords
    scored: EventRecords
    moving: Rasteriser
    fixed: Rasteriser

    @classmethod
    def of(cls, dataset: Dataset, experiment: Experiment, im: str, fold: Fold) -> Self:
        """Gather the records of one fold.

        Raises
        ------
        UsageError
            A channel is unknown, or the residual target needs one that is dropped.
        DataError
            A site layer covers too little, or a set of records is empty.
        """
        experiment = device.resolved(experiment)
        records = fold.roles(batches.flat_table(dataset, experiment, im))
        training = training_records(records)
        stopping = stopping_records(records, experiment)
        names = select(dataset.layers or (), experiment.drop)
        if experiment.training.target == "residual":
            _refuse_dropped(names)

        def group(table, weight):
            return EventRecords.group(table, dataset.events, experiment.grid, weight)

        return cls(
            experiment=experiment,
            records=records,
            training=group(training, batches.training_weight(training, experiment.training.weighting)),
            stopping=group(stopping, batches.stopping_weight(stopping)),
            scored=group(records, np.ones(len(records))),
            moving=Rasteriser(experiment.grid, names, dataset.layers, experiment.training.shift_pixels),
            fixed=Rasteriser(experiment.grid, names, dataset.layers),
        )

    @property
    def steps(self) -> int:
        """Return the number of optimiser steps per epoch."""
        return batches.steps_per_epoch(len(self.training), self.experiment.training.batch_size)

    @property
    def epochs(self) -> int:
        """Return the number of epochs of a training that is not stopped early."""
        return self.experiment.training.epochs_of(self.steps)


def _refuse_dropped(names: tuple[str, ...]) -> None:
    missing = [name for name in MEDIAN_CHANNELS if name not in names]
    if missing:
        raise UsageError(f"--target residual needs the channels that are dropped: {', '.join(missing)}")
