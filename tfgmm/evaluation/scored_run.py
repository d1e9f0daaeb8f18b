"""A run with the predictions of its records: by its ensemble, raw and calibrated, and by the baselines."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tfgmm.core import files, lease
from tfgmm.evaluation import baselines, residuals, scores
from tfgmm.runs.run import RunFolder
from tfgmm.stats import calibration
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.published import MODELS

_log = logging.getLogger(__name__)
#: Files of the baselines that are kept in the folder ``baselines`` of a run.
_KEPT = ("fitted.parquet", "published.parquet", "ranges.csv")
#: Callback that receives the name of the stage at work and the share of it that is done.
Report = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """A run with all predictions of its records.

    Attributes
    ----------
    run : RunFolder
        The run.
    models : pandas.DataFrame
        Scored table (see `tfgmm.evaluation.scores`) of the partial ensembles, raw and calibrated, and of
        the fitted baselines: one row per record, chunk and model, with the coordinates of the event and the
        station. For a run with the field, backbone and field without the networks take the place of the
        calibrated ensemble.
    published : pandas.DataFrame
        Scored table of published ground-motion models; empty without baselines.
    ranges : pandas.DataFrame
        Share of the records outside the range of each published model, per intensity measure; empty
        without baselines.
    full : pandas.DataFrame
        Predictions of the full ensemble, one row per record.
    calibrations : dict of str to Calibration
        Calibrations of the standard deviation by intensity measure; empty for a run with the field, or if
        the validation events also decide when the training ends.
    members : int
        Number of trained members (station chunk times initialisation) per intensity measure.
    covariances : dict of (str, int) to Covariance
        Covariance of the field by intensity measure and chunk; empty for a run without field.
    """

    run: RunFolder
    models: pd.DataFrame
    published: pd.DataFrame
    ranges: pd.DataFrame
    full: pd.DataFrame
    calibrations: dict[str, calibration.Calibration]
    members: int
    covariances: dict[tuple[str, int], Covariance] = dataclasses.field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Return the name of the reference network, whose records are scored."""
        return self.run.experiment.reference

    @functools.cached_property
    def ensemble(self) -> pd.DataFrame:
        """Return the rows of `models` that hold the partial ensembles without calibration."""
        return self.models[self.models["model"] == scores.ENSEMBLE]

    @property
    def note(self) -> str:
        """Return a title for figures: the names of the networks, and a remark on simulated records."""
        return ", ".join(self.run.experiment.networks) + " (simulated records)" * self.run.simulated


def gather(
    run: RunFolder, with_baselines: bool = True, report: Report = lambda what, share: None
) -> ScoredRun:
    """Combine the members of a run, fit the calibration and the baselines, and return the scored run.

    The calibration is written into the run folder. The fitted baselines, which take minutes, are kept in
    the run folder too. They are fitted again only if the records, the roles of the records or the files of
    the baselines have changed; if the files have changed, a warning is logged.

    Parameters
    ----------
    run : RunFolder
        A finished run.
    with_baselines : bool
        True: fit all baselines and evaluate the published models. False: fit the ergodic regression only.
    report : callable
        Function called with the name of the current stage and the share of the stage that is done, 0 to 1.

    Returns
    -------
    ScoredRun
        The run with the predictions of the ensemble, the baselines and the published models.

    Raises
    ------
    UsageError
        The run is not finished.
    DataError
        The predictions are damaged, or the file system refuses to write.
    """
    predictions = run.read_predictions()
    partial = residuals.with_variables(run.with_places(scores.partial_ensembles(predictions)))
    full = residuals.with_variables(run.with_places(residuals.full_ensemble(predictions)))
    models, calibrations = [partial], {}
    covariances = _covariances(run, partial)
    if covariances:
        noise = [covariances[key].noise for key in zip(partial["im"], partial["chunk"], strict=True)]
        models.append(scores.without_networks(partial, pd.Series(noise, partial.index)))
    elif run.experiment.stopping != "paper":  # which has nothing to calibrate on
        calibrations = calibration.fit(partial, run.experiment.reference)
        with lease.held(run.path / "run"):
            calibration.write(calibrations, run.path)
            run.manifest.note(calibration.FILE)
        models.append(calibration.apply(partial, calibrations))
    published, ranges = pd.DataFrame(columns=partial.columns), pd.DataFrame()
    if with_baselines:
        fitted, published, ranges = _read_or_fit_baselines(run, predictions, report)
        models.append(run.with_places(fitted))
    else:
        ergodic = baselines.ergodic_predictions(predictions)
        models.append(run.with_places(_select_reference(run, ergodic)))
    members = len(predictions[["chunk", "init"]].drop_duplicates())
    all_models = pd.concat(models, ignore_index=True)
    return ScoredRun(run, all_models, published, ranges, full, calibrations, members, covariances)


