"""Have the neighbours of all images of a job found by its index, but those that were found before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from coordinator.jobs.runs.duplicates.asking import Part, Work, until_done
from coordinator.jobs.runs.duplicates.candidates import unasked
from coordinator.jobs.runs.duplicates.facts import Facts
from coordinator.jobs.runs.events import STOPPING, Said, Tell
from coordinator.local.resources import workers_for_index
from shared.broker.lease import neighbours_lease
from shared.job.index.duplicates.neighbours import Neighbours, neighbours_file, read_neighbours, readable
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.messages.duplicates import FindNeighbours
from shared.messages.tasks import MERGE_QUEUE
from shared.settings import Settings


def find_neighbours(
    job: OpenJob,
    settings: Settings,
    seals: Sequence[Seal],
    facts: Facts,
    tell: Tell,
    workers: "Callable[[ExitStack, OpenJob, Settings, str], Workers]",
) -> Callable[[], Iterator[Neighbours]]:
    """Have the neighbours of all live images found that no file holds yet, by `workers`; returns what reads them all.

    Raises as `until_done` does.
    """
    paths = job.duplicates_files("neighbours")
    there = dict(readable(paths))
    forget(sorted(set(paths) - there.keys()), "neighbours", tell)
    missing = unasked(facts, there.values())
    parts, files = [], dict[str, str]()
    for seal in seals:
        first, last = np.searchsorted(missing, [seal.start, seal.stop])
        if first == last:
            continue
        message = FindNeighbours(job.job_id, seal.partition, job.manifest.identity)
        what = neighbours_lease(seal.partition)
        parts.append(Part(message, what, f"{job.job_id} neighbours of {seal.partition}"))
        files[neighbours_file(job, seal).name] = what

    def done() -> set[str]:
        return {files[path.name] for path in job.duplicates_files("neighbours") if path.name in files}

    if parts:
        with ExitStack() as stack:
            work = Work("Looking for neighbours", "partitions", MERGE_QUEUE, parts, done)
            workers(stack, job, settings, "merge").do(work, tell)
    return lambda: map(read_neighbours, job.duplicates_files("neighbours"))


class Workers:
    """Workers that are started once, for all work of a run that needs them."""

    def __init__(self, stack: ExitStack, job: OpenJob, settings: Settings, role: str) -> None:
        self._job = job
        self._settings, self._children = workers_for_index(stack, job, settings, [role])

    def do(self, work: Work, tell: Tell) -> None:
        try:
            until_done(self._job, self._settings, work, self._children, tell)
        except KeyboardInterrupt:
            tell(Said(STOPPING))
            raise


def forget(damaged: Sequence[Path], what: str, tell: Tell) -> None:
    """Remove files that can't be read: what they said is found out again."""
    for path in damaged:
        tell(Said(f"{path} is damaged, or of another version: its {what} are made anew."))
        path.unlink(missing_ok=True)
