"""Evaluate a finished run: score its records, and write tables and figures into the run folder."""

import dataclasses
from pathlib import Path

import pandas as pd

from tfgmm.core import drawing, files
from tfgmm.core.errors import listed
from tfgmm.core.shown import Shown
from tfgmm.data import layers
from tfgmm.data.schemas import training_records
from tfgmm.evaluation import (
    backbone_section,
    beyond_data,
    findings,
    magnitude_types,
    residual_sections,
    scored_run,
    sections,
    spectra_sections,
)
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section
from tfgmm.runs import summary
from tfgmm.runs.run import RunFolder


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """A scored run with the sections of its evaluation.

    Attributes
    ----------
    scored : ScoredRun
        The run with all predictions of its records.
    sections : list of Section
        Sections whose tables and figures are written into the run folder.
    """

    scored: ScoredRun
    sections: list[Section]

    def __repr__(self) -> str:
        """Return one line with the folder of the run."""
        return f"<Evaluation of {self.run.path}: {listed(self.run.experiment.ims)}>"

    def _facts(self) -> dict[str, str]:
        """Return what the run has learned about each intensity measure, and the names of the sections."""
        learned = {
            f"{im}, {finding.what}": finding.short
            for im in self.run.experiment.ims
            for finding in self.findings(im)
        }
        return {"run": str(self.run.path)} | learned | {"sections": listed([s.name for s in self.sections])}

    @property
    def run(self) -> RunFolder:
        """Return the folder of the evaluated run."""
        return self.scored.run

    def section(self, name: str) -> Section:
        """Return the section with the given name.

        Parameters
        ----------
        name : str
            `Section.name`, for example ``four_way``.

        Returns
        -------
        Section
            The section.

        Raises
        ------
        StopIteration
            The evaluation has no section of this name.
        """
        return next(section for section in self.sections if section.name == name)

    def settings(self) -> dict[str, str]:
        """Return the records, networks and settings of the run, for the head of the report.

        Returns
        -------
        dict of str to str
            Texts by heading: ``records``, ``networks``, ``validation events``, ``run``; and ``note``, if
            records are truncated.
        """
        experiment, data = self.run.experiment, self.run.data
        training = experiment.training
        facts = {
            "records": data["name"]
            + ", **simulated**" * self.run.simulated
            + f" (data hash {data['digest']})",
            "networks": f"{', '.join(experiment.networks)}; reference {experiment.reference}",
            "validation events": experiment.split.description,
            "run": f"preset {experiment.preset}, backbone {experiment.backbone}, loss weighting "
            f"{training.weighting}, grid shifted by up to {training.shift_pixels} pixels, field "
            f"{'yes' if experiment.field else 'no'}, stopping {experiment.stopping}, "
            f"{experiment.network.precision}, seed {experiment.seed}; {self.scored.members} of "
            f"{experiment.chunks * experiment.inits} members",
        }
        return facts | ({"note": data["truncation"]} if data["truncation"] else {})

    def findings(self, im: str) -> list[findings.Finding]:
        """Return what the run has learned about one intensity measure, in words.

        Parameters
        ----------
        im : str
            Intensity measure of the run.

        Returns
        -------
        list of Finding
            How good the ensemble is at known and held-out sites and events, beside other models; what the
            networks add; if sigma is right; where the run may be used. Empty without sections on scores.
        """
        tables = {section.name: section.table for section in self.sections}
        if not {"differences", "scores"} <= {*tables}:
            return []
        return findings.of_measure(im, tables["differences"], tables["scores"], _scope(self.scored, im))


def _scope(scored: ScoredRun, im: str) -> findings.Scope:
    """Return what the training records of all chunks cover, each record counted once."""
    experiment, of_im = scored.run.experiment, scored.ensemble[scored.ensemble["im"] == im]
    records = training_records(of_im).drop_duplicates(["event_id", "station_id"])
    longitude = layers.beside(records["longitude"], records["longitude"].iloc[0])
    corners = (longitude.min(), records["latitude"].min()), (longitude.max(), records["latitude"].max())
    beyond = "the networks are on their own there"
    if experiment.backbone != "none":
        beyond = f"there the backbone ({experiment.backbone}) carries a prediction"
    return findings.Scope(
        learned_from=summary.learned_from(records),
        region=" to ".join(drawing.degrees(*corner) for corner in corners),
        new_events=experiment.split.description,
        simulated=scored.run.simulated,
        beyond=f"Outside these ranges nothing is checked: {beyond}.",
    )


def evaluate(
    run: RunFolder | Path, with_baselines: bool = True, report: scored_run.Report = lambda what, share: None
) -> Evaluation:
    """Score a run, write the tables and figures of its evaluation, and return the evaluation.

    The files are ``tables/*.csv`` and ``figures/*`` in the run folder.

    Parameters
    ----------
    run : RunFolder or Path
        The run, open or as the path of its folder.
    with_baselines : bool
        True: fit all baselines on the folds of the run and evaluate the published models, which takes
        minutes the first time. False: fit the ergodic regression only.
    report : callable
        Function called with the name of the current stage and the share of the stage that is done, 0 to 1.

    Returns
    -------
    Evaluation
        The scored run and the sections that were written.

    Raises
    ------
    UsageError
        The folder holds no run, or the run is not finished.
    DataError
        The predictions are damaged, or the file system refuses to write.
    """
    run = RunFolder.open(run)
    scored = scored_run.gather(run, with_baselines, report)
    written = []
    makers = [sections.score_sections, residual_sections.residual_sections]
    # All that a split by magnitude validates lies beyond the data: there it is the main result.
    makers.insert(0 if run.experiment.split.kind == "magnitude" else 1, beyond_data.beyond_data_sections)
    makers += [spectra_sections.spectra_sections]
    makers += [magnitude_types.magnitude_type_sections, backbone_section.backbone_sections]
    for make_sections in makers:
        for section in make_sections(scored):
            report(section.title, 0.0)
            _write(run, section)
            written.append(section)
    return Evaluation(scored, written)


def _write(run: RunFolder, section: Section) -> None:
    """Write the table (CSV) and the figure (PNG, PDF) of a section, where present, into the run folder."""
    if section.table is not None:
        with files.whole_file(run.path / "tables" / f"{section.name}.csv") as temporary:
            section.table.assign(simulated=run.simulated).to_csv(
                temporary, index=False, float_format="%.6g"
            )
    if section.draw is not None:
        drawing.save(section.draw(), run.path / "figures" / section.name)


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown, with headings of groups in bold.

    Parameters
    ----------
    table : pandas.DataFrame
        Texts. If any text of the first column is indented by two spaces, the texts of that column without
        indentation are headings of groups.

    Returns
    -------
    str
        The table in Markdown.
    """
    first = table.iloc[:, 0].astype(str)
    if first.str.startswith("  ").any():
        table = table.assign(
            **{table.columns[0]: first.where(first.str.startswith(" "), "**" + first + "**")}
        )
    return table.to_markdown(index=False, disable_numparse=True)
