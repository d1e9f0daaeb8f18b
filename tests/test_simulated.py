"""Simulated records: shape of the study, planted numbers, and nothing but what is planted."""

import filecmp
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core import coast
from tfgmm.core.coast import footprint
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common import units
from tfgmm.simulation import simulated, truth
from tfgmm.simulation.simulated import SimulationSettings
from tfgmm.simulation.truth import IMS, Truth
from tfgmm.stats import ergodic, im_correlation

SMALL = SimulationSettings(events=60, kik_stations=20, meso_events=3, meso_stations=40)


@pytest.fixture(scope="module")
def default():
    return simulated.simulate(SimulationSettings())


@pytest.fixture(scope="module")
def small():
    return simulated.simulate(SMALL)


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "small"
    simulated.write(*small, path)
    return path


def of(table: pd.DataFrame, network: str) -> pd.DataFrame:
    return table[table["network"] == network]


def pairs_of(dataset, network):
    events = dataset.events[dataset.events["event_id"].str.startswith(f"E{network[0].upper()}")]
    return simulated.Pairs(network, events, of(dataset.stations, network))


# --- sizes -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_counts_are_those_of_the_study(default):
    dataset, _ = default
    network = dataset.records.merge(dataset.stations)["network"]
    assert network.value_counts().to_dict() == {"kik": 46191, "meso": 1921}
    assert dataset.stations["network"].value_counts().to_dict() == {"kik": 65, "meso": 300}
    years = dataset.events["origin_time"].dt.year
    assert (years.between(1996, 2017).sum(), years.between(2021, 2022).sum()) == (2864, 19)
    assert len(dataset.events) == 2883
    assert set(dataset.events["event_id"]) == set(dataset.records["event_id"])
    assert dataset.ims == list(IMS)
    assert dataset.networks == ["kik", "meso"]
    assert dataset.simulated


@pytest.mark.slow
def test_networks_record_their_own_events(default):
    dataset, _ = default
    table = dataset.records.merge(dataset.stations).merge(dataset.events, on="event_id")
    assert (of(table, "kik")["origin_time"].dt.year <= 2017).all()
    assert (of(table, "meso")["origin_time"].dt.year >= 2021).all()
    assert of(table, "meso")["magnitude"].min() >= 4.5


@pytest.mark.slow
def test_larger_and_nearer_earthquakes_have_more_records(default):
    dataset, _ = default
    pairs = pairs_of(dataset, "kik")
    count = dataset.records.groupby("event_id").size().loc[pairs.events["event_id"]].to_numpy()
    magnitude = pairs.events["magnitude"].to_numpy()
    distance = np.median(pairs.r_hyp_km(), axis=1)
    assert count[magnitude > 6].mean() > 50 > 10 > count[magnitude < 4].mean()
    weak = magnitude < 4
    assert np.corrcoef(count[weak], np.log(distance[weak]))[0, 1] < -0.5


@pytest.mark.parametrize("number", [59, 1200])
def test_record_numbers_that_do_not_fit_are_refused(number):
    with pytest.raises(
        UsageError, match=rf"{number} kik records do not fit 60 events .* ask for 60 to 1080$"
    ):
        simulated.simulate(SMALL.model_copy(update={"kik_records": number}))


@pytest.mark.slow
def test_moved_stations_share_a_site_but_never_a_day(default):
    dataset, _ = default
    kik = of(dataset.stations, "kik")
    moved = kik[kik.duplicated("site_id", keep=False)].groupby("site_id")
    assert len(moved) == 3
    first_last = (
        dataset.records.merge(dataset.events).groupby("station_id")["origin_time"].agg(["min", "max"])
    )
    for _, pair in moved:
        old, new = pair["station_id"]
        assert first_last.loc[old, "max"] < first_last.loc[new, "min"]
        x, y = truth.project(pair["longitude"], pair["latitude"]).T
        assert 0.7 < np.hypot(np.diff(x), np.diff(y)) < 1.7


@pytest.mark.slow
def test_nugget_is_of_the_site(default):
    dataset, planted = default
    nuggets = planted.nuggets["PGA"].groupby(dataset.stations.set_index("station_id")["site_id"])
    assert (nuggets.nunique() == 1).all()
    assert planted.nuggets["PGA"].nunique() == dataset.stations["site_id"].nunique()


