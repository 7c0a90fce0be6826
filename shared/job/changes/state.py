"""The state of a job: what its manifest listed, and what its changes added and removed since."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import CorruptFile
from shared.job.changes.log import Change, Ids
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Partition, Source
from shared.job.source.files import FileState

_NONE: Final[Ids] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class AddedSource:
    """A source that came to a job after it was made, whose images were listed then with the ids [start, stop)."""

    source: Source
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a job holds after its change `number`, 0 for one that was never changed.

    `partitions` are those of the manifest and then those that changes added; the ids go on from one to the next.
    `removed` is int64 [n], ascending: the images that no answer names any more. `archives` are the archives of the
    source that changes listed, or compared anew, as they were last. `added` are the sources that changes added, which
    have the numbers from 1; `listed_in` says from which id on images were listed in the source of which number, up to
    the next such id.
    """

    number: int
    partitions: Sequence[Partition]
    removed: Ids
    archives: Mapping[str, FileState] = field(default_factory=dict)
    added: Sequence[AddedSource] = ()
    listed_in: Sequence[tuple[int, int]] = ((0, 0),)

    @property
    def listed(self) -> int:
        """How many images were listed, those that were removed since among them: no id is given twice."""
        return self.partitions[-1].stop

    def partition_of(self, image_id: int) -> Partition:
        """The partition of an image id; raises IndexError for one that was never given."""
        if not 0 <= image_id < self.listed:
            raise IndexError(f"The job has the image ids 0 to {self.listed - 1}, not {image_id}.")
        return self.partitions[bisect_right(self.partitions, image_id, key=lambda one: one.start) - 1]

    def source_of(self, image_id: int) -> int:
        """The number of the source that an image was listed in: 0 for that of the manifest."""
        return self.listed_in[bisect_right(self.listed_in, image_id, key=lambda one: one[0]) - 1][1]

    def are_of(self, ids: Ids, source: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which of `ids`, int64 [n], were listed in the source of this number: bool [n]."""
        starts, sources = np.array(self.listed_in, np.int64).T
        found: np.ndarray[tuple[int], np.dtype[np.bool_]]
        found = sources[np.searchsorted(starts, ids, "right") - 1] == source
        return found

    def is_removed(self, image_id: int) -> bool:
        """Whether an image was removed."""
        place = int(np.searchsorted(self.removed, image_id))
        return place < len(self.removed) and int(self.removed[place]) == image_id

    def after(self, job: JobDir, change: Change) -> "State":
        """The state that the next change leads to.

        Raises CorruptFile when it does not fit: a partition that does not begin where the one before it ends, an id
        that is removed twice, or was never given, or a source that the job does not have.
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
        archives = {**self.archives, **change.archives}
        added, listed_in = self._sources(job, change)
        return State(change.number, tuple(partitions), removed, archives, added, listed_in)

    def _sources(self, job: JobDir, change: Change) -> tuple[Sequence[AddedSource], Sequence[tuple[int, int]]]:
        """`added` and `listed_in` after a change; raises as `after`."""
        added, listed_in = self.added, self.listed_in
        if change.adds is not None:
            if change.source != len(added) + 1 or not change.partitions:
                raise _misfit(job, change, f"it adds source {change.source} behind {len(added)}")
            added = (*added, AddedSource(change.adds, self.listed, change.partitions[-1].stop))
        if not 0 <= change.source <= len(added):
            raise _misfit(job, change, f"it is of source {change.source}, and the job has 0 to {len(added)}")
        if change.partitions and listed_in[-1][1] != change.source:
            listed_in = (*listed_in, (self.listed, change.source))
        return added, listed_in

    def lacks(self, ids: Ids) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which of `ids`, int64 [n], were removed: bool [n]."""
        return np.isin(ids, self.removed)


def state_of(job: JobDir, manifest: Manifest, changes: Sequence[Change]) -> State:
    """What `changes`, all of them in order, made of the job of `manifest`; raises as `State.after` does."""
    state = State(0, tuple(manifest.partitions), _NONE)
    for change in changes:
        state = state.after(job, change)
    return state


def _misfit(job: JobDir, change: Change, what: str) -> CorruptFile:
    return CorruptFile(
        f"{job.change(change.number)} does not fit what the job held before ({what}): restore it from a copy."
    )
