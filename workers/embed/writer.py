"""The writer: commits a chunk in a thread of its own while the next one is embedded."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from workers.embed.clock import StageClock


class ChunkWriter:
    """Commits one chunk after the other, in order. While one is being written, none waits: memory holds two at most.

    Use as a context manager: leaving it waits until the last one is written, and raises what its commit raised. Where
    the block itself raised, that goes on its way instead.
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
        """Have `write` called once the commit before has ended, which is waited for; raises what that raised."""
        if self._under_way is not None:
            with self._clock.waiting_for("write"):
                self._under_way.result()
        self._under_way = self._pool.submit(self._timed, write)

    def require(self) -> None:
        """Raise what the last commit raised, if it has ended: what is embedded behind it could not be committed."""
        if self._under_way is not None and self._under_way.done():
            self._under_way.result()

    def _timed(self, write: Callable[[], None]) -> None:
        with self._clock.at_work("write"):
            write()
