#!/usr/bin/env python
"""Compare a run of several intensity measures with runs of single ones: scores, time and size on disk."""

import contextlib
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from result_page import head, made
from score_window import text_of

from tfgmm.cli.console import console, run_script, say_simulated, show_table
from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.evaluation import comparison, scores
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import truth
from tfgmm.stats.im_correlation import PARTS

#: Cells (site role / event role) that are compared, and their names on the page.
CELLS = {
    "training / training": "known sites, known events",
    "training / validation": "known sites, new events",
    "validation / training": "held-out sites, known events",
    "validation / validation": "held-out sites, new events",
}
STATISTICS = ("RMSE", "NLL")
#: Parts of the residuals whose correlation is planted.
PLANTED = ("between_event", "single_station")
MEGABYTE = 1e6
EXPLANATION = """\
Compared are the chunks that both runs have trained. *together*: the run whose networks predict all
measures; *alone*: the run of networks of that measure only. Partial ensembles, pooled over the chunks, on
the same records. Differences are together minus alone, so below 0 the common networks are better, with
paired 90 % intervals (events and sites resampled; the sites of a chunk resampled together). *s an epoch*:
training of a network alone, without backbone and field.
"""


def differences(together: RunFolder, alone: RunFolder) -> pd.DataFrame:
    """Scores of one run of several measures minus those of a run of some of them, on the same records.

    Where the second run has trained some of the chunks only, these are compared.

    Returns
    -------
    pandas.DataFrame
        Rows of `tfgmm.evaluation.comparison.between_runs` for `CELLS` and `STATISTICS`.
    """
    missing = set(alone.experiment.ims) - set(together.experiment.ims)
    if missing:
        raise UsageError(f"run {together.path} has no {', '.join(sorted(missing))}: leave {alone.path} out")
    first, second = (scores.partial_ensembles(run.read_predictions()) for run in (together, alone))
    first = first[first["im"].isin(alone.experiment.ims) & first["chunk"].isin(second["chunk"].unique())]
    names = str(together.path), str(alone.path)
    table = comparison.between_runs(first, second, together.experiment.reference, names)
    return table[table["cell"].isin(CELLS) & table["statistic"].isin(STATISTICS)]


