"""Drop the connections of clients that send their head, or take their answer, too slowly."""

import asyncio
import socket
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.serve.guard.front import SAFE
from coordinator.serve.problems import Refused, refusal

LATE_SECONDS: Final = 2.0
"""How long a client that was refused while it sent may go on sending."""
HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to come."""
TAKE_SECONDS: Final = 30.0
"""How long a client may leave what it is sent unread."""


class LateClosing:
    """A transport that closes when the client has sent what it is sending, which nobody reads, or after a while.

    Where something is unread the system resets the connection, and a client that sends before it reads may never see
    its answer: that its upload is too large.
    """

    def __init__(self, transport: asyncio.Transport, is_sending: Callable[[], bool], later: Callable[..., Any]) -> None:
        """`is_sending` says whether the client is, and `later` calls a function after the while."""
        self._transport, self._is_sending, self._later = transport, is_sending, later
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._is_sending():
            self._transport.close()
            return
        self._timer = self._later(self._transport.close)
        self._transport.write_eof()
        self._transport.resume_reading()

    def is_closing(self) -> bool:
        return self._timer is not None or self._transport.is_closing()


class Impatient(H11Protocol):
    """uvicorn's protocol with a time for heads and for unread answers: it has one only for what is between requests."""

    head_seconds, take_seconds, late_seconds = HEAD_SECONDS, TAKE_SECONDS, LATE_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._closing = LateClosing(
            transport,
            lambda: self.conn.their_state in (h11.SEND_BODY, h11.ERROR),
            partial(self.loop.call_later, self.late_seconds),
        )
        super().connection_made(cast("asyncio.Transport", self._closing))
        self._head = self.loop.call_later(self.head_seconds, self.drop)

    def data_received(self, data: bytes) -> None:
        if self._closing.is_closing():
            return
        super().data_received(data)
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self._stop("_head")
        elif self._head is None and not self.transport.is_closing():
            # Part of another head came on a connection that is kept; uvicorn's timer ended with its first byte.
            self._head = self.loop.call_later(self.head_seconds, self.drop)

    def send_400_response(self, msg: str) -> None:
        """Say as a problem that a request can't be read, and close; what is under way on the connection is given up."""
        cycle = self.cycle
        is_answered = cycle is None or cycle.response_complete
        if cycle is not None and not is_answered:
            cycle.disconnected = True
            cycle.message_event.set()
        if is_answered or not cycle.response_started:
            with suppress(h11.LocalProtocolError):
                self._refuse()
        self.transport.close()

    def _refuse(self) -> None:
        why = Refused(400, "The request is no HTTP/1.1, or none that can be read in one way only.")
        answer = refusal(why, uuid.uuid4().hex)
        headers = [*answer.raw_headers, *((name.encode(), value.encode()) for name, value in SAFE.items())]
        headers += [(b"cache-control", b"no-store"), (b"connection", b"close")]
        events = (
            h11.Response(status_code=answer.status_code, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(self.take_seconds, self.drop)

    def resume_writing(self) -> None:
        self._stop("_taking")
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop("_head")
        self._stop("_taking")
        super().connection_lost(exc)

    def _stop(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)

    def drop(self) -> None:
        """Close the connection at once, whatever is unread."""
        self._head = self._taking = None
        # In order, what is unread would be kept until the client takes it: by asyncio, and then by the system.
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
