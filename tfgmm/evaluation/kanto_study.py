"""Values that the study in the Kanto basin published (Sunny, Cotton & Lilienkamp, 2022)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tfgmm.evaluation.scores import CELLS

SOURCE = (
    "Sunny, Cotton & Lilienkamp (2022), URBASIS-EU Deliverable D1.4: Tables 1 and 2 (RMSE, mean and "
    "standard deviation over five partial ensembles), section 5.1 (standardised residuals)"
)
IM = "PGA"
#: Standard deviation of the standardised residuals of the full ensemble, about the same for both sets of
#: networks. It mixes records on which networks trained with records on which no network trained.
FULL_ENSEMBLE_Z_STD = 0.86

#: RMSE, its standard deviation over chunks, standard deviation of standardised residuals (NaN: the text
#: gives no number), ln units, in the order of `tfgmm.evaluation.scores.CELLS`.
_CELLS = {
    ("kik",): (
        (0.432, 0.007, np.nan),
        (0.496, 0.005, np.nan),
        (0.871, 0.104, np.nan),
        (0.854, 0.090, 1.39),
    ),
    ("kik", "meso"): (
        (0.429, 0.007, np.nan),
        (0.494, 0.005, np.nan),
        (0.865, 0.086, np.nan),
        (0.841, 0.080, 1.35),
    ),
}


def four_way(networks: Iterable[str], im: str = IM) -> pd.DataFrame:
    """Return the RMSE at known and unknown sites and events that the Kanto study published.

    >>> four_way(["meso", "kik"])["rmse"].tolist()
    [0.429, 0.494, 0.865, 0.841]

    Parameters
    ----------
    networks : iterable of str
        Names of the networks whose records trained the model, in any order.
    im : str
        Intensity measure; the study has ``PGA`` only.

    Returns
    -------
    pandas.DataFrame
        One row for each cell of `tfgmm.evaluation.scores.CELLS`: ``cell``; ``rmse`` and ``rmse_std``, mean
        and standard deviation over five partial ensembles, ln units; ``z_std``, the standard deviation of
        the standardised residuals, NaN where not published. No rows for networks or an intensity measure
        that the study does not have.

    References
    ----------
    `SOURCE`.
    """
    rows = _CELLS.get(tuple(sorted(networks)), ()) if im == IM else ()
    table = pd.DataFrame(rows, columns=["rmse", "rmse_std", "z_std"], dtype=float)
    table.insert(0, "cell", [f"{site} / {event}" for site, event in CELLS][: len(rows)])
    return table
