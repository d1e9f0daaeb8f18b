"""Say at a glance what a run is, and what can be done with it."""

import itertools

import pandas as pd

from tfgmm.core.errors import TfgmmError, counted, listed
from tfgmm.runs.member_folder import Ranges
from tfgmm.runs.run import RunFolder


def summary(run: RunFolder) -> dict[str, str]:
    """Return what a run is and what it can do, in words.

    Parameters
    ----------
    run : RunFolder
        The run, which may be unfinished.

    Returns
    -------
    dict of str to str
        Texts by heading: ``records``, ``measures``, ``networks``, ``validation events``, ``members``,
        ``backbone``, ``field``, ``sigma``; per intensity measure with a trained member ``learned from``;
        and ``next``, the commands that the run is ready for.
    """
    experiment, data = run.experiment, run.data
    places = list(itertools.product(range(experiment.chunks), range(experiment.inits)))
    missing = [place for place in places if not run.member(*place).is_trained]
    trained = len(places) - len(missing)
    missing_names = [f"chunk {chunk} init {init}" for chunk, init in missing]
    content = {
        "records": data["name"] + ", simulated" * run.simulated + f"; data hash {data['digest']}",
        "measures": ", ".join(experiment.ims),
        "networks": f"{', '.join(experiment.networks)}; reference {experiment.reference}",
        "validation events": experiment.split.description,
        "members": f"{trained} of {len(places)} trained"
        + (f"; missing {listed(missing_names, 5)}" if missing else ""),
        "backbone": experiment.backbone,
        "field": "yes" if experiment.field else "no",
        "sigma": _sigma(run),
    }
    if trained:
        content |= {f"learned from ({im})": _told_or_lost(run, im) for im in experiment.ims}
    return content | {"next": _next(run, bool(missing))}


def table(run: RunFolder) -> pd.DataFrame:
    """Return the summary of a run as a table, one row per heading.

    Parameters
    ----------
    run : RunFolder
        The run, which may be unfinished.

    Returns
    -------
    pandas.DataFrame, [n, 2]
        Columns ``what`` and ``value``, both texts.
    """
    return pd.DataFrame(summary(run).items(), columns=["what", "value"])


def _sigma(run: RunFolder) -> str:
    """Return in words whether the standard deviation of the run is calibrated."""
    if run.calibration(run.experiment.ims[0]) is None:
        return "not calibrated"
    return "calibrated at held-out sites"


def learned_from(records: pd.DataFrame) -> str:
    """Return the number of training records, and their ranges, in words.

    Parameters
    ----------
    records : pandas.DataFrame
        A row per record: ``event_id, station_id``; ``magnitude``; ``depth_km`` and ``r_hyp_km``, km.

    Returns
    -------
    str
        Numbers of records, events and stations; ranges of magnitude, depth and hypocentral distance, km.
    """
    ranges = Ranges.of_records(records)
    (low, high), (shallow, deep), (near, far) = ranges.magnitude, ranges.depth_km, ranges.r_hyp_km
    return (
        f"{counted(len(records), 'record')} of {counted(records['event_id'].nunique(), 'event')} at "
        f"{counted(records['station_id'].nunique(), 'station')}: magnitude {low:.1f} to {high:.1f}, "
        f"depth {shallow:.0f} to {deep:.0f} km, hypocentral distance {near:.0f} to {far:.0f} km"
    )


def _told_or_lost(run: RunFolder, im: str) -> str:
    """Return from what a run has learned an intensity measure, or which file of it is lost."""
    try:
        return learned_from(run.training_records(im))
    except TfgmmError as error:
        return str(error)


def _next(run: RunFolder, unfinished: bool) -> str:
    """Return the commands that a run is ready for."""
    if unfinished or not run.predictions.is_file():
        return f"tfgmm show {run.path} --config FILE, then tfgmm train --config FILE --out {run.path}"
    verbs = ["predict", "export", "site-amp"] + ["effects"] * run.experiment.field
    first = "report" if (run.path / "tables" / "four_way.csv").is_file() else "evaluate"
    return f"tfgmm {first} {run.path}; or {', '.join(verbs)}"
