"""Kept rows: what is known of the images of a partition under retry, so that only the failed ones are read again."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.errors import CorruptFile, FingerprintMismatch
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, sealing
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.features.files import FeatureRows
from shared.job.partition.features.reading import open_features
from shared.job.partition.ledger import Seal
from shared.job.partition.retry import read_retry
from shared.storage import files
from shared.storage.parquet import read_table

log = logging.getLogger("lookalike.worker")

_NAMES = [one.name for one in fields(ImageRow)]
_COLUMNS = checkpoint.CHUNK_SCHEMA.names


@dataclass(slots=True)
class Kept:
    """The rows of a chunk that are kept, by image id; embeddings, float16 [d], of those that are "ok".

    `before` is how each image failed that is tried again, `features` what is stored of images that are "ok". A chunk
    that is embedded for the first time keeps none.
    """

    rows: dict[int, ImageRow] = field(default_factory=dict)
    embeddings: dict[int, NDArray[np.float16]] = field(default_factory=dict)
    before: dict[int, str] = field(default_factory=dict)
    features: dict[int, bytes | None] = field(default_factory=dict)

    @property
    def featured(self) -> bool:
        """Whether it is known of each image that is kept which features it has: none for one that could not be read."""
        return self.features.keys() >= self.embeddings.keys()

    def news(self, rows: Sequence[ImageRow]) -> list[ImageRow]:
        """Those of `rows` that were read now, and did not fail as before: only these tell of the source now."""
        return [row for row in rows if row.id not in self.rows and row.status != self.before.get(row.id)]


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The files of a seal that was taken back."""

    metadata: pa.Table
    errors: pa.Table
    embeddings: NDArray[np.float16]
    again: frozenset[int]
    features: FeatureRows | None


class KeptRows:
    """The rows of a partition that are kept while others are tried again.

    They come from the files of the seal that was taken back, or from chunks that were. Where these are damaged nothing
    is kept: every image of theirs is embedded again.
    """

    def __init__(self, job: OpenJob, partition: Partition) -> None:
        self._job = job
        self._purged = job.state.purged_in(partition.start, partition.stop)
        self._taken_back = set(job.retry_chunk_numbers(partition.number))
        self._sealed = _sealed(job, partition)

    def to_read(self, chunk: Chunk) -> list[int]:
        """The ids of the images of a chunk that have to be read, in order."""
        kept = self.of(chunk).rows
        return [image_id for image_id in range(chunk.start, chunk.stop) if image_id not in kept]

    def of(self, chunk: Chunk) -> Kept:
        """What is kept of a chunk that is not committed; of purged images rows that keep their places."""
        kept = self._of(chunk)
        first, last = np.searchsorted(self._purged, [chunk.start, chunk.stop]).tolist()
        for image_id in self._purged[first:last].tolist():
            kept.rows[image_id] = ImageRow(image_id, "", None, None, None, None, checkpoint.PURGED, None)
        return kept

    def _of(self, chunk: Chunk) -> Kept:
        if chunk.number in self._taken_back:
            try:
                table, embeddings, again = checkpoint.read_taken_back(self._job, chunk)
                features = checkpoint.features_in(table)
            except (CorruptFile, FingerprintMismatch) as error:
                log.warning("%s Its images are embedded again.", error)
                return Kept()
            kept = _kept(table.select(_COLUMNS).to_pylist(), embeddings, again)
            if features is not None:
                theirs = dict(zip(table["id"].to_pylist(), features, strict=True))
                kept.features = {image_id: theirs[image_id] for image_id in kept.embeddings}
            return kept
        if self._sealed is None:
            return Kept()
        good, bad = _span(self._sealed.metadata, chunk), _span(self._sealed.errors, chunk)
        rows = [row | {"status": "ok"} for row in self._sealed.metadata[good].to_pylist()]
        rows += self._sealed.errors[bad].to_pylist()
        kept = _kept(rows, np.array(self._sealed.embeddings[good]), self._sealed.again)
        if self._sealed.features is not None:
            with suppress(CorruptFile):  # Then they are made anew, of all images of the partition.
                column = self._sealed.features.column(range(good.start, good.stop))
                kept.features = dict(zip(kept.embeddings, column, strict=True))
        return kept


def _span(table: pa.Table, chunk: Chunk) -> slice:
    """Which rows of a table, whose ids ascend, are of a chunk."""
    first, last = np.searchsorted(table["id"].to_numpy(), [chunk.start, chunk.stop]).tolist()
    return slice(first, last)


def _kept(rows: list[dict[str, Any]], embeddings: NDArray[np.float16], again: set[int] | frozenset[int]) -> Kept:
    """What is kept of `rows`, the good ones of which have `embeddings`, in their order."""
    kept, vectors = Kept(), iter(embeddings)
    for row in rows:
        image_id = row["id"]
        if row["status"] == "ok":
            kept.embeddings[image_id] = next(vectors)
        elif image_id in again:
            kept.before[image_id] = row["status"]
            continue
        row = {name: row.get(name) for name in _NAMES}
        kept.rows[image_id] = ImageRow(**row)
    return kept


def _sealed(job: OpenJob, partition: Partition) -> _Sealed | None:
    try:
        retry = read_retry(job, partition.number)
        if retry is None:
            return None
        seal = retry.seal
        if (seal.fingerprint, seal.start, seal.stop) != (
            job.manifest.model.fingerprint,
            partition.start,
            partition.stop,
        ):
            raise CorruptFile(f"{job.retry(partition.number)} is not of this partition or model.")
        columns = sealing.METADATA_SCHEMA.names
        found = _Sealed(
            read_table(job.metadata(seal.partition), columns),
            read_table(job.errors(seal.partition)),
            sealing.whole_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim),
            retry.again,
            _features(job, seal),
        )
        # After they were opened: who replaces one of them meanwhile leaves us what was compared, or is found out.
        for path in job.sealed_files(seal.partition):
            if files.sha256_of(path) != seal.entry(job, path)["sha256"]:
                raise CorruptFile(f"{path} is not what was sealed.")
    except (CorruptFile, FileNotFoundError) as error:
        log.warning("%s Its partition is embedded again.", error)
        return None
    return found


def _features(job: OpenJob, seal: Seal) -> FeatureRows | None:
    """The features of a partition whose seal was taken back, once they were compared; None where there are none."""
    try:
        return open_features(JobFiles.of(job), seal, check=True)
    except CorruptFile as error:
        log.warning("%s They are made anew.", error)
        return None
