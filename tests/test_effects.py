"""Source, site and path effects: terms of the field beside observed effects."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.field_records import PLANTED, planted_records, terms_of
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import effects
from tfgmm.prediction.field_terms import FieldTerms

CELL = 0.25
SOURCE = np.array([-0.6, -0.1, 0.2, 0.5])  # by cell
SITE = np.array([-0.4, 0.0, 0.7])


def everything(cell: np.ndarray, site: np.ndarray) -> np.ndarray:
    return cell >= 0


def records(keep=everything, path=None, repeat=10) -> pd.DataFrame:
    """Residuals of four source cells at three stations, as `FieldTerms.records` gives them."""
    cell, site, number = (index.ravel() for index in np.indices((4, 3, repeat)))
    event = 10 * cell + number
    table = pd.DataFrame(
        {
            "event_id": np.char.add("E", event.astype(str)),
            "station_id": np.char.add("S", site.astype(str)),
            "site_id": np.char.add("P", site.astype(str)),
            "event_longitude": 139.05 + CELL * cell,  # not in the middle of the cell
            "event_latitude": 35.7,
            "depth_km": 10.0,
            "residual": SOURCE[cell] + SITE[site] + (0 if path is None else path[cell, site]),
        }
    )
    return table[keep(cell, site)]


class Given:
    """Terms of records that are given, the same for all source cells."""

    def __init__(self, table: pd.DataFrame):
        self._records = table
        self.stations = pd.DataFrame({"station_id": ["S0", "S1", "S2"], "site_id": ["P0", "P1", "P2"]})
        self.stations = self.stations.assign(longitude=[139.0, 140.0, 141.0], latitude=36.0)

    def records(self) -> pd.DataFrame:
        return self._records

    def _cells(self, cell_deg: float) -> pd.DataFrame:
        located = effects.with_cells(self._records, cell_deg)
        return located.groupby(["longitude", "latitude"]).size().rename("records").reset_index()

    def sources(self, cell_deg: float, with_paths: bool) -> pd.DataFrame:
        assert with_paths
        return self._cells(cell_deg).assign(source_term=0.1, explained=0.5)

    def paths(self, station: str, cell_deg: float, with_source: bool) -> pd.DataFrame:
        assert with_source
        if station not in self.stations["station_id"].tolist():
            raise UsageError(f"the run has no station {station}")
        return self._cells(cell_deg).assign(path_term=0.2, explained=0.5)

    def sites(self) -> pd.DataFrame:
        return self.stations.assign(site_term=SITE)

    def summary(self) -> pd.DataFrame:
        return pd.DataFrame({"term": ["tau"], "value": [0.3], "standard_error": [0.05], "unit": ["ln"]})


def unbalanced(cell: np.ndarray, site: np.ndarray) -> np.ndarray:
    """The first two cells are recorded at the two weaker sites, the last two at the stronger ones."""
    return np.where(cell < 2, site < 2, site > 0)


@pytest.mark.parametrize("keep", [unbalanced, everything])
def test_sources_and_sites_are_found_in_unbalanced_records(keep):
    found = effects.estimate(Given(records(keep)), "S1", CELL, min_records=1)
    np.testing.assert_allclose(found.sources["observed"], SOURCE, atol=1e-9)
    np.testing.assert_allclose(found.sites["observed"], SITE, atol=1e-9)
    np.testing.assert_allclose(found.paths["observed"], SOURCE, atol=1e-9)
    assert found.station.to_dict() == {"station_id": "S1", "longitude": 140.0, "latitude": 36.0}


def test_paths_are_what_sites_leave():
    path = np.outer([1, -1, 1, -1], [0.3, -0.1, -0.2])  # adds to no source and no site
    found = effects.estimate(Given(records(path=path)), "S0")
    np.testing.assert_allclose(found.sources["observed"], SOURCE, atol=1e-9)
    np.testing.assert_allclose(found.paths["observed"], SOURCE + path[:, 0], atol=1e-9)


def test_few_records_are_no_observation():
    first_cell = records()["event_id"].str.len() == 2  # E0 to E9
    few = pd.concat([records()[first_cell].head(19), records()[~first_cell]])
    found = effects.estimate(Given(few), "S0")
    assert found.sources["observed"].isna().tolist() == [True, False, False, False]
    assert effects.estimate(Given(few), "S0", min_records=19).sources["observed"].notna().all()
    at_station = records()["station_id"] == "S0"
    few = pd.concat([records()[first_cell & at_station].head(2), records()[~(first_cell & at_station)]])
    found = effects.estimate(Given(few), "S0")
    assert found.sources["observed"].notna().all()
    assert found.paths["observed"].isna().tolist() == [True, False, False, False]


def test_the_station_with_most_records_is_chosen():
    more = records(lambda cell, site: (site == 1) | (cell > 0))
    chosen = effects.estimate(Given(more), min_records=10)
    assert chosen.station["station_id"] == "S1"
    assert repr(chosen).startswith("<Effects: source cells ") and repr(chosen).endswith(" to station S1>")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"station": "S9"}, UsageError, "no station S9"),
        ({"cell_deg": 0.0}, UsageError, "choose a size above 0"),
        ({"cell_deg": float("nan")}, UsageError, "choose a size above 0"),
        ({"cell_deg": 90.0}, DataError, "fewer than 2 source cells of 90 degrees have 20 records"),
        ({"min_records": 31}, DataError, "fewer than 2 source cells"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        effects.estimate(Given(records()), **options)


@pytest.fixture(scope="module")
def terms() -> FieldTerms:
    # Strong sources and paths, and little else, so that observed effects are near the terms.
    strong = dataclasses.replace(PLANTED, event=0.01, within=0.01, noise=0.05)
    return terms_of(planted_records(60, 40, 0.7, clusters=8), strong)


def test_the_field_and_observations_agree(terms):
    found = effects.estimate(terms, min_records=20)
    assert len(found.sources) == len(found.paths) == len(terms.sources())
    for table, name in (
        (found.sources, "source_and_mean_path_term"),
        (found.sites, "site_term"),
        (found.paths, "source_and_path_term"),
    ):
        both = table.dropna(subset="observed")
        assert len(both) > 5
        assert both[name].corr(both["observed"]) > 0.8
    # Terms are drawn towards zero where records are few.
    assert found.sites["site_term"].std() < found.sites["observed"].std()
    assert found.sites["site_term"].mean() == pytest.approx(found.sites["observed"].mean())
