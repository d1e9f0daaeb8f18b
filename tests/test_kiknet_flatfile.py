from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.damaged_files import mutated
from helpers.flatfile_rows import KIKNET as ROW
from helpers.tallies import assert_nothing_lost
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.common import units
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.flatfiles import kiknet_flatfile

ALL = Limits(min_magnitude=0, max_distance_km=1000)
PERIODS = np.array([0.01, 0.1, 1.0, 10.0])


def attributes(path: Path, *rows: dict) -> Path:
    """``attributes.csv`` of rows that differ from `ROW` as said."""
    pd.DataFrame([ROW | row for row in rows or ({},)]).to_csv(path, index=False)
    return path


def spectra(path: Path, groups: dict[str, list[float]], periods=PERIODS) -> Path:
    """The HDF5 file: what is under each name, and the periods."""
    with h5py.File(path, "w") as store:
        store["T"] = periods
        for name, values in groups.items():
            store[f"{name}/PSa"] = values
    return path


@pytest.fixture
def read(tmp_path):
    def _read(*rows: dict, unit="cm/s^2", **options):
        return kiknet_flatfile.read(
            attributes(tmp_path / "attributes.csv", *rows), ALL, unit=unit, **options
        )

    return _read


def entries(dataset, kind: str) -> dict:
    return {(entry["what"], entry["reason"]): entry["count"] for entry in dataset.provenance[kind]}


def plausible(count: int, factor: float, seed: int = 0) -> list[dict]:
    """Rows at many distances with the amplitudes that Si and Midorikawa expect, times a factor."""
    rng = np.random.default_rng(seed)
    magnitude, latitude = rng.uniform(4, 6.5, count), rng.uniform(39, 42, count)
    distance = np.hypot(111.19 * (latitude - 40.5), 50)
    pga_gal = 10 ** (0.5 * magnitude + 0.0036 * 50 + 0.6 - np.log10(distance) - 0.003 * distance)
    pga = pga_gal * np.exp(rng.normal(0, 0.8, count)) * factor
    return [
        {
            "originTime": f"{i // 60:02d}:{i % 60:02d}:00",
            "stationLat": latitude[i],
            "stationLon": 141.5,
            "station": f"S{i}",
            "MT_Magnitude_": magnitude[i],
            **dict.fromkeys(["pga_EW2", "pga_NS2"], pga[i]),
            **dict.fromkeys(["pga_EW1", "pga_NS1"], pga[i] / 8),
        }
        for i in range(count)
    ]


def test_a_record(read):
    dataset = read()
    event, station, record = (t.iloc[0] for t in (dataset.events, dataset.stations, dataset.records))
    assert event.event_id == record.event_id == "kik20141103230712"
    assert event.origin_time == pd.Timestamp("2014-11-03T14:07:12Z"), "listed in JST"
    assert (event.longitude, event.latitude, event.depth_km) == (141.5, 40.5, 50)
    assert (event.magnitude, event.magnitude_source) == (4.9, "MT")
    assert (station.station_id, station.network, station.vs30_m_s) == ("AOMH05", "kik", 250)
    assert station.sensor_depth_m == 0
    assert record["PGA"] == pytest.approx(20 / 980.665, rel=1e-12)
    assert (record.component, record.snr_EW2, record.fLow_NS2) == ("geometric_mean", 8, 0.1)
    assert dataset.provenance["choices"]["unit"].startswith("cm/s^2, as stated; not checked: of the values")
    assert "PRJ-2547" in dataset.provenance["attribution"]


def test_borehole(read):
    dataset = read(sensor="borehole")
    assert dataset.records["PGA"][0] == pytest.approx(6 / 980.665, rel=1e-12)
    assert dataset.stations.station_id[0] == "AOMH05-borehole"
    assert np.isnan(dataset.stations.sensor_depth_m[0]), "the flatfile does not say"


@pytest.mark.parametrize(
    ("moment", "agency", "magnitude", "source"),
    [
        (4.9, 5.0, 4.9, "MT"),
        ("", 5.0, 0.917 * 5 + 0.337, "JMA converted"),
        (0, 6, 0.917 * 6 + 0.337, "JMA converted"),
    ],
)
def test_moment_magnitude(read, moment, agency, magnitude, source):
    event = read({"MT_Magnitude_": moment, "JMA_Magnitude_": agency}).events.iloc[0]
    assert (event.magnitude, event.magnitude_source) == (pytest.approx(magnitude), source)


