import datetime
import hashlib
import json
import math
import pickle
import random
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.tallies import assert_nothing_lost, dropped
from helpers.win32_writer import channel_block, channel_row, channel_table, second_block, win32_file
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.waveforms import intensity_measures, mesonet, obspy_files
from tfgmm.readers.waveforms.event_windows import Cut

RATE = 100
PER_COUNT = 2e-7  # of the default channel_row
ORIGIN = datetime.datetime(2018, 1, 5, 2, 2, 30, tzinfo=datetime.UTC)
BEGIN = ORIGIN - datetime.timedelta(seconds=60)
#: Depth, so that P (8 km/s) comes 5 s and S (3 km/s) 13.33 s after the origin.
DEPTH_KM = 40.0
LIGHT = intensity_measures.Processing(baseline="linear", taper_s=0.1, highpass_hz=None)
SETTINGS = mesonet.WaveformSettings(ims=("PGA",), correction="none", processing=LIGHT)


def motion(seconds: int = 240, seed: int = 0) -> np.ndarray:
    """Return counts of two horizontals: noise, and a burst 15 s after the origin."""
    rng = np.random.default_rng(seed)
    time = np.arange(seconds * RATE) / RATE - 60
    burst = np.exp(-(((time - 15) / 3) ** 2)) * np.sin(2 * np.pi * 2 * time)
    return np.round(rng.normal(0, 20, (2, len(time))) + np.array([[4e6], [3e6]]) * burst + 5000).astype(int)


