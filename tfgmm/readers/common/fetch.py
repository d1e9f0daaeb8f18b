"""Downloads of files that are free without an account: one connection, resumed, verified."""

import json
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.readers.common import bounded

#: Annual intensity and acceleration files of the Japan Meteorological Agency.
JMA = "https://www.data.jma.go.jp/eqev/data/bulletin/data/shindo/"
JMA_STATIONS = "code_p.zip"
RECORD = "fetched.json"
#: Seconds to connect, and without a byte.
TIMEOUT = (20.0, 60.0)
ATTEMPTS = 5
#: Longest wait between two attempts, s.
MAX_PAUSE = 60.0
CHUNK = 64 * 1024

#: Sources that `tfgmm fetch` cannot fetch, for its help and the docs.
ACCOUNTS = """\
Sources that ask you to sign in:

K-NET, KiK-net (NIED): register at https://hinetwww11.bosai.go.jp/nied/registration/ (free), then
https://www.kyoshin.bosai.go.jp/ > Download > Data Download: choose events, take K-NET ASCII. Then
tfgmm import nied-ascii.

MeSO-net (NIED): the same account, at https://www.hinet.bosai.go.jp/ > Data: choose the network
MeSO-net and a time window, take WIN32 files and the channel table. Then tfgmm import mesonet.

KiK-net flatfile (Bahrampouri et al., 2021): https://doi.org/10.17603/ds2-e0ts-c070 (DesignSafe,
PRJ-2547): take attributes.csv and the HDF5 file of spectra. Then tfgmm import kiknet-flatfile.

Site layers of Japan (J-SHIS, NIED): https://www.j-shis.bosai.go.jp/ > Download: deep structure
D-V4-STRUCT_DEEP-LYRD.zip, surface Z-V4-JAPAN-AMP-VS400_M250.zip; agree to the terms. Then
tfgmm import bedrock and tfgmm import vs30."""

#: Called with a file's name, its bytes so far and in all (None where the server does not say).
Progress = Callable[[str, int, int | None], None]


class _AbsentError(Exception):
    """Raised where the server has no such file."""


