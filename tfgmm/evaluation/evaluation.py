"""Evaluate a finished run: write its tables and figures."""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from tfgmm.core import drawing, files
from tfgmm.evaluation import residual_sections, scored_run, sections
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section
from tfgmm.runs.run import RunFolder


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A scored run with the sections of its evaluation.

    Attributes
    ----------
    scored : ScoredRun
    sections : list of Section
        Their tables and figures stand in the run folder.
    """

    scored: ScoredRun
    sections: list[Section]

    @property
    def run(self) -> RunFolder:
        """Return the run."""
        return self.scored.run

    def section(self, name: str) -> Section:
        """Return the section of this name."""
        return next(section for section in self.sections if section.name == name)

    def facts(self) -> dict[str, str]:
        """Return the records and settings on which the numbers rest, as texts by their heading."""
        experiment, data = self.run.experiment, self.run.data
        training = experiment.training
        facts = {
            "records": data["name"]
            + ", **simulated**" * self.run.simulated
            + f" (data hash {data['digest']})",
            "networks": f"{', '.join(experiment.networks)}; reference {experiment.reference}",
            "run": f"preset {experiment.preset}, target {training.target}, weighting by "
            f"{training.weighting}, grid shifted by up to {training.shift_pixels} pixels, random effects "
            f"{experiment.random_effects}, stopping {experiment.stopping}, "
            f"{experiment.network.precision}, seed {experiment.seed}; {self.scored.members} of "
            f"{experiment.chunks * experiment.inits} members",
        }
        return facts | ({"note": data["truncation"]} if data["truncation"] else {})


def evaluate(
    run: RunFolder | Path, with_baselines: bool = True, report: scored_run.Report = lambda what, share: None
) -> Evaluation:
    """Score a run; write the tables and figures of its evaluation into ``tables/`` and ``figures/``.

    Parameters
    ----------
    run : RunFolder or Path
        The run, open or its folder.
    with_baselines : bool
        Fit the baselines on the same folds (minutes, once a run); else the ergodic regression only.
    report : callable
        Called with the name of the stage at work and the share of it that is done, 0 to 1.

    Raises
    ------
    UsageError
        There is no run, or it is not finished.
    DataError
        The predictions are damaged, or the file system refuses to write.
    """
    mpl.use("Agg")
    run = RunFolder.open(run)
    scored = scored_run.gather(run, with_baselines, report)
    written = []
    for make_sections in (sections.score_sections, residual_sections.residual_sections):
        for section in make_sections(scored):
            report(section.title, 0.0)
            _write(run, section)
            written.append(section)
    return Evaluation(scored, written)


def _write(run: RunFolder, section: Section) -> None:
    """Write table and figure of a section into the run folder."""
    if section.table is not None:
        with files.whole_file(run.path / "tables" / f"{section.name}.csv") as temporary:
            section.table.assign(simulated=run.simulated).to_csv(
                temporary, index=False, float_format="%.6g"
            )
    if section.draw is not None:
        drawing.save(section.draw(), run.path / "figures" / section.name)


def markdown_table(table: pd.DataFrame) -> str:
    """Write a table of texts as Markdown; a text of the first column that is not indented heads a group."""
    first = table.iloc[:, 0].astype(str)
    if first.str.startswith("  ").any():
        table = table.assign(
            **{table.columns[0]: first.where(first.str.startswith(" "), "**" + first + "**")}
        )
    return table.to_markdown(index=False, disable_numparse=True)
