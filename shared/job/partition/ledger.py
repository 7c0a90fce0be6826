"""Seal partitions, and read their seals; with the checkpoints, they are the only truth about progress."""
# Over 250 lines: what writes the marker of a seal and what reads and checks one have to agree.

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.errors import CorruptFile, FingerprintMismatch
from shared.errors.remedy import Remedy
from shared.job import path_list
from shared.job.changes.log import Ids
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, sealing
from shared.job.partition.features.marker import features_of
from shared.job.partition.features.record import STORED_VERSION
from shared.processes.failpoints import failpoint
from shared.processes.load import StageLoad
from shared.storage import files
from shared.storage.parquet import read_table


@dataclass(frozen=True, slots=True)
class Seal:
    """The marker of a sealed partition: counts, and each file's size and SHA-256 by its name inside the job.

    `load` is how busy the stages were while its chunks were embedded, if that is known.
    """

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
    load: dict[str, Any] | None = None

    @property
    def listed(self) -> int:
        return self.stop - self.start

    def entry(self, job: JobDir, path: Path) -> dict[str, Any]:
        """Size and SHA-256, as "bytes" and "sha256", of one of its files."""
        return self.files[path.relative_to(job.path).as_posix()]


def is_sealed(job: JobDir, partition: int) -> bool:
    return job.seal(partition).is_file()


def seal_partition(job: OpenJob, partition: Partition) -> Seal:
    """Turn the committed chunks of a whole partition into one file of each kind, then remove the chunks.

    The bytes depend only on the chunks. The marker is written last; a partition without it is not sealed, whatever else
    is there. A partition that is already sealed stays as it is. Raises CorruptFile (with the chunk still in place) when
    a chunk is missing or fails its checks, FingerprintMismatch when another model made one.
    """
    failpoint("seal_partition")
    if is_sealed(job, partition.number):
        remove_chunks(job, partition.number)
        return read_seal(job, partition.number)
    chunks = job.chunks(partition)
    absent = checkpoint.missing_chunks(job, partition)
    if absent:
        raise CorruptFile(f"Partition {partition.number} of {job.path} lacks the chunks {[c.number for c in absent]}.")
    summaries = [checkpoint.chunk_summary(job, partition.number, chunk.number) for chunk in chunks]
    dims = {summary.dim for summary in summaries}
    if len(dims) != 1:
        raise CorruptFile(f"Partition {partition.number} of {job.path} has chunks of {sorted(dims)} dimensions.")
    embedded = sum(summary.embedded for summary in summaries)
    read = (checkpoint.read_chunk(job, chunk) for chunk in chunks)
    # Where some were committed before the job wanted features, all of the partition's are made later, from its images.
    carried = all(summary.features == STORED_VERSION for summary in summaries)
    with features_of(job, partition.number, carried=carried) as features:
        written = sealing.write_sealed_files(
            job,
            partition.number,
            features.seen(checkpoint.without_purged(_with_known(job, partition, read))),
            rows=embedded,
            dim=summaries[0].dim,
            schema=pa.schema([*sealing.METADATA_SCHEMA, *job.manifest.source.known_schema]),
        )
    features.mark(written)
    failed = sum(summary.failed for summary in summaries)
    seconds = sum(summary.seconds for summary in summaries)
    load = StageLoad.mean((StageLoad.from_json(summary.load), summary.seconds) for summary in summaries)
    return _marked(job, partition, (embedded, failed, summaries[0].dim), seconds, written, load)


