"""What a user knows of rupture and ground changes a prediction; where records are few, it says so."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import rasterio
import tensorflow as tf
import xarray as xr

import tfgmm
from helpers import untrained_run
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, UsageError
from tfgmm.core.rupture import Rupture
from tfgmm.prediction import ensemble, scenarios, writing
from tfgmm.prediction.conditioning import Known, site_numbers
from tfgmm.prediction.quantities import Quantities
from tfgmm.prediction.sanity import Sanity
from tfgmm.stats import published_scaling
from tfgmm.stats.field_records import Cells
from tfgmm.stats.support import Shrinkage, Support

LARGE = pd.DataFrame(
    {"event_id": ["big"], "longitude": [139.9], "latitude": [35.6], "depth_km": [12.0], "magnitude": [7.5]}
)
#: Near the northern end of a rupture of 100 km through the hypocentre, 40 km north of the epicentre.
NORTH = pd.DataFrame({"site_id": ["N"], "longitude": [139.92], "latitude": [35.96]})
PLANE = {"strike": 0.0, "dip": 90.0, "length_km": 100.0, "width_km": 18.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run.make(tmp_path_factory.mktemp("known"), backbone="BSSA14")


@pytest.fixture(scope="module")
def loaded(run):
    return ensemble.load(run, "PGA")


@pytest.fixture(scope="module")
def without_backbone(tmp_path_factory):
    return ensemble.load(untrained_run.make(tmp_path_factory.mktemp("none")), "PGA")


def write_rupture(path, rupture: Rupture | None):
    """Write a surface of one quadrilateral, or a hypocentre, as ShakeMap does."""
    if rupture is None:
        geometry = {"type": "Point", "coordinates": [139.9, 35.6, 12.0]}
    else:
        (corners,) = rupture.corners
        ring = [*corners.tolist(), corners[0].tolist()]
        geometry = {"type": "MultiPolygon", "coordinates": [[ring]]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    metadata = {"lon": 139.9, "lat": 35.6, "depth": 12.0, "mag": 7.5}
    path.write_text(json.dumps({"type": "FeatureCollection", "metadata": metadata, "features": [feature]}))
    return path


# ---- ruptures --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_long_rupture_is_nearer_than_its_hypocentre(loaded, tmp_path):
    long = Rupture.planar(139.9, 35.6, 12.0, **PLANE)
    path = write_rupture(tmp_path / "rupture.json", long)
    known = Known(scenarios.ruptures(LARGE, path))
    before, after = (loaded.at_sites(LARGE, NORTH, known=k) for k in (Known(), known))
    assert after["mean"].item() - before["mean"].item() > 0.3
    assert after["epistemic"].item() < before["epistemic"].item()  # the distance is known
    assert after["r_hyp_km"].item() == before["r_hyp_km"].item() > 40
    by_columns = scenarios.ruptures(LARGE.assign(**PLANE))
    np.testing.assert_allclose(
        loaded.at_sites(LARGE, NORTH, known=Known(by_columns))["mean"], after["mean"], atol=1e-3
    )
    far = NORTH.assign(latitude=36.2, longitude=140.6)
    farther = loaded.at_sites(LARGE, far, known=known)["mean"] - loaded.at_sites(LARGE, far)["mean"]
    assert abs(farther.item()) < 0.3


@pytest.mark.slow
def test_a_rupture_belongs_to_its_earthquake_alone(loaded):
    two = pd.concat([LARGE, LARGE.assign(event_id="other")], ignore_index=True)
    known = Known({"big": Rupture.planar(139.9, 35.6, 12.0, **PLANE)})
    with_rupture, unknown = loaded.at_sites(two, NORTH, known=known), loaded.at_sites(two, NORTH)
    assert with_rupture["mean"][0, 0] > unknown["mean"][0, 0] + 0.3
    assert with_rupture["mean"][1, 0] == unknown["mean"][1, 0]


def test_class_and_rupture_stand_beside_the_prediction(loaded, without_backbone, tmp_path):
    """What is given, what the depth decides, and the distance to a rupture that is known."""
    two = pd.concat([LARGE, LARGE.assign(event_id="other", depth_km=40.0)], ignore_index=True)
    given = two.assign(tectonic_class=[None, "crustal"])
    known = Known(scenarios.ruptures(LARGE.assign(**PLANE)))
    found = loaded.at_sites(given, NORTH, known=known)
    assert found["tectonic_class"].to_numpy().tolist() == ["crustal", "crustal"]
    assert found["known_class"].to_numpy().tolist() == [False, True]
    assert found["known_rupture"].to_numpy().tolist() == [True, False]
    assert found["r_rup_km"][0, 0] < 0.5 * found["r_hyp_km"][0, 0] and np.isnan(found["r_rup_km"][1, 0])
    by_depth = loaded.at_sites(two, NORTH)
    assert not by_depth["known_class"].any() and "r_rup_km" not in by_depth
    strange = loaded.at_sites(two.assign(tectonic_class="intraslab"), NORTH)  # BSSA14 is crustal alone
    assert strange["tectonic_class"].to_numpy()[0] == "crustal" and not strange["known_class"].any()
    assert "tectonic_class" not in without_backbone.at_sites(two, NORTH).coords
    row = writing.table(Quantities().of(found)).iloc[1]
    assert (row["tectonic_class"], row["known_class"], row["known_rupture"]) == ("crustal", True, False)
    path = tmp_path / "two.nc"
    maps = Quantities().of(loaded.maps(given, known=known))
    writing.write_netcdf(
        iter([maps.isel(event=[0]), maps.isel(event=[1])]), path, loaded.experiment.grid, 8
    )
    with xr.open_dataset(path) as written:
        assert written["tectonic_class"].to_numpy().tolist() == ["crustal", "crustal"]
        assert written["known_class"].to_numpy().tolist() == [0, 1]
        assert written["r_rup_km"].attrs["units"] == "km"


def test_a_hypocentre_is_no_rupture(tmp_path, caplog):
    path = write_rupture(tmp_path / "rupture.json", None)
    assert scenarios.ruptures(LARGE, path) == {}
    assert "describes a hypocentre, no surface: the rupture counts as unknown" in caplog.text


def test_ruptures_that_do_not_fit_are_refused(tmp_path):
    path = write_rupture(tmp_path / "rupture.json", Rupture.planar(139.9, 35.6, 12.0, **PLANE))
    with pytest.raises(UsageError, match="--rupture describes one earthquake, and there are 2"):
        scenarios.ruptures(pd.concat([LARGE, LARGE]), path)
    with pytest.raises(DataError, match="the epicentre 143.9 E 35.6 N is .* km from the surface"):
        scenarios.ruptures(LARGE.assign(longitude=143.9), path)
    with pytest.raises(UsageError, match="rupture, dip: 95"):
        scenarios.ruptures(LARGE.assign(**PLANE | {"dip": 95.0}))


HEAD = "id,lat,lon,depth,Mw,Strike,dip,length,width\n"
PLACE = "35.6,139.9,12"


def test_a_catalogue_may_tell_planes(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(f"{HEAD}a,{PLACE},7.5,0,90,100,18\nb,{PLACE},5,,,,\n")
    events, tally = scenarios.from_catalogue(path)
    assert not tally.dropped()
    ((name, rupture),) = scenarios.ruptures(scenarios.check_events(events)).items()
    np.testing.assert_allclose(rupture.corners, Rupture.planar(139.9, 35.6, 12.0, **PLANE).corners)
    assert name == "a"
    path.write_text(f"id,lat,lon,depth,Mw,Strike,dip\na,{PLACE},7.5,0,90\n")  # a focal mechanism
    assert "strike" not in scenarios.from_catalogue(path)[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a,{},7,0,90,40,20\nb,{},6,0,90,,\n",
            "events.csv, row 3: no length_km, width_km, expected all of",
        ),
        ("a,{},7,0,90,40,\nb,{},6,,,,\n", "events.csv, row 2: no width_km, expected all of strike, dip"),
        ("a,{},7,0,90,40,20\nb,{},6,0,-90,10,10\n", "row 3, column dip: '-90', expected .* 0.1 to 90"),
        ("a,{},7,0,90,-40,20\nb,{},6,0,90,-1,1\n", "row 2, column length_km: '-40', expected .* to 2000"),
        ("a,{},7,400,90,40,20\nb,{},6,,,,\n", "row 2, column strike: '400', expected .* -360 to 360"),
    ],
)
def test_planes_of_a_catalogue_that_cannot_be(tmp_path, rows, message):
    path = tmp_path / "events.csv"
    path.write_text(HEAD + rows.format(PLACE, PLACE))
    with pytest.raises(DataError, match=message):
        scenarios.from_catalogue(path)
    with pytest.raises(DataError, match="has strike, dip, length_km, but no column width_km"):
        path.write_text(f"{HEAD.removesuffix(',width' + chr(10))}\na,{PLACE},7.5,0,90,100\n")
        scenarios.from_catalogue(path)


def test_a_rupture_fits_its_earthquake_in_depth_and_size(tmp_path, caplog):
    path = write_rupture(tmp_path / "rupture.json", Rupture.planar(139.9, 35.6, 12.0, **PLANE))
    assert list(scenarios.ruptures(LARGE, path)) == ["big"] and not caplog.text
    with pytest.raises(DataError, match="rupture.json: the surface reaches from 3 to 21 km of depth"):
        scenarios.ruptures(LARGE.assign(depth_km=42.0), path)
    with pytest.raises(DataError, match=r"rupture.json: a rupture of 1,800 km\^2 does not fit M 5,"):
        scenarios.ruptures(LARGE.assign(magnitude=5.0), path)
    scenarios.ruptures(LARGE.assign(magnitude=6.9), path)
    assert "rupture.json is of an earthquake of M 7.5, and M 6.9 is predicted" in caplog.text


# ---- ground ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_vs30_for_all_is_a_column_with_this_value(loaded):
    events, sites = untrained_run.events(3), untrained_run.sites(4)
    everywhere = loaded.at_sites(events, sites, known=Known(vs30_m_s=760.0))
    column = loaded.at_sites(events, sites.assign(vs30_m_s=760.0))
    np.testing.assert_array_equal(everywhere["mean"], column["mean"])
    as_stored = loaded.at_sites(events, sites)
    assert np.abs(everywhere["mean"] - as_stored["mean"]).min() > 0.1  # stations have 300 m/s
    partly = loaded.at_sites(events, sites.assign(vs30_m_s=[760.0, np.nan, np.nan, 760.0]))
    np.testing.assert_array_equal(partly["mean"][:, [0, 3]], column["mean"][:, [0, 3]])
    np.testing.assert_array_equal(partly["mean"][:, 1:3], as_stored["mean"][:, 1:3])
    rock = loaded.at_sites(events, sites, known=Known(reference_rock=True))
    np.testing.assert_array_equal(rock["mean"], everywhere["mean"])
    both = loaded.at_sites(events, sites, known=Known(vs30_m_s=300.0, reference_rock=True))
    np.testing.assert_array_equal(
        both["mean"], loaded.at_sites(events, sites.assign(vs30_m_s=300.0))["mean"]
    )


@pytest.mark.slow
def test_maps_and_stations_take_the_vs30_too(loaded):
    events, rock = untrained_run.events(2), Known(vs30_m_s=760.0)
    for asked in (loaded.maps, loaded.at_stations):
        assert (asked(events, known=rock)["mean"] < asked(events)["mean"] - 0.05).all()


@pytest.mark.slow
def test_soft_ground_amplifies_strong_motion_less(loaded):
    events = pd.concat([LARGE, LARGE.assign(event_id="small", magnitude=4.5)], ignore_index=True)
    near = NORTH.assign(latitude=35.62)
    soft, rock = (loaded.at_sites(events, near, known=Known(vs30_m_s=vs30)) for vs30 in (200.0, 760.0))
    strong, weak = (soft["mean"] - rock["mean"]).to_numpy()[:, 0]
    assert np.exp(rock["mean"].to_numpy()[0, 0]) > 0.2
    assert weak > 0.2 and strong < weak - 0.2


@pytest.mark.parametrize("vs30", [0.0, 29.0, 5001.0, -760.0, np.nan])
def test_vs30_out_of_range_is_refused(vs30):
    with pytest.raises(UsageError, match=r"vs30 \S+: expected a number from 30.* to 5000.* m/s"):
        Known(vs30_m_s=vs30)
    with pytest.raises(DataError, match="column vs30_m_s"):
        scenarios.check_sites(NORTH.assign(vs30_m_s=[5001.0]))


@pytest.mark.slow
def test_reference_rock_has_no_site_terms(untrained_root):
    """At a station it is the rock of any place: records of the station tell nothing of it."""
    mixed = ensemble.load(untrained_root(True) / "run", "PGA")
    event, stations, rock = untrained_run.events(1), ["K03", "M01", "K07"], Known(reference_rock=True)
    with_terms = mixed.at_stations(event, stations, known=Known(vs30_m_s=760.0))
    at_stations = mixed.at_stations(event, stations, known=rock)
    elsewhere = mixed.at_sites(event, mixed.run.stations(stations), known=rock)
    field = mixed.run.field("PGA")
    sites = mixed.run.stations(stations)
    source_km, place_km = (
        np.stack(mixed.experiment.grid.project(table["longitude"], table["latitude"]), axis=-1)
        for table in (event, sites)
    )
    cells = Cells(
        np.repeat(np.c_[source_km, event["depth_km"]], 3, axis=0),
        place_km,
        np.full(3, -1),
        site_numbers(field, sites["terms_of"]),
    )
    parts = field.parts(cells)
    left_out = sum(parts[name] for name in ("site_own", "site_shared", "path_own"))
    assert np.abs(left_out).max() > 0.02
    np.testing.assert_allclose((with_terms["mean"] - at_stations["mean"])[0], left_out, atol=1e-4)
    for name in ("mean", "stddev"):
        np.testing.assert_allclose(at_stations[name], elsewhere[name], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    [
        Known({"big": Rupture.planar(139.9, 35.6, 12.0, **PLANE)}),
        Known(vs30_m_s=760.0),
        Known(reference_rock=True),
    ],
)
def test_a_run_without_backbone_cannot_use_it(without_backbone, known):
    with pytest.raises(UsageError, match="has no backbone of published models: ruptures, Vs30 and"):
        without_backbone.at_sites(LARGE, NORTH, known=known)


@pytest.mark.slow
def test_a_column_of_vs30_that_is_not_used_is_said(without_backbone, caplog):
    found = without_backbone.at_sites(LARGE, NORTH.assign(vs30_m_s=200.0))
    assert "vs30_m_s of the sites is not used" in caplog.text
    np.testing.assert_array_equal(found["mean"], without_backbone.at_sites(LARGE, NORTH)["mean"])


@pytest.fixture(scope="module")
def without_vs30(tmp_path_factory):
    root = tmp_path_factory.mktemp("dropped")
    return untrained_run.make(root, backbone="BSSA14", drop=("vs30",), chunks=2, inits=1)


@pytest.mark.slow
def test_a_run_without_vs30_refuses_it(without_vs30, caplog):
    found = ensemble.load(without_vs30, "PGA")
    for known in (Known(vs30_m_s=760.0), Known(reference_rock=True)):
        with pytest.raises(
            UsageError, match="was trained with --drop vs30, without Vs30: Vs30 and .* Train"
        ):
            found.maps(LARGE, known=known)
    assert not caplog.text
    column = found.at_sites(LARGE, NORTH.assign(vs30_m_s=200.0))
    assert "--drop vs30, without Vs30: vs30_m_s of the sites is not used" in caplog.text
    np.testing.assert_array_equal(column["mean"], found.at_sites(LARGE, NORTH)["mean"])
    surface = Known({"big": Rupture.planar(139.9, 35.6, 12.0, **PLANE)})
    assert found.at_sites(LARGE, NORTH, known=surface)["mean"].item() > column["mean"].item()


@pytest.mark.slow
@pytest.mark.parametrize("known", [Known(vs30_m_s=760.0), Known(reference_rock=True)])
def test_one_vs30_for_all_wins_over_the_column_and_says_so(loaded, caplog, known):
    column = loaded.at_sites(LARGE, NORTH.assign(vs30_m_s=200.0), known=known)
    assert "one Vs30 is given for all places: vs30_m_s of the sites is not used" in caplog.text
    np.testing.assert_array_equal(column["mean"], loaded.at_sites(LARGE, NORTH, known=known)["mean"])


# ---- support ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certain(run):
    """The ensemble with networks that give the same everywhere, and support and shrinkage by hand."""
    found = ensemble.load(run, "PGA")
    for number, networks in enumerate(found.members.values()):
        (network,) = networks.models
        last = [layer for layer in network.layers if len(layer.weights) == 2][-1]
        kernel, bias = last.weights
        kernel.assign(tf.zeros_like(kernel))
        # Means, then standard deviations, of the two measures of the run.
        bias.assign(np.repeat(np.array([0.4 + 0.05 * number, 0.3], "float32"), 2))
    found.shrinkage = Shrinkage(n0=5.0, variance_u=0.3)
    magnitude = np.repeat(np.arange(4.0, 6.3, 0.2), np.arange(24, 0, -2))  # the larger, the fewer
    records = pd.DataFrame({"event_id": np.arange(len(magnitude)), "magnitude": magnitude})
    records = records.assign(depth_km=15.0, event_x_km=0.0, event_y_km=0.0)
    found.support = Support.fit(records.merge(pd.DataFrame({"r_hyp_km": [20.0, 60.0, 100.0]}), how="cross"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("r_km", [20.0, 100.0])
def test_sigma_does_not_fall_while_support_falls(certain, r_km):
    # Below M 5 the records of the backbone of this small run come to an end as well.
    depth_km, magnitude = 15.0, np.arange(5.0, 7.51, 0.25)
    events = pd.DataFrame(
        {"longitude": 139.9, "latitude": 35.7, "depth_km": depth_km, "magnitude": magnitude}
    )
    north = np.sqrt(r_km**2 - depth_km**2) / 111.0
    sites = pd.DataFrame({"longitude": [139.9], "latitude": [35.7 + north]})
    found = certain.at_sites(events, sites)
    support, sigma = found["support"].to_numpy()[:, 0], found["stddev"].to_numpy()[:, 0]
    assert support[0] > 50 and support[-1] == 0 and (np.diff(support) <= 0).all()
    assert (np.diff(sigma)[np.diff(support) < 0] > 0).all() and sigma.min() == sigma[0] < sigma[-1] - 0.3
    withheld = certain.shrinkage.added_variance(support) / certain.shrinkage.variance_u
    unshrunken = ensemble.load(certain.run, "PGA")
    unshrunken._outputs, unshrunken.shrinkage = certain._outputs, None
    whole = unshrunken.at_sites(events, sites)
    left_out = (whole["mean"] - found["mean"]).to_numpy()[:, 0]
    assert abs(left_out[-1]) > 0.03  # all that the networks say
    np.testing.assert_allclose(left_out, withheld * left_out[-1], atol=1e-5)


# ---- warnings --------------------------------------------------------------------------------------------


def strange(ensemble_, shift: float, events=LARGE, **settings) -> str:
    """What is said of predictions whose mean is shifted, ln units, in a run with other settings."""

    class Said(logging.Handler):
        def emit(self, record):
            texts.append(record.getMessage())

    texts, handler, logger = [], Said(), logging.getLogger("tfgmm.prediction.sanity")
    logger.addHandler(handler)
    try:
        predicted = Quantities().of(ensemble_.at_sites(events, NORTH))
        shifted = predicted.assign(median_g=predicted["median_g"] * np.exp(shift))
        sanity = Sanity(ensemble_.experiment.model_copy(update=settings))
        for _ in sanity.watched(iter([shifted])):
            pass
        sanity.warn()
    finally:
        logger.removeHandler(handler)
    return "\n".join(texts)


@pytest.mark.slow
def test_strange_medians_are_said(certain):
    said = strange(certain, 0.0)
    assert said.startswith("no training record is like 1 of 1 events") and said.count("\n") == 0
    assert "the largest median is" in strange(certain, 5.0)
    weak = strange(certain, -4.0)
    assert "medians of 1 events are off every published model by a factor of 5: of big" in weak
    assert "largest median" not in weak


@pytest.mark.slow
def test_magnitudes_beyond_the_tables_of_the_backbone_are_said(certain):
    small = pd.concat([LARGE.assign(event_id=name, magnitude=m) for name, m in (("a", 2.4), ("b", 3.0))])
    said = strange(certain, 0.0, small)
    assert "magnitudes of 1 events lie outside the tables of the backbone" in said
    assert "count as the nearest of 3 and 9: the first is a with M 2.4" in said
    assert "tables" not in strange(certain, 0.0, small, backbone="none")


@pytest.mark.slow
def test_published_models_are_those_of_the_runs_region(certain, monkeypatch):
    asked, models = [], published_scaling.models
    monkeypatch.setattr(published_scaling, "models", lambda region: asked.append(region) or models(region))
    strange(certain, 0.0, backbone_region="california")
    assert set(asked) == {"california"}


# ---- commands --------------------------------------------------------------------------------------------


@pytest.fixture
def facts(run, tmp_path):
    """What is known of the large earthquake, as options of `tfgmm.api.run.Run.predict`."""
    path = write_rupture(tmp_path / "rupture.json", Rupture.planar(139.9, 35.6, 12.0, **PLANE))
    return {"im": "PGA", "rupture": path, "vs30": 760.0, "reference_rock": True}


@pytest.mark.slow
def test_maps_say_what_was_known(run, facts, tmp_path):
    opened = tfgmm.open_run(run.path)
    for ending in ("nc", "tif"):
        opened.predict(LARGE, tmp_path / f"known.{ending}", **facts)
        opened.predict(LARGE, tmp_path / f"plain.{ending}", im="PGA")
    with xr.open_dataset(tmp_path / "known.nc") as known, xr.open_dataset(tmp_path / "plain.nc") as plain:
        expected = {"vs30_m_s": 760.0, "reference_rock": 1, "rupture_file": "rupture.json"}
        assert expected.items() <= known.attrs.items() and known["known_rupture"].item() == 1
        assert plain.attrs["reference_rock"] == 0 and plain["known_rupture"].item() == 0
        assert not {"vs30_m_s", "rupture_file"} & set(plain.attrs)
    known = Known(scenarios.ruptures(LARGE, facts["rupture"]), 760.0, True)
    title = writing._title(opened.ensemble("PGA").maps(LARGE, known=known).isel(event=0))
    assert "known rupture; reference rock; Vs30 760 m/s" in title
    with rasterio.open(tmp_path / "known.tif") as file:
        tags = file.tags()
    assert {"vs30_m_s": "760.0", "rupture_file": "rupture.json"}.items() <= tags.items()
    assert (tags["reference_rock"], tags["known_rupture"]) == ("1", "True")


@pytest.mark.slow
def test_tables_say_what_was_known(run, facts, tmp_path):
    opened, sites = tfgmm.open_run(run.path), NORTH.assign(vs30_m_s=[300.0])
    opened.predict(LARGE, tmp_path / "known.csv", sites=NORTH, **facts)
    row = pd.read_csv(tmp_path / "known.csv").iloc[0]
    assert (row["vs30_m_s"], row["rupture_file"]) == (760.0, "rupture.json")
    assert row["reference_rock"] and row["known_rupture"]
    two = pd.concat([LARGE.assign(**PLANE), LARGE.assign(event_id="other")])
    opened.predict(two, tmp_path / "planes.parquet", im="PGA", sites=sites)
    table = pd.read_parquet(tmp_path / "planes.parquet")
    assert table["known_rupture"].tolist() == [True, False] and not table["reference_rock"].any()
    assert table["vs30_m_s"].tolist() == [300.0, 300.0] and "rupture_file" not in table


@pytest.fixture
def command(capfd):
    def _command(*arguments) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        said = " ".join(f"{out} {err}".split())
        assert stop.value.code or "Error" not in said
        return said

    return _command


SCENARIO = ("--magnitude", "7.5", "--longitude", "139.9", "--latitude", "35.6", "--depth", "12")


@pytest.mark.slow
def test_commands(run, command, tmp_path):
    NORTH.to_csv(tmp_path / "sites.csv", index=False)
    path = write_rupture(tmp_path / "rupture.json", Rupture.planar(139.9, 35.6, 12.0, **PLANE))
    at = ("--sites", tmp_path / "sites.csv", "--im", "PGA", "--out")
    plain, known, rock = (tmp_path / f"{name}.csv" for name in ("plain", "known", "rock"))
    assert "1 event," in command("predict", run.path, *SCENARIO, *at, plain)
    assert "1 event," in command(
        "predict", run.path, *SCENARIO, "--rupture", path, "--vs30", "760", *at, known
    )
    assert "1 event," in command("predict", run.path, *SCENARIO, "--reference-rock", *at, rock)
    said = command(
        "predict", run.path, *SCENARIO, "--rupture", path, "--vs30", "300", *at, tmp_path / "b.csv"
    )
    assert "rupture.json, Vs30 300 m/s: " in said
    medians = [pd.read_csv(file)["median_g"].item() for file in (plain, known, rock)]
    assert medians[2] < medians[0] and medians[2] < medians[1]
    assert {"support", "outside_magnitude"} <= set(pd.read_csv(plain))
    assert "1 event," in command(
        "predict", run.path, *SCENARIO, "--im", "PGA", "--out", tmp_path / "map.png"
    )
    said = command("predict", run.path, *SCENARIO, "--vs30", "10", *at, tmp_path / "x.csv")
    assert "vs30 10.0: expected a number from 30" in said
