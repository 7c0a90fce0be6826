"""Say what was added to a job, and when a merge should add it to the index."""

from collections.abc import Iterator

from coordinator.display.remedies import typed
from shared.errors import LookalikeError
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.manifest import maker_of
from shared.messages.changed import Changed


def addition_lines(changed: Changed, job: JobDir, what: str) -> Iterator[str]:
    """How many of `what` ("image") were added under which ids, and what is due."""
    ids = changed.ids
    if len(ids) == 1:
        yield f"1 {what} added, with the id {ids[0]}: a search finds it from now on."
    else:
        yield f"{len(ids):,} {what}s added, with the ids {ids[0]} to {ids[-1]}: a search finds them from now on."
    rows, partitions = changed.uncovered
    if rows:
        parts = "1 partition" if partitions == 1 else f"{partitions:,} partitions"
        remedy = Remedy(maker_of(job), str(job.path), "{} adds them to it")
        yield typed(LookalikeError(f"{rows:,} {what}s in {parts} are searched beside the index", remedy=remedy))
