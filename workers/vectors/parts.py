"""The parts of a job that can be searched before its index is there: sealed partitions, and committed chunks."""

import logging
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile, JobError, StoreError
from shared.job import path_list
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, committed, ledger, sealing
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint
from shared.storage import parquet, scratch
from workers.vectors.codes import Codes, stored_kind
from workers.vectors.embeddings import Half, Rows
from workers.vectors.image_list import IMAGES_SCHEMA, sealed_images

log = logging.getLogger("lookalike.query")

_METADATA_FILE = "metadata.parquet"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Part:
    """The embedded images of a sealed partition, or of a committed chunk of one that is not sealed.

    `vectors` is [n, dim] as the job stores them, float16 or the int8 codes of a bundle, and mapped; `ids` is int64 [n]
    ascending, `images` holds id and image path of each, and `metadata` is a Parquet file that has a row for each.
    """

    looked_at: Chunk | Partition
    vectors: Half | Codes
    images: pa.RecordBatch
    metadata: Path

    @property
    def ids(self) -> Rows:
        ids: Rows = self.images.column("id").to_numpy()
        return ids


Parts = Mapping[object, Part]
"""Parts by what they are of, in the order of their ids."""


class Found(NamedTuple):
    """The parts of a job, and the image ids [start, stop) that are in none of them."""

    parts: Parts
    pending: Sequence[tuple[int, int]]


class _Sealed(Exception):
    """A chunk is gone, because its partition was sealed after the seals were read."""


def find_parts(files: JobFiles, job: OpenJob, known: Parts, first: int = 0) -> Found:
    """Open all that is sealed or committed behind the `first` partitions; what is `known` is not read again.

    The partitions before are taken to be looked at. A chunk that can't be read is left out with a line in the log:
    its worker embeds it again before it seals.

    Raises CorruptFile for a sealed partition that can't be read, FingerprintMismatch for what another model made, and
    JobError when the disk has no room for copies of the chunks.
    """
    while True:
        # The chunks before the seals: one whose partition is sealed between the two is there as a seal.
        listing = committed.listed_chunks(job)
        failpoint("list_parts")
        seals, before = list(ledger.sealed(job)), {one.number for one in job.partitions[:first]}
        try:
            return _found(files, job, known, [seal for seal in seals if seal.partition not in before], listing, first)
        except _Sealed:  # Each time a partition more is sealed, so this ends.
            continue


def _found(
    files: JobFiles, job: OpenJob, known: Parts, seals: Sequence[Seal], listing: committed.Listing, first: int
) -> Found:
    found: dict[object, Part] = {}
    for seal in seals:
        key = seal.partition, *(entry["sha256"] for entry in seal.files.values())
        found[key] = known[key] if key in known else _sealed_part(files, job, seal)
    sealed = {seal.partition for seal in seals} | {one.number for one in job.partitions[:first]}
    source = _SourceMetadata(job)
    for chunk in committed.chunks_of(job, listing, sealed):
        if chunk in known:
            found[chunk] = known[chunk]
        elif (part := _chunk_part(job, chunk, source)) is not None:
            found[chunk] = part
    ordered = dict(sorted(found.items(), key=lambda one: one[1].looked_at.start))
    looked_at = [*job.partitions[:first], *(part.looked_at for part in ordered.values())]
    return Found(ordered, committed.pending(job, looked_at))


def _sealed_part(files: JobFiles, job: OpenJob, seal: Seal) -> Part:
    (images,) = sealed_images(job, [seal])
    paths = job.img_emb(seal.partition), job.metadata(seal.partition)
    vectors, metadata = files.all_local((path, seal.entry(job, path)) for path in paths)
    ids = images.column("id").to_numpy()
    if len(ids) != seal.embedded or not np.all(np.diff(ids) > 0):
        ledger.check_ids(job, seal)  # It says which are wrong.
    mapped = sealing.open_embeddings(vectors, seal.embedded, seal.dim, stored_kind(job).DTYPE)
    return Part(job.partition(seal.partition), mapped, images, metadata)


def _chunk_part(job: OpenJob, chunk: Chunk, source: "_SourceMetadata") -> Part | None:
    try:
        table, embeddings = checkpoint.read_chunk(job, chunk)
    except CorruptFile as error:
        if ledger.is_sealed(job, chunk.partition):
            raise _Sealed from None
        if job.chunk(chunk.partition, chunk.number).is_file():
            log.warning("%s Its images are not found until they are embedded again.", error)
        return None  # Or it was taken back this moment.
    good = source.beside(table, chunk).filter(pc.equal(table["status"], "ok"))
    stack = ExitStack()
    try:
        # Chunks are compressed, so they can't be mapped, and they go away when their partition is sealed.
        copy = stack.enter_context(scratch.staged(_METADATA_FILE))
        vectors = copy.with_name("img_emb.npy")
        with open(vectors, "wb") as file:
            file.write(sealing.npy_header(*embeddings.shape))
            file.write(np.ascontiguousarray(embeddings, "<f2").reshape(-1).view(np.uint8).data)
        with parquet.writer(copy, source.schema) as into:
            into.write_table(good.select(source.schema.names).cast(source.schema))
        mapped = sealing.open_embeddings(vectors, *embeddings.shape)
    except StoreError:
        stack.close()
        raise
    except OSError as error:
        stack.close()
        raise JobError(
            f"The checkpoint {job.chunk(chunk.partition, chunk.number)} can't be copied to "
            f"{scratch.private_path()} to be searched ({error.strerror or error}): make room there, or set TMPDIR to "
            "another directory."
        ) from None
    images = good.select(IMAGES_SCHEMA.names).cast(IMAGES_SCHEMA).combine_chunks()
    batch = images.to_batches()[0] if len(images) else pa.RecordBatch.from_pylist([], IMAGES_SCHEMA)
    part = Part(chunk, mapped, batch, copy)
    weakref.finalize(part, stack.close)
    return part


class _SourceMetadata:
    """What the source says about the images of chunks, which is in the chunks' path lists."""

    def __init__(self, job: OpenJob) -> None:
        self._job = job
        self._read: tuple[int, pa.Table] | None = None
        self.schema = pa.schema([*sealing.METADATA_SCHEMA, *job.manifest.source.known_schema])

    def beside(self, table: pa.Table, chunk: Chunk) -> pa.Table:
        """The table of a chunk with the columns of source metadata, as sealing it adds them."""
        if not self._job.manifest.source.known:
            return table
        partition = self._job.partition(chunk.partition)
        if self._read is None or self._read[0] != partition.number:
            self._read = partition.number, path_list.read_known(self._job, partition)
        known = self._read[1].slice(chunk.start - partition.start, len(chunk))
        for field in known.schema:
            table = table.append_column(field, known[field.name])
        return table
