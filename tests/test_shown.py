"""What public objects say of themselves, in one line and in a notebook."""

from html.parser import HTMLParser

import pytest

import tfgmm
from conftest import small_dataset
from tfgmm.api.reports import Report
from tfgmm.data.tally import Tally

URL = "http://host:8501/v1/models/kanto"


class Cells(HTMLParser):
    """The texts of a page, by the element they stand in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts, self._open = [], []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        self.texts.append((self._open[-1], text))


def tally() -> Tally:
    counts = Tally()
    counts.count("event", 30)
    counts.drop("event", "magnitude < 4 & no depth", ["a", "b"])
    return counts


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (
            tfgmm.Dataset.of(small_dataset()),
            "<Dataset 'small': 30 events; 32 stations; 584 records of PGA; networks kik, meso; "
            "2000 to 2021; simulated>",
        ),
        (tally(), "<Tally: read 30 events; left out 2 events (magnitude < 4 & no depth)>"),
        (tfgmm.Client(URL), f"<Client: model {URL}; version newest>"),
        (tfgmm.Client(f"{URL}/versions/3"), f"<Client: model {URL}/versions/3; version 3>"),
        (Report("report.html", None, []), "<Report: page report.html; Markdown none; runs >"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_line_and_the_same_facts_as_a_table(one, line):
    assert repr(one) == str(one) == line
    shown = Cells(one._repr_html_()).texts
    assert shown[0] == ("caption", type(one).__name__)
    assert dict(zip(shown[1::2], shown[2::2], strict=False)) == {
        ("th", name): ("td", str(value)) for name, value in one._facts().items() if str(value)
    }


@pytest.mark.slow
def test_a_run_and_what_it_returns(field_run):
    run = tfgmm.open_run(field_run)
    assert repr(run) == f"<tfgmm.Run {field_run}: PGA, SA(1.0) from kik, meso, standard>"
    assert ("td", "2 of 2 trained") in Cells(run._repr_html_()).texts
    assert repr(run.ensemble()) == f"<Ensemble: measures PGA; members 2; run {field_run}>"
    assert repr(run.ensemble("all")) == f"<Spectra: measures PGA, SA(1.0); members 2; run {field_run}>"
    assert repr(run.field()).startswith("<FieldTerms of PGA: ")
    for one in (run.ensemble(), run.ensemble("all"), run.field()):
        assert Cells(one._repr_html_()).texts and "\n" not in repr(one)
