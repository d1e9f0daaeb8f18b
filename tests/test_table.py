import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import small_dataset
from helpers.damaged_files import mutated
from helpers.tallies import assert_nothing_lost
from tfgmm.cli.console import show_dataset
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import COMPONENTS
from tfgmm.readers.common import sheet
from tfgmm.readers.common.selection import Limits
from tfgmm.readers.flatfiles import jma, layout, table

ALL = Limits(min_magnitude=-1, max_distance_km=30000)
CANONICAL = {
    "event_id": "e1",
    "origin_time": "2016-01-05T02:21:11.67Z",
    "event_longitude": "132.5",
    "event_latitude": "30.5",
    "depth_km": "58",
    "magnitude": "5.8",
    "station_id": "S1",
    "network": "KiK",
    "station_longitude": "131",
    "station_latitude": "31.25",
    "vs30_m_s": "400",
    "PGA": "0.01",
    "SA(1.000)": "0.02",
    "component": "rotd50",
}


def csv(path: Path, *rows: dict, sep: str = ",", encoding: str = "utf-8") -> Path:
    """A table of rows, each of which says in what it differs from `CANONICAL`."""
    rows = [CANONICAL | row for row in rows or ({},)]
    names = list(
        dict.fromkeys(name for row in rows for name in row if any(r[name] is not ... for r in rows))
    )
    lines = [sep.join(names), *(sep.join(str(row[name]) for name in names) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


@pytest.fixture
def read(tmp_path):
    def _read(*rows: dict, name="flat.csv", form=None, limits=ALL, **how):
        return table.read([csv(tmp_path / name, *rows, **how)], limits, form)

    return _read


def entries(dataset, kind: str) -> dict:
    return {(entry["what"], entry["reason"]): entry["count"] for entry in dataset.provenance[kind]}


def assert_same_tables(one: Dataset, other: Dataset) -> None:
    for name, key in (
        ("events", "event_id"),
        ("stations", "station_id"),
        ("records", ["event_id", "station_id"]),
    ):
        first, second = (getattr(each, name).sort_values(key, ignore_index=True) for each in (one, other))
        assert set(first) == set(second)
        pd.testing.assert_frame_equal(first, second[list(first)], check_exact=True)


def test_canonical_columns_need_no_layout(read):
    dataset = read()
    event, station, record = (t.iloc[0] for t in (dataset.events, dataset.stations, dataset.records))
    assert event.origin_time == pd.Timestamp("2016-01-05T02:21:11.67Z")
    assert (event.longitude, event.latitude, event.depth_km, event.magnitude) == (132.5, 30.5, 58, 5.8)
    assert event.magnitude_source == "magnitude"
    assert (station.station_id, station.network, station.longitude, station.vs30_m_s) == (
        "S1",
        "kik",
        131,
        400,
    )
    assert (record["PGA"], record["SA(1.0)"], record.component) == (0.01, 0.02, "rotd50")
    assert_nothing_lost(dataset)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("g", 1), ("%g", 0.01), ("m/s^2", 1 / 9.80665), ("cm/s^2", 1 / 980.665), ("gal", 1 / 980.665)],
)
def test_units(read, unit, factor):
    record = read(form=layout.Layout(unit=unit)).records.iloc[0]
    assert record["PGA"] == pytest.approx(0.01 * factor, rel=1e-15)
    assert record["SA(1.0)"] == pytest.approx(0.02 * factor, rel=1e-15)


def test_gal_that_nobody_declared_are_refused(read):
    rows = [{"station_id": f"S{i}", "PGA": 10 + i, "SA(1.000)": ...} for i in range(10)]
    with pytest.raises(DataError, match="10 values of PGA taken as g is .* say the unit"):
        read(*rows)
    assert read(*rows, form=layout.Layout(unit="gal")).records["PGA"].max() == pytest.approx(19 / 980.665)


#: PGA in g of ten stations 20 to 200 km from the epicentre of CANONICAL, about what BSSA14 gives.
NEAR = [
    {"station_id": f"S{i}", "station_longitude": 132.5, "station_latitude": 30.5 + 0.18 * (i + 1)}
    | {"PGA": pga, "SA(1.000)": ...}
    for i, pga in enumerate([0.045, 0.038, 0.025, 0.024, 0.017, 0.010, 0.0113, 0.0075, 0.0069, 0.0046])
]


def near(change) -> list[dict]:
    return [row | {"PGA": change(row["PGA"])} for row in NEAR]


@pytest.mark.parametrize(
    ("change", "unit", "message"),
    [
        (lambda pga: pga, "%g", "is 0.0.* times what is expected .1/20 to 20 can be.: --unit g would fit"),
        (lambda pga: 9.8 * pga, "cm/s^2", "--unit m/s.2 would fit"),
        (lambda pga: 981 * pga, None, "taken as g .* --unit cm/s.2 would fit .* --unit-as-stated"),
        (lambda pga: 1e7 * pga, "g", "none of g, %g, .* fits"),
        (np.log, "g", "10 of 10 values of PGA are negative, as logarithms are"),
        (lambda pga: np.log10(981 * pga), "cm/s^2", r"look like logarithms \(log10 of cm/s.2\)"),
        (lambda pga: np.log(981 * pga), "g", r"look like logarithms \(ln of cm/s.2\)"),
    ],
)
def test_a_unit_that_the_amplitudes_contradict(read, change, unit, message):
    with pytest.raises(DataError, match=message) as error:
        read(*near(change), form=layout.Layout(unit=unit))
    assert "\n" not in str(error.value)


