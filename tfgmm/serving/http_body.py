"""Bodies of HTTP messages with an end to them: requests, also compressed, and answers piece by piece."""

import asyncio
import zlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.refusal import Reason, RefusedError

#: How much of an answer is given to the connection at once.
_PIECE = 1 << 16
#: Tells zlib to expect the head and tail of gzip.
_GZIP = 16 + zlib.MAX_WBITS


async def whole(request: Request, limits: Limits) -> bytes:
    """Read all of the body, or put an end to it.

    Raises
    ------
    RefusedError
        It is too large, too slow, or was cut off.
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
        Bytes that may come out; what would be more is not unpacked.

    Raises
    ------
    RefusedError
        It is another coding, damaged, or too large.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise RefusedError(
            Reason.CODING, f"content-encoding {coding[:50]!r} is not known: send gzip or none"
        )
    found = bytearray()
    while body:  # one member of gzip after the other
        member = zlib.decompressobj(_GZIP)
        try:
            found += member.decompress(body, most + 1 - len(found))
        except zlib.error as error:
            raise RefusedError(Reason.BAD, f"the request is no gzip: {error}") from error
        if len(found) > most:
            raise _too_large(most)
        if not member.eof:
            raise RefusedError(Reason.BAD, "the request is no gzip: it ends too early")
        body = member.unused_data
    return bytes(found)


def _too_large(most: int) -> RefusedError:
    return RefusedError(Reason.LARGE, f"a request may have {most} bytes: ask for less at once")


class Answer(Response):
    """Send JSON a piece at a time, at the pace of the client.

    A whole answer in the hands of the connection would be there several times.

    Parameters
    ----------
    content : bytes
    workers : Workers
        Who count what is not sent yet.
    """

    media_type = "application/json"

    def __init__(self, content: bytes, workers: Workers) -> None:
        super().__init__(content)
        self._workers = workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that goes away or does not read ends it."""
        release = self._workers.hold(self.body)
        try:
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(head)
            for first in range(0, len(self.body), _PIECE):
                piece = self.body[first : first + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # others have their turn, and a lost connection is noticed
            await send({"type": "http.response.body", "body": b""})
        finally:
            release()
