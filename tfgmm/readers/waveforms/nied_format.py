"""Read components of a record from K-NET and KiK-net files in NIED's ASCII or CSV form."""

import dataclasses
import io
import re
import warnings
from collections.abc import Sequence

import numpy as np
import obspy
import pandas as pd

from tfgmm.core.errors import DataError

#: Network, sensor and component by direction (``Dir.``) in the header.
DIRECTIONS = {
    "N-S": ("knet", "surface", "NS"),
    "E-W": ("knet", "surface", "EW"),
    "U-D": ("knet", "surface", "UD"),
    "1": ("kik", "borehole", "NS"),
    "2": ("kik", "borehole", "EW"),
    "3": ("kik", "borehole", "UD"),
    "4": ("kik", "surface", "NS"),
    "5": ("kik", "surface", "EW"),
    "6": ("kik", "surface", "UD"),
}
UNKNOWN_HEIGHT = -9999
#: Time from the first sample to the Record Time in the header.
TRIGGER_DELAY = pd.Timedelta(seconds=15)
#: Lines of the ASCII header with a time whose fraction of a second ObsPy does not read.
_ASCII_TIME = re.compile(
    rb"^((Origin Time|Record Time|Last Correction)\s+\d+/\d+/\d+\s+\d+:\d+:\d+)(\.\d*)?(?=\s*$)",
    re.MULTILINE,
)
_HEADER_BYTES = 2000
#: Name in the ASCII header, and smallest and largest allowed value, of each number, by ObsPy's key.
RANGES = {
    "evla": ("Lat.", -90, 90),
    "evlo": ("Long.", -180, 180),
    "evdp": ("Depth. (km)", -5, 800),
    "mag": ("Mag.", -1, 10),
    "stla": ("Station Lat.", -90, 90),
    "stlo": ("Station Long.", -180, 180),
    "stel": ("Station Height(m)", UNKNOWN_HEIGHT, 9000),
    "duration": ("Duration Time(s)", 0, 1e5),
}
#: Network, sensor and component by column of the CSV form, without unit and hyphen. For KiK-net, 1 is the
#: borehole sensor and 2 the surface sensor.
CSV_COLUMNS = {
    f"{component}{number}": (network, sensor, component)
    for network, sensor, component in DIRECTIONS.values()
    for number in ("" if network == "knet" else "1" if sensor == "borehole" else "2",)
}
#: Key of `RANGES` by the name of the header line of the CSV form, in small letters and digits.
CSV_HEADER = {
    "lat": "evla",
    "long": "evlo",
    "depthkm": "evdp",
    "mag": "mag",
    "stationlat": "stla",
    "stationlong": "stlo",
    "stationheightm": "stel",
    "durationtimes": "duration",
}
JST = pd.Timedelta(hours=9)
GAL = ("", "gal", "cm/s/s", "cm/s^2", "cm/s2")
_KIKNET_CODE = re.compile(r"[A-Z]{3}H\d\d")
_CSV_TIME = re.compile(r"\d{4}/\d\d?/\d\d? \d\d?:\d\d?:\d\d?(\.\d*)?")


@dataclasses.dataclass(frozen=True)
class Component:
    """One component of a strong-motion record.

    Attributes
    ----------
    origin_time : pandas.Timestamp
        Origin time of the event, UTC.
    event : tuple of float
        Longitude and latitude of the epicentre (degrees), depth (km), JMA magnitude.
    code : str
        Code of the station.
    network : {"knet", "kik"}
        Network of the station.
    station : tuple of float
        Longitude and latitude of the station (degrees), height (m; NaN where unknown).
    direction : {"NS", "EW", "UD"}
        Direction of the component.
    start : pandas.Timestamp
        Time of the first sample, UTC.
    dt : float
        Sampling interval, s.
    acceleration : ndarray, [n]
        Samples, m/s^2, with their offset.
    listed_max_gal : float
        Max. Acc. in the header, the largest acceleration without offset, gal.
    """

    origin_time: pd.Timestamp
    event: tuple[float, float, float, float]
    code: str
    network: str
    station: tuple[float, float, float]
    direction: str
    start: pd.Timestamp
    dt: float
    acceleration: np.ndarray
    listed_max_gal: float

    @property
    def max_gal(self) -> float:
        """Return the largest absolute acceleration, gal, without offset.

        The offset is the mean of all samples, as in NIED's Max. Acc.
        """
        return float(100 * np.abs(self.acceleration - self.acceleration.mean()).max())


