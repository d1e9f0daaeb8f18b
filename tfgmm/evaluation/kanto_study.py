"""Values of the study in the Kanto basin (Sunny, Cotton & Lilienkamp, 2022)."""

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
#: networks. It mixes records that networks trained on with others.
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
    """Return the four-way table of the study.

    >>> four_way(["meso", "kik"])["rmse"].tolist()
    [0.429, 0.494, 0.865, 0.841]

    Parameters
    ----------
    networks : iterable of str
        In any order.
    im : str

    Returns
    -------
    pandas.DataFrame
        ``cell``, ``rmse``, ``rmse_std``, ``z_std`` (ln units; z without unit); empty for networks or an
        intensity measure that the study does not have.

    References
    ----------
    `SOURCE`.
    """
    rows = _CELLS.get(tuple(sorted(networks)), ()) if im == IM else ()
    table = pd.DataFrame(rows, columns=["rmse", "rmse_std", "z_std"], dtype=float)
    table.insert(0, "cell", [f"{site} / {event}" for site, event in CELLS][: len(rows)])
    return table
