"""Errors that a user can mend, and messages on one line."""

import itertools
import re
from collections.abc import Collection


class TfgmmError(Exception):
    """An error that a user can mend; the message says how."""

    exit_code = 1


class DataError(TfgmmError):
    """The data cannot be trusted, read or written."""


class UsageError(TfgmmError):
    """The command asks for something that does not fit together."""

    exit_code = 2


def listed(names: Collection, most: int = 20) -> str:
    """Return names with commas between them: the first `most`, and the number of those left out.

    A name longer than 80 characters is cut: it may be a file that was taken for a list of names.

    >>> listed(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    texts = map(str, itertools.islice(names, most))
    shown = ", ".join(text if len(text) <= 80 else f"{text[:79]}…" for text in texts)
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def one_line(error: Exception) -> str:
    """Return the message of an error on one line.

    Control characters are written out, and the middle of a message of more than 3000 characters is cut.
    """
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], str(error))
    return text if len(text) <= 3000 else f"{text[:2000]} … {text[-500:]}"