def test_what_is_dropped_and_what_is_noted(read):
    dataset = read(
        {"Vs30": 0},
        {"station": "S2", "MT_Magnitude_": 5.2},
        {"station": "S3", "pga_EW2": -999},
        {"station": "S4", "pga_NS2": 0},
        {"lat": 36, "MT_Magnitude_": "", "JMA_Magnitude_": ""},
        {"lat": 37},
        {"originTime": ""},
    )
    assert list(dataset.events.event_id) == ["kik20141103230712", "kik20141103230712-3"]
    assert list(dataset.events.magnitude) == [4.9, 4.9]
    assert entries(dataset, "noted")["event", "MT_Magnitude_ differs: the first is kept"] == 1
    assert entries(dataset, "dropped") == {
        ("value", "vs30_m_s outside 30 to 5000"): 1,
        ("record", "no event_id"): 1,
        ("event", "no magnitude"): 1,
        ("record", "its event was dropped"): 1,
        ("record", "amplitude is missing"): 1,
        ("record", "amplitude is zero"): 1,
        ("station", "no record is kept"): 2,
    }
    assert_nothing_lost(dataset)


# ---- spectra ------------------------------------------------------------------------------------


def test_spectra(tmp_path, read):
    group = "/20141103230712/AOMH05"
    path = spectra(
        tmp_path / "s.h5",
        {f"{group}/EW2": [0.01, 0.08, 0.04, 0.001], f"{group}/NS2": [0.04, 0.02, 0.01, 0.004]},
    )
    ims = ["PGA", "SA(0.1)", "SA(1)", "SA(0.3)"]
    record = read(spectra=path, ims=ims, spectra_unit="g").records.iloc[0]
    assert record["SA(0.1)"] == pytest.approx(0.04) and record["SA(1.0)"] == pytest.approx(0.02)
    between = 0.04 * 0.5 ** np.log10(0.3 / 0.1)  # the mean spectrum halves from 0.1 to 1 s
    assert record["SA(0.3)"] == pytest.approx(between, rel=1e-12)


def test_a_record_without_spectrum_keeps_its_pga(tmp_path, read):
    path = spectra(tmp_path / "s.h5", dict.fromkeys(["a/b/EW2", "a/b/NS2"], [0.1] * 4))
    rows = {"Adress": "['a', 'b']"}, {"station": "S2", "Adress": "['c']"}, {"station": "S3", "Adress": ""}
    dataset = read(*rows, spectra=path, ims=["PGA", "SA(1.0)"], spectra_unit="g")
    assert dataset.records["SA(1.0)"].notna().tolist() == [True, False, False]
    assert dataset.records["PGA"].notna().all()
    assert entries(dataset, "noted")["record", "no spectrum at its address: SA is missing"] == 2


@pytest.mark.parametrize(("factor", "unit"), [(1, "g"), (9.80665, "m/s^2"), (980.665, "cm/s^2")])
def test_the_unit_of_spectra_is_told_from_pga(tmp_path, read, factor, unit):
    rows = [{"station": f"S{i}", "Adress": f"['/e/S{i}']"} for i in range(10)]
    values = np.array([0.021, 0.05, 0.02, 0.001]) * factor
    groups = {f"/e/S{i}/{component}": values for i in range(10) for component in ("EW2", "NS2")}
    dataset = read(*rows, spectra=spectra(tmp_path / "s.h5", groups), ims=["SA(1.0)"])
    assert dataset.records["SA(1.0)"].to_numpy() == pytest.approx(0.02, rel=1e-12)
    assert dataset.provenance["choices"]["spectra_unit"].startswith(f"{unit}, detected")
    assert dataset.ims == ["SA(1.0)"]


@pytest.mark.parametrize(
    ("period", "groups", "periods", "message"),
    [
        (20, {"/e/A/EW2": [1] * 4}, PERIODS, r"s\.h5, T: SA\(20\) lies outside its periods 0.01 to 10 s"),
        (0.001, {"/e/A/EW2": [1] * 4}, PERIODS, "lies outside its periods"),
        (
            1,
            {"/e/A/EW2": [1] * 3, "/e/A/NS2": [1] * 3},
            PERIODS,
            "/e/A/EW2/PSa: .* expected 4, one a period",
        ),
        (1, {"/e/A/EW2": [1] * 4}, PERIODS, "has no spectrum of the addresses in the table"),
        (1, {"/e/A/EW2": [1] * 4}, PERIODS[::-1], "T: expected ascending periods"),
    ],
)
def test_spectra_that_do_not_fit(tmp_path, read, period, groups, periods, message):
    path = spectra(tmp_path / "s.h5", groups, periods)
    with pytest.raises(DataError, match=message):
        read({"Adress": "['/e/A']"}, spectra=path, ims=[f"SA({period})"], spectra_unit="g")


@pytest.mark.parametrize("name", ["T", "e/A/EW2/PSa"])
def test_an_array_of_spectra_that_would_fill_the_memory(tmp_path, read, name):
    path = spectra(tmp_path / "s.h5", dict.fromkeys(["e/A/EW2", "e/A/NS2"], [0.1] * 4))
    with h5py.File(path, "a") as store:
        del store[name]
        store.create_dataset(name, (10**12,), chunks=(1000,))
    with pytest.raises(DataError, match=r"1000000000000,?\)? values, expected"):
        read({"Adress": "['/e/A']"}, spectra=path, ims=["SA(1.0)"], spectra_unit="g")


