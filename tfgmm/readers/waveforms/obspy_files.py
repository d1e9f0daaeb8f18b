"""MiniSEED, SAC, GSE, text files and their station table -> pieces of samples."""

import contextlib
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obspy
import pandas as pd
from obspy.io.gse2 import libgse2

from tfgmm.core.errors import DataError
from tfgmm.core.sphere import wrapped
from tfgmm.data.tally import Tally
from tfgmm.readers.common import bounded, sheet
from tfgmm.readers.common.sheet import NUMBER, Column
from tfgmm.readers.waveforms import instruments
from tfgmm.readers.waveforms.instruments import ACCELERATION, VELOCITY, Channel, Instrument, Piece

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


#: Number in a SAC header that marks an unknown value.
UNDEFINED = -12345.0
#: Columns of the station table.
COLUMNS = {
    "station": Column(
        sheet.STATION, filled=True, expected="the code of a station", unique="each station once"
    ),
    "longitude": Column(sheet.LONGITUDE, NUMBER, lowest=-180, highest=360),
    "latitude": Column(sheet.LATITUDE, NUMBER, lowest=-90, highest=90),
    "elevation_m": Column(("elevationm", "elevation"), NUMBER),
    "sensor_depth_m": Column(("sensordepthm", "sensordepth"), NUMBER, lowest=0, highest=1e4),
    "unit": Column(("unit",)),
    "gain": Column(("gain",), NUMBER),
    "velocity_unit": Column(("velocityunit",)),
    "velocity_gain": Column(("velocitygain",), NUMBER),
}
#: Columns that the station table must have.
REQUIRED = ("station", "longitude", "latitude")
#: Names of the columns with unit and gain, and an example of a unit, by measured quantity.
SCALES = {
    instruments.ACCELERATION: ("unit", "gain", "m/s^2"),
    instruments.VELOCITY: ("velocity_unit", "velocity_gain", "m/s"),
}


class _Stream(NamedTuple):
    """A channel as named in the files, with the quantity that it measures.

    `scale` is the size of one unit of the samples in m/s^2 or m/s, None where the file does not state the
    unit.
    """

    network: str
    station: str
    location: str
    channel: str
    quantity: str
    scale: float | None

    @property
    def name(self) -> str:
        """Return the name of the channel, ``network.station.location.channel``."""
        return f"{self.network}.{self.station}.{self.location}.{self.channel}"


class _Group(NamedTuple):
    """The sensor to which channels belong, its two horizontals and its vertical."""

    station: str
    quantity: str
    location: str
    code: str


