"""Training records of members (trained networks), and ranges of magnitude, depth and distance."""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import TRAINING
from tfgmm.runs import predictions
from tfgmm.runs.experiment import FrozenSettings
from tfgmm.runs.member_folder import TRAIN_AGAIN, MemberFolder


class Ranges(FrozenSettings):
    """Lowest and highest values among training records; ``model_dump_json`` returns a JSON object.

    Attributes
    ----------
    magnitude : (float, float)
        Lowest and highest moment magnitude.
    depth_km : (float, float)
        Lowest and highest event depth, km.
    r_hyp_km : (float, float)
        Lowest and highest hypocentral distance, km.
    """

    magnitude: tuple[float, float]
    depth_km: tuple[float, float]
    r_hyp_km: tuple[float, float]

    @classmethod
    def of_records(cls, records: pd.DataFrame) -> Self:
        """Return the ranges of magnitude, depth and hypocentral distance of records.

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            ``magnitude``, ``depth_km`` and ``r_hyp_km`` (km).

        Returns
        -------
        Ranges
            The ranges.
        """
        return cls(**{n: (float(records[n].min()), float(records[n].max())) for n in cls.model_fields})

    def outside(self, magnitude, depth_km, r_hyp_km) -> dict[str, np.ndarray]:
        """Return True for values outside the ranges, and for NaN.

        Parameters
        ----------
        magnitude : array_like
            Moment magnitudes.
        depth_km : array_like
            Event depths, km.
        r_hyp_km : array_like
            Hypocentral distances, km. The three shapes may differ.

        Returns
        -------
        dict of str to ndarray of bool
            By name of the parameter, an array of the shape of the parameter.
        """
        quantities = {"magnitude": magnitude, "depth_km": depth_km, "r_hyp_km": r_hyp_km}
        return {name: ~_within(values, *getattr(self, name)) for name, values in quantities.items()}


def _within(values, lowest: float, highest: float) -> np.ndarray:
    """Return True for values between the bounds, both included; NaN gives False."""
    values = np.asarray(values, float)
    return (values >= lowest) & (values <= highest)


def training_records(members: Iterable[MemberFolder], columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of the records that trained members, read from the members' predictions tables.

    Parameters
    ----------
    members : iterable of MemberFolder
        Folders of trained members.
    columns : sequence of str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        The columns of the records of training events at training sites, for all members together.

    Raises
    ------
    DataError
        A predictions table is damaged.
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
