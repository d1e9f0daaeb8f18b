import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgmm.core.errors import UsageError
from tfgmm.readers.waveforms import archive

FILES = {"a.EW": b"first " * 500, "b.NS": b"", "c/d.EW": b"third " * 300}


def tar(contents: dict[str, bytes], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as out:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in contents.items():
            out.writestr(name, content)
    return buffer.getvalue()


def found(path: Path, content: bytes) -> list[archive.Member]:
    path.write_bytes(content)
    return list(archive.members(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tar", tar(FILES)),
        ("x.TAR.GZ", tar(FILES, "w:gz")),
        ("x.tgz", tar(FILES, "w:gz")),
        ("x.tar", tar(FILES, "w:gz")),  # a gzip that is named .tar
        ("x.zip", zipped(FILES)),
        ("x.zip/in.tar.gz", zipped({"in.tar.gz": tar(FILES, "w:gz")})),
        ("x.tar/in.zip", tar({"in.zip": zipped(FILES)})),
        ("x.tar/1.tar.gz/2.tar", tar({"1.tar.gz": tar({"2.tar": tar(FILES)}, "w:gz")})),
        ("x.zip/in.zip", zipped({"in.zip": zipped(FILES)})),
    ],
)
def test_members_of_archives(tmp_path, name, content):
    found_members = found(tmp_path / name.split("/")[0], content)
    assert found_members == [archive.Member(f"{name}/{inner}", data) for inner, data in FILES.items()]


def test_a_plain_file_is_its_only_member(tmp_path):
    assert found(tmp_path / "a.EW", b"text") == [archive.Member("a.EW", b"text")]


def test_files_in_folders(tmp_path):
    for name in ("b/2", "a", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [file.relative_to(tmp_path).as_posix() for file in archive.files_in(tmp_path)] == [
        "a",
        "b/1",
        "b/2",
    ]
    assert archive.files_in(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(UsageError, match="nothing does not exist"):
        archive.files_in(tmp_path / "nothing")


def test_nothing_is_written_where_a_name_points(tmp_path):
    names = {"../../escaped": b"1", "/escaped": b"2", "new\nline": b"3"}
    for name, content in (("x.tar", tar(names)), ("x.zip", zipped(names))):
        (tmp_path / "in").mkdir(exist_ok=True)
        assert [m.content for m in found(tmp_path / "in" / name, content)] == [b"1", b"2", b"3"]
        assert found(tmp_path / "in" / name, content)[2].name == f"{name}/new?line"
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["in", "x.tar", "x.zip"]


def test_links_are_problems_and_folders_are_not(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("link", tarfile.SYMTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
    names = [(member.name, bool(member.problem)) for member in found(tmp_path / "x.tar", buffer.getvalue())]
    assert names == [("x.tar/link", True), ("x.tar/pipe", True)]


@pytest.mark.parametrize("cut", [100, 1024, 3000, 3584, 4096, 5000, 6656])
def test_a_cut_archive_gives_what_precedes_the_cut(tmp_path, cut):
    whole = tar(FILES)
    *first, last = found(tmp_path / "x.tar", whole[:cut])
    read = [member.content for member in first if not member.problem]
    ends = [3584, 4096, 6656]  # of the files, in blocks of 512 bytes with a header each
    assert read == list(FILES.values())[: sum(end <= cut for end in ends)]
    assert last.name == "x.tar" and last.problem and not last.content


@pytest.mark.parametrize("content", [b"", b"no archive", zipped(FILES)[:-30]])
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_no_archive(tmp_path, name, content):
    (member,) = found(tmp_path / name, content)
    assert member.name == name and member.problem


def test_a_damaged_zip_member_leaves_the_others(tmp_path):
    content = bytearray(zipped(FILES))
    content[45] ^= 255
    assert [bool(member.problem) for member in found(tmp_path / "x.zip", bytes(content))] == [
        True,
        False,
        False,
    ]


def test_limits(tmp_path, monkeypatch):
    nested = tar(FILES)
    for level in range(5):
        nested = tar({f"{level}.tar": nested})
    (member,) = found(tmp_path / "x.tar", nested)
    assert "down to the 4th" in member.problem
    monkeypatch.setattr(archive, "LARGEST_FILE", 2000)
    assert [m.problem[:6] for m in found(tmp_path / "x.zip", zipped(FILES))] == ["larger", "", ""]
    monkeypatch.setattr(archive, "LARGEST_INNER_ZIP", 10)
    (member,) = found(tmp_path / "x.tar", tar({"in.zip": zipped(FILES)}))
    assert "larger" in member.problem


def test_source(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"two")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    listing = hashlib.sha256(f"{two}  a\n{one}  b/1\n".encode()).hexdigest()
    assert archive.describe(tmp_path) == {"file": tmp_path.name, "sha256": listing, "files": 2}
    assert archive.describe(tmp_path / "a") == {"file": "a", "sha256": two}


@settings(max_examples=100)
@given(st.data())
def test_mutated_archives_never_fail(tmp_path_factory, data):
    name, whole = data.draw(
        st.sampled_from(
            [
                ("x.tar", tar(FILES)),
                ("x.tgz", tar(FILES, "w:gz")),
                ("x.zip", zipped(FILES)),
                ("x.tar", tar({"a.tar.gz": tar(FILES, "w:gz"), "b.zip": zipped(FILES)})),
            ]
        )
    )
    content = bytearray(
        whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    )
    for _ in range(data.draw(st.integers(0, 5)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    members = found(tmp_path_factory.mktemp("fuzz") / name, bytes(content))
    assert members, "an archive that had members has members or a problem"
    assert all("\n" not in member.name + member.problem for member in members)
