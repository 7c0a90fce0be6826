"""Commit a chunk in a thread of its own while the next one is embedded."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from workers.embed.clock import StageClock


class ChunkWriter:
    """Commit one chunk after the other, in order. While one is being written, none waits: memory holds two at most.

    Use as a context manager: leaving it waits until the last one is written, and raises what its commit raised. If the
    block itself raised, that error propagates instead.
    """

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if raised is None:
            self.require()

    def commit(self, write: Callable[[], None]) -> None:
        """Wait for the commit before, raise what it raised, and start `write`."""
        if self._under_way is not None:
            with self._clock.waiting_for("write"):
                self._under_way.result()
        self._under_way = self._pool.submit(self._timed, write)

    def require(self) -> None:
        """Raise what the last commit raised, if it has ended: what is embedded after it could not be committed."""
        if self._under_way is not None and self._under_way.done():
            self._under_way.result()

    def _timed(self, write: Callable[[], None]) -> None:
        with self._clock.at_work("write"):
            write()
