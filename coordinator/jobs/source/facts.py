"""What a sealed partition has written down of the files of its images: how large they were, and when they were read."""

from bisect import bisect_right
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.job.changes.replaced import FailedUntil
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from shared.storage.parquet import read_table

UNKNOWN: Final = -1
"""The size of a failed image: nothing is written down of its file."""
# Seconds by which the clocks of two file systems may differ.
_MARGIN: Final = 5.0
# Clocks of a machine and of its file systems tell the time in steps of their own.
_TICK: Final = 1.0


class Facts:
    """What a sealed partition has written down of its images; without a seal, nothing is `known`.

    What was changed up to `began_ns` was read as it is now.
    """

    def __init__(self, job: OpenJob, partition: Partition) -> None:
        self._start = partition.start
        self.known = ledger.is_sealed(job, partition.number)
        self._sizes: NDArray[np.int64] = np.full(len(partition), UNKNOWN, np.int64)
        self.began_ns = 0.0
        self._failed: FailedUntil = ((partition.start, 0.0),)
        if not self.known:
            return
        began, self._failed = read_at(job, ledger.read_seal(job, partition.number))
        self.began_ns = (began - _MARGIN) * 1e9
        table = read_table(job.metadata(partition.number), ["id", "bytes", "sha256"])
        self._ids = table["id"].to_numpy()
        self._sizes[self._ids - partition.start] = table["bytes"].fill_null(UNKNOWN).to_numpy()
        self._sha256 = table["sha256"].combine_chunks()

    def size(self, image_id: int) -> int:
        """The bytes of the image's file, -1 for a failed image: nothing is written down of its file."""
        return int(self._sizes[image_id - self._start])

    def failed_until_ns(self, image_id: int) -> int:
        """Up to when an image that failed was as it was read, in nanoseconds since the epoch; 0 without a seal."""
        place = bisect_right(self._failed, image_id, key=itemgetter(0)) - 1
        return int(self._failed[place][1] * 1e9)

    def sha256(self, image_id: int) -> str | None:
        """The SHA-256 of the image's file, None for a failed image."""
        if not self.known:
            return None
        place = int(np.searchsorted(self._ids, image_id))
        if place == len(self._ids) or self._ids[place] != image_id:
            return None
        digest: str | None = self._sha256[place].as_py()
        return digest


def read_at(job: OpenJob, seal: Seal) -> tuple[float, FailedUntil]:
    """From when on images of a sealed partition were read, 0 if that is unknown, and up to when failed ones were so.

    Both are seconds since the epoch. A compaction copies rows, and keeps the times of the partitions that it replaced.
    """
    replaced = job.state.replaced(seal.partition)
    if replaced is not None:
        return replaced.began, replaced.failed
    began = _began(job, seal)
    return began, ((seal.start, began or seal.sealed_at),)


def _began(job: OpenJob, seal: Seal) -> float:
    """When the first image of a sealed partition can have been read, in seconds since the epoch; 0 if that is unknown.

    The path list was written before, and the seal says how long the work took without the pauses. Where the list is
    younger than that, the job is a copy, or the list was written again: its time tells nothing.
    """
    written = job.paths(seal.partition).stat().st_mtime
    return written if written <= seal.sealed_at - seal.seconds + _TICK else 0.0
