"""Decoder of the JMA intensity files (format_j) into tables that hold the values as they are in the files.

Lines have 96 bytes in the encoding CP932. Fields are cut out as bytes, not as characters, and before
blanks are stripped, because the decimal point of a number is implied by the position of its digits: only
the position tells a depth of 10 km from 0.10 km.
"""

import dataclasses
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.readers.common import bounded

RECORD_BYTES = 96
JST = pd.Timedelta(hours=9)
#: First and last byte of each field, from 1 as in the specification, and number of implied decimals.
SOURCE_COLUMNS = {
    "year": (2, 5, 0),
    "month": (6, 7, 0),
    "day": (8, 9, 0),
    "hour": (10, 11, 0),
    "minute": (12, 13, 0),
    "second": (14, 17, 2),
    "latitude degrees": (22, 24, 0),
    "latitude minutes": (25, 28, 2),
    "longitude degrees": (33, 36, 0),
    "longitude minutes": (37, 40, 2),
    "depth": (45, 49, 2),
}
RECORD_COLUMNS = {
    "station code": (1, 7, 0),
    "intensity": (21, 22, 1),
    "NS": (37, 41, 1),
    "EW": (44, 48, 1),
}
#: First character of a negative magnitude, and the digit that the character means: A0 is -1.0, -1 is -0.1.
NEGATIVE = {"-": "0", "A": "1", "B": "2", "C": "3"}
#: Errors of `zipfile` for an archive that is cut, changed, encrypted or of an unknown compression.
DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)
#: Largest number of lines of a station table; the table of JMA has about 5,000.
MOST_STATIONS = 100_000
STATION_COLUMNS = ["station_id", "name", "latitude", "longitude", "operating_from", "operating_to"]


