"""Places for made-up predictions."""

import numpy as np
import pandas as pd


def with_places(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A table of predictions with events and stations at random in a square of 100 km."""
    rng = np.random.default_rng(seed)
    for key, prefix in (("event_id", "event_"), ("station_id", "")):
        for axis in ("x_km", "y_km"):
            place = pd.Series(rng.uniform(0, 100, table[key].nunique()), table[key].unique())
            table = table.assign(**{prefix + axis: table[key].map(place)})
    return table
