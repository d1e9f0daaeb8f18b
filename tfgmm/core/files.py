"""Write files whole or not at all, clear what killed processes left behind, and verify what is read."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import xarray as xr

from tfgmm.core.errors import DataError, UsageError

#: Beginning of the names of files that are no content: temporary ones, leases.
PREFIX = ".tfgmm-"
#: Folder in which files wait that `whole_files` is moving to their places.
PENDING = PREFIX + "pending"
#: Names of temporary files and folders: host, process, its start in seconds, chance.
_TEMPORARY = re.compile(r"\.tfgmm-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.(.*)", re.DOTALL)
#: Age at which a temporary file of another machine counts as left behind, s.
_FORSAKEN_S = 86_400
#: Start times of one process, told by the clock, differ by at most so much, s.
_CLOCK_S = 10
_CHECKSUM = "checksum"


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `UsageError` if `path` exists and may not be replaced; an empty folder may be filled."""
    if is_vacant(path) or overwrite:
        return
    raise UsageError(f"{path} exists already: choose another name, or replace it with --overwrite")


def is_vacant(path: Path) -> bool:
    """Return True if nothing stands at `path`, or a folder of temporary files and leases alone."""
    if path.is_dir():
        names = {inside.name for inside in path.iterdir()}
        return PENDING not in names and all(name.startswith(PREFIX) for name in names)
    return not os.path.lexists(path)


@contextlib.contextmanager
def whole_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends, and vanishes if it fails.

    The former content of `path` is gone then: for folders that one command alone fills. A folder that a
    user names is filled by `whole_files`.

    Parameters
    ----------
    path : Path
        Where the folder shall stand; a symbolic link is followed.
    overwrite : bool
        Replace what stands there.

    Raises
    ------
    UsageError
        `path` exists and `overwrite` is false.
    DataError
        The file system refuses to write (full, read-only, ...), or without `overwrite` another process
        has made `path` meanwhile, which stays.
    """
    refuse_existing(path, overwrite)
    target = path.resolve()
    temporary, replaced = _temporary(target), _temporary(target)
    with _writing(path):
        clear_leftovers(target.parent)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if overwrite and target.exists():
                target.rename(replaced)
            elif not is_vacant(target):
                raise FileExistsError(errno.EEXIST, "another process has made it meanwhile", str(path))
            elif target.exists():
                for leftover in target.glob(PREFIX + "*"):  # or nothing can be renamed onto it
                    _remove(leftover)
            try:
                temporary.rename(target)
            except OSError:
                if replaced.exists():
                    replaced.rename(target)
                raise
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files all move into `folder` when the block ends, or none does.

    Files of the same name are replaced, through symbolic links; all other files in `folder` stay.
    After a kill in the middle of the moves the next `finish_moves` completes them.

    Raises
    ------
    DataError
        The file system refuses to write (full, read-only, ...).
    """
    if not folder.exists():
        with whole_folder(folder) as temporary:
            yield temporary
        return
    with _writing(folder):
        finish_moves(folder)
    with whole_folder(folder / PENDING, overwrite=True) as temporary:
        yield temporary
    with _writing(folder):
        finish_moves(folder)


