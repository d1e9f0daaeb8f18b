"""Write files completely or not at all, remove leftovers of killed processes, and verify checksums."""

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

#: Beginning of the names of temporary files and of leases (lock files), which are no results.
PREFIX = ".tfgmm-"
#: Name of the folder that holds complete files until `whole_files` has moved them to their final paths.
PENDING = PREFIX + "pending"
#: Names of temporary files and folders: host, process id, start time of the process in s, random digits.
_TEMPORARY = re.compile(r"\.tfgmm-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.(.*)", re.DOTALL)
#: Age, in s, from which a temporary file of another machine is taken for a leftover.
_FORSAKEN_S = 86_400
#: Largest difference, in s, between two readings of the start time of the same process.
_CLOCK_S = 10
_CHECKSUM = "checksum"


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise an error if something exists at a path and may not be replaced.

    Parameters
    ----------
    path : Path
        Path of the file or folder that will be written.
    overwrite : bool
        Whether an existing file or folder may be replaced.

    Raises
    ------
    UsageError
        `overwrite` is false and `path` exists; an empty folder raises no error (`is_vacant`).
    """
    if is_vacant(path) or overwrite:
        return
    raise UsageError(f"{path} exists already: choose another name, or replace it with --overwrite")


def is_vacant(path: Path) -> bool:
    """Return True if nothing exists at a path, or only a folder without results.

    Parameters
    ----------
    path : Path
        Path to check.

    Returns
    -------
    bool
        True also for a folder that holds nothing but temporary files and leases. A folder with files of an
        unfinished `whole_files` is not vacant.
    """
    if path.is_dir():
        names = {inside.name for inside in path.iterdir()}
        return PENDING not in names and all(name.startswith(PREFIX) for name in names)
    return not os.path.lexists(path)


@contextlib.contextmanager
def whole_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` when the block ends without an error.

    If the block fails, the temporary folder is deleted. With `overwrite` all former content of `path` is
    deleted, so this function is for folders that tfgmm alone fills. For a folder that a user names, use
    `whole_files`.

    Parameters
    ----------
    path : Path
        Final path of the folder; a symbolic link is followed.
    overwrite : bool
        Whether an existing folder is replaced.

    Yields
    ------
    Path
        The temporary folder, which lies beside the final path.

    Raises
    ------
    UsageError
        `path` exists and `overwrite` is false.
    DataError
        The file system refuses to write (full, read-only, ...); or `overwrite` is false and another process
        has created `path` in the meantime, which then stays as it is.
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
    """Yield a temporary folder, and move all its files into `folder` when the block ends without an error.

    If the block fails, `folder` stays unchanged. Files of the same name are replaced, also through symbolic
    links; all other files in `folder` stay. If the process is killed while it moves the files, the next
    call of `finish_moves` moves the remaining ones.

    Parameters
    ----------
    folder : Path
        Folder that receives the files; created if it does not exist.

    Yields
    ------
    Path
        The temporary folder.

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
    """Move the files that an interrupted `whole_files` has left behind to their final paths in `folder`.

    Parameters
    ----------
    folder : Path
        Folder that was being written; if no such file is left, nothing is done.

    Raises
    ------
    OSError
        The file system refuses to move a file.
    """
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
    """Replace the file `target` by the file `path`, also if `target` lies on another file system."""
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
    """Yield the path of a temporary file that replaces `path` when the block ends without an error.

    If the block fails, the temporary file is deleted and `path` stays unchanged.

    Parameters
    ----------
    path : Path
        Final path of the file; a symbolic link is followed, and missing folders are created.

    Yields
    ------
    Path
        Path of the temporary file, which the block must write.

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
    """Turn each `OSError` that the block raises into a `DataError` with a message on one line."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise DataError(f"cannot write {_final_path(path)}: {reason}") from error


# ---- temporary files and their owners --------------------------------------------------------------