def with_pgv(cm_s: float, pga_size: float = 1.0) -> list[dict]:
    """Rows of NEAR with a PGV of `cm_s` times PGA / (12 rad/s), and PGA in a unit of which 1 g has many."""
    return [row | {"PGA": row["PGA"] * pga_size, "PGV": cm_s * 980.665 * row["PGA"] / 12} for row in NEAR]


@pytest.mark.parametrize(("velocity_unit", "per_cm_s"), [(None, 1.0), ("cm/sec", 1.0), ("m/s", 0.01)])
def test_pgv_has_a_unit_of_its_own(read, velocity_unit, per_cm_s):
    form = layout.Layout(unit="%g", velocity_unit=velocity_unit)
    dataset = read(*with_pgv(per_cm_s, 100), form=form)
    assert dataset.ims[:2] == ["PGA", "PGV"]
    assert dataset.records["PGA"][0] == pytest.approx(0.045)
    assert dataset.records["PGV"][0] == pytest.approx(980.665 * 0.045 / 12)
    assert dataset.provenance["unit"]["PGV"] == "cm/s"
    assert dataset.provenance["choices"]["velocity_unit"] == velocity_unit or "cm/s"


@pytest.mark.parametrize(
    ("cm_s", "message"),
    [
        (12.0, "values of PGV taken as cm/s is .* none of cm/s, m/s fits: is it an acceleration"),  # gal
        (12 / 980.665, "taken as cm/s is 0.01"),  # g
        (0.01, "--velocity-unit m/s would fit"),
        (1e3, "none of cm/s, m/s fits"),
    ],
)
def test_what_is_no_velocity_in_cm_s_is_refused(read, cm_s, message):
    with pytest.raises(DataError, match=message):
        read(*with_pgv(cm_s), form=layout.Layout(unit="g"))
    stated = read(*with_pgv(cm_s), form=layout.Layout(unit="g", unit_as_stated=True))
    assert stated.records["PGV"][9] == pytest.approx(cm_s * 980.665 * 0.0046 / 12)


def test_velocity_as_acceleration_is_refused(read):
    rows = [row | {"PGA": 980.665 * row["PGA"] / 12} for row in NEAR]  # PGV in cm/s, said to be PGA in g
    with pytest.raises(DataError, match="values of PGA taken as g"):
        read(*rows, form=layout.Layout(unit="g"))


def test_logarithms_of_pgv_are_refused(read):
    rows = [row | {"PGV": np.log(row["PGV"])} for row in with_pgv(1.0)]
    with pytest.raises(DataError, match=r"values of PGV (are neg|look like logarithms \(ln of cm/s\))"):
        read(*rows, form=layout.Layout(unit="g"))


def test_implausible_velocities_are_counted(read):
    rows = with_pgv(1.0)
    rows[0]["PGV"], rows[1]["PGV"] = 2500.0, 2e-6
    dataset = read(*rows, form=layout.Layout(unit="g"))
    assert dataset.records["PGV"].isna().tolist() == [True, True, *[False] * 8]
    reasons = ("amplitude above 2000 cm/s", "amplitude below 1e-05 cm/s")
    assert entries(dataset, "dropped") == {("value", f"PGV: {reason}"): 1 for reason in reasons}


@pytest.mark.parametrize("logarithm", [np.log, np.log10])
@pytest.mark.parametrize("unit", ["g", "%g", "m/s^2", "cm/s^2"])
def test_logarithms_of_any_unit_are_refused(read, logarithm, unit):
    factor = {"g": 1, "%g": 100, "m/s^2": 9.80665, "cm/s^2": 980.665}[unit]
    rows = near(lambda pga: logarithm(factor * pga))
    for stated in ("g", "%g", "m/s^2", "cm/s^2"):
        with pytest.raises(DataError, match="logarithms") as error:
            read(*rows, form=layout.Layout(unit=stated))
        assert "would fit" not in str(error.value)


def test_logarithms_of_percent_g_without_a_negative_one_are_refused(read):
    strong = [row | {"magnitude": 7.5, "PGA": np.log(100 * 6 * row["PGA"])} for row in NEAR]
    assert min(row["PGA"] for row in strong) > 0
    with pytest.raises(DataError, match=r"look like logarithms \(ln of %g\)"):
        read(*strong, form=layout.Layout(unit="%g"))


