"""Running a job to its end: list the images, send what is missing, watch the workers, until the index covers it all."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from coordinator.jobs.create import accept_failures, make_or_open, require_sizes
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.patience import Patience
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.reconcile import Look, Reconciler
from coordinator.jobs.source import move
from coordinator.jobs.source.changes import told_since_listed
from coordinator.local.resources import workers_for_index
from coordinator.local.workers import LocalWorkers
from coordinator.sources import resolve
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import SNIFF_HINT
from shared.broker.connection import CONNECTION_ERRORS, connect, make_app, refused
from shared.broker.troubles import Trouble, clear_troubles
from shared.errors import BrokerRefuses, JobError, LookalikeError, StoreError
from shared.errors.remedy import Remedy
from shared.job.builds import IndexInfo
from shared.job.directory import JobDir
from shared.job.identity import known_as
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Manifest
from shared.job.opened import OpenJob
from shared.settings import Settings

STOPPING = "Stopping; the batch under way ends first …"
# A worker that can't do what it was asked offers it again after ten seconds, to itself if there is no other.
_HOPELESS_TIMES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the loop: what was found, and sentences about workers that died, or errors that they complain of."""

    look: Look
    notices: Sequence[str | LookalikeError]


@dataclass(frozen=True, slots=True)
class Doing:
    """What goes on now, to be shown until something else does."""

    what: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence to keep."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The index covers the job."""

    progress: Progress


Event = Doing | Said | Step | Finished
"""What is told of a run, in the order in which it happens."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `index` is asked to do.

    `workers` are to embed, where no broker is given. `sizes` are the partition and chunk size, and `wanted` what the
    index is to be, where they were given; `accepted` is whether images that seem lost are to be failed rows, `choice`
    which files of the source count, `moved` whether `source` is where the images of the job moved to.
    """

    source: str
    job: JobDir
    settings: Settings
    workers: int = 1
    sizes: tuple[int | None, int | None] = (None, None)
    wanted: Typed = NOTHING_TYPED
    accepted: bool = False
    choice: Choice = EVERYTHING
    moved: bool = False


def index(asked: Asked, tell: Callable[[Event], None]) -> Progress:
    """Embed all images of a source into a job and build its index, or go on where that stood; prints nothing.

    `tell` is given each event in this thread. What it raises ends the run, as KeyboardInterrupt does at any moment:
    the workers end, what is committed stays, and the same call goes on. Raises as `make_or_open` and `run_job` do.
    """
    directory = asked.job
    resumed = directory.spec.is_file()
    if asked.moved:
        news = move.move(asked.source, directory, _counting("Looking for the images", tell))
        tell(Said(move.said(directory, news)))
    job = make_or_open(asked.source, directory, asked.settings, _counting("Listing images", tell), asked.choice)
    require_sizes(job, *asked.sizes)
    accept_failures(job, asked.accepted)
    asked.wanted.request(job, asked.settings)
    for sentence in _listed(job.manifest):
        tell(Said(sentence))
    progress = ProgressReader(job).read()
    if not progress.index_is_current:
        with ExitStack() as stack:
            settings, children = workers_for_index(stack, job, asked.settings, progress.roles(asked.workers))
            try:
                for step in run_job(job, settings, children):
                    progress = step.look.progress
                    tell(step)
            except KeyboardInterrupt:
                tell(Said(STOPPING))
                raise
    tell(Finished(progress))
    if resumed:  # Last of all, as it may take as long as the listing did.
        tell(Doing("Comparing the source with what was listed …"))
        for line in told_since_listed(asked.source, job):
            tell(Said(line))
    return progress


def _counting(what: str, tell: Callable[[Event], None]) -> Callable[[int], None]:
    tell(Doing(f"{what} …"))
    return lambda count: tell(Doing(f"{what} … {count:,} so far"))


def _listed(manifest: Manifest) -> Iterator[str]:
    """What was listed, and what was not."""
    yield (
        f"{manifest.listed:,} images in {manifest.partition_count:,} "
        f"partition{'s' if manifest.partition_count > 1 else ''}; model {manifest.model.fingerprint}"
    )
    if manifest.source.left_out:
        yield "not listed: " + ", ".join(f"{count:,} {reason}" for reason, count in manifest.source.left_out.items())
    if "without suffix" in manifest.source.left_out:
        yield SNIFF_HINT
    if manifest.source.notes:
        yield "noted: " + ", ".join(f"{count:,} {what}" for what, count in manifest.source.notes.items())
    if (missing := resolve.hint(manifest.source.notes)) is not None:
        yield missing


def run_job(
    job: OpenJob,
    settings: Settings,
    workers: LocalWorkers | None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Step]:
    """Yield a step about every second until the promoted index covers the whole job.

    May be left or killed at any moment. Raises WorkerFailed when workers report that they can't go on and nobody
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
            if look.progress.index_is_current:
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
