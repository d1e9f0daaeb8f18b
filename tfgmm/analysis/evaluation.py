"""A finished run -> its tables and figures."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from tfgmm import files
from tfgmm.analysis import baselines, figures, scores
from tfgmm.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of a run.

    Attributes
    ----------
    run : RunFolder
    four_way : pandas.DataFrame
        Of `tfgmm.analysis.scores.four_way`.
    members : int
        Trained members an intensity measure.
    """

    run: RunFolder
    four_way: pd.DataFrame
    members: int

    def printable(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The four-way table of each intensity measure, a line a cell and a line a model below it."""
        for im, of_im in self.four_way.groupby("im", observed=True):
            lines = []
            for cell, of_cell in of_im.groupby("cell", sort=False):
                lines += [{"sites / events": str(cell)}, *(_line(row) for _, row in of_cell.iterrows())]
            yield str(im), pd.DataFrame(lines).fillna("")

    def markdown(self) -> str:
        """The printable tables, with what they rest on, as Markdown."""
        experiment, data = self.run.experiment, self.run.data
        training = experiment.training
        facts = {
            "records": data["name"]
            + ", **simulated**" * self.run.simulated
            + f" (data hash {data['digest']})",
            "networks": f"{', '.join(experiment.networks)}; reference {experiment.reference}",
            "run": f"preset {experiment.preset}, target {training.target}, weighting by "
            f"{training.weighting}, grid shifted by up to {training.shift_pixels} pixels, "
            f"{experiment.network.precision}, seed {experiment.seed}; {self.members} of "
            f"{experiment.chunks * experiment.inits} members",
        }
        if data["truncation"]:
            facts["note"] = data["truncation"]
        lines = [f"- {name}: {text}" for name, text in facts.items()]
        for im, table in self.printable():
            lines += ["", f"Residuals of ln {im}, observed minus predicted:", ""]
            cell = table.iloc[:, 0]
            table.iloc[:, 0] = cell.where(cell.str.startswith(" "), "**" + cell + "**")
            lines += [table.to_markdown(index=False, disable_numparse=True)]
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Write ``tables/four_way.csv`` and ``.md``."""
        with files.whole_file(self.run.path / "tables" / "four_way.csv") as temporary:
            self.four_way.to_csv(temporary, index=False)
        with files.whole_file(self.run.path / "tables" / "four_way.md") as temporary:
            temporary.write_text(self.markdown())


def _line(row: pd.Series) -> dict[str, str]:
    """Numbers as one reads them."""
    spread = "" if np.isnan(row["rmse_std"]) else f" ± {row['rmse_std']:.3f}"  # NaN: one chunk only
    return {
        "sites / events": f"  {row['model']}",
        "RMSE (chunks)": f"{row['rmse']:.3f}{spread}",
        "pooled": f"{row['rmse_pooled']:.3f}",
        "bias": f"{row['bias']:+.3f}",
        "z mean": f"{row['z_mean']:+.2f}",
        "z std": f"{row['z_std']:.2f}",
        "records": f"{row['records']:,}",
    }


def evaluate(path: Path) -> Evaluation:
    """Score a run; write its tables, and figures of its standardised residuals.

    Raises
    ------
    UsageError
        There is no run, or it is not finished.
    DataError
        The predictions are damaged, or the file system refuses to write.
    """
    run = RunFolder.open(path)
    predictions = run.read_predictions()
    partial = scores.partial_ensembles(predictions)
    with_baseline = pd.concat([partial, baselines.ergodic_predictions(predictions)], ignore_index=True)
    table = scores.four_way(with_baseline, run.experiment.reference).assign(simulated=run.simulated)
    result = Evaluation(run, table, len(predictions[["chunk", "init"]].drop_duplicates()))
    result.write()
    _draw(run, partial)
    return result


def _draw(run: RunFolder, partial: pd.DataFrame) -> None:
    mpl.use("Agg")
    for im, of_im in partial.groupby("im", observed=True):
        note = f"{im}, {', '.join(run.experiment.networks)}"
        note += f" ({figures.SIMULATED})" if run.simulated else ""
        figure = figures.four_cells(of_im, run.experiment.reference, note)
        figures.save(figure, run.path / "figures" / f"standardised_residuals_{im}")
