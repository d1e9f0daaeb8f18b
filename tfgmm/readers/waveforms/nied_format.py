"""K-NET and KiK-net ASCII files as NIED specifies them: bytes -> one component, nothing chosen."""

import dataclasses
import io
import re
import warnings

import numpy as np
import obspy
import pandas as pd

from tfgmm.core.errors import DataError

#: Direction in the header -> network, sensor and component.
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
#: Record Time is so much after the first sample.
TRIGGER_DELAY = pd.Timedelta(seconds=15)
#: Times of the header, and the fraction of a second that ObsPy does not read.
_TIME = re.compile(
    rb"^((Origin Time|Record Time|Last Correction)\s+\d+/\d+/\d+\s+\d+:\d+:\d+)(\.\d*)?(?=\s*$)",
    re.MULTILINE,
)
_HEADER_BYTES = 2000
#: Names of numbers in ObsPy's header and the range they must be in.
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


@dataclasses.dataclass(frozen=True)
class Component:
    """One component of a record.

    Attributes
    ----------
    origin_time : pandas.Timestamp
        UTC.
    event : tuple
        Longitude, latitude, depth in km, JMA magnitude.
    code : str
        Of the station.
    network : {"knet", "kik"}
    station : tuple
        Longitude, latitude, height in m (NaN where unknown).
    direction : {"NS", "EW", "UD"}
    start : pandas.Timestamp
        Of the first sample, UTC.
    dt : float
        Sampling interval in s.
    acceleration : ndarray
        In m/s^2, with its offset.
    listed_max_gal : float
        Largest acceleration without offset, as the header lists it.
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
        """Largest sample without offset, the mean of all samples, as NIED takes it."""
        return float(100 * np.abs(self.acceleration - self.acceleration.mean()).max())


def is_record(content: bytes) -> bool:
    """Whether a file begins as K-NET and KiK-net files do."""
    return content.startswith(b"Origin Time")


def direction(content: bytes) -> tuple[str, str, str]:
    """Network (``knet``, ``kik``), sensor (``surface``, ``borehole``) and component of a file.

    Raises
    ------
    DataError
        The header has no direction, or an unknown one.
    """
    line = re.search(rb"^Dir\.\s+(\S+)", content[:_HEADER_BYTES], re.MULTILINE)
    name = line[1].decode("ascii", "replace") if line else ""
    if name not in DIRECTIONS:
        raise DataError(f"header line Dir. is {name!r}, expected {', '.join(DIRECTIONS)}")
    return DIRECTIONS[name]


def read(content: bytes) -> Component:
    """A component of a record.

    ObsPy reads it: times are in UTC and those of the first sample (15 s before the time listed).

    Raises
    ------
    DataError
        The file is not what NIED specifies, or is cut.
    """
    network, _, component = direction(content)
    content, fractions = _without_fractions(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a scale of 0, which is refused below
            trace = obspy.read(io.BytesIO(content), format="KNET")[0]
        stats, header = trace.stats, trace.stats.knet
        origin, start = (pd.Timestamp(time.ns, tz="UTC") for time in (header.evot, stats.starttime))
    except Exception as error:  # whatever ObsPy trips over: the file is to blame
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"no K-NET or KiK-net ASCII ({reason}): fetch it again") from error
    _refuse(stats)
    line = re.search(rb"^Scale Factor\s+(\S*)", content[:_HEADER_BYTES], re.MULTILINE)
    scale = line[1].decode("ascii", "replace") if line else ""
    if not re.fullmatch(r"\d+\(gal\)/\d+(\.\d*)?", scale):  # ObsPy takes any number for gal
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


def _without_fractions(content: bytes) -> tuple[bytes, dict[bytes, pd.Timedelta]]:
    """The file with whole seconds in its header, and what was taken off."""
    fractions = dict.fromkeys((b"Origin Time", b"Record Time", b"Last Correction"), pd.Timedelta(0))

    def whole(match: re.Match) -> bytes:
        fractions[match[2]] = pd.Timedelta(seconds=float(b"0" + (match[3] or b".") + b"0"))
        return match[1]

    header = _TIME.sub(whole, content[:_HEADER_BYTES])
    return header + content[_HEADER_BYTES:], fractions


def _refuse(stats: obspy.core.trace.Stats) -> None:
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
