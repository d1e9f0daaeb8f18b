"""Places for made-up predictions, and residuals that depend on them."""

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm.stats.kriging import Correlation


def with_places(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A table of predictions with events and stations at random in a square of 100 km."""
    rng = np.random.default_rng(seed)
    for key, prefix in (("event_id", "event_"), ("station_id", "")):
        for axis in ("x_km", "y_km"):
            place = pd.Series(rng.uniform(0, 100, table[key].nunique()), table[key].unique())
            table = table.assign(**{prefix + axis: table[key].map(place)})
    return table


def within_event_field(table: pd.DataFrame, correlation: Correlation, seed: int = 0) -> np.ndarray:
    """Standard normal residuals of the records with a correlation within each event."""
    rng = np.random.default_rng(seed)
    one = table.drop_duplicates(["event_id", "x_km", "y_km"])[["event_id", "x_km", "y_km"]]
    z, places = np.empty(len(one)), one[["x_km", "y_km"]].to_numpy()
    for rows in one.groupby("event_id").indices.values():
        distance = cdist(places[rows], places[rows])
        covariance = correlation.share * np.exp(-distance / correlation.range_km)
        np.fill_diagonal(covariance, 1.0)
        z[rows] = np.linalg.cholesky(covariance) @ rng.normal(size=len(rows))
    return table.merge(one.assign(z=z), how="left")["z"].to_numpy()
