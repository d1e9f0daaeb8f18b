"""Downloads, from a local server that also fails, stalls and lies."""

import io
import json
import re
import threading
import zipfile
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common import fetch


def archive(name: str, size: int = 300_000, seed: int = 0) -> bytes:
    """A ZIP file that does not shrink: several blocks long."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(name, np.random.default_rng(seed).bytes(size))
    return stream.getvalue()


CONTENT = {
    "i2017.zip": archive("i2017.dat", seed=1),
    "i2018.zip": archive("i2018.dat", seed=2),
    "code_p.zip": archive("code_p.dat", 1000),
}
HALF = 2 * fetch.CHUNK


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`; takes the next of `faults` at each request, and keeps the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests, self.released = [], [], threading.Event()
        self.base = f"http://127.0.0.1:{self.server_address[1]}/shindo/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rpartition("/")[2]
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        body = CONTENT.get(name)
        if body is None:
            return self.answer(404, b"<html>", {"Content-Type": "text/html"})
        if fault.isdigit():
            return self.answer(int(fault), b"busy", {"Retry-After": "0"})
        if fault == "page":
            return self.answer(
                200, b"<html>maintenance</html>", {"Content-Type": "text/html; charset=utf-8"}
            )
        if fault == "rubbish":
            return self.answer(200, b"rubbish" * 1000)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fault != "no range" else 0
        if start >= len(body):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        if fault == "wrong range":
            headers["Content-Range"] = f"bytes 7-{len(body) - 1}/{len(body)}"
        claimed = {"short": len(body) - start - 1000}.get(fault, len(body) - start)
        sent = body[start : start + HALF] if fault in ("cut", "stall") else body[start : start + claimed]
        self.answer(206 if start else 200, sent, headers, claimed)
        if fault == "stall":
            self.wfile.flush()
            self.server.released.wait(20)

    def answer(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def get(server, tmp_path):
    def _get(*years, **options):
        options = {"base": server.base, "pause": 0.0, "timeout": (5.0, 20.0), **options}
        return fetch.fetch_jma(years, tmp_path, **options)

    return _get


def whole(folder, *names):
    """The files are the server's, and nothing else is left."""
    kept = {path.name for path in folder.iterdir()}
    assert kept == {*names, "code_p.zip", "code_p.dat", "fetched.json"}
    return all((folder / name).read_bytes() == CONTENT[name] for name in (*names, "code_p.zip"))


def test_years_and_stations(get, server, tmp_path):
    seen = []
    found = get(2017, 2018, progress=lambda *what: seen.append(what))
    assert [path.name for path in found] == ["i2017.zip", "i2018.zip", "code_p.dat"]
    assert whole(tmp_path, "i2017.zip", "i2018.zip")
    with zipfile.ZipFile(io.BytesIO(CONTENT["code_p.zip"])) as packed:
        assert found[-1].read_bytes() == packed.read("code_p.dat")
    entries = json.loads((tmp_path / "fetched.json").read_text())
    assert entries["i2018.zip"] == {
        "url": server.base + "i2018.zip",
        "bytes": len(CONTENT["i2018.zip"]),
        "sha256": sha256(CONTENT["i2018.zip"]).hexdigest(),
    }
    done = [done for name, done, _ in seen if name == "i2018.zip"]
    assert done == sorted(done) and done[-1] == len(CONTENT["i2018.zip"]) and len(done) > 3
    assert {total for name, _, total in seen if name == "i2018.zip"} == {len(CONTENT["i2018.zip"])}


