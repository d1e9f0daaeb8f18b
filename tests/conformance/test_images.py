"""The main figures look as they did when somebody last looked at them.

After a wanted change run ``TFGMM_NEW_IMAGES=1 pytest tests/conformance/test_images.py`` and look again.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.testing.compare import compare_images

from conftest import small_dataset
from helpers.prediction_tables import predictions
from tfgmm.data import figures as dataset_figures
from tfgmm.evaluation import figures, residuals, scores

IMAGES = Path(__file__).parent / "images"
#: Root mean square of grey levels: fonts of another FreeType pass, a line that is gone does not.
TOLERANCE = 8


def partial() -> pd.DataFrame:
    return scores.partial_ensembles(predictions()).assign(vs30_m_s=np.nan)


def four_cells() -> plt.Figure:
    return figures.four_cells(partial(), "kik", "PGA, kik, meso")


def trends() -> plt.Figure:
    table = partial().assign(year=2016)
    found = residuals.trends(table, "kik")
    cell = "training / validation"
    return figures.trends(
        scores.cells(table, "kik")[cell], found[found["cell"] == cell], "PGA", "PGA, kik, meso"
    )


def full_ensemble() -> plt.Figure:
    return figures.standardised(residuals.full_ensemble(predictions()), partial(), "kik", "PGA")


def stations() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(4, 4))
    dataset_figures.station_map(ax, small_dataset().stations)
    return figure


@pytest.mark.slow
@pytest.mark.parametrize("draw", [four_cells, trends, full_ensemble, stations])
def test_figure_looks_as_before(draw, tmp_path):
    expected = IMAGES / f"{draw.__name__}.png"
    figure = draw()
    made = tmp_path / expected.name
    figure.savefig(made, dpi=50)
    plt.close(figure)
    if os.environ.get("TFGMM_NEW_IMAGES"):
        IMAGES.mkdir(exist_ok=True)
        expected.write_bytes(made.read_bytes())
    assert compare_images(str(expected), str(made), TOLERANCE) is None


def test_a_change_is_seen(tmp_path):
    """Of one line in a figure."""
    figure = four_cells()
    figure.axes[0].axvline(0.5, linewidth=6, color="black")
    figure.savefig(tmp_path / "changed.png", dpi=50)
    plt.close(figure)
    assert compare_images(str(IMAGES / "four_cells.png"), str(tmp_path / "changed.png"), TOLERANCE)
