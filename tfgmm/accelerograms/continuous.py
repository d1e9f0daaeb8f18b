"""Waveform files of any length and their station table -> acceleration, piece by piece."""

import glob
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obspy
import pandas as pd

from tfgmm import imt, records
from tfgmm.accelerograms import win32
from tfgmm.errors import DataError, UsageError

#: Formats that are tried in turn. Left to itself, ObsPy unpickles a file that it does not know.
FORMATS = ("MSEED", "SAC", "SACXY", "GSE2", "GSE1", "SLIST", "TSPAIR")
#: m/s^2 in the units that a station table may name; the value of a count is 1 / gain.
UNITS = {"m/s^2": 1.0, "cm/s^2": 1e-2, "gal": 1e-2, "nm/s^2": 1e-9, "g": imt.STANDARD_GRAVITY}
#: The two horizontals, as networks call them; their order does not matter here.
HORIZONTALS = {"N": 0, "NS": 0, "X": 0, "1": 0, "E": 1, "EW": 1, "Y": 1, "2": 1}
#: Channels of one station may not be farther apart than this (about 100 m).
SAME_PLACE_DEG = 0.001
_NUMBERS = {"longitude", "latitude", "elevation_m", "sensor_depth_m", "gain"}
EPOCH = pd.Timestamp(0, tz="UTC")


class Piece(NamedTuple):
    """Acceleration of one horizontal of a station, without a gap.

    Attributes
    ----------
    station : str
    component : int
        0 or 1.
    start : float
        Time of the first sample, in s since 1970 (UTC).
    rate : float
        Hz.
    acceleration : ndarray, [n]
        m/s^2.
    """

    station: str
    component: int
    start: float
    rate: float
    acceleration: np.ndarray


def seconds(time):
    """Time or times (UTC) in s since 1970."""
    return (time - EPOCH) / pd.Timedelta(seconds=1)


class Win32Files:
    """Reads NIED WIN32 files with their channel table.

    Parameters
    ----------
    table : Path
        Channel table. Horizontal channels whose unit is an acceleration are used.
    tally : Tally
        Told of channels that are not used.

    Attributes
    ----------
    stations : pandas.DataFrame
        ``station_id``, ``longitude``, ``latitude``.
    """

    def __init__(self, table: Path, tally: records.Tally):
        rows = win32.read_channels(table)
        measured = rows["unit"].isin(win32.ACCELERATION)
        reasons = {
            "unit is no acceleration": ~measured,
            "not horizontal": measured & ~rows["component"].str.upper().isin(list(HORIZONTALS)),
            "sensitivity, gain or LSB unknown": measured & rows["per_count"].isna(),
        }
        for reason, bad in reasons.items():
            tally.drop("channel", reason, rows["station"][bad] + " " + rows["component"][bad])
        usable = rows[~np.any(list(reasons.values()), axis=0)]
        if usable.empty:
            raise DataError(
                f"{table} lists no horizontal channel in {win32.ACCELERATION[0]}: nothing to read"
            )
        self.stations = _stations(usable, table)
        self._known, self._usable = set(rows["channel"]), usable.set_index("channel")
        self._foreign, self._tally = set(), tally

    def span(self, path: Path) -> tuple[float, float]:
        """Times at which a file begins and ends, in s since 1970."""
        return tuple(map(seconds, win32.span(path)))

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Pieces of a file; seconds for which ``wanted(begin, end)`` is false are skipped."""
        found = win32.read(path, self._keeps, lambda time: wanted(seconds(time), seconds(time) + 1))
        for number, segments in found.items():
            channel = self._usable.loc[number]
            component = HORIZONTALS[channel["component"].upper()]
            for start, rate, counts in segments:
                acceleration = counts * channel["per_count"]
                yield Piece(channel["station"], component, seconds(start), rate, acceleration)

    def _keeps(self, channel: int) -> bool:
        if channel not in self._known | self._foreign:
            self._foreign.add(channel)
            self._tally.drop("channel", "not in the channel table", [f"{channel:04x}"])
        return channel in self._usable.index


class ObspyFiles:
    """Reads files of the `FORMATS` of ObsPy, with a station table (CSV).

    Samples are taken as they stand in the file, times the scale of the table; a calibration factor
    in the file's header is not applied.

    Parameters
    ----------
    table : Path
        CSV with ``station`` (``STA`` or ``NET.STA``), ``longitude``, ``latitude``, and ``unit`` (one
        of `UNITS`) or ``gain`` (counts per m/s^2); optionally ``elevation_m``, ``sensor_depth_m``.
    tally : Tally
        Told of channels that are not used.

    Attributes
    ----------
    stations : pandas.DataFrame
        ``station_id``, ``longitude``, ``latitude``, ``elevation_m``, ``sensor_depth_m``.
    """

    def __init__(self, table: Path, tally: records.Tally):
        rows = _station_csv(table)
        self.stations = _stations(rows, table)
        self._scales = dict(zip(rows["station"], rows["scale"], strict=True))
        self._dropped, self._tally = set(), tally

    def span(self, path: Path) -> tuple[float, float]:
        """Times at which a file begins and ends, in s since 1970."""
        traces = _traces(path, headonly=True)
        begin = min(trace.stats.starttime for trace in traces)
        return begin.timestamp, max(trace.stats.endtime + trace.stats.delta for trace in traces).timestamp

    def pieces(self, path: Path, wanted: Callable[[float, float], bool]) -> Iterator[Piece]:
        """Pieces of a file; traces for which ``wanted(begin, end)`` is false are skipped."""
        for trace in _traces(path):
            stats = trace.stats
            names = (f"{stats.network}.{stats.station}", stats.station)
            station = next((name for name in names if name in self._scales), None)
            component = (stats.channel if len(stats.channel) < 3 else stats.channel[-1]).upper()
            start, end = stats.starttime.timestamp, (stats.endtime + stats.delta).timestamp
            if station is None:
                self._drop("its station is not in the table", trace.id)
            elif component not in HORIZONTALS:
                self._drop("not horizontal", trace.id)
            elif not np.issubdtype(trace.data.dtype, np.number):
                self._drop("samples are no numbers", trace.id)
            elif wanted(start, end):
                with np.errstate(invalid="ignore"):  # a NaN of a damaged file; its record is refused
                    acceleration = trace.data.astype(float) * self._scales[station]
                yield Piece(
                    station, HORIZONTALS[component], start, float(stats.sampling_rate), acceleration
                )

    def _drop(self, reason: str, name: str) -> None:
        if name not in self._dropped:
            self._dropped.add(name)
            self._tally.drop("channel", reason, [name])


def _stations(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """One row a station, or an error if its channels stand at two places."""
    places = rows.groupby("station", sort=False)[["longitude", "latitude"]]
    apart = (places.max() - places.min() > SAME_PLACE_DEG).any(axis=1)
    if apart.any():
        raise DataError(
            f"{table}: channels of station {apart.idxmax()} stand at two places: correct the table"
        )
    columns = ["station", "longitude", "latitude", "elevation_m", "sensor_depth_m"]
    first = rows.drop_duplicates("station").reindex(columns=columns).reset_index(drop=True)
    return first.rename(columns={"station": "station_id"})


def _traces(path: Path, headonly: bool = False) -> obspy.Stream:
    """Traces of a file that one of the `FORMATS` can be; what ObsPy only warns of is refused too."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    name = glob.escape(str(path))  # ObsPy takes a name for a pattern
    for kind in FORMATS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", UserWarning)
                traces = obspy.read(name, format=kind, headonly=headonly)
        except Exception:  # each format's reader fails in its own ways
            continue
        if all(
            math.isfinite(trace.stats.sampling_rate) and trace.stats.sampling_rate > 0 for trace in traces
        ):
            return traces
    raise DataError(f"{path} is damaged, or none of {', '.join(FORMATS)}: convert it to one of them")


