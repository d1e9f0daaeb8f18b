"""Members -> mean, aleatory and epistemic standard deviation, as maps and at sites."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import RegularGridInterpolator

from conftest import TINY, small_dataset
from tfgmm.core.errors import DataError, UsageError
from tfgmm.network import training
from tfgmm.prediction import ensemble, scenarios
from tfgmm.prediction.places import Places, Window
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder
from tfgmm.stats import calibration
from tfgmm.stats.mixture import combine

EVENT = {"longitude": 139.9, "latitude": 35.8, "depth_km": 30.0, "magnitude": 5.5}
SITES = pd.DataFrame({"longitude": [139.95, 140.1, 139.73], "latitude": [35.75, 35.62, 35.9]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """In bfloat16, which tells when a prediction is not made in float32."""
    root = tmp_path_factory.mktemp("ensemble")
    small_dataset().write(root / "data")
    changes = {
        "data": str(root / "data"),
        "network": TINY["network"] | {"precision": "bfloat16"},
        "training": {"epochs": 1, "shift_pixels": 0},
    }
    chosen = Experiment(**TINY | changes)
    begun = training.begin(chosen, root / "run")
    begun.train()
    return begun


@pytest.fixture(scope="module")
def loaded(run):
    return ensemble.load(run.run.path)


@pytest.fixture
def calibrated(loaded, run, tmp_path):
    """The same ensemble where the run has a calibration."""
    path = tmp_path / "run"
    path.mkdir()
    for name in ("members", "stations.parquet"):
        (path / name).symlink_to(run.run.path / name)
    for name in ("experiment.json", "files.json"):
        shutil.copy(run.run.path / name, path)
    calibration.write({"PGA": calibration.Calibration(a=0.9, b=0.4, length_km=5.0, c=1.2)}, path)
    other = ensemble.RunFolder.open(path)
    chosen = other.calibration("PGA")
    return ensemble.Ensemble(other, "PGA", loaded.members, loaded._rasteriser, calibration=chosen)


def events(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([EVENT | change for change in changes])


@pytest.mark.slow
def test_all_members(loaded):
    assert set(loaded.members) == {(0, 0), (1, 0)}


@pytest.mark.slow
def test_maps_have_place_and_unit(loaded, run):
    maps = loaded.maps(run.dataset.events.iloc[:2])
    assert dict(maps.sizes) == {"event": 2, "row": 28, "col": 28}
    assert maps.attrs["intensity_measure"] == "PGA"
    assert (maps.attrs["members"], maps.attrs["calibrated"], maps.attrs["simulated"]) == (2, 0, 1)
    assert maps["event_id"].to_numpy().tolist() == ["E000", "E001"]
    row, col, inside = run.run.experiment.grid.locate(maps["longitude"][3, 5], maps["latitude"][3, 5])
    assert (row, col, inside) == (3, 5, True)


@pytest.mark.slow
def test_parts_of_the_variance_add_up(loaded):
    maps = loaded.maps(events({}))
    np.testing.assert_allclose(
        maps["stddev"] ** 2, maps["aleatory"] ** 2 + maps["epistemic"] ** 2, rtol=1e-6
    )
    assert (maps["epistemic"] > 0).any()


@pytest.mark.slow
def test_prediction_at_stations_is_the_predictions_table(loaded, run):
    """Of all records; and none that trained is said to lie outside of what was learned."""
    table = run.run.read_predictions()
    table = table[(table["event_role"] == "training") & (table["site_role"] == "training")]
    pairs = table[["event_id", "station_id"]].drop_duplicates()
    full = run.run.read_predictions().groupby(["event_id", "station_id"])
    mean, aleatory = full["mean"].mean(), np.sqrt(full["stddev"].agg(lambda s: (s**2).mean()))
    found = loaded.at_sites(run.dataset.events, run.dataset.stations.drop(columns="site_id"))
    found = found.set_index(event="event_id", site="site_id")
    for (event, station), expected in mean.items():
        at = found.sel(event=event, site=station)
        assert at["mean"].item() == pytest.approx(expected, abs=1e-5)
        assert at["aleatory"].item() == pytest.approx(aleatory[event, station], abs=1e-5)
    trained = found.sel(event=pairs["event_id"].to_xarray(), site=pairs["station_id"].to_xarray())
    assert len(pairs) > 100
    for name in ("magnitude", "depth", "distance", "map"):
        assert not trained[f"outside_{name}"].any()


@pytest.mark.slow
def test_sites_are_their_pixels(loaded):
    two = events({}, {"magnitude": 6.5})
    maps, found = loaded.maps(two), loaded.at_sites(two, SITES)
    row, col, _ = loaded.experiment.grid.locate(SITES["longitude"], SITES["latitude"])
    for name in ("mean", "stddev", "aleatory", "epistemic"):
        assert found[name].dims == ("event", "site")
        np.testing.assert_allclose(found[name], maps[name].to_numpy()[:, row, col], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("corner", [(139.2, 36.3), (139.95, 35.75), (140.4, 35.5)])
def test_a_few_sites_see_a_part_of_the_map_and_get_the_same(loaded, corner):
    two = events({}, {"magnitude": 6.5, "longitude": 140.3})
    near = pd.DataFrame(corner + np.zeros((4, 2)), columns=["longitude", "latitude"])
    near += np.random.default_rng(0).uniform(-0.1, 0.1, near.shape)
    grid = loaded.experiment.grid
    assert Places.sites(grid, near, "nearest").window(grid, 2).size < 68
    maps, found = loaded.maps(two), loaded.at_sites(two, near)
    row, col, _ = grid.locate(near["longitude"], near["latitude"])
    row, col = (np.clip(one, 0, 27) for one in (row, col))
    for name in ("mean", "stddev", "aleatory", "epistemic"):
        np.testing.assert_allclose(found[name], maps[name].to_numpy()[:, row, col], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_bilinear_interpolates_members_before_they_are_combined(loaded):
    grid, one = loaded.experiment.grid, events({})
    maps = loaded._maps(one, Window(0, 0, 68))
    x, y = grid.axes_km(28)
    points = np.stack(grid.project(SITES["longitude"], SITES["latitude"])[::-1], axis=1)

    def interpolated(values):
        return RegularGridInterpolator((-y, x), values[0].numpy())(points * [-1, 1])

    normals = loaded._graph(68)(maps)
    expected = combine(*([*map(interpolated, parts)] for parts in zip(*normals, strict=True)))
    found = loaded.at_sites(one, SITES, interpolation="bilinear")
    np.testing.assert_allclose(found["mean"][0], expected.mean, atol=1e-5)
    np.testing.assert_allclose(found["aleatory"][0] ** 2, expected.aleatory, atol=1e-5)
    np.testing.assert_allclose(found["epistemic"][0] ** 2, expected.epistemic, atol=1e-6)


@pytest.mark.slow
def test_batches_are_few_events_and_change_nothing(loaded, monkeypatch):
    many = events({}, {"magnitude": 6.0}, {"depth_km": 60.0}, {"longitude": 140.2}, {"latitude": 35.5})
    together = loaded.maps(many)
    monkeypatch.setattr(ensemble, "_PIXELS_AT_ONCE", 2 * 68**2)
    parts = list(loaded.batches(scenarios.check_events(many)))
    assert [part.sizes["event"] for part in parts] == [2, 2, 1]
    np.testing.assert_allclose(
        np.concatenate([part["mean"] for part in parts]), together["mean"], atol=1e-5
    )
    assert [name for part in parts for name in part["event_id"].to_numpy()] == ["1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_what_was_not_learned_is_flagged(loaded):
    far = {"longitude": 145.0}
    found = loaded.at_sites(
        events({}, {"magnitude": 9.0}, {"depth_km": 300.0}, far),
        pd.DataFrame({"longitude": [139.7, 143.0], "latitude": [35.5, 35.75]}),
    )
    assert found["outside_magnitude"].to_numpy().tolist() == [False, True, False, False]
    assert found["outside_depth"].to_numpy().tolist() == [False, False, True, False]
    assert found["outside_distance"].to_numpy().tolist() == [
        [False, True],
        [False, True],
        [True] * 2,
        [True] * 2,
    ]
    assert found["outside_map"].to_numpy().tolist() == [False, True]
    assert np.isfinite(found["mean"]).all()


@pytest.mark.slow
def test_calibration_is_applied_where_there_is_one(loaded, calibrated, run):
    one = events({})
    raw, found = loaded.at_sites(one, SITES), calibrated.at_sites(one, SITES)
    grid, stations = loaded.experiment.grid, run.dataset.stations
    x, y = grid.project(SITES["longitude"], SITES["latitude"])
    sx, sy = grid.project(stations["longitude"], stations["latitude"])
    distance = np.hypot(x[:, None] - sx, y[:, None] - sy).min(axis=1)
    aleatory = 0.9**2 * raw["aleatory"] ** 2
    epistemic = (0.4 * (1 - np.exp(-distance / 5))) ** 2 + 1.2 * raw["epistemic"] ** 2
    np.testing.assert_allclose(found["mean"], raw["mean"])
    np.testing.assert_allclose(found["aleatory"] ** 2, aleatory, rtol=1e-6)
    np.testing.assert_allclose(found["epistemic"] ** 2, epistemic, rtol=1e-6)
    np.testing.assert_allclose(found["stddev"] ** 2, aleatory + epistemic, rtol=1e-6)
    assert found.attrs["calibrated"] == 1
    np.testing.assert_array_equal(
        calibrated.at_sites(one, SITES, calibrated=False)["stddev"], raw["stddev"]
    )
    assert calibrated.maps(one)["stddev"].shape == (1, 28, 28)


@pytest.mark.slow
def test_calibration_that_is_not_there(loaded, calibrated):
    with pytest.raises(UsageError, match="has no calibration: make it with tfgmm evaluate"):
        loaded.maps(events({}), calibrated=True)
    calibration.write({"SA(1.0)": calibration.Calibration()}, calibrated.run.path)
    with pytest.raises(DataError, match=r"calibration\.json has no PGA: give tfgmm evaluate again"):
        calibrated.run.calibration("PGA")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"longitude": 400.0}, "row 1, column longitude: 400.0"),
        ({"depth_km": np.nan}, "row 1, column depth_km: nan, expected a number from -5 to 800"),
        ({"longitude": 49.8, "latitude": 0.0}, "events, row 1: 49.8 E 0.0 N is too far"),
    ],
)
def test_events_that_cannot_be(loaded, change, message):
    with pytest.raises(DataError, match=message):
        loaded.maps(events(change))  # before anything is computed


@pytest.mark.slow
def test_no_such_intensity_measure(run):
    with pytest.raises(UsageError, match=r"has no SA\(1.0\): it has PGA"):
        ensemble.load(run.run.path, "sa(1)")


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="is no run folder"):
        ensemble.load(tmp_path)


@pytest.fixture(scope="module")
def mixed(trained_root):
    """A run with random effects whose members' site terms are large."""
    run = RunFolder.open(trained_root / "run")
    return training.reopen(run), ensemble.load(run.path)


