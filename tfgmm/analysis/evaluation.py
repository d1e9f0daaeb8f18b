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
        """The four-way table of each intensity measure with numbers as one reads them."""
        for im, of_im in self.four_way.groupby("im", observed=True):
            table = pd.DataFrame(
                {
                    "cell": of_im["cell"].where(~of_im["cell"].duplicated(), ""),
                    "model": of_im["model"],
                    "RMSE over chunks": [
                        f"{mean:.3f}" + ("" if np.isnan(std) else f" ± {std:.3f}")  # NaN: one chunk only
                        for mean, std in zip(of_im["rmse"], of_im["rmse_std"], strict=True)
                    ],
                    "RMSE pooled": of_im["rmse_pooled"].map("{:.3f}".format),
                    "bias": of_im["bias"].map("{:+.3f}".format),
                    "z mean": of_im["z_mean"].map("{:+.2f}".format),
                    "z std": of_im["z_std"].map("{:.2f}".format),
                    "records": of_im["records"].map("{:,}".format),
                }
            )
            yield str(im), table


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