def scores_of(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of both runs and their differences as texts, a row per measure and cell."""
    rows = []
    for (im, cell), of_cell in table.groupby(["im", "cell"], sort=False, observed=True):
        row = {"im": im, "sites and events": CELLS[cell], "records": f"{of_cell['n'].iloc[0]:,}"}
        for statistic, values in of_cell.set_index("statistic").loc[list(STATISTICS)].iterrows():
            row[f"{statistic} together"] = f"{values['first']:.3f}"
            row[f"{statistic} alone"] = f"{values['second']:.3f}"
            row[f"difference of {statistic}"] = text_of(values)
        rows.append(row)
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> str:
    """Sentences on the largest differences over measures and cells, by the wider interval."""
    sentences, table = [], comparison.with_wider_interval(table)
    for statistic in STATISTICS:
        rows = table[table["statistic"] == statistic]
        worst = rows.loc[rows["value"].idxmax()]
        worse, better = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
        sentences.append(
            f"{statistic}: at most {worst['value']:+.3f} ({worst['im']}, {CELLS[worst['cell']]}); the "
            f"wider interval is above 0 in {worse} of {len(rows)} rows, below 0 in {better}."
        )
    return " ".join(sentences)


def cost(run: RunFolder) -> dict:
    """Time of the training of a member, s, and sizes on disk, MB, of one run."""
    experiment = run.experiment
    members = [run.member(*place) for place in run.trained(experiment.ims[0])]
    networks = {path for member in members for path in map(member.network, experiment.ims)}
    sizes = [path.stat().st_size for path in run.path.rglob("*") if path.is_file()]
    count = len(experiment.ims)
    return {
        "run": run.path.name,
        "measures": f"{count}" if count > 3 else ", ".join(experiment.ims),
        "members": len(members),
        "s an epoch": float(np.median([_seconds_of_epoch(member.done()) for member in members])),
        "networks MB": sum(path.stat().st_size for path in networks) / MEGABYTE,
        "run MB": sum(sizes) / MEGABYTE,
    }


def _seconds_of_epoch(done: dict) -> float:
    """Time of an epoch of a trained member, s."""
    return done["seconds"] / sum(training["epochs"] for training in done["trainings"].values())


def correlations(run: RunFolder) -> pd.DataFrame:
    """Correlations between measures, estimated minus planted, over all pairs; a row per part.

    The site terms have a part that follows the layers, whose correlation is another: it is left out.
    """
    fitted = run.im_correlation()
    order = [truth.IMS.index(im) for im in fitted.ims]
    planted, pairs = truth.planted_im_correlation()[np.ix_(order, order)], np.triu_indices(len(order), 1)
    rows = []
    for part, correlation in zip(PARTS, fitted.correlation, strict=True):
        if part in PLANTED:
            errors = (correlation - planted)[pairs]
            row = {"part": part, "mean": errors.mean(), "rms": np.sqrt(np.mean(errors**2))}
            rows.append(row | {"largest": np.abs(errors).max()})
    of_events = f"{fitted.records.min():,} records of {fitted.events.min()} events"
    return pd.DataFrame(rows).assign(**{"a pair": of_events})


def page_of(together: RunFolder, alone: list[RunFolder]) -> tuple[str, pd.DataFrame]:
    """The page as Markdown, and the table of the differences."""
    table = pd.concat([differences(together, run) for run in alone], ignore_index=True)
    costs = pd.DataFrame([cost(run) for run in (together, *alone)])
    experiment = together.experiment
    facts = {
        "records": ("simulated records, not measured ones" if together.simulated else together.data["name"])
        + f" (data hash {together.data['digest']})",
        **made(),
        "runs": f"networks {', '.join(experiment.networks)}; preset {experiment.preset}, base "
        f"{experiment.network.base}, at most {experiment.training.epochs} epochs; backbone "
        f"{experiment.backbone}; {experiment.chunks} chunks x {experiment.inits}; validation events: "
        f"{experiment.split.description}",
    }
    paragraphs = [
        head("One network of all measures beside one of each", facts).rstrip("\n"),
        summary(table),
        scores_of(table).to_markdown(index=False, disable_numparse=True),
        costs.to_markdown(index=False, floatfmt=["", "", "", ".2f", ".2f", ".1f"]),
        EXPLANATION,
    ]
    if together.simulated:
        with contextlib.suppress(UsageError):  # without evaluation, or with few records, there are none
            errors = correlations(together).to_markdown(index=False, floatfmt=["", "+.3f", ".3f", ".3f"])
            paragraphs += [
                "Correlations between measures, estimated minus planted, over all pairs:",
                errors,
            ]
    return "\n\n".join(paragraphs), table


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Finished run of all measures.")],
    alone: Annotated[
        list[Path], typer.Argument(metavar="ALONE...", help="Finished runs of single measures.")
    ],
    out: Annotated[Path, typer.Option(help="Markdown page; the table is beside it as CSV.")] = Path(
        "docs/results/measures.md"
    ),
) -> None:
    """Compare a run of all measures with runs of single measures on the same data and folds."""
    together = RunFolder.open(run)
    say_simulated(together.simulated)
    page, table = page_of(together, [RunFolder.open(path) for path in alone])
    with files.whole_file(out) as temporary:
        temporary.write_text(page)
    with files.whole_file(out.with_suffix(".csv")) as temporary:
        table.assign(simulated=together.simulated).to_csv(temporary, index=False, float_format="%.6g")
    show_table("Together and alone", scores_of(table))
    console.print(f"Written: {out} and {out.with_suffix('.csv')}")


if __name__ == "__main__":
    run_script(main)
