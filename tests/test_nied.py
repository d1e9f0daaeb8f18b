import hashlib
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import obspy.io.nied
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.nied_files import ascii_record, shaking, tar
from helpers.tallies import dropped
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.waveforms import nied
from tfgmm.readers.waveforms.intensity_measures import Processing

SAMPLE = Path(obspy.io.nied.__file__).parent / "tests" / "data" / "test.knet"
EAST, NORTH = shaking(40, hz=2.0), shaking(10, hz=1.0)
SHORT = shaking(40, seconds=12), shaking(10, seconds=12)


def pair(code="AKT013", suffix="", east=EAST, north=NORTH, **header) -> dict[str, bytes]:
    """Return names and contents of the two horizontals and the vertical, as they lie in an archive."""
    samples = {"EW": east, "NS": north, "UD": shaking(5)}
    return {
        f"{code}9608110312.{name}{suffix}": ascii_record(name + suffix, counts, code=code, **header)
        for name, counts in samples.items()
    }


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def assert_nothing_lost(dataset: Dataset) -> None:
    read, drops = dataset.provenance["read"], dataset.provenance["dropped"]
    for what, kept in (
        ("event", len(dataset.events)),
        ("station", len(dataset.stations)),
        ("record", len(dataset.records)),
        ("file", 2 * read["record"]),
    ):
        assert read[what] == kept + sum(entry["count"] for entry in drops if entry["what"] == what)


def test_a_record(tmp_path):
    dataset = nied.read([write(tmp_path / "in", pair())], Limits(), ims=["PGA", "sa(0.5)"])
    assert dataset.events.iloc[0].to_dict() == {
        "event_id": "nied19960810181200.00",
        "origin_time": pd.Timestamp("1996-08-10T18:12Z"),
        "longitude": 140.63,
        "latitude": 38.92,
        "depth_km": 7.0,
        "magnitude": pytest.approx(0.917 * 5.9 + 0.337),
        "magnitude_source": "JMA converted",
    }
    station = dataset.stations.iloc[0]
    assert (station.station_id, station.network, station.elevation_m) == ("AKT013", "knet", 34)
    assert (station.longitude, station.latitude, station.sensor_depth_m) == (140.3213, 39.6069, 0)
    record = dataset.records.iloc[0]
    assert (record.event_id, record.station_id) == ("nied19960810181200.00", "AKT013")
    assert record["PGA"] == pytest.approx(np.sqrt(40 * 10) / 980.665, rel=0.01)
    assert record["SA(0.5)"] > 3 * record["PGA"], "resonance of one component"
    assert record.component == "geometric_mean"
    assert dropped(dataset) == {("file", "vertical component"): 1}
    assert_nothing_lost(dataset)


def test_golden_sample(tmp_path):
    """ObsPy's file as both horizontals: the PGA is the Max. Acc. of its header, 4.383 gal."""
    text = SAMPLE.read_bytes()
    contents = {"a.EW": text, "a.NS": text.replace(b"E-W", b"N-S")}
    processing = Processing(baseline="linear", taper_s=0, highpass_hz=None)
    dataset = nied.read([write(tmp_path / "in", contents)], Limits(), processing=processing)
    assert dataset.records.PGA[0] == pytest.approx(4.383 / 980.665, rel=1e-3)
    filtered = nied.read([tmp_path / "in"], Limits())
    assert filtered.records.PGA[0] == pytest.approx(4.383 / 980.665, rel=0.05)
    assert dataset.provenance["noted"] == []


def test_max_acc_that_disagrees_is_noted(tmp_path):
    dataset = nied.read([write(tmp_path / "in", pair(max_acc="40.000"))], Limits())
    (noted,) = dataset.provenance["noted"]
    assert (noted["reason"][:9], noted["count"], len(dataset.records)) == ("Max. Acc.", 1, 1)
    assert noted["examples"] == ["nied19960810181200.00 AKT013 NS: header 40, samples 9.99999 gal"]
    assert dataset.provenance["choices"]["Max. Acc."] == "may differ by 1% or 0.01 gal"


def test_component(tmp_path):
    folder = write(tmp_path / "in", pair(east=EAST, north=EAST))
    dataset = nied.read([folder], Limits(), component="rotd50")
    assert dataset.records.component[0] == dataset.provenance["component"] == "rotd50"
    assert dataset.records.PGA[0] == pytest.approx(40 / 980.665, rel=0.02), (
        "linear motion, over the root of 2"
    )


