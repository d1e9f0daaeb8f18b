"""HTTP that does not wait for ever: a protocol, requests with an end, and answers piece by piece."""

import asyncio
import zlib

import h11
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers

#: How much of an answer is given to the connection at once.
_PIECE = 1 << 16
#: Tells zlib to expect the head and tail of gzip.
_GZIP = 16 + zlib.MAX_WBITS
_BAD = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)


def punctual(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol of HTTP/1.1 with deadlines and a limit on connections.

    Parameters
    ----------
    limits : Limits
    """
    return type("Punctual", (_Punctual,), {"limits": limits})


class _Punctual(H11Protocol):
    """HTTP/1.1 with an end to what uvicorn leaves open.

    A connection is closed when the head of its first request, or of the one after an answer, is not there
    after ``patience_s``; uvicorn alone waits for ever once a byte has come. A connection is cut when its
    client does not read for as long. Connections beyond the limit are turned away at once.
    """

    limits: Limits
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Turn a connection away beyond the limit, or wait for its first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._end(_FULL)
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop the deadline once the head of a request is there."""
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:  # whose body has a deadline of its own
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP; add nothing to an answer that has begun."""
        if self.cycle:  # whose answer nobody could send any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._end(_BAD if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) else b"")

    def pause_writing(self) -> None:
        """Start the deadline of a client that does not read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the deadline of a client that reads again."""
        self._unread.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        for timer in (self._deadline, self._unread):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Start the deadline of the next request anew."""
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.limits.patience_s, self._end, _LATE)

    def _end(self, answer: bytes) -> None:
        """Send a last answer and close the connection."""
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
        # Closing waits until all is read: for ever, if the client does not.
        self.loop.call_later(self.limits.patience_s, self.transport.abort)


async def whole(request: Request, limits: Limits) -> bytes:
    """Read the body of a request to its end.

    Raises
    ------
    RefusedError
        The body is too large, too slow, or was cut off.
    """
    body, announced = bytearray(), int(request.headers.get("content-length", 0))
    try:
        async with asyncio.timeout(limits.patience_s):
            while max(len(body), announced) <= limits.request_bytes:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(Reason.BAD, "the request was cut off")
                body += message.get("body", b"")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        message = f"the request did not arrive within {limits.patience_s:g} s"
        raise RefusedError(Reason.SLOW, message) from error
    raise _too_large(limits.request_bytes)


def decoded(body: bytes, coding: str, most: int) -> bytes:
    """Undo the ``Content-Encoding`` of a body: gzip or none, as TensorFlow Serving takes them.

    Parameters
    ----------
    body : bytes
    coding : str
        Value of the header, empty without one.
    most : int
        Largest number of bytes to unpack.

    Raises
    ------
    RefusedError
        The coding is another one, or the body is damaged or too large.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise RefusedError(
            Reason.CODING, f"content-encoding {coding[:50]!r} is not known: send gzip or none"
        )
    content = bytearray()
    while body:  # one member of gzip after the other
        member = zlib.decompressobj(_GZIP)
        try:
            content += member.decompress(body, most + 1 - len(content))
        except zlib.error as error:
            raise RefusedError(Reason.BAD, f"the request is no gzip: {error}") from error
        if len(content) > most:
            raise _too_large(most)
        if not member.eof:
            raise RefusedError(Reason.BAD, "the request is no gzip: it ends too early")
        body = member.unused_data
    return bytes(content)


def _too_large(most: int) -> RefusedError:
    """Return the refusal of a request of too many bytes."""
    return RefusedError(Reason.LARGE, f"a request may have {most} bytes: ask for less at once")


class Answer(Response):
    """JSON that is sent a piece at a time, at the pace of the client.

    A connection that gets a whole answer at once would keep it in memory several times.

    Parameters
    ----------
    content : bytes
    workers : Workers
        Count the bytes that are not sent yet.
    """

    media_type = "application/json"

    def __init__(self, content: bytes, workers: Workers) -> None:
        super().__init__(content)
        self._workers = workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, until its client goes away or does not read."""
        release = self._workers.hold(self.body)
        try:
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(head)
            for first in range(0, len(self.body), _PIECE):
                piece = self.body[first : first + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # other requests have their turn, and a lost connection is noticed
            await send({"type": "http.response.body", "body": b""})
        finally:
            release()
