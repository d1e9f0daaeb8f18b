import numpy as np
import pytest

from tfgmm.core.errors import DataError, UsageError
from tfgmm.readers.waveforms import obspy_files


@pytest.mark.parametrize(
    "text",
    [
        "station,longitude,latitude,unit,velocity_gain\nA,-160.5,35.6,gal,1e9\nB,139.7,35.6,m/s^2,\n",
        "\ufeffStation Code;LNG;LAT;Unit;Velocity Gain\nA;199.5;35.6;cm/s/s;1e9\nB;139.7;35.6;m/s2;\n",
        "# table\nsta,Long,lat,unit,velocity_gain\nA,199.5,35.6,GAL,1e9\nB,139.7,35.6,m/s/s,\n".replace(
            ",", "\t"
        ),
        "lon,lat,velocity_unit,unit,code\n199.5,35.6,nm/s,gal,A\n139.7,35.6,,m/s**2,B\n",
    ],
    ids=["names", "semicolons", "tabs", "order"],
)
def test_one_table_in_many_forms(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    rows = obspy_files.read_station_table(tmp_path / "s.csv")
    assert rows["station"].tolist() == ["A", "B"]
    assert rows["longitude"].tolist() == [-160.5, 139.7] and rows["latitude"].tolist() == [35.6, 35.6]
    np.testing.assert_allclose(rows["acceleration"], [0.01, 1])
    np.testing.assert_allclose(rows["velocity"], [1e-9, np.nan])
    assert rows[["elevation_m", "sensor_depth_m"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AC3M,139.7,35.6,furlong,", "row 2, column unit: 'furlong', expected a unit of acceleration"),
        ("AC3M,139.7,35.6,m/s,", "row 2, column unit: 'm/s', expected a unit of acceleration"),
        ("AC3M,139.7,35.6,,", "row 2, column station: 'AC3M', expected a unit or a gain in its row"),
        ("AC3M,139.7,35.6,gal,400", "row 2, column gain: '400', expected a blank, as unit is told"),
        ("AC3M,139.7,35.6,,-400", "row 2, column gain: '-400', expected a gain in counts per m/s.2"),
        ("AC3M,139.7,35.6,,inf", "row 2, column gain: 'inf', expected a gain in counts per m/s.2"),
        ("AC3M,139.7,35.6,,400\nAC3M,139.7,35.6,,400", "row 3, column station: 'AC3M', expected each"),
        (",139.7,35.6,,400", "row 2, column station: .*, expected the code of a station"),
        ("AC3M,139.7,95.6,,400", "row 2, column latitude: '95.6', expected a number from -90 to 90"),
        ("AC3M,139.7,35.6,,400,1,2", "row 2: 7 cells, expected 5"),
        ("AC3M,139.7,north,,400", "row 2, column latitude: 'north', expected a number"),
    ],
)
def test_cells_that_are_wrong(tmp_path, text, message):
    (tmp_path / "s.csv").write_text("station,longitude,latitude,unit,gain\n" + text + "\n")
    with pytest.raises(DataError, match=message):
        obspy_files.read_station_table(tmp_path / "s.csv")


def test_tables_that_are_wrong(tmp_path):
    (tmp_path / "no.csv").write_text("station,longitude\nA,3\n")
    with pytest.raises(DataError, match=r"no\.csv has no column latitude, unit or gain"):
        obspy_files.read_station_table(tmp_path / "no.csv")
    with pytest.raises(UsageError, match=r"absent\.csv does not exist"):
        obspy_files.read_station_table(tmp_path / "absent.csv")
