"""Read MiniSEED, SAC, GSE and text files as ObsPy traces, piece by piece to bound the memory."""

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import obspy
from obspy.io.gse2 import libgse2

from tfgmm.core.errors import DataError
from tfgmm.readers.common import bounded

#: Formats that are read. ObsPy always gets the name of the format: without the name, ObsPy unpickles
#: unknown files and confuses text formats.
FORMATS = ("MSEED", "SAC", "SACXY", "GSE2", "GSE1", "SLIST", "TSPAIR")
#: Text formats by how their files begin; all other files are MiniSEED or SAC.
_TEXTS = (
    (re.compile(rb"TIMESERIES [^\n]*\bSLIST\b"), "SLIST"),
    (re.compile(rb"TIMESERIES [^\n]*\bTSPAIR\b"), "TSPAIR"),
    (re.compile(rb"(?:[^\n]*\n)*?WID2 "), "GSE2"),
    (re.compile(rb"(?:[^\n]*\n)*?WID1 "), "GSE1"),
    (re.compile(rb"[-+.\deE\s]{100}"), "SACXY"),
)
_HEAD_BYTES = 4000
#: Highest sampling rate in Hz; no digitiser of ground motion is faster.
MOST_HZ = 10_000.0
#: Number of bytes of MiniSEED that are decoded at a time (they take up to seven times as much memory), and
#: the number of bytes of which the start of a MiniSEED record is a multiple.
PIECE, RECORD_STEP = 2**24, 64
_RECORD = re.compile(rb"\d{6}[DRQM][ \x00]")
#: Number of lines of the header of a SACXY file.
_SACXY_HEADER = 30
#: Version of GSE by the name of the format.
_GSE_VERSIONS = {"GSE1": 1, "GSE2": 2}
#: Digits of the CM6 encoding after which a sample continues in the next digit; other digits end a sample.
_CM6_CONTINUES = b"UVWXYZabcdefghijklmnopqrstuvwxyz"
_CM6_LINES = re.compile(rb"(?:[-+0-9A-Za-z]{1,80}[ \r]?\n)*")


def headers(path: Path) -> tuple[str, obspy.Stream]:
    """Read the format of a file and the headers of its traces, without their samples.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    kind : str
        Format of the file, one of the `FORMATS`.
    headers : obspy.Stream
        Traces without samples.

    Raises
    ------
    UsageError
        There is no such file, or the path is a folder, pipe or device.
    DataError
        The file is in none of the `FORMATS`, or is damaged; a warning of ObsPy counts as damage.
    """
    content = bounded.content(path)
    for kind in _guess_kinds(content[:_HEAD_BYTES]):
        try:
            traces = _read(content, kind, headonly=True)
        except Exception:  # each format's reader fails in its own ways
            continue
        rates = [trace.stats.sampling_rate for trace in traces]
        if rates and all(math.isfinite(rate) and 0 < rate <= MOST_HZ for rate in rates):
            return kind, traces
    raise DataError(f"{path} is damaged, or none of {', '.join(FORMATS)}: convert it to one of them")


def traces(path: Path, kind: str) -> Iterator[obspy.Trace]:
    """Read the traces of a file in a known format; a long trace comes in several parts.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Format of the file as `headers` returns it, one of the `FORMATS`.

    Yields
    ------
    obspy.Trace
        Trace, or part of a trace, with the samples as in the file.

    Raises
    ------
    UsageError, DataError
        As in `headers`; also where a text file has another number of samples than stated in its header.
    """
    content = bounded.content(path)
    try:
        yield from READERS.get(kind, _read_whole)(content, kind)
    except Exception as error:  # each format's reader fails in its own ways
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise DataError(f"{path} is damaged ({kind}: {reason}): fetch it again") from error


def _guess_kinds(head: bytes) -> Sequence[str]:
    """Return the possible formats of a file with the given first bytes."""
    return next(([kind] for pattern, kind in _TEXTS if pattern.match(head)), ["MSEED", "SAC"])


def _read(content: bytes, kind: str, headonly: bool = False) -> obspy.Stream:
    """Read a file with ObsPy; return the traces. Warnings of ObsPy are raised as errors."""
    with _raise_warnings():
        return obspy.read(io.BytesIO(content), format=kind, headonly=headonly, check_compression=False)