class _PassingError(Exception):
    """Raised for a trouble that may be over at the next attempt."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def parse_years(text: str) -> list[int]:
    """Return the years of a list with ranges.

    >>> parse_years("2010,2012-2014")
    [2010, 2012, 2013, 2014]

    Raises
    ------
    UsageError
        `text` is no list of years.
    """
    years: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*((?:19|20)\d\d)(?:-((?:19|20)\d\d))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--years {text}: write years and ranges, as 2010,2012-2018")
        years.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(years)


def fetch_jma(
    years: Sequence[int],
    folder: Path,
    *,
    base: str = JMA,
    pause: float = 1.0,
    timeout: tuple[float, float] = TIMEOUT,
    progress: Progress | None = None,
) -> list[Path]:
    """Fetch annual files ``iYYYY.zip`` and the station table of the Japan Meteorological Agency.

    Files that are there and whole are not fetched again; a partial download goes on where it
    stopped. ``fetched.json`` in the folder names address, size and SHA-256 of each file.

    Parameters
    ----------
    years : sequence of int
    folder : Path
        Made if need be.
    base : str
        Address of the folder on the server.
    pause : float
        Seconds between files, and before the second attempt; doubled before each one after.
    timeout : (float, float)
        Seconds to connect, and without a byte.
    progress : callable, optional
        Called with a file's name, its bytes so far and in all, as `Progress`.

    Returns
    -------
    list of Path
        The annual files and, last, ``code_p.dat``.

    Raises
    ------
    UsageError
        The agency has no file of one of the years; the others have been fetched.
    DataError
        A file cannot be fetched or is damaged after five attempts, or cannot be written.
    """
    names = [*(f"i{year}.zip" for year in years), JMA_STATIONS]
    absent = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with requests.Session() as session:
            session.headers.update({"User-Agent": "tfgmm", "Accept-Encoding": "identity"})
            for name in names:
                download = Download(
                    session, base.rstrip("/") + "/" + name, folder / name, timeout, progress
                )
                try:
                    download.run(pause)
                except _AbsentError:
                    absent.append(name)
        if JMA_STATIONS not in absent:
            stations = _unpack(folder / JMA_STATIONS, "code_p.dat")
    except OSError as error:
        raise DataError(f"cannot write into {folder}: {error.strerror or error}") from error
    if absent:
        raise UsageError(
            f"{base} has no {listed(absent)}: leave these years out of --years "
            f"(the other files are in {folder})"
        )
    return [*(folder / name for name in names[:-1]), stations]


class Download:
    """A file to download: fetched into a hidden part beside it, verified, then renamed."""

    def __init__(self, session, url: str, path: Path, timeout=TIMEOUT, progress: Progress | None = None):
        self.session, self.url, self.path, self.timeout = session, url, path, timeout
        self.part = path.with_name(f".{path.name}.part")
        self.progress = progress or (lambda *_: None)

    def run(self, pause: float) -> None:
        """Fetch the file if it is not there and whole."""
        if self.path.is_file() and _damage(self.path) is None:
            if _read_recorded(self.path.parent).get(self.path.name, {}).get("sha256") != files.sha256(
                self.path
            ):
                _record(self.path, self.url)
            return
        for attempt in range(ATTEMPTS):
            try:
                self._attempt()
                break
            except _PassingError as error:
                if attempt + 1 == ATTEMPTS:
                    raise DataError(
                        f"{self.url}: {error}, {ATTEMPTS} times: try again later, the same command goes on"
                    ) from error
                time.sleep(min(max(pause * 2**attempt, error.wait), MAX_PAUSE))
        self.part.replace(self.path)
        _record(self.path, self.url)
        time.sleep(pause)

    def _attempt(self) -> None:
        """Fetch the bytes that the part lacks; the part is whole and verified when this returns."""
        try:
            self._receive()
        except requests.RequestException as error:
            raise _PassingError(_reason(error)) from error
        damage = _damage(self.part)
        if damage is not None:
            self.part.unlink()
            raise _PassingError(damage)

    def _receive(self) -> None:
        """Add the bytes that the server sends to the part."""
        done = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Range": f"bytes={done}-"} if done else {}
        with self.session.get(self.url, headers=headers, stream=True, timeout=self.timeout) as response:
            self._refuse(response)
            if response.status_code == 416:  # nothing is left to fetch
                if response.headers.get("Content-Range") != f"bytes */{done}":
                    self.part.unlink()
                    raise _PassingError("the partial download here was of another file")
                return
            resumed = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if not (response.status_code == 206 and resumed and int(resumed[1]) == done):
                if response.status_code == 206:
                    raise _PassingError("the server sent another part than was asked for")
                done = 0
            length = response.headers.get("Content-Length", "")
            total = done + int(length) if length.isdigit() else None
            with self.part.open("ab" if done else "wb") as stream:
                for block in response.iter_content(CHUNK):
                    stream.write(block)
                    done += len(block)
                    self.progress(self.path.name, done, total)

    def _refuse(self, response: requests.Response) -> None:
        """Raise an error for an answer that is no file."""
        status = response.status_code
        if status == 404:
            raise _AbsentError
        if status in (408, 429) or status >= 500:
            wait = response.headers.get("Retry-After", "")
            raise _PassingError(f"the server answers {status}", float(wait) if wait.isdigit() else 0.0)
        if status >= 400 and status != 416:
            raise DataError(
                f"{self.url}: the server answers {status} {response.reason}: look at it in a browser"
            )
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(
                f"{self.url}: the server sent a web page instead of a file: look at it in a browser"
            )


def _reason(error: requests.RequestException) -> str:
    """Return in a few words why a request failed."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _damage(path: Path) -> str | None:
    """Return what is wrong with a ZIP file; None where it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
            return None if member is None else f"{member} in it is damaged"
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        zlib.error,
    ) as error:
        return f"what the server sent is no whole ZIP file ({error})"


def _unpack(archive: Path, name: str) -> Path:
    """Write a member of a ZIP file beside the file, and return its path."""
    with zipfile.ZipFile(archive) as packed:
        members = [m for m in packed.infolist() if m.filename.rpartition("/")[2].lower() == name]
        if not members:
            raise DataError(f"{archive} holds no {name}, only {listed(packed.namelist())}")
        with packed.open(members[0]) as stream, files.whole_file(archive.with_name(name)) as temporary:
            temporary.write_bytes(bounded.expand(stream, members[0].compress_size, archive))
    return archive.with_name(name)


def _read_recorded(folder: Path) -> dict:
    """Return the entries of ``fetched.json``, none where it is not there or damaged."""
    try:
        return files.read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}


def _record(path: Path, url: str) -> None:
    """Add a file to ``fetched.json``."""
    entry = {"url": url, "bytes": path.stat().st_size, "sha256": files.sha256(path)}
    entries = _read_recorded(path.parent) | {path.name: entry}
    with files.whole_file(path.parent / RECORD) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