@pytest.mark.slow
def test_at_stations_is_the_predictions_table(mixed):
    """Site and path terms where a member knows them, where it does not the variance of all."""
    begun, loaded = mixed
    table = begun.run.read_predictions()
    table = table[table["event_role"].eq("validation")]  # of no chunk's training
    table["variance"] = table["stddev"] ** 2
    assert table["path_term"].any()
    new = begun.dataset.events["event_id"].isin(table["event_id"])
    found = loaded.at_stations(begun.dataset.events[new]).set_index(event="event_id", site="site_id")
    expected = table.groupby(["event_id", "station_id"])
    means = expected["mean"].mean()
    variances = expected["variance"].mean()
    for (event, station), mean in means.items():
        one = found.sel(event=event, site=station)
        assert one["mean"].item() == pytest.approx(mean, abs=1e-4)
        assert one["aleatory"].item() ** 2 == pytest.approx(variances[event, station], rel=1e-4)
    np.testing.assert_allclose(found["between_event"], table["tau"].iloc[0], rtol=1e-5)
    np.testing.assert_allclose(
        found["within_event"] ** 2 + found["between_event"] ** 2, found["stddev"] ** 2, rtol=1e-5
    )


@pytest.mark.slow
def test_random_effects_are_not_calibrated_afterwards(mixed):
    begun, loaded = mixed
    with pytest.raises(UsageError, match="has random effects, and no calibration afterwards"):
        loaded.at_stations(begun.dataset.events, calibrated=True)


