"""Search through clients, one for each thread, many searches at once; one whose asker went away is taken back."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from cachetools import LRUCache

from coordinator.client.client import Client
from coordinator.client.pending_reply import PendingReply
from coordinator.serve.problems import ClientGone, Refused
from shared.errors import LookalikeError, NoWorker, ReplyTimeout
from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import Answer

_CLIENTS: Final = 4
"""Clients that a thread keeps, one for each of the jobs that it was last asked for."""

ClientOf = Callable[[OpenJob], Client]
Make = Callable[[], tuple[OpenJob, Query]]


class Searches:
    """Sends queries and awaits their answers in `threads` threads; at most `waiting` more searches wait for one."""

    def __init__(
        self,
        client_of: ClientOf,
        threads: int,
        waiting: int,
        seconds: float,
        comes_back: Callable[[], bool] = lambda: False,
    ) -> None:
        """Each answer has so many `seconds` to come. Where no worker is there, `comes_back` waits for one, and says
        whether it came."""
        self._client_of, self._most, self._seconds = client_of, threads + waiting, seconds
        self._comes_back = comes_back
        self._pool = ThreadPoolExecutor(threads, "search")
        # To take one back asks the broker, which may take as long as it does to be found away.
        self._taking_back = ThreadPoolExecutor(1, "take-back")
        self._local = threading.local()
        self._clients: list[_Clients] = []
        self._lock = threading.Lock()
        self._under_way = 0

    @property
    def under_way(self) -> int:
        """How many searches wait or are being answered."""
        return self._under_way

    async def ask(self, make: Make, how: Mapping[str, Any]) -> Answer:
        """The answer to the query that `make` makes, in a thread; `how` is as `Client.enqueue_queries` takes it.

        Where the asker is cancelled, a query that no worker has begun is taken back. Raises Refused with 429 where too
        many wait, what `make` raises, and what `PendingReply.answer` does.
        """
        search = _Search(make, how, self._seconds)
        with self._lock:
            if self._under_way >= self._most:
                raise Refused(
                    429, f"{self._under_way:,} searches are under way, and no more are taken in: try again.",
                    {"Retry-After": "1"},
                )  # fmt: skip
            self._under_way += 1
        future = self._pool.submit(self._answered, search)
        future.add_done_callback(self._ended)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # The server ends, and with it all that waits.
                self._taking_back.submit(search.take_back)
            raise

    def close(self) -> None:
        """Give up what waits, and close the clients that no thread uses any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._taking_back.shutdown(wait=False)
        for clients in self._clients:
            if not clients.are_used:
                clients.close()

    def _answered(self, search: "_Search") -> Answer:
        clients: _Clients | None = getattr(self._local, "clients", None)
        if clients is None:
            clients = self._local.clients = _Clients(self._client_of)
            with self._lock:
                self._clients.append(clients)
        clients.are_used = True
        try:
            try:
                return search.answered(clients)
            except NoWorker:
                if not self._comes_back():
                    raise
            return search.answered(clients)
        finally:
            clients.are_used = False

    def _ended(self, future: "Future[Answer]") -> None:
        with self._lock:
            self._under_way -= 1


class _Clients:
    """The clients of one thread."""

    def __init__(self, client_of: ClientOf) -> None:
        self._client_of = client_of
        self._kept: LRUCache[tuple[str, str], Client] = LRUCache(_CLIENTS)
        self.are_used = False

    def of(self, job: OpenJob) -> Client:
        # A job that was made anew under its name is another one.
        key = (str(job.path), job.manifest.identity)
        if key not in self._kept:
            while len(self._kept) >= _CLIENTS:
                self._kept.popitem()[1].close()
            self._kept[key] = self._client_of(job)
        return self._kept[key]

    def close(self) -> None:
        while self._kept:
            with suppress(LookalikeError, OSError, RuntimeError):
                self._kept.popitem()[1].close()


class _Search:
    """One search: a thread answers it, and another may take it back meanwhile."""

    def __init__(self, make: Make, how: Mapping[str, Any], seconds: float) -> None:
        self._make, self._how, self._seconds = make, how, seconds
        self._lock = threading.Lock()
        self._reply: PendingReply | None = None
        self._is_wanted = True

    def answered(self, clients: _Clients) -> Answer:
        job, query = self._make()
        client = clients.of(job)
        with self._lock:
            if not self._is_wanted:
                raise ClientGone
            (reply,) = client.enqueue_queries([query], **self._how)
            self._reply = reply
        try:
            return reply.answer(self._seconds)
        except LookalikeError as error:
            if isinstance(error, ReplyTimeout):
                self.take_back()
            reply.give_up()
            raise

    def take_back(self) -> None:
        """Let no worker begin it. What a worker has begun it ends."""
        with self._lock:
            self._is_wanted = False
            reply = self._reply
        if reply is not None:
            with suppress(LookalikeError):
                reply.cancel()