def read_events(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the events and the station records of an annual file, ``iYYYY.zip`` or its ``.dat`` file.

    An event is a group of lines: source lines, of which JMA adopts the first, and then station lines.

    Parameters
    ----------
    path : Path
        Annual file.

    Returns
    -------
    events : pandas.DataFrame
        One row per event, from its first source line: ``event_id`` (``jma`` and the origin time as listed,
        in Japan Standard Time), ``kind`` (A single, B swarm, D pair of earthquakes), ``flag`` (of the
        hypocentre), ``origin_time`` (UTC), ``longitude``, ``latitude`` (degrees), ``depth_km``,
        ``magnitude_1``, ``type_1``, ``magnitude_2``, ``type_2``. NaN or NaT where blank.
    records : pandas.DataFrame
        One row per station line: ``group`` (row in `events`, from 0), ``station_id``, ``intensity`` (JMA
        scale), ``ns_gal``, ``ew_gal`` (peak accelerations, gal = cm/s^2); NaN where blank or slashes.

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The archive is damaged, a line does not have 96 bytes, or a field is malformed.
    """
    lines = _split_lines(path)
    kind = lines.data[:, 0]
    is_source = np.isin(kind, list(b"ABD"))
    is_record = (kind >= ord("0")) & (kind <= ord("9"))
    lines.refuse(~(is_source | is_record), "record type", 1, 1, "A, B, D or a station code")
    adopted = is_source & ~np.concatenate([[False], is_source[:-1]])
    group = np.cumsum(adopted) - 1
    lines.refuse(group < 0, "record type", 1, 1, "a source record (A, B or D) before the first station")
    return _read_sources(lines[adopted]), _read_records(lines[is_record], group[is_record])


def read_stations(path: Path) -> pd.DataFrame:
    """Read the station table ``code_p.dat`` of JMA.

    Longitude and latitude are listed in whole minutes of arc. An unknown month, day, hour or minute (99) is
    replaced by the earliest possible one.

    Parameters
    ----------
    path : Path
        Station table.

    Returns
    -------
    pandas.DataFrame
        One row per station: ``station_id``, ``name``, ``latitude`` and ``longitude`` (degrees, NaN where
        blank), ``operating_from`` and ``operating_to`` (UTC; NaT where open or unknown).

    Raises
    ------
    UsageError
        The file does not exist.
    DataError
        The file is not in CP932, or a line does not have the format of the specification.
    """
    packed = _load(path)
    if packed.count(b"\n") > MOST_STATIONS:
        raise DataError(f"{path} has more than {MOST_STATIONS} lines: it is no station table of JMA")
    try:
        content = packed.decode("cp932").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, byte {error.start + 1}: expected CP932; take the file as JMA offers it"
        ) from error
    rows = [line.split("\t") for line in content.removesuffix("\n").split("\n")]
    for number, row in enumerate(rows, 1):
        if len(row) != len(STATION_COLUMNS):
            raise DataError(
                f"{path}, line {number}: {len(row)} columns, expected {len(STATION_COLUMNS)} between tabs"
            )
    table = pd.DataFrame(rows, columns=STATION_COLUMNS, dtype=str)
    code = table["station_id"]
    _refuse(path, code, ~code.str.fullmatch("[0-9]{7}"), "seven digits")
    _refuse(path, code, code.duplicated(), "each code once")
    return table.assign(
        latitude=_parse_degrees(path, table["latitude"], "([0-8][0-9])([0-5][0-9])", "DDMM or blank"),
        longitude=_parse_degrees(path, table["longitude"], "([01][0-9]{2})([0-5][0-9])", "DDDMM or blank"),
        operating_from=_parse_times(path, table["operating_from"]),
        operating_to=_parse_times(path, table["operating_to"]),
    )


def _load(path: Path) -> bytes:
    """Return the bytes of a file, or of the only ``.dat`` file in a ZIP archive."""
    content = bounded.content(path)
    if path.suffix.lower() != ".zip":
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if member.filename.lower().endswith(".dat")]
            if len(members) != 1:
                raise DataError(
                    f"{path} holds {len(members)} .dat files, expected one: is it an iYYYY.zip?"
                )
            with archive.open(members[0]) as stream:
                return bounded.expand(stream, members[0].compress_size, path)
    except DAMAGED_ZIP as error:
        reason = str(error)[:80]  # it may quote a name of 64 kB
        raise DataError(f"{path} is no whole zip archive ({reason}): fetch it again") from error


# ---- fixed-width records -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines of 96 bytes of a file, from which fields are decoded by the position of their bytes.

    Attributes
    ----------
    path : Path
        File of the lines, for messages.
    data : ndarray of uint8, [n, 96]
        Bytes of the lines.
    numbers : ndarray of int, [n]
        Number of each line in the file, from 1.
    """

    path: Path
    data: np.ndarray
    numbers: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Lines":
        return Lines(self.path, self.data[rows], self.numbers[rows])

    def text(self, first: int, last: int) -> np.ndarray:
        """Return the text of a field of each line.

        Parameters
        ----------
        first, last : int
            First and last byte of the field, from 1.

        Returns
        -------
        ndarray of str, [n]
            Texts with their blanks.
        """
        field = np.ascontiguousarray(self.data[:, first - 1 : last])
        return np.strings.decode(field.view(f"S{last - first + 1}")[:, 0], "latin-1")

    def number(self, name: str, first: int, last: int, decimals: int) -> np.ndarray:
        """Return the number in a field of each line, with implied decimals.

        Parameters
        ----------
        name : str
            Name of the field, for the message.
        first, last : int
            First and last byte of the field, from 1.
        decimals : int
            Number of digits after the implied decimal point.

        Returns
        -------
        ndarray of float, [n]
            Numbers; NaN where the field is blank or slashes.

        Raises
        ------
        DataError
            A field is no number.
        """
        values, valid = _decode(self.data[:, first - 1 : last], decimals)
        self.refuse(~valid, name, first, last, "digits, or blanks or / where absent")
        return values

    def magnitude(self, name: str, first: int) -> np.ndarray:
        """Return the magnitude in a field of two bytes of each line.

        Parameters
        ----------
        name : str
            Name of the field, for the message.
        first : int
            First byte of the field, from 1.

        Returns
        -------
        ndarray of float, [n]
            Magnitudes with one decimal, negative ones decoded by `NEGATIVE`; NaN where blank.

        Raises
        ------
        DataError
            A field is no magnitude.
        """
        field = self.data[:, first - 1 : first + 1].copy()
        sign = np.ones(len(field))
        for mark, digit in NEGATIVE.items():
            marked = field[:, 0] == ord(mark)
            field[marked, 0] = ord(digit)
            sign[marked] = -1
        values, valid = _decode(field, 1)
        self.refuse(~valid, name, first, first + 1, "two digits; or -, A, B or C and a digit; or blanks")
        return sign * values

    def refuse(self, bad: np.ndarray, name: str, first: int, last: int, expected: str) -> None:
        """Raise an error for the first line with a bad field; do nothing if no field is bad.

        Parameters
        ----------
        bad : ndarray of bool, [n]
            True for lines with a bad field.
        name : str
            Name of the field, for the message.
        first, last : int
            First and last byte of the field, from 1.
        expected : str
            Description of a correct field, for the message.

        Raises
        ------
        DataError
            A field is bad; the message names file, line, field and value.
        """
        if bad.any():
            row = int(np.argmax(bad))
            value = self.data[row, first - 1 : last].tobytes().decode("cp932", "replace")
            raise DataError(
                f"{self.path}, line {self.numbers[row]}, column {name} (bytes {first}-{last}): "
                f"{value!r}, expected {expected}; fetch the file again"
            )


def _decode(field: np.ndarray, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers in fields of bytes [n, width], and whether each field is well-formed; [n] each.

    A number is NaN where the field is blank or slashes. Blanks after the digits, in the place of decimals,
    are zeros that were not written (``BLANK='ZERO'`` in Fortran): with two decimals both ``' 1000'`` and
    ``' 10  '`` are 10.
    """
    width = field.shape[1]
    digit = (field >= ord("0")) & (field <= ord("9"))
    absent = np.all(field == ord(" "), axis=1) | np.all(field == ord("/"), axis=1)
    one_run = np.sum(np.diff(digit.astype(np.int8), axis=1, prepend=0) == 1, axis=1) == 1
    in_place = digit[:, width - 1 - decimals :].any(axis=1)
    written = np.all(digit | (field == ord(" ")), axis=1) & one_run & in_place
    places = 10.0 ** np.arange(width - 1, -1, -1)
    values = (np.where(digit, field, ord("0")) - float(ord("0"))) @ places / 10**decimals
    return np.where(written, values, np.nan), written | absent


def _split_lines(path: Path) -> Lines:
    """Read the lines of a file; raise `DataError` if a line does not have 96 bytes."""
    content = _load(path)
    end = b"\r\n" if b"\r\n" in content else b"\n"
    if not content.endswith(end):
        content += end
    stride = RECORD_BYTES + len(end)
    matrix = np.frombuffer(content, np.uint8)
    if len(matrix) % stride or np.any(matrix.reshape(-1, stride)[:, RECORD_BYTES:] != list(end)):
        sizes = (len(line.removesuffix(end)) for line in io.BytesIO(content))
        wrong, size = next((n, size) for n, size in enumerate(sizes, 1) if size != RECORD_BYTES)
        raise DataError(
            f"{path}, line {wrong}: {size} bytes, expected a CP932 record of {RECORD_BYTES}: "
            "the file is cut or was converted to another encoding; take it as JMA offers it"
        )
    matrix = matrix.reshape(-1, stride)[:, :RECORD_BYTES]
    return Lines(path, matrix, np.arange(1, len(matrix) + 1))


def _read_sources(lines: Lines) -> pd.DataFrame:
    """Return the events table of `read_events` from source lines."""
    columns = {name: lines.number(name, *where) for name, where in SOURCE_COLUMNS.items()}
    for name, end in (("second", 61), ("latitude minutes", 60), ("longitude minutes", 60)):
        lines.refuse(columns[name] >= end, name, *SOURCE_COLUMNS[name][:2], f"less than {end}")
    time = pd.DataFrame({name: columns[name] for name in ("year", "month", "day", "hour", "minute")})
    minute = pd.to_datetime(time, errors="coerce")
    lines.refuse(
        (minute.isna() & time.notna().all(axis=1)).to_numpy(), "origin time", 2, 13, "yyyymmddhhmm"
    )
    origin = minute + pd.to_timedelta(columns["second"], unit="s").round("us")
    stamp = pd.Series(lines.text(2, 17))
    return pd.DataFrame(
        {
            "event_id": ("jma" + stamp.str[:14] + "." + stamp.str[14:]).str.rstrip(" ."),
            "kind": lines.text(1, 1),
            "flag": lines.text(96, 96),
            "origin_time": (origin - JST).dt.tz_localize("UTC"),
            "longitude": columns["longitude degrees"] + columns["longitude minutes"] / 60,
            "latitude": columns["latitude degrees"] + columns["latitude minutes"] / 60,
            "depth_km": columns["depth"],
            "magnitude_1": lines.magnitude("magnitude 1", 53),
            "type_1": lines.text(55, 55),
            "magnitude_2": lines.magnitude("magnitude 2", 56),
            "type_2": lines.text(58, 58),
        }
    )


def _read_records(lines: Lines, group: np.ndarray) -> pd.DataFrame:
    """Return the records table of `read_events` from station lines; `group` is the event of each line."""
    columns = {name: lines.number(name, *where) for name, where in RECORD_COLUMNS.items()}
    return pd.DataFrame(
        {
            "group": group,
            "station_id": lines.text(1, 7),
            "intensity": columns["intensity"],
            "ns_gal": columns["NS"],
            "ew_gal": columns["EW"],
        }
    )


# ---- station table -----------------------------------------------------------------------------


def _refuse(path: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    """Raise `DataError` that names the first cell of a column of the station table where `bad` is true."""
    if bad.any():
        row = bad.idxmax()
        raise DataError(
            f"{path}, line {row + 1}, column {column.name}: {column[row]!r}, expected {expected}"
        )


def _parse_degrees(path: Path, column: pd.Series, pattern: str, expected: str) -> pd.Series:
    """Return degrees from texts of degrees and minutes, as ``DDMM``; NaN where blank."""
    text = column.str.strip()
    parts = text.str.extract(f"^{pattern}$").astype(float)
    _refuse(path, column, parts[0].isna() & (text != ""), expected)
    return parts[0] + parts[1] / 60


def _parse_times(path: Path, column: pd.Series) -> pd.Series:
    """Return times in UTC from JST texts ``yyyymmddhhmm``; NaT where blank or in the year 9999."""
    text = column.str.strip()
    earliest = text.str[:4]
    for place, first in zip(range(4, 12, 2), ("01", "01", "00", "00"), strict=True):
        earliest += text.str[place : place + 2].replace("99", first)
    known = (text != "") & (text.str[:4] != "9999")
    time = pd.to_datetime(earliest.where(known), format="%Y%m%d%H%M", errors="coerce")
    _refuse(path, column, known & (time.isna() | (text.str.len() != 12)), "yyyymmddhhmm or blank")
    return (time - JST).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
