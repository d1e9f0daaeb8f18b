import json
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy.core.event import Catalog, Event, Magnitude, Origin, ResourceIdentifier

from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.schemas import EVENTS
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue
from tfgmm.readers.common.matching import Tolerance

REQUIRED = [name for name, column in EVENTS.columns.items() if column.required]

HEADER = "event_id,origin_time,longitude,latitude,depth_km,magnitude,magnitude_source\n"


@pytest.fixture
def read(tmp_path):
    def _read(text: str | bytes, name="events.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return catalogue.read(path, Tally())

    return _read


@pytest.fixture
def catalogue_and_tally(tmp_path):
    def _read(text: str, name="events.csv", **options) -> tuple[pd.DataFrame, Tally]:
        (tmp_path / name).write_text(text)
        tally = Tally()
        return catalogue.read(tmp_path / name, tally, **options), tally

    return _read


def table(*rows) -> pd.DataFrame:
    """Events of ``(seconds, longitude, latitude, magnitude)``."""
    start = pd.Timestamp("2016-01-01T00:00Z")
    return pd.DataFrame(
        [
            (f"e{i}", start + pd.Timedelta(seconds=second), lon, lat, 10.0, magnitude, "listed")
            for i, (second, lon, lat, magnitude) in enumerate(rows)
        ],
        columns=REQUIRED,
    )


# ---- reading -----------------------------------------------------------------------------------


def test_a_row_of_csv(read):
    events = read(HEADER + "x,2016-12-28T12:38:49.04,140.5742,36.7202,10.84,5.9,gcmt\n")
    assert events.iloc[0].to_dict() == {
        "event_id": "x",
        "origin_time": pd.Timestamp("2016-12-28T12:38:49.04Z"),
        "longitude": 140.5742,
        "latitude": 36.7202,
        "depth_km": 10.84,
        "magnitude": 5.9,
        "magnitude_source": "gcmt",
    }
    EVENTS.validate(events)


@pytest.mark.parametrize(
    ("header", "row", "source"),
    [
        ("id,time,lat,lon,depth,mag,magType", "us1,2016-12-28T12:38:49.040Z,36.7,140.5,11,5.9,mww", "mww"),
        ("Origin Time,Lat.,Lon.,Depth (km),Mw", "2016-12-28T21:38:49.04+09:00,36.7,140.5,11,5.9", "Mw"),
        ("DateTime, Lat, Lon, Depth, MAG, Mw", "2016-12-28 12:38:49.04 ,36.7, 140.5,11,6.3, 5.9", "Mw"),
        ("lat,lon,depth,time,mw,magType", "36.7,140.5,11,2016-12-28 12:38:49.04,5.9,ML", "Mw"),
        ("\ufefflon,lat,depth,mag,time", "140.5,36.7,11,5.9,2016-12-28T12:38:49.04Z", "not stated"),
    ],
)
def test_usual_headers(read, header, row, source):
    events = read(f"{header}\n{row}\n")
    row = events.iloc[0]
    assert row.origin_time == pd.Timestamp("2016-12-28T12:38:49.04Z")
    assert (row.latitude, row.longitude, row.depth_km, row.magnitude) == (36.7, 140.5, 11, 5.9)
    assert row.magnitude_source == source
    assert row.event_id == ("us1" if "id" in header.split(",") else "20161228123849.04")


def test_blank_fields_and_lines(read):
    events = read(
        HEADER + "\nx,,140,36,,5,\n\nx,2016-01-01 00:00,140,36,10,,\n,2016-01-01 00:00,140,36,10,,\n"
    )
    assert list(events.event_id) == ["x", "x-2", "20160101000000.00"]
    assert events.origin_time.isna().tolist() == [True, False, False]
    assert events.depth_km.isna().tolist() == [True, False, False]
    assert events.magnitude.isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("longitude", "400", "a number from -180 to 360"),
        ("latitude", "x", "a number from -90 to 90"),
        ("depth_km", "inf", "a number from -5 to 800"),
        ("magnitude", "-9", "a number from -1 to 10"),
        ("origin_time", "28/12/2016 12:38", "a time such as"),
        ("origin_time", "2016", "a time such as"),
        ("origin_time", "7016-01-01 00:00:00", "a time such as"),
    ],
)
def test_bad_rows_are_left_out_and_named(read, catalogue_and_tally, column, value, expected):
    row = ["x", "2016-01-01T00:00:00", "140", "36", "10", "5", ""]
    good = dict(zip(HEADER.strip().split(","), row, strict=True))
    lines = [",".join(row.values()) for row in (good, good | {column: value})]
    with pytest.raises(
        DataError, match=rf"events\.csv, row 2, column {column}: .*{value}.*, expected .*{expected}"
    ):
        read(HEADER + lines[1] + "\n")
    events, tally = catalogue_and_tally(HEADER + "\n".join([lines[0], lines[1], lines[0]]) + "\n")
    assert list(events.event_id) == ["x", "x-2"]
    (dropped,) = tally.dropped()
    assert dropped["count"] == 1 and column in dropped["reason"] and expected in dropped["reason"]
    assert dropped["examples"] == [f"row 3 (x): {value}"]
    assert tally.read == {"event": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "events.csv"),
        (HEADER, "no rows"),
        (HEADER + ",,,,,,\n", "lists no event"),
        (
            "time,lat,lon,depth\n1,2,3,4\n",
            r"no column magnitude.*\(time, lat, lon, depth\) magnitude or mag or mw",
        ),
        ("time,latitude,depth,mag\n1,2,3,4\n", "no column longitude.* longitude or lon or long or lng"),
        (
            "2016-12-28,140.5,36.7,10,5.9\n2016-12-28,140.5,36.7,10,5.9\n",
            "row 1: .*140.5, 36.7.* are no names of columns",
        ),
        ("<html></html>", "is no QuakeML"),
        (HEADER + "a,b,c,d,e,f,g\n" + "x," * 20 + "\n", "events.csv"),
    ],
)
def test_no_catalogue(read, content, message):
    with pytest.raises((DataError, UsageError), match=message):
        read(content)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="absent.csv does not exist"):
        catalogue.read(tmp_path / "absent.csv", Tally())


