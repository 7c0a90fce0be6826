"""End a server in order and within bounds: who is not answered in time is told so, and nobody keeps it waiting."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

import anyio.to_thread
import uvicorn

from coordinator.serve.guard.slow_clients import Impatient
from coordinator.serve.problems import Refused

log = logging.getLogger("lookalike.http")

END_SECONDS: Final = 6.0
"""How long requests that are under way when the server is told to end have for their answers. Docker kills ten seconds
after it told, and the last of them are for closing: the query worker of the server, its broker, and connections."""
_TAKE_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED: Final = 130

Answer = TypeVar("Answer")


class Ending:
    """Whether a server ends, and whom it told so; in the thread of its event loop."""

    def __init__(self, seconds: float = END_SECONDS) -> None:
        self.seconds = seconds
        self._is_over = False
        self._answering: set[asyncio.Task[Any]] = set()

    async def answered(self, work: Awaitable[Answer]) -> Answer:
        """What `work` gives; raises Refused with 503 where the server ends before, and cancels it then.

        A thread that works for it goes on, and what it is told of is dropped.
        """
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            task.uncancel()
            raise Refused(
                503,
                "The server was told to end, and this was not done in time: ask again when it is back.",
                {"Connection": "close"},
            ) from None
        finally:
            self._answering.discard(task)

    def time_is_up(self) -> None:
        """Tell all who wait that they wait in vain."""
        self._is_over = True
        if self._answering:
            log.warning("Requests that were not answered before the server ended: %d", len(self._answering))
        for task in self._answering:
            task.cancel()


class Signals:
    """Ctrl-C and SIGTERM: the first ends the server in order, and a second one the process at once.

    Nothing of a job is lost by that, and what the server started ends with it.
    """

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        """`leave` ends the process at once, with a status."""
        self._leave = leave
        self.server: uvicorn.Server | None = None
        self.told = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take them while the block runs, which is to hold all that is closed after the server; raises
        KeyboardInterrupt at its end, or where there is no `server` yet, if one came."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self.came) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.told:
            raise KeyboardInterrupt

    def came(self, number: int, frame: FrameType | None) -> None:
        """Take one."""
        if self.told:
            self._leave(_INTERRUPTED)
        self.told = True
        if self.server is None:
            raise KeyboardInterrupt
        self.server.should_exit = True


class EndingServer(uvicorn.Server):
    """uvicorn's server, which ends within bounds; `Signals` tells it to."""

    def __init__(self, config: uvicorn.Config, ending: Ending, threads: int = 40) -> None:
        """So many `threads` at most read files for the requests that are under way."""
        super().__init__(config)
        self._ending, self._threads = ending, threads

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to `Signals`, which also takes those that come while what is behind the server is closed."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more; wait for what is under way, then tell those who wait, then drop those who take nothing."""
        loop, seconds = asyncio.get_running_loop(), self._ending.seconds
        timers = [
            loop.call_later(seconds, self._ending.time_is_up),
            loop.call_later(seconds + _TAKE_SECONDS, self._drop),
        ]
        try:
            await super().shutdown(sockets)
        finally:
            for timer in timers:
                timer.cancel()

    def _drop(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, Impatient):
                connection.drop()


def leave_threads(status: int, seconds: float = 1.0, leave: Callable[[int], object] = os._exit) -> None:
    """End the process with a status if threads still work after so many seconds, for which Python would wait.

    They wait for workers that may never answer, or change a job, which a kill harms at no step.
    """
    deadline = time.monotonic() + seconds
    others = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for one in others:
        one.join(max(0.0, deadline - time.monotonic()))
    if any(one.is_alive() for one in others):
        sys.stdout.flush()
        sys.stderr.flush()
        leave(status)
