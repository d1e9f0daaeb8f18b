import os
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.jma_files import STATIONS, dat, row, source
from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.common import bounded
from tfgmm.readers.flatfiles import jma_format


@pytest.mark.parametrize(
    ("field", "depth"), [(" 1000", 10), (" 10  ", 10), ("  999", 9.99), ("  0  ", 0), ("12345", 123.45)]
)
def test_depth_is_free_or_in_whole_km(tmp_path, field, depth):
    events, _ = jma_format.read_events(dat(tmp_path / "i.dat", source(depth=field)))
    assert events.depth_km[0] == depth


@pytest.mark.parametrize(
    ("field", "magnitude"),
    [("50", 5), ("05", 0.5), ("-1", -0.1), ("-9", -0.9), ("A0", -1), ("A9", -1.9), ("B0", -2), ("C0", -3)],
)
def test_magnitudes_below_zero_have_letters(tmp_path, field, magnitude):
    events, _ = jma_format.read_events(dat(tmp_path / "i.dat", source(mag=f"   {field}V")))
    assert events.magnitude_2[0] == pytest.approx(magnitude)
    assert np.isnan(events.magnitude_1[0])


_hundredths = st.integers(0, 5999)


@settings(max_examples=50, deadline=None)
@given(
    time=st.datetimes(datetime(1919, 1, 1), datetime(2100, 1, 1)),
    lat=st.tuples(st.integers(0, 89), _hundredths),
    lon=st.tuples(st.integers(0, 179), _hundredths),
    depth=st.integers(0, 70000),
    magnitude=st.integers(0, 99),
    amplitudes=st.tuples(*[st.integers(0, 99999)] * 2),
)
def test_what_is_written_is_read(time, lat, lon, depth, magnitude, amplitudes):
    stamp = f"{time:%Y%m%d%H%M%S}{time.microsecond // 10000:02d}"
    place = {"lat": f"{lat[0]:3d}{lat[1]:04d}", "lon": f"{lon[0]:4d}{lon[1]:04d}"}
    line = source(stamp, **place, depth=f"{depth:05d}", mag=f"{magnitude:02d}V   ")
    ns, ew = amplitudes
    with tempfile.TemporaryDirectory() as folder:
        path = dat(Path(folder) / "i.dat", line, row(ns=f"{ns:05d}", ew=f"{ew:05d}"))
        events, records = jma_format.read_events(path)
    event, record = events.iloc[0], records.iloc[0]
    jst = event.origin_time.tz_convert("Etc/GMT-9")
    assert f"{jst:%Y%m%d%H%M%S}{jst.microsecond // 10000:02d}" == stamp
    assert event.latitude == pytest.approx(lat[0] + lat[1] / 6000, abs=1e-12)
    assert event.longitude == pytest.approx(lon[0] + lon[1] / 6000, abs=1e-12)
    assert (event.depth_km, event.magnitude_1) == (depth / 100, magnitude / 10)
    assert (record.ns_gal, record.ew_gal) == (ns / 10, ew / 10)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([source(depth=" 1O00"), row()], r"line 1, column depth \(bytes 45-49\): ' 1O00'"),
        ([source(lat=" 35 5 0"), row()], r"line 1, column latitude minutes .*' 5 0'"),
        (
            [source("2016010112006100"), row()],
            r"line 1, column second \(bytes 14-17\): '6100', expected less",
        ),
        ([source(lat=" 356000"), row()], "line 1, column latitude minutes .*'6000', expected less than 60"),
        (
            [source(lon=" 1409000"), row()],
            "line 1, column longitude minutes .*'9000', expected less than 60",
        ),
        ([source(mag="5.W   "), row()], r"line 1, column magnitude 1 .*'5\.'"),
        ([source("2016130112000000"), row()], "line 1, column origin time .*'201613011200'"),
        ([source(), row(), row(ns="0-231")], r"line 3, column NS \(bytes 37-41\): '0-231'"),
        ([source(), row(ew="00/05")], "line 2, column EW .*'00/05'"),
        ([source(), row("35000 0")], "line 2, column station code .*'35000 0'"),
        ([source(), b"X".ljust(96)], "line 2, column record type .*'X'"),
        ([row(), source()], "line 1, column record type .*before the first station"),
        ([source(), row(), row()[:40]], "line 3: 40 bytes, expected a CP932 record of 96"),
        ([source(), row()[:95], row() + b" "], "line 2: 95 bytes"),
        ([], "line 1: 0 bytes"),
    ],
)
def test_garbage_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=rf"i2016\.dat, {message}"):
        jma_format.read_events(dat(tmp_path / "i2016.dat", *lines))