def _covariances(run: RunFolder, partial: pd.DataFrame) -> dict[tuple[str, int], Covariance]:
    """Return the covariance of the field by intensity measure and chunk, empty for a run without field."""
    if not run.experiment.field:
        return {}
    return {
        (im, chunk): run.field(im, chunk).covariance
        for im, chunk in partial[["im", "chunk"]].drop_duplicates().itertuples(index=False)
    }


def _select_reference(run: RunFolder, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table of records that belong to stations of the run's reference network."""
    return table[table["network"] == run.experiment.reference]


def _read_or_fit_baselines(
    run: RunFolder, predictions: pd.DataFrame, report: Report
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return scored tables of fitted baselines and of published models, and the table of their ranges.

    All three cover the records of the reference network. They are read from the run folder if they are
    kept there for the same records, else they are computed and written.
    """
    folder = run.path / "baselines"
    records_sha256 = baselines.fingerprint(predictions)
    if not _is_kept(folder, records_sha256):
        with files.whole_folder(folder, overwrite=True) as temporary:
            _fit_baselines(run, predictions, temporary, report)
            hashes = {name: files.sha256(temporary / name) for name in _KEPT}
            origin = {"records_sha256": records_sha256, "files_sha256": hashes}
            files.write_json(temporary / "origin.json", origin)
    return (
        files.read_parquet(folder / "fitted.parquet"),
        files.read_parquet(folder / "published.parquet"),
        pd.read_csv(folder / "ranges.csv"),
    )


def _fit_baselines(run: RunFolder, predictions: pd.DataFrame, folder: Path, report: Report) -> None:
    """Fit the baselines, evaluate the published models, and write the files `_KEPT` into `folder`."""
    table = run.with_places(predictions)
    folds = len(list(baselines.folds(predictions)))
    progress = count_steps(report, "fitting baselines", folds)
    fitted = baselines.fitted_predictions(table, progress)
    files.write_parquet(_select_reference(run, fitted), folder / "fitted.parquet")
    models = len(MODELS) * len(run.experiment.ims)
    progress = count_steps(report, "evaluating published models", models)
    published, ranges = baselines.published_predictions(_select_reference(run, table), progress)
    files.write_parquet(published, folder / "published.parquet")
    ranges.to_csv(folder / "ranges.csv", index=False)


def _is_kept(folder: Path, records_sha256: str) -> bool:
    """Return True if `folder` holds unchanged baselines fitted to the records with the given SHA-256."""
    if not folder.exists():
        return False
    try:
        origin = files.read_json(folder / "origin.json")
        if origin["records_sha256"] != records_sha256:
            return False
        stated = origin["files_sha256"]
        if all(files.is_unchanged(folder / name, stated[name]) for name in _KEPT):
            return True
    except (OSError, ValueError, LookupError, TypeError):
        pass
    _log.warning("%s is incomplete, damaged or of an earlier version: they are fitted again", folder)
    return False


def count_steps(report: Report, what: str, count: int) -> Callable[[], None]:
    """Return a function that reports progress: each call counts one more of `count` steps as done.

    Parameters
    ----------
    report : callable
        Function called with `what` and the share of the steps that is done, 0 to 1: once with 0 at the
        beginning, and after each step.
    what : str
        Name of the stage.
    count : int
        Number of steps.

    Returns
    -------
    callable
        Function to be called after each step; its arguments are ignored.
    """
    steps = iter(range(1, count + 1))
    report(what, 0.0)
    return lambda *_: report(what, next(steps) / count)
