"""Files that claim or unpack to far more than they are: memory is bounded, each is named in one line.

Child processes read them, so that the kernel can say how much memory they took at most.
"""

import bz2
import datetime
import gzip
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import obspy
import pytest

from helpers.nied_files import ascii_record, shaking, tar
from helpers.win32_writer import channel_block, channel_row, channel_table, second_block, win32_file
from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.waveforms import archive, win32_files

MB = 2**20
LONG_NAME = tarfile.GNUTYPE_LONGNAME
CHILD = """
import json, sys
from pathlib import Path
from tfgmm.data.tally import Tally
from tfgmm.readers.waveforms import archive, nied, obspy_files, win32_files
from tfgmm.core.errors import TfgmmError
from tfgmm.readers.common import bounded
from tfgmm.readers.common.selection import Limits

def read_nied(paths):
    return nied.read([Path(path) for path in paths], Limits()).provenance["dropped"]

def waveforms(reader, table, paths):
    messages = {}
    for path in map(Path, paths):
        try:
            source = reader(Path(table), Tally())
            source.span(path)
            source.choose_channels([path])
            messages[path.name] = sum(len(piece.samples) for piece in source.pieces(path, lambda *_: True))
        except TfgmmError as error:
            messages[path.name] = str(error)
    return messages

answer = eval(sys.argv[1])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"answer": answer, "peak": int(status["VmHWM"].split()[0]) * 1024}))
"""


