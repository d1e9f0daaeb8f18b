"""Read the file of a study: tables of options of ``tfgmm train``, one for each run and one for all."""

import contextlib
import dataclasses
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tfgmm.cli import options
from tfgmm.cli.configuration import option_values, read_toml
from tfgmm.cli.train_options import experiment_of, launch_of, launch_options, train_options
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.network.executors import Launch
from tfgmm.runs.experiment import Experiment

#: Keys of the file that are no options: tables of runs, and lists of values of which each makes a run.
RUNS, EACH = "runs", "each"
#: Options that are given once, at the top of the file, and those that are not for studies.
_ONCE = ("out", *inspect.signature(launch_options).parameters)
_REFUSED = ("overwrite", "begin")
#: Options whose values name a run without the name of the option.
_PLAIN = ("networks", "preset", "data", "im")


@dataclasses.dataclass(frozen=True)
class Study:
    """The content of the file of a study.

    Attributes
    ----------
    folder : Path
        Folder of the run folders.
    launch : Launch
        Where and how members are trained.
    runs : dict of str to (Experiment, tuple of int or None)
        Description and chunks, None for all, by the name of the run, which is also that of its folder.
    """

    folder: Path
    launch: Launch
    runs: dict[str, tuple[Experiment, tuple[int, ...] | None]]


def read(path: Path) -> Study:
    """Read the file of a study.

    Options at the top of the file are those of all runs; a table ``[runs.NAME]`` has those of one run,
    which win. A table ``each``, at the top or in a run, has lists of values: each combination makes a run.

    Parameters
    ----------
    path : Path
        File in TOML.

    Returns
    -------
    Study

    Raises
    ------
    UsageError
        There is no such file, a key is no option, or settings do not fit together.
    DataError
        The file is no TOML, or not of this form.
    """
    content = read_toml(path)
    tables, each = content.pop(RUNS, {"": {}}), content.pop(EACH, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise DataError(
            f"{path}: {RUNS} is no table of runs: write [{RUNS}.NAME] above the options of a run"
        )
    if not tables or (tables == {"": {}} and not each):
        raise UsageError(f"{path} names no run: write [{RUNS}.NAME] above the options of each run")
    common, runs = _values(content, f"{path}", _REFUSED), {}
    out = common.pop("out", str(Path("runs") / path.stem))
    if not isinstance(out, str):
        raise UsageError(f"{path}: out is {out!r}, expected the name of a folder")
    folder, launch = Path(out), Launch()
    for name, values, where in _runs(path, tables, each):
        if name in runs:
            raise UsageError(f"{path}: two runs are called {name}")
        with _named(where):
            settings = _parsed(common | values)
            launch = launch_of(settings)
            chunks = settings.pop("chunk")
            for key in (*_REFUSED, "out", "config"):
                settings.pop(key)
            runs[name] = experiment_of(**settings), tuple(chunks) if chunks else None
    return Study(folder, launch, runs)


def _runs(path: Path, tables: dict[str, dict], each_of_all: Any) -> Iterator[tuple[str, dict, str]]:
    """Yield name, values of options and place in the file of each run."""
    for table, content in tables.items():
        own = {key: value for key, value in content.items() if key != EACH}
        each = content.get(EACH, each_of_all)
        if EACH not in content and isinstance(each, dict):
            each = {key: values for key, values in each.items() if key not in own}  # its own options win
        if not isinstance(each, dict) or not all(isinstance(one, list) and one for one in each.values()):
            raise DataError(f'{path}: {EACH} has lists of values, as {EACH}.networks = ["kik", "kik,meso"]')
        for chosen in itertools.product(*each.values()):
            labels = itertools.starmap(_label, zip(each, chosen, strict=True))
            name = "-".join([*([table] if table else []), *labels])
            where = f"{path}: run {name}"
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise UsageError(f"{where}: name it by letters, digits, and . + - _ between them")
            given = own | dict(zip(each, chosen, strict=True))
            yield name, _values(given, where, _ONCE + _REFUSED), where


def _label(option: str, value: Any) -> str:
    """Return what the name of a run says of one of several values.

    >>> _label("drop", "site"), _label("drop", []), _label("networks", ["kik", "meso"]), _label("seed", 2)
    ('drop-site', 'drop-none', 'kik-meso', 'seed-2')
    """
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "-".join(re.findall(r"[\w.]+", Path(text).name if option == "data" else text)) or "none"
    return text if option in _PLAIN else f"{option}-{text}"


def _values(content: dict[str, Any], where: str, refused: tuple[str, ...]) -> dict[str, Any]:
    """Return values of options by name of the parameter; raise `UsageError` for a `refused` one."""
    values = option_values(content, _command, "train", where)
    for name in refused:
        if name in values:
            hint = "give it once, at the top of the file" if name in _ONCE else "it is not for studies"
            raise UsageError(f"{where}: {name.replace('_', '-')}: {hint}")
    return values


def _parsed(values: dict[str, Any]) -> dict[str, Any]:
    """Return all options of ``train``, with these values, as that command gets them."""
    try:
        with _command.make_context("train", [], default_map=values) as context:
            return _command.invoke(context)
    except _ParseError as error:
        raise UsageError(error.format_message()) from error


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Put the place in the file before the message of an error."""
    try:
        yield
    except TfgmmError as error:
        raise type(error)(f"{where}: {error}") from error


_app = typer.Typer()


@_app.command()
@options.taking(train_options, launch_options)
def _train(**settings) -> dict[str, Any]:
    return settings


#: The command ``train`` with all its options, which returns their values; the base class of its errors.
_command = typer.main.get_command(_app)
_ParseError = typer.BadParameter.__base__
