"""An open job: its directory together with what its manifest and its changes say, which were read once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.job.changes.log import Ids, read_changes
from shared.job.changes.state import State, state_of
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Manifest, Partition, Source, load_manifest
from shared.job.source.files import FileState, read_source_files


@dataclass(frozen=True, slots=True, eq=False)
class OpenJob(JobDir):
    """The directory of a job that exists, its manifest, which never changes, and its state when it was opened."""

    manifest: Manifest
    state: State

    @property
    def listed(self) -> int:
        """How many images were listed, those that were removed since among them."""
        return self.state.listed

    @property
    def partitions(self) -> Sequence[Partition]:
        """All partitions in order; together they hold each image id from 0 to `listed` once."""
        return self.state.partitions

    @property
    def partition_count(self) -> int:
        return len(self.state.partitions)

    def holds(self, number: int) -> bool:
        """Whether the job has a partition `number`: none that is to come, and none that a compaction replaced."""
        return self.state.holds(number)

    def partition(self, number: int) -> Partition:
        """Partition `number`; raises IndexError when the job has none of that number."""
        return self.state.partition(number)

    def next_number(self) -> int:
        """The number of the next partition that a change adds.

        It is above each that was given, and above that of each seal that is there: one that was killed before its
        change was written left files of a partition that is none, and no other may take them for its own.
        """
        return max(self.state.next_number, *(number + 1 for number in self.sealed_numbers()), 0)

    def sealed(self) -> list[int]:
        """Numbers of the partitions that are sealed, in the order of their ids, as far as the listing shows them."""
        found = set(self.sealed_numbers())
        return [one.number for one in self.partitions if one.number in found]

    def partition_of(self, image_id: int) -> Partition:
        """The partition of an image id; raises IndexError for one that was never given."""
        return self.state.partition_of(image_id)

    @property
    def sources(self) -> Sequence[Source]:
        """The source that the job was made from, and those that were added since, by their numbers."""
        return (self.manifest.source, *(one.source for one in self.state.added))

    def source_of(self, image_id: int) -> Source:
        """The source that an image was listed in."""
        return self.sources[self.state.source_of(image_id)]

    def renewed(self) -> "OpenJob":
        """The job as it is now: itself, unless a change came since it was opened. Raises as `read_changes` does."""
        return open_job(self) if self.change(self.state.number + 1).is_file() else self

    def kept(self, partition: Partition, source: int | None = None) -> Ids:
        """The image ids of a partition that were not removed, int64 [n] in order; of one source only if that is given
        by its number.
        """
        ids = np.arange(partition.start, partition.stop)
        wanted = ~self.state.lacks(ids)
        if source is not None and (source or self.state.added):
            wanted &= self.state.are_of(ids, source)
        kept: Ids = ids[wanted]
        return kept

    def live(self, partition: Partition) -> int:
        """How many ids of a partition have a row in its files once it is sealed: all but those that were purged."""
        return len(partition) - len(self.state.purged_in(partition.start, partition.stop))

    def archives(self) -> dict[str, FileState]:
        """What the archives of the source were when they were listed or compared last, by the path as it was listed.

        Raises as `read_source_files` does.
        """
        return read_source_files(self) | dict(self.state.archives)

    def chunks(self, partition: Partition) -> list[Chunk]:
        """The chunks of a partition in order."""
        return partition.chunks(self.manifest.chunk_size)


def open_job(job: JobDir) -> OpenJob:
    """Read the manifest and the changes of `job`. Raises as `load_manifest` and `read_changes` do."""
    manifest = load_manifest(job)
    return OpenJob(job.path, manifest, state_of(job, manifest, read_changes(job)))


def with_manifest(job: JobDir, manifest: Manifest) -> OpenJob:
    """A job that was never changed, of this manifest."""
    return OpenJob(job.path, manifest, state_of(job, manifest, ()))
