"""Bad input on the command line: one readable line, the exit code, and nothing left behind."""

import dataclasses
import errno
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from conftest import CHANNELS, small_dataset
from helpers.finished_run import make_run
from helpers.jma_files import dat, row, source, station_table
from helpers.prediction_tables import predictions
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.runs.beginning import begin
from tfgmm.runs.experiment import preset
from tfgmm.runs.run import RunFolder

USAGE, DATA = 2, 1


@pytest.fixture
def refused(capfd):
    """Run a command that must fail, and hold its exit code and its one line against what is expected."""

    def run(arguments: list, code: int, says: str) -> None:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        message = capfd.readouterr().err
        assert re.fullmatch(r"tfgmm: .+\n", message), message  # the point matches no line break
        assert re.search(says, message), message
        assert stop.value.code == code

    return run


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A dataset folder with a site layer."""
    lat, lon = np.linspace(33, 38.5, 12), np.linspace(137, 143, 13)
    layer = (("latitude", "longitude"), 100 * lat[:, None] + lon, {"units": "m"})
    layers = xr.Dataset({"z_bedrock": layer}, coords={"latitude": lat, "longitude": lon})
    folder = tmp_path_factory.mktemp("data") / "small"
    dataclasses.replace(small_dataset(), layers=layers).write(folder)
    return folder


@pytest.fixture
def copy(written, tmp_path) -> Path:
    """The same folder for tests that damage it."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def full_disk(monkeypatch):
    """Let a writer fail as it does where no space is left, after it has written half of the file."""

    def fail(target: str) -> None:
        def half(self, path, *args, **kwargs):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(target, half)

    return fail


def train(written, *more) -> list:
    """A run of seconds, if it were not refused."""
    tiny = ["--center", "139.95,35.75", "--pixel-km", 4, "--input-size", 68, "--depth", 2, "--base", 2]
    return ["train", "--networks", "kik,meso", "--data", written, "--chunks", 2, *tiny, *more]


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- train: what is refused before any data are read ------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "fast"], "unknown preset 'fast': choose one of quick, standard, paper"),
        (["--reference", "knet"], "reference network knet is not among the networks kik,meso: add it"),
        (["--networks", ""], "--networks names no network"),
        (["--input-size", "70"], "input size 70 does not fit a U-Net of depth 2; .* 68 and 72"),
        (["--preset", "paper", "--depth", "4", "--input-size", "570"], "sizes that do are 556 and 572"),
        (["--split", "2015"], "--split 2015: write time:FROM,TO .*random-events"),
        (["--split", "time:2015-01-01"], "--split time:2015-01-01: .*write time:FROM,TO"),
        (["--split", "time:2018-01-01,2015-01-01"], "2018-01-01 is not before 2015-01-01"),
        (["--split", "random-events:2"], "--split random-events:2: 2 is not a share between 0 and 1"),
        (["--split", "magnitude:large"], "--split magnitude:large: .*or magnitude:M"),
        (["--center", "139.95"], "--center 139.95: write 2 numbers with commas between them"),
        (["--center", "139.95,north"], "--center 139.95,north: write 2 numbers"),
        (["--crs", "EPSG:4326"], "EPSG:4326 is not metric; choose a projected system"),
        (["--im", "PGD"], "unknown intensity measure 'PGD': write PGA, PGV or SA"),
        (["--epochs", "0"], "training.epochs: .*greater than or equal to 1"),
        (["--target", "residual"], "residual by --backbone ergodic"),
        (["--precision", "half"], "precision: .*'float32', 'bfloat16' or 'float16'"),
    ],
)  # fmt: skip
def test_settings(refused, tmp_path, arguments, says):
    refused(train(tmp_path / "no-data", "--out", tmp_path / "run", *arguments), USAGE, says)
    assert below(tmp_path) == []