def test_a_few_negative_amplitudes_are_left_out(read):
    many = [row | {"station_id": f"{row['station_id']}_{i}"} for i in range(5) for row in NEAR]
    many[3], many[13] = many[3] | {"PGA": -0.02}, many[13] | {"PGA": -0.02}
    assert len(read(*many).records) == 48
    many[23] |= {"PGA": -0.02}
    with pytest.raises(DataError, match="3 of 50 values of PGA are negative"):
        read(*many)
    assert len(read(*many, form=layout.Layout(unit_as_stated=True)).records) == 47


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda sa: 980.665 * sa,
            r"values of SA\(1.0\) taken as g .* cm/s.2 would fit .* unlike PGA; bring",
        ),
        (lambda sa: np.log(980.665 * sa), r"values of SA\(1.0\) look like logarithms \(ln of cm/s.2\)"),
    ],
)
def test_a_column_in_another_unit_than_pga_is_refused(read, change, message):
    rows = [row | {"SA(1.000)": change(0.3 * row["PGA"])} for row in NEAR]
    with pytest.raises(DataError, match=message) as error:
        read(*rows)
    assert "--unit cm" not in str(error.value)
    assert len(read(*rows, form=layout.Layout(unit_as_stated=True)).records) == 10
    fitting = [row | {"SA(1.000)": 0.3 * row["PGA"]} for row in NEAR]
    assert read(*fitting).ims == ["PGA", "SA(1.0)"]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("cm/s2", 1 / 980.665),
        ("Gal", 1 / 980.665),
        ("m/s2", 1 / 9.80665),
        ("cm/s²", 1 / 980.665),
        ("G", 1),
        ("%G", 0.01),
        ("m/s/s", 1 / 9.80665),
    ],
)
def test_spellings_of_units(read, unit, factor):
    dataset = read(*near(lambda pga: pga / factor), form=layout.Layout(unit=unit))
    assert dataset.records["PGA"].max() == pytest.approx(0.045)


def test_a_unit_is_taken_as_stated(read):
    form = layout.Layout(unit="%g", unit_as_stated=True)
    dataset = read(*NEAR, form=form)
    assert dataset.records["PGA"].max() == pytest.approx(0.00045)
    assert dataset.provenance["choices"]["unit"] == "%g, as stated; not checked (--unit-as-stated)"


def test_what_the_check_of_the_unit_gave_is_said(read):
    dataset = read(*NEAR, form=layout.Layout(unit="g"))
    assert (
        "g, as stated; the median of 10 values of PGA taken as g is "
        in dataset.provenance["choices"]["unit"]
    )
    assert dataset.provenance["noted"] == []
    doubtful = read(*near(lambda pga: 9.8 * pga), form=layout.Layout(unit="g"))
    assert any("--unit m/s^2 would fit" in entry["reason"] for entry in doubtful.provenance["noted"])
    silent = [{**row, "magnitude": ""} for row in NEAR]
    unknown = read(*silent, {"event_id": "e2", "SA(1.000)": ...}, form=layout.Layout(unit="%g"))
    assert "not checked: of the values of PGA 1 can be compared" in unknown.provenance["choices"]["unit"]


def test_each_file_is_checked_by_itself(tmp_path):
    good = csv(tmp_path / "good.csv", *NEAR, *NEAR, *NEAR)
    bad = csv(tmp_path / "bad.csv", *near(lambda pga: 981 * pga))
    with pytest.raises(DataError, match="--unit cm/s.2 would fit"):
        table.read([good, bad], ALL)


def test_longitudes_of_0_to_360(read):
    dataset = read(
        {"event_longitude": "180.17", "station_longitude": "179.9"},
        {"event_longitude": "180.17", "station_longitude": "180.2", "station_id": "S2"},
    )
    assert dataset.events.longitude.round(6).tolist() == [-179.83]
    assert dataset.stations.longitude.round(6).tolist() == [179.9, -179.8]


@pytest.mark.parametrize(
    "mark", ["0", "-9999", "-3.4e38", "-3.4028234663852886e+38", "999", "9999.0", "1e38"]
)
def test_marks_of_missing_values(read, mark):
    rows = {"vs30_m_s": mark, "record_quality": mark if mark[0] in "-1" else "", "sensor_depth_m": mark}
    dataset = read(rows, {"station_id": "S2", "record_quality": "5", "sensor_depth_m": "1"})
    assert np.isnan(dataset.stations.vs30_m_s[0]) and np.isnan(dataset.records.quality[0])
    assert np.isnan(dataset.stations.sensor_depth_m[0]) == (mark != "0")


@pytest.mark.parametrize(
    "blank", ["", " ", "-999", "-999.0", "-9999", "-99999", "-99999.00", "-999.9", "NaN", "N/A"]
)
def test_blanks_and_sentinels_are_missing(read, blank):
    dataset = read({"vs30_m_s": blank, "PGA": blank}, {"station_id": "S2", "depth_km": 58})
    assert np.isnan(dataset.stations.vs30_m_s[0]) and dataset.stations.vs30_m_s[1] == 400
    assert np.isnan(dataset.records["PGA"][0]) and dataset.records["SA(1.0)"][0] == 0.02


