"""GSE 1.0 and 2.0 waveforms -> ObsPy traces.

ObsPy's own reader ends the process (segmentation fault) on lines of more than 82 characters and on
traces of one sample. Here each trace is checked first, and then given to its decoder.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator

import numpy as np
import obspy
from obspy.io.gse2 import libgse2

#: Version of the format by its name.
VERSIONS = {"GSE1": 1, "GSE2": 2}
#: Digits after which a sample goes on with the next; all others end it.
_GOES_ON = b"UVWXYZabcdefghijklmnopqrstuvwxyz"
_LINES = re.compile(rb"(?:[-+0-9A-Za-z]{1,80}[ \r]?\n)*")


def traces(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Decode the traces of a file.

    Parameters
    ----------
    content : bytes
    kind : {"GSE1", "GSE2"}

    Raises
    ------
    Exception
        The file is damaged: ObsPy's, or `ValueError`.
    """
    starts = [match.start() for match in re.finditer(rb"^WID%d " % VERSIONS[kind], content, re.MULTILINE)]
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        with strict_warnings():
            trace = _trace(content[start:stop], kind)
        yield trace


@contextlib.contextmanager
def strict_warnings() -> Iterator[None]:
    """Make errors of what ObsPy only warns of, such as damage; all other warnings are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)
        yield


def _trace(block: bytes, kind: str) -> obspy.Trace:
    version = VERSIONS[kind]
    data = re.search(rb"^DAT%d[ \r]*\n" % version, block, re.MULTILINE)
    check = re.search(rb"^CHK%d +-?\d+\s*$" % version, block, re.MULTILINE)
    if data is None or check is None or check.start() < data.end():
        raise ValueError(f"DAT{version} or CHK{version} is missing: cut")
    [head] = obspy.read(
        io.BytesIO(block[: data.start()]), format=kind, headonly=True, check_compression=False
    )
    body, count = block[data.end() : check.start()].rstrip() + b"\n", head.stats.npts
    if head.stats[kind.lower()].datatype in ("CM6", "CMP6"):
        there = len(body.translate(None, b" \r\n" + _GOES_ON))
        if not _LINES.fullmatch(body) or there != count or count < 2:
            raise ValueError(f"{there} samples in lines of up to 80 digits, but its header says {count}")
        samples = libgse2.uncompress_cm6(io.BytesIO(b"DAT2\n" + body), count)
    elif head.stats[kind.lower()].datatype in ("INT", "INTV"):
        samples = numbers(body, count).astype(np.int32)
    else:
        raise ValueError(f"samples of type {head.stats[kind.lower()].datatype} are not read")
    libgse2.verify_checksum(io.BytesIO(check[0]), samples, version)
    return obspy.Trace(samples, head.stats)


def numbers(text: bytes, count: int) -> np.ndarray:
    """Read `count` numbers with blanks or ends of lines between them, or raise `ValueError`.

    NumPy needs a tenth of the memory that ObsPy's readers of text do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of what is no number
        values = np.fromstring(text, sep=" ")
    if len(values) != count:
        raise ValueError(f"{len(values)} samples, but its header says {count}")
    return values
