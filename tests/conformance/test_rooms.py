"""Data flow one way through the rooms of the house, and each room says what is in it."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import tfgmm

PACKAGE = Path(tfgmm.__file__).parent
HEAVY = {"tensorflow", "tensorflow_probability", "keras", "tf_keras"}
#: Rooms in the order of the map.
ROOMS = re.findall(r"^([a-z_]+) {2,}\S", tfgmm.__doc__, flags=re.MULTILINE)
WITHOUT_TENSORFLOW = ("core", "data", "readers", "stats", "simulation", "runs", "evaluation")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"}


def room_of(name: str) -> str:
    return name.partition(".")[0]


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All import statements of a file, also those inside functions."""
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


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
    modules = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            # What is imported may be a module (from tfgmm.network import member) or stand in one.
            full = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}".removeprefix("tfgmm.") in PATHS
                else str(node.module)
                for alias in node.names
            ]
        modules |= {name.removeprefix("tfgmm.") for name in full if name.startswith("tfgmm.")}
    return modules


IMPORTED = {name: internal(path) for name, path in PATHS.items()}


def all_behind(name: str) -> set[str]:
    """The module and every module of the package that it imports, directly or not."""
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current in PATHS and current not in seen:
            seen.add(current)
            waiting += IMPORTED[current]
    return seen


def test_every_folder_is_a_room_and_nothing_stands_loose():
    assert {room_of(name) for name in PATHS} == set(ROOMS)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room):
    targets = {(name, target) for name in PATHS if room_of(name) == room for target in IMPORTED[name]}
    for below in ROOMS[ROOMS.index(room) + 1 :]:
        assert not {pair for pair in targets if room_of(pair[1]) == below}, f"{room} imports from {below}"


def test_inside_a_room_imports_have_no_circle():
    order = list(graphlib.TopologicalSorter(IMPORTED).static_order())  # raises CycleError
    assert set(PATHS) <= set(order)


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PATHS.values()}), ids=lambda path: path.name
)
def test_a_room_lists_its_files(folder):
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    listed = re.findall(r"^([a-z0-9_]+) {2,}\S", doc, flags=re.MULTILINE)
    inside = [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]
    inside += [path.parent.name for path in folder.glob("*/__init__.py")]
    assert sorted(listed) == sorted(inside)
    assert not imports(folder / "__init__.py")


def test_imports_are_absolute():
    assert not [
        f"{name} line {node.lineno}"
        for name, path in PATHS.items()
        for node in imports(path)
        if getattr(node, "level", 0)
    ]


@pytest.mark.slow
def test_tensorflow_stays_in_its_rooms():
    for name in PATHS:
        if room_of(name) in WITHOUT_TENSORFLOW:
            heavy = {module: external(PATHS[module]) & HEAVY for module in all_behind(name)}
            assert not {module for module, packages in heavy.items() if packages}, name


@pytest.mark.parametrize("name", ["prediction.writing", "serving.client"])
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
        "from tfgmm.network import member",
        "from . import x",
        "import tfgmm.cli.app",
        "from tfgmm.core.errors import DataError",
        "def f():",
        "    import tensorflow as tf",
        "    from keras import ops",
        "    from tfgmm.core import files as f",
    ]
    path.write_text("\n".join(lines))
    assert internal(path) == {"network.member", "cli.app", "core.errors", "core.files"}
    assert external(path) & HEAVY == {"tensorflow", "keras"}
    assert [node.level for node in imports(path) if isinstance(node, ast.ImportFrom)].count(1) == 1
    assert external(PATHS["network.unet"]) & HEAVY and "network.unet" in all_behind("prediction.ensemble")