@pytest.mark.slow
def test_a_place_is_no_station(mixed):
    """Even where one stands: its mean has what neighbours tell, its sigma is that of an unknown site."""
    begun, loaded = mixed
    one = begun.dataset.events.iloc[:1]
    stations = begun.run.stations()
    place = loaded.at_sites(one, stations)
    station = loaded.at_stations(one)
    chosen = loaded.at_stations(one, ["K03", "M01"])
    assert np.abs(place["mean"] - station["mean"]).max() > 0.3
    assert (place["aleatory"] >= station["aleatory"]).all()
    assert (place["aleatory"] > station["aleatory"]).any()
    assert chosen["site_id"].to_numpy().tolist() == ["K03", "M01"]
    known = station.set_index(site="site_id")["mean"].sel(site=["K03", "M01"])
    np.testing.assert_allclose(chosen["mean"], known, rtol=1e-6)
    maps = loaded.maps(one)
    row, col, _ = loaded.experiment.grid.locate(stations["longitude"], stations["latitude"])
    np.testing.assert_allclose(maps["stddev"].to_numpy()[0, row, col], place["stddev"][0], rtol=1e-6)
    with pytest.raises(UsageError, match="has no station X1, X2"):
        loaded.at_stations(one, ["X1", "K03", "X2"])