def quakeml(path: Path, *events: Event) -> Path:
    Catalog(list(events)).write(str(path), format="QUAKEML")
    return path


def test_quakeml(tmp_path):
    origins = [
        Origin(
            time=obspy.UTCDateTime(2016, 12, 28, 12, minute), longitude=140.5, latitude=36.5, depth=11_000
        )
        for minute in (0, 30)
    ]
    local, moment = Magnitude(mag=6.3, magnitude_type="ML"), Magnitude(mag=5.9, magnitude_type="Mww")
    preferred = Event(
        resource_id=ResourceIdentifier("smi:local/first"),
        origins=origins,
        magnitudes=[moment, local],
        preferred_origin_id=origins[1].resource_id,
        preferred_magnitude_id=local.resource_id,
    )
    plain = Event(
        resource_id=ResourceIdentifier("smi:local/second"), origins=origins[:1], magnitudes=[local, moment]
    )
    empty = Event(resource_id=ResourceIdentifier("smi:local/third"))
    events = catalogue.read(quakeml(tmp_path / "events.xml", preferred, plain, empty), Tally())
    assert list(events.event_id) == ["first", "second", "third"]
    assert list(events.origin_time[:2].dt.minute) == [30, 0] and events.origin_time.isna()[2]
    assert list(events.magnitude[:2]) == [5.9, 5.9] and np.isnan(events.magnitude[2])
    assert list(events.magnitude_source) == ["Mww", "Mww", "not stated"]
    assert list(events.depth_km[:2]) == [11, 11]
    EVENTS.validate(events[:2])


def test_bad_quakeml(tmp_path, read):
    with pytest.raises(DataError, match=r"events\.xml is no QuakeML"):
        read("<html></html>", "events.xml")
    with pytest.raises(DataError, match=r"events\.qml lists no event"):
        catalogue.read(quakeml(tmp_path / "events.qml"), Tally())
    origin = Origin(time=obspy.UTCDateTime(2016, 1, 1), longitude=140, latitude=36, depth=1e7)
    with pytest.raises(DataError, match=r"events\.xml, event 1, column depth_km: .*10000.*from -5 to 800"):
        catalogue.read(quakeml(tmp_path / "events.xml", Event(origins=[origin])), Tally())


@settings(max_examples=60)
@given(st.data())
def test_mutated_files_are_refused_or_read(tmp_path_factory, data):
    good = (HEADER + "x,2016-12-28T12:38:49+09:00,140.5,36.7,10,5.9,Mw\n" * 3).encode()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "events.csv"
    path.write_bytes(content)
    try:
        events = catalogue.read(path, Tally())
    except (DataError, UsageError) as error:
        assert "\n" not in str(error) and "events.csv" in str(error)
    else:
        assert events.event_id.is_unique and list(events.columns) == REQUIRED


# ---- better magnitudes -------------------------------------------------------------------------


def test_improve_replaces_the_magnitude_of_matched_events():
    events = table((0, 140, 36, 5.0), (100, 140, 36, 5.0), (200, 140, 36, np.nan), (300, 140, 36, 5.0))
    better = table((301, 140.1, 36, np.nan), (203, 140, 36, 6.0), (98, 140.1, 36, 5.4), (0, 142, 36, 5.1))
    improved, report = catalogue.improve(events, better.assign(magnitude_source="mww"), Tolerance())
    assert improved.magnitude.tolist() == [5.0, 5.4, 6.0, 5.0]
    assert improved.magnitude_source.tolist() == ["listed", "catalogue mww", "catalogue mww", "listed"]
    assert report == {
        "events": 4,
        "matched": 2,
        "unmatched": 2,
        "examples": ["e0", "e3"],
        "taken_as_mw": "2 mww",
        "mean_change": pytest.approx(0.4),
        "largest_change": pytest.approx(0.4),
    }
    assert json.loads(json.dumps(report)) == report
    untouched = [column for column in events if not column.startswith("magnitude")]
    pd.testing.assert_frame_equal(improved[untouched], events[untouched])
    assert events.magnitude[1] == 5.0, "the table that was given stays as it was"


def test_improve_with_nothing_in_common():
    events = table((0, 140, 36, 5.0))
    improved, report = catalogue.improve(events, table((50, 140, 36, 5.0)), Tolerance())
    pd.testing.assert_frame_equal(improved, events)
    assert (report["matched"], report["mean_change"], report["largest_change"]) == (0, None, None)
    assert catalogue.improve(events, table((50, 140, 36, 5.5)), Tolerance(seconds=60))[1]["matched"] == 1
