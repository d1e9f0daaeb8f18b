"""Several intensity measures predicted at once, and SA between two periods."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import tfgmm
from helpers import untrained_run
from tfgmm.cli.app import main
from tfgmm.core.errors import UsageError
from tfgmm.prediction import ensemble, spectra, spectrum_figure
from tfgmm.prediction.quantities import Quantities, by_measure, joined, median_name

IMS = ("SA(1.0)", "PGA", "PGV", "SA(0.5)")
IN_ORDER = ["PGA", "PGV", "SA(0.5)", "SA(1.0)"]
EVENTS = untrained_run.events(3).assign(event_id=["A", "B", "C"])
SITES = pd.DataFrame({"site_id": ["a", "b"], "longitude": [139.8, 140.1], "latitude": [35.6, 35.9]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tfgmm.open_run(untrained_run.make(tmp_path_factory.mktemp("spectra"), ims=IMS).path)


def test_measures_are_those_of_the_run_or_between_them():
    assert list(spectra.measures(IMS, ["all"])) == IN_ORDER
    assert spectra.measures(IMS, ["pga", "SA(1)"]) == {
        "PGA": ("PGA", "PGA", 0.0),
        "SA(1.0)": ("SA(1.0)", "SA(1.0)", 0.0),
    }
    shorter, longer, weight = spectra.measures(IMS, ["SA(0.8)"])["SA(0.8)"]
    assert (shorter, longer) == ("SA(0.5)", "SA(1.0)")
    assert weight == pytest.approx(np.log(0.8 / 0.5) / np.log(2))


@pytest.mark.parametrize("im", ["SA(0.2)", "SA(3.0)"])
def test_a_period_beyond_those_of_the_run_is_refused(im):
    with pytest.raises(
        UsageError, match=r"ask for PGA, PGV, SA\(0.5\), SA\(1.0\), SA\(T\) with T between 0.5 and 1 s"
    ):
        spectra.measures(IMS, [im])


@pytest.mark.slow
def test_each_measure_is_what_its_own_ensemble_predicts(run):
    together = run.ensemble("all")
    assert list(together.ims) == IN_ORDER
    for predict in (
        lambda one: one.maps(EVENTS),
        lambda one: one.at_sites(EVENTS, SITES, interpolation="bilinear"),
        lambda one: one.at_stations(EVENTS),
    ):
        whole = predict(together)
        assert whole["mean"].dims[:2] == ("event", "im") and whole["r_hyp_km"].dims[0] == "event"
        assert whole["unit"].to_numpy().tolist() == ["g", "cm/s", "g", "g"]
        for one in by_measure(whole):
            alone = predict(run.ensemble(one.attrs["intensity_measure"]))
            xr.testing.assert_allclose(one, alone, rtol=1e-5, atol=1e-5)
            assert one.attrs == alone.attrs


@pytest.mark.slow
def test_networks_are_asked_once_for_all_measures(run, monkeypatch):
    calls = []
    original = ensemble.Outputs._graph
    monkeypatch.setattr(
        ensemble.Outputs, "_graph", lambda self, size: calls.append(size) or original(self, size)
    )
    run.ensemble(IMS).maps(EVENTS)
    assert len(calls) == 1


@pytest.mark.slow
def test_between_two_periods_by_hand(run):
    found = run.ensemble("SA(0.8)").at_sites(EVENTS, SITES).isel(im=0)
    one, other = (run.ensemble(im).at_sites(EVENTS, SITES) for im in ("SA(0.5)", "SA(1.0)"))
    weight = np.log(0.8 / 0.5) / np.log(2)
    np.testing.assert_allclose(
        found["mean"], (1 - weight) * one["mean"] + weight * other["mean"], atol=1e-6
    )
    variance = (1 - weight) * one["stddev"] ** 2 + weight * other["stddev"] ** 2
    np.testing.assert_allclose(found["stddev"], np.sqrt(variance), atol=1e-6)
    parts = found["aleatory"] ** 2 + found["epistemic"] ** 2
    np.testing.assert_allclose(parts, found["stddev"] ** 2, rtol=1e-5)
    assert found["interpolated"].item() == "SA(0.5), SA(1.0)"
    near = run.ensemble(["SA(0.50001)"]).at_sites(EVENTS, SITES).isel(im=0)
    np.testing.assert_allclose(near["mean"], one["mean"], atol=1e-3)


@pytest.mark.slow
def test_medians_have_the_unit_of_their_measure(run):
    found = Quantities(percentiles=(84,)).of(run.ensemble("all").at_sites(EVENTS, SITES))
    np.testing.assert_allclose(found["median_cm_s"].sel(im="PGV"), np.exp(found["mean"].sel(im="PGV")))
    assert found["median_g"].sel(im="PGV").isnull().all()
    assert found["median_cm_s"].sel(im="PGA").isnull().all()
    again = joined(by_measure(found))
    xr.testing.assert_identical(again[[*found]], found)
    assert median_name("PGV") == "median_cm_s"
    names = {name: found[name].attrs["long_name"] for name in ("mean", "stddev")}
    assert names == {
        "mean": "mean of ln IM, IM in its unit",
        "stddev": "total standard deviation of ln IM",
    }
    (pgv,) = (one for one in by_measure(found) if one.attrs["intensity_measure"] == "PGV")
    assert "median_g" not in pgv and "percentile_84_cm_s" in pgv
    assert pgv["mean"].attrs["long_name"] == "mean of ln PGV, PGV in cm/s"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_has_a_row_per_measure(run, tmp_path, ending):
    path = run.predict(EVENTS, tmp_path / f"table{ending}", im=["PGV", "SA(0.8)", "PGA"], sites=SITES)
    table = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert table["im"].value_counts().to_dict() == dict.fromkeys(["PGV", "SA(0.8)", "PGA"], 6)
    assert table.loc[table["im"] == "PGV", "median_g"].isna().all()
    assert table.loc[table["im"] != "PGV", "median_g"].notna().all()
    assert set(table.loc[table["im"] == "SA(0.8)", "interpolated"]) == {"SA(0.5), SA(1.0)"}
    alone = pd.read_csv(run.predict(EVENTS, tmp_path / "alone.csv", im="PGA", sites=SITES))
    of_pga = table[table["im"] == "PGA"].reset_index(drop=True)[[*alone]]
    pd.testing.assert_frame_equal(of_pga, alone, check_dtype=False, rtol=1e-4)


@pytest.mark.slow
def test_maps_of_all_measures_in_one_file(run, tmp_path):
    with xr.open_dataset(run.predict(EVENTS, tmp_path / "maps.nc", im="all")) as maps:
        assert maps["im"].to_numpy().tolist() == IN_ORDER
        assert maps["mean"].dims == ("event", "im", "y", "x")
        expected = run.ensemble("SA(1.0)").maps(EVENTS)
        of_sa = maps.sel(im="SA(1.0)")
        np.testing.assert_allclose(of_sa["stddev"], expected["stddev"], rtol=1e-5)
        np.testing.assert_allclose(of_sa["median_g"], np.exp(expected["mean"]), rtol=1e-5)
    folder = run.predict(EVENTS.head(1), tmp_path / "maps.tif", im="all")
    name = EVENTS["event_id"].iloc[0]
    endings = ["PGA", "PGV", "SA_0.5_", "SA_1.0_"]
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}_{ending}.tif" for ending in endings]
    single = run.predict(EVENTS.head(1), tmp_path / "one.png", im="PGV")
    assert single.is_file()


@pytest.mark.slow
def test_levels_of_two_units_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="levels need one unit"):
        run.predict(EVENTS, tmp_path / "maps.nc", im="all", exceed=[0.1])


@pytest.mark.slow
def test_spectra_at_sites_are_a_figure(run, tmp_path):
    events = EVENTS.head(1)
    path = run.predict(events, tmp_path / "spectra.png", im="spectrum", sites=SITES)
    assert path.read_bytes().startswith(b"\x89PNG")
    together = run.ensemble("spectrum").at_sites(events, SITES).isel(event=0)
    figure = spectrum_figure.draw(together, "two sites", together["mean"] * 0 + 0.1)
    first, second = (ax for ax in figure.axes if ax.get_visible())
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["a", "b"]
    line = next(line for line in first.lines if line.get_label() == "median")
    expected = together["mean"].sel(im=["PGA", "SA(0.5)", "SA(1.0)"]).isel(site=0)
    np.testing.assert_allclose(line.get_ydata(), np.exp(expected))
    np.testing.assert_allclose(line.get_xdata(), [0.25, 0.5, 1.0])


@pytest.mark.slow
def test_a_figure_of_sites_needs_two_periods_and_few_sites(run, tmp_path):
    with pytest.raises(UsageError, match="spectra, which need two periods: give --im spectrum"):
        run.predict(EVENTS, tmp_path / "spectra.png", im="PGA", sites=SITES)
    many = pd.concat([SITES] * 7, ignore_index=True).assign(site_id=[f"{n}" for n in range(14)])
    with pytest.raises(UsageError, match="at 1 to 12 sites, not 14"):
        run.predict(EVENTS, tmp_path / "spectra.png", im="all", sites=many)


@pytest.mark.slow
def test_the_command_draws_spectra_at_a_place(run, tmp_path, capfd):
    scenario = ["--magnitude", "6", "--longitude", "139.8", "--latitude", "35.6", "--depth", "20"]
    out = tmp_path / "town.pdf"
    with pytest.raises(SystemExit) as end:
        main(
            [
                "predict",
                str(run.path),
                *scenario,
                "--at",
                "139.9,35.7,Town",
                "--spectrum",
                "--out",
                str(out),
            ]
        )
    assert not end.value.code and out.read_bytes().startswith(b"%PDF")
    assert "PGA, PGV, SA(0.5), SA(1.0)" in " ".join(capfd.readouterr().out.split())
    with pytest.raises(SystemExit) as end:
        main(["predict", str(run.path), *scenario, "--spectrum"])
    assert end.value.code == 2
    assert "give --at LON,LAT" in " ".join(capfd.readouterr().err.split())
