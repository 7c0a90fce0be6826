"""Deleted images of which a compaction left nothing, known by a key of their path and the SHA-256 of their bytes."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from coordinator.jobs.source.facts import Facts
from coordinator.jobs.source.keys import key_of
from coordinator.jobs.source.looked_at import LookedAt
from coordinator.sources.listing import ListedImage
from shared.errors import ImageError
from shared.images.location import read_bytes
from shared.images.paths import is_url, to_os_path
from shared.job import path_list
from shared.job.changes.log import NOTHING_LEFT_OUT, Ids, LeftOut, read_changes, read_left_out
from shared.job.manifest import Partition
from shared.job.opened import OpenJob


def left_out_of(job: OpenJob, partitions: Iterable[Partition]) -> LeftOut:
    """What is to be known of the deleted images in sealed partitions, once nothing else of them is there.

    Of the bytes of an image that failed nothing is known: in the place of their SHA-256 are three zeros, and the time
    up to which the file was so, in nanoseconds since the epoch. Raises CorruptFile for a path list that can't be read.
    """
    rows = []
    for partition in partitions:
        deleted = _between(job.state.deleted, partition)
        deleted = np.setdiff1d(deleted, job.state.purged_in(partition.start, partition.stop))
        if not len(deleted):
            continue
        facts, paths = Facts(job, partition), path_list.read_paths(job, partition)
        for image_id in deleted.tolist():
            digest = facts.sha256(image_id)
            words = [0, 0, 0, max(0, facts.failed_until_ns(image_id))]
            if digest is not None:
                words = np.frombuffer(bytes.fromhex(digest), "<u8").tolist()
            rows.append([image_id, key_of(paths[image_id - partition.start]), *words])
    return np.array(rows, np.uint64) if rows else NOTHING_LEFT_OUT


def _between(ids: Ids, partition: Partition) -> Ids:
    first, last = np.searchsorted(ids, [partition.start, partition.stop]).tolist()
    return ids[first:last]


class LeftOutFiles:
    """The files of a source that are those of deleted images of which nothing else is left in a job."""

    def __init__(self, job: OpenJob, looked_at: LookedAt) -> None:
        """Raises CorruptFile for a change that is not what was written."""
        self._job, self._looked_at = job, looked_at
        changes = read_changes(job) if len(job.state.purged) else []
        rows = np.concatenate([NOTHING_LEFT_OUT, *(read_left_out(job, change) for change in changes)])
        self._known: dict[int, list[tuple[int, bytes]]] = {}
        for image_id, key, *words in rows.tolist():
            self._known.setdefault(key, []).append((image_id, np.array(words, "<u8").tobytes()))

    def has(self, image: ListedImage, listed: str) -> bool:
        """Whether an image, which the job would list as `listed`, is a deleted one with the same bytes.

        One that can't be read is none: its error is to be seen.
        """
        known = self._known.get(key_of(listed)) if self._known else None
        if not known:
            return False
        found = None
        if image.member is None and not is_url(image.path):
            try:
                found = os.stat(to_os_path(image.path))
            except (OSError, ValueError):
                return False
            if any(self._looked_at.knows(image_id, found) or _has_failed(theirs, found) for image_id, theirs in known):
                return True
        try:
            data = read_bytes(image.path, self._job.manifest.max_image_bytes, image.member)
        except ImageError:
            return False
        digest = hashlib.sha256(data).digest()
        ids = [image_id for image_id, theirs in known if theirs == digest]
        if ids and found is not None:
            self._looked_at.add(ids[0], found)
        return bool(ids)


def _has_failed(digest: bytes, found: os.stat_result) -> bool:
    """Whether what is known of a file is that it failed, and it was not changed since."""
    *zeros, until = np.frombuffer(digest, "<u8").tolist()
    return not any(zeros) and found.st_ctime_ns <= until
