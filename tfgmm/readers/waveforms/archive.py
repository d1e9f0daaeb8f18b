"""Read files in folders and nested archives one after the other in memory; nothing is extracted to disk."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.readers.common import bounded

#: Largest size, in bytes, of a file that is read, and of a zip archive within another archive; records of
#: NIED have less than 4 MB.
LARGEST_FILE, LARGEST_INNER_ZIP = 2**26, 2**31
#: Largest size, in bytes, of a header with a long name in a tar archive.
LARGEST_HEADER = 2**20
PIECE = 2**16
DEEPEST = 4


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a folder or archive.

    Attributes
    ----------
    name : str
        Names of the archives around the file, and the name of the file, with slashes between them.
    content : bytes
        Content of the file; empty where the file cannot be read.
    problem : str
        Reason why the file, or the rest of an archive of this name, cannot be read; empty without a
        problem.
    """

    name: str
    content: bytes = b""
    problem: str = ""


def files_in(path: Path) -> list[Path]:
    """Return the paths of all files in a folder and its subfolders, sorted, or the path of a single file.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Raises
    ------
    UsageError
        The path does not exist, or is a pipe, a socket or a device.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if not file.is_dir())
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: give a file, an archive (.tar, .tar.gz, .zip) or a folder"
        )
    if not path.is_file():
        raise UsageError(f"{path} is a pipe, a socket or a device: give a regular file or a folder")
    return [path]


def members(path: Path) -> Iterator[Member]:
    """Read a single file, or the files in an archive one after the other.

    Parameters
    ----------
    path : Path
        A file. A name with an ending in `ARCHIVES` is an archive.

    Yields
    ------
    Member
        Name and content of a file, or the reason why it cannot be read.

    Notes
    -----
    One member is in memory at a time. Compressed members are unpacked. A damaged archive is read up to
    the damage. Reading ends where the unpacked size exceeds 200 times the size of the archive, unless
    `bounded.large` lifts this limit.
    """
    if not path.is_file():
        return iter([Member(path.name, problem="broken link, pipe, socket or device")])
    budget = _Budget(path.name, path.stat().st_size)
    return _read_members(path.name, lambda: path.open("rb"), 0, budget)


def describe(path: Path) -> dict:
    """Return name and SHA-256 of a file or folder, for the provenance.

    The hash of a folder is the hash of a text with one line per file, sorted by name: the hash of the
    file, two blanks and its path within the folder, as ``sha256sum`` prints it.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Returns
    -------
    dict
        ``file``, the name; ``sha256``; and for a folder ``files``, the number of files in it.
    """
    if not path.is_dir():
        return {"file": path.name, "sha256": files.sha256(path)}
    names = {file.relative_to(path).as_posix(): file for file in files_in(path) if file.is_file()}
    listing = "".join(f"{files.sha256(file)}  {name}\n" for name, file in sorted(names.items()))
    digest = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return {"file": path.resolve().name, "sha256": digest, "files": len(names)}


class _Budget:
    """Counts the bytes unpacked from one file and from the archives within it, up to a limit."""

    def __init__(self, name: str, stored: int):
        self._name, self._stored, self._unpacked = name, stored, 0

    def spend(self, size: int) -> None:
        """Count `size` unpacked bytes; raise `DataError` if the sum is too large for the file's size."""
        self._unpacked += size  # one member is in memory at a time: only the ratio matters
        bounded.refuse(min(self._unpacked, bounded.MOST_BYTES), self._stored, self._name)


