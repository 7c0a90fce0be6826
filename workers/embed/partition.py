"""Embedding one partition: paths -> decoded images -> batches -> embeddings -> committed chunks -> a seal."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.errors import CorruptFile
from shared.images.location import Location
from shared.images.paths import is_url
from shared.job import path_list
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.features.wanted import makes_features
from shared.job.partition.ledger import Seal
from shared.job.source.moved import Moved, read_moved
from shared.processes.control import Control
from shared.processes.failpoints import failpoint
from shared.processes.load import StageLoad
from shared.text import duration
from workers.embed.attempts import Attempt
from workers.embed.chunk import ChunkWork
from workers.embed.clock import StageClock
from workers.embed.dedup import KnownImages
from workers.embed.kept_rows import Kept, KeptRows
from workers.embed.known_elsewhere import KnownElsewhere, let_others_know
from workers.embed.pipeline import Overlap
from workers.embed.source_check import SourceCheck
from workers.embed.writer import ChunkWriter
from workers.images.isolated import IsolatedReaders
from workers.images.reach import require_source
from workers.images.read import ReadImage, read_image
from workers.images.stream import stream_images
from workers.models.embedder import Embedder

# Decoded images that wait for the model, in batches: enough to ride out a slow file, little in memory.
BATCHES_AHEAD = 4
# Whoever reads over a network waits for answers most of the time.
_REMOTE_THREADS = 16


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a partition is: images done and listed, images per second of this worker and what its stages do now.

    The last two are None while they are unknown.
    """

    done: int
    listed: int
    images_per_second: float | None
    load: StageLoad | None = None

    def __str__(self) -> str:
        text = f"{self.done / self.listed:.0%} · {self.done:,}/{self.listed:,}"
        if self.images_per_second:
            left = round((self.listed - self.done) / self.images_per_second)
            text += f" · {self.images_per_second:,.0f} img/s · {duration(left)} left"
        if self.load is not None:
            text += f" · {self.load}"
        return text


def embed_partition(
    job: OpenJob,
    partition: Partition,
    embedder: Embedder,
    control: Control[PartitionProgress],
    threads: int | None,
) -> Seal:
    """Embed the chunks of `partition` that are not committed yet, commit each, and seal the partition.

    `threads` is how many read and decode, None for one a core, and more for images behind URLs. Whether to continue is
    asked at least every `batch_size` images, also when none of them can be read, and whether to commit before every
    commit; when one says no, Stopped is raised and only the chunk under way is lost. Images of the same bytes go
    through the model once, also those of partitions that are sealed. Committed chunks that turn out damaged at the seal
    are embedded again. A partition that is sealed already, also by another worker meanwhile, stays as it is. Raises
    OSError when the disk does not answer or takes no commit, CorruptFile when the path list is damaged,
    FingerprintMismatch when another model made a chunk, JobMismatch when features are wanted that this version does not
    make, JobNotFound when the job's directory went away, SourceError when its images' did, or are others than listed.
    """
    failpoint("embed_partition")
    locations: list[Location] = []
    moved = read_moved(job)  # Once: what is compared with the source must be the place that is read from.
    while not ledger.is_sealed(job, partition.number):
        locations = locations or path_list.read_locations(job, partition, moved)
        missing = checkpoint.missing_chunks(job, partition)
        if missing:
            check = SourceCheck(job, moved)
            work = _Work(job, partition, locations, embedder, control, check, moved, makes_features(job))
            work.run(missing, threads or reading_threads(locations))
        control.require_commit()
        job.require()
        try:
            seal = ledger.seal_partition(job, partition)
            let_others_know(job, partition.number)
            return seal
        except CorruptFile:
            damaged = [chunk for chunk in job.chunks(partition) if not _is_whole(job, chunk)]
            if not damaged:
                raise
            for chunk in damaged:
                checkpoint.uncommit_chunk(job, chunk)
    ledger.remove_chunks(job, partition.number)
    return ledger.read_seal(job, partition.number)


def reading_threads(locations: Sequence[Location]) -> int:
    """How many threads read and decode the images at `locations`, where no setting says it."""
    cores = os.cpu_count() or 1
    first = next((location.path for location in locations if location.path), "")  # Those of purged images have none.
    return max(cores, _REMOTE_THREADS) if is_url(first) else cores


def _is_whole(job: OpenJob, chunk: Chunk) -> bool:
    try:
        checkpoint.read_chunk(job, chunk)
    except CorruptFile:
        return False
    return True


