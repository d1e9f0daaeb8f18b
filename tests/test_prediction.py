"""Earthquakes -> maps and tables on disk."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from helpers import untrained_run
from tfgmm.core.errors import DataError, UsageError
from tfgmm.prediction import ensemble, scenarios, writing
from tfgmm.prediction.quantities import Quantities

mpl.use("Agg")

WANTED = Quantities(exceed=(0.1,), percentiles=(16, 84))
SITES = untrained_run.sites(30)


@pytest.fixture(scope="module")
def loaded(untrained_root):
    return ensemble.load(untrained_root() / "run")


@pytest.fixture
def pairs(monkeypatch):
    """Two events at once."""
    monkeypatch.setattr(ensemble, "_PIXELS_AT_ONCE", 2 * 68**2)


ONE = scenarios.single(magnitude=6.0, longitude=139.8, latitude=35.6, depth_km=30)
MANY = untrained_run.events(5).assign(event_id=["a", "b/c", "b?c", "日本", "e"])


def write(loaded, events, out, sites=None, *, overwrite=False, **choices):
    events = scenarios.check_events(events)
    target = writing.Target.choose(out, sites is not None, len(events), overwrite)
    return writing.write(loaded, events, target, sites, **choices)


def normal(mean, stddev) -> xr.Dataset:
    names = ("mean", "stddev", "aleatory", "epistemic", "r_hyp_km")
    values = dict(zip(names, (mean, stddev, stddev, 0.0, 50.0), strict=True))
    return xr.Dataset(
        {name: ("site", np.atleast_1d(value)) for name, value in values.items()},
        attrs={"intensity_measure": "PGA"},
    )


def test_quantities_of_a_normal_distribution():
    found = Quantities(exceed=(0.1, 0.3), percentiles=(50, 97.5)).of(normal(np.log(0.1), 0.5))
    assert found["median_g"].item() == pytest.approx(0.1)
    assert found["exceed_0.1"].item() == pytest.approx(0.5)
    # ln 3 / 0.5 = 2.1972; a table of the standard normal distribution gives 0.0140 beyond it
    assert found["exceed_0.3"].item() == pytest.approx(0.0140, abs=5e-5)
    assert found["percentile_50_g"].item() == pytest.approx(0.1)
    assert found["percentile_97.5_g"].item() == pytest.approx(0.1 * np.exp(1.95996 * 0.5), rel=1e-5)
    assert found["percentile_97.5_g"].attrs == {"units": "g", "long_name": "percentile 97.5 of PGA"}


@given(mean=st.floats(-8, 1), stddev=st.floats(0.1, 1.5), p=st.integers(1, 99))
def test_a_percentile_is_exceeded_as_often_as_it_says(mean, stddev, p):
    level = Quantities(percentiles=(p,)).of(normal(mean, stddev))[f"percentile_{p}_g"].item()
    exceeded = Quantities(exceed=(level,)).of(normal(mean, stddev))[f"exceed_{level:g}"].item()
    assert exceeded == pytest.approx(1 - p / 100, abs=1e-9)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"exceed": (0.1, 0)}, "level 0: expected a positive number, in the unit"),
        ({"exceed": (float("nan"),)}, "level nan"),
        ({"percentiles": (100,)}, "percentile 100: expected a number between 0 and 100"),
    ],
)
def test_quantities_that_cannot_be(wanted, message):
    with pytest.raises(UsageError, match=message):
        Quantities(**wanted)


@pytest.mark.slow
def test_netcdf_of_many_events(loaded, pairs, tmp_path):
    told = []
    out = write(loaded, MANY, tmp_path / "maps.nc", quantities=WANTED, progress=lambda: told.append(1))
    expected = WANTED.of(loaded.maps(MANY))
    with xr.open_dataset(out, engine="scipy") as found:
        assert found["event_id"].to_numpy().tolist() == MANY["event_id"].tolist()
        for name in ("median_g", "mean", "stddev", "epistemic", "exceed_0.1", "percentile_84_g"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)
        assert found["median_g"].attrs["long_name"] == "median of PGA"
    assert len(told) == 5


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("rows", [1, 100, 10_000])
def test_table_of_many_events_at_sites(loaded, pairs, tmp_path, monkeypatch, rows, ending):
    monkeypatch.setattr(writing, "_ROWS", rows)
    out = write(
        loaded, MANY, tmp_path / f"sites{ending}", SITES, quantities=WANTED, interpolation="bilinear"
    )
    found = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
    expected = WANTED.of(loaded.at_sites(MANY, SITES, interpolation="bilinear"))
    assert len(found) == 5 * 30
    assert found["event_id"].tolist() == np.repeat(MANY["event_id"], 30).tolist()
    assert found["site_id"].astype(str).tolist() == [str(i) for i in range(1, 31)] * 5
    for name in (
        "median_g",
        "stddev",
        "aleatory",
        "epistemic",
        "exceed_0.1",
        "percentile_16_g",
        "r_hyp_km",
    ):
        np.testing.assert_allclose(found[name], expected[name].to_numpy().ravel(), rtol=1e-5, atol=1e-7)
    for name in ("outside_map", "outside_magnitude", "outside_distance"):
        flags = expected[name].broadcast_like(expected["mean"]).transpose("event", "site")
        assert found[name].tolist() == flags.to_numpy().ravel().tolist()
    assert found["outside_map"].any() and not found["outside_map"].all()
    np.testing.assert_array_equal(found["longitude"], np.tile(SITES["longitude"], 5))
    assert set(zip(found["im"], found["calibrated"], found["simulated"], strict=True)) == {
        ("PGA", False, True)
    }


@pytest.mark.slow
def test_geotiff_of_one_event(loaded, tmp_path):
    out = write(loaded, ONE, tmp_path / "map.tif", quantities=WANTED)
    with rasterio.open(out) as file:
        np.testing.assert_allclose(file.read(2), loaded.maps(ONE)["mean"][0], rtol=1e-5)
        assert file.descriptions[:3] == ("median_g", "mean", "stddev")


@pytest.mark.slow
def test_one_file_an_event_has_a_name_for_every_file_system(loaded, pairs, tmp_path):
    out = write(loaded, MANY, tmp_path / "maps.tif")
    assert out == tmp_path / "maps"
    assert sorted(path.name for path in out.iterdir()) == [
        "a.tif",
        "b_c-2.tif",
        "b_c.tif",
        "e.tif",
        "日本.tif",
    ]
    with rasterio.open(out / "b_c-2.tif") as file:
        assert file.tags()["event_id"] == "b?c"
        np.testing.assert_allclose(file.read(2), loaded.maps(MANY)["mean"][2], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_figure(loaded, tmp_path, ending, magic):
    out = write(loaded, ONE, tmp_path / f"map{ending}")
    assert out.read_bytes().startswith(magic)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sites", "message"),
    [
        (
            "maps.csv",
            None,
            r"say where, with sites or stations; maps are \.nc, \.tif, \.tiff, \.png, \.pdf",
        ),
        ("maps", None, "maps can be written as"),
        (
            "sites.nc",
            SITES,
            r"a figure of their spectra, can be written as \.csv, \.parquet, \.png",
        ),
    ],
)
def test_names_that_do_not_fit(loaded, tmp_path, name, sites, message):
    with pytest.raises(UsageError, match=message):
        write(loaded, ONE, tmp_path / name, sites)


@pytest.mark.slow
def test_what_exists_is_replaced_only_when_told(loaded, tmp_path):
    out = tmp_path / "map.tif"
    out.write_text("mine")
    with pytest.raises(UsageError, match="map.tif exists already: choose another name"):
        write(loaded, ONE, out)
    assert out.read_text() == "mine"
    write(loaded, ONE, out, overwrite=True)
    with rasterio.open(out) as file:
        assert file.width == 28


@pytest.mark.slow
def test_a_folder_of_other_things_is_never_replaced(loaded, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_text("{}")
    with pytest.raises(UsageError, match=r"run holds experiment\.json and is not replaced"):
        write(loaded, MANY, tmp_path / "run.tif", overwrite=True)
    (tmp_path / "maps.nc").mkdir()
    with pytest.raises(UsageError, match=r"maps\.nc is a folder and is not replaced"):
        write(loaded, MANY, tmp_path / "maps.nc", overwrite=True)


@pytest.mark.slow
def test_whole_or_not_at_all(loaded, pairs, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    for name, sites in (
        ("maps.nc", None),
        ("maps.tif", None),
        ("sites.csv", SITES),
        ("sites.parquet", SITES),
    ):
        with pytest.raises(KeyboardInterrupt):
            write(loaded, MANY, tmp_path / name, sites, progress=interrupt)
    with pytest.raises(DataError, match="column magnitude: 99"):
        write(loaded, MANY.assign(magnitude=99), tmp_path / "maps.nc")
    assert not list(tmp_path.iterdir())
