"""What of a job can be read before its index is there: sealed partitions, and the committed chunks of the others."""

from collections.abc import Collection, Iterable

from shared.errors import NoIndexYet
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob

Listing = tuple[tuple[int, tuple[int, ...]], ...]
"""The numbers of partitions, and of the chunks that are committed in each."""


def listed_chunks(job: JobDir) -> Listing:
    """The committed chunks that a listing shows: few, as the chunks of a partition are gone once it is sealed.

    A partition that was sealed a moment ago, or whose worker was killed while it removed them, may still have some.
    """
    return tuple((number, tuple(job.chunk_numbers(number))) for number in job.chunk_partitions())


def chunks_of(job: OpenJob, listing: Listing, sealed: Collection[int]) -> list[Chunk]:
    """The chunks of a listing in the order of their ids, without those of `sealed` partitions: no image comes twice."""
    found = []
    for number, chunks in listing:
        if job.holds(number) and number not in sealed:
            there = set(chunks)
            found += [chunk for chunk in job.chunks(job.partition(number)) if chunk.number in there]
    return found


def pending(job: OpenJob, looked_at: Iterable[Chunk | Partition]) -> list[tuple[int, int]]:
    """The image ids [start, stop) that are in none of `looked_at`, in order."""
    found, at = [], 0
    for one in sorted(looked_at, key=lambda one: one.start):
        if one.start > at:
            found.append((at, one.start))
        at = one.stop
    return [*found, (at, job.listed)] if at < job.listed else found


def count_pending(job: OpenJob, ranges: Iterable[tuple[int, int]]) -> int:
    """How many images of these ranges are to be embedded yet: those that were removed are not."""
    removed = job.state.removed
    return sum(stop - start - int(removed.searchsorted(stop) - removed.searchsorted(start)) for start, stop in ranges)


def require_embedded(job: OpenJob) -> None:
    """Raise NoIndexYet where there is neither an index nor an embedding to search."""
    if not job.current.is_file() and not job.sealed_numbers() and not any(chunks for _, chunks in listed_chunks(job)):
        raise nothing_embedded(job)


def nothing_embedded(job: OpenJob, looked_at: int = 0) -> NoIndexYet:
    """The error of a search in a job that has no index and of which nothing is embedded."""
    path = str(job.path)
    done = Remedy(
        job.manifest.maker,
        path,
        "embeds them, and they are found from their first checkpoint on",
        then=Remedy("status", path, "says how far that is"),
    )
    failed = "" if not looked_at else f", and {looked_at:,} failed or were removed"
    return NoIndexYet(
        f"The job {path} has no index yet, and nothing of it is embedded: 0 of {job.listed:,} images{failed}",
        remedy=done,
    )