def test_a_file_in_utf8_is_refused(tmp_path):
    path = dat(tmp_path / "i2016.dat", source().decode("cp932").encode(), row())
    with pytest.raises(DataError, match="line 1: 101 bytes, expected a CP932 record of 96"):
        jma_format.read_events(path)


def test_damaged_archives_are_refused(tmp_path):
    whole = tmp_path / "i2016.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("i2016.dat", b"".join([source(), b"\r\n", row(), b"\r\n"]))
    content = whole.read_bytes()
    truncated, flipped, other = (tmp_path / f"{name}.zip" for name in ("truncated", "flipped", "other"))
    truncated.write_bytes(content[: len(content) // 2])
    flipped.write_bytes(content[:60] + bytes([content[60] ^ 0xFF]) + content[61:])
    for path in (truncated, flipped):
        with pytest.raises(
            DataError, match=rf"{path.name} is no whole (zip archive|compressed file) .*fetch it again"
        ):
            jma_format.read_events(path)
    flipped.write_bytes(content[:26] + b"\xff" + content[27:])  # the length of the file's name
    with pytest.raises(DataError, match=r"no whole zip archive \(File name in directory .{,80}: fetch it"):
        jma_format.read_events(flipped)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match=r"other\.zip holds 0 \.dat files, expected one"):
        jma_format.read_events(other)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(UsageError, match=r"i1890\.zip does not exist"):
        jma_format.read_events(tmp_path / "i1890.zip")
    with pytest.raises(UsageError, match=r"nowhere\.dat does not exist"):
        jma_format.read_stations(tmp_path / "nowhere.dat")
    with pytest.raises(UsageError, match="is a folder: give a regular file"):
        jma_format.read_stations(tmp_path)
    os.mkfifo(tmp_path / "i2016.zip")
    with pytest.raises(UsageError, match=r"i2016\.zip is a pipe: give a regular file"):
        jma_format.read_events(tmp_path / "i2016.zip")


def test_a_bomb_is_refused_and_read_on_request(tmp_path):
    """A record of 98 bytes packs to less than a byte: 1.9 MB held 2 GB, and took 4 GB of memory."""
    path = tmp_path / "i2016.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("i2016.dat", (source() + b"\r\n") + (row() + b"\r\n") * 110_000)
    with pytest.raises(DataError, match=r"i2016\.zip holds more than 200 times its \d+ bytes .*--large"):
        jma_format.read_events(path)
    with bounded.large():
        assert len(jma_format.read_events(path)[1]) == 110_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3500000\tA\t3541\t13945\t199604011200", "line 2: 5 columns, expected 6 between tabs"),
        ("350000\tA\t3541\t13945\t199604011200\t", "line 2, column station_id: '350000'"),
        (
            "1000000\tA\t3541\t13945\t199604011200\t",
            "line 2, column station_id: '1000000', expected each code once",
        ),
        ("3500000\tA\t3561\t13945\t199604011200\t", "line 2, column latitude: '3561', expected DDMM"),
        ("3500000\tA\t3541\t1394\t199604011200\t", "line 2, column longitude: '1394', expected DDDMM"),
        ("3500000\tA\t3541\t13945\t199613011200\t", "line 2, column operating_from: '199613011200'"),
        ("3500000\tA\t3541\t13945\t199604011200\t2010", "line 2, column operating_to: '2010'"),
    ],
)
def test_garbage_in_the_station_table_is_named(tmp_path, line, message):
    table = tmp_path / "code_p.dat"
    table.write_bytes(f"{STATIONS[5]}\r\n{line}\r\n".encode("cp932"))
    with pytest.raises(DataError, match=rf"code_p\.dat, {message}"):
        jma_format.read_stations(table)


def test_a_station_table_in_utf8_is_refused(tmp_path):
    table = tmp_path / "code_p.dat"
    table.write_text("\n".join(STATIONS), encoding="utf-8")
    with pytest.raises(DataError, match=r"code_p\.dat, byte \d+: expected CP932"):
        jma_format.read_stations(table)
