"""Limits of a server, the threads that compute, and the reasons why a request is refused."""

import asyncio
import dataclasses
import enum
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
#: Largest number of characters of a message: gRPC sends it in a header of limited size.
_LONGEST = 500


class Reason(enum.Enum):
    """Reason why a request is refused: HTTP status code, and name of the gRPC status."""

    BAD = (400, "INVALID_ARGUMENT")
    UNKNOWN = (404, "NOT_FOUND")
    SLOW = (408, "DEADLINE_EXCEEDED")
    CODING = (415, "INVALID_ARGUMENT")
    LARGE = (413, "RESOURCE_EXHAUSTED")
    BUSY = (503, "UNAVAILABLE")
    LATE = (504, "DEADLINE_EXCEEDED")

    @property
    def http(self) -> int:
        """Return the HTTP status code."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """Return the name of the gRPC status, as in ``grpc.StatusCode``."""
        return self.value[1]


class RefusedError(Exception):
    """Refusal of a request, with a message for the client that sent the request.

    Parameters
    ----------
    reason : Reason
        Reason, which sets the status of the response.
    message : str
        Explanation; a long text is cut.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ...")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server on sizes, numbers and times of requests.

    Attributes
    ----------
    request_bytes : int
        Largest size of one request, bytes, also after decompression.
    values : int
        Largest number of values (numbers, texts, names) in one request; a value takes about 60 bytes of
        memory while the request is read.
    text_bytes : int
        Largest size of one text among the values, bytes; a text is, for example, a station id.
    events : int
        Largest number of events in one request: the first dimension of the inputs.
    answer_bytes : int
        Largest size of the arrays of one response, bytes, before they become JSON.
    unread_bytes : int
        Largest total size of all responses that clients have not read yet, bytes; a single response may be
        larger.
    timeout_s : float
        Longest time from the complete request to its response, s.
    patience_s : float
        Longest time, s, that a client may take to send its request, to read the next piece of its response,
        or to begin its next request on an open connection.
    connections : int
        Largest number of open connections, for REST and gRPC each.
    computing : int
        Number of requests that are computed at once; the number of processors by default.
    waiting : int
        Largest number of requests that wait to be computed.
    """

    request_bytes: int = 4 << 20
    values: int = 250_000
    text_bytes: int = 256
    events: int = 64
    answer_bytes: int = 64 << 20
    unread_bytes: int = 256 << 20
    timeout_s: float = 60.0
    patience_s: float = 10.0
    connections: int = 256
    computing: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    waiting: int = 64


#: Default limits of a server.
LIMITS = Limits()


class Workers:
    """Threads that compute the responses to requests, with a queue of limited length for waiting requests.

    Parameters
    ----------
    limits : Limits
        Number of threads, length of the queue, time limit, and largest size of unread responses.
    """

    def __init__(self, limits: Limits) -> None:
        self._timeout_s = limits.timeout_s
        self._executor = ThreadPoolExecutor(limits.computing, "tfgmm-serve")
        self._places = threading.Semaphore(limits.computing + limits.waiting)
        self._unread, self._most_unread = 0, limits.unread_bytes

    async def run(self, function: Callable[..., _T], *arguments) -> _T:
        """Call a function in a thread, and return its result.

        Parameters
        ----------
        function : callable
            The function.
        *arguments
            Its arguments.

        Raises
        ------
        RefusedError
            The queue is full, or the call takes longer than ``timeout_s``.
        """
        if not self._places.acquire(blocking=False):
            raise RefusedError(Reason.BUSY, "too many requests are waiting: try again later")
        future = self._executor.submit(_forgetting, function, *arguments)
        future.add_done_callback(lambda done: self._places.release())
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            message = f"not done in {self._timeout_s:g} s: ask for fewer events, or later"
            raise RefusedError(Reason.LATE, message) from error

    def hold(self, answer: bytes) -> Callable[[], None]:
        """Count a response as unread; return the function to call once the client has read the response.

        `hold` and the returned function must be called in the event loop.

        Parameters
        ----------
        answer : bytes
            The response.

        Raises
        ------
        RefusedError
            Too many bytes of responses are unread already.
        """
        if self._unread and self._unread + len(answer) > self._most_unread:
            raise RefusedError(Reason.BUSY, "too many answers wait for clients to read them: try later")
        self._unread += len(answer)

        def release() -> None:
            """Count the response as read."""
            self._unread -= len(answer)

        return release

    def close(self) -> None:
        """Cancel the waiting requests, and let the threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _forgetting(function: Callable[..., _T], *arguments) -> _T:
    """Call a function; raise a new `RefusedError` without the traceback, which would keep the request."""
    try:
        return function(*arguments)
    except RefusedError as error:
        refusal = RefusedError(error.reason, str(error))
    del arguments
    raise refusal