def test_a_network_may_be_called_na(read):
    assert read({"network": "NA"}).networks == ["na"]


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_delimiters(read, sep):
    assert len(read(sep=sep).records) == 1


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("utf-8-sig", "utf-8"), ("cp932", "cp932"), ("cp1252", "cp1252"), ("utf-16", "utf_16")],
)
def test_encodings(read, encoding, name):
    place = "水戸市千波町の観測点" if encoding != "cp1252" else "Château-Müller, Übersee, Forêt d'Eu à côté"
    dataset = read({"station_name": place}, encoding=encoding, sep=";")
    assert dataset.stations.name[0] == place
    assert dataset.provenance["choices"]["encoding"] == {"flat.csv": name}


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet", ".csv.gz", ".csv.bz2"])
def test_other_formats(tmp_path, read, suffix):
    frame = pd.read_csv(
        csv(tmp_path / "a.csv", {"event_id": 38443095}, {"event_id": 38443095, "station_id": 4})
    )
    path = tmp_path / f"flat{suffix}"
    writer = {".xlsx": frame.to_excel, ".parquet": frame.to_parquet}.get(suffix, frame.to_csv)
    writer(path, index=False)
    dataset = table.read([path], ALL)
    assert list(dataset.events.event_id) == ["38443095"] and list(dataset.stations.station_id) == [
        "S1",
        "4",
    ]
    assert_same_tables(dataset, table.read([tmp_path / "a.csv"], ALL))


def test_a_layout_from_the_command_line(read):
    form = layout.choose(
        None,
        ["event_id=CuspID", "pga=Peak", "SA(1)=S1", "vs30_m_s=Vs30|Vs30_map", "station_id={net}.{code:3}"],
        ["network=nz", "depth_km=5"],
        unit="g",
    )
    own = {"CuspID": 7, "Peak": 0.3, "S1": 0.4, "Vs30": "", "Vs30_map": 350, "net": "NZ", "code": 12}
    hidden = dict.fromkeys(
        ["event_id", "PGA", "SA(1.000)", "vs30_m_s", "station_id", "network", "depth_km"], ...
    )
    dataset = read(hidden | own, form=form)
    assert dataset.events.event_id[0] == "7" and dataset.events.depth_km[0] == 5
    assert (dataset.records["PGA"][0], dataset.records["SA(1.0)"][0]) == (0.3, 0.4)
    station = dataset.stations.iloc[0]
    assert (station.station_id, station.network, station.vs30_m_s) == ("NZ.012", "nz", 350)


def test_columns_of_spectra(read):
    columns = {"pSA_0.1": 0.01, "pSA_.5": 0.02, "pSA_1": 0.03, "pSA_2": 0.04, "pSA_10": 0.05, "pSA_x": 9}
    form = layout.choose(columns=["SA=pSA_{T}"])
    record = read({"SA(1.000)": ..., **columns}, form=form).records.iloc[0]
    names = ["SA(0.1)", "SA(0.5)", "SA(1.0)", "SA(2.0)", "SA(10.0)"]
    assert record[names].tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]


def test_periods_with_an_s(read):
    columns = {"SA(0.1s)": 0.01, "sa(1 s)": 0.02, "SA(10)": 0.03}
    assert read({"SA(1.000)": ..., **columns}).ims == ["PGA", "SA(0.1)", "SA(1.0)", "SA(10.0)"]


def test_spectra_that_are_not_read_are_noted(read, capsys):
    columns = {
        "PSA_1": 1,
        "psa_0,5": 1,
        "pSA_2s": 1,
        "SA T=3": 1,
        "f2.0SA": 1,
        "pSA_0p3": 0.02,
        "usage_1": 1,
    }
    dataset = read({**columns}, sep=";", form=layout.choose(columns=["SA=pSA_{T}"]))
    assert dataset.ims == ["PGA", "SA(0.3)", "SA(1.0)"]
    unread = ["PSA_1", "psa_0,5", "pSA_2s", "SA T=3", "f2.0SA"]
    assert dataset.provenance["choices"]["spectra_not_read"] == {"flat.csv": unread}
    assert entries(dataset, "noted")["column", table.UNREAD] == 5
    show_dataset(dataset)
    assert "looks like a spectral" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("pattern", "columns", "result"),
    [
        ("p{T}", ["p0", "p0p5", "p1_5", "q1"], {"PGA": "p0", "SA(0.5)": "p0p5", "SA(1.5)": "p1_5"}),
        ("p{T:2}", ["p0.25", "p1.50", "p1", "p0.125"], {"SA(0.25)": "p0.25", "SA(1.5)": "p1.50"}),
        ("f{f}", ["f10", "f0.5"], {"SA(0.1)": "f10", "SA(2.0)": "f0.5"}),
        ("p{T}", ["q1"], {}),
    ],
)
def test_patterns_of_spectra(pattern, columns, result):
    assert layout.spectra(pattern, columns) == result


