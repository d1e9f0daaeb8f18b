"""Records by role and input maps, which the members of one station chunk share."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import training_records
from tfgmm.network import batches
from tfgmm.network.batches import EventRecords
from tfgmm.network.channels import Rasteriser, select
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold, stopping_records

#: Channels from which the ergodic median is computed, in the order that `ErgodicMedian` expects.
MEDIAN_CHANNELS = ("magnitude", "r_hyp", "event_depth")


@dataclasses.dataclass(frozen=True)
class Material:
    """Records by role and makers of input maps, which the members of one chunk share.

    A member is one trained network of a station chunk, whose sites are held out, and an initialisation.

    Attributes
    ----------
    experiment : Experiment
        Description of the run, with the precision of this machine in place of ``auto``.
    records : pandas.DataFrame
        `tfgmm.network.batches.flat_table` with ``event_role`` and ``site_role``, each training, validation
        or stopping.
    training : EventRecords
        Training set: records of training events at training sites.
    stopping : EventRecords
        Stopping set: records that decide when a training ends.
    scored : EventRecords
        All records, with weight 1, for the predictions table.
    moving, fixed : Rasteriser
        Makers of the input maps with random shifts, for the training, and without.
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
        """Return the records and the makers of input maps of one fold.

        Parameters
        ----------
        dataset : Dataset
            Tables of events, stations and records, and site layers.
        experiment : Experiment
            Description of the run.
        im : str
            Intensity measure.
        fold : Fold
            Roles of events and stations while one chunk of sites is held out.

        Returns
        -------
        Material

        Raises
        ------
        UsageError
            A channel to drop is unknown, or the target ``residual`` needs a channel that is dropped.
        DataError
            The dataset lacks the intensity measure, a site layer covers too little of the map, or the
            stopping set is empty.
        """
        experiment = batches.resolved(experiment)
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
        """Return the number of epochs after which a training ends if it is not stopped earlier."""
        return self.experiment.training.epochs_of(self.steps)


def _refuse_dropped(names: tuple[str, ...]) -> None:
    """Raise `UsageError` if a channel that the ergodic median needs is not among `names`."""
    missing = [name for name in MEDIAN_CHANNELS if name not in names]
    if missing:
        raise UsageError(f"--target residual needs the channels that are dropped: {', '.join(missing)}")
