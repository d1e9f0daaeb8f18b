"""Read files and unpack compressed data with a limit on memory, whatever size a file claims to have."""

import bz2
import contextlib
import gzip
import io
import lzma
import math
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfgmm.core.errors import DataError, UsageError

#: Largest number of bytes of a file after unpacking.
MOST_BYTES = 2 * 10**9
#: Largest number of unpacked bytes per packed byte: text of numbers has about 5, the most regular table
#: below 100.
MOST_RATIO = 200
#: Number of unpacked bytes up to which `MOST_RATIO` does not apply.
SMALL_BYTES = 10**7
PIECE = 2**20
#: Functions that open a compressed file, by the first bytes of the file.
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}

_lifted = False


@contextlib.contextmanager
def large(lift: bool = True) -> Iterator[None]:
    """Lift the limits on the size of files while the block runs, as the option ``--large`` asks.

    Parameters
    ----------
    lift : bool
        Whether the limits are lifted; if false, the block runs with the present limits.
    """
    global _lifted  # noqa: PLW0603 - an option for all files that a command reads, in any thread
    before, _lifted = _lifted, _lifted or lift
    try:
        yield
    finally:
        _lifted = before


def refuse(size: float, compressed_size: int, name) -> None:
    """Raise an error if data are too large after unpacking.

    Parameters
    ----------
    size : float
        Number of bytes after unpacking, as far as it is known, or number of bytes of memory needed.
    compressed_size : int
        Number of bytes of the packed data: a file, or a file in an archive.
    name : str or Path
        Name of the file, for the message.

    Raises
    ------
    DataError
        `size` is above `MOST_BYTES`, or above both `MOST_RATIO` times `compressed_size` and `SMALL_BYTES`.
    """
    if size <= _most(compressed_size):
        return
    most = "2 GB" if size > MOST_BYTES else f"{MOST_RATIO} times its {compressed_size} bytes"
    raise DataError(f"{name} holds more than {most} unpacked: if that is right, read it with --large")


def refuse_irregular(path: Path) -> None:
    """Raise an error if a path is no regular file: a folder, a pipe, a device, or missing.

    Parameters
    ----------
    path : Path
        Path to check.

    Raises
    ------
    UsageError
        The path is no regular file; the message says what it is.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist: give the path of a file")
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is {_kind(mode)}: give a regular file")


def content(path: Path) -> bytes:
    """Read a file and return all its bytes; gzip, bzip2 and xz are unpacked.

    The first bytes of the file, not its name, decide whether the file is compressed.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    bytes
        Unpacked content.

    Raises
    ------
    UsageError
        The file does not exist, or is a folder, a pipe or a device.
    DataError
        The file cannot be read, is damaged, or is too large after unpacking (`refuse`).
    """
    try:
        status = path.stat()
        refuse_irregular(path)
        with path.open("rb", buffering=0) as stream:  # a buffer would make a second copy
            start = stream.read(max(map(len, COMPRESSED)))
            stream.seek(0)
            opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), None)
            if opener is None:
                refuse(status.st_size, status.st_size, path)
                return stream.read() if status.st_size else expand(stream, 0, path)  # /proc says 0
            with opener(stream) as unpacked:
                return expand(unpacked, status.st_size, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path} does not exist: give the path of a file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def expand(stream: BinaryIO | bytes, compressed_size: int, name) -> bytes:
    """Read a stream of unpacked data, such as a file in a ZIP archive, to its end and return its bytes.

    Parameters
    ----------
    stream : binary stream or bytes
        Stream that yields the unpacked bytes.
    compressed_size : int
        Number of bytes of the packed data.
    name : str or Path
        Name of the file, for messages.

    Returns
    -------
    bytes
        Unpacked content.

    Raises
    ------
    DataError
        The stream is damaged, or too large after unpacking (`refuse`).
    """
    stream, whole = io.BytesIO(stream) if isinstance(stream, bytes) else stream, io.BytesIO()
    try:
        while piece := stream.read(PIECE):
            whole.write(piece)
            refuse(whole.tell(), compressed_size, name)
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        if getattr(error, "errno", None):  # of the file system; errors of bz2 and gzip have no number
            raise
        raise DataError(f"{name} is no whole compressed file ({error}): fetch it again") from error
    return whole.getvalue()


def _most(compressed_size: int) -> float:
    """Return the largest number of bytes that may be unpacked from `compressed_size` bytes."""
    return math.inf if _lifted else min(MOST_BYTES, max(SMALL_BYTES, MOST_RATIO * compressed_size))


def _kind(mode: int) -> str:
    """Return what a path is that is no regular file ("a folder", "a pipe", ...), from its mode bits."""
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((kind for test, kind in kinds.items() if test(mode)), "a device")
