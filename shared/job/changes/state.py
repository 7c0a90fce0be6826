"""The state of a job: what its manifest listed, and what its changes added and removed since."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import CorruptFile
from shared.job.changes.log import ADD, UPDATE, Change, Ids
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Partition
from shared.job.source.files import FileState

_NONE: Final[Ids] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a job holds after its change `number`, 0 for one that was never changed.

    `partitions` are those of the manifest and then those that changes added; the ids go on from one to the next.
    `removed` is int64 [n], ascending: the images that no answer names any more. `archives` are the archives of the
    source that changes listed, or compared anew, as they were last. `named` are the ids of images that were added one
    by one, whether they are in the source or not.
    """

    number: int
    partitions: Sequence[Partition]
    removed: Ids
    archives: Mapping[str, FileState] = field(default_factory=dict)
    named: Sequence[range] = ()

    @property
    def listed(self) -> int:
        """How many images were listed, those that were removed since among them: no id is given twice."""
        return self.partitions[-1].stop

    def partition_of(self, image_id: int) -> Partition:
        """The partition of an image id; raises IndexError for one that was never given."""
        if not 0 <= image_id < self.listed:
            raise IndexError(f"The job has the image ids 0 to {self.listed - 1}, not {image_id}.")
        return self.partitions[bisect_right(self.partitions, image_id, key=lambda one: one.start) - 1]

    def is_removed(self, image_id: int) -> bool:
        """Whether an image was removed."""
        place = int(np.searchsorted(self.removed, image_id))
        return place < len(self.removed) and int(self.removed[place]) == image_id

    def after(self, job: JobDir, change: Change) -> "State":
        """The state that the next change leads to.

        Raises CorruptFile when it does not fit: a partition that does not begin where the one before it ends, or an id
        that is removed twice, or was never given.
        """
        partitions = list(self.partitions)
        for partition in change.partitions:
            last = partitions[-1]
            if (partition.number, partition.start) != (last.number + 1, last.stop) or partition.stop <= last.stop:
                raise _misfit(job, change, f"it adds {partition} behind {last}")
            partitions.append(partition)
        removed = self.removed
        if len(change.removed):
            if change.removed[0] < 0 or change.removed[-1] >= partitions[-1].stop:
                raise _misfit(job, change, f"it removes an id beyond the {partitions[-1].stop:,} that were given")
            removed = np.union1d(removed, change.removed)
            if len(removed) != len(self.removed) + len(change.removed):
                raise _misfit(job, change, "it removes an id that was removed before")
        named = self.named
        if change.action in (ADD, UPDATE) and change.partitions:
            named = _joined(named, range(self.listed, partitions[-1].stop))
        return State(change.number, tuple(partitions), removed, {**self.archives, **change.archives}, named)

    def were_named(self, ids: Ids) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which of `ids`, int64 [n], are of images that were added one by one: bool [n]."""
        bounds = np.array([bound for some in self.named for bound in (some.start, some.stop)], np.int64)
        named: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.searchsorted(bounds, ids, side="right") % 2 == 1
        return named

    def lacks(self, ids: Ids) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which of `ids`, int64 [n], were removed: bool [n]."""
        return np.isin(ids, self.removed)


def state_of(job: JobDir, manifest: Manifest, changes: Sequence[Change]) -> State:
    """What `changes`, all of them in order, made of the job of `manifest`; raises as `State.after` does."""
    state = State(0, tuple(manifest.partitions), _NONE)
    for change in changes:
        state = state.after(job, change)
    return state


def _joined(named: Sequence[range], more: range) -> Sequence[range]:
    if named and named[-1].stop == more.start:
        return (*named[:-1], range(named[-1].start, more.stop))
    return (*named, more)


def _misfit(job: JobDir, change: Change, what: str) -> CorruptFile:
    return CorruptFile(
        f"{job.change(change.number)} does not fit what the job held before ({what}): restore it from a copy."
    )