def _read_members(
    name: str, opener: Callable[[], BinaryIO], depth: int, budget: _Budget
) -> Iterator[Member]:
    """Yield a file as a member, or the files of an archive and of the archives within it."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    unpack = next((unpack for suffix, unpack in ARCHIVES.items() if name.lower().endswith(suffix)), None)
    try:
        with opener() as stream:
            if unpack is None:
                yield Member(name, _uncompress(_read_stream(stream, LARGEST_FILE, budget), budget))
            elif depth == DEEPEST:
                yield Member(name, problem=f"archives in archives are read down to the {DEEPEST}th")
            else:
                for inner, inner_opener in unpack(stream, budget):
                    yield from _read_members(f"{name}/{inner}", inner_opener, depth + 1, budget)
    except Exception as error:  # tarfile, zipfile, zlib, lzma, struct ...: the file is to blame
        yield Member(name, problem=" ".join(str(error).split()) or type(error).__name__)


def _read_stream(stream: BinaryIO, largest: int, budget: _Budget) -> bytes:
    """Return the content of a stream; raise `ValueError` if it has more than `largest` bytes."""
    content = io.BytesIO()
    # In pieces: a stream that is asked for `largest` bytes reserves that much memory.
    while piece := stream.read(PIECE):
        content.write(piece)
        budget.spend(len(piece))
        if content.tell() > largest:
            raise ValueError(f"larger than {largest / 2**20:.0f} MiB")
    return content.getvalue()


def _uncompress(content: bytes, budget: _Budget) -> bytes:
    """Return the unpacked content of a gzip, bzip2 or xz file, and any other content unchanged."""
    opener = _find_decompressor(content)
    if opener is None:
        return content
    with opener(io.BytesIO(content)) as stream:
        return _read_stream(stream, LARGEST_FILE, budget)


def _find_decompressor(start: bytes) -> Callable | None:
    """Return the function that opens a compressed file with the given first bytes, or None."""
    return next((opener for magic, opener in bounded.COMPRESSED.items() if start.startswith(magic)), None)


class _Counted:
    """A stream for `tarfile` that counts the bytes read, and fails where it is read beyond its end.

    Without this class, `tarfile` would spend years skipping, in empty pieces, the petabyte that a damaged
    header claims.
    """

    def __init__(self, stream: BinaryIO, budget: _Budget):
        self._stream, self._budget, self._ends = stream, budget, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes of the stream, at most `size`; raise `EOFError` beyond its end."""
        piece = self._stream.read(size)
        self._budget.spend(len(piece))
        self._ends += not piece
        if self._ends > 2:  # tarfile reads beyond the last member twice
            raise EOFError("cut, or a header claims more than there is")
        return piece


#: Types of headers with a long name or attributes, which `tarfile` reads as a whole.
_NAME_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class _StrictTarInfo(tarfile.TarInfo):
    """Headers of a tar archive; a damaged header raises an error instead of ending the archive."""

    @classmethod
    def frombuf(cls, *arguments) -> tarfile.TarInfo:
        """Return a header, or raise `InvalidHeaderError` for a name that would fill the memory."""
        info = super().frombuf(*arguments)
        if info.type in _NAME_TYPES and info.size > LARGEST_HEADER:
            raise tarfile.InvalidHeaderError(f"a header of {info.size} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Return the next header, or raise `ReadError` if the header is damaged."""
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged or cut ({error})") from error


def _walk_tar(stream: BinaryIO, budget: _Budget) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Yield (name, function that opens the member for reading) for each file in a tar archive.

    Parameters
    ----------
    stream : BinaryIO
        The archive, compressed or not.
    budget : _Budget
        Counts the unpacked bytes.
    """
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    opener = _find_decompressor(buffered.peek(8))
    with (
        opener(buffered) if opener else buffered as unpacked,
        tarfile.open(fileobj=_Counted(unpacked, budget), mode="r|", tarinfo=_StrictTarInfo) as archive,
    ):
        while (member := archive.next()) is not None:
            if not member.isdir():
                yield member.name, lambda member=member: _open_regular(archive, member)
            archive.members.clear()  # this list would otherwise grow with every member


def _open_regular(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    """Return a member of a tar archive opened for reading; raise `ValueError` if it is no regular file."""
    if not member.isreg() or member.issparse():
        raise ValueError("no plain file, but a link, a device or a sparse file")
    return archive.extractfile(member)


def _walk_zip(stream: BinaryIO, budget: _Budget) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Yield (name, function that opens the member for reading) for each file in a zip archive.

    Parameters
    ----------
    stream : BinaryIO
        The archive; an archive within another archive is first read into memory.
    budget : _Budget
        Counts the bytes read from an archive within another archive.
    """
    # A stream from within another archive can only be read forward, but zipfile needs to seek.
    on_disk = isinstance(getattr(stream, "raw", None), io.FileIO)
    whole = stream if on_disk else io.BytesIO(_read_stream(stream, LARGEST_INNER_ZIP, budget))
    with zipfile.ZipFile(whole) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, lambda member=member: archive.open(member)


ARCHIVES = {
    ".tar": _walk_tar,
    ".tar.gz": _walk_tar,
    ".tgz": _walk_tar,
    ".tar.bz2": _walk_tar,
    ".tbz2": _walk_tar,
    ".tar.xz": _walk_tar,
    ".txz": _walk_tar,
    ".zip": _walk_zip,
}
