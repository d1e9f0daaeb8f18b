"""Files -> bytes, with a bound on memory whatever the file claims."""

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

#: Most bytes of a file, unpacked.
MOST_BYTES = 2 * 10**9
#: Most bytes unpacked per packed byte: text of numbers has about 5, the most regular table below 100.
MOST_RATIO = 200
#: A file that is no larger than this unpacked is read whatever its ratio.
SMALL_BYTES = 10**7
PIECE = 2**20
#: First bytes of a compressed file -> the function that opens it.
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}

_lifted = False


@contextlib.contextmanager
def large(lift: bool = True) -> Iterator[None]:
    """Lift the bounds while the block runs, if `lift`, as the option ``--large`` of the commands asks."""
    global _lifted  # noqa: PLW0603 - an option for all files that a command reads, in any thread
    before, _lifted = _lifted, _lifted or lift
    try:
        yield
    finally:
        _lifted = before


def refuse(size: float, compressed_size: int, name) -> None:
    """Raise `DataError` if `size` bytes are too many to be unpacked from `compressed_size` bytes.

    Parameters
    ----------
    size : float
        Bytes unpacked, as far as they are known, or of the memory that is needed.
    compressed_size : int
        Bytes of the file, or of the member of an archive, as it is stored.
    name : str or Path
        For the message.

    Raises
    ------
    DataError
        The size is above `MOST_BYTES`, or above `MOST_RATIO` times the stored size and not small.
    """
    if size <= _most(compressed_size):
        return
    most = "2 GB" if size > MOST_BYTES else f"{MOST_RATIO} times its {compressed_size} bytes"
    raise DataError(f"{name} holds more than {most} unpacked: if that is right, read it with --large")


def refuse_irregular(path: Path) -> None:
    """Raise `UsageError` for a path that is no regular file: a folder, a pipe, a device, or nothing.

    Raises
    ------
    UsageError
        The message says what the path is.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist: give the path of a file")
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is {_kind(mode)}: give a regular file")


def content(path: Path) -> bytes:
    """Read a whole file; gzip, bzip2 and xz are unpacked, as their first bytes tell.

    Raises
    ------
    UsageError
        There is no such file, or it is a folder, a pipe or a device.
    DataError
        The file cannot be read, is damaged, or holds more than `refuse` allows.
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
    """Read a stream that unpacks while it is read, such as a member of a ZIP archive, to its end.

    Parameters
    ----------
    stream : binary stream or bytes
        Gives the unpacked bytes.
    compressed_size : int
        Bytes of the file or member as it is stored.
    name : str or Path
        For messages.

    Raises
    ------
    DataError
        The stream is damaged, or holds more than `refuse` allows.
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
    """Return how many bytes may be unpacked from so many."""
    return math.inf if _lifted else min(MOST_BYTES, max(SMALL_BYTES, MOST_RATIO * compressed_size))


def _kind(mode: int) -> str:
    """Return what a path is that is no regular file."""
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((kind for test, kind in kinds.items() if test(mode)), "a device")
