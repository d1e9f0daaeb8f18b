#!/usr/bin/env python
"""How much training reaches the quality of a plain recipe: Adam at a constant rate until patience ends."""

import contextlib
import tempfile
from pathlib import Path
from typing import Annotated
from unittest import mock

import numpy as np
import pandas as pd
import typer
from result_page import head, made

from tfgmm.cli.console import (
    console,
    import_tensorflow,
    run_script,
    say_simulated,
    show_table,
    train_missing,
)
from tfgmm.core import files
from tfgmm.evaluation import scores
from tfgmm.runs import experiment as experiments
from tfgmm.runs.experiment import Experiment, Split

PLAIN = "plain recipe"
#: Epochs without a better stopping loss, and passes at most, of the plain recipe.
PATIENCE, EPOCHS = 10, 100
CELLS = {"trained sites": "training", "held-out sites": "validation"}
FORMATS = {"steps": ".0f", "of plain": ".2f"} | dict.fromkeys(
    (f"{score}, {cell}" for cell in CELLS for score in ("RMSE", "CRPS")), ".3f"
)


def recipes(base: Experiment, steps: list[int]) -> dict[str, Experiment]:
    """The plain recipe and the preset with shorter schedules; all else is the same."""
    training = base.training
    plain = training.model_copy(update={"patience": PATIENCE, "epochs": EPOCHS, "max_steps": None})
    shorter = {f"{n:,} steps": training.model_copy(update={"max_steps": n}) for n in steps}
    return {
        name: base.model_copy(update={"training": one}) for name, one in ({PLAIN: plain} | shorter).items()
    }


def trained(name: str, experiment: Experiment, folder: Path, chunks: list[int]) -> pd.DataFrame:
    """One row a chunk: steps and scores for validation events."""
    import keras

    from tfgmm.network import member, training

    begun = training.begin(experiment, folder, chunks=tuple(chunks))
    say_simulated(begun.dataset.simulated)
    constant = mock.patch.object(member, "optimizer", lambda *_: keras.optimizers.Adam(1e-3))
    with constant if name == PLAIN else contextlib.nullcontext():
        train_missing(begun, name)
    partial = scores.partial_ensembles(begun.run.read_predictions())
    rows = []
    for one in begun.members:
        (network,) = begun.folder(one).done()["trainings"].values()
        steps = network["epochs"] * begun.material(one).steps
        row = {"recipe": name, "chunk": one.chunk, "steps": steps}
        cells = scores.cells(partial[partial["chunk"] == one.chunk], experiment.reference)
        for cell, role in CELLS.items():
            means = scores.per_record(cells[f"{role} / validation"]).mean(numeric_only=True)
            row |= {f"RMSE, {cell}": np.sqrt(means["residual^2"]), f"CRPS, {cell}": means["crps"]}
        rows.append(row)
    return pd.DataFrame(rows)


EXPLANATION = f"""\
Single members of the preset `standard` with the field, validation events; mean over the chunks. *{PLAIN}*:
Adam at a constant rate of 1e-3 until the stopping loss has not fallen for {PATIENCE} epochs, weights of the
best epoch. *n steps*: warm-up and cosine over n steps, weights of the last epoch. *steps*: optimiser steps
taken; *of plain*: as a share of the plain recipe's.
"""


def main(
    *,
    networks: Annotated[str, typer.Option(help="Networks whose records train.")] = "kik,meso",
    data: Annotated[str | None, typer.Option(help="Dataset folder (default: simulated records).")] = None,
    split: Annotated[str | None, typer.Option(help="Validation events, as of tfgmm train.")] = None,
    chunk: Annotated[list[int] | None, typer.Option(help="Chunk; repeatable (default: 0 and 1).")] = None,
    steps: Annotated[list[int] | None, typer.Option(help="Length of a schedule; repeatable.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Keep the runs here and go on with them (default: thrown away).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Compare what members learn by a plain recipe and by shorter and shorter schedules."""
    import_tensorflow()
    names = tuple(networks.split(","))
    base = experiments.preset(
        "standard",
        networks=names,
        reference=names[0],
        data=data,
        inits=1,
        split=Split.parse(split) if split else None,
    )
    chunks = sorted(set(chunk or (0, 1)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = runs or Path(scratch)
        parts = [
            trained(name, one, folder / name.replace(" ", "-").replace(",", ""), chunks)
            for name, one in recipes(base, steps or [500, 1000, 2000, 4000]).items()
        ]
    table = pd.concat(parts).drop(columns="chunk").groupby("recipe", sort=False).mean()
    table.insert(1, "of plain", table["steps"] / table.loc[PLAIN, "steps"])
    table = table.reset_index()
    show_table("Training recipes, validation events", table, FORMATS)
    write(table, base, chunks, out)


def write(table: pd.DataFrame, base: Experiment, chunks: list[int], folder: Path) -> None:
    """A page ``training-recipe-NETWORKS.md``."""
    simulated = ", simulated records, not measured ones" if base.data is None else ""
    lines = [
        head(
            f"Training recipes: {', '.join(base.networks)}{simulated}",
            made() | {"chunks": f"{', '.join(map(str, chunks))}; one initialisation"},
        ),
        table.to_markdown(index=False, floatfmt=[FORMATS.get(column, "") for column in table]) + "\n",
        EXPLANATION,
    ]
    path = folder / f"training-recipe-{'-'.join(base.networks)}.md"
    with files.whole_file(path) as temporary:
        temporary.write_text("\n".join(lines))
    console.print(f"Written: {path}")


if __name__ == "__main__":
    run_script(main)
