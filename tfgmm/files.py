"""Write whole or not at all; content hashes."""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from tfgmm.errors import DataError, UsageError


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `UsageError` if `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already: choose another name, or replace it with --overwrite")


@contextlib.contextmanager
def whole_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, and vanishes if it fails.

    Parameters
    ----------
    path : Path
        Where the folder shall stand.
    overwrite : bool
        Replace what stands there.

    Raises
    ------
    UsageError
        `path` exists and `overwrite` is false.
    DataError
        The file system refuses to write (full, read-only, ...).
    """
    refuse_existing(path, overwrite)
    temporary, replaced = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(replaced)  # removed last: there is no moment at which both could be lost
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file name that becomes `path` when the block ends, and vanishes if it fails.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
