"""How much a server takes on, and who computes."""

import asyncio
import dataclasses
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tfgmm.serving.refusal import Reason, RefusedError

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may ask of a server.

    Attributes
    ----------
    request_bytes : int
        Of one request, also after its decompression.
    values : int
        In one request: numbers, texts, names. Each is an object of Python for a moment, of some 60 bytes.
    text_bytes : int
        Of one text among the values, as the name of a station.
    events : int
        First dimension of the inputs.
    answer_bytes : int
        Of the arrays of one answer, before they become JSON.
    unread_bytes : int
        Of all answers that their clients have not taken yet, unless it is a single one.
    timeout_s : float
        From a whole request to its answer.
    patience_s : float
        For a client to bring its request, to take the next piece of its answer, and for a connection to
        begin its next request.
    connections : int
        Open at once, REST and gRPC each.
    computing : int
        Requests that are computed at once; as many as there are processors by default.
    waiting : int
        Requests that may wait for that.
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


#: Those of a server that is told none.
LIMITS = Limits()


class Workers:
    """Threads that compute, and a queue in front of them that has an end.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._timeout_s = limits.timeout_s
        self._executor = ThreadPoolExecutor(limits.computing, "tfgmm-serve")
        self._places = threading.Semaphore(limits.computing + limits.waiting)
        self._unread, self._most_unread = 0, limits.unread_bytes

    async def run(self, function: Callable[..., _T], *arguments) -> _T:
        """Call a function in a thread.

        Raises
        ------
        RefusedError
            All places of the queue are taken, or it takes too long.
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
        """Count an answer as unread until what this returns is called; both in the event loop.

        Raises
        ------
        RefusedError
            Clients that do not read hold too many bytes already.
        """
        if self._unread and self._unread + len(answer) > self._most_unread:
            raise RefusedError(Reason.BUSY, "too many answers wait for clients to read them: try later")
        self._unread += len(answer)

        def release() -> None:
            self._unread -= len(answer)

        return release

    def close(self) -> None:
        """Start nothing more, and let the threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _forgetting(function: Callable[..., _T], *arguments) -> _T:
    """Call a function; a refusal forgets the frames it came from, which hold all that was read."""
    try:
        return function(*arguments)
    except RefusedError as error:
        refusal = RefusedError(error.reason, str(error))
    del arguments
    raise refusal
