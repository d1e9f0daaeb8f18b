"""Which events of two catalogues are the same earthquake."""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.core.sphere import distance_km


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far apart two entries of one earthquake may be, edges included.

    Attributes
    ----------
    seconds : float
        Between the origin times.
    km : float
        Between the epicentres.
    magnitude : float
        Between the magnitudes.

    Raises
    ------
    UsageError
        One of them is not above zero.
    """

    seconds: float = 10.0
    km: float = 50.0
    magnitude: float = 1.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UsageError(f"tolerance {name} is {value:g}: it must be above zero")


def distance(first: pd.DataFrame, second: pd.DataFrame, tolerance: Tolerance) -> np.ndarray:
    r"""How far apart two tables of events are, row by row, in tolerances.

    .. math:: d = \sqrt{(\Delta t / t_0)^2 + (\Delta r / r_0)^2 + (\Delta M / M_0)^2}

    with the tolerances :math:`t_0, r_0, M_0`; infinite where one of the three is exceeded.

    Parameters
    ----------
    first, second : pandas.DataFrame
        With ``origin_time`` (UTC), ``longitude``, ``latitude`` and ``magnitude``. An unknown magnitude
        (NaN) fits any; an unknown time or place fits none.
    tolerance : Tolerance

    Returns
    -------
    ndarray, [n_rows]
    """
    places = (table[name] for table in (first, second) for name in ("longitude", "latitude"))
    magnitude = first["magnitude"].to_numpy(float) - second["magnitude"].to_numpy(float)
    parts = (
        (_seconds(first) - _seconds(second)) / tolerance.seconds,
        distance_km(*places) / tolerance.km,
        np.nan_to_num(magnitude / tolerance.magnitude),
    )
    within = np.all([abs(part) <= 1 + 1e-6 for part in parts], axis=0)  # rounding decides no edge
    return np.where(within, np.linalg.norm(parts, axis=0), np.inf)


def match(first: pd.DataFrame, second: pd.DataFrame, tolerance: Tolerance) -> np.ndarray:
    """The partner of each event of one catalogue in another, one to one.

    Of all pairs within the tolerance the nearest (`distance`) is taken first, then the nearest of what
    is still free, and so on; equally near ones in the order of the rows.

    Parameters
    ----------
    first, second : pandas.DataFrame
        As for `distance`.
    tolerance : Tolerance

    Returns
    -------
    ndarray of int, [n_first]
        Position (not label) of the partner in `second`, or -1.
    """
    rows, cols = _near_in_time(_seconds(first), _seconds(second), tolerance.seconds)
    far = distance(first.iloc[rows], second.iloc[cols], tolerance)
    partner, taken = np.full(len(first), -1), np.zeros(len(second), bool)
    for pair in np.lexsort((cols, rows, far))[: np.isfinite(far).sum()]:
        row, col = rows[pair], cols[pair]
        if partner[row] < 0 and not taken[col]:
            partner[row], taken[col] = col, True
    return partner


def _seconds(events: pd.DataFrame) -> np.ndarray:
    return ((events["origin_time"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(float)


def _near_in_time(first: np.ndarray, second: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows whose times differ by no more than `seconds` or a little more."""
    order = np.argsort(second)
    reach = seconds * (1 + 1e-6) + 1e-6
    start = np.searchsorted(second[order], first - reach)
    count = np.searchsorted(second[order], first + reach, side="right") - start
    rows = np.repeat(np.arange(len(first)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return rows, order[start[rows] + within]