def minutes(folder: Path, counts: np.ndarray, channels=(0x8A01, 0x8A02)) -> list[Path]:
    """Write WIN32 files of one minute each."""
    paths = []
    for minute in range(counts.shape[1] // (60 * RATE)):
        blocks = []
        for second in range(60 * minute, 60 * minute + 60):
            part = counts[:, second * RATE : (second + 1) * RATE]
            data = [channel_block(c, samples) for c, samples in zip(channels, part, strict=True)]
            blocks.append(second_block(BEGIN + datetime.timedelta(seconds=second), *data))
        paths.append(win32_file(folder / f"{minute:02d}.cnt", *blocks))
    return paths


def traces(counts: np.ndarray, station: str = "AC3M", channels=("HNN", "HNE")) -> obspy.Stream:
    head = {"station": station, "starttime": obspy.UTCDateTime(BEGIN), "sampling_rate": RATE}
    return obspy.Stream(
        [
            obspy.Trace(c.astype(np.int32), head | {"channel": n})
            for c, n in zip(counts, channels, strict=True)
        ]
    )


@pytest.fixture
def catalogue(tmp_path):
    def _catalogue(*rows: str) -> Path:
        path = tmp_path / "catalogue.csv"
        rows = rows or (f"{ORIGIN.isoformat()},139.7,35.6,{DEPTH_KM},6.0",)
        path.write_text("time,longitude,latitude,depth,mw\n" + "\n".join(rows) + "\n")
        return path

    return _catalogue


@pytest.fixture
def channels(tmp_path) -> Path:
    return channel_table(tmp_path / "table.ch", channel_row(), channel_row("8A02", component="E"))


def station_csv(folder: Path, text: str = f"AC3M,139.7,35.6,,{1 / PER_COUNT}") -> Path:
    path = folder / "stations.csv"
    path.write_text("station,longitude,latitude,unit,gain\n" + text + "\n")
    return path


def write(folder: Path, *streams: obspy.Stream) -> list[Path]:
    paths = [folder / f"{i}.mseed" for i in range(len(streams))]
    for stream, path in zip(streams, paths, strict=True):
        stream.write(path, format="MSEED")
    return paths


def at(seconds: float) -> obspy.UTCDateTime:
    """Return the time in seconds after the origin."""
    return obspy.UTCDateTime(ORIGIN) + seconds


def expected_pga(counts: np.ndarray, start_s: float, end_s: float) -> float:
    """Compute PGA in g by hand: window in s after the origin, no straight line, taper of 10 samples."""
    time = np.arange(counts.shape[1]) / RATE - 60
    part = counts[:, (time >= start_s) & (time <= end_s + 1e-9)] * PER_COUNT
    x = np.arange(part.shape[1])
    peaks = [np.abs(row - np.polyval(np.polyfit(x, row, 1), x)).max() for row in part]
    return math.sqrt(peaks[0] * peaks[1]) / 9.80665


def test_win32_miniseed_and_sac_give_what_was_made(tmp_path, catalogue, channels):
    counts, read = motion(), {}
    read["win32"] = mesonet.read(
        minutes(tmp_path, counts)[::-1], catalogue(), Limits(), channels=channels, settings=SETTINGS
    )
    traces(counts).write(tmp_path / "a.mseed", format="MSEED")
    for trace in traces(counts):
        trace.data = trace.data.astype(np.float32)
        trace.write(str(tmp_path / f"{trace.id}.sac"), format="SAC")
    for kind in ("mseed", "sac"):
        read[kind] = mesonet.read(
            [*tmp_path.glob(f"*.{kind}")],
            catalogue(),
            Limits(),
            stations=station_csv(tmp_path),
            settings=SETTINGS,
        )
    expected = expected_pga(counts, 5 - 15, DEPTH_KM / 3 + 90)
    assert expected == pytest.approx(math.sqrt(12) * 1e6 * PER_COUNT / 9.80665, rel=0.01), "the burst"
    for dataset in read.values():
        [record] = dataset.records.itertuples()
        assert pytest.approx(expected, rel=1e-6) == record.PGA
        assert record.duration_s == pytest.approx(15 + 90 + DEPTH_KM / 3 - 5, abs=1 / RATE)
        assert_nothing_lost(dataset)


def test_the_dataset(tmp_path, catalogue, channels):
    paths = minutes(tmp_path, motion())
    dataset = mesonet.read(
        paths, catalogue(), Limits(), channels=channels, settings=mesonet.WaveformSettings(processing=LIGHT)
    )
    [event], [station] = dataset.events.itertuples(), dataset.stations.itertuples()
    assert (event.origin_time, event.magnitude, event.depth_km) == (pd.Timestamp(ORIGIN), 6.0, DEPTH_KM)
    assert (station.station_id, station.network, station.sensor_depth_m) == ("E.AC3M", "meso", 20.0)
    assert (station.longitude, station.latitude) == (139.7, 35.6)
    assert dataset.ims == ["PGA", "SA(1.0)"]
    provenance = dataset.provenance
    names = [*(path.name for path in paths[:3]), "catalogue.csv", "table.ch"]
    assert [source["file"] for source in provenance["sources"]] == names, "the window ends in the third"
    assert provenance["sources"][0]["sha256"] == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert provenance["choices"]["correction"] == "ln"
    assert provenance["choices"]["window"]["after_s"] == 90.0
    assert provenance["choices"]["processing"]["baseline"] == "linear"
    assert str(tmp_path) not in json.dumps(provenance)
    written = dataset.write(tmp_path / "dataset")
    assert Dataset.read(tmp_path / "dataset").digest() == written.provenance["digest"]


@pytest.mark.parametrize(
    ("correction", "factor"),
    [("ln", 1.6487213), ("intensity", 1.7782794), ("log10", 3.1622777), ("none", 1)],
)
@pytest.mark.parametrize(("depth", "corrected"), [("", True), ("35", True), ("0", False)])
def test_correction(tmp_path, catalogue, correction, factor, depth, corrected):
    paths = write(tmp_path, traces(motion()))
    table = tmp_path / "stations.csv"
    table.write_text(f"station,longitude,latitude,unit,sensor_depth_m\nAC3M,139.7,35.6,nm/s^2,{depth}\n")
    pga, sa = [], []
    for name in (correction, "none"):
        chosen = mesonet.WaveformSettings(correction=name, processing=LIGHT)
        dataset = mesonet.read(paths, catalogue(), Limits(), stations=table, settings=chosen)
        assert dataset.provenance["choices"]["correction"] == name
        pga.append(dataset.records["PGA"][0])
        sa.append(dataset.records["SA(1.0)"][0])
    expected = pytest.approx(factor if corrected else 1, rel=1e-7)
    assert pga[0] / pga[1] == expected
    assert sa[0] / sa[1] == expected


@pytest.mark.parametrize(
    ("unit", "gain", "scale"),
    [("m/s^2", "", 1), ("gal", "", 0.01), ("nm/s^2", "", 1e-9), ("g", "", 9.80665), ("", "400", 0.0025)],
)
def test_units(tmp_path, catalogue, unit, gain, scale):
    stream = traces(motion())
    for trace in stream:
        trace.data = trace.data / scale * PER_COUNT
    stream.write(tmp_path / "a.mseed", format="MSEED")
    table = station_csv(tmp_path, f"AC3M,139.7,35.6,{unit},{gain}")
    dataset = mesonet.read([tmp_path / "a.mseed"], catalogue(), Limits(), stations=table, settings=SETTINGS)
    assert dataset.records.PGA[0] == pytest.approx(expected_pga(motion(), -10, 103.33), rel=1e-6)


def without(first: float, last: float):
    return lambda b: [b.slice(endtime=at(first)), b.slice(starttime=at(last))]


def doubled(b: obspy.Stream) -> list[obspy.Stream]:
    again = b.slice(at(0), at(30)).copy()
    again[0].data *= 2
    return [b.slice(endtime=at(20)), again]


def slower(b: obspy.Stream) -> list[obspy.Stream]:
    return [b.slice(endtime=at(20)), b.slice(starttime=at(20)).decimate(2)]


def flat(b: obspy.Stream) -> list[obspy.Stream]:
    b[1].data[:] = 7
    return [b]


GAP = "a gap, or no data, in the part of its window that is needed"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without(14, 14.5), GAP),
        (without(-4, -2), GAP),  # P comes at 5 s: 10 s before it are needed
        (lambda b: [b.slice(endtime=at(33))], GAP),  # S at 13.3 s, and 20 s are needed after it
        (lambda b: [b.select(channel="HNN")], "only one horizontal"),
        (doubled, "two files disagree on its samples"),
        (slower, "sampling rate changes in its window"),
        (flat, "horizontal 2 is flat"),
    ],
)
def test_records_that_cannot_be_used_are_counted(tmp_path, catalogue, spoil, reason):
    streams = spoil(traces(motion(seed=1), "B"))
    for stream in streams:
        for trace in stream:
            trace.data = trace.data.astype(np.int32)
    paths = write(tmp_path, traces(motion()), *streams)
    table = station_csv(tmp_path, "AC3M,139.7,35.6,nm/s^2,\nB,139.7,35.6,nm/s^2,")
    dataset = mesonet.read(paths, catalogue(), Limits(), stations=table, settings=SETTINGS)
    assert dataset.records.station_id.tolist() == ["AC3M"]
    assert dropped(dataset)["record", reason] == 1
    assert_nothing_lost(dataset)


