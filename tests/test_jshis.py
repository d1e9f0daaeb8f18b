"""J-SHIS meshes -> site layers. Files are written here, in the provider's format."""

import contextlib
import hashlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.damaged_files import mutated
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.layers import jshis

COMMENTS = "# VER. = 4.0\n# DATE = 2023-12-11\n# UPDATED\n"
DEEP_HEADER = "# CODE,S0,D0,D1,D2,D3\n"
SURFACE_HEADER = "# CODE,JCODE,AVS,ARV,AVS_EB,AVS_REF\n"
#: Four 1 km meshes about Tokyo; the last is north-east of the first.
DEEP = {
    "53394606": "0.0, 85.5, 90.2, 228.5, 2402.8",
    "53394607": "0.0, 85.5, 85.5, 228.5, 228.5",
    "53394616": "12.5, 12.5, 40.0, 3000.0, 3000.0",
    "53394617": "-5.5, -5.5, -5.5, 100.0, 1000.0",
}


def deep(rows=None):
    rows = DEEP if rows is None else rows
    return COMMENTS + DEEP_HEADER + "".join(f"{code}, {values}\n" for code, values in rows.items())


def surface(**rows):
    return COMMENTS + SURFACE_HEADER + "".join(f"{code[1:]}, {values}\n" for code, values in rows.items())


SURFACE = surface(
    _5339460611="15, 150.2, 2.4, 400.0, 0", _5339460612="19, 180.0, 2.2, 400.0, 0",
    _5339460613="0, 0.0, 0.0, -, 0", _5339460644="3, 420.5, 1.1, -, 0",
)  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def _write(text, name="D-V4-STRUCT_DEEP-LYRD.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode("cp932"))
        return path

    return _write


def test_deep_structure(write):
    path = write(deep())
    layer = jshis.read(path, "z_bedrock")
    np.testing.assert_allclose(layer, [[2402.8, 228.5], [2987.5, 1005.5]])
    # 5339-46-06: 53 / 1.5 + 4 / 12 + 0 / 120 and 139 + 6 / 8 + 6 / 80 is its south-western corner.
    south, west = 53 / 1.5 + 4 / 12, 139 + 6 / 8 + 6 / 80
    np.testing.assert_allclose(layer.latitude, [south + 0.5 / 120, south + 1.5 / 120])
    np.testing.assert_allclose(layer.longitude, [west + 0.5 / 80, west + 1.5 / 80])
    assert layer.attrs == {
        "units": "m",
        "long_name": "depth to seismic bedrock",
        "source": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "method": "deepest listed boundary minus the surface, max(D0, D1, ...) - S0",
        "unusable": 0,
    }


def test_surface_structure(write):
    layer = jshis.read(write(SURFACE, "Z-V4-JAPAN-AMP-VS400_M250.csv"), "vs30")
    nan = np.nan
    np.testing.assert_array_equal(
        layer, [[150.2, 180, nan, nan], [nan] * 4, [nan] * 4, [nan, nan, nan, 420.5]]
    )
    np.testing.assert_allclose(np.diff(layer.latitude), 1 / 480, atol=1e-8)
    np.testing.assert_allclose(np.diff(layer.longitude), 1 / 320, atol=1e-8)
    np.testing.assert_allclose(layer.latitude[0], 53 / 1.5 + 4 / 12 + 0.5 / 480)
    assert (layer.units, layer.unusable) == ("m/s", 1)


def test_the_zip_file_of_the_provider(write, tmp_path):
    plain = jshis.read(write(deep()), "z_bedrock")
    with zipfile.ZipFile(tmp_path / "D-V4-STRUCT_DEEP-LYRD.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("D-V4/D-V4-STRUCT_DEEP-LYRD.csv", deep())
        archive.writestr("README.txt", "")
    packed = jshis.read(tmp_path / "D-V4-STRUCT_DEEP-LYRD.zip", "z_bedrock")
    np.testing.assert_array_equal(plain, packed)
    with zipfile.ZipFile(tmp_path / "D-V4-STRUCT_DEEP-LYRD.zip", "a") as archive:
        archive.writestr("more.csv", deep())
    with pytest.raises(UsageError, match="holds 2 CSV files"):
        jshis.read(tmp_path / "D-V4-STRUCT_DEEP-LYRD.zip", "z_bedrock")


def test_meshes_without_a_usable_value_are_counted(write):
    rows = DEEP | {"53394608": "10.0, 5.0, 5.0, 5.0, 5.0", "53394618": "-, -, -, -, -", "53394628": "0,,,,"}
    layer = jshis.read(write(deep(rows)), "z_bedrock")
    assert layer.unusable == 3 and int(layer.notnull().sum()) == 4


@pytest.mark.parametrize("mark", ["-9999", "-999", "9999", "12"])
def test_marks_that_are_no_vs30_are_refused_or_declared(write, mark):
    """Water is 0 in these files; no other number but a velocity is known."""
    path = write(SURFACE.replace("180.0", mark))
    with pytest.raises(
        DataError, match=rf"line 6, AVS: {mark}, expected .* 30 to 5000 m/s: .*--missing={mark} "
    ):
        jshis.read(path, "vs30")
    layer = jshis.read(path, "vs30", missing=[float(mark)])
    assert int(layer.notnull().sum()) == 2 and layer.unusable == 2 and layer.missing == mark


@pytest.mark.parametrize("column", range(5))
def test_a_mark_in_a_depth_is_refused_or_declared(write, column):
    values = ["0.0", "85.5", "90.2", "228.5", "2402.8"]
    values[column] = "-9999"
    path = write(deep(DEEP | {"53394606": ", ".join(values)}))
    with pytest.raises(
        DataError, match=r"line 5, column .*: -9999.0, expected a depth of -5000 m or more, or --missing"
    ):
        jshis.read(path, "z_bedrock")
    layer = jshis.read(path, "z_bedrock", missing=[-9999])
    assert layer.unusable == int(column == 0)  # without a surface there is no depth


@pytest.mark.parametrize("chunk", [37, 100_000])
def test_region_and_chunks(write, monkeypatch, chunk):
    """The values name the meshes; whatever the chunks, the same part is kept."""
    monkeypatch.setattr(jshis, "CHUNK", chunk)
    codes = [f"53394{east}{row}{col}" for east in (5, 6) for row in range(10) for col in range(10)]
    path = write(deep({code: f"0, 0, 0, 0, {code[4:]}" for code in codes}))
    # 5339-46-30 is at the western edge of its second mesh, 5339-45-39 next to it.
    lat, lon = 53 / 1.5 + 4 / 12 + 3.5 / 120, 139.75 + 0.5 / 80
    layer = jshis.read(path, "z_bedrock", region=(lon - 0.02, lat - 0.01, lon + 0.02, lat + 0.01))
    columns = ((5, 8), (5, 9), (6, 0), (6, 1), (6, 2))
    expected = [[int(f"4{east}{row}{col}") for east, col in columns] for row in range(1, 6)]
    np.testing.assert_array_equal(layer, expected)
    assert int(jshis.read(path, "z_bedrock").notnull().sum()) == len(codes)
    with pytest.raises(UsageError, match="has no mesh in the region"):
        jshis.read(path, "z_bedrock", region=(130, 30, 131, 31))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"53394806": "0, 1, 1, 1, 1"}, "line 9, column CODE: '53394806', expected a code of mesh 3"),
        ({"5339460611": "0, 1, 1, 1, 1"}, "line 9, column CODE: '5339460611'"),
        ({"": "0, 1, 1, 1, 1"}, "line 9, column CODE: nan"),
        ({"53394608": "0, 1, deep, 1, 1"}, "line 9, column D1: 'deep', expected a number"),
        ({"53394608": "0, 1, 1, 1, inf"}, "line 9, column D3: inf, expected a number"),
        ({"53394608": "0, 1, 1, 1, 1, 5"}, r"line 9, column \(more\): 5\.0, expected no more"),
        (
            {"53394608": "0, 1, 1, 1, 1, 5, 7"},
            "no readable J-SHIS file .*Expected 7 fields in line 9, saw 8",
        ),
        ({"53394608": "0, 1, 1, 1, 99999"}, "expected a depth .* of 0 to 30000 m"),
        ({"5339460 6": "0, 1, 1, 1, 1"}, "line 9, column CODE: '5339460 6'"),
    ],
)
def test_bad_rows_are_named(write, rows, message):
    with pytest.raises(DataError, match=message):
        jshis.read(write(deep(DEEP | rows)), "z_bedrock")


