"""Settings of a run as a file: written by a run, read by ``tfgmm train``."""

import shutil

import pytest

import tfgmm
from conftest import TINY, small_dataset
from tfgmm.cli import run_commands
from tfgmm.cli.app import main
from tfgmm.core.errors import TfgmmError
from tfgmm.runs import configuration, experiment
from tfgmm.runs.beginning import begin
from tfgmm.runs.experiment import Experiment


@pytest.fixture
def described(monkeypatch):
    """A function that returns the experiment and what else a command ``tfgmm train`` would train."""
    seen = {}

    def stop(experiment, out, **others):
        seen.update(experiment=experiment, out=out, **others)
        raise TfgmmError("stopped")

    monkeypatch.setattr(tfgmm, "begin_training", stop, raising=False)
    monkeypatch.setattr(run_commands, "import_tensorflow", lambda: None)

    def train(*arguments) -> dict:
        with pytest.raises(TfgmmError, match="stopped"):
            main(["--debug", "train", *map(str, arguments)])
        return seen

    return train


def refused(capfd, *arguments) -> str:
    """What a command says that fails, in one line."""
    with pytest.raises(SystemExit):
        main([str(argument) for argument in arguments])
    return capfd.readouterr().err


CHANGES = {
    "quick": {"patience": 0, "max_events": 0, "split": "random-events:0.3", "drop": ["vs30", "path"]},
    "standard": {"max_steps": 0, "warmup": 0.2, "split": "magnitude:5.5", "min_stddev": 0.02, "seed": 7},
    "paper": {"center": (-117.6, 35.7), "crs": "EPSG:32611", "ims": ["PGA", "PGV"], "precision": "float16"},
}


@pytest.mark.parametrize("preset", CHANGES)
def test_settings_go_out_and_come_back_the_same(preset, described, tmp_path):
    settings = tfgmm.experiment(["kik", "meso"], preset=preset, reference="meso", **CHANGES[preset])
    run = begin(tmp_path / "run", settings, small_dataset(), channels=("magnitude",))
    written = tfgmm.open_run(run.path).write_config(tmp_path / "experiment.toml")
    again = described("--config", written)["experiment"]
    assert again.model_copy(update={"data": None}) == settings
    # The records were in memory, so the file names their copy in the run.
    assert again.data == str(run.path / "data")


def test_turned_maps_go_out_and_come_back_the_same(described, tmp_path):
    settings = tfgmm.experiment("kik", drop="site", turns=True, field=False)
    run = begin(tmp_path / "run", settings, small_dataset(), channels=("magnitude",))
    written = tfgmm.open_run(run.path).write_config(tmp_path / "experiment.toml")
    assert described("--config", written)["experiment"].arm == "drop-site-isotropic"


def test_every_setting_is_an_option_and_written():
    parts = {"grid", "split", "network", "training"}
    expected = {*Experiment.model_fields} - parts
    for part in ("network", "training"):
        expected |= {*Experiment.model_fields[part].annotation.model_fields}
    names = {"ims": "im"}
    expected = {names.get(name, name).replace("_", "-") for name in expected}
    expected |= {"split", "crs", "center", "pixel-km", "input-size"}
    full = experiment.preset("quick", networks=("kik",), reference="kik", data="d", drop=("vs30",))
    assert {*configuration.options(full)} == expected


def test_embedded_records_are_named_by_no_folder(tmp_path, monkeypatch):
    dataset = small_dataset()
    monkeypatch.setattr(configuration.simulated, "embedded", lambda: dataset)
    run = begin(tmp_path / "run", Experiment(**TINY), dataset, channels=("magnitude",))
    assert "data =" not in configuration.text(run)
    assert f"# Data hash of its records: {dataset.digest()}" in configuration.text(run)


