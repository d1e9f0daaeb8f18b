"""Every command of the command line, once to success, on files that are made here."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import small_dataset
from helpers import flatfile_rows, served_model, untrained_run, version_0_1, waveform_files
from helpers.all_commands import all_commands
from helpers.jma_files import dat, row, source, station_table
from helpers.nied_files import ascii_record, shaking
from tfgmm.cli.app import main
from tfgmm.core import drawing
from tfgmm.network import training
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

EVENT = "--magnitude 6 --longitude 139.8 --latitude 35.5 --depth 30"
#: A network of seconds.
TINY = "--pixel-km 4 --input-size 68 --depth 2 --base 2 --epochs 1 --chunks 2 --inits 1 --preset quick "
TINY += "--backbone BSSA14"
#: Arguments, and a part of what is printed or a file that is written.
COMMANDS = {
    "train": (f"--networks kik,meso --data data --out new {TINY}", "new/predictions.parquet"),
    "study": ("study.toml --dry-run", "Nothing was trained"),  # trained in test_study.py
    "stage prepare": ("run 0", "run/members/all/chunk-0/prepared.json"),
    "stage member": ("run all 0 0", "run/members/all/chunk-0_init-0/model.keras"),
    "stage finish": ("run", "Trained. Next: tfgmm evaluate run"),
    "evaluate": ("run --no-baselines", "run/tables/four_way.csv"),
    "report": ("run --no-baselines --out page.html --markdown page", "page/README.md"),
    "effects": ("field --cell 0.5", "field/tables/effects_sources_PGA.csv"),
    "show": ("run --config settings.toml", "settings.toml"),
    "refit": ("field --data data", "The networks are as they were"),
    "upgrade": ("old", "old/predictions.parquet"),
    "check": ("run", "predictions.parquet"),
    "describe": ("data", "data/figures/stations.png"),
    "simulate": (
        "simulated --events 20 --kik-stations 5 --meso-stations 10 --meso-events 1",
        "simulated/truth.nc",
    ),
    "export-table": ("data --out flat.csv", "flat.csv"),
    "import jma": ("i2016.dat --stations code_p.dat --out jma", "jma/records.parquet"),
    "import nied-ascii": ("nied --out nied-data", "nied-data/records.parquet"),
    "import kiknet-flatfile": ("attributes.csv --unit cm/s^2 --out kiknet", "kiknet/records.parquet"),
    "import mesonet": (
        "waveforms/0.mseed --catalogue catalogue.csv --stations stations.csv --im PGA --out mesonet",
        "mesonet/records.parquet",
    ),
    "import gmprocess": ("x_rotd50.0.csv --out gmprocess", "gmprocess/records.parquet"),
    "import table": ("table.csv --unit g --out table", "table/records.parquet"),
    "import bedrock": ("depth.csv --value z --data layered", "z_bedrock"),
    "import vs30": ("depth.csv --value z --data layered", "vs30"),
    "fetch jma": ("--years 2018 --out fetched --base {http}", "fetched/i2018.zip"),
    "predict": (f"run {EVENT} --exceed 0.1 --out maps.nc", "maps.nc"),
    "export": ("run --members 1 --out model", "model/1/saved_model.pb"),
    "serve": ("tiny --docker", "tensorflow/serving"),  # without --docker: see test_server.py
    "query": (f"{{rest}} {EVENT} --sites sites.csv --out sites-of-server.csv", "sites-of-server.csv"),
    "site-amp": ("run --no-site none --min-records 1 --im PGA", "run/site_amplification/PGA.tif"),
}  # fmt: skip


def test_none_is_forgotten():
    assert {*COMMANDS, "upgrade"} == set(all_commands())  # which needs an old run: see test_upgrade.py


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a file for every command."""
    root = tmp_path_factory.mktemp("commands")
    data = untrained_run.write_data(root / "data", layers=True)
    untrained_run.make_finished(data, root / "run")
    field = {"backbone": "BSSA14", "field": True, "stopping": "blocks", "inits": 1}
    untrained_run.make_finished(data, root / "field", **field)
    small_dataset().write(root / "layered")
    station_table(root / "code_p.dat")
    dat(root / "i2016.dat", source(), row(), row("3500034"))
    (root / "nied").mkdir()
    for channel in ("EW", "NS"):
        (root / "nied" / f"AKT013.{channel}").write_bytes(ascii_record(channel, shaking(20)))
    pd.DataFrame([flatfile_rows.KIKNET]).to_csv(root / "attributes.csv", index=False)
    pd.DataFrame([flatfile_rows.GMPROCESS]).to_csv(root / "x_rotd50.0.csv", index=False)
    (root / "waveforms").mkdir()
    pair = waveform_files.counts(1e6)
    waveform_files.write(root / "waveforms", waveform_files.stream("XX.AC3M.", pair, ("HNN", "HNE")))
    (root / "catalogue.csv").write_text(waveform_files.CATALOGUE)
    (root / "stations.csv").write_text("station,longitude,latitude,unit,gain\nAC3M,139.7,35.6,,5e6\n")
    columns = "event_id,origin_time,event_longitude,event_latitude,depth_km,magnitude,station_id,network"
    columns += ",station_longitude,station_latitude,component,PGA\n"
    values = "e1,2016-01-05T02:21:11Z,140,35,10,6,S1,nz,140.1,35.2,rotd50,0.1\n"
    (root / "table.csv").write_text(columns + values)
    places = [f"{35 + i / 10},{139 + j / 10},500\n" for i in range(20) for j in range(20)]
    (root / "depth.csv").write_text("lat,lon,z\n" + "".join(places))
    (root / "sites.csv").write_text("longitude,latitude\n139.8,36.0\n")
    settings = "data = 'data'\nnetworks = 'kik'\ninput-size = 68\ndepth = 2\nbase = 2\npixel-km = 4\n"
    (root / "study.toml").write_text(f"{settings}[runs.a]\n")
    served_model.write(root / "tiny")
    return root


@pytest.fixture
def addresses(request, httpserver, root, words) -> dict[str, str]:
    """Return the addresses of servers that a command needs; make its run of an earlier version."""
    if words == "upgrade":
        trained = request.getfixturevalue("trained_root") / "run"
        version_0_1.lay_out(shutil.copytree(trained, root / "old"))
    if words == "fetch jma":
        for name in ("i2018", "code_p"):
            with zipfile.ZipFile(stream := io.BytesIO(), "w") as packed:
                packed.writestr(f"{name}.dat", np.random.default_rng(0).bytes(1000))
            httpserver.expect_request(f"/shindo/{name}.zip").respond_with_data(
                stream.getvalue(), content_type="application/zip"
            )
        return {"http": httpserver.url_for("/shindo/")}
    if words == "query":
        server = running(Server(Models([root / "tiny"]), rest_port=0, grpc_port=0))
        rest = server.__enter__().addresses[0]
        request.addfinalizer(lambda: server.__exit__(None, None, None))
        return {"rest": rest}
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_it_succeeds(words, root, addresses, monkeypatch, capfd):
    arguments, promised = COMMANDS[words]
    monkeypatch.chdir(root)
    monkeypatch.setitem(drawing.STYLE, "savefig.dpi", 50)
    monkeypatch.setattr(training.Training, "seconds_per_member", lambda self: 7.0)  # see test_training.py
    with pytest.raises(SystemExit) as end:
        main(f"{words} {arguments}".format(**addresses).split())
    printed, complaints = capfd.readouterr()
    assert end.value.code in (0, None), complaints
    assert promised in printed or (root / promised).stat().st_size > 100
