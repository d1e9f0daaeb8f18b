"""Whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from tfgmm import files
from tfgmm.errors import DataError, UsageError


@pytest.fixture
def old(tmp_path) -> Path:
    """A folder that stands already."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def content(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_folder_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "a" / "b" / "out"
    with files.whole_folder(target) as temporary:
        (temporary / "x").write_text("1")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename never crosses file systems
    assert content(tmp_path) == ["a", "a/b", "a/b/out", "a/b/out/x"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_folder_vanishes_when_the_block_fails(old, error):
    with pytest.raises(type(error)), files.whole_folder(old, overwrite=True) as temporary:
        (temporary / "x").write_text("1")
        raise error
    assert content(old.parent) == ["out", "out/old"]


def test_existing_folder_is_refused_before_anything_is_done(old):
    with pytest.raises(UsageError, match=r"out exists already.*--overwrite"), files.whole_folder(old):
        pytest.fail("the block must not run")
    assert content(old.parent) == ["out", "out/old"]


def test_overwrite_replaces_the_whole_folder(old):
    with files.whole_folder(old, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
        assert (old / "old").is_file()
    assert content(old.parent) == ["out", "out/new"]


def test_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", full_disk)
    with (
        pytest.raises(DataError, match=r"^cannot write .*out: No space left on device$"),
        files.whole_folder(tmp_path / "out") as temporary,
    ):
        (temporary / "x").write_text("1")
    assert content(tmp_path) == []


def test_old_folder_is_not_lost_when_the_new_one_cannot_take_its_place(old, monkeypatch):
    rename = Path.rename

    def fail_for_the_new(self, target):
        if (self / "new").exists():
            full_disk()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(DataError), files.whole_folder(old, overwrite=True) as temporary:
        (temporary / "new").write_text("new")
    assert [p.read_text() for p in old.parent.rglob("*") if p.is_file()] == ["old"]


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "a" / "x.csv"
    with files.whole_file(target) as temporary:
        temporary.write_text("1")
        assert not target.exists()
        assert temporary.suffix == ".csv"  # writers choose the format by it
    assert content(tmp_path) == ["a", "a/x.csv"]
    assert target.read_text() == "1"


def test_file_replaces_the_old_one_only_when_whole(tmp_path):
    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with files.whole_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert content(tmp_path) == ["x"]


def test_full_disk_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", full_disk)
    with (
        pytest.raises(DataError, match=r"cannot write .*x: No space left on device"),
        files.whole_file(tmp_path / "x") as temporary,
    ):
        temporary.write_text("1")
    assert content(tmp_path) == []


@pytest.mark.parametrize("whole", [files.whole_file, files.whole_folder])
def test_parent_that_is_no_folder(tmp_path, whole):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"cannot write .*Not a directory"),
        whole(tmp_path / "file" / "sub" / "x"),
    ):
        pytest.fail("the block must not run")


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "x") == known
