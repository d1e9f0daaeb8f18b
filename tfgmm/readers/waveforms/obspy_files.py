"""Waveform files that ObsPy reads (MiniSEED, SAC, GSE, text) and their station table -> pieces."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obspy

from tfgmm.core.errors import DataError
from tfgmm.data.tally import Tally
from tfgmm.readers.waveforms import continuous, instruments, station_table, trace_files
from tfgmm.readers.waveforms.continuous import Channel, Piece
from tfgmm.readers.waveforms.instruments import ACCELERATION, VELOCITY, Instrument

#: What SAC has for a number that is not told.
UNDEFINED = -12345.0


class _Stream(NamedTuple):
    """What all traces of one channel share: its name, and what the file says of quantity and unit."""

    network: str
    station: str
    location: str
    channel: str
    quantity: str
    scale: float | None

    @property
    def name(self) -> str:
        return f"{self.network}.{self.station}.{self.location}.{self.channel}"


class _Group(NamedTuple):
    """The channels of one sensor: those that may be its two horizontals and its vertical."""

    station: str
    quantity: str
    location: str
    code: str


class ObspyFiles:
    """Reads files of the `trace_files.FORMATS` of ObsPy, with a station table.

    Samples are taken as they stand in the file, times the scale of the table; a calibration factor
    in the file's header is not applied. What a channel measures is what the file says (IDEP of SAC, the
    unit of SLIST and TSPAIR), else what the instrument code of the channel says (N: acceleration; H, L,
    P: velocity). `span` must have been asked for every file, and `expect` called, before `pieces`.

    Parameters
    ----------
    table : Path
        See `station_table.read`.
    tally : Tally
        Told of channels that are not used.
    differentiate : bool
        Whether channels that measure velocity are used, where the table or the file tells their unit.

    Attributes
    ----------
    stations : pandas.DataFrame
        ``station_id``, ``longitude``, ``latitude``, ``elevation_m``, ``sensor_depth_m``.
    noted : Tally
        What is kept and worth knowing.
    """

    def __init__(self, table: Path, tally: Tally, differentiate: bool = False):
        rows = station_table.read(table)
        self.stations = continuous.one_row_a_station(rows, table)
        self.noted = Tally()
        self._scales = rows.set_index("station")[[ACCELERATION, VELOCITY]]
        self._differentiate, self._tally = differentiate, tally
        self._formats: dict[Path, str] = {}
        self._spans: dict[Path, dict[_Stream, tuple[float, float]]] = {}
        self._channels: dict[_Stream, Channel] = {}
        self._no_numbers: set[str] = set()
        self._ahead: dict[tuple[str, Instrument], dict[Path, tuple[float, float]]] = {}

    def span(self, path: Path) -> tuple[float, float]:
        """Return the times at which a file begins and ends, in s since 1970."""
        spans: dict[_Stream, tuple[float, float]] = {}
        self._formats[path], headers = trace_files.headers(path)
        for trace in headers:
            stream, begin, end = _stream(trace), *_ends(trace)
            known = spans.get(stream, (begin, end))
            spans[stream] = min(begin, known[0]), max(end, known[1])
        self._spans[path] = spans
        return min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())

    def expect(self, paths: Sequence[Path]) -> None:
        """Choose the channels that are used from all that the files to be read have.

        Raises
        ------
        DataError
            One row of the station table is meant by stations of two networks.
        """
        streams = list(dict.fromkeys(stream for path in paths for stream in self._spans[path]))
        self._refuse_two_networks(streams)
        groups: dict[_Group, dict[str, list[_Stream]]] = {}
        for stream in streams:
            group = self._group(stream)
            if group:
                _, orientation = instruments.split_channel(stream.channel)
                groups.setdefault(group, {}).setdefault(orientation, []).append(stream)
        for group, by_orientation in groups.items():
            self._choose(group, by_orientation)
        for path in paths:
            for stream, (begin, end) in self._spans[path].items():
                if channel := self._channels.get(stream):
                    spans = self._ahead.setdefault((channel.station, channel.instrument), {})
                    known = spans.get(path, (begin, end))
                    spans[path] = min(begin, known[0]), max(end, known[1])

    def awaited(self, station: str, instrument: Instrument, begin: float, end: float) -> bool:
        """Return whether a file still to be read has samples of an instrument in a stretch of time."""
        spans = self._ahead.get((station, instrument), {}).values()
        return any(first < end and last > begin for first, last in spans)

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Read the pieces of a file; traces for which ``wanted(begin, end)`` is false are skipped."""
        for trace in trace_files.traces(path, self._formats[path]):
            channel = self._channels.get(_stream(trace))
            if channel is None or not wanted(*_ends(trace)):
                continue
            if np.issubdtype(trace.data.dtype, np.number):
                self._note_other_range(path, trace)
                start, rate = trace.stats.starttime.timestamp, float(trace.stats.sampling_rate)
                yield Piece(channel, start, rate, trace.data)
            elif trace.id not in self._no_numbers:
                self._no_numbers.add(trace.id)
                self._drop("samples are no numbers", trace.id)
        for spans in self._ahead.values():
            spans.pop(path, None)

    def _group(self, stream: _Stream) -> _Group | None:
        """The sensor of a channel; nothing, and the reason tallied, if it is not used."""
        names = (f"{stream.network}.{stream.station}", stream.station)
        row = next((name for name in names if name in self._scales.index), None)
        if row is None:
            return self._drop("its station is not in the table", stream.name)
        if stream.quantity == VELOCITY and not self._differentiate:
            return self._drop(continuous.MEASURES_VELOCITY, stream.name)
        if stream.quantity not in (ACCELERATION, VELOCITY):
            return self._drop(f"measures no acceleration ({stream.quantity})", stream.name)
        told = self._scales.at[row, stream.quantity]
        if np.isnan(told) and stream.scale is None:
            return self._drop(f"no unit or gain of its {stream.quantity} in the station table", stream.name)
        if stream.scale is not None and not np.isnan(told) and not np.isclose(told, stream.scale):
            return self._drop("its unit in the file is not that of the station table", stream.name)
        code, _ = instruments.split_channel(stream.channel)
        return _Group(row, stream.quantity, stream.location, code)

    def _choose(self, group: _Group, by_orientation: dict[str, list[_Stream]]) -> None:
        """Give its place to each horizontal of a sensor, and tally the other channels."""
        pairs, ambiguous = instruments.horizontals(set(by_orientation))
        for orientation, streams in by_orientation.items():
            for stream in streams:
                if orientation in pairs:
                    axes, place = pairs[orientation]
                    told = self._scales.at[group.station, group.quantity]
                    scale = float(told) if stream.scale is None else stream.scale
                    instrument = Instrument(group.quantity, group.location, group.code, axes)
                    self._channels[stream] = Channel(group.station, instrument, place, scale)
                else:
                    reason = continuous.AMBIGUOUS if orientation in ambiguous else continuous.NOT_HORIZONTAL
                    self._drop(reason, stream.name)

    def _refuse_two_networks(self, streams: Sequence[_Stream]) -> None:
        networks: dict[str, str] = {}
        for stream in streams:
            network, station = stream.network, stream.station
            if (
                network
                and station in self._scales.index
                and f"{network}.{station}" not in self._scales.index
            ):
                other = networks.setdefault(station, network)
                if other != network:
                    raise DataError(
                        f"{station} of the station table is {other}.{station} and {network}.{station} in "
                        "the files: write NET.STA into the table"
                    )

    def _note_other_range(self, path: Path, trace: obspy.Trace) -> None:
        """Note a SAC file whose samples do not reach from DEPMIN to DEPMAX of its header."""
        sac = trace.stats.get("sac", {})
        listed = [float(sac.get(name, np.nan)) for name in ("depmin", "depmax")]
        if len(trace.data) and np.isfinite(listed).all() and UNDEFINED not in listed:
            there = np.min(trace.data), np.max(trace.data)
            if not np.allclose(there, listed, rtol=0, atol=1e-3 * np.abs(listed).max()):
                text = f"{path.name}: {listed[0]:g} to {listed[1]:g}, samples {there[0]:g} to {there[1]:g}"
                self.noted.drop("file", "DEPMIN and DEPMAX of its header disagree with the samples", [text])

    def _drop(self, reason: str, name: str) -> None:
        self._tally.drop("channel", reason, [name])


def _ends(trace: obspy.Trace) -> tuple[float, float]:
    return trace.stats.starttime.timestamp, (trace.stats.endtime + trace.stats.delta).timestamp


def _stream(trace: obspy.Trace) -> _Stream:
    """What a trace is of: what the file says it measures, else what its instrument code says."""
    stats = trace.stats
    names = (stats.network, stats.station, stats.location, stats.channel)
    unit = instruments.unit(stats.ascii.unit) if "ascii" in stats else None
    if unit:
        return _Stream(*names, unit.quantity, unit.si)
    quantity = instruments.SAC_IDEP.get(int(stats.sac.get("idep", 0))) if "sac" in stats else None
    code, _ = instruments.split_channel(stats.channel)
    return _Stream(*names, quantity or instruments.measured_by(code), None)
