"""The cache of answers: what was found for the queries asked last."""

import hashlib
import threading
from collections.abc import Sequence

from cachetools import LRUCache

from shared.messages.search import Hit
from workers.vectors.embeddings import Floats


class AnswerCache:
    """The answers given last, by query; an answer that is asked for again moves to the front."""

    def __init__(self, size: int) -> None:
        self._answers: LRUCache[bytes, tuple[Hit, ...]] = LRUCache(size)
        self.size = size
        self._lock = threading.Lock()

    def key(self, unit: Floats, how: bytes) -> bytes:
        if not self._answers.maxsize:
            return b""
        return hashlib.blake2b(unit.tobytes() + how, digest_size=32).digest()

    def get(self, key: bytes) -> Sequence[Hit] | None:
        with self._lock:
            return self._answers.get(key)

    def put(self, key: bytes, hits: tuple[Hit, ...]) -> None:
        if self._answers.maxsize:
            with self._lock:
                self._answers[key] = hits