def test_a_record_ends_at_a_gap_after_what_is_needed(tmp_path, catalogue):
    paths = write(tmp_path, *without(60, 62)(traces(motion())))
    dataset = mesonet.read(paths, catalogue(), Limits(), stations=station_csv(tmp_path), settings=SETTINGS)
    assert dataset.records.duration_s[0] == pytest.approx(70, abs=2 / RATE), "from 10 s before the origin"
    assert dataset.records.PGA[0] == pytest.approx(expected_pga(motion(), -10, 60), rel=1e-6)


def test_sampling_times_may_lie_between_whole_seconds(tmp_path, catalogue):
    stream = traces(motion())
    for trace in stream:
        trace.stats.starttime += 0.0037
    paths = write(tmp_path, stream.slice(endtime=at(13)), stream.slice(starttime=at(13)))
    dataset = mesonet.read(paths, catalogue(), Limits(), stations=station_csv(tmp_path), settings=SETTINGS)
    assert dataset.records.duration_s[0] == 113.33, "samples at -9.9963, -9.9863 ... 103.3237 s"
    assert dataset.records.PGA[0] == pytest.approx(expected_pga(motion(), -10, 103.33), rel=1e-6)


@pytest.mark.parametrize(
    ("rates", "kept"),
    [
        ((100, 99.9998, 100.0001, 100), True),
        ((99.9951, 100.0, 100.003, 100), True),  # 0.92 samples over the window of 113 s
        ((100.0, 99.991, 100.0, 100), False),  # 1.02 samples
        ((100, 50, 100, 100), False),
    ],
)
def test_a_clock_that_drifts(tmp_path, catalogue, rates, kept):
    """Minutes whose rates differ a little follow each other, in any order of the files."""
    begin, counts, streams = obspy.UTCDateTime(BEGIN), motion(), []
    for minute, rate in enumerate(rates):
        stream = traces(counts[:, 6000 * minute : 6000 * (minute + 1)])
        for trace in stream:
            trace.stats.sampling_rate, trace.stats.starttime = rate, begin
        streams.append(stream)
        begin += 6000 / rate
    paths = write(tmp_path, *streams)
    for order in (paths, paths[::-1]):
        arguments = order, catalogue(), Limits()
        if not kept:
            with pytest.raises(DataError, match="1 record: sampling rate changes in its window"):
                mesonet.read(*arguments, stations=station_csv(tmp_path), settings=SETTINGS)
            continue
        dataset = mesonet.read(*arguments, stations=station_csv(tmp_path), settings=SETTINGS)
        assert dataset.records.PGA[0] == pytest.approx(expected_pga(motion(), -10, 103.33), rel=1e-5)
        assert dataset.records.duration_s[0] == pytest.approx(113.33, abs=0.02)


