"""Records of a field with planted terms of events, sites, sources and paths."""

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from tfgmm.core.grid import Grid
from tfgmm.data.schemas import SITE_XY, SOURCE_XY
from tfgmm.prediction.field_terms import FieldTerms
from tfgmm.stats.field import condition
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_records import HYPOCENTRE, Records

#: tau 0.35, phi_S2S 0.42 (a quarter correlated), source 0.20, path 0.25, phi_SS 0.40.
PLANTED = Covariance(
    event=0.35**2,
    site_own=0.75 * 0.42**2,
    site_shared=0.25 * 0.42**2,
    source=0.20**2,
    path_own=0.4 * 0.25**2,
    path_shared=0.6 * 0.25**2,
    within=0.06,
    noise=0.10,
    source_km=30.0,
    site_km=12.0,
    path_km=20.0,
    within_km=10.0,
)


def planted_records(
    events: int,
    stations: int,
    share: float = 1.0,
    clusters: int = 40,
    seed: int = 0,
    planted: Covariance = PLANTED,
):
    """A row per record with its ``residual`` and the ``field`` in it; a share of all records is kept."""
    rng = np.random.default_rng(seed)
    centre = np.c_[rng.uniform(0, 150, (clusters, 2)), rng.uniform(5, 80, clusters)]
    source = centre[rng.integers(0, clusters, events)] + 6 * rng.normal(size=(events, 3))
    station = rng.uniform(0, 150, (stations, 2))
    one, near = np.ones((1, 1)), cdist(station, station)
    whole = np.ones((1, stations))
    h = np.exp(-cdist(source, source) / planted.source_km)

    def drawn(variance, of_events, of_stations):
        left, right = (np.linalg.cholesky(c + 1e-8 * np.eye(len(c))) for c in (of_events, of_stations))
        return np.sqrt(variance) * left @ rng.normal(size=(len(left), len(right))) @ right.T

    field = (
        drawn(planted.event, np.eye(events), one) * whole
        + drawn(planted.site_own, one, np.eye(stations))
        + drawn(planted.site_shared, one, np.exp(-near / planted.site_km))
        + drawn(planted.source, h, one) * whole
        + drawn(planted.path_own, h, np.eye(stations))
        + drawn(planted.path_shared, h, np.exp(-near / planted.path_km))
        + drawn(planted.within, np.eye(events), np.exp(-near / planted.within_km))
    )
    event, place = (index.ravel() for index in np.indices(field.shape))
    table = pd.DataFrame({"field": field.ravel()})
    table["residual"] = table["field"] + np.sqrt(planted.noise) * rng.normal(size=len(table))
    table["event_id"] = [f"E{number:05d}" for number in event]
    table["station_id"] = [f"S{number:04d}" for number in place]
    table["site_id"] = table["station_id"]
    table[HYPOCENTRE], table[SITE_XY] = source[event], station[place]
    return table[rng.random(len(table)) < share].reset_index(drop=True)


def terms_of(table: pd.DataFrame, covariance: Covariance = PLANTED) -> FieldTerms:
    """The terms of a field of `planted_records`, which are moved to the middle of a map."""
    moved = table.assign(**{name: table[name] - 75 for name in (*SOURCE_XY, *SITE_XY)})
    grid = Grid(pixel_km=8.0, input_size=68, output_size=28)
    stations = moved.drop_duplicates("station_id")
    longitude, latitude = grid.unproject(stations["x_km"], stations["y_km"])
    stations = stations[["station_id", "site_id"]].assign(longitude=longitude, latitude=latitude)
    field = condition(covariance, Records.of(moved, moved["residual"]))
    return FieldTerms("PGA", field, grid, stations.reset_index(drop=True))
