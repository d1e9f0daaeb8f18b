"""Download files that need no account: one connection at a time, resumed after a break, and verified."""

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
from tfgmm.readers.common.sources import JMA

JMA_STATIONS = "code_p.zip"
RECORD = "fetched.json"
#: Longest time to connect, and longest time without a received byte, s.
TIMEOUT = (20.0, 60.0)
ATTEMPTS = 5
#: Longest pause between two attempts, s.
MAX_PAUSE = 60.0
CHUNK = 64 * 1024

#: Function called with the name of a file, the number of bytes received so far, and the total number of
#: bytes (None if the server does not say).
Progress = Callable[[str, int, int | None], None]


class _AbsentError(Exception):
    """Error raised where the server does not have the file."""


class _PassingError(Exception):
    """Error raised for a failure that may be over at the next attempt; ``wait`` is the time to wait, s."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def parse_years(text: str) -> list[int]:
    """Return the years of a text with years and ranges of years, sorted.

    Parameters
    ----------
    text : str
        Years from 1900 to 2099, separated by commas.

    Returns
    -------
    list of int
        Years, each once.

    Raises
    ------
    UsageError
        `text` is no list of years.

    Examples
    --------
    >>> parse_years("2010,2012-2014")
    [2010, 2012, 2013, 2014]
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
    """Fetch annual files and the station table of the Japan Meteorological Agency (JMA) into a folder.

    The annual files ``iYYYY.zip`` hold seismic intensities and peak accelerations. Complete files in the
    folder are not fetched again, and a partial download is resumed. The file ``fetched.json`` in the folder
    holds the address, size and SHA-256 hash of each file.

    Parameters
    ----------
    years : sequence of int
        Years to fetch.
    folder : Path
        Folder for the files; created if it does not exist.
    base : str
        Address of the folder on the server.
    pause : float
        Pause between files, and before the second attempt, s; doubled before each further attempt.
    timeout : (float, float)
        Longest time to connect, and longest time without a received byte, s.
    progress : callable, optional
        Function called with the name of the file and its bytes received and in all, see `Progress`.

    Returns
    -------
    list of Path
        The annual files in the order of `years` and, last, the station table ``code_p.dat``.

    Raises
    ------
    UsageError
        JMA has no file of one of the years; the files of the other years have been fetched.
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
    """Download of one ZIP file: fetched into a hidden partial file, verified, then renamed.

    Parameters
    ----------
    session : requests.Session
        Connection to the server.
    url : str
        Address of the file.
    path : Path
        Final path of the file; the partial file lies beside it.
    timeout : (float, float)
        Longest time to connect, and longest time without a received byte, s.
    progress : callable, optional
        Function called after each received block, see `Progress`.
    """

    def __init__(self, session, url: str, path: Path, timeout=TIMEOUT, progress: Progress | None = None):
        self.session, self.url, self.path, self.timeout = session, url, path, timeout
        self.part = path.with_name(f".{path.name}.part")
        self.progress = progress or (lambda *_: None)

    def run(self, pause: float) -> None:
        """Fetch the file unless a complete one is there, and add it to ``fetched.json``.

        Parameters
        ----------
        pause : float
            Pause after the file, and before the second attempt, s; doubled before each further attempt.

        Raises
        ------
        DataError
            The file cannot be fetched or is damaged after five attempts.
        """
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
        """Fetch the missing bytes into the partial file and verify it; raise `_PassingError` on failure."""
        try:
            self._receive()
        except requests.RequestException as error:
            raise _PassingError(_reason(error)) from error
        damage = _damage(self.part)
        if damage is not None:
            self.part.unlink()
            raise _PassingError(damage)

    def _receive(self) -> None:
        """Append the bytes that the server sends to the partial file, which may hold earlier ones."""
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
        """Raise an error if the answer of the server is no file: an error status, or a web page."""
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
    """Return in a few words why a request to the server failed."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _damage(path: Path) -> str | None:
    """Return a description of the damage to a ZIP file, or None if the file is complete."""
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
    """Extract a file from a ZIP archive into the folder of the archive, and return its path."""
    with zipfile.ZipFile(archive) as packed:
        members = [m for m in packed.infolist() if m.filename.rpartition("/")[2].lower() == name]
        if not members:
            raise DataError(f"{archive} holds no {name}, only {listed(packed.namelist())}")
        with packed.open(members[0]) as stream, files.whole_file(archive.with_name(name)) as temporary:
            temporary.write_bytes(bounded.expand(stream, members[0].compress_size, archive))
    return archive.with_name(name)


def _read_recorded(folder: Path) -> dict:
    """Return the entries of ``fetched.json`` by file name; empty if the file is missing or damaged."""
    try:
        return files.read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}


def _record(path: Path, url: str) -> None:
    """Add address, size (bytes) and SHA-256 hash of a file to ``fetched.json`` in its folder."""
    entry = {"url": url, "bytes": path.stat().st_size, "sha256": files.sha256(path)}
    entries = _read_recorded(path.parent) | {path.name: entry}
    with files.whole_file(path.parent / RECORD) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