# --- train: what the data do not allow (these import TensorFlow) ------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--networks", "kik,xyz"], USAGE, "unknown network xyz: the dataset has kik, meso"),
        (["--split", "time:1990-01-01,1991-01-01"], DATA, "no validation event .*change --split"),
        (["--split", "time:1990-01-01,2030-01-01"], DATA, "no training event .*change --split"),
        (["--split", "magnitude:8"], DATA, "no validation event .*change --split"),
        (["--split", "magnitude:3"], DATA, "no training event .*change --split"),
        (["--im", "SA(1.0)"], DATA, r"the dataset has no SA\(1\.0\): it has PGA"),
        (["--center", "135,34"], DATA, "no station of network kik lies inside the output window"),
        (["--drop", "bedrock"], USAGE, r"cannot drop 'bedrock': .*\(source, path, site\) .*z_bedrock"),
        (["--chunk", "7"], USAGE, "no chunk 7: the run has chunks 0 to"),
        (["--chunks", "15"], DATA, "too few for 15 chunks"),
        (["--data", "nowhere"], USAGE, "nowhere is no dataset folder: make one with"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(refused, written, tmp_path, arguments, code, says):
    refused(train(written, "--out", tmp_path / "run", *arguments), code, says)
    assert below(tmp_path) == []


def test_another_run_in_the_output_folder(refused, written, tmp_path):
    out = tmp_path / "run"
    other = preset("standard", networks=("kik", "meso"), reference="kik", data=str(written), seed=7)
    begin(out, other, Dataset.read(written), channels=CHANNELS)
    before = below(tmp_path), (out / "experiment.json").read_bytes()
    refused(
        train(written, "--out", out),
        USAGE,
        r"holds another run \(different: .*seed.*\): choose another --out, .*--overwrite",
    )
    assert before == (below(tmp_path), (out / "experiment.json").read_bytes())


# --- evaluate ----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, tiny) -> RunFolder:
    return begin(tmp_path / "run", tiny, small_dataset(), channels=CHANNELS)


def test_no_run(refused, tmp_path):
    refused(["evaluate", tmp_path], USAGE, "is no run folder: make one with tfgmm train")


def test_unfinished_run(refused, run):
    refused(["evaluate", run.path], USAGE, "has no predictions yet: finish it with the tfgmm train command")


@pytest.mark.parametrize(
    ("name", "content"),
    [("experiment.json", b"{"), ("experiment.json", b"{}"), ("predictions.parquet", b"PAR1")],
)
def test_damaged_run(refused, run, name, content):
    (run.path / name).write_bytes(content)
    refused(["evaluate", run.path], DATA, f"{name} is (missing or )?damaged")


def test_unknown_station(refused, run, tiny):
    make_run(run.path, tiny, small_dataset(), predictions())
    event = ["--magnitude", 6, "--longitude", 139.8, "--latitude", 35.5, "--depth", 30]
    refused(["predict", run.path, *event, "--stations", "S1,X7"], USAGE, "has no station X7$")
    refused(
        ["predict", run.path, *event, "--stations", "all", "--sites", "sites.csv"],
        USAGE,
        "give either --sites or --stations, not both",
    )
    for none in ("", " , "):
        refused(
            ["predict", run.path, *event, "--stations", none], USAGE, "--stations names no station: write"
        )


def test_the_field_needs_a_backbone(refused):
    command = ["train", "--networks", "kik", "--field", "yes", "--backbone", "none"]
    refused(command, USAGE, "--backbone none has none: give --field no")


def test_an_unknown_choice_is_refused_in_one_line(refused, run):
    refused(["train", "--networks", "kik", "--field", "maybe"], USAGE, "--field maybe: choose yes or no$")
    command = ["site-amp", run.path, "--no-site", "x"]
    refused(command, USAGE, "--no-site x: choose published or isotropic or both or none$")


def test_random_effects_are_replaced(refused):
    command = ["train", "--networks", "kik", "--random-effects", "site,event"]
    refused(command, USAGE, "--random-effects is replaced: site,event by --field yes")


@pytest.mark.slow
def test_disk_full_while_tables_are_written(refused, run, tiny, full_disk):
    make_run(run.path, tiny, small_dataset(), predictions())
    before = below(run.path)
    full_disk("pandas.DataFrame.to_csv")
    command = ["evaluate", run.path, "--no-baselines"]
    refused(command, DATA, r"cannot write .*four_way\.csv: No space left on device")
    assert set(below(run.path)) - set(before) == {"calibration.json", "tables"}


# --- datasets ----------------------------------------------------------------------------------------


def test_no_dataset(refused, tmp_path):
    refused(
        ["describe", tmp_path / "nowhere"],
        USAGE,
        "nowhere is no dataset folder: make one with tfgmm import or tfgmm simulate",
    )


@pytest.mark.parametrize(
    "name", ["events.parquet", "stations.parquet", "records.parquet", "layers.nc", "dataset.json"]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_truncated_file_of_a_dataset(refused, copy, name, share):
    path = copy / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(["describe", copy], DATA, rf"data/{name} is missing or damaged \(.+\): make the dataset again")


def test_dataset_that_breaks_the_contract(refused, copy):
    events = pd.read_parquet(copy / "events.parquet")
    events.loc[3, "depth_km"] = 900.0
    events.to_parquet(copy / "events.parquet")
    description = json.loads((copy / "dataset.json").read_text())  # as of a version without hashes of files
    del description["files"], description["checksum"]
    (copy / "dataset.json").write_text(json.dumps(description))
    refused(
        ["describe", copy],
        DATA,
        r"events table, row 3, column depth_km: 900.0 fails the check in_range\(-5, 800\)",
    )


def test_provenance_of_another_kind(refused, copy):
    (copy / "dataset.json").write_text(json.dumps(["simulated"]))
    refused(["describe", copy], DATA, r"dataset\.json is missing or damaged")


SIMULATE = ["--events", 20, "--kik-stations", 5, "--meso-stations", 10, "--meso-events", 1]


@pytest.fixture
def jma(tmp_path) -> list:
    """A command that imports one record."""
    archive = dat(tmp_path / "i2016.dat", source(), row())
    return ["import", "jma", archive, "--stations", station_table(tmp_path / "code_p.dat")]


@pytest.mark.parametrize("command", ["simulate", "import"])
def test_existing_output_folder(refused, jma, copy, command):
    arguments = ["simulate", copy, *SIMULATE] if command == "simulate" else [*jma, "--out", copy]
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    refused(arguments, USAGE, "data exists already: choose another name, or replace it with --overwrite")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_overwrite_replaces_a_dataset_only(refused, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    refused(
        ["simulate", tmp_path, *SIMULATE, "--overwrite"],
        USAGE,
        "is no dataset folder and is not replaced: choose another name",
    )
    assert below(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("writer", ["pandas.DataFrame.to_parquet"])
def test_disk_full_while_simulated_records_are_written(refused, full_disk, tmp_path, writer):
    full_disk(writer)
    refused(
        ["simulate", tmp_path / "data", *SIMULATE], DATA, r"cannot write .*data: No space left on device$"
    )
    assert below(tmp_path) == []


def test_disk_full_while_records_are_imported(refused, full_disk, jma, tmp_path):
    before = below(tmp_path)
    full_disk("pandas.DataFrame.to_parquet")
    refused([*jma, "--out", tmp_path / "out"], DATA, r"cannot write .*out: No space left on device$")
    assert below(tmp_path) == before


def test_disk_full_while_a_dataset_is_replaced_leaves_the_old_one(refused, full_disk, copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    full_disk("pandas.DataFrame.to_parquet")
    refused(["simulate", copy, *SIMULATE, "--overwrite"], DATA, "No space left")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ("0,40,10,50", "no station lies in the region 0,40,10,50 .*the table spans 1"),
        ("138.9,34.9,141.0", "--region 138.9,34.9,141.0: write 4 numbers with commas between them"),
    ],
)
def test_region(refused, jma, tmp_path, region, says):
    before = below(tmp_path)
    refused([*jma, "--out", tmp_path / "out", "--region", region], USAGE, says)
    assert below(tmp_path) == before


def test_layer_table_that_does_not_exist(refused, copy, tmp_path):
    refused(
        ["import", "bedrock", tmp_path / "no.csv", "--value", "z", "--data", copy],
        USAGE,
        r"no\.csv does not exist",
    )


# --- debug -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("damage", "kind"), [(False, UsageError), (True, DataError)])
def test_debug_shows_the_traceback(copy, damage, kind):
    if damage:
        (copy / "events.parquet").write_bytes(b"")
    with pytest.raises(kind):
        main(["--debug", "describe", str(copy if damage else copy / "nowhere")])