def _temporary(target: Path) -> Path:
    """Return a temporary path beside `target`, named by host, process id and start of this process."""
    started = int(psutil.Process().create_time())
    owner = f"{_host()}-{os.getpid()}-{started}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f"{PREFIX}{owner}.{target.name}")


def _final_path(path: Path) -> Path:
    """Return the final path of a temporary file, or of a file in a temporary folder, for messages."""
    names = [_TEMPORARY.sub(r"\4", part) for part in path.parts]
    return Path(*(name for name in names if name != PENDING))


def _host() -> str:
    """Return eight hexadecimal digits that identify this machine, from the hash of its host name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that processes which have ended left behind in a folder.

    Temporary files of another machine are removed once they are a day old.

    Parameters
    ----------
    folder : Path
        Folder to clear; its subfolders are not searched.
    """
    for path in folder.glob(PREFIX + "*"):
        made_by = _TEMPORARY.fullmatch(path.name)
        if made_by is None or _is_at_work(path, *made_by.groups()[:3]):
            continue
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all its content; errors of the file system are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_at_work(path: Path, host: str, pid: str, started: str) -> bool:
    """Return True if the process that created a temporary file may still be writing it.

    Host, process id and start time (s) of the process are texts from the name of the file.
    """
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
    """Return the SHA-256 hash of the bytes of a file as 64 hexadecimal digits.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    str
        The hash.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_unchanged(path: Path, hexadecimal: str) -> bool:
    """Return True if a file exists and has the given SHA-256 hash.

    Parameters
    ----------
    path : Path
        File to check.
    hexadecimal : str
        Expected hash, 64 hexadecimal digits.

    Returns
    -------
    bool
        False if the file is missing or its bytes have changed.
    """
    return path.is_file() and sha256(path) == hexadecimal


def refuse_changed(folder: Path, stated: dict[str, str], advice: str) -> None:
    """Raise an error if a file of a folder is missing or does not have the SHA-256 hash noted for it.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    stated : dict of str to str
        Expected SHA-256 hash, hexadecimal, by file name.
    advice : str
        What the user can do about the error, for the message.

    Raises
    ------
    DataError
        A file is missing, or its hash is a different one.
    """
    for name, hexadecimal in stated.items():
        if not is_unchanged(folder / name, hexadecimal):
            raise DataError(
                f"{folder / name} is missing or damaged (its SHA-256 is not that of what was written): "
                f"{advice}"
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object to a file, together with a checksum of its content that `read_json` verifies.

    Parameters
    ----------
    path : Path
        File to write.
    content : dict
        JSON object; the checksum is written under the additional key ``checksum``.
    """
    whole = content | {_CHECKSUM: _checksum(content)}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file, verify its checksum if it has one, and return the object without it.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    dict
        The JSON object without the checksum.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file holds no JSON object, or the content does not match the checksum.
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
    """Return the SHA-256 hash, in hexadecimal digits, of a JSON object written with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table to a Parquet file, without its index and with a checksum for each page.

    Parameters
    ----------
    table : pandas.DataFrame
        Table to write.
    path : Path
        File to write.
    """
    table.to_parquet(path, index=False, write_page_checksum=True)


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table from a Parquet file, and verify the checksums of its pages.

    Parameters
    ----------
    path : Path
        File to read.
    **options
        Options of `pandas.read_parquet`.

    Returns
    -------
    pandas.DataFrame
        The table.

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
    """Write an xarray dataset to a NetCDF-3 file.

    The format is not NetCDF-4, because an HDF5 file contains the time of writing: equal data would not give
    equal bytes.

    Parameters
    ----------
    dataset : xarray.Dataset
        Data to write.
    path : Path
        File to write.
    **options
        Options of `xarray.Dataset.to_netcdf`.
    """
    # From memory: scipy cannot let go of a file on a full disk without a warning.
    path.write_bytes(dataset.to_netcdf(engine="scipy", **options))


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a NetCDF-3 file into memory, and return its content as an xarray dataset.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    xarray.Dataset
        The content of the file.

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
