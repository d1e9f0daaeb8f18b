"""Write evaluations of runs as one self-contained HTML page, or as a folder of Markdown and figures."""

import base64
import datetime
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from tfgmm.core import drawing, files, outputs
from tfgmm.evaluation import comparison, network_gain, scores
from tfgmm.evaluation.evaluation import Evaluation, markdown_table
from tfgmm.evaluation.findings import BRACKETS
from tfgmm.evaluation.sections import NARROW_MARK, Section
from tfgmm.stats import bootstrap

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("tfgmm.evaluation"),
    autoescape=jinja2.select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)

#: Length from which a text of a table may break, characters.
_LONG = 60
#: Marks of indented texts and of the headings above them: characters for private use.
_BELOW, _ABOVE = "\ue000", "\ue001"
#: Texts of the two templates by which an earlier report is recognised.
_PAGE_MARK = "<p>Made by tfgmm on "
_FOLDER_MARK = " by `tfgmm report "


def compare(evaluations: Sequence[Evaluation]) -> list[Section]:
    """Return report sections that compare runs: four-way tables, and paired differences of scores.

    The differences are the scores of the first run minus the scores of each other run.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Evaluations of two or more runs.

    Returns
    -------
    list of Section
        The section with the four-way tables, then a section for each run after the first; where either
        run trains on more networks than the other, also a section on the gain by distance.

    Raises
    ------
    UsageError
        The runs do not score the same records.
    """
    scored = {evaluation.run.path.name: evaluation.scored for evaluation in evaluations}
    tables = {name: scores.four_way(run.models, run.reference) for name, run in scored.items()}
    networks = {
        evaluation.run.path.name: comparison.networks_of_study(evaluation.run.experiment)
        for evaluation in evaluations
    }
    side_by_side = comparison.side_by_side(tables, networks)
    sections = [
        Section(
            "side_by_side",
            "Runs beside each other",
            "RMSE of ln IM: mean and standard deviation over the partial ensembles.",
            side_by_side,
            comparison.readable(side_by_side),
        )
    ]
    (first_name, first), *further = scored.items()
    for name, second in further:
        difference = comparison.between_runs(
            first.models, second.models, first.reference, (first_name, name)
        )
        sections.append(_difference_section(first_name, name, difference))
        for dense, sparse in ((first, second), (second, first)):
            if network_gain.is_denser(dense, sparse):
                sections.append(network_gain.section(dense, sparse))
    return sections


def _difference_section(first: str, second: str, difference: pd.DataFrame) -> Section:
    """Return the report section on the scores of the first run minus the scores of the second run.

    `difference` is the result of `tfgmm.evaluation.comparison.between_runs`.
    """
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
        chunks=[
            "" if pd.isna(low) else f"[{low:+.3f}, {high:+.3f}]"
            for low, high in zip(rows["low_chunks"], rows["high_chunks"], strict=True)
        ],
    )
    return Section(
        f"{first}_minus_{second}",
        f"{first} minus {second}, on the same records",
        "Negative RMSE and CRPS: the first is better. 90 % intervals by the paired two-way bootstrap over "
        "events and sites; chunks: sites of one chunk, which share networks, resampled together.",
        difference,
        shown,
    )


def refuse_page(path: Path, overwrite: bool = False) -> None:
    """Raise an error if `path` exists and is not an earlier report, and may not be replaced.

    Parameters
    ----------
    path : Path
        The HTML page that shall be written.
    overwrite : bool
        True: any file may be replaced.

    Raises
    ------
    UsageError
        `path` is something other than a report, and `overwrite` is false.
    """
    outputs.refuse_strangers([path], lambda page: outputs.holds(page, _PAGE_MARK), overwrite)


