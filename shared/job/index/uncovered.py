"""How many images the promoted build does not cover, and whether a merge is due to add them to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal

LEAST: Final = 1_000
MOST: Final = 20_000
_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Uncovered:
    """`rows` embeddings in `partitions` are searched beside the index; a merge is `due` from 20,000 on, or from 1 % of
    all where that is less, but 1,000 at least. `whole` is whether all partitions are sealed, which a merge needs."""

    rows: int
    partitions: int
    due: bool
    whole: bool


def rows_beside(job: OpenJob, info: IndexInfo | None, seals: Sequence[Seal]) -> int:
    """How many embeddings were sealed after those that a build was built of; 0 where it was not built of these."""
    held = None if info is None else builds.covered(info, seals, job)
    return 0 if held is None else sum(seal.embedded for seal in seals[len(held) :])


def uncovered(job: OpenJob) -> Uncovered:
    """What the promoted build of a job does not cover; raises as `current_info` and `ledger.sealed` do."""
    info, seals = builds.current_info(job), list(ledger.sealed(job))
    held = [] if info is None else builds.covered(info, seals, job) or []
    later = seals[len(held) :]
    rows, every = sum(seal.embedded for seal in later), sum(seal.embedded for seal in seals)
    due = rows > max(LEAST, min(MOST, every * _SHARE))
    return Uncovered(rows, len(later), due, len(seals) == job.partition_count)


def merge_due(job: JobDir) -> tuple[int, int]:
    """The rows and partitions of a job, as it is now, that a merge should add to its index; (0, 0) where none is due.

    Also where that can't be known: a change that was made must not be told as one that failed.
    """
    try:
        left = uncovered(open_job(job))
    except (LookalikeError, OSError):
        return 0, 0
    return (left.rows, left.partitions) if left.due and left.whole else (0, 0)
