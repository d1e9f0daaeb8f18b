"""Which version of a model is served."""

import shutil
from pathlib import Path

import pytest

from helpers import served_model
from tfgmm.core.errors import DataError, UsageError
from tfgmm.serving.models import Models, version_number


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return served_model.write(tmp_path_factory.mktemp("exported") / "tiny").parent


@pytest.mark.slow
def test_damaged_version_is_left_out_until_it_changes(exported, tmp_path):
    model = tmp_path / "tiny"
    shutil.copytree(exported, model)
    told = []
    models = Models([model], report=told.append)
    shutil.copytree(model / "1", model / "2")
    data = next((model / "2" / "variables").glob("*.data*"))
    whole = data.read_bytes()
    data.unlink()
    models.refresh()
    models.refresh()
    assert models.get("tiny").version == 1
    assert len(told) == 2 and told[1].startswith("tiny, version 2: cannot be loaded: ")
    assert [(one.version, one.state) for one in models.status("tiny")] == [(2, "END"), (1, "AVAILABLE")]
    data.write_bytes(whole)
    models.refresh()
    assert models.get("tiny").version == 2
    assert [(one.version, one.state) for one in models.status("tiny")] == [(2, "AVAILABLE")]


def test_version_that_cannot_answer_its_warm_up(tmp_path):
    folder = served_model.write(tmp_path / "tiny")
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="tiny cannot be served: version 1: .*Export it again"):
        Models([tmp_path / "tiny"])


def test_folders_that_cannot_be_served(exported, tmp_path):
    with pytest.raises(UsageError, match="holds no version of a model.*tfgmm export"):
        Models([tmp_path])
    with pytest.raises(UsageError, match="have one name"):
        Models([exported, tmp_path / ".." / exported.parent.name / exported.name])


@pytest.mark.slow
def test_all_files_gone_and_still_served(exported, tmp_path):
    model = tmp_path / "tiny"
    shutil.copytree(exported, model)
    models = Models([model])
    shutil.rmtree(model)
    models.refresh()
    assert models.get("tiny").signature("mean_only") is not None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("9" * 200, None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("1e3", None),
        ("0x1", None),
        (" 1", None),
        ("1_000", None),
        ("\u00b2", None),
        ("\u0661", None),
        ("one", None),
    ],
)
def test_version_numbers(name, number):
    assert version_number(name) == number


@pytest.mark.slow
def test_folders_that_are_no_versions_and_some_that_are(exported, tmp_path):
    """As TensorFlow Serving reads them: digits that fit in 64 bits, also after zeros and behind links."""
    model = tmp_path / "tiny"
    shutil.copytree(exported, model)
    for name in ("9" * 25, "9223372036854775808", "-5", "7.tmp", "\u00b2"):
        shutil.copytree(exported / "1", model / name)
    (model / "9").mkdir()
    (model / "8").write_text("no folder")
    (model / "6").symlink_to(model / "6")
    models = Models([model])
    assert models.get("tiny").version == 1
    assert [status.version for status in models.status("tiny")] == [1]
    shutil.copytree(exported / "1", model / "0003")
    models.refresh()
    assert models.get("tiny").version == 3
    (model / "4").symlink_to(exported / "1")
    models.refresh()
    assert models.get("tiny").version == 4


@pytest.mark.slow
def test_a_folder_that_vanishes_while_it_is_read(exported, tmp_path, monkeypatch):
    model = tmp_path / "tiny"
    shutil.copytree(exported, model)
    models = Models([model])
    shutil.copytree(model / "1", model / "2")
    monkeypatch.setattr(Path, "rglob", lambda *arguments: iter([model / "2" / "gone"]))
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    models.refresh()
    assert models.get("tiny").version == 2