def test_a_path_with_any_character_stays_in_its_comment(tmp_path, described):
    run = begin(tmp_path / 'a"\nb', Experiment(**TINY | {"data": 'x"\\\ny'}), small_dataset(), channels=())
    tfgmm.open_run(run.path).write_config(tmp_path / "e.toml")
    assert described("--config", tmp_path / "e.toml")["experiment"].data == 'x"\\\ny'


def test_the_command_line_wins(described, tmp_path):
    (tmp_path / "e.toml").write_text(
        'networks = ["kik", "meso"]\npreset = "quick"\nim = "PGV"\nepochs = 3\nfield = false\n'
        "pixel_km = 1.0\nchunk = 2\ncenter = [139.9, 35.7]\noverwrite = true\n"
    )
    seen = described("--config", tmp_path / "e.toml", "--epochs", 5, "--networks", "meso")
    settings = seen["experiment"]
    assert (settings.networks, settings.training.epochs, settings.ims) == (("meso",), 5, ("PGV",))
    assert (settings.preset, settings.field, settings.grid.pixel_km) == ("quick", False, 1.0)
    assert (settings.grid.longitude, seen["chunks"], seen["overwrite"]) == (139.9, [2], True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("epoch = 3", "train has no option epoch: did you mean epochs?"),
        ("nonsense = 3", "train has no option nonsense: see tfgmm train --help"),
        ("config = 'x'", "train has no option config"),
        ("[training]\nepochs = 3", "train has no option training"),
        ("[epochs]\nx = 3", "epochs is a table: write its keys without it"),
        ("epochs", "is no TOML file"),
        ("a = " + "[" * 100_000, "is no TOML file"),
        (b"\xff", "is no TOML file"),
    ],
)
def test_other_files_are_refused_in_one_line(capfd, tmp_path, content, says):
    path = tmp_path / "e.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(capfd, "train", "--networks", "kik", "--config", path)
    assert says in said and said.count("\n") == 1


def test_a_value_of_another_type_names_its_option(capfd, tmp_path):
    (tmp_path / "e.toml").write_text("epochs = 'many'")
    assert "--epochs" in refused(capfd, "train", "--networks", "kik", "--config", tmp_path / "e.toml")


def test_files_that_are_not_there_and_folders_are_refused(capfd, tmp_path):
    for path in (tmp_path / "no.toml", tmp_path):
        assert "there is no such file" in refused(capfd, "train", "--networks", "kik", "--config", path)


# ---- what a run is -----------------------------------------------------------------------------------


def test_a_run_says_what_it_can_do(capfd, field_run, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["show", str(field_run), "--config", str(tmp_path / "e.toml")])
    said = " ".join(capfd.readouterr().out.split())
    assert not end.value.code
    for part in ("PGA, SA(1.0)", "kik, meso; reference kik", "2 of 2 trained", "Simulated records",
                 "magnitude 4.", "hypocentral distance", f"tfgmm evaluate {field_run}"):  # fmt: skip
        assert part in said, part
    with pytest.raises(SystemExit):
        main(["show", str(field_run), "--config", str(tmp_path / "e.toml")])
    assert "exists" in capfd.readouterr().err


def test_an_unfinished_run_says_what_is_missing(tmp_path):
    begin(tmp_path / "run", Experiment(**TINY), small_dataset(), channels=("magnitude",))
    shown = tfgmm.open_run(tmp_path / "run").summary().set_index("what")["value"]
    assert shown["members"] == "0 of 2 trained; missing chunk 0 init 0, chunk 1 init 0"
    assert "tfgmm train --config FILE" in shown["next"]


def test_a_run_that_has_lost_a_member_says_so(field_run, tmp_path):
    shutil.copytree(field_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "members" / "all" / "chunk-1_init-0")
    shown = tfgmm.open_run(tmp_path / "run").summary().set_index("what")["value"]
    assert shown["members"] == "1 of 2 trained; missing chunk 1 init 0"
    assert "chunk-1_init-0 is missing or not whole" in shown["learned from (PGA)"]
