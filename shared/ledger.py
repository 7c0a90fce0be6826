"""The ledger: committed chunks and sealed partitions on disk, the only truth about progress."""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared import files, sealing
from shared.errors import CorruptFile, FingerprintMismatch
from shared.jobdir import JobDir
from shared.manifest import Chunk, Manifest, Partition

_SUMMARY_KEY = b"lookalike.chunk"
_UNIT_TOLERANCE = 2e-3  # What rounding to float16 does to the length of a vector of up to a few thousand dimensions.

PATHS_SCHEMA = pa.schema([("id", pa.int64()), ("image_path", pa.string())])
CHUNK_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        ("error_message", pa.string()),
        ("embedding", pa.list_(pa.float16())),
    ]
)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of a chunk: what was found out about it, or why it failed (`status` other than "ok")."""

    id: int
    image_path: str
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None
    status: str
    error_message: str | None


@dataclass(frozen=True, slots=True)
class ChunkSummary:
    """What a committed chunk says of itself, readable from its footer alone.

    `seconds` is the work that it took, `committed_at` seconds since the epoch.
    """

    fingerprint: str
    partition: int
    chunk: int
    start: int
    stop: int
    embedded: int
    failed: int
    dim: int
    seconds: float
    committed_at: float


@dataclass(frozen=True, slots=True)
class Seal:
    """The marker of a sealed partition: counts, and each file's size and SHA-256 by its name inside the job."""

    fingerprint: str
    partition: int
    start: int
    stop: int
    embedded: int
    failed: int
    dim: int
    seconds: float
    sealed_at: float
    files: dict[str, dict[str, Any]]

    @property
    def listed(self) -> int:
        return self.stop - self.start


def write_paths(job: JobDir, partition: Partition, paths: Sequence[str]) -> None:
    """Write a partition's part of the path list: id, image_path."""
    columns = {"id": range(partition.start, partition.stop), "image_path": paths}
    table = pa.table(columns, schema=PATHS_SCHEMA)
    with files.written_aside(job.paths(partition.number)) as aside:
        pq.write_table(table, aside, compression="zstd", write_page_checksum=True)


