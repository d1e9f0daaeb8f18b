"""HTTP/1.1 that does not wait for ever."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tfgmm.serving.limits import Limits

_BAD = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)


def punctual(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol, with an end to what it leaves open.

    A connection is closed when the head of its first request, or of the one after an answer, is not there
    after ``patience_s``; uvicorn alone waits for ever once a byte has come. It is cut when its client does
    not read for as long. Connections beyond the limit are turned away at once.

    Parameters
    ----------
    limits : Limits
    """

    class Punctual(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._end(_FULL)
            else:
                self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle and not self.cycle.response_complete:  # whose body has a deadline of its own
                self._deadline.cancel()

        def on_response_complete(self) -> None:
            self._wait()
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP; nothing is added to an answer that has begun."""
            if self.cycle:  # whose answer nobody could send any more
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self._end(_BAD if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) else b"")

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(limits.patience_s, self.transport.abort)

        def resume_writing(self) -> None:
            self._unread.cancel()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._deadline, self._unread):
                if timer:
                    timer.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._deadline:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(limits.patience_s, self._end, _LATE)

        def _end(self, answer: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                self.transport.close()
            # Closing waits until all is read: for ever, if the client does not.
            self.loop.call_later(limits.patience_s, self.transport.abort)

    return Punctual
