"""From a run to the maps of what it has learned about its sites, on the command line and in Python."""

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import xarray as xr

from helpers import untrained_run
from helpers.untrained_run import IMS
from tfgmm.cli.app import main
from tfgmm.cli.console import console
from tfgmm.core import drawing
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import training_records
from tfgmm.network import batches as data_pipeline
from tfgmm.network import training
from tfgmm.prediction import ensemble
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import estimators, site_maps, site_study, writing
from tfgmm.site_amplification.estimate import Estimate
from tfgmm.site_amplification.site_study import Options, Selection, Study
from tfgmm.site_amplification.site_terms import InterpolationVariance
from tfgmm.stats import ergodic
from tfgmm.stats.field_records import Cells

EVERYTHING = Options(arms=("published",), within_km=40, min_records=1, sectors=4, layer_events=2)


def of_networks(study):
    """Return the averages of the networks of a study for PGA."""
    return estimators.average_networks(study, ["PGA"])["PGA"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("amplified")


@pytest.fixture(scope="module")
def run(root) -> RunFolder:
    """Its own members and the published arm, but for one member of the latter."""
    data = untrained_run.write_data(root / "data", layers=True)
    made = untrained_run.make_finished(data, root / "runs" / "dense")
    arm = Study(made, EVERYTHING).arm("published")
    untrained_run.give_random_weights(arm)
    arm.write_predictions()
    shutil.rmtree(made.member(1, 0, "drop-site").path)
    return made


@pytest.fixture(scope="module")
def sparse(root, run) -> RunFolder:
    """Another run on the same data."""
    return untrained_run.make_finished(
        run.experiment.data, root / "runs" / "sparse", networks=("kik",), ims=("PGA",)
    )


@pytest.fixture(scope="module")
def written(run, root):
    """What the command prints and writes; it trains the member that is missing."""
    folder = run.path / "site_amplification"
    printed = _command(
        root,
        [run.path, "--no-site", "published", "--within-km", 40, "--min-records", 1],
        ["--at", "139.95,35.75,Tokyo", "--at", "140.1,35.6"],
    )
    return printed, folder


def _command(root, *arguments) -> str:
    """Run site-amp from the folder of the runs, and what it prints."""
    with pytest.MonkeyPatch.context() as patch, console.capture() as said, pytest.raises(SystemExit) as end:
        patch.chdir(root)
        patch.setitem(drawing.STYLE, "savefig.dpi", 60)
        # Takes as long as the training here, and has a test of its own.
        patch.setattr(training.Training, "seconds_per_member", lambda self: 7.0)
        main(["site-amp", *(str(one) for part in arguments for one in part)])
    assert end.value.code == 0
    return said.get()


# ---- the command ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_trains_what_is_missing_and_says_what_it_found(written, run):
    printed = " ".join(written[0].split())  # lines are broken at the width of the terminal
    assert f"Run {run.path} Simulated records" in printed
    assert re.search(r"Without site channels, published, into \S+dense: 2 members .*1 trained", printed)
    assert run.member(1, 0, "drop-site").is_trained
    for im in IMS:
        assert re.search(rf" {re.escape(im)} +one_ensemble +\d", printed)


@pytest.mark.slow
def test_everything_is_written(written):
    _, folder = written
    names = {path.name for path in folder.iterdir()}
    maps = {f"{im}{ending}" for im in IMS for ending in (".png", ".pdf", ".tif")}
    tables = {"site_amplification.nc", "stations.csv", "summary.csv", "places.csv"}
    assert names == maps | tables | {"periods.png", "periods.pdf"}


@pytest.mark.slow
def test_netcdf_is_cf_and_its_parts_add_up(written, run):
    _, folder = written
    with xr.open_dataset(folder / "site_amplification.nc") as maps:
        assert maps["im"].to_numpy().tolist() == list(IMS)
        assert maps["estimator"].to_numpy().tolist() == ["difference", "one_ensemble", "layers"]
        assert pyproj.CRS.from_cf(maps["crs"].attrs).to_epsg() == 6677
        assert maps["amplification"].attrs["grid_mapping"] == "crs"
        assert maps.attrs["simulated"] == 1 and maps.attrs["networks"] == "kik,meso"
        total = sum(maps[name] ** 2 for name in ("jackknife", "initialisation", "interpolation"))
        np.testing.assert_allclose(maps["standard_error"] ** 2, total, rtol=1e-4)
        centred = maps["amplification"].where(maps["footprint"] == 1).mean(("y", "x"))
        np.testing.assert_allclose(centred, 0, atol=1e-5)
        np.testing.assert_allclose(maps["without_chunk"].mean("chunk"), maps["amplification"], atol=1e-5)
        east, north = pyproj.Transformer.from_crs(4326, 6677, always_xy=True).transform(
            maps["longitude"].to_numpy(), maps["latitude"].to_numpy()
        )
        np.testing.assert_allclose(east, np.broadcast_to(maps["x"], east.shape), atol=0.01)
        np.testing.assert_allclose(
            north, np.broadcast_to(maps["y"].to_numpy()[:, None], north.shape), atol=0.01
        )
        for name, variable in maps.data_vars.items():
            if name != "crs":
                assert {"units", "long_name"} <= set(variable.attrs), name


@pytest.mark.slow
def test_geotiff_holds_the_same_maps(written):
    _, folder = written
    with (
        rasterio.open(folder / "PGA.tif") as file,
        xr.open_dataset(folder / "site_amplification.nc") as maps,
    ):
        one = maps.sel(im="PGA")
        band = file.descriptions.index("one_ensemble standard_error") + 1
        np.testing.assert_array_equal(file.read(band), one["standard_error"].sel(estimator="one_ensemble"))
        np.testing.assert_array_equal(file.read(file.descriptions.index("taught") + 1), one["taught"])
        row, col = file.index(one["x"][3].item(), one["y"][5].item())
        assert (row, col) == (5, 3) and file.crs.to_epsg() == 6677


@pytest.mark.slow
def test_tables_hold_stations_and_places(written, run):
    _, folder = written
    stations, places = pd.read_csv(folder / "stations.csv"), pd.read_csv(folder / "places.csv")
    assert len(stations) == 2 * 3 * 32 and stations["simulated"].all()
    held = stations.groupby("network")["held_out"].agg(lambda values: values.notna().all())
    assert held["kik"] and not held["meso"]
    assert places["place"].unique().tolist() == ["Tokyo", "140.1,35.6"]
    with xr.open_dataset(folder / "site_amplification.nc") as maps:
        row, col, _ = run.experiment.grid.locate(139.95, 35.75)
        expected = maps["amplification"].sel(im="SA(1.0)", estimator="layers").isel(y=int(row), x=int(col))
        one = places.query("place == 'Tokyo' and im == 'SA(1.0)' and estimator == 'layers'").iloc[0]
        assert one["amplification"] == pytest.approx(expected.item(), rel=1e-4)
        assert one["high"] - one["low"] == pytest.approx(2 * 1.6449 * one["standard_error"], rel=1e-4)


@pytest.mark.slow
def test_latest_run_is_taken_and_named_and_differences_are_mapped(written, run, sparse, root):
    """Without a RUN; the dense run was begun before the sparse one."""
    options = ["--no-site", "none", "--im", "pga", "--within-km", 40, "--min-records", 1]
    printed = _command(root, options, ["--against", run.path, "--out", root / "out"])
    assert "Run runs/sparse, the latest\n" in printed
    with xr.open_dataset(root / "out" / "minus_dense.nc") as maps:
        compared, difference = maps["compared"] == 1, maps["difference"]
        np.testing.assert_allclose(difference.where(compared).mean(("y", "x")), 0, atol=1e-5)
        assert not (maps["significant"] * (1 - maps["compared"])).any()
        with xr.open_dataset(root / "out" / "site_amplification.nc") as one:
            other = xr.open_dataset(run.path / "site_amplification" / "site_amplification.nc")
            name = {"estimator": "one_ensemble", "im": "PGA"}
            expected = (one.sel(name) - other.sel(name))["amplification"]
            other.close()
        spread = (difference.sel(name) - expected).where(compared.sel(name))
        assert float(spread.std()) < 1e-5  # each has its own mean taken off
    assert (root / "out" / "minus_dense_PGA.png").stat().st_size > 10_000
    assert not (sparse.path / "site_amplification").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--im", "SA(3.0)"], "run .*dense has no SA.3.0.: it has PGA, SA"),
        (
            ["--events", "magnitude:9,10"],
            "0 of 30 events are validation events, magnitude 9 to 10: at least 2",
        ),
        (["--events", "magnitude:5"], "--events magnitude:5: magnitude.*; write role:validation"),
        (["--events", "month:5"], "--events month:5: month: .*; write role:validation"),
        (["--at", "139.7"], "--at 139.7.*: write 2 numbers with commas between them"),
        (["--at", "130,35,Far"], "--at 130,35,Far: this place lies outside the map of the run"),
    ],
)
def test_bad_options_are_refused_in_one_line(run, root, capfd, arguments, says):
    with pytest.raises(SystemExit) as stop:
        main(["site-amp", str(run.path), "--no-site", "none", *arguments])
    assert stop.value.code == 2
    assert re.fullmatch(rf"tfgmm: {says}.*\n", capfd.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stations.csv", "PGA.png", "site_amplification.nc"])
def test_files_of_others_are_not_replaced(run, tmp_path, capfd, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["site-amp", str(run.path), "--no-site", "none", "--out", str(tmp_path)])
    assert stop.value.code == 2
    told = capfd.readouterr().err
    assert re.fullmatch(rf"tfgmm: \S+{name} exists already and was not made by .*--overwrite\n", told)
    writing.refuse_strangers(tmp_path, IMS, [], overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.slow
def test_own_files_are_replaced(written, run):
    folder = written[1]
    assert writing.refuse_strangers(folder, IMS, ["sparse"], overwrite=False) is None


def test_no_run_at_all(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["site-amp"])
    assert "no run in runs has predictions: name a run" in capfd.readouterr().err


# ---- in Python -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(written, run) -> Study:
    return Study(run, EVERYTHING)


@pytest.fixture(scope="module")
def measured(study):
    calls = []
    averages = estimators.average_networks(study, ["PGA"], lambda: calls.append(1))["PGA"]
    found = estimators.measure(study, "PGA", averages)
    assert len(calls) == study.steps
    return found


@pytest.mark.slow
def test_difference_is_that_of_the_mean_predictions(study, measured, run):
    """Against the whole ensembles, all events at once."""
    arm = dataclasses.replace(run, experiment=study.arm("published").experiment)
    places = (0, 0), (1, 0)
    members = {place: ensemble.member.load_networks(arm.member(*place), ["PGA"]) for place in places}
    with_site = ensemble.load(run.path, "PGA")
    outputs = ensemble.Outputs(members, study.rasteriser(drop=("site",)))
    without = ensemble.Ensemble(arm, "PGA", outputs)
    found = [one.maps(study.events)["mean"].mean("event").to_numpy() for one in (with_site, without)]
    expected = found[0] - found[1]
    expected -= expected[study.footprint].mean()
    np.testing.assert_allclose(measured.estimates["difference"].amplification, expected, atol=1e-5)


@pytest.mark.slow
def test_one_ensemble_is_the_mean_prediction_less_the_folds_median(run):
    """With one bin and all events of equal weight."""
    plain = Study(run, EVERYTHING.model_copy(update={"arms": (), "sectors": 1, "cuts_km": ()}))
    found = estimators.estimates(plain, "PGA", plain.footprint, of_networks(plain))["one_ensemble"]
    maps = ensemble.load(run.path, "PGA").maps(plain.events)
    table = data_pipeline.flat_table(plain.dataset, plain.experiment, "PGA")
    medians = []
    for fold in plain.folds:
        model = ergodic.fit(training_records(fold.roles(table)))
        magnitude, depth = (maps[name].to_numpy()[:, None, None] for name in ("magnitude", "depth_km"))
        medians.append(model.median(magnitude, maps["r_hyp_km"].to_numpy(), depth).mean(axis=0))
    expected = maps["mean"].mean("event").to_numpy() - np.mean(medians, axis=0)
    level = expected[plain.footprint].mean()
    np.testing.assert_allclose(found.amplification, expected - level, atol=1e-5)
    assert found.level == pytest.approx(level, abs=1e-5)


def test_no_map_is_nearer_than_kriged_site_terms():
    """Where held-out sites say less than kriging does, its variance counts, the jackknife's part once."""
    everywhere = np.ones((4, 5), bool)
    members = np.random.default_rng(0).normal(0, 0.1, (5, 2, 3, 4, 5))
    one = Estimate.from_maps(members, everywhere)
    kriging = np.random.default_rng(1).uniform(0.0, 0.09, (4, 5))
    found = site_maps.measure(
        {"one_ensemble": one},
        {"one_ensemble": InterpolationVariance(0.15, 3.0, 0.3)},
        nearest_km=np.full((4, 5), 1.0),
        kriging_variance=kriging,
        taught=everywhere,
        footprint=everywhere,
    ).squeeze("estimator")
    jackknife, fitted = one.jackknife_variance(), 0.15**2 * (1 - np.exp(-1 / 3))
    lacking = kriging - jackknife
    assert (lacking > fitted).any() and (lacking < fitted).any()
    np.testing.assert_allclose(found["interpolation"] ** 2, np.where(lacking > fitted, lacking, fitted))
    assert (found["standard_error"] ** 2 >= kriging).all()


@pytest.fixture(scope="module")
def with_field(root, run) -> Study:
    """A run with the field, and one bin for events of equal weight."""
    changes = {"ims": ("PGA",), "backbone": "auto", "field": True, "stopping": "blocks"}
    made = untrained_run.make_finished(run.experiment.data, root / "runs" / "field", **changes)
    return Study(made, EVERYTHING.model_copy(update={"arms": (), "sectors": 1, "cuts_km": ()}))


@pytest.mark.slow
def test_site_terms_are_those_of_the_field(with_field):
    """At a station: own and shared part where its records trained, the shared part alone elsewhere."""
    field = with_field.run.field("PGA", 0)
    records, cells = field.records, field.records.cells()
    at_records = field.parts(cells)
    sites = [records.site_ids[0], "unknown"]
    places_km = np.repeat(records.station_km[records.site == 0], 2, axis=0)
    term, variance = estimators._site_terms(field, places_km, sites)
    first = np.flatnonzero(cells.site == 0)[0]
    expected = [
        at_records["site_own"][first] + at_records["site_shared"][first],
        at_records["site_shared"][first],
    ]
    np.testing.assert_allclose(term, expected, atol=1e-9)
    assert expected[0] != pytest.approx(expected[1], abs=1e-6)
    prior = field.covariance.site_own + field.covariance.site_shared
    assert variance[0] < variance[1] <= prior + 1e-6


@pytest.mark.slow
def test_one_ensemble_is_backbone_networks_and_site_terms_less_the_median(with_field):
    study, run = with_field, with_field.run
    found = estimators.estimates(study, "PGA", study.footprint, of_networks(study))["one_ensemble"]
    maps, medians = [], estimators._average_medians(study, "PGA")[:, 0]
    for chunk in range(2):
        network = ensemble.member.load_networks(run.member(chunk, 0), ["PGA"])
        outputs = ensemble.Outputs({(chunk, 0): network}, study.rasteriser())
        alone = ensemble.Ensemble(run, "PGA", outputs)
        u = alone.maps(study.events)["mean"].mean("event").to_numpy()
        pixels = pd.DataFrame(dict(zip(("row", "col"), np.indices(u.shape).reshape(2, -1), strict=True)))
        x, y = study.pixels_km.reshape(-1, 2).T
        backbone = np.zeros(u.size)
        for event in study.events.itertuples():
            x0, y0 = study.grid.project(event.longitude, event.latitude)
            r_hyp_km = np.hypot(np.hypot(x - x0, y - y0), event.depth_km)
            of_event = {"magnitude": event.magnitude, "depth_km": event.depth_km, "r_hyp_km": r_hyp_km}
            median = run.backbones("PGA")[chunk].median_of("PGA", pixels.assign(**of_event))
            backbone += median / len(study.events)
        field = run.field("PGA", chunk)
        nowhere = np.full(u.size, -1)
        parts = field.parts(Cells(np.zeros((u.size, 3)), study.pixels_km.reshape(-1, 2), nowhere, nowhere))
        maps.append(u + (backbone + parts["site_shared"]).reshape(u.shape) - medians[chunk])
    expected = np.mean(maps, axis=0)
    level = expected[study.footprint].mean()
    np.testing.assert_allclose(found.amplification, expected - level, atol=1e-4)
    assert found.level == pytest.approx(level, abs=1e-4)


@pytest.mark.slow
def test_stations_have_their_own_part_beside_the_map(with_field):
    """Site terms of the fields of all chunks, less those of the pixel of the station."""
    study = with_field
    stations = estimators.measure(study, "PGA", of_networks(study)).stations
    one = stations.drop_duplicates("station_id").set_index("station_id")
    place = study.located.set_index("station_id").loc[["K03"]]
    pixel = study.pixels_km[place["row"], place["col"]]
    parts = []
    for chunk in range(2):
        field = study.run.field("PGA", chunk)
        at_station = estimators._site_terms(field, place[["x_km", "y_km"]].to_numpy(), ["K03"])
        parts.append((at_station[0] - estimators._site_terms(field, pixel)[0], np.sqrt(at_station[1])))
    term, stddev = np.mean(parts, axis=0)[:, 0]
    assert one.loc["K03", "station_part"] == pytest.approx(term, abs=1e-9)
    assert one.loc["K03", "station_part_stddev"] == pytest.approx(stddev, abs=1e-9)
    assert one["station_part"].std() > 0


@pytest.mark.slow
def test_layers_that_the_networks_never_saw_have_no_response(study, measured):
    blind = dataclasses.replace(study.run, experiment=study.arm("published").experiment)
    questions = estimators._layer_averages(study)
    names = study.rasteriser(drop=("site",)).names
    assert "layers" in measured.estimates and len(questions) == 1 + 2
    assert "z_bedrock" not in names
    with pytest.raises(UsageError, match="trained without site channels: it has learned no site"):
        blind.experiment.without_site()


@pytest.mark.slow
def test_unfinished_run_is_refused(study, monkeypatch):
    done = study.training.folder(study.training.members[0]).path / "done.json"
    done.rename(done.with_name("gone"))
    try:
        with pytest.raises(UsageError, match="lacks 1 members, the first chunk 0 init 0: finish it"):
            study.refuse_unfinished(("PGA",))
    finally:
        done.with_name("gone").rename(done)


@pytest.mark.slow
def test_runs_that_are_no_pairs_are_refused(study, sparse):
    other = Study(sparse, EVERYTHING)
    site_study.refuse_unpaired(study, other)
    odd = sparse.experiment.model_copy(update={"seed": 7})
    other.run = dataclasses.replace(sparse, experiment=odd, data=sparse.data | {"digest": "?"})
    with pytest.raises(UsageError, match="they differ in seed, data: train one of them"):
        site_study.refuse_unpaired(study, other)


@pytest.mark.slow
def test_nothing_taught_is_refused(study):
    hungry = Study(study.run, EVERYTHING.model_copy(update={"min_records": 10**6}))
    with pytest.raises(DataError, match="no pixel .* has 1000000 training records within 40 km: raise"):
        estimators.measure(hungry, "PGA", of_networks(hungry))


@pytest.mark.slow
def test_one_call_measures_and_writes(written, run, tmp_path):
    """The same numbers as on the command line, and what is done is reported up to the end."""
    stages = []
    result = writing.map_site_amplification(
        run,
        ["PGA"],
        options=EVERYTHING.model_copy(update={"arms": (), "sectors": 8, "layer_events": 20}),
        places=pd.DataFrame({"name": ["Tokyo"], "longitude": [139.95], "latitude": [35.75]}),
        out=tmp_path / "out",
        report=lambda what, share: stages.append((what, share)),
    )
    assert result.folder == tmp_path / "out" and (result.folder / "PGA.png").is_file()
    assert stages[0] == ("averaging over events", 0.0) and stages[-1] == ("averaging over events", 1.0)
    assert list(result.measures) == ["PGA"] and re.fullmatch(r"\d+: validation events", result.events)
    columns = ["estimator", "spread", "r_stations"]
    printed = pd.read_csv(written[1] / "summary.csv").query("im == 'PGA' and estimator != 'difference'")
    pd.testing.assert_frame_equal(
        result.summary[columns], printed[columns].reset_index(drop=True), rtol=1e-5
    )
    assert pd.read_csv(result.folder / "places.csv")["place"].unique().tolist() == ["Tokyo"]


@pytest.mark.slow
def test_one_call_refuses_what_it_cannot_do(run, tmp_path):
    def in_one_call(**changes):
        return writing.map_site_amplification(run, ["PGA"], options=EVERYTHING, out=tmp_path, **changes)

    far = pd.DataFrame({"name": ["Far"], "longitude": [130.0], "latitude": [35.0]})
    with pytest.raises(UsageError, match="place Far lies outside the map of the run"):
        in_one_call(places=far)
    with pytest.raises(UsageError, match="two places are called Far: give each a name of its own"):
        in_one_call(places=pd.concat([far, far]))
    with pytest.raises(UsageError, match="other processes train members of .*dense: try again then"):
        in_one_call(train=lambda training, what: False)
    assert not list(tmp_path.iterdir())


# ---- which events --------------------------------------------------------------------------------


@pytest.mark.slow
def test_selection_reads_what_it_writes_about(study):
    assert Selection.parse([]) == Selection()
    chosen = Selection.parse(["role:all", "magnitude:5,6.5", "distance:0,80", "region:139,35,141,36.6"])
    assert str(chosen) == (
        "of any role, magnitude 5 to 6.5, 0 to 80 km from the centre, in the region 139,35,141,36.6"
    )
    events, grid = study.dataset.events, study.grid
    validates = study.folds[0].event_role.index[study.folds[0].event_role == "validation"]
    found = chosen.select(events, validates, grid)
    x, y = grid.project(events["longitude"], events["latitude"])
    expected = events["magnitude"].between(5, 6.5) & (np.hypot(x, y) <= 80)
    expected &= events["longitude"].between(139, 141) & events["latitude"].between(35, 36.6)
    assert set(found["event_id"]) == set(events.loc[expected, "event_id"]) and len(found) > 2
    assert found["origin_time"].is_monotonic_increasing


@pytest.mark.slow
def test_roles_share_the_events(study):
    events, grid = study.dataset.events, study.grid
    validates = study.folds[0].event_role.index[study.folds[0].event_role == "validation"]
    ids = [
        set(Selection(role=r).select(events, validates, grid)["event_id"])
        for r in ("validation", "training", "all")
    ]
    assert ids[0] == set(validates) and not ids[0] & ids[1] and ids[0] | ids[1] == ids[2]
