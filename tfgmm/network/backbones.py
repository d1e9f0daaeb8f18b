"""Fit the backbone of a station chunk: the median of ln IM to which the networks of the chunk add."""

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError, listed
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import training_records
from tfgmm.network import batches
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold
from tfgmm.stats import backbone_fit, published_scaling
from tfgmm.stats.backbone import Backbone
from tfgmm.stats.listed_regression import Listing

#: Choices of a backbone that are no names of published models.
NONE, AUTO, ERGODIC = "none", "auto", "ergodic"
#: Entry in the provenance of a dataset that says how its records are selected by their PGA.
LISTING = "listing"


def fit(dataset: Dataset, experiment: Experiment, im: str, fold: Fold | None = None) -> Backbone | None:
    """Fit the backbone of an intensity measure to the training records of a chunk, or to all records.

    Parameters
    ----------
    dataset : Dataset
        Events, stations, records and site layers.
    experiment : Experiment
        Description of the run; `Experiment.backbone` says which backbone.
    im : str
        Intensity measure.
    fold : Fold, optional
        Roles of events and stations while the chunk is held out; by default all records are used.

    Returns
    -------
    Backbone or None
        None if the run has no backbone.

    Raises
    ------
    UsageError
        There is no such published model or region.
    DataError
        The records are too few, or no published model has the measure.
    """
    if experiment.backbone == NONE:
        return None
    records = batches.flat_table(dataset, experiment, im)
    if fold is not None:
        records = training_records(fold.roles(records))
    records = records.assign(r_km=backbone_fit.distance(records))
    if im != "PGA" and "PGA" in dataset.ims:
        records = _with_pga(records, dataset)
    if experiment.backbone == ERGODIC:
        return backbone_fit.fit_ergodic(records, im)
    described = dataset.provenance.get(LISTING)
    listing = Listing(**described) if described and (im == "PGA" or "ln_pga" in records) else None
    return backbone_fit.fit(
        records, im, region=experiment.region, models=_models(experiment), listing=listing
    )


def check(experiment: Experiment) -> None:
    """Raise `UsageError` if the backbone of a run or its region does not exist, or they do not fit.

    Parameters
    ----------
    experiment : Experiment
        Description of the run.
    """
    if experiment.backbone not in (NONE, ERGODIC):
        _models(experiment)
    elif experiment.backbone_region != AUTO:
        raise UsageError(
            f"--backbone-region {experiment.backbone_region} is a region of published models, which "
            f"--backbone {experiment.backbone} does without: leave it out, or give --backbone auto"
        )


def _models(experiment: Experiment) -> tuple[published_scaling.ScalingModel, ...]:
    """Return the published models for ``auto`` or by name; raise `UsageError` for an unknown name."""
    name, models = experiment.backbone, published_scaling.models(experiment.region)
    if name == AUTO:
        return models
    every = dict.fromkeys((*models, *published_scaling.models_of_japan()))
    # A model of several classes, as AGA16, is chosen by its first word too.
    chosen = tuple(m for m in every if name.lower() in (m.name.lower(), m.name.lower().split()[0]))
    if not chosen:
        names = listed([NONE, AUTO, ERGODIC, *(model.name for model in every)])
        raise UsageError(f"--backbone {name}: there is no such model; choose one of {names}")
    return chosen


def _with_pga(records: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return the records that have a PGA as well, with its logarithm in ``ln_pga`` (PGA in g)."""
    key = ["event_id", "station_id"]
    pga = dataset.records[[*key, "PGA"]].dropna()
    joined = records.merge(pga, on=key, how="inner")
    return joined.assign(ln_pga=np.log(joined["PGA"])).drop(columns="PGA")
