"""On a full disk every command ends in one line, and leaves what was there before as it was."""

import pytest

from conftest import small_dataset
from helpers import untrained_run
from helpers.small_disk import small_disk
from tfgmm.cli.app import main

EVENT = ["--magnitude", 6, "--longitude", 139.8, "--latitude", 35.5, "--depth", 30]
SITES = ["--sites", "{root}/sites.csv"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run with the field, its dataset, and a table of sites."""
    root = tmp_path_factory.mktemp("full")
    untrained_run.make(root, field=True, backbone="auto", stopping="blocks", ims=("PGA",))
    (root / "sites.csv").write_text("longitude,latitude\n" + "139.8,35.6\n" * 200)
    (root / "bedrock.csv").write_text(
        "lat,lon,z\n" + "".join(f"{35 + i / 10},{139 + j / 10},500\n" for i in range(20) for j in range(20))
    )
    small_dataset().write(root / "other")
    return root


def below(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "command"),
    [
        (1000, ["simulate", "{root}/new", "--events", 20]),
        (2000, ["import", "bedrock", "{root}/bedrock.csv", "--value", "z", "--data", "{root}/other"]),
        (200, ["import", "bedrock", "{root}/bedrock.csv", "--value", "z", "--data", "{root}/other"]),
        (1000, ["describe", "{root}/data", "--figures", "{root}/figures"]),
        (1000, ["export-table", "{root}/data", "--out", "{root}/table.csv"]),
        (1000, ["predict", "{root}/run", *EVENT, "--out", "{root}/maps.nc"]),
        (1000, ["predict", "{root}/run", *EVENT, "--out", "{root}/maps.tif"]),
        (1000, ["predict", "{root}/run", *EVENT, "--out", "{root}/maps.png"]),
        (1, ["predict", "{root}/run", *EVENT, "--out", "{root}/maps.pdf"]),
        (1000, ["predict", "{root}/run", *EVENT, "--out", "{root}/maps.pdf"]),
        (1000, ["predict", "{root}/run", *EVENT, *SITES, "--out", "{root}/out.csv"]),
        (1000, ["predict", "{root}/run", *EVENT, *SITES, "--out", "{root}/out.parquet"]),
        (1000, ["export", "{root}/run", "--out", "{root}/model"]),
        (60_000, ["export", "{root}/run", "--out", "{root}/model"]),
        (500, ["site-amp", "{root}/run", "--no-site", "none"]),
    ],
)  # fmt: skip
def test_one_line_and_nothing_lost(root, capsys, size, command):
    before = below(root)
    with small_disk(size), pytest.raises(SystemExit) as end:
        main([str(part).format(root=root) for part in command])
    told = capsys.readouterr()
    assert end.value.code == 1, told.err
    lines = [line for line in told.err.splitlines() if line.startswith("tfgmm: ")]
    assert len(lines) == 1 and "cannot write" in lines[0]
    assert len(told.err.splitlines()) == 1 and ".tfgmm-" not in lines[0]
    assert "Traceback" not in told.err and "Exception ignored" not in told.err
    assert below(root) == before


@pytest.mark.slow
def test_describe_prints_what_it_knows_where_figures_cannot_be_kept(root, capsys):
    before = below(root)
    with small_disk(1000), pytest.raises(SystemExit) as end:
        main(["describe", str(root / "data")])
    told = capsys.readouterr()
    assert end.value.code == 0 and told.err == ""
    assert "No figures: cannot write " in told.out and "--figures FOLDER" in told.out
    assert below(root) == before
