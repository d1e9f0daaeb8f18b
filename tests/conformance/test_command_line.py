"""What holds for every command: help, version, paths, endings, what goes where."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from conftest import small_dataset
from helpers.all_commands import all_commands
from tfgmm.cli import app, console, options


def run(capfd, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        app.main([str(argument) for argument in arguments])
    return stop.value.code or 0, *capfd.readouterr()


@pytest.fixture
def data(tmp_path) -> Path:
    small_dataset().write(tmp_path / "data")
    return tmp_path / "data"


def test_version(capfd):
    code, out, err = run(capfd, "--version")
    assert re.fullmatch(r"tfgmm \d+\.\d+\S*\n", out) and (code, err) == (0, "")


@pytest.mark.parametrize("words", all_commands(groups=True))
def test_every_command_has_help_by_both_names(capfd, words):
    code, short, _ = run(capfd, *words.split(), "-h")
    assert code == 0 and "Usage:" in short and "--help" in short
    assert run(capfd, *words.split(), "--help") == (0, short, "")


#: What takes long to import, and no help needs.
HEAVY = ("numpy", "pandas", "xarray", "scipy", "matplotlib", "requests", "tensorflow")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["fetch", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from tfgmm.cli.app import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "finally:\n"
        f"    print(sorted({{*{HEAVY}}} & {{*sys.modules}}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n") and done.stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--out=~/x", "--out=HOME/x"),
        ("--out=~", "--out=HOME"),
        ("~/x", "HOME/x"),
        ("--at=140,36,~", "--at=140,36,~"),
        ("--map=a=~/x", "--map=a=~/x"),
        ("./~/x", "./~/x"),
        ("~$table.xlsx", "~$table.xlsx"),
        ("a\nb", "a\nb"),
    ],
)
def test_home_folder_as_shells_write_it(monkeypatch, given, expected):
    monkeypatch.setenv("HOME", "/somewhere")
    assert options.expanded([given]) == [expected.replace("HOME", "/somewhere")]


def test_home_folder_in_options_and_arguments(capfd, data, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(data)
    code, _, _ = run(capfd, "export-table", "~/data", "--out=~/flat.csv")
    assert code == 0 and (tmp_path / "flat.csv").is_file() and not (data / "~").exists()


@pytest.mark.parametrize("name", ["a[/red].csv", "[bold]b.csv", ":bear:.csv"])
def test_brackets_in_paths_are_printed_as_they_are(capfd, data, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capfd, "export-table", data, "--out", name)
    assert code == 0 and name in out and (tmp_path / name).is_file()


def test_an_error_is_one_line_whatever_a_file_is_called(capfd, tmp_path):
    code, out, err = run(capfd, "describe", tmp_path / "a\nb[/x]\x1b[31m")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert r"a\nb[/x]\x1b[31m is no dataset folder" in err


def test_progress_goes_to_standard_error_and_not_into_files(capfd):
    with console.progress("reading", 2) as advance:
        advance()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bar", ["progress", "stage_progress", "training_progress"])
def test_progress_on_a_terminal(capfd, monkeypatch, bar):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100, markup=False)
    monkeypatch.setattr(console, "bars", terminal)
    arguments = {"progress": ("a[/b]", 2), "stage_progress": (), "training_progress": (1, 0)}[bar]
    with getattr(console, bar)(*arguments) as report:
        report("a[/b]", 0.5)
        report("a[/b]", 1.0)
    assert "a[/b]" in terminal.file.getvalue() and "100%" in terminal.file.getvalue()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("export-table data --out flat.parquet", "datasets in one table can be written as .csv: give"),
        ("describe data --figures figures.png", "--figures is a folder, and .png means a file"),
        ("report run --out report.pdf", "reports can be written as .html, .htm: give"),
        ("report run --markdown report.md", "a report in Markdown is a folder, and .md means a file"),
        ("simulate data.nc", "a dataset is a folder, and .nc means a file"),
        ("import table x.csv --out data.CSV", "a dataset is a folder, and .CSV means a file"),
        ("fetch jma --years 2010 --out jma.zip", "what is downloaded is a folder, and .zip means a file"),
        ("export run --out model.keras", "an exported model is a folder, and .keras means a file"),
        ("site-amp run --out vs.tif", "site amplification is a folder, and .tif means a file"),
        ("predict run --out map.txt", "maps can be written as .nc, .tif, .tiff, .png, .pdf: give"),
        (
            "predict run --stations all --out a.nc",
            "figure of their spectra, can be written as .csv, .parquet, .png, .pdf: give",
        ),
        ("query http://x/v1/models/m --out x.tif", "maps can be written as .nc: give"),
        ("query http://x/v1/models/m --stations K1 --out x.nc", "a table of sites can be written as .csv"),
    ],
)
def test_endings_mean_formats_or_are_refused(capfd, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capfd, *arguments.split())
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("deep.toml", f"a = {DEEP}", "import table table.csv --layout deep.toml --out data"),
        ("experiment.json", DEEP, "evaluate ."),
        ("experiment.json", "{}", "evaluate ."),
        ("experiment.json", "[]", "evaluate ."),
        ("experiment.json", '{"experiment": {}, "data": []}', "evaluate ."),
        ("dataset.json", DEEP, "describe ."),
        ("dataset.json", "{}", "describe ."),
    ],
)
def test_what_is_nested_deeply_or_lacks_keys_is_one_line(
    capfd, monkeypatch, tmp_path, name, content, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / name).write_text(content)
    code, out, err = run(capfd, *command.split())
    assert (code, out) == (1, "") and re.fullmatch(r"tfgmm: .{1,300}\n", err), err
