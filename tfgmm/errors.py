"""What can be wrong with the data or with the command."""


class TfgmmError(Exception):
    """Base of the errors that a user can mend; the message says how."""

    exit_code = 1


class DataError(TfgmmError):
    """The data cannot be trusted, read or written."""


class UsageError(TfgmmError):
    """The command asks for something that does not fit together."""

    exit_code = 2