def test_files_of_one_channel_that_disagree_give_no_record_in_any_order(tmp_path, catalogue):
    """Two whole files with other samples: neither is right because of its name."""
    louder = traces(motion())
    for trace in louder:
        trace.data = trace.data * 2
    whole = traces(motion(seed=1), "B")
    paths = write(tmp_path, traces(motion()), louder, whole)
    table = station_csv(tmp_path, "AC3M,139.7,35.6,nm/s^2,\nB,139.7,35.6,nm/s^2,")
    for order in (paths, paths[::-1]):
        dataset = mesonet.read(order, catalogue(), Limits(), stations=table, settings=SETTINGS)
        assert dataset.stations.station_id.tolist() == ["B"]
        assert dropped(dataset)["record", "two files disagree on its samples"] == 1


def test_a_record_is_measured_before_later_files_are_read(tmp_path, catalogue, channels, monkeypatch):
    paths, log, measure = minutes(tmp_path, motion(600)), [], intensity_measures.intensity_measures
    monkeypatch.setattr(
        intensity_measures, "intensity_measures", lambda *a: log.append("measured") or measure(*a)
    )
    later = ORIGIN + datetime.timedelta(seconds=240)
    table = catalogue(*(f"{time.isoformat()},139.7,35.6,{DEPTH_KM},5" for time in (ORIGIN, later)))
    dataset = mesonet.read(
        paths[5:] + paths[:5], table, Limits(), channels=channels, settings=SETTINGS,
        progress=lambda path: log.append(path.stem),
    )  # fmt: skip
    assert log == ["00", "01", "02", "measured", "04", "05", "06", "measured"]
    assert dropped(dataset) == {("file", "no event in its time"): 4}
    assert dataset.records.PGA[0] == pytest.approx(expected_pga(motion(600), -10, 103.33), rel=1e-6)


def test_an_event_in_the_window_of_a_smaller_one(tmp_path, catalogue):
    def row(seconds, magnitude, longitude=139.7):
        time = ORIGIN + datetime.timedelta(seconds=seconds)
        return f"{time.isoformat()},{longitude},35.6,{DEPTH_KM},{magnitude}"

    table = catalogue(
        row(0, 6.0), row(0, 6.0), row(30, 5.0), row(5, 7.0, longitude=150), row(10, 3.0), row(7200, 5.0)
    )  # fmt: skip
    paths = write(tmp_path, traces(motion(300)))
    dataset = mesonet.read(paths, table, Limits(), stations=station_csv(tmp_path), settings=SETTINGS)
    assert dataset.events.magnitude.tolist() == [6.0], "the far one and the small one do not matter"
    assert dropped(dataset) == {
        ("record", "another event, as large or larger, in its window"): 1,
        ("event", "listed twice"): 1,
        ("event", "magnitude below 4"): 1,
        ("event", "fewer than 1 records"): 3,
    }
    assert_nothing_lost(dataset)


def test_files_channels_and_traces_that_are_not_used_are_counted(tmp_path, catalogue, channels):
    late = traces(motion(60))
    for trace in late:
        trace.stats.starttime += 3600
    unusable = traces(motion(), "C") + traces(motion()[:1], channels=("HNZ",))
    again = traces(motion()).slice(starttime=at(20))
    paths = write(tmp_path, traces(motion()), late, unusable, traces(motion()), again)
    dataset = mesonet.read(paths, catalogue(), Limits(), stations=station_csv(tmp_path), settings=SETTINGS)
    assert dropped(dataset) == {
        ("channel", "its station is not in the table"): 2,
        ("channel", "not horizontal"): 1,
        ("file", "no event in its time"): 1,
        ("file", "given twice"): 1,
    }, "samples that are there twice, and agree, do no harm"
    assert dataset.provenance["read"]["file"] == 5
    assert len(dataset.provenance["sources"]) == 3 + 2

    table = channel_table(
        channels, channel_row(), channel_row("8A02", component="EW"), channel_row("8A03", component="U"),
        channel_row("8A04", "N.X", unit="m/s"), channel_row("8A05", "E.Z", sensitivity="*"),
        channel_row("8A06", "N.Y", unit="m"),
    )  # fmt: skip
    counts = np.concatenate([motion(), motion()[:2]])
    paths = minutes(tmp_path, counts, (0x8A01, 0x8A02, 0x8A03, 0x9999))
    dataset = mesonet.read(paths, catalogue(), Limits(), channels=table, settings=SETTINGS)
    assert len(dataset.records) == 1
    assert dropped(dataset) == {
        ("file", "no event in its time"): 1,
        ("channel", "measures velocity, no acceleration"): 1,
        ("channel", "unit is no acceleration"): 1,
        ("channel", "not horizontal"): 1,
        ("channel", "sensitivity, gain or LSB unknown"): 1,
        ("channel", "not in the channel table"): 1,
    }


