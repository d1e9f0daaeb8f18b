"""Several runs: beside each other, in one report; the state of files."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tfgmm.api.dataset import PathLike
from tfgmm.core import outputs

if TYPE_CHECKING:
    from tfgmm.evaluation.evaluation import Evaluation
    from tfgmm.evaluation.sections import Section


@dataclasses.dataclass(frozen=True)
class Report:
    """A report that has been written.

    Attributes
    ----------
    page : Path
        One self-contained HTML page.
    markdown : Path or None
        Folder of the same as Markdown and figures.
    evaluations : list of Evaluation
        What it shows, one of each run.
    """

    page: Path
    markdown: Path | None
    evaluations: "list[Evaluation]"


def compare(evaluations: "Sequence[Evaluation]") -> "list[Section]":
    """Set runs beside each other: their scores, and paired differences of the first to the others.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Of `Run.evaluate`, at least two.

    Raises
    ------
    UsageError
        The runs do not score the same records.

    Examples
    --------
    >>> beside, *differences = tfgmm.compare([with_meso.evaluate(), without.evaluate()])  # doctest: +SKIP
    >>> beside.shown  # doctest: +SKIP
    """
    from tfgmm.evaluation import report as reports

    return reports.compare(evaluations)


def report(
    runs: Sequence[PathLike],
    page: PathLike | None = None,
    *,
    markdown: PathLike | None = None,
    baselines: bool = True,
    overwrite: bool = False,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> Report:
    """Evaluate runs and write one self-contained page with everything that is found.

    Parameters
    ----------
    runs : sequence of Run or path
        Several are compared.
    page : path, optional
        HTML page; ``report.html`` in the first run by default.
    markdown : path, optional
        Folder for the same as Markdown and figures.
    baselines : bool
        Fit all baselines on the same folds (minutes, once a run).
    overwrite : bool
        Replace also files of these names that are no report.
    report : callable
        Receives what is being done and the share of it that is done.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        There is no run, it is not finished, or a name is taken.
    DataError
        Predictions are damaged, or the file system refuses to write.

    Examples
    --------
    >>> tfgmm.report(["runs/kik", "runs/kik-meso"], "both.html")  # doctest: +SKIP
    """
    from tfgmm.evaluation import evaluation
    from tfgmm.evaluation import report as reports

    paths = [Path(run) for run in runs]
    page = paths[0] / "report.html" if page is None else Path(page)
    markdown = None if markdown is None else Path(markdown)
    outputs.ending_of(page, (".html", ".htm"), "reports")
    reports.refuse_page(page, overwrite)
    if markdown:
        outputs.refuse_file_name(markdown, "a report in Markdown")
        reports.refuse_folder(markdown, overwrite)
    evaluations = [evaluation.evaluate(path, baselines, report) for path in paths]
    reports.html(evaluations, page, overwrite)
    if markdown:
        command = f"tfgmm report {' '.join(map(str, paths))} --markdown {markdown}"
        reports.markdown(evaluations, markdown, command, overwrite)
    return Report(page, markdown, evaluations)


def check(folder: PathLike) -> pd.DataFrame:
    """Verify the files of a run or a dataset: are they what was written?

    Parameters
    ----------
    folder : path or Run

    Returns
    -------
    pandas.DataFrame
        ``file`` and ``state``: ``whole``, ``not trained yet``, or what is wrong with the file.

    Raises
    ------
    UsageError
        The folder is neither a run nor a dataset.

    Examples
    --------
    >>> tfgmm.check("runs/kik")["state"].value_counts()  # doctest: +SKIP
    """
    from tfgmm.runs import verification

    return verification.verify(Path(folder))
