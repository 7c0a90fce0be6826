"""Fetch what clients name by URLs, a few at once, so that no slow server keeps searches waiting."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from coordinator.serve.guard.outgoing import Outgoing
from coordinator.serve.problems import Refused

_THREADS: Final = 8
_MOST: Final = 64


class Fetches:
    """Fetches where it is `allowed`; at most so many wait."""

    def __init__(self, outgoing: Outgoing, *, allowed: bool) -> None:
        self._outgoing, self._allowed = outgoing, allowed
        self._pool = ThreadPoolExecutor(_THREADS, "fetch")
        self._lock = threading.Lock()
        self._under_way = 0

    @property
    def are_allowed(self) -> bool:
        return self._allowed

    async def of(self, url: str, most_bytes: int) -> bytes:
        """The bytes behind a URL. Raises Refused with 403 where it is not allowed, with 429 where too many wait, and as
        `Outgoing.fetch` does."""
        if not self._allowed:
            raise Refused(403, "This server does not ask other servers for images: send the image itself.")
        with self._lock:
            if self._under_way >= _MOST:
                raise Refused(429, f"{self._under_way} images are being fetched: try again.", {"Retry-After": "2"})
            self._under_way += 1
        future = self._pool.submit(self._outgoing.fetch, url, most_bytes)
        future.add_done_callback(lambda done: self._ended())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give up what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self) -> None:
        with self._lock:
            self._under_way -= 1
