"""Files in folders and archives, also nested: read one after the other, in memory, never extracted."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfgmm import files
from tfgmm.errors import UsageError

#: Bytes of the largest file, and of the largest zip archive within another, that are read.
LARGEST_FILE, LARGEST_INNER_ZIP = 2**28, 2**31
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
    """The file, or all files in the folder and its folders, sorted.

    Raises
    ------
    UsageError
        There is nothing of that name.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: give a file, an archive (.tar, .tar.gz, .zip) or a folder"
        )
    return [path]


def members(path: Path) -> Iterator[Member]:
    """The file, or the files in the archive (``.tar``, ``.tar.gz``, ``.tgz``, ``.zip``).

    One member is in memory at a time. What a damaged archive holds before the damage is given.
    """
    return _members(path.name, lambda: path.open("rb"), 0)


def source(path: Path) -> dict:
    """Name and SHA-256 for the provenance.

    The hash of a folder is that of the text with one line a file, sorted by name: its hash, two blanks
    and its name from within the folder, as ``sha256sum`` prints it.
    """
    if not path.is_dir():
        return {"file": path.name, "sha256": files.sha256(path)}
    names = {file.relative_to(path).as_posix(): file for file in files_in(path)}
    listing = "".join(f"{files.sha256(file)}  {name}\n" for name, file in sorted(names.items()))
    digest = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return {"file": path.resolve().name, "sha256": digest, "files": len(names)}


def _members(name: str, opener: Callable[[], BinaryIO], depth: int) -> Iterator[Member]:
    name = "".join(c if c.isprintable() else "?" for c in name)
    unpack = next((unpack for suffix, unpack in ARCHIVES.items() if name.lower().endswith(suffix)), None)
    try:
        with opener() as stream:
            if unpack is None:
                yield Member(name, _read(stream, LARGEST_FILE))
            elif depth == DEEPEST:
                yield Member(name, problem=f"archives in archives are read down to the {DEEPEST}th")
            else:
                for inner, inner_opener in unpack(stream):
                    yield from _members(f"{name}/{inner}", inner_opener, depth + 1)
    except Exception as error:  # tarfile, zipfile, zlib, lzma, struct ...: the file is to blame
        yield Member(name, problem=" ".join(str(error).split()) or type(error).__name__)


def _read(stream: BinaryIO, largest: int) -> bytes:
    content = io.BytesIO()
    while piece := stream.read(PIECE):  # asked for all it may be, a stream reserves that much memory
        content.write(piece)
        if content.tell() > largest:
            raise ValueError(f"larger than {largest / 2**20:.0f} MiB")
    return content.getvalue()


class _StrictTarInfo(tarfile.TarInfo):
    """Damage is an error: by itself `tarfile` takes a header it cannot read for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged or cut ({error})") from error


def _tar(stream: BinaryIO) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_StrictTarInfo) as archive:
        while (member := archive.next()) is not None:
            if not member.isdir():
                yield member.name, lambda member=member: archive.extractfile(member)
            archive.members.clear()  # or it remembers every one


def _zip(stream: BinaryIO) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    on_disk = isinstance(getattr(stream, "raw", None), io.FileIO)  # else it may go forward only
    with zipfile.ZipFile(stream if on_disk else io.BytesIO(_read(stream, LARGEST_INNER_ZIP))) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, lambda member=member: archive.open(member)


ARCHIVES = {".tar": _tar, ".tar.gz": _tar, ".tgz": _tar, ".zip": _zip}