def read_paths(job: JobDir, partition: Partition) -> list[str]:
    """The image paths of a partition in the order of their ids; raises CorruptFile when they are not all there."""
    path = job.paths(partition.number)
    try:
        table = _read(path)
    except CorruptFile as error:
        raise CorruptFile(f"{error} It lists a partition's images: restore it.") from None
    expected = np.arange(partition.start, partition.stop)
    if not table.schema.equals(PATHS_SCHEMA) or not np.array_equal(table["id"].to_numpy(), expected):
        raise CorruptFile(
            f"{path} does not hold the ids {partition.start} to {partition.stop - 1} in order: restore it."
        )
    paths: list[str] = table["image_path"].to_pylist()
    return paths


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of a job, each page's checksum compared; raises CorruptFile when it is missing or damaged.

    A disk that does not answer (an OSError with another errno) says nothing about the file, and passes through: a
    mount that drops out for a moment must not make good chunks look bad.
    """
    try:
        # A job may lie under directories named like `year=2024`, which are no partitioning of ours.
        return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise CorruptFile(f"{path} can't be read ({error}).") from None


def commit_chunk(
    job: JobDir,
    manifest: Manifest,
    chunk: Chunk,
    rows: Sequence[ImageRow],
    embeddings: np.ndarray,
    seconds: float,
) -> None:
    """Commit a chunk: after this it is on disk, whole, and stays as it is, also when another worker commits it again.

    `rows` hold each id of the chunk once, in order; `embeddings` is float16 [rows with status "ok", d], L2-normalised,
    in the order of those rows. Raises ValueError when they disagree and OSError when the disk does not take it.
    """
    ok = np.array([row.status == "ok" for row in rows], dtype=bool)
    if [row.id for row in rows] != list(range(chunk.start, chunk.stop)):
        raise ValueError(f"Chunk {chunk} needs each of its ids once, in order.")
    if embeddings.dtype != np.float16 or embeddings.ndim != 2 or len(embeddings) != ok.sum():
        raise ValueError(
            f"Chunk {chunk} needs float16 [{ok.sum()}, d], and was given {embeddings.dtype} {list(embeddings.shape)}."
        )
    norms = np.linalg.norm(embeddings.astype(np.float32), axis=1)
    if not np.all(np.abs(norms - 1) <= _UNIT_TOLERANCE):  # NaN is caught too: it compares false.
        raise ValueError(f"Chunk {chunk} holds an embedding whose length is not 1.")
    dim = embeddings.shape[1]
    summary = ChunkSummary(
        fingerprint=manifest.model.fingerprint,
        partition=chunk.partition,
        chunk=chunk.number,
        start=chunk.start,
        stop=chunk.stop,
        embedded=int(ok.sum()),
        failed=int((~ok).sum()),
        dim=dim,
        seconds=round(seconds, 3),
        committed_at=datetime.now(UTC).timestamp(),
    )
    offsets = np.concatenate([[0], np.cumsum(np.where(ok, dim, 0))]).astype(np.int32)
    vectors = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(embeddings.reshape(-1), pa.float16()),
        mask=pa.array(~ok),
    )
    columns = {name: [getattr(row, name) for row in rows] for name in CHUNK_SCHEMA.names if name != "embedding"}
    table = pa.table(
        [pa.array(columns[name], CHUNK_SCHEMA.field(name).type) for name in columns] + [vectors],
        schema=CHUNK_SCHEMA.with_metadata({_SUMMARY_KEY: json.dumps(asdict(summary))}),
    )
    with files.written_aside(job.chunk(chunk.partition, chunk.number), keep_first=True) as aside:
        pq.write_table(
            table,
            aside,
            compression="zstd",
            use_dictionary=["status"],
            write_page_checksum=True,
        )


def chunk_summary(job: JobDir, partition: int, chunk: int) -> ChunkSummary:
    """What a committed chunk says of itself; CorruptFile when its footer can't be read, OSError as `read_chunk`."""
    path = job.chunk(partition, chunk)
    try:
        return ChunkSummary(**json.loads(pq.read_schema(path).metadata[_SUMMARY_KEY]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise CorruptFile(f"{path} can't be read ({error}).") from None


def read_chunk(job: JobDir, manifest: Manifest, chunk: Chunk) -> tuple[pa.Table, np.ndarray]:
    """A committed chunk, every page checked: its table, and its embeddings as float16 [embedded, d].

    Raises CorruptFile when a checksum, a count or a boundary disagrees, FingerprintMismatch when another model made it,
    OSError when the disk does not answer.
    """
    path = job.chunk(chunk.partition, chunk.number)
    summary = chunk_summary(job, chunk.partition, chunk.number)
    if summary.fingerprint != manifest.model.fingerprint:
        raise FingerprintMismatch(
            f"The chunk {path} was embedded by the model {summary.fingerprint}, but the job is made for "
            f"{manifest.model.fingerprint}: delete the chunk, and `lookalike index` embeds it again."
        )
    table = _read(path)
    if not table.schema.equals(CHUNK_SCHEMA, check_metadata=False):
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise CorruptFile(f"The chunk {path} has other columns than a chunk has: {found}.")
    ids = table["id"].to_numpy()
    vectors = table["embedding"].combine_chunks()
    values = np.asarray(vectors.flatten())
    embedded = len(vectors) - vectors.null_count
    if (
        not np.array_equal(ids, np.arange(chunk.start, chunk.stop))
        or (summary.embedded, summary.failed) != (embedded, len(ids) - embedded)
        or not np.array_equal(np.asarray(pc.equal(table["status"], "ok")), np.asarray(vectors.is_valid()))
        or len(values) != embedded * summary.dim
    ):
        # The pages are checksummed, but the footer, which holds the summary, is not.
        raise CorruptFile(
            f"The chunk {path} holds {len(ids)} images and {len(values)} values in {embedded} embeddings; expected the "
            f"ids {chunk.start} to {chunk.stop - 1}, and {summary.embedded} embeddings of {summary.dim} values."
        )
    return table, values.reshape(embedded, summary.dim)


def uncommit_chunk(job: JobDir, chunk: Chunk) -> None:
    """Take a bad chunk back, so that it is embedded again."""
    job.chunk(chunk.partition, chunk.number).unlink(missing_ok=True)


def missing_chunks(job: JobDir, manifest: Manifest, partition: Partition) -> list[Chunk]:
    """The chunks of a partition that are not committed yet, in order."""
    committed = set(job.chunk_numbers(partition.number))
    return [chunk for chunk in manifest.chunks(partition) if chunk.number not in committed]


def is_sealed(job: JobDir, partition: int) -> bool:
    return job.seal(partition).is_file()


def seal_partition(job: JobDir, manifest: Manifest, partition: Partition) -> Seal:
    """Turn the committed chunks of a whole partition into one file of each kind, then remove the chunks.

    The bytes depend on the chunks alone. The marker is written last; a partition without it is not sealed, whatever
    else lies there. One that is sealed already stays as it is. Raises CorruptFile (with the chunk still in place) when
    a chunk is missing or fails its checks, FingerprintMismatch when another model made one.
    """
    if is_sealed(job, partition.number):
        remove_chunks(job, partition.number)
        return read_seal(job, partition.number)
    chunks = manifest.chunks(partition)
    absent = missing_chunks(job, manifest, partition)
    if absent:
        raise CorruptFile(f"Partition {partition.number} of {job.path} lacks the chunks {[c.number for c in absent]}.")
    summaries = [chunk_summary(job, partition.number, chunk.number) for chunk in chunks]
    dims = {summary.dim for summary in summaries}
    if len(dims) != 1:
        raise CorruptFile(f"Partition {partition.number} of {job.path} has chunks of {sorted(dims)} dimensions.")
    embedded = sum(summary.embedded for summary in summaries)
    written = sealing.write_sealed_files(
        job,
        partition.number,
        (read_chunk(job, manifest, chunk) for chunk in chunks),
        rows=embedded,
        dim=dims.pop(),
    )
    seal = Seal(
        fingerprint=manifest.model.fingerprint,
        partition=partition.number,
        start=partition.start,
        stop=partition.stop,
        embedded=embedded,
        failed=sum(summary.failed for summary in summaries),
        dim=summaries[0].dim,
        seconds=round(sum(summary.seconds for summary in summaries), 3),
        sealed_at=datetime.now(UTC).timestamp(),
        files=written,
    )
    files.write_bytes(
        job.seal(partition.number),
        (json.dumps(asdict(seal), indent=2) + "\n").encode(),
        keep_first=True,
    )
    remove_chunks(job, partition.number)
    return read_seal(job, partition.number)


def remove_chunks(job: JobDir, partition: int) -> None:
    """Remove the chunks of a sealed partition, and what workers that were killed while they sealed it left behind."""
    shutil.rmtree(job.chunk_dir(partition), ignore_errors=True)
    for path in (*job.sealed_files(partition), job.seal(partition)):
        files.remove_leftovers(path)


def read_seal(job: JobDir, partition: int) -> Seal:
    """The marker of a sealed partition; raises CorruptFile when it is missing or is not what was written."""
    path = job.seal(partition)
    try:
        return Seal(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise CorruptFile(
            f"The seal marker {path} can't be read ({error}): restore it, or delete it and run `lookalike index` again."
        ) from None


def sealed(job: JobDir, manifest: Manifest) -> Iterator[Seal]:
    """The seals of a job in the order of their partitions.

    Raises CorruptFile for a seal beyond the manifest or with other boundaries, FingerprintMismatch for another model.
    """
    for number in job.sealed_numbers():
        seal = read_seal(job, number)
        if seal.fingerprint != manifest.model.fingerprint:
            raise FingerprintMismatch(
                f"Partition {number} of {job.path} was embedded by the model {seal.fingerprint}, but the job is made "
                f"for {manifest.model.fingerprint}: delete {job.seal(number)}, and `lookalike index` embeds it again."
            )
        marked = Partition(seal.partition, seal.start, seal.stop)
        if number >= manifest.partition_count or marked != manifest.partition(number):
            raise CorruptFile(
                f"{job.seal(number)} seals the ids {seal.start} to {seal.stop - 1} as partition {seal.partition}, "
                f"which is not partition {number} of the job: restore it, or delete it and run `lookalike index` again."
            )
        yield seal


def check_ids(job: JobDir, seal: Seal) -> np.ndarray:
    """The image ids of a sealed partition's embeddings, int64 [embedded] ascending.

    Asserts `embedded + failed = listed` by id: every id of the partition is either in the metadata or in the errors,
    once. Raises CorruptFile with the ids that are missing, double or strange.
    """
    ids: np.ndarray = _read(job.metadata(seal.partition), ["id"])["id"].to_numpy()
    failed = _read(job.errors(seal.partition), ["id"])["id"].to_numpy()
    found, times = np.unique(np.concatenate([ids, failed]), return_counts=True)
    listed = np.arange(seal.start, seal.stop)
    wrong = {
        "missing": np.setdiff1d(listed, found),
        "double": found[times > 1],
        "strange": np.setdiff1d(found, listed),
        "out of order": ids[1:][np.diff(ids) < 0],
    }
    if len(ids) != seal.embedded or any(len(some) for some in wrong.values()):
        named = "".join(f"; {what}: {_some(some)}" for what, some in wrong.items() if len(some))
        raise CorruptFile(
            f"Partition {seal.partition} of {job.path} lists {seal.listed:,} images, {seal.embedded:,} of them "
            f"embedded, and its files hold {len(ids):,} embedded and {len(failed):,} failed ids, which do not cover "
            f"them once each{named}: delete {job.seal(seal.partition)} and run `lookalike index` again."
        )
    return ids


def _some(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")
