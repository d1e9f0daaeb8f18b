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
    "name", ["", "PGD", "SA", "SA()", "SA(0)", "SA(-1.0)", "SA(1.0", "SA(1e0)", "SA(" + "9" * 400 + ")"]
)
def test_unknown_measure(name):
    with pytest.raises(UsageError, match=r"unknown intensity measure .*write PGA, PGV or SA\(T\)"):
        imt.canonical(name)


@pytest.mark.parametrize(
    ("column", "yes"), [("PGA", True), ("PGV", True), ("pga", False), ("SA(1)", False), ("x", False)]
)
def test_only_the_one_spelling_names_a_column(column, yes):
    assert imt.is_imt(column) is yes


def test_velocity_has_a_unit_of_its_own_and_no_period():
    assert imt.canonical(" pgv") == "PGV"
    assert [imt.unit(name) for name in ("pga", "pgv", "SA(2)")] == ["g", "cm/s", "g"]
    with pytest.raises(UsageError, match="PGV has no period"):
        imt.period("PGV")


def test_order_is_pga_pgv_and_periods_as_numbers():
    mixed = ["SA(10.0)", "SA(2.0)", "PGV", "SA(0.3)", "PGA"]
    assert sorted(mixed, key=imt.order) == ["PGA", "PGV", "SA(0.3)", "SA(2.0)", "SA(10.0)"]


def test_between_weighs_in_the_logarithm_of_the_period():
    first, second, weight = imt.between(["SA(2.0)", "PGV", "SA(0.5)", "SA(1)"], "SA(0.7071067811865476)")
    assert (first, second) == ("SA(0.5)", "SA(1.0)")
    assert weight == pytest.approx(0.5)
    assert imt.between(["PGA", "PGV"], "pgv") == ("PGV", "PGV", 0.0)


@pytest.mark.parametrize("name", ["SA(0.4)", "SA(3.0)", "PGA", "PGV"])
def test_between_reaches_no_further_than_the_periods(name):
    with pytest.raises(UsageError, match=r"ask for SA\(0.5\), SA\(1.0\)"):
        imt.between(["SA(1.0)", "SA(0.5)"], name)
