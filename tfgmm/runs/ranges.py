"""Training records of members: the columns of their table, and the ranges of their values."""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.columns import TRAINING
from tfgmm.runs import predictions
from tfgmm.runs.experiment import FrozenSettings
from tfgmm.runs.member_folder import TRAIN_AGAIN, MemberFolder


class Ranges(FrozenSettings):
    """Lowest and highest values among the training records; a JSON object by ``model_dump_json``.

    Attributes
    ----------
    magnitude, depth_km, r_hyp_km : (float, float)
    """

    magnitude: tuple[float, float]
    depth_km: tuple[float, float]
    r_hyp_km: tuple[float, float]

    @classmethod
    def of_records(cls, records: pd.DataFrame) -> Self:
        """Return the ranges of the values of records, which have the columns ``magnitude`` and so on."""
        return cls(**{n: (float(records[n].min()), float(records[n].max())) for n in cls.model_fields})

    def outside(self, magnitude, depth_km, r_hyp_km) -> dict[str, np.ndarray]:
        """Return which values lie outside the ranges, NaN included.

        Parameters
        ----------
        magnitude, depth_km, r_hyp_km : array_like
            Values of any shapes.

        Returns
        -------
        dict of str to ndarray of bool
            ``magnitude, depth_km, r_hyp_km``, each of the shape of its argument.
        """
        quantities = {"magnitude": magnitude, "depth_km": depth_km, "r_hyp_km": r_hyp_km}
        return {name: ~_within(values, *getattr(self, name)) for name, values in quantities.items()}


def _within(values, lowest: float, highest: float) -> np.ndarray:
    """Return which values lie between two bounds, both included; NaN does not."""
    values = np.asarray(values, float)
    return (values >= lowest) & (values <= highest)


def training_records(members: Iterable[MemberFolder], columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of the records that trained the members, from their predictions tables.

    Raises
    ------
    DataError
        A member's table of predictions is damaged.
    """
    try:
        tables = [
            predictions.read_columns(member.predictions, [*columns, *predictions.ROLE])
            for member in members
        ]
    except DataError as error:
        raise DataError(f"{error}: {TRAIN_AGAIN}") from error
    table = pd.concat(tables, ignore_index=True)
    return table[(table[predictions.ROLE] == TRAINING).all(axis=1)][[*columns]]