def _read_whole(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield the traces of a file, which is decoded as a whole."""
    yield from _read(content, kind)


def _read_miniseed(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield traces of MiniSEED, decoded in pieces of whole records; a trace may come in several parts."""
    start = 0
    while start < len(content):
        stop = start + PIECE
        while start < stop < len(content) and not _RECORD.match(content, stop):
            stop -= RECORD_STEP
        if stop <= start:  # no record begins here: the file is damaged, and ObsPy says how
            stop = start + PIECE
        yield from _read(content[start:stop], kind)
        start = stop


def _read_tspair(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield the traces of a TSPAIR file, and compare their number of samples with the header."""
    for trace, head in zip(_read(content, kind), _read(content, kind, headonly=True), strict=True):
        if trace.stats.npts != head.stats.npts:  # ObsPy does not check the number of samples
            raise ValueError(f"{trace.stats.npts} samples, but its header says {head.stats.npts}")
        yield trace


def _read_sacxy(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield the trace of a SACXY file; ObsPy's own reader fails where the last line is not full."""
    [head] = _read(content, kind, headonly=True)
    body = content.split(b"\n", _SACXY_HEADER)[_SACXY_HEADER]
    yield obspy.Trace(_parse_numbers(body, head.stats.npts), head.stats)


def _read_slist(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield the traces of a SLIST file, parsed with NumPy; ObsPy needs twenty times the file's size."""
    starts = [match.start() for match in re.finditer(rb"^TIMESERIES", content, re.MULTILINE)]
    heads = _read(content, kind, headonly=True)
    for head, start, stop in zip(heads, starts, [*starts[1:], len(content)], strict=True):
        first = content.index(b"\n", start)
        yield obspy.Trace(_parse_numbers(content[first:stop], head.stats.npts), head.stats)


def _read_gse(content: bytes, kind: str) -> Iterator[obspy.Trace]:
    """Yield the traces of a GSE file, each checked before ObsPy decodes it.

    ObsPy's own reader ends the process (segmentation fault) on lines of more than 82 characters and on
    traces of one sample.
    """
    starts = [
        match.start() for match in re.finditer(rb"^WID%d " % _GSE_VERSIONS[kind], content, re.MULTILINE)
    ]
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        with _raise_warnings():
            trace = _decode_gse(content[start:stop], kind)
        yield trace


def _decode_gse(block: bytes, kind: str) -> obspy.Trace:
    """Return one trace of a GSE file; raise `ValueError` or an error of ObsPy where it is damaged."""
    version = _GSE_VERSIONS[kind]
    data = re.search(rb"^DAT%d[ \r]*\n" % version, block, re.MULTILINE)
    check = re.search(rb"^CHK%d +-?\d+\s*$" % version, block, re.MULTILINE)
    if data is None or check is None or check.start() < data.end():
        raise ValueError(f"DAT{version} or CHK{version} is missing: cut")
    [head] = obspy.read(
        io.BytesIO(block[: data.start()]), format=kind, headonly=True, check_compression=False
    )
    body, count = block[data.end() : check.start()].rstrip() + b"\n", head.stats.npts
    if head.stats[kind.lower()].datatype in ("CM6", "CMP6"):
        encoded = len(body.translate(None, b" \r\n" + _CM6_CONTINUES))
        if not _CM6_LINES.fullmatch(body) or encoded != count or count < 2:
            raise ValueError(f"{encoded} samples in lines of up to 80 digits, but its header says {count}")
        samples = libgse2.uncompress_cm6(io.BytesIO(b"DAT2\n" + body), count)
    elif head.stats[kind.lower()].datatype in ("INT", "INTV"):
        samples = _parse_numbers(body, count).astype(np.int32)
    else:
        raise ValueError(f"samples of type {head.stats[kind.lower()].datatype} are not read")
    libgse2.verify_checksum(io.BytesIO(check[0]), samples, version)
    return obspy.Trace(samples, head.stats)


def _parse_numbers(text: bytes, count: int) -> np.ndarray:
    """Return `count` numbers separated by blanks or line ends, [count], or raise `ValueError`.

    NumPy needs a tenth of the memory of ObsPy's readers of text.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy warns of text that is no number
        values = np.fromstring(text, sep=" ")
    if len(values) != count:
        raise ValueError(f"{len(values)} samples, but its header says {count}")
    return values


@contextlib.contextmanager
def _raise_warnings() -> Iterator[None]:
    """Raise ObsPy's warnings, for example of damage, as errors, and silence all other warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)
        yield


#: Readers of formats that ObsPy alone reads with too few checks, or with too much memory.
READERS = {
    "MSEED": _read_miniseed,
    "SACXY": _read_sacxy,
    "SLIST": _read_slist,
    "TSPAIR": _read_tspair,
    "GSE1": _read_gse,
    "GSE2": _read_gse,
}
