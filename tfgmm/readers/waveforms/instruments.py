"""What a channel measures, and which channels of an instrument are its two horizontals."""

import re
from collections.abc import Collection
from typing import NamedTuple

from tfgmm.core import imt

ACCELERATION, VELOCITY = "acceleration", "velocity"
#: What is measured, by the instrument code of SEED (second letter of a channel). G is a gravimeter, or
#: an accelerometer of before 2000; L, P are seismometers as H is.
INSTRUMENT_CODES = {"N": ACCELERATION, "G": ACCELERATION, "H": VELOCITY, "L": VELOCITY, "P": VELOCITY}
#: What is measured, by IDEP of SAC. Volts are those of a seismometer whose sensitivity is not told.
SAC_IDEP = {6: "displacement", 7: VELOCITY, 8: ACCELERATION, 50: "volts"}
#: Horizontals by their letters, in pairs; the two that come with a vertical may also be 1, 2 and 3.
PAIRS = (("N", "E"), ("X", "Y"), ("R", "T"))
SPELLINGS = {"NS": "N", "EW": "E", "UD": "Z", "U": "Z"}
NUMBERED = {"1", "2", "3"}
_PREFIXES = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "c": 1e-2, "": 1.0}
_NAMED_UNITS = {
    "gal": (ACCELERATION, 1e-2),
    "g": (ACCELERATION, imt.STANDARD_GRAVITY),
    "kine": (VELOCITY, 1e-2),
}


class Instrument(NamedTuple):
    """One pair of horizontals of a station; of several, the first in sorted order is preferred.

    Attributes
    ----------
    quantity : {"acceleration", "velocity"}
    location : str
        Location code of SEED; of WIN32 the lower channel number of the pair.
    code : str
        Band and instrument code of SEED.
    axes : str
        Names of the horizontals, as ``N E``.
    """

    quantity: str
    location: str = ""
    code: str = ""
    axes: str = ""


class Unit(NamedTuple):
    """What a unit measures and its size in m/s^2, m/s or m."""

    quantity: str
    si: float


def unit(text: str) -> Unit | None:
    """Return what a unit of motion measures and its size; None where the text is no such unit.

    >>> unit("CM/S**2"), unit("m/s"), unit("counts")
    (Unit(quantity='acceleration', si=0.01), Unit(quantity='velocity', si=1.0), None)
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
    """Return the code of band and instrument, and the orientation, of a channel.

    Channels of fewer than three letters are an orientation alone.

    >>> split_channel("HNE"), split_channel("EW"), split_channel("H_N_2")
    (('HN', 'E'), ('', 'EW'), ('HN', '2'))
    """
    plain = channel.strip().upper().replace("_", "")
    return ("", plain) if len(plain) < 3 else (plain[:-1], plain[-1])


def measured_by(code: str) -> str:
    """Return what a channel measures by its code of band and instrument.

    A code that is not SEED's says nothing; the station table does then: acceleration.

    >>> measured_by("HN"), measured_by("BH"), measured_by("HD"), measured_by("")
    ('acceleration', 'velocity', 'instrument code D', 'acceleration')
    """
    if len(code) != 2:
        return ACCELERATION
    return INSTRUMENT_CODES.get(code[1], f"instrument code {code[1]}")


def horizontals(orientations: Collection[str]) -> tuple[dict[str, tuple[str, int]], set[str]]:
    """Return which orientations of one instrument are its horizontals, and which may or may not be.

    Letters say so themselves (`PAIRS`). Numbers are horizontals if there are at most two of them and
    another channel is the vertical, or if they are 1 and 2.

    Parameters
    ----------
    orientations : collection of str
        Of all channels of the instrument, verticals too.

    Returns
    -------
    horizontals : dict
        Orientation -> the names of the pair, and 0 or 1 for the place in it.
    ambiguous : set of str
        Numbers of which nobody can tell which one is the vertical.

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