def _with_known(
    job: OpenJob, partition: Partition, chunks: Iterable[tuple[pa.Table, np.ndarray]]
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The chunks of a partition in order, with the columns of source metadata."""
    if not job.manifest.source.known:
        yield from chunks
        return
    known, at = path_list.read_known(job, partition), 0
    for table, embeddings in chunks:
        for name in known.schema.names:
            table = table.append_column(known.schema.field(name), known[name].slice(at, len(table)))
        yield table, embeddings
        at += len(table)


def seal_rows(
    job: OpenJob,
    partition: Partition,
    blocks: Iterable[tuple[pa.Table, np.ndarray]],
    schema: pa.Schema = sealing.METADATA_SCHEMA,
    *,
    dim: int | None = None,
    purged: Ids | None = None,
    seconds: float = 0.0,
    worked: float | None = None,
    carried: bool = False,
) -> Seal:
    """Seal a partition from rows that never were chunks, as those of imported vectors; one block is held at a time.

    A block is a table of `schema` with `status` and `error_message`, a row for each id in order, and the embeddings of
    the rows whose status is "ok", float16 [embedded, dim], L2-normalised. Those ids that are `purged`, int64 ascending,
    have no rows: unless given, those of the job. `dim` is given where the manifest does not say it. `seconds` is how
    long ago the first of their images was read, or `worked` how long the work on the rows took. The blocks have a
    column of features where these are `carried`, and `sha256` with it. A partition that is sealed already stays as it
    is. Raises ValueError when the blocks are not so, and what they raise; then nothing of
    the partition is left.
    """
    if is_sealed(job, partition.number):
        remove_chunks(job, partition.number)
        return read_seal(job, partition.number)
    started, dim = time.monotonic() - seconds, dim or job.manifest.model.dim
    assert dim is not None
    holes = job.state.purged_in(partition.start, partition.stop) if purged is None else purged
    ids = np.setdiff1d(np.arange(partition.start, partition.stop), holes)
    embedded, at = 0, 0

    def counted() -> Iterator[tuple[pa.Table, np.ndarray]]:
        nonlocal embedded, at
        for table, embeddings in blocks:
            good = int(np.count_nonzero(table["status"].to_numpy() == "ok"))
            if not np.array_equal(table["id"].to_numpy(), ids[at : at + len(table)]):
                raise ValueError(f"Partition {partition.number} needs each of its ids once, in order.")
            if embeddings.dtype != np.float16 or embeddings.shape != (good, dim):
                raise ValueError(
                    f"Partition {partition.number} needs float16 {[good, dim]}, and was given {embeddings.dtype} "
                    f"{list(embeddings.shape)}."
                )
            embedded, at = embedded + good, at + len(table)
            yield table, embeddings
        if at != len(ids):
            raise ValueError(f"Partition {partition.number} has {len(ids)} rows, and was given {at}.")

    with features_of(job, partition.number, carried=carried) as features:
        written = sealing.write_sealed_files(
            job, partition.number, features.seen(counted()), rows=len(ids), dim=dim, exactly=False, schema=schema
        )
    features.mark(written)
    counts = (embedded, len(ids) - embedded, dim)
    failpoint("seal_rows")
    return _marked(job, partition, counts, time.monotonic() - started if worked is None else worked, written)


def _marked(
    job: OpenJob,
    partition: Partition,
    counts: tuple[int, int, int],
    seconds: float,
    written: dict[str, dict[str, Any]],
    load: StageLoad | None = None,
) -> Seal:
    """Write the marker of a partition whose files are there; `counts` are embedded, failed and dimensions."""
    embedded, failed, dim = counts
    seal = Seal(
        fingerprint=job.manifest.model.fingerprint,
        partition=partition.number,
        start=partition.start,
        stop=partition.stop,
        embedded=embedded,
        failed=failed,
        dim=dim,
        seconds=round(seconds, 3),
        sealed_at=datetime.now(UTC).timestamp(),
        files=written,
        load=None if load is None else load.to_json(),
    )
    files.write_bytes(
        job.seal(partition.number),
        (json.dumps(asdict(seal), indent=2) + "\n").encode(),
        keep_first=True,
    )
    # Only the process that has just written the seal may do this: the marker of a retry is all that is left of a seal
    # taken back.
    job.retry(partition.number).unlink(missing_ok=True)
    remove_chunks(job, partition.number)
    return read_seal(job, partition.number)


def remove_chunks(job: JobDir, partition: int) -> None:
    """Remove the chunks of a sealed partition, and what workers that were killed while they sealed it left behind."""
    files.remove_all(job.chunk_dir(partition))
    for attempt in job.attempts_outside(partition):
        with suppress(OSError):
            attempt.unlink(missing_ok=True)
    features = (*job.features_files(partition), job.features_seal(partition))
    for path in (*job.sealed_files(partition), *features, job.seal(partition)):
        files.remove_leftovers(path)


def read_seal(job: JobDir, partition: int) -> Seal:
    """The marker of a sealed partition; raises CorruptFile when it is missing or is not what was written."""
    path = job.seal(partition)
    try:
        return Seal(**json.loads(files.read_marker(path)))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise CorruptFile(
            f"The seal marker {path} can't be read ({error})",
            remedy=Remedy(
                "repair", str(job.path), "takes it back", then=Remedy("make", does="{} does the partition again")
            ),
        ) from None


def sealed(job: OpenJob) -> Iterator[Seal]:
    """The seals of a job in the order of their ids.

    Seals that the listing does not show are asked for by name: a mount's listing may lag. Those of partitions that were
    replaced, or that no change names yet, are none of the job's. Raises CorruptFile for a seal that no change can name,
    or with other boundaries, FingerprintMismatch for another model.
    """
    manifest = job.manifest
    listed = set(job.sealed_numbers())
    for number in listed:
        if number >= job.state.next_number:
            require_to_come(job, number)
    for partition in job.partitions:
        number = partition.number
        if number not in listed and not is_sealed(job, number):
            continue
        seal = read_seal(job, number)
        if seal.fingerprint != manifest.model.fingerprint:
            raise FingerprintMismatch(
                f"Partition {number} of {job.path} was embedded by the model {seal.fingerprint}, but the job is made "
                f"for {manifest.model.fingerprint}",
                remedy=Remedy("repair", str(job.path), "takes it back", then=manifest.again()),
            )
        if Partition(seal.partition, seal.start, seal.stop) != partition:
            raise _not_of_the_job(job, number, seal)
        yield seal


def require_to_come(job: OpenJob, number: int) -> None:
    """Raise CorruptFile for the seal of a partition that is none of the job and that nobody is writing now.

    What adds partitions, and a compaction, write theirs before the change that names them: of ids behind those that
    the job has, or of ids that it has.
    """
    try:
        seal = read_seal(job, number)
    except CorruptFile:
        if not is_sealed(job, number):
            return  # What wrote it was ended, and has taken it back.
        raise
    if seal.partition != number or seal.start < job.listed < seal.stop:
        raise _not_of_the_job(job, number, seal)


def _not_of_the_job(job: OpenJob, number: int, seal: Seal) -> CorruptFile:
    return CorruptFile(
        f"{job.seal(number)} seals the ids {seal.start} to {seal.stop - 1} as partition {seal.partition}, "
        f"which is not partition {number} of the job",
        remedy=Remedy("repair", str(job.path), "takes it back"),
    )


def check_ids(job: JobDir, seal: Seal) -> np.ndarray:
    """The image ids of a sealed partition's embeddings, int64 [embedded] ascending.

    Asserts `embedded + failed = listed` by id: every id of the partition is either in the metadata or in the errors,
    once, and one that was purged in neither. Raises CorruptFile with the ids that are missing, double or strange.
    """
    ids: np.ndarray = read_table(job.metadata(seal.partition), ["id"])["id"].to_numpy()
    failed = read_table(job.errors(seal.partition), ["id"])["id"].to_numpy()
    found, times = np.unique(np.concatenate([ids, failed]), return_counts=True)
    state = (job if isinstance(job, OpenJob) else open_job(job)).state
    listed = np.setdiff1d(np.arange(seal.start, seal.stop), state.purged_in(seal.start, seal.stop))
    wrong = {
        "missing": np.setdiff1d(listed, found),
        "double": found[times > 1],
        "strange": np.setdiff1d(found, listed),
        "out of order": ids[1:][np.diff(ids) < 0],
    }
    if len(ids) != seal.embedded or any(len(some) for some in wrong.values()):
        named = "".join(f"; {what}: {_some(some)}" for what, some in wrong.items() if len(some))
        raise CorruptFile(
            f"Partition {seal.partition} of {job.path} lists {len(listed):,} images, {seal.embedded:,} of them "
            f"embedded, and its files hold {len(ids):,} embedded and {len(failed):,} failed ids, which do not cover "
            f"them once each{named}",
            remedy=Remedy(
                "repair", str(job.path), "takes the partition back", then=Remedy("make", does="does it again")
            ),
        )
    return ids


def _some(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")
