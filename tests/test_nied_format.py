from pathlib import Path

import numpy as np
import obspy.io.nied
import pandas as pd
import pytest

from helpers.nied_files import GAL, ascii_record, shaking
from tfgmm.core.errors import DataError
from tfgmm.readers.waveforms import nied_format

SAMPLE = Path(obspy.io.nied.__file__).parent / "tests" / "data" / "test.knet"


def test_golden_sample():
    """ObsPy's K-NET file; the expected values are read by eye from its text."""
    component = nied_format.read_ascii(SAMPLE.read_bytes())
    assert component.origin_time == pd.Timestamp("1996-08-10T18:12:00Z"), "listed 03:12:00 in JST"
    assert component.start == pd.Timestamp("1996-08-10T18:12:24Z"), "listed 03:12:39, 15 s too late"
    assert component.event == (140.63, 38.92, 7.0, 5.9)
    assert (component.code, component.network, component.direction) == ("AKT013", "knet", "EW")
    assert component.station == (140.3213, 39.6069, 34.0)
    assert (component.dt, len(component.acceleration)) == (0.01, 5900)
    gal = 2000 / 8388608
    assert component.acceleration[:3] * 100 == pytest.approx(np.array([-18205, -17995, -17836]) * gal)
    assert component.listed_max_gal == 4.383
    assert component.max_gal == pytest.approx(4.383, abs=5e-4)


@pytest.mark.parametrize(
    ("channel", "network", "sensor", "direction"),
    [
        ("NS", "knet", "surface", "NS"),
        ("EW", "knet", "surface", "EW"),
        ("NS1", "kik", "borehole", "NS"),
        ("EW1", "kik", "borehole", "EW"),
        ("UD1", "kik", "borehole", "UD"),
        ("NS2", "kik", "surface", "NS"),
        ("EW2", "kik", "surface", "EW"),
        ("UD2", "kik", "surface", "UD"),
    ],
)
def test_channels(channel, network, sensor, direction):
    content = ascii_record(channel)
    assert nied_format.direction(content) == (network, sensor, direction)
    component = nied_format.read_ascii(content)
    assert (component.network, component.direction) == (network, direction)


def test_samples_and_largest_acceleration():
    counts = shaking(20, offset=5000)
    component = nied_format.read_ascii(ascii_record(counts=counts))
    assert component.acceleration == pytest.approx(counts * GAL / 100)
    assert component.max_gal == pytest.approx(20, rel=1e-3)


def test_unknown_height():
    assert np.isnan(nied_format.read_ascii(ascii_record(station=("39", "140", "-9999"))).station[2])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Lat.              38.920", "Lat.              98.920", "Lat. is 98.92, expected -90 to 90"),
        ("Long.             140.630", "Long.             nan", "Long. is nan, expected -180 to 180"),
        ("(km)       7", "(km)       7000", "Depth.*7000, expected -5 to 800"),
        ("Mag.              5.9", "Mag.              59", "Mag. is 59, expected -1 to 10"),
        ("Station Lat.      39", "Station Lat.      139", "Station Lat. is 139"),
        ("AKT013", "AKT\x01", "Station Code is 'AKT.x01', expected capitals and digits"),
        ("E-W", "7", "Dir. is '7', expected N-S, E-W, U-D, 1"),
        ("Dir.", "Dri.", "Dir. is '', expected"),
        ("2000(gal)", "0(gal)", "scale 0 and sampling rate 100 must be positive"),
        ("2000(gal)/8388608", "2000(gal)", "no K-NET or KiK-net ASCII"),
        ("2000(gal)", "20(kine)", "Scale Factor is .20.kine./8388608., expected N.gal./N"),
        ("2000(gal)", "1999.5(gal)", "Scale Factor is '1999.5.gal./8388608', expected"),
        ("100Hz", "0Hz", "must be positive|no K-NET"),
        ("Origin Time       1996/08", "Origin Time       1996/18", "no K-NET or KiK-net ASCII"),
        ("Time(s)  60", "Time(s)  61", None),
        ("Time(s)  60", "Time(s)  62", "cut: 6000 samples at 100 Hz, but Duration Time.s. is 62"),
        (" -18000", " -18O00", "no K-NET or KiK-net ASCII .*-18O00"),
    ],
)
def test_damaged_headers(old, new, message):
    content = ascii_record()
    assert old.encode() in content
    content = content.replace(old.encode(), new.encode(), 1)
    if message is None:
        assert len(nied_format.read_ascii(content).acceleration) == 6000, "the header counts whole seconds"
    else:
        with pytest.raises(DataError, match=message):
            nied_format.read_ascii(content)


def test_header_times_with_fractions_of_a_second():
    content = ascii_record(origin="1996/08/11 03:12:00.04", record="1996/08/11 03:12:39.5")
    component, whole = nied_format.read_ascii(content), nied_format.read_ascii(ascii_record())
    assert component.origin_time == whole.origin_time + pd.Timedelta(milliseconds=40)
    assert component.start == whole.start + pd.Timedelta(milliseconds=500)
    np.testing.assert_array_equal(component.acceleration, whole.acceleration)


@pytest.mark.parametrize("cut", [5, 200, 400, 700, 30_000])
def test_cut_files(cut):
    with pytest.raises(DataError):
        nied_format.read_ascii(ascii_record()[:cut])
