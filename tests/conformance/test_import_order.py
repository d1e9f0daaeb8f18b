"""Data flow one way: a module imports only from modules listed above it in the package's docstring."""

import ast
import re
from pathlib import Path

import pytest

import tfgmm

PACKAGE = Path(tfgmm.__file__).parent
HEAVY = {"tensorflow", "tensorflow_probability", "keras", "tf_keras"}

#: Module names in the order of the map, without the leading ``tfgmm.``.
LISTED = re.findall(r"^([a-z0-9_.]+) {2,}\S", tfgmm.__doc__, flags=re.MULTILINE)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"}


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All import statements of a file, also those inside functions."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def external(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    names = set()
    for node in imports(path):
        modules = (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
        names |= {module.partition(".")[0] for module in modules}
    return names


def internal(path: Path) -> set[str]:
    """Modules of the package that a file imports, without the leading ``tfgmm.``."""
    found = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            # What is imported may be a module (from tfgmm.model import member) or stand in one.
            full = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}".removeprefix("tfgmm.") in PATHS
                else str(node.module)
                for alias in node.names
            ]
        found |= {name.removeprefix("tfgmm.") for name in full if name.partition(".")[0] == "tfgmm"}
    return found


def all_behind(name: str) -> set[str]:
    """The module and every module of the package that it imports, directly or not."""
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current in PATHS and current not in seen:
            seen.add(current)
            waiting += internal(PATHS[current])
    return seen


def test_every_module_is_listed_once_and_nothing_else():
    assert sorted(LISTED) == sorted(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_module_imports_only_what_stands_above_it(name):
    assert internal(PATHS[name]) <= set(LISTED[: LISTED.index(name)])


@pytest.mark.parametrize("name", PATHS)
def test_imports_are_absolute(name):
    relative = [node.lineno for node in imports(PATHS[name]) if getattr(node, "level", 0)]
    assert not relative, f"relative imports on lines {relative}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_packages_import_nothing(path):
    assert not imports(path)


@pytest.mark.parametrize("name", [name for name in PATHS if name.startswith("analysis.")])
def test_analysis_works_without_tensorflow(name):
    assert {module: external(PATHS[module]) & HEAVY for module in all_behind(name)} == {
        module: set() for module in all_behind(name)
    }


@pytest.mark.parametrize("name", ["model.prediction", "serving.client"])
def test_predicting_and_asking_a_server_do_not_load_obspy(name):
    """It takes a second; a function that reads QuakeML loads it when it is called."""
    at_once = {
        module: [node for node in ast.parse(PATHS[module].read_text()).body if isinstance(node, ast.Import)]
        for module in all_behind(name)
    }
    names = {
        module: {alias.name for node in nodes for alias in node.names} for module, nodes in at_once.items()
    }
    assert not [module for module in names if "obspy" in names[module]]


def test_the_rules_see_what_they_forbid(tmp_path):
    """Of a file that breaks all of them."""
    path = tmp_path / "bad.py"
    lines = [
        "from tfgmm.model import member",
        "from . import x",
        "import tfgmm.cli.app",
        "from tfgmm.core.errors import DataError",
        "def f():",
        "    import tensorflow as tf",
        "    from keras import ops",
        "    from tfgmm import records as r",
    ]
    path.write_text("\n".join(lines))
    assert internal(path) == {"model.member", "cli", "errors", "records"}
    assert external(path) & HEAVY == {"tensorflow", "keras"}
    assert [node.level for node in imports(path) if isinstance(node, ast.ImportFrom)].count(1) == 1
    assert external(PATHS["model.unet"]) & HEAVY and "model.unet" in all_behind("model.ensemble")
