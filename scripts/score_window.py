#!/usr/bin/env python
"""Score the validation window of runs once: the four cells beside all rivals, with paired intervals."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from result_page import head, made

import tfgmm
from tfgmm.cli.console import console, import_tensorflow, run_script, tracked
from tfgmm.core import files
from tfgmm.evaluation.rivals import WITH_FIELD
from tfgmm.evaluation.scores import ENSEMBLE

#: Cells (role of the site, role of the event) that a window scores.
CELLS = {
    "training / validation": "training sites, new events",
    "validation / training": "held-out sites, known events",
    "validation / validation": "held-out sites, new events",
}
#: A difference with its interval, and that of the chunks, which needs three of them.
DIFFERENCE = "{value:+.3f} ({low:+.3f} to {high:+.3f}"
OF_CHUNKS = "; chunks {low_chunks:+.3f} to {high_chunks:+.3f}"


def table_of(run: Path, name: str, im: str) -> pd.DataFrame:
    """A table of the evaluation of a run: the rows of a measure and of the cells that are scored."""
    table = pd.read_csv(run / "tables" / f"{name}.csv")
    return table[table["cell"].isin(CELLS) & table["im"].eq(im)]


def scores_of(run: Path, im: str) -> pd.DataFrame:
    """RMSE, and of validation events z and coverage, of every model in every cell, a row a model."""
    four_way, scores = (table_of(run, name, im) for name in ("four_way", "scores"))
    coverage = scores[scores["statistic"] == "coverage 90%"].set_index(["model", "cell"])["value"]
    rows = []
    for model, of_model in four_way.groupby("model", sort=False):
        cells = of_model.set_index("cell")
        shown = {
            name: f"{cells.loc[cell, 'rmse_pooled']:.3f}"
            for cell, name in CELLS.items()
            if cell in cells.index
        }
        shown["z std"] = " / ".join(f"{cells['z_std'].get(cell, float('nan')):.2f}" for cell in CELLS)
        inside = [coverage.get((model, cell), float("nan")) for cell in CELLS]
        shown["inside 90 %"] = " / ".join(f"{share:.1%}" for share in inside)
        rows.append({"model": model} | shown)
    return pd.DataFrame(rows)


def text_of(difference: pd.Series) -> str:
    """A difference and its intervals as a text."""
    text = DIFFERENCE.format(**difference)
    return text + (OF_CHUNKS.format(**difference) if pd.notna(difference["low_chunks"]) else "") + ")"


def differences_of(run: Path, im: str) -> pd.DataFrame:
    """RMSE of the ensemble minus that of every model, with both intervals, a row a model."""
    table = table_of(run, "differences", im)
    table = table[table["statistic"] == "RMSE"]
    rows = []
    for model, of_model in table.groupby("model", sort=False):
        cells = of_model.set_index("cell")
        texts = {name: text_of(cells.loc[cell]) for cell, name in CELLS.items() if cell in cells.index}
        rows.append({"model": model} | texts)
    found = pd.DataFrame(rows)
    is_rival = found["model"].str.endswith(WITH_FIELD)
    return pd.concat([found[is_rival], found[~is_rival]])


def page_of(run: "tfgmm.Run", im: str) -> str:
    """Section of the page on one run and intensity measure, as Markdown."""
    experiment = run.experiment
    field = "with the field" if experiment.field else "without field"
    scores, differences = scores_of(run.path, im), differences_of(run.path, im)
    paragraphs = [
        f"## {im}, networks {', '.join(experiment.networks)}",
        f"{experiment.chunks} chunks x {experiment.inits}, preset {experiment.preset}, backbone "
        f"{experiment.backbone}, {field}, seed {experiment.seed}; validation events: "
        f"{experiment.split.description}; records of {experiment.reference}.",
        f"Pooled RMSE of ln {im}; standard deviation of z, share inside the 90 % interval in these cells:",
        scores.to_markdown(index=False, disable_numparse=True),
        f"RMSE of {ENSEMBLE} minus that of the other model, with paired 90 % intervals (events and sites "
        "resampled; the sites of a chunk resampled together):",
        differences.to_markdown(index=False, disable_numparse=True),
    ]
    return "\n\n".join(paragraphs) + "\n"


def score(
    paths: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="Markdown page.")],
) -> None:
    """Evaluate runs beside all baselines, and write one page on their validation window."""
    import_tensorflow()
    runs = [tfgmm.open_run(path) for path in paths]
    for run in tracked(runs, "runs"):
        run.evaluate()
    facts = {"data": ", ".join(dict.fromkeys(run.folder.data["digest"] for run in runs)), **made()}
    sections = [page_of(run, im) for run in runs for im in run.experiment.ims]
    with files.whole_file(out) as temporary:
        temporary.write_text("\n".join([head("Scores of a validation window", facts), *sections]))
    console.print(f"Written: {out}")


if __name__ == "__main__":
    run_script(score)