def finish_moves(folder: Path) -> None:
    """Move the files of an interrupted `whole_files` to their places, if there was one."""
    pending = folder / PENDING
    if not pending.is_dir():
        return
    for path in sorted(path for path in pending.rglob("*") if path.is_file()):
        target = (folder / path.relative_to(pending)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has moved it
            _move(path, target)
    shutil.rmtree(pending, ignore_errors=True)


def _move(path: Path, target: Path) -> None:
    """Replace `target` by `path`, also where a link leads to another file system."""
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = _temporary(target)
        shutil.copyfile(path, beside)
        os.replace(beside, target)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file name that becomes `path` when the block ends, and vanishes if it fails.

    A symbolic link is followed.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    target = path.resolve()
    temporary = _temporary(target)
    with _writing(path):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            clear_leftovers(target.parent)
            yield temporary
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn errors of the file system in the block into a `DataError` of one line."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise DataError(f"cannot write {_final_path(path)}: {reason}") from error


# ---- temporary files and their owners --------------------------------------------------------------


def _temporary(target: Path) -> Path:
    """Return a name beside `target` for a temporary file, with the host, process and start of its owner."""
    started = int(psutil.Process().create_time())
    owner = f"{_host()}-{os.getpid()}-{started}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f"{PREFIX}{owner}.{target.name}")


def _final_path(path: Path) -> Path:
    """Return the path that a temporary file, or a file in a temporary folder, will have in the end."""
    names = [_TEMPORARY.sub(r"\4", part) for part in path.parts]
    return Path(*(name for name in names if name != PENDING))


def _host() -> str:
    """Return eight hexadecimal digits that stand for the name of this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose processes have ended.

    Those of another machine are removed once they are a day old.
    """
    for path in folder.glob(PREFIX + "*"):
        made_by = _TEMPORARY.fullmatch(path.name)
        if made_by is None or _is_at_work(path, *made_by.groups()[:3]):
            continue
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a folder with all in it, as far as the file system lets us."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_at_work(path: Path, host: str, pid: str, started: str) -> bool:
    """Return True if the process that made a temporary file may still be writing it."""
    try:
        if host != _host():
            return time.time() - path.lstat().st_mtime < _FORSAKEN_S
        return abs(psutil.Process(int(pid)).create_time() - int(started)) < _CLOCK_S
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError, OverflowError):
        return False


# ---- content that is verified ----------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_unchanged(path: Path, hexadecimal: str) -> bool:
    """Return True if a file exists and has the stated SHA-256."""
    return path.is_file() and sha256(path) == hexadecimal


def refuse_changed(folder: Path, stated: dict[str, str], advice: str) -> None:
    """Raise `DataError` if a file in `folder` is missing or its hash is not the stated one.

    Parameters
    ----------
    folder : Path
    stated : dict of str to str
        SHA-256 by name of file.
    advice : str
        How to mend it, for the message.
    """
    for name, hexadecimal in stated.items():
        if not is_unchanged(folder / name, hexadecimal):
            raise DataError(
                f"{folder / name} is missing or damaged (its SHA-256 is not that of what was written): "
                f"{advice}"
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a checksum of itself, which `read_json` verifies."""
    whole = content | {_CHECKSUM: _checksum(content)}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; one with a checksum is compared with it, and returned without it.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file is no JSON object, or its checksum is another.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    stated = content.pop(_CHECKSUM, None)
    if stated is not None and stated != _checksum(content):
        raise ValueError("its checksum is another: it was changed after it was written")
    return content


def _checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON object whose keys are sorted."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a Parquet table without its index, with a checksum of each page."""
    table.to_parquet(path, index=False, write_page_checksum=True)


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """Read a Parquet table and verify its checksums; `options` are those of `pandas.read_parquet`.

    Raises
    ------
    OSError, ValueError
        The file is missing or damaged.
    """
    try:
        return pd.read_parquet(path, page_checksum_verification=True, **options)
    except Exception as error:  # damaged metadata end in errors of any kind
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(" ".join(f"{type(error).__name__}: {error}".split())[:300]) from error


def write_netcdf(dataset: xr.Dataset, path: Path, **options: Any) -> None:
    """Write a NetCDF-3 file; `options` are those of `xarray.Dataset.to_netcdf`.

    An HDF5 file would hold the time of writing, and the same data other bytes.
    """
    # From memory: scipy cannot let go of a file on a full disk without a warning.
    path.write_bytes(dataset.to_netcdf(engine="scipy", **options))


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a NetCDF-3 file into memory.

    Raises
    ------
    OSError, ValueError
        The file is missing or damaged.
    """
    try:
        # From memory: scipy maps a file by its name and cannot let go of a damaged one without a warning.
        return xr.load_dataset(path.read_bytes(), engine="scipy")
    except (TypeError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
