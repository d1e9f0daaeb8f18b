"""Which version of a model is served."""

import shutil

import pytest
import served_model

from tfgmm.errors import DataError, UsageError
from tfgmm.serving.models import Models


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return served_model.write(tmp_path_factory.mktemp("exported") / "tiny").parent


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


def test_all_files_gone_and_still_served(exported, tmp_path):
    model = tmp_path / "tiny"
    shutil.copytree(exported, model)
    models = Models([model])
    shutil.rmtree(model)
    models.refresh()
    assert models.get("tiny").signature("mean_only") is not None