@pytest.mark.slow
def test_networks_never_share_a_site(default):
    dataset, _ = default
    assert (dataset.stations.groupby("site_id")["network"].nunique() == 1).all()
    assert of(dataset.stations, "meso")["site_id"].is_unique


@pytest.mark.slow
def test_station_vs30_is_that_of_the_layer(default):
    dataset, planted = default
    stations = dataset.stations
    expected = planted.vs30(stations["longitude"], stations["latitude"])
    assert stations["vs30_m_s"].to_numpy() == pytest.approx(expected, abs=0.06)


# --- repeatability -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_same_settings_same_bytes(folder, tmp_path):
    simulated.write(*simulated.simulate(SMALL), tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        *("dataset.json", "events.parquet", "layers.nc", "records.parquet", "stations.parquet"),
        *("truth.json", "truth.nc"),
    ]
    assert filecmp.cmpfiles(folder, tmp_path / "again", names, shallow=False) == (names, [], [])


@pytest.mark.slow
def test_another_seed_another_dataset(small):
    other, _ = simulated.simulate(SMALL.model_copy(update={"seed": 2}))
    assert other.digest() != small[0].digest()


@pytest.mark.slow
def test_more_events_leave_the_rest_alone(small):
    dataset, planted = small
    larger, other = simulated.simulate(
        SimulationSettings(**SMALL.model_dump() | {"events": 80, "kik_records": 400})
    )
    pd.testing.assert_frame_equal(larger.stations, dataset.stations)
    xr.testing.assert_identical(larger.layers, dataset.layers)
    both = larger.events.merge(dataset.events)
    assert len(both) == len(dataset.events)
    pd.testing.assert_frame_equal(
        other.event_terms.loc[both["event_id"]], planted.event_terms.loc[both["event_id"]]
    )
    pd.testing.assert_frame_equal(other.nuggets, planted.nuggets)


@pytest.mark.slow
def test_written_folder_reads_back_equal(small, folder):
    dataset, planted = small
    back = Dataset.read(folder)
    for name in ("events", "stations", "records"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(dataset, name))
    xr.testing.assert_identical(back.layers, dataset.layers)
    assert back.provenance["digest"] == back.digest() == dataset.digest()
    assert SimulationSettings(**back.provenance["choices"]) == SMALL
    with pytest.raises(UsageError, match="--overwrite"):
        simulated.write(dataset, planted, folder)


@pytest.mark.slow
def test_truth_files_hold_what_is_planted(small, folder):
    dataset, planted = small
    maps = xr.load_dataset(folder / "truth.nc", engine="scipy")
    place = maps.isel(latitude=[90], longitude=[120])
    expected = planted.site_map("SA(1.0)", place["longitude"], place["latitude"])
    assert place["site_map"].sel(im="SA(1.0)").to_numpy().ravel() == pytest.approx(expected, abs=1e-6)
    assert maps["z_bedrock"].units == "m"
    assert maps["site_map"].units == "1"
    summary = json.loads((folder / "truth.json").read_text())
    station = dataset.stations.iloc[[5]]
    name = station["station_id"].iloc[0]
    term = (
        planted.nuggets.loc[name, "PGA"]
        + planted.site_map("PGA", station["longitude"], station["latitude"])[0]
    )
    assert summary["site_term"][name]["PGA"] == pytest.approx(term, abs=1e-6)
    assert summary["stddev"] == {"tau": 0.35, "phi_s2s": 0.42, "source": 0.2, "path": 0.25, "phi_ss": 0.4}
    assert summary["settings"] == SMALL.model_dump()
    assert len(summary["event_term"]) == 63


@pytest.mark.slow
def test_truth_needs_no_records(small):
    again = simulated.plant(SMALL)
    pd.testing.assert_frame_equal(again.event_terms, small[1].event_terms)
    pd.testing.assert_frame_equal(again.nuggets, small[1].nuggets)


