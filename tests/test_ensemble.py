"""Members -> mean, aleatory and epistemic standard deviation, as maps and at sites."""

import copy
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

import tfgmm
from conftest import TINY, small_dataset
from helpers import untrained_run
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import TERMS
from tfgmm.network import training
from tfgmm.network.channels import event_vectors
from tfgmm.prediction import conditioning, ensemble, scenarios
from tfgmm.prediction.conditioning import Condition, Conditioned, site_numbers
from tfgmm.prediction.places import Places, Window
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder, conditioned_file
from tfgmm.stats import calibration
from tfgmm.stats.backbone import Backbone
from tfgmm.stats.field_records import Cells
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
    return ensemble.Ensemble(other, "PGA", loaded._outputs, calibration=chosen)


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
    x, y = grid.axes_km(28)
    points = np.stack(grid.project(SITES["longitude"], SITES["latitude"])[::-1], axis=1)

    def interpolated(values):
        return RegularGridInterpolator((-y, x), values[0].numpy())(points * [-1, 1])

    normals = loaded._outputs(event_vectors(one, grid), Window(0, 0, 68))
    moments = ([values[..., 0] for values in parts] for parts in zip(*normals, strict=True))
    expected = combine(*([*map(interpolated, parts)] for parts in moments))
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
def of_run(trained_root):
    """A run with a field whose site terms are large."""
    return RunFolder.open(trained_root / "run")


@pytest.fixture(scope="module")
def with_field(of_run):
    return ensemble.load(of_run)


@pytest.fixture(scope="module")
def on_training(of_run):
    return ensemble.load(of_run, condition="training")


@pytest.fixture(scope="module")
def earthquakes(of_run):
    """Two that are no events of the run."""
    depths = {"depth_km": [25.0, 40.0], "magnitude": [5.5, 6.2]}
    return pd.DataFrame({"longitude": [139.9, 139.7], "latitude": [35.8, 35.6]} | depths)


def without_field(loaded):
    """The same networks on the same backbone."""
    by_chunk = {chunk: Conditioned(one.tables) for chunk, one in loaded.condition.by_chunk.items()}
    other = copy.copy(loaded)
    other.condition = Condition(by_chunk)
    return other


def cells_of(loaded, field, events, places, terms_of=None) -> Cells:
    """All pairs of events and places, the places of an event together."""
    grid, count = loaded.experiment.grid, len(places)
    source_km, place_km = (
        np.stack(grid.project(table["longitude"], table["latitude"]), axis=-1) for table in (events, places)
    )
    sources = np.repeat(np.c_[source_km, events["depth_km"]], count, axis=0)
    sites = -1 - np.arange(count) if terms_of is None else site_numbers(field, terms_of)
    event = -1 - np.repeat(np.arange(len(events)), count)
    return Cells(sources, np.tile(place_km, (len(events), 1)), event, np.tile(sites, len(events)))


