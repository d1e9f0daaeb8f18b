"""A run whose predictions are made up."""

import numpy as np
import pandas as pd

from conftest import CHANNELS
from helpers.prediction_places import with_places
from tfgmm.runs.beginning import begin


def make_run(path, tiny, small, table: pd.DataFrame, simulated: bool = True, **changes):
    """A run whose predictions are given."""
    small.provenance["simulated"] = simulated
    run = begin(path, tiny.model_copy(update=changes), small, channels=CHANNELS)
    table.to_parquet(run.predictions)
    events = table.drop_duplicates("event_id")[["event_id"]]
    stations = table.drop_duplicates("station_id")[["station_id"]]
    known = with_places(table).drop_duplicates("event_id"), with_places(table).drop_duplicates("station_id")
    run.write_places(
        events.assign(
            origin_time=pd.Timestamp("2016-01-01", tz="UTC"),
            event_longitude=139 + known[0]["event_x_km"].to_numpy() / 90,
            event_latitude=35 + known[0]["event_y_km"].to_numpy() / 111,
            event_x_km=known[0]["event_x_km"].to_numpy(),
            event_y_km=known[0]["event_y_km"].to_numpy(),
        ),
        stations.assign(
            site_id=stations["station_id"].to_numpy(),
            longitude=139 + known[1]["x_km"].to_numpy() / 90,
            latitude=35 + known[1]["y_km"].to_numpy() / 111,
            x_km=known[1]["x_km"].to_numpy(),
            y_km=known[1]["y_km"].to_numpy(),
            vs30_m_s=np.nan,
        ),
    )
    return run.path