def test_good_files_are_not_fetched_again(get, server, tmp_path):
    (tmp_path / "i2017.zip").write_bytes(CONTENT["i2017.zip"])  # brought by the user
    (tmp_path / "i2018.zip").write_bytes(CONTENT["i2018.zip"][:-9])
    get(2017, 2018)
    assert [name for name, _ in server.requests] == ["i2018.zip", "code_p.zip"]
    assert set(json.loads((tmp_path / "fetched.json").read_text())) == {
        "i2017.zip",
        "i2018.zip",
        "code_p.zip",
    }
    get(2017, 2018)
    assert len(server.requests) == 2 and whole(tmp_path, "i2017.zip", "i2018.zip")


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        (["503", "429", "500"], [None] * 4),
        (["cut"], [None, f"bytes={HALF}-"]),
        (["cut", "503", "no range"], [None, *[f"bytes={HALF}-"] * 2]),
        (["cut", "wrong range"], [None, *[f"bytes={HALF}-"] * 2]),
        (["short"], [None, None]),
        (["rubbish"], [None, None]),
    ],
)
def test_faults_that_pass(get, server, tmp_path, faults, ranges):
    server.faults = list(faults)
    get(2018)
    assert whole(tmp_path, "i2018.zip")
    assert [asked for name, asked in server.requests if name == "i2018.zip"] == ranges


def test_a_server_that_stalls(get, server, tmp_path):
    server.faults = ["stall"]
    get(2018, timeout=(5.0, 0.5))
    assert server.requests[:2] == [("i2018.zip", None), ("i2018.zip", f"bytes={HALF}-")]
    assert whole(tmp_path, "i2018.zip")


def test_an_interrupted_download_goes_on(get, server, tmp_path):
    (tmp_path / ".i2018.zip.part").write_bytes(CONTENT["i2018.zip"][:1234])
    get(2018)
    assert server.requests[0] == ("i2018.zip", "bytes=1234-") and whole(tmp_path, "i2018.zip")


@pytest.mark.parametrize(
    "start", [CONTENT["i2018.zip"], CONTENT["i2017.zip"][:HALF], CONTENT["i2018.zip"] * 2]
)
def test_a_part_that_is_whole_or_of_another_file(get, tmp_path, start):
    (tmp_path / ".i2018.zip.part").write_bytes(start)
    get(2018)
    assert whole(tmp_path, "i2018.zip")


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        (
            "503",
            5,
            r"i2018\.zip: the server answers 503, 5 times: try again later, the same command goes on",
        ),
        ("rubbish", 5, r"i2018\.zip: what the server sent is no whole ZIP file \(.*\), 5 times"),
        ("403", 1, r"i2018\.zip: the server answers 403 Forbidden: look at it in a browser"),
        ("page", 1, r"i2018\.zip: the server sent a web page instead of a file"),
    ],
)
def test_faults_that_stay(get, server, tmp_path, fault, requests, message):
    server.faults = [fault] * 10
    with pytest.raises(DataError, match=message):
        get(2018)
    assert not (tmp_path / "i2018.zip").exists()
    assert len([name for name, _ in server.requests if name == "i2018.zip"]) == requests


def test_a_year_that_is_not_there(get, tmp_path):
    message = r"has no i2011\.zip, i2016\.zip: leave these years out of --years \(the other files are in"
    with pytest.raises(UsageError, match=message):
        get(2011, 2016, 2018)
    assert whole(tmp_path, "i2018.zip")


def test_no_server(get, server):
    with pytest.raises(DataError, match=r"i2018\.zip: no connection, 5 times"):
        get(2018, base="http://127.0.0.1:1/")


def test_waits_grow_and_end(monkeypatch, get, server):
    waits = []
    monkeypatch.setattr(fetch.time, "sleep", waits.append)
    server.faults = ["503"] * 4
    get(2018, pause=10.0)
    assert waits == [10, 20, 40, 60, 10, 10]  # four waits, and one after each file


def test_a_folder_that_cannot_be_written(get, server, tmp_path):
    (tmp_path / ".i2018.zip.part").mkdir()
    with pytest.raises(DataError, match="cannot write into"):
        get(2018)


@pytest.mark.parametrize("text", ["", "12", "2018-2012", "2012-", "2012..2018", "2012;2013", "31000"])
def test_years_that_are_none(text):
    with pytest.raises(UsageError, match="--years .*: write years and ranges, as 2010,2012-2018"):
        fetch.parse_years(text)


def test_years():
    assert fetch.parse_years("2018, 2012-2014,2013") == [2012, 2013, 2014, 2018]
