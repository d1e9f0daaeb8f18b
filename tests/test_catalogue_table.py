"""Tables of earthquakes as agencies write them."""

import pandas as pd
import pytest

from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue, sheet

TIME = pd.Timestamp("2016-12-28T12:38:49.04Z")
#: One earthquake of magnitude 5.9 in the forms of several agencies.
FDSN = (
    "#EventID|Time|Latitude|Longitude|Depth/km|Author|Catalog|Contributor|ContributorID|MagType|Magnitude"
    "|MagAuthor|EventLocationName|EventType\n"
    "77|2016-12-28T12:38:49.040000|36.720|140.574|11.0|SURVEY|||77|Mw|5.9|--|Ibaraki|earthquake\n"
)
EMSC = (
    "Date;Time UTC;Latitude;Longitude;Depth;Depth Type;Magnitude Type;Magnitude;Region Name\n"
    "2016-12-28;12:38:49.04;36.72;140.574;11;f;mw;5.9;HONSHU\n"
)
ISC = (
    "EVENTID  ,AUTHOR   ,DATE      ,TIME       ,LAT     ,LON      ,DEPTH,DEPFIX,AUTHOR   ,TYPE  ,MAG \n"
    "601000001,ISC      ,2016-12-28,12:38:49.04, 36.7200, 140.5740, 11.0,      ,GCMT     ,MW    , 5.9\n"
)
ISC_WITH_TYPES = (
    "EVENTID,TYPE,AUTHOR,DATE,TIME,LAT,LON,DEPTH,DEPFIX,AUTHOR,TYPE,MAG\n"
    "601,ke,ISC,2016-12-28,12:38:49.04,36.72,140.574,11.0,,GCMT,MW,5.9\n"
)
GEONET = (
    "publicid,eventtype,origintime,modificationtime,longitude, latitude, magnitude, depth,magnitudetype\n"
    "2016p1,earthquake,2016-12-28T12:38:49.040Z,2017-01-01T00:00:00Z,140.574,36.72,5.9,11.0,Mw\n"
)
USGS = (
    "time,latitude,longitude,depth,mag,magType,nst,net,id,updated,place,type,magError\n"
    '2016-12-28T12:38:49.040Z,36.72,140.574,11,5.9,mww,,us,us1,2023-01-01T00:00:00Z,"N,A",earthquake,\n'
)
HMTK = (
    "eventID,Agency,year,month,day,hour,minute,second,timeError,longitude,latitude,depth,magnitude\n"
    "77,ISC,2016,12,28,12,38,49.04,,140.574,36.72,11,5.9\n"
)
DAYS = "date,time,lat,lng,depth,Mw\n2016/12/28,12:38:49.04 UTC,36.72,140.574,11,5.9\n"


@pytest.fixture
def read(tmp_path):
    def _read(text: str, **options) -> tuple[pd.DataFrame, Tally]:
        (tmp_path / "events.csv").write_text(text)
        tally = Tally()
        return catalogue.read(tmp_path / "events.csv", tally, **options), tally

    return _read


@pytest.mark.parametrize(
    ("text", "event_id", "magnitude_type"),
    [
        (FDSN, "77", "Mw"),
        (EMSC, "20161228123849.04", "mw"),
        (ISC, "601000001", "MW"),
        (ISC_WITH_TYPES, "601", "MW"),
        (GEONET, "2016p1", "Mw"),
        (USGS, "us1", "mww"),
        (HMTK, "77", "not stated"),
        (DAYS, "20161228123849.04", "Mw"),
    ],
    ids=["FDSN", "EMSC", "ISC", "ISC with types", "GeoNet", "USGS", "HMTK", "date and time"],
)
def test_agencies(read, text, event_id, magnitude_type):
    events, tally = read(text)
    event = events.iloc[0]
    assert (event.event_id, event.origin_time, event.magnitude_source) == (event_id, TIME, magnitude_type)
    assert (event.longitude, event.latitude, event.depth_km, event.magnitude) == (140.574, 36.72, 11, 5.9)
    assert tally.read == {"event": 1} and not tally.dropped()