def test_a_limit_on_the_region_leaves_stations_out(tmp_path, catalogue):
    table = station_csv(tmp_path, "AC3M,139.7,35.6,nm/s^2,\nB,141.7,35.6,nm/s^2,")
    paths = write(tmp_path, traces(motion()), traces(motion(seed=1), "B"))
    limits = Limits(region=(139, 35, 140, 36))
    dataset = mesonet.read(paths, catalogue(), limits, stations=table, settings=SETTINGS)
    assert dataset.stations.station_id.tolist() == ["AC3M"]
    assert dropped(dataset) == {("station", "outside the region"): 1}


@pytest.mark.parametrize("kind", ["MSEED", "SAC", "GSE2", "SLIST"])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
@example(seed=781)  # a signalling NaN among the samples of the SAC file
def test_mutated_files_are_read_or_refused(tmp_path_factory, kind, seed):
    folder, rng = tmp_path_factory.getbasetemp(), random.Random(seed)
    traces(motion(1).astype(np.int32))[:1].write(str(folder / "whole"), format=kind)
    content = bytearray((folder / "whole").read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    (folder / "mutated").write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
    source = obspy_files.ObspyFiles(station_csv(folder), Tally())
    try:
        begin, end = source.span(folder / "mutated")
        source.choose_channels([folder / "mutated"])
        pieces = list(source.pieces(folder / "mutated", lambda *_: True))
    except DataError:
        return
    assert begin <= end and all(piece.samples.ndim == 1 for piece in pieces)


def test_without_a_record_the_reasons_are_told(tmp_path, catalogue):
    paths = write(tmp_path, traces(motion()[:1], channels=("HNZ",)))
    table = station_csv(tmp_path)
    with pytest.raises(DataError, match=r"no record in 1 files \(1 channel: not horizontal\): check"):
        mesonet.read(paths, catalogue(), Limits(), stations=table, settings=SETTINGS)
    in_japanese_time = f"{ORIGIN + datetime.timedelta(hours=9):%Y-%m-%dT%H:%M:%S},139.7,35.6,40,6"
    with pytest.raises(DataError, match="1 file: no event in its time"):
        mesonet.read(paths, catalogue(in_japanese_time), Limits(), stations=table, settings=SETTINGS)


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def test_a_pickle_is_not_opened(tmp_path, catalogue, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.mseed").write_bytes(pickle.dumps(["obspy.core.stream", Trap()]))
    with pytest.raises(DataError, match="trap.mseed is damaged, or none of MSEED"):
        mesonet.read([tmp_path / "trap.mseed"], catalogue(), Limits(), stations=station_csv(tmp_path))
    assert not Path("unpickled").exists()


def test_tables_of_the_wrong_kind(tmp_path, catalogue, channels):
    with pytest.raises(DataError, match=r"no horizontal channel in m/s/s \(its units are m/s\)"):
        table = channel_table(channels, channel_row(unit="m/s"))
        mesonet.read([], catalogue(), Limits(), channels=table)
    with pytest.raises(DataError, match="channels of station E.AC3M stand at two places"):
        table = channel_table(channels, channel_row(), channel_row("8A02", component="E", latitude="36"))
        mesonet.read([], catalogue(), Limits(), channels=table)
    with pytest.raises(UsageError, match="one of the two"):
        mesonet.read([], catalogue(), Limits())
    with pytest.raises(UsageError, match=r"gone\.mseed does not exist"):
        mesonet.read([tmp_path / "gone.mseed"], catalogue(), Limits(), stations=station_csv(tmp_path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mesonet.WaveformSettings(correction="log2"), "correction 'log2' is unknown"),
        (lambda: mesonet.WaveformSettings(sensor_depth_m=math.nan), "sensor depth is nan m"),
        (
            lambda: mesonet.WaveformSettings(cut=Cut(needed_before_s=5)),
            "baseline is taken from 10 s before P",
        ),
        (lambda: Cut(vp_km_s=2), "velocities must be vp 2 > vs 3 > 0"),
        (lambda: Cut(after_s=10), "needed_after_s is 20: it must be from 0 to after_s, 10"),
    ],
)
def test_settings_that_do_not_fit(make, message):
    with pytest.raises(UsageError, match=message):
        make()
