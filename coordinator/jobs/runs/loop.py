"""The loop of a run: send what is missing, watch the workers, until the index covers the job or they can't continue."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.reconcile import Look, Reconciler
from coordinator.jobs.runs.events import STOPPING, Said, Step, Tell
from coordinator.jobs.runs.patience import Patience
from coordinator.local.resources import workers_for_index
from coordinator.local.workers import LocalWorkers
from shared.broker.connection import CONNECTION_ERRORS, connect, make_app, refused
from shared.broker.troubles import Trouble, clear_troubles
from shared.errors import BrokerRefuses, JobError, LookalikeError, StoreError
from shared.errors.remedy import Remedy
from shared.job.identity import known_as
from shared.job.index.builds import IndexInfo
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.settings import Settings

# A worker that can't do what it was asked offers it again after ten seconds, to itself if there is no other.
_HOPELESS_TIMES = 3


def until_indexed(job: OpenJob, settings: Settings, progress: Progress, workers: int, tell: Tell) -> Progress:
    """Have the workers continue with `job` until the index covers it and all features are there that it wants, and tell
    each step; returns the last progress.

    `progress` is how far the job is; where nothing is left, nothing is done. `workers` are to embed, where no
    broker is given; those that were started here end with it. Raises as `run_job` does.
    """
    if progress.is_whole:
        return progress
    with ExitStack() as stack:
        settings, children = workers_for_index(stack, job, settings, progress.roles(workers))
        try:
            for step in run_job(job, settings, children):
                progress = step.look.progress
                tell(step)
        except KeyboardInterrupt:
            tell(Said(STOPPING))
            raise
    return progress


def run_job(
    job: OpenJob,
    settings: Settings,
    workers: LocalWorkers | None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Step]:
    """Yield a step about every second until the promoted index covers the whole job, and its features are there.

    May be left or killed at any moment. Raises WorkerFailed when workers report that they can't continue and no one
    works, BrokerRefuses when the broker lacks a permission or a setting, CorruptFile or FingerprintMismatch when the
    job directory is not right. A broker that is away is waited for, and so is a store, unless it refuses.
    """
    reader = ProgressReader(job)
    look_seconds = JobFiles.of(job, settings).look_seconds
    with connect(settings) as client:
        reconciler = Reconciler(make_app(settings), client, reader)
        patience = Patience(reconciler.others_consume)
        told: set[str] = set()
        first = True
        last: Look | None = None
        while True:
            try:
                look = last = reconciler.look()
            except BrokerRefuses as error:
                sentence = (
                    f"{refused(settings, str(error))} What is committed is safe; run the same command again then."
                )
                raise BrokerRefuses(sentence) from None
            except StoreError as error:
                if error.refused or last is None:
                    raise
                yield Step(Look(last.progress), [] if str(error) in told else [f"{error} Waiting for it."])
                told.add(str(error))
                pause(look_seconds)
                continue
            if first and look.broker_error is None:
                # An earlier run's complaints are not this one's.
                look = Look(look.progress, look.holders)
                with suppress(*CONNECTION_ERRORS):
                    clear_troubles(client, known_as(job.job_id, job.manifest.identity))
                    first = False
            fresh = {f"{trouble.owner}: {trouble.sentence}": trouble for trouble in look.troubles}
            notices = [_notice(said, trouble) for said, trouble in fresh.items() if said not in told]
            told.update(fresh)
            deaths = workers.watch() if workers is not None else []
            if deaths:
                notices += deaths  # What they say of themselves has no remedy.
                reconciler.resend_at_once()
            yield Step(look, notices)
            if look.progress.is_whole:
                return
            if look.progress.refused is not None:
                raise _refused(look.progress.refused, look.progress.job)
            patience.check(look)
            # At no steady pace: workers look into their queues once a second, and of two that do, one that refuses
            # what it takes could come first every time.
            pause(look_seconds * random.uniform(0.75, 1.25))


def _refused(info: IndexInfo, job: str) -> JobError:
    promoted = Remedy("rollback", job, "promotes it all the same", {"build": info.build})
    forgotten = Remedy("rollback", job, "forgets the request and keeps what serves", otherwise=promoted)
    return JobError(info.refused, remedy=forgotten)


def _notice(said: str, trouble: Trouble) -> str | LookalikeError:
    if trouble.remedy is None:
        return said
    return LookalikeError(f"{trouble.owner}: {trouble.found}", remedy=trouble.remedy)
