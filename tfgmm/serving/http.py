"""HTTP with time limits: a protocol, request bodies of limited size and time, responses in pieces."""

import asyncio
import zlib

import h11
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers

#: Size of a piece of a response, bytes.
_PIECE = 1 << 16
#: Argument of zlib for the gzip format.
_GZIP = 16 + zlib.MAX_WBITS
_BAD = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)


def punctual(limits: Limits) -> type[H11Protocol]:
    """Return a subclass of the HTTP/1.1 protocol of uvicorn, with time limits and a limit on connections.

    Parameters
    ----------
    limits : Limits
        Time that clients have (``patience_s``, s), and largest number of connections.
    """
    return type("Punctual", (_Punctual,), {"limits": limits})


class _Punctual(H11Protocol):
    """HTTP/1.1 protocol of uvicorn with time limits for clients.

    A connection is closed if the head of its first or next request does not arrive within ``patience_s``;
    uvicorn alone waits without limit once the first byte has arrived. A connection is cut if its client
    does not read a response for ``patience_s``. Connections beyond the limit are refused at once.
    """

    limits: Limits
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first request of a new connection; refuse the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._end(_FULL)
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Process received bytes; cancel the time limit once the head of a request has arrived."""
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:  # the body has a time limit of its own
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        """Start the time limit for the next request after a response has been sent."""
        self._wait()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, unless a response has begun, and close the connection."""
        if self.cycle:  # its response cannot be sent any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._end(_BAD if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) else b"")

    def pause_writing(self) -> None:
        """Start the time limit for a client that does not read the response."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the time limit for a client that reads the response again."""
        self._unread.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits of the connection."""
        for timer in (self._deadline, self._unread):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Restart the time limit for the next request."""
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.limits.patience_s, self._end, _LATE)

    def _end(self, answer: bytes) -> None:
        """Send the bytes of a last response, and close the connection."""
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
        # Closing waits until the client has read all bytes, without limit if the client does not read.
        self.loop.call_later(self.limits.patience_s, self.transport.abort)


async def whole(request: Request, limits: Limits) -> bytes:
    """Read the body of a request to its end, and return it.

    Parameters
    ----------
    request : starlette.requests.Request
        The request.
    limits : Limits
        Largest number of bytes (``request_bytes``), and longest time in s (``patience_s``).

    Returns
    -------
    bytes
        The body.

    Raises
    ------
    RefusedError
        The body is too large or too slow, or the connection was cut off.
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
    """Return the decompressed body of a request, whose ``Content-Encoding`` is gzip or none.

    Parameters
    ----------
    body : bytes
        The body as received.
    coding : str
        Value of the header ``Content-Encoding``; empty if there is no such header.
    most : int
        Largest number of bytes after decompression.

    Raises
    ------
    RefusedError
        The coding is neither gzip nor none, or the body is damaged or too large.
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
    """Return the error for a request that is larger than `most` bytes."""
    return RefusedError(Reason.LARGE, f"a request may have {most} bytes: ask for less at once")


class Answer(Response):
    """JSON response that is sent in pieces, at the pace of the client.

    A connection that gets a whole response at once would keep several copies of the response in memory.

    Parameters
    ----------
    content : bytes
        The JSON text.
    workers : Workers
        Object that counts the bytes of responses that are not sent yet.
    """

    media_type = "application/json"

    def __init__(self, content: bytes, workers: Workers) -> None:
        super().__init__(content)
        self._workers = workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; stop if the client disconnects or does not read."""
        release = self._workers.hold(self.body)
        try:
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(head)
            for first in range(0, len(self.body), _PIECE):
                piece = self.body[first : first + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # lets other requests proceed, and a lost connection be noticed
            await send({"type": "http.response.body", "body": b""})
        finally:
            release()
