"""Training records of a run: the ranges of their values, and their stations."""

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.roles import TRAINING
from tfgmm.runs.experiment import Settings
from tfgmm.runs.run import RunFolder

_ROLES = ("event_role", "site_role")


class Ranges(Settings):
    """Lowest and highest values among the training records; a JSON object by ``model_dump_json``.

    Attributes
    ----------
    magnitude, depth_km, r_hyp_km : (float, float)
    """

    magnitude: tuple[float, float]
    depth_km: tuple[float, float]
    r_hyp_km: tuple[float, float]

    @classmethod
    def of(cls, run: RunFolder, im: str | None = None) -> Self:
        """Return the ranges of the records from which at least one trained member has learned.

        Parameters
        ----------
        run : RunFolder
        im : str, optional
            Intensity measure; the run's first one by default.

        Raises
        ------
        UsageError
            No member is trained.
        DataError
            A member's table of predictions is damaged.
        """
        table = _training_records(run, im or run.experiment.ims[0], cls.model_fields)
        return cls(**{name: (float(table[name].min()), float(table[name].max())) for name in table})

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


def trained_stations(run: RunFolder, im: str | None = None) -> pd.DataFrame:
    """Return the stations from which at least one trained member has learned.

    A calibration of sigma depends on the distance to the nearest of these stations.

    Returns
    -------
    pandas.DataFrame
        The columns of `tfgmm.network.batches.places`, in the order of the run's table.

    Raises
    ------
    UsageError, DataError
        As for `Ranges.of`; or the run's table of stations is missing or damaged.
    """
    trained = _training_records(run, im or run.experiment.ims[0], ["station_id"])["station_id"].unique()
    path = run.manifest.file("stations.parquet")
    try:
        stations = files.read_parquet(path)
        return stations[stations["station_id"].isin(trained)].reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is missing or damaged: give the tfgmm train command of the run again, "
            "which writes it anew"
        ) from error


def _within(values, lowest: float, highest: float) -> np.ndarray:
    """Return which values lie between two bounds, both included; NaN does not."""
    values = np.asarray(values, float)
    return (values >= lowest) & (values <= highest)


def _training_records(run: RunFolder, im: str, columns) -> pd.DataFrame:
    """Return columns of the training records of all chunks, read from one member per chunk."""
    first_of_chunk = {chunk: (chunk, init) for chunk, init in reversed(run.trained(im))}
    parts = [
        _read(run.member(*place).predictions, [*columns, *_ROLES]) for place in first_of_chunk.values()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[(table[list(_ROLES)] == TRAINING).all(axis=1)][[*columns]]


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """Return columns of a member's table of predictions, or raise `DataError`."""
    try:
        return files.read_parquet(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is missing or damaged: give the tfgmm train command of the run again, "
            "which makes it anew"
        ) from error