NO_EARTHQUAKES = (
    "quarry blast,explosion,mining explosion,mine collapse,Ice Quake,ice_quake,rock burst,sonic boom"
)
NO_EARTHQUAKES += ",landslide,Rock Slide,other event,nuclear explosion,qb,km,sn,volcanic eruption,duplicate"
NO_EARTHQUAKES += ",not existing,not an earthquake"
EARTHQUAKES = (
    "earthquake,Earthquake,,induced or triggered event,not reported,ke,uk,eq,reservoir loading,reverse"
)
EARTHQUAKES += ",mining induced earthquake,outside of network interest"


@pytest.mark.parametrize("kind", NO_EARTHQUAKES.split(","))
def test_what_is_no_earthquake_is_left_out_and_named(read, kind):
    text = USGS + "".join(USGS.splitlines(True)[1:]).replace("us1", "us2").replace("earthquake", kind)
    events, tally = read(text)
    assert list(events.event_id) == ["us1"]
    assert [(row["reason"], row["examples"]) for row in tally.dropped()] == [
        (f"{kind}, no earthquake", ["row 3 (us2)"])
    ]
    assert list(read(text, any_type=True)[0].event_id) == ["us1", "us2"]


@pytest.mark.parametrize("kind", EARTHQUAKES.split(","))
def test_what_may_be_an_earthquake_is_kept(read, kind):
    events, tally = read(USGS.replace("earthquake", kind))
    assert len(events) == 1 and not tally.dropped()


def test_only_explosions_are_an_error_that_says_so(read):
    with pytest.raises(
        DataError, match=r"none of its 1 events is an earthquake \(1 quarry blast\).*--any-type"
    ):
        read(USGS.replace("earthquake", "quarry blast"))


def test_a_moment_magnitude_comes_first_row_by_row(read):
    text = "id,lon,lat,depth,mb,ML,mag,magType,Mww\n"
    text += "a,140,36,10,5.1,5.2,5.3,Ms,5.4\nb,140,36,10,5.1,5.2,5.3,Ms,\nc,140,36,10,5.1,5.2,,,\n"
    text += "d,140,36,10,,5.2,,,\ne,140,36,10,,5.2,5.3,,\n"
    events, _ = read(text, times=False)
    assert events.magnitude.tolist() == [5.4, 5.3, 5.1, 5.2, 5.3]
    assert events.magnitude_source.tolist() == ["Mww", "Ms", "mb", "ML", "not stated"]
    assert catalogue.magnitude_types(events) == "1 Mww, 1 Ms, 1 mb, 1 ML, 1 not stated"


def test_times_are_not_needed_where_nobody_asks_for_them(read):
    text = "lon,lat,depth,mag\n140,36,10,5\n141,36,10,6\n"
    events, tally = read(text, times=False)
    assert list(events.event_id) == ["row 2", "row 3"] and not tally.dropped()
    events, tally = read("time,lon,lat,depth,mag\nyesterday,140,36,10,5\n", times=False)
    assert events.origin_time.isna().all() and len(events) == 1 and not tally.dropped()
    assert read(text)[0].origin_time.isna().all(), "they are blank, which who needs them counts"


def test_longitudes_from_0_to_360(read):
    events, _ = read("lon,lat,depth,mag\n190,36,10,5\n180,36,10,5\n359.5,36,10,5\n", times=False)
    assert events.longitude.tolist() == [-170, 180, -0.5]


def test_decimal_commas(read):
    text = "Latitude;Longitude;Depth;Mw\n36,72;140,574;11,0;5,9\n"
    with pytest.raises(DataError, match=r"row 2, column longitude: '140,574'.*--decimal-comma"):
        read(text, times=False)
    with sheet.decimal_comma():
        events, _ = read(text, times=False)
    assert events[["latitude", "longitude", "magnitude"]].to_numpy().tolist() == [[36.72, 140.574, 5.9]]


def test_tectonic_classes_of_scenarios(read):
    text = "lon,lat,depth,mag,tectonic region type\n140,35,10,6,Active Shallow Crust\n140,35,10,6,\n"
    assert read(text, times=False, planes=True)[0]["tectonic_class"].tolist() == ["crustal", None]
    assert "tectonic_class" not in read(text, times=False)[0]
    with pytest.raises(
        DataError, match=r"row 2, column tectonic_class: 'volcanic', expected crustal, inter"
    ):
        read(text.replace("Active Shallow Crust", "volcanic"), times=False, planes=True)
