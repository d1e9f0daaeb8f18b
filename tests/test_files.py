"""Whole or not at all."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError


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


def test_what_another_process_made_meanwhile_stays(tmp_path):
    target = tmp_path / "out"
    with (
        pytest.raises(DataError, match=r"cannot write .*out: another process has made it meanwhile$"),
        files.whole_folder(target) as temporary,
    ):
        (temporary / "mine").write_text("1")
        target.mkdir()
        (target / "theirs").write_text("2")
    assert content(tmp_path) == ["out", "out/theirs"]


def test_folder_of_leftovers_is_filled(tmp_path):
    (tmp_path / "out" / ".tfgmm-folder").mkdir(parents=True)
    (tmp_path / "out" / ".tfgmm-lease").touch()
    with files.whole_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
    assert content(tmp_path) == ["out", "out/x"]


def test_names_in_messages_are_those_asked_for(tmp_path, monkeypatch):
    """Not those of the temporary files in which files are written."""
    monkeypatch.setattr(os, "replace", full_disk)
    (tmp_path / "out").mkdir()
    folder = tmp_path / "out"
    for whole, name in ((files.whole_files, "sub/x.png"), (files.whole_folder, "x.png")):
        with (
            pytest.raises(DataError) as told,
            whole(folder) as temporary,
            files.whole_file(temporary / name) as inner,
        ):
            inner.write_text("1")
        assert str(told.value) == f"cannot write {folder / name}: No space left on device"
    with (
        pytest.raises(DataError) as told,
        files.whole_file(folder) as outer,
        files.whole_file(outer) as inner,
    ):
        inner.write_text("1")
    assert str(told.value) == f"cannot write {folder}: No space left on device"


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


# ---- files of several together ---------------------------------------------------------------------


def test_files_move_into_a_folder_that_holds_others(old):
    (old / "x").write_text("before")
    with files.whole_files(old) as temporary:
        (temporary / "x").write_text("after")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "y").write_text("y")
        assert (old / "x").read_text() == "before"
    assert content(old) == ["old", "sub", "sub/y", "x"]
    assert (old / "x").read_text() == "after"


def test_no_file_moves_when_the_block_fails(old):
    with pytest.raises(RuntimeError), files.whole_files(old) as temporary:
        (temporary / "old").write_text("half")
        raise RuntimeError
    assert (old / "old").read_text() == "old"
    assert content(old) == ["old"]


def test_interrupted_moves_are_finished(old, monkeypatch):
    """A kill after the first of two moves."""
    moved = []

    def move_one(source, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(os.rename(source, target))

    monkeypatch.setattr(files, "_move", move_one)
    with pytest.raises(KeyboardInterrupt), files.whole_files(old) as temporary:
        for name in ("a", "b"):
            (temporary / name).write_text(name)
    monkeypatch.undo()
    assert not (old / "b").exists()
    files.finish_moves(old)
    assert content(old) == ["a", "b", "old"]


def test_links_are_followed(tmp_path, old):
    (tmp_path / "folder").symlink_to(old)
    (old / "link").symlink_to(tmp_path / "target")
    with files.whole_files(tmp_path / "folder") as temporary:
        (temporary / "link").write_text("1")
    with files.whole_file(tmp_path / "folder" / "old") as temporary:
        temporary.write_text("2")
    assert (tmp_path / "folder").is_symlink() and (old / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "1"
    assert (old / "old").read_text() == "2"


def test_a_link_to_another_file_system(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    replace = os.replace

    def across(source, target):
        if Path(source).name == "a":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    files._move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"


# ---- what killed processes leave behind ------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from tfgmm.core import files
folder = Path(sys.argv[1])
with files.whole_file(folder / "x.csv") as one, files.whole_folder(folder / "y") as other:
    one.write_text("half")
    (other / "z").write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing into `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        yield process
        process.kill()


def test_temporary_files_of_dead_processes_are_cleared(tmp_path, writer):
    assert len(content(tmp_path)) == 3
    files.clear_leftovers(tmp_path)
    assert len(content(tmp_path)) == 3  # their process is alive
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert files.is_vacant(tmp_path)
    with files.whole_file(tmp_path / "other") as temporary:
        temporary.write_text("1")
    assert content(tmp_path) == ["other"]


def test_temporary_files_of_other_machines_stay_for_a_day(tmp_path):
    names = [".tfgmm-00000000-1-1600000000-00000000.x", ".tfgmm-00000000-1-1600000000-11111111.x"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / names[0], (time.time() - 100_000,) * 2)
    (tmp_path / ".tfgmm-notes").touch()
    files.clear_leftovers(tmp_path)
    assert content(tmp_path) == [names[1], ".tfgmm-notes"]


def test_a_process_number_that_was_given_again(tmp_path, monkeypatch):
    """The name is of this host and of a living process, which started at another time."""
    old = files._temporary(tmp_path / "x")
    host, pid, started, rest = old.name.removeprefix(".tfgmm-").split("-", 3)
    (tmp_path / f".tfgmm-{host}-{pid}-{int(started) - 1000}-{rest}").touch()
    old.touch()
    files.clear_leftovers(tmp_path)
    assert content(tmp_path) == [old.name]


# ---- content that is verified ----------------------------------------------------------------------


def test_json_is_what_was_written(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"b": 0.1, "a": ["ü", None, True]})
    assert files.read_json(path) == {"b": 0.1, "a": ["ü", None, True]}
    path.write_text(path.read_text().replace("true", "false"))
    with pytest.raises(ValueError, match="checksum"):
        files.read_json(path)


def test_json_of_earlier_versions_has_no_checksum(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": 1}))
    assert files.read_json(tmp_path / "x.json") == {"a": 1}


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        files.read_json(tmp_path / "x.json")