@pytest.mark.parametrize(
    ("sensor", "ids", "pga", "depth"),
    [("surface", ["AKT013", "AKTH04"], 40, 0), ("borehole", ["AKTH04-borehole"], 10, np.nan)],
)
def test_sensors(tmp_path, sensor, ids, pga, depth):
    contents = pair() | pair("AKTH04", "2") | pair("AKTH04", "1", NORTH, shaking(2.5))
    dataset = nied.read([write(tmp_path / "in", contents)], Limits(), sensor=sensor)
    assert dataset.stations.station_id.tolist() == ids
    assert dataset.stations.network.tolist() == ["knet", "kik"][-len(ids) :]
    assert dataset.stations.sensor_depth_m.tolist() == pytest.approx([depth] * len(ids), nan_ok=True)
    assert dataset.records.PGA[0] == pytest.approx(np.sqrt(pga * pga / 4) / 980.665, rel=0.02)
    other_sensor = {"surface": ("file", "borehole sensor"), "borehole": ("file", "surface sensor")}[sensor]
    assert dropped(dataset) == {("file", "vertical component"): 3, other_sensor: 2 * (3 - len(ids))}
    assert_nothing_lost(dataset)


def event_tar() -> bytes:
    """As NIED delivers an event: archives of both networks, and pictures."""
    knt = tar(pair() | {"AKT013.ps.gz": b"picture"}, "w:gz")
    kik = tar(pair("AKTH04", "1") | pair("AKTH04", "2"), "w:gz")
    return tar({"ev/ev.knt.tar.gz": knt, "ev/ev.kik.tar.gz": kik})


def test_nested_archives_folders_and_files_are_the_same(tmp_path):
    inside = write(tmp_path / "in", pair() | pair("AKTH04", "1") | pair("AKTH04", "2"))
    (tmp_path / "event.tar").write_bytes(event_tar())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as out:
        out.writestr("deep/event.tar", event_tar())
    choices = [[inside], sorted(inside.iterdir()), [tmp_path / "event.tar"], [tmp_path / "all.zip"]]
    seen = []
    datasets = [nied.read(paths, Limits(), progress=seen.append) for paths in choices]
    assert len({dataset.digest() for dataset in datasets}) == 1 and len(datasets[0].records) == 2
    assert [path.name for path in seen[-2:]] == ["event.tar", "all.zip"] and len(seen) == 9 + 9 + 2
    assert dropped(datasets[3])["file", "no K-NET or KiK-net file"] == 1
    twice = nied.read([inside, tmp_path / "event.tar"], Limits())
    assert twice.digest() == datasets[0].digest() and dropped(twice)["file", "given twice"] == 4
    for dataset in [*datasets, twice]:
        assert_nothing_lost(dataset)


def test_what_is_damaged_is_counted_and_named(tmp_path):
    contents = pair() | {
        "cut.EW": ascii_record("EW")[:20_000],
        "html.NS": b"<html>login</html>",
        "lone.EW": ascii_record("EW", code="AKT020"),
        "flat.EW": ascii_record("EW", np.full(6000, 7), code="AKT021"),
        "flat.NS": ascii_record("NS", NORTH, code="AKT021"),
        "readme.txt": b"text",
        "cut.tar": tar(pair("AKT022"))[:1000],
    }
    dataset = nied.read([write(tmp_path / "in", contents)], Limits())
    assert dropped(dataset) == {
        ("file", "cannot be read"): 4,
        ("file", "no K-NET or KiK-net file"): 1,
        ("file", "vertical component"): 1,
        ("file", "no partner within 1000 components"): 1,
        ("record", "waveform cannot be used"): 1,
        ("station", "no record is kept"): 2,
    }
    examples = {entry["reason"]: entry["examples"] for entry in dataset.provenance["dropped"]}
    assert examples["cannot be read"][0].startswith("cut.EW: cut: ")
    assert examples["cannot be read"][1].startswith("cut.tar/AKT022")
    assert examples["waveform cannot be used"][0].startswith(
        "nied19960810181200.00 AKT021: horizontal 1 is flat"
    )
    assert_nothing_lost(dataset)


