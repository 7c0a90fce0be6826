"""Make the features of a sealed partition that lacks those its job wants, from its images; no model is needed."""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from shared.images.location import Location
from shared.job import path_list
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.features.files import FEATURES_COLUMN
from shared.job.partition.features.marker import features_of, remove_features, usable_features
from shared.job.partition.features.wanted import makes_features
from shared.job.source.moved import Moved, read_moved
from shared.processes.control import Control
from shared.processes.failpoints import failpoint
from shared.storage import files
from shared.storage.parquet import read_table
from workers.embed.partition import BATCHES_AHEAD, PartitionProgress, reading_threads
from workers.images.isolated import IsolatedReaders
from workers.images.reach import require_source
from workers.images.read import ReadImage
from workers.images.stream import stream_images

REMOVED: Final = "removed"
CHANGED: Final = "changed"
"""Why an image has no features: it was removed from the job, or its file has other bytes now than were embedded."""
_BLOCK: Final = 256
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class _Image:
    """An embedded image as the metadata has it."""

    id: int
    path: str
    sha256: str | None


@dataclass(slots=True)
class _Pass:
    """One pass over the images of a partition."""

    job: OpenJob
    partition: Partition
    control: Control[PartitionProgress]
    moved: Moved
    without: Counter[str] = field(default_factory=Counter)
    _equal: dict[str, bytes] = field(default_factory=dict)

    def blocks(self, images: list[_Image], threads: int) -> Iterator[pa.Table]:
        """The rows of the partition with their features, some at once."""
        locations = path_list.read_locations(self.job, self.partition, self.moved)
        manifest = self.job.manifest
        gone = set(self.job.state.removed.tolist())
        wanted = (manifest.model.image_size, manifest.max_image_pixels, manifest.max_image_bytes, manifest.model.decode)
        times = Counter(image.sha256 for image in images)
        # In processes of their own: an image that ends one costs only its features.
        with IsolatedReaders(*wanted, features=True) as readers:

            def read(_: int, image: _Image) -> ReadImage | None:
                if image.id in gone or image.sha256 in self._equal:
                    return None
                return readers.read(locations[image.id - self.partition.start])

            stream = stream_images(images, read=read, threads=threads, ahead=BATCHES_AHEAD * _BATCH)
            try:
                for start in range(0, len(images), _BLOCK):
                    block = images[start : start + _BLOCK]
                    yield self._block(block, stream, gone, times, start)
            finally:
                stream.close()

    def _block(
        self,
        block: list[_Image],
        stream: Generator[ReadImage | None],
        gone: set[int],
        times: Counter[str | None],
        done: int,
    ) -> pa.Table:
        features: list[bytes | None] = []
        rows: list[ImageRow] = []
        for place, (image, read) in enumerate(zip(block, stream, strict=False)):
            if place % _BATCH == 0:
                self.control.require_going()
                self.control.report(PartitionProgress(done + place, len(self.partition), None))
            found, why = self._of(image, read, gone)
            features.append(found)
            if found is None:
                self.without[why] += 1
            elif image.sha256 is not None and times[image.sha256] > 1:
                self._equal[image.sha256] = found
            if read is not None:
                rows.append(ImageRow(image.id, image.path, None, None, None, None, read.status, read.error_message))
        require_source(self.job, rows, self.moved)  # What seems lost may be a mount that went away.
        columns = {
            "id": pa.array([image.id for image in block], pa.int64()),
            "sha256": pa.array([image.sha256 for image in block], pa.string()),
            "status": pa.array(["ok"] * len(block), pa.string()),
            FEATURES_COLUMN: pa.array(features, pa.binary()),
        }
        return pa.table(columns)

    def _of(self, image: _Image, read: ReadImage | None, gone: set[int]) -> tuple[bytes | None, str]:
        """The features of an image, or why it has none."""
        if image.id in gone:
            return None, REMOVED
        if image.sha256 is not None and (equal := self._equal.get(image.sha256)) is not None:
            return equal, ""
        assert read is not None
        if read.status != "ok":
            return None, read.status
        if image.sha256 is not None and read.sha256 != image.sha256:
            return None, CHANGED
        return read.features, ""


def add_features(
    job: OpenJob, partition: Partition, control: Control[PartitionProgress], threads: int | None = None
) -> bool:
    """Make the features of a sealed partition, if its job wants them and it lacks them; whether it did.

    Its images are read and decoded as they were for their embeddings, so that the features are the same as if they had
    been made with these. One that can't be read, has other bytes now, or was removed, has none, and the marker counts
    it. A kill leaves the partition without features, or with all.

    Raises Stopped when the control says so, OSError when the disk does not answer, CorruptFile when a sealed file or
    the path list is damaged, SourceError when the place of the images is out of reach, JobMismatch when features of
    another version are wanted.
    """
    if not makes_features(job):
        return False
    seal = ledger.read_seal(job, partition.number)
    if usable_features(job, seal) is not None:
        return False
    failpoint("add_features")
    ledger.check_ids(job, seal)
    table = read_table(job.metadata(partition.number), ["id", "image_path", "sha256"])
    images = [_Image(row["id"], row["image_path"], row["sha256"]) for row in table.to_pylist()]
    work = _Pass(job, partition, control, read_moved(job))
    with features_of(job, partition.number, carried=True) as features:
        threads = threads or reading_threads([Location(image.path) for image in images[:1]])
        for block in work.blocks(images, threads):
            features.take(block)
        control.require_commit()
        job.require()
    features.mark(seal.files, dict(work.without))
    for path in (*job.features_files(partition.number), job.features_seal(partition.number)):
        files.remove_leftovers(path)  # Of workers that were killed while they made them.
    if not job.renewed().holds(partition.number):
        # A compaction has replaced it meanwhile: what was made may be of images that were deleted.
        remove_features(job, partition.number)
    return True
