"""Waveform files -> ObsPy traces, with a bound on memory: bytes are decoded piece by piece."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import obspy

from tfgmm.core.errors import DataError
from tfgmm.readers.common import bounded
from tfgmm.readers.waveforms import gse

#: Left to itself, ObsPy unpickles a file that it does not know, and takes one text format for another.
FORMATS = ("MSEED", "SAC", "SACXY", "GSE2", "GSE1", "SLIST", "TSPAIR")
#: Text formats by what a line of them begins with; all other files are MiniSEED or SAC.
_TEXTS = (
    (re.compile(rb"TIMESERIES [^\n]*\bSLIST\b"), "SLIST"),
    (re.compile(rb"TIMESERIES [^\n]*\bTSPAIR\b"), "TSPAIR"),
    (re.compile(rb"(?:[^\n]*\n)*?WID2 "), "GSE2"),
    (re.compile(rb"(?:[^\n]*\n)*?WID1 "), "GSE1"),
    (re.compile(rb"[-+.\deE\s]{100}"), "SACXY"),
)
_HEAD_BYTES = 4000
#: Hz; no digitiser of ground motion is faster.
MOST_HZ = 10_000.0
#: Bytes of MiniSEED that are decoded at a time (they may become seven times as many), and the distance
#: at which its records may begin.
PIECE, RECORD_STEP = 2**24, 64
_RECORD = re.compile(rb"\d{6}[DRQM][ \x00]")
#: Lines of the header of SACXY.
_SACXY_HEADER = 30


def headers(path: Path) -> tuple[str, obspy.Stream]:
    """Read the format of a file and the headers of its traces, without their samples.

    Raises
    ------
    UsageError
        There is no such file, or it is a folder, pipe or device.
    DataError
        It is none of the `FORMATS`, or damaged; what ObsPy only warns of is damage too.
    """
    content = bounded.content(path)
    for kind in _kinds(content[:_HEAD_BYTES]):
        try:
            traces = _read(content, kind, headonly=True)
        except Exception:  # each format's reader fails in its own ways
            continue
        rates = [trace.stats.sampling_rate for trace in traces]
        if rates and all(math.isfinite(rate) and 0 < rate <= MOST_HZ for rate in rates):
            return kind, traces
    raise DataError(f"{path} is damaged, or none of {', '.join(FORMATS)}: convert it to one of them")


def traces(path: Path, kind: str) -> Iterator[obspy.Trace]:
    """Read the traces of a file whose format is known; a long one comes in parts.

    Raises
    ------
    UsageError, DataError
        As `headers`; or a text has other numbers of samples than its headers say.
    """
    content = bounded.content(path)
    try:
        yield from READERS.get(kind, _whole)(content, kind)
    except Exception as error:  # as above
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise DataError(f"{path} is damaged ({kind}: {reason}): fetch it again") from error


def _kinds(head: bytes) -> Sequence[str]:
    """The formats that a file which begins so may have."""
    return next(([kind] for pattern, kind in _TEXTS if pattern.match(head)), ["MSEED", "SAC"])


def _read(content: bytes, kind: str, headonly: bool = False) -> obspy.Stream:
    with gse.strict_warnings():
        return obspy.read(io.BytesIO(content), format=kind, headonly=headonly, check_compression=False)


def _whole(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    yield from _read(content, kind)


def _miniseed(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Traces of some records at a time; one that is parted so goes on where the other ends."""
    start = 0
    while start < len(content):
        stop = start + PIECE
        while start < stop < len(content) and not _RECORD.match(content, stop):
            stop -= RECORD_STEP
        stop = stop if stop > start else start + PIECE  # no record begins: damage, which ObsPy names
        yield from _read(content[start:stop], kind)
        start = stop


def _tspair(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    for trace, head in zip(_read(content, kind), _read(content, kind, headonly=True), strict=True):
        if trace.stats.npts != head.stats.npts:  # ObsPy takes what there is
            raise ValueError(f"{trace.stats.npts} samples, but its header says {head.stats.npts}")
        yield trace


def _sacxy(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """The trace; ObsPy reads those alone that fill their last line."""
    [head] = _read(content, kind, headonly=True)
    body = content.split(b"\n", _SACXY_HEADER)[_SACXY_HEADER]
    yield obspy.Trace(gse.numbers(body, head.stats.npts), head.stats)


def _slist(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Traces whose samples NumPy reads; ObsPy would take twenty times the size of the file."""
    starts = [match.start() for match in re.finditer(rb"^TIMESERIES", content, re.MULTILINE)]
    heads = _read(content, kind, headonly=True)
    for head, start, stop in zip(heads, starts, [*starts[1:], len(content)], strict=True):
        first = content.index(b"\n", start)
        yield obspy.Trace(gse.numbers(content[first:stop], head.stats.npts), head.stats)


#: Readers of formats that ObsPy alone reads without enough care, or with too much memory.
READERS = {
    "MSEED": _miniseed,
    "SACXY": _sacxy,
    "SLIST": _slist,
    "TSPAIR": _tspair,
    "GSE1": gse.traces,
    "GSE2": gse.traces,
}
