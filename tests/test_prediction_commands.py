"""The commands predict and query with catalogues and sites as users have them."""

from types import SimpleNamespace
from unittest.mock import Mock

import pandas as pd
import pytest
import xarray as xr

from helpers import served_model
from tfgmm.cli.app import main
from tfgmm.prediction import ensemble, writing
from tfgmm.runs.run import RunFolder
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

CATALOGUE = """lng,LAT,depth,mag,magType,type
139.8,35.5,30,6.5,mww,earthquake
139.8,35.5,0,3.5,ml,quarry blast
139.8,35.5,9000,6.0,mww,earthquake
499.8,35.5,30,6.0,mb,earthquake
139.9,35.6,20,5.5,mb,earthquake
139.9,35.6,,5.5,mb,earthquake
"""
SITES = "custom_site_id,lon,lat\nNA,139.8,36.0\n007,139.3,35.5\n007,139.3,35.5\n"
#: What both commands say of these.
SAID = (
    "1 of 6 events left out: quarry blast, no earthquake (row 3)",
    "1 of 6 events left out: depth_km is not a number from -5 to 800 (row 4: 9000)",
    "1 of 6 events left out: longitude is not a number from -180 to 360 (row 5: 499.8)",
    "1 of 6 events left out: no depth_km (row 7)",
    "Magnitudes of events.csv: 1 mww, 1 mb; 1 of 2 are taken as Mw, which it does not say.",
    "1 of 3 sites left out: listed again (007)",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    models = Models([served_model.write(tmp_path_factory.mktemp("commands") / "tiny").parent])
    with running(Server(models, rest_port=0, grpc_port=0)) as server:
        yield server.addresses[0]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text(CATALOGUE)
    (tmp_path / "sites.csv").write_text(SITES)


@pytest.fixture
def run(capfd):
    def _run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert not stop.value.code, err
        return " ".join(out.split())

    return _run


@pytest.mark.parametrize(("name", "read"), [("a.csv", pd.read_csv), ("a.PARQUET", pd.read_parquet)])
def test_query_at_sites(inputs, run, url, name, read):
    said = run("query", url, "--catalogue", "events.csv", "--sites", "sites.csv", "--out", name)
    assert all(text in said for text in SAID), said
    table = read(name)
    assert table["event_id"].tolist() == ["row 2", "row 2", "row 6", "row 6"]
    assert table["magnitude"].tolist() == [6.5, 6.5, 5.5, 5.5]


def test_query_maps(inputs, run, url):
    run("query", url, "--catalogue", "events.csv", "--any-type", "--out", "maps.nc")
    with xr.open_dataset("maps.nc") as maps:
        assert maps["magnitude"].to_numpy().tolist() == [6.5, 3.5, 5.5]


def test_decimal_commas(inputs, run, url, tmp_path):
    (tmp_path / "events.csv").write_text("lat;lon;depth;Mw\n35,5;139,8;30,5;6,5\n")
    (tmp_path / "sites.csv").write_text("lat;lon\n36,0;139,8\n")
    run(
        "query",
        url,
        "--catalogue",
        "events.csv",
        "--sites",
        "sites.csv",
        "--decimal-comma",
        "--out",
        "a.csv",
    )
    row = pd.read_csv("a.csv").iloc[0]
    assert (row["magnitude"], row["depth_km"], row["latitude"]) == (6.5, 30.5, 36.0)


def test_query_of_one_scenario_prints_a_table(inputs, run, url):
    scenario = ("--magnitude", "6", "--longitude", "139.8", "--latitude", "35.5", "--depth", "30")
    assert "median_g" in run("query", url, *scenario, "--sites", "sites.csv")


def test_predict(inputs, run, monkeypatch):
    asked = []
    experiment = SimpleNamespace(ims=("PGA",))
    opened = Mock(spec=RunFolder, path="run", simulated=False, experiment=experiment)
    loaded = SimpleNamespace(members=[1, 2], ims=("PGA",))
    monkeypatch.setattr(RunFolder, "open", lambda path: opened)
    conditions = set()
    monkeypatch.setattr(
        ensemble, "load_all", lambda run, ims, condition: conditions.add(condition) or {"PGA": loaded}
    )
    monkeypatch.setattr(writing, "write", lambda *args, **options: asked.append(args) or args[2].path)
    chosen = ("--sites", "sites.csv", "--out", "a[/b].csv", "--condition", "training")
    said = run("predict", "run", "--catalogue", "events.csv", *chosen)
    assert all(text in said for text in SAID), said
    assert "2 events, 2 members, PGA: a[/b].csv" in said
    ((_, events, _, sites),) = asked
    assert events["event_id"].tolist() == ["row 2", "row 6"]
    assert sites["site_id"].tolist() == ["NA", "007"]
    assert conditions == {"training"}