# --- planted numbers ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_event_terms_and_nuggets_have_their_planted_spread(default):
    _, planted = default
    assert planted.event_terms.std().to_numpy() == pytest.approx(0.35, abs=0.015)
    assert planted.nuggets.std().to_numpy() == pytest.approx(0.297, abs=0.04)
    correlation = planted.event_terms.corr().to_numpy()
    assert correlation == pytest.approx(truth.planted_im_correlation(), abs=0.06)
    pga, pgv, sa = (IMS.index(im) for im in ("PGA", "PGV", "SA(1.0)"))
    # 1 - cos(pi / 2 - 0.366 ln(1.0 / 0.7)): PGV has the correlation of SA(0.7).
    assert correlation[pgv, sa] == pytest.approx(0.87, abs=0.03)
    assert correlation[pga, sa] == pytest.approx(0.52, abs=0.06)


@pytest.mark.slow
def test_total_residuals_have_the_planted_correlation(default):
    """All parts share one correlation, so the moments of the records show it."""
    dataset, planted = default
    kik = of(dataset.records.merge(dataset.stations[["station_id", "site_id", "network"]]), "kik")
    pairs = pairs_of(dataset, "kik")
    place = pairs.stations["longitude"], pairs.stations["latitude"]
    row = pairs.events.set_index("event_id").index.get_indexer(kik["event_id"])
    column = pairs.stations.set_index("station_id").index.get_indexer(kik["station_id"])
    median = [planted.ergodic_median(im, pairs.events, *place)[row, column] for im in IMS]
    residuals = np.log(kik[list(IMS)].to_numpy()).T - median
    found = im_correlation.estimate(residuals, IMS, kik["event_id"], kik["site_id"])
    expected = truth.planted_im_correlation()
    number = {part: found.correlation[k] for k, part in enumerate(im_correlation.PARTS)}
    assert number["single_station"] == pytest.approx(expected, abs=0.07)  # with few paths
    assert number["between_event"] == pytest.approx(expected, abs=0.1)
    assert found.stddev[0] == pytest.approx(0.73, abs=0.05)


def test_pga_does_not_know_how_many_measures_are_simulated(small):
    _, planted = small
    four = truth.stream(1, "kik event terms").standard_normal((60, 4))[:, 0]
    terms = planted.event_terms["PGA"]
    drawn = terms[terms.index.str.startswith("EK")].sort_index().to_numpy()
    np.testing.assert_array_equal(drawn, truth.TAU * four)


@pytest.mark.parametrize("im", IMS)
def test_every_measure_has_its_own_median(small, im):
    dataset, planted = small
    lon, lat = np.array([139.5, 140.0, 140.2]), np.array([35.6, 36.1, 35.5])
    together = planted.medians(IMS, dataset.events, lon, lat)[..., IMS.index(im)]
    alone = planted.median(im, dataset.events, lon, lat)
    assert together == pytest.approx(alone, abs=1e-9)
    assert alone.std() > 0.1 and dataset.records[im].gt(0).all()


@pytest.mark.slow
def test_parts_of_the_site_map_have_their_variance_over_the_land_of_the_box(default):
    _, planted = default
    rng = np.random.default_rng(0)
    west, south, east, north = truth.BOX
    lon, lat = rng.uniform(west, east, 6000), rng.uniform(south, north, 6000)
    land = coast.on_land(lon, lat)
    parts = planted.site_parts(lon[land], lat[land])
    assert parts.std(axis=1) == pytest.approx(0.21, abs=0.01)
    assert parts.mean(axis=1) == pytest.approx(0.0, abs=0.02)


def test_source_and_path_terms_have_their_planted_spread_over_seeds():
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {"longitude": rng.uniform(138.5, 141.5, 100), "latitude": rng.uniform(35, 37, 100)}
    )
    lon, lat = rng.uniform(139, 141, 20), rng.uniform(35, 36.6, 20)
    truths = [Truth(seed, pd.DataFrame(), pd.DataFrame()) for seed in range(12)]
    source = [t.source_term("PGA", events["longitude"], events["latitude"]) for t in truths]
    path = [t.path_term("SA(2.0)", events, lon, lat) for t in truths]
    assert np.std(source) == pytest.approx(0.20, abs=0.02)
    assert np.std(path) == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
