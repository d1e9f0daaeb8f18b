"""Notebooks use public names only; reference, upgrade page and architecture miss nothing."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import typer

import tfgmm
from tfgmm.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))
UPGRADE = (DOCS / "upgrade.md").read_text()
ROOMS = re.findall(r"^([a-z_]+) {2,}\S", tfgmm.__doc__, flags=re.MULTILINE)


def public_names(source: str) -> set[str]:
    """Names X of all ``tfgmm.X`` in a source."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tfgmm"
    }


def rows_of(section: str) -> list[tuple[str, str]]:
    """Cells of the table in a section of the upgrade page."""
    text = UPGRADE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [(left.strip(), right.strip()) for left, right in rows]


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_compiles_and_uses_public_names_only(path):
    source = path.read_text()
    compile(source, path, "exec")
    imported = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = [alias.name for node in imported for alias in node.names if "tfgmm" in ast.unparse(node)]
    assert names == ["tfgmm"]
    used = public_names(source)
    assert used and used <= set(tfgmm.__all__)


def test_the_reference_has_every_public_name_and_no_other():
    text = (DOCS / "api.md").read_text()
    documented = re.findall(r"^\.\. auto(?:function|class|exception):: tfgmm\.(\w+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(tfgmm.__all__)


def test_the_architecture_names_every_room():
    page, figure = ((DOCS / name).read_text() for name in ("architecture.md", "architecture.svg"))
    assert [room for room in ROOMS if f"`{room}`" not in page or f">{room}<" not in figure] == []


def test_every_new_import_path_of_the_upgrade_page_exists():
    new = {name for _, right in rows_of("Import paths") for name in re.findall(r"`(tfgmm[\w.]+)`", right)}
    kept = re.findall(r"`(tfgmm\.\w+\.\w+)`", UPGRADE.split("These keep theirs:")[1].split("\n\n")[0])
    assert len(new) > 60 and len(kept) > 5
    assert [name for name in [*new, *kept] if importlib.util.find_spec(name) is None] == []


@pytest.mark.slow
def test_every_new_import_path_of_the_upgrade_page_can_be_imported():
    for _, right in rows_of("Import paths"):
        for name in re.findall(r"`(tfgmm[\w.]+)`", right):
            assert importlib.import_module(name).__name__ == name


def test_no_old_import_path_is_left():
    kept = {"tfgmm.cli"}  # a room now
    old = {left.strip("`") for left, _ in rows_of("Import paths")} - kept
    assert len(old) > 130
    for name in old:
        parent = name.rpartition(".")[0]
        assert importlib.util.find_spec(parent) is None or importlib.util.find_spec(name) is None, name


def test_every_new_call_of_the_upgrade_page_exists():
    calls = [
        call
        for _, right in rows_of("Python: calls that have a public name now")
        for call in re.findall(r"`tfgmm\.(\w+)(?:\.(\w+))?", right)
    ]
    assert len(calls) > 12
    for name, method in calls:
        assert hasattr(getattr(tfgmm, name), method) if method else name in tfgmm.__all__


def options_of(words: str) -> set[str]:
    """Options of a command, by the words after ``tfgmm``."""
    command = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    return {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}


def test_every_option_of_the_upgrade_page_exists():
    replaced = [row for row in rows_of("Options") if row[0].startswith("`train -")]
    unchanged = [row for row in rows_of("Options") if row not in replaced]
    assert len(replaced) == 5 and len(unchanged) == 22
    for command, right in unchanged:
        assert set(re.findall(r"--[\w-]+", right)) <= options_of(command.strip("`")), command
    for _, right in replaced:
        assert set(re.findall(r"--[\w-]+", right)) <= options_of("train")