def _station_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than names
            rows = pd.read_csv(
                path,
                dtype=str,
                encoding="utf-8-sig",
                index_col=False,
                keep_default_na=False,
                na_values=[""],
            )
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} is no CSV ({str(error).splitlines()[0]})") from error
    missing = {"station", "longitude", "latitude"} - set(rows.columns)
    if missing or not {"unit", "gain"} & set(rows.columns):
        needed = ", ".join(sorted(missing)) or "unit or gain"
        raise DataError(f"{path} has no column {needed}: see the docs on the station table of waveforms")
    if rows["station"].isna().any() or rows["station"].duplicated().any():
        bad = rows["station"].isna() | rows["station"].duplicated()
        raise DataError(f"{path}, row {bad.idxmax() + 2}: a station's code is missing or listed twice")
    numbers = [
        name
        for name in rows.columns
        if name in ("longitude", "latitude", "elevation_m", "sensor_depth_m", "gain")
    ]
    for name in numbers:
        rows[name] = _numbers(rows[name], path)
    return rows.assign(scale=_scales(rows, path))


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce").astype(float)
    bad = (values.isna() & column.notna()) | np.isinf(values)
    if bad.any():
        row = bad.idxmax()
        raise DataError(f"{path}, row {row + 2}, column {column.name}: {column[row]!r}, expected a number")
    return values


def _scales(rows: pd.DataFrame, path: Path) -> pd.Series:
    """m/s^2 in one unit of the samples, by station: of its unit, or 1 / gain."""
    blank = pd.Series(np.nan, rows.index)
    unit = rows.get("unit", blank)
    scale = unit.map(UNITS).astype(float)
    gain = rows.get("gain", blank)
    bad = ~((scale.notna() & gain.isna()) | (unit.isna() & (gain > 0)))
    if bad.any():
        row = bad.idxmax()
        raise DataError(
            f"{path}, row {row + 2}: unit {unit[row]} and gain {gain[row]:g}, expected a unit "
            f"({', '.join(UNITS)}) or a gain in counts per m/s^2, one of the two"
        )
    return scale.fillna(1 / gain)