@pytest.mark.parametrize(
    ("pattern", "columns", "error", "message"),
    [
        ("p{T}", ["p1", "p1.0"], DataError, r"columns p1 and p1.0 are both SA\(1.0\)"),
        ("rotD50_T{T}", ["rotD50_T90"], UsageError, r"rotD50_T90 would be SA\(90\), .* write \{T:3\}"),
        ("p{T}", ["p1", "p1_0"], DataError, "both"),
        ("p", ["p1"], UsageError, "write {T} where the period or {f} where"),
        ("p{T}{f}", [], UsageError, "write {T} where the period or {f} where"),
    ],
)
def test_patterns_of_spectra_that_do_not_fit(pattern, columns, error, message):
    with pytest.raises(error, match=message):
        layout.spectra(pattern, columns)


@pytest.mark.parametrize(
    ("mapped", "message"),
    [
        ("SA=psa{T}", "flat.csv has no column that matches SA=psa{T}: its columns are event_id, "),
        ("vs30_m_s=Vs", "flat.csv has no column 'Vs': its columns are event_id, "),
        ("station_id={net}.{code}", "flat.csv has no column 'net': its columns are event_id, "),
    ],
)
@pytest.mark.parametrize("base", [None, "esm"])
def test_what_is_mapped_must_be_there(tmp_path, read, base, mapped, message):
    with pytest.raises(UsageError, match=message):
        if base is None:
            read(form=layout.choose(columns=[mapped]))
        else:
            path = tmp_path / "flat.csv"
            path.write_text(AGENCIES["esm"][0])
            table.read([path], ALL, layout.choose("esm", columns=[mapped]))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("esm", ["st_elevation", "vs30_m_sec"]),
        ("esm", ["rotD50_pga", "rotD50_T1_000"]),
        ("nga-west2", ["Vs30 (m/s) selected for analysis"]),
        ("nga-west2", ["T0.010S", "T1.000S"]),
        ("nz", ["Vs30"]),
    ],
)
def test_what_a_flatfile_of_an_agency_may_lack(tmp_path, name, columns):
    frame = pd.read_csv(io.StringIO(AGENCIES[name][0]), sep=None, engine="python", dtype=str)
    frame.drop(columns=columns).to_csv(tmp_path / "agency.csv", index=False)
    assert len(table.read([tmp_path / "agency.csv"], ALL, layout.choose(name)).records) == 1


def test_an_hour_that_is_not_known(tmp_path):
    frame = pd.read_csv(io.StringIO(AGENCIES["nga-west2"][0]), dtype=str)
    pd.concat([frame, frame.assign(EQID="119", HRMN="-999")]).to_csv(tmp_path / "nga.csv", index=False)
    dataset = table.read([tmp_path / "nga.csv"], ALL, layout.choose("nga-west2"))
    assert entries(dataset, "dropped")["event", "origin time or hypocentre undetermined"] == 1
    assert_nothing_lost(dataset)


def test_a_layout_from_a_file(tmp_path, read):
    path = tmp_path / "ours.toml"
    path.write_text(
        'unit = "%g"\ntime_zone = "Asia/Tokyo"\n[columns]\nPGA = "peak"\n[constants]\ndepth_km = 5\n'
    )
    form = layout.choose(str(path), unit=None)
    dataset = read(
        {"PGA": ..., "peak": 3, "depth_km": ..., "origin_time": "2016-01-05 11:21:11"}, form=form
    )
    assert dataset.events.origin_time[0] == pd.Timestamp("2016-01-05T02:21:11Z")
    assert dataset.records["PGA"][0] == pytest.approx(0.03) and dataset.provenance["name"] == "ours"


def test_a_zone_in_the_file_wins(read):
    form = layout.Layout(time_zone="Asia/Tokyo")
    dataset = read({"origin_time": "2016-01-05T02:21:11+02:00"}, form=form)
    assert dataset.events.origin_time[0] == pd.Timestamp("2016-01-05T00:21:11Z")


# One row of each agency's file: NZ from the file itself, ESM and NGA-West2 made up under their names.
AGENCIES = {
    "nz": (
        "CuspID,Origin_time,Mw,HypLat,HypLon,StationLat,StationLon,HypDepth_km,SiteCode,Vs30,f100.0000SA_GeoMean,"
        "f33.3333SA_GeoMean,f13.3333SA_GeoMean,f1.0000SA_GeoMean,f0.6667SA_GeoMean,f0.1000SA_GeoMean,PGA_Geomean\n"
        "1553782,1971-08-13T14:42:41.636000Z,5.7,-42.13,172.1,-42.3786,172.3329,9,053A,391,0.057312787,0.058569497,"
        "0.092142157,0.043642511,-99999,-99999,0.057325\n",
        ("1553782", "1971-08-13T14:42:41.636Z", 5.7, "Mw", "053A", "nz", 391, 0.057325, "geometric_mean"),
        {
            "SA(0.01)": 0.057312787,
            "SA(0.03)": 0.058569497,
            "SA(0.075)": 0.092142157,
            "SA(1.0)": 0.043642511,
        },
    ),
    "esm": (  # vs30 and the first magnitude are blank
        "event_id;event_time;ev_latitude;ev_longitude;ev_depth_km;EMEC_Mw;Mw;network_code;station_code;"
        "st_latitude;st_longitude;st_elevation;vs30_m_sec;rotD50_pga;rotD50_T90;rotD50_T0_010;rotD50_T1_000\n"
        "EMSC-1;2016-08-24 01:36:32;42.7;13.23;8.1;;6.0;IT;AMT;42.632;13.286;950;;490.3325;3.7;"
        "98.0665;9.80665\n",
        ("EMSC-1", "2016-08-24T01:36:32Z", 6.0, "Mw", "IT.AMT", "it", None, 0.5, "rotd50"),
        {"SA(0.01)": 0.1, "SA(1.0)": 0.01},
    ),
    "nga-west2": (
        "EQID,YEAR,MODY,HRMN,Earthquake Magnitude,Station Sequence Number,Station Latitude,"
        "Station Longitude,Hypocenter Latitude (deg),Hypocenter Longitude (deg),Hypocenter Depth (km),"
        "Vs30 (m/s) selected for analysis,PGA (g),PGV (cm/sec),T0.010S,T1.000S\n"
        "118,1989,118,4,6.93,123,37.05,-121.8,37.04,-121.88,17.48,462.24,0.4,30,0.41,-999\n",
        ("118", "1989-01-18T00:04Z", 6.93, "Earthquake Magnitude", "123", "nga", 462.24, 0.4, "rotd50"),
        {"PGV": 30, "SA(0.01)": 0.41},
    ),
}


