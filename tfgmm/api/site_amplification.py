"""What a run, or two, have learned about the ground: trained, averaged over events, written."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.network.training import Training
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import estimates, site_study, writing
from tfgmm.site_amplification.event_selection import Selection
from tfgmm.site_amplification.site_study import Options, Study

#: Trains what is missing, given a training and words for it; False if other processes train some of it.
Train = Callable[[Training, str], bool]


@dataclasses.dataclass(frozen=True)
class SiteAmplification:
    """Maps of site amplification that have been written.

    Attributes
    ----------
    folder : Path
        Of maps, figures and tables.
    summary : pandas.DataFrame
        A row per intensity measure and estimator: spread, standard error, correlation with stations.
    events : str
        How many events were averaged over, and which.
    """

    folder: Path
    summary: pd.DataFrame
    events: str


def options(
    arms: tuple[str, ...], events: Sequence[str] | Selection, within_km: float, min_records: int
) -> Options:
    """Return what is averaged over, and where the result is believed."""
    selection = events if isinstance(events, Selection) else Selection.parse(events)
    return Options(arms=arms, events=selection, within_km=within_km, min_records=min_records)


def write(
    runs: Sequence[RunFolder],
    ims: tuple[str, ...],
    chosen: Options,
    places: pd.DataFrame,
    folder: Path,
    *,
    overwrite: bool,
    train: Train | None,
    report: Callable[[str, float], None],
) -> SiteAmplification:
    """Train the arms that are missing, map the amplification of the first run, and the difference."""
    writing.refuse_strangers(folder, ims, [run.path.name for run in runs[1:]], overwrite)
    studies = [Study(run, chosen) for run in runs]
    if len(studies) > 1:
        site_study.refuse_unpaired(*studies)
    for study in studies:
        study.refuse_unfinished(ims)
    train = train or (lambda training, what: not training.train(report))
    for study in studies:
        for arm in chosen.arms:
            what = f"Without site channels, {arm}, into {study.run.path}"
            if not train(study.arm(arm, ims), what):
                raise UsageError(f"other processes train members of {study.run.path}: try again then")
    done, total = itertools.count(1), sum(study.steps(ims) for study in studies)
    measures = [
        {
            im: estimates.measure(study, im, lambda: report("averaging over events", next(done) / total))
            for im in ims
        }
        for study in studies
    ]
    table = writing.write(studies, measures, folder, places)
    return SiteAmplification(folder, table, studies[0].about()["events"])