def run(expression: str):
    """Evaluate an expression in a child process; return its value and the peak memory in bytes."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, expression], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    outcome = json.loads(child.stdout)
    return outcome["answer"], outcome["peak"]


def zeros(packer, megabytes: int) -> bytes:
    """Return zeros, packed as streams that follow each other."""
    return packer(bytes(10 * MB)) * (megabytes // 10)


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def zipped(**contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in contents.items():
            out.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the memory")
def test_archives(tmp_path):
    east, north = (ascii_record(channel, shaking(20, seconds=12)) for channel in ("EW", "NS"))
    folder = tmp_path / "in"
    folder.mkdir()
    bombs = {
        "petabyte.tar": tar_header("a.EW", 2**50) + bytes(20_000),
        "petabyte_name.tar.gz": gzip.compress(tar_header("x", 2**50, LONG_NAME) + bytes(4096)),
        "long_name.tar.gz": gzip.compress(tar_header("x", 2**30, LONG_NAME)) + zeros(gzip.compress, 500),
        "sparse.tar": tar_header("a.EW", 2**50, tarfile.GNUTYPE_SPARSE) + bytes(4096),
        "zeros.tar.bz2": bz2.compress(tar_header("a.EW", 2**30)) + zeros(bz2.compress, 1000),
        "zeros.EW.bz2": zeros(bz2.compress, 1000),
        "zeros.NS.gz": zeros(gzip.compress, 300),
        "zeros.zip": zipped(**{"a.EW": bytes(200 * MB)}),
        "nested.zip": zipped(**{"b.zip": zipped(**{"a.EW": bytes(200 * MB)})}),
    }
    for name, content in bombs.items():
        assert len(content) < MB
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.EW")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.NS"))
    (folder / "link.UD").symlink_to(folder / "nowhere")
    (folder / "good.tar").write_bytes(
        tar({"a.EW.gz": gzip.compress(east), "b.NS.bz2": bz2.compress(north)})
    )
    drops, peak = run(f"read_nied([{str(folder)!r}])")
    assert peak < 500 * MB
    [unread] = [row for row in drops if row["reason"] == "cannot be read"]
    assert unread["count"] >= len(bombs) + 3, "of archives the member and the rest"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.tar", tar_header("a.EW", 2**50) + bytes(20_000), "x.tar/a.EW: "),
        ("x.zip", zipped(**{"a.EW": bytes(20 * MB)}), "x.zip/a.EW: x.zip holds more than 200 times its"),
        ("x.EW.bz2", bz2.compress(bytes(20 * MB)), "x.EW.bz2: x.EW.bz2 holds more than 200 times its"),
        ("x.tgz", gzip.compress(tar({"a.EW": bytes(20 * MB)})), "read it with --large"),
        ("x.EW", bytes(65 * MB), "x.EW: larger than 64 MiB"),
    ],
    ids=["tar", "zip", "bz2", "tgz", "plain"],
)
def test_problems_are_named(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    first = next(archive.members(tmp_path / name))
    assert problem in f"{first.name}: {first.problem}" and "\n" not in first.problem and not first.content


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the memory")
def test_waveforms(tmp_path):
    head = {"station": "AAA", "channel": "HNE", "sampling_rate": 100.0}
    samples = obspy.Trace(np.ones(20_000, np.int32), head)
    (tmp_path / "stations.csv").write_text("station,lon,lat,unit\nAAA,139.7,35.6,gal\n")
    for kind in ("MSEED", "SLIST", "GSE2", "TSPAIR"):
        samples.write(str(tmp_path / f"x.{kind.lower()}"), format=kind)
    sac = obspy.Trace(np.ones(1000, np.float32), head)
    sac.write(str(tmp_path / "x.sac"), format="SAC")
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("x.*")}
    claims = {
        "claims.sac": whole["x.sac"].replace(
            (1000).to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little")
        ),
        "claims.slist": whole["x.slist"][:5000].replace(b"20000", b"2000000000"),
        "claims.tspair": whole["x.tspair"][:5000].replace(b"20000", b"2000000000"),
        "claims.gse2": whole["x.gse2"].replace(b"   20000 ", b"99999999 "),
        "zeros.mseed.bz2": zeros(bz2.compress, 1000),
        "zeros.sac.gz": zeros(gzip.compress, 500),
    }
    for name, content in claims.items():
        (tmp_path / name).write_bytes(content)
    # Constant samples, which MiniSEED packs to a seventh.
    long = whole["x.mseed"] * (20 * MB // len(whole["x.mseed"]))
    (tmp_path / "long.mseed").write_bytes(long)
    os.mkfifo(tmp_path / "pipe.mseed")
    names = [*claims, "pipe.mseed", "long.mseed"]
    paths = [str(tmp_path / name) for name in names]
    messages, peak = run(
        f"waveforms(obspy_files.ObspyFiles, {str(tmp_path / 'stations.csv')!r}, {paths!r})"
    )
    assert peak < 500 * MB + 5 * len(long)
    assert messages.pop("long.mseed") == 20_000 * (20 * MB // len(whole["x.mseed"]))
    for name, message in messages.items():
        assert name in message and "\n" not in message and len(message) < 500


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the memory")
def test_win32(tmp_path):
    rows = channel_row("0001"), channel_row("0002", component="E")
    table = channel_table(tmp_path / "table.ch", *rows)
    # The smallest blocks, and the most samples a byte: half a byte each.
    begin = datetime.datetime(2018, 1, 5, 2, tzinfo=datetime.UTC)
    times = [begin + datetime.timedelta(seconds=i) for i in range(2000)]
    short = [second_block(t, channel_block(1, [i])) for i, t in enumerate(times)]
    blocks = [channel_block(channel, [0] * 4095) for channel in (1, 2)]
    dense = [second_block(t, *blocks) for t in times]
    win32_file(tmp_path / "short.cnt", *short)
    win32_file(tmp_path / "dense.cnt", *dense)
    (tmp_path / "zeros.cnt").write_bytes(zeros(bz2.compress, 1000))
    os.mkfifo(tmp_path / "pipe.cnt")
    paths = [str(tmp_path / f"{name}.cnt") for name in ("short", "dense", "zeros", "pipe")]
    messages, peak = run(f"waveforms(win32_files.Win32Files, {str(table)!r}, {paths!r})")
    assert peak < 500 * MB
    assert messages.pop("short.cnt") == 2000 and messages.pop("dense.cnt") == 2 * 2000 * 4095
    for name, message in messages.items():
        assert name in message and "\n" not in message
    bomb = tmp_path / "bomb.ch"
    bomb.write_bytes(bz2.compress(b"#" * 100 * MB))
    with pytest.raises(DataError, match=r"bomb\.ch holds more than 200 times"):
        win32_files.Win32Files(bomb, Tally())
