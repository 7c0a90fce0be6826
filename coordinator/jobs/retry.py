"""Take seals and chunks back so that the failed images of a job are tried again."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile, JobError, JobMismatch
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.ledger import Seal
from shared.job.partition.retry import Retry, read_retry, take_back_seal
from shared.storage.parquet import read_table

_COLUMNS = ["id", "status"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where failed rows of a partition are, and how each of them failed, by image id.

    In the files of its `seal`; in those of a seal that was taken back before, by `retry`; or in a committed `chunk`.
    """

    failed: dict[int, str]
    seal: Seal | None = None
    retry: Retry | None = None
    chunk: Chunk | None = None


def failed_images(job: OpenJob) -> Counter[str]:
    """How many images of a job failed, by status, and wait for no retry, without those that were removed.

    Raises CorruptFile for a damaged ledger.
    """
    found: Counter[str] = Counter()
    for place in _places(job):
        found.update(_kept(job, place.failed).values())
    return found


def is_under_way(job: OpenJob) -> bool:
    """Whether images of an earlier retry still wait to be tried again."""
    sealed = set(job.sealed_numbers())
    taken_back = set(job.retry_numbers())
    taken_back.update(number for number in job.chunk_partitions() if job.retry_chunk_numbers(number))
    return any(map(job.holds, taken_back - sealed))


def take_back(job: OpenJob, statuses: Collection[str] = (), *, going_on: bool = False) -> Counter[str]:
    """Have the images that failed with one of `statuses` tried again, all where none is given; counts by status.

    Every other row is kept, and so are the ids. Nothing is read or embedded here: the partitions wait for workers as
    any that is not sealed. Safe to be killed at any moment: what is taken back by then is tried again, the rest stays
    as it was. Raises JobError, with nothing done, for a status that no image has, unless the command is `going_on` and
    may have been typed before; JobMismatch for imported vectors; CorruptFile when the ledger or what it keeps is
    damaged.
    """
    if job.manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported from {job.manifest.source.location}: no image was read "
            "for it, so there is none to try again. Mend the vectors, and import them into another JOB."
        )
    failed = failed_images(job)
    unknown = sorted(set(statuses) - set(failed))
    if unknown and failed and not going_on:
        raise JobError(
            f"No image of {job.path} failed as {' or '.join(unknown)}; its failed images are {by_status(failed)}",
            remedy=Remedy(
                "option",
                does="give one of these to {}, or leave it out to try all of them again",
                given={"status": ""},
            ),
        )
    taken: Counter[str] = Counter()
    for place in _places(job):
        kept = _kept(job, place.failed)
        again = {image_id: status for image_id, status in kept.items() if not statuses or status in statuses}
        if not again:
            continue
        if place.chunk is not None:
            checkpoint.take_back_chunk(job, place.chunk, sorted(again))
        elif place.seal is not None:
            take_back_seal(job, Retry(place.seal, frozenset(again), frozenset(place.failed) - set(again)))
        elif place.retry is not None:
            retry = place.retry
            take_back_seal(job, Retry(retry.seal, retry.again | set(again), retry.failed - set(again)))
        taken.update(again.values())
    return taken


def by_status(counts: Counter[str]) -> str:
    """Counts as people say them, the most first: 10 truncated, 2 vanished."""
    return ", ".join(
        f"{count:,} {status}" for status, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    )


def _kept(job: OpenJob, failed: dict[int, str]) -> dict[int, str]:
    """Those of `failed` that were not removed: of a removed image the file is gone, or a new image of the job."""
    lacks = job.state.lacks(np.fromiter(failed, np.int64, len(failed))).tolist()
    return {image_id: status for (image_id, status), gone in zip(failed.items(), lacks, strict=True) if not gone}


def _places(job: OpenJob) -> Iterator[_Place]:
    """Where failed rows are, partition by partition."""
    seals = {seal.partition: seal for seal in ledger.sealed(job)}
    under_way = set(job.chunk_partitions()) | set(job.retry_numbers())
    for partition in job.partitions:
        seal = seals.get(partition.number)
        if seal is not None:
            if seal.failed:
                yield _Place(_sealed(job, seal), seal=seal)
        elif partition.number in under_way:
            yield from _unsealed(job, partition)


def _unsealed(job: OpenJob, partition: Partition) -> Iterator[_Place]:
    missing = checkpoint.missing_chunks(job, partition)
    retry = read_retry(job, partition.number)
    taken_back = set(job.retry_chunk_numbers(partition.number))
    for chunk in missing:
        if chunk.number in taken_back:
            table, _, again = checkpoint.read_taken_back(job, chunk)
            failed = {image_id: status for image_id, status in _failed(table).items() if image_id not in again}
            yield _Place(failed, chunk=chunk)
    if retry is not None:
        waits = {
            image_id
            for chunk in missing
            if chunk.number not in taken_back
            for image_id in range(chunk.start, chunk.stop)
        } & retry.failed
        if waits:
            failed = _failed(read_table(job.errors(partition.number), _COLUMNS))
            yield _Place({image_id: failed[image_id] for image_id in sorted(waits) if image_id in failed}, retry=retry)
    for chunk in job.chunks(partition):
        if chunk in missing or not checkpoint.chunk_summary(job, chunk.partition, chunk.number).failed:
            continue
        yield _Place(_failed(read_table(job.chunk(chunk.partition, chunk.number), _COLUMNS)), chunk=chunk)


def _sealed(job: JobDir, seal: Seal) -> dict[int, str]:
    """How the failed images of a sealed partition failed; CorruptFile when its files are not what was sealed."""
    for path in job.sealed_files(seal.partition):
        size = path.stat().st_size if path.is_file() else None
        if size != seal.entry(job, path)["bytes"]:
            raise _damaged(job, seal)
    failed = _failed(read_table(job.errors(seal.partition), _COLUMNS))
    if len(failed) != seal.failed or not all(seal.start <= image_id < seal.stop for image_id in failed):
        raise _damaged(job, seal)
    return failed


def _damaged(job: JobDir, seal: Seal) -> CorruptFile:
    again = Remedy("index", str(job.path), "the next {} embeds it again")
    return CorruptFile(
        f"The files of partition {seal.partition} of {job.path} are not what its seal says",
        remedy=Remedy("repair", str(job.path), "takes the partition back", then=again),
    )


def _failed(table: pa.Table) -> dict[int, str]:
    bad = table.filter(pc.not_equal(table["status"], "ok"))
    return dict(zip(bad["id"].to_pylist(), bad["status"].to_pylist(), strict=True))
