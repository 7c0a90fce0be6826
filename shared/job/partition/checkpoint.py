"""Commit and read chunks: each is one Parquet file that carries its own checksums."""
# Over 250 lines: what writes a chunk and what reads one, whole or taken back, have to agree.

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.errors import CorruptFile, FingerprintMismatch
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition.features.files import FEATURES_COLUMN
from shared.job.partition.features.record import STORED_VERSION
from shared.processes.failpoints import failpoint
from shared.processes.load import StageLoad
from shared.storage import files
from shared.storage.parquet import read_schema, read_table

_SUMMARY_KEY = b"lookalike.chunk"
_AGAIN_KEY = b"lookalike.again"
PURGED: Final = "removed"
"""The status of the row that keeps the place of a purged image in a chunk; no seal has a row for it."""
_UNIT_TOLERANCE = 2e-3  # How much float16 changes the length of a vector of up to a few thousand dimensions.

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
_FEATURES_FIELD = pa.field(FEATURES_COLUMN, pa.binary())


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of a chunk: its facts, or why it failed (`status` other than "ok")."""

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
    """The summary of a committed chunk, from its footer alone; a purged image is neither embedded nor failed.

    `seconds` is the work that it took, `committed_at` seconds since the epoch, `load` how busy the stages were
    meanwhile, `features` the version of the features that its rows have, None if they have none.
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
    load: dict[str, Any] | None = None
    features: str | None = None


def commit_chunk(
    job: OpenJob,
    chunk: Chunk,
    rows: Sequence[ImageRow],
    embeddings: np.ndarray,
    seconds: float,
    load: StageLoad | None = None,
    features: Sequence[bytes | None] | None = None,
) -> None:
    """Commit a chunk: after this it is on disk, whole, and stays as it is, also when another worker commits it again.

    `rows` hold each id of the chunk once, in order; `embeddings` is float16 [rows with status "ok", d], L2-normalised,
    in the order of those rows. A row of status "removed" keeps the place of a purged image. `features`, for a job that
    wants them, has those of each row, as `ImageFeatures.to_bytes` gives them. Raises ValueError when they disagree and
    OSError when the disk does not take it.
    """
    failpoint("commit_chunk")
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
    if features is not None and len(features) != len(rows):
        raise ValueError(f"Chunk {chunk} has {len(rows)} rows, and was given {len(features)} features.")
    dim = embeddings.shape[1]
    summary = ChunkSummary(
        fingerprint=job.manifest.model.fingerprint,
        partition=chunk.partition,
        chunk=chunk.number,
        start=chunk.start,
        stop=chunk.stop,
        embedded=int(ok.sum()),
        failed=sum(row.status not in ("ok", PURGED) for row in rows),
        dim=dim,
        seconds=round(seconds, 3),
        committed_at=datetime.now(UTC).timestamp(),
        load=None if load is None else load.to_json(),
        features=None if features is None else STORED_VERSION,
    )
    offsets = np.concatenate([[0], np.cumsum(np.where(ok, dim, 0))]).astype(np.int32)
    vectors = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(embeddings.reshape(-1), pa.float16()),
        mask=pa.array(~ok),
    )
    columns = {name: [getattr(row, name) for row in rows] for name in CHUNK_SCHEMA.names if name != "embedding"}
    # Of a job without features, a chunk says nothing of them.
    noted = {key: value for key, value in asdict(summary).items() if key != "features" or value is not None}
    table = pa.table(
        [pa.array(columns[name], CHUNK_SCHEMA.field(name).type) for name in columns] + [vectors],
        schema=CHUNK_SCHEMA.with_metadata({_SUMMARY_KEY: json.dumps(noted)}),
    )
    if features is not None:
        kept = [one if row.status == "ok" else None for row, one in zip(rows, features, strict=True)]
        table = table.append_column(_FEATURES_FIELD, pa.array(kept, _FEATURES_FIELD.type))
    with (
        files.written_aside(job.chunk(chunk.partition, chunk.number), keep_first=True) as aside,
        open(aside, "wb") as file,
    ):
        pq.write_table(table, file, compression="zstd", use_dictionary=["status"], write_page_checksum=True)


def chunk_summary(job: JobDir, partition: int, chunk: int) -> ChunkSummary:
    """The summary of a committed chunk; CorruptFile when its footer can't be read, OSError as `read_chunk`."""
    return _summary(job.chunk(partition, chunk))


