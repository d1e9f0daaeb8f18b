"""Which channels are taken as the two horizontals of an accelerometer: by what they say, never by names."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
from tallies import assert_nothing_lost, dropped
from win32_writer import channel_block, channel_row, channel_table, second_block, win32_file

from tfgmm.accelerograms import instruments, mesonet, waveforms
from tfgmm.accelerograms.event_windows import Cut
from tfgmm.errors import DataError, UsageError
from tfgmm.sources.selection import Limits

RATE = 100
#: Seconds of data before the origin.
BEFORE = 20
ORIGIN = pd.Timestamp("2018-01-05T02:02:30Z")
CATALOGUE = f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
LIGHT = waveforms.Processing(baseline="linear", taper_s=0.1, highpass_hz=None)
CUT = Cut(before_s=12, after_s=30)
SETTINGS = mesonet.Settings(ims=("PGA",), correction="none", processing=LIGHT, cut=CUT)
DIFFERENTIATE = dataclasses.replace(SETTINGS, velocity="differentiate")
VELOCITY = ("channel", "measures velocity, no acceleration")
OTHER = ("record", "another instrument of its station is taken")


def counts(peak: float, seed: int = 0, rate: float = RATE) -> np.ndarray:
    """Whole numbers of two horizontals: a burst of 2 Hz that swings to `peak`, 15 s after the origin."""
    time = np.arange(80 * round(rate)) / rate - BEFORE
    burst = np.exp(-(((time - 15) / 3) ** 2)) * np.cos(2 * np.pi * 2 * (time - 15))
    noise = np.random.default_rng(seed).normal(0, peak / 1e5, (2, len(time)))
    return np.round(peak * burst + noise).astype(np.int32)


def stream(name: str, pair: np.ndarray, channels, rate: float = RATE) -> obspy.Stream:
    network, station, location = name.split(".")
    head = {
        "network": network,
        "station": station,
        "location": location,
        "starttime": obspy.UTCDateTime(ORIGIN.timestamp() - BEFORE),
        "sampling_rate": rate,
    }
    return obspy.Stream(
        [
            obspy.Trace(row.copy(), head | {"channel": channel})
            for row, channel in zip(pair, channels, strict=False)
        ]
    )


def write(folder: Path, *streams: obspy.Stream, kind: str = "MSEED") -> list[Path]:
    paths = [folder / f"{i}.{kind.lower()}" for i in range(len(streams))]
    for traces, path in zip(streams, paths, strict=True):
        traces.write(str(path), format=kind)
    return paths


def read(folder: Path, paths, table: str = "AAA,gal,,,", settings=SETTINGS):
    """The dataset in every order of the files, which must not matter."""
    stations = folder / "stations.csv"
    rows = [f"{row},139.7,35.6" for row in table.split()]
    header = "station,unit,gain,velocity_unit,velocity_gain,Lng,LAT\n"
    stations.write_text(header + "\n".join(rows) + "\n")
    (folder / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    datasets = [
        mesonet.read(order, folder / "cat.csv", Limits(), stations=stations, settings=settings)
        for order in (paths, paths[::-1])
    ]
    assert datasets[0].digest() == datasets[1].digest()
    assert dropped(datasets[0]) == dropped(datasets[1])
    assert_nothing_lost(datasets[0])
    return datasets[0]


def pga(gal: float, tolerance: float = 0.01):
    return pytest.approx(gal / 980.665, rel=tolerance)


def test_a_seismometer_beside_an_accelerometer_is_left_out(tmp_path):
    paths = write(
        tmp_path,
        stream("CI.AAA.", counts(3e6), ["HHN", "HHE"]),
        stream("CI.AAA.", counts(200), ["HNN", "HNE"]),
        stream("CI.CCC.", counts(3e6), ["BLN", "BLE"]),
    )
    dataset = read(tmp_path, paths, "AAA,gal,,, CCC,gal,,,")
    assert dataset.stations.station_id.tolist() == ["AAA"]
    assert dataset.records.PGA[0] == pga(200)
    assert dropped(dataset) == {VELOCITY: 4, ("station", "no record is kept"): 1}
    assert dataset.provenance["choices"]["velocity"] == "leave-out"


@pytest.mark.parametrize("table", ["AAA,,,m/s,", "AAA,gal,,,1", "AAA,gal,,um/s,"])
def test_velocity_is_differentiated_on_request(tmp_path, table):
    scale = 1e6 if "um" in table else 1
    velocity = counts(1e6)  # m/s: a peak a = 2 pi f v, far above the rounding to whole numbers
    traces = stream("CI.AAA.", velocity, ["HHN", "HHE"])
    for trace in traces:
        trace.data = trace.data * (1e-6 * scale)
    dataset = read(tmp_path, write(tmp_path, traces), table, DIFFERENTIATE)
    assert dataset.records.PGA[0] == pga(100 * 2 * np.pi * 2)
    assert dataset.provenance["choices"]["velocity"] == "differentiate"


def test_velocity_of_unknown_unit_is_not_differentiated_and_acceleration_goes_first(tmp_path):
    seismometer = stream("CI.AAA.", counts(3e6, rate=200), ["HHN", "HHE"], rate=200)
    accelerometer = stream("CI.AAA.", counts(200), ["HNN", "HNE"])
    paths = write(tmp_path, seismometer, accelerometer)
    dataset = read(tmp_path, paths, "AAA,gal,,,", DIFFERENTIATE)
    assert dropped(dataset) == {("channel", "no unit or gain of its velocity in the station table"): 2}
    dataset = read(tmp_path, paths, "AAA,gal,,,1e9", DIFFERENTIATE)
    assert dataset.records.PGA[0] == pga(200) and dropped(dataset) == {OTHER: 1}
    accelerometer[0].data[3500:3510] = 2**16
    paths = write(tmp_path, seismometer, accelerometer)
    dataset = read(tmp_path, paths, "AAA,gal,,,1e9", DIFFERENTIATE)
    assert dataset.records.PGA[0] == pytest.approx(3e-3 * 4 * np.pi / 9.80665, rel=0.01), "it is clipped"


def test_one_of_several_instruments_by_rate_and_codes(tmp_path):
    names = ["CI.AAA.10", "CI.AAA.", "CI.AAA.00"]
    streams = [stream(name, counts(100 * i), ["HNN", "HNE"]) for i, name in enumerate(names, 1)]
    dataset = read(tmp_path, write(tmp_path, *streams))
    assert dataset.records.PGA[0] == pga(200), "no location code goes before 00 and 10"
    assert dropped(dataset) == {OTHER: 2}
    faster = stream("CI.AAA.20", counts(400, rate=200), ["CNN", "CNE"], rate=200)
    dataset = read(tmp_path, write(tmp_path, *streams, faster))
    assert dataset.records.PGA[0] == pga(400), "a higher sampling rate goes before location codes"


def test_a_row_for_two_networks_is_refused(tmp_path):
    paths = write(tmp_path, *(stream(f"{n}.AAA.", counts(200), ["HNN", "HNE"]) for n in ("CI", "NC")))
    with pytest.raises(DataError, match=r"AAA of the station table is CI.AAA and NC.AAA .*NET\.STA"):
        read(tmp_path, paths)
    assert len(read(tmp_path, paths, "CI.AAA,gal,,, NC.AAA,gal,,,").records) == 2


@pytest.mark.parametrize(
    ("channels", "reasons"),
    [
        (["HN2", "HN3", "HNZ"], {("channel", "not horizontal"): 1}),
        (["HN1", "HN2", "HNZ"], {("channel", "not horizontal"): 1}),
        (["HN1", "HN3", "HNZ"], {("channel", "not horizontal"): 1}),
        (["HN1", "HN2"], {}),
        (["HNX", "HNY", "HNZ"], {("channel", "not horizontal"): 1}),
        (["HNR", "HNT"], {}),
        (["N", "E", "Z"], {("channel", "not horizontal"): 1}),
        (["NS", "EW", "UD"], {("channel", "not horizontal"): 1}),
        (["GN1", "GN2"], {}),
        (["HGN", "HGE"], {}),
    ],
)
def test_any_pair_of_horizontals(tmp_path, channels, reasons):
    three = np.concatenate([counts(200), counts(900, seed=3)[:1]])
    files = [stream("CI.AAA.", three[i : i + 1], channels[i : i + 1]) for i in range(len(channels))]
    dataset = read(tmp_path, write(tmp_path, *files))
    assert dataset.records.PGA[0] == pga(200) and dropped(dataset) == reasons


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        (["HN1", "HN2", "HN3"], "which of 1, 2, 3 is the vertical cannot be told"),
        (["HN2", "HN3"], "which of 1, 2, 3 is the vertical cannot be told"),
        (["HDN", "HDE"], r"measures no acceleration \(instrument code D\)"),
        (["HJN", "HJE"], r"measures no acceleration \(instrument code J\)"),
        (["HHN", "HHE"], "measures velocity, no acceleration"),
        (["ELN", "ELE"], "measures velocity, no acceleration"),
    ],
)
def test_channels_that_are_no_horizontals_of_an_accelerometer(tmp_path, channels, reason):
    three = np.concatenate([counts(200), counts(900, seed=3)[:1]])
    paths = write(
        tmp_path, stream("CI.AAA.", three, channels), kind="SLIST" if "_" in channels[0] else "MSEED"
    )
    with pytest.raises(DataError, match=rf"no record in 1 files \({len(channels)} channel: {reason}\)"):
        read(tmp_path, paths)


@pytest.mark.parametrize(
    ("idep", "channels", "reason"),
    [
        (7, ["HNN", "HNE"], "measures velocity, no acceleration"),
        (6, ["HNN", "HNE"], r"measures no acceleration \(displacement\)"),
        (50, ["N", "E"], r"measures no acceleration \(volts\)"),
        (5, ["HHN", "HHE"], "measures velocity, no acceleration"),
        (8, ["HHN", "HHE"], ""),  # a velocity that somebody has differentiated
        (5, ["HNN", "HNE"], ""),
    ],
)
def test_sac_says_what_it_measures(tmp_path, idep, channels, reason):
    paths = []
    for trace in stream("CI.AAA.", counts(200), channels):
        trace.data = trace.data.astype(np.float32)
        trace.stats.sac = {"idep": idep}
        paths += write(tmp_path, obspy.Stream([trace]), kind="SAC")
        paths[-1] = paths[-1].rename(tmp_path / f"{trace.stats.channel}.sac")
    if reason:
        with pytest.raises(DataError, match=f"2 channel: {reason}"):
            read(tmp_path, paths)
    else:
        assert read(tmp_path, paths).records.PGA[0] == pga(200)


@pytest.mark.parametrize(
    ("unit", "settings", "outcome"),
    [
        ("M/S", SETTINGS, "measures velocity, no acceleration"),
        ("CM", SETTINGS, r"measures no acceleration \(displacement\)"),
        ("M/S**2", SETTINGS, "its unit in the file is not that of the station table"),
        ("CM/S**2", SETTINGS, 200),
        ("Counts", SETTINGS, 200),
        ("CM/S", DIFFERENTIATE, 200 * 4 * np.pi),
    ],
)
def test_texts_say_their_unit(tmp_path, unit, settings, outcome):
    traces = stream("CI.AAA.", counts(200), ["HNN", "HNE"])
    for trace in traces:
        trace.stats.ascii = obspy.core.AttribDict(unit=unit)
    for kind in ("SLIST", "TSPAIR"):
        paths = write(tmp_path, traces[:1], traces[1:], kind=kind)
        if isinstance(outcome, str):
            with pytest.raises(DataError, match=f"2 channel: {outcome}"):
                read(tmp_path, paths, settings=settings)
        else:
            assert read(tmp_path, paths, settings=settings).records.PGA[0] == pga(outcome, 0.03)


def test_gse_files_by_their_channel(tmp_path):
    [path] = write(tmp_path, stream("CI.AAA.", counts(200), ["HNN", "HNE"]), kind="GSE2")
    assert read(tmp_path, [path]).records.PGA[0] == pga(200)
    [path] = write(tmp_path, stream("CI.AAA.", counts(200), ["HHN", "HHE"]), kind="GSE2")
    with pytest.raises(DataError, match="2 channel: measures velocity"):
        read(tmp_path, [path])


def test_a_sac_file_whose_samples_are_not_those_of_its_header_is_noted(tmp_path):
    traces = stream("CI.AAA.", counts(200), ["HNN", "HNE"])
    for i, trace in enumerate(traces):
        trace.data = trace.data.astype(np.float32)
        trace.write(str(tmp_path / f"{i}.sac"), format="SAC")
    content = bytearray((tmp_path / "1.sac").read_bytes())
    content[632 + 4 * 3500 : 632 + 4 * 3501] = np.float32(5000).tobytes()
    (tmp_path / "1.sac").write_bytes(content)
    dataset = read(tmp_path, [tmp_path / "0.sac", tmp_path / "1.sac"])
    [noted] = dataset.provenance["noted"]
    assert noted["reason"] == "DEPMIN and DEPMAX of its header disagree with the samples"
    assert noted["examples"][0].startswith("1.sac: -") and "to 5000" in noted["examples"][0]


def win32(folder: Path, pairs: dict[int, np.ndarray]) -> Path:
    blocks = []
    for second in range(80):
        part = slice(second * RATE, (second + 1) * RATE)
        data = [channel_block(channel, row[part]) for channel, row in pairs.items()]
        blocks.append(second_block((ORIGIN + pd.Timedelta(seconds=second - BEFORE)).to_pydatetime(), *data))
    return win32_file(folder / "data.cnt", *blocks)


def test_win32_tables_say_unit_and_instrument(tmp_path):
    strong, weak, sensor = counts(1e6), counts(5e5), counts(2e6)
    path = win32(tmp_path, dict(enumerate([*strong, *weak, *sensor], 1)))
    rows = [
        channel_row("0001"), channel_row("0002", component="E"),
        channel_row("0003"), channel_row("0004", component="E"),
        channel_row("0005", unit="m/s"), channel_row("0006", unit="m/s", component="E"),
    ]  # fmt: skip
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    limits, per_count = Limits(), 2e-7

    def dataset(lines, settings=SETTINGS):
        table = channel_table(tmp_path / "table.ch", *lines)
        return mesonet.read([path], tmp_path / "cat.csv", limits, channels=table, settings=settings)

    for lines in itertools.islice(itertools.permutations(rows), 0, 720, 119):
        first = dataset(lines)
        assert first.records.PGA[0] == pga(100 * 1e6 * per_count), "the lowest channel numbers"
        assert dropped(first)[VELOCITY] == 2 and dropped(first)[OTHER] == 1
    velocity = dataset([*rows[4:], channel_row("0007", "X", unit="gal")], DIFFERENTIATE)
    assert velocity.records.PGA[0] == pga(100 * 2e6 * per_count * 4 * np.pi)
    assert dataset([row.replace("m/s/s", "gal") for row in rows[:2]]).records.PGA[0] == pga(1e6 * per_count)
    with pytest.raises(DataError, match="no horizontal channel in m/s/s .its units are m/s"):
        dataset(rows[4:])


def test_a_line_of_glued_columns_is_repaired_or_named(tmp_path):
    path = win32(tmp_path, dict(enumerate([*counts(1e6), *counts(5e5)], 1)))
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    rows = [channel_row("0001", "A"), channel_row("0002", "A", "E")]
    others = [channel_row("0003", "B"), channel_row("0004", "B", "E")]

    def read_with(old: str, new: str):
        table = channel_table(tmp_path / "t.ch", *rows, *(line.replace(old, new) for line in others))
        return mesonet.read([path], tmp_path / "cat.csv", Limits(), channels=table, settings=SETTINGS)

    repaired = read_with("0.7 20", "0.7-20")
    assert repaired.records.PGA.tolist() == [pga(100 * 1e6 * 2e-7), pga(100 * 5e5 * 2e-5)], "-20 dB for 20"
    [noted] = repaired.provenance["noted"]
    assert noted["examples"][0] == "t.ch, line 5: 0.7-20 read as 0.7 and -20"
    left_out = read_with("35.6000 139.7000", "35.6000139.7000")
    assert dropped(left_out) == {("channel", "its line of the channel table cannot be read"): 2}
    assert "t.ch, line 5, column 14: '35.6000139.7000'" in left_out.provenance["dropped"][0]["examples"][0]


def test_samples_beyond_the_bits_of_the_table_are_noted(tmp_path):
    path = win32(tmp_path, dict(enumerate(counts(1e6), 1)))
    (tmp_path / "cat.csv").write_text(
        f"time,longitude,latitude,depth,mw\n{ORIGIN.isoformat()},139.7,35.6,40,6\n"
    )
    rows = [channel_row("0001"), channel_row("0002", component="E").replace("5 24", "5 20")]
    table = channel_table(tmp_path / "t.ch", *rows)
    dataset = mesonet.read([path], tmp_path / "cat.csv", Limits(), channels=table, settings=SETTINGS)
    [noted] = dataset.provenance["noted"]
    assert (noted["reason"], noted["examples"]) == (
        "samples beyond the bits of the channel table",
        ["0002"],
    )


def test_settings():
    with pytest.raises(UsageError, match="velocity 'integrate' is unknown: choose leave-out or"):
        mesonet.Settings(velocity="integrate")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("m/s/s", ("acceleration", 1)), ("m/s^2", ("acceleration", 1)), ("M/S**2", ("acceleration", 1)),
        ("cm/s2", ("acceleration", 0.01)), ("(nm/s^2)", ("acceleration", 1e-9)),
        ("Gal", ("acceleration", 0.01)), ("g", ("acceleration", 9.80665)), ("mm/s", ("velocity", 1e-3)),
        ("m/sec", ("velocity", 1)), ("kine", ("velocity", 0.01)), ("nm", ("displacement", 1e-9)),
        ("m", ("displacement", 1)),
        ("counts", None), ("INTEGER", None), ("s", None), ("", None), ("m/s3", None),
    ],
)  # fmt: skip
def test_units(text, unit):
    assert instruments.unit(text) == unit