def test_records_are_median_event_term_nugget_and_scatter(default):
    dataset, planted = default
    for network, table in dataset.records.merge(dataset.stations).groupby("network"):
        pairs = pairs_of(dataset, network)
        place = pairs.stations["longitude"], pairs.stations["latitude"]
        median = pd.DataFrame(
            planted.median("SA(1.0)", pairs.events, *place),
            pairs.events["event_id"],
            pairs.stations["station_id"],
        )
        row, col = (
            median.index.get_indexer(table["event_id"]),
            median.columns.get_indexer(table["station_id"]),
        )
        known = (
            median.to_numpy()[row, col]
            + planted.event_terms.loc[table["event_id"], "SA(1.0)"].to_numpy()
            + planted.nuggets.loc[table["station_id"], "SA(1.0)"].to_numpy()
        )
        scatter = np.log(table["SA(1.0)"]) - known
        assert scatter.std() == pytest.approx(0.40, abs=0.02)
        assert scatter.mean() == pytest.approx(0.0, abs=0.03)


@pytest.mark.slow
def test_median_is_the_sum_of_its_parts(small):
    dataset, planted = small
    events, lon, lat = dataset.events[:5], np.array([139.5, 140.0]), np.array([35.6, 36.1])
    parts = (
        planted.ergodic_median("PGA", events, lon, lat)
        + planted.site_map("PGA", lon, lat)
        + planted.source_term("PGA", events["longitude"], events["latitude"])[:, np.newaxis]
        + planted.path_term("PGA", events, lon, lat)
    )
    assert planted.median("PGA", events, lon, lat) == pytest.approx(parts, abs=1e-9)


@pytest.mark.slow
def test_median_in_blocks_is_the_median(small, monkeypatch):
    dataset, planted = small
    lon, lat = np.array([139.5, 140.0, 140.2]), np.array([35.6, 36.1, 35.5])
    whole = planted.median("PGA", dataset.events, lon, lat)
    monkeypatch.setattr(truth, "_PAIRS", 21)
    assert planted.median("PGA", dataset.events, lon, lat) == pytest.approx(whole, abs=1e-9)
    assert planted.median("PGA", dataset.events[:0], lon, lat).shape == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("magnitude", "epicentral_km", "low", "high"), [(6.0, 40.0, 0.05, 0.08), (4.5, 95.4, 0.002, 0.004)]
)
def test_amplitudes_are_those_of_japan(small, magnitude, epicentral_km, low, high):
    _, planted = small
    lon, lat = Grid().unproject(0.0, epicentral_km)
    event = pd.DataFrame(
        {"longitude": 139.95, "latitude": 35.75, "depth_km": 30.0, "magnitude": magnitude}, [0]
    )
    median = planted.ergodic_median("PGA", event, np.array([lon]), np.array([lat]))
    assert low < np.exp(median.item()) < high


def test_spectra_are_those_of_a_published_model():
    """Within a factor of 2.5 of BSSA14 in all measures, at the magnitudes that most records have."""
    for magnitude, r_km in ((4.5, 60.0), (5.5, 60.0), (6.0, 100.0)):
        design = ergodic.design(np.array([magnitude]), np.array([r_km]), np.array([15.0]))
        for im in IMS:
            ratio = design @ truth.COEFFICIENTS[im] - units.bssa14_ln(im, magnitude, r_km)
            assert abs(ratio.item()) < np.log(2.5), (im, magnitude)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_deep_basin_amplifies_long_periods_and_weakens_pga(seed):
    planted = Truth(seed, pd.DataFrame(), pd.DataFrame())
    lat, lon = truth.raster_points()
    west, south, east, north = truth.BOX
    box = (lon > west) & (lon < east) & (lat > south) & (lat < north)
    lon, lat = lon[box], lat[box]
    deep = planted.z_bedrock(lon, lat) > 2500
    site_map = planted.site_parts(lon, lat).sum(axis=0)
    contrast = dict(zip(IMS, site_map[deep].mean(axis=0) - site_map[~deep].mean(axis=0), strict=True))
    assert contrast["PGA"] < -0.15
    assert contrast["SA(1.0)"] > 0.15
    assert contrast["SA(2.0)"] > 0.15


