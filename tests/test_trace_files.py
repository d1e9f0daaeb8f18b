import numpy as np
import obspy
import pytest

from tfgmm.core.errors import DataError
from tfgmm.readers.waveforms import obspy_files

HEAD = {"station": "AAA", "channel": "HNE", "sampling_rate": 100.0}
WID2 = "WID2 2018/01/05 02:02:10.000 AAA   HNN      {:3} {:8d}  100.000000   1.00e+00   1.000"


def gse2(text: str, count: int, check: int, kind: str = "INT") -> bytes:
    """Return a GSE2 file of one channel."""
    return f"{WID2.format(kind, count)}        -1.0 -1.0\nDAT2\n{text}\nCHK2 {check:8d}\n\n".encode()


def read(path, kind=None) -> list[np.ndarray]:
    return [trace.data for trace in obspy_files.traces(path, kind or obspy_files.headers(path)[0])]


def test_every_format_is_recognised_by_its_content(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**8), 2**8, 999)
    for kind in ("MSEED", "SAC", "SACXY", "GSE2", "SLIST", "TSPAIR"):
        values = samples.astype(np.float32 if kind.startswith("SAC") else np.int32)
        obspy.Trace(values, HEAD).write(str(tmp_path / "x"), format=kind)
        recognised, [header] = obspy_files.headers(tmp_path / "x")
        assert (recognised, header.id, header.stats.npts) == (kind, ".AAA..HNE", 999)
        np.testing.assert_allclose(read(tmp_path / "x")[0], values, rtol=1e-6)


def test_gse_files_of_plain_numbers(tmp_path):
    (tmp_path / "x").write_bytes(gse2("1 -2\n300", 3, 299) + gse2("5 6", 2, 11))
    assert [values.tolist() for values in read(tmp_path / "x")] == [[1, -2, 300], [5, 6]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gse2("1 2 3", 3, 7), "Mismatching checksums"),
        (gse2("1 2 3", 4, 6), "3 samples, but its header says 4"),
        (gse2("1 x 3", 3, 6), "DeprecationWarning|string or file could not be read"),
        (gse2("3", 1, 1, "CM6"), "1 samples in lines of up to 80 digits, but its header says 1"),
        (gse2("3" * 90, 90, 1, "CM6"), "90 samples in lines of up to 80 digits"),
        (
            gse2("3" * 80, 2**30, 1, "CM6").replace(b"1073741824", b"99999999"),
            "but its header says 99999999",
        ),
        (gse2("1 2 3", 3, 6).partition(b"CHK2")[0], "CHK2 is missing: cut"),
        (gse2("1 2 3", 3, 6, "CM8"), "samples of type CM8 are not read"),
    ],
    ids=["checksum", "count", "text", "one", "long", "claim", "cut", "type"],
)
def test_damaged_gse_files_are_refused(tmp_path, content, reason):
    """ObsPy's own reader would end the process for some."""
    (tmp_path / "x.gse").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.gse is damaged \(GSE2: .*({reason})"):
        read(tmp_path / "x.gse", "GSE2")


@pytest.mark.parametrize("kind", ["SLIST", "TSPAIR"])
def test_texts_that_are_cut_are_no_other_text(tmp_path, kind):
    obspy.Trace(np.arange(100, 160, dtype=np.int32), HEAD).write(str(tmp_path / "x"), format=kind)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"x is damaged \({kind}: "):
        read(tmp_path / "x")


def test_long_miniseed_files_are_decoded_in_parts(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).integers(-(2**20), 2**20, 50_000).astype(np.int32)
    obspy.Trace(samples, HEAD).write(str(tmp_path / "x"), format="MSEED", reclen=512)
    monkeypatch.setattr(obspy_files, "PIECE", 10_240)
    parts = read(tmp_path / "x")
    assert len(parts) > 10
    np.testing.assert_array_equal(np.concatenate(parts), samples)


def test_what_is_no_waveform(tmp_path):
    for content in (b"", b"text", bytes(10_000), b"<html>" * 100, b"1.0 " * 1000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(DataError, match="x is damaged, or none of MSEED, SAC"):
            obspy_files.headers(tmp_path / "x")
