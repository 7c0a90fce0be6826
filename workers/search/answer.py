"""Answer queries: images become vectors through the job's own model, vectors become hits (no Celery)."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache

from shared.errors import ImageError, LookalikeError, QueryError
from shared.job.directory import JobDir
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import Answer, Hit, SearchJob
from shared.processes.failpoints import failpoint
from shared.settings import Settings
from workers.models.embedder import Embedder, has_direction, no_direction
from workers.models.loaded import loaded_embedder
from workers.search.decoding.processes import DecodingProcesses
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher

log = logging.getLogger("lookalike.query")

# Each takes some 70 MB, and two keep the model busy, which embeds one message at a time.
_MOST_PROCESSES = 2

Vector = np.ndarray
"""A query vector, float32 [d]."""


class Answerer:
    """Answers search messages; one a process. Several threads may ask at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_by_one = settings.changed(batch_size=settings.batch_size or 1)
        self._pool = SearcherPool(settings)
        self._decoders = DecodingProcesses(
            min(settings.query_threads or os.cpu_count() or 1, _MOST_PROCESSES),
            settings.decode_seconds,
            settings.decode_memory_bytes,
        )
        self._embedded: LRUCache[bytes, Vector] = LRUCache(settings.query_cache_size)
        self._lock = threading.Lock()
        self._embedding = threading.Lock()

    def answer(self, job: JobDir, message: SearchJob) -> list[Answer]:
        """An answer for each query of `message`, in order; one that can't be answered carries its own error.

        Raises what concerns them all: JobNotFound, NoIndexYet, CorruptFile, ModelError, and QueryError for a filter.
        """
        failpoint("answer")
        searcher, opened = self._pool.opened(job)
        if any(query.image is not None for query in message.queries) and not opened.manifest.model.is_imported:
            self._decoders.start()  # They are ready before the model is.
            self._embedder(opened)  # Loading the model takes seconds once; that is not the query's time.
        started = time.perf_counter()
        found = self._vectors(opened, message.queries)
        vectors = [vector for vector in found if not isinstance(vector, LookalikeError)]
        hits = iter(_search(searcher, vectors, message))
        outcomes = [outcome if isinstance(outcome, LookalikeError) else next(hits) for outcome in found]
        # Queries of one message share their work, so each bears an equal part of its time.
        milliseconds = (time.perf_counter() - started) * 1000 / len(message.queries)
        # Also of an error: answers of holders of some shards are joined, if they are of one build.
        searched = searcher.searched if searcher.searched is not None and searcher.searched.shards else None
        return [
            Answer(error=outcome, searched=searched)
            if isinstance(outcome, LookalikeError)
            else Answer(tuple(outcome), milliseconds, searched=searcher.searched)
            for outcome in outcomes
        ]

    def _embedder(self, job: OpenJob) -> Embedder:
        # One image is what most queries hold. Another batch size than the embed worker's may change the last bits of a
        # vector, which no ranking notices and nothing stores.
        return loaded_embedder(job.manifest.model, job.model_dir, self._one_by_one)

    def _vectors(self, job: OpenJob, queries: Sequence[Query]) -> "list[Vector | LookalikeError]":
        """The vector of each query, or why its image has none; images not seen lately are embedded together."""
        found: list[Vector | LookalikeError | None] = [query.vector for query in queries]
        fresh: list[tuple[int, bytes, np.ndarray]] = []
        for place, query in enumerate(queries):
            if query.image is None:
                continue
            if job.manifest.model.is_imported:
                found[place] = _no_model(job)
                continue
            key = hashlib.blake2b(
                query.image, digest_size=32, key=job.manifest.model.fingerprint.encode()[:64]
            ).digest()
            found[place] = self._remembered(key)
            if found[place] is None:
                try:
                    fresh.append((place, key, self._decoded(query.image, job.manifest)))
                except ImageError as error:
                    found[place] = _of_place(error, job, place, len(queries))
        if fresh:
            pixels = np.stack([image for _, _, image in fresh])
            with self._embedding:  # A model call uses all cores, and no promise is known that two at once are safe.
                vectors = self._embedder(job).embed(pixels)
            for (place, key, _), vector, good in zip(fresh, vectors, has_direction(vectors), strict=True):
                found[place] = vector if good else no_direction()
                if good:
                    self._remember(key, vector)
        return [outcome for outcome in found if outcome is not None]

    def _decoded(self, data: bytes, manifest: Manifest) -> np.ndarray:
        if len(data) > self._settings.max_query_bytes:
            raise ImageError(
                f"A query image has {len(data):,} bytes; the most is {self._settings.max_query_bytes:,} "
                "(the setting max_query_bytes): send a smaller copy.",
                "oversized",
            )
        model = manifest.model
        return self._decoders.decode(data, model.image_size, manifest.max_image_pixels, model.decode).pixels

    def _remembered(self, key: bytes) -> Vector | None:
        with self._lock:
            return self._embedded.get(key)

    def _remember(self, key: bytes, vector: Vector) -> None:
        if self._embedded.maxsize:
            with self._lock:
                self._embedded[key] = vector


def _of_place(error: ImageError, job: JobDir, place: int, count: int) -> ImageError:
    """The error of an image; of one that ended its process it says which of the message's it was, as the log does."""
    if error.status != "quarantined":
        return error
    log.warning("%s: query %d of %d: %s", job.job_id, place + 1, count, error)
    return error if count == 1 else ImageError(f"Query {place + 1} of {count}: {error}", error.status)


def _no_model(job: OpenJob) -> QueryError:
    return QueryError(
        f"The job {job.job_id} was imported as vectors ({job.manifest.model.name}), so no model is there to embed an "
        f"image with: send a vector of {job.manifest.model.dim} values."
    )


def _search(searcher: Searcher, vectors: Sequence[Vector], message: SearchJob) -> "list[list[Hit] | LookalikeError]":
    """Hits or error for each vector; together where all are well, one by one to find out which is not."""
    try:
        return [*searcher.search_many(np.stack(vectors), message.k, message.exact, message.filter)] if vectors else []
    except (LookalikeError, ValueError):
        if message.filter is not None:
            searcher.chosen(message.filter)  # What is wrong with it concerns all queries, and is looked for once.
        return [_one(searcher, vector, message) for vector in vectors]


def _one(searcher: Searcher, vector: Vector, message: SearchJob) -> list[Hit] | LookalikeError:
    try:
        return searcher.search(vector, message.k, message.exact, message.filter)
    except LookalikeError as error:
        return error