def test_stated_units_are_checked(tmp_path, read):
    rows = plausible(60, 1 / 980.665)
    with pytest.raises(DataError, match="values of surface PGA .* --unit g would fit"):
        read(*rows, unit="cm/s^2")
    assert "as stated; the median of" in read(*rows, unit="g").provenance["choices"]["unit"]
    stated = read(*rows, unit="cm/s^2", unit_as_stated=True)
    assert stated.provenance["choices"]["unit"] == "cm/s^2, as stated; not checked (--unit-as-stated)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ims": ["SA(1.0)"]}, UsageError, "SA.T. needs the HDF5 file of spectra"),
        ({"ims": ["SA(1.0)"], "spectra": Path("no.h5")}, UsageError, "no.h5 does not exist"),
        ({"ims": ["PGV"]}, UsageError, "KiK-net flatfile has no PGV"),
        ({"sensor": "middle"}, UsageError, "unknown sensor 'middle'"),
        ({"unit": "cm"}, UsageError, "unknown unit 'cm'"),
        ({"time_zone": "JST9"}, UsageError, "unknown time zone"),
        ({"unit": None}, DataError, "unit cannot be told .*median of 1 values of surface PGA"),
    ],
)
def test_options_that_do_not_fit(read, options, error, message):
    with pytest.raises(error, match=message):
        read(**options)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"originDate": "2014/11/03"},
            r"attributes.csv, row 2, column originDate originTime: '2014/11/03 23:07:12'",
        ),
        ({"pga_EW2": "big"}, "row 2, column pga_EW2: 'big', expected a number"),
        ({"depth": 900}, "row 2, column depth_km: 900, expected -5 to 800"),
    ],
)
def test_values_that_cannot_be_trusted(read, row, message):
    with pytest.raises(DataError, match=message):
        read(row)


# ---- unit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "unit"), [(1, "cm/s^2"), (0.01, "m/s^2"), (1 / 980.665, "g")])
@pytest.mark.parametrize("sensor", ["surface", "borehole"])
def test_the_unit_is_told_from_the_surface(read, factor, unit, sensor):
    rows = plausible(60, factor)
    dataset = read(*rows, unit=None, sensor=sensor)
    assert dataset.provenance["choices"]["unit"].startswith(f"{unit}, detected (median of 60")
    peak = rows[0]["pga_EW2" if sensor == "surface" else "pga_EW1"]
    assert dataset.records["PGA"][0] == pytest.approx(peak * units.in_g(unit))


@pytest.mark.parametrize("factor", [0.1, 0.0032, 30])
def test_amplitudes_between_units_are_refused(read, factor):
    with pytest.raises(DataError, match="the unit cannot be told .* give it with --unit"):
        read(*plausible(60, factor), unit=None)


def test_the_reference_model():
    # by hand: M 6, depth 20 km, 100 km away: 10^(3 + 0.072 + 0.6 - 2 - 0.3) cm/s^2
    (ln,) = units.expected_ln_pga(np.array([6.0]), np.array([20.0]), np.array([100.0]))
    assert np.exp(ln) * 980.665 == pytest.approx(10**1.372)


def test_the_reference_model_fits_jma(shared_data):
    from tfgmm.readers.flatfiles import jma

    folder = shared_data / "jma"
    year = jma.read([folder / "i1999.zip"], folder / "code_p.dat", Limits())
    rows = year.records.merge(year.events, on="event_id").merge(
        year.stations, on="station_id", suffixes=("", "_s")
    )
    distance = units.hypocentral_km(
        *(rows[c] for c in ("longitude", "latitude", "depth_km", "longitude_s", "latitude_s"))
    )
    expected = units.expected_ln_pga(rows["magnitude"], rows["depth_km"], distance)
    assert abs(np.median(np.log(rows["PGA"]) - expected)) < 0.3
    assert units.detect(rows["PGA"] * 980.665, expected, "peaks")[0] == "cm/s^2"


# ---- damaged files ------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_attributes_are_read_or_refused(tmp_path, data):
    path = attributes(tmp_path / "attributes.csv", {}, {"station": "S2"})
    path.write_bytes(mutated(data, path.read_bytes()))
    try:
        assert_nothing_lost(kiknet_flatfile.read(path, ALL, unit="gal"))
    except TfgmmError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_spectra_are_read_or_refused(tmp_path, data):
    path = spectra(tmp_path / "good.h5", dict.fromkeys(["e/A/EW2", "e/A/NS2"], [0.1] * 4))
    bad = tmp_path / "bad.h5"
    bad.write_bytes(mutated(data, path.read_bytes()))
    table = attributes(tmp_path / "attributes.csv", {"Adress": "['e/A']"})
    try:
        assert_nothing_lost(
            kiknet_flatfile.read(table, ALL, spectra=bad, ims=["SA(1.0)"], unit="gal", spectra_unit="g")
        )
    except TfgmmError as error:
        assert "\n" not in str(error)