class ObspyFiles:
    """Reads files of the `FORMATS` with a station table.

    Samples are multiplied by the scale in the table; a calibration factor in the header of a file is not
    applied. The quantity that a channel measures is stated by the file (IDEP of SAC, the unit of SLIST and
    TSPAIR), or else by the instrument code of the channel (N: acceleration; H, L, P: velocity). Call `span`
    for every file, and then `choose_channels`, before `pieces`.

    Parameters
    ----------
    table : Path
        Station table, see `read_station_table`.
    tally : Tally
        Counts channels that are not used, with reasons.
    differentiate : bool
        Use channels that measure velocity too, where the table or the file states their unit.

    Attributes
    ----------
    stations : pandas.DataFrame
        One row per station, as `instruments.one_row_per_station` returns it.
    noted : Tally
        Notes on SAC files whose samples disagree with their header; the files are used.
    """

    def __init__(self, table: Path, tally: Tally, differentiate: bool = False):
        rows = read_station_table(table)
        self.stations = instruments.one_row_per_station(rows, table)
        self.noted = Tally()
        self._scales = rows.set_index("station")[[ACCELERATION, VELOCITY]]
        self._differentiate, self._tally = differentiate, tally
        self._formats: dict[Path, str] = {}
        self._spans: dict[Path, dict[_Stream, tuple[float, float]]] = {}
        self._channels: dict[_Stream, Channel] = {}
        self._not_numeric: set[str] = set()
        self._unread: dict[tuple[str, Instrument], dict[Path, tuple[float, float]]] = {}

    def span(self, path: Path) -> tuple[float, float]:
        """Read the headers of a file; return the times at which the file begins and ends, s since 1970.

        Parameters
        ----------
        path : Path
            A waveform file.
        """
        spans: dict[_Stream, tuple[float, float]] = {}
        self._formats[path], traces = headers(path)
        for trace in traces:
            _extend(spans, _identify_stream(trace), _find_ends(trace))
        self._spans[path] = spans
        return min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())

    def choose_channels(self, paths: Sequence[Path]) -> None:
        """Choose the channels that are used from all channels of the files that will be read.

        Parameters
        ----------
        paths : sequence of Path
            Files that will be read; `span` was called for each of them.

        Raises
        ------
        DataError
            One row of the station table fits stations of two networks.
        """
        streams = list(dict.fromkeys(stream for path in paths for stream in self._spans[path]))
        self._refuse_two_networks(streams)
        groups: dict[_Group, dict[str, list[_Stream]]] = {}
        for stream in streams:
            group = self._find_group(stream)
            if group:
                _, orientation = instruments.split_channel(stream.channel)
                groups.setdefault(group, {}).setdefault(orientation, []).append(stream)
        for group, by_orientation in groups.items():
            self._choose(group, by_orientation)
        for path in paths:
            for stream, span in self._spans[path].items():
                if channel := self._channels.get(stream):
                    key = channel.station, channel.instrument
                    _extend(self._unread.setdefault(key, {}), path, span)

    def has_more(self, station: str, instrument: Instrument, begin: float, end: float) -> bool:
        """Return True if an unread file has samples of an instrument between two times.

        Parameters
        ----------
        station : str
            Code of the station in the station table.
        instrument : Instrument
            Pair of horizontals of the station.
        begin, end : float
            The two times, s since 1970.
        """
        spans = self._unread.get((station, instrument), {}).values()
        return any(first < end and last > begin for first, last in spans)

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Read the pieces of a file: samples of one used channel without a gap.

        Parameters
        ----------
        path : Path
            A file for which `span` was called.
        wanted : callable
            Function of begin and end, s since 1970, that returns False for traces to be skipped.

        Yields
        ------
        Piece
        """
        for trace in traces(path, self._formats[path]):
            channel = self._channels.get(_identify_stream(trace))
            if channel is None or not wanted(*_find_ends(trace)):
                continue
            if np.issubdtype(trace.data.dtype, np.number):
                self._note_other_range(path, trace)
                start, rate = trace.stats.starttime.timestamp, float(trace.stats.sampling_rate)
                yield Piece(channel, start, rate, trace.data)
            elif trace.id not in self._not_numeric:
                self._not_numeric.add(trace.id)
                self._drop("samples are no numbers", trace.id)
        for spans in self._unread.values():
            spans.pop(path, None)

    def _find_group(self, stream: _Stream) -> _Group | None:
        """Return the sensor of a channel, or None for a channel that is not used; count the reason."""
        names = (f"{stream.network}.{stream.station}", stream.station)
        row = next((name for name in names if name in self._scales.index), None)
        if row is None:
            return self._drop("its station is not in the table", stream.name)
        if stream.quantity == VELOCITY and not self._differentiate:
            return self._drop(instruments.MEASURES_VELOCITY, stream.name)
        if stream.quantity not in (ACCELERATION, VELOCITY):
            return self._drop(f"measures no acceleration ({stream.quantity})", stream.name)
        table_scale = self._scales.at[row, stream.quantity]
        if np.isnan(table_scale) and stream.scale is None:
            return self._drop(f"no unit or gain of its {stream.quantity} in the station table", stream.name)
        known_twice = stream.scale is not None and not np.isnan(table_scale)
        if known_twice and not np.isclose(table_scale, stream.scale):
            return self._drop("its unit in the file is not that of the station table", stream.name)
        code, _ = instruments.split_channel(stream.channel)
        return _Group(row, stream.quantity, stream.location, code)

    def _choose(self, group: _Group, by_orientation: dict[str, list[_Stream]]) -> None:
        """Use the horizontals of a sensor as channels; count the sensor's other channels as dropped."""
        pairs, ambiguous = instruments.horizontals(set(by_orientation))
        for orientation, streams in by_orientation.items():
            for stream in streams:
                if orientation in pairs:
                    axes, place = pairs[orientation]
                    table_scale = float(self._scales.at[group.station, group.quantity])
                    scale = table_scale if stream.scale is None else stream.scale
                    instrument = Instrument(group.quantity, group.location, group.code, axes)
                    self._channels[stream] = Channel(group.station, instrument, place, scale)
                else:
                    is_ambiguous = orientation in ambiguous
                    reason = instruments.AMBIGUOUS if is_ambiguous else instruments.NOT_HORIZONTAL
                    self._drop(reason, stream.name)

    def _refuse_two_networks(self, streams: Sequence[_Stream]) -> None:
        """Raise `DataError` where one row of the station table fits stations of two networks."""
        networks: dict[str, str] = {}
        listed = self._scales.index
        for network, station, *_ in streams:
            if network and station in listed and f"{network}.{station}" not in listed:
                first = networks.setdefault(station, network)
                if first != network:
                    raise DataError(
                        f"{station} of the station table is {first}.{station} and {network}.{station} in "
                        "the files: write NET.STA into the table"
                    )

    def _note_other_range(self, path: Path, trace: obspy.Trace) -> None:
        """Note a SAC file whose smallest and largest sample are not DEPMIN and DEPMAX of its header."""
        sac = trace.stats.get("sac", {})
        listed = [float(sac.get(name, np.nan)) for name in ("depmin", "depmax")]
        if len(trace.data) and np.isfinite(listed).all() and UNDEFINED not in listed:
            low, high = np.min(trace.data), np.max(trace.data)
            if not np.allclose((low, high), listed, rtol=0, atol=1e-3 * np.abs(listed).max()):
                text = f"{path.name}: {listed[0]:g} to {listed[1]:g}, samples {low:g} to {high:g}"
                self.noted.drop("file", "DEPMIN and DEPMAX of its header disagree with the samples", [text])

    def _drop(self, reason: str, name: str) -> None:
        """Count a channel that is not used as dropped, with the reason."""
        self._tally.drop("channel", reason, [name])


