"""Compare the picture of one query with those of its candidates, in as many passes as its answer takes."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from time import monotonic

from shared.job.opened import OpenJob
from shared.messages.search import Hit
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import SECONDS, Verified
from workers.search.cascade.facts import Facts
from workers.search.cascade.features import CandidateFeatures
from workers.search.cascade.verification import Bounds, verify_candidates
from workers.search.cascade.views import Alike
from workers.verify.features import LocalFeatures
from workers.verify.pixels import View, same_pixels, view_of
from workers.verify.same_picture import verify


class Comparing:
    """One query that is compared with its candidates, each of them once, within one bound of time for all passes."""

    def __init__(
        self,
        own: Callable[[], Future[LocalFeatures]],
        image: bytes,
        facts: Facts,
        features: CandidateFeatures,
        job: OpenJob,
        threads: Executor,
        bounds: Bounds,
        alike: Alike,
    ) -> None:
        """`own` begins to make the features of the query's `image`; it is called when the first candidate comes."""
        self._begin, self._image, self._facts, self._features, self._job = own, image, facts, features, job
        self._threads, self._bounds, self._left, self._alike = threads, bounds, bounds.seconds, alike
        self._own: Future[LocalFeatures] | None = None
        self._view: View | None = None
        self._sha256 = ""
        self._candidates: set[int] = set()
        self._unread: set[int] = set()
        self._judged: dict[int, Hit] = {}

    def of(self, hit: Hit) -> Hit:
        """The hit with its verdict, if it was compared."""
        known = self._judged.get(hit.id)
        return hit if known is None else replace(hit, verdict=known.verdict, evidence=known.evidence)

    def compared(
        self, candidates: Sequence[Hit], told: Verified, *, after: int, began: float | None = None
    ) -> Verified:
        """Compare candidates; what was compared by this pass and by those before, which `told` says.

        It ends early as `Bounds` says of `after`. `began` is as in `verify_candidates`.
        """
        began = monotonic() if began is None else began
        if self._own is None:
            self._own, self._sha256 = self._begin(), hashlib.sha256(self._image).hexdigest()
        left = replace(self._bounds, seconds=self._left, after=after)
        judged, unread, found = verify_candidates(candidates, self._judge, self._threads, left, self._alike, began)
        self._left -= monotonic() - began
        self._judged |= judged
        self._unread |= unread
        self._candidates |= {hit.id for hit in candidates}
        told = replace(told.and_of(found), candidates=len(self._candidates))
        return replace(told, reason=None if self._judged else self._why_none(told))

    def left(self, hits: Sequence[Hit], told: Verified) -> Sequence[Hit]:
        """Those of the hits that can still be compared: none where time was up, or the query itself can't be."""
        if told.ended == SECONDS or self._failed() is not None:
            return []
        return [hit for hit in hits if hit.id not in self._judged and hit.id not in self._unread]

    def _judge(self, hit: Hit) -> Hit:
        """The candidate with its verdict; raises LookalikeError or OSError where it can't be compared."""
        assert self._own is not None
        fact = self._facts.of(hit.id)
        if fact.sha256 == self._sha256:
            return replace(hit, verdict=SAME_BYTES)
        theirs = self._features.of(self._job, hit, fact)
        own = self._own.result()
        self._view = self._view or view_of(own)
        if (evidence := same_pixels(self._view, theirs)) is not None:
            return replace(hit, verdict=SAME_PIXELS, evidence=evidence)
        if (evidence := verify(own, theirs)) is not None:
            return replace(hit, verdict=SAME_PICTURE, evidence=evidence)
        return replace(hit, verdict=SIMILAR)

    def _failed(self) -> BaseException | None:
        return self._own.exception() if self._own is not None and self._own.done() else None

    def _why_none(self, told: Verified) -> str | None:
        """Why none of the candidates was compared; None where that is not known yet."""
        if (error := self._failed()) is not None:
            return f"The query can't be compared: {error}"
        if not told.unread:
            return None
        if told.unread == 1:
            return f"The nearest image can't be compared by the query worker: {told.why_unread}"
        return f"The query worker can compare none of the {told.unread:,} nearest images; the first: {told.why_unread}"
