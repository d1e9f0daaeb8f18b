"""Condition backbone and field of a run on records, also on newer ones, while the networks stay.

Predictions rest on the backbone that is fitted to all records, and on the field given all records. Both
need minutes, no training. Scores rest on the folds of the training and do not change.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.lease import held
from tfgmm.core.sphere import distance_km
from tfgmm.data.dataset import Dataset
from tfgmm.network import backbones, batches, fields
from tfgmm.runs.folds import stations_in_use
from tfgmm.runs.run import CONDITIONED, CONDITIONED_STATIONS, STATIONS, RunFolder, conditioned_file

_log = logging.getLogger(__name__)


#: Distances, km, by which a station may have moved, and a hypocentre been located anew, and be the same.
MOVED_STATION_KM, MOVED_EVENT_KM = 2.0, 50.0
#: Function that is called with the name of the current step and the share of the step done, 0 to 1.
Report = Callable[[str, float], None]


def refit(run: RunFolder, dataset: Dataset, report: Report = lambda what, share: None) -> pd.DataFrame:
    """Condition backbone and field of a finished run on the records of another dataset.

    Networks, site layers, folds, scores and support stay those of the training. The stations of the
    dataset are added to those of the run.

    Parameters
    ----------
    run : RunFolder
        A finished run with a backbone.
    dataset : Dataset
        Events, stations and records of the region of the run; the run's own data bring it back.
    report : callable
        Called with the name of the current step and the share of the step that is done, 0 to 1.

    Returns
    -------
    pandas.DataFrame
        Rows ``before`` and ``after``: ``records, events, stations`` inside the map, and ``data``, the hash
        of the dataset.

    Raises
    ------
    UsageError
        The run has no backbone or is not finished, or the dataset does not fit the run.
    DataError
        The run is damaged, the records are too few, or the file system refuses to write.
    """
    run.read_predictions()
    if not any(map(run.has_backbone, run.experiment.ims)):
        raise UsageError(
            f"run {run.path} has no backbone, and nothing but its networks to learn from new records: "
            "train a run with --backbone auto, or this one again on the new data"
        )
    _refuse_unfit(run, dataset)
    before = run.conditioned_on
    with held(run.path / "run"):
        run.refuse_replaced()
        condition(run, dataset, report)
    return pd.DataFrame([before, run.conditioned_on], ["before", "after"])


def _refuse_unfit(run: RunFolder, dataset: Dataset) -> None:
    """Raise an error if a dataset is no continuation of the data of a run."""
    trained = run.dataset()
    if dataset.simulated != run.simulated:
        kinds = [
            "simulated" if simulated else "measured" for simulated in (dataset.simulated, run.simulated)
        ]
        raise UsageError(
            f"the new records are {kinds[0]}, those of run {run.path} {kinds[1]}: bring {kinds[1]} ones"
        )
    new, old = (set(one.records["component"]) for one in (dataset, trained))
    if new != old:
        raise UsageError(
            f"the new records have the component {listed(sorted(new))}, those of run {run.path} "
            f"{listed(sorted(old))}: import the data again with that one"
        )
    lacking = [im for im in run.experiment.ims if im not in dataset.ims]
    if lacking:
        raise UsageError(
            f"the new records have no {listed(lacking)}, which run {run.path} predicts: they have "
            f"{listed(dataset.ims)}"
        )
    try:
        stations = stations_in_use(dataset, run.experiment)
    except (UsageError, DataError) as error:
        raise UsageError(
            f"{error}; run {run.path} needs {listed(run.experiment.networks)}: bring data with records of "
            "them"
        ) from error
    unknown = sorted(set(dataset.networks) - set(trained.networks))
    if unknown:
        _log.warning(
            "stations of network %s are left out: run %s knows %s",
            listed(unknown),
            run.path,
            listed(run.experiment.networks),
        )
    if not dataset.records["station_id"].isin(stations["station_id"]).any():
        raise UsageError(
            f"no new record is of a station on the map of run {run.path}: bring another dataset"
        )
    for name, largest_km in (("station", MOVED_STATION_KM), ("event", MOVED_EVENT_KM)):
        _refuse_other_places(
            run, getattr(trained, f"{name}s"), getattr(dataset, f"{name}s"), name, largest_km
        )
    known = trained.records[["event_id", "station_id"]]
    lost = len(known) - len(known.merge(dataset.records[["event_id", "station_id"]]))
    if lost:
        _log.warning(
            "%s of %s records of the training are not among the new ones", f"{lost:,}", f"{len(known):,}"
        )


def _refuse_other_places(
    run: RunFolder, trained: pd.DataFrame, new: pd.DataFrame, name: str, largest_km
) -> None:
    """Raise `UsageError` if a station or event of the training is elsewhere in the new data."""
    key = f"{name}_id"
    both = trained.merge(new, on=key, suffixes=("", "_new"))
    places = [both[column] for column in ("longitude", "latitude", "longitude_new", "latitude_new")]
    moved_km = pd.Series(distance_km(*places), both[key])
    if len(moved_km) and moved_km.max() > largest_km:
        raise UsageError(
            f"{name} {moved_km.idxmax()} is {moved_km.max():.3g} km away from its place in run {run.path}: "
            "bring records with the ids of the run's own data"
        )


def condition(run: RunFolder, dataset: Dataset, report: Report = lambda what, share: None) -> None:
    """Fit the backbone to all records of a dataset, condition the field on them, and write both.

    Predictions are based on them, whatever the roles of the records. The site layers are those of the run.
    The caller holds the lease of the run.

    Parameters
    ----------
    run : RunFolder
        The run, with trained members of every intensity measure.
    dataset : Dataset
        Events, stations and records of the region of the run.
    report : callable
        Called as for `refit`.

    Raises
    ------
    DataError
        The records are too few, or the file system refuses to write.
    """
    experiment, names = run.experiment, []
    ims = [im for im in experiment.ims if run.has_backbone(im)]
    if not ims:
        return
    located = dataclasses.replace(dataset, layers=run.site_layers())
    _, stations = batches.places(located, experiment)
    with files.whole_files(run.path / CONDITIONED) as temporary:
        records = {}
        for number, im in enumerate(ims):
            report("backbone", number / (2 * len(ims)))
            backbone = backbones.fit(located, experiment, im)
            names.append(conditioned_file("backbone", im))
            backbone.save(temporary / Path(names[-1]).name)
            if experiment.field:
                table = batches.flat_table(located, experiment, im)
                records[im] = batches.with_backbone(table, im, backbone)
        for number, (im, covariance) in enumerate(fields.covariances(records).items()):
            report("field", 0.5 + number / (2 * len(ims)))
            names.append(conditioned_file("field", im))
            fields.condition(records[im], covariance).save(temporary / Path(names[-1]).name)
        files.write_parquet(stations, temporary / STATIONS)
    used = dataset.records[dataset.records["station_id"].isin(stations["station_id"])]
    counts = {"records": len(used), "events": used["event_id"].nunique(), "stations": len(stations)}
    run.manifest.note(*names, CONDITIONED_STATIONS, conditioned=counts | {"data": dataset.digest()})


def restore(run: RunFolder, dataset: Dataset) -> None:
    """Condition on the data of the training, unless the run is conditioned on these or newer data already.

    Parameters
    ----------
    run : RunFolder
        The run, whose lease the caller holds.
    dataset : Dataset
        Data of the training.

    Raises
    ------
    DataError
        As for `condition`.
    """
    ims = [im for im in run.experiment.ims if run.has_backbone(im)]
    kinds = ("backbone", "field") if run.experiment.field else ("backbone",)
    names = [CONDITIONED_STATIONS, *(conditioned_file(kind, im) for im in ims for kind in kinds)]
    hashes = run.manifest.hashes()
    if all(name in hashes and files.is_unchanged(run.path / name, hashes[name]) for name in names):
        return  # they depend on the data alone, not on which members are trained
    if run.is_refitted:
        _log.warning("%s: what tfgmm refit wrote is damaged; give it again with the newer data", run.path)
    condition(run, dataset)
