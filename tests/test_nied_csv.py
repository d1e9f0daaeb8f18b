import numpy as np
import pandas as pd
import pytest

from helpers.nied_files import GAL, ascii_record, csv_record, shaking
from helpers.tallies import dropped
from tfgmm.core.errors import DataError
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.waveforms import nied, nied_format

EAST, NORTH, UP = (GAL * shaking(peak, offset=0) for peak in (40, 10, 5))
KNET = {"NS": NORTH, "EW": EAST, "UD": UP}
KIKNET = {"NS1": NORTH / 4, "EW1": EAST / 4, "UD1": UP / 4, "NS2": NORTH, "EW2": EAST, "UD2": UP}


def test_components():
    components = nied_format.read_csv(csv_record(KNET, origin="1996/08/11 03:12:00.04"))
    assert list(components) == [("knet", "surface", name) for name in KNET]
    east = components["knet", "surface", "EW"]
    same = nied_format.read_ascii(
        ascii_record("EW", shaking(40, offset=0), origin="1996/08/11 03:12:00.04")
    )
    assert east.acceleration == pytest.approx(same.acceleration, abs=1e-6)
    for name in ("origin_time", "event", "code", "network", "station", "direction", "start", "dt"):
        assert getattr(east, name) == getattr(same, name), name
    assert east.origin_time == pd.Timestamp("1996-08-10T18:12:00.04Z")
    assert east.listed_max_gal == pytest.approx(east.max_gal, abs=0.001)
    assert list(nied_format.read_csv(csv_record(KIKNET, code="AKTH04"))) == [
        ("kik", sensor, name) for sensor in ("borehole", "surface") for name in KNET
    ]


@pytest.mark.parametrize("change", [
    lambda c: c.replace(b"\n", b"\r\n"),
    lambda c: b"\xef\xbb\xbf" + c,
    lambda c: c.replace(b"Time,NS,EW,UD", b"Time(s),N-S(gal),E-W (gal),U-D[cm/s^2]"),
    lambda c: c.replace(b"Freq(Hz),100", b"Freq(Hz),100Hz"),
    lambda c: c.replace(b"Long.", b"Lon."),
])  # fmt: skip
def test_spellings(change):
    whole, changed = csv_record(KNET), change(csv_record(KNET))
    assert changed != whole and nied_format.is_csv(changed)
    for key, component in nied_format.read_csv(changed).items():
        np.testing.assert_array_equal(component.acceleration, nied_format.read_csv(whole)[key].acceleration)


def test_no_csv_record():
    assert not nied_format.is_csv(ascii_record()) and not nied_format.is_csv(b"Origin Time,1")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("#Lat.,38.920", "#Lat.,98.920", "Lat. is '98.920', expected -90 to 90"),
        ("#Mag.,5.9", "#Mag.,", "Mag. is '', expected -1 to 10"),
        ("#Mag.,5.9\n", "", "header line Mag. is missing"),
        ("Freq(Hz),100", "Freq(Hz),50", "does not follow at 50 Hz"),
        ("Freq(Hz),100", "Freq(Hz),nan", "Sampling Freq.Hz. is 'nan'"),
        ("AKT013", "akt", "Station Code is 'akt', expected capitals"),
        ("AKT013", "AKTH04", "AKTH04 is of KiK-net, but the columns .* do not say which sensor"),
        ("Origin Time,1996/08", "Origin Time,1996/18", "Origin Time is '1996/18.*expected YYYY/MM/DD"),
        ("Record Time,1996", "Record Time,0001", "Record Time is '0001"),
        ("Time,NS,EW,UD", "Time,NS,EW,UD(m/s^2)", "column 4 is 'UD.m/s.2.', expected Time first"),
        ("Time,NS,EW,UD", "Time,NS,NS,UD", "column 3 is 'NS', expected"),
        ("Time,NS,EW,UD", "NS,EW,UD", "column 1 is 'NS', expected Time first"),
        ("Time,NS,EW,UD", "Time,NS,EW", "samples are not 3 finite numbers a line"),
        ("\n10.00,", "\n10.50,", "time 10.5 s does not follow at 100 Hz: samples miss"),
        ("\n10.00,", "\n10.00,nan,0.0,0.0\n10.01,", "are not 4 finite numbers|the number of columns"),
        ("Time(s),60", "Time(s),62", "cut: 6000 samples at 100 Hz, but Duration"),
        ("0.0000", "O.0000", "samples are no numbers"),
    ],
)
def test_damage_is_named(old, new, message):
    content = csv_record(KNET)
    assert old.encode() in content
    with pytest.raises(DataError, match=message) as caught:
        nied_format.read_csv(content.replace(old.encode(), new.encode(), 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.003, 0.005, 0.2, 0.9])
def test_cut_files(share):
    content = csv_record(KNET)
    with pytest.raises(DataError):
        nied_format.read_csv(content[: int(share * len(content))])


def test_records_of_the_csv_form_are_those_of_the_ascii_form(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "AKT0139608110312.csv").write_bytes(csv_record(KNET))
    (tmp_path / "csv" / "again.csv").write_bytes(csv_record(KNET))
    (tmp_path / "csv" / "AKTH04.csv").write_bytes(csv_record(KIKNET, code="AKTH04"))
    (tmp_path / "csv" / "cut.csv").write_bytes(csv_record(KNET, code="AKT020")[:9000])
    (tmp_path / "csv" / "lone.csv").write_bytes(csv_record({"EW": EAST, "UD": UP}, code="AKT021"))
    dataset = nied.read([tmp_path / "csv"], Limits())
    assert dropped(dataset) == {
        ("file", "given twice"): 1,
        ("file", "cannot be read"): 1,
        ("file", "only one horizontal of the surface sensor"): 1,
    }
    (tmp_path / "ascii").mkdir()
    for code, suffix in (("AKT013", ""), ("AKTH04", "2")):
        for name, peak in (("EW", 40), ("NS", 10)):
            record = ascii_record(name + suffix, shaking(peak), code=code)
            (tmp_path / "ascii" / f"{code}.{name}{suffix}").write_bytes(record)
    same = nied.read([tmp_path / "ascii"], Limits())
    pd.testing.assert_frame_equal(dataset.records, same.records, rtol=1e-3)
    pd.testing.assert_frame_equal(dataset.stations, same.stations)
    borehole = nied.read([tmp_path / "csv"], Limits(), sensor="borehole")
    assert borehole.records.PGA[0] == pytest.approx(same.records.PGA[0] / 4, rel=0.01)
    assert dropped(borehole)["file", "surface sensor"] == 3


def test_max_acc_is_compared(tmp_path):
    (tmp_path / "a.csv").write_bytes(csv_record(KNET, max_acc="10.0,20.0,5.0"))
    [noted] = nied.read([tmp_path / "a.csv"], Limits()).provenance["noted"]
    assert noted["examples"] == ["nied19960810181200.00 AKT013 EW: header 20, samples 40 gal"]