@pytest.mark.parametrize("name", AGENCIES)
def test_flatfiles_of_agencies(tmp_path, name):
    content, (event_id, time, magnitude, source, station_id, network, vs30, pga, component), spectrum = (
        AGENCIES[name]
    )
    path = tmp_path / "agency.csv"
    path.write_text(content)
    dataset = table.read([path], ALL, layout.choose(name))
    event, station, record = (t.iloc[0] for t in (dataset.events, dataset.stations, dataset.records))
    assert (event.event_id, event.origin_time, event.magnitude) == (event_id, pd.Timestamp(time), magnitude)
    assert event.magnitude_source == source
    assert (station.station_id, station.network) == (station_id, network)
    assert pd.isna(station.vs30_m_s) if vs30 is None else station.vs30_m_s == vs30
    assert (record["PGA"], record.component) == (pytest.approx(pga, rel=1e-12), component)
    measured = record[[im for im in dataset.ims if im != "PGA"]].dropna()
    assert dict(measured.astype(float)) == pytest.approx(spectrum, rel=1e-12)


def test_rows_that_cannot_be_used_are_counted(read):
    dataset = read(
        {"vs30_m_s": 0},
        {"station_id": ""},
        {"event_id": "-999"},
        {"network": " "},
        {"event_id": "e2", "magnitude": ""},
        {"event_id": "e3", "origin_time": ""},
        {"station_id": "S3", "station_latitude": "-999"},
        {"station_id": "S4", "PGA": "-1", "SA(1.000)": ""},
        {"PGA": 0.5},
    )
    assert entries(dataset, "dropped") == {
        ("value", "vs30_m_s outside 30 to 5000"): 1,
        ("record", "no event_id"): 1,
        ("record", "no station_id"): 1,
        ("record", "no network"): 1,
        ("event", "no magnitude"): 1,
        ("event", "origin time or hypocentre undetermined"): 1,
        ("station", "no coordinates"): 1,
        ("station", "no record is kept"): 1,
        ("record", "its event was dropped"): 2,
        ("record", "its station has no coordinates"): 1,
        ("record", "amplitude is negative"): 1,
        ("record", "second record of a station in an event"): 1,
    }
    assert dataset.records["PGA"].tolist() == [0.01]
    assert_nothing_lost(dataset)


def test_why_no_record_is_left(read):
    rows = [{"station_id": f"S{i}", "PGA": 0, "SA(1.000)": 0} for i in range(3)]
    with pytest.raises(
        DataError, match=r"no record is left: dropped are .*amplitude is zero \(3 records\)"
    ):
        read(*rows)
    with pytest.raises(DataError, match=r"dropped are .*magnitude below 7 \(1 events\)"):
        read({}, limits=Limits(min_magnitude=7))