def _extend(spans: dict, key, span: tuple[float, float]) -> None:
    """Extend the span of time of `key` in `spans` so that it covers `span` too; times in s since 1970."""
    begin, end = spans.get(key, span)
    spans[key] = min(begin, span[0]), max(end, span[1])


def _find_ends(trace: obspy.Trace) -> tuple[float, float]:
    """Return the times at which a trace begins and ends, s since 1970."""
    return trace.stats.starttime.timestamp, (trace.stats.endtime + trace.stats.delta).timestamp


def _identify_stream(trace: obspy.Trace) -> _Stream:
    """Return the channel of a trace; the file or else the instrument code states the quantity."""
    stats = trace.stats
    names = (stats.network, stats.station, stats.location, stats.channel)
    unit = instruments.unit(stats.ascii.unit) if "ascii" in stats else None
    if unit:
        return _Stream(*names, unit.quantity, unit.si)
    quantity = instruments.SAC_IDEP.get(int(stats.sac.get("idep", 0))) if "sac" in stats else None
    code, _ = instruments.split_channel(stats.channel)
    return _Stream(*names, quantity or instruments.measured_by(code), None)


def read_station_table(path: Path) -> pd.DataFrame:
    """Read the station table: coordinates of stations, and the scales of their samples.

    Parameters
    ----------
    path : Path
        A table that `sheet.read` can read, with the columns ``station`` (``STA`` or ``NET.STA``),
        ``longitude``, ``latitude`` (degrees), and ``unit`` of the samples (for example m/s^2, gal,
        nm/s^2) or ``gain`` (counts per m/s^2). For channels that measure velocity: ``velocity_unit`` (for
        example m/s) or ``velocity_gain`` (counts per m/s). Optional: ``elevation_m``, ``sensor_depth_m``.

    Returns
    -------
    pandas.DataFrame
        ``station``, ``longitude`` and ``latitude`` (degrees), ``elevation_m``, ``sensor_depth_m``;
        ``acceleration`` and ``velocity``, the size of one unit of the samples in m/s^2 and in m/s, NaN
        where unknown.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is no table, lacks a column, or a cell is invalid.
    """
    table = sheet.read(path)
    located = sheet.locate_columns(table, COLUMNS)
    missing = [name for name in REQUIRED if name not in located]
    if located.keys().isdisjoint(name for names in SCALES.values() for name in names):
        missing.append("unit or gain")
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}: see the docs on the station table of waveforms"
        )
    rows = sheet.read_columns(table, COLUMNS, located).reset_index(drop=True)
    scales = {quantity: _compute_scale(table, located, rows, quantity) for quantity in SCALES}
    scaled = pd.DataFrame(scales).notna().any(axis=1)
    table.refuse(table.text(located["station"]), ~scaled, "a unit or a gain in its row, which has none")
    rows = rows.assign(**scales, longitude=wrapped(rows["longitude"]))
    return rows.drop(columns=["unit", "gain", "velocity_unit", "velocity_gain"])


def _compute_scale(table: sheet.Sheet, located: dict, rows: pd.DataFrame, quantity: str) -> pd.Series:
    """Return the size of one unit of the samples in m/s^2 or m/s by row, NaN without unit and gain."""
    unit_name, gain_name, example = SCALES[quantity]
    unit, gain = rows[unit_name], rows[gain_name]
    scale = unit.map(lambda text: _find_size(text, quantity), na_action="ignore").astype(float)

    def refuse(name: str, bad: pd.Series, expected: str) -> None:
        if bad.any():
            table.refuse(table.text(located[name]), bad, expected)

    refuse(unit_name, unit.notna() & scale.isna(), f"a unit of {quantity}, as {example}")
    refuse(gain_name, gain.notna() & unit.notna(), f"a blank, as {unit_name} is told")
    good = gain.isna() | ((gain > 0) & np.isfinite(gain))
    refuse(gain_name, ~good, f"a gain in counts per {example}, above 0")
    return scale.fillna(1 / gain)


def _find_size(text: str, quantity: str) -> float:
    """Return the size of a unit in m/s^2 or m/s, NaN where the text is no unit of the quantity."""
    unit = instruments.unit(text)
    return unit.si if unit and unit.quantity == quantity else np.nan
