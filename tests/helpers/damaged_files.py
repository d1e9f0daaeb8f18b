"""Damaged copies of a file for tests that read them."""

from hypothesis import strategies as st


def mutated(data: st.DataObject, good: bytes, most: int = 4) -> bytes:
    """The bytes with some cut out, replaced or inserted, or with the end missing."""
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, most))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 1, 2, 8, len(content)]))
        content[start : start + length] = data.draw(st.binary(max_size=8))
    return bytes(content)