@pytest.mark.slow
def test_at_a_station_by_hand(with_field, of_run, earthquakes):
    """Backbone, network by its share, and field; of the field the variance counts as aleatory."""
    stations, field = of_run.stations(["K03", "M01", "K17"]), of_run.field("PGA")
    found = with_field.at_stations(earthquakes, ["K03", "M01", "K17"])
    cells = cells_of(with_field, field, earthquakes, stations, stations["terms_of"])
    assert (cells.site >= 0).all()
    bare = ensemble.Ensemble(of_run, "PGA", with_field._outputs).at_stations(
        earthquakes, ["K03", "M01", "K17"]
    )
    scenario = earthquakes.loc[np.repeat([0, 1], 3), ["magnitude", "depth_km"]]
    scenario["r_hyp_km"], scenario["vs30"] = found["r_hyp_km"].to_numpy().ravel(), 300.0
    backbone = Backbone.load(of_run.path / conditioned_file("backbone", "PGA"))
    median = backbone.median_of("PGA", scenario).reshape(2, 3)
    shrinkage = of_run.shrinkage("PGA")
    u = shrinkage.share(found["support"]) * bare["mean"]
    of_field, variance = (values.reshape(2, 3) for values in (field.mean(cells), field.variance(cells)))
    assert np.abs(of_field).max() > 0.3
    np.testing.assert_allclose(found["mean"], median + u + of_field, atol=1e-4)
    np.testing.assert_allclose(found["aleatory"] ** 2, bare["aleatory"] ** 2 + variance, rtol=2e-3)
    np.testing.assert_allclose(found["between_event"] ** 2, field.covariance.event, rtol=1e-5)
    total = found["within_event"] ** 2 + found["between_event"] ** 2
    np.testing.assert_allclose(total, found["stddev"] ** 2, rtol=1e-5)
    alone = without_field(with_field).at_stations(earthquakes, ["K03", "M01", "K17"])
    np.testing.assert_allclose(found["epistemic"], alone["epistemic"], rtol=1e-6)
    assert "between_event" not in alone


@pytest.mark.slow
def test_training_records_give_the_field_of_the_predictions_table(on_training, of_run):
    """Each chunk its own: means over the members, and nothing epistemic in their differences."""
    begun, table = training.reopen(of_run), of_run.read_predictions()
    table = table[table["event_role"].eq("validation")]  # of no chunk's training
    assert table["path_term"].any()
    table["field"], table["variance"] = table[TERMS].sum(axis=1), table["field_stddev"] ** 2
    expected = table.groupby(["event_id", "station_id"])[["field", "variance"]].mean()
    new = begun.dataset.events["event_id"].isin(table["event_id"])
    events = begun.dataset.events[new]
    found, alone = (
        one.at_stations(events).set_index(event="event_id", site="site_id")
        for one in (on_training, without_field(on_training))
    )
    for name, power, column in (("mean", 1, "field"), ("aleatory", 2, "variance")):
        added = (found[name] ** power - alone[name] ** power).to_series().loc[expected.index]
        np.testing.assert_allclose(added, expected[column], atol=2e-3, rtol=2e-3, err_msg=name)
    np.testing.assert_allclose(found["epistemic"], alone["epistemic"], rtol=1e-6)


@pytest.mark.slow
def test_the_condition_counts_and_is_said(with_field, on_training, of_run, earthquakes):
    every, training_ = (one.at_stations(earthquakes) for one in (with_field, on_training))
    assert np.abs(every["mean"] - training_["mean"]).max() > 0.1
    # Half of the stations of either chunk have no records there.
    assert every["aleatory"].mean() < training_["aleatory"].mean()
    assert every.attrs["conditioned_on"] == "all records"
    assert training_.attrs["conditioned_on"] == "training records"
    for predicted in (every, training_):
        assert predicted.attrs["data_hash"] == of_run.data["digest"] == of_run.conditioned_on["data"]


@pytest.mark.slow
def test_one_field_is_computed_once_for_all_members(with_field, on_training, earthquakes, monkeypatch):
    asked, moments = [], ensemble.Ensemble._field_moments
    monkeypatch.setattr(
        ensemble.Ensemble, "_field_moments", lambda *given: asked.append(1) or moments(*given)
    )
    with_field.at_sites(earthquakes, SITES)
    assert len(asked) == 1
    on_training.at_sites(earthquakes, SITES)
    assert len(asked) == 3


