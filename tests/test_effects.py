"""What the networks learned is told apart into sources, sites and paths."""

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import effects, scores

CELL = 0.25
SOURCE = np.array([-0.6, -0.1, 0.2, 0.5])  # by cell, mean zero
SITE = np.array([-0.4, 0.0, 0.7])


def everything(cell: np.ndarray, site: np.ndarray) -> np.ndarray:
    return cell >= 0


def records(keep=everything, path=None, repeat=10) -> pd.DataFrame:
    """Effects of four source cells on three stations, as `effects.subtract_median` gives them.

    ``observed`` is twice ``predicted``.
    """
    cell, site, number = (index.ravel() for index in np.indices((4, 3, repeat)))
    value = SOURCE[cell] + SITE[site] + (0 if path is None else path[cell, site])
    event = 10 * cell + number
    table = pd.DataFrame(
        {
            "event_id": np.char.add("E", event.astype(str)),
            "station_id": np.char.add("S", site.astype(str)),
            "site_id": np.char.add("P", site.astype(str)),
            "event_longitude": 139.05 + CELL * cell,  # not in the middle of the cell
            "event_latitude": 35.7,
            "longitude": 139.0 + site,
            "latitude": 36.0,
            "predicted": value,
            "observed": 2 * value,
        }
    )
    return table[keep(cell, site)]


def unbalanced(cell: np.ndarray, site: np.ndarray) -> np.ndarray:
    """The first two cells are recorded at the two weaker sites, the last two at the stronger ones."""
    return np.where(cell < 2, site < 2, site > 0)


@pytest.mark.parametrize("keep", [unbalanced, everything])
def test_sources_and_sites_are_found_in_unbalanced_records(keep):
    found = effects.estimate(records(keep), "S1", CELL, min_records=1)
    np.testing.assert_allclose(found.sources["predicted"], SOURCE, atol=1e-9)
    np.testing.assert_allclose(found.sources["observed"], 2 * SOURCE, atol=1e-9)
    assert found.sites.index.tolist() == ["P0", "P1", "P2"]
    np.testing.assert_allclose(found.sites["predicted"], SITE, atol=1e-9)
    np.testing.assert_allclose(found.paths[["predicted", "observed"]], 0, atol=1e-9)


def test_paths_are_what_sources_and_sites_leave():
    path = np.outer([1, -1, 1, -1], [0.3, -0.1, -0.2])  # adds to no source and no site
    found = effects.estimate(records(path=path), "S0")
    np.testing.assert_allclose(found.sources["predicted"], SOURCE, atol=1e-9)
    np.testing.assert_allclose(found.paths["predicted"], path[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.paths["observed"], 2 * path[:, 0], atol=1e-9)
    assert found.station.to_dict() == {"station_id": "S0", "longitude": 139.0, "latitude": 36.0}


def test_cells_have_their_centres_and_counts():
    found = effects.estimate(records(), "S2")
    np.testing.assert_allclose(found.sources["longitude"], 139.125 + CELL * np.arange(4))
    np.testing.assert_allclose(found.sources["latitude"], 35.625)
    assert found.sources[["records", "events"]].to_numpy().tolist() == [[30, 10]] * 4
    assert found.paths[["records", "events"]].to_numpy().tolist() == [[10, 10]] * 4
    coarse = effects.estimate(records(), "S2", cell_deg=0.5)
    assert coarse.sources["longitude"].tolist() == [139.25, 139.75]


def test_cells_and_paths_with_few_records_are_left_out():
    first_cell = records()["event_id"].str.len() == 2  # E0 to E9
    few = pd.concat([records()[first_cell].head(19), records()[~first_cell]])
    assert len(effects.estimate(few, "S0").sources) == 3
    assert len(effects.estimate(few, "S0", min_records=19).sources) == 4
    at_station = records()["station_id"] == "S0"
    few = pd.concat([records()[first_cell & at_station].head(2), records()[~(first_cell & at_station)]])
    found = effects.estimate(few, "S0")
    assert (len(found.sources), len(found.paths)) == (4, 3)


def test_the_station_with_most_records_is_chosen():
    more = records(lambda cell, site: (site == 1) | (cell > 0))
    assert effects.estimate(more, min_records=10).station["station_id"] == "S1"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"station": "S9"}, UsageError, "station S9 has no 3 records"),
        ({"cell_deg": 0.0}, UsageError, "choose a size above 0"),
        ({"cell_deg": float("nan")}, UsageError, "choose a size above 0"),
        ({"cell_deg": 90.0}, DataError, "fewer than 2 source cells of 90 degrees have 20 records"),
        ({"min_records": 31}, DataError, "fewer than 2 source cells"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        effects.estimate(records(), **options)


@pytest.fixture(scope="module")
def partial() -> pd.DataFrame:
    table = scores.partial_ensembles(predictions())
    event = table["event_id"].str[1:].astype(int)
    places = {"event_latitude": 35.0, "longitude": 140.0, "latitude": 36.0}
    return table.assign(event_longitude=139 + event / 20, **places)


def test_learned_is_measured_from_the_median_of_the_training_records(partial):
    still = effects.subtract_median(partial)
    assert len(still) == len(partial.drop_duplicates(["event_id", "station_id"]))
    validation = partial["event_role"].eq("validation")
    moved = effects.subtract_median(partial.assign(ln_im=partial["ln_im"] + 5.0 * validation))
    np.testing.assert_allclose(moved["predicted"], still["predicted"], atol=1e-9)
    names = partial.loc[validation, "event_id"].unique()
    np.testing.assert_allclose(
        moved["observed"] - still["observed"], 5 * still["event_id"].isin(names), atol=1e-9
    )


def test_what_an_ergodic_model_can_say_is_no_effect(partial):
    still = effects.subtract_median(partial)
    said = 0.3 + 0.7 * (partial["magnitude"] - 6) - 0.4 * np.log(partial["r_hyp_km"])
    moved = effects.subtract_median(
        partial.assign(ln_im=partial["ln_im"] + said, mean=partial["mean"] + said)
    )
    names = ["predicted", "observed"]
    np.testing.assert_allclose(moved[names], still[names], atol=1e-3)


def test_learned_is_the_mean_of_the_folds(partial):
    still = effects.subtract_median(partial)
    moved = effects.subtract_median(partial.assign(mean=partial["mean"] + 0.4 * partial["chunk"].eq(0)))
    np.testing.assert_allclose(moved["predicted"] - still["predicted"], 0.2, atol=1e-6)
    np.testing.assert_allclose(moved["observed"], still["observed"])
