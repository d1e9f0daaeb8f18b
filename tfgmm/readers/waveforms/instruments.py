"""Instruments (pairs of horizontals of a station), their channels, and pieces of samples of a channel."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError

ACCELERATION, VELOCITY = "acceleration", "velocity"
#: Measured quantity by the instrument code of SEED (second letter of a channel name). G is a gravimeter, or
#: an accelerometer from before 2000; H, L and P are seismometers.
INSTRUMENT_CODES = {"N": ACCELERATION, "G": ACCELERATION, "H": VELOCITY, "L": VELOCITY, "P": VELOCITY}
#: Measured quantity by the SAC header IDEP. Volts are the output of a seismometer of unknown sensitivity.
SAC_IDEP = {6: "displacement", 7: VELOCITY, 8: ACCELERATION, 50: "volts"}
#: Letters of the two horizontals; horizontals and vertical may also be numbered 1, 2 and 3.
PAIRS = (("N", "E"), ("X", "Y"), ("R", "T"))
SPELLINGS = {"NS": "N", "EW": "E", "UD": "Z", "U": "Z"}
NUMBERED = {"1", "2", "3"}
_PREFIXES = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "c": 1e-2, "": 1.0}
_NAMED_UNITS = {
    "gal": (ACCELERATION, 1e-2),
    "g": (ACCELERATION, imt.STANDARD_GRAVITY),
    "kine": (VELOCITY, 1e-2),
}


#: Largest difference in longitude or latitude between channels of one station, degrees (about 100 m).
SAME_PLACE_DEG = 0.001
EPOCH = pd.Timestamp(0, tz="UTC")
#: Reasons for leaving out a channel.
MEASURES_VELOCITY = "measures velocity, no acceleration"
NOT_HORIZONTAL = "not horizontal"
AMBIGUOUS = "which of 1, 2, 3 is the vertical cannot be told"


class Instrument(NamedTuple):
    """A pair of horizontals of a station; of several instruments the first in sorted order is preferred.

    Attributes
    ----------
    quantity : {"acceleration", "velocity"}
        Quantity that the instrument measures.
    location : str
        Location code of SEED; for WIN32 the lower channel number of the pair.
    code : str
        Band and instrument code of SEED.
    axes : str
        Orientations of the two horizontals, for example ``N E``.
    """

    quantity: str
    location: str = ""
    code: str = ""
    axes: str = ""


class Channel(NamedTuple):
    """A horizontal channel that is used.

    Attributes
    ----------
    station : str
        Code of the station.
    instrument : Instrument
        Pair of horizontals to which the channel belongs.
    component : {0, 1}
        Position of the channel in the pair of horizontals.
    scale : float
        Size of one unit of the samples, m/s^2, or m/s where the channel measures velocity.
    """

    station: str
    instrument: Instrument
    component: int
    scale: float


class Piece(NamedTuple):
    """A stretch of samples of one channel without a gap.

    Attributes
    ----------
    channel : Channel
        The channel.
    start : float
        Time of the first sample, s since 1970 (UTC).
    rate : float
        Sampling rate, Hz.
    samples : ndarray, [n]
        Samples as in the file; times `Channel.scale` they are in m/s^2 or m/s.
    """

    channel: Channel
    start: float
    rate: float
    samples: np.ndarray


class Unit(NamedTuple):
    """A measured quantity, and the size of the unit in which it is given.

    Attributes
    ----------
    quantity : {"acceleration", "velocity", "displacement"}
        The measured quantity.
    si : float
        Size of the unit in m/s^2, m/s or m.
    """

    quantity: str
    si: float


def unit(text: str) -> Unit | None:
    """Return quantity and size of a unit of motion, or None where the text is no unit of motion.

    >>> unit("CM/S**2"), unit("m/s"), unit("counts")
    (Unit(quantity='acceleration', si=0.01), Unit(quantity='velocity', si=1.0), None)

    Parameters
    ----------
    text : str
        A unit, for example gal, m/s^2 or nm/s, in upper or lower case.
    """
    plain = re.sub(r"\s|\*\*|\^|\(|\)", "", text.lower())
    if plain in _NAMED_UNITS:
        return Unit(*_NAMED_UNITS[plain])
    match = re.fullmatch(r"([nuµmc]?)m(?:/s(?:ec)?(2|/s(?:ec)?)?)?", plain)
    if match is None:
        return None
    quantity = "displacement" if "/" not in plain else ACCELERATION if match[2] else VELOCITY
    return Unit(quantity, _PREFIXES[match[1]])


def split_channel(channel: str) -> tuple[str, str]:
    """Split the name of a channel into band and instrument code, and orientation.

    A name of fewer than three letters is an orientation alone.

    >>> split_channel("HNE"), split_channel("EW"), split_channel("H_N_2")
    (('HN', 'E'), ('', 'EW'), ('HN', '2'))

    Parameters
    ----------
    channel : str
        Name of the channel.

    Returns
    -------
    code : str
        Band and instrument code of SEED, empty if the name has none.
    orientation : str
        Orientation of the channel, in capital letters.
    """
    plain = channel.strip().upper().replace("_", "")
    return ("", plain) if len(plain) < 3 else (plain[:-1], plain[-1])


def measured_by(code: str) -> str:
    """Return the quantity that a channel measures, from its band and instrument code.

    Codes of SEED have two letters. With any other code, the channel is assumed to measure acceleration,
    with the unit or gain in the station table.

    >>> measured_by("HN"), measured_by("BH"), measured_by("HD"), measured_by("")
    ('acceleration', 'velocity', 'instrument code D', 'acceleration')

    Parameters
    ----------
    code : str
        Band and instrument code, as `split_channel` returns it.
    """
    if len(code) != 2:
        return ACCELERATION
    return INSTRUMENT_CODES.get(code[1], f"instrument code {code[1]}")


def horizontals(orientations: Collection[str]) -> tuple[dict[str, tuple[str, int]], set[str]]:
    """Find the horizontals among the orientations of one instrument.

    Letters of `PAIRS` are horizontals. Of the numbers 1, 2 and 3, two or one are horizontals if another
    channel is the vertical; without a vertical, 1 and 2 (or one of them) are horizontals.

    Parameters
    ----------
    orientations : collection of str
        Orientations of all channels of the instrument, including the vertical.

    Returns
    -------
    horizontals : dict of str to (str, int)
        By orientation: the orientations of the pair, for example ``N E``, and the position in the pair, 0
        or 1.
    ambiguous : set of str
        Numbers of which one is the vertical, but unknown which.

    >>> horizontals({"2", "3", "Z"})
    ({'2': ('2 3', 0), '3': ('2 3', 1)}, set())
    >>> horizontals({"1", "2", "3"})[1] == {"1", "2", "3"}
    True
    """
    places = {letter: (" ".join(pair), place) for pair in PAIRS for place, letter in enumerate(pair)}
    letters = {name: SPELLINGS.get(name, name) for name in orientations}
    pairs = {name: places[letter] for name, letter in letters.items() if letter in places}
    numbers = sorted(NUMBERED & set(letters))
    if len(numbers) == 3 or ("3" in numbers and "Z" not in letters.values()):
        return pairs, set(numbers)
    return pairs | {number: (" ".join(numbers), place) for place, number in enumerate(numbers)}, set()


def seconds(time):
    """Return times in seconds since 1970 (UTC), as a float or a Series of float.

    Parameters
    ----------
    time : pandas.Timestamp or pandas.Series
        Time or times, UTC.
    """
    return (time - EPOCH) / pd.Timedelta(seconds=1)


def one_row_per_station(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Return a table with one row per station from a table with one row per channel or station.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per channel or station: ``station``, ``longitude`` and ``latitude`` (degrees), and, where
        known, ``elevation_m`` and ``sensor_depth_m``.
    table : Path
        The file from which the rows were read, for messages.

    Returns
    -------
    pandas.DataFrame
        ``station_id``, ``longitude``, ``latitude``, ``elevation_m``, ``sensor_depth_m``; the values are
        taken from the first row of the station, NaN where unknown.

    Raises
    ------
    DataError
        The channels of a station are more than `SAME_PLACE_DEG` apart.
    """
    places = rows.groupby("station", sort=False)[["longitude", "latitude"]]
    apart = (places.max() - places.min() > SAME_PLACE_DEG).any(axis=1)
    if apart.any():
        raise DataError(
            f"{table}: channels of station {apart.idxmax()} stand at two places: correct the table"
        )
    columns = ["station", "longitude", "latitude", "elevation_m", "sensor_depth_m"]
    first = rows.drop_duplicates("station").reindex(columns=columns).reset_index(drop=True)
    return first.rename(columns={"station": "station_id"})