def test_a_station_in_two_places_is_two(read):
    dataset = read(
        {"vs30_m_s": 300, "station_latitude": ""},
        {"event_id": "e2", "depth_km": 9, "vs30_m_s": 310},
        {"event_id": "e3", "depth_km": 8, "vs30_m_s": 310, "station_latitude": 31.254},
        {"event_id": "e4", "depth_km": 7, "vs30_m_s": 320, "station_latitude": 31.26},
        {"event_id": "e5", "depth_km": 6, "vs30_m_s": 330, "network": "meso"},
    )
    stations = dataset.stations.set_index("station_id")
    assert list(stations.index) == ["S1", "S1@2", "S1@3"]
    assert list(stations.latitude) == [31.25, 31.26, 31.25] and list(stations.vs30_m_s) == [300, 320, 330]
    assert list(dataset.records.station_id) == ["S1", "S1", "S1", "S1@2", "S1@3"]
    assert entries(dataset, "noted") == {
        ("station", "station_latitude differs: the first is kept"): 1,
        ("station", "vs30_m_s differs: the first is kept"): 1,
        ("station", "its id stands at another place or network too: made a station"): 2,
    }
    assert_nothing_lost(dataset)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            [{}, {"magnitude": 5.9}],
            DataError,
            r"'e1' has two values of magnitude: 5.8 \(flat.csv, row 2\) and 5.9",
        ),
        ([{}, {"origin_time": "2016"}], DataError, "'e1' has two values of origin_time"),
        (
            [{}, {"depth_km": "ten"}],
            DataError,
            "flat.csv, row 3, column depth_km: 'ten', expected a number",
        ),
        ([{}, {"PGA": "1_0"}], DataError, "flat.csv, row 3, column PGA: '1_0', expected a number"),
        (
            [{"event_latitude": 91}],
            DataError,
            "flat.csv, row 2, column event_latitude: 91, expected -90 to 90",
        ),
        (
            [{"origin_time": "5 Jan"}],
            DataError,
            "row 2, column origin_time: '5 Jan', expected a time as ISO8601",
        ),
        (
            [{"component": "vertical"}],
            DataError,
            "row 2, column component: 'vertical', expected geometric_mean or",
        ),
        (
            [{"station_id": "a,b"}],
            DataError,
            "flat.csv, row 2: 15 cells, expected 14 as in the header",
        ),
        ([{"station_id": '"a'}], DataError, "a quotation mark is opened and not closed"),
        ([{"event_id": ""}], DataError, "no row names an event, a station and a network"),
        ([{"SA(1)": 0.5}], DataError, r"columns 'SA\(1.000\)' and 'SA\(1\)' are both SA\(1.0\)"),
        (
            [{"component": ...}],
            UsageError,
            "has no column for component: name one with --map component=COLUMN or",
        ),
        ([{"PGA": ..., "SA(1.000)": ...}], UsageError, "has no intensity measure"),
    ],
)
def test_what_cannot_be_trusted(read, rows, error, message):
    with pytest.raises(error, match=message):
        read(*rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ["event_id"]}, "--map event_id: write it as"),
        ({"columns": ["magnitud=Mw"]}, "unknown column 'magnitud'"),
        ({"unit": "cm"}, "unknown unit 'cm'"),
        ({"unit": "cm/s"}, "unknown unit 'cm/s'"),
        ({"velocity_unit": "gal"}, "unknown unit of velocity 'gal': write one of cm/s, m/s"),
        ({"base": "japan"}, "unknown layout 'japan': write one of esm, nga-west2, nz or the path"),
        ({"time_zone": "JST9"}, "unknown time zone 'JST9'"),
        ({"constants": ["depth_km=deep"]}, "--set depth_km=deep: write a number"),
        ({"columns": ["SA=T"]}, "SA=T: write {T}"),
        ({"columns": ["event_id=Nope"]}, "has no column 'Nope'"),
    ],
)
def test_a_layout_that_does_not_fit(read, arguments, message):
    with pytest.raises(UsageError, match=message):
        read(form=layout.choose(**arguments))


@pytest.mark.parametrize("content", ["unit = ", "planet = 3", 'columns = "PGA"', 'unit = "cm"'])
def test_a_layout_file_that_is_wrong(tmp_path, content):
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(DataError, match=r"a\.toml"):
        layout.choose(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"a,b\n"),
        ("a.xlsx", b"PK"),
        ("a.parquet", b"PAR1"),
        ("a.csv", b"\x1f\x8b\x08"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} "):
        table.read([tmp_path / name], ALL)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        table.read([tmp_path / "a.csv"], ALL)


def test_provenance(tmp_path, read):
    provenance = read().provenance
    assert json.loads(json.dumps(provenance)) == provenance and str(tmp_path) not in json.dumps(provenance)
    digest = hashlib.sha256((tmp_path / "flat.csv").read_bytes()).hexdigest()
    assert provenance["sources"] == [{"file": "flat.csv", "sha256": digest}]
    assert provenance["choices"]["columns"]["SA(1.0)"] == "SA(1.000)"
    assert (provenance["component"], provenance["simulated"]) == ("rotd50", False)


# ---- export -> import ---------------------------------------------------------------------------