# --- what is lost ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_thinning_knows_no_amplitude(default):
    dataset, planted = default
    pairs = pairs_of(dataset, "kik")
    ln_im = pairs.ln_im(planted)[..., 0]
    residual = ln_im - planted.median(
        "PGA", pairs.events, pairs.stations["longitude"], pairs.stations["latitude"]
    )
    keys = pd.MultiIndex.from_frame(dataset.records[["event_id", "station_id"]])
    all_pairs = pd.MultiIndex.from_product([pairs.events["event_id"], pairs.stations["station_id"]])
    kept = all_pairs.isin(keys).reshape(residual.shape)
    scatter = residual - residual.mean(axis=1, keepdims=True)
    scatter -= scatter.mean(axis=0)
    assert scatter[kept].mean() == pytest.approx(scatter[~kept].mean(), abs=0.01)
    assert scatter[kept].std() == pytest.approx(scatter[~kept].std(), abs=0.01)


@given(number=st.integers(8, 30), seed=st.integers(0, 1000))
def test_thinning_keeps_the_number_and_every_event(number, seed):
    rng = np.random.default_rng(seed)
    operating = rng.random((8, 6)) < 0.8
    operating[:, 0] = True
    kept = simulated.thin(rng, rng.uniform(3, 7, 8), rng.uniform(5, 300, (8, 6)), operating, number=number)
    assert kept.sum() == number
    assert kept.any(axis=1).all()
    assert not (kept & ~operating).any()


@pytest.mark.slow
def test_trigger_truncates_and_says_so(small):
    dataset, _ = small
    level = float(dataset.records["PGA"].quantile(0.3))
    cut, _ = simulated.simulate(SMALL.model_copy(update={"trigger": level}))
    kept = dataset.records[dataset.records["PGA"] >= level].reset_index(drop=True)
    pd.testing.assert_frame_equal(cut.records, kept)
    lost = sum(row["count"] for row in cut.provenance["dropped"] if "below the trigger" in row["reason"])
    assert lost == len(dataset.records) - len(kept)
    gone = [row["count"] for row in cut.provenance["dropped"] if row["what"] == "event"]
    assert gone == [len(dataset.events) - len(cut.events)]


def test_trigger_that_leaves_nothing_is_refused():
    with pytest.raises(UsageError, match=r"no PGA reaches the trigger level of 15\.0 g"):
        simulated.simulate(SMALL.model_copy(update={"trigger": 15.0}))


@pytest.mark.slow
def test_every_candidate_is_kept_or_counted(default):
    dataset, _ = default
    dropped = sum(row["count"] for row in dataset.provenance["dropped"] if row["what"] == "record")
    assert dropped + len(dataset.records) == dataset.provenance["read"]["record"] == 2864 * 65 + 19 * 300


# --- layers and footprint ----------------------------------------------------------------------------


@pytest.mark.slow
def test_layers_cover_the_shifted_input_window(default):
    dataset, _ = default
    grid = Grid()
    for name, low, high in (("z_bedrock", 50, 5000), ("vs30", 100, 1500)):
        layer = dataset.layers[name]
        values, covered = layers.on_grid(layer, grid, grid.input_size + 6)
        assert covered.all()
        assert low < values.min() < values.max() < high
        assert (layer.units, layer.long_name) == layers.LAYERS[name]


@pytest.mark.slow
def test_basin_is_deep_in_the_middle_and_soft(default):
    _, planted = default
    middle, west, north = (139.9, 35.75), (138.95, 35.7), (139.6, 36.6)
    z, vs30 = (f(*np.transpose([middle, west, north])) for f in (planted.z_bedrock, planted.vs30))
    assert 2800 < z[0] < 4500
    assert ((z[1:] > 80) & (z[1:] < 700)).all()
    assert vs30[0] < 280 < 350 < vs30[1:].min()


@pytest.mark.slow
def test_footprint_is_the_land_between_the_stations(default):
    dataset, _ = default
    grid = Grid()
    inside = footprint(of(dataset.stations, "kik"), grid)
    row, col, _ = grid.locate([139.6, 139.87, 141.05], [35.8, 35.45, 36.6])
    assert inside.shape == (100, 100)
    assert inside[row, col].tolist() == [True, False, False]  # Saitama, Tokyo Bay, the Pacific
    assert 4500 < inside.sum() < 7000
