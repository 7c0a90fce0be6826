"""Embedding one partition: paths -> decoded images -> batches -> embeddings -> committed chunks -> a seal."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from shared import checkpoint, ledger, path_list
from shared.checkpoint import ImageRow
from shared.errors import CorruptFile
from shared.jobdir import JobDir
from shared.ledger import Seal
from shared.manifest import Chunk, Manifest, Partition
from workers.attempts import Attempt
from workers.decode import ReadImage, read_image, stream_images
from workers.embedder import Embedder, has_direction, no_direction
from workers.isolated import IsolatedReaders
from workers.reach import require_source
from workers.stopping import Stopped

# Decoded images that wait for the model, in batches: enough to ride out a slow file, little in memory.
_BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a partition is: images done and listed, images per second of this worker (None while unknown)."""

    done: int
    listed: int
    images_per_second: float | None

    def __str__(self) -> str:
        text = f"{self.done / self.listed:.0%} · {self.done:,}/{self.listed:,}"
        if self.images_per_second:
            left = round((self.listed - self.done) / self.images_per_second)
            text += f" · {self.images_per_second:,.0f} img/s · {duration(left)} left"
        return text


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 1m11s, 3h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def embed_partition(
    job: JobDir,
    manifest: Manifest,
    partition: Partition,
    embedder: Embedder,
    *,
    threads: int,
    keep_going: Callable[[], bool],
    may_commit: Callable[[], bool],
    report: Callable[[PartitionProgress], None],
) -> Seal:
    """Embed the chunks of `partition` that are not committed yet, commit each, and seal the partition.

    `keep_going` is asked at least every `batch_size` images, also when none of them can be read, and `may_commit`
    before every commit; when one says no, Stopped is raised and only the chunk under way is lost. Committed chunks that
    turn out damaged at the seal are embedded again. A partition that is sealed already, also by another worker
    meanwhile, stays as it is. Raises OSError when the disk does not answer or takes no commit, CorruptFile when the
    path list is damaged, FingerprintMismatch when another model made one of the chunks, JobNotFound when the job's
    directory went away, SourceError when its images' did.
    """
    paths: list[str] = []
    while not ledger.is_sealed(job, partition.number):
        paths = paths or path_list.read_paths(job, partition)
        missing = checkpoint.missing_chunks(job, manifest, partition)
        if missing:
            _Work(job, manifest, partition, embedder, keep_going, may_commit, report).run(missing, paths, threads)
        if not may_commit():
            raise Stopped
        job.require()
        try:
            return ledger.seal_partition(job, manifest, partition)
        except CorruptFile:
            damaged = [chunk for chunk in manifest.chunks(partition) if not _is_whole(job, manifest, chunk)]
            if not damaged:
                raise
            for chunk in damaged:
                checkpoint.uncommit_chunk(job, chunk)
    ledger.remove_chunks(job, partition.number)
    return ledger.read_seal(job, partition.number)


def _is_whole(job: JobDir, manifest: Manifest, chunk: Chunk) -> bool:
    try:
        checkpoint.read_chunk(job, manifest, chunk)
    except CorruptFile:
        return False
    return True


@dataclass(slots=True)
class _Work:
    job: JobDir
    manifest: Manifest
    partition: Partition
    embedder: Embedder
    keep_going: Callable[[], bool]
    may_commit: Callable[[], bool]
    report: Callable[[PartitionProgress], None]
    _started: float = 0.0
    _done_before: int = 0
    _done_here: int = 0

    def run(self, missing: list[Chunk], paths: list[str], threads: int) -> None:
        """Embed and commit `missing`, images decoded ahead also across the border between two chunks."""
        self._started = time.monotonic()
        self._done_before = len(self.partition) - sum(len(chunk) for chunk in missing)
        ids = [image_id for chunk in missing for image_id in range(chunk.start, chunk.stop)]
        self.job.require()  # A job whose mount has gone must not be begun anew in the empty mount point.
        limits = (self.embedder.image_size, self.manifest.max_image_pixels, self.manifest.max_image_bytes)
        with Attempt(self.job, self.partition.number) as attempt, IsolatedReaders(*limits) as readers:

            def read(place: int, path: str) -> ReadImage:
                if attempt.suspects(ids[place]):
                    return readers.read(path)
                with attempt.in_hand(ids[place]):
                    return read_image(path, *limits)

            images = stream_images(
                (paths[image_id - self.partition.start] for image_id in ids),
                read=read,
                threads=threads,
                ahead=_BATCHES_AHEAD * self.embedder.batch_size,
            )
            try:
                for chunk in missing:
                    self._embed_chunk(chunk, images)
            finally:
                images.close()

    def _embed_chunk(self, chunk: Chunk, images: Iterator[ReadImage]) -> None:
        started = time.monotonic()
        rows: list[ImageRow] = []
        batch: list[np.ndarray] = []
        places: list[int] = []  # Which row each image of the batch belongs to.
        vectors: list[np.ndarray] = [np.empty((0, self.embedder.dim), dtype=np.float16)]
        asked = 0
        for image_id in range(chunk.start, chunk.stop):
            image = next(images)
            rows.append(_row(image_id, image))
            if image.pixels is not None:
                batch.append(image.pixels)
                places.append(len(rows) - 1)
            ready = len(batch) == self.embedder.batch_size or image_id == chunk.stop - 1
            if not ready and len(rows) - asked < self.embedder.batch_size:
                continue
            if not self.keep_going():
                raise Stopped
            asked = len(rows)
            if ready and batch:
                vectors.append(self._embed(batch, places, rows))
                batch, places = [], []
            self._advance(len(rows))
        require_source(self.manifest, rows)
        if not self.may_commit():
            raise Stopped
        self.job.require()
        seconds = time.monotonic() - started
        checkpoint.commit_chunk(self.job, self.manifest, chunk, rows, np.concatenate(vectors), seconds)
        self._done_here += len(chunk)

    def _embed(self, batch: list[np.ndarray], places: list[int], rows: list[ImageRow]) -> np.ndarray:
        """Embeddings float16 [n, d] of the images that have one; the row of one that has none becomes a failed one."""
        embeddings = self.embedder.embed(np.stack(batch))
        good = has_direction(embeddings)
        for place in (places[number] for number in np.flatnonzero(~good)):
            error = no_direction()
            rows[place] = replace(rows[place], status=error.status, error_message=str(error))
        return embeddings[good].astype(np.float16)

    def _advance(self, in_chunk: int) -> None:
        here = self._done_here + in_chunk
        seconds = time.monotonic() - self._started
        self.report(
            PartitionProgress(
                self._done_before + here,
                len(self.partition),
                here / seconds if seconds > 0 else None,
            )
        )


def _row(image_id: int, image: ReadImage) -> ImageRow:
    return ImageRow(
        id=image_id,
        image_path=image.path,
        width=image.width,
        height=image.height,
        bytes=image.bytes,
        sha256=image.sha256,
        status=image.status,
        error_message=image.error_message,
    )