def test_the_same_mesh_twice(write):
    with pytest.raises(DataError, match="line 9: the same point as line 5"):
        jshis.read(write(deep() + "53394606, 0, 1, 1, 1, 1\n"), "z_bedrock")


def test_bad_commands_are_named(write, tmp_path):
    with pytest.raises(UsageError, match=r"has no vs30: its columns are CODE, S0, D0"):
        jshis.read(write(deep()), "vs30")
    with pytest.raises(UsageError, match=r"has no z_bedrock: its columns are CODE, JCODE"):
        jshis.read(write(SURFACE), "z_bedrock")
    with pytest.raises(UsageError, match=r"does not exist"):
        jshis.read(tmp_path / "D-V4-STRUCT_DEEP-LYRD-5339.csv", "z_bedrock")
    with pytest.raises(UsageError, match="on the Tokyo Datum"):
        jshis.read(write(deep(), "D-V2-STRUCT_DEEP-LYRD.csv"), "z_bedrock")
    with pytest.raises(DataError, match="has no line '# CODE,...'"):
        jshis.read(write("53394606,0,1\n"), "z_bedrock")


@settings(max_examples=100)
@given(data=st.data(), name=st.sampled_from(["z_bedrock", "vs30"]), packed=st.booleans())
def test_mutated_bytes_give_an_error_or_a_layer(data, name, packed, tmp_path_factory):
    good = (deep() if name == "z_bedrock" else SURFACE).encode()
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}-{packed}"
    path.unlink(missing_ok=True)
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", good)
        good = path.read_bytes()
    path.write_bytes(mutated(data, good))
    with contextlib.suppress(TfgmmError):
        assert jshis.read(path, name).notnull().any()
