"""What the base install can do, and what it says of a feature whose packages are not there."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tfgmm.core.extras import EXTRAS, needed

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
#: Top-level modules of all extras but those for development.
ABSENT = [*(package for packages in EXTRAS.values() for package in packages)]
#: Modules that import one of them at once; a command that needs them says so.
NEED_EXTRAS = {
    *(f"tfgmm.readers.waveforms.{name}" for name in ("mesonet", "nied", "nied_format", "obspy_files")),
    *(f"tfgmm.serving.{name}" for name in ("http", "rest", "server")),
}


def without_extras(code: str) -> str:
    """What a program prints in an interpreter in which the packages of all extras are missing."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False
    )
    return done.stdout + "".join(
        line + "\n" for line in done.stderr.splitlines() if line.startswith("tfgmm:")
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extras_of_the_project_are_those_of_the_messages(extra):
    names = {text.partition(">=")[0] for text in OPTIONAL[extra]}
    assert names == {*EXTRAS[extra]}
    assert not names & {text.partition(">=")[0] for text in PROJECT["dependencies"]}


def test_all_and_dev_contain_every_extra():
    assert OPTIONAL["all"] == ["tfgmm[waveforms,serve,dask,slurm]"] and "tfgmm[all,docs]" in OPTIONAL["dev"]
    assert {*OPTIONAL} == {"waveforms", "serve", "dask", "slurm", "all", "docs", "dev"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["import", "nied-ascii", ".", "--out", "x"],
            'tfgmm import nied-ascii needs ObsPy: pip install "tfgmm[',
        ),
        (
            ["import", "mesonet", ".", "--catalogue", "c.csv", "--out", "x"],
            'tfgmm import mesonet needs ObsPy: pip install "tfgmm[waveforms]"',
        ),
        pytest.param(
            ["serve", "."], 'tfgmm serve needs Uvicorn: pip install "tfgmm[serve]"', marks=pytest.mark.slow
        ),
    ],
)
def test_a_command_names_its_extra_in_one_line(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = without_extras(f"from tfgmm.cli.app import main; main({arguments})")
    assert says in printed and printed.count("\n") == 1


def test_docker_needs_no_extra():
    assert "docker run" in without_extras("import tfgmm; print(tfgmm.docker_command('model'))")


@pytest.mark.slow
def test_only_these_modules_need_an_extra():
    code = (
        "import importlib, pathlib, tfgmm\n"
        "root = pathlib.Path(tfgmm.__file__).parent\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    name = '.'.join(path.relative_to(root.parent).with_suffix('').parts)\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError:\n"
        "        print(name)\n"
    )
    assert {*without_extras(code).split()} == NEED_EXTRAS


def test_other_missing_modules_stay_what_they_are():
    with pytest.raises(ModuleNotFoundError), needed("serve", "tfgmm serve"):
        raise ModuleNotFoundError(name="numpy")
