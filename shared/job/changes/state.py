"""The state of a job: what its manifest listed, and what its changes added, removed and replaced since."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from shared.errors import CorruptFile
from shared.job.changes.log import ADD, DELETE, UPDATE, Change, Ids
from shared.job.changes.replaced import Replaced
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

    `partitions` are those of the manifest and those that changes added, or put in the place of others; the ids go on
    from one to the next, the numbers do not. `removed` is int64 [n], ascending: the images that no answer names any
    more; `deleted` are those among them that somebody took out, not the source, and `purged` those of which a
    compaction left nothing. `archives` are the archives of the source that changes listed, or compared anew, as they
    were last. `added` are the sources that changes added, which have the numbers from 1; `listed_in` says from which id
    on images were listed in the source of which number, up to the next such id. `named` are the ids of images that were
    added one by one, whether they are in a source or not. `next_number` is above each number that a partition has or
    had. `compactions` is what each of them replaced, in order.
    """

    number: int
    partitions: Sequence[Partition]
    removed: Ids
    deleted: Ids = field(default_factory=lambda: _NONE)
    archives: Mapping[str, FileState] = field(default_factory=dict)
    added: Sequence[AddedSource] = ()
    listed_in: Sequence[tuple[int, int]] = ((0, 0),)
    named: Sequence[range] = ()
    purged: Ids = field(default_factory=lambda: _NONE)
    next_number: int = 0
    compactions: Sequence[Sequence[Replaced]] = ()
    _by_number: dict[int, Partition] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_number", {one.number: one for one in self.partitions})

    @property
    def listed(self) -> int:
        """How many images were listed, those that were removed since among them: no id is given twice."""
        return self.partitions[-1].stop

    def holds(self, number: int) -> bool:
        """Whether there is a partition of that number: none that is to come, and none that was replaced."""
        return number in self._by_number

    def partition(self, number: int) -> Partition:
        """Partition `number`; raises IndexError when the job has none of that number."""
        if number not in self._by_number:
            numbers = [one.number for one in self.partitions]
            which = f"0 to {len(numbers) - 1}" if max(numbers) < len(numbers) else ", ".join(map(str, numbers))
            raise IndexError(f"The job has partitions {which}, not {number}.")
        return self._by_number[number]

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
        return _holds(self.removed, image_id)

    def is_purged(self, image_id: int) -> bool:
        """Whether nothing is left of an image that was removed."""
        return _holds(self.purged, image_id)

    def purged_in(self, start: int, stop: int) -> Ids:
        """The purged images among the ids from `start` to before `stop`, int64 ascending."""
        first, last = np.searchsorted(self.purged, [start, stop]).tolist()
        return self.purged[first:last]

    def replaced(self, number: int) -> Replaced | None:
        """What partition `number` took the place of; None for one that no compaction made."""
        every = (one for replaced in self.compactions for one in replaced)
        return next((one for one in every if one.partition.number == number), None)

    def after(self, job: JobDir, change: Change) -> "State":
        """The state that the next change leads to.

        Raises CorruptFile when it does not fit: a partition that does not begin where the one before it ends, that has
        a number which was given before, or replaces others than there are, an id that is removed twice, or was never
        given, or a source that the job does not have.
        """
        partitions, next_number = list(self.partitions), self.next_number
        purged = self.purged
        for replaced in change.replaced:
            new, former = replaced.partition, [one.partition for one in replaced.former]
            place = bisect_left(partitions, former[0].start, key=lambda one: one.start)
            fits = (new.start, new.stop) == (former[0].start, former[-1].stop) and new.number >= next_number
            if not fits or partitions[place : place + len(former)] != former:
                raise _misfit(job, change, f"it puts {new} in the place of {', '.join(map(str, former))}")
            partitions[place : place + len(former)] = [new]
            next_number = new.number + 1
            first, last = np.searchsorted(self.removed, [new.start, new.stop]).tolist()
            purged = np.union1d(purged, self.removed[first:last])
        for partition in change.partitions:
            last = partitions[-1]
            if partition.number < next_number or partition.start != last.stop or partition.stop <= last.stop:
                raise _misfit(job, change, f"it adds {partition} behind {last}")
            partitions.append(partition)
            next_number = partition.number + 1
        removed = self.removed
        if len(change.removed):
            if change.removed[0] < 0 or change.removed[-1] >= partitions[-1].stop:
                raise _misfit(job, change, f"it removes an id beyond the {partitions[-1].stop:,} that were given")
            removed = np.union1d(removed, change.removed)
            if len(removed) != len(self.removed) + len(change.removed):
                raise _misfit(job, change, "it removes an id that was removed before")
        took_out = change.action in (DELETE, UPDATE)
        deleted = np.union1d(self.deleted, change.removed) if took_out else self.deleted
        named = self.named
        if change.action in (ADD, UPDATE) and change.partitions:
            named = _joined(named, range(self.listed, partitions[-1].stop))
        added, listed_in = self._sources(job, change)
        return State(
            number=change.number,
            partitions=tuple(partitions),
            removed=removed,
            deleted=deleted,
            archives={**self.archives, **change.archives},
            added=added,
            listed_in=listed_in,
            named=named,
            purged=purged,
            next_number=next_number,
            compactions=(*self.compactions, change.replaced) if change.replaced else self.compactions,
        )

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
    state = State(0, tuple(manifest.partitions), _NONE, next_number=manifest.partition_count)
    for change in changes:
        state = state.after(job, change)
    return state


def _holds(ids: Ids, image_id: int) -> bool:
    place = int(np.searchsorted(ids, image_id))
    return place < len(ids) and int(ids[place]) == image_id


def _joined(named: Sequence[range], more: range) -> Sequence[range]:
    if named and named[-1].stop == more.start:
        return (*named[:-1], range(named[-1].start, more.stop))
    return (*named, more)


def _misfit(job: JobDir, change: Change, what: str) -> CorruptFile:
    return CorruptFile(
        f"{job.change(change.number)} does not fit what the job held before ({what}): restore it from a copy."
    )
