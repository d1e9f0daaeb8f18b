"""A finished run -> its tables and figures."""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from tfgmm.core import drawing, files
from tfgmm.evaluation import scored, sections
from tfgmm.evaluation.section import Section
from tfgmm.runs.run import RunFolder


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Everything that is asked of a run, answered.

    Attributes
    ----------
    scored : Scored
    sections : list of Section
        Their tables and figures stand in the run folder.
    """

    scored: scored.Scored
    sections: list[Section]

    @property
    def run(self) -> RunFolder:
        """The run."""
        return self.scored.run

    def section(self, name: str) -> Section:
        """One section by its name."""
        return next(section for section in self.sections if section.name == name)

    def facts(self) -> dict[str, str]:
        """What the numbers rest on."""
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
    path: Path, with_baselines: bool = True, report: scored.Report = lambda what, share: None
) -> Evaluation:
    """Score a run; write ``tables/`` and ``figures/``.

    Parameters
    ----------
    path : Path
        Run folder.
    with_baselines : bool
        Fit the baselines on the same folds (minutes, once a run); else the ergodic regression only.
    report : callable
        Receives what is being done and the share of it that is done.

    Raises
    ------
    UsageError
        There is no run, or it is not finished.
    DataError
        The predictions are damaged, or the file system refuses to write.
    """
    mpl.use("Agg")
    run = RunFolder.open(path)
    gathered = scored.gather(run, with_baselines, report)
    found = []
    for section in sections.all_of(gathered):
        report(section.title, 0.0)
        _write(run, section)
        found.append(section)
    return Evaluation(gathered, found)


def _write(run: RunFolder, section: Section) -> None:
    if section.table is not None:
        with files.whole_file(run.path / "tables" / f"{section.name}.csv") as temporary:
            section.table.assign(simulated=run.simulated).to_csv(
                temporary, index=False, float_format="%.6g"
            )
    if section.draw is not None:
        drawing.save(section.draw(), run.path / "figures" / section.name)


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts as Markdown; a first column that is not indented heads a group."""
    first = table.iloc[:, 0].astype(str)
    if first.str.startswith("  ").any():
        table = table.assign(
            **{table.columns[0]: first.where(first.str.startswith(" "), "**" + first + "**")}
        )
    return table.to_markdown(index=False, disable_numparse=True)
