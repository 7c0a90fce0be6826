"""Answer queries: images become vectors through the job's own model, vectors become hits, which are verified where that
is asked for (no Celery)."""

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
from workers.search.cascade.cascade import Cascade
from workers.search.decoding.processes import DecodingProcesses
from workers.search.decoding.thumbnails import Thumbnails
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.verify.collection.stored import StoredFeatures

log = logging.getLogger("lookalike.query")

# Each takes some 70 MB. Two keep the model busy, which embeds one message at a time; the others start when candidates
# are compared.
_MOST_PROCESSES = 8
_STARTED_AT_ONCE = 2

Vectors = np.ndarray
"""The vectors of the views of a query, float32 [views, d]."""


class Answerer:
    """Answers search messages; one a process. Several threads may ask at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_by_one = settings.changed(batch_size=settings.batch_size or 1)
        self._pool = SearcherPool(settings)
        side_by_side = min(settings.query_threads or os.cpu_count() or 1, _MOST_PROCESSES)
        self._decoders = DecodingProcesses(side_by_side, settings.decode_seconds, settings.decode_memory_bytes)
        self.thumbnails = Thumbnails(self._decoders)
        self._cascade = Cascade(settings, self._decoders, side_by_side, StoredFeatures(settings).of)
        self._embedded: LRUCache[bytes, Vectors] = LRUCache(settings.query_cache_size)
        self._lock = threading.Lock()
        self._embedding = threading.Lock()

    def close(self) -> None:
        """End its processes and threads; nothing may be asked any more."""
        self._cascade.close()
        self._decoders.close()

    def answer(self, job: JobDir, message: SearchJob) -> list[Answer]:
        """An answer for each query of `message`, in order; one that can't be answered carries its own error.

        Raises what concerns them all: JobNotFound, NoIndexYet, CorruptFile, ModelError, and QueryError for a filter.
        """
        failpoint("answer")
        searcher, opened = self._pool.opened(job)
        images = any(query.image is not None and query.vector is None for query in message.queries)
        if images and not opened.manifest.model.is_imported:
            self._decoders.start(_STARTED_AT_ONCE)  # They are ready before the model is.
            self._embedder(opened)  # Loading the model takes seconds once; that is not the query's time.
        self._cascade.begin(searcher, opened, message)
        started = time.perf_counter()
        found = self._vectors(opened, message)
        views = [vectors for vectors in found if not isinstance(vectors, LookalikeError)]
        hits = iter(_search(searcher, views, message, self._cascade.depth(message)))
        outcomes = [outcome if isinstance(outcome, LookalikeError) else next(hits) for outcome in found]
        # Queries of one message share their work, so each bears an equal part of its time.
        milliseconds = (time.perf_counter() - started) * 1000 / len(message.queries)
        # Also of an error: answers of holders of some shards are joined, if they are of one build.
        searched = searcher.searched if searcher.searched is not None and searcher.searched.shards else None
        return [
            Answer(error=outcome, searched=searched)
            if isinstance(outcome, LookalikeError)
            else self._answer(searcher, opened, message, query, outcome, vectors, milliseconds)
            for query, outcome, vectors in zip(message.queries, outcomes, found, strict=True)
        ]

    def _answer(
        self,
        searcher: Searcher,
        job: OpenJob,
        message: SearchJob,
        query: Query,
        hits: Sequence[Sequence[Hit]],
        vectors: "Vectors | LookalikeError",
        milliseconds: float,
    ) -> Answer:
        started = time.perf_counter()
        assert isinstance(vectors, np.ndarray)
        found, verified, refined = self._cascade.answered(searcher, job, query, hits, vectors, message)
        milliseconds += (time.perf_counter() - started) * 1000
        return Answer(tuple(found), milliseconds, searched=searcher.searched, verified=verified, refined=refined)

    def _embedder(self, job: OpenJob) -> Embedder:
        # One image is what most queries hold. Another batch size than the embed worker's may change the last bits of a
        # vector, which no ranking notices and nothing stores.
        return loaded_embedder(job.manifest.model, job.model_dir, self._one_by_one)

    def _vectors(self, job: OpenJob, message: SearchJob) -> "list[Vectors | LookalikeError]":
        """The vectors of each query, one for each of its views, or why its image has none; images not seen lately are
        embedded together.
        """
        queries, count = message.queries, message.verify.views
        found: list[Vectors | LookalikeError | None] = [
            None if query.vector is None else query.vector[None] for query in queries
        ]
        fresh: list[tuple[int, bytes, np.ndarray]] = []
        for place, query in enumerate(queries):
            if query.image is None or query.vector is not None:
                continue
            if job.manifest.model.is_imported:
                found[place] = _no_model(job)
                continue
            digest_key = f"{count} {job.manifest.model.fingerprint}".encode()[:64]
            key = hashlib.blake2b(query.image, digest_size=32, key=digest_key).digest()
            found[place] = self._remembered(key)
            if found[place] is None:
                try:
                    fresh.append((place, key, self._decoded(query.image, job.manifest, count)))
                except ImageError as error:
                    found[place] = _of_place(error, job, place, len(queries))
        if fresh:
            pixels = np.concatenate([squares for _, _, squares in fresh])
            with self._embedding:  # A model call uses all cores, and no promise is known that two at once are safe.
                embedded = self._embedder(job).embed(pixels)
            ends = np.cumsum([len(squares) for _, _, squares in fresh])
            for (place, key, _), vectors in zip(fresh, np.split(embedded, ends[:-1]), strict=True):
                good = has_direction(vectors)
                # The first view is the whole image; one of the others may well show nothing.
                found[place] = vectors[good] if good[0] else no_direction()
                if good[0]:
                    self._remember(key, vectors[good])
        return [outcome for outcome in found if outcome is not None]

    def _decoded(self, data: bytes, manifest: Manifest, views: int) -> np.ndarray:
        if len(data) > self._settings.max_query_bytes:
            raise ImageError(
                f"A query image has {len(data):,} bytes; the most is {self._settings.max_query_bytes:,} "
                "(the setting max_query_bytes): send a smaller copy.",
                "oversized",
            )
        size, most, how = manifest.model.image_size, manifest.max_image_pixels, manifest.model.decode
        if views > 1:
            return self._decoders.views(data, views, size, most, how)
        return self._decoders.decode(data, size, most, how).pixels[None]

    def _remembered(self, key: bytes) -> Vectors | None:
        with self._lock:
            return self._embedded.get(key)

    def _remember(self, key: bytes, vectors: Vectors) -> None:
        if self._embedded.maxsize:
            with self._lock:
                self._embedded[key] = vectors


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


def _search(
    searcher: Searcher, views: Sequence[Vectors], message: SearchJob, depth: int
) -> "list[list[list[Hit]] | LookalikeError]":
    """Up to `depth` hits of each view, or the error, of each query by the vectors of its views; together where all are
    well, one by one to find out which is not.
    """
    try:
        return _found(searcher, views, message, depth) if views else []
    except (LookalikeError, ValueError):
        if message.filter is not None:
            searcher.chosen(message.filter)  # What is wrong with it concerns all queries, and is looked for once.
        return [_one(searcher, vectors, message, depth) for vectors in views]


def _found(
    searcher: Searcher, views: Sequence[Vectors], message: SearchJob, depth: int
) -> "list[list[list[Hit]] | LookalikeError]":
    hits = searcher.search_many(np.concatenate(views), depth, message.exact, message.filter)
    ends = np.cumsum([len(vectors) for vectors in views]).tolist()
    return [hits[end - len(vectors) : end] for end, vectors in zip(ends, views, strict=True)]


def _one(searcher: Searcher, vectors: Vectors, message: SearchJob, depth: int) -> list[list[Hit]] | LookalikeError:
    try:
        (found,) = _found(searcher, [vectors], message, depth)
    except LookalikeError as error:
        return error
    return found
