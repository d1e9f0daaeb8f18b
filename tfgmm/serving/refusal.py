"""Why a server does not answer a request, in the words of HTTP and of gRPC."""

import enum


class Reason(enum.Enum):
    """HTTP status and the name of the gRPC status."""

    BAD = (400, "INVALID_ARGUMENT")
    UNKNOWN = (404, "NOT_FOUND")
    SLOW = (408, "DEADLINE_EXCEEDED")
    CODING = (415, "INVALID_ARGUMENT")
    LARGE = (413, "RESOURCE_EXHAUSTED")
    BUSY = (503, "UNAVAILABLE")
    LATE = (504, "DEADLINE_EXCEEDED")

    @property
    def http(self) -> int:
        """Status code of HTTP."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """Name of a ``grpc.StatusCode``."""
        return self.value[1]


#: Characters of a message: gRPC carries it in a header, whose room has an end.
_LONGEST = 500


class RefusedError(Exception):
    """A request is not answered; the message tells its sender why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ...")
        self.reason = reason