@dataclass(slots=True)
class _Work:
    job: OpenJob
    partition: Partition
    locations: list[Location]
    embedder: Embedder
    control: Control[PartitionProgress]
    source_check: SourceCheck
    moved: Moved
    features: bool
    _started: float = 0.0
    _done_before: int = 0
    _done_here: int = 0

    def run(self, missing: list[Chunk], threads: int) -> None:
        """Embed and commit `missing`, images decoded ahead also across the border between two chunks."""
        self._started = time.monotonic()
        self._done_before = len(self.partition) - sum(len(chunk) for chunk in missing)
        kept = KeptRows(self.job, self.partition)
        ids = [image_id for chunk in missing for image_id in kept.to_read(chunk)]
        self.job.require()  # A job whose mount has gone must not be begun again in the empty mount point.
        known = KnownImages(self.job, self.partition, KnownElsewhere(self.job, self.partition), self.features)
        for chunk in self.job.chunks(self.partition):
            if chunk not in missing:
                known.read_committed(chunk)
        wanted = self._wanted()
        clock = StageClock(threads)
        with Attempt(self.job, self.partition.number) as attempt, IsolatedReaders(*wanted) as readers:

            def read(place: int, location: Location) -> ReadImage:
                if attempt.suspects(ids[place]):
                    return readers.read(location)
                with attempt.in_hand(ids[place]):
                    return read_image(location, *wanted, known=lambda sha256: known.find(sha256) is not None)

            images = stream_images(
                (self._location(image_id) for image_id in ids),
                read=read,
                threads=threads,
                ahead=BATCHES_AHEAD * self.embedder.batch_size,
            )
            try:
                with ChunkWriter(clock) as writer, Overlap(self.embedder, clock) as model:
                    for chunk in missing:
                        self._embed_chunk(chunk, kept.of(chunk), images, known, model, writer, clock)
            finally:
                images.close()

    def _embed_chunk(
        self,
        chunk: Chunk,
        kept: Kept,
        images: Iterator[ReadImage],
        known: KnownImages,
        model: Overlap,
        writer: ChunkWriter,
        clock: StageClock,
    ) -> None:
        started, mark = time.monotonic(), clock.mark()
        known.look_again()
        work = ChunkWork(chunk, self.embedder, known, model)
        asked = 0
        while len(work.rows) < len(chunk):
            image_id = chunk.start + len(work.rows)
            if image_id in kept.rows:
                work.keep(kept.rows[image_id], kept.embeddings.get(image_id), kept.features.get(image_id))
            else:
                with clock.waiting_for("read"):
                    image = next(images)
                clock.add("read", image.read_seconds)
                clock.add("decode", image.decode_seconds)
                work.take(image, partial(self._read_whole, image_id))
            ready = work.batch_is_full or len(work.rows) == len(chunk)
            if not ready and len(work.rows) - asked < self.embedder.batch_size:
                continue
            self.control.require_going()
            writer.require()
            asked = len(work.rows)
            if ready:
                work.embed()
            self._advance(len(work.rows), clock)
        embeddings = work.finish()
        # Beside kept rows without features, those of the whole partition are made once it is sealed.
        features = work.features if self.features and kept.featured else None
        known.add(chunk, work.rows, embeddings, features)
        load, seconds = clock.since(mark), time.monotonic() - started
        writer.commit(lambda: self._commit(chunk, kept, work, embeddings, seconds, load, features))
        self._done_here += len(chunk)

    def _location(self, image_id: int) -> Location:
        return self.locations[image_id - self.partition.start]

    def _read_whole(self, image_id: int) -> ReadImage:
        """Read an image once more, whose bytes seemed to be known."""
        return read_image(self._location(image_id), *self._wanted())

    def _wanted(self) -> tuple[int, int, int, str, bool]:
        """What `read_image` has to know: size, the most pixels and bytes, how to decode, whether to make features."""
        limits = self.job.manifest.max_image_pixels, self.job.manifest.max_image_bytes
        return (self.embedder.image_size, *limits, self.job.manifest.model.decode, self.features)

    def _commit(
        self,
        chunk: Chunk,
        kept: Kept,
        work: ChunkWork,
        embeddings: NDArray[np.float16],
        seconds: float,
        load: StageLoad,
        features: list[bytes | None] | None,
    ) -> None:
        news = kept.news(work.rows)
        self.source_check.require(chunk, news, self._location)
        require_source(self.job, news, self.moved)
        self.control.require_commit()
        self.job.require()
        checkpoint.commit_chunk(self.job, chunk, work.rows, embeddings, seconds, load, features)

    def _advance(self, in_chunk: int, clock: StageClock) -> None:
        here = self._done_here + in_chunk
        seconds = time.monotonic() - self._started
        rate = here / seconds if seconds > 0 else None
        self.control.report(PartitionProgress(self._done_before + here, len(self.partition), rate, clock.recent()))
