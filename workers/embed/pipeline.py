"""Gather the next batch and move it to a GPU while one is computed; on a CPU nothing overlaps."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
from numpy.typing import NDArray

from workers.embed.clock import StageClock
from workers.models.embedder import Embedder, OverlappingEmbedder

# Batches that may be under way when the caller continues: the one that is computed then. More would only cost memory.
_UNDER_WAY = 1

Embeddings = NDArray[np.float32]


class Overlap:
    """Let an embedder embed one batch after the other, and return their embeddings in that order.

    Use as a context manager: leaving it waits for the batch that is being computed, and drops what was not fetched.
    """

    def __init__(self, embedder: Embedder, clock: StageClock) -> None:
        self._embedder, self._clock = embedder, clock
        self._under_way: deque[tuple[Future[Embeddings], Callable[[Embeddings], None]]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def embed(self, images: NDArray[np.uint8], take: Callable[[Embeddings], None]) -> None:
        """Embed uint8 [n, s, s, 3], and call `take` with float32 [n, d]: at once, or while later ones are embedded.

        `take` is called in the caller's thread, here or in `finish`. Raises what the embedder raises, for these images
        or for those before.
        """
        if not isinstance(self._embedder, OverlappingEmbedder):
            with self._clock.waiting_for("model"):
                embeddings = self._timed(lambda: self._embedder.embed(images))
            take(embeddings)
            return
        with self._clock.waiting_for("model"):
            compute = self._embedder.hand_over(images)
        self._under_way.append((self._pool.submit(self._timed, compute), take))
        self._fetch_all_but(_UNDER_WAY)

    def finish(self) -> None:
        """Wait for all batches that are under way, and let their embeddings be taken."""
        self._fetch_all_but(0)

    def _fetch_all_but(self, left: int) -> None:
        while len(self._under_way) > left:
            future, take = self._under_way.popleft()
            with self._clock.waiting_for("model"):
                embeddings = future.result()
            take(embeddings)

    def _timed(self, compute: Callable[[], Embeddings]) -> Embeddings:
        with self._clock.at_work("model"):
            return compute()
