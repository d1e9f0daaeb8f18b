import numpy as np
import pytest

from helpers.nied_files import ascii_record, shaking
from tfgmm.core.errors import DataError
from tfgmm.readers.waveforms import nied
from tfgmm.readers.waveforms.archive import Member
from tfgmm.readers.waveforms.nied import Pairs, UniqueNames


def peaks(motion: np.ndarray, dt: float) -> list[float]:
    return [float(np.ptp(row)) for row in motion]


@pytest.fixture
def pairs():
    return Pairs("surface", peaks)


def add(pairs: Pairs, *contents, names="ab") -> None:
    for name, content in zip(names, contents, strict=False):
        pairs.add(Member(name, content))


def dropped(pairs: Pairs) -> dict:
    return {(entry["what"], entry["reason"]): entry["count"] for entry in pairs.tally.dropped()}


def test_east_comes_before_north_in_whatever_order(pairs):
    east, north = shaking(30), shaking(10)
    for code, order in (("AKT001", 1), ("AKT002", -1)):
        add(pairs, *[ascii_record("EW", east, code=code), ascii_record("NS", north, code=code)][::order])
    pairs.end()
    rows = pairs.rows(["first", "second"])
    assert rows.station_id.tolist() == ["AKT001", "AKT002"]
    assert (rows["first"] > 2.9 * rows["second"]).all()


def test_components_of_different_records_are_no_pair(pairs):
    changes = [
        {"code": "AKT014"},
        {"record": "1996/08/11 03:13:39"},
        {"origin": "1996/08/11 03:13:00"},
        {"event": ("39.920", "140.630", "7", "5.9")},
    ]
    add(pairs, ascii_record("NS"))
    for change in changes:
        add(pairs, ascii_record("EW", **change))
    with pytest.raises(DataError, match=r"no pair of surface horizontals in 5 files: 5 no partner .*\(a\)"):
        pairs.end()


def test_a_file_given_twice(pairs):
    add(pairs, *[ascii_record("EW")] * 2, ascii_record("NS"), *[ascii_record("EW")] * 2, names="abcde")
    pairs.end()
    assert dropped(pairs) == {("file", "given twice"): 3}
    assert pairs.tally.read == {"file": 5, "record": 1, "event": 1, "station": 1}


def test_what_waits_is_limited(pairs, monkeypatch):
    monkeypatch.setattr(nied, "WAITING", 2)
    codes = [f"AKT{i:03d}" for i in range(4)]
    add(pairs, *[ascii_record("EW", code=code) for code in codes], names=codes)
    add(pairs, ascii_record("NS", code="AKT003"))
    pairs.end()
    assert pairs.stations.station_id.tolist()[-1] == "AKT003" and len(pairs.rows(["E", "N"])) == 1
    assert dropped(pairs) == {("file", "no partner within 2 components"): 3}


def test_unequal_components(pairs):
    add(pairs, ascii_record("EW", shaking(20, seconds=60)), ascii_record("NS", shaking(20, seconds=70)))
    with pytest.raises(DataError, match="1 waveform cannot be used .*AKT013: EW and NS differ in sampling"):
        pairs.end()


def test_max_acc_that_disagrees_is_reported(pairs):
    counts = shaking(20)
    for i, listed in enumerate(["20.000", "20.19", "20.21", "nan", "2000"]):
        code = f"AKT{i:03d}"
        add(
            pairs,
            ascii_record("EW", counts, code=code, max_acc=listed),
            ascii_record("NS", counts, code=code),
        )
    pairs.end()
    assert [text.split(":")[0][-9:] for text in pairs.disagreements] == [
        "AKT002 EW",
        "AKT003 EW",
        "AKT004 EW",
    ]
    assert pairs.disagreements[0] == "nied19960810181200.00 AKT002 EW: header 20.21, samples 20 gal"


def test_headers_of_one_earthquake(pairs):
    """Old headers round the epicentre; two earthquakes may begin in one minute."""
    near, far = ("38.9", "140.6", "7", "5.9"), ("39.92", "140.63", "7", "5.9")
    for code, event in (("AKT001", ("38.920", "140.630", "7", "5.9")), ("AKT002", near), ("AKT003", far)):
        for channel in ("EW", "NS"):
            add(pairs, ascii_record(channel, code=code, event=event))
    pairs.end()
    event_id = "nied19960810181200.00"
    assert pairs.rows(["E", "N"]).event_id.tolist() == [event_id, event_id, f"{event_id}-2"]
    assert pairs.events.set_index("event_id").latitude.to_dict() == {
        event_id: 38.92,
        f"{event_id}-2": 39.92,
    }


def test_a_station_that_moves(pairs):
    for minute, latitude in enumerate(["39.6069", "39.6070", "39.6169", "39.6069"]):
        for channel in ("EW", "NS"):
            place = (latitude, "140.3213", "34")
            add(pairs, ascii_record(channel, station=place, origin=f"1996/08/11 03:{minute}:00"))
    pairs.end()
    assert pairs.rows(["E", "N"]).station_id.tolist() == ["AKT013", "AKT013", "AKT013-2", "AKT013"]
    assert pairs.stations.latitude.tolist() == [39.6069, 39.6169]


def test_places():
    places = UniqueNames(1.0)
    rows = [
        ("a", (0.0, 0.0, "x")),
        ("a", (0.0, 0.0089, "y")),
        ("a", (0.0, 0.0091, "z")),
        ("b", (0.0, 0.0, "x")),
    ]
    assert [places.name(*row) for row in rows] == ["a", "a", "a-2", "b"]
    assert places.table("id", "lon", "lat", "what").what.tolist() == ["x", "z", "x"]


def test_no_file_at_all(pairs):
    with pytest.raises(DataError, match="in 0 files: give K-NET or KiK-net files"):
        pairs.end()
