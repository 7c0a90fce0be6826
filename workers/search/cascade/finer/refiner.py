"""Compare the nearest images of a query by a finer model: read and embed those that are not cached, then fuse."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.errors import ImageError, LookalikeError
from shared.job.opened import OpenJob
from shared.messages.finer import Refined
from shared.messages.query import Query
from shared.messages.search import Hit, SearchJob
from shared.settings import Settings
from shared.vectors import unit
from workers.models.embedder import has_direction, no_direction
from workers.models.exports import home_of
from workers.search.cascade.facts import Fact, Facts
from workers.search.cascade.finer.embedding_cache import EmbeddingCache
from workers.search.cascade.finer.fusing import fused
from workers.search.cascade.finer.models import FinerModels, Model
from workers.search.cascade.images import CandidateImages, named
from workers.search.decoding.processes import DecodingProcesses

Floats = NDArray[np.float32]
_QUERIES_KEPT: Final = 64


class _Seen(NamedTuple):
    """An image that was read: the SHA-256 of its bytes, and either its embedding, as it is cached, or its square."""

    digest: str
    vector: Floats | None = None
    square: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class _Compared:
    """What is known of the candidates of one query: embeddings by image id, and why others have none."""

    vectors: dict[int, Floats] = field(default_factory=dict)
    unread: int = 0
    why: str | None = None

    def lacks(self, error: Exception) -> None:
        self.unread, self.why = self.unread + 1, self.why or str(error)


class Refiner:
    """Orders hits by finer models; one a process. Several threads may ask at once."""

    def __init__(
        self,
        settings: Settings,
        decoders: DecodingProcesses,
        threads: Executor,
        images: CandidateImages,
        models: FinerModels | None = None,
    ) -> None:
        """`images` are read and decoded by `threads`."""
        self._settings, self._decoders, self._threads, self._images = settings, decoders, threads, images
        self._models = models or FinerModels(settings)
        self._cache = EmbeddingCache(home_of(settings.cache_dir) / "finer", settings.finer_cache_bytes)
        self._queries: LRUCache[tuple[bytes, str, int], Floats] = LRUCache(_QUERIES_KEPT)
        self._lock = threading.Lock()
        self._embedding = threading.Lock()  # A call of the model uses all cores.

    def require(self, job: OpenJob, message: SearchJob) -> None:
        """Load the model of a message, if it asks for one; raises as `FinerModels.model` does."""
        if message.finer is not None:
            self._models.model(message.finer, job.manifest.model)

    def refined(
        self, job: OpenJob, query: Query, hits: Sequence[Hit], facts: Facts, message: SearchJob
    ) -> tuple[list[Hit], Refined | None]:
        """The hits with what the finer model says of the most similar of them, in no new order, and what it compared.

        `facts` are of the images of the hits. Nothing is raised for what can't be compared: the second part says it. It
        is None where no finer model is asked for.
        """
        if message.finer is None:
            return list(hits), None
        until = monotonic() + self._settings.finer_seconds
        model = self._models.model(message.finer, job.manifest.model)
        candidates = sorted(hits, key=lambda hit: (-hit.similarity, hit.id))[: self._settings.finer_candidates]
        told = Refined(model.spec.fingerprint, len(candidates))
        if query.image is None:
            return list(hits), replace(told, reason=_VECTOR)
        try:
            own = self._own(query.image, model, job, message.verify.views)
        except LookalikeError as error:
            return list(hits), replace(told, reason=f"The query can't be compared by the finer model: {error}")
        found = self._compared(job, candidates, facts, model, until)
        compared, unread = len(found.vectors), found.unread
        late = compared + unread < len(candidates)
        told = replace(told, compared=compared, unread=unread, why_unread=found.why, is_late=late)
        if not found.vectors:
            return list(hits), replace(told, reason=self._why_none(told))
        finer = [float(np.max(own @ found.vectors[hit.id])) if hit.id in found.vectors else None for hit in candidates]
        places = fused([hit.similarity for hit in candidates], finer)
        judged = {
            hit.id: replace(hit, finer=cosine, fused=float(place))
            for hit, cosine, place in zip(candidates, finer, places, strict=True)
        }
        return [judged.get(hit.id, hit) for hit in hits], told

    def _own(self, image: bytes, model: Model, job: OpenJob, views: int) -> Floats:
        """The embeddings of the views of a query, float32 [views, dim]; raises ImageError."""
        key = hashlib.blake2b(image, digest_size=32).digest(), model.spec.fingerprint, views
        with self._lock:
            known = self._queries.get(key)
        if known is None:
            size, most = model.spec.image_size, job.manifest.max_image_pixels
            squares = self._decoders.views(image, views, size, most, model.spec.decode)
            with self._embedding:
                vectors = model.embedder.embed(squares)
            good = has_direction(vectors)
            if not good[0]:
                raise no_direction()
            known = vectors[good]
            with self._lock:
                self._queries[key] = known
        return known

    def _compared(self, job: OpenJob, candidates: Sequence[Hit], facts: Facts, model: Model, until: float) -> _Compared:
        """The embeddings of the candidates: those that are cached, and the others in their order, a batch at a time."""
        found = _Compared()
        known: list[tuple[Hit, Fact]] = []
        for hit in candidates:
            try:
                known.append((hit, facts.of(hit.id)))
            except (LookalikeError, OSError) as error:
                found.lacks(error)
        fingerprint = model.spec.fingerprint
        cached = self._cache.get(fingerprint, [fact.sha256 for _, fact in known if fact.sha256 is not None])
        found.vectors |= {hit.id: cached[fact.sha256] for hit, fact in known if fact.sha256 in cached}
        missing = [one for one in known if one[0].id not in found.vectors]
        for batch in self._batches(job, missing, model):
            wait([future for _, future in batch], max(0.0, until - monotonic()))
            seen = []
            for hit, future in batch:
                try:
                    seen += [(hit, future.result())] if future.done() else []
                except (LookalikeError, OSError) as error:
                    found.lacks(error)
            self._embed(seen, model, found, until)
            if monotonic() >= until:
                for _, future in batch:
                    future.cancel()
                break
        return found

    def _batches(
        self, job: OpenJob, missing: Sequence[tuple[Hit, Fact]], model: Model
    ) -> Iterator[list[tuple[Hit, "Future[_Seen]"]]]:
        """Images that are being read, a batch of the model at a time, and always the next one meanwhile."""
        size = model.embedder.batch_size
        under_way: list[list[tuple[Hit, Future[_Seen]]]] = []
        try:
            for start in range(0, len(missing), size):
                under_way.append(
                    [
                        (hit, self._threads.submit(self._seen, job, hit, fact, model))
                        for hit, fact in missing[start : start + size]
                    ]
                )
                if len(under_way) > 1:
                    yield under_way.pop(0)
            while under_way:
                yield under_way.pop(0)
        finally:
            for batch in under_way:
                for _, future in batch:
                    future.cancel()

    def _seen(self, job: OpenJob, hit: Hit, fact: Fact, model: Model) -> _Seen:
        """The image of a candidate, read and decoded; raises ImageError or OSError."""
        image = self._images.of(job, hit, fact)
        digest = fact.sha256 if fact.sha256 is not None and not image.is_thumbnail else None
        if digest is None:
            digest = hashlib.sha256(image.data).hexdigest()
            known = self._cache.get(model.spec.fingerprint, [digest])
            if digest in known:
                return _Seen(digest, known[digest])
        size, most = model.spec.image_size, job.manifest.max_image_pixels
        try:
            return _Seen(digest, None, self._decoders.decode(image.data, size, most, model.spec.decode).pixels)
        except ImageError as error:
            raise named(hit, error) from None

    def _embed(self, seen: Sequence[tuple[Hit, _Seen]], model: Model, found: _Compared, until: float) -> None:
        """Embed images that were read, and cache what comes of it, unless the model is busy until the time is up."""
        found.vectors |= {hit.id: one.vector for hit, one in seen if one.vector is not None}
        fresh = [(hit, one.digest, one.square) for hit, one in seen if one.square is not None]
        if not fresh or not self._embedding.acquire(timeout=max(0.0, until - monotonic())):
            return
        try:
            vectors = model.embedder.embed(np.stack([square for _, _, square in fresh]))
        finally:
            self._embedding.release()
        made: dict[str, Floats] = {}
        for (hit, digest, _), vector, good in zip(fresh, vectors, has_direction(vectors), strict=True):
            if good:
                # As the cache has it, so that an answer is the same the next time.
                made[digest] = found.vectors[hit.id] = unit(vector.astype(np.float16)[None])[0]
            else:
                found.lacks(named(hit, no_direction()))
        self._cache.put(model.spec.fingerprint, made)

    def _why_none(self, told: Refined) -> str | None:
        if not told.candidates:
            return None
        if told.is_late:
            return (
                f"The finer model {told.model} compared no image within {self._settings.finer_seconds:g} s (the "
                "setting finer_seconds)."
            )
        if told.unread == 1:
            return f"The nearest image can't be compared by the finer model: {told.why_unread}"
        return f"The finer model can compare none of the {told.unread:,} nearest images; the first: {told.why_unread}"


_VECTOR: Final = "There is no image of the query for the finer model, only its vector: search with the image itself."
