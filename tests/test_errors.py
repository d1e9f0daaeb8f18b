"""Names in messages."""

from tfgmm.core.errors import DataError, listed, one_line


def test_short_lists_are_whole():
    assert listed(["a", 2, "c"]) == "a, 2, c"
    assert listed([]) == ""
    assert listed({"a": 1, "b": 2}) == "a, b"


def test_long_lists_and_long_names_are_cut():
    assert listed(range(100_000), most=3) == "0, 1, 2 and 99,997 more"
    assert len(listed(["x" * 10_000] * 100_000)) < 2000


def test_a_message_is_one_line_of_bounded_length():
    assert one_line(DataError("a\nb\x1b[31m.csv: °C")) == r"a\nb\x1b[31m.csv: °C"
    assert len(one_line(DataError("x" * 10**6))) < 3000
