"""Read the image of a candidate where it is, as it was embedded, or else the thumbnail of a bundle."""

import hashlib
import threading
from pathlib import Path
from typing import Final, NamedTuple

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

_MEMBERS_BYTES: Final = 32 << 20


class CandidateImage(NamedTuple):
    """The bytes of an image, or of the thumbnail that a bundle has of it."""

    data: bytes
    is_thumbnail: bool


class CandidateImages:
    """The images of jobs; several threads may ask at once."""

    def __init__(self) -> None:
        self._members: LRUCache[tuple[Path, str, int], path_list.Members] = LRUCache(
            _MEMBERS_BYTES, getsizeof=lambda members: members.nbytes + 100
        )
        self._lock = threading.Lock()

    def of(self, job: OpenJob, hit: Hit, fact: Fact) -> CandidateImage:
        """The image of a hit; raises ImageError where it can't be read, or is not the one that was embedded."""
        try:
            data = read_bytes(hit.image_path, job.manifest.max_image_bytes, self._member(job, hit))
            if fact.sha256 not in (None, hashlib.sha256(data).hexdigest()):
                raise ImageError(
                    f"{shown_path(hit.image_path)} is another image by now than the one that was embedded.", "changed"
                )
            return CandidateImage(data, False)
        except ImageError as error:
            if job.manifest.bundle is None:
                raise named(hit, error) from None
            try:
                return CandidateImage(read_thumbnail(job, job.partition_of(hit.id).number, hit.id), True)
            except ImageError as none:
                raise named(hit, ImageError(f"{error} {none}", error.status)) from None

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


def named(hit: Hit, error: ImageError) -> ImageError:
    """The error of an image with its path in it."""
    path = shown_path(hit.image_path)
    return error if path in str(error) else ImageError(f"{path}: {error}", error.status)