def test_catalogue_gives_better_magnitudes(tmp_path):
    folder = write(tmp_path / "in", pair())
    (tmp_path / "gcmt.csv").write_text(
        "time,lat,lon,depth,Mw\n1996-08-11T03:12:05+09:00,38.9,140.6,9,6.1\n2001-01-01 00:00,38,140,9,6\n"
    )
    dataset = nied.read([folder], Limits(), catalogue=tmp_path / "gcmt.csv")
    event = dataset.events.iloc[0]
    assert (event.magnitude, event.magnitude_source, event.depth_km) == (6.1, "catalogue Mw", 7)
    report = dataset.provenance["choices"]["catalogue"]
    assert (report["file"], report["matched"], report["unmatched"]) == ("gcmt.csv", 1, 0)
    assert report["tolerance"] == {"seconds": 10.0, "km": 50.0, "magnitude": 1.0}
    assert [entry["file"] for entry in dataset.provenance["sources"]] == ["in", "gcmt.csv"]


def test_provenance(tmp_path):
    content = event_tar()
    (tmp_path / "event.tar").write_bytes(content)
    provenance = nied.read(
        [tmp_path / "event.tar"], Limits(), processing=Processing(highpass_hz=0.2)
    ).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["sources"] == [{"file": "event.tar", "sha256": hashlib.sha256(content).hexdigest()}]
    choices = provenance["choices"]
    assert (choices["sensor"], choices["processing"]["highpass_hz"]) == ("surface", 0.2)
    assert "0.917 Mj + 0.337" in choices["magnitude"] and "NIED" in provenance["attribution"]
    assert provenance["unit"] == {"PGA": "g"} and "triggered" in provenance["truncation"]
    assert str(tmp_path) not in json.dumps(provenance)


def test_bad_use(tmp_path):
    with pytest.raises(UsageError, match="absent does not exist"):
        nied.read([tmp_path / "absent"], Limits())
    with pytest.raises(UsageError, match="sensor 'deep' is unknown: choose surface or borehole"):
        nied.read([tmp_path], Limits(), sensor="deep")
    with pytest.raises(UsageError, match="unknown intensity measure 'PGD'"):
        nied.read([tmp_path], Limits(), ims=["PGD"])
    with pytest.raises(DataError, match="no pair of surface horizontals in 0 files"):
        nied.read([tmp_path], Limits())
    write(tmp_path / "in", pair())
    with pytest.raises(
        DataError, match=r"no pair of borehole .* 3 files: 2 surface sensor \(AKT.*; 1 vertical"
    ):
        nied.read([tmp_path], Limits(), sensor="borehole")
    with pytest.raises(UsageError, match="component 'median' is unknown"):
        nied.read([tmp_path], Limits(), component="median")
    with pytest.raises(DataError, match="no record is left"):
        nied.read([tmp_path], Limits(min_magnitude=9))


def test_memory_does_not_grow_with_the_records(tmp_path):
    peaks = []
    for number in (2, 2, 12):  # once to import what is imported late
        contents = [pair(f"AKT{i:03d}", east=SHORT[0], north=SHORT[1]) for i in range(number)]
        (tmp_path / "x.tar").write_bytes(tar({name: c for part in contents for name, c in part.items()}))
        tracemalloc.start()
        nied.read([tmp_path / "x.tar"], Limits())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


@pytest.fixture(scope="module")
def short() -> dict[str, dict[str, bytes]]:
    """Files of a dozen seconds, plain and in archives."""
    counts = {"east": SHORT[0], "north": SHORT[1]}
    contents = pair(**counts) | pair("AKTH04", "2", **counts)
    return {"plain": contents, "tar": {"x.tar": tar(contents)}, "gz": {"x.tar.gz": tar(contents, "w:gz")}}


@settings(max_examples=40)
@given(data=st.data())
def test_mutated_files_are_refused_or_counted(tmp_path_factory, short, data):
    contents = dict(short[data.draw(st.sampled_from(["plain", "tar", "gz"]))])
    name = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    ends = st.one_of(st.integers(0, 500), st.integers(0, len(content)))  # headers are worth more blows
    for place in data.draw(st.lists(ends, max_size=5)):
        content[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
    folder = write(tmp_path_factory.mktemp("fuzz"), contents | {name: bytes(content)})
    try:
        dataset = nied.read([folder], Limits())
    except (DataError, UsageError) as error:
        assert "\n" not in str(error)
    else:
        assert_nothing_lost(dataset)
