"""Reader of MiniSEED, SAC, GSE and text files with a station table -> pieces of acceleration or velocity.

A piece is a stretch of samples of one channel without a gap.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obspy
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.core.sphere import wrapped
from tfgmm.data.tally import Tally
from tfgmm.readers.common import columns, sheet
from tfgmm.readers.common.columns import NUMBER, Column
from tfgmm.readers.waveforms import instruments, trace_files
from tfgmm.readers.waveforms.instruments import ACCELERATION, VELOCITY, Channel, Instrument, Piece

#: Number in a SAC header that marks an unknown value.
UNDEFINED = -12345.0
#: Columns of the station table.
COLUMNS = {
    "station": Column(
        columns.STATION, filled=True, expected="the code of a station", unique="each station once"
    ),
    "longitude": Column(columns.LONGITUDE, NUMBER, lowest=-180, highest=360),
    "latitude": Column(columns.LATITUDE, NUMBER, lowest=-90, highest=90),
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
    """Reads files of the `trace_files.FORMATS` with a station table.

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
        self._formats[path], headers = trace_files.headers(path)
        for trace in headers:
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
        for trace in trace_files.traces(path, self._formats[path]):
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
    located = columns.locate(table, COLUMNS)
    missing = [name for name in REQUIRED if name not in located]
    if located.keys().isdisjoint(name for names in SCALES.values() for name in names):
        missing.append("unit or gain")
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}: see the docs on the station table of waveforms"
        )
    rows = columns.read(table, COLUMNS, located).reset_index(drop=True)
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