def _summary(path: Path) -> ChunkSummary:
    try:
        return ChunkSummary(**json.loads(read_schema(path).metadata[_SUMMARY_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} can't be read ({error}).") from None


def read_chunk(job: OpenJob, chunk: Chunk) -> tuple[pa.Table, np.ndarray]:
    """A committed chunk, every page checked: its table, and its embeddings as float16 [embedded, d].

    Raises CorruptFile when a checksum, a count or a boundary disagrees, FingerprintMismatch when another model made it,
    OSError when the disk does not answer.
    """
    return _read(job, chunk, job.chunk(chunk.partition, chunk.number))


def _read(job: OpenJob, chunk: Chunk, path: Path) -> tuple[pa.Table, np.ndarray]:
    summary = _summary(path)
    if summary.fingerprint != job.manifest.model.fingerprint:
        raise FingerprintMismatch(
            f"The chunk {path} was embedded by the model {summary.fingerprint}, but the job is made for "
            f"{job.manifest.model.fingerprint}",
            remedy=Remedy("repair", str(job.path), "takes it back", then=job.manifest.again()),
        )
    table = read_table(path)
    expected = CHUNK_SCHEMA if summary.features is None else CHUNK_SCHEMA.append(_FEATURES_FIELD)
    if not table.schema.equals(expected, check_metadata=False):
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise CorruptFile(f"The chunk {path} has other columns than a chunk has: {found}.")
    ids = table["id"].to_numpy()
    vectors = table["embedding"].combine_chunks()
    values = np.asarray(vectors.flatten())
    embedded = len(vectors) - vectors.null_count
    purged = table["status"].to_pylist().count(PURGED)
    if (
        not np.array_equal(ids, np.arange(chunk.start, chunk.stop))
        or (summary.embedded, summary.failed) != (embedded, len(ids) - embedded - purged)
        or not np.array_equal(np.asarray(pc.equal(table["status"], "ok")), np.asarray(vectors.is_valid()))
        or len(values) != embedded * summary.dim
    ):
        # The pages are checksummed, but the footer, which holds the summary, is not.
        raise CorruptFile(
            f"The chunk {path} holds {len(ids)} images and {len(values)} values in {embedded} embeddings; expected the "
            f"ids {chunk.start} to {chunk.stop - 1}, and {summary.embedded} embeddings of {summary.dim} values."
        )
    return table, values.reshape(embedded, summary.dim)


def features_in(table: pa.Table) -> list[bytes | None] | None:
    """The features of the rows of a chunk, as `read_chunk` gives it; None where it has none of this version."""
    summary = json.loads((table.schema.metadata or {}).get(_SUMMARY_KEY, b"{}"))
    if summary.get("features") != STORED_VERSION:
        return None
    found: list[bytes | None] = table[FEATURES_COLUMN].to_pylist()
    return found


def without_purged(chunks: Iterable[tuple[pa.Table, np.ndarray]]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Chunks as `read_chunk` gives them, without the rows that keep the places of purged images."""
    for table, embeddings in chunks:
        yield table.filter(pc.not_equal(table["status"], PURGED)), embeddings


def uncommit_chunk(job: JobDir, chunk: Chunk) -> None:
    """Remove a bad chunk, so that it is embedded again."""
    job.chunk(chunk.partition, chunk.number).unlink(missing_ok=True)


def take_back_chunk(job: OpenJob, chunk: Chunk, again: Sequence[int]) -> None:
    """Take a committed chunk back so that the images `again` of it are read again, and keep its other rows.

    Its content is written aside first: a kill leaves the chunk committed, or that file. A chunk that was taken back
    before and is not committed yet gets more images to read again. Raises as `read_chunk`.
    """
    path, wanted = job.chunk(chunk.partition, chunk.number), set(again)
    if path.is_file():
        table, _ = read_chunk(job, chunk)
    else:
        path = job.retry_chunk(chunk.partition, chunk.number)
        table, _, waiting = read_taken_back(job, chunk)
        wanted |= waiting
    noted = dict(read_schema(path).metadata)
    table = table.replace_schema_metadata(noted | {_AGAIN_KEY: json.dumps(sorted(wanted)).encode()})
    with files.written_aside(job.retry_chunk(chunk.partition, chunk.number)) as aside, open(aside, "wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=["status"], write_page_checksum=True)
    uncommit_chunk(job, chunk)
    files.sync_directory(job.chunk_dir(chunk.partition))


def read_taken_back(job: OpenJob, chunk: Chunk) -> tuple[pa.Table, np.ndarray, set[int]]:
    """The content of a chunk that was taken back to try images again, as `read_chunk` gives it, and their ids.

    Raises as `read_chunk` does, and CorruptFile if no chunk was taken back.
    """
    path = job.retry_chunk(chunk.partition, chunk.number)
    table, embeddings = _read(job, chunk, path)
    try:
        return table, embeddings, set(json.loads(read_schema(path).metadata[_AGAIN_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} can't be read ({error}).") from None


def missing_chunks(job: OpenJob, partition: Partition) -> list[Chunk]:
    """The chunks of a partition that are not committed yet, in order."""
    listed = set(job.chunk_numbers(partition.number))
    # A mount's listing may lag behind what was just committed, so each name is asked for, too.
    return [
        chunk
        for chunk in job.chunks(partition)
        if chunk.number not in listed and not job.chunk(partition.number, chunk.number).is_file()
    ]
