"""One spelling for each intensity measure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgmm.core import imt
from tfgmm.core.errors import UsageError

PERIODS = st.floats(0, 1e6, exclude_min=True)


@pytest.mark.parametrize(
    ("written", "canonical", "period"),
    [
        ("PGA", "PGA", 0.0),
        (" pga ", "PGA", 0.0),
        ("SA(1)", "SA(1.0)", 1.0),
        ("sa(1.)", "SA(1.0)", 1.0),
        ("SA(.30)", "SA(0.3)", 0.3),
        ("SA(10.0)", "SA(10.0)", 10.0),
        ("SA(0.00001)", "SA(0.00001)", 1e-5),
    ],
)
def test_spelling_and_period(written, canonical, period):
    assert imt.canonical(written) == canonical
    assert imt.period(written) == period


@given(PERIODS)
def test_canonical_is_idempotent_and_keeps_the_period(period):
    name = imt.canonical(f"sa({period:.400f})" if period < 1e-4 else f"sa({period!r})")
    assert imt.canonical(name) == name
    assert imt.is_imt(name)
    assert imt.period(name) == period


@pytest.mark.parametrize(
    "name", ["", "PGV", "SA", "SA()", "SA(0)", "SA(-1.0)", "SA(1.0", "SA(1e0)", "SA(" + "9" * 400 + ")"]
)
def test_unknown_measure(name):
    with pytest.raises(UsageError, match=r"unknown intensity measure .*write PGA or SA\(T\)"):
        imt.canonical(name)


@pytest.mark.parametrize(("column", "yes"), [("PGA", True), ("pga", False), ("SA(1)", False), ("x", False)])
def test_only_the_one_spelling_names_a_column(column, yes):
    assert imt.is_imt(column) is yes
