"""Verify the hits of queries: which candidates are compared, with what, and in which order the hits come then."""

import hashlib
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from cachetools import LRUCache

from shared.job.opened import OpenJob
from shared.messages.query import Query
from shared.messages.search import MAX_K, Hit, SearchJob
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import ALL, ALWAYS, AUTO, FAR, NEVER, Verified, best_first
from shared.settings import Settings
from workers.search.cascade.chance import with_chances
from workers.search.cascade.facts import Facts
from workers.search.cascade.features import CandidateFeatures, Stored
from workers.search.cascade.nearness import RANKS, near
from workers.search.cascade.verification import Bounds, verify_candidates
from workers.search.cascade.views import ranked
from workers.search.decoding.pictures import decode_of
from workers.search.decoding.processes import DecodingProcesses
from workers.search.searcher import Searcher
from workers.verify.features import QUERY_KEYPOINTS, LocalFeatures
from workers.verify.pixels import same_pixels
from workers.verify.same_picture import verify

_QUERIES_KEPT: Final = 64


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
        self._features = CandidateFeatures(decoders, settings.verify_cache_bytes, stored)
        self._queries: LRUCache[tuple[bytes, str, int], LocalFeatures] = LRUCache(_QUERIES_KEPT)
        self._facts: weakref.WeakKeyDictionary[Searcher, Facts] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(side_by_side, thread_name_prefix="verify")

    def close(self) -> None:
        """End its threads, when what they do now is done."""
        self._threads.shutdown(cancel_futures=True)

    def depth(self, message: SearchJob) -> int:
        """How many hits of each view have to be found for the answer to a message."""
        if message.verify.how == NEVER:
            return message.k
        most = self._settings.verify_candidates if message.verify.how == ALWAYS else 0
        return min(MAX_K, max(message.k, RANKS, most))

    def verified(
        self, searcher: Searcher, job: OpenJob, query: Query, hits: Sequence[Hit], message: SearchJob
    ) -> tuple[list[Hit], Verified | None]:
        """The first `message.k` of the hits of a query, the proven ones before the others, and what was compared.

        `hits` are as many as `depth` says, in the order of their similarity. Nothing is raised for what can't be
        compared: the second part says it. It is None where nothing was to be verified.
        """
        if message.verify.how == NEVER:
            return list(hits), None
        began = time.monotonic()
        candidates = list(hits[: self._settings.verify_candidates])
        if message.verify.how == AUTO:
            candidates = candidates[: near([hit.similarity for hit in hits])]
        if query.image is None and candidates:
            return ranked(hits, message.k), Verified(len(candidates), reason=_VECTOR)
        if query.image is None or not candidates:
            told = Verified(ended=FAR if hits else ALL)
            if query.image is not None:
                _, told = with_chances(searcher, hits, hits, told, message)
            return ranked(hits, message.k), told
        comparing = _Comparing(self._own(query.image, job), query.image, self._facts_of(searcher), self._features, job)
        early = message.verify.how == AUTO
        bounds = Bounds(self._settings.verify_seconds, self._side_by_side, early)
        judged, told = verify_candidates(candidates, comparing.judged, self._threads, bounds, began)
        if early and told.ended == ALL and len(candidates) < len(hits):
            told = replace(told, ended=FAR)
        if not judged and (reason := comparing.reason(told)) is not None:
            told = replace(told, reason=reason)
        every = best_first(judged.get(hit.id, hit) for hit in hits)
        found, told = with_chances(searcher, hits, every, told, message)
        return ranked(found, message.k), told

    def _own(self, image: bytes, job: OpenJob) -> Future[LocalFeatures]:
        """The features of a query's image, which are being made. Before its candidates: those wait for them."""
        most, how = job.manifest.max_image_pixels, decode_of(job.manifest.model)
        key = hashlib.blake2b(image, digest_size=32).digest(), how, most

        def made() -> LocalFeatures:
            with self._lock:
                if (known := self._queries.get(key)) is not None:
                    return known
            features = self._decoders.features(image, QUERY_KEYPOINTS, most, how)
            with self._lock:
                self._queries[key] = features
            return features

        return self._threads.submit(made)

    def _facts_of(self, searcher: Searcher) -> Facts:
        with self._lock:
            return self._facts.setdefault(searcher, Facts(searcher.filters.metadata))


class _Comparing:
    """One query that is compared with its candidates, from several threads."""

    def __init__(
        self, own: Future[LocalFeatures], image: bytes, facts: Facts, features: CandidateFeatures, job: OpenJob
    ) -> None:
        """`own` are the features of the query's `image`."""
        self._own, self._facts, self._features, self._job = own, facts, features, job
        self._sha256 = hashlib.sha256(image).hexdigest()

    def judged(self, hit: Hit) -> Hit:
        """The candidate with its verdict; raises LookalikeError or OSError where it can't be compared."""
        fact = self._facts.of(hit.id)
        if fact.sha256 == self._sha256:
            return replace(hit, verdict=SAME_BYTES)
        theirs = self._features.of(self._job, hit, fact)
        own = self._own.result()
        if (evidence := same_pixels(own, theirs)) is not None:
            return replace(hit, verdict=SAME_PIXELS, evidence=evidence)
        if (evidence := verify(own, theirs)) is not None:
            return replace(hit, verdict=SAME_PICTURE, evidence=evidence)
        return replace(hit, verdict=SIMILAR)

    def reason(self, told: Verified) -> str | None:
        """Why none of the candidates was compared; None where that is not known yet."""
        if self._own.done() and (error := self._own.exception()) is not None:
            return f"The query can't be compared: {error}"
        if not told.unread:
            return None
        if told.unread == 1:
            return f"The nearest image can't be compared by the query worker: {told.why_unread}"
        return f"The query worker can compare none of the {told.unread:,} nearest images; the first: {told.why_unread}"


_VECTOR: Final = "There is no image of the query to compare, only its vector: search with the image itself."
