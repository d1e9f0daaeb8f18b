"""Whole files are read within bounds."""

import bz2
import gzip
import io
import lzma
import os
import zipfile

import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common import bounded

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture
def small_bounds(monkeypatch):
    monkeypatch.setattr(bounded, "SMALL_BYTES", 1000)
    monkeypatch.setattr(bounded, "MOST_BYTES", 10**6)


@pytest.mark.parametrize("pack", [bytes, *PACKERS.values()])
def test_what_is_packed_is_unpacked(tmp_path, pack):
    text = b"a,b\n1,2\n" * 50
    (tmp_path / "table").write_bytes(pack(text))
    assert bounded.content(tmp_path / "table") == text


@pytest.mark.parametrize("pack", PACKERS.values())
def test_a_bomb_is_refused_unless_it_is_said_to_be_large(tmp_path, small_bounds, pack):
    path = tmp_path / "bomb"
    path.write_bytes(pack(bytes(10**6)))
    with pytest.raises(DataError, match="bomb holds more than 200 times its .* --large"):
        bounded.content(path)
    with bounded.large():
        assert len(bounded.content(path)) == 10**6
    with pytest.raises(DataError), bounded.large(False):
        bounded.content(path)


def test_a_file_of_more_than_the_most_is_refused(tmp_path, small_bounds):
    (tmp_path / "big").write_bytes(bytes(10**6 + 1))
    with pytest.raises(DataError, match="big holds more than 2 GB"):
        bounded.content(tmp_path / "big")


def test_a_member_of_an_archive(small_bounds):
    store = io.BytesIO()
    with zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**6))
    with zipfile.ZipFile(store) as archive, archive.open("zeros") as stream:
        size = archive.getinfo("zeros").compress_size
        with pytest.raises(DataError, match="in.zip/zeros holds"):
            bounded.expand(stream, size, "in.zip/zeros")


@pytest.mark.parametrize("pack", PACKERS.values())
@pytest.mark.parametrize("cut", [slice(0, -6), slice(0, 20)])
def test_a_cut_file_is_refused(tmp_path, pack, cut):
    (tmp_path / "cut").write_bytes(pack(os.urandom(5000))[cut])
    with pytest.raises(DataError, match="cut is no whole compressed file"):
        bounded.content(tmp_path / "cut")


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a pipe", "zero": "a device", ".": "a folder"}.items():
        with pytest.raises(UsageError, match=f"is {kind}: give a regular file"):
            bounded.content(tmp_path / name)
    with pytest.raises(UsageError, match="does not exist"):
        bounded.content(tmp_path / "nothing")
