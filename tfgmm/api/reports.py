"""Compare runs, write one report on several runs, and verify the files of a run or a dataset."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tfgmm.api.dataset import PathLike
from tfgmm.core import outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, listed
from tfgmm.core.shown import Shown

if TYPE_CHECKING:
    from tfgmm.evaluation.evaluation import Evaluation
    from tfgmm.evaluation.sections import Section


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Shown):
    """Paths of a written report, and the evaluations that the report shows.

    Attributes
    ----------
    page : Path
        Self-contained HTML page.
    markdown : Path or None
        Folder of the same report as Markdown and figures.
    evaluations : list of Evaluation
        Evaluations of the runs, one per run.

    Examples
    --------
    >>> tfgmm.report(["runs/kik", "runs/kik-meso"], "both.html")  # doctest: +SKIP
    <Report: page both.html; Markdown none; runs kik, kik-meso>
    """

    page: Path
    markdown: Path | None
    evaluations: "list[Evaluation]"

    def _facts(self) -> dict[str, object]:
        """Return the written files and the runs in them."""
        runs = [one.run.path.name for one in self.evaluations]
        return {"page": self.page, "Markdown": self.markdown or "none", "runs": listed(runs)}


@checked
def compare(evaluations: "Sequence[Evaluation]") -> "list[Section]":
    """Compare the scores of runs; return sections with tables and figures.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Two or more evaluations, as returned by `Run.evaluate`.

    Returns
    -------
    list of Section
        First the scores of all runs side by side; then, for each further run, the paired differences: score
        of the first run minus score of the further run.

    Raises
    ------
    UsageError
        There are fewer than two evaluations, two runs have folders of one name, or the runs do not score
        the same records.

    Examples
    --------
    >>> beside, *differences = tfgmm.compare([with_meso.evaluate(), without.evaluate()])  # doctest: +SKIP
    >>> beside.shown  # doctest: +SKIP
    """
    from tfgmm.evaluation import report as reports
    from tfgmm.evaluation.evaluation import Evaluation

    evaluations = list(evaluations)
    if len(evaluations) < 2 or not all(isinstance(one, Evaluation) for one in evaluations):
        raise UsageError("compare: give a list of two or more evaluations, as run.evaluate() returns each")
    names = [one.run.path.name for one in evaluations]
    if len({*names}) < len(names):
        raise UsageError(f"compare: runs are told apart by the names of their folders, not {listed(names)}")
    return reports.compare(evaluations)


@checked
def report(
    runs: Sequence[PathLike],
    page: PathLike | None = None,
    *,
    markdown: PathLike | None = None,
    baselines: bool = True,
    overwrite: bool = False,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> Report:
    """Evaluate runs, and write one self-contained HTML page with all results.

    Parameters
    ----------
    runs : sequence of Run or path
        One or more runs; several runs are also compared.
    page : path, optional
        HTML page; ``report.html`` in the folder of the first run by default.
    markdown : path, optional
        Folder for the same report as Markdown and figures.
    baselines : bool
        If True, fit all simpler models on the same folds; this takes minutes, once per run.
    overwrite : bool
        If True, also replace files of the same names that are no report.
    report : callable
        Called with the name of the current step and the share of the step that is done, 0 to 1.

    Returns
    -------
    Report
        Paths of the written files, and the evaluations.

    Raises
    ------
    UsageError
        A path is no run folder, a run is not finished, or an output file exists and is no report.
    DataError
        The predictions of a run are damaged, or the file system refuses to write.

    Examples
    --------
    >>> tfgmm.report(["runs/kik", "runs/kik-meso"], "both.html")  # doctest: +SKIP
    """
    from tfgmm.evaluation import evaluation
    from tfgmm.evaluation import report as reports

    paths = [Path(run) for run in runs]
    if not paths:
        raise UsageError("report: give at least one run")
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


@checked
def check(folder: PathLike) -> pd.DataFrame:
    """Verify the files of a run or a dataset against their hashes, and return the state of each file.

    Parameters
    ----------
    folder : path or Run
        Run folder or dataset folder.

    Returns
    -------
    pandas.DataFrame
        One row per file: ``file``, the name; ``state``, which is ``whole``, ``not trained yet``, or a
        sentence on what is wrong with the file.

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
