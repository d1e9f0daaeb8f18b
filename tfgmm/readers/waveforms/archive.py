"""Files in folders and archives, also nested: read one after the other, in memory, never extracted."""

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

#: Bytes of the largest file, and of the largest zip archive within another, that are read; records of
#: NIED have less than 4 MB.
LARGEST_FILE, LARGEST_INNER_ZIP = 2**26, 2**31
#: Bytes of the largest header of a tar archive, which holds a long name.
LARGEST_HEADER = 2**20
PIECE = 2**16
DEEPEST = 4


@dataclasses.dataclass(frozen=True)
class Member:
    """A file: its `name`, with those of the archives it is in, and its `content`.

    Where `problem` is not empty the file, or the rest of the archive of that name, cannot be read.
    """

    name: str
    content: bytes = b""
    problem: str = ""


def files_in(path: Path) -> list[Path]:
    """Return the file, or all files in the folder and its folders, sorted.

    Raises
    ------
    UsageError
        There is nothing of that name, or it is a pipe, a socket or a device.
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
    """Read the file, or the files in the archive (`ARCHIVES`), one after the other.

    One member is in memory at a time. Members that are compressed themselves are unpacked. What a damaged
    archive holds before the damage is given; an archive of more than 200 times its size unpacked is not
    read to its end, unless `bounded.large` lifts that.
    """
    if not path.is_file():
        return iter([Member(path.name, problem="broken link, pipe, socket or device")])
    budget = _Budget(path.name, path.stat().st_size)
    return _members(path.name, lambda: path.open("rb"), 0, budget)


def source(path: Path) -> dict:
    """Return name and SHA-256 for the provenance.

    The hash of a folder is that of the text with one line a file, sorted by name: its hash, two blanks
    and its name from within the folder, as ``sha256sum`` prints it.
    """
    if not path.is_dir():
        return {"file": path.name, "sha256": files.sha256(path)}
    names = {file.relative_to(path).as_posix(): file for file in files_in(path) if file.is_file()}
    listing = "".join(f"{files.sha256(file)}  {name}\n" for name, file in sorted(names.items()))
    digest = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return {"file": path.resolve().name, "sha256": digest, "files": len(names)}


class _Budget:
    """Counts what is unpacked from one file, at all depths, and refuses too much."""

    def __init__(self, name: str, stored: int):
        self._name, self._stored, self._unpacked = name, stored, 0

    def spend(self, size: int) -> None:
        self._unpacked += size  # the members come one at a time: only the ratio matters
        bounded.refuse(min(self._unpacked, bounded.MOST_BYTES), self._stored, self._name)


def _members(name: str, opener: Callable[[], BinaryIO], depth: int, budget: _Budget) -> Iterator[Member]:
    name = "".join(c if c.isprintable() else "?" for c in name)
    unpack = next((unpack for suffix, unpack in ARCHIVES.items() if name.lower().endswith(suffix)), None)
    try:
        with opener() as stream:
            if unpack is None:
                yield Member(name, _uncompressed(_read(stream, LARGEST_FILE, budget), budget))
            elif depth == DEEPEST:
                yield Member(name, problem=f"archives in archives are read down to the {DEEPEST}th")
            else:
                for inner, inner_opener in unpack(stream, budget):
                    yield from _members(f"{name}/{inner}", inner_opener, depth + 1, budget)
    except Exception as error:  # tarfile, zipfile, zlib, lzma, struct ...: the file is to blame
        yield Member(name, problem=" ".join(str(error).split()) or type(error).__name__)


def _read(stream: BinaryIO, largest: int, budget: _Budget) -> bytes:
    content = io.BytesIO()
    while piece := stream.read(PIECE):  # asked for all it may be, a stream reserves that much memory
        content.write(piece)
        budget.spend(len(piece))
        if content.tell() > largest:
            raise ValueError(f"larger than {largest / 2**20:.0f} MiB")
    return content.getvalue()


def _uncompressed(content: bytes, budget: _Budget) -> bytes:
    """The content of a gzip, bzip2 or xz file; any other as it is."""
    opener = _decompressor(content)
    if opener is None:
        return content
    with opener(io.BytesIO(content)) as stream:
        return _read(stream, LARGEST_FILE, budget)


def _decompressor(start: bytes) -> Callable | None:
    return next((opener for magic, opener in bounded.COMPRESSED.items() if start.startswith(magic)), None)


class _Counted:
    """A stream for `tarfile`: what is read of it is counted, and it may not be read beyond its end.

    A header that claims a petabyte would else be skipped in pieces of nothing, for years.
    """

    def __init__(self, stream: BinaryIO, budget: _Budget):
        self._stream, self._budget, self._ends = stream, budget, 0

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._budget.spend(len(piece))
        self._ends += not piece
        if self._ends > 2:  # it looks for what follows the last member
            raise EOFError("cut, or a header claims more than there is")
        return piece


#: Types of headers that hold a name or attributes, which are read as a whole.
_NAME_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class _StrictTarInfo(tarfile.TarInfo):
    """Damage is an error: by itself `tarfile` takes a header it cannot read for the end."""

    @classmethod
    def frombuf(cls, *arguments) -> tarfile.TarInfo:
        info = super().frombuf(*arguments)
        if info.type in _NAME_TYPES and info.size > LARGEST_HEADER:
            raise tarfile.InvalidHeaderError(f"a header of {info.size} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged or cut ({error})") from error


def _tar(stream: BinaryIO, budget: _Budget) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    opener = _decompressor(buffered.peek(8))
    with (
        opener(buffered) if opener else buffered as unpacked,
        tarfile.open(fileobj=_Counted(unpacked, budget), mode="r|", tarinfo=_StrictTarInfo) as archive,
    ):
        while (member := archive.next()) is not None:
            if not member.isdir():
                yield member.name, lambda member=member: _regular(archive, member)
            archive.members.clear()  # or it remembers every one


def _regular(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    """The content of a member that is a file, all of which is in the archive."""
    if not member.isreg() or member.issparse():
        raise ValueError("no plain file, but a link, a device or a sparse file")
    return archive.extractfile(member)


def _zip(stream: BinaryIO, budget: _Budget) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    on_disk = isinstance(getattr(stream, "raw", None), io.FileIO)  # else it may go forward only
    whole = stream if on_disk else io.BytesIO(_read(stream, LARGEST_INNER_ZIP, budget))
    with zipfile.ZipFile(whole) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, lambda member=member: archive.open(member)


ARCHIVES = {
    ".tar": _tar,
    ".tar.gz": _tar,
    ".tgz": _tar,
    ".tar.bz2": _tar,
    ".tbz2": _tar,
    ".tar.xz": _tar,
    ".txz": _tar,
    ".zip": _zip,
}
