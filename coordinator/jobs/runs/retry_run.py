"""A run of `retry`: failed images of a job are tried again, and its index is built again."""

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.retry import by_status, failed_images, is_under_way, take_back
from coordinator.jobs.runs.events import Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.lock import changing
from shared.job.opened import OpenJob
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What `retry` is asked to do: to try the images again that failed with one of `statuses`, all where none is given.

    `workers` are to embed, where no broker is given.
    """

    job: OpenJob
    settings: Settings
    statuses: Sequence[str] = ()
    workers: int = 1


def retry(asked: Asked, tell: Tell) -> Progress:
    """Try failed images of a job again, and build its index again; continue where that stood.

    No other image is read or embedded. Where none failed and the index covers the job, nothing is done, and that is
    said and no end told. It may be ended at any moment: the workers end, what is committed stays, and the same call
    continues. Raises as `take_back` and `run_job` do, and JobBusy while another process changes the job.
    """
    refuse_bundle(asked.job.path, asked.job.manifest.bundle, "embedded")
    # What is taken back must not be replaced meanwhile, as by a compaction.
    with changing(asked.job) as job:
        reader = ProgressReader(job)
        before, progress = failed_images(job), reader.read()
        was_whole = progress.complete
        going_on = not progress.index_is_current and (was_whole or is_under_way(job))
        taken = take_back(job, asked.statuses, going_on=going_on)
    progress = reader.read()
    if taken:
        tell(Said(f"{_images(taken.total())} tried again: {by_status(taken)}"))
    elif progress.index_is_current:
        tell(Said(f"No image of {job.path} failed: there is nothing to try again."))
        return progress
    else:
        how = f" as {' or '.join(asked.statuses)}" if asked.statuses else ""
        tell(Said(f"No other image of {job.path} failed{how}; the job is not done, and goes on."))
    progress = until_indexed(job, asked.settings, progress, asked.workers, tell)
    if taken and was_whole:
        left = failed_images(job) - (before - taken)
        still = f"{left.total():,} still fail: {by_status(left)}" if left else "none of them fails any more"
        now = taken.total() - left.total()
        tell(Said(f"{now:,} of them {'is' if now == 1 else 'are'} embedded now; {still}"))
    tell(Finished(progress))
    return progress


def _images(count: int) -> str:
    return "1 failed image is" if count == 1 else f"{count:,} failed images are"
