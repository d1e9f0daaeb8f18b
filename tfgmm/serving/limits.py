"""How much a server takes on, who computes, and why a request is refused."""

import asyncio
import dataclasses
import enum
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
#: Characters of a message: gRPC carries it in a header, whose room has an end.
_LONGEST = 500


class Reason(enum.Enum):
    """Reason of a refusal: its HTTP status and the name of its gRPC status."""

    BAD = (400, "INVALID_ARGUMENT")
    UNKNOWN = (404, "NOT_FOUND")
    SLOW = (408, "DEADLINE_EXCEEDED")
    CODING = (415, "INVALID_ARGUMENT")
    LARGE = (413, "RESOURCE_EXHAUSTED")
    BUSY = (503, "UNAVAILABLE")
    LATE = (504, "DEADLINE_EXCEEDED")

    @property
    def http(self) -> int:
        """Return the status code of HTTP."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """Return the name of a ``grpc.StatusCode``."""
        return self.value[1]


class RefusedError(Exception):
    """A request that is not answered; the message tells its sender why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ...")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of what clients may ask of a server.

    Attributes
    ----------
    request_bytes : int
        Largest size of one request, also after its decompression.
    values : int
        Largest number of values (numbers, texts, names) in one request. Each is an object of Python for a
        moment, of some 60 bytes.
    text_bytes : int
        Largest size of one text among the values, as the name of a station.
    events : int
        Largest first dimension of the inputs.
    answer_bytes : int
        Largest size of the arrays of one answer, before they become JSON.
    unread_bytes : int
        Largest size of all answers together that their clients have not taken yet; a single answer may be
        larger.
    timeout_s : float
        Longest time from a whole request to its answer, s.
    patience_s : float
        Longest time, s, for a client to bring its request, to take the next piece of its answer, and for a
        connection to begin its next request.
    connections : int
        Connections that may be open at once, for REST and gRPC each.
    computing : int
        Requests that are computed at once; as many as there are processors by default.
    waiting : int
        Requests that may wait to be computed.
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


#: Limits of a server by default.
LIMITS = Limits()


class Workers:
    """Threads that compute the answers to requests, with a queue of limited length for waiting requests.

    Parameters
    ----------
    limits : Limits
        Number of threads, length of the queue, time limit, and largest size of unread answers.
    """

    def __init__(self, limits: Limits) -> None:
        self._timeout_s = limits.timeout_s
        self._executor = ThreadPoolExecutor(limits.computing, "tfgmm-serve")
        self._places = threading.Semaphore(limits.computing + limits.waiting)
        self._unread, self._most_unread = 0, limits.unread_bytes

    async def run(self, function: Callable[..., _T], *arguments) -> _T:
        """Call a function in a thread and return what it returns.

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
        """Count an answer as unread, and return the function to call once the client has read the answer.

        Both are called in the event loop.

        Raises
        ------
        RefusedError
            Too many bytes of answers are unread already.
        """
        if self._unread and self._unread + len(answer) > self._most_unread:
            raise RefusedError(Reason.BUSY, "too many answers wait for clients to read them: try later")
        self._unread += len(answer)

        def release() -> None:
            """Count the answer as read."""
            self._unread -= len(answer)

        return release

    def close(self) -> None:
        """Cancel the requests that wait, and let the threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _forgetting(function: Callable[..., _T], *arguments) -> _T:
    """Call a function; raise a new `RefusedError` without the traceback, which would keep the request."""
    try:
        return function(*arguments)
    except RefusedError as error:
        refusal = RefusedError(error.reason, str(error))
    del arguments
    raise refusal