@pytest.mark.slow
def test_maps_are_sites_at_the_centres_of_pixels(with_field, earthquakes):
    maps = with_field.maps(earthquakes)
    pixels = {axis: maps[axis].to_numpy().ravel()[::7] for axis in ("longitude", "latitude")}
    sites = with_field.at_sites(earthquakes, pd.DataFrame(pixels))
    for name in ("mean", "stddev", "aleatory", "within_event"):
        of_pixels = maps[name].to_numpy().reshape(2, -1)[:, ::7]
        np.testing.assert_allclose(sites[name], of_pixels, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_field_is_that_of_the_place_itself(with_field, of_run, earthquakes, interpolation):
    field = of_run.field("PGA")
    found, alone = (
        one.at_sites(earthquakes, SITES, interpolation=interpolation)
        for one in (with_field, without_field(with_field))
    )
    expected = field.mean(cells_of(with_field, field, earthquakes, SITES)).reshape(2, -1)
    np.testing.assert_allclose(found["mean"] - alone["mean"], expected, atol=1e-4)


@pytest.mark.slow
def test_a_field_is_not_calibrated_afterwards(with_field, earthquakes):
    with pytest.raises(UsageError, match="has a field, and no calibration afterwards"):
        with_field.at_stations(earthquakes, calibrated=True)


@pytest.mark.slow
def test_a_place_is_no_station(with_field, of_run, earthquakes):
    """Even where one stands: its mean has what neighbours tell, its sigma is that of an unknown site."""
    one, stations = earthquakes.iloc[:1], of_run.stations()
    place, station = with_field.at_sites(one, stations), with_field.at_stations(one)
    chosen = with_field.at_stations(one, ["K03", "M01"])
    assert np.abs(place["mean"] - station["mean"]).max() > 0.3
    has_records = site_numbers(of_run.field("PGA"), stations["terms_of"]) >= 0
    assert has_records.any()
    larger = (place["aleatory"] - station["aleatory"]).to_numpy()[0, has_records]
    assert (larger > 0.02).all()
    assert chosen["site_id"].to_numpy().tolist() == ["K03", "M01"]
    known = station.set_index(site="site_id")["mean"].sel(site=["K03", "M01"])
    np.testing.assert_allclose(chosen["mean"], known, rtol=1e-5)
    with pytest.raises(UsageError, match="has no station X1, X2"):
        with_field.at_stations(one, ["X1", "K03", "X2"])


@pytest.mark.slow
def test_a_run_that_is_not_finished_has_only_training_records(tmp_path):
    """Its backbones of the chunks are there; the one of all records comes at the end."""
    data = untrained_run.write_data(tmp_path / "data")
    begun = training.begin(
        Experiment(**TINY | {"data": data, "backbone": "BSSA14", "ims": ("PGA",)}), tmp_path / "run"
    )
    untrained_run.give_random_weights(begun)
    with pytest.raises(UsageError, match="has no backbone of all its records yet: finish it with"):
        ensemble.load(begun.run)
    assert len(ensemble.load(begun.run, condition="training").condition.by_chunk) == 2


@pytest.mark.slow
def test_files_and_options_name_the_condition(of_run, earthquakes, tmp_path):
    opened = tfgmm.open_run(of_run.path)
    for chosen, said in conditioning.CONDITIONS.items():
        path = opened.predict(earthquakes, tmp_path / f"{chosen}.nc", condition=chosen)
        with xr.open_dataset(path, engine="scipy") as maps:
            assert maps.attrs["conditioned_on"] == said
            assert maps.attrs["data_hash"] == of_run.data["digest"]
            np.testing.assert_allclose(
                maps["mean"], opened.ensemble(condition=chosen).maps(earthquakes)["mean"], atol=1e-5
            )
    assert opened.ensemble() is not opened.ensemble(condition="training")
    with pytest.raises(UsageError, match="condition 'none': choose all or training"):
        opened.predict(earthquakes, tmp_path / "a.nc", condition="none")
    with pytest.raises(UsageError, match="condition are of a SavedModel, not of a gmpe-table"):
        opened.prepare_export(tmp_path / "a.hdf5", format="gmpe-table", condition="training")
    condition, _ = opened.prepare_export(tmp_path / "a", condition="training").measures["PGA"]
    assert condition.by_chunk.keys() == {0, 1}
