"""The CSV form of K-NET and KiK-net records, all components in one file: bytes -> components."""

import io
import re
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.readers.waveforms.nied_format import DIRECTIONS, RANGES, TRIGGER_DELAY, UNKNOWN_HEIGHT, Component

#: Columns by their names without unit and hyphen; 1 is the borehole sensor of KiK-net, 2 its surface one.
COLUMNS = {
    f"{component}{number}": (network, sensor, component)
    for network, sensor, component in DIRECTIONS.values()
    for number in ("" if network == "knet" else "1" if sensor == "borehole" else "2",)
}
#: Plain names of the header's lines, and those of `RANGES` they are.
HEADER = {
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
_TIME = re.compile(r"\d{4}/\d\d?/\d\d? \d\d?:\d\d?:\d\d?(\.\d*)?")


def is_record(content: bytes) -> bool:
    """Return whether a file begins as the CSV form does."""
    return re.match(rb"(?:\xef\xbb\xbf)?#\s*Origin Time\s*,", content) is not None


def read(content: bytes) -> dict[tuple[str, str, str], Component]:
    """Read all components of a record.

    Returns
    -------
    dict of Component
        By network, sensor and direction, as in `nied_format.DIRECTIONS`.

    Raises
    ------
    DataError
        A line of the header is missing or out of range, the columns are not components in gal, the
        times are not those of the sampling frequency, or the file is cut.
    """
    body = re.search(rb"^[^#\xef]", content, re.MULTILINE)
    if body is None:
        raise DataError("cut: no samples below the header: fetch it again")
    lines = content[: body.start()].decode("utf-8-sig", "replace").splitlines()
    header = {_plain(name): values for name, *values in (line[1:].split(",") for line in lines)}
    numbers = {key: _number(header, name, *RANGES[key]) for name, key in HEADER.items()}
    rate = _number(header, "samplingfreqhz", "Sampling Freq(Hz)", 1, 10_000)
    code = _code(header)
    names, _, rows = content[body.start() :].partition(b"\n")
    columns = _columns(names.decode("utf-8", "replace").split(","), code)
    samples = _samples(rows, len(columns), rate, numbers["duration"])
    listed = header.get("maxaccgal", [])
    origin = _time(header, "origintime", "Origin Time")
    start = _time(header, "recordtime", "Record Time") - TRIGGER_DELAY
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
            listed_max_gal=_max_acc(listed, column - 1, len(columns) - 1),
        )
        for column, key in enumerate(columns)
        if key
    }


def _code(header: dict) -> str:
    code = _value(header, "stationcode", "Station Code")
    if not re.fullmatch(r"[A-Z0-9]+", code):
        raise DataError(f"header line Station Code is {code!r}, expected capitals and digits")
    return code


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub("lon$", "long", plain)


def _value(header: dict, name: str, shown: str) -> str:
    if not header.get(name):
        raise DataError(f"header line {shown} is missing: fetch it again")
    return header[name][0].strip()


def _number(header: dict, name: str, shown: str, lowest: float, highest: float) -> float:
    text = _value(header, name, shown)
    try:
        value = float(re.sub("Hz$", "", text))
    except ValueError:
        value = np.nan
    if not lowest <= value <= highest:
        raise DataError(
            f"header line {shown} is {text!r}, expected {lowest:g} to {highest:g}: fetch it again"
        )
    return value


def _time(header: dict, name: str, shown: str) -> pd.Timestamp:
    """UTC of a time in Japan Standard Time."""
    text = _value(header, name, shown)
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        return pd.Timestamp(text, tz="UTC").as_unit("ns") - JST
    except ValueError as error:
        raise DataError(
            f"header line {shown} is {text!r}, expected YYYY/MM/DD hh:mm:ss: fetch it again"
        ) from error


def _columns(names: Sequence[str], code: str) -> list[tuple[str, str, str] | None]:
    """What the columns are: None for the time, else network, sensor and direction."""
    columns: list[tuple[str, str, str] | None] = []
    for name in names:
        match = re.fullmatch(r"\s*([\w-]+)\s*(?:[(\[](.*)[)\]])?\s*", name)
        plain, unit = (match[1].upper().replace("-", ""), match[2] or "") if match else ("", "")
        if not columns and plain == "TIME" and unit.lower() in ("", "s", "sec"):
            columns.append(None)
        elif columns and plain in COLUMNS and unit.lower() in GAL and COLUMNS[plain] not in columns:
            columns.append(COLUMNS[plain])
        else:
            raise DataError(
                f"column {len(columns) + 1} is {name.strip()!r}, expected Time first and then "
                f"{', '.join(COLUMNS)}, each once, in gal"
            )
    if _KIKNET_CODE.fullmatch(code) and any(key and key[0] == "knet" for key in columns):
        raise DataError(
            f"{code} is of KiK-net, but the columns {', '.join(names)} do not say which sensor they are "
            "of: fetch the ASCII form"
        )
    return columns


def _samples(rows: bytes, columns: int, rate: float, duration: float) -> np.ndarray:
    """Time and samples as they stand in the file, [n, columns]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are none, which is refused below
            samples = np.loadtxt(io.BytesIO(rows), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"samples are no numbers ({error}): fetch it again") from error
    if samples.shape[1:] != (columns,) or not np.isfinite(samples).all():
        raise DataError(f"samples are not {columns} finite numbers a line: fetch it again")
    late = np.flatnonzero(np.abs(np.diff(samples[:, 0]) * rate - 1) > 0.5)
    if len(late):
        time = samples[1 + late[0], 0]
        raise DataError(f"time {time:g} s does not follow at {rate:g} Hz: samples miss, fetch it again")
    if len(samples) / rate < duration - 1:  # the header counts whole seconds
        raise DataError(
            f"cut: {len(samples)} samples at {rate:g} Hz, but Duration Time(s) is {duration:g}: "
            "fetch it again"
        )
    return samples


def _max_acc(listed: Sequence[str], column: int, columns: int) -> float:
    """Max. Acc. of a component, in gal; NaN where the header does not list one a component."""
    try:
        return float(listed[column]) if len(listed) == columns else np.nan
    except ValueError:
        return np.nan
