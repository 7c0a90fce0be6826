"""Get the local features of a candidate: from the cache, as its job stores them, or of its decoded image."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from cachetools import LRUCache

from shared.errors import ImageError
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.images.paths import shown_path, split_member
from shared.job import path_list
from shared.job.bundle.thumbnails import read_thumbnail
from shared.job.opened import OpenJob
from shared.messages.search import Hit
from workers.search.cascade.facts import Fact
from workers.search.decoding.pictures import at_size, decode_of
from workers.search.decoding.processes import DecodingProcesses
from workers.verify.features import STORED_KEYPOINTS, LocalFeatures

Stored: TypeAlias = Callable[[OpenJob, int, str | None], LocalFeatures | None]
"""The features that a job stores of an image of these bytes, by their SHA-256, whatever its bytes where that is None;
None where it stores none."""

_MEMBERS_BYTES: Final = 32 << 20


class CandidateFeatures:
    """The local features of the images of jobs. Several threads may ask at once.

    They are always those of the image that was embedded: an image that was changed since has none, unless its features
    were read before, or are stored in the job.
    """

    def __init__(
        self, decoders: DecodingProcesses, most_bytes: int, stored: Stored = lambda job, image_id, sha256: None
    ) -> None:
        """`most_bytes` bounds those that are cached; 0 caches none."""
        self._decoders, self._stored = decoders, stored
        self._cache: LRUCache[tuple[Path, int, str | None], LocalFeatures] = LRUCache(most_bytes, getsizeof=_size)
        self._members: LRUCache[tuple[Path, str, int], path_list.Members] = LRUCache(
            _MEMBERS_BYTES, getsizeof=lambda members: members.nbytes + 100
        )
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
        try:
            data = read_bytes(hit.image_path, job.manifest.max_image_bytes, self._member(job, hit))
            if fact.sha256 not in (None, hashlib.sha256(data).hexdigest()):
                raise ImageError(
                    f"{shown_path(hit.image_path)} is another image by now than the one that was embedded.", "changed"
                )
        except ImageError as error:
            if job.manifest.bundle is None:
                raise _of(hit, error) from None
            try:
                data = read_thumbnail(job, job.partition_of(hit.id).number, hit.id)
            except ImageError as none:
                raise _of(hit, ImageError(f"{error} {none}", error.status)) from None
            found = self._decoders.features(data, STORED_KEYPOINTS, most, how)
            return at_size(found, fact.width, fact.height) if fact.width and fact.height else found
        try:
            return self._decoders.features(data, STORED_KEYPOINTS, most, how)
        except ImageError as error:
            raise _of(hit, error) from None

    def _member(self, job: OpenJob, hit: Hit) -> Member | None:
        """The place of an image in its archive, as its job knows it: archives need not be searched for it."""
        if split_member(hit.image_path) is None:
            return None
        partition = job.partition_of(hit.id)
        key = job.path, job.manifest.identity, partition.number
        with self._lock:
            members = self._members.get(key)
        if members is None:
            members = path_list.read_members(job, partition)
            if members.nbytes + 100 <= _MEMBERS_BYTES:
                with self._lock:
                    self._members[key] = members
        return members.of(hit.id)


def _of(hit: Hit, error: ImageError) -> ImageError:
    """The error of an image with its path in it."""
    path = shown_path(hit.image_path)
    return error if path in str(error) else ImageError(f"{path}: {error}", error.status)


def _size(features: LocalFeatures) -> int:
    return features.points.nbytes + features.bits.nbytes + features.grey.nbytes + 200
