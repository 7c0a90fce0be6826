"""Get the local features of a candidate: from the cache, as its job stores them, or of its decoded image."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cachetools import LRUCache

from shared.errors import ImageError
from shared.job.opened import OpenJob
from shared.messages.search import Hit
from workers.search.cascade.facts import Fact
from workers.search.cascade.images import CandidateImages, named
from workers.search.decoding.pictures import at_size, decode_of
from workers.search.decoding.processes import DecodingProcesses
from workers.verify.features import STORED_KEYPOINTS, LocalFeatures

Stored: TypeAlias = Callable[[OpenJob, int, str | None], LocalFeatures | None]
"""The features that a job stores of an image of these bytes, by their SHA-256, whatever its bytes where that is None;
None where it stores none."""


class CandidateFeatures:
    """The local features of the images of jobs. Several threads may ask at once.

    They are always those of the image that was embedded: an image that was changed since has none, unless its features
    were read before, or are stored in the job.
    """

    def __init__(
        self,
        decoders: DecodingProcesses,
        most_bytes: int,
        stored: Stored = lambda job, image_id, sha256: None,
        images: CandidateImages | None = None,
    ) -> None:
        """`most_bytes` bounds those that are cached; 0 caches none. `images` are read where none are stored."""
        self._decoders, self._stored = decoders, stored
        self._cache: LRUCache[tuple[Path, int, str | None], LocalFeatures] = LRUCache(most_bytes, getsizeof=_size)
        self._images = images or CandidateImages()
        self._lock = threading.Lock()

    def of(self, job: OpenJob, hit: Hit, fact: Fact) -> LocalFeatures:
        """The features of the image of a hit, in pixels of that image.

        Raises ImageError where it can't be read or decoded, and for a file that is not the one that was embedded;
        CorruptFile for a damaged file of the job.
        """
        # A copy of a job has its identity, and what came to each since may have one id.
        key = job.path, hit.id, fact.sha256
        with self._lock:
            if (known := self._cache.get(key)) is not None:
                return known
        found = self._stored(job, hit.id, fact.sha256) or self._decoded(job, hit, fact)
        if _size(found) <= self._cache.maxsize:
            with self._lock:
                self._cache[key] = found
        return found

    def _decoded(self, job: OpenJob, hit: Hit, fact: Fact) -> LocalFeatures:
        most, how = job.manifest.max_image_pixels, decode_of(job.manifest.model)
        found = self._images.of(job, hit, fact)
        try:
            made = self._decoders.features(found.data, STORED_KEYPOINTS, most, how)
        except ImageError as error:
            raise named(hit, error) from None
        if found.is_thumbnail and fact.width and fact.height:
            return at_size(made, fact.width, fact.height)
        return made


def _size(features: LocalFeatures) -> int:
    return features.points.nbytes + features.bits.nbytes + features.grey.nbytes + 200
