"""Models that a server offers: the newest version of each, which changes while requests are answered."""

import dataclasses
import gc
from collections.abc import Callable, Iterable
from pathlib import Path

from tfgmm.core.errors import DataError, UsageError
from tfgmm.serving.limits import LIMITS, Limits
from tfgmm.serving.model import Model
from tfgmm.serving.refusal import Reason, RefusedError


@dataclasses.dataclass(frozen=True)
class Status:
    """Of a version: ``LOADING``, ``AVAILABLE`` or, with an error, ``END``."""

    version: int
    state: str
    error: str = ""


class Models:
    """The newest version of every model.

    A request holds the version with which it began; a new one takes over when it is loaded and warm.
    A version that cannot be loaded is left out until its files change.

    Parameters
    ----------
    folders : iterable of Path
        Of models; a folder's name is the model's, its numbered folders are versions.
    limits : Limits
    report : callable
        Told what is loaded and what cannot be.

    Raises
    ------
    UsageError
        A folder holds no version, or two have one name.
    DataError
        No version of a model can be loaded.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        limits: Limits = LIMITS,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._limits, self._report = limits, report
        self._folders = _by_name(folders)
        self._served: dict[str, Model] = {}
        self._status: dict[str, dict[int, Status]] = {name: {} for name in self._folders}
        self._damaged: dict[Path, tuple] = {}
        self.refresh()
        for name, statuses in self._status.items():
            if name not in self._served:
                errors = "; ".join(f"version {one.version}: {one.error}" for one in statuses.values())
                raise DataError(f"{self._folders[name]} cannot be served: {errors}. Export it again")

    @property
    def names(self) -> list[str]:
        """Of all models."""
        return list(self._folders)

    def get(self, name: str, version: int | None = None) -> Model:
        """The model that answers now.

        Raises
        ------
        RefusedError
            There is no such model or version.
        """
        model = self._served.get(name)
        if model is None:
            known = ", ".join(self._served)
            raise RefusedError(Reason.UNKNOWN, f"no model {name[:50]!r} is served here: there is {known}")
        if version is not None and version != model.version:
            message = f"version {version} of {name} is not served: {model.version} is"
            raise RefusedError(Reason.UNKNOWN, message)
        return model

    def status(self, name: str, version: int | None = None) -> list[Status]:
        """What is known of the versions of a model, the newest first.

        Raises
        ------
        RefusedError
            There is no such model or version.
        """
        known = self._status.get(name)
        if known is None or (version is not None and version not in known):
            self.get(name, version)
        return [known[one] for one in sorted(known, reverse=True) if version in (None, one)]

    def refresh(self) -> None:
        """Look for versions that came or went, and serve the newest of each model that can be loaded."""
        for name, folder in self._folders.items():
            versions = _versions(folder)
            if any(self._offer(name, path) for path in versions.values()):
                served = self._served[name].version
                kept = {served, *versions}
                self._status[name] = {
                    one: status
                    for one, status in self._status[name].items()
                    if one in kept and (one == served or status.state == "END")
                }

    def _offer(self, name: str, folder: Path) -> bool:
        """Whether this version is served now."""
        served = self._served.get(name)
        if served and served.version == int(folder.name):
            return True
        if self._damaged.get(folder) == (fingerprint := _fingerprint(folder)):
            return False
        self._note(name, folder, "LOADING")
        try:
            self._served[name] = Model(name, folder, self._limits)
        except Exception as error:  # TensorFlow raises anything on a damaged folder
            self._damaged[folder] = fingerprint
            self._note(name, folder, "END", _first_line(error))
            return False
        self._note(name, folder, "AVAILABLE")
        del served
        gc.collect()  # the old version's graph has cycles, and may be gigabytes
        return True

    def _note(self, name: str, folder: Path, state: str, error: str = "") -> None:
        version = int(folder.name)
        self._status[name] = self._status[name] | {version: Status(version, state, error)}
        if state != "LOADING":
            said = f"cannot be loaded: {error}" if error else "is served"
            self._report(f"{name}, version {version}: {said}")


def _by_name(folders: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in found:
            raise UsageError(f"{found[name]} and {folder} have one name: serve them apart, or rename one")
        if not _versions(folder):
            raise UsageError(
                f"{folder} holds no version of a model, as {folder / '1'}: make one with tfgmm export"
            )
        found[name] = folder
    return found


def version_number(name: str) -> int | None:
    """Return the number that the name of a version folder stands for; other names have none.

    It is that of TensorFlow Serving: digits, also ``00000123``, that fit in 64 bits with a sign.
    """
    number = int(name) if name.isascii() and name.isdigit() else -1
    return number if 0 <= number < 1 << 63 else None


def _versions(folder: Path) -> dict[int, Path]:
    """Return the newest first; a folder that is being written has no ``saved_model.pb`` yet."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return {}
    found = {version_number(path.name): path for path in paths if (path / "saved_model.pb").is_file()}
    return {version: found[version] for version in sorted(found.keys() - {None}, reverse=True)}


def _fingerprint(folder: Path) -> tuple:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    except OSError:  # it is being written or deleted
        return ()


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
