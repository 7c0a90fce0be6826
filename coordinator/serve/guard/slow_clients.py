"""Drop the connections of clients that send their head, or take their answer, too slowly."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to come."""
TAKE_SECONDS: Final = 30.0
"""How long a client may leave what it is sent unread."""


class Impatient(H11Protocol):
    """uvicorn's protocol with a time for heads and for unread answers: it has one only for what is between requests."""

    head_seconds, take_seconds = HEAD_SECONDS, TAKE_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = self.loop.call_later(self.head_seconds, self.drop)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self._stop("_head")
        elif self._head is None and not self.transport.is_closing():
            # Part of another head came on a connection that is kept; uvicorn's timer ended with its first byte.
            self._head = self.loop.call_later(self.head_seconds, self.drop)

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
