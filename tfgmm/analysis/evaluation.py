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
    """

    run: RunFolder
    four_way: pd.DataFrame

    def printable(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The four-way table of each intensity measure, a line a cell and a line a model below it."""
        for im, of_im in self.four_way.groupby("im", observed=True):
            lines = []
            for cell, of_cell in of_im.groupby("cell", sort=False):
                lines += [{"sites / events": str(cell)}, *(_line(row) for _, row in of_cell.iterrows())]
            yield str(im), pd.DataFrame(lines).fillna("")


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
    """Score a run, write ``tables/four_way.csv`` and the figures of standardised residuals.

    Raises
    ------
    UsageError
        There is no run, or it is not finished.
    """
    mpl.use("Agg")
    run = RunFolder.open(path)
    predictions = run.read_predictions()
    partial = scores.partial_ensembles(predictions)
    reference = run.experiment.reference
    with_baseline = pd.concat([partial, baselines.ergodic_predictions(predictions)], ignore_index=True)
    table = scores.four_way(with_baseline, reference).assign(simulated=run.simulated)
    with files.whole_file(run.path / "tables" / "four_way.csv") as temporary:
        table.to_csv(temporary, index=False)
    for im, of_im in partial.groupby("im", observed=True):
        note = f"{im}, {', '.join(run.experiment.networks)}"
        note += f" ({figures.SIMULATED})" if run.simulated else ""
        figure = figures.four_cells(of_im, reference, note)
        figures.save(figure, run.path / "figures" / f"standardised_residuals_{im}")
    return Evaluation(run, table)