WORD = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=6).map(
    lambda word: "x" + word
)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def datasets(draw) -> Dataset:
    """Small datasets with any value that the contract allows; every event and station has a record."""
    n_events, n_stations = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    many = {"min_size": n_events, "max_size": n_events}
    events = pd.DataFrame(
        {
            "event_id": draw(st.lists(WORD, unique=True, **many)),
            "origin_time": pd.to_datetime(
                draw(st.lists(st.integers(0, 2**52), unique=True, **many)), unit="us", utc=True
            ),
            "longitude": draw(st.lists(st.floats(-180, 180), **many)),
            "latitude": draw(st.lists(st.floats(-90, 90), **many)),
            "depth_km": draw(st.lists(st.floats(-5, 800), **many)),
            "magnitude": draw(st.lists(st.floats(-1, 10), **many)),
            "magnitude_source": draw(st.lists(WORD, **many)),
        }
    )
    many = {"min_size": n_stations, "max_size": n_stations}
    vs30 = st.one_of(st.just(np.nan), st.floats(30, 990))
    stations = pd.DataFrame(
        {
            "station_id": draw(st.lists(WORD, unique=True, **many)),
            "network": draw(st.lists(st.from_regex("[a-z0-9_]{1,5}", fullmatch=True), **many)),
            "longitude": draw(st.lists(st.floats(-180, 180), **many)),
            "latitude": draw(st.lists(st.floats(-90, 90), **many)),
            "elevation_m": draw(st.lists(st.floats(-400, 8000), **many)),
            "sensor_depth_m": draw(st.lists(st.one_of(st.just(np.nan), st.floats(0, 990)), **many)),
            "vs30_m_s": draw(st.lists(vs30, **many)),
            "name": draw(st.lists(WORD, **many)),
        }
    )
    pairs = events[["event_id"]].merge(stations[["station_id"]], how="cross")
    amplitude = st.lists(st.floats(1e-7, 20), min_size=len(pairs), max_size=len(pairs))
    rows = pairs.assign(component=draw(st.sampled_from(COMPONENTS)), quality=draw(amplitude))
    for im in draw(st.lists(st.sampled_from(["PGA", "SA(0.01)", "SA(1.0)"]), min_size=1, unique=True)):
        rows[im] = draw(amplitude)
    stations["site_id"] = draw(st.lists(WORD, **many))
    return Dataset(events, stations, rows, {"simulated": draw(st.booleans())}).checked()


@pytest.mark.slow
@given(datasets())
@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_is_written_is_read_back(tmp_path, dataset):
    tally = table.write(dataset, tmp_path / "flat.csv")
    assert tally.dropped() == []
    again = table.read([tmp_path / "flat.csv"], ALL, layout.Layout(unit_as_stated=True))
    assert_same_tables(dataset, again)
    assert again.simulated == dataset.simulated and again.provenance["dropped"] == []


def test_what_no_record_names_is_told(tmp_path):
    dataset = small_dataset()
    lonely = pd.concat(
        [dataset.stations, dataset.stations.iloc[:1].assign(station_id="Z")], ignore_index=True
    )
    tally = table.write(Dataset(dataset.events, lonely, dataset.records, {}), tmp_path / "flat.csv")
    (entry,) = tally.dropped()
    assert (entry["what"], entry["count"], entry["examples"]) == ("station", 1, ["Z"])
    assert_same_tables(table.read([tmp_path / "flat.csv"], ALL), dataset)


def test_a_year_of_jma_is_read_back(tmp_path, shared_data):
    limits = Limits(min_magnitude=4.5)
    year = jma.read([shared_data / "jma" / "i1999.zip"], shared_data / "jma" / "code_p.dat", limits)
    table.write(year, tmp_path / "flat.csv.gz")
    assert gzip.decompress((tmp_path / "flat.csv.gz").read_bytes()).startswith(b"event_id,")
    again = table.read([tmp_path / "flat.csv.gz"], limits)
    assert len(again.records) > 3000
    assert_same_tables(year, again)


# ---- damaged files ------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_text_is_read_or_refused(tmp_path, data):
    path = csv(tmp_path / "flat.csv", {}, {"station_id": "S2"}, {"station_id": "S3", "PGA": 0.2})
    path.write_bytes(mutated(data, path.read_bytes()))
    try:
        assert_nothing_lost(table.read([path], ALL))
    except TfgmmError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet"])
@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_binaries_are_read_or_refused(tmp_path, suffix, data):
    path = tmp_path / f"flat{suffix}"
    if not path.exists():
        frame = pd.DataFrame([CANONICAL, CANONICAL | {"station_id": "S2"}])
        (frame.to_excel if suffix == ".xlsx" else frame.to_parquet)(path, index=False)
    (tmp_path / f"bad{suffix}").write_bytes(mutated(data, path.read_bytes()))
    try:
        sheet.read(tmp_path / f"bad{suffix}")
    except TfgmmError as error:
        assert "\n" not in str(error)


def test_tectonic_classes_in_any_spelling(read, tmp_path):
    spellings = {"e1": "Subduction IntraSlab", "e2": "", "e3": "Active Shallow Crust", "e4": "volcanic"}
    rows = [
        {"event_id": name, "tectonic_class": text, "event_latitude": 30 + number}
        for number, (name, text) in enumerate(spellings.items())
    ]
    dataset = read(*rows)
    classes = dataset.events.set_index("event_id")["tectonic_class"]
    assert classes.dropna().to_dict() == {"e1": "intraslab", "e3": "crustal"}
    reason = "tectonic_class is none of crustal, interface, intraslab"
    assert entries(dataset, "dropped")["value", reason] == 1
    dataset.write(tmp_path / "data")
    again = Dataset.read(tmp_path / "data").events.set_index("event_id")["tectonic_class"]
    assert again.dropna().to_dict() == classes.dropna().to_dict()
    assert "tectonic_class" not in read().events
