"""Verify the hits of queries: which candidates are compared, with what, and in which order the hits come then."""

import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.errors import LookalikeError
from shared.job.opened import OpenJob
from shared.messages.finer import Refined
from shared.messages.query import Query
from shared.messages.search import MAX_K, Hit, SearchJob
from shared.messages.verified import ALL, ALWAYS, AUTO, FAR, NEVER, Verified, best_first
from shared.settings import Settings
from workers.search.cascade.chance import with_chances
from workers.search.cascade.comparing import Comparing
from workers.search.cascade.facts import Facts
from workers.search.cascade.features import CandidateFeatures, Stored
from workers.search.cascade.finer.brought import brought_forward
from workers.search.cascade.finer.refiner import Refiner
from workers.search.cascade.images import CandidateImages
from workers.search.cascade.lookup.lookups import PdqLookups, hits_of
from workers.search.cascade.nearness import RANKS, bound_of, near
from workers.search.cascade.verification import AFTER_PROVEN, LONG_AFTER, Bounds
from workers.search.cascade.views import by_turns, merged, ranked
from workers.search.decoding.pictures import decode_of
from workers.search.decoding.processes import DecodingProcesses
from workers.search.searcher import Searcher
from workers.verify.features import QUERY_KEYPOINTS, LocalFeatures

log = logging.getLogger("lookalike.query")

_QUERIES_KEPT: Final = 64
_Pdqs: TypeAlias = tuple[NDArray[np.uint8], int]
"""Those of an image in its eight turns and flips, uint8 [8, 32], and their quality."""


