"""Exceptions that a user can correct, and helpers that write their messages on one line."""

import itertools
import re
from collections.abc import Collection


class TfgmmError(Exception):
    """Base class of the errors that a user can correct; the message says how.

    The attribute ``exit_code`` is the exit status of the command line after such an error.
    """

    exit_code = 1


class DataError(TfgmmError):
    """Error raised where data cannot be trusted, read or written."""


class UsageError(TfgmmError):
    """Error raised where the arguments or options of a call are wrong or contradict each other."""

    exit_code = 2


def listed(names: Collection, most: int = 20) -> str:
    """Join names with commas for a message: the first `most` names, and the number of the remaining names.

    A name longer than 80 characters is cut, because it may be the content of a file given by mistake.

    Parameters
    ----------
    names : collection
        Names; each is converted to text.
    most : int
        Largest number of names in the text.

    Returns
    -------
    str
        The joined names.

    Examples
    --------
    >>> listed(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    texts = map(str, itertools.islice(names, most))
    shown = ", ".join(text if len(text) <= 80 else f"{text[:79]}…" for text in texts)
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Parameters
    ----------
    number : int
        The number.
    noun : str
        The noun in the singular; its plural ends in s.

    Returns
    -------
    str
        Number and noun.

    Examples
    --------
    >>> counted(1, "event"), counted(2000, "record")
    ('1 event', '2,000 records')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def one_line(error: Exception) -> str:
    """Return the message of an error as a text on one line.

    Control characters, such as line breaks, are replaced by their escape sequences. A message of more than
    3000 characters is shortened in the middle.

    Parameters
    ----------
    error : Exception
        The error.

    Returns
    -------
    str
        The message without line breaks.
    """
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], str(error))
    return text if len(text) <= 3000 else f"{text[:2000]} … {text[-500:]}"