def is_ascii(content: bytes) -> bool:
    """Return True if a file begins as the ASCII form of NIED does.

    Parameters
    ----------
    content : bytes
        Content of the file.
    """
    return content.startswith(b"Origin Time")


def direction(content: bytes) -> tuple[str, str, str]:
    """Read network, sensor and component of an ASCII file from its header.

    Parameters
    ----------
    content : bytes
        Content of the file.

    Returns
    -------
    network : {"knet", "kik"}
    sensor : {"surface", "borehole"}
    component : {"NS", "EW", "UD"}

    Raises
    ------
    DataError
        The header has no direction, or an unknown direction.
    """
    line = re.search(rb"^Dir\.\s+(\S+)", content[:_HEADER_BYTES], re.MULTILINE)
    name = line[1].decode("ascii", "replace") if line else ""
    if name not in DIRECTIONS:
        raise DataError(f"header line Dir. is {name!r}, expected {', '.join(DIRECTIONS)}")
    return DIRECTIONS[name]


def read_ascii(content: bytes) -> Component:
    """Read the component of a record in a file of NIED's ASCII form, with ObsPy.

    The Record Time in the header is 15 s after the first sample (`TRIGGER_DELAY`).

    Parameters
    ----------
    content : bytes
        Content of the file.

    Returns
    -------
    Component

    Raises
    ------
    DataError
        The file does not follow the format that NIED specifies, or is incomplete.
    """
    network, _, component = direction(content)
    content, fractions = _remove_fractions(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a scale of 0 gives a warning, and is refused below
            trace = obspy.read(io.BytesIO(content), format="KNET")[0]
        stats, header = trace.stats, trace.stats.knet
        origin, start = (pd.Timestamp(time.ns, tz="UTC") for time in (header.evot, stats.starttime))
    except Exception as error:  # ObsPy fails in many ways on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"no K-NET or KiK-net ASCII ({reason}): fetch it again") from error
    _refuse_invalid(stats)
    line = re.search(rb"^Scale Factor\s+(\S*)", content[:_HEADER_BYTES], re.MULTILINE)
    scale = line[1].decode("ascii", "replace") if line else ""
    if not re.fullmatch(r"\d+\(gal\)/\d+(\.\d*)?", scale):  # ObsPy takes any unit for gal
        raise DataError(f"header line Scale Factor is {scale!r}, expected N(gal)/N: fetch it again")
    origin, start = origin + fractions[b"Origin Time"], start + fractions[b"Record Time"]
    height = np.nan if header.stel == UNKNOWN_HEIGHT else header.stel
    return Component(
        origin_time=origin,
        event=(header.evlo, header.evla, header.evdp, header.mag),
        code=stats.station,
        network=network,
        station=(header.stlo, header.stla, height),
        direction=component,
        start=start,
        dt=stats.delta,
        acceleration=trace.data * stats.calib,
        listed_max_gal=header.accmax,
    )


def _remove_fractions(content: bytes) -> tuple[bytes, dict[bytes, pd.Timedelta]]:
    """Return the file with whole seconds in the header, and the removed fractions by header line."""
    fractions = dict.fromkeys((b"Origin Time", b"Record Time", b"Last Correction"), pd.Timedelta(0))

    def drop_fraction(match: re.Match) -> bytes:
        fractions[match[2]] = pd.Timedelta(seconds=float(b"0" + (match[3] or b".") + b"0"))
        return match[1]

    header = _ASCII_TIME.sub(drop_fraction, content[:_HEADER_BYTES])
    return header + content[_HEADER_BYTES:], fractions


def _refuse_invalid(stats: obspy.core.trace.Stats) -> None:
    """Raise `DataError` for a header with an invalid number, or for a file with too few samples."""
    for key, (name, lowest, highest) in RANGES.items():
        value = stats.knet[key]
        if not lowest <= value <= highest:
            raise DataError(
                f"header line {name} is {value:g}, expected {lowest:g} to {highest:g}: fetch it again"
            )
    if not re.fullmatch(r"[A-Z0-9]+", stats.station):
        raise DataError(f"header line Station Code is {stats.station!r}, expected capitals and digits")
    if not (stats.calib > 0 and np.isfinite(stats.calib) and stats.sampling_rate > 0):
        raise DataError(f"scale {stats.calib:g} and sampling rate {stats.sampling_rate:g} must be positive")
    # The header counts whole seconds.
    if stats.npts / stats.sampling_rate < stats.knet.duration - 1:
        raise DataError(
            f"cut: {stats.npts} samples at {stats.sampling_rate:g} Hz, but Duration Time(s) is "
            f"{stats.knet.duration:g}: fetch it again"
        )


def is_csv(content: bytes) -> bool:
    """Return True if a file begins as the CSV form of NIED does.

    Parameters
    ----------
    content : bytes
        Content of the file.
    """
    return re.match(rb"(?:\xef\xbb\xbf)?#\s*Origin Time\s*,", content) is not None


def read_csv(content: bytes) -> dict[tuple[str, str, str], Component]:
    """Read all components of a record in a file of NIED's CSV form.

    Parameters
    ----------
    content : bytes
        Content of the file.

    Returns
    -------
    dict of tuple to Component
        Components by network, sensor and direction, as in `DIRECTIONS`.

    Raises
    ------
    DataError
        A line of the header is missing or out of range, the columns are not components in gal, the times do
        not agree with the sampling frequency, or the file is incomplete.
    """
    body = re.search(rb"^[^#\xef]", content, re.MULTILINE)
    if body is None:
        raise DataError("cut: no samples below the header: fetch it again")
    lines = content[: body.start()].decode("utf-8-sig", "replace").splitlines()
    header = {_simplify_name(name): values for name, *values in (line[1:].split(",") for line in lines)}
    numbers = {key: _read_number(header, name, *RANGES[key]) for name, key in CSV_HEADER.items()}
    rate = _read_number(header, "samplingfreqhz", "Sampling Freq(Hz)", 1, 10_000)
    code = _read_code(header)
    names, _, rows = content[body.start() :].partition(b"\n")
    columns = _identify_columns(names.decode("utf-8", "replace").split(","), code)
    samples = _read_samples(rows, len(columns), rate, numbers["duration"])
    listed = header.get("maxaccgal", [])
    origin = _read_time(header, "origintime", "Origin Time")
    start = _read_time(header, "recordtime", "Record Time") - TRIGGER_DELAY
    height = np.nan if numbers["stel"] == UNKNOWN_HEIGHT else numbers["stel"]
    return {
        key: Component(
            origin_time=origin,
            event=(numbers["evlo"], numbers["evla"], numbers["evdp"], numbers["mag"]),
            code=code,
            network=key[0],
            station=(numbers["stlo"], numbers["stla"], height),
            direction=key[2],
            start=start,
            dt=1 / rate,
            acceleration=samples[:, column] / 100,
            listed_max_gal=_read_max_acc(listed, column - 1, len(columns) - 1),
        )
        for column, key in enumerate(columns)
        if key
    }


def _read_code(header: dict) -> str:
    """Return the code of the station in a CSV header, or raise `DataError` where the code is invalid."""
    code = _read_text(header, "stationcode", "Station Code")
    if not re.fullmatch(r"[A-Z0-9]+", code):
        raise DataError(f"header line Station Code is {code!r}, expected capitals and digits")
    return code


def _simplify_name(name: str) -> str:
    """Return the name of a header line in small letters and digits only."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub("lon$", "long", plain)


def _read_text(header: dict, name: str, shown: str) -> str:
    """Return the text of a line of a CSV header, or raise `DataError` where the line is missing."""
    if not header.get(name):
        raise DataError(f"header line {shown} is missing: fetch it again")
    return header[name][0].strip()


def _read_number(header: dict, name: str, shown: str, lowest: float, highest: float) -> float:
    """Return the number in a line of a CSV header, or raise `DataError` where it is out of range."""
    text = _read_text(header, name, shown)
    try:
        value = float(re.sub("Hz$", "", text))
    except ValueError:
        value = np.nan
    if not lowest <= value <= highest:
        raise DataError(
            f"header line {shown} is {text!r}, expected {lowest:g} to {highest:g}: fetch it again"
        )
    return value


def _read_time(header: dict, name: str, shown: str) -> pd.Timestamp:
    """Return the time (UTC) in a line of a CSV header, which states Japan Standard Time."""
    text = _read_text(header, name, shown)
    try:
        if not _CSV_TIME.fullmatch(text):
            raise ValueError(text)
        return pd.Timestamp(text, tz="UTC").as_unit("ns") - JST
    except ValueError as error:
        raise DataError(
            f"header line {shown} is {text!r}, expected YYYY/MM/DD hh:mm:ss: fetch it again"
        ) from error


def _identify_columns(names: Sequence[str], code: str) -> list[tuple[str, str, str] | None]:
    """Return network, sensor and direction of each column of a CSV file; None for the column of times."""
    columns: list[tuple[str, str, str] | None] = []
    for name in names:
        match = re.fullmatch(r"\s*([\w-]+)\s*(?:[(\[](.*)[)\]])?\s*", name)
        plain, unit = (match[1].upper().replace("-", ""), match[2] or "") if match else ("", "")
        if not columns and plain == "TIME" and unit.lower() in ("", "s", "sec"):
            columns.append(None)
        elif columns and plain in CSV_COLUMNS and unit.lower() in GAL and CSV_COLUMNS[plain] not in columns:
            columns.append(CSV_COLUMNS[plain])
        else:
            raise DataError(
                f"column {len(columns) + 1} is {name.strip()!r}, expected Time first and then "
                f"{', '.join(CSV_COLUMNS)}, each once, in gal"
            )
    if _KIKNET_CODE.fullmatch(code) and any(key and key[0] == "knet" for key in columns):
        raise DataError(
            f"{code} is of KiK-net, but the columns {', '.join(names)} do not say which sensor they are "
            "of: fetch the ASCII form"
        )
    return columns


def _read_samples(rows: bytes, columns: int, rate: float, duration: float) -> np.ndarray:
    """Return the times (s) and samples (gal) of a CSV file, [n, columns]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty table gives a warning, and is refused below
            samples = np.loadtxt(io.BytesIO(rows), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"samples are no numbers ({error}): fetch it again") from error
    if samples.shape[1:] != (columns,) or not np.isfinite(samples).all():
        raise DataError(f"samples are not {columns} finite numbers a line: fetch it again")
    jumps = np.flatnonzero(np.abs(np.diff(samples[:, 0]) * rate - 1) > 0.5)
    if len(jumps):
        time = samples[1 + jumps[0], 0]
        raise DataError(f"time {time:g} s does not follow at {rate:g} Hz: samples miss, fetch it again")
    if len(samples) / rate < duration - 1:  # the header counts whole seconds
        raise DataError(
            f"cut: {len(samples)} samples at {rate:g} Hz, but Duration Time(s) is {duration:g}: "
            "fetch it again"
        )
    return samples


def _read_max_acc(listed: Sequence[str], column: int, columns: int) -> float:
    """Return Max. Acc. of a component, gal, or NaN where the CSV header does not list it per component."""
    try:
        return float(listed[column]) if len(listed) == columns else np.nan
    except ValueError:
        return np.nan