def refuse_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise an error if `folder` is not empty and holds no earlier report, and may not be written into.

    Parameters
    ----------
    folder : Path
        The folder of Markdown and figures that shall be written.
    overwrite : bool
        True: any content may be there.

    Raises
    ------
    UsageError
        The folder is not empty and holds no report, and `overwrite` is false.
    """
    readme = folder / "README.md"
    outputs.refuse_strangers([readme], lambda page: outputs.holds(page, _FOLDER_MARK), overwrite)
    files.refuse_existing(folder, overwrite or readme.is_file())


def html(evaluations: Sequence[Evaluation], path: Path, overwrite: bool = False) -> None:
    """Write evaluations as one HTML page that contains its figures and needs no other file.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Evaluations of one or more runs; several runs are also compared, see `compare`.
    path : Path
        The page. An earlier report is replaced; any other file is replaced only with `overwrite`.
    overwrite : bool
        True: replace any file at `path`.

    Raises
    ------
    UsageError
        `path` is something other than a report and `overwrite` is false, or the runs do not score the same
        records.
    DataError
        The file system refuses to write.
    """
    refuse_page(path, overwrite)
    template = _TEMPLATES.get_template("report.html")
    page = template.render(
        runs=evaluations,
        comparison=compare(evaluations) if len(evaluations) > 1 else [],
        shown=_shown,
        brackets=BRACKETS,
        table=_html_table,
        picture=_embed_figure,
        drawn=_embed_drawn,
        date=datetime.datetime.now(datetime.UTC).date(),
    )
    with files.whole_file(path) as temporary:
        temporary.write_text(page)


def _shown(evaluation: Evaluation) -> list[Section]:
    """Return the sections that a report shows: those that are more than a CSV file."""
    return [
        section
        for section in evaluation.sections
        if section.shown is not None or section.draw is not None or section.table is None
    ]


def _html_table(table: pd.DataFrame) -> Markup:
    """Return a table as HTML with all texts escaped.

    Indented texts get the CSS class ``below``, the headings above them ``above``, and long texts, which may
    break, ``words``.
    """
    first = table.iloc[:, 0].astype(str)
    indented = first.str.startswith("  ")
    if indented.any():  # pandas strips blanks
        marked = (_ABOVE + first).mask(indented, _BELOW + first.str.strip())
        table = table.assign(**{table.columns[0]: marked})
    markup = table.to_html(index=False, border=0, escape=True, justify="left")
    for mark, name in ((_BELOW, "below"), (_ABOVE, "above")):
        markup = markup.replace(f"<td>{mark}", f'<td class="{name}">')
    return Markup(re.sub(rf"<td>(?=[^<]{{{_LONG}}})", '<td class="words">', markup))


def _embed_figure(evaluation: Evaluation, section: Section) -> str:
    """Return the PNG figure of a section, read from the run folder, as a data URL."""
    return _as_url((evaluation.run.path / "figures" / f"{section.name}.png").read_bytes())


def _embed_drawn(section: Section) -> str:
    """Return the figure of a comparison, which is in no run folder, as a data URL."""
    return _as_url(_draw_png(section))


def _draw_png(section: Section) -> bytes:
    """Return the figure of a section as the content of a PNG file."""
    assert section.draw is not None
    image = io.BytesIO()
    with drawing.mpl.rc_context(drawing.STYLE):
        figure = section.draw()
        figure.savefig(image, format="png", bbox_inches="tight")
    drawing.plt.close(figure)
    return image.getvalue()


def _as_url(png: bytes) -> str:
    """Return the content of a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def markdown(
    evaluations: Sequence[Evaluation], folder: Path, command: str, overwrite: bool = False
) -> None:
    """Write evaluations as a folder of Markdown and figures; the CSV files stay in the run folders.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Evaluations of one or more runs; several runs are also compared, see `compare`.
    folder : Path
        The folder. An earlier report in it is replaced; other files stay.
    command : str
        The command that made the report, ``tfgmm report ...``, which the report prints.
    overwrite : bool
        True: write into a folder that is not empty, and replace a ``README.md`` that is no report.

    Raises
    ------
    UsageError
        The folder is not empty and holds no report, and `overwrite` is false; or the runs do not score the
        same records.
    DataError
        The file system refuses to write.
    """
    refuse_folder(folder, overwrite)
    with files.whole_files(folder) as temporary:
        for evaluation in evaluations:
            _copy_figures(evaluation, temporary / evaluation.run.path.name)
        compared = compare(evaluations) if len(evaluations) > 1 else []
        for section in compared:
            if section.draw is not None:
                (temporary / f"{section.name}.png").write_bytes(_draw_png(section))
        template = _TEMPLATES.get_template("report.md")
        page = template.render(
            runs=evaluations,
            comparison=compared,
            shown=_shown,
            brackets=BRACKETS,
            table=markdown_table,
            command=command,
            date=datetime.datetime.now(datetime.UTC).date(),
        )
        (temporary / "README.md").write_text(page)


def _copy_figures(evaluation: Evaluation, folder: Path) -> None:
    """Copy the PNG figures of a run into `folder`, which is created."""
    folder.mkdir()
    for section in evaluation.sections:
        if section.draw is not None:
            shutil.copy(evaluation.run.path / "figures" / f"{section.name}.png", folder)
