"""QuakeML as agencies write it."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.common import catalogue
from tfgmm.readers.common import catalogue as quakeml_reader

ORIGIN = """<origin publicID="smi:x/o/{n}"><time><value>2018-01-0{n}T10:39:37Z</value></time>
<latitude><value>35.5</value></latitude><longitude><value>139.8</value></longitude>
<depth><value>12000</value></depth></origin>"""
MAGNITUDE = '<magnitude publicID="smi:x/m/{name}"><mag><value>{value}</value></mag>{kind}</magnitude>'


def magnitude(name: str, value: float, kind: str) -> str:
    return MAGNITUDE.format(name=name, value=value, kind=f"<type>{kind}</type>" if kind else "")


def quakeml(path: Path, *events: str) -> Path:
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><q:quakeml xmlns="http://quakeml.org/xmlns/bed/1.2" '
        'xmlns:q="http://quakeml.org/xmlns/quakeml/1.2" xmlns:catalog="http://anss.org/xmlns/catalog/0.1">'
        f'<eventParameters publicID="smi:local/c">{"".join(events)}</eventParameters></q:quakeml>'
    )
    return path


def event(attributes: str = 'publicID="smi:x/event/A"', inside: str = "", n: int = 1) -> str:
    return f"<event {attributes}>{inside}{ORIGIN.format(n=n)}</event>"


def read(path: Path, **options):
    tally = Tally()
    return catalogue.read(path, tally, **options), tally


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            'publicID="quakeml:earthquake.usgs.gov/fdsnws/event/1/query?eventid=us7000abcd&amp;format=quakeml"',
            "us7000abcd",
        ),
        ('publicID="smi:webservices.ingv.it/fdsnws/event/1/query?eventId=863301"', "863301"),
        ('publicID="smi:ISC/evid=600516598"', "600516598"),
        (
            'catalog:eventsource="us" catalog:eventid="7000abcd" publicID="quakeml:us.anss.org/7000abcd"',
            "us7000abcd",
        ),
        ('catalog:eventsource="us" catalog:eventid="us7000abcd" publicID="smi:x/1"', "us7000abcd"),
        ('catalog:eventid="7000abcd" publicID="smi:x/1"', "7000abcd"),
        ('publicID="smi:nz.org.geonet/2016p858000"', "2016p858000"),
        ('publicID="quakeml:eu.emsc/event/20170906_0000041/"', "20170906_0000041"),
        ("", "20180101103937.00"),
    ],
)
def test_ids_are_those_of_the_agencies(tmp_path, attributes, expected):
    events, _ = read(quakeml(tmp_path / "events.xml", event(attributes, magnitude("1", 5.0, "Mw"))))
    assert events.event_id.tolist() == [expected]


@pytest.mark.parametrize(
    ("preferred", "magnitudes", "value", "kind"),
    [
        ("1", [("1", 6.1, "mb"), ("2", 6.6, "Mwc")], 6.6, "Mwc"),
        ("3", [("1", 6.5, "Mww"), ("2", 6.1, "ML"), ("3", 6.6, "Mwr")], 6.6, "Mwr"),
        ("2", [("1", 6.1, "mb"), ("2", 6.2, "Ms")], 6.2, "Ms"),
        ("elsewhere", [("1", 6.1, "mb"), ("2", 6.2, "Ms")], 6.1, "mb"),
        ("elsewhere", [("1", 6.1, "mb"), ("2", 6.6, "Mw")], 6.6, "Mw"),
        ("1", [("1", 6.1, "")], 6.1, "not stated"),
        ("1", [("1", 6.1, "Mw(mB)"), ("2", 6.6, "Mw")], 6.6, "Mw"),
    ],
)
def test_a_moment_magnitude_comes_first(tmp_path, preferred, magnitudes, value, kind):
    inside = f"<preferredMagnitudeID>smi:x/m/{preferred}</preferredMagnitudeID>"
    inside += "".join(magnitude(*each) for each in magnitudes)
    events, _ = read(quakeml(tmp_path / "events.xml", event(inside=inside)))
    assert events.magnitude.tolist() == [value] and events.magnitude_source.tolist() == [kind]


def test_a_preferred_origin_that_is_not_there(tmp_path):
    inside = "<preferredOriginID>smi:x/o/9</preferredOriginID>"
    assert read(quakeml(tmp_path / "events.xml", event(inside=inside)))[0].origin_time.dt.day.tolist() == [
        1
    ]


def test_explosions_are_left_out_and_named(tmp_path):
    kinds = ("earthquake", "quarry blast", "weird thing", "explosion", "induced or triggered event")
    events = [
        event(f'publicID="smi:x/{i}"', f"<type>{kind}</type>{magnitude(str(i), 5.0, 'Mw')}", n=i)
        for i, kind in enumerate(kinds, 1)
    ]
    found, tally = read(quakeml(tmp_path / "events.xml", *events))
    assert found.event_id.tolist() == ["1", "3", "5"]
    assert tally.read == {"event": 5}
    assert {row["reason"]: row["examples"] for row in tally.dropped()} == {
        "quarry blast, no earthquake": ["event 2 (2)"],
        "explosion, no earthquake": ["event 4 (4)"],
    }


def test_a_bad_event_is_left_out_and_named(tmp_path):
    events = [
        event('publicID="smi:x/1"', magnitude("1", 5.0, "Mw")),
        event('publicID="smi:x/2"', magnitude("2", 55.0, "Mw")),
    ]
    found, tally = read(quakeml(tmp_path / "events.txt", *events))  # told from its first character
    assert found.event_id.tolist() == ["1"] and np.isclose(found.depth_km[0], 12)
    assert tally.dropped()[0]["examples"] == ["event 2 (2): 55.0"]


def test_version_and_namespace_do_not_matter(tmp_path):
    path = tmp_path / "events.xml"
    path.write_text(f'<quakeml xmlns="http://quakeml.org/xmlns/quakeml-rt/1.1"><eventParameters>{event()}'
                    "</eventParameters></quakeml>")  # fmt: skip
    assert read(path)[0].event_id.tolist() == ["A"]


def test_no_number_and_no_time_are_named(tmp_path):
    path = quakeml(tmp_path / "events.xml", event(n=1), event(n=2))
    path.write_text(path.read_text().replace("12000", "deep", 1))
    assert read(path)[1].dropped()[0]["examples"] == ["event 1 (A): deep"]


@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_not_taken(tmp_path):
    """Picks and arrivals, of which there are hundreds an event."""
    picks = "<pick><time><value>2018-01-01T10:39:37Z</value></time></pick>" * 2000
    content = quakeml(tmp_path / "events.xml", *[event(inside=picks)] * 20).read_bytes()
    tracemalloc.start()
    quakeml_reader.read_quakeml(tmp_path / "events.xml", content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(content) / 2


def test_a_file_with_brackets_in_its_name(tmp_path):
    assert len(read(quakeml(tmp_path / "events[1].xml", event()))[0]) == 1


LAUGHS = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "&a;" * 10}">' for i in range(9)
)


NO_QUAKEML = ["", "<a/>", "<q:quakeml", "<html><body>busy</body></html>", "<quakeml>" + "<a>" * 100_000]
NO_QUAKEML += [f"{LAUGHS}]><quakeml>&a8;</quakeml>", "<quakeml/>", "<quakeml><eventParameters/>"]


@pytest.mark.parametrize("content", NO_QUAKEML)
def test_what_is_no_quakeml(tmp_path, content):
    path = tmp_path / "events.xml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"events\.xml (is no QuakeML|lists no event)") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_obspy_is_not_loaded():
    """It takes a second, and predicting and asking a server do without."""
    code = (
        "import sys, tfgmm.cli.app, tfgmm.prediction.scenarios, tfgmm.serving.client; "
        "sys.exit('obspy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
