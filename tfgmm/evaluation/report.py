"""Evaluations of runs -> one self-contained HTML page, or a folder of Markdown, tables and figures."""

import base64
import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from tfgmm.core import files, outputs
from tfgmm.evaluation import comparison, scores
from tfgmm.evaluation.evaluation import Evaluation, markdown_table
from tfgmm.evaluation.section import NARROW_MARK, Section
from tfgmm.stats import bootstrap

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("tfgmm.evaluation"),
    autoescape=jinja2.select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)

#: By these texts of the templates a report is known.
_PAGE_MARK = "<p>Made by tfgmm on "
_FOLDER_MARK = " by `tfgmm report "


def compare(evaluations: Sequence[Evaluation]) -> list[Section]:
    """Runs beside each other: four-way tables, and paired differences of the first to the others.

    Raises
    ------
    UsageError
        The runs do not score the same records.
    """
    named = {one.run.path.name: one for one in evaluations}
    tables = {name: scores.four_way(one.scored.models, one.scored.reference) for name, one in named.items()}
    networks = {name: one.run.experiment.networks for name, one in named.items()}
    together = comparison.side_by_side(tables, networks)
    found = [
        Section(
            "side_by_side",
            "Runs beside each other",
            "RMSE of ln IM: mean and standard deviation over the partial ensembles.",
            together,
            comparison.readable(together),
        )
    ]
    (first, one), *others = named.items()
    for name, other in others:
        difference = comparison.between_runs(
            one.scored.models, other.scored.models, one.scored.reference, (first, name)
        )
        found.append(_between(first, name, difference))
    return found


def _between(first: str, second: str, difference: pd.DataFrame) -> Section:
    rows = difference[difference["model"].str.startswith(scores.ENSEMBLE)]
    rows = rows[rows["statistic"].isin(["RMSE", "CRPS", "coverage 90%", "sharpness"])]
    number = "{:.3f}".format
    shown = rows[["im", "cell", "model", "statistic"]].assign(
        **{first: rows["first"].map(number), second: rows["second"].map(number)},
        difference=rows["value"].map("{:+.3f}".format),
        interval=[
            f"[{low:+.3f}, {high:+.3f}]{NARROW_MARK * narrow}"
            for low, high, narrow in zip(rows["low"], rows["high"], bootstrap.is_narrow(rows), strict=True)
        ],
    )
    return Section(
        f"{first}_minus_{second}",
        f"{first} minus {second}, on the same records",
        "Negative RMSE and CRPS: the first is better. 90 % intervals by the paired two-way bootstrap over "
        "events and sites.",
        difference,
        shown,
    )


def refuse_page(path: Path, overwrite: bool = False) -> None:
    """Raise `UsageError` if `path` is something else than a report, and may not be replaced."""
    outputs.refuse_strangers([path], lambda page: outputs.holds(page, _PAGE_MARK), overwrite)


def refuse_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise `UsageError` if `folder` holds something else than a report, and may not be replaced."""
    readme = folder / "README.md"
    outputs.refuse_strangers([readme], lambda page: outputs.holds(page, _FOLDER_MARK), overwrite)
    files.refuse_existing(folder, overwrite or readme.is_file())


def html(evaluations: Sequence[Evaluation], path: Path, overwrite: bool = False) -> None:
    """Write one page with everything in it; nothing else is needed to read it.

    An earlier report is replaced, any other file only with `overwrite`.

    Raises
    ------
    UsageError
        `path` is something else than a report.
    DataError
        The file system refuses to write.
    """
    refuse_page(path, overwrite)
    template = _TEMPLATES.get_template("report.html")
    page = template.render(
        runs=evaluations,
        comparison=compare(evaluations) if len(evaluations) > 1 else [],
        table=_html_table,
        picture=_embedded,
        date=datetime.datetime.now(datetime.UTC).date(),
    )
    with files.whole_file(path) as temporary:
        temporary.write_text(page)


def _html_table(table: pd.DataFrame) -> Markup:
    """A table with headings of groups marked; all texts are escaped."""
    markup = table.to_html(index=False, border=0, escape=True, justify="left")
    return Markup(markup.replace("<td>  ", '<td class="below">'))


def _embedded(one: Evaluation, section: Section) -> str:
    content = (one.run.path / "figures" / f"{section.name}.png").read_bytes()
    return "data:image/png;base64," + base64.b64encode(content).decode()


def markdown(
    evaluations: Sequence[Evaluation], folder: Path, command: str, overwrite: bool = False
) -> None:
    """Write a folder of Markdown and figures, for documentation; the runs keep the CSV files.

    Parameters
    ----------
    evaluations : sequence of Evaluation
    folder : Path
        An earlier report in it is replaced; files of others stay.
    command : str
        What made it, to be printed there: ``tfgmm report ...``.
    overwrite : bool
        Replace a README that is no report.
    """
    refuse_folder(folder, overwrite)
    with files.whole_files(folder) as temporary:
        for one in evaluations:
            _copy(one, temporary / one.run.path.name)
        compared = compare(evaluations) if len(evaluations) > 1 else []
        template = _TEMPLATES.get_template("report.md")
        page = template.render(
            runs=evaluations,
            comparison=compared,
            table=markdown_table,
            command=command,
            date=datetime.datetime.now(datetime.UTC).date(),
        )
        (temporary / "README.md").write_text(page)


def _copy(one: Evaluation, folder: Path) -> None:
    folder.mkdir()
    for section in one.sections:
        if section.draw is not None:
            shutil.copy(one.run.path / "figures" / f"{section.name}.png", folder)