class Cascade:
    """Compares queries with their candidates; one a process. Several threads may ask at once."""

    def __init__(
        self,
        settings: Settings,
        decoders: DecodingProcesses,
        side_by_side: int,
        stored: Stored = lambda job, image_id, sha256: None,
    ) -> None:
        """`side_by_side` candidates are compared at once. `stored` gives the features that a job has of an image."""
        self._settings, self._decoders, self._side_by_side = settings, decoders, side_by_side
        images = CandidateImages()
        self._features = CandidateFeatures(decoders, settings.verify_cache_bytes, stored, images)
        self._queries: LRUCache[tuple[bytes, str, int], Future[LocalFeatures]] = LRUCache(_QUERIES_KEPT)
        self._facts: weakref.WeakKeyDictionary[Searcher, Facts] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(side_by_side, thread_name_prefix="verify")
        self._refiner = Refiner(settings, decoders, self._threads, images)
        self._lookups = PdqLookups(settings)
        self._pdqs: LRUCache[tuple[bytes, str, int], Future[_Pdqs]] = LRUCache(_QUERIES_KEPT)

    def close(self) -> None:
        """End its threads, when what they do now is done."""
        self._threads.shutdown(cancel_futures=True)
        self._lookups.close()

    def begin(self, searcher: Searcher, job: OpenJob, message: SearchJob) -> None:
        """Begin to read what a message needs of a job to verify its hits, while its queries are embedded, and load the
        finer model that it asks for; raises as `FinerModels.model` does."""
        self._refiner.require(job, message)
        if message.verify.how != NEVER and any(query.image is not None for query in message.queries):
            self._lookups.begin(searcher, job)
            if message.verify.how == ALWAYS:  # They are needed, whatever is near.
                for image in (query.image for query in message.queries):
                    if image is not None:
                        self._own(image, job)
            for image in (query.image for query in message.queries if self._lookups.has(job)):
                if image is not None:
                    self._pdqs_of(image, job)

    def depth(self, message: SearchJob) -> int:
        """How many hits of each view have to be found for the answer to a message."""
        finer = 0 if message.finer is None else self._settings.finer_candidates
        if message.verify.how == NEVER:
            return min(MAX_K, max(message.k, finer))
        most = self._settings.verify_candidates if message.verify.how == ALWAYS else 0
        return min(MAX_K, max(message.k, RANKS, most, finer))

    def answered(
        self,
        searcher: Searcher,
        job: OpenJob,
        query: Query,
        views: Sequence[Sequence[Hit]],
        vectors: NDArray[np.float32],
        message: SearchJob,
    ) -> tuple[list[Hit], Verified | None, Refined | None]:
        """The first `message.k` of the hits of a query, the proven ones before the others; and what was compared:
        picture with picture, by a finer model, and again picture with picture what that one brought forward.

        `views` are the hits of each view, as many as `depth` says, in the order of their similarity to the `vectors` of
        the query, float32 [views, d]. Images that a look-up of PDQs finds are compared first, and may be hits as well.
        Nothing is raised for what can't be compared: the other parts say it. They are None where nothing was to be
        compared so.
        """
        hits = views[0] if len(views) == 1 else merged(views, self.depth(message))
        if message.verify.how == NEVER and message.finer is None:
            return list(hits), None, None
        facts, comparing = self._facts_of(searcher), None
        if message.verify.how != NEVER and query.image is not None:
            comparing = self._comparing(searcher, query.image, job, facts)
        is_auto, bound = message.verify.how == AUTO, bound_of(job.manifest.model)
        most = self._settings.verify_candidates
        likely = hits[: near([hit.similarity for hit in hits], bound)] if is_auto else by_turns(views, most)
        found, told = self._verified(searcher, job, query, hits, likely, vectors, message, comparing)
        before = {hit.id for hit in found[: message.k]}
        found, refined = self._refiner.refined(job, query, found, facts, message)
        if comparing is not None and told is not None:
            if refined is not None and refined.compared:
                more = comparing.left(brought_forward(found, before, message.k), told)[:most]
                if more:
                    told = comparing.compared(more, told, after=len(more))
                    found = [comparing.of(hit) for hit in found]
            found, told = with_chances(searcher, found, found, told, message)
        return ranked(best_first(found), message.k), told, refined

    def _verified(
        self,
        searcher: Searcher,
        job: OpenJob,
        query: Query,
        hits: Sequence[Hit],
        likely: Sequence[Hit],
        vectors: NDArray[np.float32],
        message: SearchJob,
        comparing: Comparing | None,
    ) -> tuple[Sequence[Hit], Verified | None]:
        """The hits of a query with their verdicts, the best first, and what was compared: some of the `likely` ones."""
        if message.verify.how == NEVER:
            return hits, None
        began = time.monotonic()
        if query.image is None and likely:
            some = min(len(likely), self._settings.verify_candidates)
            return hits, Verified(some, reason=_VECTOR)
        copies, looked_up = self._looked_up(searcher, job, query, vectors, message)
        known = {hit.id for hit in copies}
        candidates = [*copies, *(hit for hit in likely if hit.id not in known)][: self._settings.verify_candidates]
        if comparing is None or not candidates:
            return hits, Verified(ended=FAR if hits else ALL, looked_up=looked_up)
        early = message.verify.how == AUTO
        after = AFTER_PROVEN if early else LONG_AFTER
        told = comparing.compared(candidates, Verified(looked_up=looked_up), after=after, began=began)
        if early and told.ended == ALL and len(likely) < len(hits):
            told = replace(told, ended=FAR)
        every = {hit.id: hit for hit in (*candidates, *copies, *hits)}.values()
        return best_first(comparing.of(hit) for hit in every), told

    def _looked_up(
        self, searcher: Searcher, job: OpenJob, query: Query, vectors: NDArray[np.float32], message: SearchJob
    ) -> tuple[list[Hit], int | None]:
        """The images with a PDQ near to the query's, the nearest first; and among how many they were looked for."""
        lookup = None if query.image is None else self._lookups.of(searcher, job, self._settings.verify_seconds)
        if query.image is None or lookup is None:
            return [], None
        try:
            pdqs, quality = self._pdqs_of(query.image, job).result()
            among = searcher.kept.ids if message.filter is None else searcher.chosen(message.filter).ids
            ids = lookup.near(pdqs, quality, self._settings.verify_candidates, among)
            return hits_of(searcher, ids, vectors), len(lookup)
        except (LookalikeError, OSError) as error:
            log.warning("%s: a query is answered without a look-up of PDQs: %s", job.job_id, error)
            return [], None

    def _pdqs_of(self, image: bytes, job: OpenJob) -> "Future[_Pdqs]":
        """The PDQs of a query's image, which are being made or were made lately."""
        key = _key(image, job)
        with self._lock:
            known = self._pdqs.get(key)
            if known is None or (known.done() and known.exception() is not None):
                known = self._pdqs[key] = self._threads.submit(self._decoders.pdqs, image, key[2], key[1])
            return known

    def _own(self, image: bytes, job: OpenJob) -> Future[LocalFeatures]:
        """The features of a query's image, which are being made or were made lately. Before its candidates: those wait
        for them."""
        key = _key(image, job)
        with self._lock:
            known = self._queries.get(key)
            if known is None or (known.done() and known.exception() is not None):
                made = self._decoders.features
                known = self._queries[key] = self._threads.submit(made, image, QUERY_KEYPOINTS, key[2], key[1])
            return known

    def _comparing(self, searcher: Searcher, image: bytes, job: OpenJob, facts: Facts) -> Comparing:
        bounds = Bounds(self._settings.verify_seconds, self._side_by_side, LONG_AFTER)
        own, threads = (lambda: self._own(image, job)), self._threads
        return Comparing(own, image, facts, self._features, job, threads, bounds, searcher.alike)

    def _facts_of(self, searcher: Searcher) -> Facts:
        with self._lock:
            return self._facts.setdefault(searcher, Facts(searcher.filters.metadata))


def _key(image: bytes, job: OpenJob) -> tuple[bytes, str, int]:
    """What the features of a query's image depend on: its bytes, how it is decoded, and how large it may be."""
    how = decode_of(job.manifest.model)
    return hashlib.blake2b(image, digest_size=32).digest(), how, job.manifest.max_image_pixels


_VECTOR: Final = "There is no image of the query to compare, only its vector: search with the image itself."
