"""The two horizontals of an accelerometer are chosen by what channels measure, never by file names."""

from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest

from helpers.tallies import assert_nothing_lost, dropped
from helpers.waveform_files import (
    BEFORE,
    CATALOGUE,
    DIFFERENTIATE,
    ORIGIN,
    OTHER,
    SETTINGS,
    VELOCITY,
    counts,
    pga,
    stream,
    write,
)
from tfgmm.cli.app import main
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.waveforms import instruments, mesonet


def read(folder: Path, paths, table: str = "AAA,gal,,,", settings=SETTINGS):
    """Read the dataset in every order of the files, which must not matter."""
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


def test_a_station_with_a_wrong_unit_is_noted(tmp_path):
    times = [ORIGIN + pd.Timedelta(seconds=100 * i) for i in range(3)]
    (tmp_path / "cat.csv").write_text(
        "time,longitude,latitude,depth,mw\n" + "".join(f"{t.isoformat()},139.7,35.6,40,6\n" for t in times)
    )
    streams = obspy.Stream()
    for time in times:
        for name in ("CI.AAA.", "CI.BBB."):
            streams += stream(name, counts(90), ["HNN", "HNE"])
            for trace in streams[-2:]:
                trace.stats.starttime = obspy.UTCDateTime(time.timestamp() - BEFORE)
    (tmp_path / "s.csv").write_text("station,lon,lat,unit\nAAA,139.7,35.6,gal\nBBB,139.7,35.6,m/s^2\n")
    paths = write(tmp_path, streams)
    dataset = mesonet.read(
        paths, tmp_path / "cat.csv", Limits(), stations=tmp_path / "s.csv", settings=SETTINGS
    )
    [noted] = dataset.provenance["noted"]
    assert noted["reason"].startswith("amplitudes a factor of 20 or more off")
    assert noted["count"] == 1 and noted["examples"][0].startswith("BBB: ")


def test_the_command_line(tmp_path):
    traces = stream("CI.AAA.", counts(1e6), ["HH2", "HH3"]) + stream("CI.AAA.", counts(9)[:1], ["HHZ"])
    write(tmp_path, traces)
    (tmp_path / "s.csv").write_text("Station;LNG;Lat;velocity_gain\nAAA;139.7;35.6;1e6\n")
    (tmp_path / "cat.csv").write_text(CATALOGUE)
    command = (
        f"import mesonet {tmp_path}/0.mseed --catalogue {tmp_path}/cat.csv --stations {tmp_path}/s.csv"
    )
    with pytest.raises(SystemExit) as stop:
        main(f"{command} --im PGA --velocity differentiate --out {tmp_path}/out".split())
    assert not stop.value.code and len(Dataset.read(tmp_path / "out").records) == 1


def test_settings():
    with pytest.raises(UsageError, match="velocity 'integrate' is unknown: choose leave-out or"):
        mesonet.WaveformSettings(velocity="integrate")


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
